//! S1, S2, S3, S13: what is committed, by our own count.
//!
//! The crate counts entries as replicated that are not: streams of new voters (S1), what it assumes at the start of a
//! term (S2), conflicts (S3). Here an entry is committed when a majority of every voter set of the newest membership
//! confirmed in this term that it is durable, this replica no further than its own log is durable, and when it is of
//! this term.

use super::counters::count;
use super::replica::Replica;
use super::state::State;
use super::wire::Request;
use chronik_core::consensus::Member;
use chronik_core::proposal::ProposeError;
use chronik_core::{LogIndex, Outcome, ReplicaId};

/// What a majority of `voters` has.
fn majority_has(voters: &[Member], mut has: impl FnMut(ReplicaId) -> LogIndex) -> LogIndex {
    let mut indexes: Vec<LogIndex> = voters.iter().map(|voter| has(voter.replica)).collect();
    indexes.sort_unstable_by(|a, b| b.cmp(a));
    indexes.get(voters.len() / 2).copied().unwrap_or_default()
}

impl Replica {
    /// Looks whether more became durable or committed, and settles what waited for it.
    pub(super) fn advance(&self) {
        let mut state = self.state();
        if state.stopped {
            return;
        }
        let durable = self.reader.state().durable;
        self.settle_durable(&mut state, durable);
        if state.leads && self.guards().s1_s2_s3_own_commit {
            let commit = self.verified_commit(&state, durable);
            self.commit_to(&mut state, commit);
        }
    }

    fn verified_commit(&self, state: &State, durable: LogIndex) -> LogIndex {
        let newest = state.newest();
        let has = |replica: ReplicaId| {
            if replica == state.me.replica {
                durable
            } else {
                state
                    .peers
                    .get(&replica)
                    .map_or(LogIndex(0), |peer| peer.confirmed)
            }
        };
        let mut index = majority_has(&newest.voters, has);
        if !newest.outgoing_voters.is_empty() {
            index = index.min(majority_has(&newest.outgoing_voters, has));
        }
        let own_term = self.term_at(index) == Some(state.hard.term);
        if own_term { index } else { LogIndex(0) }
    }

    /// Everything up to `commit` is committed.
    pub(super) fn commit_to(&self, state: &mut State, commit: LogIndex) {
        if commit <= state.commit || state.stopped {
            return;
        }
        state.commit = commit;
        self.give_way_when_removed(state);
        // Who learns that a proposal is committed finds it below the commit index.
        self.show(state);
        self.settle_committed(state, commit);
        self.tell_commit(state);
    }

    fn settle_durable(&self, state: &mut State, durable: LogIndex) {
        while let Some(id) = state.unsynced.front().copied() {
            if id.index > durable {
                break;
            }
            state.unsynced.pop_front();
            let same = self.term_at(id.index) == Some(id.term);
            if let Some(pending) = state.pending.get(&(id.index, id.term)).filter(|_| same) {
                pending.sender.durable();
            }
        }
    }

    /// What is at or below a committed index is committed, or was overwritten for ever (L9).
    fn settle_committed(&self, state: &mut State, commit: LogIndex) {
        let after = state.pending.split_off(&(commit.next(), chronik_core::Term(0)));
        let settled = std::mem::replace(&mut state.pending, after);
        let now = self.now();
        for ((index, term), pending) in settled {
            let outcome = match self.term_at(index) {
                Some(found) if found == term => {
                    count(&self.counters().commits, 1);
                    let waited = now.saturating_sub(pending.since);
                    log::trace!(
                        "event=committed group={} index={index} waited={waited:?}",
                        self.group
                    );
                    Outcome::Committed(pending.appended)
                }
                Some(_) => {
                    let leader = state.other_leader();
                    Outcome::NotCommitted(ProposeError::NotLeader { leader })
                }
                // A checkpoint took the place of the entries.
                None => Outcome::Unknown("the entry was purged before its outcome was known".into()),
            };
            pending.sender.finish(outcome);
        }
    }

    /// Followers need not wait for the next message to learn what is committed.
    pub(super) fn tell_commit(&self, state: &mut State) {
        if !state.leads || !self.guards().s1_s2_s3_own_commit {
            return;
        }
        let (term, commit) = (state.hard.term, state.commit);
        let mut told = Vec::new();
        for (replica, peer) in &mut state.peers {
            if !peer.running && !peer.failed && peer.told_commit < commit {
                peer.told_commit = commit;
                told.push(*replica);
            }
        }
        for replica in told {
            self.tell(state, replica, Request::Committed { term, commit });
        }
    }

    /// A leader that the newest membership does not have commits that membership, then leads no longer (L9).
    fn give_way_when_removed(&self, state: &mut State) {
        if state.leads && !state.is_voter() && state.newest_at() <= state.commit {
            log::info!(
                "event=removed_leader group={} replica={}",
                self.group,
                self.me.replica
            );
            state.fenced = true;
        }
    }
}
