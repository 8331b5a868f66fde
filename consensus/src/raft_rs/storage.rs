//! The group's log as raft-rs reads it: positions and terms from memory, payloads only for appends.

use super::entry::stored_to_raft;
use chronik_core::consensus::Membership;
use chronik_core::log_store::{HardState, LogReader, Read};
use chronik_core::{BoxFuture, Entry, EntryKind, LogError, LogId, LogIndex, ReplicaId, Term};
use raft::eraftpb;
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// How many entries without payload are handed out at a time where a limit is asked for.
const BARE_MAX: u64 = 1024;
/// Answers of reads that are kept until raft-rs asks again; one a replica is the ordinary number.
const FETCHED_MAX: usize = 8;

/// A read of entries that raft-rs waits for.
pub(super) struct Wanted {
    pub(super) low: LogIndex,
    /// How often the log had been truncated when the read was asked for.
    pub(super) generation: u64,
    pub(super) read: BoxFuture<'static, Result<Vec<Entry>, LogError>>,
}

/// Reads under way for appends to replicas that lag behind.
#[derive(Default)]
struct Fetching {
    /// Those to start.
    wanted: VecDeque<Wanted>,
    /// Those that raft-rs waits for, by their first entry.
    parked: BTreeMap<LogIndex, Vec<GetEntriesContext>>,
    /// Answers that raft-rs has not asked for again yet.
    fetched: BTreeMap<LogIndex, Vec<eraftpb::Entry>>,
    /// A replica needs purged entries: a checkpoint is to be read.
    checkpoint_wanted: Vec<ReplicaId>,
    /// The checkpoint at the purge point, once read.
    snapshot: Option<eraftpb::Snapshot>,
    /// What failed; the group stops.
    failed: Option<LogError>,
}

/// What the log looks like, without payloads.
pub(super) struct GroupStorage {
    reader: Arc<dyn LogReader>,
    purged: LogId,
    last: LogIndex,
    /// Where terms begin, after the purge point.
    terms: Vec<(LogIndex, Term)>,
    /// Membership entries in the log.
    changes: BTreeSet<LogIndex>,
    initial: RaftState,
    max_append_bytes: u64,
    /// Counts truncations, so that what was read before one is not sent after it.
    generation: u64,
    fetching: RefCell<Fetching>,
}

/// What raft-rs starts with.
#[derive(Debug)]
pub(super) struct Initial {
    pub(super) hard_state: HardState,
    pub(super) commit: LogIndex,
    pub(super) membership: Membership,
    pub(super) changes: BTreeSet<LogIndex>,
}

impl GroupStorage {
    pub(super) fn new(
        reader: Arc<dyn LogReader>,
        initial: Initial,
        max_append_bytes: u64,
    ) -> Result<Self, LogError> {
        let state = reader.state();
        let mut hard_state = eraftpb::HardState::default();
        hard_state.term = initial.hard_state.term.0.max(state.last.term.0);
        hard_state.vote = match initial.hard_state.vote {
            Some(vote) if hard_state.term == initial.hard_state.term.0 => vote.0,
            _ => 0,
        };
        hard_state.commit = initial.commit.0;
        let conf = super::conf::conf_state(&initial.membership);
        let mut storage = Self {
            reader,
            purged: state.purged,
            last: state.last.index,
            terms: Vec::new(),
            changes: initial.changes,
            initial: RaftState::new(hard_state, conf),
            max_append_bytes,
            generation: 0,
            fetching: RefCell::default(),
        };
        storage.find_terms()?;
        Ok(storage)
    }

    /// Terms only rise along a log, so that the next one is found by halving.
    fn find_terms(&mut self) -> Result<(), LogError> {
        let mut from = self.purged.index.next();
        while from <= self.last {
            let term = self.reader.term_at(from)?;
            self.terms.push((from, term));
            let (mut low, mut high) = (from, self.last);
            while low < high {
                let middle = LogIndex(low.0 + (high.0 - low.0).div_ceil(2));
                if self.reader.term_at(middle)? == term {
                    low = middle;
                } else {
                    high = LogIndex(middle.0 - 1);
                }
            }
            from = low.next();
        }
        Ok(())
    }

    pub(super) fn last(&self) -> LogIndex {
        self.last
    }

    pub(super) fn purged(&self) -> LogId {
        self.purged
    }

    pub(super) fn reader(&self) -> &Arc<dyn LogReader> {
        &self.reader
    }

