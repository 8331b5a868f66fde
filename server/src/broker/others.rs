//! What a node starts for the sake of the other nodes: answers, addresses, gossip, memberships.

use super::cluster_view::{Alone, PeerView};
use super::entry::Way;
use super::membership::Reconciler;
use super::network::{Network, Speaker};
use super::partitions::PartitionTable;
use crate::admin::Lifecycle;
use crate::admin::peers::{NoPeers, PeerStatus};
use crate::cluster::Controller;
use crate::config::Config;
use crate::peers::{AddressBook, Admission, GossipBook, Joining, NodeRecord, NodeService, ServiceParts};
use chronik_core::Env;
use std::sync::Arc;

/// What meeting the other nodes needs.
pub(super) struct Others<'a> {
    pub(super) config: &'a Config,
    pub(super) record: &'a NodeRecord,
    pub(super) controller: &'a Arc<Controller>,
    pub(super) lifecycle: &'a Lifecycle,
    pub(super) env: &'a Env,
}

/// The other nodes, if there can be any.
#[derive(Clone, Debug)]
pub(super) struct Peers(Option<Arc<Network>>);

impl Others<'_> {
    /// Answers the other nodes from now on, and asks them to take this one in, if it is not one of them yet. `address`
    /// is where they reach it, where it says so.
    pub(super) fn meet(&self, way: Option<Way>, address: Option<String>) -> Peers {
        let Some(way) = way else {
            return Peers(None);
        };
        let Way {
            door,
            client,
            inbound,
            ..
        } = way;
        let own = self.record.member();
        let book = AddressBook::new(own.node, Arc::clone(client.transport()), &door.peers);
        let gossip = Arc::new(GossipBook::new(self.env.clone()));
        let mut nodes: Vec<u64> = door.peers.iter().map(|peer| peer.node.0).collect();
        nodes.push(own.node.0);
        nodes.sort_unstable();
        let service = NodeService::new(ServiceParts {
            record: self.record.clone(),
            nodes,
            engine: door.engine,
            may_found: door.may_found,
            controller: Arc::clone(self.controller),
            admission: Admission::new(
                Arc::clone(self.controller.group()),
                self.config.cluster.metadata_voters,
            ),
            book: Arc::clone(&book),
            gossip: Arc::clone(&gossip),
            lifecycle: self.lifecycle.clone(),
            env: self.env.clone(),
        });
        let joining = Joining {
            own,
            address,
            controller: Arc::clone(self.controller),
            book: Arc::clone(&book),
            client: client.clone(),
            env: self.env.clone(),
        };
        let spawn = &self.env.spawn;
        spawn.spawn("peer-service", Box::pin(service.run(inbound)));
        let images = self.controller.watch();
        spawn.spawn("address-book", Box::pin(Arc::clone(&book).follow(images)));
        spawn.spawn("join", Box::pin(joining.run()));
        Peers(Some(Arc::new(Network { client, book, gossip })))
    }
}

impl Peers {
    /// Does what falls to the leaders of groups from now on: tells the others, and keeps memberships in line.
    pub(super) fn start_leading(&self, table: &Arc<PartitionTable>, controller: &Arc<Controller>, env: &Env) {
        let Some(network) = &self.0 else { return };
        let speaker = Speaker {
            network: Arc::clone(network),
            table: Arc::clone(table),
            controller: Arc::clone(controller),
            env: env.clone(),
        };
        env.spawn.spawn("gossip", Box::pin(speaker.run()));
        let reconciler = Reconciler::new(Arc::clone(table), Arc::clone(controller), env.clone());
        env.spawn.spawn("memberships", Box::pin(reconciler.run()));
    }

    /// Who leads and who is alive, as the others say.
    pub(super) fn view(&self) -> Arc<dyn PeerView> {
        match &self.0 {
            Some(network) => Arc::clone(network) as Arc<dyn PeerView>,
            None => Arc::new(Alone),
        }
    }

    /// The connections, for operators.
    pub(super) fn status(&self) -> Arc<dyn PeerStatus> {
        match &self.0 {
            Some(network) => Arc::clone(network) as Arc<dyn PeerStatus>,
            None => Arc::new(NoPeers),
        }
    }
}
