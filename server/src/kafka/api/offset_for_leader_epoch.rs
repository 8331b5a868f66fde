//! OffsetForLeaderEpoch (key 23): find the end of an epoch.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Asks for the end offsets of leader epochs (KIP-101, KIP-320).
    pub struct OffsetForLeaderEpochRequest {
        /// The broker that asks, -1 for a consumer.
        replica_id: i32, versions 3.., default -2;
        topics: Vec<OffsetForLeaderTopic>;
    }
}

wire_struct! {
    /// The partitions of one topic.
    pub struct OffsetForLeaderTopic {
        topic: KafkaString;
        partitions: Vec<OffsetForLeaderPartition>;
    }
}

wire_struct! {
    /// A partition and the epoch to look for.
    pub struct OffsetForLeaderPartition {
        partition: i32;
        current_leader_epoch: i32, default -1;
        leader_epoch: i32;
    }
}

wire_struct! {
    /// The end offsets of the epochs.
    pub struct OffsetForLeaderEpochResponse {
        throttle_time_ms: i32;
        topics: Vec<OffsetForLeaderTopicResult>;
    }
}

wire_struct! {
    /// The results of one topic.
    pub struct OffsetForLeaderTopicResult {
        topic: KafkaString;
        partitions: Vec<EpochEndOffset>;
    }
}

wire_struct! {
    /// The largest epoch up to the one asked for, and where it ends; -1 if unknown.
    pub struct EpochEndOffset {
        error_code: ErrorCode;
        partition: i32;
        leader_epoch: i32, default -1;
        end_offset: i64, default -1;
    }
}
