//! DeleteGroups (key 42): delete groups.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Deletes empty groups with their offsets.
    pub struct DeleteGroupsRequest {
        groups_names: Vec<KafkaString>;
    }
}

wire_struct! {
    /// What became of each group.
    pub struct DeleteGroupsResponse {
        throttle_time_ms: i32;
        results: Vec<DeletableGroupResult>;
    }
}

wire_struct! {
    /// The result of one group.
    pub struct DeletableGroupResult {
        group_id: KafkaString;
        error_code: ErrorCode;
    }
}
