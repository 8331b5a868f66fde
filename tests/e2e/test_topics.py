"""Topics, configs and cluster, seen on the wire."""

import pytest
from harness import errors
from harness.admin import await_usable, create_topic, topic_id
from harness.batch import simple, split
from harness.log_client import LogClient
from harness.paths import CONTROL

TOPIC, BROKER = 2, 4
SET, DELETE, APPEND, SUBTRACT = range(4)


@pytest.fixture
def one(log, topic):
    create_topic(log.owner, topic)
    return topic


def create(client, name, partitions=1, replicas=1, configs=(), validate_only=False, version=7, **more):
    answer = client.call("CreateTopics", version, timeoutMs=20000, validateOnly=validate_only, Topics=[
        {"Name": name, "NumPartitions": partitions, "ReplicationFactor": replicas,
         "Configs": [{"Name": k, "Value": v} for k, v in configs], **more}])
    return answer["Topics"][0]


def configs_of(client, topic, *names):
    answer = client.call("DescribeConfigs", 4, Resources=[
        {"ResourceType": TOPIC, "ResourceName": topic, "ConfigurationKeys": list(names) or None}])["Results"][0]
    assert answer["ErrorCode"] == 0, answer
    return {c["Name"]: c["Value"] for c in answer["Configs"]}


def alter(client, topic, *changes, validate_only=False):
    answer = client.call("IncrementalAlterConfigs", 1, ValidateOnly=validate_only, Resources=[
        {"ResourceType": TOPIC, "ResourceName": topic,
         "Configs": [{"Name": n, "ConfigOperation": op, "Value": v} for n, op, v in changes]}])
    return answer["Responses"][0]["ErrorCode"]


def test_the_answer_of_a_creation_tells_everything(log, topic):
    answer = create(log, topic, 3, configs=[("retention.ms", "12345")])
    assert (answer["ErrorCode"], answer["NumPartitions"], answer["ReplicationFactor"]) == (0, 3, 1)
    found = {c["Name"]: c["Value"] for c in answer["Configs"]}
    assert found["retention.ms"] == "12345"
    for name in ("cleanup.policy", "segment.bytes", "max.message.bytes", "min.insync.replicas", "retention.bytes"):
        assert name in found
    await_usable(log, topic, 3)
    assert answer["TopicId"] == topic_id(log, topic) and answer["TopicId"].int != 0


def test_broker_defaults_apply_on_request(log, topic):
    answer = create(log, topic, -1, -1)
    assert answer["ErrorCode"] == 0 and answer["NumPartitions"] >= 1 and answer["ReplicationFactor"] == 1


def test_validate_only_creates_nothing(log, topic):
    assert create(log, topic, validate_only=True)["ErrorCode"] == 0
    answer = log.call("Metadata", 12, Topics=[{"Name": topic}], AllowAutoTopicCreation=False)
    assert answer["Topics"][0]["ErrorCode"] == errors.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("name, partitions, replicas, configs, code", [
    ("", 1, 1, [], errors.INVALID_TOPIC), (".", 1, 1, [], errors.INVALID_TOPIC),
    ("..", 1, 1, [], errors.INVALID_TOPIC), ("a/b", 1, 1, [], errors.INVALID_TOPIC),
    ("a" * 250, 1, 1, [], errors.INVALID_TOPIC), ("bad name", 1, 1, [], errors.INVALID_TOPIC),
    ("none", 0, 1, [], errors.INVALID_PARTITIONS), ("none", -5, 1, [], errors.INVALID_PARTITIONS),
    ("none", 1, 3, [], errors.INVALID_REPLICATION_FACTOR), ("none", 1, 0, [], errors.INVALID_REPLICATION_FACTOR),
    ("none", 1, 1, [("retention.ms", "soon")], errors.INVALID_CONFIG),
    ("none", 1, 1, [("no.such.config", "1")], errors.INVALID_CONFIG),
    ("none", 1, 1, [("max.message.bytes", "-7")], errors.INVALID_CONFIG),
    ("none", 1, 1, [("cleanup.policy", "burn")], errors.INVALID_CONFIG)])
def test_bad_creations_are_refused(log, name, partitions, replicas, configs, code):
    answer = create(log, name, partitions, replicas, configs)
    assert answer["ErrorCode"] == code, answer


def test_a_topic_exists_once(log, one):
    assert create(log, one)["ErrorCode"] == errors.TOPIC_EXISTS


def test_names_that_collide_in_metrics_are_refused(log, topic):
    create_topic(log.owner, f"{topic}.a_b".replace("_", "."))
    other = f"{topic}.a_b".replace(".", "_")
    assert create(log, other)["ErrorCode"] in (errors.INVALID_TOPIC, 0)


