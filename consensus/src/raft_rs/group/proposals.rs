//! Proposals from the call to their outcome.

use super::{Context, Group};
use crate::raft_rs::counters::{RaftCounters, count};
use crate::raft_rs::entry::{Draft, to_raft};
use crate::raft_rs::limits::Permit;
use crate::raft_rs::storage::GroupStorage;
use bytes::BytesMut;
use chronik_core::consensus::ConsensusError;
use chronik_core::proposal::{Appended, ProposalSender, ProposeError};
use chronik_core::{EntryKind, LogError, LogId, LogIndex, Offset, Outcome, Proposal, ReplicaId, Term};
use raft::eraftpb::{self, MessageType};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A proposal that has no place in the log yet.
pub(super) struct Fresh {
    pub(super) proposal: Proposal,
    pub(super) sender: ProposalSender,
    permit: Permit,
    since: Duration,
}

/// A proposal in the log of a leader.
struct Placed {
    at: Appended,
    sender: ProposalSender,
    /// Held until the outcome is known.
    _permit: Permit,
    since: Duration,
}

impl Placed {
    fn commit(self, counters: &RaftCounters, now: Duration) {
        count(&counters.commits, 1);
        let waited = u64::try_from(now.saturating_sub(self.since).as_micros()).unwrap_or(u64::MAX);
        count(&counters.commit_latency_us, waited);
        self.sender.finish(Outcome::Committed(self.at));
    }
}

/// What was proposed here and has no outcome.
#[derive(Default)]
pub(super) struct Proposals {
    fresh: Vec<Fresh>,
    /// Of the present term of leadership, in the order of the log.
    placed: VecDeque<Placed>,
    /// How many of `placed`, from the front, are in the log store, and how many of them are durable there.
    appended: usize,
    durable: usize,
    /// Of earlier terms: the log will say what became of them.
    orphans: BTreeMap<(LogIndex, Term, Offset), Placed>,
}

impl Proposals {
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.placed.is_empty()
    }

    /// What has a place stays open until the log has passed it.
    pub(super) fn lost_leadership(&mut self) {
        for placed in self.placed.drain(..) {
            let at = placed.at;
            self.orphans
                .insert((at.id.index, at.id.term, at.base_offset), placed);
        }
        (self.appended, self.durable) = (0, 0);
    }

    /// This replica is no member any more, and nobody tells it what becomes of its entries.
    pub(super) fn give_up(&mut self) {
        for placed in std::mem::take(&mut self.orphans).into_values() {
            let why = "this replica was removed from the group before the outcome was known";
            placed.sender.finish(Outcome::Unknown(why.into()));
        }
    }

    pub(super) fn appended_to(&mut self, last: LogIndex) {
        for placed in self.placed.iter().skip(self.appended) {
            if placed.at.id.index > last {
                break;
            }
            placed.sender.appended(placed.at);
            self.appended += 1;
        }
    }

    pub(super) fn durable_to(&mut self, last: LogIndex) {
        for placed in self.placed.iter().take(self.appended).skip(self.durable) {
            if placed.at.id.index > last {
                break;
            }
            placed.sender.durable();
            self.durable += 1;
        }
    }

    fn committed_to(
        &mut self,
        commit: LogIndex,
        log: &GroupStorage,
        counters: &RaftCounters,
        now: Duration,
        leader: Option<ReplicaId>,
    ) {
        while self
            .placed
            .front()
            .is_some_and(|placed| placed.at.id.index <= commit)
        {
            let Some(placed) = self.placed.pop_front() else {
                break;
            };
            self.appended = self.appended.saturating_sub(1);
            self.durable = self.durable.saturating_sub(1);
            placed.commit(counters, now);
        }
        while let Some(first) = self.orphans.first_entry() {
            if first.key().0 > commit {
                break;
            }
            let placed = first.remove();
            match log.term_at(placed.at.id.index) {
                Some(term) if term == placed.at.id.term => placed.commit(counters, now),
                Some(_) => {
                    let error = ProposeError::NotLeader { leader };
                    placed.sender.finish(Outcome::NotCommitted(error));
                }
                None => {
                    let why = "a checkpoint replaced the part of the log where the entry would be";
                    placed.sender.finish(Outcome::Unknown(why.into()));
                }
            }
        }
        if let Some(newest) = log.term_at(commit) {
            self.refuse_older_than(newest, leader);
        }
    }

    /// Ends what was placed after the last committed entry, which is of term `newest`, in an older term. Terms never
    /// fall in a log, and every later leader has what is committed, so no log of theirs has it.
    fn refuse_older_than(&mut self, newest: Term, leader: Option<ReplicaId>) {
        if self.orphans.keys().all(|(_, term, _)| *term >= newest) {
            return;
        }
        for (at, placed) in std::mem::take(&mut self.orphans) {
            if at.1 < newest {
                let error = ProposeError::NotLeader { leader };
                placed.sender.finish(Outcome::NotCommitted(error));
            } else {
                self.orphans.insert(at, placed);
            }
        }
    }
}

impl Group {
    pub(in crate::raft_rs) fn propose(
        &mut self,
        context: &Context,
        proposal: Proposal,
        sender: ProposalSender,
        permit: Permit,
    ) {
        self.wake(context);
        self.proposals.fresh.push(Fresh {
            proposal,
            sender,
            permit,
            since: context.now,
        });
    }

