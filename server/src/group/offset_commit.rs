//! OffsetCommit: checks who commits, and stores the offsets.

use super::classic::{Group, GroupState};
use super::machine::{Machine, Now};
use super::pending::{Answer, ReplyId, Then};
use super::record::{OffsetCommitValue, StateRecord};
use crate::kafka::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use crate::kafka::wire::{ErrorCode, Uuid};

/// From this version on, clients understand that the group does not exist.
const FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND: i16 = 9;
/// The retention time of a request that leaves it to the broker.
const DEFAULT_RETENTION_MS: i64 = -1;

impl Machine {
    /// Handles OffsetCommit for topics and partitions that exist. The answer waits until the offsets are in the log.
    pub fn commit_offsets(&mut self, now: Now, api_version: i16, request: &OffsetCommitRequest, to: ReplyId) {
        if let Err(error) = self.check_commit(now, api_version, request) {
            let response = answer(request, |_| error);
            return self.reply(to, Answer::OffsetCommit(response));
        }
        let limit = self.limits.max_offset_metadata;
        let too_large = |partition: &OffsetCommitRequestPartition| {
            let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
            // The length in bytes bounds the other one from above and is known already.
            metadata.len() > limit && metadata.encode_utf16().count() > limit
        };
        let mut records = Vec::new();
        for topic in &request.topics {
            for partition in topic.partitions.iter().filter(|partition| !too_large(partition)) {
                let value = offset_value(now, request.retention_time_ms, topic.topic_id, partition);
                let index = partition.partition_index;
                records.push(StateRecord::offset(&request.group_id, &topic.name, index, value));
            }
        }
        let answer = Answer::OffsetCommit(answer(request, |partition| {
            if too_large(partition) {
                ErrorCode::OFFSET_METADATA_TOO_LARGE
            } else {
                ErrorCode::NONE
            }
        }));
        if records.is_empty() {
            self.reply(to, answer);
        } else {
            self.append(now, records, Then::Reply { to, answer });
        }
    }

    /// Checks that the sender may commit. A member that does shows that it lives.
    fn check_commit(
        &mut self,
        now: Now,
        api_version: i16,
        request: &OffsetCommitRequest,
    ) -> Result<(), ErrorCode> {
        let generation = request.generation_id_or_member_epoch;
        let Some(mut group) = self.check_out(&request.group_id) else {
            // Without a generation, it is a consumer that only stores offsets, or an administrator.
            return match generation {
                ..0 => Ok(()),
                _ if api_version >= FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND => {
                    Err(ErrorCode::GROUP_ID_NOT_FOUND)
                }
                _ => Err(ErrorCode::ILLEGAL_GENERATION),
            };
        };
        let checked = check_group(&group, request);
        let alive = matches!(group.state, GroupState::Stable | GroupState::PreparingRebalance);
        if checked.is_ok() && alive {
            group.touch(&request.member_id, now.mono);
        }
        self.check_in(group);
        checked
    }
}

fn check_group(group: &Group, request: &OffsetCommitRequest) -> Result<(), ErrorCode> {
    let generation = request.generation_id_or_member_epoch;
    let instance = request.group_instance_id.as_ref();
    if generation < 0 && group.state == GroupState::Empty {
        return Ok(());
    }
    if generation < 0 && request.member_id.is_empty() && instance.is_none() {
        // Somebody who is no member must not move the offsets of those who are.
        return Err(ErrorCode::UNKNOWN_MEMBER_ID);
    }
    group.check_generation(&request.member_id, instance, generation)?;
    if group.state == GroupState::CompletingRebalance {
        // The member knows the generation but not yet what it is assigned.
        return Err(ErrorCode::REBALANCE_IN_PROGRESS);
    }
    Ok(())
}

fn offset_value(
    now: Now,
    retention_ms: i64,
    topic_id: Uuid,
    partition: &OffsetCommitRequestPartition,
) -> OffsetCommitValue {
    OffsetCommitValue {
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.clone().unwrap_or_default(),
        commit_timestamp: now.wall_ms,
        expire_timestamp: match retention_ms {
            DEFAULT_RETENTION_MS => -1,
            retention => now.wall_ms.saturating_add(retention),
        },
        topic_id,
    }
}

/// The response to the request, with an error for each partition.
pub(super) fn answer(
    request: &OffsetCommitRequest,
    error: impl Fn(&OffsetCommitRequestPartition) -> ErrorCode,
) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error(partition),
            })
            .collect(),
    });
    OffsetCommitResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}
