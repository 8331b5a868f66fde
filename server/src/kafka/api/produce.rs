//! Produce (key 0): append record batches.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};
use bytes::BytesMut;

wire_struct! {
    /// Appends record batches to partitions. With `acks` 0 there is no response.
    pub struct ProduceRequest {
        /// The transactional id, or null outside of a transaction.
        transactional_id: Option<KafkaString>;
        /// When to answer: 0 never, 1 when the leader has it, -1 when it is committed.
        acks: i16;
        /// How long to wait for the commit.
        timeout_ms: i32;
        topic_data: Vec<TopicProduceData>;
    }
}

wire_struct! {
    /// The batches for one topic.
    pub struct TopicProduceData {
        name: KafkaString, versions ..=12;
        topic_id: Uuid, versions 13..;
        partition_data: Vec<PartitionProduceData>;
    }
}

wire_struct! {
    /// The batches for one partition.
    pub struct PartitionProduceData {
        index: i32;
        /// Exactly one record batch of format 2, to be changed in place.
        records: Option<BytesMut>, default Some(BytesMut::new());
    }
}

wire_struct! {
    /// What became of each partition's batches.
    pub struct ProduceResponse {
        responses: Vec<TopicProduceResponse>;
        throttle_time_ms: i32;
        /// Where the leaders are that `current_leader` names.
        node_endpoints: Vec<NodeEndpoint>, versions 10.., tag 0;
    }
}

wire_struct! {
    /// The results of one topic.
    pub struct TopicProduceResponse {
        name: KafkaString, versions ..=12;
        topic_id: Uuid, versions 13..;
        partition_responses: Vec<PartitionProduceResponse>;
    }
}

wire_struct! {
    /// The result of one partition.
    pub struct PartitionProduceResponse {
        index: i32;
        error_code: ErrorCode;
        /// The offset of the first record, -1 on an error.
        base_offset: i64;
        /// The time given by the broker under `LogAppendTime`, else -1.
        log_append_time_ms: i64, default -1;
        /// The first offset of the log.
        log_start_offset: i64, versions 5.., default -1;
        record_errors: Vec<BatchIndexAndErrorMessage>, versions 8..;
        error_message: Option<KafkaString>, versions 8..;
        current_leader: LeaderIdAndEpoch, versions 10.., tag 0;
    }
}

wire_struct! {
    /// A record that caused its batch to be refused (KIP-467).
    pub struct BatchIndexAndErrorMessage {
        batch_index: i32;
        batch_index_error_message: Option<KafkaString>;
    }
}

wire_struct! {
    /// The current leader of a partition (KIP-951); -1 if not told.
    pub struct LeaderIdAndEpoch {
        leader_id: i32, default -1;
        leader_epoch: i32, default -1;
    }
}

wire_struct! {
    /// The address of a leader that the response names (KIP-951).
    pub struct NodeEndpoint {
        node_id: i32;
        host: KafkaString;
        port: i32;
        rack: Option<KafkaString>;
    }
}
