//! A log whose writer tells the oracle of every call.

use super::node::Opened;
use super::oracle::{At, Oracle};
use crate::world::locked;
use chronik_core::log_store::{Checkpoint, HardState, LogReader, Purge, SegmentPolicy};
use chronik_core::{Entry, EntryKind, GroupLog, LogError, LogIndex, LogWriter, Term, Ticket};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

#[derive(Debug)]
struct Watched {
    inner: Box<dyn LogWriter>,
    at: At,
    oracle: Oracle,
    reader: Arc<dyn LogReader>,
    /// What the replica shows, once its group is open.
    opened: Arc<Mutex<Option<Opened>>>,
}

/// Lets the oracle hear of what happens to a log from now on.
pub(super) fn watched(
    log: GroupLog,
    at: At,
    oracle: &Oracle,
    opened: &Arc<Mutex<Option<Opened>>>,
) -> GroupLog {
    oracle.on_open(at, log.reader.state().hard_state, terms(&*log.reader));
    GroupLog {
        writer: Box::new(Watched {
            inner: log.writer,
            at,
            oracle: oracle.clone(),
            reader: Arc::clone(&log.reader),
            opened: Arc::clone(opened),
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

impl Watched {
    /// What the replica shows as committed must be in its log, and stay there: somebody may look at any moment.
    fn check_shown(&self, stays_to: LogIndex) {
        let shown = match &*locked(&self.opened) {
            Some(Ok((_, watch))) => watch.with(|progress| progress.commit),
            _ => return,
        };
        self.oracle.on_shown(self.at, shown, stays_to);
    }
}

impl LogWriter for Watched {
    fn append(&mut self, entries: &[Entry]) -> Result<Ticket, LogError> {
        self.check_shown(self.reader.state().last.index);
        let ticket = self.inner.append(entries)?;
        self.oracle.on_append(self.at, entries);
        Ok(ticket)
    }

    fn truncate_from(&mut self, from: LogIndex) -> Result<Ticket, LogError> {
        self.check_shown(LogIndex(from.0.saturating_sub(1)));
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

    fn reserve(&mut self, kind: EntryKind, bytes: u64) -> Result<(), LogError> {
        self.inner.reserve(kind, bytes)
    }
}
