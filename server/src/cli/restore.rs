//! `restore`: a new cluster out of a bucket.

use super::cluster::table::table;
use super::output::{complain, print};
use super::settings::Settings;
use super::{Exit, logging};
use crate::cluster::TopicId;
use crate::config::{Config, StoreUrl, compose};
use crate::metrics::Metrics;
use crate::peers::{
    self, ClusterRecord, Engine, Founder, Founding, NodeFile, NodeRecord, Restoring, node_file,
};
use crate::restore::offsets::Committed;
use crate::restore::{Place, RestoreError, Source, seed};
use chronik_core::{Env, LogStore, NodeId};
use chronik_storage_object::cold::{ColdOptions, DiskCache};
use chronik_storage_object::manifest::aside_key;
use chronik_storage_object::{Bucket, Claim, ColdReader, TierError, TierMetrics, backup_aside_key};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use structopt::StructOpt;

#[derive(Debug, StructOpt)]
pub(super) struct Command {
    /// The bucket: s3://BUCKET/FOLDER or file:///PATH. The other settings of the store are those of [tier].
    #[structopt(long, value_name = "URL")]
    from: StoreUrl,
    /// The nodes of the new cluster, separated by commas; this one (node.id) is among them. Unset, it is alone.
    #[structopt(long, value_name = "IDS", use_delimiter = true)]
    nodes: Vec<u64>,
    /// Only says what would be restored; claims and writes nothing.
    #[structopt(long)]
    dry_run: bool,
    /// Leaves out partitions of which the manifest is damaged or gone, which then begin empty, and committed offsets of which
    /// the copy is damaged. All of it is named, and its objects stay.
    #[structopt(long)]
    skip_damaged: bool,
    #[structopt(flatten)]
    settings: Settings,
}

pub(super) fn run(command: &Command) -> Exit {
    let effective = match command.settings.load(&[]) {
        Ok(effective) => effective,
        Err(problems) => {
            complain(&problems);
            return Exit::Failed;
        }
    };
    logging::start(effective.config.log.level);
    match crate::runtime::block_on(restore(command, &effective.config)) {
        Ok(text) => print(&text),
        Err(error) => {
            complain(&format_args!("not restored: {error}"));
            match error {
                RestoreError::Tier(TierError::Store(_)) => Exit::Unreachable,
                _ => Exit::Failed,
            }
        }
    }
}

async fn restore(command: &Command, config: &Config) -> Result<String, RestoreError> {
    let refused = |what: String| Err(RestoreError::Refused(what));
    let nodes = match command.nodes.as_slice() {
        [] => vec![config.node_id()],
        some => some.iter().copied().map(NodeId).collect(),
    };
    if !nodes.contains(&config.node_id()) {
        return refused(format!(
            "--nodes does not name this node (node.id, --node-id): {}",
            config.node_id()
        ));
    }
    if compose::engine(config) != Engine::RaftRs {
        return refused("only a cluster on raft-rs can be restored: change consensus.backend".to_owned());
    }
    if config.tier.url.as_ref().is_some_and(|url| *url != command.from) {
        return refused(format!(
            "tier.url is not {}: the new cluster reads from where it is restored",
            command.from
        ));
    }
    let env = compose::environment()
        .map_err(|error| RestoreError::Refused(format!("cannot start threads: {error}")))?;
    let metrics = Arc::new(TierMetrics::default());
    let bucket = compose::bucket_at(&command.from, config, &env, &metrics);
    let bucket = bucket.map_err(|error| RestoreError::Tier(error.into()))?;
    let source = Source::read(&*bucket, env.clock.wall_ms()).await?;
    source.check_damage(command.skip_damaged)?;
    if command.dry_run {
        return Ok(summary(&source) + "nothing was changed\n");
    }
    let owner = source.claim;
    let cache = Arc::new(DiskCache::none());
    let options = ColdOptions::default();
    let cold = ColdReader::new(Arc::clone(&bucket), env.clone(), options, cache, metrics);
    let (mut source, cluster_id) = build(command, config, &env, (&bucket, &cold), (&owner, &nodes)).await?;
    source.claim = owner;
    let mut text = summary(&source);
    let _ = writeln!(
        text,
        "{} holds cluster {cluster_id}, which owns the bucket now: the old cluster cannot write there any more",
        config.node.data_dir.display()
    );
    let _ = writeln!(text, "start it with tier.url = \"{}\"", command.from);
    Ok(text)
}

/// An id for the new cluster, which the old one does not have: that of the restore which was interrupted here, if one was.
fn new_id(config: &Config, env: &Env, owner: &Claim, begun: Option<&str>) -> Result<String, RestoreError> {
    let drawn = || begun.map_or_else(|| TopicId::random(&*env.rng).to_string(), str::to_owned);
    let id = config.node.cluster_id.clone().unwrap_or_else(drawn);
    if id == owner.cluster_id && begun != Some(&id) {
        let what = format!(
            "{id} is the cluster that has the bucket: the new one needs an id of its own (node.cluster_id), or the old one \
             could go on writing there"
        );
        return Err(RestoreError::Refused(what));
    }
    Ok(id)
}

