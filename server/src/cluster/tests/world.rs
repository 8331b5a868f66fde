//! A node's control plane in a simulated world, and a stand-in for the partitions.

use crate::cluster::{
    ControlContext, Controller, LeaderView, NoRecords, OpenError, PartitionView, PartitionsReady,
    Registration,
};
use crate::config::Config;
use crate::peers::Nobody;
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::world::disk::{DropAll, Unit};
use chronik_conformance::world::{Seed, SimDisk, SimEnv};
use chronik_consensus::StandaloneEngine;
use chronik_consensus::standalone::StandaloneOptions;
use chronik_core::consensus::{Consensus, ConsensusGroup, GroupSpec, Member, Membership};
use chronik_core::env::Env;
use chronik_core::log_store::SegmentPolicy;
use chronik_core::{BoxFuture, GroupId, LogReader, LogStore, NodeId, ReplicaId, Watch};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The node of all tests.
pub(super) const NODE: NodeId = NodeId(1);
/// How long a partition takes to open.
const OPEN_DELAY: Duration = Duration::from_millis(50);

/// Partitions that open some time after they are first waited for.
#[derive(Debug)]
pub(super) struct Partitions {
    env: Env,
    pub(super) open: Watch<BTreeSet<GroupId>>,
    pub(super) broken: Watch<Option<String>>,
}

impl LeaderView for Partitions {
    fn partition(&self, group: GroupId) -> Option<PartitionView> {
        self.open.get().contains(&group).then(|| PartitionView {
            leader: Some(NODE),
            leader_epoch: 7,
            in_sync: vec![NODE],
        })
    }

    fn is_live(&self, node: NodeId) -> bool {
        node == NODE
    }
}

impl PartitionsReady for Partitions {
    fn ready(&self, groups: Vec<GroupId>) -> BoxFuture<'static, Result<(), String>> {
        let (clock, open, broken) = (Arc::clone(&self.env.clock), self.open.clone(), self.broken.get());
        Box::pin(async move {
            clock.sleep(OPEN_DELAY).await;
            if let Some(why) = broken {
                return Err(why);
            }
            open.update(|open| {
                open.extend(groups);
                true
            });
            Ok(())
        })
    }
}

pub(super) struct World {
    pub(super) sim: SimEnv,
    pub(super) disk: SimDisk,
}

/// One life of the node.
pub(super) struct Node {
    pub(super) context: Arc<ControlContext>,
    pub(super) group: Arc<dyn ConsensusGroup>,
    pub(super) reader: Arc<dyn LogReader>,
    pub(super) partitions: Arc<Partitions>,
    pub(super) store: MemStore,
    engine: StandaloneEngine,
}

pub(super) fn registration() -> Registration {
    Registration {
        node: NODE,
        host: "localhost".into(),
        port: 9092,
        rack: None,
        incarnation: 1,
        peer: None,
        cluster_id: None,
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let seed = Seed(seed);
        Self {
            sim: SimEnv::new(seed.child("env")),
            disk: SimDisk::new(seed.child("disk")),
        }
    }

    /// Runs a future until it answers; time passes where nothing else moves.
    pub(super) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.sim.block_on(future).expect("the future is never answered")
    }

    pub(super) fn start(&self) -> Node {
        self.start_with(registration(), Config::default())
            .expect("the node starts")
    }

    pub(super) fn start_with(&self, registration: Registration, config: Config) -> Result<Node, OpenError> {
        let store = MemStore::open(
            &self.disk,
            Path::new("data"),
            self.sim.env(),
            MemOptions::default(),
        )
        .expect("the store opens");
        let policy = SegmentPolicy {
            segment_bytes: 1 << 20,
        };
        let log = store.open_group(GroupId(0), policy).expect("group 0 opens");
        let reader = Arc::clone(&log.reader);
        let replica = Member {
            replica: ReplicaId(1),
            node: registration.node,
        };
        let engine = StandaloneEngine::new(StandaloneOptions::default());
        let spec = GroupSpec {
            group: GroupId(0),
            replica,
            founding: Membership {
                voters: vec![replica],
                ..Membership::default()
            },
            log,
            stamper: Arc::new(NoRecords),
        };
        let group = self.run(engine.open_group(spec)).expect("the group opens");
        let env = self.sim.env();
        let controller = Controller::start(
            Arc::clone(&group),
            Arc::clone(&reader),
            env.clone(),
            Arc::new(Nobody),
        )?;
        self.run(controller.enter(registration.clone()))?;
        let partitions = Arc::new(Partitions {
            env: env.clone(),
            open: Watch::new(BTreeSet::new()),
            broken: Watch::new(None),
        });
        let context = Arc::new(ControlContext::new(
            controller,
            Arc::new(config),
            env,
            registration.node,
            Arc::clone(&partitions) as Arc<_>,
            Arc::clone(&partitions) as Arc<_>,
        ));
        Ok(Node {
            context,
            group,
            reader,
            partitions,
            store,
            engine,
        })
    }

    /// Cuts the power: nothing that was not synced is left, and nothing of the old life goes on.
    pub(super) fn crash(&mut self, node: Node) {
        self.power_cut();
        drop(node);
    }

    /// As [`World::crash`], after a start that failed.
    pub(super) fn power_cut(&mut self) {
        self.sim.executor().clear();
        self.sim.queue().clear();
        self.disk = self.disk.crash(&mut DropAll, Unit::Page);
    }

    /// Stops the node in order.
    pub(super) fn stop(&self, node: Node) {
        self.run(node.engine.close());
        self.sim.run_until_idle();
        node.store.close().expect("the store closes");
    }
}

impl Node {
    pub(super) fn state(&self) -> crate::cluster::state::State {
        self.context.controller.image().state.clone()
    }
}
