//! Messages of other replicas: what the crate gets to see of them, and what is answered.
//!
//! One task per replica takes them in order and to the end, whatever becomes of the sender's call.

use super::counters::count;
use super::descriptor::{CrateEntry, crate_entry};
use super::replica::Replica;
use super::wire::{Append, AppendAnswer, Vote, VoteAnswer};
use crate::membership::decode_membership;
use async_raft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use chronik_core::{Entry, EntryKind, LogId, LogIndex, ReplicaId, Term};
use std::sync::Arc;

/// What a message brings to this log.
#[derive(Debug)]
enum Fit {
    /// The entry before it is here; entries that are held already are gone from it.
    Follows {
        /// Before the entries that are left.
        previous: LogId,
        entries: Vec<Entry>,
        /// The last entry that is surely the leader's once those are appended.
        matched: LogIndex,
    },
    /// The logs part at or before this entry.
    Parts(LogId),
    /// The message contradicts what is committed.
    Contradicts,
}

impl Replica {
    /// Entries of a leader, or its heartbeat.
    pub(super) async fn on_append(self: &Arc<Self>, from: ReplicaId, append: Append) -> Option<AppendAnswer> {
        let term = self.state().hard.term;
        if append.term < term && self.guards().s3_l3_l7_own_messages {
            return Some(refused(term));
        }
        if append.fenced {
            // L9: a leader without a quorum must not hold back an election; that it was heard is all it learns.
            return Some(AppendAnswer {
                term: append.term,
                success: true,
                confirmed: LogIndex(0),
                conflict: None,
            });
        }
        if !self.guards().s3_l3_l7_own_messages {
            return self.on_published_append(from, append).await;
        }
        if !is_run(&append) {
            count(&self.counters().dropped_malformed, 1);
            return None;
        }
        let message_term = append.term;
        let commit = append.commit;
        let floor = append.floor;
        let (fit, parts) = match self.fit(&append) {
            Fit::Contradicts => {
                count(&self.counters().guard_committed_contradictions, 1);
                log::error!(
                    "event=committed_contradicted group={} replica={} leader={from} term={message_term} after={}",
                    self.group,
                    self.me.replica,
                    append.previous
                );
                return Some(refused(term));
            }
            Fit::Parts(hint) => (None, Some(hint)),
            Fit::Follows {
                previous,
                entries,
                matched,
            } => (Some((previous, entries, matched)), None),
        };
        let (previous, entries, matched) = fit.unwrap_or_default();
        let answer = self
            .hand_over(from, message_term, previous, entries, matched.min(commit))
            .await?;
        if answer.term != message_term.0 || !answer.success {
            return Some(refused(Term(answer.term)));
        }
        self.follow(from, message_term);
        if let Some(hint) = parts {
            count(&self.counters().guard_previous_mismatches, 1);
            return Some(AppendAnswer {
                term: message_term,
                success: false,
                confirmed: LogIndex(0),
                conflict: Some(hint),
            });
        }
        Some(self.confirm(message_term, matched, commit, floor))
    }

    /// S5: compares what comes before the message; S6: drops what is held.
    fn fit(&self, append: &Append) -> Fit {
        let guards = self.guards();
        let log = self.reader.state();
        let commit = self.state().commit;
        let end = append
            .entries
            .last()
            .map_or(append.previous.index, |entry| entry.id.index);
        if guards.s5_check_previous && !self.holds(append.previous, log.purged.index) {
            if append.previous.index <= commit {
                return Fit::Contradicts;
            }
            return Fit::Parts(self.hint(append.previous, commit, log.last.index));
        }
        if !guards.s6_keep_held_entries {
            return Fit::Follows {
                previous: append.previous,
                entries: append.entries.clone(),
                matched: end,
            };
        }
        let held = append
            .entries
            .iter()
            .take_while(|entry| self.holds(entry.id, log.purged.index))
            .count();
        count(&self.counters().guard_held_entries, held as u64);
        let (held, new) = append.entries.split_at(held);
        let previous = held.last().map_or(append.previous, |entry| entry.id);
        if new.first().is_some_and(|first| first.id.index <= commit) {
            return Fit::Contradicts;
        }
        Fit::Follows {
            previous,
            entries: new.to_vec(),
            matched: end,
        }
    }

