//! Makes record batches: for internal topics, tests and load generators.

use bytes::{BufMut, BytesMut};

use super::batch::{
    HEADER_LEN, LENGTH_PREFIX_LEN, MAGIC_V2, NO_PRODUCER_ID, NO_TIMESTAMP, TimestampType, at, bit,
};
use super::compression::{Codec, compress};
use super::error::RecordError;
use super::rewrite::put;
use super::validate::ProducerFields;
use super::varint::{len_i64, write_i32, write_i64};

/// Collects records and makes one batch of them. Offsets count from 0, as a producer sends them.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    codec: Codec,
    producer: Option<(i64, i16, i32)>,
    attributes: i16,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    count: i32,
    records: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch without a producer id.
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            producer: None,
            attributes: 0,
            base_timestamp_ms: NO_TIMESTAMP,
            max_timestamp_ms: NO_TIMESTAMP,
            count: 0,
            records: Vec::new(),
        }
    }

    /// Gives the batch a producer id, its epoch, and the sequence number of its first record.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.producer = Some((id, epoch, base_sequence));
        self
    }

    /// Gives the batch the producer's fields of another one.
    #[must_use]
    pub fn producer_fields(self, fields: ProducerFields) -> Self {
        self.producer(fields.id, fields.epoch, fields.base_sequence)
    }

    /// Marks the batch as part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.attributes |= bit::TRANSACTIONAL;
        self
    }

    /// Marks the batch as one of control records.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.attributes |= bit::CONTROL;
        self
    }

    /// Sets whose clock the timestamps are said to come from.
    #[must_use]
    pub fn timestamp_type(mut self, timestamp_type: TimestampType) -> Self {
        self.attributes &= !bit::LOG_APPEND_TIME;
        if timestamp_type == TimestampType::LogAppendTime {
            self.attributes |= bit::LOG_APPEND_TIME;
        }
        self
    }

    /// Appends a record without headers.
    pub fn push(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.push_with_headers(timestamp_ms, key, value, &[]);
    }

    /// Appends a record.
    pub fn push_with_headers(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        if self.count == 0 {
            self.base_timestamp_ms = timestamp_ms;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        let timestamp_delta = timestamp_ms.wrapping_sub(self.base_timestamp_ms);
        let fields_len =
            1 + len_i64(timestamp_delta) + len_i64(i64::from(self.count)) + bytes_len(key) + bytes_len(value);
        let headers_len: usize = headers
            .iter()
            .map(|(name, value)| bytes_len(Some(name)) + bytes_len(*value))
            .sum();
        let len = fields_len + len_i64(headers.len() as i64) + headers_len;
        write_i64(&mut self.records, len as i64);
        self.records.push(0);
        write_i64(&mut self.records, timestamp_delta);
        write_i32(&mut self.records, self.count);
        write_bytes(&mut self.records, key);
        write_bytes(&mut self.records, value);
        write_i64(&mut self.records, headers.len() as i64);
        for (name, value) in headers {
            write_bytes(&mut self.records, Some(name));
            write_bytes(&mut self.records, *value);
        }
        self.count += 1;
    }

    /// How many records were pushed.
    pub const fn record_count(&self) -> i32 {
        self.count
    }

    /// The size of the batch if it is not compressed, in bytes.
    pub const fn plain_size(&self) -> usize {
        HEADER_LEN + self.records.len()
    }

    /// The batch, with base offset 0 and leader epoch -1.
    ///
    /// # Errors
    /// `Invalid` without a record, `TooLarge` beyond the 2 GiB of the format.
    pub fn build(&self) -> Result<BytesMut, RecordError> {
        if self.count == 0 {
            return Err(RecordError::invalid(
                "a record batch must hold at least one record",
            ));
        }
        let mut packed = Vec::new();
        let body = match self.codec {
            Codec::None => &self.records,
            codec => {
                compress(codec, &self.records, &mut packed)
                    .map_err(|error| RecordError::Invalid(format!("cannot compress: {error}").into()))?;
                &packed
            }
        };
        let size = HEADER_LEN + body.len();
        let Ok(length) = i32::try_from(size - LENGTH_PREFIX_LEN) else {
            return Err(RecordError::TooLarge {
                size: size as u64,
                limit: i32::MAX as u64,
            });
        };
        let (id, epoch, sequence) = self.producer.unwrap_or((NO_PRODUCER_ID, -1, -1));
        let mut out = BytesMut::with_capacity(size);
        out.put_i64(0);
        out.put_i32(length);
        out.put_i32(-1);
        out.put_i8(MAGIC_V2);
        out.put_u32(0);
        out.put_i16(self.attributes | i16::from(self.codec.id()));
        out.put_i32(self.count - 1);
        out.put_i64(self.base_timestamp_ms);
        out.put_i64(self.max_timestamp_ms);
        out.put_i64(id);
        out.put_i16(epoch);
        out.put_i32(sequence);
        out.put_i32(self.count);
        out.put_slice(body);
        let crc = crc32c::crc32c(&out[at::ATTRIBUTES..]);
        put(&mut out, at::CRC, crc.to_be_bytes());
        Ok(out)
    }
}

/// How many bytes [`write_bytes`] appends.
fn bytes_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| len_i64(bytes.len() as i64) + bytes.len())
}

/// Appends bytes led by their length, -1 for null.
fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            write_i64(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => write_i32(out, -1),
    }
}
