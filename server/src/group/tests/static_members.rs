//! Static members (KIP-345, KIP-814).

use super::harness::{Commit, Harness, Spec};
use crate::group::subscription::metadata_of;
use crate::kafka::wire::{ErrorCode, KafkaString};

fn spec(instance: &'static str) -> Spec {
    Spec {
        instance: Some(instance),
        ..Default::default()
    }
}

/// A stable group of the static members "i0" (who leads) and "i1": their ids and the generation.
fn stable(h: &mut Harness) -> (KafkaString, KafkaString, i32) {
    let (first, second) = (h.send_join(&spec("i0"), ""), h.send_join(&spec("i1"), ""));
    h.advance(6_000);
    let (first, second) = (h.joined(first), h.joined(second));
    let generation = first.generation_id;
    assert_eq!(first.leader, first.member_id);
    let assignments = [(first.member_id.as_str(), "x"), (second.member_id.as_str(), "y")];
    h.send_sync(&spec("i0"), generation, &first.member_id, &assignments);
    h.send_sync(&spec("i1"), generation, &second.member_id, &[]);
    assert_eq!(h.state(), "Stable");
    (first.member_id, second.member_id, generation)
}

#[test]
fn a_static_member_needs_no_second_request_to_join() {
    let mut h = Harness::new();
    let joining = h.send_join(&spec("i0"), "");
    assert!(h.is_parked(joining));
    h.advance(3_000);
    assert!(h.joined(joining).member_id.starts_with("i0-"));
    assert_eq!(
        h.joined(joining).members[0].group_instance_id.as_deref(),
        Some("i0")
    );
}

#[test]
fn a_static_member_that_comes_back_keeps_its_assignment_without_a_rebalance() {
    let mut h = Harness::new();
    let (_, old, generation) = stable(&mut h);
    h.auto_commit = false;
    let back = h.send_join(&spec("i1"), "");
    assert!(h.is_parked(back), "its new id is not in the log yet");
    h.commit_all();
    let joined = h.joined(back);
    assert_eq!(
        (joined.error_code, joined.generation_id),
        (ErrorCode::NONE, generation)
    );
    assert_ne!(joined.member_id, old);
    assert!(joined.members.is_empty() && !joined.skip_assignment);
    assert_eq!(h.state(), "Stable");
    h.auto_commit = true;
    let sync = h.send_sync(&spec("i1"), generation, &joined.member_id, &[]);
    assert_eq!(&h.synced(sync).assignment[..], b"y");
    h.restart();
    let sync = h.send_sync(&spec("i1"), generation, &joined.member_id, &[]);
    assert_eq!(
        &h.synced(sync).assignment[..],
        b"y",
        "the new id survives a restart"
    );
}

#[test]
fn a_static_leader_that_comes_back_is_told_to_skip_the_assignment() {
    let mut h = Harness::new();
    let (_, _, generation) = stable(&mut h);
    let back = h.send_join(&spec("i0"), "");
    let joined = h.joined(back);
    assert_eq!(joined.generation_id, generation);
    assert_eq!(joined.leader, joined.member_id);
    assert!(joined.skip_assignment);
    assert_eq!(
        joined.members.len(),
        2,
        "so that it can watch the metadata of what they subscribe to"
    );
}

#[test]
fn before_version_nine_a_static_leader_that_comes_back_is_told_that_its_old_self_leads() {
    let mut h = Harness::new();
    let (old, _, _) = stable(&mut h);
    let old_client = Spec {
        version: 8,
        ..spec("i0")
    };
    let back = h.send_join(&old_client, "");
    let joined = h.joined(back);
    assert_eq!(joined.leader, old);
    assert_ne!(joined.member_id, old);
    assert!(joined.members.is_empty() && !joined.skip_assignment);
}

#[test]
fn the_former_process_of_a_static_member_is_fenced() {
    let mut h = Harness::new();
    let (_, old, generation) = stable(&mut h);
    h.send_join(&spec("i1"), "");
    let fenced = ErrorCode::FENCED_INSTANCE_ID;
    assert_eq!(h.heartbeat(&spec("i1"), generation, &old), fenced);
    let sync = h.send_sync(&spec("i1"), generation, &old, &[]);
    assert_eq!(h.synced(sync).error_code, fenced);
    let join = h.send_join(&spec("i1"), &old);
    assert_eq!(h.join_error(join), fenced);
    let commit = h.send_commit(&Commit {
        member: old.clone(),
        instance: Some("i1".into()),
        generation,
        ..Default::default()
    });
    assert_eq!(h.committed(commit), fenced);
    let left = h.send_leave(&[(&old, Some("i1"))]);
    assert_eq!(h.left(left).members[0].error_code, fenced);
}

#[test]
fn the_waiting_requests_of_a_former_process_are_fenced() {
    let mut h = Harness::new();
    let first = h.send_join(&spec("i0"), "");
    let second = h.send_join(&spec("i0"), "");
    assert_eq!(h.join_error(first), ErrorCode::FENCED_INSTANCE_ID);
    h.advance(3_000);
    assert_eq!(h.join_error(second), ErrorCode::NONE);
    assert_eq!(h.joined(second).members.len(), 1);
}

