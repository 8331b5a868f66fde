"""The object tier: segments move into a bucket, are read back as if they were local, and survive what the node survives."""

import random
import subprocess
import time

import pytest
from harness.admin import create_topic
from harness.batch import RECENT, split
from harness.log_client import LogClient
from harness.paths import CONTROL, SERVER
from harness.records import Ledger, record

pytestmark = pytest.mark.skipif(CONTROL, reason="the tier is ours")

MIB = 1 << 20
LIMIT_S = 120
EARLIEST, EARLIEST_LOCAL, LATEST_TIERED = -2, -4, -5
# What a laptop user writes: the first three lines. The rest makes a test short.
LAPTOP = """
tier.url = "file://{bucket}"
topics.remote_storage_enable = true
topics.local_retention_bytes = {local}
tier.upload_interval_ms = 50
tier.delete_grace_ms = 0
topics.retention_check_interval_ms = 100
storage.journal_file_bytes = "8MiB"
storage.max_journal_files = 2
storage.recycled_bytes = 0
"""


def wait_for(what, condition):
    limit = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < limit, what
        time.sleep(0.05)
    return found


class Tiered:
    """A node with a bucket beside its data directory."""

    def __init__(self, broker):
        self.broker = broker
        self.bucket = broker.directory / "bucket"
        self.config = broker.directory / "node.toml"
        self.config.write_text(LAPTOP.format(bucket=self.bucket, local=2 * MIB))
        broker.extra_args = ["--config", str(self.config), "--admin-port", "0"]

    def tool(self, *argv):
        """Runs `chronik-server tier ...` on the node's own configuration; returns its exit code and output."""
        done = subprocess.run([SERVER, "tier", *argv, "--config", str(self.config)], capture_output=True, text=True,
                              timeout=LIMIT_S)
        return done.returncode, done.stdout + done.stderr

    def objects(self):
        return sorted(self.bucket.rglob("*.seg"))


@pytest.fixture
def node(own_broker):
    tiered = Tiered(own_broker)
    subprocess.run(["rm", "-rf", tiered.bucket], check=True)
    own_broker.restart()
    yield tiered
    own_broker.kill()
    subprocess.run(["rm", "-rf", tiered.bucket], check=True)


def sample(first, count, rng):
    """Records whose bytes do not shrink, each with its offset in its timestamp."""
    return [record(0, b"k%d" % number, rng.randbytes(20_000), [("n", b"%d" % number)], RECENT + number)
            for number in range(first, first + count)]


def fill(node, drivers, topic, ledger, rng, count, client="confluent-kafka", codec="none"):
    records = sample(len(ledger.acked), count, rng)
    acks = drivers[client].produce(node.broker, topic, records, codec)
    assert ledger.add(f"{client}-{codec}", records, acks) == []


def edges(node, topic):
    """Log start, first local offset, last tiered offset, log end."""
    with LogClient(node.broker.port) as log:
        return tuple(log.offset_at(topic, time)[0] for time in (EARLIEST, EARLIEST_LOCAL, LATEST_TIERED, -1))


def await_cold(node, topic, end):
    """Waits until all but the tail of `end` records is in the tier, and most of that is on no local disk any more."""
    def cold():
        start, local, tiered, log_end = edges(node, topic)
        assert (start, log_end) == (0, end)
        return local > end // 2 and tiered >= end - 120 and (local, tiered)
    return wait_for(f"the tier does not take over: {edges(node, topic)}", cold)


def check_read(node, drivers, topic, ledger, *clients):
    for client in clients:
        read = drivers[client].consume(node.broker, topic, {"0": len(ledger.acked)})
        assert ledger.compare(read) == {}, client


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
    assert edges(node, topic)[1] >= local
    await_cold(node, topic, 700)
    check_read(node, drivers, topic, ledger, "java", "confluent-kafka")
    check_bucket(node, topic)


def check_bucket(node, topic):
    """The bucket alone gives the same bytes as the broker, and is whole."""
    status, listed = node.tool("ls")
    assert status == 0, listed
    place = [line for line in listed.splitlines() if "offsets 0.." in line]
    assert len(place) == 1, listed
    partition = place[0].split(":")[0]
    out = node.broker.directory / "cat.bin"
    out.unlink(missing_ok=True)
    status, said = node.tool("cat", partition, "--out", str(out))
    assert status == 0, said
    cold = split(out.read_bytes())
    with LogClient(node.broker.port) as log:
        hot = log.batches(topic)[:len(cold)]
    assert cold and [batch.raw for batch in cold] == [batch.raw for batch in hot]
    assert cold[-1].next_offset == edges(node, topic)[2] + 1
    status, said = node.tool("verify")
    assert status == 0 and "everything can be read" in said, said
    victim = node.objects()[2]
    before = victim.read_bytes()
    victim.write_bytes(before[:5000] + bytes([before[5000] ^ 1]) + before[5001:])
    status, said = node.tool("verify")
    assert status == 1 and victim.name in said, said
    victim.write_bytes(before)
    assert node.tool("verify")[0] == 0
