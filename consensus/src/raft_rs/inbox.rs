//! The one queue through which everything reaches the engine.

use super::storage::Wanted;
use crate::raft_rs::group::Opening;
use chronik_core::consensus::{ConsensusError, Maintenance, MembershipChange};
use chronik_core::log_store::Checkpoint;
use chronik_core::proposal::ProposalSender;
use chronik_core::ticket::TicketSender;
use chronik_core::transport::{Inbound, Lane, PeerState};
use chronik_core::{BoxFuture, Entry, GroupId, LogError, LogId, LogIndex, NodeId, Proposal, ReplicaId};
use event_listener::Event;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where an answer goes. Dropped unused, the caller is told that the group is closed.
#[derive(Debug)]
pub(super) struct Answer<T> {
    sender: async_channel::Sender<Result<T, ConsensusError>>,
}

impl<T: Send + 'static> Answer<T> {
    /// Where an answer goes, and the future that waits for it.
    pub(super) fn pair() -> (Self, BoxFuture<'static, Result<T, ConsensusError>>) {
        let (sender, receiver) = async_channel::bounded(1);
        let wait = async move { receiver.recv().await.unwrap_or(Err(ConsensusError::Closed)) };
        (Self { sender }, Box::pin(wait))
    }

    /// Answers. Who went away does not matter.
    pub(super) fn give(self, result: Result<T, ConsensusError>) {
        drop(self.sender.try_send(result));
    }
}

/// One opening of a group; numbers are never used twice in a process, so that late answers of an earlier opening are
/// told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instance {
    pub(super) group: GroupId,
    pub(super) number: u64,
}

/// What reaches the engine.
pub(super) enum Input {
    Open(Box<Opening>),
    Propose {
        to: Instance,
        proposal: Proposal,
        sender: ProposalSender,
        permit: super::limits::Permit,
    },
    ReadBarrier {
        to: Instance,
        answer: Answer<LogIndex>,
    },
    Change {
        to: Instance,
        change: MembershipChange,
        answer: Answer<LogId>,
    },
    Transfer {
        to: Instance,
        replica: ReplicaId,
        answer: Answer<()>,
    },
    Maintain {
        to: Instance,
        maintenance: Box<Maintenance>,
        /// For a purge, the newest checkpoint that it can go to.
        stored: Option<LogId>,
        done: TicketSender,
    },
    Close {
        to: Instance,
        answer: Answer<()>,
    },
    /// Everything up to this round of the group is durable, or never will be.
    Persisted {
        to: Instance,
        round: u64,
        result: Result<(), LogError>,
    },
    /// Entries for a replica that lags behind.
    Fetched {
        to: Instance,
        low: LogIndex,
        generation: u64,
        result: Result<Vec<Entry>, LogError>,
    },
    /// The checkpoint for replicas that need purged entries.
    CheckpointRead {
        to: Instance,
        result: Result<Option<Checkpoint>, LogError>,
    },
    Message(Inbound),
    Peers(BTreeMap<NodeId, PeerState>),
    /// A lane that was full takes messages again, or its peer is gone.
    Room {
        node: NodeId,
        lane: Lane,
    },
    /// Ends the engine.
    Stop,
}

impl Input {
    fn bytes(&self) -> usize {
        match self {
            Self::Message(inbound) => inbound.message.len(),
            _ => 0,
        }
    }
}

#[derive(Default)]
struct Waiting {
    inputs: Vec<Input>,
    bytes: usize,
}

struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Event,
    drained: Event,
    closed: AtomicBool,
    limit_bytes: usize,
}

/// The queue. Clones share it.
#[derive(Clone)]
pub(super) struct Inbox {
    shared: Arc<Shared>,
}

impl Inbox {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                waiting: Mutex::default(),
                arrived: Event::new(),
                drained: Event::new(),
                closed: AtomicBool::new(false),
                limit_bytes,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an input. Once the engine has ended it is dropped, which tells whoever waits for its answer.
    pub(super) fn push(&self, input: Input) {
        let mut waiting = self.lock();
        if self.shared.closed.load(Ordering::SeqCst) {
            drop(waiting);
            drop(input);
            return;
        }
        waiting.bytes += input.bytes();
        waiting.inputs.push(input);
        drop(waiting);
        self.shared.arrived.notify(1);
    }

    /// Queues a message once there is room for it.
    pub(super) async fn push_message(&self, inbound: Inbound) {
        loop {
            let drained = self.shared.drained.listen();
            let full = self.lock().bytes >= self.shared.limit_bytes;
            if !full || self.is_closed() {
                break;
            }
            drained.await;
        }
        self.push(Input::Message(inbound));
    }

    /// Takes all that is there, into an empty `out`.
    pub(super) fn drain(&self, out: &mut Vec<Input>) {
        let mut waiting = self.lock();
        std::mem::swap(&mut waiting.inputs, out);
        let had_messages = std::mem::take(&mut waiting.bytes) > 0;
        drop(waiting);
        if had_messages {
            self.shared.drained.notify(usize::MAX);
        }
    }

    /// Waits until there is something. Cancel safe.
    pub(super) async fn arrival(&self) {
        loop {
            let arrived = self.shared.arrived.listen();
            if !self.lock().inputs.is_empty() {
                return;
            }
            arrived.await;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::SeqCst)
    }

    /// The engine has ended: nothing is taken any more, and what waits is dropped.
    pub(super) fn close(&self) {
        let left = {
            let mut waiting = self.lock();
            self.shared.closed.store(true, Ordering::SeqCst);
            std::mem::take(&mut waiting.inputs)
        };
        drop(left);
        self.shared.arrived.notify(usize::MAX);
        self.shared.drained.notify(usize::MAX);
    }

    /// Waits for [`Inbox::close`]. Cancel safe.
    pub(super) async fn closed(&self) {
        loop {
            let listener = self.shared.drained.listen();
            if self.is_closed() {
                return;
            }
            listener.await;
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// What a spawned read of entries reports.
pub(super) async fn run_fetch(inbox: Inbox, to: Instance, wanted: Wanted) {
    let Wanted {
        low,
        generation,
        read,
    } = wanted;
    let result = read.await;
    inbox.push(Input::Fetched {
        to,
        low,
        generation,
        result,
    });
}
