//! What must hold at every moment of a cluster, noted as it happens: terms have one leader each, nothing goes back, and
//! a leader removes nothing.

use chronik_core::consensus::{ConsensusGroup, Progress, Role};
use chronik_core::log_store::{Checkpoint, HardState, Purge, SegmentPolicy};
use chronik_core::{Entry, EntryKind, GroupLog, LogError, LogIndex, LogWriter, Term, Ticket, Watch};
use futures_lite::future::block_on;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Seen {
    leaders: BTreeMap<Term, u64>,
    /// Term and vote as each node stored them last.
    stored: BTreeMap<u64, HardState>,
    /// Who removed entries, and the term that it had stored then.
    cuts: BTreeSet<(Term, u64)>,
    broken: Vec<String>,
}

/// Looks on. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness {
    seen: Arc<Mutex<Seen>>,
}

impl Witness {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node starts on this log: hears of all that is written to it from now on.
    pub(crate) fn hear(&self, node: u64, log: GroupLog) -> GroupLog {
        let state = log.reader.state();
        let mut seen = self.lock();
        let led = seen.leaders.iter().filter(|(_, leader)| **leader == node);
        let led = led.map(|(term, _)| *term).max().unwrap_or_default();
        let knows = state.hard_state.term.max(state.last.term);
        if knows < led {
            let what = format!("node {node} led term {led} and starts in term {knows} (CS-ORD-01)");
            seen.broken.push(what);
        }
        seen.stored.insert(node, state.hard_state);
        drop(seen);
        GroupLog {
            writer: Box::new(Heard {
                node,
                witness: self.clone(),
                inner: log.writer,
            }),
            reader: log.reader,
        }
    }

    /// Watches the progress of a group until it stops.
    pub(crate) fn watch(&self, node: u64, group: &dyn ConsensusGroup) {
        let (witness, watch) = (self.clone(), group.watch());
        std::thread::spawn(move || witness.follow(node, &watch));
    }

    fn follow(&self, node: u64, watch: &Watch<Progress>) {
        let mut before = watch.get();
        loop {
            let (now, version) = watch.versioned();
            self.note(node, before, now);
            if now.role == Role::Stopped {
                return;
            }
            before = now;
            block_on(watch.changed(version));
        }
    }

    fn note(&self, node: u64, before: Progress, now: Progress) {
        let mut seen = self.lock();
        if now.term < before.term || now.commit < before.commit {
            let what = format!("node {node} went back from {before:?} to {now:?} (CS-ORD-01)");
            seen.broken.push(what);
        }
        if now.role == Role::Leader {
            let leader = *seen.leaders.entry(now.term).or_insert(node);
            if leader != node {
                let what = format!("nodes {leader} and {node} lead in term {} (CS-ELE-01)", now.term);
                seen.broken.push(what);
            }
        }
    }

    fn on_hard_state(&self, node: u64, now: HardState) {
        let mut seen = self.lock();
        let before = seen.stored.insert(node, now).unwrap_or_default();
        let changed_mind = now.term == before.term && before.vote.is_some() && now.vote != before.vote;
        if now.term < before.term || changed_mind {
            let what = format!("node {node} stores {now:?} after {before:?} (CS-ORD-01)");
            seen.broken.push(what);
        }
    }

    fn on_truncate(&self, node: u64) {
        let mut seen = self.lock();
        let term = seen.stored.get(&node).map(|state| state.term).unwrap_or_default();
        seen.cuts.insert((term, node));
    }

    /// In how many terms somebody led, and how often somebody removed entries.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let seen = self.lock();
        (seen.leaders.len(), seen.cuts.len())
    }

    /// What was broken.
    pub(crate) fn broken(&self) -> Vec<String> {
        let seen = self.lock();
        let own = |(term, node): &&(Term, u64)| seen.leaders.get(term) == Some(node);
        let cut = seen.cuts.iter().filter(own);
        let cut =
            cut.map(|(term, node)| format!("node {node} leads term {term} and removes entries (CS-LOG-02)"));
        seen.broken.iter().cloned().chain(cut).collect()
    }
}

/// A log whose writer tells.
#[derive(Debug)]
struct Heard {
    node: u64,
    witness: Witness,
    inner: Box<dyn LogWriter>,
}

impl LogWriter for Heard {
    fn append(&mut self, entries: &[Entry]) -> Result<Ticket, LogError> {
        self.inner.append(entries)
    }

    fn truncate_from(&mut self, from: LogIndex) -> Result<Ticket, LogError> {
        let ticket = self.inner.truncate_from(from)?;
        self.witness.on_truncate(self.node);
        Ok(ticket)
    }

    fn purge(&mut self, purge: Purge) -> Result<Ticket, LogError> {
        self.inner.purge(purge)
    }

    fn save_hard_state(&mut self, state: HardState) -> Result<Ticket, LogError> {
        let ticket = self.inner.save_hard_state(state)?;
        self.witness.on_hard_state(self.node, state);
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
