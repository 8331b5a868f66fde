//! Nodes of the engine over the reference store and the network in memory, and what they agree on.

use crate::net::Net;
use crate::witness::Witness;
use bytes::{Bytes, BytesMut};
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::world::disk::{DropAll, Unit};
use chronik_conformance::world::real::RealEnv;
use chronik_conformance::world::{Seed, SimDisk};
use chronik_consensus::AsyncRaftEngine;
use chronik_consensus::async_raft::{AsyncRaftOptions, Guards};
use chronik_core::consensus::{
    Consensus, ConsensusError, ConsensusGroup, GroupSpec, Maintenance, Member, Membership, Progress, Role,
    Stamper,
};
use chronik_core::env::{DiskLane, DiskQueue, Env};
use chronik_core::log_store::{Checkpoint, Purge, SegmentPolicy};
use chronik_core::{
    Entry, EntryKind, GroupId, GroupLog, LogError, LogId, LogIndex, LogReader, LogStore, NodeId, Offset,
    Outcome, Proposal, ProposalHandle, ReplicaId, Term,
};
use futures_lite::future::{block_on, or};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(crate) const GROUP: GroupId = GroupId(7);
const POLICY: SegmentPolicy = SegmentPolicy {
    segment_bytes: 1 << 20,
};
/// More than any of this takes on a machine that does other things.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// How often a scenario is played that a slow machine can keep from coming about.
const TRIES: u64 = 8;

/// How many clusters run at a time: they run in real time, and many would slow each other down.
const AT_A_TIME: usize = 2;
static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

struct Turn;

