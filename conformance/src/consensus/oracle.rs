//! What must never happen, checked as it happens.
//!
//! The oracle hears of every call on a log, every change of a replica's progress, every applied entry and every
//! outcome, and keeps the one truth that all of them must agree with. A breach is noted with its clause; the run goes
//! on, so that one seed can show several.

use super::payload::{ProposalId, frames};
use crate::check::Marks;
use crate::world::locked;
use chronik_core::consensus::{Progress, Role};
use chronik_core::log_store::HardState;
use chronik_core::proposal::Appended;
use chronik_core::{Entry, EntryKind, GroupId, LogId, LogIndex, Outcome, ReplicaId, Term};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// A replica: the group, and the number of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) group: GroupId,
    pub(super) node: u64,
}

impl At {
    /// The replica's own id.
    pub(super) const fn replica(self) -> ReplicaId {
        ReplicaId(self.group.0 * 100 + self.node)
    }
}

/// A breach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The clause.
    pub clause: &'static str,
    /// What happened.
    pub what: String,
}

/// An entry that somebody reported as committed.
#[derive(Clone, Copy, Debug)]
struct Committed {
    term: Term,
    /// The newest term in which that was known not to be news.
    seen_in: Term,
}

/// What is true of one group.
#[derive(Debug, Default)]
struct Truth {
    leaders: BTreeMap<Term, ReplicaId>,
    committed: BTreeMap<LogIndex, Committed>,
    /// The entry applied at each index, and the digest of the state after it.
    applied: BTreeMap<LogIndex, (Term, u64)>,
    /// A digest of the payload of each entry.
    contents: BTreeMap<LogId, u32>,
    /// Where each proposal was applied.
    places: BTreeMap<ProposalId, (LogId, i64)>,
    newest_of_stream: BTreeMap<u64, u64>,
    refused: BTreeSet<ProposalId>,
    acked: Vec<(ProposalId, Appended)>,
    newest_acked: LogIndex,
}

/// What one replica is known to have.
#[derive(Debug, Default)]
struct Known {
    /// The terms of its log.
    log: BTreeMap<LogIndex, Term>,
    progress: Option<(u64, Progress)>,
    /// The newest term that it stored.
    stored: HardState,
    /// The term in which it removed entries; it must not be the leader of that term.
    cut_in: Option<Term>,
    /// The newest term that it led.
    led: Term,
}

#[derive(Debug, Default)]
struct State {
    truths: BTreeMap<GroupId, Truth>,
    replicas: BTreeMap<At, Known>,
    violations: Vec<Violation>,
    digest: u64,
}

/// The judge of one run. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Oracle {
    state: Arc<Mutex<State>>,
    pub(super) marks: Marks,
}

