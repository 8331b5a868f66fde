//! Entries to the bytes of an object, piece by piece.

use super::frame::{FRAME_HEADER_BYTES, put_header};
use super::sections::{AbortedTxn, IndexPoint, TermSpan};
use super::{CHUNK_BYTES, Footer, INDEX_INTERVAL_BYTES, OBJECT_HEADER, Trailer};
use crate::key::PartitionKey;
use bytes::{BufMut, Bytes, BytesMut};
use chronik_core::log_store::Checkpoint;
use chronik_core::{Entry, EntryKind, LogId, Offset};
use std::fmt;
use std::ops::Range;

/// Payloads up to this size are copied beside their header; larger ones are handed on as they are.
const COPY_BYTES: usize = 4 << 10;
/// Headers are written into buffers of this size.
const ARENA_BYTES: usize = 64 << 10;

/// Why an entry cannot follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// Its index, term or offset does not come after the entry before it.
    OutOfOrder(LogId),
    /// A segment without an entry is no object.
    Empty,
    /// The footer would be larger than its length field can say.
    TooLarge,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder(id) => write!(f, "entry {id} does not follow the one before it"),
            Self::Empty => write!(f, "there is no entry"),
            Self::TooLarge => write!(f, "the footer is too large"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// What the encoder knows at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The footer.
    pub footer: Footer,
    /// The trailer.
    pub trailer: Trailer,
    /// The checksum of the whole object.
    pub crc: u32,
}

/// Writes one object. Holds no entry: memory is the footer's, about half a thousandth of the object.
#[derive(Debug)]
pub struct Encoder {
    partition: PartitionKey,
    arena: BytesMut,
    position: u64,
    chunk: u32,
    chunk_bytes: u32,
    chunk_crcs: Vec<u32>,
    index: Vec<IndexPoint>,
    terms: Vec<TermSpan>,
    first: Option<LogId>,
    last: LogId,
    offsets: Range<Offset>,
    max_timestamp_ms: i64,
    entries: u64,
}

impl Encoder {
    /// Starts an object; its first bytes go to `out`.
    pub fn new(partition: PartitionKey, out: &mut Vec<Bytes>) -> Self {
        let mut encoder = Self {
            partition,
            arena: BytesMut::new(),
            position: 0,
            chunk: 0,
            chunk_bytes: 0,
            chunk_crcs: Vec::new(),
            index: Vec::new(),
            terms: Vec::new(),
            first: None,
            last: LogId::default(),
            offsets: Offset(0)..Offset(0),
            max_timestamp_ms: -1,
            entries: 0,
        };
        encoder.emit(Bytes::from_static(OBJECT_HEADER), out);
        encoder
    }

    /// The bytes given out so far.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Adds an entry; its bytes go to `out`, large payloads without a copy.
    ///
    /// # Errors
    /// [`EncodeError::OutOfOrder`]; nothing was added.
    pub fn entry(&mut self, entry: &Entry, out: &mut Vec<Bytes>) -> Result<(), EncodeError> {
        let meta = entry.meta();
        self.check(entry)?;
        self.note(entry);
        if self.arena.capacity() < FRAME_HEADER_BYTES + COPY_BYTES {
            self.arena = BytesMut::with_capacity(ARENA_BYTES);
        }
        put_header(&mut self.arena, &meta);
        if entry.payload.len() <= COPY_BYTES {
            self.arena.put_slice(&entry.payload);
            let frame = self.arena.split().freeze();
            self.emit(frame, out);
        } else {
            let header = self.arena.split().freeze();
            self.emit(header, out);
            self.emit(entry.payload.clone(), out);
        }
        Ok(())
    }

    /// Says that the segment ends with this entry, which was not added: a command that is gone from the log, though not
    /// from the state that it changed.
    ///
    /// # Errors
    /// [`EncodeError::OutOfOrder`] where a later entry was added.
    pub fn end_with(&mut self, last: LogId) -> Result<(), EncodeError> {
        if last.index < self.last.index || last.term < self.last.term {
            return Err(EncodeError::OutOfOrder(last));
        }
        self.last = last;
        Ok(())
    }

