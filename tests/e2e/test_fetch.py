"""Fetch, seen on the wire: limits, long polls, positions inside batches, and sessions."""

import threading
import time
import uuid

import pytest
from harness import errors
from harness.admin import create_topic, topic_id
from harness.batch import simple, split
from harness.log_client import LogClient, fetch_values

KB = 1024


@pytest.fixture
def one(log, topic):
    create_topic(log.owner, topic)
    return topic


@pytest.mark.parametrize("version", range(4, 13))
def test_every_version_returns_the_records(log, one, version):
    log.append(one, simple([b"a", b"b"], "lz4"))
    answer = log.fetch(one, 0, version=version)
    assert [r[3] for b in split(answer["Records"]) for r in b.records()] == [b"a", b"b"]
    assert answer["HighWatermark"] == 2


@pytest.mark.parametrize("version", range(13, 19))
def test_fetch_by_topic_id(log, one, version):
    log.append(one, simple([b"a"]))
    known = topic_id(log, one)
    for wanted, code in ((known, 0), (uuid.UUID(int=99), errors.UNKNOWN_TOPIC_ID)):
        answer = log.call("Fetch", version, MaxWaitMs=0, MinBytes=1, SessionEpoch=-1, Topics=[
            {"TopicId": wanted, "Partitions": [{"Partition": 0, "FetchOffset": 0, "PartitionMaxBytes": KB}]}])
        assert answer["Responses"][0]["Partitions"][0]["ErrorCode"] == code


def test_an_empty_answer_has_records_of_length_0_not_null(log, one):
    for version in (4, 11, 12):
        assert log.fetch(one, 0, version=version)["Records"] == b""
    answer = log.fetch(one, 7)
    assert answer["ErrorCode"] == errors.OFFSET_OUT_OF_RANGE
    assert answer["Records"] in (b"", None)


def test_an_offset_inside_a_batch_returns_that_batch(log, one):
    for codec in ("none", "gzip"):
        log.append(one, simple([b"%d" % i for i in range(10)], codec))
    for offset in range(20):
        got = split(log.fetch(one, offset)["Records"])
        assert got[0].base_offset == offset - offset % 10


def test_offsets_out_of_range(log, one):
    log.append(one, simple([b"x"] * 3))
    assert log.fetch(one, 3)["ErrorCode"] == 0
    for offset in (4, 1000, -5):
        assert log.fetch(one, offset)["ErrorCode"] == errors.OFFSET_OUT_OF_RANGE


def test_the_first_batch_comes_whole_even_above_the_limits(log, one):
    for _ in range(3):
        log.append(one, simple([b"z" * 50 * KB]))
    for limits in ({"max_bytes": 1}, {"partition_max_bytes": 1}, {"max_bytes": 60 * KB}):
        got = split(log.fetch(one, 1, **limits)["Records"])
        assert [b.base_offset for b in got] == [1], limits


def test_the_answer_stays_within_the_limits(log, topic):
    create_topic(log.owner, topic, 4)
    for partition in range(4):
        for _ in range(20):
            log.append(topic, simple([b"z" * 10 * KB]), partition)
    answer = log.fetch(topic, 0, partition_max_bytes=100 * KB)
    assert 80 * KB < len(answer["Records"]) <= 100 * KB
    wanted = {(topic, p): (0, 100 * KB) for p in range(4)}
    whole = log.call("Fetch", 12, **fetch_values(wanted, max_bytes=150 * KB))
    sizes = [len(p["Records"] or b"") for p in whole["Responses"][0]["Partitions"]]
    assert 80 * KB < sum(sizes) <= 160 * KB, sizes


def test_no_wait_when_bytes_are_there(log, one):
    log.append(one, simple([b"x" * 100]))
    begin = time.monotonic()
    assert log.fetch(one, 0, max_wait_ms=15000, min_bytes=50)["Records"]
    assert time.monotonic() - begin < 10


def test_no_wait_when_the_partition_limit_is_full(log, one):
    log.append(one, simple([b"x" * 10 * KB]))
    begin = time.monotonic()
    assert log.fetch(one, 0, max_wait_ms=15000, min_bytes=100 * KB, partition_max_bytes=KB)["Records"] is not None
    print(f"answered after {time.monotonic() - begin:.2f} s")


def test_no_wait_on_an_error(log, one):
    begin = time.monotonic()
    assert log.fetch(one, 9, max_wait_ms=15000)["ErrorCode"] == errors.OFFSET_OUT_OF_RANGE
    assert time.monotonic() - begin < 10


def test_an_idle_long_poll_lasts_as_long_as_asked(log, one):
    begin = time.monotonic()
    assert log.fetch(one, 0, max_wait_ms=700, min_bytes=1)["Records"] == b""
    assert time.monotonic() - begin >= 0.69


def test_a_long_poll_ends_when_enough_bytes_arrive(log, broker, one):
    """Too few bytes do not end the wait, the rest does."""
    answers = []

    def poll():
        with LogClient(broker.port, timeout=60) as client:
            answers.append(client.fetch(one, 0, max_wait_ms=40000, min_bytes=300))

    thread = threading.Thread(target=poll)
    begin = time.monotonic()
    thread.start()
    log.append(one, simple([b"x" * 20]))
    thread.join(1.0)
    assert thread.is_alive(), "the wait ended below min_bytes"
    log.append(one, simple([b"y" * 400]))
    thread.join(30)
    assert not thread.is_alive() and time.monotonic() - begin < 30
    assert len(split(answers[0]["Records"])) == 2


