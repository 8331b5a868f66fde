//! The rebalance: from the first reason for one to the answers to JoinGroup.

use super::classic::{Group, GroupState, InitialDelay, JoinTimer};
use super::machine::{Machine, Now};
use super::pending::{Answer, Then};
use crate::kafka::api::join_group::{JoinGroupResponse, JoinGroupResponseMember};
use crate::kafka::api::sync_group::SyncGroupResponse;
use crate::kafka::wire::{ErrorCode, KafkaString};
use bytes::Bytes;
use std::collections::HashMap;

impl Machine {
    /// Starts a rebalance, or goes on with the one that collects members.
    pub(super) fn rebalance(&mut self, now: Now, group: &mut Group, reason: &str) {
        if group.state == GroupState::PreparingRebalance {
            self.maybe_complete_join(now, group);
        } else {
            self.prepare_rebalance(now, group, reason);
        }
    }

    /// Starts to collect JoinGroup requests. The group must not be doing so already.
    pub(super) fn prepare_rebalance(&mut self, now: Now, group: &mut Group, reason: &str) {
        if group.state == GroupState::CompletingRebalance {
            for member in group.members.values_mut() {
                member.assignment = Bytes::new();
            }
            self.answer_syncs(now, group, ErrorCode::REBALANCE_IN_PROGRESS);
        }
        group.pending_sync.clear();
        group.sync_deadline = None;
        group.assignment_in_flight = false;
        let initial = group.state == GroupState::Empty;
        group.enter(GroupState::PreparingRebalance, now.wall_ms);
        log::info!(
            "event=group_rebalance_started group={:?} generation={} members={} reason={reason:?}",
            group.id,
            group.generation,
            group.members.len()
        );
        if initial {
            let delay = self.limits.initial_rebalance_delay;
            let remaining = group.rebalance_timeout().saturating_sub(delay);
            group.new_member_added = false;
            group.set_join_timer(JoinTimer {
                at: now.mono + delay,
                initial: Some(InitialDelay { delay, remaining }),
            });
        } else if group.all_joined() {
            self.complete_join(now, group);
        } else {
            group.set_join_timer(JoinTimer {
                at: now.mono + group.rebalance_timeout(),
                initial: None,
            });
        }
    }

    /// Ends the collection if nobody is missing; the first rebalance of an empty group waits for its timer instead.
    pub(super) fn maybe_complete_join(&mut self, now: Now, group: &mut Group) {
        if group.state == GroupState::PreparingRebalance
            && group.previous != GroupState::Empty
            && group.all_joined()
        {
            self.complete_join(now, group);
        }
    }

    /// The time of the collection is over.
    pub(super) fn join_timer_fired(&mut self, now: Now, group: &mut Group, timer: JoinTimer) {
        group.join_timer = None;
        match timer.initial {
            Some(initial) if group.new_member_added && !initial.remaining.is_zero() => {
                group.new_member_added = false;
                let delay = self.limits.initial_rebalance_delay.min(initial.remaining);
                group.set_join_timer(JoinTimer {
                    at: now.mono + delay,
                    initial: Some(InitialDelay {
                        delay,
                        remaining: initial.remaining.saturating_sub(initial.delay),
                    }),
                });
            }
            _ => self.complete_join(now, group),
        }
    }

    /// Ends the collection: dynamic members that did not join are out, and the next generation begins.
    pub(super) fn complete_join(&mut self, now: Now, group: &mut Group) {
        group.join_timer = None;
        let gone = group.members.values();
        let gone = gone.filter(|member| member.awaiting_join.is_none() && member.instance_id.is_none());
        for id in gone.map(|member| member.id.clone()).collect::<Vec<_>>() {
            self.remove_member(group, &id);
        }
        if !group.elect_joined_leader() && !group.members.is_empty() {
            // Only static members are left, and none of them joined. Their sessions decide.
            group.set_join_timer(JoinTimer {
                at: now.mono + group.rebalance_timeout(),
                initial: None,
            });
            return;
        }
        // The number wraps after two billion rebalances; a negative one would stand for "no generation".
        group.generation = group.generation.checked_add(1).unwrap_or(1);
        group.pending_sync.clear();
        if group.members.is_empty() {
            self.become_empty(now, group);
        } else {
            self.begin_generation(now, group);
        }
    }

