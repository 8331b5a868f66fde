//! What the control plane needs from whoever runs the partitions.

use chronik_core::{BoxFuture, GroupId, NodeId};
use std::fmt::Debug;

/// Who leads a partition now, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// The leader; nothing while there is none.
    pub leader: Option<NodeId>,
    /// The leader's epoch; -1 where it is not known.
    pub leader_epoch: i32,
    /// The replicas that are in sync.
    pub in_sync: Vec<NodeId>,
}

impl Default for PartitionView {
    /// Nothing is known.
    fn default() -> Self {
        Self {
            leader: None,
            leader_epoch: -1,
            in_sync: Vec::new(),
        }
    }
}

/// Knows the leaders of partitions: of those that run here, and by gossip of the others.
pub trait LeaderView: Send + Sync + Debug {
    /// The partition whose log is `group`; nothing where it is not known (being opened, for instance).
    fn partition(&self, group: GroupId) -> Option<PartitionView>;

    /// Whether clients can be sent to a node: it is this one, or it was heard lately.
    fn is_live(&self, node: NodeId) -> bool;
}

/// Opens the partitions that the metadata places on this node.
pub trait PartitionsReady: Send + Sync + Debug {
    /// Waits until each of these partitions that belongs on this node takes requests here; those of other nodes are
    /// not waited for. Cancel safe.
    ///
    /// # Errors
    /// Why a partition did not open; the topic exists nevertheless.
    fn ready(&self, groups: Vec<GroupId>) -> BoxFuture<'static, Result<(), String>>;
}
