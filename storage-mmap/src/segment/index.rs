//! The index of a segment: where entries lie, by index, offset and time.
//!
//! A sparse entry stands for about 32 KiB of frames. Sparse entries are collected into blocks that are written into
//! the segment between its entries, so that an active segment can be opened again without reading it, and a
//! large one does not need its whole index in memory. A block repeats the list of all earlier blocks: the newest
//! one, or the footer of a sealed segment, leads to everything.

use crate::codec::{Decoder, Encode, Malformed};
use bytes::Bytes;
use chronik_core::{EntryKind, EntryMeta, LogId, LogIndex, Offset, Term};

/// A sparse entry is made for the first frame after this many bytes.
pub(crate) const SPARSE_BYTES: u64 = 32 << 10;
/// A block is closed when it has this many sparse entries,
const BLOCK_ENTRIES: usize = 128;
/// or covers this many bytes.
const BLOCK_BYTES: u64 = 4 << 20;

const SPARSE_ENCODED: usize = 40;
const BLOCK_ENCODED: usize = 48;
const TERM_ENCODED: usize = 24;

/// A place from which entries can be followed frame by frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sparse {
    pub(crate) index: LogIndex,
    pub(crate) offset: Offset,
    /// Where the frame starts.
    pub(crate) at: u64,
    /// Bytes of payload in the segment before it.
    pub(crate) size_before: u64,
    /// The largest timestamp of data from here to the next sparse entry.
    pub(crate) max_timestamp_ms: i64,
}

/// An index block that has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockRef {
    /// The first sparse entry in it, with the largest timestamp of the whole block.
    pub(crate) first: Sparse,
    /// Where the block's frame starts.
    pub(crate) at: u64,
}

/// The first entry of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TermStart {
    pub(crate) term: Term,
    pub(crate) index: LogIndex,
    pub(crate) offset: Offset,
}

/// The index of one segment as of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    /// The last entry; index 0 where there is none.
    pub(crate) last: LogId,
    pub(crate) end_offset: Offset,
    /// The largest timestamp of data, or -1.
    pub(crate) max_timestamp_ms: i64,
    /// Bytes of payload.
    pub(crate) size_bytes: u64,
    pub(crate) terms: Vec<TermStart>,
    pub(crate) blocks: Vec<BlockRef>,
    /// Sparse entries after the last block.
    pub(crate) partial: Vec<Sparse>,
}

/// Where to start looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Follow the frames from here.
    Frame(Sparse),
    /// Read the block whose frame starts here, and look there.
    Block(u64),
}

impl SegmentIndex {
    /// The index of a segment without entries.
    pub(crate) fn new(base_offset: Offset) -> Self {
        Self {
            end_offset: base_offset,
            max_timestamp_ms: -1,
            ..Self::default()
        }
    }

