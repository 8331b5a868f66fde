//! What arrived and was not read yet, and the stream that reads it.

use super::endpoint::Stage;
use super::lane::{ANSWERS, Frame};
use super::session::end_side;
use super::{Net, NetMutant};

use bytes::Bytes;
use chronik_core::transport::{Inbound, InboundStream, Lane, Reply};
use chronik_core::{BoxFuture, NodeId};
use event_listener::Event;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

/// A message that arrived.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) from: NodeId,
    pub(super) session: u64,
    pub(super) lane: Lane,
    pub(super) call: Option<u64>,
    pub(super) bytes: Bytes,
}

/// The messages that wait for the reader: control before the others, otherwise in the order of arrival.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    control: VecDeque<Arrived>,
    others: VecDeque<Arrived>,
    /// Bytes that wait, by peer and lane.
    waiting: BTreeMap<(NodeId, Lane), u64>,
    pub(super) arrived: Arc<Event>,
}

impl Inbox {
    pub(super) fn waiting_bytes(&self, from: NodeId, lane: Lane) -> u64 {
        self.waiting.get(&(from, lane)).copied().unwrap_or(0)
    }

    pub(super) fn push(&mut self, arrived: Arrived, single_lane: bool) {
        *self.waiting.entry((arrived.from, arrived.lane)).or_default() += arrived.bytes.len() as u64;
        match arrived.lane {
            Lane::Control if !single_lane => self.control.push_back(arrived),
            _ => self.others.push_back(arrived),
        }
        self.arrived.notify(usize::MAX);
    }

    /// How much waits from one peer.
    pub(super) fn waiting_of(&self, peer: NodeId) -> u64 {
        let lanes = self.waiting.iter().filter(|((from, _), _)| *from == peer);
        lanes.map(|(_, bytes)| *bytes).sum()
    }

    fn pop(&mut self) -> Option<Arrived> {
        let next = self.control.pop_front().or_else(|| self.others.pop_front())?;
        if let Some(waiting) = self.waiting.get_mut(&(next.from, next.lane)) {
            *waiting -= next.bytes.len() as u64;
        }
        Some(next)
    }

    /// Drops what other sessions with `peer` brought.
    pub(super) fn forget_others(&mut self, peer: NodeId, session: u64) {
        let stays = |arrived: &Arrived| arrived.from != peer || arrived.session == session;
        self.control.retain(stays);
        self.others.retain(stays);
        let mut waiting: BTreeMap<(NodeId, Lane), u64> = BTreeMap::new();
        for arrived in self.control.iter().chain(&self.others) {
            *waiting.entry((arrived.from, arrived.lane)).or_default() += arrived.bytes.len() as u64;
        }
        self.waiting = waiting;
    }

    pub(super) fn clear(&mut self) {
        self.control.clear();
        self.others.clear();
        self.waiting.clear();
        self.arrived.notify(usize::MAX);
    }
}

/// The stream of one endpoint.
pub(super) struct SimInbound {
    pub(super) net: Arc<Net>,
    pub(super) endpoint: u64,
}

enum Next {
    Message(Inbound),
    End,
    Wait(event_listener::EventListener),
}

impl SimInbound {
    fn look(&self) -> Next {
        let mut state = self.net.lock();
        let state = &mut *state;
        let Some(endpoint) = state.endpoints.get_mut(&self.endpoint) else {
            return Next::End;
        };
        let listener = endpoint.inbox.arrived.listen();
        match endpoint.inbox.pop() {
            Some(arrived) => {
                // The sender may have waited for this room.
                if let Some(session) = state.sessions.get(&arrived.session) {
                    session.wake();
                }
                Next::Message(self.inbound(arrived))
            }
            None if endpoint.stage == Stage::Closed => Next::End,
            None => Next::Wait(listener),
        }
    }

    fn inbound(&self, arrived: Arrived) -> Inbound {
        let Arrived {
            from,
            session,
            lane,
            call,
            bytes,
        } = arrived;
        let reply = match call {
            None => Reply::new(drop),
            Some(call) => {
                let answering = Answering {
                    net: Arc::clone(&self.net),
                    endpoint: self.endpoint,
                    session,
                    call,
                    is_open: true,
                };
                Reply::new(move |bytes| answering.answer(bytes))
            }
        };
        Inbound {
            from,
            lane,
            message: bytes,
            reply,
        }
    }
}

impl InboundStream for SimInbound {
    fn next(&mut self) -> BoxFuture<'_, Option<Inbound>> {
        Box::pin(async move {
            loop {
                match self.look() {
                    Next::Message(inbound) => return Some(inbound),
                    Next::End => return None,
                    Next::Wait(listener) => listener.await,
                }
            }
        })
    }
}

impl fmt::Debug for SimInbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimInbound").finish_non_exhaustive()
    }
}

/// The way back of one call; dropped unused, it tells the caller that no answer comes.
struct Answering {
    net: Arc<Net>,
    endpoint: u64,
    session: u64,
    call: u64,
    is_open: bool,
}

impl Answering {
    fn answer(mut self, bytes: Bytes) {
        self.is_open = false;
        self.send(Some(bytes));
    }

    fn send(&self, bytes: Option<Bytes>) {
        let now = self.net.now();
        let mut state = self.net.lock();
        let state = &mut *state;
        let Some(endpoint) = state.endpoints.get(&self.endpoint) else {
            return;
        };
        if endpoint.process.is_dead() || endpoint.stage == Stage::Closed {
            return;
        }
        let too_large = bytes
            .as_ref()
            .is_some_and(|bytes| bytes.len() as u64 > endpoint.options.max_message_bytes);
        let frame = Frame::Answer {
            call: self.call,
            bytes: bytes.filter(|_| !too_large),
        };
        // A session that is gone has nobody who waits for the answer.
        let _ = state.put(now, self.session, self.endpoint, ANSWERS, frame);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        self.send(None);
        let mut state = self.net.lock();
        if state.has(NetMutant::SilenceEndsSession) {
            end_side(&self.net, &mut state, self.session, self.endpoint, true);
        }
    }
}
