//! The one function that changes the state.

use super::topic::{Partition, Placement, Replica};
use super::{Broker, Command, ConfigSet, State, Topic, ambiguous_form};
use crate::cluster::ids::TopicId;
use chronik_core::{GroupId, LogId, NodeId, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How many producer ids are given away with one entry.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// What became of a command.
pub type Applied = Result<Effect, Refusal>;

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The cluster has its identity.
    Founded,
    /// The broker is registered.
    BrokerRegistered {
        /// Grows with every registration.
        epoch: u64,
    },
    /// The topic as it was created.
    TopicCreated(Arc<Topic>),
    /// The topic as it was before it was deleted.
    TopicDeleted(Arc<Topic>),
    /// The topic with its new partitions.
    PartitionsCreated(Arc<Topic>),
    /// The configs are in force.
    ConfigsSet {
        /// Their revision.
        revision: u64,
    },
    /// Producer ids that nobody else gets.
    ProducerIds(Range<i64>),
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The cluster has an identity already.
    AlreadyFounded,
    /// The name, or the id, is taken.
    TopicExists,
    /// The name differs from this one only by dots and underscores.
    NameCollision(Arc<str>),
    /// There is no topic with the id.
    UnknownTopic,
    /// The command was made from a state that has changed since; make it again.
    Stale,
    /// A partition's nodes cannot hold it.
    InvalidPlacement(String),
    /// A node would hold more replicas than allowed.
    TooManyReplicas {
        /// The node.
        node: NodeId,
        /// How many it may hold.
        limit: u64,
    },
    /// All ids of a kind were given away.
    IdsExhausted,
}

impl State {
    /// Applies a committed command. The same commands at the same places always give the same state.
    ///
    /// # Errors
    /// [`Refusal`]; the state is as it was.
    pub fn apply(&mut self, at: LogId, command: Command) -> Applied {
        match command {
            Command::FoundCluster { cluster_id, features } => self.found(cluster_id, features),
            Command::RegisterBroker {
                node,
                host,
                port,
                rack,
                incarnation,
                peer,
            } => self.register(Broker {
                node,
                host,
                port,
                rack,
                incarnation,
                peer,
                epoch: at.index.0,
            }),
            Command::CreateTopic {
                name,
                id,
                placements,
                configs,
                replica_limit,
            } => {
                let configs = ConfigSet {
                    revision: at.index.0,
                    values: configs,
                };
                self.create_topic(&name, id, &placements, configs, replica_limit)
            }
            Command::DeleteTopic { id } => self.delete_topic(id),
            Command::CreatePartitions {
                id,
                based_on,
                placements,
                replica_limit,
            } => self.create_partitions(id, based_on, &placements, replica_limit),
            Command::SetTopicConfigs {
                id,
                based_on,
                configs,
            } => self.set_topic_configs(at, id, based_on, configs),
            Command::SetBrokerDefaults { based_on, configs } => {
                replace(&mut self.broker_defaults, at, based_on, configs)
            }
            Command::AllocateProducerIds { .. } => self.allocate_producer_ids(),
        }
    }

    fn found(&mut self, cluster_id: String, features: BTreeMap<String, i16>) -> Applied {
        if self.cluster_id.is_some() {
            return Err(Refusal::AlreadyFounded);
        }
        self.cluster_id = Some(cluster_id.into());
        self.features = features;
        Ok(Effect::Founded)
    }

    fn register(&mut self, broker: Broker) -> Applied {
        let (node, epoch) = (broker.node(), broker.epoch);
        let known = self.brokers.get(&node).map_or(0, |known| known.incarnation);
        if known != 0 && broker.incarnation != 0 && known != broker.incarnation {
            self.replace_replicas(node)?;
        }
        self.brokers.insert(node, broker);
        Ok(Effect::BrokerRegistered { epoch })
    }

    /// Gives every replica on a node a new id: the directory that held the old ones is gone.
    fn replace_replicas(&mut self, node: NodeId) -> Result<(), Refusal> {
        let count = self.replicas_on(node);
        if self.next_replica.checked_add(count).is_none() {
            return Err(Refusal::IdsExhausted);
        }
        for topic in self.topics.values_mut() {
            let here = |partition: &Partition| partition.replica_on(node).is_some();
            if !topic.partitions.iter().any(here) {
                continue;
            }
            for partition in &mut Arc::make_mut(topic).partitions {
                if partition.replace(node, ReplicaId(self.next_replica)) {
                    self.next_replica += 1;
                }
            }
        }
        Ok(())
    }

    fn create_topic(
        &mut self,
        name: &str,
        id: TopicId,
        placements: &[Placement],
        configs: ConfigSet,
        replica_limit: u64,
    ) -> Applied {
        if self.topics.contains_key(name) || self.names.contains_key(&id) {
            return Err(Refusal::TopicExists);
        }
        if let Some(taken) = self.collision(name) {
            return Err(Refusal::NameCollision(Arc::clone(taken)));
        }
        self.check_placements(placements, replica_limit)?;
        let topic = Arc::new(Topic {
            name: name.into(),
            id,
            partitions: self.place(placements),
            configs,
        });
        self.index(&topic);
        self.topics.insert(Arc::clone(&topic.name), Arc::clone(&topic));
        Ok(Effect::TopicCreated(topic))
    }

    fn delete_topic(&mut self, id: TopicId) -> Applied {
        let name = self.names.get(&id).cloned().ok_or(Refusal::UnknownTopic)?;
        let topic = self.topics.remove(&name).ok_or(Refusal::UnknownTopic)?;
        self.unindex(&topic);
        Ok(Effect::TopicDeleted(topic))
    }

