//! SyncGroup (key 14): exchange assignments.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};
use bytes::Bytes;

wire_struct! {
    /// Brings the leader's assignments, and asks for one's own.
    pub struct SyncGroupRequest {
        group_id: KafkaString;
        generation_id: i32;
        member_id: KafkaString;
        group_instance_id: Option<KafkaString>, versions 3..;
        protocol_type: Option<KafkaString>, versions 5..;
        protocol_name: Option<KafkaString>, versions 5..;
        /// Empty unless the member is the leader.
        assignments: Vec<SyncGroupRequestAssignment>;
    }
}

wire_struct! {
    /// The assignment of one member.
    pub struct SyncGroupRequestAssignment {
        member_id: KafkaString;
        assignment: Bytes;
    }
}

wire_struct! {
    /// The assignment of the member.
    pub struct SyncGroupResponse {
        throttle_time_ms: i32, versions 1..;
        error_code: ErrorCode;
        protocol_type: Option<KafkaString>, versions 5..;
        protocol_name: Option<KafkaString>, versions 5..;
        assignment: Bytes;
    }
}
