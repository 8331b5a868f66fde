"""A store that is down for long: the disk fills, writes are held back with an error, and return with the store."""

import pytest
from harness import errors
from harness.batch import simple
from harness.log_client import LogClient
from harness.operator import admin_port, get_json, metrics, value
from harness.paths import CONTROL
from harness.s3 import CREDENTIALS, S3, S3Server
from harness.small_disk import MIB, fill, numbered, small_disk, write_again
from harness.store_proxy import Refusal, StoreProxy
from harness.tier import configure, edges, place, settled, small_topic, wait_for

pytestmark = pytest.mark.skipif(CONTROL, reason="the tier is ours")


@pytest.fixture
def node(own_broker, monkeypatch):
    for name, secret in CREDENTIALS.items():
        monkeypatch.setenv(name, secret)
    with small_disk(own_broker):
        server = S3Server(own_broker.directory)
        own_broker.proxy = StoreProxy(server.port)
        text = S3.format(folder="f", port=own_broker.proxy.port)
        configure(own_broker, text + 'storage.min_free_bytes = "8MiB"\ntier.memory_cache_bytes = "1MiB"\n')
        own_broker.start()
        yield own_broker
        own_broker.kill()
        own_broker.proxy.close()
        server.close()


def test_a_store_that_is_down_holds_back_writes_once_the_disk_is_full_and_no_longer(node, topic):
    small_topic(node, topic)
    node.proxy.refuse = lambda *_: Refusal(503, "SlowDown")
    with LogClient(node.port) as log:
        acked = fill(log, topic)
        assert acked * len(numbered(0)) > 60 * MIB, "produce ended long before the disk was full"
        # Whoever is told of the full disk finds what waits, and for what.
        port = admin_port(node)
        answer = log.produce(topic, simple([numbered(acked)]))
        assert answer["ErrorCode"] == errors.KAFKA_STORAGE_ERROR, answer
        code, report = get_json(port, "/healthz")
        assert code == 503 and any("disk is full" in reason for reason in report["reasons"]), report
        samples, _ = metrics(port)
        assert value(samples, "chronik_store_working") == 0
        assert value(samples, "chronik_tier_lag_bytes") > 40 * MIB
        wait_for("the reason", lambda: place(node, topic)["failure"])
        assert [bytes(r[3]) for r in log.records(topic)] == [numbered(i) for i in range(acked)]
        node.proxy.refuse = None
        assert write_again(log, topic) == acked
        wait_for("the uploads", lambda: settled(node, topic))
        wait_for("the disk is free", lambda: edges(node, topic)[1] > acked // 2)
        assert get_json(port, "/healthz")[0] == 200
        records = log.records(topic)
        assert [r[0] for r in records] == list(range(acked + 1))
        assert [bytes(r[3]) for r in records[:acked]] == [numbered(i) for i in range(acked)]
