"""A store that fails over HTTP in the ways that stores do: nothing is lost, nothing is read wrong, and everything goes on."""

import random
import threading
import time
from collections import Counter

import pytest
from harness.admin import create_topic
from harness.batch import simple
from harness.log_client import LogClient
from harness.paths import CONTROL
from harness.s3 import CREDENTIALS, S3, S3Server
from harness.store_proxy import Refusal, StoreProxy
from harness.tier import configure, edges, run_tool, settled, status, wait_for

pytestmark = pytest.mark.skipif(CONTROL, reason="the tier is ours")
SIZE = 100_000
# Each kind of fault must have happened this often before the run ends.
OFTEN = 3


@pytest.fixture
def node(own_broker, monkeypatch):
    for name, secret in CREDENTIALS.items():
        monkeypatch.setenv(name, secret)
    own_broker.kill()
    server = S3Server(own_broker.directory)
    own_broker.proxy = StoreProxy(server.port)
    # Nothing is cached, so that every read of cold data asks the store.
    text = S3.format(folder="f", port=own_broker.proxy.port) + 'tier.cache_bytes = 0\ntier.memory_cache_bytes = "1MiB"\n'
    own_broker.config = configure(own_broker, text)
    own_broker.start()
    yield own_broker
    own_broker.kill()
    own_broker.proxy.close()
    server.close()


class Faults:
    """Draws what goes wrong. `seen` counts each kind."""

    def __init__(self, seed):
        self.rng, self.lock, self.seen = random.Random(seed), threading.Lock(), Counter()
        self.lists, self.wrong = {}, set()

    def happens(self, kind, percent):
        with self.lock:
            happens = self.rng.randrange(100) < percent
            self.seen[kind] += happens
            return happens

    def refuse(self, method, path):
        """Before the request is done."""
        if self.happens("503", 10):
            return Refusal(503, "SlowDown")
        if method == "GET" and self.happens("slow first byte", 5):
            # Longer than a second request is waited with.
            time.sleep(0.7)
        return None

    def spoil(self, method, path, data):
        """After the request is done."""
        if method == "PUT" and ".seg" in path and self.happens("lost answer of a put", 20):
            return None
        # There are few of them.
        if method == "PUT" and ".seg" not in path and self.happens("lost answer of a conditional put", 50):
            return None
        if method == "GET" and "list-type" in path:
            with self.lock:
                old = self.lists.setdefault(path, data)
            if old != data and self.happens("stale list", 50):
                return old
        if method == "GET" and ".seg" in path and data:
            if self.happens("part of a body", 10):
                return data[:len(data) // 2]
            # What is wrong three times is taken for what the object holds.
            if path in self.wrong:
                self.wrong.remove(path)
            elif self.happens("wrong bytes", 10):
                self.wrong.add(path)
                at = len(data) // 3
                return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
        return data


def value(number):
    return random.Random(number).randbytes(SIZE)


def check(node, topic, count):
    with LogClient(node.port) as log:
        records = log.records(topic)
    assert [record[0] for record in records] == list(range(count))
    assert all(bytes(record[3]) == value(record[0]) for record in records)


def test_what_stores_do_over_http_loses_nothing_and_is_never_read(node, topic, rng):
    faults = Faults(rng.first_seed)
    wanted = ("503", "slow first byte", "lost answer of a put", "lost answer of a conditional put", "part of a body",
              "wrong bytes")
    create_topic(node, topic, 1, {"segment.bytes": 1 << 20})
    node.proxy.refuse, node.proxy.spoil = faults.refuse, faults.spoil
    count, limit = 0, time.monotonic() + 120
    while not all(faults.seen[kind] >= OFTEN for kind in wanted):
        assert time.monotonic() < limit, faults.seen
        with LogClient(node.port) as log:
            for _ in range(25):
                assert log.append(topic, simple([value(count)])) == count
                count += 1
        if edges(node, topic)[1] > 0:
            check(node, topic, count)
        # Old lists are met by those who look for what is to be deleted.
        run_tool("tier", "ls", "--config", str(node.config))
    node.proxy.refuse = node.proxy.spoil = None
    wait_for("what waited is uploaded", lambda: settled(node, topic))
    check(node, topic, count)
    node.restart()
    check(node, topic, count)
    wait_for("nothing is wrong any more", lambda: status(node)["failures"] == [])
    code, said = run_tool("tier", "verify", "--config", str(node.config))
    assert code == 0, said
