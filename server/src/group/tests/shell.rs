//! The shard: loading, losing the log, outcomes that are unknown, clients that go away.

use super::harness::limits;
use super::world::{FakeLog, World, client};
use crate::group::subscription::metadata_of;
use crate::group::{AppendError, GroupLimits, HostedLogs, LogRole};
use crate::kafka::api::heartbeat::HeartbeatRequest;
use crate::kafka::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use crate::kafka::api::list_groups::ListGroupsRequest;
use crate::kafka::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use crate::kafka::api::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use crate::kafka::api::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use crate::kafka::wire::{ErrorCode, KafkaString};
use bytes::Bytes;

fn commit_request(offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: "g".into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: offset,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn error_of(response: &OffsetCommitResponse) -> ErrorCode {
    response.topics[0].partitions[0].error_code
}

fn commit(world: &World, offset: i64) -> ErrorCode {
    error_of(
        &world.ask(
            world
                .coordinator
                .commit_offsets(&client(9), commit_request(offset)),
        ),
    )
}

/// The committed offset, or the error.
fn fetch(world: &World) -> Result<i64, ErrorCode> {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "g".into(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "t".into(),
                partition_indexes: vec![0],
                ..Default::default()
            }]),
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = world.ask(world.coordinator.fetch_offsets(&client(9), request));
    match response.groups[0].error_code {
        ErrorCode::NONE => Ok(response.groups[0].topics[0].partitions[0].committed_offset),
        error => Err(error),
    }
}

fn join_request(member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 20_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: metadata_of(&["t"]),
        }],
        ..Default::default()
    }
}

/// Joins as a client of an old version, which waits for the rebalance at once.
fn start_join(world: &World, member: &str) -> super::world::Asked<JoinGroupResponse> {
    let (coordinator, request) = (world.coordinator.clone(), join_request(member));
    world.start(async move { coordinator.join_group(client(3), request).await })
}

fn heartbeat(world: &World, member: &str, generation: i32) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: member.into(),
        ..Default::default()
    };
    world.coordinator.heartbeat(&request).error_code
}

/// A stable group of one: its member and generation.
fn stable(world: &World) -> (KafkaString, i32) {
    let joined = world.ask(world.coordinator.join_group(client(3), join_request("")));
    let request = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: joined.member_id.clone(),
            assignment: Bytes::from_static(b"x"),
        }],
        ..Default::default()
    };
    let synced = world.ask(world.coordinator.sync_group(&client(3), request));
    assert_eq!(&synced.assignment[..], b"x");
    (joined.member_id, joined.generation_id)
}

#[test]
fn the_coordinator_waits_for_the_log_before_it_acknowledges() {
    let world = World::new();
    let log = world.log_of("g");
    FakeLog::set(&log.hold, true);
    let coordinator = world.coordinator.clone();
    let asked = world.start(async move { coordinator.commit_offsets(&client(9), commit_request(5)).await });
    assert!(asked.take().is_none());
    assert_eq!(fetch(&world), Ok(-1));
    log.release(true, None);
    world.sim.run_until_idle();
    assert_eq!(asked.take().as_ref().map(error_of), Some(ErrorCode::NONE));
    assert_eq!(fetch(&world), Ok(5));
}

#[test]
fn each_failure_of_the_log_has_its_error() {
    let cases = [
        (AppendError::NotLeader, ErrorCode::NOT_COORDINATOR),
        (AppendError::Unavailable, ErrorCode::COORDINATOR_NOT_AVAILABLE),
        (AppendError::TooLarge, ErrorCode::UNKNOWN_SERVER_ERROR),
        (AppendError::Unknown, ErrorCode::NOT_COORDINATOR),
    ];
    for (failure, error) in cases {
        let world = World::new();
        let log = world.log_of("g");
        FakeLog::set(&log.hold, true);
        let coordinator = world.coordinator.clone();
        let asked =
            world.start(async move { coordinator.commit_offsets(&client(9), commit_request(5)).await });
        log.release(false, Some(failure));
        world.sim.run_until_idle();
        assert_eq!(asked.take().as_ref().map(error_of), Some(error));
    }
}

