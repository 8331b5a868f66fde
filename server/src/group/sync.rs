//! SyncGroup: the leader brings the assignment, everybody gets a part of it.

use super::classic::{Group, GroupState};
use super::machine::{Machine, Now};
use super::pending::{Answer, ReplyId, Then};
use crate::kafka::api::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::kafka::wire::{ErrorCode, KafkaString};
use bytes::Bytes;
use std::collections::HashMap;

impl Machine {
    /// Handles SyncGroup. A follower's answer may have to wait for the leader's request, and that for the log.
    pub fn sync(&mut self, now: Now, request: &SyncGroupRequest, to: ReplyId) {
        let Some(mut group) = self.check_out(&request.group_id) else {
            return self.refuse_sync(to, ErrorCode::UNKNOWN_MEMBER_ID);
        };
        match check(&group, request) {
            Err(error) => self.refuse_sync(to, error),
            Ok(()) => self.sync_member(now, &mut group, request, to),
        }
        self.check_in(group);
    }

    fn refuse_sync(&mut self, to: ReplyId, error: ErrorCode) {
        let response = SyncGroupResponse {
            error_code: error,
            ..Default::default()
        };
        self.reply(to, Answer::Sync(response));
    }

    fn sync_member(&mut self, now: Now, group: &mut Group, request: &SyncGroupRequest, to: ReplyId) {
        let id = &request.member_id;
        match group.state {
            GroupState::Empty => self.refuse_sync(to, ErrorCode::UNKNOWN_MEMBER_ID),
            GroupState::PreparingRebalance => self.refuse_sync(to, ErrorCode::REBALANCE_IN_PROGRESS),
            GroupState::CompletingRebalance => {
                group.synced(id);
                let superseded = group.members.get_mut(id);
                let superseded = superseded.and_then(|member| member.awaiting_sync.replace(to));
                if let Some(old) = superseded {
                    // Its client has given that request up.
                    self.refuse_sync(old, ErrorCode::REBALANCE_IN_PROGRESS);
                }
                // A second assignment for the generation could reach the log behind the one that members were given.
                if group.is_leader(id) && !group.assignment_in_flight {
                    self.store_assignment(now, group, request);
                }
            }
            GroupState::Stable => {
                group.synced(id);
                let assignment = group.members.get(id).map(|member| member.assignment.clone());
                let response = SyncGroupResponse {
                    protocol_type: group.protocol_type.clone(),
                    protocol_name: group.protocol.clone(),
                    assignment: assignment.unwrap_or_default(),
                    ..Default::default()
                };
                self.reply(to, Answer::Sync(response));
            }
        }
    }

    /// Sends the leader's assignment to the log; the members get it from there.
    fn store_assignment(&mut self, now: Now, group: &mut Group, request: &SyncGroupRequest) {
        let known = request.assignments.iter();
        let known = known.filter(|assignment| group.members.contains_key(&assignment.member_id));
        // Copied, because the bytes of a request keep its whole frame allocated.
        let assignments: HashMap<KafkaString, Bytes> = known
            .map(|one| (one.member_id.clone(), Bytes::copy_from_slice(&one.assignment)))
            .collect();
        if assignments.len() < group.members.len() {
            log::warn!(
                "event=group_assignment_incomplete group={:?} generation={} members={} assigned={}",
                group.id,
                group.generation,
                group.members.len(),
                assignments.len()
            );
        }
        let value = group.to_record(&assignments);
        group.assignment_in_flight = true;
        let then = Then::Assign {
            group: group.id.clone(),
            generation: group.generation,
            assignments,
        };
        self.append_group(now, group, value, then);
    }

    /// The assignment is in the log: the members get it, unless the group has moved on.
    pub(super) fn assign(
        &mut self,
        now: Now,
        id: &str,
        generation: i32,
        assignments: &HashMap<KafkaString, Bytes>,
    ) {
        let Some(mut group) = self.check_out(id) else {
            return;
        };
        if group.state == GroupState::CompletingRebalance && group.generation == generation {
            group.assignment_in_flight = false;
            for (id, member) in &mut group.members {
                member.assignment = assignments.get(id).cloned().unwrap_or_default();
            }
            self.answer_syncs(now, &mut group, ErrorCode::NONE);
            group.enter(GroupState::Stable, now.wall_ms);
            log::info!("event=group_stable group={:?} generation={generation}", group.id);
        }
        self.check_in(group);
    }

    /// The assignment is not in the log: the members that wait are told so, and the group tries again.
    pub(super) fn assignment_failed(&mut self, now: Now, id: &str, generation: i32, error: ErrorCode) {
        let Some(mut group) = self.check_out(id) else {
            return;
        };
        if group.state == GroupState::CompletingRebalance && group.generation == generation {
            self.answer_syncs(now, &mut group, error);
            self.rebalance(now, &mut group, "the assignment could not be stored");
        }
        self.check_in(group);
    }
}

impl Group {
    /// The member has asked for its assignment. When all have, nobody waits for them any more.
    fn synced(&mut self, id: &str) {
        self.pending_sync.remove(id);
        if self.pending_sync.is_empty() {
            self.sync_deadline = None;
        }
    }
}

fn check(group: &Group, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
    if group.state == GroupState::Empty {
        return Err(ErrorCode::UNKNOWN_MEMBER_ID);
    }
    let instance = request.group_instance_id.as_ref();
    group.check_generation(&request.member_id, instance, request.generation_id)?;
    let differs = |ours: &Option<KafkaString>, theirs: &Option<KafkaString>| {
        theirs.is_some() && theirs.as_deref().unwrap_or_default() != ours.as_deref().unwrap_or_default()
    };
    if differs(&group.protocol_type, &request.protocol_type)
        || differs(&group.protocol, &request.protocol_name)
    {
        return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    Ok(())
}
