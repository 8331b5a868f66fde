//! DescribeGroups and ListGroups.

use super::classic::{DEAD, Group, GroupState};
use super::machine::Machine;
use super::member::Member;
use crate::kafka::api::describe_groups::{DescribedGroup, DescribedGroupMember};
use crate::kafka::api::list_groups::ListedGroup;
use crate::kafka::wire::{ErrorCode, KafkaString};
use bytes::Bytes;

/// The only type of groups that this broker has.
pub const GROUP_TYPE: &str = "classic";
/// From this version on, a group that does not exist is an error; before, it is a dead one.
const FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND: i16 = 6;

impl Machine {
    /// Handles DescribeGroups for one group.
    #[must_use]
    pub fn describe_group(&self, api_version: i16, id: &KafkaString) -> DescribedGroup {
        let described = DescribedGroup {
            group_id: id.clone(),
            ..Default::default()
        };
        let Some(group) = self.group(id) else {
            if self.durable.group(id).is_some() {
                return DescribedGroup {
                    group_state: GroupState::Empty.name().into(),
                    ..described
                };
            }
            return not_found(api_version, described);
        };
        let stable = group.state == GroupState::Stable;
        let protocol = group.protocol.as_ref().filter(|_| stable);
        DescribedGroup {
            group_state: group.state.name().into(),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            protocol_data: protocol.cloned().unwrap_or_default(),
            members: group
                .members
                .values()
                .map(|member| describe(member, protocol))
                .collect(),
            ..described
        }
    }

    /// Handles ListGroups. States are compared without regard to case.
    #[must_use]
    pub fn list_groups(&self, states: &[KafkaString]) -> Vec<ListedGroup> {
        let wanted = |state: GroupState| {
            states.is_empty()
                || states
                    .iter()
                    .any(|wanted| wanted.trim().eq_ignore_ascii_case(state.name()))
        };
        let mut listed: Vec<_> = self
            .groups()
            .filter(|group| wanted(group.state))
            .map(list)
            .collect();
        if wanted(GroupState::Empty) {
            let simple = self.durable.groups().filter(|(id, _)| self.group(id).is_none());
            listed.extend(simple.map(|(id, _)| list(&Group::new(id.clone()))));
        }
        listed
    }
}

fn not_found(api_version: i16, described: DescribedGroup) -> DescribedGroup {
    let described = DescribedGroup {
        group_state: DEAD.into(),
        ..described
    };
    if api_version < FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND {
        return described;
    }
    DescribedGroup {
        error_code: ErrorCode::GROUP_ID_NOT_FOUND,
        error_message: Some(format!("Group {} not found.", described.group_id).into()),
        ..described
    }
}

fn describe(member: &Member, protocol: Option<&KafkaString>) -> DescribedGroupMember {
    DescribedGroupMember {
        member_id: member.id.clone(),
        group_instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        member_metadata: protocol.map_or_else(Bytes::new, |protocol| member.metadata(protocol)),
        member_assignment: member.assignment.clone(),
    }
}

fn list(group: &Group) -> ListedGroup {
    ListedGroup {
        group_id: group.id.clone(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        group_state: group.state.name().into(),
        group_type: GROUP_TYPE.into(),
    }
}
