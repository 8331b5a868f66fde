//! Consumer groups: membership, generations, and committed offsets.

use super::member::{Member, PROTOCOL, SESSION_MS, coordinator_of, subscription};
use super::wire::{
    Api, CREATE_TOPICS, FIND_COORDINATOR, HEARTBEAT, JOIN_GROUP, LEAVE_GROUP, LIST_OFFSETS, METADATA,
    OFFSET_COMMIT, OFFSET_FETCH, SYNC_GROUP, text,
};
use super::{Check, Subject, Verdict, ensure, fine, must, refused, should};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{FindCoordinatorRequest, SyncGroupRequest};

const NEEDS: &[Api] = &[
    FIND_COORDINATOR,
    JOIN_GROUP,
    SYNC_GROUP,
    HEARTBEAT,
    LEAVE_GROUP,
    OFFSET_COMMIT,
    OFFSET_FETCH,
    METADATA,
    CREATE_TOPICS,
    LIST_OFFSETS,
];
const OFFSETS: &[Api] = &[
    FIND_COORDINATOR,
    OFFSET_COMMIT,
    OFFSET_FETCH,
    METADATA,
    CREATE_TOPICS,
    LIST_OFFSETS,
];

pub(super) const CHECKS: &[Check] = &[
    must(
        "KB-GRP-01",
        "a_group_has_a_coordinator_that_serves_it",
        NEEDS,
        coordinator,
    ),
    must(
        "KB-GRP-02",
        "a_member_is_given_an_id_and_leads_a_group_of_one",
        NEEDS,
        alone,
    ),
    must(
        "KB-GRP-03",
        "a_member_is_given_what_the_leader_assigned",
        NEEDS,
        assigned,
    ),
    must(
        "KB-GRP-04",
        "a_second_member_makes_a_new_generation_of_both",
        NEEDS,
        two,
    ),
    must("KB-GRP-05", "another_generation_is_fenced", NEEDS, fenced),
    must("KB-GRP-06", "an_unknown_member_is_refused", NEEDS, stranger),
    must("KB-GRP-07", "a_member_that_leaves_is_gone", NEEDS, leaves),
    must(
        "KB-GRP-08",
        "a_silent_member_is_removed_after_its_session",
        NEEDS,
        silent,
    ),
    must(
        "KB-GRP-09",
        "protocols_that_do_not_fit_are_refused",
        NEEDS,
        misfit,
    ),
    must(
        "KB-GRP-10",
        "an_impossible_group_or_session_is_refused",
        NEEDS,
        impossible,
    ),
    should(
        "KB-GRP-11",
        "a_static_member_returns_without_a_rebalance_and_fences_its_double",
        NEEDS,
        returns,
    ),
    must(
        "KB-GRP-12",
        "a_committed_offset_is_read_back_with_its_metadata",
        OFFSETS,
        committed,
    ),
    must(
        "KB-GRP-13",
        "what_was_never_committed_is_minus_1",
        OFFSETS,
        never_committed,
    ),
    must(
        "KB-GRP-14",
        "groups_do_not_see_each_others_offsets",
        OFFSETS,
        apart,
    ),
    must(
        "KB-GRP-15",
        "a_stranger_cannot_commit_for_a_group_that_has_members",
        NEEDS,
        foreign_commit,
    ),
];

fn coordinator(subject: &Subject) -> Verdict {
    let group = subject.name();
    let first = coordinator_of(subject, &group)?;
    drop(first);
    let request = FindCoordinatorRequest::default()
        .with_key(text(group))
        .with_key_type(0);
    let found = subject.connection()?.call(FIND_COORDINATOR, &request)?;
    let brokers = subject.metadata(Some(&[]))?.brokers;
    let known = brokers.iter().any(|broker| broker.node_id == found.node_id);
    ensure!(
        known,
        "the coordinator {} is none of the brokers",
        found.node_id.0
    );
    Ok(())
}

fn alone(subject: &Subject) -> Verdict {
    let mut member = Member::of(subject, &subject.name())?;
    member.take_id()?;
    let answer = member.join()?;
    fine("joining with the id that was given", answer.error_code)?;
    ensure!(
        answer.generation_id > 0,
        "the first generation is {}",
        answer.generation_id
    );
    ensure!(
        answer.leader.as_str() == member.id,
        "the only member does not lead"
    );
    let protocol = answer.protocol_name.unwrap_or_default();
    ensure!(protocol.as_str() == PROTOCOL, "the protocol is {:?}", &*protocol);
    let ids: Vec<String> = answer
        .members
        .iter()
        .map(|member| member.member_id.to_string())
        .collect();
    ensure!(ids == [member.id], "the leader is told of the members {ids:?}");
    let same = answer
        .members
        .iter()
        .all(|member| member.metadata == subscription());
    ensure!(same, "the subscription was changed on its way to the leader");
    Ok(())
}

