//! Metadata (key 3): describe the cluster.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};

wire_struct! {
    /// Asks for the brokers, and for topics with their partitions and leaders.
    pub struct MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>>, nullable 1.., default Some(Vec::new());
        allow_auto_topic_creation: bool, versions 4.., default true;
        include_cluster_authorized_operations: bool, versions 8..=10;
        include_topic_authorized_operations: bool, versions 8..;
    }
}

wire_struct! {
    /// A topic to describe, by name or by id.
    pub struct MetadataRequestTopic {
        topic_id: Uuid, versions 10..;
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
        topic_authorized_operations: i32, versions 8.., default i32::MIN;
    }
}

wire_struct! {
    /// A partition.
    pub struct MetadataResponsePartition {
        error_code: ErrorCode;
        partition_index: i32;
        leader_id: i32;
        leader_epoch: i32, versions 7.., default -1;
        replica_nodes: Vec<i32>;
        isr_nodes: Vec<i32>;
        offline_replicas: Vec<i32>, versions 5..;
    }
}
