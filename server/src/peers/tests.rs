//! Founding on a simulated network: races, partitions, wiped directories.

use super::door::{Door, Entered};
use super::message::{Answer, Identity, Request};
use super::node_file::{Claim, NodeFile};
use super::record::{ClusterRecord, Engine};
use super::router::Routed;
use chronik_conformance::world::net::{End, NetOptions};
use chronik_conformance::world::{Seed, SimDisk, SimEnv, SimNet, SimNode};
use chronik_core::fs::FileSystem;
use chronik_core::transport::{InboundStream, Peer};
use chronik_core::{NodeId, Watch};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const LISTEN_PORT: u16 = 5000;

fn address(node: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8], LISTEN_PORT))
}

/// A node of the test: its directory outlives its processes.
struct Node {
    disk: SimDisk,
    process: SimNode,
    /// The cluster that it got into, or why not.
    outcome: Watch<Option<Result<ClusterRecord, String>>>,
    lives: u64,
}

struct World {
    sim: SimEnv,
    net: SimNet,
    seed: Seed,
    listed: Vec<u64>,
    nodes: BTreeMap<u64, Node>,
}

impl World {
    fn new(seed: u64, listed: &[u64]) -> Self {
        println!("seed {seed}");
        let seed = Seed(seed);
        let sim = SimEnv::new(seed.child("sim"));
        let net = SimNet::new(&sim, seed.child("net"), NetOptions::default());
        Self {
            sim,
            net,
            seed,
            listed: listed.to_vec(),
            nodes: BTreeMap::new(),
        }
    }

    /// Starts a node with its directory, or with an empty one.
    fn start(&mut self, node: u64, may_found: bool) {
        let listed = self.listed.clone();
        self.start_with(node, may_found, &listed, Engine::default());
    }

    fn start_with(&mut self, node: u64, may_found: bool, listed: &[u64], engine: Engine) {
        let old = self.nodes.remove(&node);
        let lives = old.as_ref().map_or(0, |old| old.lives + 1);
        let seed = self.seed.child("node").nth(node).nth(lives);
        let disk = old.map_or_else(|| empty_disk(seed), |old| old.disk);
        let process = self.sim.node(seed.child("process"));
        let env = process.env();
        let peers = listed.iter().filter(|peer| **peer != node);
        let door = Door {
            factory: Arc::new(self.net.factory(&process)),
            node: NodeId(node),
            listen: address(node),
            max_message_bytes: 1 << 20,
            max_queued_bytes: 1 << 20,
            keepalive: Duration::from_secs(2),
            peers: peers
                .map(|peer| Peer {
                    node: NodeId(*peer),
                    address: address(*peer).to_string(),
                })
                .collect(),
            may_found,
            cluster_id: None,
            voters: 3,
            engine,
            env: env.clone(),
        };
        let outcome = Watch::new(None);
        let task = live(door, disk.clone(), node, outcome.clone());
        env.spawn.spawn("node", Box::pin(task));
        let node_now = Node {
            disk,
            process,
            outcome,
            lives,
        };
        self.nodes.insert(node, node_now);
    }

    fn kill(&mut self, node: u64) {
        let known = &self.nodes[&node];
        known.process.kill();
        self.net.end(NodeId(node), End::Process);
    }

    fn wipe(&mut self, node: u64) {
        self.kill(node);
        let seed = self.seed.child("wiped").nth(node);
        self.nodes.get_mut(&node).expect("it was started").disk = empty_disk(seed);
    }

    fn outcome(&self, node: u64) -> Option<Result<ClusterRecord, String>> {
        self.nodes[&node].outcome.get()
    }

    /// Runs until each of these nodes is in a cluster, and returns it; there must be one only.
    fn cluster_of(&self, nodes: &[u64]) -> ClusterRecord {
        let all = || -> Option<Vec<_>> { nodes.iter().map(|node| self.outcome(*node)).collect() };
        let found = self.sim.drive(all).expect("every node gets an answer");
        let mut found: Vec<ClusterRecord> = found.into_iter().map(|one| one.expect("a cluster")).collect();
        found.dedup();
        assert_eq!(found.len(), 1, "one cluster");
        found.remove(0)
    }

    fn advance(&self, seconds: u64) {
        self.sim.advance(Duration::from_secs(seconds));
    }
}

fn empty_disk(seed: Seed) -> SimDisk {
    let disk = SimDisk::new(seed.child("disk"));
    disk.create_dir_all(Path::new("data")).expect("a directory");
    disk
}

/// A node's life up to its place in a cluster, and then the answers to those who still look for one.
async fn live(door: Door, disk: SimDisk, node: u64, outcome: Watch<Option<Result<ClusterRecord, String>>>) {
    let file = NodeFile::open(
        Arc::new(disk),
        "data".into(),
        door.env.clone(),
        Claim {
            node: NodeId(node),
            cluster_id: None,
            engine: door.engine,
        },
        None,
    );
    let file = file.await.expect("the directory is this node's");
    let record = file.record().await;
    let bound = door.bind(Some(&record)).await.expect("bound");
    let entered = door.enter(bound, &file).await.map_err(|error| error.to_string());
    let (said, entered) = match entered {
        Ok(entered) => (Ok(entered.cluster.clone()), Some(entered)),
        Err(error) => (Err(error), None),
    };
    outcome.update(|slot| {
        *slot = Some(said);
        true
    });
    let Some(Entered {
        transport,
        routed: Routed {
            node: mut inbound, ..
        },
        cluster,
        ..
    }) = entered
    else {
        return;
    };
    answer_as_member(&mut *inbound, &record_of(&file).await, &cluster).await;
    transport.close().await;
}

