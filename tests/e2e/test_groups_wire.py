"""Consumer groups, seen on the wire: joins, syncs, static members, offsets, and what survives kill -9."""

import contextlib
import time

import pytest
from harness import errors
from harness.admin import create_topic
from harness.members import PROTOCOLS, Member, subscription
from harness.paths import CONTROL


@pytest.fixture
def one(broker, topic):
    create_topic(broker, topic)
    return topic


@pytest.fixture
def members(broker, topic):
    """Makes members of one group and closes them in the end."""
    with contextlib.ExitStack() as stack:
        def make(**more):
            member = stack.enter_context(Member(broker, f"group-{topic}", **more))
            await_coordinator(member)
            return member
        yield make


def await_coordinator(member):
    """The first to ask has the offsets topic made, and its partitions loaded."""
    limit = time.monotonic() + 30
    while True:
        found = member.call("FindCoordinator", 6, KeyType=0, CoordinatorKeys=[member.group])["Coordinators"][0]
        described = member.describe()["ErrorCode"]
        if found["ErrorCode"] == 0 and described in (0, errors.GROUP_ID_NOT_FOUND):
            return found
        assert time.monotonic() < limit, (found, described)
        time.sleep(0.1)


def stable(member, assignment=b"all"):
    """Joins and syncs a member that is alone."""
    assert member.join()["ErrorCode"] == 0
    assert member.sync_all({member.id: assignment})["ErrorCode"] == 0
    return member


def rebalance(old, new=()):
    """New members join while old ones rejoin; the leader hands every member its own id as assignment."""
    everyone = [*new, *old]
    sent = [(m, m.send_join()) for m in everyone]
    answers = {m: m.receive_join(c) for m, c in sent}
    assert {a["ErrorCode"] for a in answers.values()} == {0}, answers
    leader = next(m for m in everyone if m.id == m.leader)
    listed = {m["MemberId"] for m in answers[leader]["Members"]}
    assert listed == {m.id for m in everyone}
    assert all(a["Members"] == [] for m, a in answers.items() if m is not leader)
    synced = [(m, m.send("SyncGroup", 5, m.sync_values({i: i.encode() for i in listed} if m is leader else {})))
              for m in everyone]
    for m, correlation in synced:
        answer = m.receive("SyncGroup", 5, correlation)
        assert (answer["ErrorCode"], answer["Assignment"]) == (0, m.id.encode())


def test_the_coordinator_is_this_node(members):
    found = await_coordinator(members())
    assert (found["NodeId"], found["Host"]) == (1, "127.0.0.1")


def test_a_dynamic_member_gets_its_id_first(members):
    member = members()
    member.ask_for_id()
    answer = member.join()
    assert (answer["ErrorCode"], answer["GenerationId"], answer["Leader"]) == (0, 1, member.id)
    assert answer["ProtocolName"] == "range" and answer["ProtocolType"] == "consumer"
    assert [(m["MemberId"], m["Metadata"]) for m in answer["Members"]] == [(member.id, subscription(b"range"))]


@pytest.mark.skipif(CONTROL, reason="Kafka 4.3.1 parses the metadata, fails, and never answers the join")
def test_metadata_is_opaque(members):
    member = members()
    assert member.join(protocols=[{"Name": "range", "Metadata": b"\xff" * 7}])["ErrorCode"] == 0


def test_joins_before_version_4_need_no_id(members):
    member = members()
    values = {k: v for k, v in member.join_values().items() if k != "GroupInstanceId"}
    answer = member.call("JoinGroup", 3, **values)
    assert answer["ErrorCode"] == 0 and answer["MemberId"]


def test_one_to_three_to_one(members):
    first = stable(members())
    others = [members(), members()]
    for other in others:
        other.ask_for_id()
    sent = [(m, m.send_join()) for m in others]
    limit = time.monotonic() + 20
    while first.heartbeat() == 0:
        assert time.monotonic() < limit, "the rebalance is never announced"
    assert first.heartbeat() == errors.REBALANCE_IN_PROGRESS
    answers = [first.receive_join(first.send_join())] + [m.receive_join(c) for m, c in sent]
    if {a["GenerationId"] for a in answers} != {2} or len(answers[0]["Members"]) != 3:
        rebalance([first, *others])
    generation = max(m.generation for m in (first, *others))
    for m in (first, *others):
        m.generation = generation
    for other in others:
        assert other.leave() == 0
    assert first.heartbeat() in (errors.REBALANCE_IN_PROGRESS, errors.ILLEGAL_GENERATION)
    rebalance([first])
    assert first.generation > generation


