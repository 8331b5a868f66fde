//! Three engines in one process over channels and the reference store, under a closed loop of writers.
//!
//! `group_load GROUPS WRITERS IN_FLIGHT PAYLOAD_BYTES SECONDS [SYNC_US]`: each writer keeps IN_FLIGHT proposals open,
//! over all groups in turn; a sync of a node's disk takes SYNC_US microseconds more than the memory it goes to.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use bytes::{Bytes, BytesMut};
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::world::{Seed, SimDisk};
use chronik_consensus::RaftRsEngine;
use chronik_consensus::raft_rs::RaftOptions;
use chronik_core::consensus::{Consensus, ConsensusGroup, GroupSpec, Member, Membership, Role, Stamper};
use chronik_core::env::{Clock, DiskLane, DiskQueue, Rng, Spawn};
use chronik_core::log_store::{LogStore, SegmentPolicy};
use chronik_core::proposal::ProposalHandle;
use chronik_core::transport::{CallOutcome, Inbound, InboundStream, Lane, Peer, PeerState, Reply, SendError};
use chronik_core::{
    BoxFuture, EntryKind, Env, GroupId, NodeId, Offset, Outcome, Proposal, ReplicaId, Term, Transport, Watch,
};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Plain {
    started: Instant,
    numbers: AtomicU64,
    timers: mpsc::Sender<(Instant, async_channel::Sender<()>)>,
}

impl Clock for Plain {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        0
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (sender, receiver) = async_channel::bounded(1);
        self.timers.send((Instant::now() + duration, sender)).unwrap();
        Box::pin(async move { receiver.recv().await.unwrap_or_default() })
    }
}

impl Rng for Plain {
    fn next_u64(&self) -> u64 {
        let next = self.numbers.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        (next ^ (next >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }
}

impl Spawn for Plain {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let run = move || futures_lite::future::block_on(task);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .unwrap();
    }
}

/// One thread does all disk work of a node; journal jobs take as long as a sync would.
#[derive(Debug)]
struct OneThread {
    jobs: mpsc::Sender<(DiskLane, Box<dyn FnOnce() + Send>)>,
}

impl OneThread {
    fn start(sync: Duration) -> Self {
        let (jobs, queue) = mpsc::channel::<(DiskLane, Box<dyn FnOnce() + Send>)>();
        std::thread::spawn(move || {
            for (lane, job) in queue {
                if lane == DiskLane::Journal && !sync.is_zero() {
                    std::thread::sleep(sync);
                }
                job();
            }
        });
        Self { jobs }
    }
}

impl DiskQueue for OneThread {
    fn submit(&self, lane: DiskLane, job: Box<dyn FnOnce() + Send>) {
        drop(self.jobs.send((lane, job)));
    }
}

fn env(sync: Duration) -> Env {
    let (timers, queue) = mpsc::channel::<(Instant, async_channel::Sender<()>)>();
    std::thread::spawn(move || {
        let mut waiting: Vec<(Instant, async_channel::Sender<()>)> = Vec::new();
        loop {
            match queue.recv_timeout(Duration::from_millis(2)) {
                Ok(timer) => waiting.push(timer),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            for (_, sender) in waiting.extract_if(.., |(at, _)| *at <= now) {
                let _ = sender.try_send(());
            }
        }
    });
    let shared = Arc::new(Plain {
        started: Instant::now(),
        numbers: AtomicU64::new(1),
        timers,
    });
    Env {
        clock: shared.clone(),
        rng: shared.clone(),
        spawn: shared,
        disk: Arc::new(OneThread::start(sync)),
    }
}

/// Channels between the engines.
#[derive(Debug)]
struct Wires {
    own: NodeId,
    to: BTreeMap<NodeId, async_channel::Sender<Inbound>>,
    peers: Watch<BTreeMap<NodeId, PeerState>>,
}

impl Transport for Wires {
    fn set_peers(&self, _: Vec<Peer>) {}

    fn call(&self, _: NodeId, _: Lane, _: Bytes, _: Duration) -> BoxFuture<'static, CallOutcome> {
        Box::pin(async { CallOutcome::NotDelivered(SendError::Closed) })
    }

    fn send(&self, to: NodeId, lane: Lane, message: Bytes) -> Result<(), SendError> {
        let inbound = Inbound {
            from: self.own,
            lane,
            message,
            reply: Reply::new(drop),
        };
        let sender = self.to.get(&to).ok_or(SendError::UnknownPeer(to))?;
        sender.try_send(inbound).map_err(|_| SendError::Busy)
    }

    fn room(&self, _: NodeId, _: Lane) -> BoxFuture<'static, Result<(), SendError>> {
        Box::pin(async { Ok(()) })
    }