def test_a_recreated_topic_has_a_new_id_and_no_records(log, one):
    log.append(one, simple([b"old"]))
    before = topic_id(log, one)
    answer = log.call("DeleteTopics", 6, TimeoutMs=20000, Topics=[{"Name": None, "TopicId": before}])
    assert (answer["Responses"][0]["ErrorCode"], answer["Responses"][0]["Name"]) == (0, one)
    assert log.fetch_error(one) in (errors.UNKNOWN_TOPIC_OR_PARTITION, 6)
    create_topic(log.owner, one)
    assert topic_id(log, one) != before
    assert log.fetch(one, 0)["Records"] == b""
    assert log.append(one, simple([b"new"])) == 0


def test_deletions_of_unknown_topics(log, one):
    answer = log.call("DeleteTopics", 5, TimeoutMs=20000, TopicNames=[one + "-none"])
    assert answer["Responses"][0]["ErrorCode"] == errors.UNKNOWN_TOPIC_OR_PARTITION
    unknown = type(topic_id(log, one))(int=77)
    answer = log.call("DeleteTopics", 6, TimeoutMs=20000, Topics=[{"Name": None, "TopicId": unknown}])
    assert answer["Responses"][0]["ErrorCode"] == errors.UNKNOWN_TOPIC_ID


def test_metadata_by_name_by_id_and_for_all(log, one):
    known = topic_id(log, one)
    by_id = log.call("Metadata", 12, Topics=[{"TopicId": known, "Name": None}])["Topics"][0]
    assert (by_id["ErrorCode"], by_id["Name"]) == (0, one)
    unknown = type(known)(int=5)
    assert log.call("Metadata", 12, Topics=[{"TopicId": unknown, "Name": None}])["Topics"][0]["ErrorCode"] == \
        errors.UNKNOWN_TOPIC_ID
    everything = log.call("Metadata", 12, Topics=None)
    assert one in {t["Name"] for t in everything["Topics"]}
    assert log.call("Metadata", 12, Topics=[])["Topics"] == []
    assert [b["NodeId"] for b in everything["Brokers"]] == [1]
    assert (everything["Brokers"][0]["Host"], everything["Brokers"][0]["Port"]) == ("127.0.0.1", log.owner.port)
    assert everything["ClusterId"]


def test_auto_creation_only_when_allowed(log, topic):
    answer = log.call("Metadata", 12, Topics=[{"Name": topic}], AllowAutoTopicCreation=False)
    assert answer["Topics"][0]["ErrorCode"] == errors.UNKNOWN_TOPIC_OR_PARTITION
    answer = log.call("Metadata", 12, Topics=[{"Name": "not valid!"}], AllowAutoTopicCreation=True)
    assert answer["Topics"][0]["ErrorCode"] == errors.INVALID_TOPIC
    everything = log.call("Metadata", 12, Topics=None)
    assert topic not in {t["Name"] for t in everything["Topics"]}


def test_partitions_are_added(log, one):
    values = {"TimeoutMs": 20000, "ValidateOnly": False}
    grow = lambda count: log.call("CreatePartitions", 3, Topics=[  # noqa: E731
        {"Name": one, "Count": count, "Assignments": None}], **values)["Results"][0]["ErrorCode"]
    assert grow(4) == 0
    await_usable(log, one, 4)
    assert log.append(one, simple([b"x"]), 3) == 0
    assert grow(4) == errors.INVALID_PARTITIONS
    assert grow(2) == errors.INVALID_PARTITIONS
    assert grow(0) == errors.INVALID_PARTITIONS


def test_configs_are_described_set_and_reset(log, one):
    assert configs_of(log, one, "retention.ms") == {"retention.ms": "604800000"}
    assert alter(log, one, ("retention.ms", SET, "1000000")) == 0
    assert configs_of(log, one, "retention.ms", "segment.bytes")["retention.ms"] == "1000000"
    assert alter(log, one, ("retention.ms", SET, "2"), validate_only=True) == 0
    assert configs_of(log, one)["retention.ms"] == "1000000"
    assert alter(log, one, ("retention.ms", DELETE, None)) == 0
    assert configs_of(log, one)["retention.ms"] == "604800000"
    for name, value in (("retention.ms", "never"), ("no.such", "1"), ("segment.bytes", "0")):
        assert alter(log, one, (name, SET, value)) == errors.INVALID_CONFIG, name


def test_list_configs_are_appended_and_subtracted(log, one):
    """The default is part of the list, and an element is in it once."""
    assert alter(log, one, ("cleanup.policy", APPEND, "delete")) == 0
    assert configs_of(log, one)["cleanup.policy"] == "delete"
    assert alter(log, one, ("cleanup.policy", SUBTRACT, "compact")) == 0
    assert configs_of(log, one)["cleanup.policy"] == "delete"
    assert alter(log, one, ("retention.ms", APPEND, "5")) == errors.INVALID_CONFIG
    assert alter(log, one, ("retention.ms", SET, "5"), ("retention.ms", SET, "6")) == errors.INVALID_REQUEST


