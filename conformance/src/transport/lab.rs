//! Nodes, links and readers for checks.

use super::rig::{Certificate, Harm, Process, Rig, Wire};
use crate::check::{Failure, Marks, Verdict};
use crate::world::net::Way;
use crate::world::{Prng, Seed, locked};
use bytes::Bytes;
use chronik_core::env::Env;
use chronik_core::transport::{
    BindOptions, Bound, CallOutcome, Hello, Inbound, InboundStream, Lane, Peer, PeerState, Reply, SendError,
    Transport,
};
use chronik_core::{BoxFuture, NodeId};
use futures_lite::future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

pub(super) const KEEPALIVE: Duration = Duration::from_secs(1);
pub(super) const MAX_MESSAGE_BYTES: u64 = 1 << 20;
pub(super) const MAX_QUEUED_BYTES: u64 = 256 << 10;
/// A deadline that no call of a check reaches where all is well.
pub(super) const LONG: Duration = Duration::from_secs(30);
/// Sessions come back within this, whatever the back-off.
pub(super) const RECONNECT: Duration = Duration::from_secs(20);
pub(super) const LANES: [Lane; 3] = [Lane::Control, Lane::Replication, Lane::Bulk];

pub(crate) struct Lab<'a> {
    pub(super) rig: &'a dyn Rig,
    pub(super) effort: u64,
    pub(super) marks: &'a Marks,
    seed: Seed,
    env: Env,
}

/// A bound transport and the process that it runs in.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) process: Box<dyn Process>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) inbound: Option<Box<dyn InboundStream>>,
    pub(super) local: SocketAddr,
}

/// The wires between two nodes that dial each other.
pub(super) struct Link {
    /// The first node dials here.
    pub(super) there: Arc<dyn Wire>,
    /// The second node dials here.
    pub(super) back: Arc<dyn Wire>,
}

impl Link {
    pub(super) fn reset(&self) {
        self.there.reset();
        self.back.reset();
    }

    /// Holds back what the first node sends.
    pub(super) fn hold_first(&self, on: bool) {
        self.there.hold(Way::ToListener, on);
        self.back.hold(Way::ToDialler, on);
    }

    /// Holds back what the second node sends.
    pub(super) fn hold_second(&self, on: bool) {
        self.there.hold(Way::ToDialler, on);
        self.back.hold(Way::ToListener, on);
    }

    pub(super) fn harm(&self, harm: Option<Harm>) {
        self.there.harm(harm);
        self.back.harm(harm);
    }

    pub(super) fn refuse(&self, on: bool) {
        self.there.refuse(on);
        self.back.refuse(on);
    }
}

pub(super) struct Pair {
    pub(super) one: Node,
    pub(super) two: Node,
    pub(super) link: Link,
}

impl<'a> Lab<'a> {
    pub(super) fn new(rig: &'a dyn Rig, seed: Seed, effort: u64, marks: &'a Marks) -> Self {
        Self {
            rig,
            effort,
            marks,
            seed,
            env: rig.env(),
        }
    }

    pub(super) fn prng(&self) -> Prng {
        self.seed.child("check").prng()
    }

    pub(super) fn now(&self) -> Duration {
        self.env.clock.now()
    }

    pub(super) async fn sleep(&self, time: Duration) {
        self.env.clock.sleep(time).await;
    }

