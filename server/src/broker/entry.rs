//! A process on its way into its cluster: its directory, its addresses, its peers.
//!
//! Nothing is written before the addresses are had and the directory is known to be this node's.

use super::start::StartError;
use crate::config::compose::Link;
use crate::config::{Config, compose};
use crate::kafka::listener::{Listener, ListenerOptions};
use crate::metrics::Metrics;
use crate::peers::{
    Claim, ClusterRecord, Door, Engine, Founder, NodeFile, NodeRecord, PeerClient, node_file,
};
use chronik_core::consensus::Membership;
use chronik_core::transport::{Bound, InboundStream};
use chronik_core::{Env, LogStore};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::partitions::METADATA_GROUP;

/// The directory and the addresses of a process.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) store: Arc<dyn LogStore>,
    pub(super) file: Arc<NodeFile>,
    pub(super) listener: Listener,
    /// The address that it got.
    pub(super) bound: SocketAddr,
    way: Option<(Door, Bound)>,
}

/// The way to the other nodes of the cluster.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) door: Door,
    pub(super) client: PeerClient,
    pub(super) local: SocketAddr,
    /// What other nodes ask this one.
    pub(super) inbound: Box<dyn InboundStream>,
}

impl Entry {
    /// Takes the addresses, then the directory.
    pub(super) async fn open(config: &Config, env: &Env, metrics: &Metrics) -> Result<Self, StartError> {
        let files = compose::file_system();
        let dir = &config.node.data_dir;
        let claim = Claim {
            node: config.node_id(),
            cluster_id: config.node.cluster_id.as_deref(),
            engine: compose::engine(config),
        };
        let known = node_file::check(&*files, dir, claim).map_err(StartError::Identity)?;
        let whole = known.as_ref().map_or(Ok(()), |known| known.check_whole(dir));
        whole.map_err(StartError::Identity)?;
        let listener = listen(config, env, metrics).await?;
        let bound = listener
            .local_addr()
            .map_err(|error| StartError::Listen(wanted(config), error))?;
        let way = match compose::door(config, env) {
            None => None,
            Some(door) => {
                let bound = door.bind(known.as_ref()).await.map_err(StartError::Door)?;
                Some((door, bound))
            }
        };
        let store = compose::store(config, env, &metrics.files).map_err(StartError::Store)?;
        // An older version made the directory: the log of its metadata group has the node id as its replica.
        let old = store
            .groups()
            .contains(&METADATA_GROUP)
            .then(|| config.node_id().0);
        let file = NodeFile::open(files, dir.clone(), env.clone(), claim, old);
        let file = file.await.map_err(StartError::Identity)?;
        Ok(Self {
            store,
            file,
            listener,
            bound,
            way,
        })
    }

    /// Waits until the directory belongs to a cluster, where there is a way to others.
    pub(super) async fn enter(
        self,
    ) -> Result<(Listener, Arc<dyn LogStore>, Arc<NodeFile>, Option<(Way, Link)>), StartError> {
        let Self {
            store,
            file,
            listener,
            way,
            ..
        } = self;
        let Some((door, bound)) = way else {
            return Ok((listener, store, file, None));
        };
        let entered = door.enter(bound, &file).await.map_err(StartError::Door)?;
        let way = Way {
            door,
            client: PeerClient::new(Arc::clone(&entered.transport)),
            local: entered.local,
            inbound: entered.routed.node,
        };
        let link = Link {
            transport: entered.transport,
            inbound: entered.routed.consensus,
        };
        Ok((listener, store, file, Some((way, link))))
    }
}

/// The membership that the metadata group begins with on this node: none where others founded the cluster.
pub(super) fn metadata_founding(record: &NodeRecord) -> Membership {
    let own = record.member();
    match &record.cluster {
        Some(cluster) if cluster.was_founded_by(own.node, record.incarnation) => cluster.founding(),
        Some(_) => Membership::default(),
        // A node that is alone is its own cluster, whose id its metadata will have.
        None => Membership {
            voters: vec![own],
            ..Membership::default()
        },
    }
}

/// The cluster that a node founded by being alone.
pub(super) fn own_cluster(record: &NodeRecord, cluster_id: &str) -> ClusterRecord {
    ClusterRecord {
        cluster_id: cluster_id.to_owned(),
        engine: Engine::default(),
        founders: vec![Founder {
            node: record.node,
            incarnation: record.incarnation,
        }],
    }
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