#[test]
fn after_an_unknown_outcome_the_state_is_read_from_the_log_again() {
    for committed in [true, false] {
        let world = World::new();
        assert_eq!(commit(&world, 1), ErrorCode::NONE);
        let log = world.log_of("g");
        FakeLog::set(&log.hold, true);
        let coordinator = world.coordinator.clone();
        let asked =
            world.start(async move { coordinator.commit_offsets(&client(9), commit_request(2)).await });
        log.release(committed, Some(AppendError::Unknown));
        world.sim.run_until_idle();
        assert_eq!(
            asked.take().as_ref().map(error_of),
            Some(ErrorCode::NOT_COORDINATOR)
        );
        assert!(
            fetch(&world).is_err(),
            "nothing is served from a state that may be wrong"
        );
        FakeLog::set(&log.hold, false);
        world.advance(2_000);
        assert_eq!(fetch(&world), Ok(if committed { 2 } else { 1 }));
        assert_eq!(commit(&world, 3), ErrorCode::NONE);
    }
}

#[test]
fn records_that_somebody_else_appended_are_noticed() {
    let world = World::new();
    assert_eq!(commit(&world, 1), ErrorCode::NONE);
    let log = world.log_of("g");
    log.edit(|log| {
        let (_, batch) = log.batches.back().unwrap().clone();
        log.push(&batch[..].into());
    });
    assert_eq!(commit(&world, 2), ErrorCode::NOT_COORDINATOR);
    world.advance(2_000);
    assert_eq!(fetch(&world), Ok(2));
    assert_eq!(commit(&world, 3), ErrorCode::NONE);
}

