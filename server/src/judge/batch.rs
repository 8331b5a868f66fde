//! Batches as a client builds and reads them.

use super::{Failure, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::Compression as Effort;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use std::io::{Read, Write};

/// A moment that no clock of a broker disputes: 2026-01-01T00:00:00Z.
pub(super) const MOMENT_MS: i64 = 1_767_225_600_000;
/// What a batch may hold when it is decompressed.
const BATCH_BYTES_MAX: u64 = 64 << 20;
/// Base offset and length, which stand before what the length counts.
const PREFIX_BYTES: usize = 12;

/// A producer with its epoch, and the sequence of the first record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Producer {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// A record with this value, the `at`-th of its batch.
pub(crate) fn record(at: usize, value: impl Into<Bytes>) -> Record {
    let at = i32::try_from(at).unwrap_or(i32::MAX);
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: i64::from(at),
        sequence: at.wrapping_sub(1),
        timestamp: MOMENT_MS + i64::from(at),
        key: None,
        value: Some(value.into()),
        headers: IndexMap::new(),
    }
}

/// A batch of these values.
pub(super) fn of(values: &[&str]) -> Result<Bytes, Failure> {
    let values = values.iter().enumerate();
    encoded(
        &values
            .map(|(at, value)| record(at, value.as_bytes().to_vec()))
            .collect::<Vec<_>>(),
    )
}

/// A batch of one record with a value of this size.
pub(super) fn sized(bytes: usize) -> Result<Bytes, Failure> {
    encoded(&[record(0, vec![b'z'; bytes])])
}

/// A batch of these records at these times.
pub(super) fn timed(times_ms: &[i64]) -> Result<Bytes, Failure> {
    let times = times_ms.iter().enumerate();
    let records = times.map(|(at, time)| Record {
        timestamp: *time,
        ..record(at, &b"v"[..])
    });
    encoded(&records.collect::<Vec<_>>())
}

/// A batch of an idempotent producer, stamped with the present: some brokers forget producers by that stamp.
pub(super) fn sequenced(
    producer: Producer,
    sequence: i32,
    now_ms: i64,
    values: &[&str],
) -> Result<Bytes, Failure> {
    let numbered = values.iter().zip(0..);
    let records = numbered.map(|(value, at): (_, i32)| Record {
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        sequence: sequence.wrapping_add(at),
        timestamp: now_ms,
        ..record(usize::try_from(at).unwrap_or(0), value.as_bytes().to_vec())
    });
    encoded(&records.collect::<Vec<_>>())
}

/// These records as one batch.
pub(crate) fn encoded(records: &[Record]) -> Result<Bytes, Failure> {
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut out, records, &options)
        .map_err(|error| Failure(format!("a batch cannot be encoded: {error}")))?;
    Ok(out.freeze())
}

/// These records as one batch that is compressed with gzip.
pub(super) fn gzipped(records: &[Record]) -> Result<Bytes, Failure> {
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::Gzip,
    };
    let gzip = |plain: &mut BytesMut, out: &mut BytesMut, _| {
        let mut encoder = GzEncoder::new(out.writer(), Effort::fast());
        encoder.write_all(plain)?;
        encoder.finish()?;
        Ok(())
    };
    RecordBatchEncoder::encode_with_custom_compression(&mut out, records, &options, Some(gzip))
        .map_err(|error| Failure(format!("a batch cannot be encoded: {error}")))?;
    Ok(out.freeze())
}

/// The whole batches of an answer, each as it came; one that the limit of the answer cut off is left out.
pub(super) fn split(mut records: Bytes) -> Result<Vec<Bytes>, Failure> {
    let mut batches = Vec::new();
    while records.len() > PREFIX_BYTES {
        let length = records
            .get(8..PREFIX_BYTES)
            .map_or(0, |mut length| length.get_i32());
        let length = usize::try_from(length).unwrap_or(0).saturating_add(PREFIX_BYTES);
        ensure!(length > PREFIX_BYTES, "a batch without content");
        if length > records.len() {
            break;
        }
        batches.push(records.split_to(length));
    }
    Ok(batches)
}

/// The time of appending that a batch has, which is that of all its records; `None` where their times are the clients'.
pub(super) fn append_time(batch: &Bytes) -> Option<i64> {
    const ATTRIBUTES: std::ops::Range<usize> = 21..23;
    const MAX_TIMESTAMP: std::ops::Range<usize> = 35..43;
    const LOG_APPEND_TIME: i16 = 8;
    let attributes = batch.get(ATTRIBUTES)?.get_i16();
    let time = batch.get(MAX_TIMESTAMP)?.get_i64();
    (attributes & LOG_APPEND_TIME != 0).then_some(time)
}

/// The records of an answer, with their offsets.
pub(super) fn records(records: Bytes) -> Result<Vec<Record>, Failure> {
    let mut all = Vec::new();
    for mut batch in split(records)? {
        let unpack = |packed: &mut Bytes, compression| match compression {
            Compression::None => Ok(packed.split_off(0)),
            _ => {
                let mut plain = Vec::new();
                let decoder = GzDecoder::new(packed.as_ref());
                decoder.take(BATCH_BYTES_MAX).read_to_end(&mut plain)?;
                Ok(Bytes::from(plain))
            }
        };
        let set = RecordBatchDecoder::decode_with_custom_compression(&mut batch, Some(unpack));
        let set = set.map_err(|error| Failure(format!("a batch cannot be read: {error}")))?;
        all.extend(set.records);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_batches_are_read_back_plain_and_compressed() {
        let sent: Vec<Record> = (0..5).map(|at| record(at, format!("value {at}"))).collect();
        for bytes in [encoded(&sent).unwrap(), gzipped(&sent).unwrap()] {
            // The limit of an answer cuts its last batch off.
            let mut answer = [bytes.as_ref(), bytes.as_ref()].concat();
            answer.truncate(bytes.len() + 30);
            let read = records(answer.into()).unwrap();
            let values = |records: &[Record]| {
                records
                    .iter()
                    .map(|record| record.value.clone())
                    .collect::<Vec<_>>()
            };
            assert_eq!(values(&read), values(&sent));
        }
    }
}
