//! The transport over a simulated network.

use super::endpoint::{CallSlot, Endpoint, Pending, Stage};
use super::inbound::SimInbound;
use super::lane::{Frame, place};
use super::session::{end_side, unbind};
use super::{Net, NetMutant, Papers, State, dial};
use crate::world::SimNode;
use bytes::Bytes;
use chronik_core::transport::{
    BindOptions, Bound, CallOutcome, Lane, Peer, PeerState, SendError, Transport, TransportFactory,
};
use chronik_core::{BoxFuture, NodeId, Watch};
use event_listener::EventListener;
use futures_lite::future;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Binds transports for one process.
#[derive(Debug)]
pub struct SimTransportFactory {
    net: Arc<Net>,
    process: SimNode,
    papers: Papers,
}

impl SimTransportFactory {
    pub(super) fn new(net: Arc<Net>, process: SimNode) -> Self {
        let papers = Papers::default();
        Self { net, process, papers }
    }

    /// Shows a certificate, and wants one of its peers.
    #[must_use]
    pub const fn with_papers(mut self, papers: Papers) -> Self {
        self.papers = papers;
        self
    }

    fn bind_now(&self, options: BindOptions) -> Result<Bound, String> {
        let now = self.net.now();
        let mut state = self.net.lock();
        let id = state.fresh_id();
        let local = free_address(&state, options.listen, id)?;
        state
            .trace
            .note(now, format_args!("bind {local} {}", options.hello.node));
        let mut endpoint = Endpoint::new(self.process.clone(), options, local, state.mutant);
        endpoint.papers = self.papers;
        let peers = endpoint.peers.clone();
        state.endpoints.insert(id, endpoint);
        let shared = Arc::new(SimTransport {
            net: Arc::clone(&self.net),
            process: self.process.clone(),
            endpoint: id,
            peers,
        });
        Ok(Bound {
            transport: shared,
            inbound: Box::new(SimInbound {
                net: Arc::clone(&self.net),
                endpoint: id,
            }),
            local,
        })
    }
}

/// The address to listen on; port 0 stands for a free one.
fn free_address(state: &State, wanted: SocketAddr, id: u64) -> Result<SocketAddr, String> {
    let taken = |address: SocketAddr| {
        state.held.contains(&address) || state.endpoints.values().any(|there| there.local == address)
    };
    if wanted.port() != 0 {
        return if taken(wanted) {
            Err(format!("listen: {wanted} is in use; choose another port"))
        } else {
            Ok(wanted)
        };
    }
    let start = 10_000 + id % 40_000;
    (start..start + 10_000)
        .filter_map(|port| u16::try_from(port).ok())
        .map(|port| SocketAddr::new(wanted.ip(), port))
        .find(|address| !taken(*address))
        .ok_or_else(|| "listen: no port is free".to_owned())
}

impl TransportFactory for SimTransportFactory {
    fn bind(&self, options: BindOptions) -> BoxFuture<'_, Result<Bound, String>> {
        let bound = self.bind_now(options);
        Box::pin(std::future::ready(bound))
    }
}

struct SimTransport {
    net: Arc<Net>,
    process: SimNode,
    endpoint: u64,
    peers: Watch<BTreeMap<NodeId, PeerState>>,
}

/// A call that waits; dropped, it waits no more.
struct Waiting {
    net: Arc<Net>,
    endpoint: u64,
    call: u64,
    slot: CallSlot,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.net.lock();
        let leaks = state.has(NetMutant::LeaksCalls);
        let endpoint = state.endpoints.get_mut(&self.endpoint);
        let pending = endpoint.and_then(|endpoint| endpoint.calls.remove(&self.call));
        if let Some(pending) = pending.filter(|_| leaks) {
            state.leak(
                pending.session,
                self.endpoint,
                pending.lane,
                pending.message.len() as u64,
            );
        }
    }
}

