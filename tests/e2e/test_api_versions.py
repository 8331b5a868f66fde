"""Which versions are advertised, that each answers by its schema, and what happens outside of them."""

import struct
import uuid

import pytest
from harness.admin import create_topic, topic_id
from harness.batch import simple
from harness.paths import CONTROL
from harness.raw import RawClient, frame, parse_response
from harness.schema import by_key, load

SERVED = [
    "Produce", "Fetch", "ListOffsets", "Metadata", "OffsetCommit", "OffsetFetch", "FindCoordinator", "JoinGroup",
    "Heartbeat", "LeaveGroup", "SyncGroup", "DescribeGroups", "ListGroups", "ApiVersions", "CreateTopics",
    "DeleteTopics", "DeleteRecords", "InitProducerId", "OffsetForLeaderEpoch", "DescribeConfigs", "AlterConfigs",
    "DescribeLogDirs", "CreatePartitions", "DeleteGroups", "IncrementalAlterConfigs", "OffsetDelete",
    "DescribeCluster", "DescribeTopicPartitions",
]
# Kafka 4.3 keeps these top versions back, although its schemas have them.
TOP = {"InitProducerId": 5}
NOTHING = uuid.UUID(int=0)


def advertised(client):
    answer = client.call("ApiVersions", 3, ClientSoftwareName="raw", ClientSoftwareVersion="1")
    assert answer["ErrorCode"] == 0
    return {a["ApiKey"]: (a["MinVersion"], a["MaxVersion"]) for a in answer["ApiKeys"]}


def expected_range(name):
    versions = load()[name + "Request"].versions()
    low = 0 if name == "Produce" else versions[0]
    return low, TOP.get(name, versions[-1])


def test_the_ranges_are_those_of_kafka(broker):
    with RawClient(broker.port) as client:
        got = advertised(client)
    for name in SERVED:
        assert got.get(load()[name + "Request"].key) == expected_range(name), name


@pytest.mark.skipif(CONTROL, reason="Kafka serves more than this")
def test_nothing_is_advertised_that_is_not_served(broker):
    with RawClient(broker.port) as client:
        extra = set(advertised(client)) - {load()[name + "Request"].key for name in SERVED}
    assert not extra, f"advertised, but no test knows them as served: {sorted(extra)}"


@pytest.mark.parametrize("version", range(5))
def test_every_api_versions_version_answers_alike(broker, version):
    values = {"ClientSoftwareName": "raw", "ClientSoftwareVersion": "1.0"} if version >= 3 else {}
    with RawClient(broker.port) as client:
        answer = client.call("ApiVersions", version, **values)
    assert answer["ErrorCode"] == 0 and len(answer["ApiKeys"]) >= len(SERVED)


def test_an_unknown_api_versions_version_gets_the_list_in_version_0(broker):
    with RawClient(broker.port) as client:
        client.send_frame(frame(18, 77, 4711, "raw", True, b"\x04raw\x021\0"))
        data = client.read_frame()
        assert struct.unpack(">i", data[:4])[0] == 4711
        answer = parse_response("ApiVersions", 0, data)
        assert answer["ErrorCode"] == 35
        listed = {a["ApiKey"]: (a["MinVersion"], a["MaxVersion"]) for a in answer["ApiKeys"]}
        assert listed.get(18) == expected_range("ApiVersions")
        assert client.call("ApiVersions", 0)["ErrorCode"] == 0, "the connection must stay usable"


def test_a_bad_client_software_name_is_an_invalid_request(broker):
    with RawClient(broker.port) as client:
        answer = client.call("ApiVersions", 3, ClientSoftwareName="bad name!", ClientSoftwareVersion="1")
    assert answer["ErrorCode"] == 42


@pytest.mark.parametrize("key, version", [(0, 2), (0, 99), (1, 3), (3, 99), (4, 0), (999, 0), (-1, 0), (18, -1)])
def test_an_unsupported_key_or_version_closes_the_connection(broker, key, version):
    with RawClient(broker.port) as client:
        client.send_frame(frame(key, version, 1, "raw", False, b"\0" * 32))
        if key == 18:
            # Any unknown version of ApiVersions gets an answer, negative ones too.
            assert client.read_frame()[:4] == struct.pack(">i", 1)
        else:
            assert client.closed_by_peer() == b""


def group(version, since, name):
    return {"GroupId": name} if version < since else {}


