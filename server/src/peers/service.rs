//! Answers other nodes, once this one is in a cluster.

use super::address_book::AddressBook;
use super::admission::Admission;
use super::gossip::GossipBook;
use super::message::{Answer, Identity, Request};
use super::record::{Engine, NodeRecord};
use crate::admin::Lifecycle;
use crate::cluster::Controller;
use crate::cluster::controller::Placed;
use crate::cluster::state::Envelope;
use chronik_core::consensus::Member;
use chronik_core::proposal::ProposeError;
use chronik_core::transport::{Inbound, InboundStream};
use chronik_core::{Env, NodeId, ReplicaId};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many requests are answered at a time; what comes beyond is refused.
const AT_A_TIME: usize = 256;

/// What the answers are made from.
#[derive(Debug)]
pub struct ServiceParts {
    /// This node's directory and cluster.
    pub record: NodeRecord,
    /// The nodes that the configuration lists, this one included, sorted.
    pub nodes: Vec<u64>,
    /// What decides in the groups.
    pub engine: Engine,
    /// Whether it may found a cluster.
    pub may_found: bool,
    /// The metadata.
    pub controller: Arc<Controller>,
    /// Takes nodes in.
    pub admission: Admission,
    /// The addresses of nodes.
    pub book: Arc<AddressBook>,
    /// Who leads what.
    pub gossip: Arc<GossipBook>,
    /// What this node is doing, for operators.
    pub lifecycle: Lifecycle,
    /// Tasks.
    pub env: Env,
}

/// Answers other nodes.
#[derive(Debug)]
pub struct NodeService {
    parts: ServiceParts,
    running: AtomicUsize,
}

impl NodeService {
    /// A service of these parts.
    #[must_use]
    pub fn new(parts: ServiceParts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            running: AtomicUsize::new(0),
        })
    }

    /// Answers until the transport is closed.
    pub async fn run(self: Arc<Self>, mut inbound: Box<dyn InboundStream>) {
        while let Some(message) = inbound.next().await {
            self.take(message);
        }
    }

    fn take(self: &Arc<Self>, inbound: Inbound) {
        let Inbound {
            from, message, reply, ..
        } = inbound;
        let refused = |why: String| Answer::Refused { why }.to_bytes();
        let request = match Request::from_bytes(&message) {
            Ok(Request::Gossip { full, claims }) => {
                self.parts.gossip.hear(from, full, &claims);
                return;
            }
            Ok(request) => request,
            Err(error) => {
                log::warn!("event=bad_message from={from} error=\"{error}\"");
                reply.answer(refused(error.to_string()));
                return;
            }
        };
        if self.running.fetch_add(1, Ordering::Relaxed) >= AT_A_TIME {
            self.running.fetch_sub(1, Ordering::Relaxed);
            reply.answer(refused("it answers too many requests already".to_owned()));
            return;
        }
        let service = Arc::clone(self);
        let task = async move {
            let answer = service.answer(from, request).await;
            service.running.fetch_sub(1, Ordering::Relaxed);
            reply.answer(answer.to_bytes());
        };
        self.parts.env.spawn.spawn("peer-request", Box::pin(task));
    }

    async fn answer(&self, from: NodeId, request: Request) -> Answer {
        match request {
            Request::Probe => self.identity(),
            Request::Prepare { .. } | Request::Accept { .. } => Answer::Refused {
                why: "this node is in a cluster already".to_owned(),
            },
            Request::Join {
                node,
                incarnation,
                address,
            } => self.join(from, (node, incarnation), address).await,
            Request::Submit { envelope } => self.submit(&envelope).await,
            Request::Status => self.status(),
            // One-way, and heard above.
            Request::Gossip { .. } => Answer::Refused {
                why: "gossip is not answered".to_owned(),
            },
        }
    }

    fn identity(&self) -> Answer {
        let record = &self.parts.record;
        Answer::Identity(Identity {
            node: record.node,
            incarnation: record.incarnation,
            may_found: self.parts.may_found,
            nodes: self.parts.nodes.clone(),
            engine: self.parts.engine,
            cluster: record.cluster.clone(),
        })
    }

    async fn join(&self, from: NodeId, (node, incarnation): (u64, u64), address: Option<String>) -> Answer {
        if from.0 != node || incarnation == 0 {
            return Answer::Refused {
                why: "a node asks for itself".to_owned(),
            };
        }
        if let Some(address) = address {
            self.parts.book.add(from, &address);
        } else if !self.parts.book.nodes().contains(&from) {
            return Answer::Refused {
                why: format!(
                    "nobody knows where node {node} is: set its cluster.advertise (--raft-advertise), or list it in \
                     cluster.peers"
                ),
            };
        }
        let joiner = Member {
            replica: ReplicaId(incarnation),
            node: from,
        };
        self.parts.admission.admit(joiner).await
    }

    /// Proposes here or not at all: a command is passed on once.
    async fn submit(&self, envelope: &Envelope) -> Answer {
        match self.parts.controller.propose(envelope).await {
            Placed::Committed => Answer::Committed,
            // It is tried again only where another leader, or the same one later, would take it.
            Placed::NotDone(error @ (ProposeError::NotLeader { .. } | ProposeError::Overloaded)) => {
                Answer::Refused {
                    why: error.to_string(),
                }
            }
            Placed::NotDone(error) => Answer::Impossible {
                why: error.to_string(),
            },
            Placed::Unknown(why) => Answer::Unknown { why: why.to_string() },
        }
    }

    fn status(&self) -> Answer {
        let phase = self.parts.lifecycle.phase();
        match phase.node() {
            Some(node) => Answer::Status(Box::new(node.answer(&phase))),
            None => Answer::Refused {
                why: "the node is starting".to_owned(),
            },
        }
    }
}