impl SimTransport {
    /// Queues a message; for a call, with the place where its outcome arrives.
    fn put(
        &self,
        to: NodeId,
        lane: Lane,
        bytes: Bytes,
        call: Option<(u64, CallSlot)>,
    ) -> Result<(), SendError> {
        let now = self.net.now();
        let mut state = self.net.lock();
        let state = &mut *state;
        let endpoint = state
            .endpoints
            .get_mut(&self.endpoint)
            .filter(|_| !self.process.is_dead())
            .ok_or(SendError::Closed)?;
        let limit_bytes = endpoint.options.max_message_bytes;
        if bytes.len() as u64 > limit_bytes {
            let ends = endpoint.has(NetMutant::TooLargeEndsSession);
            if let Some(session) = endpoint.current.get(&to).copied().filter(|_| ends) {
                end_side(&self.net, state, session, self.endpoint, true);
            }
            return Err(SendError::TooLarge { limit_bytes });
        }
        let session = endpoint.route(to)?;
        let max_queued = endpoint.options.max_queued_bytes;
        if self.is_full(state, session, lane, max_queued) {
            return Err(SendError::Busy);
        }
        if bytes.is_empty() && state.has(NetMutant::LosesEmpty) {
            return Ok(());
        }
        let message = bytes.clone();
        let number = call.as_ref().map(|(number, _)| *number);
        let frame = Frame::Message {
            lane,
            call: number,
            bytes,
        };
        if !state.put(now, session, self.endpoint, place(lane), frame) {
            return Err(SendError::Disconnected);
        }
        if let (Some((number, slot)), Some(endpoint)) = (call, state.endpoints.get_mut(&self.endpoint)) {
            let pending = Pending {
                session,
                slot,
                lane,
                message,
            };
            endpoint.calls.insert(number, pending);
        }
        Ok(())
    }

    fn is_full(&self, state: &State, session: u64, lane: Lane, max_queued: u64) -> bool {
        let full =
            |session| queued(state, session, self.endpoint, lane).is_some_and(|bytes| bytes >= max_queued);
        match state.mutant {
            Some(NetMutant::UnboundedQueue) => false,
            Some(NetMutant::OneQueueForAll) => state.sessions.keys().any(|session| full(*session)),
            _ => full(session),
        }
    }

    /// Whether the lane takes messages, and what to wait for where it does not.
    fn look_for_room(&self, to: NodeId, lane: Lane) -> Result<Option<EventListener>, SendError> {
        let state = self.net.lock();
        let endpoint = state.endpoints.get(&self.endpoint).ok_or(SendError::Closed)?;
        let session = endpoint.route(to)?;
        let max_queued = endpoint.options.max_queued_bytes;
        let found = state.sessions.get(&session).and_then(|session| {
            let side = session.sides.get(session.place_of(self.endpoint)?)?;
            side.out.get(place(lane)).filter(|_| side.is_open)
        });
        let queue = found.ok_or(SendError::Disconnected)?;
        let never = state.has(NetMutant::RoomNeverComes);
        Ok((never || queue.bytes >= max_queued).then(|| queue.moved.listen()))
    }

    /// The number of the next call.
    fn number(&self) -> u64 {
        let mut state = self.net.lock();
        if !state.has(NetMutant::ReusesNumbers) {
            return state.fresh_id();
        }
        let endpoint = state.endpoints.get(&self.endpoint);
        let used = |number: &u64| endpoint.is_some_and(|endpoint| endpoint.calls.contains_key(number));
        (1..).find(|number| !used(number)).unwrap_or(0)
    }

    fn begin_close(&self) {
        if let Some(endpoint) = self.net.lock().endpoints.get_mut(&self.endpoint) {
            endpoint.stage = Stage::Closing;
            endpoint.changed.notify(usize::MAX);
        }
    }
}

impl State {
    /// Counts bytes that are gone as if they still waited.
    fn leak(&mut self, session: u64, endpoint: u64, lane: Lane, bytes: u64) {
        let session = self.sessions.get_mut(&session);
        let place_of = session.as_ref().and_then(|session| session.place_of(endpoint));
        if let (Some(session), Some(at)) = (session, place_of)
            && let Some(queue) = session.ends(at).near.out.get_mut(place(lane))
        {
            queue.bytes += bytes;
        }
    }
}

