//! Nodes with an engine each, in one simulated world.

use bytes::BytesMut;
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::world::disk::{Chooser, Unit};
use chronik_conformance::world::net::{End, NetOptions, SimNet};
use chronik_conformance::world::{Seed, SimDisk, SimEnv, SimNode};
use chronik_consensus::RaftRsEngine;
use chronik_consensus::raft_rs::RaftOptions;
use chronik_core::consensus::{
    Consensus, ConsensusGroup, GroupSpec, Member, Membership, Progress, Role, Stamper,
};
use chronik_core::log_store::{LogReader, LogStore, SegmentPolicy};
use chronik_core::transport::{BindOptions, Bound, Hello, Peer, Transport, TransportFactory};
use chronik_core::{
    Entry, EntryKind, GroupId, LogError, LogId, LogIndex, NodeId, Offset, Outcome, Proposal, ProposalHandle,
    ReplicaId, Term,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const GROUP: GroupId = GroupId(1);

/// Writes base offset and term into the first 16 bytes.
#[derive(Debug)]
pub(crate) struct FrontStamp;

impl Stamper for FrontStamp {
    fn stamp(&self, payload: &mut BytesMut, base_offset: Offset, term: Term) {
        payload[..8].copy_from_slice(&base_offset.0.to_be_bytes());
        payload[8..16].copy_from_slice(&term.0.to_be_bytes());
    }
}

/// A group on a node.
pub(crate) struct Open {
    pub(crate) group: Arc<dyn ConsensusGroup>,
    pub(crate) reader: Arc<dyn LogReader>,
}

/// A running process.
pub(crate) struct Running {
    pub(crate) process: SimNode,
    pub(crate) store: MemStore,
    pub(crate) engine: Arc<RaftRsEngine>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) groups: BTreeMap<GroupId, Open>,
}

pub(crate) struct Cluster {
    pub(crate) sim: SimEnv,
    pub(crate) net: SimNet,
    pub(crate) seed: Seed,
    pub(crate) disks: BTreeMap<u64, SimDisk>,
    pub(crate) nodes: BTreeMap<u64, Running>,
    pub(crate) tune: fn(&mut RaftOptions),
    pub(crate) mem: MemOptions,
    /// What each node's replica was opened with first.
    founding: BTreeMap<u64, Membership>,
    starts: u64,
}

pub(crate) fn member(node: u64) -> Member {
    Member {
        replica: ReplicaId(node),
        node: NodeId(node),
    }
}

pub(crate) fn voters(nodes: &[u64]) -> Membership {
    Membership {
        voters: nodes.iter().map(|node| member(*node)).collect(),
        ..Membership::default()
    }
}

pub(crate) fn records(count: u32, mark: u8) -> Proposal {
    let mut payload = BytesMut::zeroed(16);
    payload.extend(std::iter::repeat_n(mark, count as usize));
    Proposal {
        kind: EntryKind::Data,
        payload,
        record_count: count,
        max_timestamp_ms: 5,
    }
}

fn address(node: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 2000 + node as u16))
}

impl Cluster {
    pub(crate) fn new(seed: u64) -> Self {
        let seed = Seed(seed);
        let sim = SimEnv::new(seed.child("sim"));
        let net = SimNet::new(&sim, seed.child("net"), NetOptions::default());
        Self {
            sim,
            net,
            seed,
            disks: BTreeMap::new(),
            nodes: BTreeMap::new(),
            tune: |_| {},
            mem: MemOptions::default(),
            founding: BTreeMap::new(),
            starts: 0,
        }
    }

    /// Nodes 1 to `count`, all of which vote in the group.
    pub(crate) fn of(seed: u64, count: u64) -> Self {
        let mut cluster = Self::new(seed);
        cluster.found(count);
        cluster
    }

    pub(crate) fn found(&mut self, count: u64) {
        let nodes: Vec<u64> = (1..=count).collect();
        for node in &nodes {
            self.start(*node);
        }
        for node in &nodes {
            self.founding.insert(*node, voters(&nodes));
            self.open(*node, GROUP, voters(&nodes));
        }
    }

