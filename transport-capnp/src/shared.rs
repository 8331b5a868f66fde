//! What the callers' side and the transport's thread have in common.

use async_channel::Sender;
use chronik_core::ids::NodeId;
use chronik_core::transport::{BindOptions, Lane, Peer, PeerState, SendError};
use chronik_core::watch::Watch;
use event_listener::Event;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::inbound::{InboundQueues, lane_index};
use crate::lane::OutLane;

/// What the thread is told.
pub(crate) enum Command {
    /// The address book changed.
    Book,
    /// Send what is queued, say goodbye, and end.
    Close,
    /// End at once: the transport was dropped.
    Abort,
}

/// A peer of the address book.
pub(crate) struct OutPeer {
    pub(crate) peer: Peer,
    pub(crate) lanes: [Arc<OutLane>; 3],
    /// Counts the attempts to reach it, over all entries of the book for this node.
    pub(crate) attempts: Arc<AtomicU64>,
    /// Notified when the peer was heard of, so that it is dialled at once.
    pub(crate) heard: Event,
}

impl OutPeer {
    pub(crate) fn lane(&self, lane: Lane) -> &Arc<OutLane> {
        &self.lanes[lane_index(lane)]
    }

    fn end(&self, refusal: &SendError, reason: &str) {
        let reason = reason.into();
        for lane in &self.lanes {
            lane.end(refusal, &reason);
        }
    }
}

/// The state of a transport.
pub(crate) struct Shared {
    pub(crate) options: BindOptions,
    pub(crate) inbound: Arc<InboundQueues>,
    pub(crate) states: Watch<BTreeMap<NodeId, PeerState>>,
    book: RwLock<BTreeMap<NodeId, Arc<OutPeer>>>,
    /// Kept for nodes that left the book, because they may come back.
    attempts: RwLock<BTreeMap<NodeId, Arc<AtomicU64>>>,
    sessions: RwLock<BTreeMap<NodeId, u64>>,
    closed: AtomicBool,
    commands: Sender<Command>,
}