/// The empty store of an empty directory, or of one in which a restore was interrupted.
fn empty_store(
    config: &Config,
    env: &Env,
    known: Option<&NodeRecord>,
) -> Result<Arc<dyn LogStore>, RestoreError> {
    let dir = &config.node.data_dir;
    let refused = |why: &str| {
        let what = format!(
            "{} {why}: restore into an empty directory (node.data_dir, --data-dir)",
            dir.display()
        );
        Err(RestoreError::Refused(what))
    };
    match known {
        Some(known) if known.restoring.is_some() => {
            log::info!("event=restore_begun_anew dir={}", dir.display());
            compose::erase_store(config)?;
        }
        Some(known) if known.cluster.is_some() || known.founding != Founding::default() => {
            return refused("is in use");
        }
        _ => {}
    }
    let store = compose::store(config, env, &Metrics::new().files)?;
    if !store.groups().is_empty() {
        return refused("holds logs already");
    }
    Ok(store)
}

/// Claims the bucket, and builds the data directory.
async fn build(
    command: &Command,
    config: &Config,
    env: &Env,
    (bucket, cold): (&Arc<dyn Bucket>, &Arc<ColdReader>),
    (owner, nodes): (&Claim, &[NodeId]),
) -> Result<(Source, String), RestoreError> {
    let broken = |error: peers::IdentityError| RestoreError::Refused(error.to_string());
    let (files, dir) = (compose::file_system(), config.node.data_dir.clone());
    let known = node_file::read(&*files, &dir).map_err(broken)?;
    let begun = known.as_ref().and_then(|known| known.restoring.as_ref());
    let begun = begun.map(|begun| begun.cluster_id.as_str());
    let cluster_id = new_id(config, env, owner, begun)?;
    let store = empty_store(config, env, known.as_ref())?;
    let engine = compose::engine(config);
    let identity = peers::Claim {
        node: config.node_id(),
        cluster_id: None,
        engine,
    };
    let file = NodeFile::open(files, dir, env.clone(), identity, None);
    let file = file.await.map_err(broken)?;
    let restoring = Restoring {
        from: bucket.describe(),
        cluster_id: cluster_id.clone(),
    };
    file.begin_restore(restoring).await.map_err(broken)?;
    let claim = Claim::take_over(&**bucket, env, &cluster_id).await?;
    log::info!(
        "event=restore_claimed cluster={cluster_id} generation={}",
        claim.generation
    );
    let mut source = Source::read(&**bucket, env.clock.wall_ms()).await?;
    source.check_damage(command.skip_damaged)?;
    source.fence(bucket, env, &claim).await?;
    let record: NodeRecord = file.record().await;
    let place = Place {
        cluster_id: &cluster_id,
        member: record.member(),
        nodes,
    };
    seed(&*store, &source, cold, &place).await?;
    let founders = vec![Founder {
        node: record.node,
        incarnation: record.incarnation,
    }];
    let cluster = ClusterRecord {
        cluster_id: cluster_id.clone(),
        engine,
        founders,
    };
    file.join_cluster(cluster).await.map_err(broken)?;
    store.close()?;
    Ok((source, cluster_id))
}

/// What is recovered, and what is not.
fn summary(source: &Source) -> String {
    let mut text = format!(
        "from cluster {} (claim {}); metadata as of {} ms since 1970: {} topics\n",
        source.claim.cluster_id,
        source.claim.generation,
        source.metadata_at_ms,
        source.state.topics().len()
    );
    let row = |partition: &crate::restore::RecoveredPartition| {
        let offsets = partition.offsets();
        vec![
            format!("{}-{}", partition.topic, partition.index),
            format!("{}..{}", offsets.start, offsets.end),
            partition.tier.segments().len().to_string(),
            partition.tier.size_bytes().to_string(),
        ]
    };
    let rows: Vec<_> = source.partitions.iter().map(row).collect();
    text += &table(&["PARTITION", "RECOVERED OFFSETS", "SEGMENTS", "BYTES"], &rows);
    text += "not recovered: records at and after the end of these offsets, which were on local disks alone; members of \
             groups, which join again\n";
    for damaged in &source.damage.partitions {
        let aside = aside_key(damaged.key);
        let _ = writeln!(
            text,
            "left out: {damaged}; the partition begins empty, and its objects stay in the bucket as long as {aside} does"
        );
    }
    for damaged in &source.damage.copies {
        let aside = backup_aside_key(&damaged.name);
        let _ = writeln!(
            text,
            "left out: {damaged}; what its groups had committed is not known, and they begin where their clients say \
             (auto.offset.reset); the copy stays in the bucket as {aside}"
        );
    }
    for unknown in &source.unknown {
        let _ = writeln!(
            text,
            "not recovered: {unknown}, of which the metadata has no topic"
        );
    }
    text + &groups(&source.committed)
}

/// What groups had committed, and where they go on.
fn groups(committed: &[Committed]) -> String {
    let mut text = String::new();
    let mut groups: BTreeMap<&str, (usize, i64, Vec<String>)> = BTreeMap::new();
    for committed in committed {
        let (count, copied_at_ms, moved) = groups.entry(&committed.group).or_default();
        *count += 1;
        *copied_at_ms = committed.copied_at_ms;
        if committed.before != committed.after {
            let (topic, partition) = (&committed.topic, committed.partition);
            moved.push(format!(
                "{topic}-{partition} from {} to {}",
                committed.before, committed.after
            ));
        }
    }
    for (group, (count, copied_at_ms, moved)) in groups {
        let _ = write!(
            text,
            "group {group}: {count} committed offsets as of {copied_at_ms} ms since 1970"
        );
        let _ = match moved.as_slice() {
            [] => writeln!(text),
            moved => writeln!(text, ", moved back to what is there: {}", moved.join(", ")),
        };
    }
    text
}
