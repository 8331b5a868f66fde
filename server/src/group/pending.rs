//! What waits for the log, and what leaves the machine.

use super::record::StateRecord;
use crate::kafka::api::delete_groups::DeletableGroupResult;
use crate::kafka::api::heartbeat::HeartbeatResponse;
use crate::kafka::api::join_group::JoinGroupResponse;
use crate::kafka::api::leave_group::LeaveGroupResponse;
use crate::kafka::api::offset_commit::OffsetCommitResponse;
use crate::kafka::api::offset_delete::OffsetDeleteResponse;
use crate::kafka::api::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchResponseGroup};
use crate::kafka::api::sync_group::SyncGroupResponse;
use crate::kafka::wire::{ErrorCode, KafkaString};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;

/// Names a request that waits for its answer.
pub type ReplyId = u64;

/// Names an append that waits for its outcome. Outcomes come in the order of the appends.
pub type AppendId = u64;

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "each variant is the response of the API that it names"
)]
pub enum Answer {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    Leave(LeaveGroupResponse),
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponseGroup),
    OffsetDelete(OffsetDeleteResponse),
    DeleteGroups(Vec<DeletableGroupResult>),
    /// The offsets of deleted topics are gone, or not.
    TopicsDeleted(ErrorCode),
    /// The request has no effect, now or later.
    Refused(ErrorCode),
}

/// What the machine wants done. The shell does it in the order given.
#[derive(Debug)]
pub enum Action {
    /// Answer a request.
    Reply {
        /// Which one.
        to: ReplyId,
        /// With what.
        answer: Answer,
    },
    /// Append a batch to the log, after all earlier ones, and report the outcome.
    Append {
        /// Which append it is.
        id: AppendId,
        /// The batch, or why it cannot be made.
        batch: Result<BytesMut, ErrorCode>,
    },
    /// Remove the log before the offset; what it held stands behind it again.
    DeleteBefore(i64),
}

/// What happens when an append's outcome is known.
#[derive(Debug)]
pub(super) enum Then {
    /// Nothing more.
    Nothing,
    /// Answer a request: with the answer if the append was committed.
    Reply { to: ReplyId, answer: Answer },
    /// Hand the leader's assignment to the members.
    Assign {
        group: KafkaString,
        generation: i32,
        assignments: HashMap<KafkaString, Bytes>,
    },
    /// Go on with the snapshot.
    Snapshot,
}

/// An append whose outcome is not known yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: AppendId,
    pub(super) records: Vec<StateRecord>,
    pub(super) bytes: u64,
    pub(super) then: Then,
    /// Reads that must see the outcome.
    pub(super) readers: Vec<(ReplyId, OffsetFetchRequestGroup)>,
}
