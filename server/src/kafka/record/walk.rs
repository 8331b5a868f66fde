//! The walk over the records of a batch that looks at their shape alone: no key or value is touched or copied.

use std::ops::ControlFlow;

use super::batch::BatchView;
use super::compression::{Codec, DecompressLimits, with_scratch};
use super::error::RecordError;
use super::input::{Input, SliceInput};
use super::varint::{read_i32, read_i64};

/// What the walk tells about one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordShape {
    /// The position in the batch, from 0.
    pub index: i32,
    /// Milliseconds after the batch's base timestamp; may be negative.
    pub timestamp_delta: i64,
    /// The offset after the batch's base offset.
    pub offset_delta: i32,
    /// Whether there is a key; an empty key is one.
    pub has_key: bool,
}

/// Calls `visit` for each record of the batch, in order, until it breaks. If it never breaks, the batch was seen to
/// hold exactly the declared number of records, each well formed, and nothing else.
///
/// # Errors
/// `Invalid` and `TooLarge` as the bytes deserve, and whatever `visit` returns.
pub fn walk_records(
    batch: &BatchView<'_>,
    limits: DecompressLimits,
    mut visit: impl FnMut(RecordShape) -> Result<ControlFlow<()>, RecordError>,
) -> Result<(), RecordError> {
    let count = batch.record_count();
    match Codec::from_id(batch.codec_id())? {
        Codec::None => walk(&mut SliceInput::new(batch.body()), count, &mut visit),
        codec => {
            with_scratch(|scratch| walk(&mut scratch.open(codec, batch.body(), limits)?, count, &mut visit))
        }
    }
}

/// The walk itself, over bytes from anywhere.
fn walk(
    input: &mut impl Input,
    count: i32,
    visit: &mut impl FnMut(RecordShape) -> Result<ControlFlow<()>, RecordError>,
) -> Result<(), RecordError> {
    for index in 0..count {
        let shape = read_shape(input, index)?;
        if visit(shape)?.is_break() {
            return Ok(());
        }
    }
    if !input.at_end()? {
        return Err(RecordError::invalid("bytes follow the last record of the batch"));
    }
    Ok(())
}

/// Reads one record, checks that its fields fill its declared length, and keeps what a broker needs.
fn read_shape(input: &mut impl Input, index: i32) -> Result<RecordShape, RecordError> {
    let Ok(len) = u64::try_from(read_i32(input)?) else {
        return Err(RecordError::invalid("a record has a negative length"));
    };
    let end = input.position() + len;
    // The record's own attribute byte has no meaning in v2 and is ignored, as in Kafka.
    let _attributes = input.byte()?;
    let timestamp_delta = read_i64(input)?;
    let offset_delta = read_i32(input)?;
    let has_key = skip_nullable(input)?;
    skip_nullable(input)?;
    let headers = read_i32(input)?;
    if headers < 0 {
        return Err(RecordError::invalid("a record has a negative number of headers"));
    }
    for _ in 0..headers {
        if !skip_nullable(input)? {
            return Err(RecordError::invalid("a header has no key"));
        }
        skip_nullable(input)?;
    }
    if input.position() != end {
        return Err(RecordError::invalid(
            "a record's fields do not fill its declared length",
        ));
    }
    Ok(RecordShape {
        index,
        timestamp_delta,
        offset_delta,
        has_key,
    })
}

/// Passes over bytes that are led by their length; false if they are null.
#[inline]
fn skip_nullable(input: &mut impl Input) -> Result<bool, RecordError> {
    match nullable_len(read_i32(input)?)? {
        Some(len) => input.skip(len).map(|()| true),
        None => Ok(false),
    }
}

/// The meaning of a length field: -1 is null, less is refused.
pub(super) fn nullable_len(len: i32) -> Result<Option<usize>, RecordError> {
    match len {
        -1 => Ok(None),
        0.. => Ok(Some(len as usize)),
        _ => Err(RecordError::invalid("a field has a negative length")),
    }
}
