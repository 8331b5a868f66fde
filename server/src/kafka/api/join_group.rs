//! JoinGroup (key 11): enter a group.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};
use bytes::Bytes;

wire_struct! {
    /// Enters a group, or a new generation of it.
    pub struct JoinGroupRequest {
        group_id: KafkaString;
        /// Out of the group after so long without a heartbeat.
        session_timeout_ms: i32;
        /// How long members may take to join a new generation.
        rebalance_timeout_ms: i32, versions 1.., default -1;
        /// Empty at first: the coordinator gives one.
        member_id: KafkaString;
        /// The name of a static member (KIP-345).
        group_instance_id: Option<KafkaString>, versions 5..;
        protocol_type: KafkaString;
        /// The assignment protocols that the member knows, best first.
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
        /// Whether the leader has to keep the assignment as it is (KIP-814).
        skip_assignment: bool, versions 9..;
        member_id: KafkaString;
        /// Empty unless the member is the leader.
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
