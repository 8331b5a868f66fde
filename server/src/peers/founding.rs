//! Founding a cluster: single-decree Paxos among the listed nodes.
//!
//! Whoever may found runs the two phases; every listed node is an acceptor and keeps its promises in `node.json`. The
//! value is the cluster's id and the first voters of its metadata group, so that however many nodes try, and however
//! the network behaves, at most one cluster comes of it. A majority of the listed nodes must answer, and each of them
//! must be without a cluster: one that has a cluster says so, and that cluster is joined instead.

use super::client::PeerClient;
use super::first_contact::DEADLINE;
use super::message::{Answer, Request};
use super::node_file::{IdentityError, NodeFile};
use super::record::{Ballot, ClusterRecord, Engine, Founder};
use crate::cluster::TopicId;
use chronik_core::{Env, NodeId};

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The cluster exists: a majority accepted it, in this attempt or an earlier one.
    Settled(ClusterRecord),
    /// Nothing is settled by this attempt; the next probe, or the next attempt, will tell.
    Failed,
}

/// What an attempt works with.
pub(super) struct Founding<'a> {
    pub(super) file: &'a NodeFile,
    pub(super) client: &'a PeerClient,
    pub(super) peers: &'a [NodeId],
    /// The peers and this node, sorted.
    pub(super) nodes: &'a [u64],
    pub(super) cluster_id: Option<&'a str>,
    pub(super) voters: usize,
    pub(super) engine: Engine,
    pub(super) env: &'a Env,
}

/// What the first phase gathered.
struct Promises {
    founders: Vec<Founder>,
    accepted: Option<(Ballot, ClusterRecord)>,
}

impl Founding<'_> {
    fn majority(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    /// One attempt through both phases.
    ///
    /// # Errors
    /// Of the own directory.
    pub(super) async fn attempt(&self) -> Result<Attempt, IdentityError> {
        let own = self.file.record().await;
        let ballot = Ballot {
            round: own.founding.promised.round.saturating_add(1),
            node: own.node,
        };
        let Some(promises) = self.prepare(ballot).await? else {
            return Ok(Attempt::Failed);
        };
        let cluster = match promises.accepted {
            Some((_, cluster)) => cluster,
            None => self.draw(promises.founders),
        };
        self.accept(ballot, cluster).await
    }

    /// Gathers the promises of a majority, and of as many as the engine's first voters are.
    async fn prepare(&self, ballot: Ballot) -> Result<Option<Promises>, IdentityError> {
        let Ok(accepted) = self.file.promise(ballot).await? else {
            return Ok(None);
        };
        let own = self.file.record().await;
        let mut promises = Promises {
            founders: vec![Founder {
                node: own.node,
                incarnation: own.incarnation,
            }],
            accepted,
        };
        let request = Request::Prepare {
            ballot,
            nodes: self.nodes.to_vec(),
            engine: self.engine,
        };
        for (node, answer) in self.client.ask_all(self.peers, &request, DEADLINE).await {
            match answer {
                Ok(Answer::Promised {
                    incarnation,
                    accepted,
                }) => {
                    let accepted = accepted.filter(|(_, cluster)| cluster.is_sound());
                    promises.founders.push(Founder {
                        node: node.0,
                        incarnation,
                    });
                    promises.accepted = newer(promises.accepted.take(), accepted);
                }
                Ok(Answer::Outbid { promised }) => self.overtake(promised).await?,
                Ok(other) => log::debug!("event=founding_not_promised peer={node} answer={other:?}"),
                Err(error) => log::debug!("event=founding_not_promised peer={node} error=\"{error}\""),
            }
        }
        let needed = self.majority().max(self.engine.founders_min(self.nodes.len()));
        Ok((promises.founders.len() >= needed).then_some(promises))
    }

    /// Another attempt is ahead: the next own one goes beyond it.
    async fn overtake(&self, promised: Ballot) -> Result<(), IdentityError> {
        // A refusal means that the own promise is higher already.
        let _ = self.file.promise(promised).await?;
        Ok(())
    }

    fn draw(&self, mut founders: Vec<Founder>) -> ClusterRecord {
        founders.sort_unstable();
        founders.truncate(self.voters.max(1));
        let drawn = || TopicId::random(&*self.env.rng).to_string();
        ClusterRecord {
            cluster_id: self.cluster_id.map_or_else(drawn, str::to_owned),
            engine: self.engine,
            founders,
        }
    }

    /// Has a majority accept.
    async fn accept(&self, ballot: Ballot, cluster: ClusterRecord) -> Result<Attempt, IdentityError> {
        if self.file.accept(ballot, cluster.clone()).await?.is_err() {
            return Ok(Attempt::Failed);
        }
        let request = Request::Accept {
            ballot,
            nodes: self.nodes.to_vec(),
            cluster: cluster.clone(),
        };
        let mut accepted = 1;
        for (node, answer) in self.client.ask_all(self.peers, &request, DEADLINE).await {
            match answer {
                Ok(Answer::Accepted) => accepted += 1,
                Ok(Answer::Outbid { promised }) => self.overtake(promised).await?,
                Ok(other) => log::debug!("event=founding_not_accepted peer={node} answer={other:?}"),
                Err(error) => log::debug!("event=founding_not_accepted peer={node} error=\"{error}\""),
            }
        }
        if accepted < self.majority() {
            return Ok(Attempt::Failed);
        }
        log::info!(
            "event=cluster_founded cluster={} accepted={accepted} of={}",
            cluster.cluster_id,
            self.nodes.len()
        );
        Ok(Attempt::Settled(cluster))
    }
}

/// What was accepted in the higher ballot.
fn newer(
    own: Option<(Ballot, ClusterRecord)>,
    other: Option<(Ballot, ClusterRecord)>,
) -> Option<(Ballot, ClusterRecord)> {
    match (own, other) {
        (Some(own), Some(other)) => Some(if other.0 > own.0 { other } else { own }),
        (own, other) => own.or(other),
    }
}
