//! The state machine of the metadata group: which brokers and topics there are, and who was given which id.
//!
//! [`State::apply`] is the one way in which it changes, live and in replay. It reads no clock and draws no random
//! number, so that every node that applied the same entries has the same state, bit for bit. What depends on other
//! commands (is the name taken, is the config what the proposer saw) is decided here and nowhere else, so that
//! concurrent proposers are right. Format: `docs/format/metadata.md`.

mod apply;
mod checkpoint;
mod command;
mod moved;
mod topic;

#[cfg(test)]
mod tests;

pub use apply::{Applied, Effect, PRODUCER_ID_BLOCK, Refusal};
pub use checkpoint::CheckpointError;
pub use command::{Command, Envelope, FORMAT};
pub use topic::{
    ConfigSet, OFFSETS_TOPIC, Partition, Placement, Replica, TRANSACTIONS_TOPIC, Topic, is_internal,
};

use super::ids::TopicId;
use chronik_core::{GroupId, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A broker and where clients find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    node: u64,
    /// What clients connect to.
    pub host: String,
    /// What clients connect to.
    pub port: u16,
    /// Where it stands.
    pub rack: Option<String>,
    /// The incarnation of its data directory; 0 where it is not known.
    #[serde(default)]
    pub incarnation: u64,
    /// Where other nodes reach it, if it says so.
    #[serde(default)]
    pub peer: Option<String>,
    /// The index of the entry that registered it: grows with every start of the broker.
    pub epoch: u64,
}

impl Broker {
    /// The node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        NodeId(self.node)
    }
}

/// The metadata of the cluster as of one entry. A clone is cheap: topics are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    cluster_id: Option<Arc<str>>,
    features: BTreeMap<String, i16>,
    brokers: BTreeMap<NodeId, Broker>,
    broker_defaults: ConfigSet,
    topics: BTreeMap<Arc<str>, Arc<Topic>>,
    next_group: u64,
    next_replica: u64,
    next_producer_id: i64,
    // What follows is derived from the topics and is not written into checkpoints.
    names: BTreeMap<TopicId, Arc<str>>,
    /// Names with a dot or an underscore, with dots made underscores: two such topics would share a metric.
    ambiguous: BTreeMap<String, Arc<str>>,
    replicas_on: BTreeMap<NodeId, u64>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            cluster_id: None,
            features: BTreeMap::new(),
            brokers: BTreeMap::new(),
            broker_defaults: ConfigSet::default(),
            topics: BTreeMap::new(),
            // Group 0 is the metadata group itself, with replica ids of its own.
            next_group: 1,
            next_replica: 1,
            next_producer_id: 0,
            names: BTreeMap::new(),
            ambiguous: BTreeMap::new(),
            replicas_on: BTreeMap::new(),
        }
    }
}

impl State {
    /// The id of the cluster; nothing before it is founded.
    #[must_use]
    pub const fn cluster_id(&self) -> Option<&Arc<str>> {
        self.cluster_id.as_ref()
    }

    /// The feature levels in force.
    #[must_use]
    pub const fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// The brokers, by node.
    #[must_use]
    pub const fn brokers(&self) -> &BTreeMap<NodeId, Broker> {
        &self.brokers
    }

    /// The cluster-wide broker configs that were set at run time.
    #[must_use]
    pub const fn broker_defaults(&self) -> &ConfigSet {
        &self.broker_defaults
    }

    /// All topics, by name.
    #[must_use]
    pub const fn topics(&self) -> &BTreeMap<Arc<str>, Arc<Topic>> {
        &self.topics
    }

    /// The group id that is issued next: every group of this cluster has a smaller one.
    #[must_use]
    pub const fn next_group(&self) -> GroupId {
        GroupId(self.next_group)
    }

    /// The topic of this name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// The topic with this id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(&id)?)
    }

    /// How many replicas were placed on a node.
    #[must_use]
    pub fn replicas_on(&self, node: NodeId) -> u64 {
        self.replicas_on.get(&node).copied().unwrap_or(0)
    }

    /// An existing topic whose name differs from this one only by dots and underscores in the same places.
    #[must_use]
    pub fn collision(&self, name: &str) -> Option<&Arc<str>> {
        self.ambiguous
            .get(&ambiguous_form(name)?)
            .filter(|taken| &***taken != name)
    }
}

fn ambiguous_form(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}
