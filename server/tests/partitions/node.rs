//! One node: a disk that outlives processes, and the process that runs now, made of what a server is made of.

use crate::access::Access;
use crate::bucket::SimBucket;
use crate::membership;
use crate::metadata::Metadata;
use crate::oracle::{At, Oracle};
use crate::plan::Plan;
use chronik_conformance::world::disk::{Chooser, DropAll, Unit};
use chronik_conformance::world::net::{End, SimNet};
use chronik_conformance::world::{Seed, SimDisk, SimEnv, SimNode};
use chronik_consensus::RaftRsEngine;
use chronik_consensus::raft_rs::RaftOptions;
use chronik_core::log_store::StoreHealth;
use chronik_core::transport::{BindOptions, Hello, Peer, Transport, TransportFactory};
use chronik_core::{BoxFuture, Consensus, Env, FileSystem, LogStore, NodeId, Offset};
use chronik_server::broker::partitions::{PartitionTable, Slot};
use chronik_server::config::{Config, StoreUrl};
use chronik_server::partition::{Ended, NodeTier, NodeTierParts, Partition};
use chronik_storage_mmap::{MmapStore, StoreOptions};
use chronik_storage_object::bucket::{RetryPolicy, Retrying};
use chronik_storage_object::cold::{ColdOptions, DiskCache};
use chronik_storage_object::upload::UploadOptions;
use chronik_storage_object::{Bucket, ColdReader, Collector, TierMetrics, Uploader};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const DIR: &str = "/data/log";
/// How long a removed object stays in the bucket.
const GRACE_MS: i64 = 1500;
/// How often leaders look for objects that nothing refers to.
const SCRUB_INTERVAL: Duration = Duration::from_secs(6);
/// Requests to the bucket give up early, so that a run meets that.
pub(crate) const PATIENCE: RetryPolicy = RetryPolicy {
    attempts_max: 4,
    backoff: Duration::from_millis(20),
    backoff_max: Duration::from_millis(200),
    timeout: Duration::from_millis(600),
    bytes_per_s_min: 1 << 20,
};

/// What every node of a run shares.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) sim: SimEnv,
    pub(crate) net: SimNet,
    pub(crate) access: Access,
    pub(crate) bucket: SimBucket,
    pub(crate) oracle: Oracle,
    pub(crate) metadata: Metadata,
    pub(crate) cluster_id: &'static str,
}

struct Process {
    sim: SimNode,
    store: Arc<dyn LogStore>,
    /// The group is open for as long as both are there.
    _engine: Arc<dyn Consensus>,
    _transport: Arc<dyn Transport>,
    table: Arc<PartitionTable>,
}

pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) disk: SimDisk,
    process: Option<Process>,
    starts: u64,
    /// A sync of this disk was made to fail.
    pub(crate) disk_fails: Arc<AtomicBool>,
}

fn address(node: u64) -> SocketAddr {
    let host = u8::try_from(node).unwrap_or(u8::MAX);
    SocketAddr::from(([10, 0, 0, host], 9000))
}

/// Limits so low that the few entries of a run cross most of them.
pub(crate) fn store_options() -> StoreOptions {
    const KIB: u64 = 1 << 10;
    let mut options = StoreOptions::new(Path::new(DIR));
    options.journal_file_bytes = 1024 * KIB;
    options.journal_files_max = 4;
    options.payload_bytes_max = 256 * KIB;
    options.flush_bytes_max = 24 * KIB;
    options.tail_bytes_max = 8 * KIB;
    options.copy_bytes = 12 * KIB;
    options.sync_bytes = 8 * KIB;
    options.open_files_max = 2;
    options.maps_max = 2;
    options.pool_bytes_max = 64 * KIB;
    options.shrink_step_bytes = 16 * KIB;
    options.free_bytes_min = 64 * KIB;
    options
}

impl World {
    /// The tier of a process.
    fn tier(&self, node: u64, env: &Env) -> Arc<NodeTier> {
        let metrics = Arc::new(TierMetrics::default());
        let (b, m) = (self.bucket.of(node), || Arc::clone(&metrics));
        let bucket: Arc<dyn Bucket> = Arc::new(Retrying::new(Arc::new(b), env.clone(), PATIENCE, m()));
        let b = || Arc::clone(&bucket);
        let upload = UploadOptions {
            single_put_bytes_max: self.plan.part_bytes,
            part_bytes: self.plan.part_bytes,
            read_bytes: 4096,
            leftover_ms: GRACE_MS,
            ..UploadOptions::default()
        };
        let cold = ColdOptions {
            memory_bytes: 16 << 10,
            hedge_after: Duration::from_millis(30),
            ..ColdOptions::default()
        };
        NodeTier::new(NodeTierParts {
            uploader: Uploader::new(b(), env.clone(), upload, m()),
            cold: ColdReader::new(b(), env.clone(), cold, Arc::new(DiskCache::none()), m()),
            collector: Collector::new(b(), env.clone(), GRACE_MS, m()),
            env: env.clone(),
            cluster_id: self.cluster_id.into(),
            metrics: m(),
            scrub_interval: SCRUB_INTERVAL,
            bucket: b(),
        })
    }

