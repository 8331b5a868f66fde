//! Brings each group's membership in line with the metadata, on the partition's leader.
//!
//! The metadata says which replicas a partition has; the group's own log says who votes. A replica that is missing is
//! added as a learner; once all of them have caught up, they become the voters, and who is not one of them any more is
//! removed in the same change. One change at a time, so that a crash in the middle leaves the old or the new.

use super::leadership::Leadership;
use super::partitions::PartitionTable;
use crate::cluster::{ClusterImage, Controller};
use crate::partition::Partition;
use chronik_core::consensus::{ConsensusError, GroupStatus, Member, Membership, MembershipChange, Role};
use chronik_core::{Env, GroupId};
use futures_lite::FutureExt;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The pause between two rounds over all partitions while there is something to change.
const ROUND: Duration = Duration::from_millis(500);
/// How long there is no round while nobody tells of anything to change.
const REST: Duration = Duration::from_secs(5);
/// How many changes run at a time.
const AT_A_TIME: usize = 16;
/// How far behind a replica may be that is made a voter.
const LAG_ENTRIES: u64 = 64;

/// Brings memberships in line.
#[derive(Debug)]
pub struct Reconciler {
    table: Arc<PartitionTable>,
    controller: Arc<Controller>,
    env: Env,
    changing: Arc<Mutex<BTreeSet<GroupId>>>,
}

impl Reconciler {
    /// For the partitions of `table`.
    #[must_use]
    pub fn new(table: Arc<PartitionTable>, controller: Arc<Controller>, env: Env) -> Self {
        Self {
            table,
            controller,
            env,
            changing: Arc::default(),
        }
    }

    /// Runs until the process ends.
    pub async fn run(self) {
        let images = self.controller.watch();
        let mut leadership = Leadership::new(Arc::clone(&self.table));
        loop {
            leadership.take();
            let (image, version) = images.versioned();
            let is_settled = self.round(&image);
            self.env.clock.sleep(ROUND).await;
            if is_settled {
                let placed = async {
                    images.changed(version).await;
                };
                let told = placed.or(leadership.changed());
                told.or(self.env.clock.sleep(REST)).await;
            }
        }
    }

    /// Starts what is to be changed, and says whether there is nothing more until the metadata or a leader changes.
    fn round(&self, image: &ClusterImage) -> bool {
        let mut is_settled = lock(&self.changing).is_empty();
        for (group, members) in placed(image) {
            if lock(&self.changing).len() >= AT_A_TIME {
                return false;
            }
            let led = self.table.get(group);
            let Some(partition) = led.filter(|partition| partition.led_term().is_some()) else {
                continue;
            };
            let status = partition.group().status();
            is_settled &= is_as_wanted(&status.membership, &members);
            if let Some(change) = plan(&status, &members) {
                self.start(group, partition, change);
            }
        }
        is_settled
    }

    fn start(&self, group: GroupId, partition: Arc<Partition>, change: MembershipChange) {
        if !lock(&self.changing).insert(group) {
            return;
        }
        let changing = Arc::clone(&self.changing);
        let task = async move {
            log::info!(
                "event=membership_change partition={} change={change:?}",
                partition.name()
            );
            match partition.group().change_membership(change).await {
                Ok(at) => log::info!("event=membership_changed partition={} at={at}", partition.name()),
                Err(ConsensusError::Busy | ConsensusError::NotLeader { .. } | ConsensusError::Closed) => {}
                Err(error) => {
                    log::warn!(
                        "event=membership_not_changed partition={} error=\"{error}\"",
                        partition.name()
                    );
                }
            }
            lock(&changing).remove(&group);
        };
        self.env.spawn.spawn("membership-change", Box::pin(task));
    }
}

fn lock(changing: &Mutex<BTreeSet<GroupId>>) -> MutexGuard<'_, BTreeSet<GroupId>> {
    changing.lock().unwrap_or_else(PoisonError::into_inner)
}

fn placed(image: &ClusterImage) -> impl Iterator<Item = (GroupId, Vec<Member>)> {
    let topics = image.state.topics().values();
    let partitions = topics.flat_map(|topic| &topic.partitions);
    partitions.map(|partition| {
        let members = partition.replicas().iter().map(|replica| replica.member());
        (partition.group(), members.collect())
    })
}