    /// Starts a process on the node's disk.
    pub(crate) fn start(&mut self, node: u64) {
        self.starts += 1;
        let seed = self.seed.child("start").nth(self.starts);
        let disk = self
            .disks
            .entry(node)
            .or_insert_with(|| SimDisk::new(seed.child("disk")));
        let process = self.sim.node(seed);
        let store = MemStore::open(disk, Path::new("/data"), process.env(), self.mem).unwrap();
        let options = BindOptions {
            listen: address(node),
            hello: Hello {
                cluster_id: "test".into(),
                node: NodeId(node),
                version: 1,
            },
            max_message_bytes: 4 << 20,
            max_queued_bytes: 8 << 20,
            keepalive: Duration::from_secs(2),
        };
        let factory = self.net.factory(&process);
        let Bound {
            transport, inbound, ..
        } = self.sim.block_on(factory.bind(options)).unwrap().unwrap();
        let mut options = RaftOptions::new(NodeId(node));
        options.max_entry_bytes = 1 << 19;
        (self.tune)(&mut options);
        let engine = RaftRsEngine::new(options, process.env(), Arc::clone(&transport), inbound).unwrap();
        let running = Running {
            process,
            store,
            engine: Arc::new(engine),
            transport,
            groups: BTreeMap::new(),
        };
        self.nodes.insert(node, running);
        let known: Vec<Peer> = self.disks.keys().map(|node| peer(*node)).collect();
        for running in self.nodes.values() {
            running.transport.set_peers(known.clone());
        }
    }

    pub(crate) fn open(&mut self, node: u64, group: GroupId, founding: Membership) {
        self.open_as(node, group, founding, member(node));
    }

    pub(crate) fn open_as(&mut self, node: u64, group: GroupId, founding: Membership, replica: Member) {
        let running = self.nodes.get_mut(&node).unwrap();
        let policy = SegmentPolicy {
            segment_bytes: 1 << 16,
        };
        let log = running.store.open_group(group, policy).unwrap();
        let reader = Arc::clone(&log.reader);
        let spec = GroupSpec {
            group,
            replica,
            founding,
            log,
            stamper: Arc::new(FrontStamp),
        };
        let opened = self.sim.block_on(running.engine.open_group(spec)).unwrap();
        let group_handle = opened.unwrap();
        let open = Open {
            group: group_handle,
            reader,
        };
        running.groups.insert(group, open);
    }

    /// Ends the process without a word.
    pub(crate) fn kill(&mut self, node: u64, how: End) {
        let running = self.nodes.remove(&node).unwrap();
        running.process.kill();
        self.net.end(NodeId(node), how);
    }

    /// Ends the process and cuts the power of its disk.
    pub(crate) fn crash(&mut self, node: u64, chooser: &mut dyn Chooser) {
        self.kill(node, End::Power);
        let disk = &self.disks[&node];
        let after = disk.crash(chooser, Unit::Sector);
        self.disks.insert(node, after);
    }

    /// Starts the node again, with its group.
    pub(crate) fn restart(&mut self, node: u64) {
        self.start(node);
        // Only a log that lost everything looks at it again.
        let founding = self.founding.get(&node).cloned().unwrap_or_default();
        self.open(node, GROUP, founding);
    }

    pub(crate) fn open_group(&self, node: u64) -> &Open {
        &self.nodes[&node].groups[&GROUP]
    }

    pub(crate) fn group(&self, node: u64) -> &Arc<dyn ConsensusGroup> {
        &self.open_group(node).group
    }

    pub(crate) fn reader(&self, node: u64) -> &Arc<dyn LogReader> {
        &self.open_group(node).reader
    }

    pub(crate) fn progress(&self, node: u64) -> Progress {
        self.group(node).watch().get()
    }

    /// Steps until `done`, for at most `limit` of simulated time.
    pub(crate) fn until_within(&self, limit: Duration, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = self.sim.clock().elapsed() + limit;
        let reached = self
            .sim
            .drive(|| {
                if done(self) {
                    Some(true)
                } else {
                    (self.sim.clock().elapsed() > end).then_some(false)
                }
            })
            .unwrap_or(false);
        assert!(
            reached,
            "seed {}: {what} does not come: {}",
            self.seed.0,
            self.dump()
        );
    }

    pub(crate) fn until(&self, what: &str, done: impl FnMut(&Self) -> bool) {
        self.until_within(Duration::from_secs(30), what, done);
    }