    /// What the file of a node says, which gives its partition the settings of the plan.
    fn config(&self, node: u64) -> Arc<Config> {
        let mut config = Config::default();
        config.node.id = node.try_into().expect("a small number");
        if self.plan.is_tiered() {
            config.tier.url = Some(StoreUrl::File("/bucket".into()));
        }
        let (topics, wanted) = (&mut config.topics, &self.plan.config);
        let bytes = |limit: Option<u64>| limit.map_or(-1, |bytes| bytes.try_into().expect("it is small"));
        topics.segment_bytes = wanted.segment_bytes.try_into().expect("at most a GiB");
        topics.segment_ms = wanted.segment_ms;
        topics.min_insync_replicas = wanted.min_insync_replicas.try_into().expect("a few");
        topics.retention_ms = wanted.retention_ms.unwrap_or(-1);
        topics.retention_bytes = bytes(wanted.retention_bytes);
        topics.remote_storage_enable = wanted.remote_storage;
        topics.local_retention_ms = wanted.local_retention_ms.unwrap_or(-1);
        topics.local_retention_bytes = bytes(wanted.local_retention_bytes);
        Arc::new(config)
    }
}

impl Node {
    pub(crate) fn new(id: u64, seed: Seed) -> Self {
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
            disk_fails: Arc::default(),
        }
    }

    /// Starts a process, which opens its partition by itself.
    pub(crate) fn start(&mut self, world: &World) -> Result<(), String> {
        self.starts += 1;
        self.disk_fails = Arc::default();
        let at = At {
            node: self.id,
            start: self.starts,
            opened: 0,
        };
        let seed = world.plan.seed.child("process").nth(self.id * 1000 + self.starts);
        let sim = world.sim.node(seed);
        let options = BindOptions {
            listen: address(self.id),
            hello: Hello {
                cluster_id: world.cluster_id.into(),
                node: NodeId(self.id),
                version: 1,
            },
            max_message_bytes: 32 << 20,
            max_queued_bytes: 8 << 20,
            keepalive: Duration::from_millis(800),
        };
        let bound = world.sim.block_on(world.net.factory(&sim).bind(options));
        let bound = bound.map_err(|stuck| stuck.to_string())?;
        let bound = bound?;
        let peer = |node| Peer {
            node: NodeId(node),
            address: address(node).to_string(),
        };
        let peers = (1..=world.plan.nodes).filter(|node| *node != self.id).map(peer);
        bound.transport.set_peers(peers.collect());
        let fs = Arc::new(self.disk.clone());
        let store = MmapStore::open(store_options(), fs, sim.env());
        let store: Arc<dyn LogStore> = Arc::new(store.map_err(|error| error.to_string())?);
        // So few entries are kept for those that lag that checkpoints are needed.
        let raft = RaftOptions {
            keep_entries: 8,
            ..RaftOptions::new(NodeId(self.id))
        };
        let engine = RaftRsEngine::new(raft, sim.env(), Arc::clone(&bound.transport), bound.inbound);
        let engine: Arc<dyn Consensus> = Arc::new(engine.map_err(|error| error.to_string())?);
        let tier = world.plan.is_tiered().then(|| world.tier(self.id, &sim.env()));
        let table = PartitionTable::new(
            world.config(self.id),
            Arc::clone(&store),
            Arc::clone(&engine),
            tier,
            sim.env(),
        );
        let process = Process {
            sim: sim.clone(),
            store: Arc::clone(&store),
            _engine: engine,
            _transport: bound.transport,
            table: Arc::clone(&table),
        };
        let host = Host {
            at,
            sim: sim.clone(),
            oracle: world.oracle.clone(),
            access: world.access.clone(),
            metadata: world.metadata.clone(),
            bucket: world.bucket.clone(),
            store,
            disk_fails: Arc::clone(&self.disk_fails),
        };
        sim.env().spawn.spawn("host", Box::pin(host.run(table)));
        self.process = Some(process);
        Ok(())
    }

    /// Ends the process; `chooser` says what becomes of what was not synced.
    pub(crate) fn crash(&mut self, world: &World, how: End, chooser: &mut dyn Chooser) {
        let Some(process) = self.process.take() else {
            return;
        };
        world.access.forget(self.id);
        self.disk = self.disk.crash(chooser, Unit::Sector);
        process.sim.kill();
        world.net.end(NodeId(self.id), how);
        let sim = process.sim.clone();
        drop(process);
        // What the subject left behind as it was dropped has no process to run in.
        sim.kill();
        world.oracle.marks.hit("crashes");
    }

    /// Ends the process, and gives the node an empty disk: it comes back as somebody else.
    pub(crate) fn lose_disk(&mut self, world: &World) {
        self.crash(world, End::Power, &mut DropAll);
        let seed = world.plan.seed.child("replaced").nth(self.starts);
        self.disk = Self::new(self.id, seed).disk;
        world.metadata.register(self.id);
        world.oracle.marks.hit("disks lost");
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn sim(&self) -> Option<&SimNode> {
        self.process.as_ref().map(|process| &process.sim)
    }

    /// Why the partition of the process did not open.
    pub(crate) fn open_failure(&self) -> Option<String> {
        let slots = self.process.as_ref()?.table.slots();
        slots.values().find_map(|slot| match slot {
            Slot::Failed(why) => Some(why.to_string()),
            _ => None,
        })
    }

    /// Whether the process has nothing of the partition.
    pub(crate) fn is_empty(&self) -> bool {
        let store = self.process.as_ref().map(|process| &process.store);
        store.is_some_and(|store| store.groups().is_empty())
    }

    /// Whether the store of the process failed, so that the process must end.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| is_poisoned(&*process.store))
    }
}