@pytest.mark.skipif(CONTROL, reason="Kafka compacts")
def test_compaction_is_refused_as_long_as_nothing_compacts(log, one):
    for change in (("cleanup.policy", APPEND, "compact"), ("cleanup.policy", SET, "compact"),
                   ("cleanup.policy", SUBTRACT, "delete")):
        assert alter(log, one, change) == errors.INVALID_CONFIG, change
    assert configs_of(log, one)["cleanup.policy"] == "delete"


def test_alter_configs_replaces_all(log, one):
    assert alter(log, one, ("retention.ms", SET, "1000000")) == 0
    answer = log.call("AlterConfigs", 2, ValidateOnly=False, Resources=[
        {"ResourceType": TOPIC, "ResourceName": one, "Configs": [{"Name": "retention.bytes", "Value": "5000000"}]}])
    assert answer["Responses"][0]["ErrorCode"] == 0
    found = configs_of(log, one)
    assert (found["retention.ms"], found["retention.bytes"]) == ("604800000", "5000000")


def test_configs_of_an_unknown_topic(log, one):
    answer = log.call("DescribeConfigs", 4, Resources=[
        {"ResourceType": TOPIC, "ResourceName": one + "-none", "ConfigurationKeys": None}])
    assert answer["Results"][0]["ErrorCode"] == errors.UNKNOWN_TOPIC_OR_PARTITION
    assert alter(log, one + "-none", ("retention.ms", SET, "1")) == errors.UNKNOWN_TOPIC_OR_PARTITION


def test_broker_configs_are_described(log):
    answer = log.call("DescribeConfigs", 4, Resources=[
        {"ResourceType": BROKER, "ResourceName": "1", "ConfigurationKeys": None}])["Results"][0]
    assert answer["ErrorCode"] == 0
    assert "default.replication.factor" in {c["Name"] for c in answer["Configs"]}


def test_the_cluster_is_described(log):
    for version in (0, 1, 2):
        answer = log.call("DescribeCluster", version)
        assert answer["ErrorCode"] == 0 and answer["ControllerId"] == 1
        assert [(b["BrokerId"], b["Port"]) for b in answer["Brokers"]] == [(1, log.owner.port)]


def test_topic_partitions_are_described_with_a_cursor(log, topic):
    create_topic(log.owner, topic + "-a", 3)
    create_topic(log.owner, topic + "-b", 3)
    names = [{"Name": topic + "-a"}, {"Name": topic + "-b"}]
    seen, cursor = [], None
    for _ in range(10):
        answer = log.call("DescribeTopicPartitions", 0, Topics=names, ResponsePartitionLimit=2, Cursor=cursor)
        for t in answer["Topics"]:
            assert t["ErrorCode"] == 0
            seen += [(t["Name"], p["PartitionIndex"]) for p in t["Partitions"]]
        cursor = answer["NextCursor"]
        if cursor is None:
            break
    assert seen == [(topic + s, p) for s in ("-a", "-b") for p in range(3)]


def test_log_dirs_tell_the_size(log, one):
    log.append(one, simple([b"z" * 5000]))
    answer = log.call("DescribeLogDirs", 4, Topics=[{"Topic": one, "Partitions": [0]}])
    sizes = [p["PartitionSize"] for d in answer["Results"] for t in d["Topics"] for p in t["Partitions"]]
    assert len(sizes) == 1 and sizes[0] >= 5000


def test_offsets_for_leader_epochs(own_broker, topic):
    """The end of an epoch is where the next one began; epochs rise when a lone node restarts or stay as they are."""
    create_topic(own_broker, topic)
    ends = {}
    for _ in range(3):
        with LogClient(own_broker.port) as log:
            offset = log.append(topic, simple([b"a", b"b"]))
            epoch = split(log.fetch(topic, offset)["Records"])[0].leader_epoch
            ends[epoch] = offset + 2
        own_broker.restart()
    with LogClient(own_broker.port) as log:
        ask = lambda epoch: log.call("OffsetForLeaderEpoch", 4, Topics=[  # noqa: E731
            {"Topic": topic, "Partitions": [{"Partition": 0, "LeaderEpoch": epoch}]}])["Topics"][0]["Partitions"][0]
        for epoch, end in ends.items():
            answer = ask(epoch)
            assert (answer["ErrorCode"], answer["LeaderEpoch"], answer["EndOffset"]) == (0, epoch, end)
        assert ask(max(ends) + 1000)["EndOffset"] == -1


@pytest.mark.skipif(CONTROL, reason="Kafka's own rounding of time is not the point")
def test_topics_and_configs_survive_a_kill(own_broker, topic):
    create_topic(own_broker, topic, 5, {"retention.ms": 777777})
    with LogClient(own_broker.port) as log:
        before = topic_id(log, topic)
        cluster = log.call("Metadata", 12, Topics=[])["ClusterId"]
    own_broker.restart()
    with LogClient(own_broker.port) as log:
        await_usable(log, topic, 5)
        assert topic_id(log, topic) == before
        assert log.call("Metadata", 12, Topics=[])["ClusterId"] == cluster
        assert configs_of(log, topic)["retention.ms"] == "777777"
