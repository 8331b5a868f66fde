//! The APIs of members, and those that show and remove groups.

use super::{ClientInfo, GroupCoordinator};
use crate::group::describe::GROUP_TYPE;
use crate::group::join::Join;
use crate::group::pending::Answer;
use crate::kafka::api::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use crate::kafka::api::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup};
use crate::kafka::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::kafka::api::join_group::{JoinGroupRequest, JoinGroupResponse};
use crate::kafka::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use crate::kafka::api::list_groups::{ListGroupsRequest, ListGroupsResponse};
use crate::kafka::api::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::kafka::wire::{ErrorCode, KafkaString};
use std::collections::BTreeSet;

/// What everybody may do with a group while there are no ACLs: read, delete, describe, and describe and alter its
/// configuration, as the bits of KIP-430.
const ALL_GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
/// From this version on, the protocol of a JoinGroup response may be null, and is so if there is none.
const FIRST_JOIN_VERSION_WITH_NULL_PROTOCOL: i16 = 7;
/// From this version on, SyncGroup has to name the protocol.
const FIRST_SYNC_VERSION_WITH_PROTOCOL: i16 = 5;
/// From this version on, LeaveGroup has many members.
const FIRST_LEAVE_VERSION_WITH_MEMBERS: i16 = 3;

impl GroupCoordinator {
    /// Handles JoinGroup. Resolves when the rebalance is through, at the latest after the rebalance timeout.
    pub async fn join_group(&self, client: ClientInfo, mut request: JoinGroupRequest) -> JoinGroupResponse {
        let api_version = client.api_version;
        let member_id = request.member_id.clone();
        if api_version == 0 {
            request.rebalance_timeout_ms = request.session_timeout_ms;
        }
        let mut response = match self.try_join(client, request).await {
            Ok(response) => response,
            Err(error_code) => JoinGroupResponse {
                error_code,
                member_id,
                ..Default::default()
            },
        };
        let named = response.protocol_name.take().filter(|name| !name.is_empty());
        response.protocol_name = match named {
            None if api_version < FIRST_JOIN_VERSION_WITH_NULL_PROTOCOL => Some(KafkaString::default()),
            named => named,
        };
        response
    }

