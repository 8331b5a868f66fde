//! What the footer holds many of: index points, terms, aborted transactions.

use crate::codec::{Decoder, Encode, Malformed};
use bytes::BufMut;
use chronik_core::{LogIndex, Offset, Term};
use std::ops::Range;

/// Where frames can be read from without reading those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexPoint {
    /// The position of a frame in the object.
    pub position: u64,
    /// The frame's entry.
    pub index: LogIndex,
    /// The offset of its first record, or the one that the next record gets.
    pub offset: Offset,
    /// The largest timestamp of the data entries from here to the next point, or -1.
    pub max_timestamp_ms: i64,
}

/// The data entries of one term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermSpan {
    /// The term.
    pub term: Term,
    /// From its first data entry's first offset to the one after its last data entry.
    pub offsets: Range<Offset>,
}

/// Records of a producer that were rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTxn {
    /// The producer.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: Offset,
    /// The record that ends the transaction.
    pub last_offset: Offset,
    /// The last stable offset when it ended.
    pub last_stable_offset: Offset,
}

impl IndexPoint {
    pub(super) const BYTES: usize = 32;

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.position);
        out.put_u64_le(self.index.0);
        out.put_i64_le(self.offset.0);
        out.put_i64_le(self.max_timestamp_ms);
    }

    pub(super) fn take(decoder: &mut Decoder) -> Result<Self, Malformed> {
        Ok(Self {
            position: decoder.u64()?,
            index: LogIndex(decoder.u64()?),
            offset: Offset(decoder.i64()?),
            max_timestamp_ms: decoder.i64()?,
        })
    }
}

impl TermSpan {
    pub(crate) const BYTES: usize = 24;

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.term.0);
        out.put_offsets(&self.offsets);
    }

    pub(crate) fn take(decoder: &mut Decoder) -> Result<Self, Malformed> {
        Ok(Self {
            term: Term(decoder.u64()?),
            offsets: decoder.offsets()?,
        })
    }

    /// Terms in rising order, each with records, all within `offsets`.
    pub(crate) fn check(terms: &[Self], offsets: &Range<Offset>) -> Result<(), Malformed> {
        let mut floor = offsets.start;
        let mut last = None;
        for span in terms {
            if last >= Some(span.term) || span.offsets.start < floor || span.offsets.is_empty() {
                return Err(Malformed("the terms are out of order"));
            }
            floor = span.offsets.end;
            last = Some(span.term);
        }
        if floor > offsets.end {
            return Err(Malformed("the terms reach beyond the segment"));
        }
        Ok(())
    }
}

impl AbortedTxn {
    pub(super) const BYTES: usize = 32;

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_i64_le(self.producer_id);
        out.put_i64_le(self.first_offset.0);
        out.put_i64_le(self.last_offset.0);
        out.put_i64_le(self.last_stable_offset.0);
    }

    pub(super) fn take(decoder: &mut Decoder) -> Result<Self, Malformed> {
        Ok(Self {
            producer_id: decoder.i64()?,
            first_offset: Offset(decoder.i64()?),
            last_offset: Offset(decoder.i64()?),
            last_stable_offset: Offset(decoder.i64()?),
        })
    }
}
