//! Who leads what, and who is alive: from the own engine for partitions that run here, and by gossip for the others.

use super::partitions::PartitionTable;
use crate::cluster::{LeaderView, PartitionView};
use crate::peers::Leads;
use chronik_core::{GroupId, NodeId, Term};
use std::fmt::Debug;
use std::sync::Arc;

/// What other nodes say.
pub trait PeerView: Send + Sync + Debug {
    /// Who leads a group, as the leader said last.
    fn leads(&self, group: GroupId) -> Option<Leads>;
    /// Whether another node can be reached, or was heard lately.
    fn is_alive(&self, node: NodeId) -> bool;
}

/// For a node that is alone: nobody says anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl PeerView for Alone {
    fn leads(&self, _: GroupId) -> Option<Leads> {
        None
    }

    fn is_alive(&self, _: NodeId) -> bool {
        false
    }
}

/// The cluster as this node sees it.
#[derive(Debug)]
pub struct ClusterView {
    node: NodeId,
    table: Arc<PartitionTable>,
    peers: Arc<dyn PeerView>,
}

impl ClusterView {
    /// The view of `node`.
    #[must_use]
    pub fn new(node: NodeId, table: Arc<PartitionTable>, peers: Arc<dyn PeerView>) -> Self {
        Self { node, table, peers }
    }
}

/// The leader epoch that clients know a term by; -1 beyond their numbers.
fn epoch(term: Term) -> i32 {
    i32::try_from(term.0).unwrap_or(-1)
}

/// Joins what the own engine knows and what the leader said: the higher term wins, and only a leader knows who is in
/// sync.
fn join(own: NodeId, hosted: Option<PartitionView>, heard: Option<Leads>) -> Option<PartitionView> {
    let said = heard.map(|leads| PartitionView {
        leader: Some(leads.leader),
        leader_epoch: epoch(leads.term),
        in_sync: leads.in_sync,
    });
    match (hosted, said) {
        (Some(hosted), _) if hosted.leader == Some(own) => Some(hosted),
        (Some(hosted), Some(said)) if said.leader_epoch >= hosted.leader_epoch => Some(said),
        (Some(hosted), _) => {
            let in_sync = hosted.leader.into_iter().collect();
            Some(PartitionView { in_sync, ..hosted })
        }
        (None, said) => said,
    }
}

impl LeaderView for ClusterView {
    fn partition(&self, group: GroupId) -> Option<PartitionView> {
        let hosted = self.table.partition(group);
        let mut view = join(self.node, hosted, self.peers.leads(group))?;
        // A leader that cannot be reached from here is none that a client should be sent to.
        view.leader = view.leader.filter(|leader| self.is_live(*leader));
        view.in_sync.retain(|node| self.is_live(*node));
        Some(view)
    }

    fn is_live(&self, node: NodeId) -> bool {
        node == self.node || self.peers.is_alive(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: NodeId = NodeId(1);

    fn hosted(leader: Option<u64>, leader_epoch: i32) -> Option<PartitionView> {
        Some(PartitionView {
            leader: leader.map(NodeId),
            leader_epoch,
            in_sync: vec![OWN],
        })
    }

    fn heard(leader: u64, term: u64) -> Option<Leads> {
        Some(Leads {
            leader: NodeId(leader),
            term: Term(term),
            in_sync: vec![NodeId(leader), NodeId(3)],
        })
    }

    #[test]
    fn the_higher_term_wins_and_only_leaders_know_who_is_in_sync() {
        let leader = |view: Option<PartitionView>| view.map(|view| (view.leader, view.in_sync.len()));
        let leads = |node| Some(NodeId(node));
        assert_eq!(
            leader(join(OWN, hosted(Some(1), 5), heard(2, 4))),
            Some((leads(1), 1))
        );
        assert_eq!(
            leader(join(OWN, hosted(Some(2), 5), heard(2, 5))),
            Some((leads(2), 2))
        );
        assert_eq!(
            leader(join(OWN, hosted(Some(2), 5), heard(3, 6))),
            Some((leads(3), 2))
        );
        assert_eq!(
            leader(join(OWN, hosted(Some(2), 5), heard(3, 4))),
            Some((leads(2), 1))
        );
        assert_eq!(leader(join(OWN, hosted(None, 5), None)), Some((None, 0)));
        assert_eq!(leader(join(OWN, None, heard(2, 4))), Some((leads(2), 2)));
        assert_eq!(leader(join(OWN, None, None)), None);
    }
}
