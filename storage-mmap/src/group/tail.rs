//! The newest entries of a group, in memory.

use chronik_core::{Entry, LogIndex, Offset};
use std::collections::VecDeque;

/// An entry in memory, with the checksum of its payload.
#[derive(Clone, Debug)]
pub(crate) struct TailEntry {
    pub(crate) entry: Entry,
    pub(crate) crc: u32,
}

impl TailEntry {
    /// What the entry counts for where memory is bounded.
    pub(crate) fn bytes(&self) -> u64 {
        self.entry.payload.len() as u64 + crate::frame::HEADER_BYTES as u64
    }
}

/// A run of entries that ends with the group's last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    entries: VecDeque<TailEntry>,
}

impl Tail {
    pub(crate) fn push(&mut self, entry: TailEntry) {
        if let Some(last) = self.entries.back() {
            assert_eq!(
                entry.entry.id.index,
                last.entry.id.index.next(),
                "the tail has no hole"
            );
        }
        self.entries.push_back(entry);
    }

    /// The first index in the tail, or `None` where it is empty.
    pub(crate) fn first(&self) -> Option<LogIndex> {
        self.entries.front().map(|entry| entry.entry.id.index)
    }

    /// The entries from `index` on; empty where that is below the tail's first.
    pub(crate) fn from(&self, index: LogIndex) -> impl Iterator<Item = &TailEntry> {
        let skip = match self.first() {
            Some(first) if index >= first => {
                usize::try_from(index.0 - first.0).map_or(self.entries.len(), |skip| skip)
            }
            _ => self.entries.len(),
        };
        self.entries.range(skip.min(self.entries.len())..)
    }

    /// The entries from the one that holds `offset` on, where the tail reaches back that far.
    pub(crate) fn at_offset(&self, offset: Offset) -> Option<impl Iterator<Item = &TailEntry>> {
        if self.entries.front()?.entry.base_offset > offset {
            return None;
        }
        let skip = self
            .entries
            .partition_point(|entry| entry.entry.end_offset() <= offset);
        Some(self.entries.range(skip..))
    }

    /// Removes the entries from `index` on; returns them.
    pub(crate) fn truncate(&mut self, index: LogIndex) -> VecDeque<TailEntry> {
        let keep = self.entries.partition_point(|entry| entry.entry.id.index < index);
        self.entries.split_off(keep)
    }

    /// Removes the entries up to `index`; returns how many bytes they counted for.
    pub(crate) fn evict(&mut self, index: LogIndex) -> u64 {
        let count = self
            .entries
            .partition_point(|entry| entry.entry.id.index <= index);
        let bytes = self.entries.drain(..count).map(|entry| entry.bytes()).sum();
        if self.entries.is_empty() {
            // An idle group keeps no room for what it once held.
            self.entries = VecDeque::new();
        }
        bytes
    }

    pub(crate) fn clear(&mut self) {
        self.entries = VecDeque::new();
    }
}
