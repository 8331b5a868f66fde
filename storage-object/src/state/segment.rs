//! One segment in the tier: what is known of it without reading its object.

use crate::codec::{Decoder, Encode, Malformed};
use crate::format::{Finished, TermSpan};
use crate::key::{PartitionKey, SegmentKey};
use bytes::BufMut;
use chronik_core::{LogId, Offset};
use std::ops::Range;
use std::sync::Arc;

/// One segment in the tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Its first entry.
    pub first: LogId,
    /// Its last entry.
    pub last: LogId,
    /// The offsets in it.
    pub offsets: Range<Offset>,
    /// The largest timestamp of its records, or -1.
    pub max_timestamp_ms: i64,
    /// The length of its object.
    pub object_bytes: u64,
    /// Where in the object the footer starts.
    pub footer_position: u64,
    /// The checksum of the whole object, which is part of its name.
    pub crc: u32,
    /// The salt of its name.
    pub salt: u32,
    /// Its terms with records.
    pub terms: Vec<TermSpan>,
}

impl SegmentMeta {
    /// The fewest bytes that one takes.
    pub(crate) const BYTES_MIN: usize = 84;

    /// What the encoder knows at the end of an object.
    #[must_use]
    pub fn of(finished: &Finished, salt: u32) -> Self {
        let footer = &finished.footer;
        Self {
            first: footer.first,
            last: footer.last,
            offsets: footer.offsets.clone(),
            max_timestamp_ms: footer.max_timestamp_ms,
            object_bytes: finished.trailer.object_bytes(),
            footer_position: finished.trailer.footer_position,
            crc: finished.crc,
            salt,
            terms: footer.terms.clone(),
        }
    }

    /// The name of its object.
    #[must_use]
    pub fn key(&self, partition: PartitionKey) -> SegmentKey {
        SegmentKey {
            partition,
            offsets: self.offsets.clone(),
            last: self.last,
            crc: self.crc,
            salt: self.salt,
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_log_id(self.first);
        out.put_log_id(self.last);
        out.put_offsets(&self.offsets);
        out.put_i64_le(self.max_timestamp_ms);
        out.put_u64_le(self.object_bytes);
        out.put_u64_le(self.footer_position);
        out.put_u32_le(self.crc);
        out.put_u32_le(self.salt);
        out.put_count(self.terms.len());
        self.terms.iter().for_each(|span| span.put(out));
    }

    pub(crate) fn take(decoder: &mut Decoder) -> Result<Self, Malformed> {
        let mut segment = Self {
            first: decoder.log_id()?,
            last: decoder.log_id()?,
            offsets: decoder.offsets()?,
            max_timestamp_ms: decoder.i64()?,
            object_bytes: decoder.u64()?,
            footer_position: decoder.u64()?,
            crc: decoder.u32()?,
            salt: decoder.u32()?,
            terms: Vec::new(),
        };
        for _ in 0..decoder.count(TermSpan::BYTES)? {
            segment.terms.push(TermSpan::take(decoder)?);
        }
        TermSpan::check(&segment.terms, &segment.offsets)?;
        let backwards = segment.first.index > segment.last.index || segment.first.term > segment.last.term;
        if backwards || segment.offsets.is_empty() || segment.footer_position >= segment.object_bytes {
            return Err(Malformed("a segment's numbers cannot be"));
        }
        Ok(segment)
    }

    /// Segments follow each other without a gap or an overlap.
    pub(crate) fn check_chain(segments: &[Arc<Self>]) -> Result<(), Malformed> {
        let broken = segments.windows(2).any(|pair| match pair {
            [before, after] => {
                before.offsets.end != after.offsets.start || before.last.index >= after.first.index
            }
            _ => false,
        });
        match broken {
            true => Err(Malformed("segments do not follow each other")),
            false => Ok(()),
        }
    }
}
