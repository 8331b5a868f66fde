"""The admin clients of librdkafka and kafka-python, and kcat's own modes."""

import json
import subprocess
import time

import pytest
from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from harness.admin import create_topic
from harness.batch import RECENT, build, simple
from harness.paths import CONTROL
from kafka.admin import KafkaAdminClient


@pytest.fixture
def admin(broker):
    return AdminClient({"bootstrap.servers": broker.bootstrap})


def one(futures):
    return next(iter(futures.values())).result(30)


def await_partitions(admin, topic, count):
    """The control broker may answer before all of it knows."""
    limit = time.monotonic() + (20 if CONTROL else 0)
    while True:
        found = admin.list_topics(topic, timeout=20).topics[topic]
        if found.error is None and len(found.partitions) == count:
            return
        assert time.monotonic() < limit, (found.error, len(found.partitions))


def test_librdkafka_topics_and_configs(admin, topic):
    one(admin.create_topics([NewTopic(topic, 2, 1, config={"retention.ms": "90000000"})]))
    await_partitions(admin, topic, 2)
    with pytest.raises(KafkaException) as refused:
        one(admin.create_topics([NewTopic(topic, 2, 1)]))
    assert refused.value.args[0].name() == "TOPIC_ALREADY_EXISTS"
    one(admin.create_partitions([NewPartitions(topic, 4)]))
    await_partitions(admin, topic, 4)
    resource = ConfigResource(ResourceType.TOPIC, topic)
    assert one(admin.describe_configs([resource]))["retention.ms"].value == "90000000"
    change = ConfigEntry("retention.ms", "80000000", incremental_operation=AlterConfigOpType.SET)
    one(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])]))
    assert one(admin.describe_configs([resource]))["retention.ms"].value == "80000000"
    one(admin.delete_topics([topic]))


def test_librdkafka_offsets_and_records(admin, broker, log, topic):
    create_topic(broker, topic)
    for i in range(10):
        log.append(topic, build([(RECENT + i * 10, None, b"v")], "gzip"))
    place = TopicPartition(topic, 0)
    for spec, expected in ((OffsetSpec.latest(), 10), (OffsetSpec.earliest(), 0), (OffsetSpec.max_timestamp(), 9),
                           (OffsetSpec.for_timestamp(RECENT + 41), 5)):
        assert one(admin.list_offsets({place: spec})).offset == expected
    assert one(admin.delete_records([TopicPartition(topic, 0, 4)])).low_watermark == 4
    assert one(admin.list_offsets({place: OffsetSpec.earliest()})).offset == 4


def test_librdkafka_groups(admin, broker, log, topic):
    create_topic(broker, topic)
    log.append(topic, simple([b"x"] * 7))
    group = f"g-{topic}"
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 5)])
    # This client hands on what a coordinator says that still reads its log, as one does that has just been made.
    loading = KafkaError.COORDINATOR_LOAD_IN_PROGRESS
    limit = time.monotonic() + 20
    while error := one(admin.alter_consumer_group_offsets([wanted])).topic_partitions[0].error:
        assert error.code() == loading and time.monotonic() < limit, error
    found = one(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
    assert [(p.topic, p.partition, p.offset) for p in found.topic_partitions] == [(topic, 0, 5)]
    assert group in {g.group_id for g in admin.list_consumer_groups().result(30).valid}
    described = one(admin.describe_consumer_groups([group]))
    assert described.state == ConsumerGroupState.EMPTY and described.members == []
    one(admin.delete_consumer_groups([group]))
    assert group not in {g.group_id for g in admin.list_consumer_groups().result(30).valid}


def test_librdkafka_cluster(admin, broker):
    cluster = admin.describe_cluster().result(30)
    assert [(n.id, n.port) for n in cluster.nodes] == [(1, broker.port)]
    assert cluster.cluster_id


def test_kafka_python_admin(broker, topic):
    client = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        client.create_topics({topic: {"num_partitions": 3, "replication_factor": 1}})
        limit = time.monotonic() + (20 if CONTROL else 0)
        while topic not in client.list_topics():
            assert time.monotonic() < limit
        described = client.describe_topics([topic])[0]
        assert len(described["partitions"]) == 3
        client.delete_topics([topic])
    finally:
        client.close()


def kcat(*args, data=None):
    done = subprocess.run(["kcat", *args], input=data, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_kcat_lists_and_queries(broker, log, topic):
    create_topic(broker, topic, 2)
    log.append(topic, build([(RECENT + i, None, b"v") for i in range(9)]))
    listed = json.loads(kcat("-L", "-J", "-b", broker.bootstrap, "-t", topic))
    assert [b["id"] for b in listed["brokers"]] == [1] and listed["controllerid"] == 1
    assert [p["leader"] for p in listed["topics"][0]["partitions"]] == [1, 1]
    answer = kcat("-Q", "-b", broker.bootstrap, "-t", f"{topic}:0:{RECENT + 4}").decode()
    assert answer.split() == [topic, "[0]", "offset", "4"]


def test_kcat_in_a_group(broker, log, topic):
    create_topic(broker, topic, 2)
    for partition in range(2):
        log.append(topic, simple([b"%d-%d" % (partition, i) for i in range(20)]), partition)
    out = kcat("-b", broker.bootstrap, "-G", f"g-{topic}", "-q", "-e", "-o", "beginning", topic)
    assert sorted(out.split()) == sorted(b"%d-%d" % (p, i) for p in range(2) for i in range(20))
    log.append(topic, simple([b"later"]), 1)
    assert kcat("-b", broker.bootstrap, "-G", f"g-{topic}", "-q", "-e", "-o", "stored", topic).split() == [b"later"]