fn is_poisoned(store: &dyn LogStore) -> bool {
    store
        .health()
        .with(|health| matches!(health, StoreHealth::Poisoned(_)))
}

/// What runs in a process.
struct Host {
    at: At,
    sim: SimNode,
    oracle: Oracle,
    access: Access,
    metadata: Metadata,
    bucket: SimBucket,
    store: Arc<dyn LogStore>,
    disk_fails: Arc<AtomicBool>,
}

impl Host {
    /// Lets the table follow the metadata, and serves the partition whenever the table has it open.
    async fn run(mut self, table: Arc<PartitionTable>) {
        let follow = Arc::clone(&table).follow(self.metadata.watch());
        self.sim.env().spawn.spawn("table", Box::pin(follow));
        let group = self.metadata.group();
        let changes = table.changes();
        let mut version = changes.versioned().1;
        loop {
            match table
                .get(group)
                .filter(|partition| partition.view().ended.is_none())
            {
                Some(partition) => {
                    self.at.opened += 1;
                    self.serve(partition).await;
                }
                None => version = changes.changed(version).await.1,
            }
        }
    }

    /// Serves a partition until it ends.
    async fn serve(&self, partition: Arc<Partition>) {
        let env = self.sim.env();
        self.access
            .publish(self.at, self.sim.clone(), Arc::clone(&partition));
        let rounds = tier_rounds(
            (self.at.node, Arc::clone(&partition), env.clone()),
            self.oracle.clone(),
            self.bucket.clone(),
        );
        env.spawn
            .spawn("upkeep", upkeep(Arc::clone(&partition), env.clone()));
        env.spawn.spawn("tier", rounds);
        let context = (env.clone(), self.oracle.marks.clone());
        let memberships = membership::reconcile(Arc::clone(&partition), self.metadata.clone(), context);
        env.spawn.spawn("memberships", memberships);
        let view = partition.wait_for(|view| view.ended.is_some()).await;
        let excused = is_poisoned(&*self.store) || self.disk_fails.load(Ordering::SeqCst);
        if view.ended == Some(Ended::Failed) {
            if !excused {
                let what = format!(
                    "the partition on node {} ended, and its disk is well",
                    self.at.node
                );
                self.oracle.violate("a-replica-goes-on", what);
            }
            return;
        }
        self.access.withdraw(self.at);
        self.oracle.marks.hit("replicas given up");
    }
}

/// What the broker does every so often with each of its partitions.
fn upkeep(partition: Arc<Partition>, env: Env) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        while partition.view().ended.is_none() {
            let pause = Duration::from_millis(100 + env.rng.next_u64() % 300);
            env.clock.sleep(pause).await;
            // What failed is tried again by the next round; a log that cannot be read shows in fetches.
            let _ = partition.upkeep().await;
        }
    })
}

fn tier_rounds(
    (node, partition, env): (u64, Arc<Partition>, Env),
    oracle: Oracle,
    bucket: SimBucket,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut judged = Offset(0);
        while partition.view().ended.is_none() {
            let pause = Duration::from_millis(50 + env.rng.next_u64() % 200);
            env.clock.sleep(pause).await;
            if partition.tier_round().await.is_err() {
                oracle.marks.hit("tier rounds that failed");
            }
            if partition.tier_status().is_none() {
                return;
            }
            let dropped = partition.log_state().offset_start;
            let log_start = partition.view().log_start;
            if dropped > log_start.max(judged) {
                let offsets = log_start.max(judged).0..dropped.0;
                judged = dropped;
                oracle.on_local_gone(node, offsets);
            }
            if dropped > log_start {
                oracle.marks.hit("rounds with local data dropped");
                let published = bucket.manifest().ok().flatten();
                let published = published.map(|manifest| manifest.head.end.offset);
                // A replica that was brought up by a checkpoint shows its log start only when that is applied.
                let is_tiers = oracle.deleted_below().is_some_and(|below| dropped.0 > below);
                if is_tiers && published.is_none_or(|end| end < dropped) {
                    let what =
                        format!("local data below {dropped} is dropped, the manifest ends at {published:?}");
                    oracle.violate("what-is-dropped-is-published", what);
                }
            }
        }
    })
}
