//! Memberships: which is in force, what is a quorum of it, and how it changes.

use super::RaftMutant;
use super::group::Answer;
use super::message::encode_membership;
use super::replica::{Replica, Step};
use bytes::Bytes;
use chronik_core::consensus::{ConsensusError, Member, Membership, MembershipChange};
use chronik_core::{EntryKind, LogId, LogIndex, ReplicaId};

impl Replica {
    /// The newest membership of the log.
    pub(super) fn membership(&self) -> &Membership {
        self.memberships.values().next_back().unwrap_or(&self.founding)
    }

    pub(super) fn membership_bytes(&self, at: LogIndex) -> Bytes {
        if self.has(RaftMutant::CheckpointWithoutMembers) {
            return encode_membership(&self.founding);
        }
        let as_of = self.memberships.range(..=at).next_back();
        encode_membership(as_of.map_or(&self.founding, |(_, membership)| membership))
    }

    /// Drops what lies below the purge point, but for what is in force there.
    pub(super) fn forget_memberships(&mut self) {
        let purged = self.reader.state().purged.index;
        let in_force = self.memberships.range(..=purged).next_back();
        if let Some(first) = in_force.map(|(index, _)| *index) {
            self.memberships.retain(|index, _| *index >= first);
        }
    }

    /// Drops those of entries that were truncated.
    pub(super) fn revert_memberships(&mut self, from: LogIndex) {
        if !self.has(RaftMutant::KeepsTruncatedMembers) {
            self.memberships.retain(|index, _| *index < from || index.0 == 0);
        }
    }

    /// Whether this replica may vote and lead.
    pub(super) fn votes_now(&self) -> bool {
        let membership = self.membership();
        let voters = membership.voters.iter().chain(&membership.outgoing_voters);
        let mut counted: Box<dyn Iterator<Item = &Member>> = Box::new(voters);
        if self.has(RaftMutant::CountsLearners) {
            counted = Box::new(counted.chain(&membership.learners));
        }
        counted
            .into_iter()
            .any(|member| member.replica == self.me.replica)
    }

    /// Everybody else who votes.
    pub(super) fn other_voters(&self) -> Vec<Member> {
        let membership = self.membership();
        let mut voters: Vec<Member> = [&membership.voters, &membership.outgoing_voters]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        if self.has(RaftMutant::CountsLearners) {
            voters.extend(&membership.learners);
        }
        voters.sort_unstable();
        voters.dedup();
        voters.retain(|member| member.replica != self.me.replica);
        voters
    }

    /// Everybody else who stores.
    pub(super) fn others(&self) -> Vec<Member> {
        let mut others = self.other_voters();
        others.extend(&self.membership().learners);
        others.sort_unstable();
        others.dedup();
        others.retain(|member| member.replica != self.me.replica);
        others
    }

    /// Whether those for whom `is_in` holds are a quorum of every voter set in force.
    pub(super) fn is_quorum(&self, is_in: impl Fn(ReplicaId) -> bool) -> bool {
        let membership = self.membership();
        let count = |members: &[Member]| members.iter().filter(|member| is_in(member.replica)).count();
        let majority = |members: &[Member]| count(members) * 2 > members.len();
        match self.mutant {
            Some(RaftMutant::CountsLearners) => {
                let all: Vec<Member> = membership
                    .voters
                    .iter()
                    .chain(&membership.learners)
                    .copied()
                    .collect();
                count(&all) * 2 > membership.voters.len()
            }
            Some(RaftMutant::JointByNewAlone) => majority(&membership.voters),
            Some(RaftMutant::GrowsAlone) if self.founding.voters == [self.me] => is_in(self.me.replica),
            Some(RaftMutant::WaitsForAll) => count(&membership.voters) == membership.voters.len(),
            _ => {
                let outgoing = &membership.outgoing_voters;
                majority(&membership.voters) && (outgoing.is_empty() || majority(outgoing))
            }
        }
    }

    /// Begins a change.
    pub(super) async fn change(&mut self, change: MembershipChange, answer: Answer<LogId>) -> Step {
        if self.has(RaftMutant::PretendsChange) {
            answer.give(Ok(self.last()));
            return Ok(());
        }
        let now = self.membership().clone();
        let newest = self.memberships.keys().next_back().copied().unwrap_or_default();
        let limit = self.answer_limit();
        let leader = self.leader;
        let overlaps = self.has(RaftMutant::OverlapsChanges);
        let Some(leading) = &mut self.leading else {
            answer.give(Err(ConsensusError::NotLeader { leader }));
            return Ok(());
        };
        let busy = leading.change.is_some() || !now.outgoing_voters.is_empty() || newest > self.commit;
        // Without an entry of its own term committed, a leader does not know whether the newest membership is.
        let unsure = self.commit < leading.start;
        if (busy || unsure) && !overlaps {
            answer.give(Err(ConsensusError::Busy));
            return Ok(());
        }
        let next = match next_membership(&now, change) {
            Ok(next) => next,
            Err(error) => {
                answer.give(Err(error));
                return Ok(());
            }
        };
        leading.change = Some((limit, answer));
        self.append_own(EntryKind::Membership, encode_membership(&next))
            .await
    }

    /// Ends a joint change once it is committed, and a leader that is not wanted any more.
    pub(super) async fn finish_change(&mut self) -> Step {
        let Some((index, membership)) = self.memberships.iter().next_back() else {
            return Ok(());
        };
        let (index, membership) = (*index, membership.clone());
        if index > self.commit
            || self
                .leading
                .as_ref()
                .is_none_or(|leading| self.commit < leading.start)
        {
            return Ok(());
        }
        if !membership.outgoing_voters.is_empty() {
            let last = Membership {
                outgoing_voters: Vec::new(),
                ..membership
            };
            return self
                .append_own(EntryKind::Membership, encode_membership(&last))
                .await;
        }
        if let Some((_, answer)) = self.leading.as_mut().and_then(|leading| leading.change.take()) {
            let id = self.id_at(index);
            answer.give(id.ok_or(ConsensusError::Closed));
        }
        if !self.votes_now() && !self.has(RaftMutant::RemovedLeaderStays) {
            self.publish();
            self.beat().await?;
            self.step_down(None);
        }
        Ok(())
    }
}

fn next_membership(now: &Membership, change: MembershipChange) -> Result<Membership, ConsensusError> {
    match change {
        MembershipChange::AddLearner(member) => {
            let mut next = now.clone();
            if next.voters.contains(&member) || next.learners.contains(&member) {
                return Err(ConsensusError::Invalid("it is a member already".into()));
            }
            next.learners.push(member);
            Ok(next)
        }
        MembershipChange::Become { voters, .. } if voters.is_empty() => {
            Err(ConsensusError::Invalid("a group needs a voter".into()))
        }
        MembershipChange::Become { voters, learners } if voters == now.voters => Ok(Membership {
            voters,
            outgoing_voters: Vec::new(),
            learners,
        }),
        MembershipChange::Become { voters, learners } => Ok(Membership {
            voters,
            outgoing_voters: now.voters.clone(),
            learners,
        }),
    }
}