    pub(super) fn options(id: u64) -> BindOptions {
        BindOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            hello: Hello {
                cluster_id: "conformance".into(),
                node: NodeId(id),
                version: 1,
            },
            max_message_bytes: MAX_MESSAGE_BYTES,
            max_queued_bytes: MAX_QUEUED_BYTES,
            keepalive: KEEPALIVE,
        }
    }

    pub(super) async fn node(&self, id: u64) -> Result<Node, Failure> {
        self.node_with(Self::options(id)).await
    }

    pub(super) async fn node_with(&self, options: BindOptions) -> Result<Node, Failure> {
        self.node_of(self.rig.process(), options).await
    }

    /// A node that shows this certificate; `None` where the subject has no TLS.
    pub(super) async fn secured(&self, id: u64, certificate: Certificate) -> Result<Option<Node>, Failure> {
        match self.rig.secured(certificate) {
            Some(process) => self.node_of(process, Self::options(id)).await.map(Some),
            None => Ok(None),
        }
    }

    async fn node_of(&self, process: Box<dyn Process>, options: BindOptions) -> Result<Node, Failure> {
        let id = options.hello.node;
        let bound = process.factory().bind(options).await;
        let Bound {
            transport,
            inbound,
            local,
        } = bound.map_err(|error| Failure(format!("node {id} does not bind: {error}")))?;
        Ok(Node {
            id,
            process,
            transport,
            inbound: Some(inbound),
            local,
        })
    }

    /// Two nodes that dial each other through wires and have a session.
    pub(super) async fn pair(&self) -> Result<Pair, Failure> {
        let (one, two) = (self.node(1).await?, self.node(2).await?);
        let link = Link {
            there: self.rig.wire(two.local),
            back: self.rig.wire(one.local),
        };
        one.transport.set_peers(vec![peer(two.id, link.there.address())]);
        two.transport.set_peers(vec![peer(one.id, link.back.address())]);
        let pair = Pair { one, two, link };
        self.both_connected(&pair, true).await?;
        Ok(pair)
    }

    pub(super) async fn both_connected(&self, pair: &Pair, wanted: bool) -> Verdict {
        self.connected(&pair.one, pair.two.id, wanted).await?;
        self.connected(&pair.two, pair.one.id, wanted).await
    }

    /// Breaks the session and lets no other begin. An attempt that began before may still succeed, so it breaks again.
    pub(super) async fn cut_off(&self, pair: &Pair) -> Verdict {
        pair.link.refuse(true);
        let end = self.now() + RECONNECT;
        while pair.one.state(pair.two.id).connected || pair.two.state(pair.one.id).connected {
            if self.now() >= end {
                return Err(Failure::new(
                    "a session lives although every connection was broken",
                ));
            }
            pair.link.reset();
            self.sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    pub(super) async fn connected(&self, node: &Node, to: NodeId, wanted: bool) -> Verdict {
        let what = if wanted {
            "a session"
        } else {
            "the end of the session"
        };
        let what = format!("node {} never sees {what} with {to}", node.id);
        self.until(&what, RECONNECT, || node.state(to).connected == wanted)
            .await
    }

    /// Waits until both ends have another session than `before`, and only one.
    pub(super) async fn next_session(&self, pair: &Pair, before: (u64, u64)) -> Verdict {
        let newer = |node: &Node, to: &Node, before| {
            let state = node.state(to.id);
            state.connected && state.session > before
        };
        self.until("no new session begins", RECONNECT, || {
            newer(&pair.one, &pair.two, before.0) && newer(&pair.two, &pair.one, before.1)
        })
        .await
    }

    /// Waits until `condition` holds.
    pub(super) async fn until(&self, what: &str, within: Duration, condition: impl Fn() -> bool) -> Verdict {
        let end = self.now() + within;
        while !condition() {
            if self.now() >= end {
                return Err(Failure(format!("{what} (within {within:?})")));
            }
            self.sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Reads what arrives at `node` and gives it to `handle`, until the transport ends.
    pub(super) fn serve(&self, node: &mut Node, mut handle: impl FnMut(Inbound) + Send + 'static) {
        if let Some(mut inbound) = node.inbound.take() {
            let task = async move {
                while let Some(message) = inbound.next().await {
                    handle(message);
                }
            };
            self.env.spawn.spawn("check-reader", Box::pin(task));
        }
    }

    /// Answers every message with itself, and notes it.
    pub(super) fn echo(&self, node: &mut Node) -> Seen {
        let seen = Seen::default();
        let note = Arc::clone(&seen.messages);
        self.serve(node, move |inbound| {
            locked(&note).push((inbound.lane, inbound.message.clone()));
            inbound.reply.answer(inbound.message);
        });
        seen
    }

    /// Keeps messages and their replies.
    pub(super) fn hold(&self, node: &mut Node) -> Held {
        let held = Held::default();
        let keep = Arc::clone(&held.list);
        self.serve(node, move |inbound| {
            locked(&keep).push((inbound.message, inbound.reply));
        });
        held
    }

    /// Sends when there is room.
    pub(super) async fn send(&self, from: &Node, to: NodeId, lane: Lane, message: &Bytes) -> Verdict {
        loop {
            match from.transport.send(to, lane, message.clone()) {
                Ok(()) => return Ok(()),
                Err(SendError::Busy) => {
                    let room = from.transport.room(to, lane);
                    let late = async {
                        self.sleep(RECONNECT).await;
                        Err(SendError::Busy)
                    };
                    if let Err(error) = future::or(room, late).await {
                        return Err(Failure(format!("waiting for room: {error:?}")));
                    }
                }
                Err(error) => return Err(Failure(format!("send: {error:?}"))),
            }
        }
    }

    /// Sends to a node that does not read until the lane stays busy; returns what was accepted.
    pub(super) async fn fill(
        &self,
        from: &Node,
        to: NodeId,
        lane: Lane,
        size: usize,
    ) -> Result<Vec<Bytes>, Failure> {
        let mut accepted = Vec::new();
        let mut busy = 0;
        let bound = 4 * MAX_QUEUED_BYTES + (32 << 20);
        while busy < 20 {
            let message = labelled(accepted.len() as u64, size);
            match from.transport.send(to, lane, message.clone()) {
                Ok(()) => {
                    accepted.push(message);
                    busy = 0;
                }
                Err(SendError::Busy) => {
                    busy += 1;
                    self.sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(Failure(format!("send: {error:?}"))),
            }
            let bytes = (accepted.len() * size) as u64;
            if bytes > bound {
                return Err(Failure(format!(
                    "{bytes} bytes were accepted for a peer that reads nothing"
                )));
            }
        }
        Ok(accepted)
    }
}

impl Node {
    pub(super) fn state(&self, peer: NodeId) -> PeerState {
        let none = PeerState {
            connected: false,
            session: 0,
        };
        let peers = self.transport.peers();
        peers.with(|peers| peers.get(&peer).copied().unwrap_or(none))
    }

    pub(super) fn call(
        &self,
        to: NodeId,
        lane: Lane,
        message: &Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, CallOutcome> {
        self.transport.call(to, lane, message.clone(), deadline)
    }
}

impl Pair {
    pub(super) fn sessions(&self) -> (u64, u64) {
        (
            self.one.state(self.two.id).session,
            self.two.state(self.one.id).session,
        )
    }

    /// Calls the second node, whose handler gives the message back.
    pub(super) async fn check_echo(&self, label: u64) -> Verdict {
        let message = labelled(label, 20);
        let outcome = self.one.call(self.two.id, Lane::Control, &message, LONG).await;
        if outcome == CallOutcome::Answered(message) {
            Ok(())
        } else {
            Err(Failure(format!("call {label}: {}", brief(&outcome))))
        }
    }
}

/// What a handler saw.
#[derive(Clone, Default)]
pub(super) struct Seen {
    messages: Arc<Mutex<Vec<(Lane, Bytes)>>>,
}

impl Seen {
    pub(super) fn all(&self) -> Vec<(Lane, Bytes)> {
        locked(&self.messages).clone()
    }

    pub(super) fn count(&self, message: &Bytes) -> usize {
        let messages = locked(&self.messages);
        messages.iter().filter(|(_, seen)| seen == message).count()
    }

    pub(super) fn len(&self) -> usize {
        locked(&self.messages).len()
    }
}

/// Messages that wait for the check to answer them.
#[derive(Clone, Default)]
pub(super) struct Held {
    list: Arc<Mutex<Vec<(Bytes, Reply)>>>,
}

impl Held {
    pub(super) fn len(&self) -> usize {
        locked(&self.list).len()
    }

    pub(super) fn messages(&self) -> Vec<Bytes> {
        let list = locked(&self.list);
        list.iter().map(|(message, _)| message.clone()).collect()
    }

    pub(super) fn take(&self) -> Vec<(Bytes, Reply)> {
        std::mem::take(&mut *locked(&self.list))
    }
}

pub(super) fn peer(node: NodeId, address: String) -> Peer {
    Peer { node, address }
}

/// A message of `size` bytes (at least the label) that no other label makes.
pub(super) fn labelled(label: u64, size: usize) -> Bytes {
    let mut bytes = label.to_be_bytes().to_vec();
    let mut prng = Seed(label).prng();
    bytes.resize(size.max(8), 0);
    if let Some(rest) = bytes.get_mut(8..) {
        prng.fill(rest);
    }
    Bytes::from(bytes)
}

/// The label of a message.
pub(super) fn label_of(message: &Bytes) -> Option<u64> {
    Some(u64::from_be_bytes(message.get(..8)?.try_into().ok()?))
}

/// Polls all until all are ready.
pub(super) async fn all<T: Send>(futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut waiting: Vec<(BoxFuture<'_, T>, Option<T>)> =
        futures.into_iter().map(|future| (future, None)).collect();
    future::poll_fn(|context| {
        let mut ready = true;
        for (future, result) in waiting.iter_mut().filter(|(_, result)| result.is_none()) {
            match future.as_mut().poll(context) {
                Poll::Ready(value) => *result = Some(value),
                Poll::Pending => ready = false,
            }
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, result)| result).collect()
}

/// An outcome without the bytes of a long answer.
pub(super) fn brief(outcome: &CallOutcome) -> String {
    match outcome {
        CallOutcome::Answered(bytes) => {
            format!("answered with {} bytes, label {:?}", bytes.len(), label_of(bytes))
        }
        other => format!("{other:?}"),
    }
}
