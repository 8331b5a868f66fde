//! One node of a cluster: a disk that outlives processes, and the process that runs now.

use super::machine::{Machine, MachineState};
use super::oracle::{At, Oracle};
use super::payload::FrameStamper;
use super::watched::watched;
use super::{Backend, Seat};
use crate::check::Failure;
use crate::world::disk::{Chooser, Unit};
use crate::world::net::{End, SimNet};
use crate::world::{Seed, SimDisk, SimEnv, SimNode, locked};
use chronik_core::consensus::{
    Consensus, ConsensusError, ConsensusGroup, GroupSpec, Member, Membership, Progress,
};
use chronik_core::log_store::{HardState, SegmentPolicy, StoreHealth};
use chronik_core::transport::{BindOptions, Hello, Peer, Transport, TransportFactory};
use chronik_core::{FileSystem, GroupId, LogId, LogIndex, LogReader, LogStore, NodeId, Term, Watch};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DIR: &str = "/data/log";
const POLICY: SegmentPolicy = SegmentPolicy { segment_bytes: 8192 };
const KEEPALIVE: Duration = Duration::from_millis(800);

/// The replica of a group on a node.
pub(super) fn member(group: GroupId, node: u64) -> Member {
    Member {
        replica: At { group, node }.replica(),
        node: NodeId(node),
    }
}

fn address(node: u64) -> SocketAddr {
    let host = u8::try_from(node).unwrap_or(u8::MAX);
    SocketAddr::from(([10, 0, 0, host], 9000))
}

/// A group that was opened, or why it was not.
pub(super) type Opened = Result<(Arc<dyn ConsensusGroup>, Watch<Progress>), ConsensusError>;

/// A group in a process.
#[derive(Clone, Debug)]
pub(super) struct Hosted {
    pub(super) at: At,
    pub(super) reader: Arc<dyn LogReader>,
    pub(super) machine: Arc<Mutex<MachineState>>,
    pub(super) opened: Arc<Mutex<Option<Opened>>>,
}

impl Hosted {
    /// The group's handle, once it is open.
    pub(super) fn group(&self) -> Option<Arc<dyn ConsensusGroup>> {
        match &*locked(&self.opened) {
            Some(Ok((group, _))) => Some(Arc::clone(group)),
            _ => None,
        }
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        match &*locked(&self.opened) {
            Some(Ok((_, watch))) => Some(watch.with(|progress| *progress)),
            _ => None,
        }
    }
}

/// A process of a node.
pub(super) struct Process {
    pub(super) sim: SimNode,
    pub(super) store: Arc<dyn LogStore>,
    pub(super) engine: Arc<dyn Consensus>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) groups: BTreeMap<GroupId, Hosted>,
}

/// What a replica had made durable when its process ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Left {
    durable: LogIndex,
    terms: BTreeMap<LogIndex, Term>,
}

pub(super) struct Node {
    pub(super) id: u64,
    pub(super) disk: SimDisk,
    pub(super) process: Option<Process>,
    /// How many processes there were.
    pub(super) starts: u64,
    pub(super) drift_ppm: i64,
    pub(super) left: BTreeMap<GroupId, Left>,
}

/// What a node's start needs from its cluster.
pub(super) struct World<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) seed: Seed,
    pub(super) sim: &'a SimEnv,
    pub(super) net: &'a SimNet,
    pub(super) oracle: &'a Oracle,
    pub(super) nodes: u64,
    pub(super) founding: &'a BTreeMap<GroupId, Membership>,
}

impl Node {
    pub(super) fn new(id: u64, seed: Seed) -> Self {
        let disk = SimDisk::new(seed.child("disk").nth(id));
        let made = disk
            .create_dir_all(Path::new("/data"))
            .and_then(|()| disk.sync_dir(Path::new("/")));
        assert!(made.is_ok(), "an empty disk takes a directory");
        Self {
            id,
            disk,
            process: None,
            starts: 0,
            drift_ppm: 0,
            left: BTreeMap::new(),
        }
    }

