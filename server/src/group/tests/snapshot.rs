//! Snapshots: the log stays short, and nothing is lost.

use super::harness::{Commit, GROUP, Harness, Spec, TOPIC, limits};
use crate::group::GroupLimits;
use crate::kafka::wire::ErrorCode;

fn compacting() -> Harness {
    Harness::with(GroupLimits {
        compact_min_bytes: 8 << 10,
        compact_ratio: 4,
        max_batch_bytes: 600,
        ..limits()
    })
}

#[test]
fn the_log_stays_short_and_keeps_the_state() {
    let mut h = compacting();
    let (ids, generation) = h.stable_group(&Spec::default(), 2);
    for round in 0..200 {
        for partition in 0..30 {
            h.commit_simple("simple", partition, round * 100 + i64::from(partition));
        }
    }
    assert!(h.log.bytes() < 64 << 10, "the log has {} bytes", h.log.bytes());
    assert!(h.log.batches[0].0 > 0, "its start was removed");
    let before = h.machine.durable().clone();
    h.restart();
    assert_eq!(h.machine.durable(), &before);
    assert_eq!(
        h.heartbeat(&Spec::default(), generation, &ids[0]),
        ErrorCode::NONE
    );
    for partition in 0..30 {
        assert_eq!(
            h.offset("simple", TOPIC, partition),
            19_900 + i64::from(partition)
        );
    }
}

/// Fills the log until a snapshot is due with the next commit, then lets appends wait.
fn due(h: &mut Harness) {
    for round in 0.. {
        if h.machine.log_bytes + 1_000 > 8 << 10 {
            break;
        }
        for partition in 0..10 {
            h.commit_simple(GROUP, partition, round);
        }
    }
    h.auto_commit = false;
}

#[test]
fn a_change_on_its_way_is_not_overwritten_by_the_snapshot() {
    let mut h = compacting();
    due(&mut h);
    while h.machine.snapshot.is_none() {
        h.send_commit(&Commit {
            partition: 50,
            ..Default::default()
        });
        h.send_commit(&Commit {
            partition: 3,
            offset: 777,
            ..Default::default()
        });
        h.commit_one();
    }
    // Offset 777 was appended before the first chunk of the snapshot and is not applied yet.
    h.commit_all();
    assert!(h.machine.snapshot.is_none());
    assert!(h.log.batches[0].0 > 0);
    assert_eq!(h.offset(GROUP, TOPIC, 3), 777);
    h.restart();
    assert_eq!(h.offset(GROUP, TOPIC, 3), 777);
}

#[test]
fn a_change_that_fails_during_a_snapshot_loses_nothing() {
    let mut h = compacting();
    due(&mut h);
    while h.machine.snapshot.is_none() {
        h.send_commit(&Commit {
            partition: 50,
            ..Default::default()
        });
        h.send_commit(&Commit {
            partition: 3,
            offset: 777,
            ..Default::default()
        });
        h.commit_one();
    }
    let before = h.offset(GROUP, TOPIC, 3);
    while h.machine.snapshot.is_some() {
        h.fail_one(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    }
    h.commit_all();
    h.restart();
    assert_eq!(h.offset(GROUP, TOPIC, 3).max(before), h.offset(GROUP, TOPIC, 3));
    for partition in 0..10 {
        assert!(
            h.offset(GROUP, TOPIC, partition) >= 0,
            "partition {partition} was lost"
        );
    }
}

#[test]
fn a_crash_at_any_point_of_a_snapshot_keeps_the_state() {
    for crash_after in 0..40 {
        let mut h = compacting();
        due(&mut h);
        let mut commits = 0;
        while h.machine.snapshot.is_none() {
            h.send_commit(&Commit {
                partition: commits % 10,
                offset: 1_000 + i64::from(commits),
                ..Default::default()
            });
            h.commit_one();
            commits += 1;
        }
        for step in 0..crash_after {
            if h.in_flight.is_empty() {
                break;
            }
            if step % 3 == 0 {
                h.send_commit(&Commit {
                    partition: step % 10,
                    offset: 2_000 + i64::from(step),
                    ..Default::default()
                });
            }
            h.commit_one();
        }
        let before = h.machine.durable().clone();
        h.restart();
        assert_eq!(h.machine.durable(), &before, "after {crash_after} appends");
    }
}
