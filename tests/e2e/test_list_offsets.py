"""ListOffsets: the special timestamps, and look-ups by time inside plain and compressed batches."""

import pytest
from harness import errors
from harness.admin import create_topic
from harness.batch import CODECS, build, simple
from harness.batch import RECENT as T
from harness.log_client import LogClient
from harness.paths import CONTROL

LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED, EARLIEST_PENDING = -1, -2, -3, -4, -5, -6


@pytest.fixture
def one(log, topic):
    create_topic(log.owner, topic)
    return topic


def test_an_empty_log(log, one):
    assert log.offset_at(one, LATEST) == (0, -1)
    assert log.offset_at(one, EARLIEST) == (0, -1)
    assert log.offset_at(one, EARLIEST_LOCAL) == (0, -1)
    assert log.offset_at(one, MAX_TIMESTAMP) == (-1, -1)
    assert log.offset_at(one, LATEST_TIERED) == (-1, -1)
    assert log.offset_at(one, T) == (-1, -1)
    assert log.offset_at(one, 0) == (-1, -1)


@pytest.mark.parametrize("version", range(1, 12))
def test_every_version_knows_both_ends(log, one, version):
    log.append(one, simple([b"x"] * 5))
    assert log.offset_at(one, LATEST, version=version)[0] == 5
    assert log.offset_at(one, EARLIEST, version=version)[0] == 0
    assert log.offset_at(one, T + 3, version=version) == (3, T + 3)


@pytest.mark.parametrize("codec", CODECS)
def test_the_first_record_at_or_after_a_time_is_found_inside_a_batch(log, one, codec):
    for start in (0, 100, 200):
        log.append(one, build([(T + start + 10 * i, b"k", b"v") for i in range(5)], codec))
    for wanted, expected in [(T - 1, 0), (T, 0), (T + 1, 1), (T + 10, 1), (T + 11, 2), (T + 40, 4), (T + 41, 5),
                             (T + 105, 6), (T + 240, 14)]:
        assert log.offset_at(one, wanted)[0] == expected, wanted - T
    assert log.offset_at(one, T + 241) == (-1, -1)
    assert log.offset_at(one, T + 11) == (2, T + 20)


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_times_out_of_order(log, one, codec):
    """CreateTime may jump back: the answer is the first offset whose timestamp is late enough."""
    log.append(one, build([(T + t, None, b"v") for t in (50, 10, 70, 30)], codec))
    log.append(one, build([(T + t, None, b"v") for t in (5, 90, 20)], codec))
    for wanted, expected in [(0, 0), (51, 2), (70, 2), (71, 5), (90, 5)]:
        assert log.offset_at(one, T + wanted)[0] == expected, wanted
    assert log.offset_at(one, T + 91) == (-1, -1)


@pytest.mark.parametrize("codec", ["none", "gzip", "lz4"])
def test_the_maximum_timestamp(log, one, codec):
    log.append(one, build([(T + t, None, b"v") for t in (50, 90, 30)], codec))
    log.append(one, build([(T + t, None, b"v") for t in (5, 80)], codec))
    assert log.offset_at(one, MAX_TIMESTAMP) == (1, T + 90)
    log.append(one, build([(T + 90, None, b"same")], codec))
    assert log.offset_at(one, MAX_TIMESTAMP) == (1, T + 90), "the earliest of equals"
    log.append(one, build([(T + 91, None, b"later")], codec))
    assert log.offset_at(one, MAX_TIMESTAMP) == (6, T + 91)


def test_log_append_time(log, topic):
    create_topic(log.owner, topic, configs={"message.timestamp.type": "LogAppendTime"})
    first = log.produce(topic, simple([b"a", b"b"]))["LogAppendTimeMs"]
    assert log.offset_at(topic, first) == (0, first)
    assert log.offset_at(topic, T) == (0, first)
    offset, stamp = log.offset_at(topic, MAX_TIMESTAMP)
    assert (offset in (0, 1)) and stamp == first


