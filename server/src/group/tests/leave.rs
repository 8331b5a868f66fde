//! LeaveGroup.

use super::harness::{Harness, Spec};
use crate::kafka::wire::ErrorCode;

#[test]
fn the_others_rebalance_when_a_member_leaves() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 2);
    let left = h.send_leave(&[(&ids[1], None)]);
    assert_eq!(h.left(left).members[0].error_code, ErrorCode::NONE);
    assert_eq!(
        h.heartbeat(&spec, generation, &ids[0]),
        ErrorCode::REBALANCE_IN_PROGRESS
    );
    assert_eq!(
        h.heartbeat(&spec, generation, &ids[1]),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    let rejoin = h.send_join(&spec, &ids[0]);
    assert_eq!(h.joined(rejoin).generation_id, generation + 1);
}

#[test]
fn the_last_members_leave_is_answered_when_the_log_says_that_the_group_is_empty() {
    let mut h = Harness::new();
    let (ids, _) = h.stable_group(&Spec::default(), 1);
    h.auto_commit = false;
    let left = h.send_leave(&[(&ids[0], None)]);
    assert!(h.is_parked(left));
    h.commit_all();
    assert_eq!(h.left(left).error_code, ErrorCode::NONE);
    assert_eq!(h.state(), "Empty");
    h.restart();
    assert_eq!(h.state(), "Empty");
}

#[test]
fn a_leave_that_cannot_be_stored_is_an_error() {
    let mut h = Harness::new();
    let (ids, _) = h.stable_group(&Spec::default(), 1);
    h.auto_commit = false;
    let left = h.send_leave(&[(&ids[0], None)]);
    h.fail_one(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(h.left(left).error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
}

#[test]
fn each_member_of_a_request_has_its_own_error() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let static_spec = Spec {
        instance: Some("i"),
        ..Default::default()
    };
    let joining = h.send_join(&static_spec, "");
    let (dynamic, _) = h.start_member(&spec);
    let pending = h.send_join(&spec, "");
    let pending = h.joined(pending).member_id;
    h.advance(6_000);
    let static_id = h.joined(joining).member_id;
    let left = h.send_leave(&[
        ("stranger", None),
        ("", Some("nobody")),
        ("", None),
        ("wrong", Some("i")),
        (&dynamic, None),
        (&pending, None),
        ("", Some("i")),
        (&static_id, Some("i")),
    ]);
    let errors: Vec<_> = h
        .left(left)
        .members
        .iter()
        .map(|member| member.error_code)
        .collect();
    let (none, unknown) = (ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID);
    let fenced = ErrorCode::FENCED_INSTANCE_ID;
    assert_eq!(
        errors,
        [unknown, unknown, unknown, fenced, none, none, none, unknown]
    );
    assert_eq!(h.state(), "Empty");
}

#[test]
fn leaving_an_unknown_group_is_an_error_of_each_member() {
    let mut h = Harness::new();
    let left = h.send_leave(&[("m", None), ("n", None)]);
    let members = h.left(left).members;
    assert_eq!(h.left(left).error_code, ErrorCode::NONE);
    assert!(
        members
            .iter()
            .all(|member| member.error_code == ErrorCode::UNKNOWN_MEMBER_ID)
    );
    assert_eq!(members.len(), 2);
}

#[test]
fn a_member_that_leaves_while_its_requests_wait_gets_them_answered() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (a, first) = h.start_member(&spec);
    h.send_leave(&[(&a, None)]);
    assert_eq!(h.join_error(first), ErrorCode::UNKNOWN_MEMBER_ID);
    let (b, _) = h.start_member(&spec);
    let (c, second) = h.start_member(&spec);
    h.advance(9_000);
    let joined = h.joined(second);
    let follower = if joined.leader == b { c } else { b };
    let sync = h.send_sync(&spec, joined.generation_id, &follower, &[]);
    assert!(h.is_parked(sync));
    h.send_leave(&[(&follower, None)]);
    assert_eq!(h.synced(sync).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_leave_completes_the_collection_that_waited_for_the_member() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 2);
    let rejoin = h.send_join(&spec, &ids[0]);
    assert!(h.is_parked(rejoin));
    h.send_leave(&[(&ids[1], None)]);
    assert_eq!(h.joined(rejoin).generation_id, generation + 1);
}
