//! What moves frames from one end of a session to the other, and what notices silence.

use super::endpoint::{Endpoint, finish};
use super::inbound::Arrived;
use super::lane::{Frame, LANES};
use super::session::{Ends, break_one, end_side};
use super::wire::{Harm, flipped};
use super::{Net, NetMutant, State};
use chronik_core::NodeId;
use chronik_core::transport::CallOutcome;
use event_listener::EventListener;
use futures_lite::future;
use std::sync::Arc;
use std::time::Duration;

/// Starts the tasks of a session. They belong to the network.
pub(super) fn start(net: &Arc<Net>, session: u64) {
    for place in 0..2 {
        for lane in 0..LANES {
            let task = pump(Arc::clone(net), session, place, lane);
            net.env.spawn.spawn("sim-net-pump", Box::pin(task));
        }
    }
    let task = watch_silence(Arc::clone(net), session);
    net.env.spawn.spawn("sim-net-keepalive", Box::pin(task));
}

enum Step {
    Done,
    Again,
    Wait(EventListener),
    Sleep(Duration, EventListener),
}

async fn pump(net: Arc<Net>, session: u64, place: usize, lane: usize) {
    loop {
        match step(&net, session, place, lane) {
            Step::Done => return,
            Step::Again => {}
            Step::Wait(listener) => listener.await,
            Step::Sleep(time, listener) => future::or(net.env.clock.sleep(time), listener).await,
        }
    }
}

fn step(net: &Arc<Net>, id: u64, place: usize, lane: usize) -> Step {
    let now = net.now();
    let mut state = net.lock();
    let state = &mut *state;
    let Some(session) = state.sessions.get_mut(&id) else {
        return Step::Done;
    };
    let (wire, way) = (session.wire.clone(), session.way(place));
    let Ends { near, far } = session.ends(place);
    let Some(queue) = near.out.get_mut(lane).filter(|_| near.is_open) else {
        return Step::Done;
    };
    let listener = queue.moved.listen();
    let Some((due, frame)) = queue.frames.front() else {
        return Step::Wait(listener);
    };
    if *due > now {
        return Step::Sleep(*due - now, listener);
    }
    let receiver = state.endpoints.get_mut(&far.endpoint);
    let Some(receiver) = receiver.filter(|_| {
        far.is_open && state.links.is_open(near.node, far.node) && state.wires.passes(&wire, way)
    }) else {
        return Step::Wait(listener);
    };
    if !takes(receiver, near.node, frame) {
        if state.mutant == Some(NetMutant::DropsWhenFull) {
            drop(queue.pop());
            return Step::Again;
        }
        return Step::Wait(listener);
    }
    let harm = match frame {
        Frame::Message { .. } => state.wires.take_harm(&wire),
        Frame::Answer { .. } => None,
    };
    if harm == Some(Harm::Cut) || (harm.is_some() && state.mutant != Some(NetMutant::DeliversDamaged)) {
        // A frame that is not whole, or whose checksum does not fit, is a reason to start again.
        break_one(net, state, id);
        return Step::Again;
    }
    if state.links.chance_ppm(state.options.resets_ppm) {
        break_one(net, state, id);
        return Step::Again;
    }
    let (from, to) = (near.node, far.node);
    if let Some(frame) = queue.pop() {
        let (what, crc) = match &frame {
            Frame::Message { bytes, .. } => ("message", crc32c::crc32c(bytes)),
            Frame::Answer { bytes, .. } => ("answer", bytes.as_deref().map_or(0, crc32c::crc32c)),
        };
        let length = frame.len();
        state.trace.note(
            now,
            format_args!("{what} {from}->{to} lane {lane} {length} {crc:08x}"),
        );
        let dribbles = state.wires.get(&wire).dribbles && state.mutant == Some(NetMutant::SplitsFrames);
        for frame in pieces(frame, harm.is_some(), dribbles) {
            deliver(receiver, from, id, frame, state.mutant);
        }
    }
    Step::Again
}

