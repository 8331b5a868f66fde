//! What is read, how much of it, and when.

use super::batch;
use super::log::{Log, MUCH, Wanted, fetch_request, fetched};
use super::wire::{Api, CREATE_TOPICS, FETCH, LIST_OFFSETS, METADATA, PRODUCE};
use super::{Check, Failure, Subject, Verdict, ensure, fine, must, refused, should};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::FetchResponse;
use std::time::Duration;

const NEEDS: &[Api] = &[FETCH, PRODUCE, LIST_OFFSETS, METADATA, CREATE_TOPICS];

pub(super) const CHECKS: &[Check] = &[
    must(
        "KB-FET-01",
        "every_offset_can_be_fetched_also_within_a_batch",
        NEEDS,
        within,
    ),
    must(
        "KB-FET-02",
        "an_offset_out_of_range_is_refused_and_the_end_is_not",
        NEEDS,
        out_of_range,
    ),
    must(
        "KB-FET-03",
        "the_first_batch_comes_whole_whatever_the_limits",
        NEEDS,
        first_whole,
    ),
    must(
        "KB-FET-04",
        "the_limit_of_a_partition_bounds_its_answer",
        NEEDS,
        partition_limit,
    ),
    must(
        "KB-FET-05",
        "the_limit_of_a_request_bounds_its_answer",
        NEEDS,
        request_limit,
    ),
    must(
        "KB-FET-06",
        "a_fetch_does_not_wait_when_enough_is_there",
        NEEDS,
        enough,
    ),
    must(
        "KB-FET-07",
        "a_fetch_of_nothing_waits_as_long_as_it_was_asked_to",
        NEEDS,
        idle,
    ),
    must(
        "KB-FET-08",
        "a_waiting_fetch_ends_when_enough_has_come_and_not_before",
        NEEDS,
        woken,
    ),
    must("KB-FET-09", "an_unknown_partition_spoils_no_other", NEEDS, mixed),
    must(
        "KB-FET-10",
        "both_isolation_levels_return_plain_records",
        NEEDS,
        isolation,
    ),
    should("KB-FET-11", "a_session_returns_only_what_changed", NEEDS, session),
    must("KB-FET-12", "an_unknown_session_is_refused", NEEDS, bad_session),
    must(
        "KB-FET-13",
        "a_waiting_fetch_holds_up_no_other_connection",
        NEEDS,
        others,
    ),
];

/// A wait that the broker ends by itself; far below the patience of a connection.
const LONG_MS: i32 = 30_000;

fn within(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    for _ in 0..2 {
        log.append(batch::of(&["a", "b", "c"])?)?;
    }
    for offset in 0..6 {
        let answer = log.fetch(Wanted::from(offset))?;
        fine(&format!("fetching offset {offset}"), answer.error_code)?;
        let records = batch::records(answer.records.unwrap_or_default())?;
        let there = records.iter().any(|record| record.offset == offset);
        let first = records.first().map(|record| record.offset);
        ensure!(
            there,
            "fetching offset {offset} returns records from {first:?} on"
        );
        ensure!(
            first >= Some(offset - 2),
            "fetching offset {offset} returns an earlier batch, from {first:?} on"
        );
    }
    Ok(())
}

fn out_of_range(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    log.append(batch::of(&["a", "b", "c"])?)?;
    let end = log.fetch(Wanted::from(3))?;
    fine("fetching at the end", end.error_code)?;
    ensure!(
        end.records.unwrap_or_default().is_empty(),
        "there are records at the end"
    );
    for offset in [4, 1000, -5] {
        let answer = log.fetch(Wanted::from(offset))?;
        refused(
            &format!("fetching offset {offset} of 3"),
            answer.error_code,
            &[ResponseError::OffsetOutOfRange],
        )?;
    }
    Ok(())
}

/// Three batches of 50 KB each.
fn large(subject: &Subject) -> Result<Log, Failure> {
    let mut log = subject.topic(1)?.log(0)?;
    for _ in 0..3 {
        log.append(batch::sized(50_000)?)?;
    }
    Ok(log)
}

