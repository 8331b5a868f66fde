//! From a topic's configs to the settings of its partitions.

use crate::cluster::state::{State, Topic};
use crate::cluster::topic_config::TopicSettings;
use crate::config::Config;
use crate::partition::PartitionConfig;

/// The settings of the partitions of a topic.
pub(super) fn partition_config(topic: &Topic, state: &State, config: &Config) -> PartitionConfig {
    let settings = TopicSettings::resolve(&topic.configs, state.broker_defaults(), &config.topics);
    let limited = |value: i64| (value >= 0).then_some(value);
    PartitionConfig {
        max_message_bytes: settings.max_message_bytes,
        timestamp_type: settings.timestamp_type,
        timestamp_before_max_ms: settings.timestamp_before_max_ms,
        timestamp_after_max_ms: settings.timestamp_after_max_ms,
        // The broker's own topics shorten themselves: their state machines cut the log behind a snapshot.
        delete: !topic.is_internal(),
        compact: false,
        retention_ms: limited(settings.retention_ms),
        retention_bytes: limited(settings.retention_bytes).map(i64::unsigned_abs),
        // The broker's own topics are small, and their state machines read them from the start.
        remote_storage: settings.remote_storage && config.tier.url.is_some() && !topic.is_internal(),
        local_retention_ms: limited(settings.local_retention_ms),
        local_retention_bytes: limited(settings.local_retention_bytes).map(i64::unsigned_abs),
        segment_bytes: settings.segment_bytes,
        segment_ms: settings.segment_ms,
        min_insync_replicas: settings.min_insync_replicas,
        producer_id_expiration_ms: config.producers.id_expiration_ms,
        ..PartitionConfig::DEFAULTS
    }
}
