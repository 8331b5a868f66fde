//! Where a group's log stands, and how appends, truncations and purges change that. No function here touches the
//! disk.

use super::seg::{Disk, Seg};
use super::tail::{Tail, TailEntry};
use super::terms::Terms;
use crate::journal::group_image::{CheckpointNote, Roll, Start};
use crate::segment::index::SegmentIndex;
use bytes::Bytes;
use chronik_core::log_store::{HardState, LogState, Purge, SegmentPolicy};
use chronik_core::{LogId, LogIndex, Offset, Term};
use std::collections::VecDeque;

/// A checkpoint that the group keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointRef {
    pub(crate) at: LogId,
    pub(crate) next_offset: Offset,
    pub(crate) bytes: u32,
    pub(crate) crc: u32,
    /// The data, until it lies in a file of its own.
    pub(crate) data: Option<Bytes>,
    /// Whether its journal record is durable.
    pub(crate) durable: bool,
    /// Which call saved it: a second one at the same entry takes its place. 0 for those that were recovered.
    pub(crate) call: u64,
}

/// Where a segment's file has to be cut before it takes entries again.
#[derive(Clone, Debug)]
pub(crate) struct Rewind {
    pub(crate) base: LogIndex,
    /// The index of what stays.
    pub(crate) index: SegmentIndex,
    /// The byte after the last frame that stays.
    pub(crate) end: u64,
    /// The checksum of that frame's header.
    pub(crate) chain: u32,
}

/// The state of a group.
#[derive(Debug, Default)]
pub(crate) struct GroupState {
    pub(crate) purged: LogId,
    pub(crate) last: LogId,
    pub(crate) durable: LogIndex,
    pub(crate) offset_start: Offset,
    pub(crate) offset_end: Offset,
    pub(crate) hard_state: HardState,
    pub(crate) commit_hint: LogIndex,
    /// How often the log was truncated.
    pub(crate) truncations: u32,
    /// Truncations that are not durable yet: the number of each, and the last entry that it left.
    pub(crate) cuts: Vec<(u32, LogIndex)>,
    /// Grows whenever bytes of an open segment may be written over; readers of such bytes look at it afterwards.
    pub(crate) rewrites: u64,
    pub(crate) start: Start,
    pub(crate) segment_bytes: u64,
    /// Decisions that recovery still has to apply, by the entry after which they count.
    pub(crate) rolls: VecDeque<Roll>,
    pub(crate) terms: Terms,
    pub(crate) segs: VecDeque<Seg>,
    pub(crate) tail: Tail,
    /// The last entry that lies in a segment file, synced or not.
    pub(crate) copied: LogIndex,
    /// Bytes of entries after `copied`.
    pub(crate) uncopied_bytes: u64,
    pub(crate) rewind: Option<Rewind>,
    pub(crate) checkpoints: Vec<CheckpointRef>,
    /// How many checkpoints were saved since the store was opened.
    pub(crate) checkpoint_calls: u64,
    pub(crate) open: bool,
    pub(crate) removed: bool,
    pub(crate) readers: Readers,
    /// Whether the group waits in the queue of those to copy.
    pub(crate) queued: bool,
}

/// Who reads what is new.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readers {
    /// Whether this is where they read.
    pub(crate) expected: bool,
    /// How many bytes were written to segments since somebody read by offset; nobody did since the group was opened where
    /// there is nothing.
    written_since: Option<u64>,
}

/// For how much a reader counts where readers are expected: one may have stopped for a while.
const EXPECTED_FOR_BYTES: u64 = 1 << 30;
/// For how much a reader counts elsewhere: it may come in steps.
const RECENT_BYTES: u64 = 64 << 20;

impl Default for Readers {
    fn default() -> Self {
        Self {
            expected: true,
            written_since: None,
        }
    }
}

impl Readers {
    /// Somebody reads.
    pub(crate) fn came(&mut self) {
        self.written_since = Some(0);
    }

    /// Bytes were written.
    pub(crate) fn note_written(&mut self, bytes: u64) {
        self.written_since = self.written_since.map(|since| since.saturating_add(bytes));
    }

    /// Whether nobody will read soon what is written now.
    pub(crate) fn are_away(&self) -> bool {
        let limit = if self.expected {
            EXPECTED_FOR_BYTES
        } else {
            RECENT_BYTES
        };
        self.written_since.is_none_or(|since| since >= limit)
    }
}

/// What a truncation leaves of the segment that holds the new end, where copied entries were removed.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) rewind: Rewind,
}

impl GroupState {
    /// The state of a new group.
    pub(crate) fn created(policy: SegmentPolicy) -> Self {
        Self {
            segment_bytes: policy.segment_bytes,
            ..Self::default()
        }
    }

