//! Idempotent producers: windows, epochs, duplicates before and after commit and restart, against a model.

use std::collections::VecDeque;

use chronik_core::{LogIndex, Offset};

use super::super::state::PartitionState;
use super::*;

fn offset_of(result: Result<ProduceOutcome, PartitionError>) -> i64 {
    result.expect("acknowledged").base_offset
}

#[test]
fn a_duplicate_of_the_last_five_batches_answers_the_old_offset_also_after_a_restart() {
    let mut rig = Rig::new();
    for round in 0..3 {
        for sequence in 0..7 {
            let offset = offset_of(rig.produce(idempotent(round, 0, sequence * 2, 2)));
            assert_eq!(offset, round * 14 + i64::from(sequence) * 2);
        }
        for sequence in 2..7 {
            let again = offset_of(rig.produce(idempotent(round, 0, sequence * 2, 2)));
            assert_eq!(again, round * 14 + i64::from(sequence) * 2, "the old offset");
        }
        assert_eq!(
            rig.produce(idempotent(round, 0, 2, 2)),
            Err(PartitionError::OutOfOrderSequence),
            "forgotten"
        );
        assert_eq!(
            rig.produce(idempotent(round, 0, 12, 1)),
            Err(PartitionError::OutOfOrderSequence),
            "another shape"
        );
        rig = rig.crash();
        for sequence in 2..7 {
            assert_eq!(
                offset_of(rig.produce(idempotent(round, 0, sequence * 2, 2))),
                round * 14 + i64::from(sequence) * 2
            );
        }
        assert_eq!(
            rig.partition.view().high_watermark.0,
            (round + 1) * 14,
            "no record twice"
        );
    }
}

#[test]
fn a_duplicate_of_a_batch_in_flight_shares_its_outcome() {
    let rig = Rig::new();
    let send = |sequence, acks| rig.partition.produce(idempotent(5, 1, sequence, 1), acks, true);
    let first = send(0, Acks::All).expect("accepted").outcome();
    let second = send(1, Acks::All).expect("accepted").outcome();
    let again = send(0, Acks::All).expect("shared").outcome();
    let again_by_leader = send(1, Acks::Leader).expect("shared").outcome();
    let gap = send(3, Acks::All).expect("judged").outcome();
    assert_eq!(rig.partition.log_end(), 2, "nothing was appended twice");
    assert_eq!(
        rig.sim.block_on(gap).expect("ends"),
        Err(PartitionError::OutOfOrderSequence),
        "2 is next, in flight counted"
    );
    assert_eq!(offset_of(rig.sim.block_on(again).expect("ends")), 0);
    assert_eq!(offset_of(rig.sim.block_on(again_by_leader).expect("ends")), 1);
    assert_eq!(offset_of(rig.sim.block_on(first).expect("ends")), 0);
    assert_eq!(offset_of(rig.sim.block_on(second).expect("ends")), 1);
    assert_eq!(
        offset_of(rig.produce(idempotent(5, 1, 1, 1))),
        1,
        "a duplicate after the commit too"
    );
    assert_eq!(offset_of(rig.produce(idempotent(5, 1, 2, 1))), 2);
}

#[test]
fn epochs_fence_and_a_new_one_starts_at_zero() {
    let rig = Rig::new();
    offset_of(rig.produce(idempotent(9, 3, 100, 1)));
    assert_eq!(
        rig.produce(idempotent(9, 2, 101, 1)),
        Err(PartitionError::InvalidProducerEpoch)
    );
    assert_eq!(
        rig.produce(idempotent(9, 4, 101, 1)),
        Err(PartitionError::OutOfOrderSequence)
    );
    assert_eq!(offset_of(rig.produce(idempotent(9, 4, 0, 1))), 1);
    assert_eq!(
        rig.produce(idempotent(9, 3, 100, 1)),
        Err(PartitionError::InvalidProducerEpoch),
        "its window is gone"
    );
    assert_eq!(offset_of(rig.produce(idempotent(9, 4, 0, 1))), 1);
}

#[test]
fn an_unknown_producer_may_start_anywhere_and_sequences_wrap() {
    let rig = Rig::new();
    assert_eq!(offset_of(rig.produce(idempotent(1, 0, i32::MAX - 1, 4))), 0);
    assert_eq!(
        rig.produce(idempotent(1, 0, 3, 1)),
        Err(PartitionError::OutOfOrderSequence)
    );
    assert_eq!(offset_of(rig.produce(idempotent(1, 0, 2, 1))), 4);
    assert_eq!(
        offset_of(rig.produce(idempotent(1, 0, i32::MAX - 1, 4))),
        0,
        "a duplicate across the wrap"
    );
    let rig = Rig::new();
    offset_of(rig.produce(idempotent(1, 0, i32::MAX, 1)));
    assert_eq!(
        offset_of(rig.produce(idempotent(1, 0, 0, 1))),
        1,
        "0 follows the greatest"
    );
}

#[test]
fn what_was_not_durable_before_a_crash_can_be_sent_again() {
    let rig = Rig::new();
    offset_of(rig.produce(idempotent(1, 0, 0, 2)));
    let _lost = rig
        .partition
        .produce(idempotent(1, 0, 2, 2), Acks::All, true)
        .expect("accepted");
    let rig = rig.crash();
    assert_eq!(
        rig.produce(idempotent(1, 0, 4, 1)),
        Err(PartitionError::OutOfOrderSequence),
        "2 and 3 are missing"
    );
    assert_eq!(offset_of(rig.produce(idempotent(1, 0, 2, 2))), 2);
}

