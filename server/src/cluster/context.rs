//! What the handlers of the control plane work with.

use super::controller::{Controller, NewTopic};
use super::error::ControlError;
use super::kafka_error::KafkaError;
use super::producer_ids::ProducerIds;
use super::state::{OFFSETS_TOPIC, Partition, Topic};
use super::topic_config::TopicSettings;
use super::view::{LeaderView, PartitionsReady};
use super::{names, placement};
use crate::config::Config;
use crate::kafka::wire::ErrorCode;
use chronik_core::{Env, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The shortest time that a request is given, whatever it asks for: a client that says 0 wants an answer too.
const MIN_TIMEOUT_MS: i32 = 1_000;
/// How long the creation of a topic waits for its leaders.
const ELECTION_LIMIT: Duration = Duration::from_secs(3);
const ELECTION_LOOK: Duration = Duration::from_millis(5);
/// How long a topic that is created on first use may take.
const AUTO_CREATE_TIMEOUT_MS: i32 = 5_000;

/// Everything that the handlers of the control plane need.
#[derive(Debug)]
pub struct ControlContext {
    /// The metadata.
    pub controller: Arc<Controller>,
    /// The node's file.
    pub config: Arc<Config>,
    /// Time and randomness.
    pub env: Env,
    /// This node.
    pub node: NodeId,
    /// Who leads which partition.
    pub leaders: Arc<dyn LeaderView>,
    /// Opens partitions.
    pub partitions: Arc<dyn PartitionsReady>,
    /// Gives out producer ids.
    pub producer_ids: ProducerIds,
}

impl ControlContext {
    /// The context of a node.
    #[must_use]
    pub fn new(
        controller: Arc<Controller>,
        config: Arc<Config>,
        env: Env,
        node: NodeId,
        leaders: Arc<dyn LeaderView>,
        partitions: Arc<dyn PartitionsReady>,
    ) -> Self {
        let producer_ids = ProducerIds::new(Arc::clone(&controller), node);
        Self {
            controller,
            config,
            env,
            node,
            leaders,
            partitions,
            producer_ids,
        }
    }

    /// The nodes of a partition that cannot be reached.
    #[must_use]
    pub fn offline(&self, partition: &Partition) -> Vec<NodeId> {
        let nodes = partition.replicas().iter().map(|replica| replica.node());
        nodes.filter(|node| !self.leaders.is_live(*node)).collect()
    }

    /// The node that leads the metadata group, where it can be reached.
    #[must_use]
    pub fn live_controller(&self) -> Option<NodeId> {
        self.controller
            .leader()
            .filter(|node| self.leaders.is_live(*node))
    }

    /// How many replicas a node may hold.
    #[must_use]
    pub fn replica_limit(&self) -> u64 {
        self.config.topics.max_partitions as u64
    }

    /// The settings of a topic as they are now.
    #[must_use]
    pub fn settings(&self, topic: &Topic) -> TopicSettings {
        let image = self.controller.image();
        TopicSettings::resolve(&topic.configs, image.state.broker_defaults(), &self.config.topics)
    }

    /// Waits for `work`, at most as long as the client said. What was proposed goes on.
    ///
    /// # Errors
    /// REQUEST_TIMED_OUT: the work may be done, now or later.
    pub async fn within<T>(
        &self,
        timeout_ms: i32,
        work: impl Future<Output = Result<T, KafkaError>> + Send,
    ) -> Result<T, KafkaError> {
        let timeout_ms = u64::try_from(timeout_ms.max(MIN_TIMEOUT_MS)).unwrap_or(0);
        let late = async {
            self.env.clock.sleep(Duration::from_millis(timeout_ms)).await;
            let what = "the request took longer than its timeout; it may still succeed";
            Err(KafkaError::new(ErrorCode::REQUEST_TIMED_OUT, what))
        };
        // Boxed, because the future of a whole request is large.
        futures_lite::future::or(Box::pin(work), Box::pin(late)).await
    }

    /// Creates a topic and waits until its partitions take requests.
    ///
    /// # Errors
    /// For the client.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<Arc<Topic>, KafkaError> {
        let name = topic.name.clone();
        let created = self.controller.create_topic(topic).await;
        let topic = created.map_err(|error| KafkaError::of_topic(&error, &name))?;
        log::info!(
            "event=topic_created topic={} id={} partitions={}",
            topic.name,
            topic.id,
            topic.partitions.len()
        );
        self.wait_open(&topic).await?;
        self.wait_led(&topic).await;
        Ok(topic)
    }

    /// Waits until every partition of a new topic has a leader, within reason: a client that does not find one asks
    /// again.
    async fn wait_led(&self, topic: &Topic) {
        let begin = self.env.clock.now();
        let led = |group| {
            let view = self.leaders.partition(group);
            view.is_some_and(|view| view.leader.is_some())
        };
        while !topic.groups().all(led) && self.env.clock.now().saturating_sub(begin) < ELECTION_LIMIT {
            self.env.clock.sleep(ELECTION_LOOK).await;
        }
    }

    /// Waits until the partitions of a topic take requests here.
    ///
    /// # Errors
    /// KAFKA_STORAGE_ERROR where one did not open.
    pub async fn wait_open(&self, topic: &Topic) -> Result<(), KafkaError> {
        let ready = self.partitions.ready(topic.groups().collect()).await;
        ready.map_err(|why| {
            let what = format!(
                "topic '{}' exists, and a partition did not open: {why}",
                topic.name
            );
            KafkaError::new(ErrorCode::KAFKA_STORAGE_ERROR, what)
        })
    }

    /// The topic that keeps consumer groups' offsets; created on first use.
    ///
    /// # Errors
    /// For the client.
    pub async fn offsets_topic(&self) -> Result<Arc<Topic>, KafkaError> {
        self.topic_on_first_use(OFFSETS_TOPIC).await
    }

    /// The topic of this name, created with the node's defaults where there is none. The caller has checked that it
    /// may be.
    ///
    /// # Errors
    /// For the client.
    pub async fn topic_on_first_use(&self, name: &str) -> Result<Arc<Topic>, KafkaError> {
        if let Some(topic) = self.controller.image().state.topic(name) {
            return Ok(Arc::clone(topic));
        }
        let new = self.defaults_for(name)?;
        let created = self.within(AUTO_CREATE_TIMEOUT_MS, self.create_topic(new)).await;
        match created {
            Err(error) if error.code == ErrorCode::TOPIC_ALREADY_EXISTS => {
                // Somebody else was first; what they created is in the image, or was deleted since.
                let image = self.controller.image();
                image.state.topic(name).cloned().ok_or_else(|| {
                    KafkaError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "the topic was deleted")
                })
            }
            other => other,
        }
    }

    fn defaults_for(&self, name: &str) -> Result<NewTopic, KafkaError> {
        names::check_topic_name(name)
            .map_err(|why| KafkaError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, why))?;
        let (partitions, configs) = if name == OFFSETS_TOPIC {
            // Offsets expire by the group coordinator's rule, not by the age of a segment.
            let unlimited = |name: &str| (name.to_owned(), "-1".to_owned());
            let configs = BTreeMap::from([unlimited("retention.bytes"), unlimited("retention.ms")]);
            (self.config.groups.offsets_partitions, configs)
        } else {
            (self.config.topics.partitions, BTreeMap::new())
        };
        let image = self.controller.image();
        let factor = usize::try_from(self.config.replication_factor()).unwrap_or(1);
        let placements = placement::place(
            &image.state,
            usize::try_from(partitions).unwrap_or(1),
            factor,
            &|node| self.leaders.is_live(node),
            &*self.env.rng,
        )
        .map_err(|brokers| KafkaError::replication_factor(factor, brokers))?;
        Ok(NewTopic {
            name: name.to_owned(),
            placements,
            configs,
            replica_limit: self.replica_limit(),
        })
    }
}

impl From<ControlError> for KafkaError {
    fn from(error: ControlError) -> Self {
        Self::of_topic(&error, "")
    }
}
