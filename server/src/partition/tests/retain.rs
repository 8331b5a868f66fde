//! Retention, deletion, rolls, and what they leave in the log.

use chronik_core::{EntryKind, LogId, LogIndex, Offset};

use super::super::command::Command;
use super::engine::leading_with;
use super::*;
use crate::told::told;

impl Rig {
    /// One round of upkeep, and all that follows from it.
    fn upkeep(&self) {
        self.sim
            .block_on(self.partition.upkeep())
            .expect("ends")
            .expect("works");
        self.sim.run_until_idle();
    }

    fn log_start(&self) -> i64 {
        self.partition.view().log_start.0
    }

    /// Offsets that the store still holds, served or not.
    fn stored(&self) -> Vec<i64> {
        let entries = self.entries();
        entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Data)
            .map(|entry| entry.base_offset.0)
            .collect()
    }

    /// Where sealed segments end, and whether the state as of that place is stored.
    fn sealed_ends(&self) -> Vec<(u64, bool)> {
        let segments = self.partition.reader.segments();
        let ends = segments.iter().filter(|segment| segment.sealed);
        let is_stored = |end: LogId| {
            let stored = self.partition.reader.checkpoint(end.index).expect("readable");
            stored.is_some_and(|checkpoint| checkpoint.at == end)
        };
        ends.map(|segment| (segment.last.index.0, is_stored(segment.last)))
            .collect()
    }

    fn set_wall_ms(&self, to: i64) {
        self.sim
            .clock()
            .shift_wall_ms(to - self.sim.env().clock.wall_ms());
    }
}

fn at(time: i64) -> BytesMut {
    timed_batch(Codec::None, [(time, "v")].into_iter())
}

/// Segments of this size, and nothing expires.
fn tiny_but(segment_bytes: u64) -> PartitionConfig {
    PartitionConfig {
        segment_bytes,
        ..tiny()
    }
}

/// Segments that end after every entry.
fn tiny() -> PartitionConfig {
    PartitionConfig {
        segment_bytes: 1,
        segment_ms: i64::MAX,
        retention_ms: None,
        ..PartitionConfig::DEFAULTS
    }
}

#[test]
fn time_retention_cuts_whole_sealed_segments_and_survives_a_crash() {
    let rig = Rig::with(PartitionConfig {
        retention_ms: Some(100),
        ..tiny()
    });
    rig.set_wall_ms(1000);
    for time in [1000, 1010, 1020, 1030] {
        rig.produce(at(time)).expect("acknowledged");
    }
    rig.set_wall_ms(1110);
    rig.upkeep();
    assert_eq!(rig.log_start(), 1, "exactly 100 ms old is not too old");
    rig.set_wall_ms(1111);
    rig.upkeep();
    assert_eq!(rig.log_start(), 2);
    assert_eq!(rig.stored(), [2, 3], "the space is given back");
    assert_eq!(rig.fetch(from(1)), Err(PartitionError::OffsetOutOfRange));
    let rig = rig.crash();
    assert_eq!((rig.log_start(), rig.partition.view().high_watermark.0), (2, 4));
    assert_eq!(
        rig.produce(at(1111)).expect("acknowledged"),
        ProduceOutcome {
            base_offset: 4,
            log_append_time_ms: -1,
            log_start_offset: 2
        }
    );
}

#[test]
fn a_log_whose_records_all_expired_becomes_empty_and_goes_on() {
    let rig = Rig::with(PartitionConfig {
        segment_bytes: 1 << 20,
        retention_ms: Some(100),
        ..tiny()
    });
    rig.set_wall_ms(1000);
    for _ in 0..3 {
        rig.produce(at(1000)).expect("acknowledged");
    }
    rig.set_wall_ms(5000);
    rig.upkeep();
    assert_eq!(rig.log_start(), 0, "the active segment is rolled first");
    rig.upkeep();
    rig.upkeep();
    assert_eq!((rig.log_start(), rig.stored().len()), (3, 0));
    let rig = rig.crash();
    assert_eq!((rig.log_start(), rig.partition.view().high_watermark.0), (3, 3));
    assert_eq!(rig.list(OffsetQuery::Earliest).offset, 3);
    assert_eq!(rig.produce(at(5000)).expect("acknowledged").base_offset, 3);
}