fn assigned(subject: &Subject) -> Verdict {
    let mut member = Member::of(subject, &subject.name())?;
    fine("joining an empty group", member.join()?.error_code)?;
    let id = member.id.clone();
    let (code, share) = member.sync(&[(&id, "its share")])?;
    fine("syncing a group of one", code)?;
    ensure!(share == "its share", "the assignment is {share:?}");
    fine("a heartbeat of a stable member", member.heartbeat()?)
}

fn two(subject: &Subject) -> Verdict {
    let mut first = Member::stable(subject)?;
    let before = first.generation;
    let mut second = Member::of(subject, &first.group)?;
    second.take_id()?;
    let correlation = second.send_join()?;
    subject.until("the first member hears of the rebalance", || {
        Ok((first.heartbeat()? == ResponseError::RebalanceInProgress.code()).then_some(()))
    })?;
    let one = first.join()?;
    fine("rejoining", one.error_code)?;
    let other = second.joined(correlation)?;
    fine("joining a group with a member", other.error_code)?;
    let generations = (one.generation_id, other.generation_id);
    ensure!(
        generations.0 == generations.1 && generations.0 > before,
        "generation {before} becomes {generations:?}"
    );
    let (leader, follower, all) = if one.leader.as_str() == first.id {
        (&mut first, &mut second, one.members)
    } else {
        (&mut second, &mut first, other.members)
    };
    ensure!(all.len() == 2, "the leader is told of {} members", all.len());
    let (ahead, behind) = (leader.id.clone(), follower.id.clone());
    let request = follower.sync_request(&[]);
    let waiting = follower.connection.send(SYNC_GROUP, &request)?;
    let (code, share) = leader.sync(&[(&ahead, "one"), (&behind, "two")])?;
    fine("the leader's sync", code)?;
    ensure!(share == "one", "the leader is given {share:?}");
    let answer = follower
        .connection
        .receive::<SyncGroupRequest>(SYNC_GROUP, waiting)?;
    fine("the follower's sync", answer.error_code)?;
    ensure!(
        answer.assignment == "two",
        "the follower is given {:?}",
        answer.assignment
    );
    fine("the leader's heartbeat", leader.heartbeat()?)?;
    fine("the follower's heartbeat", follower.heartbeat()?)
}

fn fenced(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    let mut member = Member::stable(subject)?;
    let right = member.generation;
    for generation in [right + 1, right - 1] {
        member.generation = generation;
        let what = format!("generation {generation} in place of {right}");
        let wrong = [ResponseError::IllegalGeneration];
        refused(&format!("a heartbeat of {what}"), member.heartbeat()?, &wrong)?;
        refused(&format!("a sync of {what}"), member.sync(&[])?.0, &wrong)?;
        refused(
            &format!("a commit of {what}"),
            member.commit(&topic.name, 1, "")?,
            &wrong,
        )?;
    }
    member.generation = right;
    fine("the right generation", member.heartbeat()?)
}

fn stranger(subject: &Subject) -> Verdict {
    let mut member = Member::stable(subject)?;
    let mut stranger = Member::of(subject, &member.group)?;
    stranger.id = "nobody".to_owned();
    stranger.generation = member.generation;
    let unknown = [ResponseError::UnknownMemberId];
    refused("a stranger's heartbeat", stranger.heartbeat()?, &unknown)?;
    refused("a stranger's sync", stranger.sync(&[])?.0, &unknown)?;
    refused("a stranger's join", stranger.ask()?.error_code, &unknown)?;
    refused("a stranger's leaving", stranger.leave()?, &unknown)?;
    fine("the member's heartbeat afterwards", member.heartbeat()?)
}

fn leaves(subject: &Subject) -> Verdict {
    let mut member = Member::stable(subject)?;
    fine("leaving", member.leave()?)?;
    refused(
        "a heartbeat after leaving",
        member.heartbeat()?,
        &[ResponseError::UnknownMemberId],
    )?;
    let mut next = Member::of(subject, &member.group)?;
    let answer = next.join()?;
    fine("joining a group that was left", answer.error_code)?;
    ensure!(
        answer.members.len() == 1,
        "the new member finds {} members",
        answer.members.len()
    );
    Ok(())
}

