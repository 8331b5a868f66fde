//! From the configuration to the parts: the one place that names every backend.

use super::{Config, ConsensusBackend, StorageBackend, StoreUrl, TransportBackend};
use crate::metrics::{FileMetrics, MeasuredFs};
use crate::partition::{NodeTier, NodeTierParts};
use crate::peers::{Door, Engine};
use chronik_consensus::async_raft::AsyncRaftOptions;
use chronik_consensus::raft_rs::RaftOptions;
use chronik_consensus::standalone::StandaloneOptions;
use chronik_consensus::{AsyncRaftEngine, RaftRsEngine, StandaloneEngine};
use chronik_core::fs::FileSystem;
use chronik_core::transport::{InboundStream, Peer, Transport, TransportFactory};
use chronik_core::{Consensus, Env, LogError, LogStore};
use chronik_storage_mmap::{DiskThreads, MmapStore, RealFs, StoreOptions};
use chronik_storage_object::bucket::{Credentials, FileBucket, RetryPolicy, Retrying, S3Bucket, S3Options};
use chronik_storage_object::cold::{ColdOptions, DiskCache};
use chronik_storage_object::upload::UploadOptions;
use chronik_storage_object::{
    Bucket, ColdReader, Collector, StoreError, StoreErrorKind, TierMetrics, Uploader,
};
use chronik_transport_capnp::{CapnpFactory, CapnpOptions, Tls, TlsOptions};
use std::fmt::Write;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a message of the engine has around its entries.
const MESSAGE_HEAD_BYTES: u64 = 1 << 20;

/// The environment of the process: the runtime's clocks and tasks, and disk threads.
///
/// # Errors
/// The system gives no threads.
pub fn environment() -> io::Result<Env> {
    Ok(crate::runtime::environment(Arc::new(DiskThreads::start()?)))
}

/// Opens the selected store; what it does with files is counted in `metrics`.
///
/// # Errors
/// What the store says: the directory is in use, damaged, or cannot be written.
pub fn store(config: &Config, env: &Env, metrics: &Arc<FileMetrics>) -> Result<Arc<dyn LogStore>, LogError> {
    match config.storage.backend {
        StorageBackend::Mmap => {
            let mut options = StoreOptions::new(&config.node.data_dir);
            options.journal_file_bytes = config.storage.journal_file_bytes;
            options.journal_files_max = config.storage.max_journal_files;
            options.tail_bytes_max = config.storage.tail_cache_bytes;
            options.payload_bytes_max = config.storage.max_entry_bytes();
            options.pool_bytes_max = config.storage.recycled_bytes;
            options.open_files_max = config.storage.max_open_files;
            options.maps_max = config.storage.max_maps;
            options.free_bytes_min = config.storage.min_free_bytes;
            let clock = Arc::clone(&env.clock);
            let files = MeasuredFs::new(Arc::new(RealFs), clock, Arc::clone(metrics));
            Ok(Arc::new(MmapStore::open(options, Arc::new(files), env.clone())?))
        }
    }
}

/// Removes the logs of the selected store from the node's directory, and nothing else there.
///
/// # Errors
/// The directory is in use, or cannot be written.
pub fn erase_store(config: &Config) -> Result<(), LogError> {
    match config.storage.backend {
        StorageBackend::Mmap => chronik_storage_mmap::erase(&config.node.data_dir, &RealFs),
    }
}

/// The bucket of the object tier, whose requests are repeated and counted; none where there is no tier.
///
/// # Errors
/// Settings that cannot work; the text names the key.
pub fn bucket(
    config: &Config,
    env: &Env,
    metrics: &Arc<TierMetrics>,
) -> Result<Option<Arc<dyn Bucket>>, StoreError> {
    match &config.tier.url {
        Some(url) => bucket_at(url, config, env, metrics).map(Some),
        None => Ok(None),
    }
}

/// The bucket at a place, with the settings of `[tier]`; its requests are repeated and counted.
///
/// # Errors
/// Settings that cannot work; the text names the key.
pub fn bucket_at(
    url: &StoreUrl,
    config: &Config,
    env: &Env,
    metrics: &Arc<TierMetrics>,
) -> Result<Arc<dyn Bucket>, StoreError> {
    let tier = &config.tier;
    let bucket: Arc<dyn Bucket> = match url {
        StoreUrl::File(path) => Arc::new(FileBucket::new(path, env.clone())),
        StoreUrl::S3 { bucket, folder } => {
            let credentials = match &tier.s3_credentials_file {
                Some(file) => Credentials::Profile {
                    file: file.clone(),
                    profile: tier.s3_profile.clone(),
                },
                None => Credentials::Environment,
            };
            Arc::new(S3Bucket::open(&S3Options {
                bucket: bucket.clone(),
                prefix: folder.clone(),
                endpoint: tier.s3_endpoint.as_ref().map(ToString::to_string),
                region: tier.s3_region.clone(),
                path_style: tier.s3_path_style,
                credentials,
                ca_file: tier.s3_ca_file.clone(),
            })?)
        }
    };
    let policy = RetryPolicy::default();
    let retrying = Retrying::new(bucket, env.clone(), policy, Arc::clone(metrics));
    Ok(Arc::new(retrying))
}

