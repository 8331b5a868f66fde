//! What arrived and was not taken yet, of all peers, and the stream that takes it.

use chronik_core::BoxFuture;
use chronik_core::ids::NodeId;
use chronik_core::transport::{Inbound, InboundStream, Lane};
use event_listener::Event;
use futures_channel::oneshot;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Says when the last message of a batch was taken: every message holds a part of it.
pub(crate) struct Taken {
    done: Option<oneshot::Sender<()>>,
}

impl Taken {
    pub(crate) fn new() -> (Arc<Self>, oneshot::Receiver<()>) {
        let (done, waiter) = oneshot::channel();
        (Arc::new(Self { done: Some(done) }), waiter)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            let _ = done.send(());
        }
    }
}

/// A message and its part of the batch.
pub(crate) struct Parcel {
    pub(crate) inbound: Inbound,
    pub(crate) taken: Arc<Taken>,
}

#[derive(Default)]
struct PeerQueues {
    session: u64,
    /// Nothing more arrives: the queues go when they are empty.
    over: bool,
    lanes: [VecDeque<Parcel>; LANES],
}

#[derive(Default)]
struct State {
    closed: bool,
    last_session: u64,
    peers: BTreeMap<NodeId, PeerQueues>,
    /// For each lane, the peers that have something in it; each gets its turn.
    ready: [VecDeque<NodeId>; LANES],
    taken: u64,
}

const LANES: usize = 3;

pub(crate) fn lane_index(lane: Lane) -> usize {
    match lane {
        Lane::Control => 0,
        Lane::Replication => 1,
        Lane::Bulk => 2,
    }
}

/// The queues of everything that arrived. What they hold is bounded by the windows of the senders, which the
/// receiving side of a connection enforces.
#[derive(Default)]
pub(crate) struct InboundQueues {
    state: Mutex<State>,
    arrived: Event,
}

impl InboundQueues {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session of the peer begins: nothing of its older ones arrives any more (TR-ORD-02).
    pub(crate) fn begin(&self, from: NodeId) -> u64 {
        let mut state = self.lock();
        state.last_session += 1;
        let session = state.last_session;
        let queues = PeerQueues {
            session,
            ..PeerQueues::default()
        };
        let old = state.peers.insert(from, queues);
        for ready in &mut state.ready {
            ready.retain(|node| *node != from);
        }
        drop(state);
        drop(old);
        session
    }

    /// Queues the messages of a batch, in order. Those of a session that is over are dropped.
    pub(crate) fn push(&self, from: NodeId, session: u64, lane: Lane, parcels: VecDeque<Parcel>) {
        let index = lane_index(lane);
        let mut state = self.lock();
        let state = &mut *state;
        if state.closed || parcels.is_empty() {
            return;
        }
        let Some(queues) = state
            .peers
            .get_mut(&from)
            .filter(|queues| queues.session == session)
        else {
            return;
        };
        let queue = &mut queues.lanes[index];
        if queue.is_empty() {
            state.ready[index].push_back(from);
            *queue = parcels;
        } else {
            queue.extend(parcels);
        }
        self.arrived.notify(1);
    }

    /// The session is over; what arrived is still taken.
    pub(crate) fn retire(&self, from: NodeId, session: u64) {
        let mut state = self.lock();
        if let Some(queues) = state.peers.get_mut(&from)
            && queues.session == session
        {
            queues.over = true;
            state.forget_if_done(from);
        }
    }

    /// Nothing is taken any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let peers = std::mem::take(&mut state.peers);
        state.ready = Default::default();
        drop(state);
        drop(peers);
        self.arrived.notify(usize::MAX);
    }
}

impl State {
    /// The next message: control first, but now and then the other lanes, so that none starves.
    fn pop(&mut self) -> Option<Parcel> {
        self.taken = self.taken.wrapping_add(1);
        let order = match self.taken % 16 {
            0 => [2, 1, 0],
            4 | 8 | 12 => [1, 0, 2],
            _ => [0, 1, 2],
        };
        order.into_iter().find_map(|lane| self.pop_lane(lane))
    }

    fn pop_lane(&mut self, lane: usize) -> Option<Parcel> {
        let node = self.ready[lane].pop_front()?;
        let queue = &mut self.peers.get_mut(&node)?.lanes[lane];
        let parcel = queue.pop_front()?;
        if queue.is_empty() {
            self.forget_if_done(node);
        } else {
            self.ready[lane].push_back(node);
        }
        Some(parcel)
    }

    fn forget_if_done(&mut self, node: NodeId) {
        let done = |queues: &PeerQueues| queues.over && queues.lanes.iter().all(VecDeque::is_empty);
        if self.peers.get(&node).is_some_and(done) {
            self.peers.remove(&node);
        }
    }
}

/// The receiving end of a transport.
pub(crate) struct Stream {
    queues: Arc<InboundQueues>,
}

impl Stream {
    pub(crate) fn new(queues: Arc<InboundQueues>) -> Self {
        Self { queues }
    }
}

impl InboundStream for Stream {
    fn next(&mut self) -> BoxFuture<'_, Option<Inbound>> {
        Box::pin(async {
            loop {
                let listener = {
                    let mut state = self.queues.lock();
                    if state.closed {
                        return None;
                    }
                    if let Some(parcel) = state.pop() {
                        drop(state);
                        drop(parcel.taken);
                        return Some(parcel.inbound);
                    }
                    self.queues.arrived.listen()
                };
                listener.await;
            }
        })
    }
}

/// With the reader gone nobody takes anything: what arrives is dropped, and its callers learn that.
impl Drop for Stream {
    fn drop(&mut self) {
        self.queues.close();
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}
