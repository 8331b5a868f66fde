//! Frames: one entry each, header and payload.

use crate::codec::{Decoder, Encode, Malformed};
use bytes::{BufMut, Bytes};
use chronik_core::{Entry, EntryKind, EntryMeta, Offset};

/// Bytes before an entry's payload.
pub const FRAME_HEADER_BYTES: usize = 44;

/// Why frames cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The bytes end within a frame: with more bytes it may be whole. Holds the length that is needed.
    Short(usize),
    /// The bytes are not a frame.
    Malformed(Malformed),
}

impl From<Malformed> for FrameError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

/// Writes the header of an entry's frame.
pub(super) fn put_header(out: &mut impl BufMut, meta: &EntryMeta) {
    out.put_log_id(meta.id);
    out.put_i64_le(meta.base_offset.0);
    out.put_i64_le(meta.max_timestamp_ms);
    out.put_u32_le(meta.record_count);
    out.put_u32_le(meta.payload_bytes);
    out.put_u32_le(u32::from(meta.kind as u8));
}

/// Reads a frame's header. The checksum of its chunk was compared before.
pub(crate) fn header(bytes: Bytes) -> Result<EntryMeta, Malformed> {
    let mut decoder = Decoder::new(bytes);
    let id = decoder.log_id()?;
    let base_offset = Offset(decoder.i64()?);
    let max_timestamp_ms = decoder.i64()?;
    let record_count = decoder.u32()?;
    let payload_bytes = decoder.u32()?;
    let kind = u8::try_from(decoder.u32()?)
        .ok()
        .and_then(EntryKind::from_u8)
        .ok_or(Malformed("a frame is of no known kind"))?;
    let counted = (kind == EntryKind::Data) == (record_count > 0);
    if !counted || base_offset.0 < 0 || base_offset.checked_add(record_count).is_none() {
        return Err(Malformed("the offsets of a frame cannot be"));
    }
    Ok(EntryMeta {
        id,
        kind,
        base_offset,
        record_count,
        max_timestamp_ms,
        payload_bytes,
    })
}

/// Reads frame after frame. Payloads are slices of the bytes given.
#[derive(Debug)]
pub struct Frames {
    rest: Bytes,
}

impl Frames {
    /// Reads `bytes`, which start with a frame and may end within one.
    #[must_use]
    pub const fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    /// The next entry; none at the end of the bytes.
    ///
    /// # Errors
    /// [`FrameError::Short`] where the bytes end within the frame: nothing was taken.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, FrameError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if self.rest.len() < FRAME_HEADER_BYTES {
            return Err(FrameError::Short(FRAME_HEADER_BYTES));
        }
        let meta = header(self.rest.slice(..FRAME_HEADER_BYTES))?;
        let end = FRAME_HEADER_BYTES + meta.payload_bytes as usize;
        if self.rest.len() < end {
            return Err(FrameError::Short(end));
        }
        let frame = self.rest.split_to(end);
        Ok(Some(Entry {
            id: meta.id,
            kind: meta.kind,
            base_offset: meta.base_offset,
            record_count: meta.record_count,
            max_timestamp_ms: meta.max_timestamp_ms,
            payload: frame.slice(FRAME_HEADER_BYTES..),
        }))
    }

    /// What was not taken yet.
    #[must_use]
    pub const fn rest(&self) -> &Bytes {
        &self.rest
    }
}