def test_after_records_were_deleted(log, one):
    for i in range(6):
        log.append(one, build([(T + 10 * i, None, b"v"), (T + 10 * i + 5, None, b"v")]))
    answer = log.call("DeleteRecords", 2, TimeoutMs=10000, Topics=[
        {"Name": one, "Partitions": [{"PartitionIndex": 0, "Offset": 5}]}])
    assert answer["Topics"][0]["Partitions"][0]["LowWatermark"] == 5
    assert log.offset_at(one, EARLIEST)[0] == 5
    assert log.offset_at(one, LATEST)[0] == 12
    assert log.offset_at(one, 0)[0] >= 5
    assert log.offset_at(one, T + 26)[0] == 6
    fetched = log.fetch(one, 5)
    assert (fetched["ErrorCode"], fetched["LogStartOffset"]) == (0, 5)
    assert log.fetch(one, 4)["ErrorCode"] == errors.OFFSET_OUT_OF_RANGE
    answer = log.call("DeleteRecords", 2, TimeoutMs=10000, Topics=[
        {"Name": one, "Partitions": [{"PartitionIndex": 0, "Offset": -1}]}])
    assert answer["Topics"][0]["Partitions"][0]["LowWatermark"] == 12
    assert log.offset_at(one, EARLIEST)[0] == 12
    assert log.fetch(one, 12)["ErrorCode"] == 0
    assert log.append(one, simple([b"next"])) == 12
    beyond = log.call("DeleteRecords", 2, TimeoutMs=10000, Topics=[
        {"Name": one, "Partitions": [{"PartitionIndex": 0, "Offset": 99}]}])
    assert beyond["Topics"][0]["Partitions"][0]["ErrorCode"] == errors.OFFSET_OUT_OF_RANGE


def test_special_timestamps_need_their_version(log, one):
    """An older version may not ask for the younger special timestamps."""
    log.append(one, simple([b"x"]))
    for timestamp, since in ((MAX_TIMESTAMP, 7), (EARLIEST_LOCAL, 8), (LATEST_TIERED, 9), (EARLIEST_PENDING, 11)):
        assert log.list_offset(one, timestamp, version=since - 1)["ErrorCode"] != 0, timestamp
        answer = log.list_offset(one, timestamp, version=since)
        assert answer["ErrorCode"] == 0 or (CONTROL and timestamp == EARLIEST_PENDING), (timestamp, answer)


def test_unknown_partitions_and_epochs(log, one):
    assert log.list_offset(one, LATEST, partition=3)["ErrorCode"] == errors.UNKNOWN_TOPIC_OR_PARTITION
    assert log.list_offset(one + "x", LATEST)["ErrorCode"] == errors.UNKNOWN_TOPIC_OR_PARTITION
    answer = log.call("ListOffsets", 9, ReplicaId=-1, Topics=[{"Name": one, "Partitions": [
        {"PartitionIndex": 0, "Timestamp": LATEST, "CurrentLeaderEpoch": 1000}]}])
    assert answer["Topics"][0]["Partitions"][0]["ErrorCode"] == errors.UNKNOWN_LEADER_EPOCH


def test_time_queries_across_a_kill(own_broker, topic):
    create_topic(own_broker, topic)
    with LogClient(own_broker.port) as log:
        for i in range(50):
            log.append(topic, build([(T + 100 * i + j, None, b"v") for j in range(10)], "snappy"))
        before = [log.offset_at(topic, T + 97 * i) for i in range(55)]
        top = log.offset_at(topic, MAX_TIMESTAMP)
    own_broker.restart()
    with LogClient(own_broker.port) as log:
        assert [log.offset_at(topic, T + 97 * i) for i in range(55)] == before
        assert log.offset_at(topic, MAX_TIMESTAMP) == top == (499, T + 4909)