def request_values(name, version, topic, tid):
    """A harmless request of every API in every version."""
    by_id = {"TopicId": tid}
    group_name = f"versions-{topic}"
    if name == "Produce":
        named = {"Name": topic} if version < 13 else by_id
        return {"Acks": -1, "TimeoutMs": 5000, "TopicData": [
            dict(named, PartitionData=[{"Index": 0, "Records": simple([b"x"])}])]}
    if name == "Fetch":
        named = {"Topic": topic} if version < 13 else by_id
        return {"MaxWaitMs": 0, "MinBytes": 0, "Topics": [
            dict(named, Partitions=[{"Partition": 0, "FetchOffset": 0, "PartitionMaxBytes": 1000}])]}
    if name == "ListOffsets":
        return {"ReplicaId": -1, "Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": 0, "Timestamp": -1}]}]}
    if name == "Metadata":
        return {"Topics": [{"Name": topic}]}
    if name == "OffsetCommit":
        named = {"Name": topic} if version < 10 else by_id
        member = "GenerationIdOrMemberEpoch"
        return {"GroupId": group_name, member: -1, "MemberId": "", "Topics": [
            dict(named, Partitions=[{"PartitionIndex": 0, "CommittedOffset": 1, "CommittedMetadata": "m"}])]}
    if name == "OffsetFetch":
        if version < 8:
            return {"GroupId": group_name, "Topics": [{"Name": topic, "PartitionIndexes": [0]}]}
        named = {"Name": topic} if version < 10 else by_id
        return {"Groups": [{"GroupId": group_name, "Topics": [dict(named, PartitionIndexes=[0])]}]}
    if name == "FindCoordinator":
        return {"Key": group_name} if version < 4 else {"KeyType": 0, "CoordinatorKeys": [group_name]}
    return group_values(name, version, group_name) or admin_values(name, version, topic)


def group_values(name, version, group_name):
    if name == "JoinGroup":
        protocols = [{"Name": "range", "Metadata": b""}]
        return {"GroupId": group_name, "SessionTimeoutMs": 10000, "MemberId": "nobody", "ProtocolType": "consumer",
                "Protocols": protocols}
    if name in ("Heartbeat", "SyncGroup"):
        return {"GroupId": group_name, "GenerationId": 5, "MemberId": "nobody"}
    if name == "LeaveGroup":
        members = {"MemberId": "nobody"} if version < 3 else {"Members": [{"MemberId": "nobody"}]}
        return {"GroupId": group_name, **members}
    if name == "DescribeGroups":
        return {"Groups": [group_name]}
    if name == "DeleteGroups":
        return {"GroupsNames": ["no-such-group"]}
    if name == "OffsetDelete":
        return {"GroupId": "no-such-group"}
    if name == "InitProducerId":
        return {"TransactionalId": None, "TransactionTimeoutMs": 1000}
    return None


def admin_values(name, version, topic):
    if name == "ApiVersions":
        return {"ClientSoftwareName": "raw", "ClientSoftwareVersion": "1"} if version >= 3 else {}
    if name == "CreateTopics":
        return {"Topics": [{"Name": f"{topic}-v", "NumPartitions": 1, "ReplicationFactor": 1}], "validateOnly": True,
                "timeoutMs": 5000}
    if name == "DeleteTopics":
        gone = {"TopicNames": ["no-such-topic"]} if version < 6 else {"Topics": [{"Name": "no-such-topic"}]}
        return {"TimeoutMs": 5000, **gone}
    if name == "DeleteRecords":
        return {"TimeoutMs": 5000, "Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": 0, "Offset": 0}]}]}
    if name == "OffsetForLeaderEpoch":
        return {"Topics": [{"Topic": topic, "Partitions": [{"Partition": 0, "LeaderEpoch": 0}]}]}
    if name == "DescribeConfigs":
        return {"Resources": [{"ResourceType": 2, "ResourceName": topic, "ConfigurationKeys": None}]}
    if name in ("AlterConfigs", "IncrementalAlterConfigs"):
        entry = {"Name": "retention.ms", "Value": "1000000"}
        if name == "IncrementalAlterConfigs":
            entry["ConfigOperation"] = 0
        return {"Resources": [{"ResourceType": 2, "ResourceName": topic, "Configs": [entry]}], "ValidateOnly": True}
    if name == "CreatePartitions":
        return {"Topics": [{"Name": topic, "Count": 9, "Assignments": None}], "TimeoutMs": 5000, "ValidateOnly": True}
    if name == "DescribeTopicPartitions":
        return {"Topics": [{"Name": topic}]}
    return {}


@pytest.mark.parametrize("name", SERVED)
def test_every_version_answers_by_its_schema(broker, topic, name):
    create_topic(broker, topic)
    with RawClient(broker.port) as client:
        tid = topic_id(client, topic)
        low, high = expected_range(name)
        versions = by_key()[load()[name + "Request"].key][0].versions()
        for version in range(max(low, versions[0]), high + 1):
            client.call(name, version, **request_values(name, version, topic, tid))


@pytest.mark.parametrize("name", SERVED)
def test_unknown_tagged_fields_are_skipped(broker, topic, name):
    create_topic(broker, topic)
    schema = load()[name + "Request"]
    version = expected_range(name)[1]
    if schema.flexible == "none":
        pytest.skip("no flexible version")
    with RawClient(broker.port) as client:
        values = dict(request_values(name, version, topic, topic_id(client, topic)), _tags={900: b"x" * 300, 901: b""})
        client.call(name, version, **values)