fn first_whole(subject: &Subject) -> Verdict {
    let mut log = large(subject)?;
    let limits = [(1, MUCH), (MUCH, 1), (1, 1)];
    for (max_bytes, partition_max_bytes) in limits {
        let wanted = Wanted {
            max_bytes,
            partition_max_bytes,
            ..Wanted::from(1)
        };
        let batches = log.batches(wanted)?;
        ensure!(
            batches.len() == 1,
            "{} whole batches come under the limits of {wanted:?}",
            batches.len()
        );
        let offset = batch::records(batches.concat().into())?
            .first()
            .map(|record| record.offset);
        ensure!(offset == Some(1), "the batch that comes is at {offset:?}");
    }
    Ok(())
}

fn partition_limit(subject: &Subject) -> Verdict {
    let mut log = large(subject)?;
    let wanted = Wanted {
        partition_max_bytes: 120_000,
        ..Wanted::from(0)
    };
    let answer = log.fetch(wanted)?;
    let bytes = answer.records.unwrap_or_default();
    ensure!(
        bytes.len() <= 120_000,
        "{} bytes come where 120000 are allowed",
        bytes.len()
    );
    let count = batch::split(bytes)?.len();
    ensure!(count == 2, "{count} batches of 50 KB come within 120 KB");
    Ok(())
}

fn request_limit(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    let mut log = topic.log(0)?;
    for _ in 0..10 {
        log.append(batch::sized(50_000)?)?;
    }
    let wanted = Wanted {
        max_bytes: 200_000,
        ..Wanted::from(0)
    };
    let bytes = log.fetch(wanted)?.records.unwrap_or_default();
    ensure!(
        bytes.len() <= 200_000,
        "{} bytes come where 200000 are allowed",
        bytes.len()
    );
    let count = batch::split(bytes)?.len();
    ensure!(
        (2..=3).contains(&count),
        "{count} batches of 50 KB come within 200 KB"
    );
    Ok(())
}

fn enough(subject: &Subject) -> Verdict {
    let mut log = large(subject)?;
    let start = subject.now();
    let wanted = Wanted {
        max_wait_ms: LONG_MS,
        min_bytes: 10_000,
        ..Wanted::from(0)
    };
    ensure!(!log.batches(wanted)?.is_empty(), "nothing comes");
    let took = subject.now().saturating_sub(start);
    ensure!(
        took < Duration::from_secs(20),
        "a fetch with enough to return takes {took:?}"
    );
    Ok(())
}

fn idle(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    let start = subject.now();
    let wanted = Wanted {
        max_wait_ms: 700,
        min_bytes: 1,
        ..Wanted::from(0)
    };
    let answer = log.fetch(wanted)?;
    let took = subject.now().saturating_sub(start);
    fine("an idle fetch", answer.error_code)?;
    ensure!(
        answer.records.unwrap_or_default().is_empty(),
        "records come out of an empty partition"
    );
    ensure!(
        took >= Duration::from_millis(690),
        "a fetch that was to wait 700 ms takes {took:?}"
    );
    Ok(())
}

fn woken(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    let (mut waiting, mut log) = (topic.log(0)?, topic.log(0)?);
    let wanted = Wanted {
        max_wait_ms: LONG_MS,
        min_bytes: 5_000,
        ..Wanted::from(0)
    };
    let start = subject.now();
    let correlation = waiting.send_fetch(wanted)?;
    log.append(batch::of(&["little"])?)?;
    let quiet = waiting.connection.is_quiet_for(Duration::from_millis(500))?;
    ensure!(quiet, "a fetch that waits for 5000 bytes is answered with fewer");
    log.append(batch::sized(10_000)?)?;
    let answer = waiting.fetch_sent(correlation)?;
    let took = subject.now().saturating_sub(start);
    let count = batch::split(answer.records.unwrap_or_default())?.len();
    ensure!(count == 2, "{count} batches come, and not 2");
    ensure!(
        took < Duration::from_secs(25),
        "the fetch ends after {took:?}, by its own limit"
    );
    Ok(())
}

