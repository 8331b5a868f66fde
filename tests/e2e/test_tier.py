"""The object tier: segments move into a bucket, are read back as if they were local, and survive what the node survives."""

import os
import random
import shutil

import pytest
from harness.admin import create_topic
from harness.batch import RECENT, simple, split
from harness.log_client import LogClient
from harness.operator import admin_port, metrics, value
from harness.paths import CONTROL
from harness.records import Ledger, record
from harness.s3 import CREDENTIALS, S3, S3Server
from harness.tier import (
    LAPTOP, MIB, configure, edges, place, run_tool, settled, small_topic, status, wait_for,
)

pytestmark = pytest.mark.skipif(CONTROL, reason="the tier is ours")


class Tiered:
    """A node with a bucket."""

    def __init__(self, broker, text, keys):
        self.broker, self.keys = broker, keys
        self.config = configure(broker, text)

    def tool(self, *argv):
        return run_tool("tier", *argv, "--config", str(self.config))

    def segments(self):
        return [key for key in self.keys() if key.endswith(".seg")]


@pytest.fixture
def node(own_broker):
    bucket = own_broker.directory / "bucket"
    shutil.rmtree(bucket, ignore_errors=True)
    files = lambda: sorted(str(path.relative_to(bucket)) for path in bucket.rglob("*") if path.is_file())  # noqa: E731
    tiered = Tiered(own_broker, LAPTOP.format(bucket=bucket), files)
    tiered.bucket = bucket
    own_broker.restart()
    yield tiered
    own_broker.kill()
    shutil.rmtree(bucket, ignore_errors=True)


@pytest.fixture
def s3_node(own_broker, monkeypatch):
    for name, value_ in CREDENTIALS.items():
        monkeypatch.setenv(name, value_)
    server = S3Server(own_broker.directory)
    tiered = Tiered(own_broker, S3.format(folder="one/two", port=server.port), server.keys)
    own_broker.restart()
    yield tiered
    own_broker.kill()
    server.close()


def sample(first, count, rng):
    """Records whose bytes do not shrink, each with its offset in its timestamp."""
    return [record(0, b"k%d" % number, rng.randbytes(20_000), [("n", b"%d" % number)], RECENT + number)
            for number in range(first, first + count)]


def fill(node, drivers, topic, ledger, rng, count, client="confluent-kafka", codec="none"):
    records = sample(len(ledger.acked), count, rng)
    acks = drivers[client].produce(node.broker, topic, records, codec)
    assert ledger.add(f"{client}-{codec}", records, acks) == []


def await_cold(node, topic, end):
    """Waits until all but the tail of `end` records is in the tier, and most of that is on no local disk any more."""
    def cold():
        start, local, tiered, log_end = edges(node.broker, topic)
        assert (start, log_end) == (0, end)
        # A segment may be twice its limit, because a batch is not cut: that is 100 records, and 210 may stay local.
        return local > end - 250 and tiered >= end - 120 and (local, tiered)
    return wait_for(lambda: f"the tier does not take over: {edges(node.broker, topic)}", cold)


def check_read(node, drivers, topic, ledger, *clients):
    for client in clients:
        read = drivers[client].consume(node.broker, topic, {"0": len(ledger.acked)})
        assert ledger.compare(read) == {}, client


def check_bucket(node, topic):
    """The bucket alone gives the same bytes as the broker, and is whole."""
    end = wait_for("the tier rests", lambda: settled(node.broker, topic))
    code, listed = node.tool("ls")
    assert code == 0, listed
    line = [line for line in listed.splitlines() if f"offsets 0..{end}," in line]
    assert len(line) == 1, listed
    partition = line[0].split(":")[0]
    out = node.broker.directory / "cat.bin"
    out.unlink(missing_ok=True)
    code, said = node.tool("cat", partition, "--out", str(out))
    assert code == 0, said
    cold = split(out.read_bytes())
    with LogClient(node.broker.port) as log:
        hot = log.batches(topic)[:len(cold)]
    assert cold and [batch.raw for batch in cold] == [batch.raw for batch in hot]
    assert cold[-1].next_offset == end == edges(node.broker, topic)[2] + 1
    code, said = node.tool("verify")
    assert code == 0 and "everything can be read" in said, said


