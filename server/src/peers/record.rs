//! What `node.json` holds, and what nodes tell each other of it.

use super::node_file::IdentityError;
use chronik_core::consensus::{Member, Membership};
use chronik_core::{NodeId, ReplicaId};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The version of the file.
const FORMAT: u32 = 1;

/// One attempt to found a cluster; attempts are ordered, and a later one takes over what an earlier one got accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ballot {
    /// Counts the attempts.
    pub round: u64,
    /// Who attempts.
    pub node: u64,
}

/// A first voter of the metadata group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Founder {
    /// The node.
    pub node: u64,
    /// The incarnation of its directory, which is its replica id in the metadata group.
    pub incarnation: u64,
}

/// What decides in a cluster's groups. A cluster stays with what it was founded with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// raft-rs; also a node that is alone, which can go over to it.
    #[default]
    RaftRs,
    /// async-raft.
    AsyncRaft,
}

/// A cluster's identity and how its metadata group began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// The id.
    pub cluster_id: String,
    /// What decides in its groups.
    #[serde(default)]
    pub engine: Engine,
    /// The first voters of the metadata group.
    pub founders: Vec<Founder>,
}

/// What this node promised to those who want to found a cluster (single-decree Paxos, the acceptor's part).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// No founding below this is accepted.
    pub promised: Ballot,
    /// The last one that was accepted.
    pub accepted: Option<(Ballot, ClusterRecord)>,
}

/// A restore into a directory that has begun and did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restoring {
    /// The bucket.
    pub from: String,
    /// The cluster that is built.
    pub cluster_id: String,
}

/// The identity of a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    format: u32,
    /// The node.
    pub node: u64,
    /// Drawn once for a directory: a wiped directory is another replica.
    pub incarnation: u64,
    /// The part in founding a cluster.
    #[serde(default)]
    pub founding: Founding,
    /// The cluster, once it is known.
    pub cluster: Option<ClusterRecord>,
    /// What is being built here, until it is complete: nothing of it may be served before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoring: Option<Restoring>,
}

impl Engine {
    /// The name in the configuration (`consensus.backend`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RaftRs => "raft-rs",
            Self::AsyncRaft => "async-raft",
        }
    }

    /// The fewest voters that a group of `nodes` nodes is founded with: async-raft cannot grow from fewer than three.
    #[must_use]
    pub fn founders_min(self, nodes: usize) -> usize {
        match self {
            Self::RaftRs => 1,
            Self::AsyncRaft => nodes.min(3),
        }
    }
}

impl ClusterRecord {
    /// The membership that founds the metadata group.
    #[must_use]
    pub fn founding(&self) -> Membership {
        let member = |founder: &Founder| Member {
            replica: ReplicaId(founder.incarnation),
            node: NodeId(founder.node),
        };
        Membership {
            voters: self.founders.iter().map(member).collect(),
            ..Membership::default()
        }
    }

    /// Whether this directory founded the cluster.
    #[must_use]
    pub fn was_founded_by(&self, node: NodeId, incarnation: u64) -> bool {
        let founder = Founder {
            node: node.0,
            incarnation,
        };
        self.founders.contains(&founder)
    }

    /// Checks that this is the cluster that the configuration names, if it names one; `place` says whose it is.
    ///
    /// # Errors
    /// [`IdentityError::WrongCluster`].
    pub fn check_id(&self, configured: Option<&str>, place: &str) -> Result<(), IdentityError> {
        match configured {
            Some(configured) if configured != self.cluster_id => Err(IdentityError::WrongCluster {
                place: place.to_owned(),
                found: self.cluster_id.clone(),
                configured: configured.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Checks that the groups of this cluster run on the engine that the configuration names; `place` says whose it is.
    ///
    /// # Errors
    /// [`IdentityError::WrongEngine`].
    pub fn check_engine(&self, configured: Engine, place: &str) -> Result<(), IdentityError> {
        if self.engine == configured {
            return Ok(());
        }
        Err(IdentityError::WrongEngine {
            place: place.to_owned(),
            found: self.engine,
            configured,
        })
    }

    /// Whether a peer may say this: an id that goes into files and logs, and voters that are distinct.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let id = &self.cluster_id;
        let mut founders = self.founders.clone();
        founders.sort_unstable();
        founders.dedup_by_key(|founder| founder.node);
        (1..=64).contains(&id.len())
            && id.bytes().all(plain)
            && !founders.is_empty()
            && founders.len() == self.founders.len()
            && founders.iter().all(|founder| founder.incarnation != 0)
    }
}

impl NodeRecord {
    /// The identity of a directory that is in no cluster yet.
    #[must_use]
    pub fn new(node: NodeId, incarnation: u64) -> Self {
        Self {
            format: FORMAT,
            node: node.0,
            incarnation,
            founding: Founding::default(),
            cluster: None,
            restoring: None,
        }
    }

    /// Checks that the directory is no half of a restored one; `place` says whose it is.
    ///
    /// # Errors
    /// [`IdentityError::HalfRestored`].
    pub fn check_whole(&self, place: &Path) -> Result<(), IdentityError> {
        match &self.restoring {
            None => Ok(()),
            Some(restoring) => Err(IdentityError::HalfRestored {
                dir: place.to_owned(),
                from: restoring.from.clone(),
            }),
        }
    }

    /// The replica of the metadata group that this directory holds.
    #[must_use]
    pub const fn member(&self) -> Member {
        Member {
            replica: ReplicaId(self.incarnation),
            node: NodeId(self.node),
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Numbers, strings and lists: there is nothing that JSON cannot hold.
        serde_json::to_vec_pretty(self).expect("a node's record can be written as JSON")
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if record.format == FORMAT {
            Ok(record)
        } else {
            Err(format!(
                "it has format {}, this version reads {FORMAT}",
                record.format
            ))
        }
    }
}