/// The bytes that wait in a lane.
fn queued(state: &State, session: u64, endpoint: u64, lane: Lane) -> Option<u64> {
    let session = state.sessions.get(&session)?;
    let side = session.sides.get(session.place_of(endpoint)?)?;
    Some(side.out.get(place(lane))?.bytes)
}

impl Transport for SimTransport {
    fn set_peers(&self, peers: Vec<Peer>) {
        let mut state = self.net.lock();
        let state = &mut *state;
        let Some(endpoint) = state.endpoints.get_mut(&self.endpoint) else {
            return;
        };
        let own = endpoint.node();
        endpoint.book = peers
            .into_iter()
            .filter(|peer| peer.node != own)
            .map(|peer| (peer.node, peer.address))
            .collect();
        let fresh: Vec<NodeId> = endpoint
            .book
            .keys()
            .filter(|peer| endpoint.dialling.insert(**peer))
            .copied()
            .collect();
        let gone: Vec<u64> = endpoint
            .current
            .iter()
            .filter(|(peer, _)| !endpoint.book.contains_key(peer))
            .map(|(_, session)| *session)
            .collect();
        endpoint.publish();
        for session in gone {
            end_side(&self.net, state, session, self.endpoint, true);
        }
        let env = self.process.env();
        for peer in fresh {
            let task = dial::keep(Arc::clone(&self.net), env.clone(), self.endpoint, peer);
            env.spawn.spawn("sim-net-dial", Box::pin(task));
        }
    }

    fn call(
        &self,
        to: NodeId,
        lane: Lane,
        message: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, CallOutcome> {
        let call = self.number();
        let slot: CallSlot = Watch::new(None);
        if let Err(error) = self.put(to, lane, message, Some((call, slot.clone()))) {
            return Box::pin(std::future::ready(CallOutcome::NotDelivered(error)));
        }
        let waiting = Waiting {
            net: Arc::clone(&self.net),
            endpoint: self.endpoint,
            call,
            slot,
        };
        let clock = self.process.env().clock;
        let for_ever = self.net.lock().has(NetMutant::NoDeadline);
        Box::pin(async move {
            let late = clock.sleep(if for_ever {
                Duration::from_secs(3600)
            } else {
                deadline
            });
            let answered = waiting.slot.wait_for(Option::is_some);
            let answer = future::or(answered, async {
                late.await;
                None
            });
            let outcome = answer.await;
            drop(waiting);
            outcome.unwrap_or_else(|| CallOutcome::Unknown("the deadline is over".into()))
        })
    }

    fn send(&self, to: NodeId, lane: Lane, message: Bytes) -> Result<(), SendError> {
        self.put(to, lane, message, None)
    }

    fn room(&self, to: NodeId, lane: Lane) -> BoxFuture<'static, Result<(), SendError>> {
        let handle = Self {
            net: Arc::clone(&self.net),
            process: self.process.clone(),
            endpoint: self.endpoint,
            peers: self.peers.clone(),
        };
        Box::pin(async move {
            while let Some(listener) = handle.look_for_room(to, lane)? {
                listener.await;
            }
            Ok(())
        })
    }

    fn peers(&self) -> Watch<BTreeMap<NodeId, PeerState>> {
        self.peers.clone()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.begin_close();
        let (net, id) = (Arc::clone(&self.net), self.endpoint);
        let clock = self.process.env().clock;
        Box::pin(async move {
            let patience = {
                let state = net.lock();
                state.endpoints.get(&id).map(|here| here.options.keepalive)
            };
            let patience = patience.filter(|_| !net.lock().has(NetMutant::CloseDropsQueue));
            let end = clock.now() + patience.unwrap_or_default();
            while clock.now() < end && !is_drained(&net, id) {
                clock.sleep(Duration::from_millis(1)).await;
            }
            let mut state = net.lock();
            unbind(&net, &mut state, id, true);
        })
    }
}

fn is_drained(net: &Net, id: u64) -> bool {
    let state = net.lock();
    let endpoint = state.endpoints.get(&id);
    endpoint.is_none_or(|endpoint| endpoint.is_drained(&state.sessions))
}

impl fmt::Debug for SimTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimTransport")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
