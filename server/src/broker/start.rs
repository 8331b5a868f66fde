//! How a broker starts and stops: the order of its parts.

use super::cluster_view::ClusterView;
use super::entry::{Entry, metadata_founding, own_cluster};
use super::hosting::{Directory, Hosting};
use super::others::{Others, Peers};
use super::partitions::{METADATA_GROUP, PartitionTable};
use super::{Broker, BrokerParts, BrokerService, deleted_topics, full_disk, handover, tier, upkeep};
use crate::admin::{Lifecycle, Node, NodeParts};
use crate::cluster::controller::ApplyStatus;
use crate::cluster::{
    ControlContext, Controller, Forward, LeaderView, NoRecords, OpenError, PartitionsReady, Registration,
};
use crate::config::{Config, compose};
use crate::group::{GroupCoordinator, GroupLimits, HostedLogs};
use crate::kafka::listener::{Listener, Open};
use crate::metrics::Metrics;
use crate::partition::NodeTier;
use crate::peers::{DoorError, IdentityError, Nobody, NodeFile, NodeRecord};
use chronik_core::consensus::GroupSpec;
use chronik_core::log_store::SegmentPolicy;
use chronik_core::{Consensus, Env, LogError, LogStore, Watch};
use chronik_storage_object::StoreError;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The segments of the metadata group's log.
const METADATA_SEGMENT_BYTES: u64 = 8 << 20;