    pub(crate) fn log_state(&self) -> LogState {
        LogState {
            purged: self.purged,
            last: self.last,
            durable: self.durable,
            offset_start: self.offset_start,
            offset_end: self.offset_end,
            hard_state: self.hard_state,
            commit_hint: self.commit_hint,
            size_bytes: self.segs.iter().map(|seg| seg.size_bytes).sum(),
        }
    }

    /// The term of the entry at `index`, where `purged <= index <= last`.
    pub(crate) fn term_of(&self, index: LogIndex) -> Term {
        if index == self.purged.index {
            return self.purged.term;
        }
        assert!(
            index > self.purged.index && index <= self.last.index,
            "the index lies in the log"
        );
        let known = self.terms.at(index);
        known.expect("the term table covers the log from its start")
    }

    /// Takes an entry that was found to follow the last one.
    pub(crate) fn admit(&mut self, entry: TailEntry) {
        self.apply_rolls();
        if self.segs.back().is_none_or(|seg| seg.closed) {
            self.segs
                .push_back(Seg::starting_with(&entry.entry, self.segment_bytes));
        }
        if let Some(seg) = self.segs.back_mut() {
            seg.push(&entry.entry);
        }
        self.terms.push(entry.entry.id, entry.entry.base_offset);
        self.last = entry.entry.id;
        self.offset_end = entry.entry.end_offset();
        self.uncopied_bytes += entry.bytes();
        self.tail.push(entry);
    }

    /// Applies the decisions about segments that count after the last entry.
    pub(crate) fn apply_rolls(&mut self) {
        while let Some(roll) = self.rolls.front().copied()
            && roll.after <= self.last.index
        {
            self.rolls.pop_front();
            self.segment_bytes = roll.segment_bytes;
            if roll.now
                && roll.after == self.last.index
                && let Some(seg) = self.segs.back_mut()
            {
                seg.closed = true;
            }
        }
    }

    /// Ends the active segment where it has entries.
    pub(crate) fn close_active(&mut self) {
        if let Some(seg) = self.segs.back_mut() {
            seg.closed = true;
        }
    }

    /// Whether a checkpoint that the journal alone has is gone from here: a later call replaced or dropped it.
    pub(crate) fn replaces_checkpoint(&self, known: &[CheckpointNote]) -> bool {
        known.iter().filter(|note| !note.stored).any(|note| {
            let same = |kept: &CheckpointRef| kept.durable && kept.at == note.at;
            !self.checkpoints.iter().any(same)
        })
    }

    /// Notes that the entries up to `through`, which were appended after `truncations` truncations, are durable.
    /// Those that a later truncation left are so too.
    pub(crate) fn is_durable(&mut self, through: LogIndex, truncations: u32) {
        self.cuts.retain(|(number, _)| *number > truncations);
        let left = self.cuts.iter().map(|(_, left)| *left).min();
        let through = left.map_or(through, |left| left.min(through));
        self.durable = self.durable.max(through);
    }

    /// Removes the entries from `from` on, which lies in the log. `cut` describes what stays of the segment that
    /// holds the new end; it is needed where copied entries go. Returns the segments that are gone.
    pub(crate) fn truncate(&mut self, from: LogIndex, cut: Option<Cut>) -> Vec<Seg> {
        assert!(
            from > self.purged.index && from <= self.last.index,
            "the cut lies in the log"
        );
        let last = LogId {
            term: self.term_of(LogIndex(from.0 - 1)),
            index: LogIndex(from.0 - 1),
        };
        let removed = self.tail.truncate(from);
        let copied = self.copied;
        let uncopied = removed
            .iter()
            .filter(|entry| entry.entry.id.index > copied)
            .map(TailEntry::bytes)
            .sum();
        self.uncopied_bytes = self.uncopied_bytes.saturating_sub(uncopied);
        let mut gone = Vec::new();
        while self.segs.back().is_some_and(|seg| seg.base() >= from) {
            gone.extend(self.segs.pop_back());
        }
        self.cut_last_segment(from, last, cut, &removed);
        self.last = last;
        self.offset_end = self.segs.back().map_or(self.start.offset, |seg| seg.end_offset);
        self.offset_start = self.offset_start.min(self.offset_end);
        self.terms.truncate(from);
        self.copied = self.copied.min(last.index);
        self.durable = self.durable.min(last.index);
        self.commit_hint = self.commit_hint.min(last.index);
        self.truncations += 1;
        self.cuts.push((self.truncations, last.index));
        self.rewrites += 1;
        gone
    }

