//! Expiry of offsets (KIP-211). The harness keeps offsets for 1,000 s and looks for expired ones every 600 s.

use super::harness::{Commit, GROUP, Harness, Spec, TOPIC};
use crate::kafka::wire::ErrorCode;

/// Time passes while the member sends heartbeats.
fn advance_alive(h: &mut Harness, spec: &Spec, generation: i32, member: &str, seconds: u64) {
    for _ in 0..seconds / 5 {
        h.advance(5_000);
        assert_eq!(h.heartbeat(spec, generation, member), ErrorCode::NONE);
    }
}

#[test]
fn offsets_of_a_simple_consumer_expire_after_their_last_commit() {
    let mut h = Harness::new();
    h.commit_simple(GROUP, 0, 1);
    h.advance(590_000);
    h.commit_simple(GROUP, 1, 1);
    h.advance(900_000);
    assert_eq!((h.offset(GROUP, TOPIC, 0), h.offset(GROUP, TOPIC, 1)), (-1, 1));
    h.advance(600_000);
    assert_eq!(h.offset(GROUP, TOPIC, 1), -1);
    assert_eq!(h.state(), "Dead");
    h.restart();
    assert_eq!(h.state(), "Dead");
}

#[test]
fn offsets_of_a_group_expire_when_it_has_been_empty_for_long_enough_and_it_goes_with_them() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 1);
    h.commit_simple_as(&ids[0], generation, 4);
    advance_alive(&mut h, &spec, generation, &ids[0], 3_000);
    assert_eq!(
        h.offset(GROUP, TOPIC, 0),
        4,
        "the group is alive, however old the commit"
    );
    h.advance(10_001);
    assert_eq!(h.state(), "Empty");
    h.advance(900_000);
    assert_eq!(h.offset(GROUP, TOPIC, 0), 4);
    h.restart();
    h.advance(1_200_000);
    assert_eq!(h.offset(GROUP, TOPIC, 0), -1);
    assert_eq!(h.state(), "Dead");
}

#[test]
fn offsets_of_topics_that_a_live_group_dropped_expire() {
    let mut h = Harness::new();
    let spec = Spec::default();
    h.send_commit(&Commit {
        topic: "dropped",
        ..Default::default()
    });
    h.commit_simple(GROUP, 0, 4);
    let (ids, generation) = h.stable_group(&spec, 1);
    advance_alive(&mut h, &spec, generation, &ids[0], 1_800);
    assert_eq!(h.offset(GROUP, "dropped", 0), -1);
    assert_eq!(h.offset(GROUP, TOPIC, 0), 4);
}

#[test]
fn offsets_of_a_live_group_that_are_no_consumers_never_expire() {
    let mut h = Harness::new();
    let spec = Spec {
        kind: "connect",
        ..Default::default()
    };
    h.commit_simple(GROUP, 0, 4);
    let (ids, generation) = h.stable_group(&spec, 1);
    advance_alive(&mut h, &spec, generation, &ids[0], 3_000);
    assert_eq!(h.offset(GROUP, TOPIC, 0), 4);
}

#[test]
fn an_offset_with_its_own_time_to_live_expires_by_it() {
    let mut h = Harness::new();
    let id = h.send_commit(&Commit {
        version: 4,
        retention_ms: 100_000,
        ..Default::default()
    });
    assert_eq!(h.committed(id), ErrorCode::NONE);
    h.restart();
    h.advance(599_000);
    assert_eq!(h.offset(GROUP, TOPIC, 0), 1, "nobody looked yet");
    h.advance(2_000);
    assert_eq!(h.offset(GROUP, TOPIC, 0), -1);
}

#[test]
fn an_empty_group_without_offsets_is_forgotten() {
    let mut h = Harness::new();
    h.stable_group(&Spec::default(), 1);
    h.advance(10_001);
    assert_eq!(h.state(), "Empty");
    h.advance(600_000);
    assert_eq!(h.state(), "Dead");
    assert_eq!(h.machine.durable().groups().count(), 0);
}

#[test]
fn a_group_with_a_commit_in_flight_is_not_forgotten() {
    let mut h = Harness::new();
    h.stable_group(&Spec::default(), 1);
    h.advance(10_001);
    h.advance(580_000);
    h.auto_commit = false;
    let id = h.send_commit(&Commit::default());
    h.advance(60_000);
    h.commit_all();
    assert_eq!(h.committed(id), ErrorCode::NONE);
    assert_eq!(h.state(), "Empty");
    assert_eq!(
        h.machine.describe_group(5, &GROUP.into()).protocol_type,
        "consumer"
    );
}
