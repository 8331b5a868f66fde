//! JoinGroup and the rebalance that it takes part in.

use super::harness::{GROUP, Harness, Spec, limits};
use crate::group::subscription::metadata_of;
use crate::kafka::wire::ErrorCode;
use std::time::Duration;

#[test]
fn a_new_dynamic_member_is_given_its_id_before_it_joins() {
    let mut h = Harness::new();
    let first = h.send_join(&Spec::default(), "");
    let response = h.joined(first);
    assert_eq!(response.error_code, ErrorCode::MEMBER_ID_REQUIRED);
    assert!(response.member_id.starts_with("client-"));
    let second = h.send_join(&Spec::default(), &response.member_id);
    assert!(h.is_parked(second));
    h.advance(3_000);
    let joined = h.joined(second);
    assert_eq!(joined.error_code, ErrorCode::NONE);
    assert_eq!((joined.generation_id, &joined.leader), (1, &response.member_id));
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    assert_eq!(joined.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(joined.members.len(), 1);
}

#[test]
fn before_version_four_a_new_member_joins_at_once() {
    let mut h = Harness::new();
    let spec = Spec {
        version: 3,
        ..Default::default()
    };
    let id = h.send_join(&spec, "");
    assert!(h.is_parked(id));
    h.advance(3_000);
    assert_eq!(h.join_error(id), ErrorCode::NONE);
}

#[test]
fn a_pending_member_that_never_joins_is_forgotten_and_holds_nobody_up() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 1);
    let pending = h.send_join(&spec, "");
    let pending = h.joined(pending).member_id;
    // A rebalance now waits for the pending member too.
    let rejoin = h.send_join(&spec, &ids[0]);
    assert!(h.is_parked(rejoin));
    h.advance(10_000);
    assert_eq!(h.joined(rejoin).generation_id, generation + 1);
    let late = h.send_join(&spec, &pending);
    assert_eq!(h.join_error(late), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_known_member_of_an_unknown_group_is_told_so() {
    let mut h = Harness::new();
    let id = h.send_join(&Spec::default(), "somebody");
    assert_eq!(h.join_error(id), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(h.joined(id).member_id, "somebody");
    assert_eq!(h.state(), "Dead", "the group was not made by that");
}

#[test]
fn the_first_rebalance_waits_for_more_members_and_longer_while_they_come() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (_, first) = h.start_member(&spec);
    h.advance(2_900);
    let (_, second) = h.start_member(&spec);
    h.advance(100);
    assert!(h.is_parked(first), "the second member put the end off");
    h.advance(2_999);
    assert!(h.is_parked(first) && h.is_parked(second));
    h.advance(1);
    assert_eq!(h.joined(first).generation_id, 1);
    assert_eq!(h.joined(second).generation_id, 1);
}

#[test]
fn the_first_rebalance_is_put_off_no_longer_than_the_rebalance_timeout() {
    let mut h = Harness::new();
    let spec = Spec {
        rebalance_ms: 7_000,
        ..Default::default()
    };
    let (_, first) = h.start_member(&spec);
    for _ in 0..6 {
        h.advance(1_000);
        h.start_member(&spec);
    }
    assert!(h.is_parked(first));
    h.advance(4_000);
    assert_eq!(h.joined(first).generation_id, 1);
    assert_eq!(h.joined(first).members.len(), 7);
}

#[test]
fn all_members_have_to_rejoin_when_one_comes() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 1);
    let (new, joining) = h.start_member(&spec);
    assert_eq!(h.state(), "PreparingRebalance");
    assert!(h.is_parked(joining));
    assert_eq!(
        h.heartbeat(&spec, generation, &ids[0]),
        ErrorCode::REBALANCE_IN_PROGRESS
    );
    let rejoin = h.send_join(&spec, &ids[0]);
    let (old, new_answer) = (h.joined(rejoin), h.joined(joining));
    assert_eq!(
        (old.generation_id, new_answer.generation_id),
        (generation + 1, generation + 1)
    );
    assert_eq!(
        old.members.len() + new_answer.members.len(),
        2,
        "only the leader learns of the members"
    );
    assert_eq!(new_answer.leader, ids[0]);
    assert_eq!(new_answer.member_id, new);
}