def test_three_members_settle_with_their_assignments(members):
    group = [members() for _ in range(3)]
    stable(group[0])
    for m in group[1:]:
        m.ask_for_id()
    rebalance(group[:1], group[1:]) if not CONTROL else settle(group)
    assert {m.heartbeat() for m in group} == {0}
    assert group[0].describe()["GroupState"] == "Stable"


def settle(group):
    """Like rebalance, but again until all are in one generation: the control broker does not gather the joins."""
    for _ in range(10):
        sent = [(m, m.send_join()) for m in group]
        answers = [m.receive_join(c) for m, c in sent]
        if len({a["GenerationId"] for a in answers}) == 1 and max(len(a["Members"]) for a in answers) == len(group):
            leader = next(m for m in group if m.id == m.leader)
            shares = {m.id: m.id.encode() for m in group}
            synced = [(m, m.send("SyncGroup", 5, m.sync_values(shares if m is leader else {}))) for m in group]
            codes = {m.receive("SyncGroup", 5, c)["ErrorCode"] for m, c in synced}
            if codes == {0}:
                return
    raise AssertionError("the group does not settle")


def test_wrong_ids_generations_and_protocols(members, one):
    member = stable(members())
    stranger = members()
    stranger.id, stranger.generation = "nobody", 1
    assert stranger.heartbeat() == errors.UNKNOWN_MEMBER_ID
    assert stranger.join()["ErrorCode"] == errors.UNKNOWN_MEMBER_ID
    assert stranger.commit(one, 1) == errors.UNKNOWN_MEMBER_ID
    assert stranger.leave() == errors.UNKNOWN_MEMBER_ID
    assert member.commit(one, 1, generation=77) == errors.ILLEGAL_GENERATION
    newcomer = members()
    answer = newcomer.receive("JoinGroup", 7, newcomer.send_join(protocol_type="connect"))
    assert answer["ErrorCode"] == errors.INCONSISTENT_GROUP_PROTOCOL
    answer = newcomer.receive("JoinGroup", 7, newcomer.send_join(protocols=[{"Name": "none", "Metadata": b""}]))
    assert answer["ErrorCode"] == errors.INCONSISTENT_GROUP_PROTOCOL
    assert member.heartbeat() == 0, "failed joins disturb nobody"


def test_bad_group_ids_and_session_timeouts(broker, members):
    member = members(session_ms=1)
    assert member.receive("JoinGroup", 7, member.send_join())["ErrorCode"] == errors.INVALID_SESSION_TIMEOUT
    member.session_ms, member.group = 10000, ""
    assert member.receive("JoinGroup", 7, member.send_join())["ErrorCode"] == errors.INVALID_GROUP_ID


def test_a_silent_member_is_removed_after_its_session(members):
    member = stable(members(session_ms=6000, rebalance_ms=6000))
    begin = time.monotonic()
    while member.describe()["GroupState"] != "Empty":
        assert time.monotonic() - begin < 30
        time.sleep(0.2)
    assert time.monotonic() - begin >= 5
    assert member.heartbeat() == errors.UNKNOWN_MEMBER_ID


def test_a_static_member_returns_without_a_rebalance(members, one):
    first = stable(members(instance="i1"), b"mine")
    generation = first.generation
    again = members(instance="i1")
    answer = again.join()
    assert answer["ErrorCode"] == 0 and answer["GenerationId"] == generation
    assert again.id != first.id
    assert again.sync_all({})["Assignment"] == b"mine", "it gets its assignment back"
    assert first.heartbeat() == errors.FENCED_INSTANCE_ID
    assert first.commit(one, 1) == errors.FENCED_INSTANCE_ID
    assert again.heartbeat() == 0


def test_a_static_member_is_removed_by_its_instance_id(members):
    member = stable(members(instance="gone"))
    answer = member.call("LeaveGroup", 5, GroupId=member.group, Members=[{"MemberId": "", "GroupInstanceId": "gone"}])
    assert answer["ErrorCode"] == 0 and answer["Members"][0]["ErrorCode"] == 0
    assert member.describe()["GroupState"] == "Empty"


def test_offsets_with_metadata_and_epoch(members, one):
    member = stable(members())
    assert member.committed(one) == (-1, "", -1)
    assert member.commit(one, 42, metadata="note \u00e9", epoch=3) == 0
    assert member.committed(one) == (42, "note \u00e9", 3)
    assert member.commit(one, 41) == 0, "offsets may go back"
    assert member.committed(one) == (41, "", -1)
    assert member.commit(one, 1, metadata="m" * 5000) == 12
    everything = member.call("OffsetFetch", 8, Groups=[{"GroupId": member.group, "Topics": None}])["Groups"][0]
    assert [(t["Name"], p["PartitionIndex"], p["CommittedOffset"]) for t in everything["Topics"]
            for p in t["Partitions"]] == [(one, 0, 41)]