    pub(crate) fn wait<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        match self.sim.block_on(future) {
            Ok(answer) => answer,
            Err(error) => panic!("{what}: {error}: {}", self.dump()),
        }
    }

    pub(crate) fn dump(&self) -> String {
        let mut out = String::new();
        for (id, node) in &self.nodes {
            for (group, open) in node.groups.iter().take(3) {
                let progress = open.group.watch().get();
                let state = open.reader.state();
                out += &format!(
                    "\nnode {id} group {group}: {progress:?} last {} durable {} purged {}",
                    state.last, state.durable, state.purged
                );
            }
            out += &format!("\nnode {id}: {:?}", node.engine.counters().snapshot());
        }
        out
    }

    /// The node that leads the newest term, if any does.
    pub(crate) fn leader(&self) -> Option<u64> {
        let leading = self.nodes.iter().filter_map(|(id, node)| {
            let progress = node.groups.get(&GROUP)?.group.watch().get();
            (progress.role == Role::Leader).then_some((progress.term, *id))
        });
        leading.max().map(|(_, id)| id)
    }

    /// Waits for a leader that has committed an entry of its own term.
    pub(crate) fn elect(&self) -> u64 {
        self.until("a leader", |cluster| {
            cluster.leader().is_some_and(|leader| {
                let progress = cluster.progress(leader);
                progress
                    .own_term_start
                    .is_some_and(|start| progress.commit >= start)
            })
        });
        self.leader().unwrap()
    }

    pub(crate) fn propose(&self, node: u64, count: u32, mark: u8) -> ProposalHandle {
        self.group(node).propose(records(count, mark)).unwrap()
    }

    /// Proposes and waits for the commit.
    pub(crate) fn commit(&self, node: u64, count: u32, mark: u8) -> LogId {
        let handle = self.propose(node, count, mark);
        match self.wait("an outcome", handle.outcome()) {
            Outcome::Committed(appended) => appended.id,
            other => panic!("{other:?}: {}", self.dump()),
        }
    }

    pub(crate) fn entries(&self, node: u64, from: u64, to: u64) -> Vec<Entry> {
        let (mut out, mut from) = (Vec::new(), LogIndex(from));
        while from <= LogIndex(to) {
            let read = self.reader(node).entries(from..LogIndex(to + 1), 1 << 16);
            let run = read.and_then(|read| self.sim.block_on(read.get()).unwrap());
            let run = match run {
                Ok(run) => run,
                // The log was purged, or replaced, while it was read.
                Err(LogError::Compacted { first }) => {
                    from = first;
                    continue;
                }
                Err(LogError::Truncated) => break,
                Err(error) => panic!("{error}"),
            };
            let Some(last) = run.last() else { break };
            from = last.id.index.next();
            out.extend(run);
        }
        out
    }

    /// All nodes have the same log up to the same commit index.
    pub(crate) fn converged(&self) -> bool {
        let mut ends = self.nodes.keys().map(|node| {
            let progress = self.progress(*node);
            (self.reader(*node).state().last, progress.commit, progress.leader)
        });
        let first = ends.next();
        first.is_some_and(|(last, commit, leader)| {
            leader.is_some() && last.index == commit && ends.all(|end| end == (last, commit, leader))
        })
    }

    pub(crate) fn agree(&self) {
        self.until("agreement", Self::converged);
        let mut logs = self.nodes.keys().map(|node| {
            let state = self.reader(*node).state();
            self.entries(*node, state.index_start().0, state.last.index.0)
        });
        let first = logs.next().unwrap();
        let start = |log: &[Entry]| log.first().map_or(LogIndex(u64::MAX), |entry| entry.id.index);
        for other in logs {
            let from = start(&first).max(start(&other));
            let tail = |log: &[Entry]| -> Vec<Entry> {
                log.iter()
                    .filter(|entry| entry.id.index >= from)
                    .cloned()
                    .collect()
            };
            assert_eq!(tail(&first), tail(&other));
        }
    }

    pub(crate) fn others(&self, than: u64) -> Vec<u64> {
        self.nodes.keys().copied().filter(|node| *node != than).collect()
    }

    /// Cuts a node off from all others.
    pub(crate) fn isolate(&self, node: u64) {
        let all: Vec<NodeId> = self.disks.keys().map(|node| NodeId(*node)).collect();
        self.net.isolate(&[NodeId(node)], &all);
    }

    pub(crate) fn total(&self, name: &str) -> u64 {
        let all = self
            .nodes
            .values()
            .flat_map(|node| node.engine.counters().snapshot());
        all.filter(|(counter, _)| *counter == name)
            .map(|(_, value)| value)
            .sum()
    }
}

fn peer(node: u64) -> Peer {
    Peer {
        node: NodeId(node),
        address: address(node).to_string(),
    }
}
