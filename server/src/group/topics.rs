//! What the coordinator asks about topics.

use crate::kafka::wire::{KafkaString, Uuid};
use std::fmt::Debug;

/// The topics as this node knows them.
pub trait TopicDirectory: Send + Sync + Debug {
    /// The id of the topic, `None` if there is no such topic.
    fn topic_id(&self, name: &str) -> Option<Uuid>;
    /// The name of the topic, `None` if there is no such topic.
    fn topic_name(&self, id: Uuid) -> Option<KafkaString>;
    /// How many partitions the topic has, `None` if there is no such topic.
    fn partition_count(&self, name: &str) -> Option<i32>;
}