    fn create_partitions(
        &mut self,
        id: TopicId,
        based_on: u32,
        placements: &[Placement],
        replica_limit: u64,
    ) -> Applied {
        let old = self.topic_by_id(id).cloned().ok_or(Refusal::UnknownTopic)?;
        if old.partitions.len() != based_on as usize {
            return Err(Refusal::Stale);
        }
        self.check_placements(placements, replica_limit)?;
        let mut topic = Topic::clone(&old);
        topic.partitions.extend(self.place(placements));
        let topic = Arc::new(topic);
        self.unindex(&old);
        self.index(&topic);
        self.topics.insert(Arc::clone(&topic.name), Arc::clone(&topic));
        Ok(Effect::PartitionsCreated(topic))
    }

    fn set_topic_configs(
        &mut self,
        at: LogId,
        id: TopicId,
        based_on: u64,
        configs: BTreeMap<String, String>,
    ) -> Applied {
        let name = self.names.get(&id).ok_or(Refusal::UnknownTopic)?;
        let topic = self.topics.get_mut(name).ok_or(Refusal::UnknownTopic)?;
        replace(&mut Arc::make_mut(topic).configs, at, based_on, configs)
    }

    fn allocate_producer_ids(&mut self) -> Applied {
        let first = self.next_producer_id;
        let end = first
            .checked_add(PRODUCER_ID_BLOCK)
            .ok_or(Refusal::IdsExhausted)?;
        self.next_producer_id = end;
        Ok(Effect::ProducerIds(first..end))
    }

    /// Every partition has at least one node, each node is a broker of the cluster, none twice, and none overfull.
    fn check_placements(&self, placements: &[Placement], replica_limit: u64) -> Result<(), Refusal> {
        if placements.is_empty() {
            return Err(Refusal::InvalidPlacement("there are no partitions".into()));
        }
        let mut added: BTreeMap<u64, u64> = BTreeMap::new();
        for placement in placements {
            let nodes: BTreeSet<u64> = placement.iter().copied().collect();
            if nodes.is_empty() || nodes.len() != placement.len() {
                let what = format!("{placement:?} names no node, or one twice");
                return Err(Refusal::InvalidPlacement(what));
            }
            for node in nodes {
                if !self.brokers.contains_key(&NodeId(node)) {
                    let what = format!("there is no broker {node}");
                    return Err(Refusal::InvalidPlacement(what));
                }
                *added.entry(node).or_default() += 1;
            }
        }
        let (groups, replicas) = (placements.len() as u64, added.values().sum::<u64>());
        if self.next_group.checked_add(groups).is_none() || self.next_replica.checked_add(replicas).is_none()
        {
            return Err(Refusal::IdsExhausted);
        }
        for (node, more) in added {
            let node = NodeId(node);
            if self.replicas_on(node).saturating_add(more) > replica_limit {
                return Err(Refusal::TooManyReplicas {
                    node,
                    limit: replica_limit,
                });
            }
        }
        Ok(())
    }

    /// Issues a group for each partition and a replica id for each of its nodes.
    fn place(&mut self, placements: &[Placement]) -> Vec<Partition> {
        let mut partitions = Vec::with_capacity(placements.len());
        for placement in placements {
            let group = GroupId(self.next_group);
            self.next_group += 1;
            let mut replicas = Vec::with_capacity(placement.len());
            for node in placement {
                replicas.push(Replica::new(ReplicaId(self.next_replica), NodeId(*node)));
                self.next_replica += 1;
            }
            partitions.push(Partition::new(group, replicas));
        }
        partitions
    }

    pub(super) fn index(&mut self, topic: &Topic) {
        self.names.insert(topic.id, Arc::clone(&topic.name));
        if let Some(form) = ambiguous_form(&topic.name) {
            self.ambiguous.insert(form, Arc::clone(&topic.name));
        }
        for replica in topic.partitions.iter().flat_map(Partition::replicas) {
            *self.replicas_on.entry(replica.node()).or_default() += 1;
        }
    }

    fn unindex(&mut self, topic: &Topic) {
        self.names.remove(&topic.id);
        if let Some(form) = ambiguous_form(&topic.name) {
            self.ambiguous.remove(&form);
        }
        for replica in topic.partitions.iter().flat_map(Partition::replicas) {
            let count = self.replicas_on.entry(replica.node()).or_default();
            assert!(*count > 0, "a replica that is removed was counted");
            *count -= 1;
            if *count == 0 {
                self.replicas_on.remove(&replica.node());
            }
        }
    }
}

fn replace(set: &mut ConfigSet, at: LogId, based_on: u64, values: BTreeMap<String, String>) -> Applied {
    if set.revision != based_on {
        return Err(Refusal::Stale);
    }
    let revision = at.index.0;
    *set = ConfigSet { revision, values };
    Ok(Effect::ConfigsSet { revision })
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyFounded => write!(f, "the cluster has an id already"),
            Self::TopicExists => write!(f, "the topic exists already"),
            Self::NameCollision(taken) => {
                write!(f, "the name collides with that of topic '{taken}'")
            }
            Self::UnknownTopic => write!(f, "there is no such topic"),
            Self::Stale => write!(f, "it was changed by another request at the same time"),
            Self::InvalidPlacement(what) => write!(f, "{what}"),
            Self::TooManyReplicas { node, limit } => {
                write!(f, "broker {node} would hold more than {limit} partitions")
            }
            Self::IdsExhausted => write!(f, "all ids were given away"),
        }
    }
}

impl std::error::Error for Refusal {}
