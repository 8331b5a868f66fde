"""The object tier under three nodes: one uploads, the others know, and no kill and no dead store loses or doubles a record."""

import os
import random
import shutil
import threading

import pytest
from conftest import directory_for
from harness.batch import RECENT, simple
from harness.cluster import Cluster
from harness.log_client import LogClient
from harness.paths import CONTROL
from harness.records import Ledger, record
from harness.tier import LAPTOP, MIB, SHORT, edges, fresh_directory, run_tool

pytestmark = pytest.mark.skipif(CONTROL, reason="the tier is ours")
TOPIC = "t"
SIZE = 50_000
LIMIT_S = 120


@pytest.fixture
def cluster(request):
    directory = directory_for(request)
    nodes = Cluster(directory)
    nodes.bucket = fresh_directory(directory / "bucket")
    nodes.config = directory / "tier.toml"
    nodes.config.write_text(LAPTOP.format(bucket=nodes.bucket) + SHORT)
    for node in nodes.nodes:
        node.extra_args = ["--config", str(nodes.config), "--admin-port", "0"]
    nodes.start()
    nodes.create_topic(TOPIC, configs={"segment.bytes": MIB, "local.retention.bytes": MIB})
    yield nodes
    nodes.discard()
    shutil.rmtree(nodes.bucket, ignore_errors=True)


