//! The table of topic configs.

use super::rule::{ConfigType, Rule};
use crate::config::TopicsConfig;

/// A topic config that is obeyed.
#[derive(Debug)]
pub struct TopicKey {
    /// Its name.
    pub name: &'static str,
    /// The broker config that holds the default of topics that do not set it.
    pub broker_name: Option<&'static str>,
    /// Which values it takes.
    pub rule: Rule,
    /// What it does.
    pub documentation: &'static str,
    /// The node's default.
    pub in_file: fn(&TopicsConfig) -> String,
}

/// Every topic config that is obeyed, by name.
pub const TOPIC_KEYS: &[TopicKey] = &[
    TopicKey {
        name: "cleanup.policy",
        broker_name: Some("log.cleanup.policy"),
        rule: Rule::Only {
            kind: ConfigType::List,
            value: "delete",
            why: "compaction is not supported yet",
        },
        documentation: "What happens to old segments: they are deleted when they are too old or too many.",
        in_file: |_| "delete".into(),
    },
    TopicKey {
        name: "compression.type",
        broker_name: Some("compression.type"),
        rule: Rule::Only {
            kind: ConfigType::String,
            value: "producer",
            why: "batches are stored as the producer compressed them",
        },
        documentation: "The compression of stored batches: the one that the producer chose.",
        in_file: |_| "producer".into(),
    },
    TopicKey {
        name: "flush.messages",
        broker_name: Some("log.flush.interval.messages"),
        rule: Rule::Long { min: 1 },
        documentation: "After how many records the log is forced to disk. Every batch is on disk before it is \
                        acknowledged, so any value is satisfied.",
        in_file: |_| "1".into(),
    },
    TopicKey {
        name: "flush.ms",
        broker_name: Some("log.flush.interval.ms"),
        rule: Rule::Long { min: 0 },
        documentation: "After how long the log is forced to disk. Every batch is on disk before it is acknowledged, \
                        so any value is satisfied.",
        in_file: |_| "0".into(),
    },
    TopicKey {
        name: "local.retention.bytes",
        broker_name: Some("log.local.retention.bytes"),
        rule: Rule::Long { min: -2 },
        documentation: "How much of a partition is kept on the local disk where the object tier has it, in bytes. -2 is \
                        retention.bytes, -1 is no limit.",
        in_file: |file| file.local_retention_bytes.to_string(),
    },
    TopicKey {
        name: "local.retention.ms",
        broker_name: Some("log.local.retention.ms"),
        rule: Rule::Long { min: -2 },
        documentation: "How long a segment that is in the object tier is kept on the local disk as well, in \
                        milliseconds. -2 is retention.ms, -1 is no limit.",
        in_file: |file| file.local_retention_ms.to_string(),
    },
    TopicKey {
        name: "max.message.bytes",
        broker_name: Some("message.max.bytes"),
        rule: Rule::Int { min: 0 },
        documentation: "The largest record batch, after compression.",
        in_file: |file| file.max_message_bytes.to_string(),
    },
    TopicKey {
        name: "message.timestamp.after.max.ms",
        broker_name: Some("log.message.timestamp.after.max.ms"),
        rule: Rule::Long { min: 0 },
        documentation: "How far a producer's timestamp may lie ahead of the broker's clock, in milliseconds. Not used \
                        with message.timestamp.type=LogAppendTime.",
        in_file: |file| file.message_timestamp_after_max_ms.to_string(),
    },
    TopicKey {
        name: "message.timestamp.before.max.ms",
        broker_name: Some("log.message.timestamp.before.max.ms"),
        rule: Rule::Long { min: 0 },
        documentation: "How far a producer's timestamp may lie behind the broker's clock, in milliseconds. Not used \
                        with message.timestamp.type=LogAppendTime.",
        in_file: |file| file.message_timestamp_before_max_ms.to_string(),
    },
    TopicKey {
        name: "message.timestamp.type",
        broker_name: Some("log.message.timestamp.type"),
        rule: Rule::Word(&["CreateTime", "LogAppendTime"]),
        documentation: "Whose clock a record's timestamp comes from: the producer's or the broker's.",
        in_file: |file| file.message_timestamp_type.name().into(),
    },
    TopicKey {
        name: "min.insync.replicas",
        broker_name: Some("min.insync.replicas"),
        rule: Rule::Int { min: 1 },
        documentation: "The number of replicas that must be in sync for a write with acks=all; below it the write is \
                        refused.",
        in_file: |file| file.min_insync_replicas.to_string(),
    },
    TopicKey {
        name: "remote.storage.enable",
        broker_name: None,
        rule: Rule::Switch,
        documentation: "Whether sealed segments are copied into the object tier.",
        in_file: |file| file.remote_storage_enable.to_string(),
    },
    TopicKey {
        name: "retention.bytes",
        broker_name: Some("log.retention.bytes"),
        rule: Rule::Long { min: -1 },
        documentation: "How much of a partition is kept, in bytes; old segments beyond it are deleted. -1 is no limit.",
        in_file: |file| file.retention_bytes.to_string(),
    },
    TopicKey {
        name: "retention.ms",
        broker_name: Some("log.retention.ms"),
        rule: Rule::Long { min: -1 },
        documentation: "How long a segment is kept after its newest record, in milliseconds. -1 is no limit.",
        in_file: |file| file.retention_ms.to_string(),
    },
    TopicKey {
        name: "segment.bytes",
        broker_name: Some("log.segment.bytes"),
        rule: Rule::Int { min: 1 << 20 },
        documentation: "The size at which a segment is sealed and the next one begins. Retention deletes whole segments.",
        in_file: |file| file.segment_bytes.to_string(),
    },
    TopicKey {
        name: "segment.ms",
        broker_name: Some("log.roll.ms"),
        rule: Rule::Long { min: 1 },
        documentation: "The age at which a segment is sealed even if it is not full, in milliseconds.",
        in_file: |file| file.segment_ms.to_string(),
    },
    TopicKey {
        name: "unclean.leader.election.enable",
        broker_name: Some("unclean.leader.election.enable"),
        rule: Rule::Only {
            kind: ConfigType::Boolean,
            value: "false",
            why: "a replica that lacks committed records is never elected",
        },
        documentation: "Whether a replica that is not in sync may be elected: never.",
        in_file: |_| "false".into(),
    },
];