/// Whether the receiver has room for a frame. One that is read too slowly is the sender's to wait for.
fn takes(receiver: &Endpoint, from: NodeId, frame: &Frame) -> bool {
    match frame {
        Frame::Answer { .. } => true,
        Frame::Message { lane, .. } => {
            let waiting = if receiver.has(NetMutant::SingleLane) {
                receiver.inbox.waiting_of(from)
            } else {
                receiver.inbox.waiting_bytes(from, *lane)
            };
            waiting < receiver.options.max_queued_bytes
        }
    }
}

/// What a receiver gets that does not look closely.
fn pieces(frame: Frame, damaged: bool, split: bool) -> Vec<Frame> {
    match frame {
        Frame::Message { lane, call, bytes } if damaged => {
            let bytes = flipped(&bytes);
            vec![Frame::Message { lane, call, bytes }]
        }
        Frame::Message { lane, call, bytes } if split && bytes.len() > 1 => {
            let (front, back) = (bytes.slice(..bytes.len() / 2), bytes.slice(bytes.len() / 2..));
            let part = |bytes, call| Frame::Message { lane, call, bytes };
            vec![part(front, call), part(back, None)]
        }
        frame => vec![frame],
    }
}

fn deliver(receiver: &mut Endpoint, from: NodeId, session: u64, frame: Frame, mutant: Option<NetMutant>) {
    match frame {
        Frame::Message {
            lane,
            call,
            mut bytes,
        } => {
            if mutant == Some(NetMutant::CutsLong) {
                bytes.truncate(1 << 16);
            }
            let arrived = Arrived {
                from,
                session,
                lane,
                call,
                bytes,
            };
            receiver
                .inbox
                .push(arrived, mutant == Some(NetMutant::SingleLane));
        }
        Frame::Answer { call, bytes } => {
            // A call that was dropped has no slot: its answer is late.
            let oldest = receiver.calls.keys().next().copied();
            let call = oldest
                .filter(|_| mutant == Some(NetMutant::MixesAnswers))
                .unwrap_or(call);
            if let Some(pending) = receiver.calls.remove(&call) {
                let outcome = match bytes {
                    Some(bytes) => CallOutcome::Answered(bytes),
                    None => CallOutcome::Unknown("the handler gave no answer".into()),
                };
                finish(&pending.slot, outcome);
            }
        }
    }
}

/// Lets both ends of a session hear each other where they can, and ends it for one that has not for too long.
async fn watch_silence(net: Arc<Net>, session: u64) {
    loop {
        let Some(pause) = listen_once(&net, session) else {
            return;
        };
        net.env.clock.sleep(pause).await;
    }
}

/// How long to wait until the next look; `None` once the session is over.
fn listen_once(net: &Arc<Net>, id: u64) -> Option<Duration> {
    let now = net.now();
    let mut state = net.lock();
    let State {
        sessions,
        endpoints,
        links,
        wires,
        mutant,
        ..
    } = &mut *state;
    let session = sessions.get_mut(&id)?;
    let mut pause = Duration::from_secs(1);
    let mut silent = None;
    for place in 0..2 {
        let passes = wires.passes(&session.wire, session.way(1 - place));
        let Ends { near, far } = session.ends(place);
        let talks = endpoints
            .get(&far.endpoint)
            .is_some_and(|endpoint| endpoint.process.runs());
        if far.is_open && talks && passes && links.is_open(far.node, near.node) {
            near.heard = now;
        }
        let Some(endpoint) = endpoints.get(&near.endpoint) else {
            continue;
        };
        let keepalive = endpoint.options.keepalive;
        pause = pause.min(keepalive / 4);
        if near.is_open && endpoint.process.runs() && now - near.heard >= keepalive {
            silent = Some(near.endpoint).filter(|_| *mutant != Some(NetMutant::NoKeepalive));
        }
    }
    if let Some(endpoint) = silent {
        end_side(net, &mut state, id, endpoint, true);
    }
    Some(pause.max(Duration::from_millis(1)))
}
