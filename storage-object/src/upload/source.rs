//! The entries of a segment, in bounded pieces.

use super::Work;
use chronik_core::log_store::Read;
use chronik_core::{Entry, LogError, LogIndex, LogReader, Offset};
use std::sync::Arc;

/// Reads the entries of one piece of work in order.
pub(super) struct Source {
    reader: Arc<dyn LogReader>,
    last: LogIndex,
    end: Offset,
    next: LogIndex,
    next_offset: Offset,
    read_bytes: u64,
    /// Consensus does not need these entries any more: they can be read by offset alone, and commands among them are
    /// gone.
    by_offset: bool,
}

impl Source {
    pub(super) fn new(reader: Arc<dyn LogReader>, work: &Work, read_bytes: u64) -> Self {
        Self {
            reader,
            last: work.last.index,
            end: work.offsets.end,
            next: work.first,
            next_offset: work.offsets.start,
            read_bytes,
            by_offset: false,
        }
    }

    /// The next entries; none at the end.
    pub(super) async fn next(&mut self) -> Result<Vec<Entry>, LogError> {
        if !self.by_offset {
            match self.indexed().await {
                Err(LogError::Compacted { .. }) => {
                    self.by_offset = true;
                    // The log start may lie within the segment; what is below it is nobody's any more.
                    self.next_offset = self.next_offset.max(self.reader.state().offset_start);
                }
                other => return other,
            }
        }
        if self.next_offset >= self.end {
            return Ok(Vec::new());
        }
        let range = self.next_offset..self.end;
        let mut entries = answer(self.reader.read_offsets(range, self.read_bytes)).await?;
        let next = self.next;
        entries.retain(|entry| entry.id.index >= next);
        self.note(&entries);
        Ok(entries)
    }

    async fn indexed(&mut self) -> Result<Vec<Entry>, LogError> {
        if self.next > self.last {
            return Ok(Vec::new());
        }
        let range = self.next..self.last.next();
        let entries = answer(self.reader.entries(range, self.read_bytes)).await?;
        if entries.is_empty() {
            return Err(LogError::Truncated);
        }
        self.note(&entries);
        Ok(entries)
    }

    fn note(&mut self, entries: &[Entry]) {
        if let Some(last) = entries.last() {
            self.next = last.id.index.next();
            self.next_offset = last.end_offset();
        }
    }
}

async fn answer(read: Result<Read<Vec<Entry>>, LogError>) -> Result<Vec<Entry>, LogError> {
    read?.get().await
}
