//! Which nodes are heard from: what sleeping groups rely on instead of heartbeats of their own.

use super::options::RaftOptions;
use super::wire::Ping;
use chronik_core::NodeId;
use chronik_core::env::Rng;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// When requests to nodes were sent whose answers came last, for those who ask from outside of the engine.
#[derive(Debug, Default)]
pub(super) struct Heard {
    answered: Mutex<BTreeMap<NodeId, Duration>>,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Duration>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn answered(&self, node: NodeId) -> Option<Duration> {
        self.lock().get(&node).copied()
    }
}

/// What is known of a peer.
#[derive(Clone, Copy, Debug)]
struct Life {
    epoch: u64,
    heard_at: Duration,
}

/// The liveness of this node and its peers.
#[derive(Debug)]
pub(super) struct Liveness {
    epoch: u64,
    peers: BTreeMap<NodeId, Life>,
    heard: Arc<Heard>,
    last_tick: Duration,
    until_ping: u32,
    patience: Duration,
    still: Duration,
    ping_ticks: u32,
}

impl Liveness {
    pub(super) fn new(options: &RaftOptions, rng: &dyn Rng, heard: Arc<Heard>, now: Duration) -> Self {
        let patience = options.tick * options.election_ticks;
        Self {
            epoch: rng.next_u64(),
            peers: BTreeMap::new(),
            heard,
            last_tick: now,
            until_ping: 0,
            patience,
            still: patience / 2,
            ping_ticks: options.heartbeat_ticks,
        }
    }

    /// A tick: true where this process had stood still for so long that others may have given it up. Its epoch is
    /// another one then.
    pub(super) fn tick(&mut self, now: Duration) -> bool {
        let stood_still = now.saturating_sub(self.last_tick) > self.still;
        self.last_tick = now;
        if stood_still {
            self.epoch = self.epoch.wrapping_add(1);
            // What was not heard while this process stood still says nothing about the others.
            for life in self.peers.values_mut() {
                life.heard_at = now;
            }
        }
        stood_still
    }

    /// The ping of this tick, where one is due.
    pub(super) fn ping(&mut self, now: Duration) -> Option<Ping> {
        if self.until_ping > 0 {
            self.until_ping -= 1;
            return None;
        }
        self.until_ping = self.ping_ticks.saturating_sub(1);
        Some(Ping {
            epoch: self.epoch,
            stamp_us: u64::try_from(now.as_micros()).unwrap_or(u64::MAX),
            is_answer: false,
        })
    }

    /// A peer was heard: the answer to it, if it asks for one, and whether its epoch is another than before.
    pub(super) fn heard(&mut self, node: NodeId, ping: Ping, now: Duration) -> (Option<Ping>, bool) {
        let life = Life {
            epoch: ping.epoch,
            heard_at: now,
        };
        let before = self.peers.insert(node, life);
        let changed = before.is_some_and(|before| before.epoch != ping.epoch);
        if ping.is_answer {
            let sent_at = Duration::from_micros(ping.stamp_us).min(now);
            let mut answered = self.heard.lock();
            let known = answered.entry(node).or_insert(sent_at);
            *known = sent_at.max(*known);
            return (None, changed);
        }
        let answer = Ping {
            epoch: self.epoch,
            is_answer: true,
            ..ping
        };
        (Some(answer), changed)
    }

    /// Peers that are connected and were not heard for an election timeout; each is named once.
    pub(super) fn take_silent(&mut self, now: Duration) -> Vec<NodeId> {
        let late = |life: &Life| life.heard_at + self.patience <= now;
        let silent: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, life)| late(life))
            .map(|(node, _)| *node)
            .collect();
        for node in &silent {
            self.forget(*node);
        }
        silent
    }

    /// The session with a peer is gone.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.peers.remove(&node);
    }
}
