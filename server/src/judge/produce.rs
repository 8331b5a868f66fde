//! What is written, and what acknowledgements mean.

use super::batch::{self, MOMENT_MS, record};
use super::log::{Wanted, produce_request, produced};
use super::wire::{Api, CREATE_TOPICS, FETCH, LIST_OFFSETS, METADATA, PRODUCE, text};
use super::{Check, Subject, Verdict, ensure, fine, must, refused, should};
use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::records::Record;

const NEEDS: &[Api] = &[PRODUCE, FETCH, LIST_OFFSETS, METADATA, CREATE_TOPICS];

pub(super) const CHECKS: &[Check] = &[
    must("KB-PRD-01", "offsets_begin_at_0_and_have_no_gaps", NEEDS, offsets),
    must(
        "KB-PRD-02",
        "what_was_acknowledged_is_read_back_as_it_was_sent",
        NEEDS,
        as_sent,
    ),
    must(
        "KB-PRD-03",
        "a_compressed_batch_is_read_back_and_counts_its_records",
        NEEDS,
        compressed,
    ),
    must(
        "KB-PRD-04",
        "pipelined_batches_keep_their_order",
        NEEDS,
        pipelined,
    ),
    must("KB-PRD-05", "acks_0_is_stored_and_not_answered", NEEDS, acks_0),
    should(
        "KB-PRD-06",
        "acks_0_with_an_error_ends_the_connection",
        NEEDS,
        acks_0_error,
    ),
    must(
        "KB-PRD-07",
        "acks_1_and_acks_all_are_answered_with_the_offset",
        NEEDS,
        acks,
    ),
    must("KB-PRD-08", "other_acks_are_refused", NEEDS, other_acks),
    must(
        "KB-PRD-09",
        "an_unknown_topic_or_partition_is_refused",
        NEEDS,
        unknown,
    ),
    must(
        "KB-PRD-10",
        "partitions_of_one_request_succeed_and_fail_each_for_itself",
        NEEDS,
        mixed,
    ),
    must(
        "KB-PRD-11",
        "a_batch_with_a_wrong_checksum_is_refused_and_leaves_no_trace",
        NEEDS,
        corrupt,
    ),
    must(
        "KB-PRD-12",
        "a_batch_that_contradicts_itself_is_refused_and_leaves_no_trace",
        NEEDS,
        contradiction,
    ),
    must(
        "KB-PRD-13",
        "a_batch_above_the_topics_limit_is_refused",
        NEEDS,
        too_large,
    ),
    must(
        "KB-PRD-14",
        "the_time_of_appending_is_stamped_where_the_topic_says_so",
        NEEDS,
        append_time,
    ),
    should(
        "KB-PRD-15",
        "timestamps_beyond_the_topics_bounds_are_refused",
        NEEDS,
        time_bounds,
    ),
    must(
        "KB-PRD-16",
        "partitions_count_their_offsets_each_for_itself",
        NEEDS,
        apart,
    ),
];

fn offsets(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    let mut expected = 0;
    for count in [1, 3, 2, 7] {
        let values = vec!["v"; count];
        let base = log.append(batch::of(&values)?)?;
        ensure!(base == expected, "a batch is at {base} where {expected} is free");
        expected += i64::try_from(count).unwrap_or(i64::MAX);
    }
    let found: Vec<i64> = log.records()?.iter().map(|record| record.offset).collect();
    ensure!(
        found == (0..expected).collect::<Vec<_>>(),
        "the records are at {found:?}"
    );
    let end = log.fetch(Wanted::from(expected))?.high_watermark;
    ensure!(
        end == expected,
        "the high watermark is {end} after {expected} records"
    );
    Ok(())
}

fn as_sent(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    let mut headers = record(0, &b""[..]).headers;
    headers.insert(text("with"), Some(Bytes::from_static(b"value")));
    headers.insert(text("without"), None);
    let key = |key: &'static [u8]| Some(Bytes::from_static(key));
    let sent = [
        Record {
            key: key(b"key"),
            headers,
            ..record(0, &b"value"[..])
        },
        Record {
            value: None,
            key: key(b"tombstone"),
            ..record(1, &b""[..])
        },
        Record {
            timestamp: MOMENT_MS - 5,
            ..record(2, &b""[..])
        },
        Record {
            key: key(b""),
            ..record(3, vec![0xff; 100_000])
        },
    ];
    log.append(batch::encoded(&sent)?)?;
    let read = log.records()?;
    ensure!(
        read.len() == sent.len(),
        "{} records come back of {}",
        read.len(),
        sent.len()
    );
    for (read, sent) in read.iter().zip(&sent) {
        let same = (&read.key, &read.value, &read.headers, read.timestamp, read.offset)
            == (&sent.key, &sent.value, &sent.headers, sent.timestamp, sent.offset);
        ensure!(same, "the record at {} was changed: {:?}", read.offset, read.key);
    }
    Ok(())
}

