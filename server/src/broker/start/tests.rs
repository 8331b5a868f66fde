//! Clusters of simulated nodes: the real engine, controller and partitions over stores and a network in memory.

use super::*;
use crate::broker::cluster_view::PeerView;
use crate::broker::entry::Way;
use crate::cluster::controller::NewTopic;
use crate::cluster::state::{Partition as Placed, Topic};
use crate::kafka::record::{BatchBuilder, Codec};
use crate::partition::{Acks, Partition};
use crate::peers::{Claim, Door, Engine, NodeFile, PeerClient};
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::world::net::{End, NetOptions};
use chronik_conformance::world::{Seed, SimDisk, SimEnv, SimNet, SimNode};
use chronik_consensus::RaftRsEngine;
use chronik_consensus::raft_rs::RaftOptions;
use chronik_core::consensus::Role;
use chronik_core::fs::FileSystem;
use chronik_core::transport::{Peer, TransportFactory};
use chronik_core::{GroupId, NodeId};
use std::collections::BTreeMap;
use std::path::Path;

fn address(node: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8], 5001))
}

/// What is open on a node that is in the cluster.
#[derive(Clone)]
struct Up {
    controller: Arc<Controller>,
    table: Arc<PartitionTable>,
    peers: Arc<dyn PeerView>,
}

struct SimBroker {
    disk: SimDisk,
    process: SimNode,
    up: Watch<Option<Result<Arc<UpCell>, String>>>,
    lives: u64,
}

/// A cell, so that the watch's value is cheap to clone.
struct UpCell(Up);

struct World {
    sim: SimEnv,
    net: SimNet,
    seed: Seed,
    nodes: BTreeMap<u64, SimBroker>,
}

impl World {
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let seed = Seed(seed);
        let sim = SimEnv::new(seed.child("sim"));
        let net = SimNet::new(&sim, seed.child("net"), NetOptions::default());
        Self {
            sim,
            net,
            seed,
            nodes: BTreeMap::new(),
        }
    }

    /// Starts a node on its directory, or on an empty one; it lists nodes 1 to 3.
    fn start(&mut self, node: u64) {
        let old = self.nodes.remove(&node);
        let lives = old.as_ref().map_or(0, |old| old.lives + 1);
        let seed = self.seed.child("node").nth(node).nth(lives);
        let disk = old.map_or_else(|| SimDisk::new(seed.child("disk")), |old| old.disk);
        let process = self.sim.node(seed.child("process"));
        let mut config = Config::default();
        config.node.id = i32::try_from(node).expect("a small id");
        config.cluster.listen = Some(address(node));
        config.cluster.bootstrap = node == 1;
        let up = Watch::new(None);
        let (net, env, shown) = (self.net.clone(), process.env(), up.clone());
        let files = disk.clone();
        let (started_on, process_of) = (process.clone(), Arc::new(config));
        let task = async move {
            let factory = Arc::new(net.factory(&started_on));
            let result = run(process_of, factory, files, env).await;
            shown.update(|slot| {
                *slot = Some(result.map(|up| Arc::new(UpCell(up))));
                true
            });
        };
        process.env().spawn.spawn("node", Box::pin(task));
        let broker = SimBroker {
            disk,
            process,
            up,
            lives,
        };
        self.nodes.insert(node, broker);
    }

    fn kill(&mut self, node: u64) {
        let known = self.nodes.get_mut(&node).expect("it was started");
        known.process.kill();
        known.up = Watch::new(None);
        self.net.end(NodeId(node), End::Process);
    }

    fn wipe(&mut self, node: u64) {
        let seed = self.seed.child("wiped").nth(node);
        self.nodes.get_mut(&node).expect("it was started").disk = SimDisk::new(seed);
    }

    /// The parts of a node, once it is in the cluster.
    fn up(&self, node: u64) -> Up {
        let watch = self.nodes[&node].up.clone();
        let found = self
            .sim
            .drive(|| watch.get())
            .expect("the node gets into the cluster");
        found.expect("the node starts").0.clone()
    }

    fn start_all(&mut self, nodes: &[u64]) {
        for node in nodes {
            self.start(*node);
        }
        for node in nodes {
            self.up(*node);
        }
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let end = self.sim.clock().elapsed() + Duration::from_secs(60);
        let looked = self.sim.drive(|| {
            let late = self.sim.clock().elapsed() > end;
            (done() || late).then_some(!late)
        });
        assert_eq!(looked, Ok(true), "not within a minute: {what}");
    }

    fn create(&self, on: u64, name: &str, nodes: &[u64]) -> Arc<Topic> {
        let topic = NewTopic {
            name: name.to_owned(),
            placements: vec![nodes.to_vec()],
            configs: BTreeMap::new(),
            replica_limit: 100,
        };
        let up = self.up(on);
        let created = self.sim.block_on(up.controller.create_topic(topic));
        created.expect("it ends").expect("the topic is created")
    }

    /// The node that leads a group, with its partition; it must be found within a minute.
    fn leader(&self, group: GroupId, among: &[u64]) -> (u64, Arc<Partition>) {
        let look = || {
            among.iter().find_map(|node| {
                let partition = self.up_now(*node)?.table.get(group)?;
                partition.view().serving.then_some((*node, partition))
            })
        };
        self.until("somebody leads", || look().is_some());
        look().expect("it was found just now")
    }

    fn up_now(&self, node: u64) -> Option<Up> {
        let up = self.nodes.get(&node)?.up.get()?;
        up.ok().map(|up| up.0.clone())
    }

    fn produce(&self, group: GroupId, among: &[u64]) -> i64 {
        let (_, partition) = self.leader(group, among);
        let mut batch = BatchBuilder::new(Codec::None);
        batch.push(1000, None, Some(b"value"));
        let batch = batch.build().expect("it fits");
        let placed = partition.produce(batch, Acks::All, false).expect("it is taken");
        let outcome = self.sim.block_on(placed.outcome()).expect("it ends");
        outcome.expect("it is acknowledged").base_offset
    }

    fn is_all_committed(&self, group: GroupId, node: u64) -> bool {
        let partition = self.up_now(node).and_then(|up| up.table.get(group));
        partition.is_some_and(|partition| {
            partition.group().watch().get().commit == partition.log_state().last.index
        })
    }

    /// The high watermark of each of these nodes' replicas.
    fn ends(&self, group: GroupId, nodes: &[u64]) -> Vec<i64> {
        let end = |node: &u64| {
            let partition = self.up_now(*node).and_then(|up| up.table.get(group));
            partition.map_or(-1, |partition| partition.view().high_watermark.0)
        };
        nodes.iter().map(end).collect()
    }
}

