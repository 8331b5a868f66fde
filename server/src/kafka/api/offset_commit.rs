//! OffsetCommit (key 8): store group offsets.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};

wire_struct! {
    /// Stores the offsets that a group has consumed.
    pub struct OffsetCommitRequest {
        group_id: KafkaString;
        /// -1 if the group is used without membership.
        generation_id_or_member_epoch: i32, default -1;
        member_id: KafkaString;
        group_instance_id: Option<KafkaString>, versions 7..;
        /// How long to keep the offsets, -1 for the default of the broker.
        retention_time_ms: i64, versions ..=4, default -1;
        topics: Vec<OffsetCommitRequestTopic>;
    }
}

wire_struct! {
    /// The offsets of one topic.
    pub struct OffsetCommitRequestTopic {
        name: KafkaString, versions ..=9;
        topic_id: Uuid, versions 10..;
        partitions: Vec<OffsetCommitRequestPartition>;
    }
}

wire_struct! {
    /// The offset of one partition.
    pub struct OffsetCommitRequestPartition {
        partition_index: i32;
        committed_offset: i64;
        /// The epoch of the last consumed record, -1 if not known.
        committed_leader_epoch: i32, versions 6.., default -1;
        committed_metadata: Option<KafkaString>;
    }
}

wire_struct! {
    /// What became of each offset.
    pub struct OffsetCommitResponse {
        throttle_time_ms: i32, versions 3..;
        topics: Vec<OffsetCommitResponseTopic>;
    }
}

wire_struct! {
    /// The results of one topic.
    pub struct OffsetCommitResponseTopic {
        name: KafkaString, versions ..=9;
        topic_id: Uuid, versions 10..;
        partitions: Vec<OffsetCommitResponsePartition>;
    }
}

wire_struct! {
    /// The result of one partition.
    pub struct OffsetCommitResponsePartition {
        partition_index: i32;
        error_code: ErrorCode;
    }
}