    /// Starts a process, which opens its groups by itself.
    pub(super) fn start(&mut self, world: &World<'_>) -> Result<(), Failure> {
        self.starts += 1;
        let seed = world.seed.child("process").nth(self.id * 1000 + self.starts);
        let sim = world.sim.drifting_node(seed, self.drift_ppm);
        let options = BindOptions {
            listen: address(self.id),
            hello: Hello {
                cluster_id: "simulated".into(),
                node: NodeId(self.id),
                version: 1,
            },
            max_message_bytes: 32 << 20,
            max_queued_bytes: 8 << 20,
            keepalive: KEEPALIVE,
        };
        let failed = |what: &str, error: String| Failure(format!("node {}: {what}: {error}", self.id));
        let bound = world.sim.block_on(world.net.factory(&sim).bind(options))?;
        let bound = bound.map_err(|error| failed("bind", error))?;
        let peers = (1..=world.nodes).filter(|peer| *peer != self.id);
        bound.transport.set_peers(
            peers
                .map(|peer| Peer {
                    node: NodeId(peer),
                    address: address(peer).to_string(),
                })
                .collect(),
        );
        let fs = Arc::new(self.disk.clone());
        let store = world
            .backend
            .store(fs, Path::new(DIR), sim.env())
            .map_err(|error| failed("the store does not open", error.to_string()))?;
        let engine = world.backend.engine(Seat {
            node: NodeId(self.id),
            env: sim.env(),
            transport: Arc::clone(&bound.transport),
            inbound: bound.inbound,
        });
        let mut process = Process {
            sim,
            store,
            engine,
            transport: bound.transport,
            groups: BTreeMap::new(),
        };
        for (group, founding) in world.founding {
            let hosted = process
                .host(*group, self.id, founding.clone(), world.oracle)
                .map_err(|error| failed("a group's log does not open", error.to_string()))?;
            process.groups.insert(*group, hosted);
        }
        self.process = Some(process);
        Ok(())
    }

    /// Ends the process; `chooser` says what becomes of what was not synced.
    pub(super) fn crash(&mut self, net: &SimNet, oracle: &Oracle, how: End, chooser: &mut dyn Chooser) {
        let Some(process) = self.process.take() else {
            return;
        };
        for (group, hosted) in &process.groups {
            self.left.insert(*group, hosted.left());
            oracle.on_end(hosted.at);
        }
        self.disk = self.disk.crash(chooser, Unit::Sector);
        process.sim.kill();
        net.end(NodeId(self.id), how);
        let sim = process.sim.clone();
        drop(process);
        // What the subject left behind as it was dropped has no process to run in.
        sim.kill();
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.sim.runs())
    }

    /// Whether the store of the process failed, so that the process must end.
    pub(super) fn is_poisoned(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            let health = process.store.health();
            health.with(|health| matches!(health, StoreHealth::Poisoned(_)))
        })
    }

    pub(super) fn hosted(&self, group: GroupId) -> Option<&Hosted> {
        self.process.as_ref()?.groups.get(&group)
    }

    /// Whether the entry is durable here.
    pub(super) fn has_durable(&self, group: GroupId, id: LogId) -> bool {
        let from_log = self.hosted(group).map(Hosted::left);
        let Some(left) = from_log.as_ref().or_else(|| self.left.get(&group)) else {
            return false;
        };
        let first = left
            .terms
            .first_key_value()
            .map_or(LogIndex(0), |(first, _)| *first);
        left.durable >= id.index && (id.index < first || left.terms.get(&id.index) == Some(&id.term))
    }

    /// The hard state that a power cut at this moment leaves.
    pub(super) fn durable_hard_state(&self, backend: &dyn Backend, group: GroupId) -> Option<HardState> {
        let mut chooser = crate::world::disk::DropAll;
        let disk = self.disk.snapshot(&mut chooser, Unit::Sector, Seed(0));
        let sim = SimEnv::new(Seed(0));
        let store = backend.store(Arc::new(disk), Path::new(DIR), sim.env()).ok()?;
        let hard_state = store
            .open_group(group, POLICY)
            .ok()
            .map(|log| log.reader.state().hard_state);
        drop(store);
        sim.end();
        hard_state
    }
}

impl Hosted {
    fn left(&self) -> Left {
        Left {
            durable: self.reader.state().durable,
            terms: super::watched::terms(&*self.reader),
        }
    }
}

impl Process {
    /// Opens a group in a task of the process, and runs its state machine there.
    fn host(
        &self,
        group: GroupId,
        node: u64,
        founding: Membership,
        oracle: &Oracle,
    ) -> Result<Hosted, chronik_core::LogError> {
        let at = At { group, node };
        let opened = Arc::default();
        let log = watched(self.store.open_group(group, POLICY)?, at, oracle, &opened);
        let hosted = Hosted {
            at,
            reader: Arc::clone(&log.reader),
            machine: Arc::default(),
            opened,
        };
        let spec = GroupSpec {
            group,
            replica: member(group, node),
            founding,
            log,
            stamper: Arc::new(FrameStamper),
        };
        let machine = Machine {
            at,
            oracle: oracle.clone(),
            reader: Arc::clone(&hosted.reader),
            state: Arc::clone(&hosted.machine),
        };
        let (engine, opened) = (Arc::clone(&self.engine), Arc::clone(&hosted.opened));
        let task = async move {
            match engine.open_group(spec).await {
                Err(error) => *locked(&opened) = Some(Err(error)),
                Ok(group) => {
                    *locked(&opened) = Some(Ok((Arc::clone(&group), group.watch())));
                    machine.run(group).await;
                }
            }
        };
        self.sim.env().spawn.spawn("cluster-group", Box::pin(task));
        Ok(hosted)
    }
}
