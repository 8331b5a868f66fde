//! JoinGroup: new members, rejoining ones, and static members that come back.

use super::classic::{Group, GroupState};
use super::coordinator::ClientInfo;
use super::machine::{Machine, Now};
use super::member::{Member, keep_protocols};
use super::pending::{Answer, ReplyId, Then};
use super::record::GroupMetadataValue;
use super::subscription::topics_of;
use crate::kafka::api::join_group::{JoinGroupRequest, JoinGroupResponse};
use crate::kafka::wire::{ErrorCode, KafkaString};
use bytes::Bytes;

/// From this version on, a new dynamic member is given its id first and joins with it then (KIP-394).
const FIRST_VERSION_WITH_MEMBER_ID_REQUIRED: i16 = 4;
/// From this version on, a leader can be told that it leads without having to assign (KIP-814).
const FIRST_VERSION_WITH_SKIP_ASSIGNMENT: i16 = 9;

/// A JoinGroup request.
#[derive(Clone, Debug)]
pub struct Join {
    /// The request.
    pub request: JoinGroupRequest,
    /// Who sent it.
    pub client: ClientInfo,
    /// Random bits for the id of a new member.
    pub random: u128,
}

impl Machine {
    /// Handles JoinGroup. The answer may have to wait for other members.
    pub fn join(&mut self, now: Now, join: &Join, to: ReplyId) {
        let request = &join.request;
        let mut group = match self.check_out(&request.group_id) {
            Some(group) => group,
            None if request.member_id.is_empty() => Box::new(Group::new(request.group_id.clone())),
            None => {
                return self.refuse_join(to, request.member_id.clone(), ErrorCode::UNKNOWN_MEMBER_ID);
            }
        };
        if !self.has_room(&group, &request.member_id) {
            self.remove_member(&mut group, &request.member_id);
            self.refuse_join(to, KafkaString::default(), ErrorCode::GROUP_MAX_SIZE_REACHED);
            self.maybe_complete_join(now, &mut group);
        } else if !group.accepts(&request.protocol_type, &request.protocols) {
            let id = request.member_id.clone();
            self.refuse_join(to, id, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        } else if request.member_id.is_empty() {
            self.join_new(now, &mut group, join, to);
        } else {
            self.join_known(now, &mut group, join, to);
        }
        self.check_in(group);
    }

    fn refuse_join(&mut self, to: ReplyId, member_id: KafkaString, error: ErrorCode) {
        let response = JoinGroupResponse {
            error_code: error,
            member_id,
            ..Default::default()
        };
        self.reply(to, Answer::Join(response));
    }

    /// Whether the group takes the member. While members are collected, those that joined already count: the last ones to
    /// come back to a group that shrank its limit are turned away. Clients that were given an id but did not join are
    /// limited too, as they cost memory; Kafka does not limit them.
    fn has_room(&self, group: &Group, id: &str) -> bool {
        let limit = self.limits.max_group_size;
        let is_new = id.is_empty();
        if is_new && group.pending_members.len() >= limit {
            return false;
        }
        match group.state {
            GroupState::Empty => true,
            GroupState::PreparingRebalance => {
                let waits = |member: &Member| member.awaiting_join.is_some();
                group.members.get(id).is_some_and(waits) || group.members_awaiting_join() < limit
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                group.members.contains_key(id) || group.members.len() < limit
            }
        }
    }

    fn join_new(&mut self, now: Now, group: &mut Group, join: &Join, to: ReplyId) {
        let instance = join.request.group_instance_id.as_ref();
        let id = new_member_id(instance.unwrap_or(&join.client.client_id), join.random);
        match instance {
            Some(instance) => match group.static_members.get(instance).cloned() {
                Some(old) => self.replace_static(now, group, join, &old, id, to),
                None => self.add_member(now, group, join, id, to),
            },
            None if join.client.api_version >= FIRST_VERSION_WITH_MEMBER_ID_REQUIRED => {
                let deadline = now.mono + super::classic::millis(join.request.session_timeout_ms);
                group.pending_members.insert(id.clone(), deadline);
                group.arm(deadline);
                self.refuse_join(to, id, ErrorCode::MEMBER_ID_REQUIRED);
            }
            None => self.add_member(now, group, join, id, to),
        }
    }

    fn add_member(&mut self, now: Now, group: &mut Group, join: &Join, id: KafkaString, to: ReplyId) {
        let request = &join.request;
        if group.state == GroupState::PreparingRebalance && group.previous == GroupState::Empty {
            group.new_member_added = true;
        }
        if group.members.is_empty() {
            group.protocol_type = Some(request.protocol_type.clone());
        }
        let deadline = now.mono + self.limits.new_member_join_timeout;
        group.insert(Member {
            id: id.clone(),
            instance_id: request.group_instance_id.clone(),
            client_id: join.client.client_id.clone(),
            client_host: join.client.client_host.clone(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: keep_protocols(&request.protocols),
            assignment: Bytes::new(),
            awaiting_join: Some(to),
            awaiting_sync: None,
            is_new: true,
            session_deadline: Some(deadline),
        });
        group.arm(deadline);
        let reason = format!("member {id} joins; client reason: {}", client_reason(request));
        self.rebalance(now, group, &reason);
    }

    fn join_known(&mut self, now: Now, group: &mut Group, join: &Join, to: ReplyId) {
        let request = &join.request;
        let id = &request.member_id;
        let instance = request.group_instance_id.as_ref();
        if group.pending_members.contains_key(id) && instance.is_none() {
            return self.add_member(now, group, join, id.clone(), to);
        }
        if let Err(error) = group.check_member(id, instance) {
            return self.refuse_join(to, id.clone(), error);
        }
        let protocols = keep_protocols(&request.protocols);
        let unchanged = group
            .members
            .get(id)
            .is_some_and(|member| member.protocols == protocols);
        let rebalance = match group.state {
            GroupState::PreparingRebalance => true,
            // The member may not have got the answer to its JoinGroup: it gets it again.
            GroupState::CompletingRebalance => !unchanged,
            // A leader that joins asks for a new assignment, as when partitions were added to a topic.
            GroupState::Stable => !unchanged || group.is_leader(id),
            GroupState::Empty => {
                return self.refuse_join(to, id.clone(), ErrorCode::UNKNOWN_MEMBER_ID);
            }
        };
        if rebalance {
            self.rejoin(group, join, id, to);
            let reason = format!("member {id} rejoins; client reason: {}", client_reason(request));
            self.rebalance(now, group, &reason);
        } else {
            let response = self.join_response(group, id);
            self.reply(to, Answer::Join(response));
        }
    }

    /// Takes over what the request says about the member, which then waits for the others. An older request of the member
    /// that still waits is answered: its client has given it up.
    fn rejoin(&mut self, group: &mut Group, join: &Join, id: &KafkaString, to: ReplyId) {
        let request = &join.request;
        let superseded = JoinGroupResponse {
            error_code: ErrorCode::REBALANCE_IN_PROGRESS,
            member_id: id.clone(),
            ..Default::default()
        };
        self.answer_join(group, id, superseded);
        group.change_member(id, |member| {
            member.protocols = keep_protocols(&request.protocols);
            member.rebalance_timeout_ms = request.rebalance_timeout_ms;
            member.session_timeout_ms = request.session_timeout_ms;
            member.awaiting_join = Some(to);
        });
    }

    /// A static member came back without its member id: it takes the place of its former process, which is fenced.
    ///
    /// In a stable group that is no reason to rebalance, unless the protocol that the members agree on changes or, other
    /// than in Kafka, the member subscribes to other topics: there its new subscription would wait for the next rebalance.
    fn replace_static(
        &mut self,
        now: Now,
        group: &mut Group,
        join: &Join,
        old: &KafkaString,
        id: KafkaString,
        to: ReplyId,
    ) {
        let old_leader = group.leader.clone().unwrap_or_default();
        let old_topics = group.members.get(old).and_then(|member| {
            let protocol = group.protocol.as_deref()?;
            topics_of(&member.metadata(protocol))
        });
        self.fail_member(group, old, ErrorCode::FENCED_INSTANCE_ID);
        group.rename_member(old, &id);
        group.touch(&id, now.mono);
        group.change_member(&id, |member| {
            member.client_id = join.client.client_id.clone();
            member.client_host = join.client.client_host.clone();
        });
        self.rejoin(group, join, &id, to);
        match group.state {
            GroupState::Stable => {
                let protocol = group.select_protocol();
                let topics = protocol.as_deref().and_then(|protocol| {
                    let member = group.members.get(&id)?;
                    topics_of(&member.metadata(protocol))
                });
                if protocol == group.protocol && topics == old_topics {
                    self.keep_generation(now, group, join, &id, old_leader);
                } else {
                    self.rebalance(now, group, "a static member came back with another subscription");
                }
            }
            // The leader was told of the old member id and would assign to it.
            GroupState::CompletingRebalance => {
                self.store_new_id(now, group, old, &id);
                self.prepare_rebalance(now, group, "a static member came back");
            }
            GroupState::PreparingRebalance | GroupState::Empty => {
                self.store_new_id(now, group, old, &id);
                self.maybe_complete_join(now, group);
            }
        }
    }

    /// Notes the new id in the last generation that the log has, so that a restart before the next one is stored does not
    /// fence the process that is alive, as it would in Kafka.
    fn store_new_id(&mut self, now: Now, group: &mut Group, old: &KafkaString, id: &KafkaString) {
        let Some(last) = self.last_metadata(&group.id) else {
            return;
        };
        let mut value = GroupMetadataValue::clone(&last);
        let Some(member) = value.members.iter_mut().find(|member| member.member_id == *old) else {
            return;
        };
        member.member_id = id.clone();
        if value.leader.as_ref() == Some(old) {
            value.leader = Some(id.clone());
        }
        self.append_group(now, group, value, Then::Nothing);
    }

    /// The new process of a static member goes on in the current generation once that is in the log.
    fn keep_generation(
        &mut self,
        now: Now,
        group: &mut Group,
        join: &Join,
        id: &KafkaString,
        old_leader: KafkaString,
    ) {
        let mut response = self.join_response(group, id);
        if join.client.api_version >= FIRST_VERSION_WITH_SKIP_ASSIGNMENT {
            response.skip_assignment = group.is_leader(id);
        } else {
            // Told that somebody else leads, the member does not compute an assignment that nobody would use.
            response.leader = old_leader;
            response.members = Vec::new();
        }
        let mut waiting = None;
        group.change_member(id, |member| waiting = member.awaiting_join.take());
        let value = group.to_record(&group.assignments());
        let then = match waiting {
            Some(to) => Then::Reply {
                to,
                answer: Answer::Join(response),
            },
            None => Then::Nothing,
        };
        self.append_group(now, group, value, then);
    }
}

impl Group {
    /// Gives a static member the id of its new process, and leaves the rest as it is.
    fn rename_member(&mut self, old: &str, new: &KafkaString) {
        let leads = self.is_leader(old);
        let Some(mut member) = self.remove(old) else {
            return;
        };
        member.id = new.clone();
        member.is_new = false;
        self.insert(member);
        if leads {
            self.leader = Some(new.clone());
        }
    }
}

fn client_reason(request: &JoinGroupRequest) -> &str {
    let reason = request.reason.as_deref().filter(|reason| !reason.is_empty());
    reason.unwrap_or("not provided")
}

/// An id that no other member has: the client's name and random bits in the form of a UUID of version 4.
fn new_member_id(name: &str, random: u128) -> KafkaString {
    let bits = random & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    let parts = [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)];
    format!("{name}-{}", parts.join("-")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_ids_are_the_name_and_a_uuid() {
        assert_eq!(new_member_id("c", 0), "c-00000000-0000-4000-8000-000000000000");
        assert_eq!(
            new_member_id("c", u128::MAX),
            "c-ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
    }
}
