"""Produce, seen on the wire: what is refused and how, what is stored, and how producers are told apart."""

import select
import struct

import pytest
from harness import errors
from harness.admin import await_usable, create_topic, topic_id
from harness.batch import LOG_APPEND_TIME, build, simple
from harness.batch import RECENT as NOW
from harness.log_client import LogClient, produce_values
from harness.paths import CONTROL


@pytest.fixture
def one(log, topic):
    """A topic with one partition."""
    create_topic(log.owner, topic)
    return topic


def test_a_batch_is_stored_byte_for_byte(log, one):
    sent = build([(NOW, b"k", b"v", [("h", b"1"), ("h", None)]), (NOW + 5, None, None), (NOW + 3, b"", b"")], "zstd")
    assert log.append(one, simple([b"first"])) == 0
    assert log.append(one, sent) == 1
    stored = log.batches(one)[1]
    assert stored.raw[16:] == sent[16:], "all but base offset, length and leader epoch is as sent"
    assert (stored.base_offset, stored.length) == (1, len(sent) - 12)
    assert stored.leader_epoch >= 0


@pytest.mark.parametrize("version", range(3, 13))
def test_offsets_rise_in_every_version(log, one, version):
    for round_ in range(3):
        answer = log.produce(one, simple([b"a", b"b"]), version=version)
        assert (answer["ErrorCode"], answer["BaseOffset"]) == (0, 2 * round_)


def test_produce_by_topic_id(log, one):
    data = {"TopicId": topic_id(log, one), "PartitionData": [{"Index": 0, "Records": simple([b"by id"])}]}
    answer = log.call("Produce", 13, Acks=-1, TimeoutMs=5000, TopicData=[data])
    assert answer["Responses"][0]["PartitionResponses"][0]["ErrorCode"] == 0
    data["TopicId"] = type(data["TopicId"])(int=12345)
    answer = log.call("Produce", 13, Acks=-1, TimeoutMs=5000, TopicData=[data])
    assert answer["Responses"][0]["PartitionResponses"][0]["ErrorCode"] == errors.UNKNOWN_TOPIC_ID


def test_several_partitions_that_are_all_late_are_told_so(log, topic):
    """One time limit holds for all partitions of a request."""
    count = 8
    create_topic(log.owner, topic, partitions=count)
    data = [{"Index": index, "Records": simple([b"late"])} for index in range(count)]
    for _ in range(5):
        answer = log.call("Produce", 9, Acks=-1, TimeoutMs=0, TopicData=[{"Name": topic, "PartitionData": data}])
        codes = {partition["ErrorCode"] for partition in answer["Responses"][0]["PartitionResponses"]}
        assert codes <= {0, errors.REQUEST_TIMED_OUT}
        partitions = [{"PartitionIndex": index, "Offset": -1} for index in range(count)]
        answer = log.call("DeleteRecords", 2, TimeoutMs=0, Topics=[{"Name": topic, "Partitions": partitions}])
        codes = {partition["ErrorCode"] for partition in answer["Topics"][0]["Partitions"]}
        assert codes <= {0, errors.REQUEST_TIMED_OUT}


def test_acks_0_gets_no_answer_and_is_stored(log, one):
    log.send("Produce", 9, produce_values(one, simple([b"silent"]), acks=0))
    assert log.append(one, simple([b"loud"])) == 1, "the only answer is that of the second request"
    assert [r[3] for r in log.records(one)] == [b"silent", b"loud"]


def test_acks_0_with_an_error_closes_the_connection(broker, one):
    with LogClient(broker.port) as client:
        client.send("Produce", 9, produce_values(one + "-none", simple([b"x"]), acks=0))
        assert client.closed_by_peer() == b""


def test_acks_beyond_the_known_ones_are_refused(log, one):
    assert log.produce(one, simple([b"x"]), acks=2)["ErrorCode"] == errors.INVALID_REQUIRED_ACKS


def test_acks_1_is_answered(log, one):
    assert log.append(one, simple([b"x"]), acks=1) == 0


def test_an_unknown_topic_or_partition(log, one):
    assert log.produce(one, simple([b"x"]), partition=7)["ErrorCode"] == errors.UNKNOWN_TOPIC_OR_PARTITION
    assert log.produce(one + "-none", simple([b"x"]))["ErrorCode"] == errors.UNKNOWN_TOPIC_OR_PARTITION


