//! Who leads which group, as the leaders say it themselves.
//!
//! Every node tells all others which groups it leads, at once when that changes and in full every few seconds. The
//! highest term wins. This serves groups that a node does not host; of those that it hosts it asks its engine.

use super::message::Claim;
use chronik_core::{Env, GroupId, NodeId, Term};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A node that was heard within this time is alive.
const ALIVE: Duration = Duration::from_millis(800);

/// What a leader said last of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leads {
    /// The leader.
    pub leader: NodeId,
    /// Its term.
    pub term: Term,
    /// The nodes whose replicas are in sync.
    pub in_sync: Vec<NodeId>,
}

#[derive(Debug, Default)]
struct Heard {
    groups: BTreeMap<GroupId, Leads>,
    nodes: BTreeMap<NodeId, Duration>,
}

/// What was heard from other nodes.
pub struct GossipBook {
    env: Env,
    heard: Mutex<Heard>,
}

impl GossipBook {
    /// A node that heard nothing yet.
    #[must_use]
    pub fn new(env: Env) -> Self {
        Self {
            env,
            heard: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node spoke. `full` says that it leads nothing beyond these.
    pub fn hear(&self, from: NodeId, full: bool, claims: &[Claim]) {
        let now = self.env.clock.now();
        let mut heard = self.lock();
        heard.nodes.insert(from, now);
        if full {
            let said: std::collections::BTreeSet<u64> = claims.iter().map(|claim| claim.group).collect();
            heard
                .groups
                .retain(|group, leads| leads.leader != from || said.contains(&group.0));
        }
        for claim in claims {
            let leads = Leads {
                leader: from,
                term: Term(claim.term),
                in_sync: claim.in_sync.iter().copied().map(NodeId).collect(),
            };
            let known = heard.groups.get(&GroupId(claim.group));
            if known.is_none_or(|known| known.term <= leads.term) {
                heard.groups.insert(GroupId(claim.group), leads);
            }
        }
    }

    /// Who leads a group, by what was heard.
    #[must_use]
    pub fn leads(&self, group: GroupId) -> Option<Leads> {
        self.lock().groups.get(&group).cloned()
    }

    /// Whether a node was heard lately.
    #[must_use]
    pub fn is_alive(&self, node: NodeId) -> bool {
        let now = self.env.clock.now();
        let heard = self.lock();
        let last = heard.nodes.get(&node);
        last.is_some_and(|last| now.saturating_sub(*last) <= ALIVE)
    }
}

impl fmt::Debug for GossipBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heard = self.lock();
        f.debug_struct("GossipBook")
            .field("groups", &heard.groups.len())
            .field("nodes", &heard.nodes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_conformance::world::{Seed, SimEnv};

    fn claim(group: u64, term: u64) -> Claim {
        Claim {
            group,
            term,
            in_sync: vec![1],
        }
    }

    #[test]
    fn the_highest_term_wins_and_a_full_word_takes_back_what_it_leaves_out() {
        let sim = SimEnv::new(Seed(1));
        let book = GossipBook::new(sim.env());
        let leader = |group| book.leads(GroupId(group)).map(|leads| leads.leader.0);
        book.hear(NodeId(1), true, &[claim(7, 5), claim(8, 5)]);
        book.hear(NodeId(2), false, &[claim(7, 6), claim(8, 4)]);
        assert_eq!((leader(7), leader(8)), (Some(2), Some(1)));
        book.hear(NodeId(1), true, &[claim(7, 5)]);
        assert_eq!((leader(7), leader(8)), (Some(2), None));
    }

    #[test]
    fn a_node_that_falls_silent_is_not_alive() {
        let sim = SimEnv::new(Seed(1));
        let book = GossipBook::new(sim.env());
        assert!(!book.is_alive(NodeId(2)));
        book.hear(NodeId(2), false, &[]);
        assert!(book.is_alive(NodeId(2)));
        sim.advance(ALIVE + Duration::from_millis(1));
        assert!(!book.is_alive(NodeId(2)));
    }
}
