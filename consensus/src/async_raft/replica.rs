//! One replica of one group: what the crate's hooks, the messages of others and the callers meet at.

use super::AsyncRaftOptions;
use super::counters::{AsyncRaftCounters, count};
use super::descriptor::{Applied, Descriptor};
use super::guards::Guards;
use super::island::Island;
use super::limits::Limits;
use super::network::CrateNetwork;
use super::state::State;
use super::storage::CrateStorage;
use super::wire::{Envelope, Request, encode_envelope};
use async_raft::Raft;
use bytes::Bytes;
use chronik_core::consensus::{ConsensusError, Member, Progress, Stamper};
use chronik_core::env::Env;
use chronik_core::log_store::{LogReader, LogWriter};
use chronik_core::transport::{CallOutcome, Lane};
use chronik_core::{GroupId, LogError, LogIndex, NodeId, ReplicaId, Term, Ticket, Transport, Watch};
use event_listener::Event;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The crate, with our types.
pub(super) type Crate = Raft<Descriptor, Applied, CrateNetwork, CrateStorage>;

/// What all replicas of a node share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: AsyncRaftOptions,
    pub(super) guards: Guards,
    pub(super) env: Env,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) counters: Arc<AsyncRaftCounters>,
    pub(super) island: Island,
}

/// One replica of one group.
pub(super) struct Replica {
    pub(super) shared: Arc<Shared>,
    pub(super) group: GroupId,
    pub(super) me: Member,
    pub(super) reader: Arc<dyn LogReader>,
    pub(super) stamper: Arc<dyn Stamper>,
    pub(super) limits: Arc<Limits>,
    pub(super) progress: Watch<Progress>,
    /// Taken before the state where both are needed.
    writer: Mutex<Option<Box<dyn LogWriter>>>,
    state: Mutex<State>,
    /// The crate's instance; none before the start and after the end.
    raft: Mutex<Option<Crate>>,
    /// A write of ours became durable, or failed.
    pub(super) synced: Event,
    /// The replica has ended.
    pub(super) ended: Event,
    /// Orders read rounds.
    pub(super) reads: super::reads::Rounds,
    /// One change of membership at a time.
    pub(super) changing: std::sync::atomic::AtomicBool,
}

impl Replica {
    pub(super) fn new(
        shared: Arc<Shared>,
        group: GroupId,
        log: (Box<dyn LogWriter>, Arc<dyn LogReader>),
        stamper: Arc<dyn Stamper>,
        limits: Arc<Limits>,
        state: State,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared,
            group,
            me: state.me,
            reader: log.1,
            stamper,
            limits,
            progress: Watch::new(state.progress()),
            writer: Mutex::new(Some(log.0)),
            state: Mutex::new(state),
            raft: Mutex::new(None),
            synced: Event::new(),
            ended: Event::new(),
            reads: super::reads::Rounds::default(),
            changing: std::sync::atomic::AtomicBool::new(false),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn guards(&self) -> Guards {
        self.shared.guards
    }

    pub(super) fn options(&self) -> &AsyncRaftOptions {
        &self.shared.options
    }

    pub(super) fn counters(&self) -> &AsyncRaftCounters {
        &self.shared.counters
    }

    pub(super) fn now(&self) -> Duration {
        self.shared.env.clock.now()
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        self.shared.env.clock.sleep(duration).await;
    }

    /// The crate's instance, where it runs.
    pub(super) fn raft(&self) -> Option<Crate> {
        self.raft.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_raft(&self, raft: Option<Crate>) -> Option<Crate> {
        std::mem::replace(
            &mut *self.raft.lock().unwrap_or_else(PoisonError::into_inner),
            raft,
        )
    }

    /// Writes to the log.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&mut dyn LogWriter) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match writer.as_mut() {
            Some(writer) => work(writer.as_mut()),
            None => Err(LogError::Closed),
        }
    }

    /// Gives the log up.
    pub(super) fn drop_writer(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(writer);
    }

    /// The end of the log.
    pub(super) fn last(&self) -> chronik_core::LogId {
        self.reader.state().last
    }

    /// Tells the watchers where the replica stands; neither term nor commit index ever goes back (CS-ORD-01).
    pub(super) fn show(&self, state: &State) {
        let new = state.progress();
        self.progress.update(|progress| {
            assert!(
                new.term >= progress.term && new.commit >= progress.commit,
                "term and commit only grow: {progress:?}, then {new:?}"
            );
            let changed = *progress != new;
            *progress = new;
            changed
        });
    }

    /// Waits for a write beside the caller; a failure stops the replica.
    pub(super) fn watch_ticket(self: &Arc<Self>, ticket: Ticket) {
        let replica = Arc::clone(self);
        ticket.on_resolve(move |result| {
            if let Err(error) = result {
                replica.fail(error);
            }
            replica.synced.notify(usize::MAX);
        });
    }

    /// The log failed: nothing is promised any more.
    pub(super) fn fail(&self, error: &LogError) {
        if *error == LogError::Closed {
            return;
        }
        self.stop_for(&error.to_string());
    }

    /// Stops the replica, with the reason in the log.
    pub(super) fn stop_for(&self, reason: &str) {
        let mut state = self.state();
        if state.stopped {
            return;
        }
        log::error!(
            "event=group_stopped group={} replica={} error=\"{reason}\"",
            self.group,
            self.me.replica
        );
        count(&self.counters().groups_stopped, 1);
        self.stop(&mut state);
    }

    /// Ends what waits: proposals without an outcome end as unknown.
    pub(super) fn stop(&self, state: &mut State) {
        state.lead_no_more();
        state.stopped = true;
        state.drafts.clear();
        state.pending.clear();
        state.unsynced.clear();
        self.show(state);
        self.ended.notify(usize::MAX);
        self.synced.notify(usize::MAX);
    }

    /// Sends a request to another replica and waits for the answer.
    pub(super) async fn call(
        &self,
        to: ReplicaId,
        lane: Lane,
        request: Request,
        deadline: Duration,
    ) -> Option<Bytes> {
        let node = self.state().book.get(&to)?.node;
        let message = encode_envelope(&Envelope {
            group: self.group,
            to,
            from: self.me.replica,
            request,
        });
        match self.shared.transport.call(node, lane, message, deadline).await {
            CallOutcome::Answered(bytes) => Some(bytes),
            CallOutcome::NotDelivered(_) | CallOutcome::Unknown(_) => {
                count(&self.counters().unanswered, 1);
                None
            }
        }
    }

    /// Sends a request that has no answer; lost where it does not fit.
    pub(super) fn tell(&self, state: &State, to: ReplicaId, request: Request) {
        let Some(member) = state.book.get(&to) else {
            return;
        };
        let message = encode_envelope(&Envelope {
            group: self.group,
            to,
            from: self.me.replica,
            request,
        });
        if self
            .shared
            .transport
            .send(member.node, Lane::Control, message)
            .is_err()
        {
            count(&self.counters().unanswered, 1);
        }
    }

    /// Where a replica that wrote to us is; one that waits for a membership learns so whom to answer.
    pub(super) fn meet(&self, replica: ReplicaId, node: NodeId) {
        let mut state = self.state();
        state.book.entry(replica).or_insert(Member { replica, node });
    }

    pub(super) fn not_leader(&self) -> ConsensusError {
        let leader = self.state().other_leader();
        ConsensusError::NotLeader { leader }
    }

    /// The term of an entry between the purge point and the end of the log.
    pub(super) fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.reader.term_at(index).ok()
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("group", &self.group)
            .field("me", &self.me)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
