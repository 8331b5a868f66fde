//! Proposes changes of the metadata, applies them, and publishes what came of it.

mod apply;
mod open;
mod pending;
mod submit;

pub use open::Registration;
pub use submit::{Forward, Placed};

use super::error::ControlError;
use super::ids::TopicId;
use super::image::ClusterImage;
use super::state::{Command, Effect, Placement, Topic};
use chronik_core::consensus::{ConsensusGroup, GroupStatus};
use chronik_core::{Env, LogReader, NodeId, Watch};
use pending::Pending;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Whether the metadata still follows its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyStatus {
    /// It does.
    Running,
    /// The group was closed.
    Closed,
    /// An entry could not be read or understood. The node knows no newer metadata and must end.
    Failed(Arc<str>),
}

/// The metadata of the cluster on this node: reads from the image, changes through the metadata group.
#[derive(Debug)]
pub struct Controller {
    group: Arc<dyn ConsensusGroup>,
    reader: Arc<dyn LogReader>,
    env: Env,
    image: Watch<Arc<ClusterImage>>,
    status: Watch<ApplyStatus>,
    pending: Pending,
    forward: Arc<dyn Forward>,
}

impl Controller {
    /// The metadata now.
    #[must_use]
    pub fn image(&self) -> Arc<ClusterImage> {
        self.image.get()
    }

    /// The metadata, for those who wait for it to change.
    #[must_use]
    pub fn watch(&self) -> Watch<Arc<ClusterImage>> {
        self.image.clone()
    }

    /// Whether the metadata still follows its log, for whoever ends the process when it does not.
    #[must_use]
    pub fn status(&self) -> Watch<ApplyStatus> {
        self.status.clone()
    }

    /// The node that leads the metadata group, where it is known: Kafka's controller.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let status = self.group.status();
        let leader = status.progress.leader?;
        let members = status.membership.voters.iter();
        members
            .chain(&status.membership.outgoing_voters)
            .find(|member| member.replica == leader)
            .map(|member| member.node)
    }

    /// The metadata group.
    #[must_use]
    pub fn group(&self) -> &Arc<dyn ConsensusGroup> {
        &self.group
    }

    /// Where the metadata group stands, for operators.
    #[must_use]
    pub fn group_status(&self) -> GroupStatus {
        self.group.status()
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// [`ControlError`]; the topic may exist only where the outcome is unknown.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<Arc<Topic>, ControlError> {
        let NewTopic {
            name,
            placements,
            configs,
            replica_limit,
        } = topic;
        let id = TopicId::random(&*self.env.rng);
        let command = Command::CreateTopic {
            name,
            id,
            placements,
            configs,
            replica_limit,
        };
        match self.submit(command).await? {
            Effect::TopicCreated(topic) => Ok(topic),
            other => Err(mismatch(&other)),
        }
    }

    /// Deletes a topic; returns what it was.
    ///
    /// # Errors
    /// [`ControlError`]; the topic may be gone only where the outcome is unknown.
    pub async fn delete_topic(&self, id: TopicId) -> Result<Arc<Topic>, ControlError> {
        match self.submit(Command::DeleteTopic { id }).await? {
            Effect::TopicDeleted(topic) => Ok(topic),
            other => Err(mismatch(&other)),
        }
    }

    /// Adds partitions to a topic that has `based_on` partitions; returns it with the new ones.
    ///
    /// # Errors
    /// [`ControlError`]; [`Refusal::Stale`](super::state::Refusal::Stale) where it has another number by now.
    pub async fn create_partitions(
        &self,
        id: TopicId,
        based_on: u32,
        placements: Vec<Placement>,
        replica_limit: u64,
    ) -> Result<Arc<Topic>, ControlError> {
        let command = Command::CreatePartitions {
            id,
            based_on,
            placements,
            replica_limit,
        };
        match self.submit(command).await? {
            Effect::PartitionsCreated(topic) => Ok(topic),
            other => Err(mismatch(&other)),
        }
    }

    /// Replaces the configs of a topic where they still are of revision `based_on`; returns the new revision.
    ///
    /// # Errors
    /// [`ControlError`]; [`Refusal::Stale`](super::state::Refusal::Stale) where they are of another.
    pub async fn set_topic_configs(
        &self,
        id: TopicId,
        based_on: u64,
        configs: BTreeMap<String, String>,
    ) -> Result<u64, ControlError> {
        let command = Command::SetTopicConfigs {
            id,
            based_on,
            configs,
        };
        self.set_configs(command).await
    }

    /// Replaces the cluster-wide broker configs where they still are of revision `based_on`; returns the new one.
    ///
    /// # Errors
    /// [`ControlError`]; [`Refusal::Stale`](super::state::Refusal::Stale) where they are of another.
    pub async fn set_broker_defaults(
        &self,
        based_on: u64,
        configs: BTreeMap<String, String>,
    ) -> Result<u64, ControlError> {
        self.set_configs(Command::SetBrokerDefaults { based_on, configs })
            .await
    }

    async fn set_configs(&self, command: Command) -> Result<u64, ControlError> {
        match self.submit(command).await? {
            Effect::ConfigsSet { revision } => Ok(revision),
            other => Err(mismatch(&other)),
        }
    }

    /// Takes a block of producer ids that nobody else gets.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn allocate_producer_ids(&self, node: NodeId) -> Result<Range<i64>, ControlError> {
        let command = Command::AllocateProducerIds { node: node.0 };
        match self.submit(command).await? {
            Effect::ProducerIds(block) => Ok(block),
            other => Err(mismatch(&other)),
        }
    }
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// The name, which was checked.
    pub name: String,
    /// The nodes of each partition.
    pub placements: Vec<Placement>,
    /// The configs that were set for it, which were checked.
    pub configs: BTreeMap<String, String>,
    /// How many replicas a node may hold.
    pub replica_limit: u64,
}

/// A command had another command's effect: two requests drew the same number.
fn mismatch(effect: &Effect) -> ControlError {
    ControlError::Unknown(format!("the answer to another request: {effect:?}").into())
}