impl Oracle {
    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Notes a breach; the first of each clause counts.
    pub(super) fn violate(&self, clause: &'static str, what: String) {
        self.lock().violate(clause, what);
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    /// A digest of all that was seen: runs of one seed must agree on it.
    pub(super) fn digest(&self) -> u64 {
        self.lock().digest
    }

    /// The highest index that was acknowledged.
    pub(super) fn newest_acked(&self, group: GroupId) -> LogIndex {
        let state = self.lock();
        state
            .truths
            .get(&group)
            .map_or(LogIndex(0), |truth| truth.newest_acked)
    }

    /// The newest leader that was seen.
    pub(super) fn newest_leader(&self, group: GroupId) -> Option<(Term, ReplicaId)> {
        let state = self.lock();
        let leaders = &state.truths.get(&group)?.leaders;
        leaders.last_key_value().map(|(term, leader)| (*term, *leader))
    }

    /// A log was opened with these entries.
    pub(super) fn on_open(&self, at: At, stored: HardState, log: BTreeMap<LogIndex, Term>) {
        let mut state = self.lock();
        let replica = state.replicas.entry(at).or_default();
        replica.log = log;
        replica.stored = stored;
        replica.cut_in = None;
    }

    /// A term and a vote were stored. A vote stays what it is for as long as the term does.
    pub(super) fn on_hard_state(&self, at: At, now: HardState) {
        let mut state = self.lock();
        let replica = state.replicas.entry(at).or_default();
        let before = std::mem::replace(&mut replica.stored, now);
        if before.term != now.term {
            replica.cut_in = None;
        } else if before.vote.is_some() && before.vote != now.vote {
            let what = format!(
                "node {} voted for {:?} in term {}, and stores a vote for {:?}",
                at.node, before.vote, now.term, now.vote
            );
            state.violate("CS-ELE-02", what);
        }
    }

    /// Entries were appended.
    pub(super) fn on_append(&self, at: At, entries: &[Entry]) {
        let mut state = self.lock();
        for entry in entries {
            let crc = crc32c::crc32c(&entry.payload) ^ entry.kind as u32;
            let truth = state.truths.entry(at.group).or_default();
            let known = *truth.contents.entry(entry.id).or_insert(crc);
            let leads = truth.leaders.get(&entry.id.term) == Some(&at.replica());
            if known != crc {
                let what = format!("node {} has other bytes for entry {}", at.node, entry.id);
                state.violate("CS-LOG-01", what);
            }
            let replica = state.replicas.entry(at).or_default();
            replica.log.insert(entry.id.index, entry.id.term);
            if replica.cut_in == Some(entry.id.term) && leads {
                state.violate_cut(at, entry.id.term);
            }
        }
    }

    /// The replica shows this commit index, and its log ends at `end`, or will in a moment.
    pub(super) fn on_shown(&self, at: At, shown: LogIndex, end: LogIndex) {
        if shown > end {
            let what = format!(
                "node {} shows {shown} as committed while its log ends, or is cut, at {end}",
                at.node
            );
            self.violate("CS-SM-01", what);
        }
    }

    /// Entries are about to be removed.
    pub(super) fn on_truncate(&self, at: At, from: LogIndex) {
        self.marks.hit("suffixes removed");
        let mut state = self.lock();
        let replica = state.replicas.entry(at).or_default();
        let removed = replica.log.split_off(&from);
        let own = replica.progress.map(|(_, progress)| progress);
        if !removed.is_empty() {
            replica.cut_in = Some(replica.stored.term);
        }
        // A replica that has not shown yet that it follows a newer leader may remove what its old one has.
        let newest = state
            .truths
            .get(&at.group)
            .and_then(|truth| truth.leaders.keys().next_back().copied());
        let follows = own
            .map(|progress| progress.term)
            .filter(|term| newest == Some(*term));
        let leader_log = follows.and_then(|term| state.log_of_leader(at, term));
        let truth = state.truths.entry(at.group).or_default();
        let mut broken = None;
        for (index, term) in removed {
            let id = LogId { term, index };
            if truth
                .committed
                .get(&index)
                .is_some_and(|entry| entry.term == term)
            {
                broken = Some(format!("node {} removes entry {id}, which is committed", at.node));
            } else if leader_log
                .as_ref()
                .is_some_and(|log| log.get(&index) == Some(&term))
            {
                broken = Some(format!(
                    "node {} removes entry {id}, which its leader has",
                    at.node
                ));
            }
        }
        if let Some(what) = broken {
            state.violate("CS-LOG-07", what);
        }
    }

    /// A log begins after `through` now.
    pub(super) fn on_purge(&self, at: At, through: LogId) {
        let mut state = self.lock();
        let log = &mut state.replicas.entry(at).or_default().log;
        if log.last_key_value().is_none_or(|(last, _)| *last < through.index) {
            self.marks.hit("checkpoints installed");
            log.clear();
            log.insert(through.index, through.term);
        }
    }

    /// The process of a replica ended.
    pub(super) fn on_end(&self, at: At) {
        if let Some((_, progress)) = &mut self.lock().replicas.entry(at).or_default().progress {
            progress.role = Role::Stopped;
        }
    }

    /// The progress of a replica, in its `start`-th process; true where it became the leader.
    pub(super) fn on_progress(&self, at: At, start: u64, mut now: Progress) -> bool {
        let mut state = self.lock();
        let known = state.replicas.entry(at).or_default();
        if let (Role::Stopped, Some((_, before))) = (now.role, known.progress) {
            // It may have stopped because its newest term could not be stored.
            now.term = before.term;
        }
        let before = known.progress.replace((start, now));
        state.note(&[
            at.node,
            at.group.0,
            now.term.0,
            now.commit.0,
            u64::from(now.role == Role::Leader),
        ]);
        state.check_monotone(at, start, before, now);
        let same_process = before
            .filter(|(known, _)| *known == start)
            .map(|(_, progress)| progress);
        let from = same_process.map_or(LogIndex(0), |progress| progress.commit);
        state.check_commit(at, from, now);
        let led = same_process.filter(|progress| progress.role == Role::Leader && progress.term == now.term);
        if now.role == Role::Leader && led.is_some() && now.commit > from {
            state.check_own_term(at, now);
        }
        let is_new = now.role == Role::Leader && led.is_none();
        if is_new {
            self.marks.hit("leaders");
            let replica = state.replicas.entry(at).or_default();
            replica.led = replica.led.max(now.term);
            if replica.cut_in == Some(now.term) {
                state.violate_cut(at, now.term);
            }
            state.check_new_leader(at, now);
        }
        is_new
    }

    /// An entry was applied, and the state has this digest now.
    pub(super) fn on_apply(&self, at: At, entry: &Entry, digest: u64) {
        let mut state = self.lock();
        let truth = state.truths.entry(at.group).or_default();
        let first = !truth.applied.contains_key(&entry.id.index);
        let (term, known) = *truth
            .applied
            .entry(entry.id.index)
            .or_insert((entry.id.term, digest));
        if (term, known) != (entry.id.term, digest) {
            let what = format!(
                "node {} applies entry {} where another replica applied {}, or reached another state",
                at.node,
                entry.id,
                LogId {
                    term,
                    index: entry.id.index
                }
            );
            state.violate("CS-SM-01", what);
        }
        if first && matches!(entry.kind, EntryKind::Data | EntryKind::Command) {
            state.place(at, entry);
        }
    }

    /// A checkpoint was restored whose state has this digest.
    pub(super) fn on_restore(&self, at: At, index: LogIndex, digest: u64) {
        self.marks.hit("checkpoints restored");
        let mut state = self.lock();
        let truth = state.truths.entry(at.group).or_default();
        let known = truth.applied.get(&index).copied();
        if let Some((_, known)) = known.filter(|(_, known)| *known != digest) {
            let what = format!(
                "node {} restores a checkpoint at {index} with state {digest:x} where applying gives {known:x}",
                at.node
            );
            state.violate("CS-SNP-01", what);
        }
    }

    /// A proposal ended.
    pub(super) fn on_outcome(&self, at: At, id: ProposalId, outcome: &Outcome) {
        let mut state = self.lock();
        let code = match outcome {
            Outcome::Committed(_) => 1,
            Outcome::NotCommitted(_) => 2,
            Outcome::Unknown(_) => 3,
        };
        state.note(&[id.stream, id.number, code]);
        match outcome {
            Outcome::Committed(appended) => {
                self.marks.hit("acknowledged");
                state.acknowledge(at, id, *appended);
            }
            Outcome::NotCommitted(_) => {
                self.marks.hit("not committed");
                state.refuse(at.group, id);
            }
            Outcome::Unknown(_) => self.marks.hit("unknown"),
        }
    }

    /// A proposal was refused at the door.
    pub(super) fn on_refused(&self, group: GroupId, id: ProposalId) {
        self.lock().refuse(group, id);
    }

    /// Compares all logs with each other.
    pub(super) fn check_logs(&self) {
        let mut state = self.lock();
        let ats: Vec<At> = state.replicas.keys().copied().collect();
        for (number, one) in ats.iter().enumerate() {
            for other in ats
                .iter()
                .skip(number + 1)
                .filter(|other| other.group == one.group)
            {
                let logs = (state.replicas.get(one), state.replicas.get(other));
                let (Some(first), Some(second)) = logs else {
                    continue;
                };
                if let Some(what) = disagreement(&first.log, &second.log) {
                    let what = format!("nodes {} and {}: {what}", one.node, other.node);
                    state.violate("CS-LOG-01", what);
                }
            }
        }
    }

    /// At the end of a run, when all replicas have applied everything: what was acknowledged is there.
    pub(super) fn check_acked(&self) {
        let mut state = self.lock();
        let State {
            truths, violations, ..
        } = &mut *state;
        for truth in truths.values() {
            for (id, appended) in &truth.acked {
                let place = truth.places.get(id);
                if place != Some(&(appended.id, appended.base_offset.0)) {
                    let what = format!(
                        "{id:?} was acknowledged at {} (offset {}), and is at {place:?}",
                        appended.id, appended.base_offset
                    );
                    note_once(violations, "CS-STO-01", what);
                    break;
                }
            }
        }
    }
}

/// Where two logs break log matching.
fn disagreement(one: &BTreeMap<LogIndex, Term>, other: &BTreeMap<LogIndex, Term>) -> Option<String> {
    let mut agree = false;
    for (index, term) in one.iter().rev() {
        let Some(there) = other.get(index) else { continue };
        if agree && term != there {
            return Some(format!(
                "entry {index} is of terms {term} and {there}, and later entries agree"
            ));
        }
        agree |= term == there;
    }
    None
}

fn note_once(violations: &mut Vec<Violation>, clause: &'static str, what: String) {
    if !violations.iter().any(|known| known.clause == clause) {
        violations.push(Violation { clause, what });
    }
}

impl State {
    fn violate(&mut self, clause: &'static str, what: String) {
        note_once(&mut self.violations, clause, what);
    }

