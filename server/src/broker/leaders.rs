//! Where a client should go instead: the leader of a partition (KIP-951), or a replica near the client (KIP-392).

use super::Broker;
use crate::cluster::ClusterImage;
use crate::cluster::ids::broker_id;
use crate::cluster::state::{Broker as Node, Topic};
use crate::kafka::wire::ErrorCode;
use crate::partition::{Partition, PartitionError};
use chronik_core::consensus::Role;
use chronik_core::{GroupId, LogError, NodeId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who leads a partition, as an answer tells it to a client; -1 where it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// The leader's broker id.
    pub leader_id: i32,
    /// Its epoch.
    pub leader_epoch: i32,
}

impl LeaderHint {
    /// Nothing is known.
    pub const NONE: Self = Self {
        leader_id: -1,
        leader_epoch: -1,
    };
}

impl Broker {
    /// The leader of the partition whose log is `group`, where that is another node.
    #[must_use]
    pub fn leader_hint(&self, group: GroupId) -> LeaderHint {
        let view = self.control().leaders.partition(group);
        let known = view.and_then(|view| Some((view.leader?, view.leader_epoch)));
        match known {
            // This node refused: it leads by what others say, and does not serve yet.
            Some((leader, leader_epoch)) if leader != self.control().node => LeaderHint {
                leader_id: broker_id(leader),
                leader_epoch,
            },
            _ => LeaderHint::NONE,
        }
    }

    /// A partition of a topic, where it is open here; otherwise who leads it.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`, `NOT_LEADER_OR_FOLLOWER`.
    pub fn hosted(&self, topic: &Topic, index: i32) -> Result<Arc<Partition>, (ErrorCode, LeaderHint)> {
        self.partitions().of_topic(topic, index).map_err(|code| {
            let hint = topic
                .partition(index)
                .map(|placed| self.leader_hint(placed.group()));
            (code, hint.unwrap_or(LeaderHint::NONE))
        })
    }

    /// The code of a partition's error, and the leader where the client should go there (KIP-951). What is the
    /// server's own fault is logged.
    #[must_use]
    pub fn failure(&self, partition: &Partition, error: &PartitionError) -> (ErrorCode, LeaderHint) {
        // A full disk is told once, by the store: a line for each refused request would take what space is left.
        let full = matches!(error, PartitionError::Storage(LogError::Full));
        if !full && matches!(error, PartitionError::Storage(_) | PartitionError::Unreadable(_)) {
            log::error!(
                "event=partition_failed partition={} error=\"{error}\"",
                partition.name()
            );
        }
        let code = error.code();
        let moved = code == ErrorCode::NOT_LEADER_OR_FOLLOWER || code == ErrorCode::FENCED_LEADER_EPOCH;
        let hint = if moved {
            self.leader_hint(partition.group().status().group)
        } else {
            LeaderHint::NONE
        };
        (code, hint)
    }

    /// The nodes that the hints of an answer name, each once, with their addresses.
    pub fn hinted_nodes(&self, hints: impl Iterator<Item = LeaderHint>) -> Vec<Node> {
        let named: BTreeSet<i32> = hints.map(|hint| hint.leader_id).filter(|id| *id >= 0).collect();
        if named.is_empty() {
            return Vec::new();
        }
        let image = self.image();
        let brokers = image.state.brokers().values();
        brokers
            .filter(|node| named.contains(&broker_id(node.node())))
            .cloned()
            .collect()
    }

    /// The replica that a consumer in `rack` should read from, if another is nearer than this leader: in that rack,
    /// in sync, and with everything that is committed (KIP-392).
    #[must_use]
    pub fn preferred_replica(&self, partition: &Partition, rack: &str) -> Option<NodeId> {
        let image = self.image();
        if rack.is_empty() || rack_of(&image, self.control().node) == Some(rack) {
            return None;
        }
        let status = partition.group().status();
        if status.progress.role != Role::Leader {
            return None;
        }
        let in_sync = self.partitions().partition(status.group)?.in_sync;
        let complete = status.membership.voters.iter().filter(|member| {
            let matched = status.matched.get(&member.replica);
            matched.is_some_and(|matched| matched.index >= status.progress.commit)
        });
        complete
            .map(|member| member.node)
            .find(|node| in_sync.contains(node) && rack_of(&image, *node) == Some(rack))
    }
}

fn rack_of(image: &ClusterImage, node: NodeId) -> Option<&str> {
    image.state.brokers().get(&node)?.rack.as_deref()
}
