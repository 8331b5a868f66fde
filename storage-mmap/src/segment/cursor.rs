//! Following the frames of a segment.

use crate::damage;
use crate::frame::{FrameType, HEADER_BYTES, Header, decode_header};
use crate::group::seg::SegmentFile;
use crate::segment::map::{SegmentMap, touch};
use bytes::Bytes;
use chronik_core::fs::{File, FsError};
use chronik_core::{Entry, EntryMeta, LogError};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// How much is read at once where frames are followed in a file that is not mapped.
const WINDOW_BYTES: u64 = 64 << 10;
const WINDOW_BYTES_MAX: u64 = 1 << 20;

/// Where the bytes of a segment come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A map of the whole file: slices of it are handed out.
    Map(SegmentMap),
    /// A file: what is read is handed out.
    File(Arc<dyn File>),
}

/// Why frames cannot be followed.
#[derive(Clone, Debug)]
pub(crate) enum CursorError {
    /// Bytes are not what was written.
    Damaged(Range<u64>, &'static str),
    /// The file could not be read.
    Io(FsError),
}

impl CursorError {
    /// The error for the caller of the store.
    pub(crate) fn into_log_error(self, dir: &Path, file: &SegmentFile) -> LogError {
        match self {
            Self::Damaged(range, reason) => {
                let group = Some(file.header.group);
                damage::damaged(damage::damage(dir, &file.path, range, group, reason))
            }
            Self::Io(error) => LogError::Io(error),
        }
    }
}

/// Follows the frames of one segment from a known place.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    file: &'a SegmentFile,
    source: Source,
    /// Where the next frame starts.
    at: u64,
    /// Nothing is read from here on.
    limit: u64,
    window: Bytes,
    window_at: u64,
    window_bytes: u64,
}

impl<'a> Cursor<'a> {
    /// A cursor at `at`; frames end at or before `limit`.
    pub(crate) fn new(file: &'a SegmentFile, source: Source, at: u64, limit: u64) -> Self {
        Self {
            file,
            source,
            at,
            limit,
            window: Bytes::new(),
            window_at: 0,
            window_bytes: WINDOW_BYTES,
        }
    }

    /// Reads `bytes` at once, within bounds, where the segment is not mapped.
    pub(crate) fn reading_ahead(mut self, bytes: u64) -> Self {
        self.window_bytes = bytes.clamp(WINDOW_BYTES, WINDOW_BYTES_MAX);
        self
    }

    /// Where the next frame starts.
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    /// The header of the frame here, checked against the file and the place; does not move.
    pub(crate) fn header(&mut self) -> Result<Header, CursorError> {
        let at = self.at;
        let damaged = |reason| CursorError::Damaged(at..at + HEADER_BYTES as u64, reason);
        let bytes = self.fetch(at, HEADER_BYTES as u64)?;
        let header = decode_header(&bytes, self.file.header.salt).map_err(|error| damaged(error.0))?;
        let own = header.place.file == self.file.header.generation && header.group == self.file.header.group;
        if !own || header.place.position != at {
            return Err(damaged("a frame of another place"));
        }
        if header.frame_bytes() > self.limit - at {
            return Err(damaged("a frame that reaches beyond the end"));
        }
        Ok(header)
    }

    /// The payload of the frame here, checked; does not move.
    pub(crate) fn payload(&mut self, header: &Header) -> Result<Bytes, CursorError> {
        let start = self.at + HEADER_BYTES as u64;
        let payload = self.fetch(start, u64::from(header.payload_bytes))?;
        let frame = self.at..self.at + header.frame_bytes();
        let map = match &self.source {
            Source::Map(map) if map.is_checked(&frame) => {
                touch(&payload);
                return Ok(payload);
            }
            Source::Map(map) => Some(map),
            Source::File(_) => None,
        };
        if crc32c::crc32c(&payload) != header.payload_crc {
            let range = start..frame.end;
            return Err(CursorError::Damaged(
                range,
                "the payload's checksum does not match",
            ));
        }
        if let Some(map) = map {
            map.note_checked(frame);
        }
        Ok(payload)
    }

    /// Moves behind the frame here.
    pub(crate) const fn skip(&mut self, header: &Header) {
        self.at += header.frame_bytes();
    }

    /// The next entry's numbers and header, passing over index blocks; `None` at the limit or at the footer.
    pub(crate) fn next_meta(&mut self) -> Result<Option<(EntryMeta, Header)>, CursorError> {
        while self.at < self.limit {
            let header = self.header()?;
            if let Some(meta) = header.entry_meta() {
                return Ok(Some((meta, header)));
            }
            match header.frame_type {
                FrameType::IndexBlock => self.skip(&header),
                FrameType::Footer => return Ok(None),
                _ => {
                    let range = self.at..self.at + header.frame_bytes();
                    return Err(CursorError::Damaged(
                        range,
                        "a frame that does not belong in a segment",
                    ));
                }
            }
        }
        Ok(None)
    }

    /// The entry whose header is here, with its payload.
    pub(crate) fn entry(&mut self, meta: &EntryMeta, header: &Header) -> Result<Entry, CursorError> {
        Ok(Entry {
            id: meta.id,
            kind: meta.kind,
            base_offset: meta.base_offset,
            record_count: meta.record_count,
            max_timestamp_ms: meta.max_timestamp_ms,
            payload: self.payload(header)?,
        })
    }

    /// The bytes of a range that ends at or before the limit.
    fn fetch(&mut self, at: u64, count: u64) -> Result<Bytes, CursorError> {
        let short = CursorError::Damaged(at..at + count, "the file ends too early");
        if at.checked_add(count).is_none_or(|end| end > self.limit) {
            return Err(short);
        }
        let (start, count) = (at, count as usize);
        match &self.source {
            Source::Map(map) => {
                let start = start as usize;
                if start + count > map.bytes().len() {
                    return Err(short);
                }
                Ok(map.bytes().slice(start..start + count))
            }
            Source::File(file) => {
                let window_end = self.window_at + self.window.len() as u64;
                if start < self.window_at || start + count as u64 > window_end {
                    let wanted = self.window_bytes.max(count as u64).min(self.limit - start);
                    self.window = read_exact(&**file, start, wanted as usize)?;
                    self.window_at = start;
                }
                let from = (start - self.window_at) as usize;
                if from + count > self.window.len() {
                    return Err(short);
                }
                Ok(self.window.slice(from..from + count))
            }
        }
    }
}

/// Reads up to `count` bytes, fewer where the file ends.
pub(crate) fn read_exact(file: &dyn File, at: u64, count: usize) -> Result<Bytes, CursorError> {
    let mut buffer = vec![0; count];
    let read = file.read_at(&mut buffer, at).map_err(CursorError::Io)?;
    buffer.truncate(read);
    Ok(buffer.into())
}