fn compressed(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    let records: Vec<Record> = (0..50).map(|at| record(at, format!("value {at}"))).collect();
    log.append(batch::gzipped(&records)?)?;
    let next = log.append(batch::of(&["after"])?)?;
    ensure!(next == 50, "the batch after 50 compressed records is at {next}");
    let values = log.values()?;
    ensure!(values.len() == 51, "{} records come back of 51", values.len());
    for (at, value) in values.iter().take(50).enumerate() {
        ensure!(*value == format!("value {at}"), "record {at} is {value:?}");
    }
    Ok(())
}

fn pipelined(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    let mut sent = Vec::new();
    for number in 0..50 {
        let value = number.to_string();
        sent.push(log.send(batch::of(&[value.as_str()])?, -1)?);
    }
    for (expected, correlation) in (0..).zip(sent) {
        let answer = log.sent(correlation)?;
        fine("a pipelined produce", answer.error_code)?;
        let base = answer.base_offset;
        ensure!(
            base == expected,
            "the batch sent as number {expected} is at {base}"
        );
    }
    let values = log.values()?;
    let expected: Vec<String> = (0..50).map(|number: i32| number.to_string()).collect();
    ensure!(values == expected, "the log has {values:?}");
    Ok(())
}

fn acks_0(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    log.send(batch::of(&["silent"])?, 0)?;
    // Its answer must be the next that comes.
    let base = log.append(batch::of(&["loud"])?)?;
    let values = log.values()?;
    ensure!(
        base == 1 && values == ["silent", "loud"],
        "the log has {values:?}"
    );
    Ok(())
}

fn acks_0_error(subject: &Subject) -> Verdict {
    let mut connection = subject.topic(1)?.log(0)?.connection;
    let request = produce_request(&subject.name(), 0, &[(0, batch::of(&["lost"])?)]);
    connection.send(PRODUCE, &request)?;
    ensure!(connection.is_ended()?, "the connection gets an answer to acks=0");
    Ok(())
}

fn acks(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    for (expected, acks) in [(0, 1), (1, -1)] {
        let answer = log.produce(batch::of(&["v"])?, acks)?;
        fine(&format!("a produce with acks={acks}"), answer.error_code)?;
        let base = answer.base_offset;
        ensure!(base == expected, "acks={acks} is answered with offset {base}");
    }
    Ok(())
}

fn other_acks(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    for acks in [2, -2] {
        let answer = log.produce(batch::of(&["v"])?, acks)?;
        refused(
            &format!("acks={acks}"),
            answer.error_code,
            &[ResponseError::InvalidRequiredAcks],
        )?;
    }
    let values = log.values()?;
    ensure!(values.is_empty(), "what was refused is stored: {values:?}");
    Ok(())
}

fn unknown(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    let mut connection = topic.log(0)?.connection;
    for (name, partition) in [(topic.name.clone(), 1), (topic.name, -1), (subject.name(), 0)] {
        let request = produce_request(&name, -1, &[(partition, batch::of(&["v"])?)]);
        let answer = connection.call(PRODUCE, &request)?;
        let code = produced(answer)
            .first()
            .map_or(0, |partition| partition.error_code);
        refused(
            &format!("partition {partition} of {name}"),
            code,
            &[ResponseError::UnknownTopicOrPartition],
        )?;
    }
    Ok(())
}

fn mixed(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    let mut log = topic.log(0)?;
    let batches = [(0, batch::of(&["good"])?), (77, batch::of(&["nowhere"])?)];
    let answer = log
        .connection
        .call(PRODUCE, &produce_request(&topic.name, -1, &batches))?;
    let answers = produced(answer);
    let code = |index: i32| {
        answers
            .iter()
            .find(|answer| answer.index == index)
            .map(|answer| answer.error_code)
    };
    fine("the partition that there is", code(0).unwrap_or(-1))?;
    refused(
        "the one that there is not",
        code(77).unwrap_or(0),
        &[ResponseError::UnknownTopicOrPartition],
    )?;
    let values = log.values()?;
    ensure!(values == ["good"], "the log has {values:?}");
    Ok(())
}

/// `batch` with one byte changed.
fn changed(batch: &Bytes, place: usize, change: impl Fn(u8) -> u8) -> Bytes {
    let mut bytes = BytesMut::from(batch.as_ref());
    if let Some(byte) = bytes.get_mut(place) {
        *byte = change(*byte);
    }
    bytes.freeze()
}

