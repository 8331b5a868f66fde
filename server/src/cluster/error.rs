//! Errors of the control plane.

use super::state::{CheckpointError, Refusal};
use chronik_core::consensus::ConsensusError;
use chronik_core::proposal::ProposeError;
use chronik_core::{LogError, NodeId, Outcome};
use std::fmt;
use std::sync::Arc;

/// Why a change of the metadata was not reported as done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlError {
    /// It was decided against when it was applied. Not done.
    Refused(Refusal),
    /// It did not enter the log. Not done.
    NotProposed(ProposeError),
    /// It may be done, now or later; the text says why nobody knows.
    Unknown(Arc<str>),
}

/// Why the control plane did not open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The log failed, or what is stored is damaged.
    Log(LogError),
    /// The metadata group is not usable.
    Consensus(ConsensusError),
    /// What is stored cannot be read by this version, or by any.
    Metadata(CheckpointError),
    /// The directory belongs to another cluster.
    WrongCluster {
        /// The directory's.
        stored: Arc<str>,
        /// The configured one.
        configured: String,
    },
    /// The directory belongs to another broker.
    WrongNode {
        /// The directory's.
        stored: NodeId,
        /// The configured one.
        configured: NodeId,
    },
    /// A change that opening needs was not made.
    Control(ControlError),
}

impl From<Outcome> for ControlError {
    /// For an outcome that is not a commit.
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::NotCommitted(error) => Self::NotProposed(error),
            Outcome::Unknown(why) => Self::Unknown(why),
            Outcome::Committed(_) => Self::Unknown("committed, and not applied here yet".into()),
        }
    }
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<CheckpointError> for OpenError {
    fn from(error: CheckpointError) -> Self {
        Self::Metadata(error)
    }
}

impl From<ControlError> for OpenError {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "{refusal}"),
            Self::NotProposed(error) => write!(f, "{error}"),
            Self::Unknown(why) => write!(f, "the outcome is unknown: {why}"),
        }
    }
}

impl std::error::Error for ControlError {}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => write!(f, "the metadata log: {error}"),
            Self::Consensus(error) => write!(f, "the metadata group: {error}"),
            Self::Metadata(error) => write!(f, "{error}"),
            Self::WrongCluster { stored, configured } => write!(
                f,
                "the data directory belongs to cluster {stored}, and node.cluster_id is {configured}"
            ),
            Self::WrongNode { stored, configured } => write!(
                f,
                "the data directory belongs to broker {stored}, and node.id is {configured}"
            ),
            Self::Control(error) => write!(f, "a change of the metadata failed: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}