    async fn try_join(
        &self,
        client: ClientInfo,
        request: JoinGroupRequest,
    ) -> Result<JoinGroupResponse, ErrorCode> {
        check_group_id(&request.group_id)?;
        let limits = &self.inner.limits;
        let allowed = limits.min_session_timeout_ms..=limits.max_session_timeout_ms;
        if !allowed.contains(&request.session_timeout_ms) {
            return Err(ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        let rng = &self.inner.env.rng;
        let random = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        let shard = self.shard(&request.group_id)?;
        let join = Join {
            request,
            client,
            random,
        };
        match shard
            .ask(move |machine, now, to| machine.join(now, &join, to))
            .await?
        {
            Answer::Join(response) => Ok(response),
            _ => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        }
    }

    /// Handles SyncGroup. Resolves when the leader's assignment is in the log, at the latest after the rebalance timeout.
    pub async fn sync_group(&self, client: &ClientInfo, request: SyncGroupRequest) -> SyncGroupResponse {
        let refused = |error_code| SyncGroupResponse {
            error_code,
            ..Default::default()
        };
        self.try_sync(client.api_version, request)
            .await
            .unwrap_or_else(refused)
    }

    async fn try_sync(
        &self,
        api_version: i16,
        request: SyncGroupRequest,
    ) -> Result<SyncGroupResponse, ErrorCode> {
        let named = request.protocol_type.is_some() && request.protocol_name.is_some();
        if api_version >= FIRST_SYNC_VERSION_WITH_PROTOCOL && !named {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        check_group_id(&request.group_id)?;
        let shard = self.shard(&request.group_id)?;
        match shard
            .ask(move |machine, now, to| machine.sync(now, &request, to))
            .await?
        {
            Answer::Sync(response) => Ok(response),
            _ => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        }
    }

    /// Handles Heartbeat. While the group is being loaded, a member is left in peace.
    #[must_use]
    pub fn heartbeat(&self, request: &HeartbeatRequest) -> HeartbeatResponse {
        let beat = || {
            check_group_id(&request.group_id)?;
            let shard = self.shard(&request.group_id)?;
            shard.look(|machine, now| machine.heartbeat(now, request))
        };
        let error_code = match beat() {
            Ok(error) => error,
            Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) => ErrorCode::NONE,
            Err(error) => error,
        };
        HeartbeatResponse {
            error_code,
            ..Default::default()
        }
    }

    /// Handles LeaveGroup.
    pub async fn leave_group(
        &self,
        client: &ClientInfo,
        mut request: LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        let old = client.api_version < FIRST_LEAVE_VERSION_WITH_MEMBERS;
        if old {
            request.members = vec![MemberIdentity {
                member_id: std::mem::take(&mut request.member_id),
                ..Default::default()
            }];
        }
        let mut response = self
            .try_leave(request)
            .await
            .unwrap_or_else(|error_code| LeaveGroupResponse {
                error_code,
                ..Default::default()
            });
        if old && response.error_code == ErrorCode::NONE {
            let member = response.members.first();
            response.error_code = member.map_or(ErrorCode::NONE, |member| member.error_code);
        }
        response
    }

    async fn try_leave(&self, request: LeaveGroupRequest) -> Result<LeaveGroupResponse, ErrorCode> {
        check_group_id(&request.group_id)?;
        let shard = self.shard(&request.group_id)?;
        match shard
            .ask(move |machine, now, to| machine.leave(now, &request, to))
            .await?
        {
            Answer::Leave(response) => Ok(response),
            _ => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        }
    }

    /// Handles DescribeGroups.
    #[must_use]
    pub fn describe_groups(
        &self,
        client: &ClientInfo,
        request: &DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        let groups = request.groups.iter().map(|id| {
            let describe = |shard: std::sync::Arc<crate::group::shard::Shard>| {
                shard.look(|machine, _| machine.describe_group(client.api_version, id))
            };
            let mut group = self
                .shard(id)
                .and_then(describe)
                .unwrap_or_else(|error_code| DescribedGroup {
                    error_code,
                    group_id: id.clone(),
                    ..Default::default()
                });
            if request.include_authorized_operations && group.error_code == ErrorCode::NONE {
                group.authorized_operations = ALL_GROUP_OPERATIONS;
            }
            group
        });
        DescribeGroupsResponse {
            groups: groups.collect(),
            ..Default::default()
        }
    }

    /// Handles ListGroups: the groups that this node coordinates.
    #[must_use]
    pub fn list_groups(&self, request: &ListGroupsRequest) -> ListGroupsResponse {
        let mut response = ListGroupsResponse::default();
        let types = &request.types_filter;
        let ours = |wanted: &KafkaString| wanted.trim().eq_ignore_ascii_case(GROUP_TYPE);
        if !types.is_empty() && !types.iter().any(ours) {
            return response;
        }
        for shard in self.shards() {
            match shard.look(|machine, _| machine.list_groups(&request.states_filter)) {
                Ok(groups) => response.groups.extend(groups),
                // Another node lists the groups of that partition.
                Err(ErrorCode::NOT_COORDINATOR) => {}
                Err(error_code) => {
                    return ListGroupsResponse {
                        error_code,
                        ..Default::default()
                    };
                }
            }
        }
        response
    }

    /// Handles DeleteGroups. Resolves when the removal is in the log.
    pub async fn delete_groups(&self, request: &DeleteGroupsRequest) -> DeleteGroupsResponse {
        let mut response = DeleteGroupsResponse::default();
        let names: BTreeSet<_> = request.groups_names.iter().cloned().collect();
        for (partition, ids) in self.by_partition(names.into_iter()) {
            match self.try_delete(partition, ids.clone()).await {
                Ok(results) => response.results.extend(results),
                Err(error_code) => {
                    let failed = ids
                        .into_iter()
                        .map(|group_id| DeletableGroupResult { group_id, error_code });
                    response.results.extend(failed);
                }
            }
        }
        response
    }

    async fn try_delete(
        &self,
        partition: i32,
        ids: Vec<KafkaString>,
    ) -> Result<Vec<DeletableGroupResult>, ErrorCode> {
        let shard = self.shard_of(partition)?;
        match shard
            .ask(move |machine, now, to| machine.delete_groups(now, &ids, to))
            .await?
        {
            Answer::DeleteGroups(results) => Ok(results),
            _ => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        }
    }
}

/// Members need a name for their group; only offsets may be stored under the empty one.
fn check_group_id(id: &KafkaString) -> Result<(), ErrorCode> {
    if id.is_empty() {
        Err(ErrorCode::INVALID_GROUP_ID)
    } else {
        Ok(())
    }
}
