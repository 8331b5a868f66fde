//! Payloads that say where they belong: frames with the number of their proposal, and the place that the engine
//! stamps into them.

use bytes::{BufMut, BytesMut};
use chronik_core::consensus::Stamper;
use chronik_core::{EntryKind, Offset, Proposal, Term};

/// Bytes of a frame before its filling: length, records, stream, number, base offset, term.
const HEAD: usize = 4 + 4 + 8 + 8 + 8 + 8;

/// The name of a proposal: a stream of calls on one handle, and its number in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ProposalId {
    pub(super) stream: u64,
    pub(super) number: u64,
}

/// One proposal as it stands in an entry; an entry may hold several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) id: ProposalId,
    pub(super) records: u32,
    pub(super) base_offset: i64,
    pub(super) term: u64,
}

/// A proposal of `size` bytes beyond its head.
pub(super) fn proposal(id: ProposalId, records: u32, size: usize) -> Proposal {
    let mut payload = BytesMut::with_capacity(HEAD + size);
    payload.put_u32(u32::try_from(HEAD + size).unwrap_or(u32::MAX));
    payload.put_u32(records);
    payload.put_u64(id.stream);
    payload.put_u64(id.number);
    payload.put_i64(-1);
    payload.put_u64(0);
    payload.resize(HEAD + size, 0xa5);
    Proposal {
        kind: if records > 0 {
            EntryKind::Data
        } else {
            EntryKind::Command
        },
        payload,
        record_count: records,
        max_timestamp_ms: if records > 0 { 1 } else { -1 },
    }
}

/// The frames of an entry's payload; `None` where the bytes are none.
pub(super) fn frames(payload: &[u8]) -> Option<Vec<Frame>> {
    let mut found = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let length = usize::try_from(number_at::<4>(rest, 0)?).ok()?;
        let frame = rest.get(..length).filter(|_| length >= HEAD)?;
        if frame.get(HEAD..)?.iter().any(|byte| *byte != 0xa5) {
            return None;
        }
        found.push(Frame {
            id: ProposalId {
                stream: number_at::<8>(frame, 8)?,
                number: number_at::<8>(frame, 16)?,
            },
            records: u32::try_from(number_at::<4>(frame, 4)?).ok()?,
            base_offset: number_at::<8>(frame, 24)?.cast_signed(),
            term: number_at::<8>(frame, 32)?,
        });
        rest = rest.get(length..)?;
    }
    Some(found)
}

fn number_at<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at + N)?;
    Some(field.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// Stamps every frame of a payload.
#[derive(Debug)]
pub(super) struct FrameStamper;

impl Stamper for FrameStamper {
    fn stamp(&self, payload: &mut BytesMut, base_offset: Offset, term: Term) {
        let (mut at, mut offset) = (0, base_offset.0);
        while let (Some(length), Some(records)) =
            (number_at::<4>(payload, at), number_at::<4>(payload, at + 4))
        {
            if let Some(field) = payload.get_mut(at + 24..at + 32) {
                field.copy_from_slice(&offset.to_be_bytes());
            }
            if let Some(field) = payload.get_mut(at + 32..at + 40) {
                field.copy_from_slice(&term.0.to_be_bytes());
            }
            offset += i64::try_from(records).unwrap_or(0);
            at += usize::try_from(length).unwrap_or(usize::MAX / 2).max(HEAD);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_proposals_in_one_payload_are_stamped_one_after_the_other() {
        let id = |number| ProposalId { stream: 7, number };
        let mut payload = proposal(id(1), 3, 10).payload;
        payload.extend_from_slice(&proposal(id(2), 1, 0).payload);
        FrameStamper.stamp(&mut payload, Offset(40), Term(5));
        let found = frames(&payload).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].base_offset, found[1].base_offset), (40, 43));
        assert!(found.iter().all(|frame| frame.term == 5));
        assert_eq!(found[1].id, id(2));
        payload.truncate(60);
        assert_eq!(frames(&payload), None);
    }
}
