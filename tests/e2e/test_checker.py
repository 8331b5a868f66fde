"""The checker is judged itself: every anomaly has a hand-made history, and a good history has none."""

import logging

import pytest
from chaos.checker import Checker, check
from chaos.history import FAILED, IN_FLIGHT, OK, UNKNOWN, Epoch, History, Poll, Send, Writing, ends_of_epochs, writings_of_repeats
from chaos.workload import Epochs
from harness.batch import Batch, simple


def sends(*outcomes):
    """Records v0, v1, ... of one producer to partition 0; an int is the acknowledged offset."""
    return [Send("p", 0, f"v{number}", OK if isinstance(outcome, int) else outcome,
                 outcome if isinstance(outcome, int) else -1)
            for number, outcome in enumerate(outcomes)]


def log(*values, start=0):
    return [(start + offset, value) for offset, value in enumerate(values)]


def good():
    history = History(sends=sends(0, 1, UNKNOWN, 2, FAILED, UNKNOWN))
    history.logs = {0: {1: log("v0", "v1", "v3", "v5"), 2: log("v0", "v1", "v3"), 3: []}}
    history.polls = [Poll("c", 0, log("v0", "v1"), fresh=True), Poll("c", 0, [(2, "v3")]),
                     Poll("c", 0, log("v0", "v1", "v3", "v5"), fresh=True)]
    return history


def lost(history):
    history.logs[0] = {1: log("v0", "v1"), 2: log("v0")}
    history.polls = []


def moved(history):
    history.sends[3].offset = 3


def duplicate(history):
    history.logs[0][1] = log("v0", "v1", "v3", "v1")


def refused(history):
    history.ends = {0: {(7, 0): 8}}
    history.epochs = [Epoch("p", 7, 1, "skipped sequence numbers", 1.5, [(0, 9)])]


def reordered(history):
    history.sends = sends(1, 0)
    history.logs[0] = {1: log("v1", "v0")}
    history.polls = []


def inconsistent_offset(history):
    history.polls.append(Poll("d", 0, [(1, "v2")], fresh=True))


def divergent(history):
    history.logs[0][2] = log("v0", "v2", "v3")


def hole(history):
    history.logs[0][2] = [(0, "v0"), (2, "v3")]


def ghost(history):
    history.logs[0][1] = log("v0", "v1", "v3", "v4")


def phantom(history):
    history.logs[0][1] = log("v0", "v1", "v3", "x")


def poll_skip(history):
    history.polls = [Poll("c", 0, [(1, "v1")], fresh=True), Poll("c", 0, [(3, "v5")])]


def nonmonotonic_poll(history):
    history.polls.append(Poll("c", 0, [(2, "v3")]))


def unread(history):
    history.polls = [Poll("c", 0, [(0, "v0")], fresh=True), Poll("c", 0, [(2, "v3")], fresh=True)]


BAD = {"lost": lost, "moved": moved, "duplicate": duplicate, "refused": refused, "reordered": reordered,
       "inconsistent-offset": inconsistent_offset, "divergent": divergent, "ghost": ghost, "phantom": phantom,
       "poll-skip": poll_skip, "nonmonotonic-poll": nonmonotonic_poll, "unread": unread}


def test_a_good_history_has_no_anomaly():
    assert check(good()) == []


@pytest.mark.parametrize("name", BAD)
def test_each_anomaly_is_found_by_its_name(name):
    history = good()
    BAD[name](history)
    assert name in {found for found, _ in check(history)}


def test_a_hole_in_one_replica_is_a_divergence():
    history = good()
    hole(history)
    assert "divergent" in {found for found, _ in check(history)}


def test_every_anomaly_that_the_checker_names_has_a_bad_history():
    import chaos.checker as checker

    lines = checker.__doc__.splitlines()[2:]
    named = {line.split()[0] for line in lines if line.strip() and not line.startswith(" ")}
    assert named == set(BAD)


def test_an_acknowledgement_without_an_offset_is_one():
    history = good()
    history.sends[3].offset = -1
    assert check(history) == []
    lost(history)
    assert {found for found, _ in check(history)} == {"lost"}


def test_members_of_a_group_read_together():
    history = good()
    history.polls = [Poll("g0", 0, log("v0"), True, "g"), Poll("g1", 0, [(1, "v1")], True, "g"),
                     Poll("g0", 0, [(2, "v3")], True, "g")]
    assert check(history) == []
    del history.polls[1]
    assert {found for found, _ in check(history)} == {"unread"}


def test_records_that_are_not_idempotent_may_lie_twice_and_change_places():
    history = good()
    for send in history.sends:
        send.idempotent = False
    history.logs[0][1] = log("v0", "v1", "v3", "v1", "v0")
    history.polls = []
    assert check(history) == []


def test_two_sends_of_one_value_cannot_be_judged():
    history = good()
    history.sends.append(history.sends[0])
    with pytest.raises(ValueError, match="same value"):
        check(history)


