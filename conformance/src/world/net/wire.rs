//! Wires: names under which a listener is dialled, and what happens to the sessions that began there.

use super::session::break_one;
use super::{SimNet, State};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A direction of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the dialler to the listener.
    ToListener,
    /// From the listener to the dialler.
    ToDialler,
}

/// What a wire does to what passes.
#[derive(Clone, Debug, Default)]
pub(super) struct WireState {
    pub(super) hold_to_listener: bool,
    pub(super) hold_to_dialler: bool,
    pub(super) refuses: bool,
    /// The next message is damaged, or cut off.
    pub(super) damages: Option<Harm>,
    /// Bytes pass one at a time.
    pub(super) dribbles: bool,
    pub(super) attempts: u64,
}

/// What happens to one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    Flip,
    Cut,
}

#[derive(Debug, Default)]
pub(super) struct Wires {
    wires: BTreeMap<String, WireState>,
}

impl Wires {
    pub(super) fn get(&self, name: &str) -> WireState {
        self.wires.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn count_attempt(&mut self, name: &str) {
        if let Some(wire) = self.wires.get_mut(name) {
            wire.attempts += 1;
        }
    }

    /// What happens to the next message on a wire; it happens once.
    pub(super) fn take_harm(&mut self, name: &str) -> Option<Harm> {
        self.wires.get_mut(name)?.damages.take()
    }

    /// Whether a wire lets messages of one of its ways pass.
    pub(super) fn passes(&self, name: &str, way: Way) -> bool {
        self.wires.get(name).is_none_or(|wire| match way {
            Way::ToListener => !wire.hold_to_listener,
            Way::ToDialler => !wire.hold_to_dialler,
        })
    }
}

/// A message with one bit turned.
pub(super) fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    if let Some(byte) = bytes.last_mut() {
        *byte ^= 1;
    }
    Bytes::from(bytes)
}

impl SimNet {
    fn wire(&self, name: &str, change: impl FnOnce(&mut WireState)) {
        change(self.net.lock().wires.wires.entry(name.to_owned()).or_default());
        self.wake_all();
    }

    /// Begins to count and to harm what is dialled as `name`.
    pub fn add_wire(&self, name: &str) {
        self.wire(name, |_| {});
    }

    /// Holds back what passes one way, or lets it pass again.
    pub fn hold_wire(&self, name: &str, way: Way, hold: bool) {
        self.wire(name, |wire| match way {
            Way::ToListener => wire.hold_to_listener = hold,
            Way::ToDialler => wire.hold_to_dialler = hold,
        });
    }

    /// Refuses new sessions, or takes them again.
    pub fn refuse_wire(&self, name: &str, refuse: bool) {
        self.wire(name, |wire| wire.refuses = refuse);
    }

    /// Turns a bit of the next message.
    pub fn flip_on_wire(&self, name: &str) {
        self.wire(name, |wire| wire.damages = Some(Harm::Flip));
    }

    /// Ends the session in the middle of the next message.
    pub fn cut_on_wire(&self, name: &str) {
        self.wire(name, |wire| wire.damages = Some(Harm::Cut));
    }

    /// Forgets a harm that did not happen yet.
    pub fn spare_wire(&self, name: &str) {
        self.wire(name, |wire| wire.damages = None);
    }

    /// Lets bytes pass one at a time, or together again.
    pub fn dribble_wire(&self, name: &str, dribble: bool) {
        self.wire(name, |wire| wire.dribbles = dribble);
    }

    /// Breaks the sessions that began at `name`.
    pub fn reset_wire(&self, name: &str) {
        let mut state = self.net.lock();
        for session in sessions_of(&state, name) {
            break_one(&self.net, &mut state, session);
        }
    }

    /// How often somebody dialled `name`.
    #[must_use]
    pub fn wire_attempts(&self, name: &str) -> u64 {
        self.net.lock().wires.get(name).attempts
    }
}

fn sessions_of(state: &State, name: &str) -> Vec<u64> {
    let of_wire = state.sessions.iter().filter(|(_, session)| session.wire == name);
    of_wire.map(|(id, _)| *id).collect()
}
