//! ListGroups (key 16): list groups.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Asks for all groups, filtered by state and type.
    pub struct ListGroupsRequest {
        states_filter: Vec<KafkaString>, versions 4..;
        types_filter: Vec<KafkaString>, versions 5..;
    }
}

wire_struct! {
    /// The groups of this broker.
    pub struct ListGroupsResponse {
        throttle_time_ms: i32, versions 1..;
        error_code: ErrorCode;
        groups: Vec<ListedGroup>;
    }
}

wire_struct! {
    /// A group.
    pub struct ListedGroup {
        group_id: KafkaString;
        protocol_type: KafkaString;
        group_state: KafkaString, versions 4..;
        group_type: KafkaString, versions 5..;
    }
}
