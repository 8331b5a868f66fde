//! Links: which directions are cut, and how long messages take.

use crate::world::Prng;
use chronik_core::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a message takes: evenly spread from one bound to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkDelay {
    /// The shortest.
    pub from: Duration,
    /// The longest.
    pub to: Duration,
}

/// The directions between nodes.
#[derive(Debug)]
pub(super) struct Links {
    prng: Prng,
    cuts: BTreeSet<(NodeId, NodeId)>,
    delays: BTreeMap<(NodeId, NodeId), LinkDelay>,
}

impl Links {
    pub(super) const fn new(prng: Prng) -> Self {
        Self {
            prng,
            cuts: BTreeSet::new(),
            delays: BTreeMap::new(),
        }
    }

    pub(super) fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cuts.insert((from, to));
    }

    pub(super) fn heal(&mut self, from: NodeId, to: NodeId) {
        self.cuts.remove(&(from, to));
    }

    pub(super) fn heal_all(&mut self) {
        self.cuts.clear();
    }

    pub(super) fn set_delay(&mut self, from: NodeId, to: NodeId, delay: LinkDelay) {
        self.delays.insert((from, to), delay);
    }

    pub(super) fn is_open(&self, from: NodeId, to: NodeId) -> bool {
        !self.cuts.contains(&(from, to))
    }

    /// How long the next message takes.
    pub(super) fn draw(&mut self, from: NodeId, to: NodeId, otherwise: LinkDelay) -> Duration {
        let LinkDelay {
            from: least,
            to: most,
        } = self.delays.get(&(from, to)).copied().unwrap_or(otherwise);
        let spread = u64::try_from(most.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX);
        least + Duration::from_nanos(self.prng.below(spread.saturating_add(1)))
    }

    /// Whether something happens that happens `ppm` times in a million.
    pub(super) fn chance_ppm(&mut self, ppm: u64) -> bool {
        ppm > 0 && self.prng.below(1_000_000) < ppm
    }
}