def test_offsets_of_an_unknown_partition_are_refused(members, one):
    assert stable(members()).commit(one, 1, partition=9) == errors.UNKNOWN_TOPIC_OR_PARTITION


def test_a_group_without_members_takes_plain_commits(members, one):
    member = members()
    assert member.commit(one, 5) == 0
    assert member.committed(one)[0] == 5
    described = member.describe()
    assert (described["GroupState"], described["Members"]) == ("Empty", [])


def test_groups_are_listed_and_described(members):
    member = stable(members())
    listed = member.call("ListGroups", 5)["Groups"]
    mine = [g for g in listed if g["GroupId"] == member.group]
    assert [(g["ProtocolType"], g["GroupState"], g["GroupType"]) for g in mine] == [("consumer", "Stable", "classic")]
    for states, expected in ((["Stable"], True), (["stable"], True), (["Empty"], False)):
        found = member.call("ListGroups", 5, StatesFilter=states)["Groups"]
        assert (member.group in {g["GroupId"] for g in found}) == expected
    described = member.describe()
    assert (described["GroupState"], described["ProtocolData"]) == ("Stable", "range")
    only = described["Members"][0]
    assert (only["MemberId"], only["MemberMetadata"], only["MemberAssignment"]) == (member.id, subscription(b"range"), b"all")
    assert only["ClientId"] == "raw" and "127.0.0.1" in only["ClientHost"]
    unknown = member.call("DescribeGroups", 6, Groups=["no-such-group"])["Groups"][0]
    assert (unknown["ErrorCode"], unknown["GroupState"]) == (errors.GROUP_ID_NOT_FOUND, "Dead")


def test_groups_and_offsets_are_deleted(members, one):
    member = stable(members())
    member.commit(one, 3)
    delete = lambda: member.call("DeleteGroups", 2, GroupsNames=[member.group])["Results"][0]["ErrorCode"]  # noqa: E731
    assert delete() == errors.NON_EMPTY_GROUP
    assert member.leave() == 0
    answer = member.call("OffsetDelete", 0, GroupId=member.group, Topics=[
        {"Name": one, "Partitions": [{"PartitionIndex": 0}]}])
    assert answer["ErrorCode"] == 0 and answer["Topics"][0]["Partitions"][0]["ErrorCode"] == 0
    assert member.committed(one)[0] == -1
    member.generation, member.id = -1, ""
    member.commit(one, 4)
    assert delete() == 0
    assert delete() == errors.GROUP_ID_NOT_FOUND
    assert member.committed(one)[0] == -1


def test_offsets_go_with_their_topic(members, one):
    member = members()
    member.commit(one, 3)
    member.call("DeleteTopics", 5, TimeoutMs=20000, TopicNames=[one])
    limit = time.monotonic() + 20
    while member.committed(one)[0] != -1:
        assert time.monotonic() < limit, "the offset of a deleted topic stays"
        time.sleep(0.05)


def test_a_group_across_two_kills(own_broker, topic):
    """What was answered survives kill -9 between the answer and the restart: offsets, generation, members."""
    create_topic(own_broker, topic, 3)
    with Member(own_broker, "survivor", instance="static-1", session_ms=30000) as member:
        await_coordinator(member)
        stable(member, b"share")
        for partition in range(3):
            assert member.commit(topic, 100 + partition, partition, f"m{partition}", epoch=0) == 0
        kept = member.id, member.generation
    for round_ in range(2):
        own_broker.restart()
        with Member(own_broker, "survivor", instance="static-1", session_ms=30000) as member:
            await_coordinator(member)
            member.id, member.generation = kept
            found = [member.committed(topic, p) for p in range(3)]
            assert found == [(100 + p + round_ * 10, f"m{p}", 0) for p in range(3)]
            described = member.describe()
            assert described["GroupState"] == "Stable"
            assert [m["MemberAssignment"] for m in described["Members"]] == [b"share"]
            assert member.heartbeat() == 0, "the generation goes on"
            for partition in range(3):
                assert member.commit(topic, 110 + partition, partition, f"m{partition}", epoch=0) == 0
    with Member(own_broker, "survivor", instance="static-1", session_ms=30000) as member:
        member.id, member.generation = kept
        answer = member.join(protocols=[{"Name": "range", "Metadata": subscription(b"changed")}, *PROTOCOLS[1:]])
        assert answer["ErrorCode"] == 0 and answer["GenerationId"] == kept[1] + 1
