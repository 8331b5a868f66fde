//! How a node without a cluster gets into one.
//!
//! It asks the listed peers who they are. If one has a cluster, that is this node's cluster too. Otherwise a node that
//! is allowed to found one (`cluster.bootstrap`) proposes itself; see `founding.rs`.

use super::client::PeerClient;
use super::founding::{Attempt, Founding};
use super::message::{Answer, Identity, Request};
use super::node_file::{IdentityError, NodeFile};
use super::record::{ClusterRecord, Engine};
use chronik_core::transport::{Inbound, InboundStream};
use chronik_core::{Env, NodeId};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long a peer may take to answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(1);
/// The pause between two rounds; up to as much again is added at random.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a node that may found waits for peers that do not answer, or that shall found before it.
const GRACE: Duration = Duration::from_secs(1);
/// How often a node that waits says so.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Why a node did not get into a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContactError {
    /// The directory cannot note it, or belongs elsewhere.
    Identity(IdentityError),
    /// The peers do not belong together.
    TwoClusters(String),
    /// The transport was closed.
    Closed,
}

/// What a node without a cluster knows and may do.
#[derive(Debug)]
pub struct FirstContact {
    /// The directory.
    pub file: Arc<NodeFile>,
    /// The way to the peers.
    pub client: PeerClient,
    /// The listed peers, this node not among them.
    pub peers: Vec<NodeId>,
    /// Whether it may found a cluster.
    pub may_found: bool,
    /// The id that the cluster must have, where one is configured.
    pub cluster_id: Option<String>,
    /// How many voters the metadata group shall have.
    pub voters: usize,
    /// What decides in its groups.
    pub engine: Engine,
    /// Time and randomness.
    pub env: Env,
}

impl FirstContact {
    /// Runs until the directory belongs to a cluster, which is noted in it then; answers the peers meanwhile.
    ///
    /// # Errors
    /// [`ContactError`].
    pub async fn run(self, inbound: Box<dyn InboundStream>) -> Result<ClusterRecord, ContactError> {
        let cluster = futures_lite::future::or(self.seek(), self.serve(inbound)).await?;
        log::info!(
            "event=cluster_found cluster={} founders={}",
            cluster.cluster_id,
            cluster.founders.len()
        );
        Ok(cluster)
    }

    async fn seek(&self) -> Result<ClusterRecord, ContactError> {
        let begin = self.env.clock.now();
        let mut said = begin;
        let mut disagreed = BTreeSet::new();
        let nodes = self.nodes();
        loop {
            let (answered, known) = self.probe().await?;
            if let Some(cluster) = known {
                return self.adopt(cluster).await;
            }
            self.compare_lists(&answered, &mut disagreed);
            let waited = self.env.clock.now().saturating_sub(begin);
            if self.may_found && self.is_my_turn(&answered, waited) {
                match self
                    .founding(&nodes)
                    .attempt()
                    .await
                    .map_err(ContactError::Identity)?
                {
                    Attempt::Settled(cluster) => return self.adopt(cluster).await,
                    Attempt::Failed => {}
                }
            }
            if self.env.clock.now().saturating_sub(said) >= SAY_EVERY {
                said = self.env.clock.now();
                self.say(answered.len());
            }
            let jitter = self.env.rng.next_u64() % (PAUSE.as_millis() as u64);
            self.env.clock.sleep(PAUSE + Duration::from_millis(jitter)).await;
        }
    }

    /// All listed nodes, this one included, sorted.
    fn nodes(&self) -> Vec<u64> {
        let mut nodes: Vec<u64> = self.peers.iter().map(|node| node.0).collect();
        nodes.push(self.own_id());
        nodes.sort_unstable();
        nodes
    }

    /// Says once of each peer that it lists other nodes, or has another engine: those who do not agree on these found
    /// nothing together.
    fn compare_lists(&self, answered: &[Identity], disagreed: &mut BTreeSet<u64>) {
        let own = self.nodes();
        for peer in answered {
            if peer.engine != self.engine && disagreed.insert(peer.node) {
                log::error!(
                    "event=peers_differ peer={} its_backend={} own_backend={} fix=\"give each node the same \
                     consensus.backend\"",
                    peer.node,
                    peer.engine.name(),
                    self.engine.name()
                );
            }
            if peer.nodes != own && disagreed.insert(peer.node) {
                log::error!(
                    "event=peers_differ peer={} its_nodes={:?} own_nodes={own:?} fix=\"list the same nodes in \
                     cluster.peers (--peers) of each\"",
                    peer.node,
                    peer.nodes
                );
            }
        }
    }

    fn founding<'a>(&'a self, nodes: &'a [u64]) -> Founding<'a> {
        Founding {
            file: &self.file,
            client: &self.client,
            peers: &self.peers,
            nodes,
            cluster_id: self.cluster_id.as_deref(),
            voters: self.voters,
            engine: self.engine,
            env: &self.env,
        }
    }

