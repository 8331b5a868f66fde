"""Kafka's own command line tools, called in one JVM."""

import json
import time

import pytest
from harness.admin import await_usable, create_topic
from harness.batch import simple
from harness.drivers import java_main
from harness.paths import CONTROL

TOPICS = "org.apache.kafka.tools.TopicCommand"
CONFIGS = "kafka.admin.ConfigCommand"
GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
OFFSETS = "org.apache.kafka.tools.GetOffsetShell"
PRODUCER = "org.apache.kafka.tools.ConsoleProducer"
CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
DELETE = "org.apache.kafka.tools.DeleteRecordsCommand"
VERSIONS = "org.apache.kafka.tools.BrokerApiVersionsCommand"
VERIFIABLE_PRODUCER = "org.apache.kafka.tools.VerifiableProducer"
VERIFIABLE_CONSUMER = "org.apache.kafka.tools.VerifiableConsumer"


@pytest.fixture
def tool(drivers, broker):
    """Runs a tool against the broker, and insists on success unless told otherwise."""
    def run(main, *args, status=0, **more):
        answer = drivers["java"].tool(main, "--bootstrap-server", broker.bootstrap, *args, **more)
        assert not answer["hung"], f"{main} does not end: {answer}"
        if status is not None:
            assert answer["exit"] == status, f"{main} {args}: {answer['out']}\n{answer['err'][-3000:]}"
        return answer["out"] + (answer["err"] if status else "")
    return run


def events(out, name):
    found = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return [e for e in found if e.get("name") == name]


def test_kafka_topics(tool, log, topic):
    assert "Created topic" in tool(TOPICS, "--create", "--topic", topic, "--partitions", "3", "--replication-factor", "1",
                                   "--config", "retention.ms=1234567")
    await_usable(log, topic, 3)
    assert topic in tool(TOPICS, "--list").split()
    described = tool(TOPICS, "--describe", "--topic", topic)
    assert "PartitionCount: 3" in described and "retention.ms=1234567" in described
    assert described.count("Leader: 1") == 3 and described.count("Isr: 1") == 3
    tool(TOPICS, "--alter", "--topic", topic, "--partitions", "5")
    await_usable(log, topic, 5)
    assert "PartitionCount: 5" in tool(TOPICS, "--describe", "--topic", topic)
    assert "already exists" in tool(TOPICS, "--create", "--topic", topic, status=1)
    for flag in ("--under-replicated-partitions", "--unavailable-partitions"):
        assert topic not in tool(TOPICS, "--describe", flag)
    tool(TOPICS, "--delete", "--topic", topic)
    limit = time.monotonic() + 20
    while topic in tool(TOPICS, "--list").split():
        assert CONTROL and time.monotonic() < limit


def test_kafka_configs(tool, broker, topic):
    create_topic(broker, topic)
    entity = ("--entity-type", "topics", "--entity-name", topic)
    tool(CONFIGS, "--alter", *entity, "--add-config", "retention.ms=90000000,max.message.bytes=50000")
    described = tool(CONFIGS, "--describe", *entity)
    assert "retention.ms=90000000" in described and "max.message.bytes=50000" in described
    tool(CONFIGS, "--alter", *entity, "--delete-config", "retention.ms")
    assert "retention.ms=90000000" not in tool(CONFIGS, "--describe", *entity)
    assert "retention.ms=604800000" in tool(CONFIGS, "--describe", "--all", *entity)
    assert "nvalid" in tool(CONFIGS, "--alter", *entity, "--add-config", "retention.ms=soon", status=1)
    assert "log.dir" in tool(CONFIGS, "--describe", "--all", "--entity-type", "brokers", "--entity-name", "1")


