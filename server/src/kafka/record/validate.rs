//! What must hold before a batch may enter a log: the rules of Kafka's LogValidator, in place and in one pass.

use std::ops::ControlFlow;

use super::batch::{BatchView, NO_PRODUCER_ID, NO_TIMESTAMP, TimestampType};
use super::compression::{Codec, DecompressLimits};
use super::error::{RecordError, RecordIssue};
use super::rewrite::set_timestamp;
use super::walk::{RecordShape, walk_records};

/// The records at fault that an answer names. Clients give the others of the batch a general error.
const MAX_ISSUES: usize = 32;

/// The rules of a topic and of the version of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidationRules {
    /// `max.message.bytes`: the largest batch, in bytes.
    pub max_message_bytes: u64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a timestamp may lie before now.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far a timestamp may lie after now.
    pub timestamp_after_max_ms: i64,
    /// Whether every record needs a key (compacted topics).
    pub key_required: bool,
    /// Whether the version of the request may carry zstd (Produce v7 and later, KIP-110).
    pub zstd_allowed: bool,
}

/// The producer's fields of a batch that has a producer id (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerFields {
    /// The producer id, not negative.
    pub id: i64,
    /// Its epoch, not negative.
    pub epoch: i16,
    /// The sequence number of the first record, not negative.
    pub base_sequence: i32,
    /// The sequence number of the last record.
    pub last_sequence: i32,
}

impl ProducerFields {
    /// The fields of a batch, none if it has no producer id.
    pub fn of(batch: &BatchView<'_>) -> Option<Self> {
        (batch.producer_id() > NO_PRODUCER_ID).then(|| Self {
            id: batch.producer_id(),
            epoch: batch.producer_epoch(),
            base_sequence: batch.base_sequence(),
            last_sequence: batch.last_sequence(),
        })
    }
}

/// What a batch that passed was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validated {
    /// The number of records, at least 1; the batch takes as many offsets.
    pub record_count: i32,
    /// The greatest timestamp of the batch as it will be stored, in milliseconds.
    pub max_timestamp_ms: i64,
    /// The time of the append if the topic stamps it, else -1 (the answer's `log_append_time_ms`).
    pub log_append_time_ms: i64,
    /// The idempotent producer, if there is one.
    pub producer: Option<ProducerFields>,
}

/// Checks the one batch that `bytes` must be, and sets its timestamp type and greatest timestamp to what the topic
/// and the records say. `now_ms` is the wall clock of the leader. Allocates nothing unless it refuses.
///
/// # Errors
/// Each with its Kafka error code. The bytes are unchanged then.
pub fn validate(bytes: &mut [u8], rules: &ValidationRules, now_ms: i64) -> Result<Validated, RecordError> {
    let batch = BatchView::parse(bytes)?;
    check_request(&batch, bytes.len(), rules)?;
    check_header(&batch)?;
    let greatest = check_records(&batch, rules, now_ms)?;
    let (record_count, producer) = (batch.record_count(), ProducerFields::of(&batch));
    let (max_timestamp_ms, log_append_time_ms) = match rules.timestamp_type {
        TimestampType::CreateTime => (greatest, NO_TIMESTAMP),
        TimestampType::LogAppendTime => (now_ms, now_ms),
    };
    set_timestamp(bytes, rules.timestamp_type, max_timestamp_ms)?;
    Ok(Validated {
        record_count,
        max_timestamp_ms,
        log_append_time_ms,
        producer,
    })
}

/// What Kafka asks of a Produce v3+ request and of any append, in Kafka's order: one batch, a codec that the version
/// knows, offset 0, the size limit, the CRC.
fn check_request(batch: &BatchView<'_>, len: usize, rules: &ValidationRules) -> Result<(), RecordError> {
    let codec = Codec::from_id(batch.codec_id())?;
    if codec == Codec::Zstd && !rules.zstd_allowed {
        return Err(RecordError::UnsupportedCompression(codec.id()));
    }
    if batch.size() != len {
        return Err(RecordError::invalid(
            "a partition's records must be exactly one record batch",
        ));
    }
    if batch.base_offset() != 0 {
        return Err(RecordError::invalid(
            "the base offset of a record batch must be 0 before it is appended",
        ));
    }
    if batch.size() as u64 > rules.max_message_bytes {
        return Err(RecordError::TooLarge {
            size: batch.size() as u64,
            limit: rules.max_message_bytes,
        });
    }
    let (stored, computed) = (batch.crc(), batch.computed_crc());
    if stored != computed {
        return Err(RecordError::Corrupt { stored, computed });
    }
    Ok(())
}

