//! One replica of one group. The engine's task owns it: nothing here waits, and nothing here is shared.

mod apply;
mod change;
mod election;
mod maintain;
mod open;
mod persist;
mod proposals;
mod read;
mod receive;
mod sleep;
mod snapshot;
mod space;

pub(super) use open::{Opening, prepare};

use super::counters::{RaftCounters, count};
use super::inbox::{Answer, Inbox, Instance};
use super::options::RaftOptions;
use super::outbox::Outbox;
use super::shown::{Answered, Shown};
use super::storage::GroupStorage;
use change::Changes;
use chronik_core::consensus::{ConsensusError, Member, Membership, Progress, Role, Stamper};
use chronik_core::env::Env;
use chronik_core::log_store::{HardState, LogWriter};
use chronik_core::{LogError, LogId, LogIndex, NodeId, Offset, ReplicaId, Term};
use election::Election;
use persist::Round;
use proposals::Proposals;
use raft::{RawNode, StateRole};
use read::Barriers;
use sleep::Sleep;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What groups take from the engine.
pub(super) struct Context {
    pub(super) options: RaftOptions,
    pub(super) env: Env,
    pub(super) inbox: Inbox,
    pub(super) counters: Arc<RaftCounters>,
    pub(super) outbox: Outbox,
    /// The time of this round of the engine.
    pub(super) now: Duration,
    /// Reads for other replicas that may still start.
    pub(super) reads_left: usize,
}

/// A replica, its log, and what waits for it.
pub(super) struct Group {
    to: Instance,
    replica: Member,
    raw: RawNode<GroupStorage>,
    writer: Box<dyn LogWriter>,
    stamper: Arc<dyn Stamper>,
    shown: Arc<Shown>,
    /// What of role, term and leader was seen last.
    seen: (u64, StateRole, u64),
    own_term_start: Option<LogIndex>,
    /// The commit index as others may see it: raft-rs knows of commits before the log store has their entries in
    /// place of those that they replace.
    shown_commit: LogIndex,
    /// Term and vote as last given to the log.
    saved: HardState,
    /// The membership that raft-rs counts by: that of the newest entry applied.
    applied: Membership,
    /// Memberships in the log that are not applied yet.
    pending: BTreeMap<LogIndex, Membership>,
    /// Memberships that were applied, for checkpoints; the first holds at the purge point.
    history: Vec<(LogIndex, Membership)>,
    /// Where replicas are: of all memberships since the start, and of those who wrote to us.
    book: BTreeMap<ReplicaId, NodeId>,
    /// The offset after the last entry in the log store.
    log_end: Offset,
    /// The offset that the next proposal gets.
    next_offset: Offset,
    /// Stored checkpoints that the log can be purged to.
    checkpoints: BTreeMap<LogIndex, LogId>,
    /// Rounds whose writes are not durable yet.
    rounds: VecDeque<Round>,
    proposals: Proposals,
    barriers: Barriers,
    changes: Changes,
    election: Election,
    sleep: Sleep,
    /// When requests were sent whose answers came last, by replica.
    answered: BTreeMap<ReplicaId, Duration>,
    /// When a checkpoint was sent that was not answered yet.
    snapshots_sent: BTreeMap<ReplicaId, Duration>,
    /// A checkpoint is being read, and for whom.
    reading_checkpoint: bool,
    checkpoint_for: Vec<ReplicaId>,
    /// The disk has no room for what raft-rs wants to have written: nothing is said or heard until it has.
    starved: bool,
}

impl Group {
    pub(super) fn instance(&self) -> Instance {
        self.to
    }

    fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    fn leader(&self) -> Option<ReplicaId> {
        let id = self.raw.raft.leader_id;
        (id != 0).then_some(ReplicaId(id))
    }

    fn commit(&self) -> LogIndex {
        LogIndex(self.raw.raft.raft_log.committed)
    }

    fn not_leader(&self) -> ConsensusError {
        let leader = self.leader().filter(|leader| *leader != self.replica.replica);
        ConsensusError::NotLeader { leader }
    }

    /// The node of this group's leader, where both are known.
    pub(super) fn leader_node(&self) -> Option<NodeId> {
        let leader = self.leader()?;
        if leader == self.replica.replica {
            return Some(self.replica.node);
        }
        self.book.get(&leader).copied()
    }

    fn learn_nodes(&mut self, membership: &Membership) {
        let members = membership
            .voters
            .iter()
            .chain(&membership.outgoing_voters)
            .chain(&membership.learners);
        for member in members {
            self.book.insert(member.replica, member.node);
        }
    }

    /// The newest membership in the log.
    fn newest(&self) -> &Membership {
        self.pending.values().next_back().unwrap_or(&self.applied)
    }

