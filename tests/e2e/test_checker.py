"""The checker is judged itself: every anomaly has a hand-made history, and a good history has none."""

import pytest
from chaos.checker import check
from chaos.history import FAILED, OK, UNKNOWN, History, Poll, Send


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


BAD = {"lost": lost, "moved": moved, "duplicate": duplicate, "reordered": reordered,
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


def test_a_history_survives_its_file(tmp_path):
    history = good()
    history.faults.append({"at": 1.5, "kind": "kill", "node": 2})
    history.dump(tmp_path / "h.jsonl")
    again = History.load(tmp_path / "h.jsonl")
    assert (again.sends, again.polls, again.logs, again.faults) == (
        history.sends, history.polls, history.logs, history.faults)
