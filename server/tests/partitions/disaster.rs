//! A cluster is lost, and a new one is built from the bucket alone, while the old one may still run.

use crate::access::Access;
use crate::bucket::SimBucket;
use crate::metadata::Metadata;
use crate::node::{Node, World};
use crate::plan::BucketFaults;
use crate::run::Cluster;
use crate::{producer, reader};
use chronik_conformance::world::disk::DropAll;
use chronik_conformance::world::net::{End, NetOptions, SimNet};
use chronik_core::consensus::Member;
use chronik_core::{Env, FileSystem, LogStore, NodeId, Offset, ReplicaId, Term};
use chronik_server::cluster::state::State;
use chronik_server::group::backup::METADATA_BACKUP;
use chronik_server::restore::{Place, RecoveredPartition, RestoreError, Source, seed};
use chronik_storage_mmap::MmapStore;
use chronik_storage_object::bucket::Retrying;
use chronik_storage_object::cold::{ColdOptions, DiskCache};
use chronik_storage_object::manifest::Fence;
use chronik_storage_object::{BackupWriter, Bucket, Claim, ColdReader, TierError, TierMetrics};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The id of the cluster that a run begins with, and of the one that is built from the bucket.
pub(crate) const OLD: &str = "simulated";
const NEW: &str = "restored";
/// The producers of the new cluster begin with this epoch.
pub(crate) const NEW_EPOCH: i16 = 500;
/// Restores that fail because the bucket does; the faults end then.
const ATTEMPTS: u32 = 4;
/// How long it takes at most until a restored cluster is started, in milliseconds.
const LINGER_MS: u64 = 2_000;

/// Copies the metadata into the bucket, as the leader of the metadata group does, and claims it.
pub(crate) fn back_up(world: &World) -> Result<(), String> {
    let (bucket, env): (Arc<dyn Bucket>, Env) = (Arc::new(world.bucket.clone()), world.sim.env());
    let data = world.metadata.to_bytes().into();
    let written = async move {
        let claim = Claim::acquire(&*bucket, &env, OLD).await?;
        let fence = Fence::new(claim.generation, Term(1), claim.cluster());
        let mut writer = BackupWriter::new(bucket, env, METADATA_BACKUP.to_owned(), fence);
        writer.write(1, &data).await
    };
    let written: Result<(), TierError> = world.sim.block_on(written).map_err(|stuck| stuck.to_string())?;
    written.map_err(|error| error.to_string())
}

/// What a restore made.
struct Built {
    metadata: State,
    offsets: Range<Offset>,
    /// The disk of its first node.
    node: Node,
}

/// What the command `restore` does.
async fn build(
    (bucket, env): (Arc<dyn Bucket>, Env),
    store: Arc<dyn LogStore>,
    (may_skip, nodes): (bool, u64),
) -> Result<(State, Range<Offset>), RestoreError> {
    let claim = Claim::take_over(&*bucket, &env, NEW).await?;
    let mut source = Source::read(&*bucket, env.clock.wall_ms()).await?;
    source.check_damage(may_skip)?;
    source.fence(&bucket, &env, &claim).await?;
    let metrics = Arc::new(TierMetrics::default());
    let cache = Arc::new(DiskCache::none());
    let cold = ColdReader::new(bucket, env, ColdOptions::default(), cache, metrics);
    let nodes: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
    let place = Place {
        cluster_id: NEW,
        member: Member {
            replica: ReplicaId(1),
            node: NodeId(1),
        },
        nodes: &nodes,
    };
    let state = seed(&*store, &source, &cold, &place).await?;
    let offsets = source.partitions.first().map(RecoveredPartition::offsets);
    Ok((state, offsets.unwrap_or(Offset(0)..Offset(0))))
}

impl Cluster {
    /// Builds a new cluster from the bucket, which must have everything that a manifest named; `lives` says that the old one
    /// goes on.
    pub(crate) fn restored(&mut self, lives: bool) -> Result<Self, String> {
        self.world.bucket.forget_ambush();
        self.world.access.stop_reading();
        if !lives {
            for node in 1..=self.world.plan.nodes {
                self.crash(node, End::Power, &mut DropAll);
            }
        }
        let world = &self.world;
        let published = world.bucket.manifest()?.map(|manifest| manifest.state.offsets());
        let Built {
            metadata,
            offsets,
            node,
        } = self.restore(published.is_none())?;
        if lives {
            self.linger();
        }
        let world = &self.world;
        if published
            .as_ref()
            .is_some_and(|published| offsets.end < published.end)
        {
            let what = format!("{offsets:?} are restored, and {published:?} were published");
            world.oracle.violate("what-is-published-is-restored", what);
        }
        world.oracle.judge_look_ups();
        world.oracle.marks.hit("clusters restored");
        if offsets.end.0 > 0 {
            world.oracle.marks.hit("clusters restored with records");
        }
        let (oracle, metadata) = (
            world.oracle.restored(offsets.end.0),
            Metadata::of(metadata, world.plan.nodes),
        );
        let seed = world.plan.seed.child("restored");
        let mut nodes: BTreeMap<u64, Node> = (2..=world.plan.nodes)
            .map(|id| (id, Node::new(id, seed)))
            .collect();
        nodes.insert(1, node);
        let mut new = Self {
            nodes,
            world: World {
                plan: world.plan.clone(),
                sim: world.sim.clone(),
                net: SimNet::new(&world.sim, seed.child("net"), NetOptions::default()),
                access: Access::new(world.sim.env(), metadata.clone(), world.plan.nodes),
                bucket: world.bucket.clone(),
                oracle,
                metadata,
                cluster_id: NEW,
            },
        };
        world.bucket.set_faults(BucketFaults::default());
        new.start_all()?;
        new.expect("a leader serves in the restored cluster", |new| {
            new.leader().is_some()
        })?;
        new.check_restored(&offsets)?;
        Ok(new)
    }