impl Turn {
    fn wait() -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        while *running >= AT_A_TIME {
            running = ENDED.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}

#[derive(Debug)]
struct FrontStamp;

impl Stamper for FrontStamp {
    fn stamp(&self, payload: &mut BytesMut, base_offset: Offset, term: Term) {
        payload[..8].copy_from_slice(&base_offset.0.to_be_bytes());
        payload[8..16].copy_from_slice(&term.0.to_be_bytes());
    }
}

pub(crate) fn stamper() -> Arc<dyn Stamper> {
    Arc::new(FrontStamp)
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
struct DiskThread {
    jobs: Mutex<mpsc::Sender<Job>>,
}

impl DiskThread {
    fn start() -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::spawn(move || queue.into_iter().for_each(|job| job()));
        Self {
            jobs: Mutex::new(jobs),
        }
    }
}

impl DiskQueue for DiskThread {
    fn submit(&self, _: DiskLane, job: Job) {
        drop(self.jobs.lock().unwrap().send(job));
    }
}

pub(crate) fn member(id: u64) -> Member {
    Member {
        replica: ReplicaId(id),
        node: NodeId(id),
    }
}

pub(crate) fn voters(ids: impl IntoIterator<Item = u64>) -> Membership {
    Membership {
        voters: ids.into_iter().map(member).collect(),
        ..Membership::default()
    }
}

/// A data entry that carries `value`.
pub(crate) fn value(value: u64) -> Proposal {
    let mut payload = BytesMut::zeroed(24);
    payload[16..].copy_from_slice(&value.to_be_bytes());
    Proposal {
        kind: EntryKind::Data,
        payload,
        record_count: 1,
        max_timestamp_ms: 1,
    }
}

pub(crate) fn value_of(entry: &Entry) -> Option<u64> {
    let bytes = entry.payload.get(16..24)?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

pub(crate) struct Node {
    pub(crate) disk: SimDisk,
    /// Open as long as its log is.
    store: MemStore,
    pub(crate) engine: AsyncRaftEngine,
    pub(crate) group: Arc<dyn ConsensusGroup>,
    pub(crate) reader: Arc<dyn LogReader>,
}

pub(crate) struct Cluster {
    pub(crate) env: Env,
    pub(crate) net: Net,
    pub(crate) founding: Membership,
    pub(crate) guards: Guards,
    pub(crate) nodes: BTreeMap<u64, Node>,
    pub(crate) disks: BTreeMap<u64, SimDisk>,
    pub(crate) tune: fn(&mut AsyncRaftOptions),
    pub(crate) witness: Witness,
    _turn: Turn,
}

impl Cluster {
    /// A cluster of `count` voters that runs.
    pub(crate) fn start(seed: Seed, count: u64, guards: Guards) -> Self {
        let mut cluster = Self::prepare(seed, count, guards);
        for id in 1..=count {
            cluster.open(id).unwrap();
        }
        cluster
    }

    pub(crate) fn prepare(seed: Seed, count: u64, guards: Guards) -> Self {
        let turn = Turn::wait();
        let mut env = RealEnv::new(seed).env();
        env.disk = Arc::new(DiskThread::start());
        Self {
            _turn: turn,
            net: Net::new(env.clone()),
            env,
            founding: voters(1..=count),
            guards,
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            tune: |_| {},
            witness: Witness::default(),
        }
    }

    /// Starts a node on its disk.
    pub(crate) fn open(&mut self, id: u64) -> Result<(), ConsensusError> {
        let disk = self
            .disks
            .entry(id)
            .or_insert_with(|| SimDisk::new(Seed(id)))
            .clone();
        let store =
            MemStore::open(&disk, Path::new("/data"), self.env.clone(), MemOptions::default()).unwrap();
        let log = self.witness.hear(id, store.open_group(GROUP, POLICY).unwrap());
        let reader = Arc::clone(&log.reader);
        let (transport, inbound) = self.net.bind(NodeId(id));
        let mut options = AsyncRaftOptions {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(1000),
            ..AsyncRaftOptions::new(NodeId(id))
        };
        (self.tune)(&mut options);
        let engine =
            AsyncRaftEngine::with_guards(options, self.guards, self.env.clone(), transport, inbound).unwrap();
        let spec = GroupSpec {
            group: GROUP,
            replica: member(id),
            founding: self.founding.clone(),
            log,
            stamper: stamper(),
        };
        let group = block_on(engine.open_group(spec))?;
        self.witness.watch(id, &*group);
        let node = Node {
            disk,
            store,
            engine,
            group,
            reader,
        };
        self.nodes.insert(id, node);
        Ok(())
    }

    /// The power of a node fails: what was not synced is gone.
    pub(crate) fn crash(&mut self, id: u64) {
        let node = self.nodes.remove(&id).unwrap();
        self.net.unbind(NodeId(id));
        let disk = node.disk.crash(&mut DropAll, Unit::Sector);
        self.disks.insert(id, disk);
        block_on(node.engine.close());
    }

    pub(crate) fn restart(&mut self, id: u64) {
        self.crash(id);
        self.open(id).unwrap();
    }

    /// The log of another group in a node's store.
    pub(crate) fn log_of(&self, id: u64, group: GroupId) -> GroupLog {
        self.nodes[&id].store.open_group(group, POLICY).unwrap()
    }

    pub(crate) fn progress(&self, id: u64) -> Progress {
        self.nodes[&id].group.watch().get()
    }

    /// Waits until one of `among` leads and committed an entry of its term.
    pub(crate) fn leader_among(&self, among: impl IntoIterator<Item = u64>) -> u64 {
        let among: Vec<u64> = among.into_iter().collect();
        let mut found = 0;
        let all = || {
            among
                .iter()
                .map(|id| (*id, self.progress(*id)))
                .collect::<Vec<_>>()
        };
        wait_for_else("a leader that committed an entry of its own", all, || {
            let leads = |id: &&u64| {
                let progress = self.progress(**id);
                // Without our own count nothing says when a leader's first entry is committed.
                let counted = self.guards.s1_s2_s3_own_commit;
                let commits = progress.own_term_start.is_some_and(|own| own <= progress.commit);
                progress.role == Role::Leader && (commits || !counted)
            };
            let best = among
                .iter()
                .filter(leads)
                .max_by_key(|id| self.progress(**id).term);
            found = best.copied().unwrap_or(0);
            found != 0
        });
        found
    }

    pub(crate) fn leader(&self) -> u64 {
        self.leader_among(self.nodes.keys().copied().collect::<Vec<_>>())
    }

    /// Proposes until one is committed by whoever leads.
    pub(crate) fn commit(&self, number: u64) -> LogIndex {
        let start = Instant::now();
        loop {
            let leader = self.leader();
            if let Ok(handle) = self.nodes[&leader].group.propose(value(number))
                && let Some(Outcome::Committed(appended)) = self.outcome(&handle)
            {
                return appended.id.index;
            }
            assert!(start.elapsed() < LIMIT, "nothing was committed in {LIMIT:?}");
        }
    }

    /// The outcome, where there is one within some seconds.
    pub(crate) fn outcome(&self, handle: &ProposalHandle) -> Option<Outcome> {
        self.within(Duration::from_secs(5), handle.outcome())
    }

    pub(crate) fn within<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        let late = async {
            self.env.clock.sleep(limit).await;
            None
        };
        block_on(or(async { Some(future.await) }, late))
    }

    /// Has a node store a checkpoint of what it applied up to `last`.
    pub(crate) fn checkpoint(&self, id: u64, last: LogIndex, state: &[u8]) -> Result<LogId, LogError> {
        let node = &self.nodes[&id];
        let at = LogId {
            term: node.reader.term_at(last).unwrap(),
            index: last,
        };
        let checkpoint = Checkpoint {
            at,
            next_offset: node.reader.state().offset_end,
            data: Bytes::copy_from_slice(state),
            consensus: Bytes::new(),
        };
        let saved = node.group.maintain(Maintenance::Checkpoint(checkpoint)).unwrap();
        saved.wait().map(|()| at)
    }

    /// Has a node keep a checkpoint of what it applied up to `last`, and purge its log up to there.
    pub(crate) fn checkpoint_and_purge(&self, id: u64, last: LogIndex, state: &[u8]) {
        let at = self.checkpoint(id, last, state).unwrap();
        self.purge(id, at);
    }

    /// Has a node purge its log up to a stored checkpoint.
    pub(crate) fn purge(&self, id: u64, at: LogId) {
        let node = &self.nodes[&id];
        let purge = Purge {
            through: at,
            offset_start: Offset(0),
        };
        // A follower learns from its leader what all hold.
        wait_for("the purge", || {
            let purged = node.group.maintain(Maintenance::Purge(purge)).unwrap();
            purged.wait().unwrap();
            node.reader.state().purged == at
        });
    }

    /// Waits until all nodes committed `index`.
    pub(crate) fn wait_commit(&self, index: LogIndex) {
        let all = || {
            self.nodes
                .keys()
                .map(|id| (*id, self.progress(*id)))
                .collect::<Vec<_>>()
        };
        wait_for_else("all nodes to commit", all, || {
            self.nodes.keys().all(|id| self.progress(*id).commit >= index)
        });
    }

    /// The entries of a node up to its commit index.
    pub(crate) fn committed(&self, id: u64) -> Vec<Entry> {
        let node = &self.nodes[&id];
        let commit = self.progress(id).commit;
        entries(node.reader.as_ref(), commit)
    }

    pub(crate) fn counter(&self, id: u64, name: &str) -> u64 {
        let snapshot = self.nodes[&id].engine.counters().snapshot();
        snapshot.into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    /// Asserts that committed logs agree and hold `values`.
    pub(crate) fn assert_agreement(&self, values: impl IntoIterator<Item = u64>) {
        let logs: Vec<(u64, Vec<Entry>)> = self.nodes.keys().map(|id| (*id, self.committed(*id))).collect();
        for (id, log) in &logs[1..] {
            for (a, b) in log.iter().zip(&logs[0].1) {
                assert_eq!(a, b, "nodes {id} and {} disagree", logs[0].0);
            }
        }
        for number in values {
            for (id, log) in &logs {
                let held = log.iter().any(|entry| value_of(entry) == Some(number));
                assert!(
                    held,
                    "node {id} lost {number}; it is at {:?} with {log:?}",
                    self.progress(*id)
                );
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in std::mem::take(&mut self.nodes).into_values() {
            block_on(node.engine.close());
        }
    }
}

pub(crate) fn entries(reader: &dyn LogReader, upto: LogIndex) -> Vec<Entry> {
    let from = reader.state().index_start();
    let mut found = Vec::new();
    let mut next = from;
    while next <= upto {
        let Ok(read) = reader.entries(next..upto.next(), u64::MAX) else {
            break;
        };
        let Ok(more) = block_on(read.get()) else {
            break;
        };
        let Some(last) = more.last() else {
            break;
        };
        next = last.id.index.next();
        found.extend(more);
    }
    found
}

/// Plays a scenario, with another number each time, until it comes to an end. One that ends as nothing, or where a wait
/// was in vain, was disturbed: a leader changed while it was not meant to, or the crate got stuck in another of its
/// defects. Verdicts are judged by the caller, so that no wrong one is played again.
#[allow(clippy::print_stdout, reason = "the output of a test")]
pub(crate) fn until_shown<T>(what: &str, mut scenario: impl FnMut(u64) -> Option<T>) -> T {
    for attempt in 0..TRIES {
        match catch_unwind(AssertUnwindSafe(|| scenario(attempt))) {
            Ok(Some(shown)) => return shown,
            Ok(None) => println!("{what}: try {attempt} was disturbed"),
            Err(_) => println!("{what}: try {attempt} waited in vain"),
        }
    }
    panic!("{what}: did not come about in {TRIES} tries");
}

/// Waits for a condition.
pub(crate) fn wait_for(what: &str, holds: impl FnMut() -> bool) {
    wait_for_else(what, || (), holds);
}

/// Waits for a condition that need not come; says whether it did.
pub(crate) fn comes_within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    true
}

/// Waits for a condition; says what there is instead where it does not come.
pub(crate) fn wait_for_else<T: Debug>(what: &str, instead: impl Fn() -> T, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < LIMIT,
            "waited {LIMIT:?} for {what}: {:?}",
            instead()
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
