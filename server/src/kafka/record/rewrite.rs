//! The only functions that write into a batch that a client made.

use super::batch::{BatchView, TimestampType, at, bit};
use super::error::RecordError;

/// Stamps every batch of an entry's payload: base offsets that continue from `base_offset`, and the leader epoch.
/// Both lie outside the CRC; no other byte is touched. Returns the offset after the last record.
///
/// # Errors
/// `Invalid` if the payload is not a run of whole batches; what was stamped before that place stays stamped.
pub fn stamp(payload: &mut [u8], base_offset: i64, leader_epoch: i32) -> Result<i64, RecordError> {
    let mut next_offset = base_offset;
    let mut rest = payload;
    while !rest.is_empty() {
        let batch = BatchView::parse(rest)?;
        let (size, records) = (batch.size(), i64::from(batch.last_offset_delta()) + 1);
        put(rest, at::BASE_OFFSET, next_offset.to_be_bytes());
        put(rest, at::LEADER_EPOCH, leader_epoch.to_be_bytes());
        next_offset = next_offset
            .checked_add(records)
            .ok_or(RecordError::invalid("the offsets of the log are used up"))?;
        rest = &mut rest[size..];
    }
    Ok(next_offset)
}

/// Sets whose clock a batch's timestamps come from and its greatest timestamp, and renews the CRC that covers them.
/// `LogAppendTime` gives every record that timestamp without touching the records. Returns whether anything changed.
///
/// # Errors
/// `Invalid` if `bytes` does not start with a whole batch.
pub fn set_timestamp(
    bytes: &mut [u8],
    timestamp_type: TimestampType,
    max_timestamp_ms: i64,
) -> Result<bool, RecordError> {
    let batch = BatchView::parse(bytes)?;
    if batch.timestamp_type() == timestamp_type && batch.max_timestamp_ms() == max_timestamp_ms {
        return Ok(false);
    }
    let attributes = match timestamp_type {
        TimestampType::CreateTime => batch.attributes() & !bit::LOG_APPEND_TIME,
        TimestampType::LogAppendTime => batch.attributes() | bit::LOG_APPEND_TIME,
    };
    put(bytes, at::ATTRIBUTES, attributes.to_be_bytes());
    put(bytes, at::MAX_TIMESTAMP, max_timestamp_ms.to_be_bytes());
    let crc = BatchView::parse(bytes)?.computed_crc();
    put(bytes, at::CRC, crc.to_be_bytes());
    Ok(true)
}

/// Writes one header field. The callers have parsed the batch at the front of `bytes`, so that the header is there.
pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}