/// The object tier of the node, in the name of its cluster; none where there is none.
///
/// # Errors
/// Settings that cannot work; the text names the key.
pub fn tier(config: &Config, env: &Env, cluster_id: &str) -> Result<Option<Arc<NodeTier>>, StoreError> {
    let metrics = Arc::new(TierMetrics::default());
    let Some(bucket) = bucket(config, env, &metrics)? else {
        return Ok(None);
    };
    crate::runtime::keep_freed_memory();
    let tier = &config.tier;
    let upload = UploadOptions {
        single_put_bytes_max: tier.upload_part_bytes,
        part_bytes: tier.upload_part_bytes,
        uploads_max: tier.max_uploads,
        bytes_per_s_max: u64::try_from(tier.upload_bytes_per_second).unwrap_or(u64::MAX),
        ..UploadOptions::default()
    };
    let cold = ColdOptions {
        memory_bytes: tier.memory_cache_bytes,
        requests_max: tier.max_reads,
        ..ColdOptions::default()
    };
    let default_dir = || config.node.data_dir.join("tier-cache");
    let dir = tier.cache_dir.clone().unwrap_or_else(default_dir);
    let cache = DiskCache::open(&dir, tier.cache_bytes).map_err(|error| {
        let what = format!("tier.cache_dir {}: {error}", dir.display());
        StoreError::new(StoreErrorKind::Invalid, what)
    })?;
    let grace_ms = i64::try_from(tier.delete_grace_ms).unwrap_or(i64::MAX);
    let (b, m) = (|| Arc::clone(&bucket), || Arc::clone(&metrics));
    Ok(Some(NodeTier::new(NodeTierParts {
        uploader: Uploader::new(b(), env.clone(), upload, m()),
        cold: ColdReader::new(b(), env.clone(), cold, Arc::new(cache), m()),
        collector: Collector::new(b(), env.clone(), grace_ms, m()),
        env: env.clone(),
        cluster_id: cluster_id.into(),
        metrics: m(),
        scrub_interval: Duration::from_millis(tier.scrub_interval_ms),
        bucket,
    })))
}

/// The file system that the selected store and the node's own file are on.
#[must_use]
pub fn file_system() -> Arc<dyn FileSystem> {
    Arc::new(RealFs)
}

/// The way to other nodes; nothing where the node is alone.
#[must_use]
pub fn door(config: &Config, env: &Env) -> Option<Door> {
    let factory: Arc<dyn TransportFactory> = match config.transport.backend {
        TransportBackend::None => return None,
        TransportBackend::Capnp => {
            let options = CapnpOptions { tls: tls(config) };
            Arc::new(CapnpFactory::new(options, Arc::clone(&env.rng)))
        }
    };
    let peer = |peer: &super::PeerAddress| Peer {
        node: chronik_core::NodeId(peer.node),
        address: peer.endpoint.to_string(),
    };
    Some(Door {
        factory,
        node: config.node_id(),
        listen: config.cluster.listen?,
        max_message_bytes: config.transport.max_message_bytes,
        max_queued_bytes: config.transport.max_queued_bytes,
        keepalive: Duration::from_millis(config.transport.keepalive_ms),
        peers: config.other_peers().map(peer).collect(),
        may_found: config.cluster.bootstrap,
        cluster_id: config.node.cluster_id.clone(),
        voters: config.cluster.metadata_voters,
        engine: engine(config),
        env: env.clone(),
    })
}

fn tls(config: &Config) -> Tls {
    let transport = &config.transport;
    match (&transport.tls_ca, &transport.tls_cert, &transport.tls_key) {
        (Some(ca), Some(cert), Some(key)) => Tls::Mutual(TlsOptions {
            ca: ca.clone(),
            cert: cert.clone(),
            key: key.clone(),
        }),
        // The configuration admits all three or none.
        _ => Tls::Plain,
    }
}

