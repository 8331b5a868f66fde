//! Groups in which nothing happens: no ticks and no heartbeats, while the nodes of their replicas hear each other.
//!
//! A leader whose followers have everything says with its heartbeats that it is about to sleep. A follower that has
//! everything, too, and knows it to be committed, sleeps at that and says so; once all sleep, the leader does. Any
//! other message, and any call, wakes a replica; so does every doubt about a node that it relies on.

use super::{Context, Group};
use crate::raft_rs::counters::count;
use chronik_core::{LogIndex, NodeId, ReplicaId};
use raft::StateRole;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Sleep {
    asleep: bool,
    /// Ticks in which nothing happened.
    idle_ticks: u32,
    /// The end of the log and the commit index at the last tick.
    seen: (LogIndex, LogIndex),
    /// On a leader that is about to sleep: since when, and who sleeps already.
    drowsy_since: Option<Duration>,
    sleepers: BTreeSet<ReplicaId>,
}

impl Group {
    pub(in crate::raft_rs) fn is_asleep(&self) -> bool {
        self.sleep.asleep
    }

    /// Whether the group's next heartbeat, or answer to one, speaks of sleep.
    pub(super) fn speaks_of_sleep(&self) -> bool {
        self.sleep.asleep || self.sleep.drowsy_since.is_some()
    }

    /// Something happened, or might.
    pub(in crate::raft_rs) fn wake(&mut self, context: &Context) {
        self.sleep.idle_ticks = 0;
        self.sleep.drowsy_since = None;
        self.sleep.sleepers.clear();
        if std::mem::take(&mut self.sleep.asleep) {
            context
                .counters
                .groups_hibernating
                .fetch_sub(1, Ordering::Relaxed);
            self.raw.raft.election_elapsed = 0;
            self.shown.set_asleep(false);
        }
    }

    fn fall_asleep(&mut self, context: &Context) {
        if !self.sleep.asleep {
            self.sleep.asleep = true;
            count(&context.counters.groups_hibernating, 1);
            self.shown.set_asleep(true);
        }
    }

    /// Whether there is nothing left to do on this replica.
    fn is_at_rest(&self) -> bool {
        let log = &self.raw.raft.raft_log;
        let last = log.last_index();
        log.committed == last
            && log.persisted == last
            && self.rounds.is_empty()
            && self.proposals.is_empty()
            && self.barriers.is_empty()
            && self.changes.is_empty()
            && self.pending.is_empty()
            && self.applied.outgoing_voters.is_empty()
            && self.election.is_quiet()
    }

    /// A tick of a leader: after some in which nothing happened it gets drowsy.
    pub(super) fn count_idle(&mut self, context: &Context) {
        let seen = (self.last_index(), self.commit());
        let moved = std::mem::replace(&mut self.sleep.seen, seen) != seen;
        let raft = &self.raw.raft;
        if moved || raft.state != StateRole::Leader || !self.is_at_rest() {
            self.sleep.idle_ticks = 0;
            self.sleep.drowsy_since = None;
            self.sleep.sleepers.clear();
            return;
        }
        self.sleep.idle_ticks = self.sleep.idle_ticks.saturating_add(1);
        let patience = context.options.hibernate_ticks;
        if patience == 0 || self.sleep.idle_ticks < patience || self.sleep.drowsy_since.is_some() {
            return;
        }
        let last = raft.raft_log.last_index();
        let alone = raft.prs().iter().count() == 1;
        let all_there = raft.prs().iter().all(|(_, progress)| progress.matched == last);
        if all_there && !alone && self.changes.founded {
            self.sleep.drowsy_since = Some(context.now);
        }
    }

    /// A heartbeat said that its leader is about to sleep.
    pub(super) fn told_to_sleep(&mut self, context: &Context, commit: u64, term: u64) {
        let raft = &self.raw.raft;
        let follows =
            raft.state == StateRole::Follower && raft.leader_id != raft::INVALID_ID && raft.term == term;
        if follows && commit == raft.raft_log.last_index() && self.is_at_rest() {
            self.fall_asleep(context);
        }
    }

    /// A follower said in answer to a heartbeat that it sleeps.
    pub(super) fn told_of_sleeper(&mut self, context: &Context, from: ReplicaId, sent_at: Duration) {
        let Some(since) = self.sleep.drowsy_since.filter(|since| *since <= sent_at) else {
            return;
        };
        self.sleep.sleepers.insert(from);
        let own = self.replica.replica.0;
        let sleepers = &self.sleep.sleepers;
        let prs = self.raw.raft.prs();
        let all = prs
            .iter()
            .all(|(id, _)| *id == own || sleepers.contains(&ReplicaId(*id)));
        if all && self.is_at_rest() && since <= context.now {
            self.fall_asleep(context);
        }
    }

    /// Whether this replica relies on a node while it sleeps.
    pub(in crate::raft_rs) fn relies_on(&self, node: NodeId) -> bool {
        if self.is_leader() {
            self.answered
                .keys()
                .any(|replica| self.book.get(replica) == Some(&node))
        } else {
            self.leader_node() == Some(node)
        }
    }
}
