//! Errors of the control plane as Kafka's error codes.

use super::error::ControlError;
use super::state::Refusal;
use crate::kafka::wire::{ErrorCode, KafkaString};
use chronik_core::LogError;
use chronik_core::proposal::ProposeError;

/// An error code and what to tell the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaError {
    /// The code.
    pub code: ErrorCode,
    /// The text.
    pub message: String,
}

impl KafkaError {
    /// An error of this code.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    /// The text as the protocol carries it.
    #[must_use]
    pub fn text(&self) -> Option<KafkaString> {
        Some(self.message.as_str().into())
    }

    /// A replication factor that the brokers do not suffice for.
    #[must_use]
    pub fn replication_factor(factor: usize, brokers: usize) -> Self {
        let what = format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be \
             reached because only {brokers} broker(s) are registered."
        );
        Self::new(ErrorCode::INVALID_REPLICATION_FACTOR, what)
    }

    /// There is no topic of the name.
    #[must_use]
    pub fn unknown_topic() -> Self {
        let what = "This server does not host this topic-partition.";
        Self::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, what)
    }

    /// A client must not change an internal topic.
    #[must_use]
    pub fn internal_topic(name: &str) -> Self {
        let what = format!("'{name}' is an internal topic: only the broker changes it");
        Self::new(ErrorCode::INVALID_TOPIC_EXCEPTION, what)
    }

    /// Why a change of this topic was not reported as done. What is not known is REQUEST_TIMED_OUT; what was surely
    /// not done and may be tried again has a code that clients try again.
    #[must_use]
    pub fn of_topic(error: &ControlError, name: &str) -> Self {
        let code = match error {
            ControlError::Refused(refusal) => return Self::of_refusal(refusal, name),
            ControlError::NotProposed(ProposeError::NotLeader { .. } | ProposeError::Closed) => {
                ErrorCode::NOT_CONTROLLER
            }
            ControlError::NotProposed(ProposeError::Log(LogError::TooLarge { .. })) => {
                ErrorCode::POLICY_VIOLATION
            }
            ControlError::NotProposed(ProposeError::Log(_)) => ErrorCode::KAFKA_STORAGE_ERROR,
            ControlError::NotProposed(_) | ControlError::Unknown(_) => ErrorCode::REQUEST_TIMED_OUT,
        };
        Self::new(code, error.to_string())
    }

    fn of_refusal(refusal: &Refusal, name: &str) -> Self {
        let (code, message) = match refusal {
            Refusal::TopicExists => (
                ErrorCode::TOPIC_ALREADY_EXISTS,
                format!("Topic '{name}' already exists."),
            ),
            Refusal::NameCollision(taken) => (
                ErrorCode::INVALID_TOPIC_EXCEPTION,
                format!("Topic '{name}' collides with existing topic: {taken}"),
            ),
            Refusal::UnknownTopic => return Self::unknown_topic(),
            Refusal::InvalidPlacement(what) => (ErrorCode::INVALID_REPLICA_ASSIGNMENT, what.clone()),
            Refusal::TooManyReplicas { .. } => (ErrorCode::POLICY_VIOLATION, refusal.to_string()),
            Refusal::Stale => (ErrorCode::REQUEST_TIMED_OUT, refusal.to_string()),
            _ => (ErrorCode::UNKNOWN_SERVER_ERROR, refusal.to_string()),
        };
        Self::new(code, message)
    }
}