    fn note(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.digest = (self.digest ^ number)
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(5);
        }
    }

    fn log_of_leader(&self, at: At, term: Term) -> Option<BTreeMap<LogIndex, Term>> {
        self.replicas
            .iter()
            .filter(|(other, _)| other.group == at.group && other.node != at.node)
            .find(|(_, known)| {
                known
                    .progress
                    .is_some_and(|(_, progress)| progress.role == Role::Leader && progress.term == term)
            })
            .map(|(_, known)| known.log.clone())
    }

    fn violate_cut(&mut self, at: At, term: Term) {
        let what = format!(
            "node {} leads term {term} and removed entries of its own log",
            at.node
        );
        self.violate("CS-LOG-02", what);
    }

    /// In one process nothing goes back. The next process may have forgotten a term in which the replica did nothing.
    fn check_monotone(&mut self, at: At, start: u64, before: Option<(u64, Progress)>, now: Progress) {
        let Some((known, before)) = before else { return };
        let led = self.replicas.get(&at).map_or(Term(0), |replica| replica.led);
        let least = if known == start { before.term } else { led };
        if now.term < least {
            let what = format!("the term of node {} falls from {least} to {}", at.node, now.term);
            self.violate("CS-ORD-01", what);
        }
        if known == start && now.commit < before.commit {
            let what = format!(
                "the commit index of node {} falls from {} to {}",
                at.node, before.commit, now.commit
            );
            self.violate("CS-ORD-01", what);
        }
    }