/// What the directory and the other nodes must agree with.
#[must_use]
pub const fn engine(config: &Config) -> Engine {
    match config.consensus.backend {
        ConsensusBackend::Standalone | ConsensusBackend::RaftRs => Engine::RaftRs,
        ConsensusBackend::AsyncRaft => Engine::AsyncRaft,
    }
}

/// What an engine of several nodes talks through.
#[derive(Debug)]
pub struct Link {
    /// Sends.
    pub transport: Arc<dyn Transport>,
    /// The engine's messages.
    pub inbound: Box<dyn InboundStream>,
}

/// The selected consensus engine. `link` leads to the other nodes, where there is a way to them.
///
/// # Errors
/// The settings do not fit; the text names them.
pub fn consensus(config: &Config, env: &Env, link: Option<Link>) -> Result<Arc<dyn Consensus>, String> {
    match (config.consensus.backend, link) {
        (ConsensusBackend::Standalone, _) => {
            let options = StandaloneOptions {
                max_inflight_bytes: inflight_bytes(config),
            };
            Ok(Arc::new(StandaloneEngine::new(options)))
        }
        (backend, None) => Err(format!(
            "consensus.backend = \"{backend}\" needs a way to other nodes: write transport.backend = \"capnp\""
        )),
        (ConsensusBackend::RaftRs, Some(Link { transport, inbound })) => {
            let options = raft_options(config);
            let engine = RaftRsEngine::new(options, env.clone(), transport, inbound);
            let engine = engine.map_err(|error| format!("[consensus]: {error}"))?;
            Ok(Arc::new(engine))
        }
        (ConsensusBackend::AsyncRaft, Some(Link { transport, inbound })) => {
            let options = async_raft_options(config);
            let engine = AsyncRaftEngine::new(options, env.clone(), transport, inbound);
            let engine = engine.map_err(|error| format!("[consensus]: {error}"))?;
            Ok(Arc::new(engine))
        }
    }
}

/// What may wait for consensus: all that connections are read for. A connection whose request does not fit waits
/// unread, so that nothing that was read is refused for want of room.
fn inflight_bytes(config: &Config) -> u64 {
    config.kafka.max_inflight_bytes as u64
}

fn async_raft_options(config: &Config) -> AsyncRaftOptions {
    let mut options = AsyncRaftOptions::new(config.node_id());
    options.heartbeat = Duration::from_millis(config.consensus.heartbeat_interval_ms);
    options.election_min = Duration::from_millis(config.consensus.election_timeout_ms);
    options.election_max = options.election_min * 2;
    options.max_entry_bytes = largest_entry(config);
    options.group_inflight_bytes = inflight_bytes(config);
    // The rest is for what comes from other nodes.
    options.node_inflight_bytes = inflight_bytes(config).saturating_mul(2);
    options
}

/// A message between nodes carries one entry at least, with a header.
fn largest_entry(config: &Config) -> u64 {
    let message = config
        .transport
        .max_message_bytes
        .saturating_sub(MESSAGE_HEAD_BYTES);
    config.storage.max_entry_bytes().min(message)
}

fn raft_options(config: &Config) -> RaftOptions {
    let mut options = RaftOptions::new(config.node_id());
    let tick_ms = config.consensus.tick_ms;
    let ticks = |span_ms: u64| u32::try_from(span_ms.div_ceil(tick_ms)).unwrap_or(u32::MAX);
    options.tick = Duration::from_millis(tick_ms);
    options.group_inflight_bytes = inflight_bytes(config);
    // The rest is for what comes from other nodes.
    options.node_inflight_bytes = inflight_bytes(config).saturating_mul(2);
    options.heartbeat_ticks = ticks(config.consensus.heartbeat_interval_ms);
    options.election_ticks = ticks(config.consensus.election_timeout_ms);
    options.max_entry_bytes = largest_entry(config);
    options
}

/// Reads a data directory of the mmap store: the report as text, and whether nothing is damaged.
///
/// # Errors
/// The directory cannot be read, or a process uses it.
pub fn verify(dir: &Path) -> Result<(String, bool), LogError> {
    let report = chronik_storage_mmap::verify(&RealFs, dir)?;
    let mut text = String::new();
    for damage in &report.damages {
        let _ = writeln!(text, "damaged: {damage}");
    }
    if let Some(torn) = &report.torn {
        let _ = writeln!(text, "torn by a crash, cut when the directory is opened: {torn}");
    }
    let (files, bytes, entries) = (report.files, report.bytes, report.entries);
    let damages = report.damages.len();
    let _ = writeln!(
        text,
        "{files} files, {bytes} bytes, {entries} entries, {damages} damaged ranges"
    );
    Ok((text, damages == 0))
}
