//! Leading: proposals, barriers, transfers, and what a leader knows of its followers.

use super::group::Answer;
use super::message::Message;
use super::replica::{Replica, Step};
use super::{ELECTION, HEARTBEAT, RaftMutant};
use crate::reference::raft::replica::Input;
use bytes::Bytes;
use chronik_core::consensus::{ConsensusError, Matched, Role};
use chronik_core::proposal::{Appended, ProposalSender, ProposeError};
use chronik_core::{Entry, EntryKind, LogId, LogIndex, Outcome, Proposal, ReplicaId};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a leader knows of another replica.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) next: LogIndex,
    pub(super) matched: LogIndex,
    pub(super) heard: Duration,
    /// The newest round of barriers that it answered.
    pub(super) round: u64,
    /// An append is on its way; another goes with the next heartbeat at the earliest.
    pub(super) waits: bool,
    pub(super) has_checkpoint: bool,
}

/// What only a leader has.
pub(super) struct Leading {
    /// The first entry of its own term.
    pub(super) start: LogIndex,
    pub(super) since: Duration,
    pub(super) beat_at: Duration,
    pub(super) followers: BTreeMap<ReplicaId, Follower>,
    pub(super) durable: LogIndex,
    pub(super) pending: BTreeMap<LogIndex, (Appended, ProposalSender)>,
    pub(super) round: u64,
    barriers: Vec<(u64, Duration, LogIndex, Answer<LogIndex>)>,
    pub(super) change: Option<(Duration, Answer<LogId>)>,
    pub(super) lost_peer: bool,
}

impl Leading {
    pub(super) fn matched(&self, now: Duration) -> BTreeMap<ReplicaId, Matched> {
        let of = |follower: &Follower| Matched {
            index: follower.matched,
            silent_for: now.saturating_sub(follower.heard),
        };
        self.followers
            .iter()
            .map(|(replica, follower)| (*replica, of(follower)))
            .collect()
    }

    /// Ends: what is in flight may be committed by somebody else.
    pub(super) fn give_up(self, leader: Option<ReplicaId>, refuse: bool) {
        for (_, (_, sender)) in self.pending {
            sender.finish(if refuse {
                Outcome::NotCommitted(ProposeError::NotLeader { leader })
            } else {
                Outcome::Unknown("the leader was deposed".into())
            });
        }
        for (_, _, _, answer) in self.barriers {
            answer.give(Err(ConsensusError::NotLeader { leader }));
        }
        if let Some((_, answer)) = self.change {
            answer.give(Err(ConsensusError::Unknown("the leader was deposed".into())));
        }
    }
}

impl Replica {
    /// Becomes the leader of its term.
    pub(super) async fn lead(&mut self) -> Step {
        let now = self.env.clock.now();
        self.role = Role::Leader;
        self.leader = Some(self.me.replica);
        self.elections += 1;
        let start = self.last().index.next();
        self.leading = Some(Leading {
            start,
            since: now,
            beat_at: now,
            followers: BTreeMap::new(),
            durable: LogIndex(start.0 - 1),
            pending: BTreeMap::new(),
            round: 0,
            barriers: Vec::new(),
            change: None,
            lost_peer: false,
        });
        self.publish();
        if self.has(RaftMutant::LeaderCutsItsLog) && self.last().index > self.commit {
            let ticket = self.writer.truncate_from(self.commit.next())?;
            self.revert_memberships(self.commit.next());
            ticket.await?;
        }
        self.append_own(EntryKind::Blank, Bytes::new()).await
    }

    /// Appends an entry of the leader's own, and sends it.
    pub(super) async fn append_own(&mut self, kind: EntryKind, payload: Bytes) -> Step {
        let state = self.reader.state();
        let entry = Entry {
            id: LogId {
                term: self.term,
                index: state.last.index.next(),
            },
            kind,
            base_offset: state.offset_end,
            record_count: 0,
            max_timestamp_ms: -1,
            payload,
        };
        self.append_and_send(vec![entry]).await
    }

    async fn append_and_send(&mut self, entries: Vec<Entry>) -> Step {
        let Some(last) = entries.last().map(|entry| entry.id.index) else {
            return Ok(());
        };
        self.append(&entries, self.has(RaftMutant::CountsBeforeSync))
            .await?;
        if let Some(leading) = &mut self.leading {
            leading.durable = last;
        }
        self.send_to_all(false).await?;
        self.advance().await
    }

    /// Takes the proposals that wait together.
    pub(super) async fn propose(&mut self, proposal: Proposal, sender: ProposalSender) -> Step {
        let mut batch = vec![(proposal, sender)];
        while let Some(Input::Propose(proposal, sender)) = self.queue.pop_proposal() {
            batch.push((proposal, sender));
        }
        if self.has(RaftMutant::SwapsProposals) {
            batch.reverse();
        }
        let leader = self.leader;
        if self.leading.is_none() {
            for (_, sender) in batch {
                sender.finish(Outcome::NotCommitted(ProposeError::NotLeader { leader }));
            }
            return Ok(());
        }
        let state = self.reader.state();
        let (mut index, mut base_offset) = (state.last.index, state.offset_end);
        let mut entries = Vec::new();
        for (mut proposal, sender) in batch {
            if let Err(error) = self.writer.reserve(proposal.kind, proposal.payload.len() as u64) {
                sender.finish(Outcome::NotCommitted(ProposeError::Log(error)));
                continue;
            }
            index = index.next();
            if proposal.kind == EntryKind::Data {
                self.stamper.stamp(&mut proposal.payload, base_offset, self.term);
            }
            let id = LogId {
                term: self.term,
                index,
            };
            let entry = Entry {
                id,
                kind: proposal.kind,
                base_offset,
                record_count: proposal.record_count,
                max_timestamp_ms: proposal.max_timestamp_ms,
                payload: proposal.payload.freeze(),
            };
            let appended = Appended { id, base_offset };
            sender.appended(appended);
            base_offset = entry.end_offset();
            entries.push(entry);
            if let Some(leading) = &mut self.leading {
                leading.pending.insert(index, (appended, sender));
            }
        }
        self.append_and_send(entries).await
    }