/// The door of a node that lists nodes 1 to 3.
fn door(factory: Arc<dyn TransportFactory>, config: &Config, env: &Env) -> Door {
    let node = config.node_id();
    let listed = [1u64, 2, 3].into_iter().filter(|peer| *peer != node.0);
    Door {
        factory,
        node,
        listen: address(node.0),
        max_message_bytes: 8 << 20,
        max_queued_bytes: 8 << 20,
        keepalive: Duration::from_secs(2),
        peers: listed
            .map(|peer| Peer {
                node: NodeId(peer),
                address: address(peer).to_string(),
            })
            .collect(),
        may_found: config.cluster.bootstrap,
        cluster_id: None,
        voters: 3,
        engine: Engine::default(),
        env: env.clone(),
    }
}

/// A node's way into the cluster, as the process goes it, with what a simulation has in place of sockets and files.
async fn run(
    config: Arc<Config>,
    factory: Arc<dyn TransportFactory>,
    disk: SimDisk,
    env: Env,
) -> Result<Up, String> {
    let node = config.node_id();
    let door = door(factory, &config, &env);
    let text = |error: &dyn fmt::Display| error.to_string();
    disk.create_dir_all(Path::new("node"))
        .map_err(|error| text(&error))?;
    let files: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let claim = Claim {
        node,
        cluster_id: None,
        engine: door.engine,
    };
    let file = NodeFile::open(files, "node".into(), env.clone(), claim, None).await;
    let file = file.map_err(|error| text(&error))?;
    let bound = door.bind(Some(&file.record().await)).await;
    let entered = door.enter(bound.map_err(|error| text(&error))?, &file).await;
    let entered = entered.map_err(|error| text(&error))?;
    let store = MemStore::open(&disk, Path::new("data"), env.clone(), MemOptions::default());
    let store: Arc<dyn LogStore> = Arc::new(store.map_err(|error| text(&error))?);
    let transport = Arc::clone(&entered.transport);
    let inbound = entered.routed.consensus;
    let engine = RaftRsEngine::new(RaftOptions::new(node), env.clone(), transport, inbound);
    let consensus: Arc<dyn Consensus> = Arc::new(engine.map_err(|error| text(&error))?);
    let way = Way {
        door,
        client: PeerClient::new(entered.transport),
        local: entered.local,
        inbound: entered.routed.node,
    };
    let record = file.record().await;
    let forward = Arc::new(way.client.clone());
    let controller = open_metadata(&record, &env, (&store, &consensus), forward).await;
    let controller = controller.map_err(|error| text(&error))?;
    let lifecycle = Lifecycle::new();
    let others = Others {
        config: &config,
        record: &record,
        controller: &controller,
        lifecycle: &lifecycle,
        env: &env,
    };
    let peer = Some(address(node.0).to_string());
    let peers = others.meet(Some(way), peer.clone());
    let advertised = (format!("host-{node}"), 9092);
    let entering = enter(&config, &controller, &file, &advertised, peer).await;
    entering.map_err(|error| text(&error))?;
    let table = PartitionTable::new(Arc::clone(&config), store, consensus, None, env.clone());
    let opened = open_partitions(&table, &controller, &env).await;
    opened.map_err(|error| text(&error))?;
    peers.start_leading(&table, &controller, &env);
    Ok(Up {
        controller,
        table,
        peers: peers.view(),
    })
}

fn only(topic: &Topic) -> &Placed {
    topic.partitions.first().expect("it has one partition")
}