impl Shared {
    pub(crate) fn new(options: BindOptions, commands: Sender<Command>) -> Self {
        Self {
            options,
            inbound: Arc::default(),
            states: Watch::new(BTreeMap::new()),
            book: RwLock::default(),
            attempts: RwLock::default(),
            sessions: RwLock::default(),
            closed: AtomicBool::new(false),
            commands,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The peers as they are in the book now.
    pub(crate) fn book(&self) -> BTreeMap<NodeId, Arc<OutPeer>> {
        self.book.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn find(&self, node: NodeId) -> Option<Arc<OutPeer>> {
        let book = self.book.read().unwrap_or_else(PoisonError::into_inner);
        book.get(&node).cloned()
    }

    /// The lane to a peer, or why there is none.
    pub(crate) fn lane(&self, to: NodeId, lane: Lane) -> Result<Arc<OutLane>, SendError> {
        if self.is_closed() {
            return Err(SendError::Closed);
        }
        let book = self.book.read().unwrap_or_else(PoisonError::into_inner);
        let peer = book.get(&to).ok_or(SendError::UnknownPeer(to))?;
        Ok(Arc::clone(peer.lane(lane)))
    }

    /// Replaces the book. A peer whose address changed is a new entry.
    pub(crate) fn set_peers(&self, peers: Vec<Peer>) {
        if self.is_closed() {
            return;
        }
        let mut gone = Vec::new();
        {
            let mut book = self.book.write().unwrap_or_else(PoisonError::into_inner);
            let mut old = std::mem::take(&mut *book);
            // Of two entries for a node the last counts.
            let peers = BTreeMap::from_iter(peers.into_iter().map(|peer| (peer.node, peer)));
            for peer in peers
                .into_values()
                .filter(|peer| peer.node != self.options.hello.node)
            {
                let kept = old.remove(&peer.node);
                let entry = match kept {
                    Some(entry) if entry.peer == peer => entry,
                    changed => {
                        gone.extend(changed);
                        Arc::new(self.entry(peer))
                    }
                };
                book.insert(entry.peer.node, entry);
            }
            gone.extend(old.into_values());
            let now: Vec<NodeId> = book.keys().copied().collect();
            self.states.update(|states| {
                states.retain(|node, _| now.contains(node));
                for peer in &gone {
                    if let Some(state) = states.get_mut(&peer.peer.node) {
                        state.connected = false;
                    }
                }
                for node in now {
                    let session = self.session(node);
                    states.entry(node).or_insert(PeerState {
                        connected: false,
                        session,
                    });
                }
                true
            });
        }
        for peer in gone {
            peer.end(
                &SendError::UnknownPeer(peer.peer.node),
                "the peer left the address book",
            );
        }
        self.tell(Command::Book);
    }

    fn entry(&self, peer: Peer) -> OutPeer {
        let max = usize::try_from(self.options.max_queued_bytes).unwrap_or(usize::MAX);
        let lane = || Arc::new(OutLane::new(max));
        let mut attempts = self.attempts.write().unwrap_or_else(PoisonError::into_inner);
        let attempts = Arc::clone(attempts.entry(peer.node).or_default());
        OutPeer {
            peer,
            lanes: [lane(), lane(), lane()],
            attempts,
            heard: Event::new(),
        }
    }

    fn session(&self, node: NodeId) -> u64 {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        sessions.get(&node).copied().unwrap_or_default()
    }

    /// A session with the peer begins, if it is still in the book; returns its number.
    pub(crate) fn connected(&self, peer: &Arc<OutPeer>, limit_bytes: usize) -> Option<u64> {
        let book = self.book.read().unwrap_or_else(PoisonError::into_inner);
        let node = peer.peer.node;
        if self.is_closed() || !book.get(&node).is_some_and(|entry| Arc::ptr_eq(entry, peer)) {
            return None;
        }
        let session = {
            let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
            let session = sessions.entry(node).or_default();
            *session += 1;
            *session
        };
        for lane in &peer.lanes {
            lane.open(limit_bytes);
        }
        self.states.update(|states| {
            states.insert(
                node,
                PeerState {
                    connected: true,
                    session,
                },
            );
            true
        });
        Some(session)
    }

    /// The session with the peer is over.
    pub(crate) fn disconnected(&self, peer: &Arc<OutPeer>, reason: &str) {
        let refusal = if self.is_closed() {
            SendError::Closed
        } else {
            SendError::Disconnected
        };
        // Whoever sees the new state can send nothing any more.
        peer.end(&refusal, reason);
        let book = self.book.read().unwrap_or_else(PoisonError::into_inner);
        let node = peer.peer.node;
        if book.get(&node).is_some_and(|entry| Arc::ptr_eq(entry, peer)) {
            self.states.update(|states| {
                let state = states.get_mut(&node);
                state.is_some_and(|state| std::mem::replace(&mut state.connected, false))
            });
        }
    }

    /// Takes nothing new; what is queued still goes out.
    pub(crate) fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        for peer in self.book().values() {
            for lane in &peer.lanes {
                lane.refuse(SendError::Closed);
            }
        }
        self.tell(Command::Close);
    }

    /// Ends without sending what is queued.
    pub(crate) fn abort(&self) {
        self.closed.store(true, Ordering::Release);
        self.tell(Command::Abort);
    }

    /// The thread is gone: whoever still waits is told.
    pub(crate) fn ended(&self) {
        self.closed.store(true, Ordering::Release);
        self.inbound.close();
        for peer in self.book().values() {
            for lane in &peer.lanes {
                lane.refuse(SendError::Closed);
            }
            peer.end(&SendError::Closed, "the transport was closed");
        }
        self.states.update(|states| {
            states.values_mut().for_each(|state| state.connected = false);
            true
        });
    }

    fn tell(&self, command: Command) {
        // The channel is unbounded but carries a handful of commands; it is closed once the thread has ended.
        let _ = self.commands.try_send(command);
    }
}
