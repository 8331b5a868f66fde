//! How a node whose directory is not in the metadata group gets into it.

use super::address_book::AddressBook;
use super::client::PeerClient;
use super::message::{Answer, Request};
use crate::cluster::Controller;
use chronik_core::consensus::{GroupStatus, Member};
use chronik_core::{Env, NodeId};
use std::sync::Arc;
use std::time::Duration;

/// How long a member may take to answer; a membership change is part of it.
const DEADLINE: Duration = Duration::from_secs(10);
/// The pause between two steps.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a node that waits says so.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What a node needs to ask for admission.
#[derive(Debug)]
pub struct Joining {
    /// This node's replica of the metadata group.
    pub own: Member,
    /// Where other nodes reach it, where it says so.
    pub address: Option<String>,
    /// The metadata group.
    pub controller: Arc<Controller>,
    /// Whom to ask.
    pub book: Arc<AddressBook>,
    /// How.
    pub client: PeerClient,
    /// Time.
    pub env: Env,
}

impl Joining {
    /// Runs until this replica has its place in the metadata group. A voter has it.
    pub async fn run(self) {
        let mut next = 0;
        let mut hint = None;
        let begin = self.env.clock.now();
        let mut said = begin;
        while !self.votes() {
            let whom = self.whom(hint.take(), &mut next);
            let answer = match whom {
                Some(node) => self.ask(node).await,
                None => Err("no other node is known".to_owned()),
            };
            match answer {
                Ok(Answer::Joined) => {
                    log::info!("event=joined replica={}", self.own.replica);
                    return;
                }
                Ok(Answer::NotLeader { leader: Some(leader) }) if leader != self.own.node.0 => {
                    hint = Some(NodeId(leader));
                }
                Err(why) | Ok(Answer::Refused { why }) => {
                    if self.env.clock.now().saturating_sub(said) >= SAY_EVERY {
                        said = self.env.clock.now();
                        log::warn!("event=waiting_to_join peer={whom:?} error=\"{why}\"");
                    }
                }
                Ok(answer) => log::debug!("event=join_step peer={whom:?} answer={answer:?}"),
            }
            self.env.clock.sleep(PAUSE).await;
        }
    }

    fn votes(&self) -> bool {
        self.status().membership.voters.contains(&self.own)
    }

    fn status(&self) -> GroupStatus {
        self.controller.group_status()
    }

    /// The leader where it is known, or else one after the other.
    fn whom(&self, hint: Option<NodeId>, next: &mut usize) -> Option<NodeId> {
        let leader = self.controller.leader().filter(|node| *node != self.own.node);
        hint.or(leader).or_else(|| {
            let nodes = self.book.nodes();
            *next = next.wrapping_add(1);
            nodes.get(*next % nodes.len().max(1)).copied()
        })
    }

    async fn ask(&self, node: NodeId) -> Result<Answer, String> {
        let request = Request::Join {
            node: self.own.node.0,
            incarnation: self.own.replica.0,
            address: self.address.clone(),
        };
        let answer = self.client.ask(node, &request, DEADLINE).await;
        answer.map_err(|error| error.to_string())
    }
}