    /// The new cluster is started some time after it was made, and the old one takes the bucket for its own until it asks.
    fn linger(&mut self) {
        let mut prng = self.world.plan.seed.child("linger").prng();
        self.until(Duration::from_millis(prng.below(LINGER_MS)), |_| false);
        let status = self.leader().and_then(|(_, leader)| leader.tier_status());
        if status.is_some_and(|status| status.failure.is_some()) {
            let marks = &self.world.oracle.marks;
            marks.hit("publications by a cluster that was replaced");
        }
    }

    /// Restores until it succeeds, each time onto an empty disk. An operator goes on without what is damaged where no manifest
    /// was ever written: what was uploaded before the first one looks as if that were gone.
    fn restore(&self, may_skip: bool) -> Result<Built, String> {
        let world = &self.world;
        let mut why = String::new();
        for attempt in 0..=ATTEMPTS {
            if attempt == ATTEMPTS {
                world.bucket.set_faults(BucketFaults::default());
            }
            let seed = world.plan.seed.child("restore").nth(u64::from(attempt));
            let (process, node) = (world.sim.node(seed), Node::new(1, seed));
            let env = process.env();
            let fs: Arc<dyn FileSystem> = Arc::new(node.disk.clone());
            let store = MmapStore::open(crate::node::store_options(), fs, env.clone());
            let store: Arc<dyn LogStore> = Arc::new(store.map_err(|error| error.to_string())?);
            let bucket = retrying(&world.bucket, &env);
            let built = world.sim.block_on(build(
                (bucket, env),
                Arc::clone(&store),
                (may_skip, world.plan.nodes),
            ));
            let built = built.map_err(|stuck| stuck.to_string())?;
            let closed = store.close();
            drop(store);
            process.kill();
            match built {
                Ok((metadata, offsets)) => {
                    closed.map_err(|error| error.to_string())?;
                    return Ok(Built {
                        metadata,
                        offsets,
                        node,
                    });
                }
                Err(RestoreError::Damaged(damage)) => {
                    return Err(format!("a restore finds damage: {damage}"));
                }
                Err(error) => why = error.to_string(),
            }
            world.oracle.marks.hit("restores that failed");
        }
        Err(format!("a bucket without faults is not restored from: {why}"))
    }

    /// What is there is what was: all records up to the reported offset, and what their producers wrote last. Who wrote
    /// what was deleted is not in the bucket any more.
    fn check_restored(&mut self, offsets: &Range<Offset>) -> Result<(), String> {
        let (access, oracle) = (self.world.access.clone(), self.world.oracle.clone());
        let swept = self.world.sim.block_on(reader::sweep(access, oracle, 1));
        let shown = swept.map_err(|stuck| stuck.to_string())??;
        // Where retention deletes, it may have begun to.
        let starts_there = match self.world.oracle.deleted_below() {
            Some(_) => shown.0 == offsets.start.0,
            None => shown.0 >= offsets.start.0,
        };
        if !starts_there || shown.1 != offsets.end.0 {
            let what = format!("{offsets:?} are restored, and {shown:?} can be read");
            self.world.oracle.violate("what-is-published-is-restored", what);
        }
        // Batches that nobody read, and that retention deleted before the sweep, may be the last ones of their producers.
        let start = self.world.oracle.seen_up_to(offsets.end.0).max(offsets.start.0);
        for number in 0..self.world.plan.idempotent_producers {
            if let Some(id) = producer::producer_id(&self.world.plan, number) {
                let last = self.world.oracle.last_seen_of(id, start, 5);
                self.check_batches(id, last)?;
            }
        }
        Ok(())
    }
}

fn retrying(bucket: &SimBucket, env: &Env) -> Arc<dyn Bucket> {
    let metrics = Arc::new(TierMetrics::default());
    Arc::new(Retrying::new(
        Arc::new(bucket.of(0)),
        env.clone(),
        crate::node::PATIENCE,
        metrics,
    ))
}