    /// Speaks to everybody, and gives up where nobody answers.
    pub(super) async fn beat(&mut self) -> Step {
        let now = self.env.clock.now();
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        leading.beat_at = now + HEARTBEAT;
        // Only those who were heard lately count; a new leader has time to be heard.
        let young = now < leading.since + ELECTION * 2;
        let recent = |follower: &Follower| now < follower.heard + ELECTION * 2;
        let heard: Vec<ReplicaId> = leading
            .followers
            .iter()
            .filter(|(_, follower)| recent(follower))
            .map(|(replica, _)| *replica)
            .collect();
        leading.lost_peer |= !young && heard.len() < leading.followers.len();
        let me = self.me.replica;
        if !young && !self.is_quorum(|replica| replica == me || heard.contains(&replica)) {
            log::info!("event=leader_gives_up group={} term={}", self.group, self.term);
            self.step_down(None);
            return Ok(());
        }
        self.end_late(now);
        self.send_to_all(true).await
    }

    /// Answers what took too long.
    fn end_late(&mut self, now: Duration) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        let late = |answer_by: &Duration| *answer_by <= now;
        let unknown = || ConsensusError::Unknown("no answer in time".into());
        for (_, _, _, answer) in leading.barriers.extract_if(.., |barrier| late(&barrier.1)) {
            answer.give(Err(unknown()));
        }
        if let Some((_, answer)) = leading.change.take_if(|change| late(&change.0)) {
            answer.give(Err(unknown()));
        }
    }

    /// Begins a barrier.
    pub(super) fn barrier(&mut self, answer: Answer<LogIndex>) {
        let (now, limit, leader) = (self.env.clock.now(), self.answer_limit(), self.leader);
        let lease = self.has(RaftMutant::LeaseWithoutMargin) && self.holds_lease(now);
        let alone = self.has(RaftMutant::BarrierAlone) || lease;
        let commit = if self.has(RaftMutant::BarrierIsLow) {
            LogIndex(self.commit.0.saturating_sub(1))
        } else {
            self.commit
        };
        let ready = self
            .leading
            .as_ref()
            .is_some_and(|leading| self.commit >= leading.start);
        let me = self.me.replica;
        let single = self.is_quorum(|replica| replica == me);
        match &mut self.leading {
            None => answer.give(Err(ConsensusError::NotLeader { leader })),
            Some(_) if !ready => answer.give(Err(ConsensusError::Busy)),
            Some(_) if alone || single => answer.give(Ok(commit)),
            Some(leading) => {
                leading.round += 1;
                leading.barriers.push((leading.round, limit, commit, answer));
                // The next beat asks the others.
                leading.beat_at = now;
            }
        }
    }

    /// Whether a quorum was heard so lately that, by this clock, nobody else can have been elected.
    fn holds_lease(&self, now: Duration) -> bool {
        let me = self.me.replica;
        self.leading.as_ref().is_some_and(|leading| {
            let recent = |replica| {
                let follower = leading.followers.get(&replica);
                follower.is_some_and(|follower| now < follower.heard + ELECTION)
            };
            self.is_quorum(|replica| replica == me || recent(replica))
        })
    }

    /// Answers the barriers that a quorum has answered.
    pub(super) fn finish_barriers(&mut self) {
        let me = self.me.replica;
        let Some(leading) = &self.leading else {
            return;
        };
        let answered = |round: u64| {
            let has = |replica| {
                leading
                    .followers
                    .get(&replica)
                    .is_some_and(|follower| follower.round >= round)
            };
            self.is_quorum(|replica| replica == me || has(replica))
        };
        let done = leading
            .barriers
            .iter()
            .filter(|barrier| answered(barrier.0))
            .count();
        if let Some(leading) = &mut self.leading {
            for (_, _, index, answer) in leading.barriers.drain(..done) {
                answer.give(Ok(index));
            }
        }
    }

    /// Begins a transfer.
    pub(super) fn transfer(&mut self, to: ReplicaId, answer: Answer<()>) {
        let (limit, leader) = (self.answer_limit(), self.leader);
        let is_voter = self.membership().voters.iter().any(|member| member.replica == to);
        match &mut self.leading {
            None => answer.give(Err(ConsensusError::NotLeader { leader })),
            Some(_) if to == self.me.replica => answer.give(Ok(())),
            Some(_) if !is_voter => answer.give(Err(ConsensusError::Invalid("it does not vote".into()))),
            Some(_) if self.transfer.is_some() => answer.give(Err(ConsensusError::Busy)),
            Some(_) => {
                self.transfer = Some((to, limit, answer));
                self.hand_over();
            }
        }
    }

    /// Tells the next leader to start once it has everything.
    pub(super) fn hand_over(&mut self) {
        let last = self.last().index;
        let Some((to, ..)) = self.transfer.as_ref().filter(|_| self.leading.is_some()) else {
            return;
        };
        let follower = self
            .leading
            .as_ref()
            .and_then(|leading| leading.followers.get(to));
        let has_all = follower.is_some_and(|follower| follower.matched >= last);
        let member = self.others().into_iter().find(|member| member.replica == *to);
        if let Some(member) = member.filter(|_| has_all && !self.has(RaftMutant::TransferDoesNothing)) {
            self.send(member, Message::Campaign { term: self.term });
        }
    }
}