/// Whether exactly these vote, whatever their order, and no change is under way.
#[must_use]
pub fn is_as_wanted(now: &Membership, wanted: &[Member]) -> bool {
    let as_set = |members: &[Member]| members.iter().copied().collect::<BTreeSet<_>>();
    now.learners.is_empty() && now.outgoing_voters.is_empty() && as_set(&now.voters) == as_set(wanted)
}

/// The next change, if there is one to make now.
#[must_use]
pub fn plan(status: &GroupStatus, wanted: &[Member]) -> Option<MembershipChange> {
    let now = &status.membership;
    if status.progress.role != Role::Leader || wanted.is_empty() || !now.outgoing_voters.is_empty() {
        return None;
    }
    if is_as_wanted(now, wanted) {
        return None;
    }
    let known = |member: &&Member| now.voters.contains(member) || now.learners.contains(member);
    if let Some(missing) = wanted.iter().find(|member| !known(member)) {
        return Some(MembershipChange::AddLearner(*missing));
    }
    let has_caught_up = |member: &Member| {
        let matched = status.matched.get(&member.replica);
        let matched = matched.map_or(0, |matched| matched.index.0);
        now.voters.contains(member) || matched + LAG_ENTRIES >= status.progress.commit.0
    };
    wanted
        .iter()
        .all(has_caught_up)
        .then(|| MembershipChange::Become {
            voters: wanted.to_vec(),
            learners: Vec::new(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_core::consensus::{Matched, Progress};
    use chronik_core::{LogIndex, NodeId, ReplicaId, Term};

    const COMMIT: u64 = 1000;

    fn member(replica: u64) -> Member {
        Member {
            replica: ReplicaId(replica),
            node: NodeId(replica % 10),
        }
    }

    fn members(replicas: &[u64]) -> Vec<Member> {
        replicas.iter().copied().map(member).collect()
    }

    fn status(voters: &[u64], learners: &[u64], matched: &[(u64, u64)]) -> GroupStatus {
        let matched = matched.iter().map(|(replica, index)| {
            let matched = Matched {
                index: LogIndex(*index),
                silent_for: Duration::ZERO,
            };
            (ReplicaId(*replica), matched)
        });
        GroupStatus {
            group: GroupId(7),
            replica: member(1),
            progress: Progress {
                role: Role::Leader,
                term: Term(3),
                leader: Some(ReplicaId(1)),
                commit: LogIndex(COMMIT),
                own_term_start: Some(LogIndex(1)),
            },
            membership: Membership {
                voters: members(voters),
                learners: members(learners),
                outgoing_voters: Vec::new(),
            },
            matched: matched.collect(),
        }
    }

    #[test]
    fn a_membership_that_is_as_wanted_is_left_alone_whatever_its_order() {
        assert_eq!(plan(&status(&[1, 2, 3], &[], &[]), &members(&[3, 1, 2])), None);
    }

    #[test]
    fn a_replaced_replica_learns_first_and_then_takes_the_place_of_the_old_one() {
        let wanted = members(&[1, 12, 3]);
        let added = plan(&status(&[1, 2, 3], &[], &[]), &wanted);
        assert_eq!(added, Some(MembershipChange::AddLearner(member(12))));
        assert_eq!(plan(&status(&[1, 2, 3], &[12], &[(12, 10)]), &wanted), None);
        let become_wanted = MembershipChange::Become {
            voters: wanted.clone(),
            learners: Vec::new(),
        };
        let caught_up = status(&[1, 2, 3], &[12], &[(12, COMMIT)]);
        assert_eq!(plan(&caught_up, &wanted), Some(become_wanted));
    }

    #[test]
    fn nothing_is_changed_by_a_follower_or_in_the_middle_of_a_change() {
        let wanted = members(&[1, 12, 3]);
        let mut follower = status(&[1, 2, 3], &[], &[]);
        follower.progress.role = Role::Follower;
        assert_eq!(plan(&follower, &wanted), None);
        let mut joint = status(&[1, 2, 3], &[], &[]);
        joint.membership.outgoing_voters = members(&[1, 2, 4]);
        assert_eq!(plan(&joint, &wanted), None);
        assert_eq!(plan(&status(&[1, 2, 3], &[], &[]), &[]), None);
    }
}
