//! The other nodes, as this one talks to them.

use super::cluster_view::PeerView;
use super::partitions::{METADATA_GROUP, PartitionTable};
use crate::admin::peers::{Answer as Report, PeerStatus, Session};
use crate::cluster::Controller;
use crate::peers::message::Claim;
use crate::peers::{AddressBook, Answer, GossipBook, Leads, PeerClient, Request};
use chronik_core::consensus::Role;
use chronik_core::transport::{Lane, Transport};
use chronik_core::{BoxFuture, Env, GroupId, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long another node may take to say what it knows of itself.
const STATUS_DEADLINE: Duration = Duration::from_secs(2);
/// How often a node looks whether it leads something new.
const LOOK: Duration = Duration::from_millis(50);
/// Every so many looks it says what changed, if only that it is alive.
const SPEAK_EVERY: u64 = 4;
/// Every so many looks it says everything.
const FULL_EVERY: u64 = 40;

/// The other nodes.
#[derive(Debug)]
pub struct Network {
    /// Asks them.
    pub client: PeerClient,
    /// Where they are.
    pub book: Arc<AddressBook>,
    /// What they said.
    pub gossip: Arc<GossipBook>,
}

impl Network {
    fn transport(&self) -> &Arc<dyn Transport> {
        self.client.transport()
    }
}

impl PeerView for Network {
    fn leads(&self, group: GroupId) -> Option<Leads> {
        self.gossip.leads(group)
    }

    fn is_alive(&self, node: NodeId) -> bool {
        let peers = self.transport().peers();
        peers.with(|peers| peers.get(&node).is_some_and(|peer| peer.connected)) || self.gossip.is_alive(node)
    }
}

impl PeerStatus for Network {
    fn sessions(&self) -> Vec<Session> {
        let peers = self.transport().peers().get();
        let session = |(node, state): (NodeId, chronik_core::transport::PeerState)| Session {
            node,
            connected: state.connected,
            sessions: state.session,
        };
        peers.into_iter().map(session).collect()
    }

    fn ask(&self, node: NodeId) -> BoxFuture<'static, Result<Report, String>> {
        let asked = self.client.ask(node, &Request::Status, STATUS_DEADLINE);
        Box::pin(async move {
            match asked.await {
                Ok(Answer::Status(report)) => Ok(*report),
                Ok(other) => Err(format!("node {node} answered {other:?}")),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// Tells the other nodes what this one leads.
#[derive(Debug)]
pub struct Speaker {
    /// The other nodes.
    pub network: Arc<Network>,
    /// The partitions here.
    pub table: Arc<PartitionTable>,
    /// The metadata group.
    pub controller: Arc<Controller>,
    /// Time.
    pub env: Env,
}

impl Speaker {
    /// Runs until the process ends.
    pub async fn run(self) {
        let mut led = BTreeMap::new();
        let mut said = BTreeMap::new();
        for look in 0u64.. {
            let leading = self.table.led();
            let news = leading.iter().any(|(group, term)| led.get(group) != Some(term));
            led = leading;
            if news || look.is_multiple_of(SPEAK_EVERY) {
                let full = look.is_multiple_of(FULL_EVERY);
                let claims = self.claims(led.keys());
                self.say(full, &claims, &said);
                said = claims;
            }
            self.env.clock.sleep(LOOK).await;
        }
    }

    fn claims<'a>(&self, led: impl Iterator<Item = &'a GroupId>) -> BTreeMap<u64, Claim> {
        let mut claims = BTreeMap::new();
        for group in led.copied() {
            let Some(view) = self.table.partition(group) else {
                continue;
            };
            let Some(term) = u64::try_from(view.leader_epoch).ok() else {
                continue;
            };
            let in_sync = view.in_sync.iter().map(|node| node.0).collect();
            let claim = Claim {
                group: group.0,
                term,
                in_sync,
            };
            claims.insert(group.0, claim);
        }
        let status = self.controller.group_status();
        if status.progress.role == Role::Leader {
            let claim = Claim {
                group: METADATA_GROUP.0,
                term: status.progress.term.0,
                in_sync: Vec::new(),
            };
            claims.insert(METADATA_GROUP.0, claim);
        }
        claims
    }

    /// A message that is lost is made good by the next full one.
    fn say(&self, full: bool, claims: &BTreeMap<u64, Claim>, said: &BTreeMap<u64, Claim>) {
        let is_new = |claim: &&Claim| full || said.get(&claim.group) != Some(*claim);
        let request = Request::Gossip {
            full,
            claims: claims.values().filter(is_new).cloned().collect(),
        };
        let message = request.to_bytes();
        for node in self.network.book.nodes() {
            // A node that is not connected, or does not keep up, hears the next one.
            let _ = self
                .network
                .transport()
                .send(node, Lane::Control, message.clone());
        }
    }
}
