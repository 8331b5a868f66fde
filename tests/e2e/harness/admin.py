"""Small administrative calls over the raw client, so that tests depend on no other client's admin."""

import time

from .paths import CONTROL
from .raw import RawClient

LIMIT_S = 20


def create_topic(broker, name, partitions=1, configs=None):
    """Creates a topic, and checks that it is usable: Metadata names a leader of every partition.

    The control broker may need a moment after its answer; ours may not.
    """
    with RawClient(broker.port) as client:
        answer = client.call("CreateTopics", 4, Topics=[{
            "Name": name, "NumPartitions": partitions, "ReplicationFactor": 1,
            "Configs": [{"Name": k, "Value": str(v)} for k, v in (configs or {}).items()]}],
            timeoutMs=20000, validateOnly=False)
        assert answer["Topics"][0]["ErrorCode"] == 0, f"CreateTopics {name}: {answer}"
        await_usable(client, name, partitions)


def await_usable(client, name, partitions):
    limit = time.monotonic() + (LIMIT_S if CONTROL else 0)
    while not usable(client, name, partitions):
        assert time.monotonic() < limit, f"{name} is not usable after CreateTopics"
        time.sleep(0.02)


def usable(client, name, partitions):
    topic = client.call("Metadata", 8, Topics=[{"Name": name}], AllowAutoTopicCreation=False)["Topics"][0]
    led = [p["PartitionIndex"] for p in topic["Partitions"] if p["ErrorCode"] == 0 and p["LeaderId"] >= 0]
    if topic["ErrorCode"] or sorted(led) != list(range(partitions)):
        return False
    answer = client.call("ListOffsets", 4, ReplicaId=-1, Topics=[{"Name": name, "Partitions": [
        {"PartitionIndex": p, "Timestamp": -2} for p in led]}])
    return all(p["ErrorCode"] == 0 for p in answer["Topics"][0]["Partitions"])


def topic_id(client, name):
    topic = client.call("Metadata", 12, Topics=[{"Name": name}], AllowAutoTopicCreation=False)["Topics"][0]
    assert topic["ErrorCode"] == 0, topic
    return topic["TopicId"]
