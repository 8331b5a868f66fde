//! Heartbeat (key 12): stay in a group.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Tells the coordinator that a member lives.
    pub struct HeartbeatRequest {
        group_id: KafkaString;
        generation_id: i32;
        member_id: KafkaString;
        group_instance_id: Option<KafkaString>, versions 3..;
    }
}

wire_struct! {
    /// Whether the member is still in the group.
    pub struct HeartbeatResponse {
        throttle_time_ms: i32, versions 1..;
        error_code: ErrorCode;
    }
}
