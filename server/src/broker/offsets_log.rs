//! A partition of `__consumer_offsets` as the log of a group coordinator.

use crate::group::{AppendError, LogRole, StateLog, StateLogError};
use crate::kafka::wire::ErrorCode;
use crate::partition::{FetchQuery, Isolation, Partition, PartitionError, View};
use bytes::{Bytes, BytesMut};
use chronik_core::{BoxFuture, Env, Offset, Term, Watch};
use std::sync::Arc;

/// The log of one shard of the coordinator.
#[derive(Debug)]
pub struct OffsetsLog {
    partition: Arc<Partition>,
    role: Watch<LogRole>,
}

impl OffsetsLog {
    /// The log over an open partition; a task follows who leads it.
    #[must_use]
    pub fn new(partition: Arc<Partition>, env: &Env) -> Arc<Self> {
        let role = Watch::new(role_of(&partition.view()));
        let (follow, changed) = (Arc::clone(&partition), role.clone());
        let task = async move {
            let mut known = changed.get();
            while known != LogRole::Closed {
                known = role_of(&follow.wait_for(|view| role_of(view) != known).await);
                changed.update(|role| {
                    *role = known;
                    true
                });
            }
        };
        env.spawn.spawn("offsets-role", Box::pin(task));
        Arc::new(Self { partition, role })
    }
}

fn role_of(view: &View) -> LogRole {
    match (view.ended, view.serving, u64::try_from(view.leader_epoch)) {
        (Some(_), _, _) => LogRole::Closed,
        (None, true, Ok(epoch)) => LogRole::Leader { epoch },
        _ => LogRole::Follower,
    }
}

fn append_error(error: PartitionError) -> AppendError {
    match error {
        PartitionError::OutcomeUnknown { .. } => AppendError::Unknown,
        PartitionError::NotLeader { .. }
        | PartitionError::Deleted
        | PartitionError::FencedLeaderEpoch
        | PartitionError::UnknownLeaderEpoch => AppendError::NotLeader,
        PartitionError::RecordListTooLarge => AppendError::TooLarge,
        PartitionError::Record(error) if error.code() == ErrorCode::MESSAGE_TOO_LARGE.0 => {
            AppendError::TooLarge
        }
        error => {
            log::error!("event=offsets_append_failed error=\"{error}\"");
            AppendError::Unavailable
        }
    }
}

impl StateLog for OffsetsLog {
    fn role(&self) -> Watch<LogRole> {
        self.role.clone()
    }

    fn append(&self, epoch: u64, batch: BytesMut) -> BoxFuture<'static, Result<Offset, AppendError>> {
        let placed = self
            .partition
            .produce_in_epoch(Term(epoch), batch)
            .map_err(append_error);
        Box::pin(async move {
            let outcome = placed?.outcome().await.map_err(append_error)?;
            Ok(Offset(outcome.base_offset))
        })
    }

    fn start(&self) -> Offset {
        self.partition.view().log_start
    }

    fn end(&self) -> Offset {
        self.partition.view().high_watermark
    }

    fn read(&self, from: Offset, max_bytes: usize) -> BoxFuture<'_, Result<Vec<Bytes>, StateLogError>> {
        let query = FetchQuery {
            offset: from.0,
            max_bytes: max_bytes as u64,
            min_one_batch: true,
            isolation: Isolation::ReadUncommitted,
            leader_epoch: None,
            last_fetched_epoch: None,
            follower_read: false,
        };
        Box::pin(async move {
            let fetched = self.partition.fetch(query).await;
            fetched
                .map(|fetched| fetched.records)
                .map_err(|error| StateLogError(error.to_string()))
        })
    }

    fn delete_before(&self, offset: Offset) -> BoxFuture<'_, Result<(), StateLogError>> {
        Box::pin(async move {
            let moved = self.partition.advance_log_start(offset).await;
            moved
                .map(|_| ())
                .map_err(|error| StateLogError(error.to_string()))
        })
    }
}