#[test]
fn while_the_state_is_loaded_requests_are_put_off_and_members_left_in_peace() {
    let mut world = World::new();
    let (member, generation) = stable(&world);
    FakeLog::set(&world.log_of("g").hold_reads, true);
    world.restart();
    assert_eq!(fetch(&world), Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
    assert_eq!(commit(&world, 1), ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    assert_eq!(heartbeat(&world, &member, generation), ErrorCode::NONE);
    let listed = world.coordinator.list_groups(&ListGroupsRequest::default());
    assert_eq!(listed.error_code, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    FakeLog::set(&world.log_of("g").hold_reads, false);
    world.sim.run_until_idle();
    assert_eq!(fetch(&world), Ok(-1));
    assert_eq!(heartbeat(&world, &member, generation), ErrorCode::NONE);
    assert_eq!(
        heartbeat(&world, &member, generation + 1),
        ErrorCode::ILLEGAL_GENERATION
    );
}

#[test]
fn a_stable_group_goes_on_over_two_restarts() {
    let mut world = World::new();
    let (member, generation) = stable(&world);
    assert_eq!(heartbeat(&world, &member, generation), ErrorCode::NONE);
    for _ in 0..2 {
        world.restart();
        world.advance(9_000);
        assert_eq!(heartbeat(&world, &member, generation), ErrorCode::NONE);
    }
    world.advance(10_001);
    assert_eq!(
        heartbeat(&world, &member, generation),
        ErrorCode::UNKNOWN_MEMBER_ID,
        "its session ended"
    );
}

#[test]
fn a_damaged_log_is_not_guessed_at() {
    let mut world = World::new();
    assert_eq!(commit(&world, 1), ErrorCode::NONE);
    let whole = world.log_of("g").log();
    world.log_of("g").edit(|log| {
        let (base, batch) = log.batches.pop_back().unwrap();
        log.batches.push_back((base, batch.slice(..batch.len() - 1)));
    });
    world.restart();
    assert_eq!(fetch(&world), Err(ErrorCode::COORDINATOR_NOT_AVAILABLE));
    world.log_of("g").edit(|log| *log = whole);
    world.advance(2_000);
    assert_eq!(fetch(&world), Ok(1), "it was tried again");
}

#[test]
fn a_gap_in_the_log_is_not_passed_over() {
    let mut world = World::new();
    for offset in 0..3 {
        assert_eq!(commit(&world, offset), ErrorCode::NONE);
    }
    world.log_of("g").edit(|log| {
        log.batches.truncate(1);
    });
    world.restart();
    assert_eq!(fetch(&world), Err(ErrorCode::COORDINATOR_NOT_AVAILABLE));
}

#[test]
fn only_the_leader_of_the_log_serves_and_in_its_own_epoch() {
    let world = World::new();
    assert_eq!(commit(&world, 1), ErrorCode::NONE);
    let log = world.log_of("g");
    log.set_role(LogRole::Follower);
    world.sim.run_until_idle();
    assert_eq!(fetch(&world), Err(ErrorCode::NOT_COORDINATOR));
    assert_eq!(heartbeat(&world, "m", 1), ErrorCode::NOT_COORDINATOR);
    let listed = world.coordinator.list_groups(&ListGroupsRequest::default());
    assert_eq!(
        listed.error_code,
        ErrorCode::NONE,
        "another node lists those groups"
    );
    log.set_role(LogRole::Leader { epoch: 7 });
    world.sim.run_until_idle();
    assert_eq!(fetch(&world), Ok(1));
    assert_eq!(commit(&world, 2), ErrorCode::NONE);
    assert_eq!(log.epochs(), [1, 7]);
}

#[test]
fn a_rebalance_that_loses_its_coordinator_sends_the_members_to_look_for_it() {
    let world = World::new();
    let asked = start_join(&world, "");
    assert!(asked.take().is_none());
    world.log_of("g").set_role(LogRole::Follower);
    world.sim.run_until_idle();
    assert_eq!(asked.take().unwrap().error_code, ErrorCode::NOT_COORDINATOR);
}

#[test]
fn a_new_epoch_without_a_break_reloads_too() {
    let world = World::new();
    let asked = start_join(&world, "");
    world.log_of("g").set_role(LogRole::Leader { epoch: 2 });
    world.sim.run_until_idle();
    assert_eq!(asked.take().unwrap().error_code, ErrorCode::NOT_COORDINATOR);
    assert_eq!(fetch(&world), Ok(-1));
}

#[test]
fn a_client_that_goes_away_while_it_waits_does_no_harm() {
    let world = World::new();
    let (coordinator, request) = (world.coordinator.clone(), join_request(""));
    let dropped = world.ask(async {
        let join = coordinator.join_group(client(3), request);
        futures_lite::future::poll_once(join).await
    });
    assert!(dropped.is_none(), "it waits, and is dropped");
    let asked = start_join(&world, "");
    world.advance(7_000);
    let joined = asked.take().unwrap();
    assert_eq!(
        (joined.error_code, joined.members.len() <= 2),
        (ErrorCode::NONE, true)
    );
    world.advance(11_000);
    assert_eq!(
        heartbeat(&world, &joined.member_id, 1),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
}

#[test]
fn closing_answers_whoever_waits() {
    let world = World::new();
    let asked = start_join(&world, "");
    world.coordinator.close();
    world.sim.run_until_idle();
    assert_eq!(asked.take().unwrap().error_code, ErrorCode::NOT_COORDINATOR);
    assert_eq!(fetch(&world), Err(ErrorCode::NOT_COORDINATOR));
    assert_eq!(
        world.sim.executor().alive(),
        0,
        "no task is left: {:?}",
        world.sim.executor().names()
    );
}

#[test]
fn logs_come_and_go() {
    let world = World::new();
    assert_eq!(commit(&world, 1), ErrorCode::NONE);
    let before = world.hosted.get();
    world.hosted.update(|hosted| {
        hosted.logs.clear();
        true
    });
    world.sim.run_until_idle();
    assert_eq!(fetch(&world), Err(ErrorCode::NOT_COORDINATOR));
    world.hosted.update(|hosted| {
        *hosted = HostedLogs::default();
        true
    });
    world.sim.run_until_idle();
    assert_eq!(
        fetch(&world),
        Err(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        "there is no such topic yet"
    );
    world.hosted.update(|hosted| {
        *hosted = before;
        true
    });
    world.sim.run_until_idle();
    assert_eq!(fetch(&world), Ok(1));
}

#[test]
fn the_log_is_shortened_behind_a_snapshot() {
    let mut world = World::unloaded(GroupLimits {
        compact_min_bytes: 4 << 10,
        ..limits()
    });
    world.sim.run_until_idle();
    for offset in 0..200 {
        assert_eq!(commit(&world, offset), ErrorCode::NONE);
    }
    world.sim.run_until_idle();
    let log = world.log_of("g").log();
    assert!(
        log.batches[0].0 > 0 && log.bytes() < 12 << 10,
        "{} bytes",
        log.bytes()
    );
    world.restart();
    assert_eq!(fetch(&world), Ok(199));
}

#[test]
fn sessions_end_by_the_clock() {
    let world = World::new();
    let (member, generation) = stable(&world);
    for _ in 0..3 {
        world.advance(9_000);
        assert_eq!(heartbeat(&world, &member, generation), ErrorCode::NONE);
    }
    world.advance(10_000);
    assert_eq!(
        heartbeat(&world, &member, generation),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
}