#[test]
fn size_retention_keeps_at_least_what_was_asked_for() {
    let rig = Rig::with(tiny());
    for _ in 0..10 {
        rig.produce(at(1000)).expect("acknowledged");
    }
    let each = at(1000).len() as u64;
    let config = PartitionConfig {
        retention_bytes: Some(each * 4 + 1),
        ..tiny()
    };
    rig.partition.set_config(config).expect("set");
    rig.upkeep();
    assert_eq!(rig.log_start(), 5, "five are kept: four would be too few");
    assert_eq!(rig.stored(), [5, 6, 7, 8, 9]);
}

#[test]
fn segments_roll_by_age_and_an_empty_one_does_not() {
    let rig = Rig::with(PartitionConfig {
        segment_ms: 100,
        retention_ms: None,
        ..PartitionConfig::DEFAULTS
    });
    let rolls = |rig: &Rig| {
        let is_roll = |entry: &&Entry| Command::decode(entry.payload.clone()) == Some(Command::Roll);
        let entries = rig.entries();
        entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Command)
            .filter(is_roll)
            .count()
    };
    for _ in 0..3 {
        rig.sim.clock().shift_wall_ms(1000);
        rig.upkeep();
    }
    assert_eq!(rolls(&rig), 0, "there is nothing to end");
    rig.produce(at(1000)).expect("acknowledged");
    rig.upkeep();
    rig.sim.clock().shift_wall_ms(99);
    rig.upkeep();
    assert_eq!(rolls(&rig), 0);
    rig.sim.clock().shift_wall_ms(1);
    rig.upkeep();
    assert_eq!(rolls(&rig), 1);
    rig.produce(at(1000)).expect("acknowledged");
    rig.upkeep();
    assert_eq!(rolls(&rig), 1, "the new one is young");
}

#[test]
fn deleting_records_moves_the_start_and_nothing_else() {
    let rig = Rig::new();
    for _ in 0..3 {
        rig.produce(batch(&["a", "b"])).expect("acknowledged");
    }
    let delete = |to| rig.sim.block_on(rig.partition.delete_records(to)).expect("ends");
    assert_eq!(delete(3), Ok(3));
    assert_eq!(delete(1), Ok(3), "never back");
    assert_eq!(delete(7), Err(PartitionError::OffsetOutOfRange));
    assert_eq!(delete(-2), Err(PartitionError::OffsetOutOfRange));
    assert_eq!(rig.fetch(from(2)), Err(PartitionError::OffsetOutOfRange));
    assert_eq!(
        base_offsets(&rig.fetch(from(3)).expect("in range")),
        [2, 4],
        "the batch that holds the start is whole"
    );
    assert_eq!(delete(-1), Ok(6), "-1 is the high watermark");
    let compacted = PartitionConfig {
        delete: false,
        compact: true,
        ..PartitionConfig::DEFAULTS
    };
    rig.partition.set_config(compacted).expect("set");
    assert_eq!(delete(-1), Err(PartitionError::PolicyViolation));
    let advanced = rig
        .sim
        .block_on(rig.partition.advance_log_start(Offset(6)))
        .expect("ends");
    assert_eq!(advanced, Ok(6), "state machines with their own snapshots may");
    let rig = rig.crash();
    assert_eq!((rig.log_start(), rig.partition.view().high_watermark.0), (6, 6));
}

#[test]
fn a_log_start_that_moved_before_the_first_checkpoint_survives_a_crash() {
    let rig = Rig::new();
    for sequence in 0..5 {
        rig.produce(idempotent(8, 0, sequence, 1)).expect("acknowledged");
    }
    let deleted = rig.sim.block_on(rig.partition.delete_records(3));
    assert_eq!(deleted.expect("ends").expect("deleted"), 3);
    rig.sim.run_until_idle();
    rig.upkeep();
    // What nobody waits for becomes durable with what somebody waits for.
    rig.produce(idempotent(8, 0, 5, 1)).expect("acknowledged");
    let rig = rig.crash();
    assert_eq!((rig.log_start(), rig.partition.view().high_watermark.0), (3, 6));
    assert_eq!(rig.values(), [b"8/0/3", b"8/0/4", b"8/0/5"]);
}

