//! What a run is and what happens in it, decided before it begins.

use chronik_conformance::world::net::LinkDelay;
use chronik_conformance::world::{Prng, Seed};
use chronik_server::partition::PartitionConfig;
use std::time::Duration;

/// How many nodes hold the partition.
pub(crate) const REPLICAS: u64 = 3;

/// Something that happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// kill -9: what was written stays.
    Kill(u64),
    KillLeader,
    /// A power cut: what was not synced is gone.
    PowerCut(u64),
    /// A power cut: any part of what was not synced stays.
    PowerTorn(u64),
    PowerCutAll,
    StartAll,
    Pause(u64),
    PauseLeader,
    Resume(u64),
    ResumeAll,
    IsolateLeader,
    Isolate(u64),
    CutOneWay(u64, u64),
    Heal,
    Weather(LinkDelay, u64),
    SlowDisk(u64, Duration),
    SyncFails(u64),
    Transfer(u64),
    /// The node that makes the n-th request to the bucket from now on is killed, before the request or after it.
    KillAtBucket {
        requests: u64,
        after: bool,
    },
    /// How the bucket fails from now on.
    Bucket(BucketFaults),
    /// A disk is lost with all that is on it, where no other replica is being replaced: a majority never forgets.
    LoseDisk(u64),
    /// A client deletes the records below this part, in percent, of what it has seen.
    DeleteRecords(u64),
    /// The leader's replica, or that on one of the nodes that have one, moves to the node that has none.
    MoveLeader,
    Move(u64),
}

/// Percent of requests with each fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BucketFaults {
    pub(crate) refused: u64,
    /// The answer is lost; the request did not happen.
    pub(crate) lost_before: u64,
    /// The answer is lost; the request happened.
    pub(crate) lost_after: u64,
    /// The request happens long after the caller gave up.
    pub(crate) late: u64,
    pub(crate) stale_lists: u64,
    pub(crate) wrong_bytes: u64,
    /// By how many times its usual time each request takes longer.
    pub(crate) slower: u64,
    /// Whether nobody may write a manifest, while everything else goes on.
    pub(crate) no_manifests: bool,
}

impl BucketFaults {
    const DOWN: Self = Self {
        refused: 100,
        lost_before: 0,
        lost_after: 0,
        late: 0,
        stale_lists: 0,
        wrong_bytes: 0,
        slower: 0,
        no_manifests: false,
    };

    fn random(prng: &mut Prng) -> Self {
        let mut some = |most: u64| if prng.chance(50) { prng.below(most) } else { 0 };
        Self {
            refused: some(30),
            lost_before: some(20),
            lost_after: some(40),
            late: some(20),
            stale_lists: some(60),
            wrong_bytes: some(20),
            slower: 0,
            no_manifests: false,
        }
    }
}

/// A run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: Seed,
    /// More than hold the partition, where its replicas move.
    pub(crate) nodes: u64,
    pub(crate) length: Duration,
    pub(crate) config: PartitionConfig,
    pub(crate) plain_producers: u64,
    pub(crate) idempotent_producers: u64,
    pub(crate) client_pause: Duration,
    pub(crate) value_bytes: usize,
    /// Objects larger than this are written in parts of it.
    pub(crate) part_bytes: u64,
    pub(crate) faults: Vec<(Duration, Fault)>,
    pub(crate) disaster: Option<Disaster>,
}

/// The cluster is lost at the end of the faults, and a new one takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disaster {
    /// Every node and its disk is gone.
    AllGone,
    /// The old cluster goes on: nobody could tell.
    OldLives,
}

/// Kinds of faults that a run can have or not.
const KINDS: u64 = 12;
/// The kind of a replica that moves.
const MOVES: u64 = 11;

impl Plan {
    /// The plan of a seed.
    pub(crate) fn random(seed: Seed) -> Self {
        let mut prng = seed.child("plan").prng();
        let length = Duration::from_millis(prng.between(4_000, 9_000));
        let mix = if prng.chance(15) {
            u64::MAX
        } else {
            prng.next_u64()
        };
        let kinds: Vec<u64> = (0..KINDS).filter(|kind| mix >> (8 + kind) & 1 == 1).collect();
        let longest_gap = prng.between(150, 1200);
        let nodes = REPLICAS + u64::from(kinds.contains(&MOVES));
        let mut faults = Vec::new();
        let mut at = Duration::from_millis(prng.between(600, 1800));
        while at < length {
            if let Some(kind) = kinds.get(prng.index(kinds.len())) {
                add(&mut faults, at, *kind, (nodes, &mut prng));
            }
            at += Duration::from_millis(prng.between(20, longest_gap));
        }
        faults.sort_by_key(|(at, _)| *at);
        let config = config(&mut prng);
        let disaster = [Disaster::AllGone, Disaster::OldLives][prng.index(2)];
        Self {
            seed,
            nodes,
            length,
            disaster: (config.remote_storage && prng.chance(30)).then_some(disaster),
            config,
            plain_producers: prng.between(1, 2),
            idempotent_producers: prng.between(1, 3),
            client_pause: Duration::from_millis([15, 40, 120][prng.index(3)]),
            value_bytes: [40, 300, 1200][prng.index(3)],
            part_bytes: [1 << 20, 2048][prng.index(2)],
            faults,
        }
    }

    /// A run of nothing.
    pub(crate) fn quiet(seed: Seed) -> Self {
        Self {
            seed,
            nodes: REPLICAS,
            length: Duration::ZERO,
            config: PartitionConfig::DEFAULTS,
            plain_producers: 0,
            idempotent_producers: 0,
            client_pause: Duration::ZERO,
            value_bytes: 1,
            part_bytes: 1 << 20,
            faults: Vec::new(),
            disaster: None,
        }
    }