#[test]
fn a_member_that_does_not_rejoin_in_time_is_out() {
    let mut h = Harness::new();
    let spec = Spec {
        session_ms: 60_000,
        ..Default::default()
    };
    let (ids, generation) = h.stable_group(&spec, 2);
    let rejoin = h.send_join(&spec, &ids[0]);
    h.advance(29_999);
    assert!(h.is_parked(rejoin));
    h.advance(1);
    assert_eq!(h.joined(rejoin).generation_id, generation + 1);
    assert_eq!(h.joined(rejoin).members.len(), 1);
    assert_eq!(
        h.heartbeat(&spec, generation, &ids[1]),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
}

#[test]
fn when_the_leader_does_not_rejoin_another_member_leads() {
    let mut h = Harness::new();
    let spec = Spec {
        session_ms: 60_000,
        ..Default::default()
    };
    let (ids, _) = h.stable_group(&spec, 3);
    let change = Spec {
        protocols: vec![("range", metadata_of(&["other"]))],
        ..spec.clone()
    };
    let second = h.send_join(&change, &ids[1]);
    let third = h.send_join(&spec, &ids[2]);
    h.advance(30_000);
    let leader = h.joined(second).leader;
    assert_eq!(leader, h.joined(third).leader);
    assert!(leader == ids[1] || leader == ids[2]);
}

#[test]
fn a_member_that_expires_makes_the_others_rebalance() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 2);
    h.advance(6_000);
    assert_eq!(h.heartbeat(&spec, generation, &ids[0]), ErrorCode::NONE);
    h.advance(4_001);
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
fn when_all_members_expire_the_group_is_empty_in_a_new_generation() {
    let mut h = Harness::new();
    let (_, generation) = h.stable_group(&Spec::default(), 2);
    h.advance(10_001);
    assert_eq!(h.state(), "Empty");
    h.restart();
    assert_eq!(h.state(), "Empty");
    let (_, joining) = h.start_member(&Spec::default());
    h.advance(3_000);
    assert_eq!(h.joined(joining).generation_id, generation + 2);
}

#[test]
fn a_new_member_whose_client_gave_up_is_out_after_five_minutes() {
    let mut h = Harness::new();
    let spec = Spec {
        rebalance_ms: 900_000,
        session_ms: 100_000,
        ..Default::default()
    };
    let (ids, generation) = h.stable_group(&spec, 1);
    let (_, joining) = h.start_member(&spec);
    for _ in 0..5 {
        h.advance(60_000 - 1);
        assert_eq!(
            h.heartbeat(&spec, generation, &ids[0]),
            ErrorCode::REBALANCE_IN_PROGRESS
        );
    }
    assert!(h.is_parked(joining));
    h.advance(5);
    assert_eq!(h.join_error(joining), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_follower_that_rejoins_unchanged_gets_the_current_generation_and_a_leader_a_new_one() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 2);
    let follower = h.send_join(&spec, &ids[1]);
    assert_eq!(h.joined(follower).generation_id, generation);
    assert!(h.joined(follower).members.is_empty());
    assert_eq!(h.state(), "Stable");
    let leader = h.send_join(&spec, &ids[0]);
    assert!(h.is_parked(leader));
    assert_eq!(h.state(), "PreparingRebalance");
}

#[test]
fn a_follower_that_rejoins_with_another_subscription_makes_a_rebalance() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, _) = h.stable_group(&spec, 2);
    let change = Spec {
        protocols: vec![("range", metadata_of(&["other"]))],
        ..spec
    };
    let follower = h.send_join(&change, &ids[1]);
    assert!(h.is_parked(follower));
    assert_eq!(h.state(), "PreparingRebalance");
}

#[test]
fn a_member_that_lost_its_join_answer_gets_it_again() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (id, joining) = h.start_member(&spec);
    h.advance(3_000);
    let again = h.send_join(&spec, &id);
    assert_eq!(h.joined(again), h.joined(joining));
    assert_eq!(h.state(), "CompletingRebalance");
}

#[test]
fn a_join_request_that_is_sent_again_replaces_the_one_that_waits() {
    let mut h = Harness::new();
    let (id, first) = h.start_member(&Spec::default());
    let second = h.send_join(&Spec::default(), &id);
    assert_eq!(h.join_error(first), ErrorCode::REBALANCE_IN_PROGRESS);
    h.advance(3_000);
    assert_eq!(h.join_error(second), ErrorCode::NONE);
}