/// Why a broker did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The system gives no threads.
    Threads(std::io::Error),
    /// The data directory cannot be used.
    Store(LogError),
    /// The listener cannot be had.
    Listen(SocketAddr, std::io::Error),
    /// The data directory is not this node's.
    Identity(IdentityError),
    /// There is no way to the other nodes.
    Door(DoorError),
    /// The metadata group cannot be opened.
    Metadata(OpenError),
    /// The object tier cannot be used as it is configured.
    Tier(StoreError),
    /// What is stored does not fit together.
    Inconsistent(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threads(error) => write!(f, "cannot start threads: {error}"),
            Self::Store(error) => write!(f, "cannot open the data directory (node.data_dir): {error}"),
            Self::Listen(address, error) => write!(
                f,
                "cannot listen on {address}: {error}; choose another kafka.bind or kafka.port (--bind, --kafka-port)"
            ),
            Self::Identity(error) => error.fmt(f),
            Self::Door(error) => error.fmt(f),
            Self::Metadata(error) => write!(f, "cannot open the metadata: {error}"),
            Self::Tier(error) => write!(f, "cannot use the object tier: {error}"),
            Self::Inconsistent(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for StartError {}

/// A broker that serves.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub bound: SocketAddr,
    /// What clients are told to connect to.
    pub advertised: (String, u16),
    store: Arc<dyn LogStore>,
    consensus: Arc<dyn Consensus>,
    broker: Arc<Broker>,
    connections: Arc<Open>,
    lifecycle: Lifecycle,
    shutdown_timeout: Duration,
}

/// What stands before clients are served.
struct Core {
    config: Arc<Config>,
    env: Env,
    bound: SocketAddr,
    advertised: (String, u16),
    listener: Listener,
    store: Arc<dyn LogStore>,
    consensus: Arc<dyn Consensus>,
    controller: Arc<Controller>,
    table: Arc<PartitionTable>,
    peers: Peers,
}

/// Opens all parts in order: the addresses, the directory, the way to the other nodes, the metadata, the partitions, the
/// groups; then serves. What it is doing shows in `lifecycle`.
///
/// # Errors
/// [`StartError`]; nothing serves then.
pub async fn start(
    config: Arc<Config>,
    env: Env,
    metrics: &Metrics,
    lifecycle: Lifecycle,
) -> Result<Running, StartError> {
    let core = Core::open(config, env, metrics, &lifecycle).await?;
    Ok(core.serve(metrics, lifecycle))
}

impl Core {
    async fn open(
        config: Arc<Config>,
        env: Env,
        metrics: &Metrics,
        lifecycle: &Lifecycle,
    ) -> Result<Self, StartError> {
        lifecycle.starting("opening the data directory");
        let entry = Entry::open(&config, &env, metrics).await?;
        let (bound, advertised) = (entry.bound, config.kafka.advertised(entry.bound.port()));
        lifecycle.starting("waiting for the other nodes, to find or found the cluster");
        let (listener, store, file, way) = entry.enter().await?;
        let (way, link) = way.unzip();
        let consensus = compose::consensus(&config, &env, link).map_err(StartError::Inconsistent)?;
        lifecycle.starting("opening the metadata, which waits for a leader of the metadata group");
        let record = file.record().await;
        let forward: Arc<dyn Forward> = match &way {
            Some(way) => Arc::new(way.client.clone()),
            None => Arc::new(Nobody),
        };
        let controller = open_metadata(&record, &env, (&store, &consensus), forward).await?;
        let peer = way.as_ref().and_then(|way| config.peer_endpoint(way.local));
        let peer = peer.map(|endpoint| endpoint.to_string());
        let others = Others {
            config: &config,
            record: &record,
            controller: &controller,
            lifecycle,
            env: &env,
        };
        let peers = others.meet(way, peer.clone());
        enter(&config, &controller, &file, &advertised, peer).await?;
        lifecycle.starting("opening the partitions");
        let tier = open_tier(&config, &env, &controller)?;
        let table = PartitionTable::new(
            Arc::clone(&config),
            Arc::clone(&store),
            Arc::clone(&consensus),
            tier,
            env.clone(),
        );
        open_partitions(&table, &controller, &env).await?;
        peers.start_leading(&table, &controller, &env);
        Ok(Self {
            config,
            env,
            bound,
            advertised,
            listener,
            store,
            consensus,
            controller,
            table,
            peers,
        })
    }

    fn serve(self, metrics: &Metrics, lifecycle: Lifecycle) -> Running {
        let Self {
            config, env, table, ..
        } = self;
        let controller = self.controller;
        let groups = start_groups(&config, &table, &controller, &env);
        let relief = full_disk::run(
            self.store.health(),
            Arc::clone(&table),
            Arc::clone(&controller),
            env.clone(),
        );
        env.spawn.spawn("full-disk", Box::pin(relief));
        let view = ClusterView::new(config.node_id(), Arc::clone(&table), self.peers.view());
        let control = ControlContext::new(
            Arc::clone(&controller),
            Arc::clone(&config),
            env.clone(),
            config.node_id(),
            Arc::new(view) as Arc<dyn LeaderView>,
            Arc::new(Arc::clone(&table)) as Arc<dyn PartitionsReady>,
        );
        start_upkeep(&config, &table, &env);
        tier::start(&table, &controller, &env, &config.tier);
        let connections = self.listener.open();
        let shutdown_timeout = Duration::from_millis(config.node.shutdown_timeout_ms);
        let draining = connections.draining();
        let parts = BrokerParts {
            config,
            env: env.clone(),
            control,
            partitions: table,
            groups,
            draining,
        };
        let broker = Arc::new(Broker::new(parts));
        let service = BrokerService::new(Arc::clone(&broker), Arc::clone(&metrics.kafka));
        let listening = self.listener.run(Arc::new(service));
        env.spawn.spawn("kafka-listener", Box::pin(listening));
        lifecycle.serving(Arc::new(Node::new(NodeParts {
            broker: Arc::clone(&broker),
            store: Arc::clone(&self.store),
            connections: Arc::clone(&connections),
            peers: self.peers.status(),
            advertised: self.advertised.clone(),
        })));
        Running {
            bound: self.bound,
            advertised: self.advertised,
            store: self.store,
            consensus: self.consensus,
            broker,
            connections,
            lifecycle,
            shutdown_timeout,
        }
    }
}

async fn open_metadata(
    record: &NodeRecord,
    env: &Env,
    (store, consensus): (&Arc<dyn LogStore>, &Arc<dyn Consensus>),
    forward: Arc<dyn Forward>,
) -> Result<Arc<Controller>, StartError> {
    let policy = SegmentPolicy {
        segment_bytes: METADATA_SEGMENT_BYTES,
    };
    let log = store
        .open_group(METADATA_GROUP, policy)
        .map_err(StartError::Store)?;
    let reader = Arc::clone(&log.reader);
    let spec = GroupSpec {
        group: METADATA_GROUP,
        // The metadata group issues all other replica ids; its own are the incarnations of directories.
        replica: record.member(),
        founding: metadata_founding(record),
        log,
        stamper: Arc::new(NoRecords),
    };
    let group = consensus
        .open_group(spec)
        .await
        .map_err(|error| StartError::Metadata(OpenError::Consensus(error)))?;
    Controller::start(group, reader, env.clone(), forward).map_err(StartError::Metadata)
}

/// Takes the broker into the metadata, and notes a cluster of its own.
async fn enter(
    config: &Config,
    controller: &Controller,
    file: &NodeFile,
    (host, port): &(String, u16),
    peer: Option<String>,
) -> Result<(), StartError> {
    let record = file.record().await;
    let found = record.cluster.as_ref().map(|cluster| cluster.cluster_id.clone());
    let registration = Registration {
        node: config.node_id(),
        host: host.clone(),
        port: *port,
        rack: config.cluster.rack.clone(),
        incarnation: record.incarnation,
        peer,
        cluster_id: found.or_else(|| config.node.cluster_id.clone()),
    };
    controller
        .enter(registration)
        .await
        .map_err(StartError::Metadata)?;
    match controller.image().state.cluster_id() {
        Some(id) if record.cluster.is_none() => {
            let noted = file.join_cluster(own_cluster(&record, id)).await;
            noted.map_err(StartError::Identity)
        }
        _ => Ok(()),
    }
}

/// Opens what the metadata places here and waits for it; a partition that does not open is logged and answers with
/// an error, the others serve.
async fn open_partitions(
    table: &Arc<PartitionTable>,
    controller: &Arc<Controller>,
    env: &Env,
) -> Result<(), StartError> {
    let image = controller.image();
    table.check(&image).map_err(StartError::Inconsistent)?;
    env.spawn.spawn(
        "partition-table",
        Box::pin(Arc::clone(table).follow(controller.watch())),
    );
    for topic in image.state.topics().values() {
        if let Err(error) = table.ready(table.placed_here(topic)).await {
            log::error!("event=topic_not_open topic={} error=\"{error}\"", topic.name);
        }
    }
    Ok(())
}

/// The object tier, in the name of the cluster that the metadata has founded.
fn open_tier(
    config: &Config,
    env: &Env,
    controller: &Controller,
) -> Result<Option<Arc<NodeTier>>, StartError> {
    let image = controller.image();
    let cluster_id = image.state.cluster_id().map_or("", |id| &**id);
    compose::tier(config, env, cluster_id).map_err(StartError::Tier)
}

fn start_upkeep(config: &Config, table: &Arc<PartitionTable>, env: &Env) {
    let interval = Duration::from_millis(config.topics.retention_check_interval_ms);
    let rounds = upkeep::run(Arc::clone(table), env.clone(), interval);
    env.spawn.spawn("upkeep", Box::pin(rounds));
}

fn start_groups(
    config: &Config,
    table: &Arc<PartitionTable>,
    controller: &Arc<Controller>,
    env: &Env,
) -> Arc<GroupCoordinator> {
    let hosted = Watch::new(HostedLogs::default());
    let mut hosting = Hosting {
        images: controller.watch(),
        table: Arc::clone(table),
        hosted: hosted.clone(),
        env: env.clone(),
        given: BTreeMap::new(),
    };
    hosting.refresh();
    env.spawn.spawn("offsets-hosting", Box::pin(hosting.run()));
    let limits = GroupLimits::from(&config.groups);
    let topics = Arc::new(Directory(Arc::clone(controller)));
    let groups = Arc::new(GroupCoordinator::start(env.clone(), limits, topics, hosted));
    let deleted = deleted_topics::run(controller.watch(), Arc::clone(&groups));
    env.spawn.spawn("deleted-topics", Box::pin(deleted));
    groups
}

impl Running {
    /// The store's health, to be watched: a store that is poisoned ends the process.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn LogStore> {
        &self.store
    }

    /// Whether the metadata is followed.
    #[must_use]
    pub fn metadata_status(&self) -> Watch<ApplyStatus> {
        self.broker.controller().status()
    }

    /// Answers what is in flight, within the configured time, and closes everything in the reverse order.
    ///
    /// # Errors
    /// What the store says.
    pub async fn stop(self) -> Result<(), LogError> {
        use futures_lite::FutureExt;
        let env = self.broker.env().clone();
        self.lifecycle.draining();
        let (table, controller) = (self.broker.partitions(), self.broker.controller());
        if self.consensus.capabilities().leadership_transfer {
            handover::run(table, controller, &env, self.shutdown_timeout / 2).await;
        } else {
            log::info!("event=no_handover reason=\"the consensus backend moves leaders by election only\"");
        }
        self.broker.groups().close();
        let late = async {
            env.clock.sleep(self.shutdown_timeout).await;
            let open = self.connections.count();
            log::warn!(
                "event=drain_cut connections={open} after_ms={}",
                self.shutdown_timeout.as_millis()
            );
        };
        self.connections.drain().or(late).await;
        self.broker.partitions().close().await;
        self.consensus.close().await;
        self.store.close()
    }
}

#[cfg(test)]
mod tests;
