//! The engine of a node: its groups, and the messages that reach them.

use super::change::unsupported;
use super::counters::{AsyncRaftCounters, count};
use super::group::AsyncRaftGroup;
use super::guards::Guards;
use super::island::Island;
use super::limits::{Flight, Limits};
use super::open;
use super::options::AsyncRaftOptions;
use super::replica::{Replica, Shared};
use super::wire::{self, Envelope, Request};
use chronik_core::consensus::{Capabilities, Consensus, ConsensusError, ConsensusGroup, GroupSpec};
use chronik_core::env::Env;
use chronik_core::transport::{Inbound, InboundStream, Reply};
use chronik_core::{BoxFuture, GroupId, Transport};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A request that waits for its replica.
type Waiting = (Envelope, Reply);

#[derive(Clone, Debug)]
struct Opened {
    replica: Arc<Replica>,
    requests: async_channel::Sender<Waiting>,
    group: Arc<AsyncRaftGroup>,
}

#[derive(Debug, Default)]
struct Groups {
    open: BTreeMap<GroupId, Opened>,
    closed: bool,
}

/// The async-raft engine of a node.
#[derive(Debug)]
pub struct AsyncRaftEngine {
    shared: Arc<Shared>,
    groups: Arc<Mutex<Groups>>,
    flight: Arc<Flight>,
}

fn lock(groups: &Mutex<Groups>) -> MutexGuard<'_, Groups> {
    groups.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsyncRaftEngine {
    /// An engine without groups, that takes the messages of `inbound` from now on, with its private runtime.
    ///
    /// # Errors
    /// [`ConsensusError::Invalid`] for options that make no sense, or where the system gives no threads.
    pub fn new(
        options: AsyncRaftOptions,
        env: Env,
        transport: Arc<dyn Transport>,
        inbound: Box<dyn InboundStream>,
    ) -> Result<Self, ConsensusError> {
        Self::with_guards(options, Guards::ON, env, transport, inbound)
    }

    /// An engine with some guards off: for tests that show what a guard is for. Nothing else may call it.
    ///
    /// # Errors
    /// As [`AsyncRaftEngine::new`].
    #[doc(hidden)]
    pub fn with_guards(
        mut options: AsyncRaftOptions,
        guards: Guards,
        env: Env,
        transport: Arc<dyn Transport>,
        inbound: Box<dyn InboundStream>,
    ) -> Result<Self, ConsensusError> {
        // What fits into an entry fits into a message.
        options.max_append_bytes = options.max_append_bytes.min(options.max_entry_bytes);
        if let Some(complaint) = options.complaint() {
            return Err(ConsensusError::Invalid(format!(
                "consensus.async_raft: {complaint}"
            )));
        }
        let island = Island::start(options.worker_threads)
            .map_err(|error| ConsensusError::Invalid(format!("no threads for async-raft: {error}")))?;
        let shared = Arc::new(Shared {
            options,
            guards,
            env,
            transport,
            counters: Arc::new(AsyncRaftCounters::default()),
            island,
        });
        let groups = Arc::new(Mutex::new(Groups::default()));
        let counters = Arc::clone(&shared.counters);
        shared
            .island
            .spawn(receive(inbound, Arc::clone(&groups), counters));
        Ok(Self {
            shared,
            groups,
            flight: Arc::new(Flight::default()),
        })
    }

    /// What the engine counts.
    #[must_use]
    pub fn counters(&self) -> Arc<AsyncRaftCounters> {
        Arc::clone(&self.shared.counters)
    }

    /// The open replica of a group.
    #[cfg(test)]
    pub(super) fn replica(&self, group: GroupId) -> Arc<Replica> {
        Arc::clone(&lock(&self.groups).open[&group].replica)
    }

    async fn open(&self, spec: GroupSpec) -> Result<Arc<dyn ConsensusGroup>, ConsensusError> {
        let id = spec.group;
        {
            let mut groups = lock(&self.groups);
            if groups.closed {
                return Err(ConsensusError::Closed);
            }
            groups.open.retain(|_, opened| !opened.replica.state().stopped);
            if groups.open.contains_key(&id) {
                return Err(ConsensusError::Invalid(format!("group {id} is open")));
            }
        }
        let options = &self.shared.options;
        let limits = Arc::new(Limits {
            node: Arc::clone(&self.flight),
            node_bytes: options.node_inflight_bytes,
            group_bytes: options.group_inflight_bytes,
            group_proposals: options.group_inflight_proposals,
            flight: Flight::default(),
            counters: Arc::clone(&self.shared.counters),
        });
        let (replica, queue) = open::open(Arc::clone(&self.shared), limits, spec).await?;
        count(&self.shared.counters.groups_open, 1);
        let (requests, waiting) = async_channel::bounded(options.max_waiting_requests);
        self.shared.island.spawn(serve(Arc::clone(&replica), waiting));
        let group = Arc::new(AsyncRaftGroup {
            replica: Arc::clone(&replica),
            queue,
        });
        let opened = Opened {
            replica,
            requests,
            group: Arc::clone(&group),
        };
        lock(&self.groups).open.insert(id, opened);
        Ok(group)
    }

    async fn close_groups(&self) {
        let open = {
            let mut groups = lock(&self.groups);
            groups.closed = true;
            std::mem::take(&mut groups.open)
        };
        for opened in open.into_values() {
            opened.group.close().await;
        }
        self.shared.counters.groups_open.store(0, Ordering::Relaxed);
    }
}