#[test]
fn members_of_another_protocol_type_or_without_a_common_protocol_are_refused() {
    let mut h = Harness::new();
    h.stable_group(&Spec::default(), 1);
    let other_type = Spec {
        kind: "connect",
        ..Default::default()
    };
    let other_protocol = Spec {
        protocols: vec![("sticky", metadata_of(&["t"]))],
        ..Default::default()
    };
    for spec in [other_type, other_protocol] {
        let id = h.send_join(&spec, "");
        assert_eq!(h.join_error(id), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    assert_eq!(h.state(), "Stable");
}

#[test]
fn a_first_member_needs_a_protocol_type_and_a_protocol() {
    let mut h = Harness::new();
    let no_type = Spec {
        kind: "",
        ..Default::default()
    };
    let no_protocol = Spec {
        protocols: Vec::new(),
        ..Default::default()
    };
    for spec in [no_type, no_protocol] {
        let id = h.send_join(&spec, "");
        assert_eq!(h.join_error(id), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        assert_eq!(h.state(), "Dead");
    }
}

#[test]
fn an_empty_group_takes_members_of_another_protocol_type() {
    let mut h = Harness::new();
    h.stable_group(&Spec::default(), 1);
    h.advance(10_001);
    assert_eq!(h.state(), "Empty");
    let spec = Spec {
        kind: "connect",
        ..Default::default()
    };
    let (_, joining) = h.start_member(&spec);
    h.advance(3_000);
    assert_eq!(h.joined(joining).protocol_type.as_deref(), Some("connect"));
}

#[test]
fn members_vote_for_a_protocol_that_all_of_them_support() {
    let mut h = Harness::new();
    let of = |names: &[&'static str]| Spec {
        protocols: names.iter().map(|name| (*name, metadata_of(&["t"]))).collect(),
        ..Default::default()
    };
    let (_, a) = h.start_member(&of(&["only-a", "roundrobin", "range"]));
    let (_, b) = h.start_member(&of(&["range", "roundrobin"]));
    let (_, c) = h.start_member(&of(&["range", "roundrobin", "sticky"]));
    h.advance(6_000);
    for id in [a, b, c] {
        assert_eq!(h.joined(id).protocol_name.as_deref(), Some("range"));
    }
}

#[test]
fn a_group_takes_no_more_members_than_its_maximum() {
    let mut h = Harness::with(crate::group::GroupLimits {
        max_group_size: 2,
        ..limits()
    });
    let spec = Spec::default();
    let (_, generation) = h.stable_group(&spec, 2);
    let third = h.send_join(&spec, "");
    assert_eq!(h.join_error(third), ErrorCode::GROUP_MAX_SIZE_REACHED);
    assert_eq!(h.state(), "Stable");
    assert_eq!(generation, 1);
}

#[test]
fn clients_that_only_ask_for_ids_are_limited_too() {
    let mut h = Harness::with(crate::group::GroupLimits {
        max_group_size: 2,
        ..limits()
    });
    let ids: Vec<_> = (0..3).map(|_| h.send_join(&Spec::default(), "")).collect();
    let errors: Vec<_> = ids.into_iter().map(|id| h.join_error(id)).collect();
    let (required, full) = (ErrorCode::MEMBER_ID_REQUIRED, ErrorCode::GROUP_MAX_SIZE_REACHED);
    assert_eq!(errors, [required, required, full]);
}

#[test]
fn a_group_that_was_loaded_over_its_maximum_turns_the_last_members_away() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 3);
    h.limits.max_group_size = 2;
    h.restart();
    assert_eq!(h.state(), "PreparingRebalance");
    let first = h.send_join(&spec, &ids[0]);
    let second = h.send_join(&spec, &ids[1]);
    let third = h.send_join(&spec, &ids[2]);
    assert_eq!(h.join_error(third), ErrorCode::GROUP_MAX_SIZE_REACHED);
    assert_eq!(h.joined(first).generation_id, generation + 1);
    assert_eq!(h.joined(second).generation_id, generation + 1);
}

#[test]
fn a_group_that_nobody_completed_leaves_nothing_behind() {
    let mut h = Harness::new();
    let id = h.send_join(&Spec::default(), "");
    assert_eq!(h.join_error(id), ErrorCode::MEMBER_ID_REQUIRED);
    assert_eq!(h.state(), "Empty");
    h.advance(10_000);
    assert_eq!(h.state(), "Dead");
    assert!(h.machine.list_groups(&[]).is_empty());
    assert!(h.log.batches.is_empty());
    assert!(
        h.machine.next_deadline() > h.mono + Duration::from_secs(1),
        "no timer is left"
    );
    assert_eq!(
        h.machine.describe_group(6, &GROUP.into()).error_code,
        ErrorCode::GROUP_ID_NOT_FOUND
    );
}