def value(number):
    return (b"%08d" % number) * (SIZE // 8)


class Writer:
    """Writes numbered values one after the other; remembers where each was acknowledged."""

    def __init__(self, cluster):
        self.cluster, self.acked, self.next = cluster, {}, 0

    def attempt(self):
        leader = self.cluster.leader(TOPIC)
        if leader is None or not leader.alive():
            return False
        number, self.next = self.next, self.next + 1
        try:
            with LogClient(leader.port, timeout=10) as client:
                answer = client.produce(TOPIC, simple([value(number)]), timeout_ms=8000)
        except OSError:
            return False
        if answer["ErrorCode"]:
            return False
        assert answer["BaseOffset"] not in self.acked, "one place for two records"
        self.acked[answer["BaseOffset"]] = number
        return True

    def write(self, count):
        for _ in range(count):
            self.cluster.wait("a record is acknowledged", self.attempt, LIMIT_S)


def check(cluster, writer):
    """Everything acknowledged is at its place, and no place is missing or twice."""
    leader = cluster.wait("somebody leads", lambda: cluster.leader(TOPIC))
    with LogClient(leader.port) as client:
        records = client.records(TOPIC)
    assert [record[0] for record in records] == list(range(len(records)))
    numbers = [int(bytes(record[3])[:8]) for record in records]
    assert all(bytes(record[3]) == value(number) for record, number in zip(records, numbers, strict=True))
    assert {offset: numbers[offset] for offset in writer.acked} == writer.acked
    assert len(set(numbers)) == len(numbers)
    return len(records)


def places(cluster):
    """What the leader says: the first offset on its disk, and the one after the last in the tier."""
    leader = cluster.leader(TOPIC)
    if leader is None or not leader.alive():
        return None
    try:
        _, local, tiered, _ = edges(leader, TOPIC)
    except (OSError, AssertionError):
        return None
    return local, tiered + 1


def knows(cluster, end):
    local, tiered = places(cluster) or (0, 0)
    return local > 0 and tiered >= end


def await_tiered(cluster, count):
    """All of `count` records but what still waits in the active segment is in the tier, and old ones are there alone."""
    in_active = 2 * MIB // SIZE

    def there():
        local, end = places(cluster) or (0, 0)
        return local > 0 and end >= count - in_active and (local, end)
    return cluster.wait(f"segments are uploaded and dropped: {places(cluster)} of {count}", there, LIMIT_S)


def test_leaders_die_in_the_middle_of_uploads_and_the_log_stays_whole(cluster):
    writer = Writer(cluster)
    writer.write(60)
    await_tiered(cluster, 60)
    for _ in range(3):
        before = len(list(cluster.bucket.rglob("*.seg")))
        # Segments are sealed and on their way when the leader goes.
        while len(list(cluster.bucket.rglob("*.seg"))) == before:
            writer.write(5)
        _, end = cluster.wait("it is known where the tier ends", lambda: places(cluster))
        leader = cluster.wait("somebody leads", lambda: cluster.leader(TOPIC))
        leader.kill()
        writer.write(30)
        # The new leader knew by replay what the old one had uploaded, and dropped.
        cluster.wait("the new leader knows the tier", lambda: knows(cluster, end), LIMIT_S)
        leader.start()
    count = check(cluster, writer)
    await_tiered(cluster, count)
    assert check(cluster, writer) == count
    code, said = run_tool("tier", "verify", "--config", str(cluster.config))
    assert code == 0 and "everything can be read" in said, said
    # One cluster claimed the bucket, and nobody took it over.
    code, said = run_tool("tier", "ls", "--config", str(cluster.config))
    assert code == 0 and "(claim 1)" in said, said


def test_produce_goes_on_while_the_bucket_cannot_be_written(cluster):
    writer = Writer(cluster)
    writer.write(60)
    await_tiered(cluster, 60)
    # A file in the place of the directory: every request fails, whoever runs the test.
    away = cluster.bucket.with_name("bucket.away")
    shutil.rmtree(away, ignore_errors=True)
    os.rename(cluster.bucket, away)
    cluster.bucket.write_bytes(b"")
    writer.write(80)
    cluster.wait("it is told why nothing is uploaded", lambda: complaints(cluster), LIMIT_S)
    leader = cluster.wait("somebody leads", lambda: cluster.leader(TOPIC))
    leader.kill()
    writer.write(20)
    cluster.bucket.unlink()
    os.rename(away, cluster.bucket)
    leader.start()
    count = check(cluster, writer)
    await_tiered(cluster, count)
    assert check(cluster, writer) == count


class Reader(threading.Thread):
    """A client that reads everything again and again until it is told to stop: from the beginning, from offsets and from
    timestamps on both sides of the edge. `rounds` counts what it has read, each time as it should be."""

    def __init__(self, cluster, driver, ledger, edge):
        super().__init__(daemon=True)
        self.cluster, self.driver, self.ledger, self.edge = cluster, driver, ledger, edge
        self.stopping, self.rounds, self.wrong = threading.Event(), 0, None

    def run(self):
        while not self.stopping.is_set() and self.wrong is None:
            try:
                self.read_all()
                self.rounds += 1
            except Exception as error:  # noqa: BLE001
                self.wrong = repr(error)

    def read_all(self):
        end = len(self.ledger.acked)
        for first in (0, 1, self.edge - 1, self.edge + 1):
            begins = [{"from": {"0": first}}, {"since": {"0": RECENT + first}}]
            for begin in begins if first else [{}, *begins]:
                read = self.driver.consume(self.cluster, TOPIC, {"0": end}, **begin)
                wanted = Ledger()
                wanted.acked = {place: one for place, one in self.ledger.acked.items() if place[1] >= first}
                complaints = wanted.compare(read)
                assert complaints == {}, (begin, complaints)


def test_real_clients_read_across_the_edge_while_nodes_are_killed(cluster, drivers):
    rng, ledger, count = random.Random(14), Ledger(), 400
    records = [record(0, b"k%d" % number, rng.randbytes(20_000), [("n", b"%d" % number)], RECENT + number)
               for number in range(count)]
    for client, codec, part in (("confluent-kafka", "none", records[:200]), ("java", "zstd", records[200:])):
        acks = drivers[client].produce(cluster, TOPIC, part, codec, idempotent=True)
        assert ledger.add(client, part, acks) == []
    cluster.wait("some of it is in the bucket alone", lambda: (places(cluster) or (0, 0))[0] > 100, LIMIT_S)
    edge, end = places(cluster)
    assert end >= edge and edge < count, "what is not local is in the tier"
    readers = [Reader(cluster, drivers[name], ledger, edge) for name in ("confluent-kafka", "java", "kafka-python")]
    for reader in readers:
        reader.start()
    try:
        for number in range(4):
            before = [reader.rounds for reader in readers]
            # The leader, and then another one.
            victim = cluster.wait("somebody leads", lambda: cluster.leader(TOPIC), LIMIT_S)
            if number % 2:
                victim = cluster.others(victim)[0]
            victim.kill()
            cluster.wait("somebody else leads", lambda: knows(cluster, end), LIMIT_S)
            victim.start()
            cluster.wait(lambda: [reader.wrong for reader in readers],
                         lambda before=before: all(reader.wrong or reader.rounds > was
                                                   for reader, was in zip(readers, before, strict=True)), LIMIT_S)
            assert [reader.wrong for reader in readers] == [None] * len(readers)
    finally:
        for reader in readers:
            reader.stopping.set()
        for reader in readers:
            reader.join(LIMIT_S)


def complaints(cluster):
    """How often nodes said that a round of the tier was not finished."""
    logs = (node.log_path.read_text(errors="replace") for node in cluster.nodes)
    return sum(log.count("event=tier_round_failed") for log in logs)
