"""Small administrative calls over the raw client, so that tests depend on no other client's admin."""

import time

from .raw import RawClient


def create_topic(broker, name, partitions=1, configs=None):
    """Creates a topic, and waits until Metadata names a leader for every partition."""
    with RawClient(broker.port) as client:
        answer = client.call("CreateTopics", 4, Topics=[{
            "Name": name, "NumPartitions": partitions, "ReplicationFactor": 1,
            "Configs": [{"Name": k, "Value": str(v)} for k, v in (configs or {}).items()]}],
            timeoutMs=20000, validateOnly=False)
        code = answer["Topics"][0]["ErrorCode"]
        assert code in (0, 36), f"CreateTopics {name}: {answer}"
        limit = time.monotonic() + 20
        while True:
            topic = client.call("Metadata", 8, Topics=[{"Name": name}], AllowAutoTopicCreation=False)["Topics"][0]
            ready = [p for p in topic["Partitions"] if p["ErrorCode"] == 0 and p["LeaderId"] >= 0]
            if topic["ErrorCode"] == 0 and len(ready) == partitions:
                return
            assert time.monotonic() < limit, f"{name} is not usable: {topic}"


def topic_id(client, name):
    topic = client.call("Metadata", 12, Topics=[{"Name": name}], AllowAutoTopicCreation=False)["Topics"][0]
    assert topic["ErrorCode"] == 0, topic
    return topic["TopicId"]
