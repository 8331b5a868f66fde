"""The object tier under three nodes: one uploads, the others know, and no kill and no dead store loses or doubles a record."""

import os
import shutil

import pytest
from conftest import directory_for
from harness.batch import simple
from harness.cluster import Cluster
from harness.log_client import LogClient
from harness.paths import CONTROL
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


def complaints(cluster):
    """How often nodes said that a round of the tier was not finished."""
    logs = (node.log_path.read_text(errors="replace") for node in cluster.nodes)
    return sum(log.count("event=tier_round_failed") for log in logs)
