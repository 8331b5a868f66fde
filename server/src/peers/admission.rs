//! How the leader of the metadata group takes a node in.
//!
//! A replica of the metadata group is a data directory: its id is the directory's incarnation. A directory that is new
//! learns first; where the group has fewer voters than it shall have, or where the directory replaces one of the same
//! node that voted, it votes once it has caught up, and the replaced one is removed in the same change. Every step can
//! be repeated.

use super::message::Answer;
use chronik_core::consensus::{ConsensusError, ConsensusGroup, GroupStatus, Member, MembershipChange, Role};
use std::sync::Arc;
use std::time::Duration;

/// How far behind a replica may be that is made a voter.
const LAG_ENTRIES: u64 = 16;
/// A replica that answered within this time runs.
const ALIVE: Duration = Duration::from_secs(2);

/// Takes nodes into the metadata group where this node leads it.
#[derive(Clone, Debug)]
pub struct Admission {
    group: Arc<dyn ConsensusGroup>,
    voters: usize,
}

impl Admission {
    /// Takes nodes into `group`, which shall have this many voters.
    #[must_use]
    pub const fn new(group: Arc<dyn ConsensusGroup>, voters: usize) -> Self {
        Self { group, voters }
    }

    /// The next step for a replica that wants to take part.
    pub async fn admit(&self, joiner: Member) -> Answer {
        let status = self.group.status();
        if status.progress.role != Role::Leader {
            return Answer::NotLeader {
                leader: leader_of(&status),
            };
        }
        let change = match plan(&status, joiner, self.voters) {
            Plan::Done => return Answer::Joined,
            Plan::Wait(why) => return Answer::Later { why },
            Plan::Refuse(why) => return Answer::Refused { why },
            Plan::Change(change) => change,
        };
        log::info!("event=metadata_membership change={change:?}");
        match self.group.change_membership(change).await {
            Ok(_) => Answer::Later {
                why: "one step is done".to_owned(),
            },
            Err(ConsensusError::NotLeader { .. }) => Answer::NotLeader {
                leader: leader_of(&self.group.status()),
            },
            // Asking again changes nothing.
            Err(error @ ConsensusError::Unsupported(_)) => Answer::Refused {
                why: error.to_string(),
            },
            Err(error) => Answer::Later {
                why: error.to_string(),
            },
        }
    }
}

fn leader_of(status: &GroupStatus) -> Option<u64> {
    let members = status.membership.voters.iter();
    let mut members = members.chain(&status.membership.outgoing_voters);
    let leader = status.progress.leader?;
    members
        .find(|member| member.replica == leader)
        .map(|member| member.node.0)
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Done,
    Wait(String),
    Refuse(String),
    Change(MembershipChange),
}

