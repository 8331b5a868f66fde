//! Metadata (key 3): describe the cluster.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};

wire_struct! {
    /// Asks for the brokers, and for topics with their partitions and leaders.
    pub struct MetadataRequest {
        /// The topics to describe. Null is all of them; so is an empty list in version 0.
        topics: Option<Vec<MetadataRequestTopic>>, nullable 1.., default Some(Vec::new());
        allow_auto_topic_creation: bool, versions 4.., default true;
        include_cluster_authorized_operations: bool, versions 8..=10;
        include_topic_authorized_operations: bool, versions 8..;
    }
}

wire_struct! {
    /// A topic to describe, by name or by id.
    pub struct MetadataRequestTopic {
        /// Zero to ask by name.
        topic_id: Uuid, versions 10..;
        /// Null to ask by id.
        name: Option<KafkaString>, nullable 10..;
    }
}

wire_struct! {
    /// The brokers and topics of the cluster.
    pub struct MetadataResponse {
        throttle_time_ms: i32, versions 3..;
        brokers: Vec<MetadataResponseBroker>;
        cluster_id: Option<KafkaString>, versions 2..;
        controller_id: i32, versions 1.., default -1;
        topics: Vec<MetadataResponseTopic>;
        cluster_authorized_operations: i32, versions 8..=10, default i32::MIN;
        error_code: ErrorCode, versions 13..;
    }
}

wire_struct! {
    /// A broker and its address.
    pub struct MetadataResponseBroker {
        node_id: i32;
        host: KafkaString;
        port: i32;
        rack: Option<KafkaString>, versions 1..;
    }
}

wire_struct! {
    /// A topic.
    pub struct MetadataResponseTopic {
        error_code: ErrorCode;
        name: Option<KafkaString>, nullable 12..;
        topic_id: Uuid, versions 10..;
        is_internal: bool, versions 1..;
        partitions: Vec<MetadataResponsePartition>;
        /// A bit for each operation, `i32::MIN` if not asked for (KIP-430).
        topic_authorized_operations: i32, versions 8.., default i32::MIN;
    }
}

wire_struct! {
    /// A partition.
    pub struct MetadataResponsePartition {
        error_code: ErrorCode;
        partition_index: i32;
        /// -1 if there is none.
        leader_id: i32;
        leader_epoch: i32, versions 7.., default -1;
        replica_nodes: Vec<i32>;
        isr_nodes: Vec<i32>;
        offline_replicas: Vec<i32>, versions 5..;
    }
}
