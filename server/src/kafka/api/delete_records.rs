//! DeleteRecords (key 21): cut off the start of partitions.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Deletes the records before an offset.
    pub struct DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic>;
        timeout_ms: i32;
    }
}

wire_struct! {
    /// The partitions of one topic.
    pub struct DeleteRecordsTopic {
        name: KafkaString;
        partitions: Vec<DeleteRecordsPartition>;
    }
}

wire_struct! {
    /// A partition and its new start; -1 is the high watermark.
    pub struct DeleteRecordsPartition {
        partition_index: i32;
        offset: i64;
    }
}

wire_struct! {
    /// The new start of each partition.
    pub struct DeleteRecordsResponse {
        throttle_time_ms: i32;
        topics: Vec<DeleteRecordsTopicResult>;
    }
}

wire_struct! {
    /// The results of one topic.
    pub struct DeleteRecordsTopicResult {
        name: KafkaString;
        partitions: Vec<DeleteRecordsPartitionResult>;
    }
}

wire_struct! {
    /// The result of one partition.
    pub struct DeleteRecordsPartitionResult {
        partition_index: i32;
        low_watermark: i64;
        error_code: ErrorCode;
    }
}
