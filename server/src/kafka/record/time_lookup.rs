//! Finds a record by time inside a batch, compressed or not.

use std::ops::ControlFlow;

use super::batch::{BatchView, TimestampType};
use super::compression::DecompressLimits;
use super::error::RecordError;
use super::walk::walk_records;

/// A record's place in the log and in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// The offset of the record.
    pub offset: i64,
    /// Its timestamp in milliseconds.
    pub timestamp_ms: i64,
}

/// The first record of a stored batch, at or after `min_offset`, whose timestamp is at or after `timestamp_ms`. Asked
/// with the batch's own greatest timestamp it finds the first record that has it.
///
/// # Errors
/// `Invalid` if the records cannot be read, which validation rules out for a batch that was appended.
pub fn find_by_time(
    batch: &BatchView<'_>,
    timestamp_ms: i64,
    min_offset: i64,
) -> Result<Option<TimestampedOffset>, RecordError> {
    let base = batch.base_offset();
    if batch.max_timestamp_ms() < timestamp_ms || batch.last_offset() < min_offset {
        return Ok(None);
    }
    if batch.timestamp_type() == TimestampType::LogAppendTime {
        let offset = base.max(min_offset);
        return Ok(Some(TimestampedOffset {
            offset,
            timestamp_ms: batch.max_timestamp_ms(),
        }));
    }
    let base_timestamp = batch.base_timestamp_ms();
    let mut found = None;
    walk_records(batch, DecompressLimits::STORED, |record| {
        let offset = base.saturating_add(i64::from(record.offset_delta));
        let at = base_timestamp.saturating_add(record.timestamp_delta);
        if offset < min_offset || at < timestamp_ms {
            return Ok(ControlFlow::Continue(()));
        }
        found = Some(TimestampedOffset {
            offset,
            timestamp_ms: at,
        });
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// The first of the records of a stored batch, at or after `min_offset`, that has the greatest timestamp among those;
/// none if no record is there or none has a timestamp.
///
/// # Errors
/// As [`find_by_time`].
pub fn find_greatest(
    batch: &BatchView<'_>,
    min_offset: i64,
) -> Result<Option<TimestampedOffset>, RecordError> {
    if batch.timestamp_type() == TimestampType::LogAppendTime || batch.base_offset() >= min_offset {
        return match batch.max_timestamp_ms() {
            ..0 => Ok(None),
            greatest => find_by_time(batch, greatest, min_offset),
        };
    }
    let (base, base_timestamp) = (batch.base_offset(), batch.base_timestamp_ms());
    let mut best: Option<TimestampedOffset> = None;
    walk_records(batch, DecompressLimits::STORED, |record| {
        let offset = base.saturating_add(i64::from(record.offset_delta));
        let timestamp_ms = base_timestamp.saturating_add(record.timestamp_delta);
        let better = best.is_none_or(|best| timestamp_ms > best.timestamp_ms);
        if offset >= min_offset && timestamp_ms >= 0 && better {
            best = Some(TimestampedOffset { offset, timestamp_ms });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(best)
}
