//! The limits and periods of the group coordinator.

use crate::config::GroupsConfig;
use std::time::Duration;

/// How long a member that was just added may wait for its first rebalance. Its client has no member id yet, so that it
/// cannot send heartbeats; a client that gave up would otherwise stay a member for ever.
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Limits and periods. Times are milliseconds where the configuration gives them so.
#[derive(Clone, Debug)]
pub struct GroupLimits {
    /// The shortest session timeout that a member may ask for.
    pub min_session_timeout_ms: i32,
    /// The longest session timeout that a member may ask for.
    pub max_session_timeout_ms: i32,
    /// How long the first rebalance of an empty group waits for more members.
    pub initial_rebalance_delay: Duration,
    /// How long a new member may wait for its first rebalance.
    pub new_member_join_timeout: Duration,
    /// The number of members of a group, and of clients that were given a member id and did not join yet.
    pub max_group_size: usize,
    /// How long offsets outlive the last use of their group.
    pub offsets_retention_ms: i64,
    /// How often expired offsets are looked for.
    pub retention_check_interval: Duration,
    /// The longest metadata string of a committed offset, in UTF-16 units as Kafka counts.
    pub max_offset_metadata: usize,
    /// The most bytes of records in one batch of a snapshot or of an expiry.
    pub max_batch_bytes: usize,
    /// The log of a partition is not compacted below this size.
    pub compact_min_bytes: u64,
    /// The log of a partition is compacted when it is this many times as large as its live state.
    pub compact_ratio: u64,
}

impl From<&GroupsConfig> for GroupLimits {
    fn from(config: &GroupsConfig) -> Self {
        Self {
            min_session_timeout_ms: config.min_session_timeout_ms,
            max_session_timeout_ms: config.max_session_timeout_ms,
            initial_rebalance_delay: Duration::from_millis(config.initial_rebalance_delay_ms),
            new_member_join_timeout: NEW_MEMBER_JOIN_TIMEOUT,
            max_group_size: config.max_group_size,
            offsets_retention_ms: config.offsets_retention_ms,
            retention_check_interval: Duration::from_millis(config.offsets_retention_check_interval_ms),
            max_offset_metadata: config.max_offset_metadata_bytes,
            max_batch_bytes: 256 << 10,
            compact_min_bytes: 4 << 20,
            compact_ratio: 4,
        }
    }
}
