//! The replicated backend over raft-rs.
//!
//! One task owns all groups of the node. Everything reaches it through one queue: calls, messages of peers, resolved
//! tickets of the log, ticks, and the sessions of the transport. A round of the engine takes all that waits, lets
//! raft-rs step, writes what it wants written, and sends each peer one batch for all groups. Nothing waits inside a
//! round: what is not durable yet comes back as an input, and what depends on it is sent then. A leader's entries go
//! to the followers beside its own write; it counts itself when that is durable.
//!
//! Payloads are shared slices all the way: raft-rs decides by index and term alone, the log store keeps the bytes.

mod conf;
mod counters;
mod engine;
mod entry;
mod group;
mod handle;
mod inbox;
mod limits;
mod liveness;
mod options;
mod outbox;
mod shown;
mod storage;
mod wire;

pub use counters::RaftCounters;
pub use options::RaftOptions;

use chronik_core::consensus::{Capabilities, Consensus, ConsensusError, ConsensusGroup, GroupSpec};
use chronik_core::env::Env;
use chronik_core::transport::InboundStream;
use chronik_core::{BoxFuture, Transport, Watch};
use engine::Engine;
use futures_lite::future;
use group::{Context, prepare};
use handle::RaftGroup;
use inbox::{Answer, Inbox, Input, Instance};
use limits::{Flight, Limits};
use liveness::{Heard, Liveness};
use outbox::Outbox;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the engine's handles share.
#[derive(Debug)]
struct Shared {
    options: RaftOptions,
    env: Env,
    inbox: Inbox,
    counters: Arc<RaftCounters>,
    flight: Arc<Flight>,
    heard: Arc<Heard>,
    instances: AtomicU64,
    /// How many of the engine's tasks still run.
    running: Watch<u32>,
}

/// The replicated engine of a node.
#[derive(Debug)]
pub struct RaftRsEngine {
    shared: Arc<Shared>,
}

impl RaftRsEngine {
    /// An engine without groups. It sends through `transport`, and takes all of `inbound`: messages of the channel
    /// [`Consensus`](chronik_core::transport::Channel::Consensus).
    ///
    /// # Errors
    /// The option that makes no sense.
    pub fn new(
        mut options: RaftOptions,
        env: Env,
        transport: Arc<dyn Transport>,
        inbound: Box<dyn InboundStream>,
    ) -> Result<Self, ConsensusError> {
        // What fits into an entry fits into a message; neither an append nor a shared entry may be larger.
        options.max_append_bytes = options.max_append_bytes.min(options.max_entry_bytes);
        let entry_bytes = usize::try_from(options.max_entry_bytes).unwrap_or(usize::MAX);
        options.coalesce_bytes = options.coalesce_bytes.min(entry_bytes);
        if let Some(complaint) = options.complaint() {
            return Err(ConsensusError::Invalid(complaint.into()));
        }
        let inbox = Inbox::new(options.inbox_bytes);
        let counters = Arc::new(RaftCounters::default());
        let outbox = Outbox::new(
            Arc::clone(&transport),
            Arc::clone(&counters),
            options.batch_bytes,
            options.peer_stash_bytes,
        );
        let shared = Arc::new(Shared {
            options: options.clone(),
            env: env.clone(),
            inbox: inbox.clone(),
            counters: Arc::clone(&counters),
            flight: Arc::default(),
            heard: Arc::default(),
            instances: AtomicU64::new(0),
            running: Watch::new(3),
        });
        let context = Context {
            now: env.clock.now(),
            reads_left: options.max_reads,
            options,
            env,
            inbox: inbox.clone(),
            counters,
            outbox,
        };
        let heard = Arc::clone(&shared.heard);
        let liveness = Liveness::new(&context.options, &*context.env.rng, heard, context.now);
        let engine = Engine::new(context, Arc::clone(&transport), liveness);
        shared.spawn("consensus", Box::pin(engine.run()));
        shared.spawn("consensus-inbound", Box::pin(pump(inbox.clone(), inbound)));
        shared.spawn("consensus-peers", Box::pin(follow_peers(inbox, transport)));
        Ok(Self { shared })
    }

    /// What the engine counts.
    #[must_use]
    pub fn counters(&self) -> Arc<RaftCounters> {
        Arc::clone(&self.shared.counters)
    }

    async fn open(&self, spec: GroupSpec) -> Result<Arc<dyn ConsensusGroup>, ConsensusError> {
        let shared = &self.shared;
        let to = Instance {
            group: spec.group,
            number: shared.instances.fetch_add(1, Ordering::Relaxed),
        };
        let options = &shared.options;
        let (answer, opened) = Answer::pair();
        let reader = Arc::clone(&spec.log.reader);
        let opening = prepare(&shared.env, spec, to, options.max_append_bytes, answer).await?;
        let shown = Arc::clone(&opening.shown);
        shared.inbox.push(Input::Open(Box::new(opening)));
        opened.await?;
        let limits = Limits {
            node: Arc::clone(&shared.flight),
            node_bytes: options.node_inflight_bytes,
            group_bytes: options.group_inflight_bytes,
            group_proposals: options.group_inflight_proposals,
            flight: Flight::default(),
            counters: Arc::clone(&shared.counters),
        };
        Ok(Arc::new(RaftGroup {
            shared: Arc::clone(shared),
            to,
            shown,
            reader,
            limits: Arc::new(limits),
        }))
    }
}

impl Shared {
    fn spawn(self: &Arc<Self>, name: &'static str, task: BoxFuture<'static, ()>) {
        let running = self.running.clone();
        let task = async move {
            task.await;
            running.update(|running| {
                *running -= 1;
                true
            });
        };
        self.env.spawn.spawn(name, Box::pin(task));
    }
}

/// Brings messages to the engine, as fast as it takes them.
async fn pump(inbox: Inbox, mut inbound: Box<dyn InboundStream>) {
    loop {
        let next = future::or(inbound.next(), async {
            inbox.closed().await;
            None
        });
        match next.await {
            Some(message) => inbox.push_message(message).await,
            None => return,
        }
    }
}

/// Tells the engine of sessions that come and go.
async fn follow_peers(inbox: Inbox, transport: Arc<dyn Transport>) {
    let peers = transport.peers();
    let (mut state, mut seen) = peers.versioned();
    loop {
        inbox.push(Input::Peers(state));
        let next = future::or(async { Some(peers.changed(seen).await) }, async {
            inbox.closed().await;
            None
        });
        match next.await {
            Some(changed) => (state, seen) = changed,
            None => return,
        }
    }
}

impl Consensus for RaftRsEngine {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            replication: true,
            membership_change: true,
            leadership_transfer: true,
            learners: true,
            // A split vote costs another timeout.
            failover_bound: self.shared.options.election_bound() * 3,
        }
    }

    fn open_group(&self, spec: GroupSpec) -> BoxFuture<'_, Result<Arc<dyn ConsensusGroup>, ConsensusError>> {
        Box::pin(self.open(spec))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.shared.inbox.push(Input::Stop);
        Box::pin(async move {
            self.shared.running.wait_for(|running| *running == 0).await;
        })
    }
}
