//! Membership changes and transfers of leadership.

use super::{Context, Group, Pending};
use crate::membership::{encode_membership, why_invalid};
use crate::raft_rs::conf;
use crate::raft_rs::entry::{Draft, change_context, to_raft};
use crate::raft_rs::inbox::Answer;
use bytes::Bytes;
use chronik_core::consensus::{ConsensusError, Member, Membership, MembershipChange};
use chronik_core::{EntryKind, LogError, LogId, LogIndex, ReplicaId};
use raft::eraftpb::{self, ConfChangeV2, EntryType, MessageType};
use std::time::Duration;

/// What a member takes in an entry with a membership, at most: in the membership, and in the change.
const MEMBER_BYTES: usize = 64;

/// A change that somebody waits for.
#[derive(Debug)]
struct Running {
    waiting: Pending<LogId>,
    target: Membership,
}

/// A transfer that somebody waits for.
#[derive(Debug)]
struct Transfer {
    waiting: Pending<()>,
    to: ReplicaId,
}

#[derive(Debug, Default)]
pub(super) struct Changes {
    running: Option<Running>,
    transfer: Option<Transfer>,
    /// The log holds a membership; before that nothing can be changed.
    pub(super) founded: bool,
    /// This replica leads and is not a voter any more: it steps down once the others were told.
    leaving: bool,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_none() && self.transfer.is_none() && !self.leaving
    }

    pub(super) fn expire(&mut self, now: Duration) {
        if self
            .running
            .as_ref()
            .is_some_and(|running| running.waiting.deadline <= now)
            && let Some(running) = self.running.take()
        {
            let why = "the membership change was not seen committed in time";
            running
                .waiting
                .answer
                .give(Err(ConsensusError::Unknown(why.into())));
        }
        if self
            .transfer
            .as_ref()
            .is_some_and(|transfer| transfer.waiting.deadline <= now)
            && let Some(transfer) = self.transfer.take()
        {
            let why = "the other replica did not lead in time";
            transfer
                .waiting
                .answer
                .give(Err(ConsensusError::Unknown(why.into())));
        }
    }
}

impl Group {
    pub(in crate::raft_rs) fn change(
        &mut self,
        context: &Context,
        change: MembershipChange,
        answer: Answer<LogId>,
    ) {
        self.wake(context);
        match self.check_change(change) {
            Err(error) => answer.give(Err(error)),
            Ok(target) if target == self.applied => {
                let at = self.commit();
                let term = self.raw.store().term_at(at).unwrap_or_default();
                answer.give(Ok(LogId { term, index: at }));
            }
            Ok(target) if !self.has_room_to_change(&target) => {
                answer.give(Err(ConsensusError::Log(LogError::Full)));
            }
            Ok(target) => {
                let change = conf::change_between(&self.applied, &target);
                let begun = conf::begun(&self.applied, &target, &change);
                if self.propose_change(&change, &begun) {
                    let deadline = context.now + context.options.answer_timeout;
                    let waiting = Pending { answer, deadline };
                    self.changes.running = Some(Running { waiting, target });
                } else {
                    answer.give(Err(ConsensusError::Busy));
                }
            }
        }
    }

    fn check_change(&self, change: MembershipChange) -> Result<Membership, ConsensusError> {
        if !self.is_leader() {
            return Err(self.not_leader());
        }
        let busy = !self.changes.founded
            || self.changes.running.is_some()
            || !self.pending.is_empty()
            || !self.applied.outgoing_voters.is_empty()
            || self.raw.raft.has_pending_conf()
            || self.raw.raft.lead_transferee.is_some();
        if busy {
            return Err(ConsensusError::Busy);
        }
        let target = match change {
            MembershipChange::AddLearner(member) => {
                let mut target = self.applied.clone();
                if target.voters.contains(&member) {
                    let what = format!("replica {} is a voter already", member.replica);
                    return Err(ConsensusError::Invalid(what));
                }
                if !target.learners.contains(&member) {
                    target.learners.push(member);
                }
                target
            }
            MembershipChange::Become { voters, learners } => Membership {
                voters,
                outgoing_voters: Vec::new(),
                learners,
            },
        };
        match why_invalid(&target) {
            Some(what) => Err(ConsensusError::Invalid(what)),
            None => self.check_same_nodes(target),
        }
    }

    /// A replica never moves to another node.
    fn check_same_nodes(&self, target: Membership) -> Result<Membership, ConsensusError> {
        let known = || self.applied.voters.iter().chain(&self.applied.learners);
        let moved = |member: &&Member| {
            known().any(|other| other.replica == member.replica && other.node != member.node)
        };
        match target.voters.iter().chain(&target.learners).find(moved) {
            Some(member) => Err(ConsensusError::Invalid(format!(
                "replica {} is on another node than {}",
                member.replica, member.node
            ))),
            None => Ok(target),
        }
    }

    /// A leader that put into its log what does not fit would be silent until it does.
    fn has_room_to_change(&mut self, target: &Membership) -> bool {
        // The joint membership on the way there names those of both, and the change of raft-rs names them again.
        let members = target.voters.len() + target.outgoing_voters.len() + target.learners.len();
        let known =
            self.applied.voters.len() + self.applied.outgoing_voters.len() + self.applied.learners.len();
        let bytes = ((members + known) * MEMBER_BYTES) as u64;
        self.has_room_for_change(bytes)
    }

