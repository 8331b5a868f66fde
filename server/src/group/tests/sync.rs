//! SyncGroup and Heartbeat.

use super::harness::{Harness, Spec};
use crate::kafka::api::sync_group::SyncGroupRequest;
use crate::kafka::wire::{ErrorCode, KafkaString};

/// A group of two in CompletingRebalance: the leader, the follower, and the generation.
fn completing(h: &mut Harness) -> (KafkaString, KafkaString, i32) {
    let spec = Spec::default();
    let (a, joining) = h.start_member(&spec);
    let (b, _) = h.start_member(&spec);
    h.advance(6_000);
    let joined = h.joined(joining);
    assert_eq!(h.state(), "CompletingRebalance");
    let (leader, follower) = if joined.leader == a { (a, b) } else { (b, a) };
    (leader, follower, joined.generation_id)
}

#[test]
fn followers_wait_for_the_leaders_assignment_and_that_for_the_log() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (leader, follower, generation) = completing(&mut h);
    h.auto_commit = false;
    let waiting = h.send_sync(&spec, generation, &follower, &[]);
    assert!(h.is_parked(waiting));
    let assigning = h.send_sync(&spec, generation, &leader, &[(&leader, "x"), (&follower, "y")]);
    assert!(
        h.is_parked(waiting) && h.is_parked(assigning),
        "the assignment is not in the log yet"
    );
    assert_eq!(h.state(), "CompletingRebalance");
    h.commit_all();
    assert_eq!(&h.synced(assigning).assignment[..], b"x");
    assert_eq!(&h.synced(waiting).assignment[..], b"y");
    assert_eq!(h.synced(waiting).protocol_name.as_deref(), Some("range"));
    assert_eq!(h.synced(waiting).protocol_type.as_deref(), Some("consumer"));
    assert_eq!(h.state(), "Stable");
}

#[test]
fn in_a_stable_group_the_assignment_is_given_at_once() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 2);
    let again = h.send_sync(&spec, generation, &ids[1], &[]);
    assert_eq!(&h.synced(again).assignment[..], b"a1");
}

#[test]
fn a_member_that_the_leader_left_out_gets_an_empty_assignment() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (leader, follower, generation) = completing(&mut h);
    h.send_sync(&spec, generation, &leader, &[(&leader, "x"), ("stranger", "z")]);
    let sync = h.send_sync(&spec, generation, &follower, &[]);
    assert_eq!(h.synced(sync).error_code, ErrorCode::NONE);
    assert!(h.synced(sync).assignment.is_empty());
}

#[test]
fn a_second_assignment_of_a_generation_cannot_replace_the_first() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (leader, follower, generation) = completing(&mut h);
    h.auto_commit = false;
    let first = h.send_sync(&spec, generation, &leader, &[(&leader, "x"), (&follower, "y")]);
    let second = h.send_sync(&spec, generation, &leader, &[(&leader, "y"), (&follower, "x")]);
    assert_eq!(h.in_flight.len(), 1);
    h.commit_all();
    assert_eq!(h.synced(first).error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(&h.synced(second).assignment[..], b"x");
    h.restart();
    let sync = h.send_sync(&spec, generation, &follower, &[]);
    assert_eq!(
        &h.synced(sync).assignment[..],
        b"y",
        "what the log says is what members were given"
    );
}

#[test]
fn a_rebalance_during_the_append_gives_nobody_the_old_assignment() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (leader, follower, generation) = completing(&mut h);
    h.auto_commit = false;
    let sync = h.send_sync(&spec, generation, &leader, &[(&leader, "x")]);
    let (_, joining) = h.start_member(&spec);
    assert_eq!(h.synced(sync).error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    h.commit_all();
    assert_eq!(h.state(), "PreparingRebalance");
    h.send_join(&spec, &leader);
    h.send_join(&spec, &follower);
    assert_eq!(h.joined(joining).generation_id, generation + 1);
}

