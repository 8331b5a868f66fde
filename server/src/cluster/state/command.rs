//! What is written into the metadata group's log.

use super::topic::Placement;
use crate::cluster::ids::TopicId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the commands and of the checkpoint. A node that meets a newer one stops, because skipping a
/// command would make its state differ from everybody else's. Older ones are read: what they lack has a default.
pub const FORMAT: u32 = 2;

/// A command and the number by which its proposer recognises it when it is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// [`FORMAT`].
    pub format: u32,
    /// Drawn at random by the proposer; means nothing to the state.
    pub request: u64,
    /// What to do.
    pub command: Command,
}

/// A change of the cluster's metadata. Everything that is random, timed or local was decided by the proposer and
/// stands in the command; what depends on other commands is decided when it is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Gives the cluster its identity; refused where it has one.
    FoundCluster {
        /// The id of the cluster.
        cluster_id: String,
        /// Feature levels from the start on.
        features: BTreeMap<String, i16>,
    },
    /// Records a broker's start and its address.
    RegisterBroker {
        /// The node.
        node: u64,
        /// What clients connect to.
        host: String,
        /// What clients connect to.
        port: u16,
        /// Where it stands.
        rack: Option<String>,
        /// The incarnation of its data directory; 0 where it is not known. Another one than before gives all its
        /// replicas new ids, because the old ones are lost with the old directory.
        #[serde(default)]
        incarnation: u64,
        /// Where other nodes reach it, if it says so.
        #[serde(default)]
        peer: Option<String>,
    },
    /// Creates a topic; refused where the name is taken.
    CreateTopic {
        /// The name.
        name: String,
        /// The id.
        id: TopicId,
        /// For each partition, its nodes.
        placements: Vec<Placement>,
        /// The configs that the creator set.
        configs: BTreeMap<String, String>,
        /// How many replicas a node may hold; the topic is refused if it would go beyond.
        replica_limit: u64,
    },
    /// Deletes the topic with this id; a new topic of the same name is another topic.
    DeleteTopic {
        /// The id.
        id: TopicId,
    },
    /// Adds partitions; refused as stale where the topic has not as many as the proposer saw.
    CreatePartitions {
        /// The topic.
        id: TopicId,
        /// How many partitions there were.
        based_on: u32,
        /// For each new partition, its nodes.
        placements: Vec<Placement>,
        /// How many replicas a node may hold.
        replica_limit: u64,
    },
    /// Replaces a topic's configs; refused as stale where they are not the ones that the proposer saw.
    SetTopicConfigs {
        /// The topic.
        id: TopicId,
        /// The revision that the proposer saw.
        based_on: u64,
        /// The new configs.
        configs: BTreeMap<String, String>,
    },
    /// Replaces the cluster-wide broker configs; refused as stale where they are not the ones that the proposer saw.
    SetBrokerDefaults {
        /// The revision that the proposer saw.
        based_on: u64,
        /// The new configs.
        configs: BTreeMap<String, String>,
    },
    /// Takes a block of producer ids.
    AllocateProducerIds {
        /// For which node.
        node: u64,
    },
}