    /// Puts a change into the log; false where raft-rs does not take it now.
    fn propose_change(&mut self, change: &ConfChangeV2, becomes: &Membership) -> bool {
        let before = self.raw.raft.raft_log.last_index();
        let context = change_context(&self.membership_draft(becomes));
        if self.raw.propose_conf_change(context, change.clone()).is_err() {
            return false;
        }
        // raft-rs puts a blank entry in place of a change that it refuses.
        let unstable = self.raw.raft.raft_log.unstable_entries();
        unstable
            .iter()
            .any(|entry| entry.index > before && entry.get_entry_type() == EntryType::EntryConfChangeV2)
    }

    fn membership_draft(&self, membership: &Membership) -> Draft {
        Draft {
            kind: EntryKind::Membership,
            base_offset: self.next_offset,
            record_count: 0,
            max_timestamp_ms: -1,
            payload: Bytes::from(encode_membership(membership)),
        }
    }

    /// Once a round: founds the membership in the log, leaves a joint membership, steps down when removed.
    pub(super) fn go_on_with_changes(&mut self, context: &mut Context) {
        if !self.is_leader() {
            self.changes.leaving = false;
            return;
        }
        if !self.changes.founded && self.pending.is_empty() && self.has_room_to_change(&self.applied.clone())
        {
            self.found();
        }
        let joint = !self.applied.outgoing_voters.is_empty();
        if joint && self.pending.is_empty() && !self.raw.raft.has_pending_conf() {
            let after = conf::left(&self.applied);
            if self.has_room_to_change(&after) {
                self.propose_change(&ConfChangeV2::default(), &after);
            }
        }
        if self.changes.leaving && !self.raw.has_ready() {
            self.step_down(context);
        }
    }

    /// The first leader writes down who takes part, and where they are.
    fn found(&mut self) {
        let mut entry = to_raft(self.membership_draft(&self.applied));
        // raft-rs has counted by this membership from the start: nothing to change there.
        entry.set_entry_type(EntryType::EntryNormal);
        let mut message = eraftpb::Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.replica.replica.0;
        message.set_entries(vec![entry].into());
        self.changes.founded = self.raw.raft.step(message).is_ok();
    }

    /// A membership took effect.
    pub(super) fn change_applied(&mut self, index: LogIndex, membership: &Membership) {
        self.changes.founded = true;
        let done = |running: &mut Running| running.target == *membership;
        if let Some(running) = self.changes.running.take_if(done) {
            let term = self.raw.store().term_at(index).unwrap_or_default();
            running.waiting.answer.give(Ok(LogId { term, index }));
        }
        let own = self.replica.replica;
        let votes = |member: &Member| member.replica == own;
        let voter = membership
            .voters
            .iter()
            .chain(&membership.outgoing_voters)
            .any(votes);
        if self.is_leader() && !voter {
            // The others learn at once that it is committed, and then that they are on their own.
            self.raw.raft.bcast_append();
            self.changes.leaving = true;
        }
    }

    fn step_down(&mut self, context: &mut Context) {
        self.changes.leaving = false;
        let prs = self.raw.raft.prs();
        let voters = self.applied.voters.iter();
        let best = voters.max_by_key(|member| {
            let matched = prs.get(member.replica.0).map_or(0, |progress| progress.matched);
            (matched, member.replica)
        });
        if let Some(best) = best.copied() {
            self.raw.raft.send_timeout_now(best.replica.0);
        }
        let messages = std::mem::take(&mut self.raw.raft.msgs);
        for message in messages {
            self.send(context, message);
        }
        let term = self.raw.raft.term;
        self.raw.raft.become_follower(term, raft::INVALID_ID);
        self.observe(context);
    }

    pub(in crate::raft_rs) fn transfer(&mut self, context: &Context, to: ReplicaId, answer: Answer<()>) {
        self.wake(context);
        if !self.is_leader() {
            answer.give(Err(self.not_leader()));
        } else if to == self.replica.replica {
            answer.give(Ok(()));
        } else if !self.applied.voters.iter().any(|member| member.replica == to) {
            let what = format!("replica {to} is not a voter");
            answer.give(Err(ConsensusError::Invalid(what)));
        } else if self.changes.transfer.is_some() {
            answer.give(Err(ConsensusError::Busy));
        } else {
            let deadline = context.now + context.options.answer_timeout;
            let waiting = Pending { answer, deadline };
            self.changes.transfer = Some(Transfer { waiting, to });
            self.raw.transfer_leader(to.0);
        }
    }

    /// A transfer is over when somebody else leads, or when raft-rs gave it up.
    pub(super) fn settle_transfer(&mut self) {
        let Some(to) = self.changes.transfer.as_ref().map(|transfer| transfer.to) else {
            return;
        };
        let result = match self.leader() {
            Some(leader) if leader == to => Ok(()),
            Some(leader) if leader != self.replica.replica => {
                Err(ConsensusError::Unknown(format!("replica {leader} leads instead")))
            }
            Some(_) if self.raw.raft.lead_transferee.is_none() => Err(ConsensusError::Unknown(
                "the other replica did not take over within an election timeout".into(),
            )),
            _ => return,
        };
        if let Some(transfer) = self.changes.transfer.take() {
            transfer.waiting.answer.give(result);
        }
    }
}