def written_again():
    """A history in which a client wrote v1 again, in a new epoch, when its answer got lost."""
    history = good()
    history.sends[1].offset = 2
    history.sends[3].offset = 3
    history.logs = {0: {1: log("v0", "v1", "v1", "v3")}}
    history.polls = []
    history.writings = {0: {1: Writing(7, 0, 1, 1, 0), 2: Writing(7, 1, 0, 0, 1)}}
    history.epochs = [Epoch("p", 7, 1, "skipped sequence numbers", 1.5, [(0, 3)])]
    history.ends = {0: {(7, 0): 1, (7, 1): 1}}
    return history


def test_what_a_client_wrote_again_in_a_new_epoch_is_told_and_is_no_duplicate():
    checker = Checker(written_again())
    assert checker.run() == []
    assert checker.again == ["v1 at 0:1 (producer 7 epoch 0 sequence 1) and 0:2 (producer 7 epoch 1 sequence 0), as the client "
                             "said: skipped sequence numbers"]


UNLIKE_A_CLIENT = {
    "the client said nothing of the epoch": lambda history: history.epochs.clear(),
    "another client said it": lambda history: setattr(history.epochs[0], "producer", "q"),
    "it is of another epoch": lambda history: setattr(history.epochs[0], "epoch", 2),
    "both are of one epoch": lambda history: setattr(history.writings[0][1], "epoch", 1),
    "the later is of an older epoch": lambda history: setattr(history.writings[0][1], "epoch", 2),
    "they are of two producers": lambda history: setattr(history.writings[0][1], "producer_id", 6),
    "the first was acknowledged": lambda history: setattr(history.sends[1], "offset", 1),
    "the first was not in flight": lambda history: setattr(history.writings[0][1], "after", IN_FLIGHT),
    "the second was not in flight": lambda history: setattr(history.writings[0][2], "before", IN_FLIGHT),
    "nobody knows how they were written": lambda history: history.writings.clear(),
}


@pytest.mark.parametrize("name", UNLIKE_A_CLIENT)
def test_a_record_that_no_client_wrote_again_is_a_duplicate(name):
    history = written_again()
    UNLIKE_A_CLIENT[name](history)
    checker = Checker(history)
    assert {found for found, _ in checker.run()} == {"duplicate"}
    assert checker.again == []


def batches(*rows):
    """Stored batches, one after the other: each an epoch, the sequence number of its first record, and values."""
    out, end = [], 0
    for epoch, sequence, *values in rows:
        data = simple([value.encode() for value in values], producer=(7, epoch), sequence=sequence, base_offset=end)
        out.append(Batch(data))
        end = out[-1].next_offset
    return out


def test_a_repeated_record_is_known_by_its_batch_and_the_batches_around_it():
    stored = batches((0, 0, "a"), (0, 1, "b", "c"), (0, 3, "d"), (1, 0, "c", "d"), *((1, 2 + n, f"e{n}") for n in range(9)))
    values = [(r[0], r[3].decode()) for batch in stored for r in batch.records()]
    assert writings_of_repeats(stored, values) == {
        2: Writing(7, 0, 2, 1, 1), 3: Writing(7, 0, 3, 2, 0), 4: Writing(7, 1, 0, 0, IN_FLIGHT),
        5: Writing(7, 1, 1, 0, IN_FLIGHT)}
    assert writings_of_repeats(stored[:3], values[:4]) == {}
    assert ends_of_epochs(stored) == {(7, 0): 3, (7, 1): 10}


def test_the_epochs_of_a_client_are_taken_from_what_it_says():
    epochs = Epochs("p")
    for said in ("ERRSEQ [p#producer-1] [thrd:127.0.0.1:1/3]: 127.0.0.1:1/3: ProduceRequest for chaos [1] with 2 message(s) "
                 "failed due to skipped sequence numbers (PID{Id:7,Epoch:0}, base seq 3 > next seq 2)",
                 "DRAIN [p#producer-1] [thrd:127.0.0.1:1/3]: chaos [1] beginning partition drain: drain before retrying",
                 "DRAIN [p#producer-1] [thrd:127.0.0.1:1/3]: All partitions drained, bumped epoch to PID{Id:7,Epoch:1}",
                 "DRAIN [p#producer-1] [thrd:127.0.0.1:1/3]: All partitions drained, bumped epoch to PID{Id:7,Epoch:2}"):
        epochs.logger.log(logging.DEBUG, said)
    assert [(one.producer, one.producer_id, one.epoch, one.why, one.refused) for one in epochs.begun] == [
        ("p", 7, 1, "ProduceRequest for chaos [1] with 2 message(s) failed due to skipped sequence numbers "
                    "(PID{Id:7,Epoch:0}, base seq 3 > next seq 2)", [(1, 3)]), ("p", 7, 2, "", [])]


def test_a_history_survives_its_file(tmp_path):
    history = written_again()
    history.faults.append({"at": 1.5, "kind": "kill", "node": 2})
    history.dump(tmp_path / "h.jsonl")
    again = History.load(tmp_path / "h.jsonl")
    assert again == history