    /// Gives the waiting proposals their places, as many to an append as may travel together.
    pub(super) fn propose_waiting(&mut self, context: &Context) -> Result<(), LogError> {
        if self.proposals.fresh.is_empty() {
            return Ok(());
        }
        let raft = &self.raw.raft;
        if !self.is_leader() || raft.prs().get(self.replica.replica.0).is_none() {
            self.refuse_fresh();
            return Ok(());
        }
        // A transfer ends within an election timeout; then this replica leads on, or says who does.
        if raft.lead_transferee.is_some() {
            return Ok(());
        }
        let mut fresh = std::mem::take(&mut self.proposals.fresh).into_iter().peekable();
        while fresh.peek().is_some() {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while let Some(next) = fresh.next_if(|next| {
                bytes == 0 || bytes + next.proposal.payload.len() as u64 <= context.options.max_append_bytes
            }) {
                bytes += next.proposal.payload.len() as u64;
                batch.push(next);
            }
            self.propose_batch(context, batch)?;
        }
        Ok(())
    }

    fn refuse_fresh(&mut self) {
        let ConsensusError::NotLeader { leader } = self.not_leader() else {
            return;
        };
        for fresh in self.proposals.fresh.drain(..) {
            let error = ProposeError::NotLeader { leader };
            fresh.sender.finish(Outcome::NotCommitted(error));
        }
    }

    fn propose_batch(&mut self, context: &Context, batch: Vec<Fresh>) -> Result<(), LogError> {
        let batch = self.with_room(batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        let raft = &self.raw.raft;
        let term = Term(raft.term);
        let first = raft.raft_log.last_index() + 1;
        let (mut entries, mut placed) = (Vec::new(), Vec::with_capacity(batch.len()));
        let mut end = self.next_offset;
        let mut fresh = batch.into_iter().peekable();
        while let Some(head) = fresh.next() {
            let id = LogId {
                term,
                index: LogIndex(first + entries.len() as u64),
            };
            let base_offset = end;
            let mut payload = place(head, id, &mut end, &mut placed);
            let (kind, mut max_timestamp_ms) = (payload.kind, payload.max_timestamp_ms);
            // Batches of records that wait together share an entry.
            while let Some(next) =
                fresh.next_if(|next| may_share(&payload, &next.proposal, context.options.coalesce_bytes))
            {
                let next = place(next, id, &mut end, &mut placed);
                payload.payload.extend_from_slice(&next.payload);
                payload.record_count += next.record_count;
                max_timestamp_ms = max_timestamp_ms.max(next.max_timestamp_ms);
            }
            let (record_count, mut bytes) = (payload.record_count, payload.payload);
            if kind == EntryKind::Data {
                self.stamp(&mut bytes, base_offset, term);
            }
            entries.push(to_raft(Draft {
                kind,
                base_offset,
                record_count,
                max_timestamp_ms,
                payload: bytes.freeze(),
            }));
        }
        count(&context.counters.proposals, placed.len() as u64);
        count(&context.counters.entries, entries.len() as u64);
        self.step_proposal(entries, placed, end);
        Ok(())
    }

    fn step_proposal(&mut self, entries: Vec<eraftpb::Entry>, placed: Vec<Placed>, end: Offset) {
        let mut message = eraftpb::Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.replica.replica.0;
        message.set_entries(entries.into());
        match self.raw.raft.step(message) {
            Ok(()) => {
                self.next_offset = end;
                self.proposals.placed.extend(placed);
            }
            // Nothing entered the log; the senders say so when they are told why.
            Err(_) => {
                for placed in placed {
                    let error = ProposeError::NotLeader { leader: None };
                    placed.sender.finish(Outcome::NotCommitted(error));
                }
            }
        }
    }

    fn stamp(&self, payload: &mut BytesMut, base_offset: Offset, term: Term) {
        let before = payload.len();
        self.stamper.stamp(payload, base_offset, term);
        assert_eq!(payload.len(), before, "a stamp changes no length");
    }

    /// Tells proposers what is committed, and the watchers.
    pub(super) fn settle_commits(&mut self, context: &Context) {
        let commit = self.commit();
        let leader = self.leader();
        let log = self.raw.store();
        self.proposals
            .committed_to(commit, log, &context.counters, context.now, leader);
    }
}

/// Whether the records of `next` fit into the entry of `head`.
fn may_share(head: &Proposal, next: &Proposal, room: usize) -> bool {
    head.kind == EntryKind::Data
        && next.kind == EntryKind::Data
        && head.payload.len() + next.payload.len() <= room
        && head.record_count.checked_add(next.record_count).is_some()
}

/// Takes a proposal apart: its records get the offsets from `end` on.
fn place(fresh: Fresh, id: LogId, end: &mut Offset, placed: &mut Vec<Placed>) -> Proposal {
    let at = Appended {
        id,
        base_offset: *end,
    };
    *end = Offset(end.0 + i64::from(fresh.proposal.record_count));
    placed.push(Placed {
        at,
        sender: fresh.sender,
        _permit: fresh.permit,
        since: fresh.since,
    });
    fresh.proposal
}