    /// Ends the object; its last bytes go to `out`.
    ///
    /// # Errors
    /// [`EncodeError::Empty`], [`EncodeError::TooLarge`].
    pub fn finish(
        mut self,
        checkpoint: Option<Checkpoint>,
        aborted: Vec<AbortedTxn>,
        out: &mut Vec<Bytes>,
    ) -> Result<Finished, EncodeError> {
        let first = self.first.ok_or(EncodeError::Empty)?;
        self.end_chunk();
        let footer = Footer {
            partition: self.partition,
            first,
            last: self.last,
            offsets: self.offsets,
            max_timestamp_ms: self.max_timestamp_ms,
            entries: self.entries,
            chunk_crcs: self.chunk_crcs,
            index: self.index,
            terms: self.terms,
            checkpoint: checkpoint.map(|checkpoint| Checkpoint {
                consensus: Bytes::new(),
                ..checkpoint
            }),
            aborted,
        };
        let encoded = footer.encode();
        let trailer = Trailer {
            footer_position: self.position,
            footer_bytes: u32::try_from(encoded.len()).map_err(|_| EncodeError::TooLarge)?,
            footer_crc: crc32c::crc32c(&encoded),
            chunk_bytes: CHUNK_BYTES,
        };
        let end = trailer.encode();
        let mut crc = 0;
        let mut left = self.position;
        for chunk in &footer.chunk_crcs {
            let bytes = left.min(u64::from(CHUNK_BYTES));
            crc = crc32c::crc32c_combine(crc, *chunk, bytes as usize);
            left -= bytes;
        }
        crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &encoded), &end);
        out.push(encoded);
        out.push(end);
        Ok(Finished { footer, trailer, crc })
    }

    fn check(&self, entry: &Entry) -> Result<(), EncodeError> {
        let follows = self.first.is_none()
            || (entry.id.index > self.last.index
                && entry.id.term >= self.last.term
                && entry.base_offset >= self.offsets.end);
        let counted = (entry.kind == EntryKind::Data) == (entry.record_count > 0);
        let ends = entry.base_offset.0 >= 0 && entry.base_offset.checked_add(entry.record_count).is_some();
        if follows && counted && ends && u32::try_from(entry.payload.len()).is_ok() {
            return Ok(());
        }
        Err(EncodeError::OutOfOrder(entry.id))
    }

    /// Takes the entry into the footer.
    fn note(&mut self, entry: &Entry) {
        if self.first.is_none() {
            self.first = Some(entry.id);
            self.offsets = entry.base_offset..entry.base_offset;
        }
        let due = self
            .index
            .last()
            .is_none_or(|point| self.position >= point.position + INDEX_INTERVAL_BYTES);
        if due {
            self.index.push(IndexPoint {
                position: self.position,
                index: entry.id.index,
                offset: entry.base_offset,
                max_timestamp_ms: -1,
            });
        }
        self.last = entry.id;
        self.offsets.end = entry.end_offset();
        self.entries += 1;
        if entry.kind != EntryKind::Data {
            return;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(entry.max_timestamp_ms);
        if let Some(point) = self.index.last_mut() {
            point.max_timestamp_ms = point.max_timestamp_ms.max(entry.max_timestamp_ms);
        }
        match self.terms.last_mut() {
            Some(span) if span.term == entry.id.term => span.offsets.end = entry.end_offset(),
            _ => self.terms.push(TermSpan {
                term: entry.id.term,
                offsets: entry.base_offset..entry.end_offset(),
            }),
        }
    }

    /// Counts and checksums bytes on their way out.
    fn emit(&mut self, bytes: Bytes, out: &mut Vec<Bytes>) {
        self.position += bytes.len() as u64;
        let mut rest: &[u8] = &bytes;
        while !rest.is_empty() {
            let room = (CHUNK_BYTES - self.chunk_bytes) as usize;
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.chunk = crc32c::crc32c_append(self.chunk, now);
            self.chunk_bytes += now.len() as u32;
            if self.chunk_bytes == CHUNK_BYTES {
                self.end_chunk();
            }
            rest = later;
        }
        out.push(bytes);
    }

    fn end_chunk(&mut self) {
        if self.chunk_bytes > 0 {
            self.chunk_crcs.push(self.chunk);
            (self.chunk, self.chunk_bytes) = (0, 0);
        }
    }
}
