//! Log entries: an opaque payload with the few numbers that a store needs to find it again.

use crate::ids::{LogId, Offset};
use bytes::Bytes;

/// What an entry is for. Only [`EntryKind::Data`] occupies Kafka offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// Client records: one or more Kafka v2 record batches, bytes as the client sent them but for the stamp.
    Data = 1,
    /// A new leader's first entry; carries nothing.
    Blank = 2,
    /// A membership configuration, encoded by the consensus backend's adapter.
    Membership = 3,
    /// A command to the group's state machine (retention, roll, tier, metadata).
    Command = 4,
}

impl EntryKind {
    /// The kind with the number `value`, or `None` for a number that no kind has.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Data),
            2 => Some(Self::Blank),
            3 => Some(Self::Membership),
            4 => Some(Self::Command),
            _ => None,
        }
    }
}

/// The numbers of an entry without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryMeta {
    /// Term and index.
    pub id: LogId,
    /// What the entry is for.
    pub kind: EntryKind,
    /// The Kafka offset of the first record; for entries without records, the offset the next record will get.
    pub base_offset: Offset,
    /// How many Kafka offsets the entry occupies; 0 for every kind but data.
    pub record_count: u32,
    /// The largest record timestamp in milliseconds since the epoch, or -1 where there is none.
    pub max_timestamp_ms: i64,
    /// The length of the payload.
    pub payload_bytes: u32,
}

impl EntryMeta {
    /// The offset after the last record of this entry.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        Offset(self.base_offset.0 + i64::from(self.record_count))
    }
}

/// One entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Term and index.
    pub id: LogId,
    /// What the entry is for.
    pub kind: EntryKind,
    /// The Kafka offset of the first record; for entries without records, the offset the next record will get.
    pub base_offset: Offset,
    /// How many Kafka offsets the entry occupies; 0 for every kind but data.
    pub record_count: u32,
    /// The largest record timestamp in milliseconds since the epoch, or -1 where there is none.
    pub max_timestamp_ms: i64,
    /// The bytes, opaque to a store.
    pub payload: Bytes,
}

impl Entry {
    /// The numbers of this entry.
    #[must_use]
    pub fn meta(&self) -> EntryMeta {
        EntryMeta {
            id: self.id,
            kind: self.kind,
            base_offset: self.base_offset,
            record_count: self.record_count,
            max_timestamp_ms: self.max_timestamp_ms,
            payload_bytes: u32::try_from(self.payload.len()).unwrap_or(u32::MAX),
        }
    }

    /// The offset after the last record of this entry.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        Offset(self.base_offset.0 + i64::from(self.record_count))
    }
}
