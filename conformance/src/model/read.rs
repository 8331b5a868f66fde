//! What reads of a group answer.

use super::GroupModel;
use chronik_core::log_store::{Checkpoint, SegmentInfo, TimeQuery};
use chronik_core::{Entry, EntryKind, EntryMeta, LogError, LogIndex, Offset, Term};
use std::ops::Range;

impl GroupModel {
    /// As [`LogReader::term_at`](chronik_core::LogReader::term_at).
    ///
    /// # Errors
    /// As there.
    pub fn term_at(&self, index: LogIndex) -> Result<Term, LogError> {
        if index < self.purged.index {
            return Err(self.compacted());
        }
        if index == self.purged.index {
            return Ok(self.purged.term);
        }
        self.starting_at(index)
            .next()
            .map(|entry| entry.id.term)
            .ok_or(LogError::Truncated)
    }

    /// The entries from `index` on; they have consecutive indexes.
    fn starting_at(&self, index: LogIndex) -> impl Iterator<Item = &Entry> {
        let skip = self
            .entries
            .front()
            .map_or(0, |front| index.0.saturating_sub(front.id.index.0));
        self.entries
            .iter()
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
    }

    /// As [`LogReader::entries`](chronik_core::LogReader::entries).
    ///
    /// # Errors
    /// As there.
    pub fn entries(&self, range: &Range<LogIndex>, max_bytes: u64) -> Result<Vec<Entry>, LogError> {
        if range.start <= self.purged.index {
            return Err(self.compacted());
        }
        let run = self
            .starting_at(range.start)
            .take_while(|entry| entry.id.index < range.end);
        Ok(bounded(run, max_bytes))
    }

    /// As [`LogReader::read_offsets`](chronik_core::LogReader::read_offsets).
    ///
    /// # Errors
    /// As there.
    pub fn read_offsets(&self, offsets: &Range<Offset>, max_bytes: u64) -> Result<Vec<Entry>, LogError> {
        if offsets.start < self.offset_start {
            return Err(self.compacted());
        }
        let skip = self
            .entries
            .partition_point(|entry| entry.end_offset() <= offsets.start);
        let run = self
            .entries
            .iter()
            .skip(skip)
            .filter(|entry| entry.kind == EntryKind::Data)
            .take_while(|entry| entry.base_offset < offsets.end && !offsets.is_empty());
        Ok(bounded(run, max_bytes))
    }

    /// As [`LogReader::find_time`](chronik_core::LogReader::find_time).
    #[must_use]
    pub fn find_time(&self, query: TimeQuery, before: Offset) -> Option<EntryMeta> {
        let mut candidates = self
            .data()
            .filter(|entry| entry.end_offset() > self.offset_start && entry.base_offset < before);
        match query {
            TimeQuery::AtOrAfter(time_ms) => candidates.find(|entry| entry.max_timestamp_ms >= time_ms),
            TimeQuery::Maximum => candidates.reduce(|best, entry| {
                if entry.max_timestamp_ms > best.max_timestamp_ms {
                    entry
                } else {
                    best
                }
            }),
        }
        .map(Entry::meta)
    }

    /// As [`LogReader::end_of_term`](chronik_core::LogReader::end_of_term), from the entries that are still there.
    #[must_use]
    pub fn end_of_term(&self, term: Term) -> Option<(Term, Offset)> {
        self.data()
            .filter(|entry| entry.id.term <= term && entry.end_offset() > self.offset_start)
            .last()
            .map(|entry| (entry.id.term, entry.end_offset()))
    }

    /// As [`LogReader::checkpoint`](chronik_core::LogReader::checkpoint).
    #[must_use]
    pub fn checkpoint(&self, index: LogIndex) -> Option<Checkpoint> {
        self.checkpoints
            .range(..=index)
            .next_back()
            .map(|(_, checkpoint)| checkpoint.clone())
    }

    /// Where checkpoints are stored, oldest first.
    #[must_use]
    pub fn checkpoint_indexes(&self) -> Vec<LogIndex> {
        self.checkpoints.keys().copied().collect()
    }

    /// As [`LogReader::segments`](chronik_core::LogReader::segments), with sizes in bytes of payload.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let mut segments: Vec<SegmentInfo> = Vec::new();
        let mut sealed = true;
        for entry in &self.entries {
            match segments.last_mut() {
                Some(segment) if !sealed => {
                    segment.last = entry.id;
                    segment.offsets.end = entry.end_offset();
                    segment.max_timestamp_ms = segment.max_timestamp_ms.max(entry.max_timestamp_ms);
                    segment.size_bytes += entry.payload.len() as u64;
                }
                _ => segments.push(SegmentInfo {
                    first: entry.id,
                    last: entry.id,
                    offsets: entry.base_offset..entry.end_offset(),
                    max_timestamp_ms: entry.max_timestamp_ms,
                    size_bytes: entry.payload.len() as u64,
                    sealed: false,
                }),
            }
            sealed = self.cuts.contains(&entry.id.index);
            if let Some(segment) = segments.last_mut() {
                segment.sealed = sealed;
            }
        }
        segments
    }

    fn data(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.kind == EntryKind::Data)
    }

    fn compacted(&self) -> LogError {
        LogError::Compacted {
            first: self.purged.index.next(),
        }
    }
}

/// The longest run that stays within `max_bytes`, but at least one entry.
fn bounded<'a>(run: impl Iterator<Item = &'a Entry>, max_bytes: u64) -> Vec<Entry> {
    let mut total = 0;
    let mut taken = Vec::new();
    for entry in run {
        total += entry.payload.len() as u64;
        if !taken.is_empty() && total > max_bytes {
            break;
        }
        taken.push(entry.clone());
    }
    taken
}