async fn record_of(file: &NodeFile) -> (u64, u64) {
    let record = file.record().await;
    (record.node, record.incarnation)
}

async fn answer_as_member(inbound: &mut dyn InboundStream, own: &(u64, u64), cluster: &ClusterRecord) {
    while let Some(message) = inbound.next().await {
        let answer = match Request::from_bytes(&message.message) {
            Ok(Request::Probe) => Answer::Identity(Identity {
                node: own.0,
                incarnation: own.1,
                may_found: true,
                nodes: Vec::new(),
                engine: cluster.engine,
                cluster: Some(cluster.clone()),
            }),
            other => Answer::Refused {
                why: format!("{other:?}"),
            },
        };
        message.reply.answer(answer.to_bytes());
    }
}

fn nodes_of(cluster: &ClusterRecord) -> Vec<u64> {
    cluster.founders.iter().map(|founder| founder.node).collect()
}

#[test]
fn three_empty_nodes_of_which_one_may_found_become_one_cluster_with_three_voters() {
    for seed in 0..20 {
        let mut world = World::new(seed, &[1, 2, 3]);
        for node in [1, 2, 3] {
            world.start(node, node == 1);
        }
        let cluster = world.cluster_of(&[1, 2, 3]);
        assert_eq!(nodes_of(&cluster), [1, 2, 3]);
    }
}

#[test]
fn nobody_founds_without_permission_or_without_a_majority() {
    let mut world = World::new(1, &[1, 2, 3]);
    world.start(2, false);
    world.start(3, false);
    world.advance(60);
    assert_eq!((world.outcome(2), world.outcome(3)), (None, None));
    world.kill(3);
    world.start(1, true);
    world.kill(2);
    world.advance(60);
    assert_eq!(world.outcome(1), None);
    world.start(3, false);
    let cluster = world.cluster_of(&[1, 3]);
    assert_eq!(nodes_of(&cluster), [1, 3]);
    world.start(2, true);
    assert_eq!(world.cluster_of(&[1, 2, 3]), cluster, "the late one joins");
}

#[test]
fn two_that_may_found_make_one_cluster_whatever_the_network_does() {
    for seed in 0..60 {
        let mut world = World::new(seed, &[1, 2, 3, 4, 5]);
        let mut draw = Seed(seed).child("plan").prng();
        let all: Vec<NodeId> = (1..=5).map(NodeId).collect();
        for node in 1..=5 {
            world.start(node, node <= 3);
            let inside: Vec<NodeId> = all.iter().copied().filter(|_| draw.chance(50)).collect();
            world.net.heal_all();
            world.net.isolate(&inside, &all);
            world.sim.advance(Duration::from_millis(draw.next_u64() % 3_000));
            if draw.chance(30) {
                world.kill(node);
                world.start(node, node <= 3);
            }
        }
        world.net.heal_all();
        world.cluster_of(&[1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_wiped_node_that_may_found_joins_the_cluster_that_there_is() {
    let mut world = World::new(3, &[1, 2, 3]);
    for node in [1, 2, 3] {
        world.start(node, node == 1);
    }
    let cluster = world.cluster_of(&[1, 2, 3]);
    world.wipe(1);
    world.start(1, true);
    assert_eq!(world.cluster_of(&[1, 2, 3]), cluster);
    // With nobody to ask it waits, permission or not.
    world.kill(2);
    world.kill(3);
    world.wipe(1);
    world.start(1, true);
    world.advance(60);
    assert_eq!(world.outcome(1), None);
    world.start(3, false);
    assert_eq!(world.cluster_of(&[1, 3]), cluster);
}

#[test]
fn those_that_list_other_nodes_do_not_found_together() {
    let mut world = World::new(4, &[1, 2]);
    world.start(1, true);
    world.start_with(2, false, &[1, 2, 3], Engine::default());
    world.advance(60);
    assert_eq!((world.outcome(1), world.outcome(2)), (None, None));
}

#[test]
fn nodes_of_two_engines_found_nothing_together_and_do_not_join_each_other() {
    let mut world = World::new(6, &[1, 2, 3]);
    world.start(1, true);
    world.start_with(2, false, &[1, 2, 3], Engine::AsyncRaft);
    world.advance(60);
    assert_eq!((world.outcome(1), world.outcome(2)), (None, None));
    world.start(3, false);
    let cluster = world.cluster_of(&[1, 3]);
    assert_eq!(nodes_of(&cluster), [1, 3], "the other one is no founder");
    let refused = |node: u64| world.outcome(node).and_then(Result::err);
    let why = world.sim.drive(|| refused(2)).expect("it is told");
    assert!(why.contains("consensus.backend"), "{why}");
}

#[test]
fn a_cluster_of_an_engine_that_cannot_grow_from_two_waits_for_its_third_founder() {
    let mut world = World::new(7, &[1, 2, 3]);
    let listed = [1, 2, 3];
    world.start_with(1, true, &listed, Engine::AsyncRaft);
    world.start_with(2, false, &listed, Engine::AsyncRaft);
    world.advance(60);
    assert_eq!((world.outcome(1), world.outcome(2)), (None, None));
    world.start_with(3, false, &listed, Engine::AsyncRaft);
    assert_eq!(nodes_of(&world.cluster_of(&listed)), listed);
}

#[test]
fn a_lone_node_founds_its_own() {
    let mut world = World::new(5, &[1]);
    world.start(1, true);
    assert_eq!(nodes_of(&world.cluster_of(&[1])), [1]);
    let cluster = world.cluster_of(&[1]);
    world.kill(1);
    world.start(1, false);
    assert_eq!(world.cluster_of(&[1]), cluster);
}
