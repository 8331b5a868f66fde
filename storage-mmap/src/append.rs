//! Appending entries.

use crate::group::tail::TailEntry;
use crate::queue::Effect;
use crate::segment::writer::entry_record;
use crate::space::Room;
use crate::sync::locked;
use crate::writer::GroupWriter;
use chronik_core::log_store::check_follows;
use chronik_core::{Entry, LogError, Ticket};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

impl GroupWriter {
    pub(crate) fn append_entries(&self, entries: &[Entry]) -> Result<Ticket, LogError> {
        let inner = &self.inner;
        inner.check_open()?;
        let limit_bytes = inner.options.payload_bytes_max;
        let largest = entries.iter().map(|entry| entry.payload.len() as u64).max();
        if let Some(got_bytes) = largest.filter(|largest| *largest > limit_bytes) {
            return Err(LogError::TooLarge {
                limit_bytes,
                got_bytes,
            });
        }
        let sealed: Vec<TailEntry> = entries
            .iter()
            .map(|entry| TailEntry {
                entry: entry.clone(),
                crc: crc32c::crc32c(&entry.payload),
            })
            .collect();
        let bytes: u64 = sealed.iter().map(TailEntry::bytes).sum();
        if bytes > 0 {
            inner.admit(Room::Reserve, bytes)?;
            inner.reserve_journal(Room::Reserve, bytes)?;
        }
        let mut state = locked(&self.group.state);
        let (mut last, mut offset_end) = (state.last, state.offset_end);
        for entry in entries {
            check_follows(last, offset_end, entry)?;
            last = entry.id;
            offset_end = entry.end_offset();
        }
        if entries.is_empty() {
            return Ok(self.barrier());
        }
        let truncations = state.truncations;
        let mut records = VecDeque::with_capacity(sealed.len());
        for tail in sealed {
            let mut record = entry_record(self.group.id, &tail);
            record.truncations = truncations;
            record.commit_hint = state.commit_hint;
            records.push_back(record);
            state.admit(tail);
        }
        inner.uncopied_bytes.fetch_add(bytes, Ordering::Relaxed);
        locked(&inner.ring).push(&self.group, last.index, bytes);
        let effect = Effect::Entries {
            through: last.index,
            truncations,
        };
        Ok(self.queue(records, effect))
    }
}
