//! Clients of a cluster: they look for the leader, propose, and ask for read barriers, whatever happens.

use super::cluster::Pending;
use super::node::{Hosted, Node};
use super::oracle::Oracle;
use super::payload::{ProposalId, proposal};
use crate::world::{Prng, Seed, SimEnv, SimNode, locked};
use chronik_core::GroupId;
use chronik_core::consensus::Role;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A node as clients see it.
#[derive(Clone)]
struct Door {
    process: SimNode,
    start: u64,
    groups: BTreeMap<GroupId, Hosted>,
}

/// What clients share with the cluster.
#[derive(Clone)]
pub(super) struct Clients {
    doors: Arc<Mutex<BTreeMap<u64, Door>>>,
    stopped: Arc<AtomicBool>,
    streams: Arc<AtomicU64>,
}

/// How clients behave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    pub(super) count: u64,
    /// The longest pause between two calls.
    pub(super) pause: Duration,
    /// The largest payload.
    pub(super) size: usize,
    /// How many calls in a hundred are reads.
    pub(super) reads: u64,
}

/// Streams of clients do not meet those of the cluster's own proposals.
const FIRST_STREAM: u64 = 1 << 32;
/// More proposals than these without an outcome are enough.
const MAX_PENDING: usize = 64;

impl Clients {
    pub(super) fn start(
        sim: &SimEnv,
        seed: Seed,
        habits: Habits,
        oracle: &Oracle,
        pending: &Arc<Mutex<Vec<Pending>>>,
    ) -> Self {
        let clients = Self {
            doors: Arc::default(),
            stopped: Arc::default(),
            streams: Arc::new(AtomicU64::new(FIRST_STREAM)),
        };
        for number in 0..habits.count {
            let client = Client {
                shared: clients.clone(),
                sim: sim.clone(),
                prng: seed.nth(number).prng(),
                habits,
                oracle: oracle.clone(),
                pending: Arc::clone(pending),
                streams: BTreeMap::new(),
            };
            sim.env().spawn.spawn("cluster-client", Box::pin(client.run()));
        }
        clients
    }

    /// Shows clients the nodes that run.
    pub(super) fn publish(&self, nodes: &BTreeMap<u64, Node>) {
        let mut doors = locked(&self.doors);
        for node in nodes.values() {
            if let Some(process) = &node.process {
                let door = Door {
                    process: process.sim.clone(),
                    start: node.starts,
                    groups: process.groups.clone(),
                };
                doors.insert(node.id, door);
            }
        }
    }

    pub(super) fn forget(&self, node: u64) {
        locked(&self.doors).remove(&node);
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

struct Client {
    shared: Clients,
    sim: SimEnv,
    prng: Prng,
    habits: Habits,
    oracle: Oracle,
    pending: Arc<Mutex<Vec<Pending>>>,
    /// The stream of each process that this client speaks to, and its last number.
    streams: BTreeMap<(GroupId, u64, u64), (u64, u64)>,
}

impl Client {
    async fn run(mut self) {
        let clock = self.sim.env().clock;
        while !self.shared.stopped.load(Ordering::SeqCst) {
            if let Some((start, hosted)) = self.choose() {
                if self.prng.chance(self.habits.reads) {
                    self.read(&hosted);
                } else {
                    // Pipelined calls must stay in order.
                    for _ in 0..self.prng.between(1, 3) {
                        self.write(start, &hosted);
                    }
                }
            }
            let longest = u64::try_from(self.habits.pause.as_micros()).unwrap_or(u64::MAX);
            clock.sleep(Duration::from_micros(self.prng.below(longest))).await;
        }
    }

    /// Mostly a leader, sometimes anybody. A paused process takes no calls.
    fn choose(&mut self) -> Option<(u64, Hosted)> {
        let doors = locked(&self.shared.doors);
        let running = doors.values().filter(|door| door.process.runs());
        let mut hosted: Vec<(u64, Hosted)> = running
            .flat_map(|door| door.groups.values().map(|hosted| (door.start, hosted.clone())))
            .filter(|(_, hosted)| hosted.progress().is_some())
            .collect();
        if self.prng.chance(85) {
            let leads = |hosted: &Hosted| {
                hosted
                    .progress()
                    .is_some_and(|progress| progress.role == Role::Leader)
            };
            hosted.retain(|(_, hosted)| leads(hosted));
        }
        let pick = self.prng.index(hosted.len());
        (pick < hosted.len()).then(|| hosted.swap_remove(pick))
    }

    fn write(&mut self, start: u64, hosted: &Hosted) {
        if locked(&self.pending).len() >= MAX_PENDING {
            return;
        }
        let at = hosted.at;
        let fresh = || (self.shared.streams.fetch_add(1, Ordering::SeqCst), 0);
        let (stream, number) = self
            .streams
            .entry((at.group, at.node, start))
            .or_insert_with(fresh);
        *number += 1;
        let id = ProposalId {
            stream: *stream,
            number: *number,
        };
        let records = u32::try_from(self.prng.below(4)).unwrap_or(1);
        let size = self.prng.index(self.habits.size);
        let Some(group) = hosted.group() else { return };
        match group.propose(proposal(id, records, size)) {
            Ok(handle) => locked(&self.pending).push(Pending::new(at, start, id, handle)),
            Err(_) => self.oracle.on_refused(at.group, id),
        }
    }

    fn read(&self, hosted: &Hosted) {
        let Some(group) = hosted.group() else { return };
        let (oracle, at) = (self.oracle.clone(), hosted.at);
        let must_see = oracle.newest_acked(at.group);
        let watch = group.watch();
        let barrier = group.read_barrier();
        let task = async move {
            let Ok(index) = barrier.await else { return };
            oracle.marks.hit("barriers");
            if index < must_see {
                let own = watch.get().term;
                let deposed = oracle.newest_leader(at.group).is_some_and(|(term, _)| term > own);
                let clause = if deposed { "CS-LIN-02" } else { "CS-LIN-01" };
                let what = format!(
                    "a barrier on node {} in term {own} answers {index}; {must_see} was acknowledged before",
                    at.node
                );
                oracle.violate(clause, what);
            }
        };
        self.sim.env().spawn.spawn("cluster-read", Box::pin(task));
    }
}
