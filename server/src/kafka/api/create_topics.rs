//! CreateTopics (key 19): create topics.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};

wire_struct! {
    /// Creates topics.
    pub struct CreateTopicsRequest {
        topics: Vec<CreatableTopic>;
        timeout_ms: i32, default 60000;
        /// Whether to check the request and create nothing.
        validate_only: bool;
    }
}

wire_struct! {
    /// A topic to create.
    pub struct CreatableTopic {
        name: KafkaString;
        /// -1 for the default of the broker, or with assignments.
        num_partitions: i32;
        /// -1 for the default of the broker, or with assignments.
        replication_factor: i16;
        assignments: Vec<CreatableReplicaAssignment>;
        configs: Vec<CreatableTopicConfig>;
    }
}

wire_struct! {
    /// The brokers of one partition.
    pub struct CreatableReplicaAssignment {
        partition_index: i32;
        broker_ids: Vec<i32>;
    }
}

wire_struct! {
    /// A configuration value to set.
    pub struct CreatableTopicConfig {
        name: KafkaString;
        value: Option<KafkaString>;
    }
}

wire_struct! {
    /// What became of each topic.
    pub struct CreateTopicsResponse {
        throttle_time_ms: i32;
        topics: Vec<CreatableTopicResult>;
    }
}

wire_struct! {
    /// The result of one topic.
    pub struct CreatableTopicResult {
        name: KafkaString;
        topic_id: Uuid, versions 7..;
        error_code: ErrorCode;
        error_message: Option<KafkaString>;
        topic_config_error_code: ErrorCode, versions 5.., tag 0;
        num_partitions: i32, versions 5.., default -1;
        replication_factor: i16, versions 5.., default -1;
        configs: Option<Vec<CreatableTopicConfigs>>, versions 5.., default Some(Vec::new());
    }
}

wire_struct! {
    /// A configuration value of the new topic (KIP-525).
    pub struct CreatableTopicConfigs {
        name: KafkaString;
        value: Option<KafkaString>;
        read_only: bool;
        config_source: i8, default -1;
        is_sensitive: bool;
    }
}
