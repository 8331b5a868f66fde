//! What the checks need: nodes of any transport, handlers on threads, and waiting with a limit.

use bytes::Bytes;
use chronik_core::env::Rng;
use chronik_core::ids::NodeId;
use chronik_core::transport::{
    BindOptions, Bound, CallOutcome, Hello, Inbound, InboundStream, Lane, Peer, PeerState, SendError,
    Transport, TransportFactory,
};
use chronik_transport_capnp::{CapnpFactory, CapnpOptions};
use futures_lite::FutureExt as _;
use futures_lite::future::block_on;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nothing that is awaited takes this long unless it never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const LANES: [Lane; 3] = [Lane::Control, Lane::Replication, Lane::Bulk];

/// Random numbers from a seed that is printed, and taken back from `CHRONIK_TEST_SEED`.
#[derive(Debug)]
pub(crate) struct Seeded(Mutex<fastrand::Rng>);

impl Seeded {
    pub(crate) fn new() -> Self {
        let given = std::env::var("CHRONIK_TEST_SEED").ok();
        let seed = given.map_or_else(
            || fastrand::u64(..),
            |seed| seed.parse().expect("CHRONIK_TEST_SEED is a number"),
        );
        println!("CHRONIK_TEST_SEED={seed}");
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    pub(crate) fn below(&self, limit: usize) -> usize {
        self.0.lock().unwrap().usize(..limit)
    }

    pub(crate) fn bytes(&self, len: usize) -> Bytes {
        let mut bytes = vec![0; len];
        self.0.lock().unwrap().fill(&mut bytes);
        bytes.into()
    }
}

impl Rng for Seeded {
    fn next_u64(&self) -> u64 {
        self.0.lock().unwrap().u64(..)
    }
}

/// The transport under judgement, and the options that its nodes start with.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) factory: Box<dyn TransportFactory>,
    pub(crate) rng: Arc<Seeded>,
    pub(crate) max_message_bytes: u64,
    pub(crate) max_queued_bytes: u64,
    pub(crate) keepalive: Duration,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let _ = env_logger::builder().is_test(true).try_init();
        let rng = Arc::new(Seeded::new());
        let factory = CapnpFactory::new(CapnpOptions::default(), Arc::clone(&rng) as Arc<dyn Rng>);
        Self {
            factory: Box::new(factory),
            rng,
            max_message_bytes: 4 * 1024 * 1024,
            max_queued_bytes: 1024 * 1024,
            // Long, so that a busy machine does not end sessions; the checks of the keepalive shorten it.
            keepalive: Duration::from_secs(10),
        }
    }

    pub(crate) fn options(&self, node: u64, listen: SocketAddr) -> BindOptions {
        BindOptions {
            listen,
            hello: Hello {
                cluster_id: "test-cluster".into(),
                node: NodeId(node),
                version: 1,
            },
            max_message_bytes: self.max_message_bytes,
            max_queued_bytes: self.max_queued_bytes,
            keepalive: self.keepalive,
        }
    }

    pub(crate) fn bind_with(&self, options: BindOptions) -> Node {
        let id = options.hello.node;
        let Bound {
            transport,
            inbound,
            local,
        } = block_on(self.factory.bind(options)).expect("the transport binds");
        Node {
            id,
            transport,
            inbound: Some(inbound),
            local,
        }
    }

    pub(crate) fn node(&self, id: u64) -> Node {
        self.bind_with(self.options(id, any_port()))
    }

    /// Nodes 1 and 2, connected both ways.
    pub(crate) fn pair(&self) -> (Node, Node) {
        let (one, two) = (self.node(1), self.node(2));
        one.meet(&[&two]);
        two.meet(&[&one]);
        one.wait_connected(2);
        two.wait_connected(1);
        (one, two)
    }
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A bound transport and what arrives at it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) inbound: Option<Box<dyn InboundStream>>,
    pub(crate) local: SocketAddr,
}

impl Node {
    pub(crate) fn meet(&self, others: &[&Node]) {
        let peers = others.iter().map(|other| peer(other.id.0, other.local));
        self.transport.set_peers(peers.collect());
    }

    pub(crate) fn state(&self, peer: u64) -> PeerState {
        let states = self.transport.peers().get();
        states[&NodeId(peer)]
    }

    /// Waits for the session with the peer.
    pub(crate) fn wait_connected(&self, peer: u64) -> PeerState {
        self.wait_state(peer, "the peer is connected", |state| state.connected)
    }

    pub(crate) fn wait_state(&self, peer: u64, what: &str, is: impl Fn(PeerState) -> bool) -> PeerState {
        let watch = self.transport.peers();
        let states = soon(
            what,
            watch.wait_for(|states| states.get(&NodeId(peer)).copied().is_some_and(&is)),
        );
        states[&NodeId(peer)]
    }

    pub(crate) fn send(&self, to: u64, lane: Lane, message: impl Into<Bytes>) -> Result<(), SendError> {
        self.transport.send(NodeId(to), lane, message.into())
    }

    /// Sends, waiting for room where there is none.
    pub(crate) fn send_all(&self, to: u64, lane: Lane, messages: impl IntoIterator<Item = Bytes>) {
        for message in messages {
            loop {
                match self.send(to, lane, message.clone()) {
                    Ok(()) => break,
                    Err(SendError::Busy) => {
                        soon("there is room", self.transport.room(NodeId(to), lane)).unwrap()
                    }
                    Err(error) => panic!("the message is not sent: {error:?}"),
                }
            }
        }
    }

    pub(crate) fn call(&self, to: u64, lane: Lane, message: impl Into<Bytes>) -> CallOutcome {
        soon(
            "the call ends",
            self.transport.call(NodeId(to), lane, message.into(), PATIENCE),
        )
    }

    /// The next message that arrives.
    pub(crate) fn next(&mut self) -> Inbound {
        let inbound = self.inbound.as_mut().expect("nobody else reads");
        soon("a message arrives", inbound.next()).expect("the transport is open")
    }

    /// Hands what arrives to a thread, which ends with the transport.
    pub(crate) fn handle(&mut self, mut handler: impl FnMut(Inbound) + Send + 'static) -> JoinHandle<()> {
        let mut inbound = self.inbound.take().expect("nobody else reads");
        std::thread::spawn(move || {
            while let Some(message) = block_on(inbound.next()) {
                handler(message);
            }
        })
    }

    pub(crate) fn echo(&mut self) -> JoinHandle<()> {
        self.handle(|inbound| inbound.reply.answer(inbound.message))
    }

    pub(crate) fn close(&self) {
        soon("the transport closes", self.transport.close());
    }
}

pub(crate) fn peer(node: u64, address: SocketAddr) -> Peer {
    Peer {
        node: NodeId(node),
        address: address.to_string(),
    }
}

/// The result of the future, which comes soon or never.
pub(crate) fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let late = async {
        async_io::Timer::after(PATIENCE).await;
        None
    };
    let found = block_on(async { Some(future.await) }.or(late));
    found.unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// Waits for a condition that nothing signals.
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        block_on(async_io::Timer::after(Duration::from_millis(5)));
    }
}