def test_other_connections_are_served_during_a_long_poll(log, broker, one):
    with LogClient(broker.port) as waiting:
        waiting.send("Fetch", 12, fetch_values({(one, 0): (0, KB)}, max_wait_ms=15000))
        begin = time.monotonic()
        log.append(one, simple([b"x"]))
        assert time.monotonic() - begin < 10
        assert waiting.parse_next("Fetch", 12)["Responses"][0]["Partitions"][0]["Records"]


class Session:
    """A fetch session of one topic."""

    def __init__(self, client, topic, partitions):
        self.client, self.topic = client, topic
        self.wanted = {(topic, p): (0, 100 * KB) for p in range(partitions)}
        self.id, self.epoch = 0, 0

    def fetch(self, changed=None, forget=(), **more):
        wanted = self.wanted if changed is None else changed
        answer = self.client.call("Fetch", 12, **fetch_values(
            wanted, session=(self.id, self.epoch), forget=forget, **more))
        if answer["ErrorCode"] == 0:
            self.id, self.epoch = answer["SessionId"], self.epoch + 1
        return answer

    def at(self, partition, offset):
        return {(self.topic, partition): (offset, 100 * KB)}


def partitions_of(answer):
    return sorted(p["PartitionIndex"] for t in answer["Responses"] for p in t["Partitions"])


def test_the_second_answer_of_a_session_holds_only_what_changed(log, topic):
    create_topic(log.owner, topic, 100)
    session = Session(log, topic, 100)
    first = session.fetch()
    full = log.last_size
    assert session.id != 0 and partitions_of(first) == list(range(100))
    second = session.fetch({})
    assert second["Responses"] == [] and log.last_size < 40, f"{log.last_size} bytes for no change"
    batch = simple([b"v" * 50])
    log.append(topic, batch, 42)
    third = session.fetch({})
    assert partitions_of(third) == [42]
    assert log.last_size < len(batch) + len(topic) + 80, f"{log.last_size} bytes for one change, {full} for all"
    again = session.fetch({})
    assert partitions_of(again) == [42], "not moved on, so the records come again"
    assert session.fetch(session.at(42, 1))["Responses"] == []
    print(f"bytes: full {full}, unchanged below 40, one change {len(batch)} + overhead")


def test_a_session_forgets_and_takes_partitions(log, topic):
    create_topic(log.owner, topic, 4)
    session = Session(log, topic, 3)
    session.fetch()
    session.fetch({}, forget=[(topic, 1)])
    for partition in range(4):
        log.append(topic, simple([b"x"]), partition)
    assert partitions_of(session.fetch({})) == [0, 2]
    assert partitions_of(session.fetch(session.at(3, 0))) == [0, 2, 3]


def test_an_advanced_high_watermark_counts_as_a_change(log, topic):
    create_topic(log.owner, topic, 2)
    session = Session(log, topic, 2)
    session.fetch()
    log.append(topic, simple([b"x"]), 1)
    assert partitions_of(session.fetch(session.at(1, 1))) == [1], "the high watermark moved"


def test_session_errors(log, topic):
    create_topic(log.owner, topic, 1)
    session = Session(log, topic, 1)
    session.fetch()
    good = session.id, session.epoch
    session.epoch = 7
    assert session.fetch({})["ErrorCode"] == errors.INVALID_FETCH_SESSION_EPOCH
    session.id, session.epoch = 123456, 1
    assert session.fetch({})["ErrorCode"] == errors.FETCH_SESSION_ID_NOT_FOUND
    session.id, session.epoch = good
    assert session.fetch({})["ErrorCode"] == 0
    session.epoch = -1
    assert session.fetch()["ErrorCode"] == 0, "epoch -1 closes the session"
    session.id, session.epoch = good[0], 2
    assert session.fetch({})["ErrorCode"] == errors.FETCH_SESSION_ID_NOT_FOUND


def test_leader_epochs_are_checked(log, one):
    log.append(one, simple([b"x"]))
    epoch = split(log.fetch(one, 0)["Records"])[0].leader_epoch
    for given, code in ((epoch, 0), (epoch + 5, errors.UNKNOWN_LEADER_EPOCH)):
        answer = log.call("Fetch", 12, MaxWaitMs=0, MinBytes=1, SessionEpoch=-1, Topics=[{"Topic": one, "Partitions": [
            {"Partition": 0, "FetchOffset": 0, "PartitionMaxBytes": KB, "CurrentLeaderEpoch": given}]}])
        assert answer["Responses"][0]["Partitions"][0]["ErrorCode"] == code


def test_read_committed_sees_plain_records(log, one):
    log.append(one, simple([b"x"]))
    values = fetch_values({(one, 0): (0, KB)})
    answer = log.call("Fetch", 12, IsolationLevel=1, **values)["Responses"][0]["Partitions"][0]
    assert answer["LastStableOffset"] == 1 and split(answer["Records"])
    assert answer["AbortedTransactions"] in ([], None)
