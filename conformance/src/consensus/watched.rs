//! A log whose writer tells the oracle of every call.

use super::oracle::{At, Oracle};
use chronik_core::log_store::{Checkpoint, HardState, LogReader, Purge, SegmentPolicy};
use chronik_core::{Entry, GroupLog, LogError, LogIndex, LogWriter, Term, Ticket};
use std::collections::BTreeMap;

#[derive(Debug)]
struct Watched {
    inner: Box<dyn LogWriter>,
    at: At,
    oracle: Oracle,
}

/// Lets the oracle hear of what happens to a log from now on.
pub(super) fn watched(log: GroupLog, at: At, oracle: &Oracle) -> GroupLog {
    oracle.on_open(at, log.reader.state().hard_state, terms(&*log.reader));
    GroupLog {
        writer: Box::new(Watched {
            inner: log.writer,
            at,
            oracle: oracle.clone(),
        }),
        reader: log.reader,
    }
}

/// The terms of a log, the purge point included.
pub(super) fn terms(reader: &dyn LogReader) -> BTreeMap<LogIndex, Term> {
    let state = reader.state();
    (state.purged.index.0.max(1)..=state.last.index.0)
        .filter_map(|index| {
            let index = LogIndex(index);
            Some((index, reader.term_at(index).ok()?))
        })
        .collect()
}

impl LogWriter for Watched {
    fn append(&mut self, entries: &[Entry]) -> Result<Ticket, LogError> {
        let ticket = self.inner.append(entries)?;
        self.oracle.on_append(self.at, entries);
        Ok(ticket)
    }

    fn truncate_from(&mut self, from: LogIndex) -> Result<Ticket, LogError> {
        let ticket = self.inner.truncate_from(from)?;
        self.oracle.on_truncate(self.at, from);
        Ok(ticket)
    }

    fn purge(&mut self, purge: Purge) -> Result<Ticket, LogError> {
        let ticket = self.inner.purge(purge)?;
        self.oracle.on_purge(self.at, purge.through);
        Ok(ticket)
    }

    fn save_hard_state(&mut self, state: HardState) -> Result<Ticket, LogError> {
        let ticket = self.inner.save_hard_state(state)?;
        self.oracle.on_hard_state(self.at, state);
        Ok(ticket)
    }

    fn save_checkpoint(&mut self, checkpoint: Checkpoint) -> Result<Ticket, LogError> {
        self.inner.save_checkpoint(checkpoint)
    }

    fn commit_hint(&mut self, index: LogIndex) {
        self.inner.commit_hint(index);
    }

    fn roll(&mut self, policy: SegmentPolicy, now: bool) -> Result<(), LogError> {
        self.inner.roll(policy, now)
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), LogError> {
        self.inner.reserve(bytes)
    }
}