def test_console_producer_and_consumer(tool, broker, topic):
    create_topic(broker, topic, 2)
    lines = [f"key{i}:value {i}" for i in range(50)]
    tool(PRODUCER, "--topic", topic, "--reader-property", "parse.key=true", "--reader-property", "key.separator=:",
         "--compression-codec", "zstd", input="\n".join(lines) + "\n")
    out = tool(CONSUMER, "--topic", topic, "--from-beginning", "--max-messages", "50", "--timeout-ms", "20000",
               "--formatter-property", "print.key=true", "--formatter-property", "key.separator=:")
    assert sorted(out.split("\n")[:-1]) == sorted(lines)
    total = tool(OFFSETS, "--topic", topic)
    assert sum(int(line.rsplit(":", 1)[1]) for line in total.split()) == 50
    assert sorted(tool(OFFSETS, "--topic", topic, "--time", "earliest").split()) == [f"{topic}:0:0", f"{topic}:1:0"]


def test_kafka_consumer_groups(tool, broker, log, topic):
    create_topic(broker, topic, 2)
    for partition in range(2):
        log.append(topic, simple([b"v%d" % i for i in range(10)]), partition)
    group = f"console-{topic}"
    tool(CONSUMER, "--topic", topic, "--group", group, "--from-beginning", "--max-messages", "20", "--timeout-ms",
         "20000")
    assert group in tool(GROUPS, "--list").split()
    described = tool(GROUPS, "--describe", "--group", group)
    rows = [line.split() for line in described.splitlines() if topic in line.split()]
    assert sorted((r[2], r[3], r[4], r[5]) for r in rows) == [("0", "10", "10", "0"), ("1", "10", "10", "0")]
    assert "Empty" in tool(GROUPS, "--describe", "--state", "--group", group)
    reset = ("--reset-offsets", "--group", group, "--topic", f"{topic}:0")
    tool(GROUPS, *reset, "--to-offset", "4", "--execute")
    tool(GROUPS, *reset[:-1], f"{topic}:1", "--to-earliest", "--execute")
    described = tool(GROUPS, "--describe", "--group", group)
    rows = [line.split() for line in described.splitlines() if topic in line.split()]
    assert sorted((r[2], r[3], r[5]) for r in rows) == [("0", "4", "6"), ("1", "0", "10")]
    tool(GROUPS, "--delete-offsets", "--group", group, "--topic", f"{topic}:0")
    assert "successful" in tool(GROUPS, "--delete", "--group", group)
    assert group not in tool(GROUPS, "--list").split()


def test_delete_records(tool, broker, log, topic, tmp_path):
    create_topic(broker, topic)
    log.append(topic, simple([b"x"] * 10))
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 6}]}))
    assert "low_watermark: 6" in tool(DELETE, "--offset-json-file", str(plan))
    assert log.offset_at(topic, -2)[0] == 6


def test_broker_api_versions(tool):
    out = tool(VERSIONS)
    assert "Produce(0): 0 to 13 [usable: 13]" in out and "Fetch(1): 4 to 18 [usable: 18]" in out


def test_verifiable_producer_and_consumer(broker, topic):
    create_topic(broker, topic, 3)
    common = ("--bootstrap-server", broker.bootstrap, "--topic", topic, "--max-messages", "2000")
    out = java_main(VERIFIABLE_PRODUCER, *common, "--acks", "-1")
    acked = events(out, "producer_send_success")
    assert len(acked) == 2000, out[-3000:]
    assert events(out, "tool_data")[-1]["acked"] == 2000
    out = java_main(VERIFIABLE_CONSUMER, *common, "--group-id", f"verifiable-{topic}", "--reset-policy", "earliest",
                    "--verbose")
    read = events(out, "record_data")
    assert sorted((r["partition"], r["offset"], r["value"]) for r in read) == \
        sorted((a["partition"], a["offset"], a["value"]) for a in acked)
    committed = {}
    for event in events(out, "offsets_committed"):
        assert event["success"], event
        committed.update({o["partition"]: o["offset"] for o in event["offsets"]})
    assert sum(committed.values()) == 2000
