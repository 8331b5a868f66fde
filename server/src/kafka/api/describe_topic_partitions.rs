//! DescribeTopicPartitions (key 75): describe topics in pages.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};

wire_struct! {
    /// Asks for topics and partitions, at most a page of them (KIP-966).
    pub struct DescribeTopicPartitionsRequest {
        topics: Vec<TopicRequest>;
        /// The most partitions of a page.
        response_partition_limit: i32, default 2000;
        /// Where to start, null for the beginning.
        cursor: Option<Cursor>;
    }
}

wire_struct! {
    /// A topic to describe.
    pub struct TopicRequest {
        name: KafkaString;
    }
}

wire_struct! {
    /// Where a page starts.
    pub struct Cursor {
        topic_name: KafkaString;
        partition_index: i32;
    }
}

wire_struct! {
    /// A page of topics, and where the next one starts.
    pub struct DescribeTopicPartitionsResponse {
        throttle_time_ms: i32;
        topics: Vec<DescribeTopicPartitionsResponseTopic>;
        /// Where the next page starts, null if there is none.
        next_cursor: Option<Cursor>;
    }
}

wire_struct! {
    /// A topic.
    pub struct DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode;
        name: Option<KafkaString>;
        topic_id: Uuid;
        is_internal: bool;
        partitions: Vec<DescribeTopicPartitionsResponsePartition>;
        topic_authorized_operations: i32, default i32::MIN;
    }
}

wire_struct! {
    /// A partition.
    pub struct DescribeTopicPartitionsResponsePartition {
        error_code: ErrorCode;
        partition_index: i32;
        leader_id: i32;
        leader_epoch: i32, default -1;
        replica_nodes: Vec<i32>;
        isr_nodes: Vec<i32>;
        eligible_leader_replicas: Option<Vec<i32>>;
        last_known_elr: Option<Vec<i32>>;
        offline_replicas: Vec<i32>;
    }
}
