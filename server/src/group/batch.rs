//! Records to record batches and back.

use super::record::{BadRecord, StateRecord};
use crate::kafka::record::compression::DecompressLimits;
use crate::kafka::record::{BatchBuilder, Batches, Codec, Records};
use crate::kafka::wire::ErrorCode;
use bytes::BytesMut;

/// One batch of the records, all with the time `wall_ms`.
///
/// # Errors
/// The error that the request behind the records is answered with: they are too large for the format.
pub fn encode_batch(wall_ms: i64, records: &[StateRecord]) -> Result<BytesMut, ErrorCode> {
    let mut builder = BatchBuilder::new(Codec::None);
    for record in records {
        let (key, value) = record.encode().map_err(|error| {
            log::error!("event=group_record_unencodable error={error:?}");
            ErrorCode::UNKNOWN_SERVER_ERROR
        })?;
        builder.push(wall_ms, Some(&key), value.as_deref());
    }
    builder.build().map_err(|error| {
        log::error!("event=group_batch_unencodable error={error:?}");
        ErrorCode::UNKNOWN_SERVER_ERROR
    })
}

/// Calls `each` for every record of the batches in `bytes` whose offset is not less than `from`, in order. Records of types
/// that this broker does not know are passed over. Returns the offset after the last batch, `from` if there is none.
///
/// # Errors
/// The bytes are not record batches, or hold damaged records.
pub fn decode_batches(bytes: &[u8], from: i64, mut each: impl FnMut(StateRecord)) -> Result<i64, BadRecord> {
    let bad = |error: &dyn std::fmt::Display| BadRecord(error.to_string());
    let mut next = from;
    let mut expanded = Vec::new();
    for batch in Batches::new(bytes) {
        let batch = batch.map_err(|error| bad(&error))?;
        next = next.max(batch.last_offset().saturating_add(1));
        if batch.is_control() {
            continue;
        }
        let records = Records::open(&batch, DecompressLimits::STORED, &mut expanded);
        for record in records.map_err(|error| bad(&error))? {
            let record = record.map_err(|error| bad(&error))?;
            if record.offset < from {
                continue;
            }
            if let Some(record) = StateRecord::decode(record.key, record.value)? {
                each(record);
            }
        }
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_from_a_batch_and_those_before_the_start_are_left_out() {
        let records = [
            StateRecord::offset_tombstone(&"g".into(), &"t".into(), 0),
            StateRecord::offset_tombstone(&"g".into(), &"t".into(), 1),
        ];
        let batch = encode_batch(5, &records).unwrap();
        let mut seen = Vec::new();
        assert_eq!(decode_batches(&batch, 0, |record| seen.push(record)), Ok(2));
        assert_eq!(seen, records);
        seen.clear();
        assert_eq!(decode_batches(&batch, 1, |record| seen.push(record)), Ok(2));
        assert_eq!(seen, records[1..]);
        assert!(decode_batches(&batch[..batch.len() - 1], 0, |_| {}).is_err());
    }
}
