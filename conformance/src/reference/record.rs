//! What stands in the journal: one record for every call that changes something.

use super::codec::{Decoder, Encoder};
use crate::model::GroupModel;
use bytes::Bytes;
use chronik_core::log_store::{Checkpoint, HardState, Purge, SegmentPolicy};
use chronik_core::{Entry, EntryKind, GroupId, LogId, LogIndex, Offset, ReplicaId, Term};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) group: GroupId,
    pub(super) change: Change,
}

/// A change of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Create(SegmentPolicy),
    Append(Entry),
    Truncate(LogIndex),
    Purge(Purge),
    HardState(HardState),
    Checkpoint(Checkpoint),
    CommitHint(LogIndex),
    Roll(SegmentPolicy, bool),
    Remove,
    /// The log is empty after this entry and continues at this offset; only a mutant writes it.
    Restart(LogId, Offset),
    /// Nothing: proves that all before it was synced.
    Close,
}

impl Change {
    /// Applies the change to a group; creation, removal and closing are the store's.
    pub(super) fn apply(self, model: &mut GroupModel) {
        match self {
            Self::Append(entry) => model.append(entry),
            Self::Truncate(from) => model.truncate(from),
            Self::Purge(purge) => model.purge(&purge),
            Self::HardState(state) => model.set_hard_state(state),
            Self::Checkpoint(checkpoint) => model.set_checkpoint(checkpoint),
            Self::CommitHint(index) => model.set_commit_hint(index),
            Self::Roll(policy, now) => model.roll(policy, now),
            Self::Restart(last, offset) => model.restart(last, offset),
            Self::Create(_) | Self::Remove | Self::Close => {}
        }
    }
}

fn put_id(to: &mut Encoder, id: LogId) -> &mut Encoder {
    to.u64(id.term.0).u64(id.index.0)
}

fn take_id(from: &mut Decoder) -> Option<LogId> {
    Some(LogId::new(from.u64()?, from.u64()?))
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut to = Encoder::default();
        to.u64(self.group.0);
        match &self.change {
            Change::Create(policy) => to.u8(1).u64(policy.segment_bytes),
            Change::Append(entry) => put_id(to.u8(2), entry.id)
                .u8(entry.kind as u8)
                .i64(entry.base_offset.0)
                .u32(entry.record_count)
                .i64(entry.max_timestamp_ms)
                .rest(&entry.payload),
            Change::Truncate(from) => to.u8(3).u64(from.0),
            Change::Purge(purge) => put_id(to.u8(4), purge.through).i64(purge.offset_start.0),
            Change::HardState(state) => to
                .u8(5)
                .u64(state.term.0)
                .u8(u8::from(state.vote.is_some()))
                .u64(state.vote.unwrap_or_default().0),
            Change::Checkpoint(checkpoint) => put_id(to.u8(6), checkpoint.at)
                .i64(checkpoint.next_offset.0)
                .prefixed(&checkpoint.consensus)
                .rest(&checkpoint.data),
            Change::CommitHint(index) => to.u8(7).u64(index.0),
            Change::Roll(policy, now) => to.u8(8).u64(policy.segment_bytes).u8(u8::from(*now)),
            Change::Remove => to.u8(9),
            Change::Close => to.u8(10),
            Change::Restart(last, offset) => put_id(to.u8(11), *last).i64(offset.0),
        };
        to.bytes
    }

    pub(super) fn decode(bytes: Bytes) -> Option<Self> {
        let mut from = Decoder { bytes };
        let group = GroupId(from.u64()?);
        let change = match from.u8()? {
            1 => Change::Create(SegmentPolicy {
                segment_bytes: from.u64()?,
            }),
            2 => Change::Append(Entry {
                id: take_id(&mut from)?,
                kind: EntryKind::from_u8(from.u8()?)?,
                base_offset: Offset(from.i64()?),
                record_count: from.u32()?,
                max_timestamp_ms: from.i64()?,
                payload: from.rest(),
            }),
            3 => Change::Truncate(LogIndex(from.u64()?)),
            4 => Change::Purge(Purge {
                through: take_id(&mut from)?,
                offset_start: Offset(from.i64()?),
            }),
            5 => {
                let (term, voted, vote) = (Term(from.u64()?), from.u8()? == 1, from.u64()?);
                let vote = voted.then_some(ReplicaId(vote));
                Change::HardState(HardState { term, vote })
            }
            6 => Change::Checkpoint(Checkpoint {
                at: take_id(&mut from)?,
                next_offset: Offset(from.i64()?),
                consensus: from.prefixed()?,
                data: from.rest(),
            }),
            7 => Change::CommitHint(LogIndex(from.u64()?)),
            8 => {
                let policy = SegmentPolicy {
                    segment_bytes: from.u64()?,
                };
                Change::Roll(policy, from.u8()? == 1)
            }
            9 => Change::Remove,
            10 => Change::Close,
            11 => Change::Restart(take_id(&mut from)?, Offset(from.i64()?)),
            _ => return None,
        };
        Some(Self { group, change })
    }
}
