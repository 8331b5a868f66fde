//! When a replica asks for votes.
//!
//! raft-rs draws its election timeouts from the thread's random numbers, so its own timer is set out of reach and
//! the group's, drawn from the environment, decides: a simulated run can be repeated.

use super::{Context, Group};
use crate::raft_rs::counters::count;
use chronik_core::NodeId;
use raft::StateRole;
use std::time::Duration;

/// How often votes are asked for again, after the connection to a leader was lost, before silence alone decides.
const HURRIED_MAX: u32 = 3;

/// A timeout of raft-rs that never ends.
pub(super) const NEVER_TICKS: usize = usize::MAX / 4;

/// The group's election timer.
#[derive(Debug, Default)]
pub(super) struct Election {
    /// After this many ticks without a leader's word the replica asks for votes.
    timeout_ticks: usize,
    /// Or at this moment, where something says that the leader is gone.
    at: Option<Duration>,
    /// How often votes were asked for again since that was said.
    hurried: u32,
}

impl Election {
    /// Whether no election is due for another reason than silence.
    pub(super) fn is_quiet(&self) -> bool {
        self.at.is_none()
    }

    /// A new timeout, as after every change of term or role.
    pub(super) fn draw(&mut self, context: &Context) {
        let ticks = u64::from(context.options.election_ticks);
        self.timeout_ticks = (ticks + context.env.rng.next_u64() % ticks) as usize;
    }
}

impl Group {
    /// One tick of the clock.
    pub(in crate::raft_rs) fn tick(&mut self, context: &Context) {
        if self.is_asleep() {
            return;
        }
        if self.starved {
            self.starve(context);
            return;
        }
        self.count_idle(context);
        self.raw.tick();
        self.observe(context);
        if !self.is_leader() && self.raw.raft.prs().get(self.replica.replica.0).is_none() {
            self.proposals.give_up();
        }
        self.expire(context.now);
        self.expire_snapshots(context);
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader && raft.election_elapsed >= self.election.timeout_ticks {
            self.campaign(context);
        }
    }

    /// When the group wants to be woken apart from ticks.
    pub(in crate::raft_rs) fn alarm(&self) -> Option<Duration> {
        self.election.at
    }

    /// The moment of [`Group::alarm`] has come.
    pub(in crate::raft_rs) fn ring(&mut self, context: &Context) {
        if self.election.at.is_some_and(|at| at <= context.now) {
            self.election.at = None;
            if self.leader().is_none() {
                count(&context.counters.fast_elections, 1);
                self.campaign(context);
                self.campaign_again(context);
            }
        }
    }

    /// Asks for votes after at most `jitter`, unless a leader is heard before.
    pub(in crate::raft_rs) fn campaign_soon(&mut self, context: &Context, jitter: Duration) {
        let span = u64::try_from(jitter.as_micros()).unwrap_or(u64::MAX).max(1);
        let wait = Duration::from_micros(context.env.rng.next_u64() % span);
        self.election.at = Some(context.now + wait);
        self.election.hurried = 0;
    }

    /// Replicas that asked at the same moment share the votes between them, which tells none of them that it has lost.
    /// Who knows of no leader a while later asks again: each time later than before, so that an election that is slow
    /// comes to its end.
    fn campaign_again(&mut self, context: &Context) {
        if self.election.hurried == HURRIED_MAX || self.leader().is_some() {
            return;
        }
        self.election.hurried += 1;
        let span = context.options.fast_election_jitter * (1 << self.election.hurried);
        let chance = context.env.rng.next_u64() % u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
        self.election.at = Some(context.now + span + Duration::from_micros(chance));
    }

    /// The connection to a node is lost. A follower of a leader there forgets it, so that its lease keeps nobody from
    /// being elected, and asks for votes soon.
    pub(in crate::raft_rs) fn lost_connection(&mut self, context: &Context, node: NodeId) {
        if self.relies_on(node) {
            self.wake(context);
        }
        if self.raw.raft.state == StateRole::Follower && self.leader_node() == Some(node) {
            self.raw.raft.leader_id = raft::INVALID_ID;
            self.observe(context);
            if self.raw.raft.promotable() {
                self.campaign_soon(context, context.options.fast_election_jitter);
            }
        }
        self.report_unreachable(node);
    }

    /// What is sent now cannot be lost silently by this replica's own writes: see the assertions of raft-rs.
    pub(super) fn may_campaign(&self) -> bool {
        let raft = &self.raw.raft;
        let installing = self.rounds.iter().any(|round| round.snapshot.is_some());
        let alone = raft.prs().conf().voters().is_singleton();
        let persisted = raft.raft_log.persisted == raft.raft_log.last_index();
        raft.promotable() && !installing && (!alone || persisted)
    }

    fn campaign(&mut self, context: &Context) {
        self.raw.raft.election_elapsed = 0;
        self.election.draw(context);
        if self.starved || !self.may_campaign() || !self.has_room_to_lead() {
            return;
        }
        count(&context.counters.elections, 1);
        log::info!(
            "event=election group={} replica={} term={}",
            self.to.group,
            self.replica.replica,
            self.raw.raft.term
        );
        if let Err(error) = self.raw.campaign() {
            log::warn!("event=election_failed group={} error=\"{error}\"", self.to.group);
        }
        self.observe(context);
    }
}