    /// Takes note of an entry whose frame starts at `at`.
    pub(crate) fn push(&mut self, meta: &EntryMeta, at: u64) {
        let timestamp = data_timestamp(meta);
        match self.partial.last_mut() {
            Some(sparse) if at - sparse.at < SPARSE_BYTES => {
                sparse.max_timestamp_ms = sparse.max_timestamp_ms.max(timestamp);
            }
            _ => self.partial.push(Sparse {
                index: meta.id.index,
                offset: meta.base_offset,
                at,
                size_before: self.size_bytes,
                max_timestamp_ms: timestamp,
            }),
        }
        if self.terms.last().is_none_or(|start| start.term < meta.id.term) {
            self.terms.push(TermStart {
                term: meta.id.term,
                index: meta.id.index,
                offset: meta.base_offset,
            });
        }
        self.last = meta.id;
        self.end_offset = meta.end_offset();
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp);
        self.size_bytes += u64::from(meta.payload_bytes);
    }

    /// Whether the sparse entries should be written as a block, now that the frames reach to `end`.
    pub(crate) fn block_is_due(&self, end: u64) -> bool {
        let Some(first) = self.partial.first() else {
            return false;
        };
        self.partial.len() >= BLOCK_ENTRIES || end - first.at >= BLOCK_BYTES
    }

    /// The sparse entries were written as a block whose frame starts at `at`.
    pub(crate) fn block_written(&mut self, at: u64) {
        if let Some(block) = block_of(&self.partial, at) {
            self.blocks.push(block);
            self.partial.clear();
        }
    }

    /// Where to start looking for the last thing that is at or before what `is_after` is not true of.
    pub(crate) fn seek(&self, is_after: impl Fn(&Sparse) -> bool) -> Option<Hint> {
        if let Some(sparse) = last_before(&self.partial, &is_after) {
            return Some(Hint::Frame(sparse));
        }
        let place = self.blocks.partition_point(|block| !is_after(&block.first));
        let block = self.blocks.get(place.checked_sub(1)?)?;
        Some(Hint::Block(block.at))
    }

    /// Whether two indexes describe the same entries.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        self == other
    }

    /// The payload of a block or a footer.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(
            64 + self.terms.len() * TERM_ENCODED
                + self.blocks.len() * BLOCK_ENCODED
                + self.partial.len() * SPARSE_ENCODED,
        );
        out.put_u64(self.last.index.0);
        out.put_u64(self.last.term.0);
        out.put_i64(self.end_offset.0);
        out.put_i64(self.max_timestamp_ms);
        out.put_u64(self.size_bytes);
        out.put_count(self.terms.len());
        for start in &self.terms {
            out.put_u64(start.term.0);
            out.put_u64(start.index.0);
            out.put_i64(start.offset.0);
        }
        out.put_count(self.blocks.len());
        for block in &self.blocks {
            out.put_u64(block.at);
            put_sparse(&mut out, &block.first);
        }
        out.put_count(self.partial.len());
        for sparse in &self.partial {
            put_sparse(&mut out, sparse);
        }
        out.into()
    }

    /// Reads what [`SegmentIndex::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(bytes);
        let index = LogIndex(decoder.u64()?);
        let mut decoded = Self {
            last: LogId {
                term: Term(decoder.u64()?),
                index,
            },
            end_offset: Offset(decoder.i64()?),
            max_timestamp_ms: decoder.i64()?,
            size_bytes: decoder.u64()?,
            ..Self::default()
        };
        for _ in 0..decoder.count(TERM_ENCODED)? {
            decoded.terms.push(TermStart {
                term: Term(decoder.u64()?),
                index: LogIndex(decoder.u64()?),
                offset: Offset(decoder.i64()?),
            });
        }
        for _ in 0..decoder.count(BLOCK_ENCODED)? {
            decoded.blocks.push(BlockRef {
                at: decoder.u64()?,
                first: get_sparse(&mut decoder)?,
            });
        }
        for _ in 0..decoder.count(SPARSE_ENCODED)? {
            decoded.partial.push(get_sparse(&mut decoder)?);
        }
        decoder.end()?;
        Ok(decoded)
    }
}

/// The block that sparse entries make when they are written at `at`.
fn block_of(partial: &[Sparse], at: u64) -> Option<BlockRef> {
    let mut first = *partial.first()?;
    for sparse in partial {
        first.max_timestamp_ms = first.max_timestamp_ms.max(sparse.max_timestamp_ms);
    }
    Some(BlockRef { first, at })
}

/// The last sparse entry that `is_after` is not true of.
pub(crate) fn last_before(sparse: &[Sparse], is_after: impl Fn(&Sparse) -> bool) -> Option<Sparse> {
    let place = sparse.partition_point(|entry| !is_after(entry));
    sparse.get(place.checked_sub(1)?).copied()
}

/// The timestamp of an entry as far as time lookup goes: only data has one.
pub(crate) fn data_timestamp(meta: &EntryMeta) -> i64 {
    if meta.kind == EntryKind::Data {
        meta.max_timestamp_ms
    } else {
        -1
    }
}

fn put_sparse(out: &mut Vec<u8>, sparse: &Sparse) {
    out.put_u64(sparse.index.0);
    out.put_i64(sparse.offset.0);
    out.put_u64(sparse.at);
    out.put_u64(sparse.size_before);
    out.put_i64(sparse.max_timestamp_ms);
}

fn get_sparse(decoder: &mut Decoder<'_>) -> Result<Sparse, Malformed> {
    Ok(Sparse {
        index: LogIndex(decoder.u64()?),
        offset: Offset(decoder.i64()?),
        at: decoder.u64()?,
        size_before: decoder.u64()?,
        max_timestamp_ms: decoder.i64()?,
    })
}