BAD = {
    "wrong CRC": (simple([b"x"], crc=1), errors.CORRUPT_MESSAGE),
    "flipped byte": (simple([b"abcdef"])[:-3] + b"Z" + simple([b"abcdef"])[-2:], errors.CORRUPT_MESSAGE),
    "magic 1": (simple([b"x"], magic=1), errors.INVALID_RECORD),
    "two batches": (simple([b"x"]) * 2, errors.INVALID_RECORD),
    "control batch": (simple([b"x"], attributes=0x20), errors.INVALID_RECORD),
    "count beyond the records": (simple([b"x"], count=2, last_delta=1), errors.INVALID_RECORD),
    "count below the records": (simple([b"x", b"y"], count=1, last_delta=0), errors.INVALID_RECORD),
    "count and delta disagree": (simple([b"x", b"y"], last_delta=5), errors.INVALID_RECORD),
    "negative count": (simple([b"x"], count=-1), errors.INVALID_RECORD),
    "sequence missing": (simple([b"x"], producer=(7, 0), sequence=-1), errors.INVALID_RECORD),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_batches_are_refused_and_leave_no_trace(log, one, name):
    batch, code = BAD[name]
    answer = log.produce(one, batch)
    assert answer["ErrorCode"] == code, answer
    assert log.append(one, simple([b"good"])) == 0


@pytest.mark.parametrize("codec, payload", [
    ("gzip", b"\x1f\x8b\x08\0garbage"), ("snappy", b"\xff" * 20), ("lz4", b"\x04\x22\x4d\x18" + b"\xff" * 9),
    ("zstd", b"\x28\xb5\x2f\xfd" + b"\xff" * 20), ("gzip", b"")])
def test_payloads_that_do_not_decompress_are_refused(log, one, codec, payload):
    answer = log.produce(one, simple([b"x"], codec, payload=payload))
    assert answer["ErrorCode"] in (errors.CORRUPT_MESSAGE, errors.INVALID_RECORD, -1), answer
    assert log.append(one, simple([b"good"])) == 0


def test_zstd_needs_version_7(log, one):
    answer = log.produce(one, simple([b"x"], "zstd"), version=6)
    assert answer["ErrorCode"] == errors.UNSUPPORTED_COMPRESSION_TYPE
    assert log.produce(one, simple([b"x"], "zstd"), version=7)["ErrorCode"] == 0


def test_an_unknown_codec_is_refused(log, one):
    assert log.produce(one, simple([b"x"], attributes=5))["ErrorCode"] != 0


def test_max_message_bytes_is_enforced(log, topic):
    create_topic(log.owner, topic, configs={"max.message.bytes": 2000})
    assert log.produce(topic, simple([b"z" * 3000]))["ErrorCode"] == errors.MESSAGE_TOO_LARGE
    assert log.append(topic, simple([b"z" * 1500])) == 0


@pytest.mark.skipif(CONTROL, reason="Kafka compresses again")
def test_a_compression_type_that_is_not_obeyed_is_refused(log, topic):
    answer = log.call("CreateTopics", 4, timeoutMs=20000, validateOnly=False, Topics=[
        {"Name": topic, "NumPartitions": 1, "ReplicationFactor": 1,
         "Configs": [{"Name": "compression.type", "Value": "gzip"}]}])
    assert answer["Topics"][0]["ErrorCode"] == errors.INVALID_CONFIG


@pytest.mark.skipif(not CONTROL, reason="compaction is refused as long as nothing compacts")
def test_keyless_records_are_refused_on_a_compacted_topic(log, topic):
    create_topic(log.owner, topic, configs={"cleanup.policy": "compact"})
    answer = log.produce(topic, build([(NOW, b"k", b"v"), (NOW, None, b"v")]), version=8)
    assert answer["ErrorCode"] == errors.INVALID_RECORD
    assert [e["BatchIndex"] for e in answer["RecordErrors"]] == [1]
    for codec in ("none", "gzip"):
        assert log.produce(topic, build([(NOW, None, b"v")], codec))["ErrorCode"] == errors.INVALID_RECORD
    assert log.append(topic, build([(NOW, b"k", b"v")])) == 0


def test_log_append_time_is_stamped_and_reported(log, topic):
    create_topic(log.owner, topic, configs={"message.timestamp.type": "LogAppendTime"})
    answers = [log.produce(topic, simple([b"a", b"b"], codec)) for codec in ("none", "gzip")]
    for answer, stored in zip(answers, log.batches(topic)):
        assert answer["LogAppendTimeMs"] > NOW
        assert stored.attributes & LOG_APPEND_TIME
        assert stored.max_ts == answer["LogAppendTimeMs"]


def test_create_time_reports_no_append_time(log, one):
    assert log.produce(one, simple([b"a"]))["LogAppendTimeMs"] == -1


def test_timestamps_beyond_the_bounds_are_refused(log, topic):
    create_topic(log.owner, topic, configs={"message.timestamp.before.max.ms": 3600_000,
                                            "message.timestamp.after.max.ms": 3600_000})
    assert log.produce(topic, simple([b"old"], ts=NOW - 7200_000))["ErrorCode"] == errors.INVALID_TIMESTAMP
    assert log.produce(topic, simple([b"new"], ts=NOW + 7200_000))["ErrorCode"] == errors.INVALID_TIMESTAMP


def test_answers_leave_in_request_order(log, one):
    """Slow and fast requests are mixed, all written before the first answer is read."""
    sent = []
    for i in range(40):
        sent.append(("Produce", 9, log.send("Produce", 9, produce_values(one, simple([b"%d" % i])))))
        sent.append(("Metadata", 12, log.send("Metadata", 12, {"Topics": [{"Name": one}]})))
        sent.append(("ApiVersions", 0, log.send("ApiVersions", 0, {})))
    offsets = []
    for name, version, correlation in sent:
        answer = log.receive(name, version, correlation)
        if name == "Produce":
            offsets.append(answer["Responses"][0]["PartitionResponses"][0]["BaseOffset"])
    assert offsets == list(range(40))


def test_a_topic_is_usable_right_after_its_creation(log, topic):
    for i in range(20):
        name = f"{topic}-{i}"
        create = log.send("CreateTopics", 4, {"Topics": [{"Name": name, "NumPartitions": 1, "ReplicationFactor": 1}],
                                              "timeoutMs": 20000, "validateOnly": False})
        assert log.receive("CreateTopics", 4, create)["Topics"][0]["ErrorCode"] == 0
        if CONTROL:
            await_usable(log, name, 1)
        assert log.append(name, simple([b"x"])) == 0
        assert log.fetch(name, 0)["ErrorCode"] == 0


def test_a_split_frame_is_put_together(log, one):
    _, payload = log.request("Produce", 9, produce_values(one, simple([b"piecewise"])))
    data = struct.pack(">i", len(payload)) + payload
    for at in range(0, len(data), 7):
        log.sock.sendall(data[at:at + 7])
        select.select([], [], [], 0)
    answer = log.receive("Produce", 9, next(log.ids) - 1)
    assert answer["Responses"][0]["PartitionResponses"][0]["ErrorCode"] == 0
