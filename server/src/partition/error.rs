//! Why a partition did not do what was asked, and the Kafka error code that says so.

use std::fmt;
use std::sync::Arc;

use chronik_core::consensus::ConsensusError;
use chronik_core::proposal::ProposeError;
use chronik_core::{LogError, ReplicaId};

use crate::kafka::record::RecordError;
use crate::kafka::wire::ErrorCode;

/// What a partition answers instead of doing what was asked.
///
/// Every variant but `OutcomeUnknown` means that nothing was done. An unknown outcome is never reported by a code
/// that makes a producer give up its sequence numbers (design, settled question 15).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartitionError {
    /// This replica does not lead, or does not serve yet: ask the leader.
    NotLeader {
        /// Who leads, where that is known.
        leader: Option<ReplicaId>,
    },
    /// The client's leader epoch is older than this leader's (KIP-320).
    FencedLeaderEpoch,
    /// The client's leader epoch is newer than this leader's (KIP-320).
    UnknownLeaderEpoch,
    /// The offset is not in the log.
    OffsetOutOfRange,
    /// The offset is not in this follower's log yet: the leader may have it.
    OffsetNotAvailable,
    /// The batch was refused as it is.
    Record(RecordError),
    /// The batch does not continue the producer's sequence (KIP-98).
    OutOfOrderSequence,
    /// A newer epoch of the producer has written (KIP-98).
    InvalidProducerEpoch,
    /// Fewer replicas are in sync than `min.insync.replicas` asks for.
    NotEnoughReplicas,
    /// The batch is larger than a segment takes.
    RecordListTooLarge,
    /// Too much waits for the disk or for the replicas: try again later.
    Overloaded,
    /// The topic's `cleanup.policy` forbids it.
    PolicyViolation,
    /// The topic was deleted.
    Deleted,
    /// The log or the engine failed; the text of the cause is in the server's log too.
    Storage(LogError),
    /// The log holds something that this program cannot read.
    Unreadable(Arc<str>),
    /// It may have been done, now or later; whether it was can only be asked of the leader.
    OutcomeUnknown {
        /// Whether this replica still leads.
        still_leading: bool,
    },
}

impl PartitionError {
    /// The Kafka error code of the answer.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotLeader { .. } | Self::OutcomeUnknown { still_leading: false } => {
                ErrorCode::NOT_LEADER_OR_FOLLOWER
            }
            Self::FencedLeaderEpoch => ErrorCode::FENCED_LEADER_EPOCH,
            Self::UnknownLeaderEpoch => ErrorCode::UNKNOWN_LEADER_EPOCH,
            Self::OffsetOutOfRange => ErrorCode::OFFSET_OUT_OF_RANGE,
            Self::OffsetNotAvailable => ErrorCode::OFFSET_NOT_AVAILABLE,
            Self::Record(error) => ErrorCode(error.code()),
            Self::OutOfOrderSequence => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
            Self::InvalidProducerEpoch => ErrorCode::INVALID_PRODUCER_EPOCH,
            Self::NotEnoughReplicas => ErrorCode::NOT_ENOUGH_REPLICAS,
            Self::RecordListTooLarge => ErrorCode::RECORD_LIST_TOO_LARGE,
            Self::Overloaded | Self::OutcomeUnknown { still_leading: true } => ErrorCode::REQUEST_TIMED_OUT,
            Self::PolicyViolation => ErrorCode::POLICY_VIOLATION,
            Self::Deleted => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            Self::Storage(_) | Self::Unreadable(_) => ErrorCode::KAFKA_STORAGE_ERROR,
        }
    }

    /// What a refused proposal means to the producer; it never entered the log.
    pub(super) fn of_refusal(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { leader } => Self::NotLeader { leader },
            ProposeError::Overloaded => Self::Overloaded,
            ProposeError::Log(LogError::TooLarge { .. }) => Self::RecordListTooLarge,
            ProposeError::Log(error) => Self::Storage(error),
            // A group that closes hands its partition to another replica, or ends with its topic.
            _ => Self::NotLeader { leader: None },
        }
    }
}

impl From<RecordError> for PartitionError {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl From<LogError> for PartitionError {
    fn from(error: LogError) -> Self {
        Self::Storage(error)
    }
}

impl From<ConsensusError> for PartitionError {
    fn from(error: ConsensusError) -> Self {
        match error {
            ConsensusError::NotLeader { leader } => Self::NotLeader { leader },
            ConsensusError::Log(error) => Self::Storage(error),
            ConsensusError::Closed => Self::NotLeader { leader: None },
            other => Self::Unreadable(other.to_string().into()),
        }
    }
}

impl fmt::Display for PartitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { .. } => f.write_str("this replica does not lead the partition"),
            Self::FencedLeaderEpoch => {
                f.write_str("the leader epoch of the request is older than the leader's")
            }
            Self::UnknownLeaderEpoch => {
                f.write_str("the leader epoch of the request is newer than the leader's")
            }
            Self::OffsetOutOfRange => f.write_str("the offset is not in the log"),
            Self::OffsetNotAvailable => f.write_str("the offset is not in this follower's log yet"),
            Self::Record(error) => error.fmt(f),
            Self::OutOfOrderSequence => f.write_str("the batch does not continue the producer's sequence"),
            Self::InvalidProducerEpoch => f.write_str("a newer epoch of the producer has written"),
            Self::NotEnoughReplicas => f.write_str("fewer replicas are in sync than min.insync.replicas"),
            Self::RecordListTooLarge => f.write_str("the record batch is larger than a segment"),
            Self::Overloaded => f.write_str("too much is waiting to be written"),
            Self::PolicyViolation => f.write_str("the topic's cleanup.policy does not contain delete"),
            Self::Deleted => f.write_str("the topic was deleted"),
            Self::Storage(error) => error.fmt(f),
            Self::Unreadable(what) => f.write_str(what),
            Self::OutcomeUnknown { .. } => f.write_str("whether the write was committed is not known"),
        }
    }
}

impl std::error::Error for PartitionError {}
