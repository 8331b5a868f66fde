//! The memberships that replicas of a group were seen to have.

use chronik_core::LogIndex;
use chronik_core::consensus::Membership;

/// How many older memberships may be in force beside the one that a replica shows: an engine may let one take effect
/// when it is committed, and what is acknowledged now may have been committed under the one before.
const OLDER_MAX: usize = 2;

/// The memberships of a group, in the order in which they were first seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// With the end of the log in which each was first seen.
    known: Vec<(Membership, LogIndex)>,
}

impl Seen {
    pub(super) fn new(founding: Membership) -> Self {
        Self {
            known: vec![(founding, LogIndex(0))],
        }
    }

    /// What may be in force where a replica whose log ends at `last` shows `own`: that, the two before, and all since.
    pub(super) fn in_force(&mut self, own: &Membership, last: LogIndex) -> Vec<Membership> {
        let place = self.place(own, last);
        let from = place.saturating_sub(OLDER_MAX);
        let newest_first = self.known.iter().skip(from).rev();
        newest_first.map(|(membership, _)| membership.clone()).collect()
    }

    /// A replica that lags behind shows one that was seen before, and its log is no longer than that in which the
    /// newest was; a group that goes back to an older membership has more in its log.
    fn place(&mut self, own: &Membership, last: LogIndex) -> usize {
        let before = self.known.iter().rposition(|(known, _)| known == own);
        let newest = self.known.last();
        if let (Some(before), Some((newest, seen_in))) = (before, newest)
            && (newest == own || last <= *seen_in)
        {
            return before;
        }
        self.known.push((own.clone(), last));
        self.known.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_core::consensus::Member;
    use chronik_core::{NodeId, ReplicaId};

    fn of(voters: &[u64], outgoing: &[u64]) -> Membership {
        let members = |nodes: &[u64]| {
            let member = |node: &u64| Member {
                replica: ReplicaId(100 + node),
                node: NodeId(*node),
            };
            nodes.iter().map(member).collect()
        };
        Membership {
            voters: members(voters),
            outgoing_voters: members(outgoing),
            learners: Vec::new(),
        }
    }

    #[test]
    fn a_replica_that_lags_behind_hides_none_of_the_memberships_that_count() {
        let (old, joint, new) = (of(&[1, 2, 3], &[]), of(&[3, 4], &[1, 2, 3]), of(&[3, 4], &[]));
        let mut seen = Seen::new(old.clone());
        seen.in_force(&joint, LogIndex(130));
        seen.in_force(&new, LogIndex(147));
        let lagging = seen.in_force(&joint, LogIndex(146));
        assert!(lagging.contains(&old), "{lagging:?}");
        assert!(lagging.contains(&new), "{lagging:?}");
        assert_eq!(seen.in_force(&new, LogIndex(148)), [new, joint, old]);
    }

    #[test]
    fn a_group_that_goes_back_counts_by_few_memberships_again() {
        let (old, new) = (of(&[1, 2, 3], &[]), of(&[3, 4, 5], &[]));
        let (there, back) = (of(&[3, 4, 5], &[1, 2, 3]), of(&[1, 2, 3], &[3, 4, 5]));
        let mut seen = Seen::new(old.clone());
        seen.in_force(&there, LogIndex(10));
        seen.in_force(&new, LogIndex(11));
        seen.in_force(&back, LogIndex(20));
        assert_eq!(seen.in_force(&old, LogIndex(21)), [old, back, new]);
    }
}
