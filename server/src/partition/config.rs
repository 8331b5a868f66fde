//! What a topic's configuration means to one partition.

use chronik_core::log_store::SegmentPolicy;

use crate::kafka::record::{TimestampType, ValidationRules};

/// The settings of a partition. A snapshot: a change is a new one, given to [`Partition::set_config`].
///
/// [`Partition::set_config`]: super::Partition::set_config
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionConfig {
    /// `max.message.bytes`: the largest record batch.
    pub max_message_bytes: u64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// Whether `cleanup.policy` contains `delete`: only then retention runs and records may be deleted.
    pub delete: bool,
    /// Whether `cleanup.policy` contains `compact`: every record needs a key then.
    pub compact: bool,
    /// `retention.ms`, none for -1.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`, none for -1.
    pub retention_bytes: Option<u64>,
    /// `remote.storage.enable`: sealed segments go to the object tier.
    pub remote_storage: bool,
    /// `local.retention.ms`, with -2 resolved; none for -1.
    pub local_retention_ms: Option<i64>,
    /// `local.retention.bytes`, with -2 resolved; none for -1.
    pub local_retention_bytes: Option<u64>,
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// `producer.id.expiration.ms`: how long a silent producer is remembered.
    pub producer_id_expiration_ms: i64,
    /// `replica.lag.time.max.ms`: how long a voter may be silent and still count as in sync.
    pub replica_lag_time_max_ms: u64,
}

impl PartitionConfig {
    /// Kafka 4.3's defaults.
    pub const DEFAULTS: Self = Self {
        max_message_bytes: 1_048_588,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        delete: true,
        compact: false,
        retention_ms: Some(7 * 24 * 3_600_000),
        retention_bytes: None,
        remote_storage: false,
        local_retention_ms: Some(7 * 24 * 3_600_000),
        local_retention_bytes: None,
        segment_bytes: 1 << 30,
        segment_ms: 7 * 24 * 3_600_000,
        min_insync_replicas: 1,
        producer_id_expiration_ms: 24 * 3_600_000,
        replica_lag_time_max_ms: 30_000,
    };

    /// How the store cuts segments.
    pub const fn segment_policy(&self) -> SegmentPolicy {
        SegmentPolicy {
            segment_bytes: self.segment_bytes,
        }
    }

    /// The rules for a batch from a client whose request may carry zstd or not.
    pub const fn validation_rules(&self, zstd_allowed: bool) -> ValidationRules {
        ValidationRules {
            max_message_bytes: self.max_message_bytes,
            timestamp_type: self.timestamp_type,
            timestamp_before_max_ms: self.timestamp_before_max_ms,
            timestamp_after_max_ms: self.timestamp_after_max_ms,
            key_required: self.compact,
            zstd_allowed,
        }
    }
}

impl Default for PartitionConfig {
    fn default() -> Self {
        Self::DEFAULTS
    }
}
