//! A session with a peer: three connections over which we send.

use bytes::Bytes;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, new_client};
use chronik_core::transport::CallOutcome;
use chronik_core::transport::Lane;
use event_listener::Event;
use futures_lite::future::poll_once;
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::lane::OutLane;
use crate::node::{Node, sleep, within};
use crate::session_capnp::{answer, answers, inbox};
use crate::shared::OutPeer;
use crate::stream::{Duplex, Progress, Silence};
use crate::window::{Batch, Window, pump};
use crate::wire::{self, Wire};

/// A connection after the hello.
pub(crate) struct Link {
    pub(crate) io: Box<dyn Duplex>,
    pub(crate) progress: Rc<Progress>,
    /// The largest message that both sides take.
    pub(crate) limit_bytes: usize,
}

struct Connection {
    lane: Arc<OutLane>,
    rpc: Option<RpcSystem<Side>>,
    inbox: inbox::Client,
    wire: Wire,
    /// Notified when an answer is not what was sent.
    damage: Rc<Event>,
    window: Window,
    last_batch: Cell<u64>,
    progress: Rc<Progress>,
}

/// A session; one per peer and direction.
pub(crate) struct Session {
    connections: [Connection; 3],
    limit_bytes: usize,
}

impl Session {
    pub(crate) fn new(node: &Node, peer: &OutPeer, links: [Link; 3]) -> Self {
        let limits = links.each_ref().map(|link| link.limit_bytes);
        let [control, replication, bulk] = links;
        let connections = [
            Connection::new(node, peer.lane(Lane::Control), control),
            Connection::new(node, peer.lane(Lane::Replication), replication),
            Connection::new(node, peer.lane(Lane::Bulk), bulk),
        ];
        Self {
            connections,
            limit_bytes: limits.into_iter().min().unwrap_or_default(),
        }
    }

    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Sends what is queued until the session ends; returns why it did.
    pub(crate) async fn run(mut self, node: &Node) -> String {
        let systems = self
            .connections
            .each_mut()
            .map(|connection| connection.rpc.take());
        let mut parts: FuturesUnordered<LocalBoxFuture<'_, String>> = FuturesUnordered::new();
        for rpc in systems.into_iter().flatten() {
            parts.push(Box::pin(wire::run(rpc)));
        }
        for connection in &self.connections {
            parts.push(Box::pin(connection.pump()));
            let damage = connection.damage.listen();
            parts.push(Box::pin(async {
                damage.await;
                "an answer is damaged".to_owned()
            }));
        }
        let [control, replication, bulk] = &self.connections;
        let keepalive = node.keepalive();
        parts.push(Box::pin(control.watch(keepalive, Progress::read)));
        parts.push(Box::pin(replication.watch(keepalive, Progress::moved)));
        parts.push(Box::pin(bulk.watch(keepalive, Progress::moved)));
        parts.push(Box::pin(self.finish(node)));
        // There is always a part: whichever ends first ends the session.
        parts.next().await.unwrap_or_default()
    }

    /// Sends what is queued when the transport closes, and says goodbye (TR-LIFE-01).
    async fn finish(&self, node: &Node) -> String {
        node.closing().await;
        for connection in &self.connections {
            connection.flushed().await;
        }
        let goodbye = async {
            let call = self.connections[0].inbox.goodbye_request().send().promise;
            call.await.map_err(|error| error.to_string())
        };
        match within(node.keepalive(), "saying goodbye", goodbye).await {
            Ok(_) => "the transport was closed".to_owned(),
            Err(error) => format!("the transport was closed, without a goodbye: {error}"),
        }
    }
}

impl Connection {
    async fn pump(&self) -> String {
        let send = |batch: Batch<Bytes>| self.deliver(batch);
        pump(&*self.lane, &self.window, send).await.to_string()
    }

    fn deliver(&self, batch: Batch<Bytes>) -> impl Future<Output = capnp::Result<()>> + use<> {
        let number = self.last_batch.get() + 1;
        self.last_batch.set(number);
        self.wire.announce(batch.bytes);
        let mut request = self.inbox.deliver_request();
        let mut params = request.get();
        params.set_number(number);
        // A batch holds fewer messages than a list can: each counts against the bytes of the batch.
        let mut messages = params.init_messages(batch.items.len() as u32);
        for (index, (call, body)) in (0..).zip(&batch.items) {
            let mut message = messages.reborrow().get(index);
            message.set_call(*call);
            message.set_body(body);
            message.set_checksum(self.wire.checksum(*call, body));
        }
        let promise = request.send().promise;
        async move { promise.await.map(|_| ()) }
    }

    /// Waits until everything queued was taken by the peer.
    async fn flushed(&self) {
        loop {
            let listener = self.window.emptied();
            if self.lane.is_empty() && self.window.is_empty() {
                return;
            }
            listener.await;
        }
    }

    /// Asks a quiet peer for a sign of life, and gives up on one that is silent (TR-REC-03).
    ///
    /// `alive` says what counts as one. On the lanes of large messages it is also that a full socket drained: the
    /// answer to the question waits behind what the peer still reads.
    async fn watch(&self, keepalive: Duration, alive: impl Fn(&Progress) -> Instant) -> String {
        let tick = keepalive / 8;
        let mut question = None;
        let mut silence = Silence::new(tick);
        let mut unread = Silence::new(tick);
        loop {
            sleep(tick).await;
            if let Some(asked) = &mut question
                && poll_once(asked).await.is_some()
            {
                question = None;
            }
            let silent = silence.since(alive(&self.progress));
            let unread = unread.since(self.progress.read());
            if question.is_some() && silent >= keepalive * 3 / 4 {
                return format!("the peer was silent for {silent:?}");
            }
            if question.is_none() && unread >= keepalive / 4 {
                question = Some(self.inbox.ping_request().send().promise);
            }
        }
    }
}

impl Connection {
    fn new(node: &Node, lane: &Arc<OutLane>, link: Link) -> Self {
        let (network, wire) = wire::network(link.io, Side::Client, node);
        let damage = Rc::new(Event::new());
        let receiver: answers::Client = new_client(Receiver {
            lane: Arc::clone(lane),
            wire: wire.clone(),
            damage: Rc::clone(&damage),
        });
        let mut rpc = RpcSystem::new(network, Some(receiver.client));
        let inbox = rpc.bootstrap(Side::Server);
        Self {
            lane: Arc::clone(lane),
            rpc: Some(rpc),
            inbox,
            wire,
            damage,
            window: Window::default(),
            last_batch: Cell::new(0),
            progress: link.progress,
        }
    }
}

/// Gives the answers that come back to the calls that wait for them (TR-RPC-01).
struct Receiver {
    lane: Arc<OutLane>,
    wire: Wire,
    damage: Rc<Event>,
}

impl answers::Server for Receiver {
    async fn answer(
        self: Rc<Self>,
        params: answers::AnswerParams,
        _results: answers::AnswerResults,
    ) -> capnp::Result<()> {
        for answer in params.get()?.get_answers()? {
            let call = answer.get_call();
            let (outcome, checksum) = match answer.which()? {
                answer::Body(body) => {
                    let body = body?;
                    (
                        CallOutcome::Answered(self.wire.share(body)),
                        self.wire.checksum(call, body),
                    )
                }
                answer::None(reason) => (
                    CallOutcome::Unknown(reason?.to_str()?.into()),
                    self.wire.checksum(call, &[]),
                ),
            };
            if answer.get_checksum() != checksum {
                self.damage.notify(1);
                return Err(capnp::Error::failed("an answer is damaged".to_owned()));
            }
            self.lane.answered(call, outcome);
        }
        Ok(())
    }
}
