//! A network in memory and in real time: ordered, with one-way cuts and late duplicates.

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use chronik_core::env::Env;
use chronik_core::transport::{
    CallOutcome, Inbound, InboundStream, Lane, Peer, PeerState, Reply, SendError, Transport,
};
use chronik_core::{BoxFuture, NodeId, Watch};
use futures_lite::future::or;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Messages that can come again.
const TAPE: usize = 256;

#[derive(Default)]
struct State {
    nodes: BTreeMap<NodeId, Sender<Inbound>>,
    /// Nothing gets from the first to the second.
    cut: BTreeSet<(NodeId, NodeId)>,
    tape: VecDeque<(NodeId, NodeId, Lane, Bytes)>,
}

/// The network of a test. Clones are the same network.
#[derive(Clone)]
pub(crate) struct Net {
    env: Env,
    state: Arc<Mutex<State>>,
}

struct Endpoint {
    net: Net,
    node: NodeId,
}

struct Stream {
    receiver: Receiver<Inbound>,
}

impl Net {
    pub(crate) fn new(env: Env) -> Self {
        let state = Arc::default();
        Self { env, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bind(&self, node: NodeId) -> (Arc<dyn Transport>, Box<dyn InboundStream>) {
        let (sender, receiver) = async_channel::unbounded();
        self.lock().nodes.insert(node, sender);
        let net = self.clone();
        (Arc::new(Endpoint { net, node }), Box::new(Stream { receiver }))
    }

    pub(crate) fn unbind(&self, node: NodeId) {
        self.lock().nodes.remove(&node);
    }

    pub(crate) fn cut(&self, from: NodeId, to: NodeId) {
        self.lock().cut.insert((from, to));
    }

    pub(crate) fn isolate(&self, node: NodeId) {
        let mut state = self.lock();
        for other in (1..=9).map(NodeId) {
            state.cut.insert((node, other));
            state.cut.insert((other, node));
        }
    }

    pub(crate) fn heal(&self) {
        self.lock().cut.clear();
    }

    /// A message of the past arrives once more.
    pub(crate) fn repeat(&self, pick: usize) {
        let state = self.lock();
        if state.tape.is_empty() {
            return;
        }
        let (from, to, lane, message) = state.tape[pick % state.tape.len()].clone();
        if let Some(node) = state.nodes.get(&to) {
            let reply = Reply::new(drop);
            drop(node.try_send(Inbound {
                from,
                lane,
                message,
                reply,
            }));
        }
    }

    fn deliver(&self, from: NodeId, to: NodeId, lane: Lane, message: Bytes, reply: Reply) -> bool {
        let mut state = self.lock();
        if state.cut.contains(&(from, to)) {
            return false;
        }
        state.tape.push_back((from, to, lane, message.clone()));
        if state.tape.len() > TAPE {
            state.tape.pop_front();
        }
        let inbound = Inbound {
            from,
            lane,
            message,
            reply,
        };
        state
            .nodes
            .get(&to)
            .is_some_and(|node| node.try_send(inbound).is_ok())
    }
}

impl Transport for Endpoint {
    fn set_peers(&self, _: Vec<Peer>) {}

    fn call(
        &self,
        to: NodeId,
        lane: Lane,
        message: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, CallOutcome> {
        let (sender, receiver) = async_channel::bounded(1);
        let (net, from) = (self.net.clone(), self.node);
        let back = net.clone();
        let reply = Reply::new(move |answer| {
            if !back.lock().cut.contains(&(to, from)) {
                drop(sender.try_send(answer));
            }
        });
        let bound = net.lock().nodes.contains_key(&to);
        let delivered = bound && net.deliver(from, to, lane, message, reply);
        Box::pin(async move {
            if !bound {
                return CallOutcome::NotDelivered(SendError::Disconnected);
            }
            let late = async {
                net.env.clock.sleep(deadline).await;
                CallOutcome::Unknown("deadline".into())
            };
            let answer = async {
                match receiver.recv().await {
                    Ok(bytes) => CallOutcome::Answered(bytes),
                    // Cut: silence until the deadline. Dropped by the peer: likewise.
                    Err(_) => std::future::pending().await,
                }
            };
            let _ = delivered;
            or(answer, late).await
        })
    }

    fn send(&self, to: NodeId, lane: Lane, message: Bytes) -> Result<(), SendError> {
        self.net.deliver(self.node, to, lane, message, Reply::new(drop));
        Ok(())
    }

    fn room(&self, _: NodeId, _: Lane) -> BoxFuture<'static, Result<(), SendError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn peers(&self) -> Watch<BTreeMap<NodeId, PeerState>> {
        Watch::new(BTreeMap::new())
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.net.unbind(self.node);
        Box::pin(std::future::ready(()))
    }
}

impl InboundStream for Stream {
    fn next(&mut self) -> BoxFuture<'_, Option<Inbound>> {
        Box::pin(async { self.receiver.recv().await.ok() })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}
