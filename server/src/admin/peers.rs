//! How this node asks the others what they alone know.

use super::report::{NodeReport, ReplicaReport};
use chronik_core::{BoxFuture, NodeId};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The node.
    pub node: NodeReport,
    /// Its replicas.
    pub replicas: Vec<ReplicaReport>,
}

/// The connection with another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The other node.
    pub node: NodeId,
    /// Whether messages reach it now.
    pub connected: bool,
    /// Counts sessions.
    pub sessions: u64,
}

/// The other nodes of the cluster, as far as this one talks to them.
pub trait PeerStatus: Send + Sync + Debug {
    /// The connections with other nodes.
    fn sessions(&self) -> Vec<Session>;

    /// Asks a node what it knows of itself. Ends within a deadline of the implementation's own. Cancel safe.
    ///
    /// # Errors
    /// Why there is no answer.
    fn ask(&self, node: NodeId) -> BoxFuture<'static, Result<Answer, String>>;
}

/// The peers of a node that is a cluster of its own: there are none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPeers;

impl PeerStatus for NoPeers {
    fn sessions(&self) -> Vec<Session> {
        Vec::new()
    }

    fn ask(&self, node: NodeId) -> BoxFuture<'static, Result<Answer, String>> {
        let why = format!("this node stands alone and has no connection with node {node}");
        Box::pin(std::future::ready(Err(why)))
    }
}
