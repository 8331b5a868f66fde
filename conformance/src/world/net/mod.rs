//! A network in memory, and a transport over it that keeps the transport contract.
//!
//! # Fault model
//! - Two nodes have at most one session. Inside a session the messages of a lane arrive in order, once, undamaged:
//!   what TCP gives. What a network loses is therefore a session: at a loss ([`NetOptions::resets_ppm`],
//!   [`SimNet::reset`]) everything that was on its way is gone, each end notices on its own, and the next session is
//!   another one.
//! - Each message takes a time of its own ([`SimNet::set_delay`]); messages of different lanes and sessions overtake
//!   each other.
//! - A direction of a link can be cut ([`SimNet::cut`]): what is on its way waits, as TCP repeats it, until the cut is
//!   healed or an end has heard nothing for its keepalive. Without both directions no session starts.
//! - A process that stands still ([`SimNode::pause`]) sends nothing and reads nothing; what arrives waits within the
//!   bounds of its buffers. A process that ends is noticed at once ([`SimNet::end`] with [`End::Process`]) or by
//!   silence alone ([`End::Power`]).
//! - Names lead to addresses ([`SimNet::set_host`]) and can change.
//!
//! Whatever is random follows the seed. [`SimNet::trace`] is a digest of everything that happened: two runs of one
//! seed must agree on it.
//!
//! [`SimNode::pause`]: super::SimNode::pause

mod dial;
mod endpoint;
mod inbound;
mod lane;
mod link;
mod mutant;
mod papers;
mod pump;
mod session;
mod sim_transport;
#[cfg(test)]
mod tests;
mod wire;

pub use link::LinkDelay;
pub use mutant::NetMutant;
pub use papers::Papers;
pub use sim_transport::SimTransportFactory;
pub use wire::Way;

use super::{Seed, SimEnv, SimNode, locked};
use chronik_core::NodeId;
use chronik_core::env::Env;
use endpoint::Endpoint;
use event_listener::Event;
use link::Links;
use session::Session;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use wire::Wires;

/// How a network behaves when nobody tells it otherwise.
#[derive(Clone, Copy, Debug)]
pub struct NetOptions {
    /// How long a message takes.
    pub delay: LinkDelay,
    /// How many sessions break, per million messages.
    pub resets_ppm: u64,
}

