//! Where a log begins and ends, and what was written when.

use super::batch::{self, MOMENT_MS};
use super::log::{Log, Wanted};
use super::wire::{
    Api, CREATE_TOPICS, DELETE_RECORDS, FETCH, LIST_OFFSETS, LIST_OFFSETS_MAX, METADATA, PRODUCE, text,
};
use super::{Check, Failure, Subject, Verdict, ensure, fine, must, refused, should};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::{DeleteRecordsRequest, TopicName};

const NEEDS: &[Api] = &[LIST_OFFSETS, PRODUCE, FETCH, METADATA, CREATE_TOPICS];
const NEEDS_MAX: &[Api] = &[LIST_OFFSETS_MAX, LIST_OFFSETS, PRODUCE, METADATA, CREATE_TOPICS];
const NEEDS_DELETE: &[Api] = &[
    DELETE_RECORDS,
    LIST_OFFSETS,
    PRODUCE,
    FETCH,
    METADATA,
    CREATE_TOPICS,
];

pub(super) const CHECKS: &[Check] = &[
    must("KB-LST-01", "both_ends_of_an_empty_log_are_0", NEEDS, empty),
    must(
        "KB-LST-02",
        "earliest_and_latest_are_the_ends_of_the_log",
        NEEDS,
        ends,
    ),
    must(
        "KB-LST-03",
        "a_time_finds_the_first_record_at_or_after_it",
        NEEDS,
        by_time,
    ),
    must(
        "KB-LST-04",
        "a_time_after_the_last_record_finds_nothing",
        NEEDS,
        after,
    ),
    must(
        "KB-LST-05",
        "times_that_are_out_of_order_find_the_first_offset_late_enough",
        NEEDS,
        disorder,
    ),
    should(
        "KB-LST-06",
        "the_record_with_the_newest_time_is_found",
        NEEDS_MAX,
        newest,
    ),
    must("KB-LST-07", "an_unknown_partition_is_refused", NEEDS, unknown),
    must(
        "KB-LST-08",
        "what_was_deleted_is_before_earliest_and_out_of_range",
        NEEDS_DELETE,
        deleted,
    ),
];

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;

fn empty(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    for (what, timestamp) in [("latest", LATEST), ("earliest", EARLIEST)] {
        let (offset, _) = log.offset_at(timestamp)?;
        ensure!(offset == 0, "the {what} offset of an empty log is {offset}");
    }
    let (offset, _) = log.offset_at(MOMENT_MS)?;
    ensure!(offset == -1, "a time finds offset {offset} in an empty log");
    Ok(())
}

fn ends(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    log.append(batch::of(&["a", "b", "c", "d", "e"])?)?;
    let (earliest, _) = log.offset_at(EARLIEST)?;
    let (latest, _) = log.offset_at(LATEST)?;
    ensure!(
        (earliest, latest) == (0, 5),
        "five records are between {earliest} and {latest}"
    );
    Ok(())
}

/// Checks what each time, counted from [`MOMENT_MS`], finds.
fn finds(log: &mut Log, expected: &[(i64, i64)]) -> Result<(), Failure> {
    for (time, wanted) in expected {
        let (offset, _) = log.offset_at(MOMENT_MS + time)?;
        ensure!(
            offset == *wanted,
            "time +{time} finds offset {offset}, and not {wanted}"
        );
    }
    Ok(())
}

fn by_time(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    for start in [0, 100] {
        let times: Vec<i64> = (0..5).map(|at| MOMENT_MS + start + 10 * at).collect();
        log.append(batch::timed(&times)?)?;
    }
    finds(
        &mut log,
        &[
            (-1, 0),
            (0, 0),
            (1, 1),
            (10, 1),
            (11, 2),
            (40, 4),
            (41, 5),
            (105, 6),
            (140, 9),
        ],
    )?;
    let (offset, time) = log.offset_at(MOMENT_MS + 11)?;
    let right = (offset, time) == (2, MOMENT_MS + 20);
    ensure!(right, "time +11 finds offset {offset} of time {time}");
    Ok(())
}

fn after(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    log.append(batch::timed(&[MOMENT_MS, MOMENT_MS + 10])?)?;
    let found = log.offset_at(MOMENT_MS + 11)?;
    ensure!(found == (-1, -1), "a time after the last record finds {found:?}");
    Ok(())
}

fn disorder(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    for times in [&[50, 10, 70, 30][..], &[5, 90, 20]] {
        let times: Vec<i64> = times.iter().map(|time| MOMENT_MS + time).collect();
        log.append(batch::timed(&times)?)?;
    }
    finds(&mut log, &[(0, 0), (51, 2), (70, 2), (71, 5), (90, 5)])
}

/// KIP-734.
fn newest(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    for times in [&[50, 90, 30][..], &[5, 80]] {
        let times: Vec<i64> = times.iter().map(|time| MOMENT_MS + time).collect();
        log.append(batch::timed(&times)?)?;
    }
    let (code, offset, time) = log.list(LIST_OFFSETS_MAX, MAX_TIMESTAMP)?;
    fine("ListOffsets", code)?;
    let right = (offset, time) == (1, MOMENT_MS + 90);
    ensure!(right, "the newest time is said to be {time}, at offset {offset}");
    Ok(())
}

fn unknown(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    for (name, partition) in [(topic.name.clone(), 7), (subject.name(), 0)] {
        let mut log = Log::new(topic.log(0)?.connection, &name, partition);
        let (code, ..) = log.list(LIST_OFFSETS, LATEST)?;
        refused(
            &format!("partition {partition} of {name}"),
            code,
            &[ResponseError::UnknownTopicOrPartition],
        )?;
    }
    Ok(())
}

fn deleted(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    for _ in 0..3 {
        log.append(batch::of(&["a", "b"])?)?;
    }
    let partition = DeleteRecordsPartition::default()
        .with_partition_index(0)
        .with_offset(3);
    let topic = DeleteRecordsTopic::default()
        .with_name(TopicName(text(log.topic.clone())))
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    let answer = log.connection.call(DELETE_RECORDS, &request)?;
    let result = answer
        .topics
        .into_iter()
        .flat_map(|topic| topic.partitions)
        .next();
    let result = result.ok_or_else(|| Failure("DeleteRecords answers for no partition".to_owned()))?;
    fine("deleting the records before 3", result.error_code)?;
    let start = result.low_watermark;
    ensure!(start == 3, "the log begins at {start} after that");
    let (earliest, _) = log.offset_at(EARLIEST)?;
    let (latest, _) = log.offset_at(LATEST)?;
    ensure!(
        (earliest, latest) == (3, 6),
        "the log is from {earliest} to {latest} after that"
    );
    fine("fetching offset 3", log.fetch(Wanted::from(3))?.error_code)?;
    let before = log.fetch(Wanted::from(2))?;
    refused(
        "fetching offset 2",
        before.error_code,
        &[ResponseError::OffsetOutOfRange],
    )
}