fn plan(status: &GroupStatus, joiner: Member, wanted: usize) -> Plan {
    let members = &status.membership;
    let replaced = |member: &&Member| member.node == joiner.node && **member != joiner;
    let mut old = members.voters.iter().chain(&members.learners).filter(replaced);
    let runs = |member: &Member| {
        let matched = status.matched.get(&member.replica);
        matched.is_some_and(|matched| matched.silent_for < ALIVE)
    };
    if members.voters.contains(&joiner) {
        return Plan::Done;
    }
    if let Some(other) = old.clone().find(|member| runs(member)) {
        return Plan::Refuse(format!(
            "node {} runs with another data directory (replica {}): give every node a node.id (--node-id) of its own",
            joiner.node, other.replica
        ));
    }
    if !members.learners.contains(&joiner) {
        return Plan::Change(MembershipChange::AddLearner(joiner));
    }
    let votes = members.voters.iter().any(|member| replaced(&member)) || members.voters.len() < wanted;
    if !votes && old.next().is_none() {
        return Plan::Done;
    }
    let matched = status
        .matched
        .get(&joiner.replica)
        .map_or(0, |matched| matched.index.0);
    if matched + LAG_ENTRIES < status.progress.commit.0 {
        return Plan::Wait(format!("it has {matched} of {} entries", status.progress.commit));
    }
    let others = |members: &[Member]| -> Vec<Member> {
        let others = members.iter().filter(|member| member.node != joiner.node);
        others.copied().collect()
    };
    let (mut voters, mut learners) = (others(&members.voters), others(&members.learners));
    if votes { &mut voters } else { &mut learners }.push(joiner);
    Plan::Change(MembershipChange::Become { voters, learners })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_core::consensus::{Matched, Membership, Progress};
    use chronik_core::{GroupId, LogIndex, NodeId, ReplicaId, Term};
    use std::collections::BTreeMap;

    const COMMIT: u64 = 100;

    fn member(node: u64, replica: u64) -> Member {
        Member {
            replica: ReplicaId(replica),
            node: NodeId(node),
        }
    }

    /// A leader's view: members, and how far each replica is and how long it is silent.
    fn status(voters: &[Member], learners: &[Member], matched: &[(u64, u64, u64)]) -> GroupStatus {
        let matched = matched.iter().map(|(replica, index, silent_ms)| {
            let matched = Matched {
                index: LogIndex(*index),
                silent_for: Duration::from_millis(*silent_ms),
            };
            (ReplicaId(*replica), matched)
        });
        GroupStatus {
            group: GroupId(0),
            replica: member(1, 11),
            progress: Progress {
                role: Role::Leader,
                term: Term(3),
                leader: Some(ReplicaId(11)),
                commit: LogIndex(COMMIT),
                own_term_start: Some(LogIndex(1)),
            },
            membership: Membership {
                voters: voters.to_vec(),
                learners: learners.to_vec(),
                outgoing_voters: Vec::new(),
            },
            matched: BTreeMap::from_iter(matched),
        }
    }

    fn becomes(voters: &[Member], learners: &[Member]) -> Plan {
        Plan::Change(MembershipChange::Become {
            voters: voters.to_vec(),
            learners: learners.to_vec(),
        })
    }

    #[test]
    fn a_new_node_learns_then_votes_where_voters_are_missing() {
        let (one, two) = (member(1, 11), member(2, 22));
        let plan_for = |status: &GroupStatus| plan(status, two, 3);
        assert_eq!(
            plan_for(&status(&[one], &[], &[])),
            Plan::Change(MembershipChange::AddLearner(two))
        );
        assert!(matches!(
            plan_for(&status(&[one], &[two], &[(22, 3, 0)])),
            Plan::Wait(_)
        ));
        let caught_up = status(&[one], &[two], &[(22, COMMIT, 0)]);
        assert_eq!(plan_for(&caught_up), becomes(&[one, two], &[]));
        assert_eq!(plan_for(&status(&[one, two], &[], &[])), Plan::Done);
    }

    #[test]
    fn with_enough_voters_a_new_node_stays_a_learner() {
        let voters = [member(1, 11), member(2, 22), member(3, 33)];
        let four = member(4, 44);
        assert_eq!(plan(&status(&voters, &[four], &[]), four, 3), Plan::Done);
    }

    #[test]
    fn a_wiped_voter_is_replaced_in_one_change_and_never_while_it_runs() {
        let voters = [member(1, 11), member(2, 22), member(3, 33)];
        let reborn = member(2, 23);
        let caught_up = status(&voters, &[reborn], &[(22, 50, 60_000), (23, COMMIT, 0)]);
        let after = [member(1, 11), member(3, 33), reborn];
        assert_eq!(plan(&caught_up, reborn, 3), becomes(&after, &[]));
        let runs = status(&voters, &[], &[(22, COMMIT, 10)]);
        assert!(matches!(plan(&runs, reborn, 3), Plan::Refuse(why) if why.contains("node.id")));
    }

    #[test]
    fn a_wiped_learner_replaces_the_old_one() {
        let voters = [member(1, 11), member(2, 22), member(3, 33)];
        let (old, reborn) = (member(4, 44), member(4, 45));
        let caught_up = status(&voters, &[old, reborn], &[(45, COMMIT, 0)]);
        assert_eq!(plan(&caught_up, reborn, 3), becomes(&voters, &[reborn]));
    }
}
