//! ListOffsets (key 2): find offsets by time.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Asks for the offset of a timestamp, or of a special one.
    ///
    /// -1 is the end, -2 the start, -3 the largest timestamp, -4 the local start, -5 the end of the tier, and -6 the
    /// first offset that is still to be tiered.
    pub struct ListOffsetsRequest {
        /// The broker that asks, -1 for a consumer.
        replica_id: i32;
        /// 0 read_uncommitted, 1 read_committed: whether the end is the last stable offset.
        isolation_level: i8, versions 2..;
        topics: Vec<ListOffsetsTopic>;
        /// How long to wait for the remote tier.
        timeout_ms: i32, versions 10..;
    }
}

wire_struct! {
    /// The partitions of one topic to ask for.
    pub struct ListOffsetsTopic {
        name: KafkaString;
        partitions: Vec<ListOffsetsPartition>;
    }
}

wire_struct! {
    /// A partition and the time to look for.
    pub struct ListOffsetsPartition {
        partition_index: i32;
        current_leader_epoch: i32, versions 4.., default -1;
        /// Milliseconds since 1970, or one of the special ones above.
        timestamp: i64;
    }
}

wire_struct! {
    /// The offsets that were found.
    pub struct ListOffsetsResponse {
        throttle_time_ms: i32, versions 2..;
        topics: Vec<ListOffsetsTopicResponse>;
    }
}

wire_struct! {
    /// The offsets of one topic.
    pub struct ListOffsetsTopicResponse {
        name: KafkaString;
        partitions: Vec<ListOffsetsPartitionResponse>;
    }
}

wire_struct! {
    /// The offset that was found in one partition.
    pub struct ListOffsetsPartitionResponse {
        partition_index: i32;
        error_code: ErrorCode;
        /// The timestamp of the record that was found, -1 for none or a special one.
        timestamp: i64, default -1;
        /// The offset that was found, -1 for none.
        offset: i64, default -1;
        leader_epoch: i32, versions 4.., default -1;
    }
}
