//! Metadata commands on their way to the leader.

use super::client::{AskError, PeerClient};
use super::message::{Answer, Request};
use crate::cluster::controller::{Forward, Placed};
use crate::cluster::state::Envelope;
use chronik_core::proposal::ProposeError;
use chronik_core::{BoxFuture, NodeId};
use std::time::Duration;

/// How long the leader may take; its own proposals end earlier.
const DEADLINE: Duration = Duration::from_secs(10);

impl Forward for PeerClient {
    fn forward(&self, to: NodeId, envelope: &Envelope) -> BoxFuture<'static, Placed> {
        let request = Request::Submit {
            envelope: Box::new(envelope.clone()),
        };
        let asked = self.ask(to, &request, DEADLINE);
        Box::pin(async move {
            match asked.await {
                Ok(Answer::Committed) => Placed::Committed,
                Ok(Answer::Impossible { why }) => {
                    log::warn!("event=command_impossible leader={to} error=\"{why}\"");
                    Placed::NotDone(ProposeError::Closed)
                }
                Ok(Answer::Unknown { why }) | Err(AskError::Unknown(why)) => Placed::Unknown(why.into()),
                Err(AskError::NotDone(why)) => {
                    log::debug!("event=command_not_forwarded to={to} error=\"{why}\"");
                    Placed::NotDone(ProposeError::NotLeader { leader: None })
                }
                Ok(other) => Placed::Unknown(format!("node {to} answered {other:?}").into()),
            }
        })
    }
}

/// For a node that is alone: there is nobody else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Forward for Nobody {
    fn forward(&self, _: NodeId, _: &Envelope) -> BoxFuture<'static, Placed> {
        let placed = Placed::NotDone(ProposeError::NotLeader { leader: None });
        Box::pin(std::future::ready(placed))
    }
}