    fn check_commit(&mut self, at: At, from: LogIndex, now: Progress) {
        let Some(known) = self.replicas.get(&at) else {
            return;
        };
        let fresh: Vec<(LogIndex, Term)> = known
            .log
            .range(from.next()..)
            .take_while(|(index, _)| **index <= now.commit)
            .map(|(index, term)| (*index, *term))
            .collect();
        let last = known.log.last_key_value().map_or(LogIndex(0), |(last, _)| *last);
        if now.commit > last {
            let what = format!(
                "node {} commits up to {} and its log ends at {last}",
                at.node, now.commit
            );
            self.violate("CS-SM-02", what);
        }
        for (index, term) in fresh {
            self.commit(at, LogId { term, index }, now.term);
        }
    }

    /// An entry is committed, by the word of a node in `seen_in`.
    fn commit(&mut self, at: At, id: LogId, seen_in: Term) {
        let truth = self.truths.entry(at.group).or_default();
        let entry = truth.committed.entry(id.index).or_insert(Committed {
            term: id.term,
            seen_in,
        });
        entry.seen_in = entry.seen_in.min(seen_in);
        if entry.term != id.term {
            let known = LogId {
                term: entry.term,
                index: id.index,
            };
            let what = format!(
                "node {} has {id} as committed where {known} was committed before",
                at.node
            );
            self.violate("CS-LOG-04", what);
        }
    }