#[test]
fn the_purge_never_passes_a_checkpoint_and_the_window_of_producers_survives_it() {
    seeded(|rng| {
        let mut rig = Rig::with(PartitionConfig {
            segment_bytes: 600,
            ..tiny()
        });
        let mut sequence = 0;
        for round in 0..12 {
            for _ in 0..rng.usize(1..20) {
                rig.produce(idempotent(8, 0, sequence, 1)).expect("acknowledged");
                sequence += 1;
            }
            let end = rig.partition.view().high_watermark.0;
            let to = if round % 4 == 3 {
                -1
            } else {
                rng.i64(rig.log_start()..=end)
            };
            rig.sim
                .block_on(rig.partition.delete_records(to))
                .expect("ends")
                .expect("deleted");
            rig.sim.run_until_idle();
            rig.upkeep();
            let start = rig.log_start();
            rig = rig.crash();
            assert_eq!(
                (rig.log_start(), rig.partition.view().high_watermark.0),
                (start, i64::from(sequence))
            );
            let again = rig
                .produce(idempotent(8, 0, sequence - 1, 1))
                .expect("a duplicate");
            assert_eq!(
                again.base_offset,
                i64::from(sequence) - 1,
                "known although its record may be deleted"
            );
        }
    });
}

#[test]
fn a_replica_that_catches_up_at_once_stores_its_state_where_segments_end() {
    let (rig, group) = leading_with(tiny_but(600));
    group.follow();
    for sequence in 0..40 {
        group.append(EntryKind::Data, idempotent(8, 0, sequence, 1), 1);
    }
    group.commit();
    rig.sim.run_until_idle();
    let ends = rig.sealed_ends();
    assert!(ends.len() > 2, "{ends:?}");
    assert!(ends.iter().all(|(_, is_stored)| *is_stored), "{ends:?}");
}

#[test]
fn the_state_is_stored_where_a_segment_ended_later_than_it_was_asked_to() {
    let (rig, group) = leading_with(tiny_but(1 << 20));
    group.follow();
    group.script().rolls = Some(Vec::new());
    group.append(EntryKind::Command, Command::Roll.encode(), 0);
    group.commit();
    rig.sim.run_until_idle();
    for sequence in 0..3 {
        group.append(EntryKind::Data, idempotent(8, 0, sequence, 1), 1);
    }
    group.roll_now();
    for sequence in 3..6 {
        group.append(EntryKind::Data, idempotent(8, 0, sequence, 1), 1);
    }
    assert_eq!(rig.sealed_ends().len(), 1);
    group.commit();
    rig.sim.run_until_idle();
    assert!(rig.sealed_ends().iter().all(|(_, is_stored)| *is_stored));
}

#[test]
fn a_state_that_found_no_space_where_a_segment_ended_is_made_again_once_that_segment_can_go() {
    let (rig, group) = leading_with(tiny_but(600));
    group.follow();
    for sequence in 0..30 {
        group.append(EntryKind::Data, idempotent(8, 0, sequence, 1), 1);
        if sequence == 12 {
            group.commit();
            rig.sim.run_until_idle();
            group.script().is_full = true;
        }
    }
    group.commit();
    rig.sim.run_until_idle();
    let live = rig.partition.ledger().state.clone();
    group.append(
        EntryKind::Command,
        Command::AdvanceLogStart(Offset(20)).encode(),
        0,
    );
    group.commit();
    rig.sim.run_until_idle();
    rig.upkeep();
    assert!(rig.stored().first() < Some(&12), "there was no space any more");
    group.script().is_full = false;
    rig.upkeep();
    rig.upkeep();
    let kept = rig.stored();
    assert!(kept.first() > Some(&12) && kept.first() <= Some(&20), "{kept:?}");
    let entries = rig.entries();
    let first = entries.first().expect("some are kept").id.index;
    let stored = rig.partition.reader.checkpoint(LogIndex(first.0 - 1));
    let stored = stored.expect("readable").expect("the log starts after it");
    let mut state = state::PartitionState::from_checkpoint(&stored).expect("a state");
    for entry in entries
        .iter()
        .filter(|entry| entry.id.index <= live.applied.index)
    {
        state.apply(entry, |_| {}).expect("the log goes on from there");
    }
    assert_eq!(state, live);
}