fn mixed(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    let mut log = topic.log(0)?;
    log.append(batch::of(&["good"])?)?;
    let request = fetch_request(&topic.name, &[0, 77], Wanted::from(0));
    let answers = fetched(log.connection.call(FETCH, &request)?);
    for answer in &answers {
        if answer.partition_index == 0 {
            fine("the partition that there is", answer.error_code)?;
            let bytes = answer.records.clone().unwrap_or_default();
            ensure!(batch::records(bytes)?.len() == 1, "its record does not come");
        } else {
            let right = [ResponseError::UnknownTopicOrPartition];
            refused("the one that there is not", answer.error_code, &right)?;
        }
    }
    ensure!(
        answers.len() == 2,
        "{} partitions are answered of 2",
        answers.len()
    );
    Ok(())
}

fn isolation(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    log.append(batch::of(&["a", "b"])?)?;
    for isolation in [0, 1] {
        let answer = log.fetch(Wanted {
            isolation,
            ..Wanted::from(0)
        })?;
        let ends = (answer.high_watermark, answer.last_stable_offset);
        let count = batch::records(answer.records.unwrap_or_default())?.len();
        ensure!(
            count == 2,
            "isolation level {isolation} returns {count} records of 2"
        );
        ensure!(
            ends.0 == 2,
            "isolation level {isolation}: the high watermark is {}",
            ends.0
        );
        ensure!(
            isolation == 0 || ends.1 == 2,
            "the last stable offset is {} without transactions",
            ends.1
        );
    }
    Ok(())
}

/// A fetch in the session `(id, epoch)`.
fn in_session(log: &mut Log, partitions: &[i32], (id, epoch): (i32, i32)) -> Result<FetchResponse, Failure> {
    let mut request = fetch_request(&log.topic.clone(), partitions, Wanted::from(0));
    request.session_id = id;
    request.session_epoch = epoch;
    if partitions.is_empty() {
        request.topics.clear();
    }
    log.connection.call(FETCH, &request)
}

/// KIP-227.
fn session(subject: &Subject) -> Verdict {
    let topic = subject.topic(3)?;
    let name = topic.name.clone();
    let first = subject.described(&name)?;
    let leader = first.partitions.first().map(|partition| partition.leader_id);
    let own: Vec<i32> = first
        .partitions
        .iter()
        .filter(|partition| Some(partition.leader_id) == leader)
        .map(|partition| partition.partition_index)
        .collect();
    let changed = own.first().copied().unwrap_or_default();
    let mut log = topic.log(changed)?;
    let answer = in_session(&mut log, &own, (0, 0))?;
    fine("a first fetch of a session", answer.error_code)?;
    let id = answer.session_id;
    ensure!(id != 0, "no session is given");
    let quiet = in_session(&mut log, &[], (id, 1))?;
    fine("the next fetch of the session", quiet.error_code)?;
    let count = fetched(quiet).len();
    ensure!(count == 0, "{count} partitions come without a change");
    log.append(batch::of(&["news"])?)?;
    let news = fetched(in_session(&mut log, &[], (id, 2))?);
    let indexes: Vec<i32> = news.iter().map(|partition| partition.partition_index).collect();
    ensure!(
        indexes == [changed],
        "the partitions {indexes:?} come, and {changed} changed"
    );
    Ok(())
}

fn bad_session(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    let answer = in_session(&mut log, &[0], (123_456, 3))?;
    refused(
        "a session that nobody has",
        answer.error_code,
        &[ResponseError::FetchSessionIdNotFound],
    )
}

fn others(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    let (mut waiting, mut log) = (topic.log(0)?, topic.log(0)?);
    let start = subject.now();
    let wanted = Wanted {
        max_wait_ms: LONG_MS,
        min_bytes: MUCH,
        ..Wanted::from(0)
    };
    waiting.send_fetch(wanted)?;
    log.append(batch::of(&["v"])?)?;
    ensure!(log.values()?.len() == 1, "the record is not there");
    let took = subject.now().saturating_sub(start);
    ensure!(
        took < Duration::from_secs(20),
        "another connection is served after {took:?}"
    );
    Ok(())
}