def test_a_laptop_reads_its_cold_records_back_through_restarts(node, drivers, topic):
    rng = random.Random(7)
    ledger = Ledger()
    create_topic(node.broker, topic, configs={"segment.bytes": MIB})
    for client, codec in (("confluent-kafka", "none"), ("kafka-python", "gzip"), ("confluent-kafka", "lz4")):
        fill(node, drivers, topic, ledger, rng, 200, client, codec)
    local, tiered = await_cold(node, topic, 600)
    assert local <= tiered + 1, "what is not local is in the tier"
    check_read(node, drivers, topic, ledger, "confluent-kafka", "kafka-python")
    with LogClient(node.broker.port) as log:
        for offset in (0, 1, local - 1, local, 599):
            assert log.offset_at(topic, RECENT + offset)[0] == offset, f"by time, with the edge at {local}"
    # What is known of the tier outlives the process, however it ends.
    assert node.broker.terminate() == 0
    node.broker.start()
    check_read(node, drivers, topic, ledger, "confluent-kafka")
    fill(node, drivers, topic, ledger, rng, 100)
    node.broker.restart()
    assert edges(node.broker, topic)[1] >= local
    await_cold(node, topic, 700)
    check_read(node, drivers, topic, ledger, "java", "confluent-kafka")
    check_bucket(node, topic)
    # One bit of one object is noticed by name.
    victim = node.bucket / node.segments()[2]
    before = victim.read_bytes()
    victim.write_bytes(before[:5000] + bytes([before[5000] ^ 1]) + before[5001:])
    code, said = node.tool("verify")
    assert code == 1 and victim.name in said, said


def folder_of(key):
    return key[:key.index("/seg/")]


def test_an_s3_user_reads_cold_records_back_and_deletes_them(s3_node, drivers, topic):
    node, rng = s3_node, random.Random(8)
    ledger = Ledger()
    small_topic(node.broker, topic)
    fill(node, drivers, topic, ledger, rng, 300)
    await_cold(node, topic, 300)
    check_read(node, drivers, topic, ledger, "confluent-kafka")
    check_bucket(node, topic)
    # Operators see it over HTTP, on the command line, and as metrics.
    report, one = status(node.broker), place(node.broker, topic)
    assert report["bucket"].startswith("s3://") and report["claim"] == 1 and report["requests"]["puts"] > 0, report
    code, said = run_tool("tier", "status", "--admin", f"127.0.0.1:{admin_port(node.broker)}")
    assert code == 0 and f"{topic}-0" in said and f"0..{one['tiered_end_offset']}" in said, said
    samples, _ = metrics(admin_port(node.broker))
    where = {"topic": topic, "partition": "0"}
    assert value(samples, "chronik_partition_tier_end_offset", **where) == one["tiered_end_offset"]
    assert value(samples, "chronik_tier_requests_total", kind="put") >= report["requests"]["puts"]
    assert value(samples, "chronik_tier_segments_uploaded_total") >= len(node.segments())
    # What is deleted leaves the bucket: records first, then all of the topic.
    folder = folder_of(node.segments()[0])
    before = len(node.segments())
    with LogClient(node.broker.port) as log:
        answer = log.call("DeleteRecords", 2, TimeoutMs=30000, Topics=[{
            "Name": topic, "Partitions": [{"PartitionIndex": 0, "Offset": 200}]}])
        assert answer["Topics"][0]["Partitions"][0]["ErrorCode"] == 0, answer
        assert log.offset_at(topic, -2)[0] == 200
    wait_for("objects of deleted records go", lambda: len(node.segments()) <= before - 2)
    wait_for("nothing waits for its deletion", lambda: place(node.broker, topic)["garbage_objects"] == 0)
    code, said = node.tool("verify")
    assert code == 0, said
    with LogClient(node.broker.port) as log:
        assert [r[0] for r in log.records(topic, start=200)] == list(range(200, 300))
        answer = log.call("DeleteTopics", 5, TopicNames=[topic], TimeoutMs=30000)
        assert answer["Responses"][0]["ErrorCode"] == 0, answer
    wait_for("nothing of a deleted topic stays", lambda: not [key for key in node.keys() if folder in key])
    assert node.tool("verify")[0] == 0


def test_what_cannot_work_is_told_with_the_key(node, topic, tmp_path):
    broken = tmp_path / "broken.toml"
    for line, word in (('tier.url = "gs://bucket"', "tier.url"), ('tier.url = "file://relative"', "three slashes"),
                       ("topics.remote_storage_enable = true", "tier.url")):
        broken.write_text(line + "\n")
        code, said = run_tool("tier", "ls", "--config", str(broken))
        assert code == 1 and word in said, said
    # A bucket has one cluster; another is told whose it is, and serves clients all the same.
    small_topic(node.broker, topic)
    with LogClient(node.broker.port) as log:
        log.append(topic, simple([os.urandom(2 * MIB // 3)]))
    wait_for("the first cluster claims the bucket", lambda: status(node.broker)["claim"] == 1)
    node.broker.kill()
    shutil.rmtree(node.broker.data)
    node.broker.data.mkdir()
    node.broker.start()
    small_topic(node.broker, topic)
    with LogClient(node.broker.port) as log:
        for _ in range(4):
            log.append(topic, simple([os.urandom(2 * MIB // 3)]))
    refused = wait_for("it is refused", lambda: place(node.broker, topic)["failure"])
    assert "belongs to cluster" in refused and "tier.url" in refused, refused
    with LogClient(node.broker.port) as log:
        assert len(log.records(topic)) == 4
