//! What a store must hold, kept in plain vectors.

use chronik_core::log_store::{HardState, LogReader, LogState};
use chronik_core::{Entry, LogError, LogId, LogIndex, Offset};

use crate::kit::Machine;

/// The log of one group.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelLog {
    pub(crate) entries: Vec<Entry>,
    /// The entry before the first of `entries`.
    pub(crate) before: LogId,
    pub(crate) purged: LogId,
    pub(crate) offset_start: Offset,
    pub(crate) hard_state: HardState,
}

impl ModelLog {
    pub(crate) fn last(&self) -> LogId {
        self.entries.last().map_or(self.before, |entry| entry.id)
    }

    pub(crate) fn offset_end(&self) -> Offset {
        self.entries.last().map_or(Offset(0), Entry::end_offset)
    }

    pub(crate) fn truncate(&mut self, from: LogIndex) {
        self.entries.retain(|entry| entry.id.index < from);
    }

    /// Compares everything that a reader can see.
    pub(crate) fn check(&self, machine: &Machine, reader: &dyn LogReader, context: &str) {
        let state: LogState = reader.state();
        assert_eq!(state.last, self.last(), "{context}");
        assert_eq!(state.purged, self.purged, "{context}");
        assert_eq!(state.offset_start, self.offset_start, "{context}");
        assert_eq!(state.offset_end, self.offset_end(), "{context}");
        assert_eq!(state.hard_state, self.hard_state, "{context}");
        let readable: Vec<Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.id.index > self.purged.index)
            .cloned()
            .collect();
        let range = state.index_start()..state.last.index.next();
        let read = machine.get(reader.entries(range, u64::MAX).unwrap()).unwrap();
        assert_eq!(read, readable, "{context}");
        for entry in &readable {
            assert_eq!(reader.term_at(entry.id.index), Ok(entry.id.term), "{context}");
        }
        assert_eq!(
            reader.term_at(self.purged.index),
            Ok(self.purged.term),
            "{context}"
        );
        self.check_offsets(machine, reader, context);
        let segments = reader.segments();
        for pair in segments.windows(2) {
            assert_eq!(pair[0].last.index.next(), pair[1].first.index, "{context}");
            assert!(pair[0].sealed, "{context}");
        }
    }

    fn check_offsets(&self, machine: &Machine, reader: &dyn LogReader, context: &str) {
        let mut at = self.offset_start;
        let end = self.offset_end();
        while at < end {
            let read = machine.get(reader.read_offsets(at..end, 1500).unwrap()).unwrap();
            let expected: Vec<&Entry> = self
                .entries
                .iter()
                .filter(|entry| entry.record_count > 0 && entry.end_offset() > at)
                .take(read.len())
                .collect();
            assert!(!read.is_empty(), "{context}: nothing at offset {at}");
            assert_eq!(read.iter().collect::<Vec<_>>(), expected, "{context}");
            let bytes: usize = read.iter().map(|entry| entry.payload.len()).sum();
            assert!(bytes <= 1500 || read.len() == 1, "{context}");
            at = read.last().unwrap().end_offset();
        }
        if self.offset_start.0 > 0 {
            let below = Offset(self.offset_start.0 - 1);
            let refused = reader.read_offsets(below..end, 10);
            assert!(matches!(refused, Err(LogError::Compacted { .. })), "{context}");
        }
    }
}
