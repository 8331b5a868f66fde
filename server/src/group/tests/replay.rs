//! What was acknowledged survives a crash; a replay gives the state that was live.

use super::harness::{Commit, GROUP, Harness, Spec, TOPIC};
use crate::kafka::wire::ErrorCode;

#[test]
fn members_of_a_stable_group_go_on_after_a_restart_without_a_rebalance() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 3);
    h.restart();
    assert_eq!(h.state(), "Stable");
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(h.heartbeat(&spec, generation, id), ErrorCode::NONE);
        let sync = h.send_sync(&spec, generation, id, &[]);
        assert_eq!(h.synced(sync).assignment, format!("a{at}"));
        let commit = h.send_commit(&Commit {
            member: id.clone(),
            generation,
            partition: at as i32,
            offset: 5,
            ..Default::default()
        });
        assert_eq!(h.committed(commit), ErrorCode::NONE);
    }
    assert_eq!(h.state(), "Stable");
}

#[test]
fn sessions_start_anew_after_a_restart() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 1);
    h.advance(9_000);
    h.restart();
    h.advance(9_999);
    assert_eq!(h.heartbeat(&spec, generation, &ids[0]), ErrorCode::NONE);
    h.restart();
    h.advance(10_001);
    assert_eq!(h.state(), "Empty");
}

#[test]
fn a_crash_between_the_append_and_the_answer_keeps_what_was_appended() {
    let mut h = Harness::new();
    h.auto_commit = false;
    let id = h.send_commit(&Commit::default());
    let (_, batch) = h.in_flight.pop_front().unwrap();
    h.log.push(&batch.unwrap());
    assert!(h.is_parked(id));
    h.restart();
    assert_eq!(h.offset(GROUP, TOPIC, 0), 1);
}

#[test]
fn a_crash_before_the_append_loses_nothing_that_was_acknowledged() {
    let mut h = Harness::new();
    h.commit_simple(GROUP, 0, 1);
    h.auto_commit = false;
    let id = h.send_commit(&Commit {
        offset: 2,
        ..Default::default()
    });
    assert!(h.is_parked(id));
    h.restart();
    assert_eq!(h.offset(GROUP, TOPIC, 0), 1);
}

#[test]
fn a_crash_during_a_rebalance_falls_back_to_the_last_generation_in_the_log() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 2);
    h.send_join(&spec, &ids[0]);
    let rejoin = h.send_join(&spec, &ids[1]);
    assert_eq!(h.joined(rejoin).generation_id, generation + 1);
    h.restart();
    assert_eq!(h.state(), "Stable");
    assert_eq!(
        h.heartbeat(&spec, generation + 1, &ids[0]),
        ErrorCode::ILLEGAL_GENERATION
    );
    assert_eq!(h.heartbeat(&spec, generation, &ids[0]), ErrorCode::NONE);
}

#[test]
fn unloading_answers_everybody_who_waits() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 2);
    let rejoin = h.send_join(&spec, &ids[0]);
    h.auto_commit = false;
    let commit = h.send_commit(&Commit {
        member: ids[1].clone(),
        generation,
        ..Default::default()
    });
    let machine = std::mem::replace(&mut h.machine, Harness::new().machine);
    let mut answered: Vec<_> = machine
        .unload(ErrorCode::NOT_COORDINATOR)
        .into_iter()
        .filter_map(|action| match action {
            crate::group::pending::Action::Reply { to, .. } => Some(to),
            _ => None,
        })
        .collect();
    answered.sort_unstable();
    assert_eq!(answered, [rejoin, commit]);
}