    /// To be called after everything that may change raft-rs's state: notices changes of role, term and leader.
    fn observe(&mut self, context: &Context) {
        let raft = &self.raw.raft;
        let now = (raft.term, raft.state, raft.leader_id);
        if now == self.seen {
            return;
        }
        self.wake(context);
        let before = std::mem::replace(&mut self.seen, now);
        let (was, is) = (before.1 == StateRole::Leader, now.1 == StateRole::Leader);
        if before.0 != now.0 || before.1 != now.1 {
            self.election.draw(context);
        }
        if before.2 != now.2 && now.2 != 0 {
            count(&context.counters.leader_changes, 1);
        }
        if was != is {
            // Consumers read from the leader; what they read elsewhere the store sees by itself.
            self.writer.expect_readers(is);
        }
        if is && (!was || before.0 != now.0) {
            self.became_leader(context);
        }
        if was && !is {
            self.lost_leadership(context);
        }
        if before.2 != now.2 || before.0 != now.0 {
            self.barriers.ask_again();
        }
        log::debug!(
            "event=raft_role group={} replica={} term={} role={:?} leader={}",
            self.to.group,
            self.replica.replica,
            now.0,
            now.1,
            now.2
        );
        self.show();
        self.settle_transfer();
    }

    fn became_leader(&mut self, context: &Context) {
        let raft = &self.raw.raft;
        let own = raft.raft_log.unstable_entries().iter();
        let first = own.map(|entry| entry.index).min();
        self.own_term_start = first.map(LogIndex);
        self.next_offset = self.log_end;
        self.answered = raft
            .prs()
            .iter()
            .map(|(id, _)| (ReplicaId(*id), context.now))
            .collect();
        self.snapshots_sent.clear();
        count(&context.counters.groups_led, 1);
        log::info!(
            "event=leading group={} replica={} term={}",
            self.to.group,
            self.replica.replica,
            raft.term
        );
    }

    fn lost_leadership(&mut self, context: &Context) {
        self.own_term_start = None;
        self.answered.clear();
        self.proposals.lost_leadership();
        self.shown.set_answered(std::iter::empty());
        context.counters.groups_led.fetch_sub(1, Ordering::Relaxed);
        log::info!(
            "event=led group={} replica={} term={}",
            self.to.group,
            self.replica.replica,
            self.raw.raft.term
        );
    }

    fn role(&self) -> Role {
        let raft = &self.raw.raft;
        match raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Candidate => Role::Candidate,
            // Who asks whether it would get votes has not given up its term.
            StateRole::Follower | StateRole::PreCandidate if raft.promotable() => Role::Follower,
            StateRole::Follower | StateRole::PreCandidate => Role::Learner,
        }
    }

    /// Tells the watchers where the group stands.
    fn show(&self) {
        self.shown.set_progress(Progress {
            role: self.role(),
            term: Term(self.raw.raft.term),
            leader: self.leader(),
            commit: self.shown_commit,
            own_term_start: self.own_term_start,
        });
    }

    fn show_answered(&self, now: Duration) {
        if !self.is_leader() {
            return;
        }
        let own = self.replica.replica;
        let prs = self.raw.raft.prs();
        // In the order of `answered`, which is that of the replicas: raft-rs's own has no meaning.
        let known = self.answered.iter().filter_map(|(replica, sent_at)| {
            let progress = prs.get(replica.0)?;
            let sent_at = if *replica == own { now } else { *sent_at };
            Some(Answered {
                replica: *replica,
                index: LogIndex(progress.matched),
                sent_at,
            })
        });
        self.shown.set_answered(known);
    }

    /// Does what the inputs of this round of the engine made necessary.
    ///
    /// # Errors
    /// The log failed: the group must stop.
    pub(super) fn work(&mut self, context: &mut Context) -> Result<(), LogError> {
        loop {
            self.observe(context);
            self.propose_waiting(context)?;
            self.go_on_with_changes(context);
            self.ask_barriers();
            if !self.raw.has_ready() || !self.next_round_fits()? {
                break;
            }
            count(&context.counters.ready_rounds, 1);
            self.handle_ready(context)?;
            self.observe(context);
        }
        self.start_reads(context)?;
        self.show_answered(context.now);
        Ok(())
    }

    /// The group ends; nothing is promised any more.
    pub(super) fn stop(self, context: &Context) {
        if self.is_leader() {
            context.counters.groups_led.fetch_sub(1, Ordering::Relaxed);
        }
        context.counters.groups_open.fetch_sub(1, Ordering::Relaxed);
        self.shown.stop();
    }

    /// Answers of requests that took too long.
    fn expire(&mut self, now: Duration) {
        self.barriers.expire(now);
        self.changes.expire(now);
    }
}

/// What waits for an answer until a deadline.
#[derive(Debug)]
struct Pending<T> {
    answer: Answer<T>,
    deadline: Duration,
}
