//! What happens in a run of a swarm, decided before it begins.

use crate::world::net::LinkDelay;
use crate::world::{Prng, Seed};
use std::time::Duration;

/// Something that happens to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// kill -9: what was written stays.
    Kill(u64),
    /// A power cut: what was not synced is gone.
    PowerCut(u64),
    /// A power cut: any part of what was not synced stays.
    PowerTorn(u64, usize),
    PowerCutAll,
    Start(u64),
    StartAll,
    Pause(u64),
    Resume(u64),
    Isolate(u64),
    IsolateLeader,
    /// Nodes whose bit is set on one side, the others on the other.
    Split(u64),
    CutOneWay(u64, u64),
    Heal,
    Reset(u64, u64),
    Weather(LinkDelay, u64),
    SlowDisk(u64, Duration),
    SyncFails(u64),
    Transfer(u64),
    Checkpoint(u64),
    /// Nodes whose bit is set become the voters.
    Change(u64),
    AddLearner(u64),
}

/// A run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: Seed,
    pub(super) nodes: u64,
    pub(super) voters: u64,
    pub(super) length: Duration,
    pub(super) client_pause: Duration,
    pub(super) payload_bytes: usize,
    pub(super) faults: Vec<(Duration, Fault)>,
}

/// Kinds of faults that a run can have or not.
const KINDS: u64 = 11;

impl Plan {
    /// The plan of a seed.
    pub(super) fn random(seed: Seed) -> Self {
        let mut prng = seed.child("plan").prng();
        let nodes = [3, 3, 3, 4, 5][prng.index(5)];
        let voters = if nodes == 4 { 3 } else { nodes };
        let length = Duration::from_millis(prng.between(4_000, 9_000));
        let mut mix = prng.next_u64();
        if mix.is_multiple_of(8) {
            // All kinds together.
            mix = u64::MAX;
        }
        let kinds: Vec<u64> = (0..KINDS).filter(|kind| mix >> (8 + kind) & 1 == 1).collect();
        let longest_gap = prng.between(60, 700);
        let mut faults = Vec::new();
        let mut at = Duration::from_millis(prng.below(1500));
        while at < length {
            let pick = prng.index(kinds.len());
            if let Some(kind) = kinds.get(pick) {
                add(&mut faults, at, *kind, nodes, &mut prng);
            }
            at += Duration::from_millis(prng.between(20, longest_gap));
        }
        faults.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            nodes,
            voters,
            length,
            client_pause: Duration::from_millis([10, 40, 120][prng.index(3)]),
            payload_bytes: [20, 200, 3000][prng.index(3)],
            faults,
        }
    }

    pub(super) fn describe(&self) -> Vec<String> {
        let line = |(at, fault): &(Duration, Fault)| format!("{:>6} ms {fault:?}", at.as_millis());
        self.faults.iter().map(line).collect()
    }
}

/// Adds a fault of a kind, and what ends it.
fn add(faults: &mut Vec<(Duration, Fault)>, at: Duration, kind: u64, nodes: u64, prng: &mut Prng) {
    let node = prng.between(1, nodes);
    let other = prng.between(1, nodes);
    let later = at + Duration::from_millis(prng.between(50, 2500));
    match kind {
        0 => faults.extend([(at, Fault::Kill(node)), (later, Fault::Start(node))]),
        1 => faults.extend([(at, Fault::PowerCut(node)), (later, Fault::Start(node))]),
        2 => {
            let keep = prng.index(6);
            faults.extend([(at, Fault::PowerTorn(node, keep)), (later, Fault::Start(node))]);
        }
        3 => faults.extend([(at, Fault::Pause(node)), (later, Fault::Resume(node))]),
        4 => {
            let fault = [
                Fault::Isolate(node),
                Fault::IsolateLeader,
                Fault::Split(prng.next_u64()),
            ][prng.index(3)];
            faults.extend([(at, fault), (later, Fault::Heal)]);
        }
        5 => faults.extend([(at, Fault::CutOneWay(node, other)), (later, Fault::Heal)]),
        6 => faults.push((at, weather(prng))),
        7 => {
            let time = Duration::from_millis(prng.between(1, 300));
            faults.extend([
                (at, Fault::SlowDisk(node, time)),
                (later, Fault::SlowDisk(node, Duration::ZERO)),
            ]);
        }
        8 => match prng.below(6) {
            0 => faults.extend([(at, Fault::SyncFails(node)), (later, Fault::Start(node))]),
            1 => faults.extend([(at, Fault::PowerCutAll), (later, Fault::StartAll)]),
            _ => faults.push((at, Fault::Transfer(node))),
        },
        9 => faults.push((at, Fault::Checkpoint(node))),
        _ => match prng.below(3) {
            0 => faults.push((at, Fault::AddLearner(node))),
            _ => {
                let all = (1 << (nodes + 1)) - 2;
                // At least two voters, so that one crash does not end the group for long.
                let voters = prng.next_u64() & all | 1 << node | 1 << (node % nodes + 1);
                faults.push((at, Fault::Change(voters)));
            }
        },
    }
    if prng.chance(10) {
        faults.push((at, Fault::Reset(node, other)));
    }
}

fn weather(prng: &mut Prng) -> Fault {
    let (from, to) = [(50, 500), (100, 2_000), (1_000, 30_000), (10_000, 60_000)][prng.index(4)];
    let delay = LinkDelay {
        from: Duration::from_micros(from),
        to: Duration::from_micros(to),
    };
    Fault::Weather(delay, [0, 0, 2_000, 20_000][prng.index(4)])
}