    /// Asks every peer; returns who answered, and the cluster that one of them is in.
    async fn probe(&self) -> Result<(Vec<Identity>, Option<ClusterRecord>), ContactError> {
        let answers = self.client.ask_all(&self.peers, &Request::Probe, DEADLINE).await;
        let mut answered = Vec::new();
        let mut known: Option<(NodeId, ClusterRecord)> = None;
        for (node, answer) in answers {
            let identity = match answer {
                Ok(Answer::Identity(identity)) => identity,
                Ok(other) => {
                    log::debug!("event=probe_failed peer={node} answer={other:?}");
                    continue;
                }
                Err(error) => {
                    log::debug!("event=probe_failed peer={node} error=\"{error}\"");
                    continue;
                }
            };
            if let Some(cluster) = identity.cluster.clone().filter(ClusterRecord::is_sound) {
                match &known {
                    Some((first, other)) if other.cluster_id != cluster.cluster_id => {
                        return Err(ContactError::TwoClusters(format!(
                            "node {first} belongs to cluster '{}', node {node} to '{}'",
                            other.cluster_id, cluster.cluster_id
                        )));
                    }
                    _ => known = Some((node, cluster)),
                }
            }
            answered.push(identity);
        }
        Ok((answered, known.map(|(_, cluster)| cluster)))
    }

    /// Founding is safe whoever tries; taking turns only keeps two from outbidding each other, and gives peers that
    /// start at the same moment the time to be among the founders.
    fn is_my_turn(&self, answered: &[Identity], waited: Duration) -> bool {
        let ahead = answered
            .iter()
            .any(|peer| peer.may_found && peer.node < self.own_id());
        waited >= GRACE || (!ahead && answered.len() == self.peers.len())
    }

    fn own_id(&self) -> u64 {
        self.file.node().0
    }

    async fn adopt(&self, cluster: ClusterRecord) -> Result<ClusterRecord, ContactError> {
        let place = "the cluster of the peers (cluster.peers)";
        let named = cluster.check_id(self.cluster_id.as_deref(), place);
        let named = named.and_then(|()| cluster.check_engine(self.engine, place));
        named.map_err(ContactError::Identity)?;
        let noted = self.file.join_cluster(cluster.clone()).await;
        noted.map_err(ContactError::Identity)?;
        Ok(cluster)
    }

    fn say(&self, answered: usize) {
        let of = self.peers.len();
        if self.may_found {
            log::warn!(
                "event=waiting_to_found answered={answered} peers={of} fix=\"start a majority of the nodes in \
                 cluster.peers (--peers)\""
            );
        } else {
            log::warn!(
                "event=waiting_for_cluster answered={answered} peers={of} fix=\"start the other nodes; one of them \
                 needs cluster.bootstrap (--bootstrap) the first time\""
            );
        }
    }

    /// Answers the peers until the transport is closed.
    async fn serve(&self, mut inbound: Box<dyn InboundStream>) -> Result<ClusterRecord, ContactError> {
        while let Some(Inbound { message, reply, .. }) = inbound.next().await {
            let answer = match Request::from_bytes(&message) {
                Ok(request) => self.answer(request).await,
                Err(error) => Answer::Refused {
                    why: error.to_string(),
                },
            };
            reply.answer(answer.to_bytes());
        }
        Err(ContactError::Closed)
    }

    async fn answer(&self, request: Request) -> Answer {
        let refused = |why: String| Answer::Refused { why };
        match request {
            Request::Probe => {
                let record = self.file.record().await;
                Answer::Identity(Identity {
                    node: record.node,
                    incarnation: record.incarnation,
                    may_found: self.may_found,
                    nodes: self.nodes(),
                    engine: self.engine,
                    cluster: record.cluster,
                })
            }
            Request::Prepare { nodes, .. } | Request::Accept { nodes, .. } if nodes != self.nodes() => {
                let own = self.nodes();
                refused(format!(
                    "it lists the nodes {nodes:?}, this one lists {own:?} (cluster.peers)"
                ))
            }
            Request::Prepare { engine, .. }
            | Request::Accept {
                cluster: ClusterRecord { engine, .. },
                ..
            } if engine != self.engine => refused(format!(
                "its consensus.backend is \"{}\", this node's is \"{}\"",
                engine.name(),
                self.engine.name()
            )),
            Request::Prepare { ballot, .. } => match self.file.promise(ballot).await {
                Ok(Ok(accepted)) => Answer::Promised {
                    incarnation: self.file.record().await.incarnation,
                    accepted,
                },
                Ok(Err(promised)) => Answer::Outbid { promised },
                Err(error) => refused(error.to_string()),
            },
            Request::Accept { cluster, .. } if !cluster.is_sound() => {
                refused("the founding names no voters, or one twice".to_owned())
            }
            Request::Join { .. } | Request::Submit { .. } | Request::Status | Request::Gossip { .. } => {
                refused("this node is in no cluster yet".to_owned())
            }
            Request::Accept { ballot, cluster, .. } => match self.file.accept(ballot, cluster).await {
                Ok(Ok(())) => Answer::Accepted,
                Ok(Err(promised)) => Answer::Outbid { promised },
                Err(error) => refused(error.to_string()),
            },
        }
    }
}

impl fmt::Display for ContactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(error) => error.fmt(f),
            Self::TwoClusters(what) => write!(
                f,
                "the peers (cluster.peers, --peers) do not belong together: {what}; list the nodes of one cluster"
            ),
            Self::Closed => write!(f, "the transport was closed"),
        }
    }
}

impl std::error::Error for ContactError {}
