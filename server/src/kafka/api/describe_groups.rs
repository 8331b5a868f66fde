//! DescribeGroups (key 15): describe groups.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};
use bytes::Bytes;

wire_struct! {
    /// Asks for the state and members of groups.
    pub struct DescribeGroupsRequest {
        groups: Vec<KafkaString>;
        include_authorized_operations: bool, versions 3..;
    }
}

wire_struct! {
    /// The groups.
    pub struct DescribeGroupsResponse {
        throttle_time_ms: i32, versions 1..;
        groups: Vec<DescribedGroup>;
    }
}

wire_struct! {
    /// A group.
    pub struct DescribedGroup {
        error_code: ErrorCode;
        error_message: Option<KafkaString>, versions 6..;
        group_id: KafkaString;
        group_state: KafkaString;
        protocol_type: KafkaString;
        protocol_data: KafkaString;
        members: Vec<DescribedGroupMember>;
        authorized_operations: i32, versions 3.., default i32::MIN;
    }
}

wire_struct! {
    /// A member of a group.
    pub struct DescribedGroupMember {
        member_id: KafkaString;
        group_instance_id: Option<KafkaString>, versions 4..;
        client_id: KafkaString;
        client_host: KafkaString;
        member_metadata: Bytes;
        member_assignment: Bytes;
    }
}