const COMPACTION: &str = "compaction is not supported yet";
const RECOMPRESSION: &str = "batches are stored as the producer compressed them";
const TIER: &str = "segments are copied as soon as they are sealed, and deleted with their records";
const QUOTA: &str = "replication quotas are not supported yet";
const OWN_FILES: &str = "the store lays out its files by itself";

/// Topic configs of Kafka that are not obeyed, and why.
pub const NOT_OBEYED: &[(&str, &str)] = &[
    ("compression.gzip.level", RECOMPRESSION),
    ("compression.lz4.level", RECOMPRESSION),
    ("compression.zstd.level", RECOMPRESSION),
    ("delete.retention.ms", COMPACTION),
    (
        "errors.deadletterqueue.group.enable",
        "share groups are not supported yet",
    ),
    ("file.delete.delay.ms", OWN_FILES),
    ("follower.replication.throttled.replicas", QUOTA),
    (
        "index.interval.bytes",
        "it is set for the node, in the configuration file",
    ),
    ("leader.replication.throttled.replicas", QUOTA),
    ("max.compaction.lag.ms", COMPACTION),
    (
        "message.downconversion.enable",
        "old message formats are not supported",
    ),
    ("message.format.version", "old message formats are not supported"),
    (
        "message.timestamp.difference.max.ms",
        "use message.timestamp.before.max.ms and message.timestamp.after.max.ms",
    ),
    ("min.cleanable.dirty.ratio", COMPACTION),
    ("min.compaction.lag.ms", COMPACTION),
    ("preallocate", OWN_FILES),
    ("remote.copy.lag.bytes", TIER),
    ("remote.copy.lag.ms", TIER),
    ("remote.log.copy.disable", TIER),
    ("remote.log.delete.on.disable", TIER),
    ("segment.index.bytes", OWN_FILES),
    ("segment.jitter.ms", "segments are sealed without jitter"),
];
