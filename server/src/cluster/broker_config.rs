//! The configs of a broker that come from its file.

use super::topic_config::ConfigType;
use crate::config::Config;

/// A broker config that clients can read and no request can change, under Kafka's name for it.
#[derive(Debug)]
pub struct BrokerKey {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ConfigType,
    /// What it does.
    pub documentation: &'static str,
    /// The value in a configuration.
    pub value: fn(&Config) -> String,
}

/// Every broker config that comes from the file, by name.
pub const BROKER_KEYS: &[BrokerKey] = &[
    BrokerKey {
        name: "auto.create.topics.enable",
        kind: ConfigType::Boolean,
        documentation: "Whether a topic that a client asks for is created.",
        value: |config| config.topics.auto_create.to_string(),
    },
    BrokerKey {
        name: "broker.id",
        kind: ConfigType::Int,
        documentation: "The broker id that clients see.",
        value: |config| config.node.id.to_string(),
    },
    BrokerKey {
        name: "connections.max.idle.ms",
        kind: ConfigType::Long,
        documentation: "A connection without a request for this long is closed.",
        value: |config| config.kafka.max_connection_idle_ms.to_string(),
    },
    BrokerKey {
        name: "default.replication.factor",
        kind: ConfigType::Int,
        documentation: "The number of copies of each partition of a new topic.",
        value: |config| config.replication_factor().to_string(),
    },
    BrokerKey {
        name: "delete.topic.enable",
        kind: ConfigType::Boolean,
        documentation: "Whether topics can be deleted: always.",
        value: |_| "true".into(),
    },
    BrokerKey {
        name: "fetch.max.bytes",
        kind: ConfigType::Int,
        documentation: "The most that one fetch answers with, whatever the client asks for.",
        value: |config| config.kafka.fetch_max_bytes.to_string(),
    },
    BrokerKey {
        name: "group.initial.rebalance.delay.ms",
        kind: ConfigType::Int,
        documentation: "How long the first rebalance of an empty group waits for more members.",
        value: |config| config.groups.initial_rebalance_delay_ms.to_string(),
    },
    BrokerKey {
        name: "group.max.session.timeout.ms",
        kind: ConfigType::Int,
        documentation: "The longest session timeout that a member may ask for.",
        value: |config| config.groups.max_session_timeout_ms.to_string(),
    },
    BrokerKey {
        name: "group.max.size",
        kind: ConfigType::Int,
        documentation: "The number of members of a group.",
        value: |config| config.groups.max_group_size.to_string(),
    },
    BrokerKey {
        name: "group.min.session.timeout.ms",
        kind: ConfigType::Int,
        documentation: "The shortest session timeout that a member may ask for.",
        value: |config| config.groups.min_session_timeout_ms.to_string(),
    },
    BrokerKey {
        name: "log.dirs",
        kind: ConfigType::String,
        documentation: "Where everything is kept.",
        value: |config| config.node.data_dir.display().to_string(),
    },
    BrokerKey {
        name: "log.retention.check.interval.ms",
        kind: ConfigType::Long,
        documentation: "How often retention looks for segments to remove.",
        value: |config| config.topics.retention_check_interval_ms.to_string(),
    },
    BrokerKey {
        name: "max.connections",
        kind: ConfigType::Int,
        documentation: "The number of connections at a time.",
        value: |config| config.kafka.max_connections.to_string(),
    },
    BrokerKey {
        name: "max.incremental.fetch.session.cache.slots",
        kind: ConfigType::Int,
        documentation: "The number of incremental fetch sessions at a time.",
        value: |config| config.kafka.max_fetch_sessions.to_string(),
    },
    BrokerKey {
        name: "node.id",
        kind: ConfigType::Int,
        documentation: "The broker id that clients see.",
        value: |config| config.node.id.to_string(),
    },
    BrokerKey {
        name: "num.partitions",
        kind: ConfigType::Int,
        documentation: "The number of partitions of a new topic.",
        value: |config| config.topics.partitions.to_string(),
    },
    BrokerKey {
        name: "offset.metadata.max.bytes",
        kind: ConfigType::Int,
        documentation: "The longest metadata string that may accompany a committed offset.",
        value: |config| config.groups.max_offset_metadata_bytes.to_string(),
    },
    BrokerKey {
        name: "offsets.retention.check.interval.ms",
        kind: ConfigType::Long,
        documentation: "How often expired offsets are looked for.",
        value: |config| config.groups.offsets_retention_check_interval_ms.to_string(),
    },
    BrokerKey {
        name: "offsets.topic.num.partitions",
        kind: ConfigType::Int,
        documentation: "The number of partitions of __consumer_offsets.",
        value: |config| config.groups.offsets_partitions.to_string(),
    },
    BrokerKey {
        name: "offsets.topic.replication.factor",
        kind: ConfigType::Short,
        documentation: "The number of copies of each partition of __consumer_offsets.",
        value: |config| config.replication_factor().to_string(),
    },
    BrokerKey {
        name: "producer.id.expiration.ms",
        kind: ConfigType::Int,
        documentation: "How long a partition remembers a producer that sends nothing.",
        value: |config| config.producers.id_expiration_ms.to_string(),
    },
    BrokerKey {
        name: "queued.max.request.bytes",
        kind: ConfigType::Long,
        documentation: "The memory that requests in flight may take together.",
        value: |config| config.kafka.max_inflight_bytes.to_string(),
    },
    BrokerKey {
        name: "socket.request.max.bytes",
        kind: ConfigType::Int,
        documentation: "The largest request.",
        value: |config| config.kafka.max_request_bytes.to_string(),
    },
];
