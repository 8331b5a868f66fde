//! The other nodes, as this one talks to them.

use super::cluster_view::PeerView;
use super::leadership::Leadership;
use super::partitions::{METADATA_GROUP, PartitionTable, view_of};
use crate::admin::peers::{Answer as Report, PeerStatus, Session};
use crate::cluster::Controller;
use crate::peers::message::Claim;
use crate::peers::{AddressBook, Answer, GossipBook, Leads, PeerClient, Request};
use chronik_core::consensus::Role;
use chronik_core::transport::{Lane, Transport};
use chronik_core::{BoxFuture, Env, GroupId, NodeId, Term};
use futures_lite::future;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long another node may take to say what it knows of itself.
const STATUS_DEADLINE: Duration = Duration::from_secs(2);
/// The pause after a node looked at what it newly leads: what is elected together is said together.
const TOGETHER: Duration = Duration::from_millis(50);
/// How often a node says what changed, if only that it is alive.
const SPEAK: Duration = Duration::from_millis(200);
/// Every so many times it says everything.
const FULL_EVERY: u64 = 10;

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
        let clock = &self.env.clock;
        let mut leadership = Leadership::new(Arc::clone(&self.table));
        let mut led = BTreeMap::new();
        let mut said = BTreeMap::new();
        for time in 0u64.. {
            let full = time.is_multiple_of(FULL_EVERY);
            if full {
                leadership.take();
                led = self.table.led();
            }
            said = self.say(full, &led, &said);
            let next = clock.now() + SPEAK;
            while self.is_woken(&leadership, next).await {
                if self.look(&mut led, leadership.take()) {
                    said = self.say(false, &led, &said);
                }
                clock.sleep(TOGETHER).await;
            }
        }
    }

    /// Whether there may be something new before it is time to speak anyway.
    async fn is_woken(&self, leadership: &Leadership, next: Duration) -> bool {
        let left = next.saturating_sub(self.env.clock.now());
        let changed = async {
            leadership.changed().await;
            true
        };
        let due = async {
            self.env.clock.sleep(left).await;
            false
        };
        // What changed all the time would otherwise keep the node from saying that it is alive.
        !left.is_zero() && future::or(changed, due).await
    }

    /// Whether one of these groups is newly led here.
    fn look(&self, led: &mut BTreeMap<GroupId, Term>, groups: BTreeSet<GroupId>) -> bool {
        let mut news = false;
        for group in groups {
            match self.table.get(group).and_then(|partition| partition.led_term()) {
                Some(term) => news |= led.insert(group, term) != Some(term),
                None => {
                    led.remove(&group);
                }
            }
        }
        news
    }

    fn claims<'a>(&self, led: impl Iterator<Item = &'a GroupId>) -> BTreeMap<u64, Claim> {
        let mut claims = BTreeMap::new();
        for group in led.copied() {
            let partition = self.table.get(group);
            let Some(partition) = partition.filter(|partition| partition.led_term().is_some()) else {
                continue;
            };
            let view = view_of(&partition);
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

    /// Says what is not said already, and returns what is. A message that is lost is made good by the next full one.
    fn say(
        &self,
        full: bool,
        led: &BTreeMap<GroupId, Term>,
        said: &BTreeMap<u64, Claim>,
    ) -> BTreeMap<u64, Claim> {
        let claims = self.claims(led.keys());
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
        claims
    }
}
