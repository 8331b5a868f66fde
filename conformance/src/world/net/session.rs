//! Sessions: two ends that agree, until one of them notices that they do not.

use super::endpoint::Endpoint;
use super::lane::{Frame, LANES, LaneQueue, place};
use super::{End, Net, NetMutant, State, Way, pump};
use chronik_core::NodeId;
use std::sync::Arc;
use std::time::Duration;

/// One end of a session.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) endpoint: u64,
    pub(super) node: NodeId,
    /// Whether this end still takes it for a session.
    pub(super) is_open: bool,
    /// When this end last heard from the other.
    pub(super) heard: Duration,
    /// What this end sends.
    pub(super) out: [LaneQueue; LANES],
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) sides: [Side; 2],
    /// The name under which it was dialled.
    pub(super) wire: String,
    dialler: u64,
}

/// An end of a session and the other one.
pub(super) struct Ends<'a> {
    pub(super) near: &'a mut Side,
    pub(super) far: &'a mut Side,
}

impl Session {
    fn new(
        (one, one_id): (&Endpoint, u64),
        (other, other_id): (&Endpoint, u64),
        wire: &str,
        now: Duration,
    ) -> Self {
        let side = |endpoint: &Endpoint, id: u64| Side {
            endpoint: id,
            node: endpoint.node(),
            is_open: true,
            heard: now,
            out: Default::default(),
        };
        Self {
            sides: [side(one, one_id), side(other, other_id)],
            wire: wire.to_owned(),
            dialler: one_id,
        }
    }

    /// The end at `place` (0 or 1) as the near one.
    pub(super) const fn ends(&mut self, place: usize) -> Ends<'_> {
        let [one, other] = &mut self.sides;
        if place == 0 {
            Ends {
                near: one,
                far: other,
            }
        } else {
            Ends {
                near: other,
                far: one,
            }
        }
    }

    /// The place of an endpoint in this session.
    pub(super) fn place_of(&self, endpoint: u64) -> Option<usize> {
        self.sides.iter().position(|side| side.endpoint == endpoint)
    }

    /// Which way of the wire the end at `place` sends.
    pub(super) fn way(&self, place: usize) -> Way {
        let dials = self
            .sides
            .get(place)
            .is_some_and(|side| side.endpoint == self.dialler);
        if dials { Way::ToListener } else { Way::ToDialler }
    }

    /// Wakes everything that waits for this session.
    pub(super) fn wake(&self) {
        let lanes = self.sides.iter().flat_map(|side| &side.out);
        lanes.for_each(|lane| {
            lane.moved.notify(usize::MAX);
        });
    }

    /// Whether nothing waits on its way to `peer`.
    pub(super) fn is_drained_towards(&self, peer: NodeId) -> bool {
        let senders = self.sides.iter().filter(|side| side.node != peer && side.is_open);
        senders
            .flat_map(|side| &side.out)
            .all(|lane| lane.frames.is_empty())
    }
}

impl State {
    /// Queues a frame that `endpoint` sends in `session`; false where the session is over for this end.
    pub(super) fn put(
        &mut self,
        now: Duration,
        session: u64,
        endpoint: u64,
        lane: usize,
        frame: Frame,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(&session) else {
            return false;
        };
        let Some(place) = session.place_of(endpoint) else {
            return false;
        };
        let Ends { near, far } = session.ends(place);
        let due = now + self.links.draw(near.node, far.node, self.options.delay);
        match near.out.get_mut(lane) {
            Some(queue) if near.is_open => queue.push(due, frame, self.mutant == Some(NetMutant::Overtakes)),
            _ => return false,
        }
        true
    }
}

/// Gives two endpoints a session, unless they have one that both believe in. What either had before ends.
pub(super) fn install(
    net: &Arc<Net>,
    state: &mut State,
    (one, other): (u64, u64),
    (dialled, wire): (NodeId, &str),
) {
    let now = net.now();
    let (Some(first), Some(second)) = (state.endpoints.get(&one), state.endpoints.get(&other)) else {
        return;
    };
    let (node, mut peer) = (first.node(), second.node());
    if state.has(NetMutant::AcceptsOtherNode) {
        peer = dialled;
    }
    let (of_first, of_second) = (first.current.get(&peer), second.current.get(&node));
    if of_first.is_some() && of_first == of_second && !state.has(NetMutant::TwoSessions) {
        return;
    }
    let mut session = Session::new((first, one), (second, other), wire, now);
    // Both ends are told at once; only the order of the ends follows the dialler.
    session.sides.sort_by_key(|side| side.node);
    let older = [(one, of_first.copied()), (other, of_second.copied())];
    for (endpoint, session) in older {
        if let Some(session) = session {
            end_side(net, state, session, endpoint, false);
        }
    }
    let id = state.fresh_id();
    state.sessions.insert(id, session);
    for (endpoint, peer) in [(one, peer), (other, node)] {
        if let Some(endpoint) = state.endpoints.get_mut(&endpoint) {
            endpoint.attach(peer, id);
        }
    }
    if state.has(NetMutant::Resends) {
        resend(state, now, one, id);
        resend(state, now, other, id);
    }
    state.trace.note(now, format_args!("session {id} {node} {peer}"));
    pump::start(net, id);
}

