//! LeaveGroup: members that go, or are removed by an administrator.

use super::classic::{Group, GroupState};
use super::machine::{Machine, Now};
use super::pending::{Answer, ReplyId};
use crate::kafka::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse};
use crate::kafka::wire::ErrorCode;

impl Machine {
    /// Handles LeaveGroup of version 3 and later: the members of the request leave together. If the group is empty then,
    /// the answer waits until that is in the log.
    pub fn leave(&mut self, now: Now, request: &LeaveGroupRequest, to: ReplyId) {
        let Some(mut group) = self.check_out(&request.group_id) else {
            let members = request.members.iter();
            let members = members.map(|member| response(member, ErrorCode::UNKNOWN_MEMBER_ID));
            let members = members.collect();
            return self.reply(to, answer(members));
        };
        let mut members = Vec::with_capacity(request.members.len());
        for identity in &request.members {
            let error = self.leave_one(&mut group, identity).err();
            members.push(response(identity, error.unwrap_or_default()));
        }
        let mark = self.next_append();
        if members.iter().any(|member| member.error_code == ErrorCode::NONE) {
            match group.state {
                GroupState::Empty => {}
                GroupState::PreparingRebalance => self.maybe_complete_join(now, &mut group),
                GroupState::CompletingRebalance | GroupState::Stable => {
                    self.prepare_rebalance(now, &mut group, "members left");
                }
            }
        }
        self.check_in(group);
        self.reply_behind(mark, to, answer(members));
    }

    fn leave_one(&mut self, group: &mut Group, identity: &MemberIdentity) -> Result<(), ErrorCode> {
        let instance = identity.group_instance_id.as_ref();
        let id = if identity.member_id.is_empty() {
            // An administrator removes a static member by its instance id alone.
            let id = instance.and_then(|instance| group.static_members.get(instance));
            id.cloned().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?
        } else {
            if !group.pending_members.contains_key(&identity.member_id) {
                group.check_member(&identity.member_id, instance)?;
            }
            identity.member_id.clone()
        };
        let reason = identity.reason.as_deref().filter(|reason| !reason.is_empty());
        log::info!(
            "event=group_member_left group={:?} member={id:?} reason={:?}",
            group.id,
            reason.unwrap_or("not provided")
        );
        self.remove_member(group, &id);
        Ok(())
    }
}

fn response(identity: &MemberIdentity, error: ErrorCode) -> MemberResponse {
    MemberResponse {
        member_id: identity.member_id.clone(),
        group_instance_id: identity.group_instance_id.clone(),
        error_code: error,
    }
}

fn answer(members: Vec<MemberResponse>) -> Answer {
    Answer::Leave(LeaveGroupResponse {
        members,
        ..Default::default()
    })
}