#[test]
fn an_assignment_that_cannot_be_stored_is_answered_with_the_error_and_a_rebalance() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (leader, follower, generation) = completing(&mut h);
    h.auto_commit = false;
    let waiting = h.send_sync(&spec, generation, &follower, &[]);
    let assigning = h.send_sync(&spec, generation, &leader, &[(&leader, "x"), (&follower, "y")]);
    h.fail_one(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    for id in [waiting, assigning] {
        assert_eq!(h.synced(id).error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
        assert!(h.synced(id).assignment.is_empty());
    }
    assert_eq!(h.state(), "PreparingRebalance");
}

#[test]
fn members_that_do_not_sync_in_time_are_out() {
    let mut h = Harness::new();
    let spec = Spec {
        session_ms: 100_000,
        ..Default::default()
    };
    let (a, first) = h.start_member(&spec);
    let (b, _) = h.start_member(&spec);
    h.advance(6_000);
    let joined = h.joined(first);
    let (leader, follower) = if joined.leader == a { (a, b) } else { (b, a) };
    let waiting = h.send_sync(&spec, joined.generation_id, &follower, &[]);
    h.advance(30_000);
    assert_eq!(h.synced(waiting).error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    let generation = joined.generation_id;
    assert_eq!(
        h.heartbeat(&spec, generation, &leader),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    let rejoin = h.send_join(&spec, &follower);
    assert_eq!(h.joined(rejoin).members.len(), 1);
}

#[test]
fn members_wait_for_the_leader_beyond_their_session_and_live_on_afterwards() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (leader, follower, generation) = completing(&mut h);
    let waiting = h.send_sync(&spec, generation, &follower, &[]);
    for _ in 0..4 {
        h.advance(5_000);
        assert_eq!(h.heartbeat(&spec, generation, &leader), ErrorCode::NONE);
    }
    assert!(h.is_parked(waiting), "its session ended while it waited");
    h.send_sync(&spec, generation, &leader, &[(&follower, "y")]);
    assert_eq!(&h.synced(waiting).assignment[..], b"y");
    h.advance(9_999);
    assert_eq!(
        h.heartbeat(&spec, generation, &follower),
        ErrorCode::NONE,
        "its session started anew"
    );
}

#[test]
fn sync_needs_the_member_the_generation_and_the_protocol() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 1);
    let cases = [
        (generation, "stranger", ErrorCode::UNKNOWN_MEMBER_ID),
        (generation + 1, ids[0].as_str(), ErrorCode::ILLEGAL_GENERATION),
        (generation - 1, ids[0].as_str(), ErrorCode::ILLEGAL_GENERATION),
    ];
    for (generation, member, error) in cases {
        let id = h.send_sync(&spec, generation, member, &[]);
        assert_eq!(h.synced(id).error_code, error);
    }
    for (kind, name) in [(Some("connect"), None), (None, Some("sticky"))] {
        let request = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: ids[0].clone(),
            protocol_type: kind.map(KafkaString::from),
            protocol_name: name.map(KafkaString::from),
            ..Default::default()
        };
        let id = h.run(|machine, now, to| machine.sync(now, &request, to));
        assert_eq!(h.synced(id).error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    let nowhere = Spec {
        group: "nowhere",
        ..spec
    };
    let id = h.send_sync(&nowhere, generation, &ids[0], &[]);
    assert_eq!(h.synced(id).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn sync_during_the_collection_of_members_asks_to_rejoin() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 2);
    h.send_join(&spec, &ids[0]);
    let id = h.send_sync(&spec, generation, &ids[1], &[]);
    assert_eq!(h.synced(id).error_code, ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn heartbeats_tell_of_every_step() {
    let mut h = Harness::new();
    let spec = Spec::default();
    assert_eq!(h.heartbeat(&spec, 1, "m"), ErrorCode::UNKNOWN_MEMBER_ID);
    let (leader, follower, generation) = completing(&mut h);
    assert_eq!(
        h.heartbeat(&spec, generation, &follower),
        ErrorCode::NONE,
        "before it synced"
    );
    assert_eq!(
        h.heartbeat(&spec, generation - 1, &follower),
        ErrorCode::ILLEGAL_GENERATION
    );
    assert_eq!(
        h.heartbeat(&spec, generation, "stranger"),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    h.send_sync(&spec, generation, &leader, &[]);
    assert_eq!(h.heartbeat(&spec, generation, &follower), ErrorCode::NONE);
    h.send_join(&spec, &leader);
    assert_eq!(
        h.heartbeat(&spec, generation, &follower),
        ErrorCode::REBALANCE_IN_PROGRESS
    );
}
