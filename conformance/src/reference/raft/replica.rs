//! The state of one replica and the loop that owns it.

use super::group::{Answer, Queue};
use super::lead::Leading;
use super::message::{Envelope, Message, decode_membership};
use super::{ANSWER_LIMIT, ELECTION, RaftMutant};
use crate::world::locked;
use chronik_core::consensus::{
    ConsensusError, GroupSpec, Maintenance, Matched, Member, Membership, MembershipChange, Progress, Role,
    Stamper,
};
use chronik_core::env::Env;
use chronik_core::log_store::{Checkpoint, HardState, LogReader, LogWriter};
use chronik_core::proposal::ProposalSender;
use chronik_core::ticket::TicketSender;
use chronik_core::transport::Transport;
use chronik_core::{Entry, EntryKind, GroupId, LogError, LogId, LogIndex, Proposal, ReplicaId, Term, Watch};
use futures_lite::future;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What reaches a replica.
pub(super) enum Input {
    Message(Envelope),
    Propose(Proposal, ProposalSender),
    Barrier(Answer<LogIndex>),
    Change(MembershipChange, Answer<LogId>),
    Transfer(ReplicaId, Answer<()>),
    Maintain(Maintenance, TicketSender),
    Close(Answer<()>),
}

/// What a status shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) membership: Membership,
    pub(super) matched: BTreeMap<ReplicaId, Matched>,
}

/// Why a replica ends.
#[derive(Debug)]
pub(super) enum Stop {
    Closed,
    Log(LogError),
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

pub(super) type Step = Result<(), Stop>;

/// One replica of one group.
pub(super) struct Replica {
    pub(super) env: Env,
    pub(super) group: GroupId,
    pub(super) me: Member,
    pub(super) writer: Box<dyn LogWriter>,
    pub(super) reader: Arc<dyn LogReader>,
    pub(super) stamper: Arc<dyn Stamper>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) queue: Arc<Queue>,
    pub(super) mutant: Option<RaftMutant>,
    pub(super) term: Term,
    pub(super) vote: Option<ReplicaId>,
    pub(super) role: Role,
    pub(super) leader: Option<ReplicaId>,
    pub(super) commit: LogIndex,
    /// The memberships of the log by their index; the first is as of the log's start.
    pub(super) memberships: BTreeMap<LogIndex, Membership>,
    pub(super) founding: Membership,
    /// Who said yes to this candidate, and whether it only tries.
    pub(super) votes: BTreeSet<ReplicaId>,
    pub(super) trial: bool,
    /// When this replica last heard from a leader.
    pub(super) heard: Duration,
    pub(super) campaign_at: Duration,
    pub(super) leading: Option<Leading>,
    pub(super) progress: Watch<Progress>,
    pub(super) shown: Arc<Mutex<Shown>>,
    pub(super) elections: u64,
    /// Who shall lead instead, until when, and who waits for it.
    pub(super) transfer: Option<(ReplicaId, Duration, Answer<()>)>,
}

impl Replica {
    pub(super) async fn open(
        env: Env,
        spec: GroupSpec,
        transport: Arc<dyn Transport>,
        queue: Arc<Queue>,
        mutant: Option<RaftMutant>,
    ) -> Result<Self, ConsensusError> {
        let GroupSpec {
            group,
            replica,
            founding,
            log,
            stamper,
        } = spec;
        let state = log.reader.state();
        let memberships = read_memberships(&log.reader, &founding, mutant).await?;
        let commit = match mutant {
            Some(RaftMutant::CommitsAllAtStart) => state.last.index,
            _ => state.commit_hint.max(state.purged.index).min(state.last.index),
        };
        let mut log = log;
        if mutant == Some(RaftMutant::ForgetsLast) && state.last.index > state.purged.index {
            log.writer.truncate_from(state.last.index)?.await?;
        }
        let term = state.hard_state.term.max(state.last.term);
        let vote = state.hard_state.vote.filter(|_| state.hard_state.term == term);
        let progress = Watch::new(Progress {
            role: Role::Follower,
            term,
            leader: None,
            commit,
            own_term_start: None,
        });
        let now = env.clock.now();
        let mut opened = Self {
            env,
            group,
            me: replica,
            writer: log.writer,
            reader: log.reader,
            stamper,
            transport,
            queue,
            mutant,
            term,
            vote,
            role: Role::Follower,
            leader: None,
            commit,
            memberships,
            founding,
            votes: BTreeSet::new(),
            trial: false,
            heard: now.saturating_sub(ELECTION * 2),
            campaign_at: now,
            leading: None,
            progress,
            shown: Arc::default(),
            elections: 0,
            transfer: None,
        };
        opened.step_down(None);
        if opened.has(RaftMutant::SleepsAtStart) && state.last.index.0 > 0 {
            opened.campaign_at += Duration::from_secs(30);
        }
        opened.publish();
        Ok(opened)
    }

