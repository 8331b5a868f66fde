//! Messages of other replicas: checked before raft-rs sees them, because it ends the process over some of them.

use super::{Context, Group};
use crate::raft_rs::counters::count;
use crate::raft_rs::wire::{Envelope, checkpoint_of};
use chronik_core::{LogError, LogIndex, NodeId, ReplicaId};
use raft::eraftpb::{Message, MessageType};
use std::time::Duration;

impl Group {
    /// Takes a message of another replica.
    ///
    /// # Errors
    /// The log failed: the group must stop.
    pub(in crate::raft_rs) fn receive(
        &mut self,
        context: &mut Context,
        node: NodeId,
        envelope: Envelope,
    ) -> Result<(), LogError> {
        if envelope.to != self.replica.replica || envelope.from == self.replica.replica {
            count(&context.counters.dropped_unknown, 1);
            return Ok(());
        }
        let Envelope {
            from,
            stamp_us,
            asleep,
            mut message,
            ..
        } = envelope;
        self.book.insert(from, node);
        if self.starved {
            return Ok(());
        }
        let wanted = match message.get_msg_type() {
            MessageType::MsgAppend => self.accept_append(&message)?,
            MessageType::MsgSnapshot => self.accept_snapshot(&mut message),
            MessageType::MsgHeartbeat => message.commit <= self.raw.raft.raft_log.last_index(),
            MessageType::MsgAppendResponse => self.accept_append_response(&message),
            MessageType::MsgTimeoutNow => self.may_campaign() && self.has_room_to_lead(),
            _ => true,
        };
        if !wanted {
            count(&context.counters.dropped_malformed, 1);
            return Ok(());
        }
        let heartbeat = matches!(
            message.get_msg_type(),
            MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse
        );
        // That replicas which are awake hear each other is nothing that happens.
        if !asleep && (!heartbeat || self.is_asleep()) {
            self.wake(context);
        }
        let (kind, term, commit) = (message.get_msg_type(), message.term, message.commit);
        self.note_answer(context, from, stamp_us, &message);
        let before = self.raw.raft.msgs.len();
        let vote = self.raw.raft.vote;
        if let Err(error) = self.raw.step(message) {
            log::debug!(
                "event=message_refused group={} from={from} error=\"{error}\"",
                self.to.group
            );
        }
        if vote != self.raw.raft.vote {
            self.election.draw(context);
        }
        // An answer carries the stamp of its request back to the leader. raft-rs uses priorities for votes alone.
        for answer in self.raw.raft.msgs.iter_mut().skip(before) {
            if is_answer(answer.get_msg_type()) {
                answer.priority = stamp_us as i64;
            }
        }
        self.observe(context);
        match kind {
            MessageType::MsgHeartbeat if asleep => self.told_to_sleep(context, commit, term),
            MessageType::MsgHeartbeatResponse if asleep && term == self.raw.raft.term => {
                self.told_of_sleeper(context, from, Duration::from_micros(stamp_us));
            }
            _ => {}
        }
        Ok(())
    }

    /// An append that contradicts what is committed here is a broken leader's; one that finds no space is sent again.
    fn accept_append(&mut self, message: &Message) -> Result<bool, LogError> {
        let log = &self.raw.raft.raft_log;
        let contradicts = message
            .get_entries()
            .iter()
            .filter(|entry| entry.index <= log.committed && entry.index >= log.first_index())
            .any(|entry| !log.match_term(entry.index, entry.term));
        if contradicts && message.term >= self.raw.raft.term {
            log::error!(
                "event=append_contradicts_commit group={} replica={} from={} term={} commit={}",
                self.to.group,
                self.replica.replica,
                message.from,
                message.term,
                log.committed
            );
            return Ok(false);
        }
        self.has_room_for(message.get_entries())
    }

    fn accept_append_response(&self, message: &Message) -> bool {
        let last = self.raw.raft.raft_log.last_index();
        if message.reject {
            message.reject_hint <= message.index
        } else {
            message.index <= last || !self.is_leader() || message.term != self.raw.raft.term
        }
    }

    /// raft-rs takes a snapshot only where it names this replica. The membership as of the checkpoint may be older
    /// than this replica: then it is a learner until it has read on.
    fn accept_snapshot(&self, message: &mut Message) -> bool {
        if checkpoint_of(message.get_snapshot()).is_none() {
            return false;
        }
        let own = self.replica.replica.0;
        let conf = message.mut_snapshot().mut_metadata().mut_conf_state();
        let known = conf.get_voters().contains(&own)
            || conf.get_learners().contains(&own)
            || conf.get_learners_next().contains(&own)
            || conf.get_voters_outgoing().contains(&own);
        if !known {
            conf.mut_learners().push(own);
        }
        true
    }

    fn note_answer(&mut self, context: &Context, from: ReplicaId, stamp_us: u64, message: &Message) {
        let current = self.is_leader() && message.term == self.raw.raft.term;
        if !current || !is_answer(message.get_msg_type()) {
            return;
        }
        let sent_at = Duration::from_micros(stamp_us).min(context.now);
        if let Some(known) = self.answered.get_mut(&from) {
            *known = sent_at.max(*known);
        }
    }

    /// Gives a message to the outbox.
    pub(super) fn send(&mut self, context: &mut Context, message: Message) {
        let to = ReplicaId(message.to);
        let Some(node) = self.book.get(&to).copied() else {
            count(&context.counters.dropped_unknown, 1);
            return;
        };
        let kind = message.get_msg_type();
        let stamp_us = match kind {
            kind if is_answer(kind) => message.priority as u64,
            _ => u64::try_from(context.now.as_micros()).unwrap_or(u64::MAX),
        };
        if kind == MessageType::MsgSnapshot {
            count(&context.counters.checkpoints_sent, 1);
            self.snapshots_sent.insert(to, context.now);
        }
        let envelope = Envelope {
            group: self.to.group,
            to,
            from: self.replica.replica,
            stamp_us,
            asleep: self.speaks_of_sleep(),
            message,
        };
        if let Err(lost) = context.outbox.put(node, self.to, &envelope) {
            self.lost(to, lost);
        }
    }

    /// A message could not be sent: raft-rs finds out where the other replica stands before it sends more.
    pub(in crate::raft_rs) fn lost(&mut self, to: ReplicaId, kind: MessageType) {
        match kind {
            MessageType::MsgAppend => self.raw.report_unreachable(to.0),
            MessageType::MsgSnapshot => {
                self.snapshots_sent.remove(&to);
                self.raw.report_snapshot(to.0, raft::SnapshotStatus::Failure);
            }
            _ => {}
        }
    }

    /// Messages to this node were lost with its session.
    pub(super) fn report_unreachable(&mut self, node: NodeId) {
        if !self.is_leader() {
            return;
        }
        let there: Vec<ReplicaId> = self
            .answered
            .keys()
            .filter(|replica| self.book.get(replica) == Some(&node))
            .copied()
            .collect();
        for replica in there {
            self.lost(replica, MessageType::MsgAppend);
            if self.snapshots_sent.contains_key(&replica) {
                self.lost(replica, MessageType::MsgSnapshot);
            }
        }
    }

    pub(super) fn last_index(&self) -> LogIndex {
        LogIndex(self.raw.raft.raft_log.last_index())
    }
}

fn is_answer(kind: MessageType) -> bool {
    matches!(
        kind,
        MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse
    )
}