/// Takes messages as they arrive and gives each to its replica.
async fn receive(
    mut inbound: Box<dyn InboundStream>,
    groups: Arc<Mutex<Groups>>,
    counters: Arc<AsyncRaftCounters>,
) {
    while let Some(Inbound {
        from, message, reply, ..
    }) = inbound.next().await
    {
        count(&counters.messages_in, 1);
        let Some(envelope) = wire::envelope(message) else {
            count(&counters.dropped_malformed, 1);
            log::debug!("event=malformed_message from={from}");
            continue;
        };
        let opened = lock(&groups).open.get(&envelope.group).cloned();
        let Some(opened) = opened.filter(|opened| opened.replica.me.replica == envelope.to) else {
            count(&counters.dropped_unknown, 1);
            continue;
        };
        opened.replica.meet(envelope.from, from);
        match envelope.request {
            // Answers that change nothing need not wait for the disk.
            Request::Probe(_) => {
                let term = opened.replica.state().hard.term;
                reply.answer(wire::encode_number(term.0));
            }
            Request::ReadIndex => {
                let replica = Arc::clone(&opened.replica);
                let read = async move {
                    let index = replica.read_as_leader().await.ok();
                    reply.answer(wire::encode_read_answer(index));
                };
                opened.replica.shared.island.spawn(read);
            }
            _ => {
                if opened.requests.try_send((envelope, reply)).is_err() {
                    count(&counters.dropped_busy, 1);
                }
            }
        }
    }
}

/// Takes the requests for a replica in order, each to its end.
async fn serve(replica: Arc<Replica>, waiting: async_channel::Receiver<Waiting>) {
    loop {
        let ended = replica.ended.listen();
        if replica.state().stopped {
            return;
        }
        let next = futures_lite::future::or(async { waiting.recv().await.ok() }, async {
            ended.await;
            None
        });
        let Some((envelope, reply)) = next.await else {
            continue;
        };
        let answer = match envelope.request {
            Request::Append(append) => {
                let answer = replica.on_append(envelope.from, append).await;
                answer.map(|answer| wire::encode_append_answer(&answer))
            }
            Request::Vote(vote) => replica
                .on_vote(envelope.from, vote)
                .await
                .map(wire::encode_vote_answer),
            Request::Install { term, checkpoint } => {
                let answer = replica.on_install(envelope.from, term, checkpoint).await;
                answer.map(|answer| wire::encode_append_answer(&answer))
            }
            Request::Committed { term, commit } => {
                replica.on_committed(term, commit);
                None
            }
            Request::Probe(_) | Request::ReadIndex => None,
        };
        if let Some(answer) = answer {
            reply.answer(answer);
        }
    }
}

impl Consensus for AsyncRaftEngine {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            replication: true,
            membership_change: true,
            leadership_transfer: false,
            learners: true,
            failover_bound: self.shared.options.failover_bound(),
        }
    }

    fn open_group(&self, spec: GroupSpec) -> BoxFuture<'_, Result<Arc<dyn ConsensusGroup>, ConsensusError>> {
        if spec.founding.voters.len() == 2 {
            let answer = Err(unsupported("a group of two voters"));
            return Box::pin(std::future::ready(answer));
        }
        Box::pin(self.open(spec))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.close_groups())
    }
}

impl Drop for AsyncRaftEngine {
    fn drop(&mut self) {
        let open = std::mem::take(&mut lock(&self.groups).open);
        for opened in open.into_values() {
            // L15: the crate panics when it is dropped without its shutdown.
            let closing = opened.group.close();
            self.shared.island.spawn(closing);
        }
    }
}