#[test]
fn three_nodes_register_and_every_one_of_them_changes_the_metadata() {
    for seed in 0..3 {
        let mut world = World::new(seed);
        world.start_all(&[1, 2, 3]);
        for node in [1, 2, 3] {
            world.create(node, &format!("t{node}"), &[1, 2, 3]);
        }
        world.until("all nodes know all topics and brokers", || {
            [1, 2, 3].iter().all(|node| {
                let image = world.up(*node).controller.image();
                image.state.topics().len() == 3 && image.state.brokers().len() == 3
            })
        });
        let states: Vec<_> = [1, 2, 3]
            .iter()
            .map(|node| world.up(*node).controller.image().state.to_bytes())
            .collect();
        assert!(
            states.iter().all(|state| *state == states[0]),
            "one history, one state"
        );
    }
}

#[test]
fn a_record_is_on_all_replicas_and_survives_its_leader() {
    for seed in 10..13 {
        let mut world = World::new(seed);
        world.start_all(&[1, 2, 3]);
        let topic = world.create(2, "t", &[1, 2, 3]);
        let group = only(&topic).group();
        assert_eq!(world.produce(group, &[1, 2, 3]), 0);
        let (leader, _) = world.leader(group, &[1, 2, 3]);
        world.kill(leader);
        let rest: Vec<u64> = [1, 2, 3].into_iter().filter(|node| *node != leader).collect();
        assert_eq!(world.produce(group, &rest), 1);
        // The metadata goes on too, whoever led it.
        world.create(rest[0], "later", &rest);
        world.start(leader);
        world.up(leader);
        world.until("the restarted node has everything", || {
            world.ends(group, &[1, 2, 3]) == [2, 2, 2]
        });
    }
}

#[test]
fn a_wiped_node_comes_back_as_new_replicas_and_the_old_ones_are_gone() {
    for seed in 20..23 {
        let mut world = World::new(seed);
        world.start_all(&[1, 2, 3]);
        let topic = world.create(1, "t", &[1, 2, 3]);
        let group = only(&topic).group();
        world.produce(group, &[1, 2, 3]);
        let victim = 1 + seed % 3;
        let old = only(&topic).replica_on(NodeId(victim)).expect("it holds one");
        let before = world.up(victim).controller.group_status().replica;
        world.kill(victim);
        world.wipe(victim);
        let rest: Vec<u64> = [1, 2, 3].into_iter().filter(|node| *node != victim).collect();
        world.produce(group, &rest);
        world.start(victim);
        world.up(victim);
        world.until(
            "every replica knows that the new one votes, and has everything",
            || {
                let settled = |node: &u64| {
                    let replica = world.up_now(*node).and_then(|up| up.table.get(group));
                    let members = replica.map(|replica| replica.group().status().membership);
                    members.is_some_and(|members| {
                        members.outgoing_voters.is_empty()
                            && members.learners.is_empty()
                            && members.voters.len() == 3
                            && !members.voters.contains(&old.member())
                    })
                };
                // A membership counts on a replica once that replica knows it to be committed.
                let committed = |node: &u64| world.is_all_committed(group, *node);
                let all = [1, 2, 3].iter().all(|node| settled(node) && committed(node));
                all && world.ends(group, &[1, 2, 3]) == [2, 2, 2]
            },
        );
        let after = world.up(victim).controller.group_status();
        assert_ne!(after.replica, before, "the directory is another replica");
        world.until(
            "the metadata group has the new replica in place of the old",
            || {
                rest.iter().all(|node| {
                    let members = world.up(*node).controller.group_status().membership;
                    members.outgoing_voters.is_empty()
                        && members.voters.len() == 3
                        && members.voters.contains(&after.replica)
                        && !members.voters.contains(&before)
                })
            },
        );
        // The others can fail one at a time again.
        world.kill(rest[0]);
        let left = [victim, rest[1]];
        assert_eq!(world.produce(group, &left), 2);
    }
}

#[test]
fn a_node_that_nobody_lists_learns_and_is_told_who_leads() {
    let mut world = World::new(30);
    world.start_all(&[1, 2, 3]);
    let topic = world.create(1, "t", &[1, 2, 3]);
    let group = only(&topic).group();
    world.start(4);
    let fourth = world.up(4);
    let status = fourth.controller.group_status();
    assert_eq!(status.progress.role, Role::Learner);
    assert_eq!(status.membership.voters.len(), 3);
    assert!(fourth.controller.image().state.brokers().contains_key(&NodeId(4)));
    let (leader, _) = world.leader(group, &[1, 2, 3]);
    world.until("gossip names the leader", || {
        let heard = fourth.peers.leads(group);
        heard.is_some_and(|leads| leads.leader == NodeId(leader) && leads.in_sync.len() == 3)
    });
    assert!((1..=3).all(|node| fourth.peers.is_alive(NodeId(node))));
    world.kill(leader);
    let rest: Vec<u64> = [1, 2, 3].into_iter().filter(|node| *node != leader).collect();
    world.until("gossip names the next one", || {
        let heard = fourth.peers.leads(group);
        heard.is_some_and(|leads| rest.contains(&leads.leader.0)) && !fourth.peers.is_alive(NodeId(leader))
    });
}
