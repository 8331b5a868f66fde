//! CreatePartitions (key 37): add partitions.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Raises the number of partitions of topics.
    pub struct CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic>;
        timeout_ms: i32;
        validate_only: bool;
    }
}

wire_struct! {
    /// A topic and its new number of partitions.
    pub struct CreatePartitionsTopic {
        name: KafkaString;
        /// The number of partitions after the change.
        count: i32;
        /// Null to let the broker choose.
        assignments: Option<Vec<CreatePartitionsAssignment>>, default Some(Vec::new());
    }
}

wire_struct! {
    /// The brokers of one new partition.
    pub struct CreatePartitionsAssignment {
        broker_ids: Vec<i32>;
    }
}

wire_struct! {
    /// What became of each topic.
    pub struct CreatePartitionsResponse {
        throttle_time_ms: i32;
        results: Vec<CreatePartitionsTopicResult>;
    }
}

wire_struct! {
    /// The result of one topic.
    pub struct CreatePartitionsTopicResult {
        name: KafkaString;
        error_code: ErrorCode;
        error_message: Option<KafkaString>;
    }
}