    /// The term of an entry from the purge point to the end of the log.
    pub(super) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.purged.index {
            return Some(self.purged.term);
        }
        if index < self.purged.index || index > self.last {
            return None;
        }
        let place = self.terms.partition_point(|(from, _)| *from <= index);
        self.terms.get(place.checked_sub(1)?).map(|(_, term)| *term)
    }

    /// Entries were appended.
    pub(super) fn appended(&mut self, entries: &[Entry]) {
        for entry in entries {
            let id = entry.id;
            assert_eq!(id.index, self.last.next(), "the log took entries in order");
            if self.terms.last().is_none_or(|(_, term)| *term != id.term) {
                self.terms.push((id.index, id.term));
            }
            if entry.kind == EntryKind::Membership {
                self.changes.insert(id.index);
            }
            self.last = id.index;
        }
    }

    /// The entries from `from` on were truncated.
    pub(super) fn truncated(&mut self, from: LogIndex) {
        assert!(from > self.purged.index, "what is purged is committed");
        self.last = LogIndex(from.0 - 1);
        self.terms.retain(|(start, _)| *start < from);
        self.changes = std::mem::take(&mut self.changes)
            .into_iter()
            .filter(|index| *index < from)
            .collect();
        self.generation += 1;
        self.fetching.get_mut().fetched.clear();
    }

    /// The log starts after `through` now.
    pub(super) fn purged_through(&mut self, through: LogId) {
        if through.index <= self.purged.index {
            return;
        }
        let term_after = self.term_at(through.index.next());
        self.purged = through;
        self.last = self.last.max(through.index);
        self.terms.retain(|(start, _)| *start > through.index);
        if let Some(term) = term_after {
            let next = through.index.next();
            if self.terms.first().is_none_or(|(start, _)| *start != next) {
                self.terms.insert(0, (next, term));
            }
        }
        self.changes = self.changes.split_off(&through.index.next());
        let fetching = self.fetching.get_mut();
        fetching.snapshot = None;
        fetching.fetched.clear();
    }

    /// A read that should start.
    pub(super) fn next_wanted(&mut self) -> Option<Wanted> {
        self.fetching.get_mut().wanted.pop_front()
    }

    /// Whether there is one.
    pub(super) fn has_wanted(&self) -> bool {
        !self.fetching.borrow().wanted.is_empty()
    }

    /// Replicas for which a checkpoint should be read.
    pub(super) fn take_checkpoint_wanted(&mut self) -> Vec<ReplicaId> {
        std::mem::take(&mut self.fetching.get_mut().checkpoint_wanted)
    }

    /// A read of the log that failed.
    pub(super) fn take_failure(&mut self) -> Option<LogError> {
        self.fetching.get_mut().failed.take()
    }

    /// A read ended; raft-rs shall ask again with these contexts.
    pub(super) fn fetched(
        &mut self,
        low: LogIndex,
        generation: u64,
        result: Result<Vec<Entry>, LogError>,
    ) -> Vec<GetEntriesContext> {
        let fetching = self.fetching.get_mut();
        match result {
            Ok(_) if generation != self.generation => {}
            Ok(entries) => {
                if fetching.fetched.len() >= FETCHED_MAX {
                    fetching.fetched.pop_first();
                }
                let entries = entries.into_iter().map(stored_to_raft).collect();
                fetching.fetched.insert(low, entries);
            }
            // The range went away meanwhile: raft-rs asks again and gets what is there now.
            Err(LogError::Compacted { .. } | LogError::Truncated) => {}
            Err(error) => fetching.failed = Some(error),
        }
        fetching.parked.remove(&low).unwrap_or_default()
    }

    /// The checkpoint at the purge point, for replicas that need it.
    pub(super) fn offer_snapshot(&mut self, snapshot: Option<eraftpb::Snapshot>) {
        self.fetching.get_mut().snapshot = snapshot;
    }

    /// Entries without payload: for raft-rs's own look at types and terms.
    fn bare(&self, low: u64, high: u64, limit: u64) -> raft::Result<Vec<eraftpb::Entry>> {
        (low..high.min(low.saturating_add(limit)))
            .map(|index| {
                let mut entry = eraftpb::Entry {
                    index,
                    term: self.term(index)?,
                    ..Default::default()
                };
                if self.changes.contains(&LogIndex(index)) {
                    entry.set_entry_type(eraftpb::EntryType::EntryConfChangeV2);
                }
                Ok(entry)
            })
            .collect()
    }

    fn full(&self, low: u64, high: u64, context: GetEntriesContext) -> raft::Result<Vec<eraftpb::Entry>> {
        let unavailable = Error::Store(StorageError::LogTemporarilyUnavailable);
        let low = LogIndex(low);
        let mut fetching = self.fetching.borrow_mut();
        if let Some(entries) = fetching.fetched.remove(&low) {
            return Ok(entries);
        }
        if let Some(parked) = fetching.parked.get_mut(&low) {
            parked.push(context);
            return Err(unavailable);
        }
        match self.reader.entries(low..LogIndex(high), self.max_append_bytes) {
            Ok(Read::Ready(entries)) => Ok(entries.into_iter().map(stored_to_raft).collect()),
            Ok(Read::Pending(read)) => {
                let generation = self.generation;
                fetching.wanted.push_back(Wanted {
                    low,
                    generation,
                    read,
                });
                fetching.parked.insert(low, vec![context]);
                Err(unavailable)
            }
            Err(LogError::Compacted { .. }) => Err(Error::Store(StorageError::Compacted)),
            Err(error) => {
                fetching.failed = Some(error);
                Err(unavailable)
            }
        }
    }
}

impl Storage for GroupStorage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        if low <= self.purged.index.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        if context.can_async() {
            return self.full(low, high, context);
        }
        let limit = max_size.into().map_or(u64::MAX, |_| BARE_MAX);
        self.bare(low, high, limit)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let index = LogIndex(index);
        if index < self.purged.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        let term = self.term_at(index);
        term.map(|term| term.0)
            .ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.purged.index.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last.0)
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<eraftpb::Snapshot> {
        let mut fetching = self.fetching.borrow_mut();
        match &fetching.snapshot {
            Some(snapshot) if snapshot.get_metadata().index >= request_index => Ok(snapshot.clone()),
            _ => {
                fetching.checkpoint_wanted.push(ReplicaId(to));
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

#[cfg(test)]
mod tests;