    /// The log has this very entry; what is purged is committed and was compared before.
    fn holds(&self, id: LogId, purged: LogIndex) -> bool {
        id.index <= purged || self.term_at(id.index) == Some(id.term)
    }

    /// S3, L3: an entry below `previous` where the logs may agree: the last one here of no newer term. Never below what
    /// is committed, where they surely agree.
    fn hint(&self, previous: LogId, commit: LogIndex, last: LogIndex) -> LogId {
        let mut index = LogIndex(previous.index.0.saturating_sub(1)).min(last);
        while index > commit && self.term_at(index).is_some_and(|term| term > previous.term) {
            index = self.before_term_of(index, commit);
        }
        let index = index.max(commit.min(LogIndex(previous.index.0.saturating_sub(1))));
        LogId {
            term: self.term_at(index).unwrap_or_default(),
            index,
        }
    }

    /// The last entry before those of the term at `index`, by halving.
    pub(super) fn before_term_of(&self, index: LogIndex, floor: LogIndex) -> LogIndex {
        let term = self.term_at(index);
        let (mut low, mut high) = (floor.0, index.0);
        // Everything at `high` is of the term; `low` may not be.
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if self.term_at(LogIndex(middle)) == term {
                high = middle
            } else {
                low = middle
            }
        }
        LogIndex(low)
    }

    /// Gives the crate a message. `None` where the crate runs no longer.
    async fn hand_over(
        self: &Arc<Self>,
        from: ReplicaId,
        term: Term,
        previous: LogId,
        entries: Vec<Entry>,
        commit: LogIndex,
    ) -> Option<AppendEntriesResponse> {
        // What is committed here stays so, whatever the crate makes of it.
        let mut commit = commit.max(self.state().commit);
        if self.guards().l6_joint_clamp {
            commit = commit.min(self.joint_clamp(&entries));
        }
        let entries = self.stage(entries);
        let message = AppendEntriesRequest {
            term: term.0,
            leader_id: from.0,
            prev_log_index: previous.index.0,
            prev_log_term: previous.term.0,
            entries,
            leader_commit: commit.0,
        };
        let answer = self.raft()?.append_entries(message).await;
        self.state().incoming.clear();
        answer.inspect_err(|error| self.stop_for(&error.to_string())).ok()
    }

    /// Lays entries out for the crate's append hook.
    fn stage(&self, entries: Vec<Entry>) -> Vec<CrateEntry> {
        let mut state = self.state();
        let mut seen = Vec::with_capacity(entries.len());
        for entry in entries {
            let membership = match entry.kind {
                EntryKind::Membership => decode_membership(&entry.payload),
                _ => None,
            };
            seen.push(crate_entry(entry.id, membership.as_ref()));
            state.incoming.insert(entry.id.index, entry);
        }
        seen
    }

    /// L6: a new leader that the crate told of a committed joint membership never leaves it.
    fn joint_clamp(&self, entries: &[Entry]) -> LogIndex {
        let arriving = entries.iter().rev().find_map(|entry| match entry.kind {
            EntryKind::Membership => Some((entry.id.index, decode_membership(&entry.payload)?)),
            _ => None,
        });
        let joint_at = match arriving {
            Some((at, membership)) => (!membership.outgoing_voters.is_empty()).then_some(at),
            None => {
                let state = self.state();
                (!state.newest().outgoing_voters.is_empty()).then(|| state.newest_at())
            }
        };
        joint_at.map_or(LogIndex(u64::MAX), |at| LogIndex(at.0.saturating_sub(1)))
    }

    /// The crate took a message of `from` in its own term: that is the leader.
    fn follow(&self, from: ReplicaId, term: Term) {
        let mut state = self.state();
        if state.hard.term == term && state.leader != Some(from) {
            state.leader = Some(from);
            self.show(&state);
        }
    }

    /// What is durable here and surely the leader's; commit follows it.
    fn confirm(
        self: &Arc<Self>,
        term: Term,
        matched: LogIndex,
        commit: LogIndex,
        floor: LogIndex,
    ) -> AppendAnswer {
        let durable = self.reader.state().durable;
        let mut state = self.state();
        let before = if state.verified.0 == term {
            state.verified.1
        } else {
            LogIndex(0)
        };
        state.verified = (term, before.max(matched));
        state.floor = state.floor.max(floor);
        let confirmed = matched.min(durable);
        if self.guards().s4_s11_own_apply_signal {
            let commit = commit.min(state.verified.1);
            self.commit_to(&mut state, commit);
        }
        AppendAnswer {
            term,
            success: true,
            confirmed,
            conflict: None,
        }
    }

    /// A leader says how far entries are committed: true as far as this log is surely the leader's.
    pub(super) fn on_committed(&self, term: Term, commit: LogIndex) {
        let mut state = self.state();
        if state.hard.term == term && state.verified.0 == term && self.guards().s4_s11_own_apply_signal {
            let commit = commit.min(state.verified.1);
            self.commit_to(&mut state, commit);
        }
    }

    /// The message as the crate published it, for tests that show what it does with it.
    async fn on_published_append(self: &Arc<Self>, from: ReplicaId, append: Append) -> Option<AppendAnswer> {
        let Append {
            term,
            previous,
            commit,
            entries,
            ..
        } = append;
        let answer = self.hand_over(from, term, previous, entries, commit).await?;
        if answer.success {
            self.follow(from, term);
            if self.guards().s4_s11_own_apply_signal {
                let last = self.last().index;
                self.commit_to(&mut self.state(), commit.min(last));
            }
        }
        Some(AppendAnswer {
            term: Term(answer.term),
            success: answer.success,
            confirmed: LogIndex(0),
            conflict: answer
                .conflict_opt
                .map(|conflict| LogId::new(conflict.term, conflict.index)),
        })
    }

    /// A candidate asks for a vote.
    pub(super) async fn on_vote(self: &Arc<Self>, from: ReplicaId, vote: Vote) -> Option<VoteAnswer> {
        if self.guards().l10_foreign_votes && self.is_foreign(from) {
            count(&self.counters().guard_foreign_votes, 1);
            let term = self.state().hard.term;
            return Some(VoteAnswer { term, granted: false });
        }
        let own = self.last();
        let mut last = vote.last;
        if self.guards().l4_vote_order {
            // L4: the crate wants both numbers to be as large as its own. Logs compare by term, then index.
            last = if vote.last >= own {
                LogId::new(own.term.0.max(last.term.0), own.index.0.max(last.index.0))
            } else {
                LogId::default()
            };
            if last != vote.last {
                count(&self.counters().guard_votes_rewritten, 1);
            }
        }
        let request = VoteRequest::new(vote.term.0, from.0, last.index.0, last.term.0);
        let answer = self.raft()?.vote(request).await;
        let answer = answer
            .inspect_err(|error| self.stop_for(&error.to_string()))
            .ok()?;
        Some(VoteAnswer {
            term: Term(answer.term),
            granted: answer.vote_granted && answer.term == vote.term.0,
        })
    }

    /// L10, CS-MEM-05: the membership without this replica is committed.
    fn is_foreign(&self, from: ReplicaId) -> bool {
        let state = self.state();
        let newest = state.newest();
        let known = newest
            .voters
            .iter()
            .chain(&newest.outgoing_voters)
            .any(|voter| voter.replica == from);
        !known && !newest.voters.is_empty() && state.newest_at() <= state.commit
    }
}

/// The entries follow each other and what comes before them.
fn is_run(append: &Append) -> bool {
    let mut last = append.previous;
    append.entries.iter().all(|entry| {
        let follows = Some(entry.id.index.0) == last.index.0.checked_add(1) && entry.id.term >= last.term;
        last = entry.id;
        follows
    })
}

fn refused(term: Term) -> AppendAnswer {
    AppendAnswer {
        term,
        success: false,
        confirmed: LogIndex(0),
        conflict: None,
    }
}
