//! Deadlines: sessions that ended, members that did not join or sync in time.

use super::classic::{Group, GroupState};
use super::machine::{Machine, Now};
use crate::kafka::wire::KafkaString;
use std::time::Duration;

/// A deadline of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Session(KafkaString),
    PendingMember(KafkaString),
    Join,
    Sync,
}

impl Machine {
    /// Runs the deadlines of the group that have passed, in the order in which they did.
    pub(super) fn expire_group(&mut self, now: Now, group: &mut Group) {
        for (at, due) in due(group, now.mono) {
            // An earlier one may have changed what this one was for.
            match due {
                Due::Session(id) => {
                    let deadline = group.members.get(&id).and_then(|member| member.session_deadline);
                    if deadline == Some(at) {
                        self.session_ended(now, group, &id);
                    }
                }
                Due::PendingMember(id) => {
                    if group.pending_members.remove(&id).is_some() {
                        log::info!(
                            "event=group_pending_member_expired group={:?} member={id:?}",
                            group.id
                        );
                        self.complete_join_if_all_joined(now, group);
                    }
                }
                Due::Join => {
                    if let Some(timer) = group.join_timer.filter(|timer| timer.at == at) {
                        self.join_timer_fired(now, group, timer);
                    }
                }
                Due::Sync => {
                    if group.sync_deadline == Some(at) {
                        self.sync_timer_fired(now, group);
                    }
                }
            }
        }
    }

    fn session_ended(&mut self, now: Now, group: &mut Group, id: &KafkaString) {
        let Some(member) = group.members.get_mut(id) else {
            return;
        };
        member.session_deadline = None;
        if member.waits_for_the_group() {
            return;
        }
        log::info!("event=group_member_expired group={:?} member={id:?}", group.id);
        self.remove_member(group, id);
        match group.state {
            GroupState::Empty => {}
            GroupState::PreparingRebalance => self.complete_join_if_all_joined(now, group),
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.prepare_rebalance(now, group, "the session of a member ended");
            }
        }
    }

    /// Unlike after a request, this ends the first rebalance of an empty group too.
    fn complete_join_if_all_joined(&mut self, now: Now, group: &mut Group) {
        if group.state == GroupState::PreparingRebalance && group.all_joined() {
            self.complete_join(now, group);
        }
    }

    /// Members that know the generation but did not ask for their assignment are out.
    fn sync_timer_fired(&mut self, now: Now, group: &mut Group) {
        group.sync_deadline = None;
        let late = std::mem::take(&mut group.pending_sync);
        let waits = matches!(group.state, GroupState::CompletingRebalance | GroupState::Stable);
        if late.is_empty() || !waits {
            return;
        }
        log::info!(
            "event=group_sync_expired group={:?} members={}",
            group.id,
            late.len()
        );
        for id in &late {
            self.remove_member(group, id);
        }
        self.prepare_rebalance(now, group, "members did not sync in time");
    }
}

fn due(group: &Group, now: Duration) -> Vec<(Duration, Due)> {
    let sessions = group.members.values().filter_map(|member| {
        let at = member.session_deadline?;
        Some((at, Due::Session(member.id.clone())))
    });
    let pending = group.pending_members.iter();
    let pending = pending.map(|(id, at)| (*at, Due::PendingMember(id.clone())));
    let join = group.join_timer.map(|timer| (timer.at, Due::Join));
    let sync = group.sync_deadline.map(|at| (at, Due::Sync));
    let all = sessions.chain(pending).chain(join).chain(sync);
    let mut due: Vec<_> = all.filter(|(at, _)| *at <= now).collect();
    due.sort();
    due
}
