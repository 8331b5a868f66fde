//! From a bound address to a place in a cluster.

use super::client::PeerClient;
use super::first_contact::{ContactError, FirstContact};
use super::node_file::NodeFile;
use super::record::{ClusterRecord, Engine, NodeRecord};
use super::router::{Routed, split};
use chronik_core::transport::{BindOptions, Bound, Hello, Peer, Transport, TransportFactory};
use chronik_core::{Env, NodeId};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The version of everything that nodes say to each other; one of another version is refused at hello.
pub const PROTOCOL_VERSION: u32 = 1;

/// Why a node did not get to its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DoorError {
    /// The address cannot be listened on; the text names the setting.
    Bind(String),
    /// There is no way into a cluster.
    Contact(ContactError),
}

/// What a node needs to get to its peers.
#[derive(Clone, Debug)]
pub struct Door {
    /// Makes the transport.
    pub factory: Arc<dyn TransportFactory>,
    /// This node.
    pub node: NodeId,
    /// Where it listens for others.
    pub listen: SocketAddr,
    /// The largest message.
    pub max_message_bytes: u64,
    /// What may wait for one peer and lane.
    pub max_queued_bytes: u64,
    /// How long a silent peer counts as connected.
    pub keepalive: Duration,
    /// The listed peers, this node not among them.
    pub peers: Vec<Peer>,
    /// Whether this node may found a cluster.
    pub may_found: bool,
    /// The id that the cluster must have, where one is configured.
    pub cluster_id: Option<String>,
    /// How many voters the metadata group shall have.
    pub voters: usize,
    /// What decides in the groups.
    pub engine: Engine,
    /// Time, randomness, tasks.
    pub env: Env,
}

/// A node in its cluster, with nothing read from its streams yet.
#[derive(Debug)]
pub struct Entered {
    /// The way to the peers.
    pub transport: Arc<dyn Transport>,
    /// What arrives.
    pub routed: Routed,
    /// Where it listens.
    pub local: SocketAddr,
    /// The cluster.
    pub cluster: ClusterRecord,
}

impl Door {
    /// Listens, as a member of the cluster that the directory belongs to, or as a node without one.
    ///
    /// # Errors
    /// [`DoorError::Bind`].
    pub async fn bind(&self, known: Option<&NodeRecord>) -> Result<Bound, DoorError> {
        let cluster = known.and_then(|record| record.cluster.as_ref());
        let id = cluster.map_or("", |cluster| &cluster.cluster_id);
        self.bind_as(id, self.listen).await
    }

    async fn bind_as(&self, cluster_id: &str, listen: SocketAddr) -> Result<Bound, DoorError> {
        let options = BindOptions {
            listen,
            hello: Hello {
                cluster_id: cluster_id.into(),
                node: self.node,
                version: PROTOCOL_VERSION,
            },
            max_message_bytes: self.max_message_bytes,
            max_queued_bytes: self.max_queued_bytes,
            keepalive: self.keepalive,
        };
        let bound = self.factory.bind(options).await.map_err(|error| {
            DoorError::Bind(format!(
                "cannot listen on {listen} for other nodes (cluster.listen, --raft-addr): {error}"
            ))
        })?;
        bound.transport.set_peers(self.peers.clone());
        Ok(bound)
    }

    /// Waits until the directory belongs to a cluster, and returns as its member. `bound` is what [`bind`](Self::bind)
    /// gave for the same directory.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn enter(&self, bound: Bound, file: &Arc<NodeFile>) -> Result<Entered, DoorError> {
        let known = file.record().await.cluster;
        let (bound, cluster) = match known {
            Some(cluster) => (bound, cluster),
            None => self.first_contact(bound, file).await?,
        };
        let Bound {
            transport,
            inbound,
            local,
        } = bound;
        Ok(Entered {
            transport,
            routed: split(inbound, &self.env),
            local,
            cluster,
        })
    }

    /// Sessions of a node without a cluster admit anybody; they end before the node is a member.
    async fn first_contact(
        &self,
        bound: Bound,
        file: &Arc<NodeFile>,
    ) -> Result<(Bound, ClusterRecord), DoorError> {
        let Bound {
            transport,
            inbound,
            local,
        } = bound;
        let contact = FirstContact {
            file: Arc::clone(file),
            client: PeerClient::new(Arc::clone(&transport)),
            peers: self.peers.iter().map(|peer| peer.node).collect(),
            may_found: self.may_found,
            cluster_id: self.cluster_id.clone(),
            voters: self.voters,
            engine: self.engine,
            env: self.env.clone(),
        };
        let Routed { node, .. } = split(inbound, &self.env);
        let found = contact.run(node).await;
        transport.close().await;
        let cluster = found.map_err(DoorError::Contact)?;
        let bound = self.bind_as(&cluster.cluster_id, local).await?;
        Ok((bound, cluster))
    }
}

impl fmt::Display for DoorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(what) => f.write_str(what),
            Self::Contact(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DoorError {}
