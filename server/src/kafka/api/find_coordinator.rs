//! FindCoordinator (key 10): find a coordinator.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Asks which broker coordinates a group or transactional id; from version 4 for several at once.
    pub struct FindCoordinatorRequest {
        /// A group or transactional id, up to version 3.
        key: KafkaString, versions ..=3;
        /// 0 a group, 1 a transactional id, 2 a share group.
        key_type: i8, versions 1..;
        coordinator_keys: Vec<KafkaString>, versions 4..;
    }
}

wire_struct! {
    /// The coordinator: single fields up to version 3, `coordinators` from version 4.
    pub struct FindCoordinatorResponse {
        throttle_time_ms: i32, versions 1..;
        error_code: ErrorCode, versions ..=3;
        error_message: Option<KafkaString>, versions 1..=3;
        node_id: i32, versions ..=3;
        host: KafkaString, versions ..=3;
        port: i32, versions ..=3;
        coordinators: Vec<Coordinator>, versions 4..;
    }
}

wire_struct! {
    /// The coordinator of one key.
    pub struct Coordinator {
        key: KafkaString;
        node_id: i32;
        host: KafkaString;
        port: i32;
        error_code: ErrorCode;
        error_message: Option<KafkaString>;
    }
}
