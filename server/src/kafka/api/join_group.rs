//! JoinGroup (key 11): enter a group.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};
use bytes::Bytes;

wire_struct! {
    /// Enters a group, or a new generation of it.
    pub struct JoinGroupRequest {
        group_id: KafkaString;
        session_timeout_ms: i32;
        rebalance_timeout_ms: i32, versions 1.., default -1;
        member_id: KafkaString;
        group_instance_id: Option<KafkaString>, versions 5..;
        protocol_type: KafkaString;
        protocols: Vec<JoinGroupRequestProtocol>;
        reason: Option<KafkaString>, versions 8..;
    }
}

wire_struct! {
    /// An assignment protocol that the member knows.
    pub struct JoinGroupRequestProtocol {
        name: KafkaString;
        metadata: Bytes;
    }
}

wire_struct! {
    /// The new generation; for its leader also the members.
    pub struct JoinGroupResponse {
        throttle_time_ms: i32, versions 2..;
        error_code: ErrorCode;
        generation_id: i32, default -1;
        protocol_type: Option<KafkaString>, versions 7..;
        protocol_name: Option<KafkaString>, nullable 7..;
        leader: KafkaString;
        skip_assignment: bool, versions 9..;
        member_id: KafkaString;
        members: Vec<JoinGroupResponseMember>;
    }
}

wire_struct! {
    /// A member of the generation, told to the leader.
    pub struct JoinGroupResponseMember {
        member_id: KafkaString;
        group_instance_id: Option<KafkaString>, versions 5..;
        metadata: Bytes;
    }
}
