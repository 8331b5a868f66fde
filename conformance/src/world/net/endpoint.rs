//! A bound transport as the network sees it.

use super::inbound::Inbox;
use super::session::Session;
use super::{NetMutant, Papers};
use crate::world::SimNode;
use bytes::Bytes;
use chronik_core::transport::{BindOptions, CallOutcome, Lane, PeerState, SendError};
use chronik_core::{NodeId, Watch};
use event_listener::Event;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// Where the outcome of a call arrives.
pub(super) type CallSlot = Watch<Option<CallOutcome>>;

/// How far a transport's life went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// Takes nothing new, sends what is queued.
    Closing,
    Closed,
}

/// A call that waits for its outcome.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) session: u64,
    pub(super) slot: CallSlot,
    pub(super) lane: Lane,
    pub(super) message: Bytes,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) process: SimNode,
    pub(super) options: BindOptions,
    pub(super) local: SocketAddr,
    pub(super) stage: Stage,
    pub(super) book: BTreeMap<NodeId, String>,
    /// The peers that a task dials.
    pub(super) dialling: BTreeSet<NodeId>,
    /// The session with each peer, as this end sees it.
    pub(super) current: BTreeMap<NodeId, u64>,
    pub(super) peers: Watch<BTreeMap<NodeId, PeerState>>,
    /// How many sessions there were with each peer.
    counts: BTreeMap<NodeId, u64>,
    pub(super) inbox: Inbox,
    /// The calls without an outcome.
    pub(super) calls: BTreeMap<u64, Pending>,
    /// Whether nobody is let in any more.
    pub(super) is_deaf: bool,
    pub(super) papers: Papers,
    mutant: Option<NetMutant>,
    /// The address book changed, or the end came.
    pub(super) changed: Arc<Event>,
}

impl Endpoint {
    pub(super) fn new(
        process: SimNode,
        options: BindOptions,
        local: SocketAddr,
        mutant: Option<NetMutant>,
    ) -> Self {
        Self {
            process,
            options,
            local,
            stage: Stage::Open,
            book: BTreeMap::new(),
            dialling: BTreeSet::new(),
            current: BTreeMap::new(),
            peers: Watch::new(BTreeMap::new()),
            counts: BTreeMap::new(),
            inbox: Inbox::default(),
            calls: BTreeMap::new(),
            is_deaf: false,
            papers: Papers::default(),
            mutant,
            changed: Arc::default(),
        }
    }

    pub(super) fn node(&self) -> NodeId {
        self.options.hello.node
    }

    /// Whether somebody answers here.
    pub(super) fn answers(&self) -> bool {
        self.process.runs() && self.stage != Stage::Closed && !self.is_deaf
    }

    /// The session over which a message to `to` goes.
    pub(super) fn route(&self, to: NodeId) -> Result<u64, SendError> {
        if self.stage != Stage::Open {
            return Err(SendError::Closed);
        }
        if !self.book.contains_key(&to) {
            return Err(SendError::UnknownPeer(to));
        }
        self.current.get(&to).copied().ok_or(SendError::Disconnected)
    }

    /// Takes a session as the one with `peer`; nothing of an older one is delivered from now on.
    pub(super) fn attach(&mut self, peer: NodeId, session: u64) {
        self.current.insert(peer, session);
        *self.counts.entry(peer).or_default() += 1;
        if !self.has(NetMutant::KeepsOldInbox) {
            self.inbox.forget_others(peer, session);
        }
        self.publish();
    }

    /// Gives up a session: its calls are unknown from now on.
    pub(super) fn detach(&mut self, peer: NodeId, session: u64) {
        if self.current.get(&peer) == Some(&session) {
            self.current.remove(&peer);
            self.publish();
        }
        if self.has(NetMutant::ForgetsInFlight) || self.has(NetMutant::Resends) {
            return;
        }
        let outcome = if self.has(NetMutant::LostIsNotDelivered) {
            CallOutcome::NotDelivered(SendError::Disconnected)
        } else if self.has(NetMutant::MakesUpAnswers) {
            CallOutcome::Answered(Bytes::new())
        } else {
            CallOutcome::Unknown("the session was lost".into())
        };
        self.calls.retain(|_, call| {
            if call.session == session {
                finish(&call.slot, outcome.clone());
            }
            call.session != session
        });
    }

    pub(super) fn has(&self, mutant: NetMutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Tells those who wait how the sessions stand.
    pub(super) fn publish(&self) {
        let now: BTreeMap<NodeId, PeerState> = self
            .book
            .keys()
            .map(|peer| {
                let state = PeerState {
                    connected: self.current.contains_key(peer),
                    session: self.counts.get(peer).copied().unwrap_or(0),
                };
                (*peer, state)
            })
            .collect();
        self.peers.update(|peers| {
            let changed = *peers != now;
            *peers = now;
            changed
        });
        self.changed.notify(usize::MAX);
    }

    /// Whether everything that was queued has left.
    pub(super) fn is_drained(&self, sessions: &BTreeMap<u64, Session>) -> bool {
        self.current
            .iter()
            .filter_map(|(peer, session)| Some((peer, sessions.get(session)?)))
            .all(|(peer, session)| session.is_drained_towards(*peer))
    }
}

/// Gives a call its outcome; the first stands.
pub(super) fn finish(slot: &CallSlot, outcome: CallOutcome) {
    slot.update(|now| {
        let first = now.is_none();
        if first {
            *now = Some(outcome);
        }
        first
    });
}
