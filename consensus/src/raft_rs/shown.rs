//! What a group shows to those who do not own it.

use super::liveness::Heard;
use chronik_core::consensus::{Matched, Member, Membership, Progress, Role};
use chronik_core::{GroupId, LogIndex, ReplicaId, Watch};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a leader knows of a replica, with the time itself instead of what has passed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) replica: ReplicaId,
    pub(super) index: LogIndex,
    /// When the request was sent whose answer came last.
    pub(super) sent_at: Duration,
}

#[derive(Debug, Default)]
struct Details {
    membership: Membership,
    answered: Vec<Answered>,
    /// The group sleeps: whose node is heard has all that there is.
    asleep: bool,
}

/// Written by the engine, read by anybody.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) group: GroupId,
    pub(super) replica: Member,
    pub(super) progress: Watch<Progress>,
    details: Mutex<Details>,
}

impl Shown {
    pub(super) fn new(group: GroupId, replica: Member, progress: Progress) -> Self {
        Self {
            group,
            replica,
            progress: Watch::new(progress),
            details: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn membership(&self) -> Membership {
        self.lock().membership.clone()
    }

    pub(super) fn set_membership(&self, membership: &Membership) {
        self.lock().membership.clone_from(membership);
    }

    pub(super) fn set_answered(&self, answered: impl Iterator<Item = Answered>) {
        let mut details = self.lock();
        details.answered.clear();
        details.answered.extend(answered);
    }

    pub(super) fn set_asleep(&self, asleep: bool) {
        self.lock().asleep = asleep;
    }

    pub(super) fn matched(&self, now: Duration, heard: &Heard) -> BTreeMap<ReplicaId, Matched> {
        let details = self.lock();
        let members = || {
            details
                .membership
                .voters
                .iter()
                .chain(&details.membership.learners)
        };
        let node_of = |replica: ReplicaId| members().find(|member| member.replica == replica);
        let known = details.answered.iter().map(|answered| {
            let mut sent_at = answered.sent_at;
            if details.asleep {
                let by_node = node_of(answered.replica).and_then(|member| heard.answered(member.node));
                sent_at = by_node.map_or(sent_at, |by_node| by_node.max(sent_at));
                if answered.replica == self.replica.replica {
                    sent_at = now;
                }
            }
            let matched = Matched {
                index: answered.index,
                silent_for: now.saturating_sub(sent_at),
            };
            (answered.replica, matched)
        });
        known.collect()
    }

    /// Changes what is watched; neither term nor commit index ever goes back (CS-ORD-01).
    pub(super) fn set_progress(&self, new: Progress) {
        self.progress.update(|progress| {
            assert!(
                new.term >= progress.term && new.commit >= progress.commit,
                "term and commit only grow: {progress:?}, then {new:?}"
            );
            let changed = *progress != new;
            *progress = new;
            changed
        });
    }

    pub(super) fn stop(&self) {
        self.progress.update(|progress| {
            let running = progress.role != Role::Stopped;
            progress.role = Role::Stopped;
            progress.leader = None;
            progress.own_term_start = None;
            running
        });
    }
}
