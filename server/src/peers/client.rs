//! Asks another node.

use super::message::{Answer, Request};
use chronik_core::transport::{CallOutcome, Lane, Transport};
use chronik_core::{BoxFuture, NodeId};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why there is no answer that says what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// Surely nothing happened: it was not delivered, or it was refused.
    NotDone(String),
    /// It may have happened, or may happen still.
    Unknown(String),
}

/// The node's way to ask others.
#[derive(Clone, Debug)]
pub struct PeerClient {
    transport: Arc<dyn Transport>,
}

impl PeerClient {
    /// Asks over this transport.
    #[must_use]
    pub const fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    /// The transport.
    #[must_use]
    pub const fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Asks, and waits for at most `deadline`. Asked once: repetition is the caller's decision. Cancel safe in that the
    /// peer may have done what was asked.
    ///
    /// # Errors
    /// [`AskError`]; an answer that cannot be read is unknown.
    pub fn ask(
        &self,
        to: NodeId,
        request: &Request,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Answer, AskError>> {
        let call = self
            .transport
            .call(to, Lane::Control, request.to_bytes(), deadline);
        Box::pin(async move {
            match call.await {
                CallOutcome::Answered(bytes) => match Answer::from_bytes(&bytes) {
                    Ok(Answer::Refused { why }) => Err(AskError::NotDone(why)),
                    Ok(answer) => Ok(answer),
                    Err(error) => Err(AskError::Unknown(format!("node {to} answered: {error}"))),
                },
                CallOutcome::NotDelivered(error) => {
                    Err(AskError::NotDone(format!("node {to} was not reached: {error:?}")))
                }
                CallOutcome::Unknown(why) => Err(AskError::Unknown(why.to_string())),
            }
        })
    }

    /// Asks several nodes at once; waits for all of them.
    pub async fn ask_all(
        &self,
        nodes: &[NodeId],
        request: &Request,
        deadline: Duration,
    ) -> Vec<(NodeId, Result<Answer, AskError>)> {
        let asked = nodes.iter().map(|node| self.ask(*node, request, deadline));
        let answers = crate::cluster::join::join_all(asked.collect()).await;
        nodes.iter().copied().zip(answers).collect()
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDone(why) => write!(f, "not done: {why}"),
            Self::Unknown(why) => write!(f, "the outcome is unknown: {why}"),
        }
    }
}

impl std::error::Error for AskError {}
