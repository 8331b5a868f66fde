//! The contract of a transport: ordered, bounded messages between nodes.
//!
//! Clauses (`TR-...`) stand in `docs/contract/transport.md`. A factory binds and returns the transport together
//! with its inbound stream, so that no part waits for another to be attached.

use crate::BoxFuture;
use crate::ids::NodeId;
use crate::watch::Watch;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Messages of one lane to one peer stay in order; lanes do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Votes, heartbeats, read barriers.
    Control,
    /// Log entries and their answers.
    Replication,
    /// Snapshots and catch-up.
    Bulk,
}

/// Which part of a node a message is for. It is the first byte of every message and of every call, so that one
/// session serves all parts; a byte without a meaning here is dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Channel {
    /// The consensus engine.
    Consensus = 1,
    /// The node itself: first contact, forwarded administration, introspection.
    Node = 2,
}

impl Channel {
    /// The channel with the number `value`, or `None` for a number that no channel has.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Consensus),
            2 => Some(Self::Node),
            _ => None,
        }
    }
}

/// Who a node says it is when a session starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The cluster; a node of another one is refused (TR-ID-01). Empty where the node has none yet: it and any other
    /// node accept each other.
    pub cluster_id: Arc<str>,
    /// The node.
    pub node: NodeId,
    /// The protocol version it speaks.
    pub version: u32,
}

/// What a transport needs to start.
#[derive(Clone, Debug)]
pub struct BindOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who we are.
    pub hello: Hello,
    /// The largest message (TR-SIZE-02).
    pub max_message_bytes: u64,
    /// How much may wait for one peer and lane before senders wait (TR-FLOW-01).
    pub max_queued_bytes: u64,
    /// How long a silent peer counts as connected (TR-REC-03).
    pub keepalive: Duration,
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// Host and port; looked up again at every connection attempt.
    pub address: String,
}

/// How a call ended (TR-RPC-03).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// The peer's handler answered.
    Answered(Bytes),
    /// The message surely did not reach the peer's handler.
    NotDelivered(SendError),
    /// It may have; the answer was lost, or late.
    Unknown(Arc<str>),
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The peer is not in the address book.
    UnknownPeer(NodeId),
    /// There is no session with the peer now.
    Disconnected,
    /// The lane's queue is full; wait for room.
    Busy,
    /// The message is larger than the limit; the session lives.
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The transport is closed.
    Closed,
}

/// A message that arrived.
pub struct Inbound {
    /// From whom; checked at hello.
    pub from: NodeId,
    /// On which lane.
    pub lane: Lane,
    /// What.
    pub message: Bytes,
    /// Where the answer goes.
    pub reply: Reply,
}

/// The answer to an inbound message; dropped unused, the caller's outcome is unknown.
pub struct Reply {
    send: Box<dyn FnOnce(Bytes) + Send>,
}

impl Reply {
    /// An answer that `send` delivers. One-way messages have one that does nothing.
    #[must_use]
    pub fn new(send: impl FnOnce(Bytes) + Send + 'static) -> Self {
        Self { send: Box::new(send) }
    }

    /// Answers.
    pub fn answer(self, message: Bytes) {
        (self.send)(message);
    }
}

/// The stream of messages that arrive. Not reading it pushes back on the senders (TR-FLOW-03).
pub trait InboundStream: Send + Debug {
    /// The next message, or `None` once the transport is closed. Messages of one peer and lane arrive in order;
    /// after a reconnect nothing of the old session arrives (TR-ORD-01, TR-ORD-02).
    fn next(&mut self) -> BoxFuture<'_, Option<Inbound>>;
}

/// Whether there is a session with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// Whether messages can be sent now.
    pub connected: bool,
    /// Counts sessions; a change means that messages of the old one are gone.
    pub session: u64,
}

/// A bound transport.
#[derive(Debug)]
pub struct Bound {
    /// The sending side.
    pub transport: Arc<dyn Transport>,
    /// The receiving side.
    pub inbound: Box<dyn InboundStream>,
    /// Where it listens.
    pub local: SocketAddr,
}

/// Makes transports.
pub trait TransportFactory: Send + Sync + Debug {
    /// Binds and listens.
    ///
    /// The error text names the setting and the fix.
    fn bind(&self, options: BindOptions) -> BoxFuture<'_, Result<Bound, String>>;
}

/// The sending side of a node's connections to its peers.
pub trait Transport: Send + Sync + Debug {
    /// Replaces the address book. Peers that are gone are disconnected; new ones are dialled.
    fn set_peers(&self, peers: Vec<Peer>);

    /// Sends a message and waits for the answer, at most `deadline` (TR-RPC-04). Dropping the future frees the
    /// call; a late answer is discarded (TR-RPC-05). Never sent twice (TR-RPC-02).
    fn call(
        &self,
        to: NodeId,
        lane: Lane,
        message: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, CallOutcome>;

    /// Queues a one-way message; delivered at most once, in the lane's order.
    ///
    /// # Errors
    /// [`SendError`]; the message was not sent.
    fn send(&self, to: NodeId, lane: Lane, message: Bytes) -> Result<(), SendError>;

    /// Waits until the lane takes messages again.
    fn room(&self, to: NodeId, lane: Lane) -> BoxFuture<'static, Result<(), SendError>>;

    /// The sessions, for those who wait on them.
    fn peers(&self) -> Watch<BTreeMap<NodeId, PeerState>>;

    /// Sends what is queued, says goodbye and ends (TR-LIFE-01).
    fn close(&self) -> BoxFuture<'static, ()>;
}

impl Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("from", &self.from)
            .field("lane", &self.lane)
            .field("bytes", &self.message.len())
            .finish_non_exhaustive()
    }
}

impl Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}