#[test]
fn the_producers_error_codes_are_those_that_clients_know() {
    assert_eq!(PartitionError::OutOfOrderSequence.code().0, 45);
    assert_eq!(PartitionError::InvalidProducerEpoch.code().0, 47);
    assert_eq!(PartitionError::OutcomeUnknown { still_leading: true }.code().0, 7);
    assert_eq!(
        PartitionError::OutcomeUnknown { still_leading: false }.code().0,
        6
    );
}

#[test]
fn silent_producers_are_forgotten_by_the_leaders_clock_and_on_every_replica() {
    let config = PartitionConfig {
        producer_id_expiration_ms: 1000,
        retention_ms: None,
        ..PartitionConfig::DEFAULTS
    };
    let rig = Rig::with(config);
    for id in 0..3 {
        offset_of(rig.produce(idempotent(id, 0, 0, 1)));
    }
    let upkeep = |rig: &Rig| {
        rig.sim
            .block_on(rig.partition.upkeep())
            .expect("ends")
            .expect("works");
        rig.sim.run_until_idle();
    };
    rig.sim.clock().shift_wall_ms(600);
    upkeep(&rig);
    offset_of(rig.produce(idempotent(1, 0, 1, 1)));
    assert_eq!(rig.partition.ledger().state.producers.len(), 3);
    rig.sim.clock().shift_wall_ms(600);
    upkeep(&rig);
    let known: Vec<i64> = rig
        .partition
        .ledger()
        .state
        .producers
        .sorted()
        .iter()
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(known, [1], "the one that wrote lately");
    let live = rig.partition.ledger().state.checkpoint().data;
    let rig = rig.crash();
    assert_eq!(
        rig.partition.ledger().state.checkpoint().data,
        live,
        "replay forgets the same"
    );
    assert_eq!(
        offset_of(rig.produce(idempotent(0, 0, 50, 1))),
        4,
        "a forgotten producer may start anywhere"
    );
}

/// What a producer sent, as the model sees it: batches of the current epoch, with their offsets.
#[derive(Debug, Default, Clone)]
struct ModelProducer {
    epoch: i16,
    next: i32,
    batches: VecDeque<(i32, i32, i64)>,
}

/// One random step of one producer; returns whether the model and the partition agree.
fn random_send(rig: &Rig, rng: &mut fastrand::Rng, id: i64, model: &mut ModelProducer, end: &mut i64) {
    let count = rng.i32(1..4);
    match rng.u8(..10) {
        0..=4 => {
            assert_eq!(
                offset_of(rig.produce(idempotent(id, model.epoch, model.next, count))),
                *end
            );
            model.batches.push_back((model.next, count, *end));
            if model.batches.len() > 5 {
                model.batches.pop_front();
            }
            model.next += count;
            *end += i64::from(count);
        }
        5..=6 if !model.batches.is_empty() => {
            let (sequence, count, offset) = model.batches[rng.usize(..model.batches.len())];
            assert_eq!(
                offset_of(rig.produce(idempotent(id, model.epoch, sequence, count))),
                offset
            );
        }
        7 if !model.batches.is_empty() => {
            let gap = model.next + rng.i32(1..5);
            assert_eq!(
                rig.produce(idempotent(id, model.epoch, gap, count)),
                Err(PartitionError::OutOfOrderSequence)
            );
        }
        8 if model.epoch > 0 && !model.batches.is_empty() => {
            let old = rig.produce(idempotent(id, model.epoch - 1, model.next, count));
            assert_eq!(old, Err(PartitionError::InvalidProducerEpoch));
        }
        9 => {
            *model = ModelProducer {
                epoch: model.epoch + 1,
                ..ModelProducer::default()
            }
        }
        _ => {}
    }
}

#[test]
fn random_producers_restarts_and_crashes_agree_with_a_model() {
    seeded(|rng| {
        let config = PartitionConfig {
            segment_bytes: 700,
            ..PartitionConfig::DEFAULTS
        };
        let mut rig = Rig::with(config);
        let mut models = vec![ModelProducer::default(); 4];
        let mut end = 0;
        for step in 0..600 {
            let id = rng.usize(..models.len());
            random_send(&rig, rng, id as i64, &mut models[id], &mut end);
            if step % 97 == 96 {
                let live = rig.partition.ledger().state.checkpoint().data;
                rig = rig.crash();
                assert_eq!(
                    rig.partition.ledger().state.checkpoint().data,
                    live,
                    "replay equals live"
                );
                assert_eq!(
                    rig.partition.view().high_watermark.0,
                    end,
                    "nothing lost, nothing twice"
                );
            }
        }
    });
}

#[test]
fn replay_from_every_checkpoint_and_from_the_beginning_equals_live() {
    seeded(|rng| {
        let config = PartitionConfig {
            segment_bytes: 500,
            ..PartitionConfig::DEFAULTS
        };
        let rig = Rig::with(config);
        let mut next = [0; 3];
        for _ in 0..100 {
            let id = rng.usize(..3);
            offset_of(rig.produce(idempotent(id as i64, 0, next[id], 1)));
            next[id] += 1;
        }
        let live = rig.partition.ledger().state.clone();
        let mut places = vec![PartitionState::new(Offset(0))];
        let mut below = live.applied.index;
        while let Some(checkpoint) = rig.partition.reader.checkpoint(below).expect("readable") {
            below = LogIndex(checkpoint.at.index.0 - 1);
            places.push(PartitionState::from_checkpoint(&checkpoint).expect("our own"));
        }
        assert!(places.len() > 4, "segments ended, and each end was checkpointed");
        for mut state in places {
            let from = state.applied;
            for entry in rig.entries().iter().filter(|entry| entry.id.index > from.index) {
                state.apply(entry, |_| {}).expect("readable");
            }
            assert_eq!(state, live, "from {from}");
        }
    });
}
