//! The records of a batch, borrowed from its bytes or from the buffer that it was expanded into.

use super::batch::{BatchView, TimestampType};
use super::compression::{Codec, DecompressLimits, decompress_into};
use super::error::RecordError;
use super::input::{Input, SliceInput};
use super::varint::{read_i32, read_i64};
use super::walk::nullable_len;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset in the log.
    pub offset: i64,
    /// Its timestamp in milliseconds.
    pub timestamp_ms: i64,
    /// Its key; null is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// Its value; null is not the same as empty.
    pub value: Option<&'a [u8]>,
    header_count: i32,
    headers: &'a [u8],
}

/// One header of a record. Names may occur more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name, UTF-8 by convention.
    pub key: &'a [u8],
    /// Its value; null is not the same as empty.
    pub value: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    /// The headers in the order in which they were written.
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut input = SliceInput::new(self.headers);
        // They were read once when the record was, so that reading them again cannot fail.
        (0..self.header_count).map_while(move |_| read_header(&mut input).ok())
    }
}

/// The records of one batch, in order. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    input: SliceInput<'a>,
    left: i32,
    base_offset: i64,
    base_timestamp_ms: i64,
    log_append_time_ms: Option<i64>,
}

impl<'a> Records<'a> {
    /// Opens a batch. Compressed records are expanded into `expanded`, which plain ones leave alone.
    ///
    /// # Errors
    /// `Invalid` and `UnsupportedCompression` if the batch cannot be read, `TooLarge` beyond the limits.
    pub fn open(
        batch: &BatchView<'a>,
        limits: DecompressLimits,
        expanded: &'a mut Vec<u8>,
    ) -> Result<Self, RecordError> {
        let body = match Codec::from_id(batch.codec_id())? {
            Codec::None => batch.body(),
            codec => {
                decompress_into(codec, batch.body(), limits, expanded)?;
                expanded.as_slice()
            }
        };
        let log_append_time = batch.timestamp_type() == TimestampType::LogAppendTime;
        Ok(Self {
            input: SliceInput::new(body),
            left: batch.record_count(),
            base_offset: batch.base_offset(),
            base_timestamp_ms: batch.base_timestamp_ms(),
            log_append_time_ms: log_append_time.then(|| batch.max_timestamp_ms()),
        })
    }

    /// Reads one record from the front of the input.
    fn read(&mut self) -> Result<Record<'a>, RecordError> {
        let len = read_i32(&mut self.input)?;
        let len = usize::try_from(len).map_err(|_| RecordError::invalid("a record has a negative length"))?;
        let mut fields = SliceInput::new(self.input.take(len)?);
        let _attributes = fields.byte()?;
        let timestamp_delta = read_i64(&mut fields)?;
        let offset_delta = i64::from(read_i32(&mut fields)?);
        let key = take_nullable(&mut fields)?;
        let value = take_nullable(&mut fields)?;
        let header_count = read_i32(&mut fields)?;
        let headers = fields.clone().take(fields.remaining())?;
        for _ in 0..header_count {
            read_header(&mut fields)?;
        }
        if header_count < 0 || fields.remaining() > 0 {
            return Err(RecordError::invalid(
                "a record's fields do not fill its declared length",
            ));
        }
        Ok(Record {
            offset: self.base_offset.saturating_add(offset_delta),
            timestamp_ms: self
                .log_append_time_ms
                .unwrap_or_else(|| self.base_timestamp_ms.saturating_add(timestamp_delta)),
            key,
            value,
            header_count,
            headers,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        let record = self.read();
        self.left = if record.is_ok() { self.left - 1 } else { 0 };
        Some(record)
    }
}

/// Reads one header.
fn read_header<'a>(input: &mut SliceInput<'a>) -> Result<Header<'a>, RecordError> {
    let key = take_nullable(input)?.ok_or(RecordError::invalid("a header has no key"))?;
    Ok(Header {
        key,
        value: take_nullable(input)?,
    })
}

/// Reads bytes that are led by their length.
fn take_nullable<'a>(input: &mut SliceInput<'a>) -> Result<Option<&'a [u8]>, RecordError> {
    nullable_len(read_i32(input)?)?
        .map(|len| input.take(len))
        .transpose()
}