    fn check_own_term(&mut self, at: At, now: Progress) {
        let log = self.replicas.get(&at).map(|known| &known.log);
        let term = log.and_then(|log| log.get(&now.commit)).copied();
        if let Some(term) = term.filter(|term| *term != now.term) {
            let what = format!(
                "node {} leads term {} and commits up to {}, an entry of term {term}",
                at.node, now.term, now.commit
            );
            self.violate("CS-LOG-06", what);
        }
    }

    fn check_new_leader(&mut self, at: At, now: Progress) {
        let replica = at.replica();
        let truth = self.truths.entry(at.group).or_default();
        let leader = *truth.leaders.entry(now.term).or_insert(replica);
        let log = self
            .replicas
            .get(&at)
            .map(|known| known.log.clone())
            .unwrap_or_default();
        let start = log.first_key_value().map_or(LogIndex(0), |(first, _)| *first);
        let missing = truth
            .committed
            .iter()
            .filter(|(index, entry)| **index >= start && entry.seen_in < now.term)
            .find(|(index, entry)| log.get(index) != Some(&entry.term))
            .map(|(index, entry)| LogId {
                term: entry.term,
                index: *index,
            });
        if leader != replica {
            let what = format!("replicas {leader} and {replica} both lead term {}", now.term);
            self.violate("CS-ELE-01", what);
        }
        if let Some(id) = missing {
            let what = format!(
                "node {} leads term {} without the committed entry {id}",
                at.node, now.term
            );
            self.violate("CS-LOG-03", what);
        }
    }

    /// Notes where the proposals of an entry are.
    fn place(&mut self, at: At, entry: &Entry) {
        let Some(found) = frames(&entry.payload) else {
            let what = format!(
                "node {} applies entry {} whose bytes nobody proposed",
                at.node, entry.id
            );
            self.violate("CS-SM-01", what);
            return;
        };
        let mut offset = entry.base_offset.0;
        for frame in found {
            let truth = self.truths.entry(at.group).or_default();
            let before = truth.places.insert(frame.id, (entry.id, offset));
            let newest = truth
                .newest_of_stream
                .entry(frame.id.stream)
                .or_insert(frame.id.number);
            let out_of_order = *newest > frame.id.number;
            *newest = (*newest).max(frame.id.number);
            let refused = truth.refused.contains(&frame.id);
            if entry.kind == EntryKind::Data && (frame.base_offset, frame.term) != (offset, entry.id.term.0) {
                let what = format!("{:?} at {} has the stamp of another place", frame.id, entry.id);
                self.violate("CS-SM-01", what);
            }
            if before.is_some() {
                let what = format!(
                    "{:?} is in the log twice, at {before:?} and {}",
                    frame.id, entry.id
                );
                self.violate("CS-LIN-04", what);
            }
            if refused {
                let what = format!(
                    "{:?} was reported as not committed and is at {}",
                    frame.id, entry.id
                );
                self.violate("CS-LIN-04", what);
            }
            if out_of_order {
                let what = format!(
                    "{:?} follows a later call of its stream, at {}",
                    frame.id, entry.id
                );
                self.violate("CS-LIN-05", what);
            }
            offset += i64::from(frame.records);
        }
    }

    fn acknowledge(&mut self, at: At, id: ProposalId, appended: Appended) {
        self.commit(at, appended.id, appended.id.term);
        let truth = self.truths.entry(at.group).or_default();
        truth.acked.push((id, appended));
        truth.newest_acked = truth.newest_acked.max(appended.id.index);
    }

    fn refuse(&mut self, group: GroupId, id: ProposalId) {
        let truth = self.truths.entry(group).or_default();
        truth.refused.insert(id);
        if let Some(place) = truth.places.get(&id).copied() {
            let what = format!("{id:?} is at {place:?} and is reported as not committed");
            self.violate("CS-LIN-04", what);
        }
    }
}

#[cfg(test)]
mod tests;