    pub(super) fn has(&self, mutant: RaftMutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Runs until the group is closed or the log fails.
    pub(super) async fn run(mut self) {
        let stop = loop {
            if let Err(stop) = self.turn().await {
                break stop;
            }
            self.publish();
        };
        if let Stop::Log(error) = &stop {
            log::error!("event=group_stopped group={} error=\"{error}\"", self.group);
        }
        self.role = Role::Stopped;
        self.leader = None;
        // Whoever waits learns that the outcome is not known.
        self.leading = None;
        self.transfer = None;
        self.publish();
        self.queue.end();
    }

    /// Waits for one thing and does it.
    async fn turn(&mut self) -> Step {
        let listener = self.queue.arrived.listen();
        let Some(input) = self.queue.pop() else {
            let wake_at = match &self.leading {
                Some(leading) => leading.beat_at,
                None => self.campaign_at,
            };
            let now = self.env.clock.now();
            if wake_at <= now {
                return self.tick().await;
            }
            let sleep = self.env.clock.sleep(wake_at - now);
            future::or(listener, sleep).await;
            return Ok(());
        };
        match input {
            Input::Message(envelope) => self.receive(envelope).await,
            Input::Propose(proposal, sender) => self.propose(proposal, sender).await,
            Input::Barrier(answer) => {
                self.barrier(answer);
                Ok(())
            }
            Input::Change(change, answer) => self.change(change, answer).await,
            Input::Transfer(to, answer) => {
                self.transfer(to, answer);
                Ok(())
            }
            Input::Maintain(maintenance, done) => self.maintain(maintenance, done),
            Input::Close(answer) if self.has(RaftMutant::CloseDoesNothing) => {
                answer.give(Ok(()));
                Ok(())
            }
            Input::Close(answer) => {
                self.queue.end();
                drop(answer);
                Err(Stop::Closed)
            }
        }
    }

    async fn tick(&mut self) -> Step {
        let now = self.env.clock.now();
        if let Some((_, _, answer)) = self.transfer.take_if(|transfer| transfer.1 <= now) {
            answer.give(Err(ConsensusError::Unknown("no answer in time".into())));
        }
        if self.leading.is_some() {
            self.beat().await
        } else {
            self.campaign(false).await
        }
    }

    async fn receive(&mut self, envelope: Envelope) -> Step {
        let Envelope {
            from, to, message, ..
        } = envelope;
        if to != self.me.replica && !self.has(RaftMutant::MixesGroups) {
            return Ok(());
        }
        let is_trial = matches!(
            message,
            Message::Ask { trial: true, .. } | Message::Vote { trial: true, .. }
        );
        let is_ask = matches!(message, Message::Ask { .. });
        if message.term() > self.term && !is_trial && !is_ask {
            self.adopt(message.term()).await?;
        }
        match message {
            Message::Ask {
                term,
                last,
                trial,
                wanted,
            } => self.asked(from, term, last, (trial, wanted)).await,
            Message::Vote { term, granted, trial } => self.voted(from, term, granted, trial).await,
            Message::Append {
                term,
                prev,
                entries,
                commit,
                round,
            } => self.appended_by(from, (term, round), prev, entries, commit).await,
            Message::Appended {
                term,
                ok,
                upto,
                round,
            } => self.answered(from, term, ok, upto, round).await,
            Message::Install { term, checkpoint } => self.install(from, term, checkpoint).await,
            Message::Campaign { term } if term == self.term && self.votes_now() => self.campaign(true).await,
            Message::Campaign { .. } => Ok(()),
        }
    }

    /// Moves to a newer term as a follower. Durable when this returns.
    pub(super) async fn adopt(&mut self, term: Term) -> Step {
        self.step_down(None);
        self.term = term;
        self.vote = None;
        self.save_vote().await
    }

    pub(super) async fn save_vote(&mut self) -> Step {
        if self.has(RaftMutant::VoteInMemory) {
            return Ok(());
        }
        let state = HardState {
            term: self.term,
            vote: self.vote,
        };
        let ticket = self.writer.save_hard_state(state)?;
        if !self.has(RaftMutant::VoteBeforeSync) {
            ticket.await?;
        }
        Ok(())
    }

    /// Is not a leader or candidate any more.
    pub(super) fn step_down(&mut self, leader: Option<ReplicaId>) {
        if let Some(leading) = self.leading.take() {
            leading.give_up(leader, self.has(RaftMutant::UnknownIsRefused));
        }
        self.votes.clear();
        self.leader = leader;
        self.role = if self.votes_now() {
            Role::Follower
        } else {
            Role::Learner
        };
        self.rest();
    }

    /// Puts the next election off.
    pub(super) fn rest(&mut self) {
        let spread = u64::try_from(ELECTION.as_nanos()).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(self.env.rng.next_u64() % spread);
        self.campaign_at = self.env.clock.now() + ELECTION + jitter;
    }

    pub(super) fn send(&self, to: Member, message: Message) {
        let envelope = Envelope {
            group: self.group,
            from: self.me,
            to: to.replica,
            message,
        };
        let lane = envelope.message.lane();
        // What is lost is sent again with a later heartbeat or election.
        drop(self.transport.send(to.node, lane, envelope.encode()));
    }

    pub(super) fn last(&self) -> LogId {
        self.reader.state().last
    }

    /// The id of an entry that the log has, or of the purge point.
    pub(super) fn id_at(&self, index: LogIndex) -> Option<LogId> {
        let term = self.reader.term_at(index).ok()?;
        Some(LogId { term, index })
    }

    /// Appends and remembers memberships; durable when this returns.
    pub(super) async fn append(&mut self, entries: &[Entry], skip_sync: bool) -> Step {
        let ticket = self.writer.append(entries)?;
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Membership) {
            if let Some(membership) = decode_membership(&entry.payload) {
                self.memberships.insert(entry.id.index, membership);
            }
        }
        if !skip_sync {
            match ticket.await {
                Err(_) if self.has(RaftMutant::IgnoresLogErrors) => {}
                Err(_) if self.has(RaftMutant::AnswersOnFailedSync) && self.leading.is_none() => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn maintain(&mut self, maintenance: Maintenance, done: TicketSender) -> Step {
        let result = match maintenance {
            Maintenance::Roll { policy, now } => match self.writer.roll(policy, now) {
                Ok(()) => {
                    done.resolve(Ok(()));
                    return Ok(());
                }
                Err(error) => Err(error),
            },
            Maintenance::Checkpoint(checkpoint) => {
                let consensus = self.membership_bytes(checkpoint.at.index);
                self.writer.save_checkpoint(Checkpoint {
                    consensus,
                    ..checkpoint
                })
            }
            Maintenance::Purge(purge) => {
                let result = self.writer.purge(purge);
                self.forget_memberships();
                result
            }
        };
        match result {
            Ok(ticket) => ticket.on_resolve(move |result| done.resolve(result.clone())),
            Err(error) => done.resolve(Err(error)),
        }
        Ok(())
    }

    /// Shows how things stand.
    pub(super) fn publish(&self) {
        let own_term_start = self.leading.as_ref().map(|leading| leading.start);
        let now = Progress {
            role: self.role,
            term: self.term,
            leader: self.leader,
            commit: self.commit,
            own_term_start,
        };
        let matched = self
            .leading
            .as_ref()
            .map(|leading| leading.matched(self.env.clock.now()));
        *locked(&self.shown) = Shown {
            membership: self.membership().clone(),
            matched: matched.unwrap_or_default(),
        };
        self.progress.update(|progress| {
            let changed = *progress != now;
            *progress = now;
            changed
        });
    }

    pub(super) fn answer_limit(&self) -> Duration {
        self.env.clock.now() + ANSWER_LIMIT
    }
}

/// The memberships of a log, after that of its newest checkpoint or the founding one.
async fn read_memberships(
    reader: &Arc<dyn LogReader>,
    founding: &Membership,
    mutant: Option<RaftMutant>,
) -> Result<BTreeMap<LogIndex, Membership>, ConsensusError> {
    let state = reader.state();
    let mut memberships = BTreeMap::from([(LogIndex(0), founding.clone())]);
    if mutant == Some(RaftMutant::ForgetsMembers) {
        return Ok(memberships);
    }
    if let Some(checkpoint) = reader.checkpoint(state.last.index)?
        && let Some(membership) = decode_membership(&checkpoint.consensus)
    {
        memberships = BTreeMap::from([(checkpoint.at.index, membership)]);
    }
    let mut from = state.index_start();
    while from <= state.last.index {
        let run = reader
            .entries(from..state.last.index.next(), 1 << 20)?
            .get()
            .await?;
        let Some(last) = run.last() else { break };
        from = last.id.index.next();
        for entry in run.iter().filter(|entry| entry.kind == EntryKind::Membership) {
            if let Some(membership) = decode_membership(&entry.payload) {
                memberships.insert(entry.id.index, membership);
            }
        }
    }
    Ok(memberships)
}