    fn peers(&self) -> Watch<BTreeMap<NodeId, PeerState>> {
        self.peers.clone()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

#[derive(Debug)]
struct End(async_channel::Receiver<Inbound>);

impl InboundStream for End {
    fn next(&mut self) -> BoxFuture<'_, Option<Inbound>> {
        Box::pin(async { self.0.recv().await.ok() })
    }
}

#[derive(Debug)]
struct NoStamp;

impl Stamper for NoStamp {
    fn stamp(&self, _: &mut BytesMut, _: Offset, _: Term) {}
}

fn engines(sync: Duration) -> Vec<(RaftRsEngine, MemStore)> {
    let nodes: Vec<NodeId> = (1..=3).map(NodeId).collect();
    let connected = PeerState {
        connected: true,
        session: 1,
    };
    let peers: BTreeMap<_, _> = nodes.iter().map(|node| (*node, connected)).collect();
    let ends: Vec<_> = nodes.iter().map(|_| async_channel::unbounded()).collect();
    let to: BTreeMap<_, _> = nodes
        .iter()
        .zip(&ends)
        .map(|(node, (sender, _))| (*node, sender.clone()))
        .collect();
    let start = |(node, (_, receiver)): (&NodeId, &(_, async_channel::Receiver<Inbound>))| {
        let env = env(sync);
        let disk = SimDisk::new(Seed(node.0));
        let options = MemOptions {
            max_payload_bytes: 16 << 20,
            ..MemOptions::default()
        };
        let store = MemStore::open(&disk, Path::new("/data"), env.clone(), options).unwrap();
        let wires = Wires {
            own: *node,
            to: to.clone(),
            peers: Watch::new(peers.clone()),
        };
        let inbound = Box::new(End(receiver.clone()));
        let engine = RaftRsEngine::new(RaftOptions::new(*node), env, Arc::new(wires), inbound).unwrap();
        (engine, store)
    };
    nodes.iter().zip(&ends).map(start).collect()
}

fn open(engine: &RaftRsEngine, store: &MemStore, group: u64, node: u64) -> Arc<dyn ConsensusGroup> {
    let member = |id| Member {
        replica: ReplicaId(id),
        node: NodeId(id),
    };
    let policy = SegmentPolicy {
        segment_bytes: 64 << 20,
    };
    let spec = GroupSpec {
        group: GroupId(group),
        replica: member(node),
        founding: Membership {
            voters: (0..3).map(|place| member(1 + (group + place) % 3)).collect(),
            ..Membership::default()
        },
        log: store.open_group(GroupId(group), policy).unwrap(),
        stamper: Arc::new(NoStamp),
    };
    futures_lite::future::block_on(engine.open_group(spec)).unwrap()
}

fn write(
    leaders: &[Arc<dyn ConsensusGroup>],
    in_flight: usize,
    payload_bytes: usize,
    until: Instant,
) -> (u64, Vec<f64>) {
    let mut open: VecDeque<(Instant, ProposalHandle)> = VecDeque::new();
    let (mut done, mut turn, mut waits) = (0, 0, Vec::new());
    while Instant::now() < until {
        while open.len() < in_flight {
            let proposal = Proposal {
                kind: EntryKind::Data,
                payload: BytesMut::zeroed(payload_bytes),
                record_count: 1,
                max_timestamp_ms: 1,
            };
            turn = (turn + 1) % leaders.len();
            match leaders[turn].propose(proposal) {
                Ok(handle) => open.push_back((Instant::now(), handle)),
                Err(_) => break,
            }
        }
        let Some((since, handle)) = open.pop_front() else {
            std::thread::yield_now();
            continue;
        };
        if let Outcome::Committed(_) = futures_lite::future::block_on(handle.outcome()) {
            done += 1;
            if done % 64 == 0 {
                waits.push(since.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    (done, waits)
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn main() {
    let words: Vec<u64> = std::env::args()
        .skip(1)
        .map(|word| word.parse().unwrap())
        .collect();
    let [groups, writers, in_flight, payload_bytes, seconds] = words[..5] else {
        panic!("GROUPS WRITERS IN_FLIGHT PAYLOAD_BYTES SECONDS [SYNC_US]");
    };
    let sync = Duration::from_micros(words.get(5).copied().unwrap_or(0));
    let engines = engines(sync);
    let mut leaders = Vec::new();
    for group in 0..groups {
        let opened: Vec<_> = engines
            .iter()
            .zip(1..)
            .map(|((engine, store), node)| open(engine, store, group, node))
            .collect();
        leaders.push(opened);
    }
    let leaders: Vec<_> = leaders
        .into_iter()
        .map(|replicas| {
            loop {
                let leads = |group: &&Arc<dyn ConsensusGroup>| group.watch().get().role == Role::Leader;
                if let Some(leader) = replicas.iter().find(leads) {
                    break Arc::clone(leader);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        })
        .collect();
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let until = started + Duration::from_secs(seconds);
    if writers == 0 {
        // What groups cost in which nothing happens.
        std::thread::sleep(Duration::from_secs(seconds));
    }
    let done: Vec<(u64, Vec<f64>)> = std::thread::scope(|scope| {
        let run = |_| scope.spawn(|| write(&leaders, in_flight as usize, payload_bytes as usize, until));
        let threads: Vec<_> = (0..writers).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let total: u64 = done.iter().map(|(done, _)| done).sum();
    let mut waits: Vec<f64> = done.into_iter().flat_map(|(_, waits)| waits).collect();
    waits.sort_by(f64::total_cmp);
    let at = |part: f64| {
        waits
            .get((waits.len() as f64 * part) as usize)
            .copied()
            .unwrap_or_default()
    };
    let (wall, used) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!(
        "groups={groups} writers={writers} in_flight={in_flight} payload_bytes={payload_bytes} sync_us={} \
         proposals_per_s={:.0} cpu_percent={:.1} cpu_us_per_proposal={:.2} p50_ms={:.2} p99_ms={:.2}",
        sync.as_micros(),
        total as f64 / wall,
        used * 100.0 / wall,
        used * 1e6 / total.max(1) as f64,
        at(0.5),
        at(0.99)
    );
    for (engine, _) in &engines {
        println!("{:?}", engine.counters().snapshot());
    }
    std::process::exit(0);
}