/// Sends the calls without an answer again.
fn resend(state: &mut State, now: Duration, endpoint: u64, session: u64) {
    let Some(here) = state.endpoints.get_mut(&endpoint) else {
        return;
    };
    let mut again = Vec::new();
    for (call, pending) in &mut here.calls {
        pending.session = session;
        again.push((*call, pending.lane, pending.message.clone()));
    }
    for (call, lane, bytes) in again {
        let call = Some(call);
        let frame = Frame::Message { lane, call, bytes };
        state.put(now, session, endpoint, place(lane), frame);
    }
}

/// Ends a session for one of its ends, and lets the other learn of it where `tell` says so.
pub(super) fn end_side(net: &Arc<Net>, state: &mut State, session: u64, endpoint: u64, tell: bool) {
    let Some(found) = state.sessions.get_mut(&session) else {
        return;
    };
    let Some(place) = found.place_of(endpoint) else {
        return;
    };
    let Ends { near, far } = found.ends(place);
    if !std::mem::replace(&mut near.is_open, false) {
        return;
    }
    let (node, peer, other) = (near.node, far.node, far.endpoint);
    let both_ended = !far.is_open;
    found.wake();
    if both_ended {
        state.sessions.remove(&session);
    }
    if let Some(endpoint) = state.endpoints.get_mut(&endpoint) {
        endpoint.detach(peer, session);
    }
    state
        .trace
        .note(net.now(), format_args!("end of session {session} at {node}"));
    if tell && !both_ended {
        let delay = state.links.draw(node, peer, state.options.delay);
        let task = hang_up(Arc::clone(net), session, (node, peer), other, delay);
        net.env.spawn.spawn("sim-net-hang-up", Box::pin(task));
    }
}

/// The news of an end on its way to the other end; a cut swallows it.
async fn hang_up(net: Arc<Net>, session: u64, link: (NodeId, NodeId), other: u64, delay: Duration) {
    net.env.clock.sleep(delay).await;
    let mut state = net.lock();
    if state.links.is_open(link.0, link.1) {
        end_side(&net, &mut state, session, other, false);
    }
}

/// Breaks a session at a random end.
pub(super) fn break_one(net: &Arc<Net>, state: &mut State, session: u64) {
    let first = usize::from(state.links.chance_ppm(500_000));
    let endpoint = state
        .sessions
        .get(&session)
        .and_then(|session| session.sides.get(first))
        .map(|side| side.endpoint);
    if let Some(endpoint) = endpoint {
        end_side(net, state, session, endpoint, true);
    }
}

/// Breaks the session of two nodes; false where they have none.
pub(super) fn break_between(net: &Arc<Net>, one: NodeId, other: NodeId) -> bool {
    let mut state = net.lock();
    let found = state.sessions.iter().find(|(_, session)| {
        let [first, second] = &session.sides;
        (first.node == one && second.node == other) || (first.node == other && second.node == one)
    });
    let Some(id) = found.map(|(id, _)| *id) else {
        return false;
    };
    break_one(net, &mut state, id);
    true
}

/// Takes the endpoints of a process that ended out of the network.
pub(super) fn end_node(net: &Arc<Net>, node: NodeId, how: End) {
    let mut state = net.lock();
    let gone: Vec<u64> = state
        .endpoints
        .iter()
        .filter(|(_, endpoint)| endpoint.node() == node)
        .map(|(id, _)| *id)
        .collect();
    for id in gone {
        unbind(net, &mut state, id, how == End::Process);
    }
}

/// Takes one endpoint out of the network.
pub(super) fn unbind(net: &Arc<Net>, state: &mut State, id: u64, tell: bool) {
    let sessions: Vec<u64> = state
        .sessions
        .iter()
        .filter(|(_, session)| session.place_of(id).is_some())
        .map(|(session, _)| *session)
        .collect();
    for session in sessions {
        end_side(net, state, session, id, tell);
    }
    if let Some(mut endpoint) = state.endpoints.remove(&id) {
        if state.has(NetMutant::HoldsAddress) {
            state.held.push(endpoint.local);
        }
        endpoint.stage = super::endpoint::Stage::Closed;
        endpoint.inbox.clear();
        endpoint.publish();
        state
            .trace
            .note(net.now(), format_args!("unbind {}", endpoint.local));
    }
    net.changed.notify(usize::MAX);
}
