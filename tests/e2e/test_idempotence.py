"""Idempotent producers: duplicates as repeated frames, sequences, epochs, and kill -9 in between."""

import time

import pytest
from harness import errors
from harness.admin import create_topic
from harness.batch import simple
from harness.log_client import LogClient, produce_values
from harness.paths import CONTROL


@pytest.fixture
def one(log, topic):
    create_topic(log.owner, topic)
    return topic


def batch(producer, sequence, values=(b"v",)):
    """Stamped with the present: Kafka forgets a producer whose last batch is a day old."""
    return simple(list(values), producer=producer, sequence=sequence, ts=int(time.time() * 1000))


def test_producer_ids_are_never_given_twice(log):
    ids = [log.new_producer() for _ in range(50)]
    assert len({i for i, _ in ids}) == 50
    assert {epoch for _, epoch in ids} == {0}


def test_a_repeated_frame_gets_the_first_answer_and_is_stored_once(log, one):
    producer = log.new_producer()
    first = [log.produce(one, batch(producer, 2 * i, (b"a", b"b"))) for i in range(5)]
    again = [log.produce(one, batch(producer, 2 * i, (b"a", b"b"))) for i in range(5)]
    assert [a["BaseOffset"] for a in first] == [0, 2, 4, 6, 8]
    assert [(a["ErrorCode"], a["BaseOffset"]) for a in again] == [(0, o) for o in (0, 2, 4, 6, 8)]
    assert len(log.records(one)) == 10


def test_repeats_in_flight_are_stored_once(log, one):
    """Each frame is written three times before any answer is read."""
    producer = log.new_producer()
    sent = []
    for i in range(5):
        for _ in range(3):
            sent.append((i, log.send("Produce", 9, produce_values(one, batch(producer, i)))))
    for i, correlation in sent:
        answer = log.receive("Produce", 9, correlation)["Responses"][0]["PartitionResponses"][0]
        assert (answer["ErrorCode"], answer["BaseOffset"]) == (0, i)
    assert len(log.records(one)) == 5


def test_a_gap_in_the_sequence_is_refused(log, one):
    producer = log.new_producer()
    log.append(one, batch(producer, 0))
    assert log.produce(one, batch(producer, 2))["ErrorCode"] == errors.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert log.append(one, batch(producer, 1)) == 1


def test_a_sequence_before_the_window_is_refused_and_not_stored(log, one):
    producer = log.new_producer()
    for i in range(8):
        log.append(one, batch(producer, i))
    old = log.produce(one, batch(producer, 0))
    assert old["ErrorCode"] in (errors.OUT_OF_ORDER_SEQUENCE_NUMBER, errors.DUPLICATE_SEQUENCE_NUMBER), old
    assert len(log.records(one)) == 8


def test_sequences_are_kept_by_partition(log, topic):
    create_topic(log.owner, topic, 2)
    producer = log.new_producer()
    assert log.append(topic, batch(producer, 0), 0) == 0
    assert log.append(topic, batch(producer, 0), 1) == 0
    assert log.append(topic, batch(producer, 1), 1) == 1


def test_the_sequence_wraps_to_0(log, one):
    producer = log.new_producer()
    log.append(one, batch(producer, (1 << 31) - 1))
    assert log.append(one, batch(producer, 0)) == 1


def test_a_batch_across_the_wrap(log, one):
    producer = log.new_producer()
    wrapping = batch(producer, (1 << 31) - 2, (b"a", b"b", b"c"))
    log.append(one, wrapping)
    assert log.produce(one, wrapping)["BaseOffset"] == 0
    assert log.append(one, batch(producer, 1)) == 3


def test_an_old_epoch_is_fenced_and_a_new_one_starts_at_0(log, one):
    pid, _ = log.new_producer()
    log.append(one, batch((pid, 0), 0))
    assert log.produce(one, batch((pid, 1), 5))["ErrorCode"] == errors.OUT_OF_ORDER_SEQUENCE_NUMBER
    log.append(one, batch((pid, 1), 0))
    assert log.produce(one, batch((pid, 0), 1))["ErrorCode"] == errors.INVALID_PRODUCER_EPOCH
    assert len(log.records(one)) == 2


@pytest.mark.skipif(CONTROL, reason="Kafka has transactions")
def test_a_transactional_id_gets_a_clear_error(log):
    answer = log.call("InitProducerId", 4, TransactionalId="tx", TransactionTimeoutMs=60000)
    assert answer["ErrorCode"] not in (0, -1) and answer["ProducerId"] == -1, answer


def test_a_transactional_batch_outside_of_a_transaction_is_refused(log, one):
    producer = log.new_producer()
    answer = log.produce(one, simple([b"x"], producer=producer, sequence=0, attributes=0x10))
    assert answer["ErrorCode"] != 0


def test_repeated_frames_before_and_after_a_kill(own_broker, topic):
    """The window of the last five batches survives kill -9: repeats get their old offsets, new ones go on.

    Kafka's own snapshots keep only the last batch.
    """
    window = range(6, 7) if CONTROL else range(2, 7)
    create_topic(own_broker, topic)
    with LogClient(own_broker.port) as client:
        producer = client.new_producer()
        other = client.new_producer()
        frames = [batch(producer, i, (b"p%d" % i,)) for i in range(7)]
        for frame in frames:
            client.append(topic, frame)
            client.append(topic, frame)
        client.append(topic, batch(other, 0, (b"other",)))
    for round_ in range(2):
        own_broker.restart()
        with LogClient(own_broker.port) as client:
            again = [client.produce(topic, frames[i]) for i in window]
            assert [(a["ErrorCode"], a["BaseOffset"]) for a in again] == [(0, i) for i in window]
            gap = client.produce(topic, batch(producer, 9 + round_))
            assert gap["ErrorCode"] == errors.OUT_OF_ORDER_SEQUENCE_NUMBER
            assert client.new_producer()[0] not in (producer[0], other[0]), "ids are not reused after a restart"
    with LogClient(own_broker.port) as client:
        assert client.append(topic, batch(producer, 7)) == 8
        assert len(client.records(topic)) == 9


def test_a_frame_repeated_on_a_new_connection_after_the_kill_of_an_unread_answer(own_broker, topic):
    """The producer does not know the outcome; after the restart its repeat yields exactly one record."""
    create_topic(own_broker, topic)
    with LogClient(own_broker.port) as client:
        producer = client.new_producer()
    for i in range(5):
        with LogClient(own_broker.port) as client:
            client.send("Produce", 9, produce_values(topic, batch(producer, i, (b"n%d" % i,))))
            own_broker.restart()
        with LogClient(own_broker.port) as client:
            assert client.append(topic, batch(producer, i, (b"n%d" % i,))) == i
    with LogClient(own_broker.port) as client:
        assert [r[3] for r in client.records(topic)] == [b"n%d" % i for i in range(5)]
