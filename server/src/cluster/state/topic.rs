//! A topic, its partitions and where they live.

use crate::cluster::ids::TopicId;
use chronik_core::consensus::Member;
use chronik_core::{GroupId, NodeId, ReplicaId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The topic that keeps the offsets of consumer groups.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The topic that will keep the state of transactions.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// The nodes that hold a partition, the preferred leader first.
pub type Placement = Vec<u64>;

/// Configs and the entry that set them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigSet {
    /// The index of the entry that last changed them; a writer names it, so that no change of another is lost.
    pub revision: u64,
    /// The values that were set; what is absent has its default.
    pub values: BTreeMap<String, String>,
}

/// A replica of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    replica: u64,
    node: u64,
}

impl Replica {
    pub(super) const fn new(replica: ReplicaId, node: NodeId) -> Self {
        Self {
            replica: replica.0,
            node: node.0,
        }
    }

    /// Its identity in the partition's group.
    #[must_use]
    pub const fn replica(self) -> ReplicaId {
        ReplicaId(self.replica)
    }

    /// Its node.
    #[must_use]
    pub const fn node(self) -> NodeId {
        NodeId(self.node)
    }

    /// Both.
    #[must_use]
    pub const fn member(self) -> Member {
        Member {
            replica: self.replica(),
            node: self.node(),
        }
    }
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    group: u64,
    replicas: Vec<Replica>,
    /// The replicas that the group began with, where they are not `replicas` any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    founders: Vec<Replica>,
}

impl Partition {
    pub(super) const fn new(group: GroupId, replicas: Vec<Replica>) -> Self {
        Self {
            group: group.0,
            replicas,
            founders: Vec::new(),
        }
    }

    /// The same partition with other replicas, of which the first holds its data.
    pub(super) fn moved(&self, replicas: Vec<Replica>) -> Self {
        let founders = replicas.iter().take(1).copied().collect();
        Self {
            group: self.group,
            replicas,
            founders,
        }
    }

    /// Gives the replica on `node` another id; false where there is none.
    pub(super) fn replace(&mut self, node: NodeId, replica: ReplicaId) -> bool {
        let Some(place) = self.replicas.iter().position(|held| held.node() == node) else {
            return false;
        };
        if self.founders.is_empty() {
            self.founders = self.replicas.clone();
        }
        if let Some(held) = self.replicas.get_mut(place) {
            *held = Replica::new(replica, node);
        }
        true
    }

    /// The replica on a node, if there is one.
    #[must_use]
    pub fn replica_on(&self, node: NodeId) -> Option<Replica> {
        self.replicas
            .iter()
            .copied()
            .find(|replica| replica.node() == node)
    }

    /// The replicas that the group began with: its first voters. One that is not among them joins a group that
    /// exists already.
    #[must_use]
    pub fn founders(&self) -> &[Replica] {
        if self.founders.is_empty() {
            &self.replicas
        } else {
            &self.founders
        }
    }

    /// The log that holds it. A group id is issued once.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        GroupId(self.group)
    }

    /// Its replicas, the preferred leader first.
    #[must_use]
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// The name.
    pub name: Arc<str>,
    /// The id.
    pub id: TopicId,
    /// The partitions by their index.
    pub partitions: Vec<Partition>,
    /// The configs that were set for it.
    pub configs: ConfigSet,
}

impl Topic {
    /// Whether it belongs to the broker and not to a client.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }

    /// The partition with this index.
    #[must_use]
    pub fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    /// The groups of all partitions.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.partitions.iter().map(Partition::group)
    }
}

/// Whether a topic of this name belongs to the broker.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    name == OFFSETS_TOPIC || name == TRANSACTIONS_TOPIC
}