    /// A run without faults of a log that leaves the local disk for the tier as soon as its segments end.
    pub(crate) fn tiered(seed: Seed) -> Self {
        let config = PartitionConfig {
            segment_bytes: 2048,
            segment_ms: 1500,
            retention_ms: None,
            remote_storage: true,
            local_retention_ms: None,
            local_retention_bytes: Some(0),
            ..PartitionConfig::DEFAULTS
        };
        Self {
            config,
            idempotent_producers: 2,
            client_pause: Duration::from_millis(120),
            value_bytes: 300,
            ..Self::quiet(seed)
        }
    }

    /// A run without other faults in which the bucket takes less than the producers give, for longer than a run of a random
    /// plan lasts.
    pub(crate) fn slow_bucket(seed: Seed) -> Self {
        let length = Duration::from_secs(45);
        let slow = BucketFaults {
            slower: 60,
            ..BucketFaults::default()
        };
        Self {
            seed,
            nodes: REPLICAS,
            length,
            config: PartitionConfig {
                segment_bytes: 2048,
                retention_ms: None,
                remote_storage: true,
                local_retention_ms: None,
                local_retention_bytes: Some(4096),
                ..PartitionConfig::DEFAULTS
            },
            plain_producers: 1,
            idempotent_producers: 1,
            client_pause: Duration::from_millis(120),
            value_bytes: 300,
            part_bytes: 1 << 20,
            faults: vec![(Duration::ZERO, Fault::Bucket(slow))],
            disaster: None,
        }
    }

    pub(crate) const fn is_tiered(&self) -> bool {
        self.config.remote_storage
    }

    pub(crate) fn describe(&self) -> Vec<String> {
        let line = |(at, fault): &(Duration, Fault)| format!("{:>6} ms {fault:?}", at.as_millis());
        self.faults.iter().map(line).collect()
    }
}

fn config(prng: &mut Prng) -> PartitionConfig {
    let segment_bytes = [2048, 6144, 16_384][prng.index(3)];
    let remote_storage = prng.chance(75);
    let retention = prng.below(4);
    let keeps_local_for = prng.chance(30).then(|| prng.between(300, 4_000) as i64);
    let local_retention_bytes = Some(segment_bytes * prng.below(4));
    PartitionConfig {
        segment_bytes,
        segment_ms: [1500, 7 * 24 * 3_600_000][prng.index(2)],
        min_insync_replicas: [1, 2][prng.index(2)],
        retention_ms: (retention == 0).then(|| prng.between(1_000, 12_000) as i64),
        retention_bytes: (retention == 1).then_some(segment_bytes * 8),
        remote_storage,
        local_retention_ms: keeps_local_for,
        local_retention_bytes: local_retention_bytes.filter(|_| keeps_local_for.is_none()),
        ..PartitionConfig::DEFAULTS
    }
}

/// Adds a fault of a kind, and what ends it.
fn add(faults: &mut Vec<(Duration, Fault)>, at: Duration, kind: u64, (nodes, prng): (u64, &mut Prng)) {
    let node = prng.between(1, nodes);
    let other = prng.between(1, nodes);
    let later = at + Duration::from_millis(prng.between(50, 2500));
    match kind {
        0 => {
            let fault = [Fault::Kill(node), Fault::KillLeader][prng.index(2)];
            faults.extend([(at, fault), (later, Fault::StartAll)]);
        }
        1 => faults.extend([(at, Fault::PowerCut(node)), (later, Fault::StartAll)]),
        2 => faults.extend([(at, Fault::PowerTorn(node)), (later, Fault::StartAll)]),
        3 if node == other => faults.extend([(at, Fault::PauseLeader), (later, Fault::ResumeAll)]),
        3 => faults.extend([(at, Fault::Pause(node)), (later, Fault::Resume(node))]),
        4 => {
            let fault = [
                Fault::Isolate(node),
                Fault::IsolateLeader,
                Fault::CutOneWay(node, other),
            ][prng.index(3)];
            faults.extend([(at, fault), (later, Fault::Heal)]);
        }
        5 => match prng.below(3) {
            0 => faults.push((at, weather(prng))),
            1 => {
                let time = Duration::from_millis(prng.between(1, 200));
                faults.extend([
                    (at, Fault::SlowDisk(node, time)),
                    (later, Fault::SlowDisk(node, Duration::ZERO)),
                ]);
            }
            _ => faults.push((at, Fault::Transfer(node))),
        },
        6 => match prng.below(4) {
            0 => faults.extend([(at, Fault::SyncFails(node)), (later, Fault::StartAll)]),
            1 => faults.extend([(at, Fault::PowerCutAll), (later, Fault::StartAll)]),
            _ => faults.push((at, Fault::Transfer(node))),
        },
        7 => {
            let (requests, after) = (prng.below(12), prng.chance(60));
            faults.extend([
                (at, Fault::KillAtBucket { requests, after }),
                (later, Fault::StartAll),
            ]);
        }
        8 => {
            let how = match prng.below(6) {
                0 => BucketFaults::DOWN,
                1 => BucketFaults {
                    no_manifests: true,
                    ..BucketFaults::default()
                },
                _ => BucketFaults::random(prng),
            };
            faults.extend([
                (at, Fault::Bucket(how)),
                (later, Fault::Bucket(BucketFaults::default())),
            ]);
        }
        9 => faults.push((at, Fault::DeleteRecords(prng.below(101)))),
        MOVES => faults.push((at, [Fault::MoveLeader, Fault::Move(node)][prng.index(2)])),
        _ => faults.extend([(at, Fault::LoseDisk(node)), (later, Fault::StartAll)]),
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