    fn become_empty(&mut self, now: Now, group: &mut Group) {
        group.protocol = None;
        group.leader = None;
        group.subscribed_topics = group.compute_subscribed_topics();
        group.enter(GroupState::Empty, now.wall_ms);
        log::info!(
            "event=group_empty group={:?} generation={}",
            group.id,
            group.generation
        );
        let value = group.to_record(&HashMap::new());
        // If this is not appended, a restart revives the last generation, whose sessions then end.
        self.append_group(now, group, value, Then::Nothing);
    }

    fn begin_generation(&mut self, now: Now, group: &mut Group) {
        group.protocol = group.select_protocol();
        assert!(
            group.protocol.is_some(),
            "the members of a group have a protocol in common"
        );
        group.subscribed_topics = group.compute_subscribed_topics();
        group.enter(GroupState::CompletingRebalance, now.wall_ms);
        log::info!(
            "event=group_generation group={:?} generation={} members={} leader={:?}",
            group.id,
            group.generation,
            group.members.len(),
            group.leader
        );
        for id in group.members.keys().cloned().collect::<Vec<_>>() {
            let response = self.join_response(group, &id);
            self.answer_join(group, &id, response);
            group.touch(&id, now.mono);
            group.change_member(&id, |member| member.is_new = false);
            group.pending_sync.insert(id);
        }
        let deadline = now.mono + group.rebalance_timeout();
        group.sync_deadline = Some(deadline);
        group.arm(deadline);
    }

    /// What a member is told of the current generation. The leader learns of all members.
    pub(super) fn join_response(&self, group: &Group, id: &KafkaString) -> JoinGroupResponse {
        let members = if group.is_leader(id) {
            let protocol = group.protocol.as_deref().unwrap_or_default();
            let members = group.members.values().map(|member| JoinGroupResponseMember {
                member_id: member.id.clone(),
                group_instance_id: member.instance_id.clone(),
                metadata: member.metadata(protocol),
            });
            members.collect()
        } else {
            Vec::new()
        };
        JoinGroupResponse {
            error_code: ErrorCode::NONE,
            generation_id: group.generation,
            protocol_type: group.protocol_type.clone(),
            protocol_name: group.protocol.clone(),
            leader: group.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: id.clone(),
            members,
            ..Default::default()
        }
    }

    /// Answers the member's JoinGroup request, if it waits for one.
    pub(super) fn answer_join(&mut self, group: &mut Group, id: &str, response: JoinGroupResponse) {
        let mut waiting = None;
        group.change_member(id, |member| waiting = member.awaiting_join.take());
        if let Some(to) = waiting {
            self.reply(to, Answer::Join(response));
        }
    }

    /// Answers the members that wait for the assignment: with it, or with the error. Their sessions start anew.
    pub(super) fn answer_syncs(&mut self, now: Now, group: &mut Group, error: ErrorCode) {
        let ok = error == ErrorCode::NONE;
        for id in group.members.keys().cloned().collect::<Vec<_>>() {
            let Some(member) = group.members.get_mut(&id) else {
                continue;
            };
            let Some(to) = member.awaiting_sync.take() else {
                continue;
            };
            let response = SyncGroupResponse {
                error_code: error,
                protocol_type: group.protocol_type.clone().filter(|_| ok),
                protocol_name: group.protocol.clone().filter(|_| ok),
                assignment: member.assignment.clone(),
                ..Default::default()
            };
            self.reply(to, Answer::Sync(response));
            group.touch(&id, now.mono);
        }
    }

    /// Removes a member; its waiting requests are told that it is none any more.
    pub(super) fn remove_member(&mut self, group: &mut Group, id: &str) {
        self.fail_member(group, id, ErrorCode::UNKNOWN_MEMBER_ID);
        group.remove(id);
    }

    /// Answers the waiting requests of a member with the error.
    pub(super) fn fail_member(&mut self, group: &mut Group, id: &str, error: ErrorCode) {
        let member_id = match error {
            ErrorCode::UNKNOWN_MEMBER_ID => KafkaString::default(),
            _ => id.into(),
        };
        let response = JoinGroupResponse {
            error_code: error,
            member_id,
            ..Default::default()
        };
        self.answer_join(group, id, response);
        let waiting = group
            .members
            .get_mut(id)
            .and_then(|member| member.awaiting_sync.take());
        if let Some(to) = waiting {
            let response = SyncGroupResponse {
                error_code: error,
                ..Default::default()
            };
            self.reply(to, Answer::Sync(response));
        }
    }
}

impl Group {
    fn set_join_timer(&mut self, timer: JoinTimer) {
        self.join_timer = Some(timer);
        self.arm(timer.at);
    }
}