    fn cut_last_segment(
        &mut self,
        from: LogIndex,
        last: LogId,
        cut: Option<Cut>,
        removed: &VecDeque<TailEntry>,
    ) {
        let copied = self.copied;
        let Some(seg) = self.segs.back_mut() else {
            self.rewind = None;
            return;
        };
        if seg.last.index < from {
            // The cut falls between two segments: what stays is complete.
            if self
                .rewind
                .as_ref()
                .is_some_and(|rewind| rewind.base > seg.base())
            {
                self.rewind = None;
            }
            return;
        }
        let old_last = std::mem::replace(&mut seg.last, last).index;
        seg.closed = false;
        if let Some(cut) = cut {
            assert_eq!(cut.rewind.base, seg.base(), "the cut describes the last segment");
            seg.end_offset = cut.rewind.index.end_offset;
            seg.size_bytes = cut.rewind.index.size_bytes;
            seg.max_timestamp_ms = cut.rewind.index.max_timestamp_ms;
            self.rewind = Some(cut.rewind);
            return;
        }
        assert!(from > copied, "without a description only entries in memory go");
        let in_file = match &seg.disk {
            Disk::Open(open) => crate::sync::locked(&open.index).max_timestamp_ms,
            _ => -1,
        };
        let in_rewind = self
            .rewind
            .as_ref()
            .filter(|rewind| rewind.base == seg.base())
            .map(|rewind| rewind.index.max_timestamp_ms);
        let mut newest = in_rewind.unwrap_or(in_file);
        for entry in self.tail.from(copied.next().max(seg.base())) {
            newest = newest.max(crate::segment::index::data_timestamp(&entry.entry.meta()));
        }
        seg.max_timestamp_ms = newest;
        let gone_bytes = |entry: &TailEntry| entry.entry.payload.len() as u64;
        seg.size_bytes -= removed
            .iter()
            .filter(|entry| entry.entry.id.index <= old_last)
            .map(gone_bytes)
            .sum::<u64>();
        if let Some(first) = removed.front() {
            seg.end_offset = first.entry.base_offset;
        }
    }

    /// Moves the start of the log; `reset` empties it, with this next offset. Returns the segments that are gone.
    pub(crate) fn purge(&mut self, purge: Purge, reset: Option<Offset>) -> Vec<Seg> {
        let mut gone = Vec::new();
        self.purged = purge.through;
        self.offset_start = purge.offset_start;
        if let Some(offset_end) = reset {
            gone.extend(self.segs.drain(..));
            self.start = Start {
                before: purge.through,
                offset: offset_end,
            };
            self.last = purge.through;
            self.offset_end = offset_end;
            self.durable = purge.through.index;
            self.copied = purge.through.index;
            self.uncopied_bytes = 0;
            self.terms.clear();
            self.tail.clear();
            self.rewind = None;
            self.rewrites += 1;
            return gone;
        }
        self.drop_purged()
    }

    /// Drops the sealed segments that nobody needs. One that is not sealed yet stays until it is: the journal must
    /// be able to say that its entries are stored, or to name the files that hold them.
    pub(crate) fn drop_purged(&mut self) -> Vec<Seg> {
        let mut gone = Vec::new();
        while let Some(seg) = self.segs.front()
            && seg.closed
            && matches!(seg.disk, Disk::Sealed(_))
            && seg.last.index <= self.purged.index
            && seg.end_offset <= self.offset_start
        {
            self.start = Start {
                before: seg.last,
                offset: seg.end_offset,
            };
            gone.extend(self.segs.pop_front());
        }
        if !gone.is_empty() {
            // Their files will be used again.
            self.rewrites += 1;
        }
        self.after_drop();
        gone
    }

    /// Forgets what lies before the start of the data.
    fn after_drop(&mut self) {
        let before = self.start.before.index;
        if self.rewind.as_ref().is_some_and(|rewind| rewind.base <= before) {
            self.rewind = None;
        }
        self.terms.trim(before.next(), self.start.offset);
        if self.copied < before {
            self.copied = before;
            self.tail.evict(before);
            self.uncopied_bytes = self.tail.from(before.next()).map(TailEntry::bytes).sum();
        }
        self.tail.evict(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_counts_for_longer_where_readers_are_expected() {
        let mut readers = Readers::default();
        assert!(readers.are_away(), "nobody came");
        for (expected, bytes) in [(true, EXPECTED_FOR_BYTES), (false, RECENT_BYTES)] {
            readers.expected = expected;
            readers.came();
            readers.note_written(bytes - 1);
            assert!(!readers.are_away());
            readers.note_written(1);
            assert!(readers.are_away());
        }
        readers.came();
        readers.note_written(RECENT_BYTES);
        readers.expected = true;
        assert!(!readers.are_away(), "a follower that leads now");
    }
}
