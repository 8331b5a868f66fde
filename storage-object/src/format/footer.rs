//! The footer: what the object holds, and where.

use super::sections::{AbortedTxn, IndexPoint, TermSpan};
use super::{OBJECT_HEADER, Trailer};
use crate::codec::{Decoder, Encode, Malformed};
use crate::key::PartitionKey;
use bytes::{BufMut, Bytes};
use chronik_core::log_store::Checkpoint;
use chronik_core::{LogId, Offset};
use std::ops::Range;

/// What an object says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Whose entries these are.
    pub partition: PartitionKey,
    /// The first entry.
    pub first: LogId,
    /// The last entry.
    pub last: LogId,
    /// The offsets in it.
    pub offsets: Range<Offset>,
    /// The largest timestamp of its data entries, or -1.
    pub max_timestamp_ms: i64,
    /// How many entries there are, of all kinds.
    pub entries: u64,
    /// A checksum for each chunk of the bytes before the footer.
    pub chunk_crcs: Vec<u32>,
    /// Places to start reading from, by position.
    pub index: Vec<IndexPoint>,
    /// The terms with data entries.
    pub terms: Vec<TermSpan>,
    /// The partition's state as of the last entry, or as of an earlier one where there is none of the last. Without the
    /// consensus engine's part: members of a cluster that is gone are of no use to the next one.
    pub checkpoint: Option<Checkpoint>,
    /// Transactions in it that were rolled back.
    pub aborted: Vec<AbortedTxn>,
}

impl Footer {
    pub(super) fn encode(&self) -> Bytes {
        let mut out =
            Vec::with_capacity(256 + self.chunk_crcs.len() * 4 + self.index.len() * IndexPoint::BYTES);
        out.put_u128_le(self.partition.topic_id);
        out.put_u32_le(self.partition.partition);
        out.put_log_id(self.first);
        out.put_log_id(self.last);
        out.put_offsets(&self.offsets);
        out.put_i64_le(self.max_timestamp_ms);
        out.put_u64_le(self.entries);
        out.put_count(self.chunk_crcs.len());
        self.chunk_crcs.iter().for_each(|crc| out.put_u32_le(*crc));
        out.put_count(self.index.len());
        self.index.iter().for_each(|point| point.put(&mut out));
        out.put_count(self.terms.len());
        self.terms.iter().for_each(|span| span.put(&mut out));
        out.put_u8(u8::from(self.checkpoint.is_some()));
        if let Some(checkpoint) = &self.checkpoint {
            out.put_log_id(checkpoint.at);
            out.put_i64_le(checkpoint.next_offset.0);
            out.put_count(checkpoint.data.len());
            out.put_slice(&checkpoint.data);
        }
        out.put_count(self.aborted.len());
        self.aborted.iter().for_each(|txn| txn.put(&mut out));
        out.into()
    }

    /// Reads the footer of the object that `trailer` belongs to.
    ///
    /// # Errors
    /// `Malformed`, also where its parts contradict each other or the trailer.
    pub fn decode(bytes: &Bytes, trailer: &Trailer) -> Result<Self, Malformed> {
        if bytes.len() != trailer.footer_bytes as usize || crc32c::crc32c(bytes) != trailer.footer_crc {
            return Err(Malformed("the footer does not match its checksum"));
        }
        let mut decoder = Decoder::new(bytes.clone());
        let footer = Self {
            partition: PartitionKey {
                topic_id: decoder.u128()?,
                partition: decoder.u32()?,
            },
            first: decoder.log_id()?,
            last: decoder.log_id()?,
            offsets: decoder.offsets()?,
            max_timestamp_ms: decoder.i64()?,
            entries: decoder.u64()?,
            chunk_crcs: many(&mut decoder, 4, Decoder::u32)?,
            index: many(&mut decoder, IndexPoint::BYTES, IndexPoint::take)?,
            terms: many(&mut decoder, TermSpan::BYTES, TermSpan::take)?,
            checkpoint: checkpoint(&mut decoder)?,
            aborted: many(&mut decoder, AbortedTxn::BYTES, AbortedTxn::take)?,
        };
        decoder.end()?;
        footer.check(trailer)?;
        Ok(footer)
    }

    /// Holds the parts against each other.
    fn check(&self, trailer: &Trailer) -> Result<(), Malformed> {
        if self.first.index > self.last.index || self.first.term > self.last.term || self.entries == 0 {
            return Err(Malformed("the entries are backwards"));
        }
        if self.chunk_crcs.len() as u64 != trailer.chunks() {
            return Err(Malformed("there is not one checksum for each chunk"));
        }
        let mut before: Option<&IndexPoint> = None;
        for point in &self.index {
            let follows = before.map_or(point.position == OBJECT_HEADER.len() as u64, |before| {
                point.position > before.position
                    && point.index > before.index
                    && point.offset >= before.offset
            });
            if !follows || point.position >= trailer.footer_position {
                return Err(Malformed("the index is out of order"));
            }
            before = Some(point);
        }
        if self.index.is_empty() {
            return Err(Malformed("the index is empty"));
        }
        if self
            .checkpoint
            .as_ref()
            .is_some_and(|c| c.at.index > self.last.index)
        {
            return Err(Malformed("the state is of a later entry"));
        }
        TermSpan::check(&self.terms, &self.offsets)
    }

    /// The checksum of the chunk with this number.
    #[must_use]
    pub fn chunk_crc(&self, chunk: u64) -> Option<u32> {
        self.chunk_crcs.get(usize::try_from(chunk).ok()?).copied()
    }

    /// The last point from which reading meets the entry that holds `offset`, and the place where the point after it
    /// starts, which is at most `body_end`.
    #[must_use]
    pub fn point_of_offset(&self, offset: Offset) -> &IndexPoint {
        // Entries without records share the offset of the next record, so that the last point at or below is right.
        let after = self.index.partition_point(|point| point.offset <= offset);
        &self.index[after.saturating_sub(1)]
    }

    /// The first point whose entries reach the time.
    #[must_use]
    pub fn point_of_time(&self, timestamp_ms: i64) -> Option<&IndexPoint> {
        self.index
            .iter()
            .find(|point| point.max_timestamp_ms >= timestamp_ms)
    }
}

fn many<T>(
    decoder: &mut Decoder,
    each_bytes: usize,
    take: impl Fn(&mut Decoder) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = decoder.count(each_bytes)?;
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(take(decoder)?);
    }
    Ok(all)
}

fn checkpoint(decoder: &mut Decoder) -> Result<Option<Checkpoint>, Malformed> {
    if !decoder.flag()? {
        return Ok(None);
    }
    let at = decoder.log_id()?;
    let next_offset = Offset(decoder.i64()?);
    let len = decoder.count(1)?;
    Ok(Some(Checkpoint {
        at,
        next_offset,
        data: decoder.bytes(len)?,
        consensus: Bytes::new(),
    }))
}
