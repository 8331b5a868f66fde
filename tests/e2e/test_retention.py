"""Retention deletes: the log start moves, the disk's bytes fall, and consumers go on from what is left."""

import os
import time

import pytest
from confluent_kafka import Consumer
from harness import errors
from harness.admin import create_topic
from harness.batch import simple
from harness.log_client import LogClient
from harness.operator import admin_port, metrics, value
from harness.paths import CONTROL

pytestmark = pytest.mark.skipif(CONTROL, reason="about the files of our own store")

MIB = 1 << 20
LIMIT_S = 60
CONFIG = """
[topics]
retention_check_interval_ms = 100
[storage]
journal_file_bytes = "8MiB"
max_journal_files = 2
recycled_bytes = 0
"""


def disk_bytes(directory):
    """The blocks that the files take, as the kernel counts them."""
    total = 0
    for root, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def wait_for(what, condition):
    limit = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < limit, what
        time.sleep(0.05)
    return found


@pytest.fixture
def node(own_broker):
    """A broker whose retention looks often and whose store keeps no retired files."""
    path = own_broker.directory / "node.toml"
    path.write_text(CONFIG)
    own_broker.extra_args = ["--config", str(path), "--admin-port", "0"]
    own_broker.restart()
    return own_broker


def fill(log, topic, count, size=100_000):
    for number in range(count):
        log.append(topic, simple([b"%08d" % number + b"x" * (size - 8)]))


def consumed(broker, topic, group, count):
    """The offsets of the first `count` records that a consumer of a group gets that begins at the start."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    offsets, limit = [], time.monotonic() + LIMIT_S
    try:
        while len(offsets) < count:
            assert time.monotonic() < limit, f"{len(offsets)} of {count} records"
            message = consumer.poll(0.5)
            if message is None or message.error():
                continue
            assert message.value()[:8] == b"%08d" % message.offset()
            offsets.append(message.offset())
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    return offsets


def test_retention_by_size_deletes_and_consumers_go_on(node, topic):
    create_topic(node, topic, configs={"segment.bytes": MIB, "retention.bytes": -1})
    port = admin_port(node)
    with LogClient(node.port) as log:
        fill(log, topic, 300)
        # A member of a group stands at a record that will be deleted.
        assert consumed(node, topic, "early", 10) == list(range(10))
        before = disk_bytes(node.data)
        assert before > 25 * MIB
        answer = log.call("IncrementalAlterConfigs", 1, ValidateOnly=False, Resources=[{
            "ResourceType": 2, "ResourceName": topic,
            "Configs": [{"Name": "retention.bytes", "ConfigOperation": 0, "Value": str(4 * MIB)}]}])
        assert answer["Responses"][0]["ErrorCode"] == 0, answer
        # What is left is the limit, less than one segment above it, and the journal.
        wait_for("the disk's bytes do not fall", lambda: disk_bytes(node.data) < before - 20 * MIB)
        start = wait_for("the log start does not move", lambda: log.offset_at(topic, -2)[0])
        assert 300 - 7 * MIB // 100_000 <= start <= 300 - 4 * MIB // 100_000, start
        assert log.fetch_error(topic) == errors.OFFSET_OUT_OF_RANGE
        assert [r[0] for r in log.records(topic, start=start)] == list(range(start, 300))
        place = {"topic": topic, "partition": "0"}

        def told(name):
            return value(metrics(port)[0], name, **place)

        assert told("chronik_partition_log_start_offset") == start
        # The log goes up to a state that is stored, once there is one above what was deleted.
        wait_for("the log's bytes do not fall", lambda: told("chronik_partition_log_bytes") <= 6 * MIB)
        assert told("chronik_partition_log_bytes") >= 4 * MIB
        # A new group begins at what is left, and so does one whose offset is gone.
        assert consumed(node, topic, "new", 300 - start) == list(range(start, 300))
        assert consumed(node, topic, "early", 300 - start) == list(range(start, 300))
        # What retention decided holds after a kill.
        node.restart()
    with LogClient(node.port) as log:
        assert log.offset_at(topic, -2)[0] >= start
        fill(log, topic, 10)
        assert log.offset_at(topic, -1)[0] == 310


def test_retention_by_time_rolls_and_deletes_the_last_segment_too(node, topic):
    create_topic(node, topic, configs={"segment.bytes": 16 * MIB, "segment.ms": 300, "retention.ms": 500})
    with LogClient(node.port) as log:
        fill(log, topic, 20)
        wait_for("old records stay", lambda: log.offset_at(topic, -2)[0] == 20)
        assert log.records(topic, start=20) == []
        log.append(topic, simple([b"after"]))
        assert log.offset_at(topic, -1)[0] == 21
    node.restart()
    with LogClient(node.port) as log:
        assert log.offset_at(topic, -2)[0] >= 20