fn corrupt(subject: &Subject) -> Verdict {
    let mut log = subject.topic(1)?.log(0)?;
    let good = batch::of(&["payload"])?;
    for place in [17, good.len().saturating_sub(3)] {
        let answer = log.produce(changed(&good, place, |byte| byte ^ 0x10), -1)?;
        refused(
            "a batch with a wrong checksum",
            answer.error_code,
            &[ResponseError::CorruptMessage],
        )?;
    }
    let base = log.append(good)?;
    ensure!(base == 0, "the first good batch is at {base}");
    Ok(())
}

/// The last offset delta says another number of records than there are; the checksum is right.
fn contradiction(subject: &Subject) -> Verdict {
    const LAST_OFFSET_DELTA: usize = 23;
    const CHECKSUM: std::ops::Range<usize> = 17..21;
    let mut log = subject.topic(1)?.log(0)?;
    let mut wrong = BytesMut::from(batch::of(&["one", "two"])?.as_ref());
    if let Some(delta) = wrong.get_mut(LAST_OFFSET_DELTA..LAST_OFFSET_DELTA + 4) {
        delta.copy_from_slice(&7i32.to_be_bytes());
    }
    let checksum = crc32c::crc32c(wrong.get(CHECKSUM.end..).unwrap_or_default());
    if let Some(place) = wrong.get_mut(CHECKSUM) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
    let answer = log.produce(wrong.freeze(), -1)?;
    let right = [ResponseError::InvalidRecord, ResponseError::CorruptMessage];
    refused(
        "a batch of two records that says eight",
        answer.error_code,
        &right,
    )?;
    let base = log.append(batch::of(&["good"])?)?;
    ensure!(base == 0, "the first good batch is at {base}");
    Ok(())
}

fn too_large(subject: &Subject) -> Verdict {
    let mut log = subject.topic_with(1, &[("max.message.bytes", "2000")])?.log(0)?;
    let answer = log.produce(batch::sized(3000)?, -1)?;
    refused(
        "3000 bytes where 2000 are allowed",
        answer.error_code,
        &[ResponseError::MessageTooLarge],
    )?;
    let base = log.append(batch::sized(1000)?)?;
    ensure!(base == 0, "the first batch that fits is at {base}");
    Ok(())
}

fn append_time(subject: &Subject) -> Verdict {
    let plain = subject.topic(1)?.log(0)?.produce(batch::of(&["v"])?, -1)?;
    let none = plain.log_append_time_ms;
    ensure!(none == -1, "a topic with the clients' times answers {none}");
    let mut log = subject
        .topic_with(1, &[("message.timestamp.type", "LogAppendTime")])?
        .log(0)?;
    let answer = log.produce(batch::of(&["a", "b"])?, -1)?;
    fine("a produce", answer.error_code)?;
    let stamp = answer.log_append_time_ms;
    ensure!(
        stamp > MOMENT_MS + 10,
        "the answer tells {stamp} as the time of appending"
    );
    let stored = log.batches(Wanted::from(0))?;
    let stored = stored.first().map(batch::append_time);
    ensure!(
        stored == Some(Some(stamp)),
        "the batch has {stored:?}, and {stamp} was told"
    );
    Ok(())
}

fn time_bounds(subject: &Subject) -> Verdict {
    const HOUR_MS: i64 = 3_600_000;
    let hour = HOUR_MS.to_string();
    let bounds = [
        ("message.timestamp.before.max.ms", hour.as_str()),
        ("message.timestamp.after.max.ms", hour.as_str()),
    ];
    let mut log = subject.topic_with(1, &bounds)?.log(0)?;
    let now = subject.wall_ms();
    for time in [now - 2 * HOUR_MS, now + 2 * HOUR_MS] {
        let answer = log.produce(batch::timed(&[time])?, -1)?;
        refused(
            "two hours away where one is allowed",
            answer.error_code,
            &[ResponseError::InvalidTimestamp],
        )?;
    }
    let base = log.append(batch::timed(&[now])?)?;
    ensure!(base == 0, "the first record within the bounds is at {base}");
    Ok(())
}

fn apart(subject: &Subject) -> Verdict {
    let topic = subject.topic(2)?;
    let (mut one, mut two) = (topic.log(0)?, topic.log(1)?);
    let bases = [
        one.append(batch::of(&["a", "b"])?)?,
        two.append(batch::of(&["c"])?)?,
        one.append(batch::of(&["d"])?)?,
        two.append(batch::of(&["e"])?)?,
    ];
    ensure!(bases == [0, 0, 2, 1], "the batches are at {bases:?}");
    let values = (one.values()?, two.values()?);
    ensure!(
        values.0 == ["a", "b", "d"] && values.1 == ["c", "e"],
        "the partitions have {values:?}"
    );
    Ok(())
}
