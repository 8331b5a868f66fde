//! OffsetFetch (key 9): read group offsets.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};

wire_struct! {
    /// Asks for the offsets that groups have stored; up to version 7 for one group.
    pub struct OffsetFetchRequest {
        group_id: KafkaString, versions ..=7;
        /// Null is all topics that the group has offsets of.
        topics: Option<Vec<OffsetFetchRequestTopic>>, versions ..=7, nullable 2..=7, default Some(Vec::new());
        groups: Vec<OffsetFetchRequestGroup>, versions 8..;
        /// Whether to fail for offsets that a transaction is about to change.
        require_stable: bool, versions 7..;
    }
}

wire_struct! {
    /// Partitions to read, up to version 7.
    pub struct OffsetFetchRequestTopic {
        name: KafkaString;
        partition_indexes: Vec<i32>;
    }
}

wire_struct! {
    /// A group to read, from version 8.
    pub struct OffsetFetchRequestGroup {
        group_id: KafkaString;
        member_id: Option<KafkaString>, versions 9..;
        member_epoch: i32, versions 9.., default -1;
        /// Null is all topics that the group has offsets of.
        topics: Option<Vec<OffsetFetchRequestTopics>>, default Some(Vec::new());
    }
}

wire_struct! {
    /// Partitions to read, from version 8.
    pub struct OffsetFetchRequestTopics {
        name: KafkaString, versions 8..=9;
        topic_id: Uuid, versions 10..;
        partition_indexes: Vec<i32>;
    }
}

wire_struct! {
    /// The stored offsets: `topics` and `error_code` up to version 7, `groups` from version 8.
    pub struct OffsetFetchResponse {
        throttle_time_ms: i32, versions 3..;
        topics: Vec<OffsetFetchResponseTopic>, versions ..=7;
        error_code: ErrorCode, versions 2..=7;
        groups: Vec<OffsetFetchResponseGroup>, versions 8..;
    }
}

wire_struct! {
    /// The offsets of one topic, up to version 7.
    pub struct OffsetFetchResponseTopic {
        name: KafkaString;
        partitions: Vec<OffsetFetchResponsePartition>;
    }
}

wire_struct! {
    /// The offset of one partition, up to version 7; -1 if none is stored.
    pub struct OffsetFetchResponsePartition {
        partition_index: i32;
        committed_offset: i64;
        committed_leader_epoch: i32, versions 5..=7, default -1;
        metadata: Option<KafkaString>;
        error_code: ErrorCode;
    }
}

wire_struct! {
    /// The offsets of one group, from version 8.
    pub struct OffsetFetchResponseGroup {
        group_id: KafkaString;
        topics: Vec<OffsetFetchResponseTopics>;
        error_code: ErrorCode;
    }
}

wire_struct! {
    /// The offsets of one topic, from version 8.
    pub struct OffsetFetchResponseTopics {
        name: KafkaString, versions 8..=9;
        topic_id: Uuid, versions 10..;
        partitions: Vec<OffsetFetchResponsePartitions>;
    }
}

wire_struct! {
    /// The offset of one partition, from version 8; -1 if none is stored.
    pub struct OffsetFetchResponsePartitions {
        partition_index: i32;
        committed_offset: i64;
        committed_leader_epoch: i32, default -1;
        metadata: Option<KafkaString>;
        error_code: ErrorCode;
    }
}
