//! The head of a manifest.

use super::Fence;
use crate::codec::{Decoder, Encode, Malformed, sealed, unsealed};
use crate::key::PartitionKey;
use crate::state::{SegmentMeta, TierEnd};
use bytes::{BufMut, Bytes};
use chronik_core::Offset;
use std::ops::Range;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"CHRTHED1";
const VERSION: u16 = 1;

/// A page that a head refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRef {
    /// The offsets of its segments.
    pub offsets: Range<Offset>,
    /// Its checksum, which is part of its name.
    pub crc: u32,
}

/// The head of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Under which right it was written.
    pub fence: Fence,
    /// Rises with every write of the head.
    pub sequence: u64,
    /// Drawn for every write: no two writers ever write the same bytes.
    pub nonce: u64,
    /// Whose manifest it is.
    pub partition: PartitionKey,
    /// The version of the state that it is a copy of.
    pub state_version: u64,
    /// Up to where everything was uploaded.
    pub end: TierEnd,
    /// Segments that end at or below this offset are not part of the state, though a page has them.
    pub start: Offset,
    /// Pages of older segments, oldest first.
    pub pages: Vec<PageRef>,
    /// The newest segments.
    pub segments: Vec<Arc<SegmentMeta>>,
}

impl PageRef {
    const BYTES: usize = 20;

    /// The page's key.
    #[must_use]
    pub fn key(&self, partition: PartitionKey) -> String {
        let (start, end) = (self.offsets.start.0, self.offsets.end.0);
        format!(
            "{}/{start:020}-{end:020}-{:08x}.page",
            super::pages_folder(partition),
            self.crc
        )
    }
}

impl Head {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(256 + self.segments.len() * 128);
        out.put_slice(MAGIC);
        out.put_u16_le(VERSION);
        self.fence.put(&mut out);
        out.put_u64_le(self.sequence);
        out.put_u64_le(self.nonce);
        out.put_u128_le(self.partition.topic_id);
        out.put_u32_le(self.partition.partition);
        out.put_u64_le(self.state_version);
        out.put_log_id(self.end.last);
        out.put_i64_le(self.end.offset.0);
        out.put_i64_le(self.start.0);
        out.put_count(self.pages.len());
        for page in &self.pages {
            out.put_offsets(&page.offsets);
            out.put_u32_le(page.crc);
        }
        out.put_count(self.segments.len());
        self.segments.iter().for_each(|segment| segment.put(&mut out));
        sealed(out)
    }

    /// Reads a head.
    ///
    /// # Errors
    /// `Malformed`, also where it is another partition's.
    pub fn decode(bytes: &Bytes, partition: PartitionKey) -> Result<Self, Malformed> {
        let head = Self::parse(bytes, partition)?;
        head.check()?;
        Ok(head)
    }

    /// Reads a head whose segments may contradict each other.
    pub(super) fn parse(bytes: &Bytes, partition: PartitionKey) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(unsealed(bytes)?);
        if decoder.bytes(MAGIC.len())?.as_ref() != MAGIC {
            return Err(Malformed("it is no manifest"));
        }
        if decoder.u16()? != VERSION {
            return Err(Malformed("the manifest is of an unknown version"));
        }
        let mut head = Self {
            fence: Fence::take(&mut decoder)?,
            sequence: decoder.u64()?,
            nonce: decoder.u64()?,
            partition: PartitionKey {
                topic_id: decoder.u128()?,
                partition: decoder.u32()?,
            },
            state_version: decoder.u64()?,
            end: TierEnd {
                last: decoder.log_id()?,
                offset: Offset(decoder.i64()?),
            },
            start: Offset(decoder.i64()?),
            pages: Vec::new(),
            segments: Vec::new(),
        };
        for _ in 0..decoder.count(PageRef::BYTES)? {
            let offsets = decoder.offsets()?;
            head.pages.push(PageRef {
                offsets,
                crc: decoder.u32()?,
            });
        }
        for _ in 0..decoder.count(SegmentMeta::BYTES_MIN)? {
            head.segments.push(Arc::new(SegmentMeta::take(&mut decoder)?));
        }
        decoder.end()?;
        if head.partition != partition {
            return Err(Malformed("the manifest is another partition's"));
        }
        Ok(head)
    }

    fn check(&self) -> Result<(), Malformed> {
        SegmentMeta::check_chain(&self.segments)?;
        let mut next = None;
        let first = self.segments.first().map(|segment| &segment.offsets);
        for offsets in self.pages.iter().map(|page| &page.offsets).chain(first) {
            if next.is_some_and(|next| next != offsets.start) || offsets.is_empty() {
                return Err(Malformed("the pages do not follow each other"));
            }
            next = Some(offsets.end);
        }
        let last = self.segments.last().map(|segment| segment.offsets.end).or(next);
        match last.is_some_and(|last| last != self.end.offset) {
            true => Err(Malformed("the manifest does not end with its last segment")),
            false => Ok(()),
        }
    }
}
