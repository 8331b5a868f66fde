//! LeaveGroup (key 13): leave a group.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Takes members out of a group; one `member_id` up to version 2, `members` from version 3.
    pub struct LeaveGroupRequest {
        group_id: KafkaString;
        member_id: KafkaString, versions ..=2;
        members: Vec<MemberIdentity>, versions 3..;
    }
}

wire_struct! {
    /// A member that leaves.
    pub struct MemberIdentity {
        member_id: KafkaString;
        group_instance_id: Option<KafkaString>;
        reason: Option<KafkaString>, versions 5..;
    }
}

wire_struct! {
    /// What became of each member.
    pub struct LeaveGroupResponse {
        throttle_time_ms: i32, versions 1..;
        error_code: ErrorCode;
        members: Vec<MemberResponse>, versions 3..;
    }
}

wire_struct! {
    /// What became of a member.
    pub struct MemberResponse {
        member_id: KafkaString;
        group_instance_id: Option<KafkaString>;
        error_code: ErrorCode;
    }
}
