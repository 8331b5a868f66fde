//! OffsetDelete (key 47): delete group offsets.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Deletes stored offsets of a group (KIP-496).
    pub struct OffsetDeleteRequest {
        group_id: KafkaString;
        topics: Vec<OffsetDeleteRequestTopic>;
    }
}

wire_struct! {
    /// The partitions of one topic.
    pub struct OffsetDeleteRequestTopic {
        name: KafkaString;
        partitions: Vec<OffsetDeleteRequestPartition>;
    }
}

wire_struct! {
    /// A partition.
    pub struct OffsetDeleteRequestPartition {
        partition_index: i32;
    }
}

wire_struct! {
    /// What became of each offset.
    pub struct OffsetDeleteResponse {
        error_code: ErrorCode;
        throttle_time_ms: i32;
        topics: Vec<OffsetDeleteResponseTopic>;
    }
}

wire_struct! {
    /// The results of one topic.
    pub struct OffsetDeleteResponseTopic {
        name: KafkaString;
        partitions: Vec<OffsetDeleteResponsePartition>;
    }
}

wire_struct! {
    /// The result of one partition.
    pub struct OffsetDeleteResponsePartition {
        partition_index: i32;
        error_code: ErrorCode;
    }
}
