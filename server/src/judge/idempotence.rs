//! Idempotent producers: what is repeated is stored once.

use super::batch::{self, Producer};
use super::log::Log;
use super::wire::{Api, CREATE_TOPICS, FETCH, INIT_PRODUCER_ID, LIST_OFFSETS, METADATA, PRODUCE};
use super::{Check, Failure, Subject, Verdict, ensure, fine, must, refused};
use kafka_protocol::error::ResponseError;
use std::collections::BTreeSet;

const NEEDS: &[Api] = &[
    INIT_PRODUCER_ID,
    PRODUCE,
    FETCH,
    LIST_OFFSETS,
    METADATA,
    CREATE_TOPICS,
];

pub(super) const CHECKS: &[Check] = &[
    must("KB-IDM-01", "producer_ids_are_never_given_twice", NEEDS, distinct),
    must(
        "KB-IDM-02",
        "a_repeated_batch_gets_its_first_answer_and_is_stored_once",
        NEEDS,
        repeated,
    ),
    must("KB-IDM-03", "repeats_in_flight_are_stored_once", NEEDS, in_flight),
    must(
        "KB-IDM-04",
        "a_gap_in_the_sequence_is_refused_and_can_be_filled",
        NEEDS,
        gap,
    ),
    must(
        "KB-IDM-05",
        "what_is_older_than_the_window_is_not_stored_again",
        NEEDS,
        before_window,
    ),
    must(
        "KB-IDM-06",
        "sequences_are_kept_by_partition",
        NEEDS,
        by_partition,
    ),
    must(
        "KB-IDM-07",
        "the_sequence_goes_on_at_0_after_the_largest_number",
        NEEDS,
        wraps,
    ),
    must(
        "KB-IDM-08",
        "a_new_epoch_begins_at_0_and_fences_the_old_one",
        NEEDS,
        epochs,
    ),
];

/// Produces the batch with this sequence, and returns error code and base offset.
fn send(
    subject: &Subject,
    log: &mut Log,
    by: Producer,
    sequence: i32,
    values: &[&str],
) -> Result<(i16, i64), Failure> {
    let answer = log.produce(batch::sequenced(by, sequence, subject.wall_ms(), values)?, -1)?;
    Ok((answer.error_code, answer.base_offset))
}

/// Produces the batch with this sequence, which must be stored at `offset`.
fn store(subject: &Subject, log: &mut Log, by: Producer, sequence: i32, offset: i64) -> Verdict {
    let (code, base) = send(subject, log, by, sequence, &["v"])?;
    fine(&format!("sequence {sequence}"), code)?;
    ensure!(
        base == offset,
        "sequence {sequence} is at {base}, and not at {offset}"
    );
    Ok(())
}

fn distinct(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    let mut ids = BTreeSet::new();
    for _ in 0..50 {
        let producer = log.new_producer(subject)?;
        ensure!(
            producer.id >= 0 && producer.epoch == 0,
            "a new producer is {producer:?}"
        );
        ensure!(
            ids.insert(producer.id),
            "the producer id {} is given twice",
            producer.id
        );
    }
    Ok(())
}

fn repeated(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    let producer = log.new_producer(subject)?;
    for round in ["first", "second"] {
        for number in 0..5 {
            let (code, base) = send(subject, &mut log, producer, 2 * number, &["a", "b"])?;
            fine(&format!("the {round} time of sequence {}", 2 * number), code)?;
            ensure!(
                base == i64::from(2 * number),
                "sequence {} is at {base} the {round} time",
                2 * number
            );
        }
    }
    let count = log.values()?.len();
    ensure!(count == 10, "{count} records are stored of 10");
    Ok(())
}

/// Each batch is sent three times before the first answer is read.
fn in_flight(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    let producer = log.new_producer(subject)?;
    let mut sent = Vec::new();
    for number in 0..5 {
        for _ in 0..3 {
            let batch = batch::sequenced(producer, number, subject.wall_ms(), &["v"])?;
            sent.push((i64::from(number), log.send(batch, -1)?));
        }
    }
    for (expected, correlation) in sent {
        let answer = log.sent(correlation)?;
        fine("a repeat in flight", answer.error_code)?;
        let base = answer.base_offset;
        ensure!(base == expected, "sequence {expected} is at {base}");
    }
    let count = log.values()?.len();
    ensure!(count == 5, "{count} records are stored of 5");
    Ok(())
}

fn gap(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    let producer = log.new_producer(subject)?;
    store(subject, &mut log, producer, 0, 0)?;
    let (code, _) = send(subject, &mut log, producer, 2, &["v"])?;
    refused(
        "sequence 2 after 0",
        code,
        &[ResponseError::OutOfOrderSequenceNumber],
    )?;
    store(subject, &mut log, producer, 1, 1)?;
    store(subject, &mut log, producer, 2, 2)
}

fn before_window(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    let producer = log.new_producer(subject)?;
    for number in 0..8 {
        store(subject, &mut log, producer, number, i64::from(number))?;
    }
    let (code, base) = send(subject, &mut log, producer, 0, &["v"])?;
    let remembered = code == 0 && base == 0;
    let right = [
        ResponseError::OutOfOrderSequenceNumber,
        ResponseError::DuplicateSequenceNumber,
    ];
    if !remembered {
        refused("a repeat from before the window", code, &right)?;
    }
    let count = log.values()?.len();
    ensure!(count == 8, "{count} records are stored of 8");
    Ok(())
}

fn by_partition(subject: &Subject) -> Verdict {
    let topic = subject.topic(2)?;
    let (mut one, mut two) = (topic.log(0)?, topic.log(1)?);
    let producer = one.new_producer(subject)?;
    store(subject, &mut one, producer, 0, 0)?;
    store(subject, &mut two, producer, 0, 0)?;
    store(subject, &mut two, producer, 1, 1)?;
    store(subject, &mut one, producer, 1, 1)
}

fn wraps(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    let producer = log.new_producer(subject)?;
    // A broker that knows nothing of the producer takes any first sequence.
    store(subject, &mut log, producer, i32::MAX, 0)?;
    store(subject, &mut log, producer, 0, 1)
}

fn epochs(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    let old = log.new_producer(subject)?;
    let new = Producer {
        epoch: old.epoch + 1,
        ..old
    };
    store(subject, &mut log, old, 0, 0)?;
    let (code, _) = send(subject, &mut log, new, 5, &["v"])?;
    refused(
        "a new epoch that begins at 5",
        code,
        &[ResponseError::OutOfOrderSequenceNumber],
    )?;
    store(subject, &mut log, new, 0, 1)?;
    let (code, _) = send(subject, &mut log, old, 1, &["v"])?;
    let right = [ResponseError::InvalidProducerEpoch, ResponseError::ProducerFenced];
    refused("a batch of the old epoch", code, &right)?;
    let count = log.values()?.len();
    ensure!(count == 2, "{count} records are stored of 2");
    Ok(())
}