#[test]
fn states_that_are_refused_are_told_once_until_one_is_taken() {
    for at_once in [false, true] {
        let (rig, group) = leading_with(tiny_but(1 << 20));
        group.follow();
        let applied_and_upkept = |sequence: i32, rounds: usize| {
            told("checkpoint", || {
                group.append(EntryKind::Data, idempotent(8, 0, sequence, 1), 1);
                group.commit();
                rig.sim.run_until_idle();
                rig.partition.checkpoint();
                (0..rounds).for_each(|_| rig.upkeep());
                rig.sim.run_until_idle();
            })
        };
        group.script().refuses_at_once = at_once;
        for sequence in [0, 2] {
            group.script().is_full = true;
            let lines = applied_and_upkept(sequence, 5);
            assert!(
                matches!(lines.as_slice(), [line] if line.starts_with("WARN event=checkpoint_refused")),
                "at once {at_once}: {lines:?}"
            );
            group.script().is_full = false;
            // What was refused is given again by upkeep alone.
            let lines = told("checkpoint", || (0..5).for_each(|_| rig.upkeep()));
            assert!(
                matches!(lines.as_slice(), [line] if line.starts_with("INFO event=checkpoint_taken_again")),
                "at once {at_once}: {lines:?}"
            );
            assert_eq!(applied_and_upkept(sequence + 1, 5), [""; 0]);
        }
    }
}

#[test]
fn a_log_of_which_nothing_is_needed_is_purged_once_there_is_space_for_its_state() {
    let (rig, group) = leading_with(tiny_but(1 << 20));
    group.follow();
    group.append(EntryKind::Data, idempotent(8, 0, 0, 3), 3);
    group.append(
        EntryKind::Command,
        Command::AdvanceLogStart(Offset(3)).encode(),
        0,
    );
    group.script().is_full = true;
    group.commit();
    rig.sim.run_until_idle();
    rig.upkeep();
    assert_eq!(rig.stored(), [0]);
    group.script().is_full = false;
    rig.upkeep();
    rig.upkeep();
    assert!(rig.stored().is_empty());
}

#[test]
fn commands_survive_their_bytes_and_foreign_bytes_are_refused() {
    let commands = [
        Command::AdvanceLogStart(Offset(i64::MAX)),
        Command::Roll,
        Command::ForgetProducers(Vec::new()),
        Command::ForgetProducers(vec![(1, 2), (i64::MAX, 0)]),
    ];
    for command in commands {
        let bytes = command.encode().freeze();
        assert_eq!(Command::decode(bytes.clone()), Some(command.clone()));
        for len in 0..bytes.len() {
            assert_ne!(Command::decode(bytes.slice(..len)), Some(command.clone()));
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Command::decode(longer.into()), None);
    }
    assert_eq!(Command::decode(bytes::Bytes::from_static(&[9])), None);
}

#[test]
fn checkpoints_survive_their_bytes_and_foreign_bytes_are_refused() {
    let rig = Rig::new();
    for id in 0..3 {
        for sequence in 0..id + 4 {
            rig.produce(idempotent(id, 2, sequence as i32, 1))
                .expect("acknowledged");
        }
    }
    let state = rig.partition.ledger().state.clone();
    let checkpoint = state.checkpoint();
    assert_eq!(state::PartitionState::from_checkpoint(&checkpoint), Some(state));
    for len in 0..checkpoint.data.len() {
        let cut = chronik_core::log_store::Checkpoint {
            data: checkpoint.data.slice(..len),
            ..checkpoint.clone()
        };
        let read = state::PartitionState::from_checkpoint(&cut);
        assert!(
            read.is_none_or(|state| state.producers.len() < 3),
            "a cut is refused, or ends between two producers"
        );
    }
}