fn silent(subject: &Subject) -> Verdict {
    let mut member = Member::of(subject, &subject.name())?;
    // The shortest session that brokers allow by default.
    member.session_ms = 6_000;
    fine("joining an empty group", member.join()?.error_code)?;
    let id = member.id.clone();
    fine("syncing a group of one", member.sync(&[(&id, "all")])?.0)?;
    let mut next = Member::of(subject, &member.group)?;
    let answer = next.join()?;
    // The join waits for the silent member, at most until its session ends.
    fine("joining a group whose member is silent", answer.error_code)?;
    ensure!(
        answer.members.len() == 1,
        "the new member finds {} members",
        answer.members.len()
    );
    refused(
        "the silent member's heartbeat",
        member.heartbeat()?,
        &[ResponseError::UnknownMemberId],
    )
}

fn misfit(subject: &Subject) -> Verdict {
    let mut member = Member::stable(subject)?;
    let mut other = Member::of(subject, &member.group)?;
    for (kind, protocol) in [("connect", PROTOCOL), ("consumer", "unheard-of")] {
        let request = other.join_request(kind, protocol);
        let answer = other.connection.call(JOIN_GROUP, &request)?;
        let wrong = [ResponseError::InconsistentGroupProtocol];
        refused(
            &format!("protocol {protocol} of type {kind}"),
            answer.error_code,
            &wrong,
        )?;
    }
    fine("the member's heartbeat afterwards", member.heartbeat()?)
}

fn impossible(subject: &Subject) -> Verdict {
    let mut member = Member::of(subject, &subject.name())?;
    member.session_ms = 1;
    refused(
        "a session of 1 ms",
        member.ask()?.error_code,
        &[ResponseError::InvalidSessionTimeout],
    )?;
    member.session_ms = SESSION_MS;
    member.group = String::new();
    refused(
        "a group without a name",
        member.ask()?.error_code,
        &[ResponseError::InvalidGroupId],
    )
}

/// KIP-345.
fn returns(subject: &Subject) -> Verdict {
    let group = subject.name();
    let mut first = Member::of(subject, &group)?;
    first.instance = Some("instance-1".to_owned());
    fine("a static member's join", first.join()?.error_code)?;
    let id = first.id.clone();
    fine("its sync", first.sync(&[(&id, "its share")])?.0)?;
    let mut again = Member::of(subject, &group)?;
    again.instance.clone_from(&first.instance);
    let answer = again.join()?;
    fine("its return", answer.error_code)?;
    let generations = (first.generation, answer.generation_id);
    ensure!(
        generations.0 == generations.1,
        "its return makes generation {} of {}",
        generations.1,
        generations.0
    );
    let (code, share) = again.sync(&[])?;
    fine("its second sync", code)?;
    ensure!(share == "its share", "it is given {share:?} after its return");
    refused(
        "its double's heartbeat",
        first.heartbeat()?,
        &[ResponseError::FencedInstanceId],
    )?;
    fine("its heartbeat", again.heartbeat()?)
}

fn committed(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    let mut alone = Member::of(subject, &subject.name())?;
    for (offset, metadata) in [(42, "a note"), (41, ""), (0, "back")] {
        fine(
            "a commit of a consumer without a group",
            alone.commit(&topic.name, offset, metadata)?,
        )?;
        let found = alone.committed(&topic.name)?;
        ensure!(
            found == (offset, metadata.to_owned()),
            "{offset} was committed, and {found:?} is read"
        );
    }
    let mut member = Member::stable(subject)?;
    fine("a member's commit", member.commit(&topic.name, 7, "seven")?)?;
    let found = member.committed(&topic.name)?;
    ensure!(
        found == (7, "seven".to_owned()),
        "7 was committed, and {found:?} is read"
    );
    Ok(())
}

fn never_committed(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    let mut member = Member::of(subject, &subject.name())?;
    let (offset, _) = member.committed(&topic.name)?;
    ensure!(offset == -1, "{offset} is read, and nothing was committed");
    Ok(())
}

fn apart(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    let mut one = Member::of(subject, &subject.name())?;
    let mut other = Member::of(subject, &subject.name())?;
    fine("a commit", one.commit(&topic.name, 5, "")?)?;
    fine("another group's commit", other.commit(&topic.name, 9, "")?)?;
    let found = (one.committed(&topic.name)?.0, other.committed(&topic.name)?.0);
    ensure!(found == (5, 9), "5 and 9 were committed, and {found:?} is read");
    Ok(())
}

fn foreign_commit(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    let member = Member::stable(subject)?;
    let mut other = Member::of(subject, &member.group)?;
    let right = [ResponseError::UnknownMemberId, ResponseError::IllegalGeneration];
    refused(
        "a commit without a member id",
        other.commit(&topic.name, 1, "")?,
        &right,
    )
}