/// The rules for header fields that only a client could break.
fn check_header(batch: &BatchView<'_>) -> Result<(), RecordError> {
    let count = batch.record_count();
    if count <= 0 {
        return Err(RecordError::invalid(
            "a record batch must hold at least one record",
        ));
    }
    if i64::from(batch.last_offset_delta()) + 1 != i64::from(count) {
        return Err(RecordError::invalid(
            "the record count and the last offset of a record batch disagree",
        ));
    }
    if batch.is_control() {
        return Err(RecordError::invalid("clients must not write control records"));
    }
    if batch.has_delete_horizon() {
        return Err(RecordError::invalid("clients must not set a delete horizon"));
    }
    if batch.is_transactional() {
        return Err(RecordError::NotInTransaction);
    }
    match ProducerFields::of(batch) {
        Some(producer) if producer.base_sequence < 0 || producer.epoch < 0 => Err(RecordError::invalid(
            "a record batch with a producer id needs an epoch and a sequence number",
        )),
        _ => Ok(()),
    }
}

/// Walks every record, and returns the greatest timestamp.
fn check_records(batch: &BatchView<'_>, rules: &ValidationRules, now_ms: i64) -> Result<i64, RecordError> {
    let limits = DecompressLimits::for_max_message_bytes(rules.max_message_bytes);
    let base_timestamp = batch.base_timestamp_ms();
    let claims_append_time = batch.timestamp_type() == TimestampType::LogAppendTime;
    let mut greatest = NO_TIMESTAMP;
    let mut issues = Vec::new();
    let mut bad_time = false;
    walk_records(batch, limits, |record| {
        if record.offset_delta != record.index {
            return Err(RecordError::invalid(
                "the offsets of the records in a batch must count from 0",
            ));
        }
        let Some(timestamp) = base_timestamp.checked_add(record.timestamp_delta) else {
            return Err(RecordError::invalid("a timestamp is beyond 64 bits"));
        };
        greatest = greatest.max(timestamp);
        let keyless = rules.key_required && !record.has_key;
        if keyless || claims_append_time || time_is_out_of_range(timestamp, rules, now_ms) {
            bad_time |= !keyless;
            report(&mut issues, record, keyless, timestamp, claims_append_time);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    match (issues.is_empty(), bad_time) {
        (true, _) => Ok(greatest),
        (false, true) => Err(RecordError::InvalidTimestamps(issues)),
        (false, false) => Err(RecordError::InvalidRecords(issues)),
    }
}

/// Whether a topic that keeps the producer's time refuses this one (KIP-937). No timestamp is always accepted.
fn time_is_out_of_range(timestamp: i64, rules: &ValidationRules, now_ms: i64) -> bool {
    let ahead = timestamp.saturating_sub(now_ms);
    rules.timestamp_type == TimestampType::CreateTime
        && timestamp != NO_TIMESTAMP
        && (ahead > rules.timestamp_after_max_ms || ahead.saturating_neg() > rules.timestamp_before_max_ms)
}

/// Notes a record at fault, up to [`MAX_ISSUES`].
#[cold]
fn report(
    issues: &mut Vec<RecordIssue>,
    record: RecordShape,
    keyless: bool,
    timestamp: i64,
    claims_append_time: bool,
) {
    if issues.len() == MAX_ISSUES {
        return;
    }
    let message = if keyless {
        "a compacted topic takes no record without a key".to_owned()
    } else if claims_append_time {
        "a producer must not set the timestamp type LogAppendTime".to_owned()
    } else {
        format!("timestamp {timestamp} is out of the topic's range")
    };
    issues.push(RecordIssue {
        index: record.index,
        message,
    });
}