impl Default for NetOptions {
    fn default() -> Self {
        Self {
            delay: LinkDelay {
                from: Duration::from_micros(100),
                to: Duration::from_millis(2),
            },
            resets_ppm: 0,
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its system told the peers.
    Process,
    /// Nobody told anybody.
    Power,
}

/// A simulated network. Clones are the same one.
#[derive(Clone)]
pub struct SimNet {
    net: Arc<Net>,
}

/// What all parts of the network share.
struct Net {
    /// The network's own: it moves while nodes stand still.
    env: Env,
    state: Mutex<State>,
    /// Links, hosts or addresses changed.
    changed: Event,
}

struct State {
    options: NetOptions,
    links: Links,
    hosts: BTreeMap<String, SocketAddr>,
    wires: Wires,
    /// Addresses that a mutant keeps.
    held: Vec<SocketAddr>,
    mutant: Option<NetMutant>,
    endpoints: BTreeMap<u64, Endpoint>,
    sessions: BTreeMap<u64, Session>,
    next_id: u64,
    trace: Trace,
}

/// What happened, as a digest and, where asked for, as text.
#[derive(Debug)]
struct Trace {
    digest: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    fn note(&mut self, at: Duration, event: fmt::Arguments<'_>) {
        let line = format!("{:>12} {event}", at.as_nanos());
        self.events += 1;
        self.digest = line.bytes().fold(self.digest, |digest, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }
}

impl Net {
    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn now(&self) -> Duration {
        self.env.clock.now()
    }
}

impl State {
    fn has(&self, mutant: NetMutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl SimNet {
    /// A network in the world of `sim`.
    #[must_use]
    pub fn new(sim: &SimEnv, seed: Seed, options: NetOptions) -> Self {
        Self::broken(sim, seed, options, None)
    }

    /// A network whose transports break one guarantee.
    #[must_use]
    pub fn broken(sim: &SimEnv, seed: Seed, options: NetOptions, mutant: Option<NetMutant>) -> Self {
        Self {
            net: Arc::new(Net {
                env: sim.env(),
                state: Mutex::new(State {
                    options,
                    links: Links::new(seed.prng()),
                    hosts: BTreeMap::new(),
                    wires: Wires::default(),
                    held: Vec::new(),
                    mutant,
                    endpoints: BTreeMap::new(),
                    sessions: BTreeMap::new(),
                    next_id: 0,
                    trace: Trace {
                        digest: 0xcbf2_9ce4_8422_2325,
                        events: 0,
                        lines: None,
                    },
                }),
                changed: Event::new(),
            }),
        }
    }

    /// What binds transports for the process `node`.
    #[must_use]
    pub fn factory(&self, node: &SimNode) -> SimTransportFactory {
        SimTransportFactory::new(Arc::clone(&self.net), node.clone())
    }

    /// Stops what `from` sends to `to`.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.note(format_args!("cut {from}->{to}"));
        self.net.lock().links.cut(from, to);
    }

    /// Lets it pass again.
    pub fn heal(&self, from: NodeId, to: NodeId) {
        self.note(format_args!("heal {from}->{to}"));
        self.net.lock().links.heal(from, to);
        self.wake_all();
    }

    /// Cuts both directions between nodes of `one` and all other nodes of `all`.
    pub fn isolate(&self, one: &[NodeId], all: &[NodeId]) {
        for inside in one {
            for outside in all.iter().filter(|node| !one.contains(node)) {
                self.cut(*inside, *outside);
                self.cut(*outside, *inside);
            }
        }
    }

    /// Heals every cut.
    pub fn heal_all(&self) {
        self.note(format_args!("heal all"));
        self.net.lock().links.heal_all();
        self.wake_all();
    }

    /// Sets how long messages from `from` to `to` take; those on their way keep their time.
    pub fn set_delay(&self, from: NodeId, to: NodeId, delay: LinkDelay) {
        self.net.lock().links.set_delay(from, to, delay);
    }

    /// Sets how a link behaves that has no delay of its own, and how often sessions break.
    pub fn set_options(&self, options: NetOptions) {
        self.net.lock().options = options;
    }

    /// Breaks the session of two nodes; false where they have none.
    pub fn reset(&self, one: NodeId, other: NodeId) -> bool {
        self.note(format_args!("reset {one} {other}"));
        session::break_between(&self.net, one, other)
    }

    /// Says that the process at `node` has ended: its addresses are free, and its peers learn of it as `how` says.
    /// Call it with [`SimNode::kill`].
    pub fn end(&self, node: NodeId, how: End) {
        self.note(format_args!("end {node} {how:?}"));
        session::end_node(&self.net, node, how);
    }

    /// Lets `name` lead to `address` from the next connection attempt on.
    pub fn set_host(&self, name: &str, address: SocketAddr) {
        self.net.lock().hosts.insert(name.to_owned(), address);
    }

    /// How many sessions have a live end.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.net.lock().sessions.len()
    }

    /// A digest of all that happened, and the number of events in it.
    #[must_use]
    pub fn trace(&self) -> (u64, u64) {
        let state = self.net.lock();
        (state.trace.digest, state.trace.events)
    }

    /// Keeps the events as text from now on.
    pub fn start_trace(&self) {
        self.net.lock().trace.lines = Some(Vec::new());
    }

    /// The events since [`SimNet::start_trace`].
    #[must_use]
    pub fn trace_lines(&self) -> Vec<String> {
        self.net.lock().trace.lines.clone().unwrap_or_default()
    }

    /// Sends bytes that are no transport's to a listener.
    pub fn send_garbage(&self, to: SocketAddr) {
        self.note(format_args!("garbage {to}"));
        let mut state = self.net.lock();
        let deaf = state.has(NetMutant::DeafAfterGarbage);
        for endpoint in state.endpoints.values_mut().filter(|there| there.local == to) {
            endpoint.is_deaf |= deaf;
        }
    }

    fn note(&self, event: fmt::Arguments<'_>) {
        let now = self.net.now();
        self.net.lock().trace.note(now, event);
    }

    fn wake_all(&self) {
        self.net.lock().sessions.values().for_each(Session::wake);
        self.net.changed.notify(usize::MAX);
    }
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.net.fmt(f)
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("SimNet")
            .field("endpoints", &state.endpoints.len())
            .field("sessions", &state.sessions.len())
            .finish_non_exhaustive()
    }
}
