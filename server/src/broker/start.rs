//! How a broker starts and stops: the order of its parts.

use super::hosting::{Directory, Hosting};
use super::partitions::{METADATA_GROUP, PartitionTable};
use super::{Broker, BrokerParts, BrokerService, deleted_topics, upkeep};
use crate::admin::peers::NoPeers;
use crate::admin::{Lifecycle, Node, NodeParts};
use crate::cluster::controller::ApplyStatus;
use crate::cluster::{ControlContext, Controller, LeaderView, OpenError, PartitionsReady, Registration};
use crate::config::{Config, compose};
use crate::group::{GroupCoordinator, GroupLimits, HostedLogs};
use crate::kafka::listener::{Listener, ListenerOptions, Open};
use crate::metrics::Metrics;
use bytes::BytesMut;
use chronik_core::consensus::{GroupSpec, Member, Membership, Stamper};
use chronik_core::log_store::SegmentPolicy;
use chronik_core::{Consensus, Env, LogError, LogStore, NodeId, Offset, ReplicaId, Term, Watch};
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
    /// The metadata group cannot be opened.
    Metadata(OpenError),
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
            Self::Metadata(error) => write!(f, "cannot open the metadata: {error}"),
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

/// Opens all parts in order: the directory, the address, the metadata, the partitions, the groups; then serves. What
/// it is doing shows in `lifecycle`.
///
/// # Errors
/// [`StartError`]; nothing serves then.
pub async fn start(
    config: Arc<Config>,
    env: Env,
    metrics: &Metrics,
    lifecycle: Lifecycle,
) -> Result<Running, StartError> {
    lifecycle.starting("opening the data directory");
    let store = compose::store(&config, &env, &metrics.files).map_err(StartError::Store)?;
    let consensus = compose::consensus(&config).map_err(StartError::Inconsistent)?;
    let listener = listen(&config, &env, metrics).await?;
    let bound = listener
        .local_addr()
        .map_err(|error| StartError::Listen(wanted(&config), error))?;
    let advertised = config.kafka.advertised(bound.port());
    lifecycle.starting("opening the metadata, which waits for a leader of the metadata group");
    let controller = open_metadata(&config, &env, &store, &consensus, &advertised).await?;
    let table = PartitionTable::new(
        Arc::clone(&config),
        Arc::clone(&store),
        Arc::clone(&consensus),
        env.clone(),
    );
    lifecycle.starting("opening the partitions");
    open_partitions(&table, &controller, &env).await?;
    let groups = start_groups(&config, &table, &controller, &env);
    let control = ControlContext::new(
        Arc::clone(&controller),
        Arc::clone(&config),
        env.clone(),
        node_of(&config),
        Arc::clone(&table) as Arc<dyn LeaderView>,
        Arc::new(Arc::clone(&table)) as Arc<dyn PartitionsReady>,
    );
    start_upkeep(&config, &table, &env);
    let connections = listener.open();
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
    let service = Arc::new(BrokerService::new(
        Arc::clone(&broker),
        Arc::clone(&metrics.kafka),
    ));
    env.spawn.spawn("kafka-listener", Box::pin(listener.run(service)));
    lifecycle.serving(Arc::new(Node::new(NodeParts {
        broker: Arc::clone(&broker),
        store: Arc::clone(&store),
        connections: Arc::clone(&connections),
        peers: Arc::new(NoPeers),
        advertised: advertised.clone(),
    })));
    Ok(Running {
        bound,
        advertised,
        store,
        consensus,
        broker,
        connections,
        lifecycle,
        shutdown_timeout,
    })
}

/// The configuration admits no negative id.
fn node_of(config: &Config) -> NodeId {
    NodeId(u64::try_from(config.node.id).unwrap_or_default())
}

fn wanted(config: &Config) -> SocketAddr {
    SocketAddr::new(config.kafka.bind, config.kafka.port)
}

async fn listen(config: &Config, env: &Env, metrics: &Metrics) -> Result<Listener, StartError> {
    let address = wanted(config);
    let options = ListenerOptions {
        max_connections: config.kafka.max_connections,
        max_idle: Duration::from_millis(config.kafka.max_connection_idle_ms),
        max_request_bytes: config.kafka.max_request_bytes,
        inflight_bytes: config.kafka.max_inflight_bytes as u64,
    };
    let bound = Listener::bind(address, options, env.clone(), Arc::clone(&metrics.kafka)).await;
    bound.map_err(|error| StartError::Listen(address, error))
}

/// Metadata commands carry no offsets.
#[derive(Debug)]
struct Unstamped;

impl Stamper for Unstamped {
    fn stamp(&self, _: &mut BytesMut, _: Offset, _: Term) {}
}

async fn open_metadata(
    config: &Config,
    env: &Env,
    store: &Arc<dyn LogStore>,
    consensus: &Arc<dyn Consensus>,
    (host, port): &(String, u16),
) -> Result<Arc<Controller>, StartError> {
    let node = node_of(config);
    let policy = SegmentPolicy {
        segment_bytes: METADATA_SEGMENT_BYTES,
    };
    let log = store
        .open_group(METADATA_GROUP, policy)
        .map_err(StartError::Store)?;
    let reader = Arc::clone(&log.reader);
    // The metadata group issues all other replica ids; its own are the node ids of its founders.
    let replica = Member {
        replica: ReplicaId(node.0),
        node,
    };
    let founding = Membership {
        voters: vec![replica],
        ..Membership::default()
    };
    let spec = GroupSpec {
        group: METADATA_GROUP,
        replica,
        founding,
        log,
        stamper: Arc::new(Unstamped),
    };
    let group = consensus
        .open_group(spec)
        .await
        .map_err(|error| StartError::Metadata(OpenError::Consensus(error)))?;
    let registration = Registration {
        node,
        host: host.clone(),
        port: *port,
        rack: config.cluster.rack.clone(),
        cluster_id: config.node.cluster_id.clone(),
    };
    Controller::open(group, reader, env.clone(), registration)
        .await
        .map_err(StartError::Metadata)
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
