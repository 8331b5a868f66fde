//! Step 2: a proposal is followed to the stage that the producer asked for.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chronik_core::proposal::Appended;
use chronik_core::{LogIndex, Outcome, ProposalHandle, Term};

use super::config::PartitionConfig;
use super::error::PartitionError;
use super::notify::Ended;
use super::open::Partition;
use super::produce::Acks;

/// What a producer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceOutcome {
    /// The offset of the batch's first record; -1 where `acks` is 0.
    pub base_offset: i64,
    /// The time of the append if the topic stamps it, else -1.
    pub log_append_time_ms: i64,
    /// The first offset that is served.
    pub log_start_offset: i64,
}

/// A batch on its way. Dropping it cancels nothing.
pub struct InProgress {
    partition: Arc<Partition>,
    stage: Stage,
    log_append_time_ms: i64,
}

/// What there is still to wait for.
enum Stage {
    /// Nothing: the offset is known.
    Done(i64),
    /// The proposal, as far as `acks` asks.
    Proposed(Arc<ProposalHandle>, Acks),
    /// Whether this replica still led in the term in which it refused the batch.
    Refused(PartitionError, Term),
}

impl InProgress {
    /// A batch whose outcome is known already.
    pub(super) fn done(partition: Arc<Partition>, base_offset: i64, log_append_time_ms: i64) -> Self {
        Self {
            partition,
            stage: Stage::Done(base_offset),
            log_append_time_ms,
        }
    }

    /// A batch that its producer's rules forbid, as far as the leader of `term` knows.
    pub(super) fn refused(partition: Arc<Partition>, refusal: PartitionError, term: Term) -> Self {
        Self {
            partition,
            stage: Stage::Refused(refusal, term),
            log_append_time_ms: -1,
        }
    }

    /// Waits for the stage that `acks` asks for. Cancel safe: the batch goes its way, and its producer may ask again.
    ///
    /// # Errors
    /// `OutcomeUnknown` if the batch may still be committed; any other error means that it is not in the log.
    pub async fn outcome(self) -> Result<ProduceOutcome, PartitionError> {
        let base_offset = match &self.stage {
            Stage::Done(offset) => *offset,
            Stage::Refused(refusal, term) => {
                return Err(self.partition.confirmed(refusal.clone(), *term).await);
            }
            Stage::Proposed(_, Acks::None) => -1,
            Stage::Proposed(handle, Acks::Leader) => {
                let durable = handle.durable().await;
                durable
                    .or_else(|outcome| self.partition.settled(outcome))?
                    .base_offset
                    .0
            }
            Stage::Proposed(handle, Acks::All) => {
                let appended = self.partition.settled(handle.outcome().await)?;
                self.partition.applied(appended.id.index).await?;
                appended.base_offset.0
            }
        };
        let log_start_offset = self.partition.view().log_start.0;
        Ok(ProduceOutcome {
            base_offset,
            log_append_time_ms: self.log_append_time_ms,
            log_start_offset,
        })
    }
}

impl Partition {
    /// Follows a proposal as far as `acks` asks.
    pub(super) fn in_progress(
        self: &Arc<Self>,
        handle: Arc<ProposalHandle>,
        acks: Acks,
        log_append_time_ms: i64,
    ) -> InProgress {
        InProgress {
            partition: Arc::clone(self),
            stage: Stage::Proposed(handle, acks),
            log_append_time_ms,
        }
    }

    /// Whether enough voters are in sync for `min.insync.replicas`, asked before the append.
    ///
    /// # Errors
    /// `NotEnoughReplicas`; nothing was appended.
    pub(super) fn check_in_sync(&self, config: &PartitionConfig) -> Result<(), PartitionError> {
        if config.min_insync_replicas <= 1
            || self.in_sync_voters(config) >= config.min_insync_replicas as usize
        {
            return Ok(());
        }
        Err(PartitionError::NotEnoughReplicas)
    }

    /// The voters that answered lately (design, settled question 15), this one included.
    fn in_sync_voters(&self, config: &PartitionConfig) -> usize {
        let status = self.group.status();
        let patience = Duration::from_millis(config.replica_lag_time_max_ms);
        let in_sync = status
            .membership
            .voters
            .iter()
            .map(|member| member.replica)
            .filter(|replica| {
                *replica == self.replica.replica
                    || status
                        .matched
                        .get(replica)
                        .is_some_and(|matched| matched.silent_for <= patience)
            });
        in_sync.collect::<BTreeSet<_>>().len()
    }

    /// Turns an outcome into the place in the log, or into what the producer is told.
    pub(super) fn settled(&self, outcome: Outcome) -> Result<Appended, PartitionError> {
        match outcome {
            Outcome::Committed(appended) => Ok(appended),
            Outcome::NotCommitted(error) => Err(PartitionError::of_refusal(error)),
            Outcome::Unknown(cause) => {
                log::debug!("event=outcome_unknown partition={} cause=\"{cause}\"", self.name);
                Err(PartitionError::OutcomeUnknown {
                    still_leading: self.is_leading(),
                })
            }
        }
    }

    /// Waits until a committed entry is applied, and with it readable.
    ///
    /// # Errors
    /// `OutcomeUnknown` if the partition ends before; the entry is committed, but not here.
    pub(super) async fn applied(&self, index: LogIndex) -> Result<(), PartitionError> {
        let view = self
            .wait_for(|view| view.applied >= index || view.ended.is_some())
            .await;
        match view.ended {
            _ if view.applied >= index => Ok(()),
            Some(Ended::Deleted) => Err(PartitionError::Deleted),
            _ => Err(PartitionError::OutcomeUnknown { still_leading: false }),
        }
    }
}

impl fmt::Debug for InProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("InProgress");
        match &self.stage {
            Stage::Done(offset) => f.field("done", offset),
            Stage::Refused(refusal, _) => f.field("refused", refusal),
            Stage::Proposed(handle, acks) => f.field("proposed", handle).field("acks", acks),
        };
        f.finish_non_exhaustive()
    }
}
