//! Brings a command to the leader of the metadata group, and waits until it is applied here.

use super::Controller;
use super::pending::Waiting;
use crate::cluster::error::ControlError;
use crate::cluster::state::{Command, Effect, Envelope, FORMAT};
use chronik_core::proposal::ProposeError;
use chronik_core::{BoxFuture, EntryKind, NodeId, Outcome, Proposal};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// How long a command is tried while nobody leads.
const LIMIT: Duration = Duration::from_secs(20);
/// The pause before what surely did not happen is tried again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long to watch for a command whose outcome nobody told: it may be applied any moment.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a command went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is in the log for ever.
    Committed,
    /// It is not and will never be.
    NotDone(ProposeError),
    /// Nobody knows.
    Unknown(Arc<str>),
}

/// The way to the node that leads the metadata group.
pub trait Forward: Send + Sync + Debug {
    /// Has `to` propose the command, if it leads; it does not pass it on. Cancel safe: the command may still be
    /// applied.
    fn forward(&self, to: NodeId, envelope: &Envelope) -> BoxFuture<'static, Placed>;
}

impl Controller {
    /// Has a command applied, by whoever leads, and returns what it did here. Local commands are applied in the order
    /// in which their futures were first polled. What surely did not happen because the leader changed is tried
    /// again. Cancel safe: the command may still be applied.
    pub(super) async fn submit(&self, command: Command) -> Result<Effect, ControlError> {
        let waiting = self.pending.register(&*self.env.rng)?;
        let envelope = Envelope {
            format: FORMAT,
            request: waiting.request(),
            command,
        };
        let begin = self.env.clock.now();
        loop {
            let error = match self.place(&envelope).await {
                Placed::Committed => {
                    let why = "committed, and not seen applied here in time".into();
                    return self.applied(waiting, why).await;
                }
                Placed::Unknown(why) => return self.applied(waiting, why).await,
                Placed::NotDone(error) => error,
            };
            let moved = matches!(error, ProposeError::NotLeader { .. } | ProposeError::Overloaded);
            if !moved || self.env.clock.now().saturating_sub(begin) >= LIMIT {
                return Err(ControlError::NotProposed(error));
            }
            self.env.clock.sleep(PAUSE).await;
        }
    }

    /// Waits for a command that is, or may be, in the log. A node that was brought up by a checkpoint never applies
    /// the entries before it.
    async fn applied(&self, waiting: Waiting, why: Arc<str>) -> Result<Effect, ControlError> {
        let late = async {
            self.env.clock.sleep(PATIENCE).await;
            Err(ControlError::Unknown(why))
        };
        futures_lite::future::or(waiting.applied(), late).await
    }

    /// Proposes here, or has the leader propose.
    async fn place(&self, envelope: &Envelope) -> Placed {
        match self.propose(envelope).await {
            Placed::NotDone(ProposeError::NotLeader { leader }) => match self.other_leader() {
                Some(node) => self.forward.forward(node, envelope).await,
                None => Placed::NotDone(ProposeError::NotLeader { leader }),
            },
            placed => placed,
        }
    }

    /// Proposes a command of this node or of another, where this node leads.
    pub async fn propose(&self, envelope: &Envelope) -> Placed {
        let proposal = Proposal {
            kind: EntryKind::Command,
            payload: envelope.to_bytes().as_slice().into(),
            record_count: 0,
            max_timestamp_ms: -1,
        };
        let outcome = match self.group.propose(proposal) {
            Ok(handle) => handle.outcome().await,
            Err(error) => Outcome::NotCommitted(error),
        };
        match outcome {
            Outcome::Committed(_) => Placed::Committed,
            Outcome::NotCommitted(error) => Placed::NotDone(error),
            Outcome::Unknown(why) => Placed::Unknown(why),
        }
    }

    fn other_leader(&self) -> Option<NodeId> {
        let own = self.group.status().replica.node;
        self.leader().filter(|leader| *leader != own)
    }
}