#[test]
fn an_unknown_instance_with_a_member_id_is_an_unknown_member() {
    let mut h = Harness::new();
    let (id, _, generation) = stable(&mut h);
    assert_eq!(
        h.heartbeat(&spec("stranger"), generation, &id),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    let join = h.send_join(&spec("stranger"), &id);
    assert_eq!(h.join_error(join), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_static_member_that_comes_back_with_other_topics_makes_a_rebalance() {
    let mut h = Harness::new();
    stable(&mut h);
    let change = Spec {
        protocols: vec![("range", metadata_of(&["other"]))],
        ..spec("i1")
    };
    let back = h.send_join(&change, "");
    assert!(h.is_parked(back));
    assert_eq!(h.state(), "PreparingRebalance");
}

#[test]
fn a_static_member_that_comes_back_with_another_preferred_protocol_makes_a_rebalance() {
    let mut h = Harness::new();
    let both = |first, second| Spec {
        protocols: vec![(first, metadata_of(&["t"])), (second, metadata_of(&["t"]))],
        ..spec("i0")
    };
    let joining = h.send_join(&both("range", "sticky"), "");
    h.advance(3_000);
    let joined = h.joined(joining);
    h.send_sync(&spec("i0"), joined.generation_id, &joined.member_id, &[]);
    assert_eq!(h.state(), "Stable");
    let back = h.send_join(&both("sticky", "range"), "");
    assert_eq!(h.joined(back).generation_id, joined.generation_id + 1);
    assert_eq!(h.joined(back).protocol_name.as_deref(), Some("sticky"));
}

#[test]
fn a_static_member_that_comes_back_while_the_leader_assigns_makes_a_rebalance() {
    let mut h = Harness::new();
    let (first, second) = (h.send_join(&spec("i0"), ""), h.send_join(&spec("i1"), ""));
    h.advance(6_000);
    let generation = h.joined(first).generation_id;
    let waiting = h.send_sync(&spec("i0"), generation, &h.joined(first).member_id, &[]);
    assert_eq!(h.synced(waiting).error_code, ErrorCode::NONE);
    let leader = h.send_join(&spec("i0"), &h.joined(first).member_id);
    let follower = h.send_join(&spec("i1"), &h.joined(second).member_id);
    assert_eq!(h.joined(leader).generation_id, generation + 1);
    let parked = h.send_sync(&spec("i1"), generation + 1, &h.joined(follower).member_id, &[]);
    let back = h.send_join(&spec("i1"), "");
    assert_eq!(h.synced(parked).error_code, ErrorCode::FENCED_INSTANCE_ID);
    assert!(h.is_parked(back));
    assert_eq!(h.state(), "PreparingRebalance");
}

#[test]
fn a_static_member_that_does_not_rejoin_stays_until_its_session_ends() {
    let mut h = Harness::new();
    let long = |instance| Spec {
        session_ms: 60_000,
        ..spec(instance)
    };
    let (first, second) = (h.send_join(&long("i0"), ""), h.send_join(&long("i1"), ""));
    h.advance(6_000);
    let (a, b) = (h.joined(first).member_id, h.joined(second).member_id);
    h.send_sync(&long("i0"), 1, &a, &[(&a, "x"), (&b, "y")]);
    h.send_sync(&long("i1"), 1, &b, &[]);
    let rejoin = h.send_join(&long("i0"), &a);
    h.advance(30_000);
    let joined = h.joined(rejoin);
    assert_eq!(
        (joined.generation_id, joined.members.len()),
        (2, 2),
        "both are in the new generation"
    );
    assert_eq!(h.heartbeat(&long("i1"), 2, &b), ErrorCode::NONE);
    let sync = h.send_sync(&long("i1"), 2, &b, &[]);
    h.send_sync(&long("i0"), 2, &a, &[(&b, "z")]);
    assert_eq!(&h.synced(sync).assignment[..], b"z");
}

#[test]
fn a_rebalance_that_only_static_members_could_join_waits_for_their_sessions() {
    let mut h = Harness::new();
    stable(&mut h);
    let (_, dynamic) = h.start_member(&Spec {
        rebalance_ms: 5_000,
        ..Default::default()
    });
    assert!(h.is_parked(dynamic));
    h.advance(10_001);
    assert_eq!(h.joined(dynamic).members.len(), 1);
}

#[test]
fn a_static_member_whose_return_cannot_be_stored_may_try_again() {
    let mut h = Harness::new();
    let (_, _, generation) = stable(&mut h);
    h.auto_commit = false;
    let back = h.send_join(&spec("i1"), "");
    h.fail_one(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(h.join_error(back), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    h.auto_commit = true;
    let again = h.send_join(&spec("i1"), "");
    assert_eq!(h.joined(again).generation_id, generation);
    let sync = h.send_sync(&spec("i1"), generation, &h.joined(again).member_id, &[]);
    assert_eq!(&h.synced(sync).assignment[..], b"y");
}

#[test]
fn a_static_member_that_came_back_during_a_rebalance_is_not_fenced_by_a_restart() {
    let mut h = Harness::new();
    let (leader, _, generation) = stable(&mut h);
    h.send_join(&spec("i0"), &leader);
    let back = h.send_join(&spec("i1"), "");
    let joined = h.joined(back);
    assert_eq!(joined.generation_id, generation + 1);
    h.restart();
    assert_eq!(
        h.heartbeat(&spec("i1"), generation + 1, &joined.member_id),
        ErrorCode::ILLEGAL_GENERATION
    );
    let rejoin = h.send_join(&spec("i1"), &joined.member_id);
    assert_ne!(h.join_error(rejoin), ErrorCode::FENCED_INSTANCE_ID);
}
