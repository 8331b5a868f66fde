"""A full disk: writes are refused with an error, everything else goes on, and writes return with the space."""

import re

import pytest
from harness import errors
from harness.admin import create_topic
from harness.batch import simple
from harness.log_client import LogClient
from harness.operator import admin_port, cluster, get_json, metrics, value
from harness.paths import CONTROL
from harness.small_disk import MIB, fill, free_mib, small_disk, write_again

pytestmark = pytest.mark.skipif(CONTROL, reason="about our own store")

CONFIG = """
[topics]
retention_check_interval_ms = 100
[storage]
journal_file_bytes = "8MiB"
max_journal_files = 2
min_free_bytes = "8MiB"
"""


@pytest.fixture
def node(own_broker):
    with small_disk(own_broker):
        path = own_broker.directory / "node.toml"
        path.write_text(CONFIG)
        own_broker.extra_args = ["--config", str(path), "--admin-port", "0"]
        own_broker.start()
        yield own_broker


def check_full(node, log, topic, acked):
    """What a full disk means: refusal with an error that is no lie, reads, health that says so."""
    port = admin_port(node)
    for partition in range(2):
        assert log.produce(topic, simple([b"y" * 200_000]), partition)["ErrorCode"] == errors.KAFKA_STORAGE_ERROR
    assert [r[3][:8] for r in log.records(topic)] == [b"%08d" % i for i in range(acked)]
    status, report = get_json(port, "/healthz")
    assert status == 503 and any("disk is full" in reason for reason in report["reasons"]), report
    assert get_json(port, "/readyz")[0] == get_json(port, "/livez")[0] == 200
    samples, _ = metrics(port)
    assert value(samples, "chronik_store_working") == 0
    assert cluster("health", port=port)[0] == 1
    assert free_mib(node) > 1, "the reserve was used up"
    assert len(re.findall("partition_failed", node.new_log())) == 0, "a log line for each refused request"


def test_writes_return_when_somebody_else_frees_space(node, topic):
    node.ballast.write_bytes(b"\0" * (32 * MIB))
    create_topic(node, topic, 2)
    with LogClient(node.port) as log:
        acked = fill(log, topic)
        assert acked > 100
        check_full(node, log, topic, acked)
        node.ballast.unlink()
        assert write_again(log, topic) == acked
        assert get_json(admin_port(node), "/healthz")[0] == 200
        assert len(log.records(topic)) == acked + 1


def test_a_full_disk_survives_kills(node, topic):
    node.ballast.write_bytes(b"\0" * (32 * MIB))
    create_topic(node, topic, 2)
    with LogClient(node.port) as log:
        acked = fill(log, topic)
    for _ in range(5):
        node.restart()
    with LogClient(node.port) as log:
        # The start may have freed something.
        acked = fill(log, topic, acked)
        check_full(node, log, topic, acked)
        node.ballast.unlink()
        assert write_again(log, topic) == acked


def test_deleting_records_makes_room_for_new_ones(node, topic):
    create_topic(node, topic, 2, configs={"segment.bytes": 2 * MIB})
    with LogClient(node.port) as log:
        acked = fill(log, topic)
        check_full(node, log, topic, acked)
        answer = log.call("DeleteRecords", 2, TimeoutMs=20000, Topics=[{
            "Name": topic, "Partitions": [{"PartitionIndex": 0, "Offset": acked - 5}]}])
        assert answer["Topics"][0]["Partitions"][0]["ErrorCode"] == 0, answer
        assert write_again(log, topic) >= acked
        assert get_json(admin_port(node), "/healthz")[0] == 200
        # Also what would be kept for later segments.
        assert fill(log, topic, acked + 1) > acked + 150, "the deleted records keep their space"


def test_retention_makes_room_for_new_records(node, topic):
    create_topic(node, topic, 2, configs={"segment.bytes": 2 * MIB})
    with LogClient(node.port) as log:
        acked = fill(log, topic)
        check_full(node, log, topic, acked)
        answer = log.call("IncrementalAlterConfigs", 1, ValidateOnly=False, Resources=[{
            "ResourceType": 2, "ResourceName": topic,
            "Configs": [{"Name": "retention.bytes", "ConfigOperation": 0, "Value": str(4 * MIB)}]}])
        assert answer["Responses"][0]["ErrorCode"] == 0, answer
        assert write_again(log, topic) >= acked


def test_deleting_a_topic_makes_room_for_the_others(node, topic):
    create_topic(node, topic, 2)
    create_topic(node, topic + "-other", 1)
    with LogClient(node.port) as log:
        acked = fill(log, topic)
        check_full(node, log, topic, acked)
        answer = log.call("DeleteTopics", 5, TimeoutMs=20000, TopicNames=[topic])
        assert answer["Responses"][0]["ErrorCode"] == 0, answer
        assert write_again(log, topic + "-other") == 0
