//! DeleteTopics (key 20): delete topics.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};

wire_struct! {
    /// Deletes topics: by `topic_names` up to version 5, by `topics` from version 6.
    pub struct DeleteTopicsRequest {
        topics: Vec<DeleteTopicState>, versions 6..;
        topic_names: Vec<KafkaString>, versions ..=5;
        timeout_ms: i32;
    }
}

wire_struct! {
    /// A topic to delete, by name or by id.
    pub struct DeleteTopicState {
        /// Null to delete by id.
        name: Option<KafkaString>;
        topic_id: Uuid;
    }
}

wire_struct! {
    /// What became of each topic.
    pub struct DeleteTopicsResponse {
        throttle_time_ms: i32;
        responses: Vec<DeletableTopicResult>;
    }
}

wire_struct! {
    /// The result of one topic.
    pub struct DeletableTopicResult {
        name: Option<KafkaString>, nullable 6..;
        topic_id: Uuid, versions 6..;
        error_code: ErrorCode;
        error_message: Option<KafkaString>, versions 5..;
    }
}
