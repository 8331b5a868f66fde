//! Step 1: a client's batch is validated and held against what its producer sent before.

use std::sync::Arc;

use bytes::BytesMut;
use chronik_core::consensus::Role;
use chronik_core::{EntryKind, LogIndex, Proposal, ReplicaId, Term};

use crate::kafka::record::{ProducerFields, TimestampType, Validated, validate};

use super::config::PartitionConfig;
use super::error::PartitionError;
use super::open::{Ledger, Partition};
use super::producer_state::{ProducerBatch, ProducerTail, check_follows};
use super::replicate::InProgress;

/// When a produce request is answered (Kafka: `acks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// At once, whatever happens later (0).
    None,
    /// When the leader's log has it durably (1); a later leader may still not have it.
    Leader,
    /// When it is committed and readable (-1).
    All,
}

/// What the ledger says about a batch.
enum Verdict {
    /// It is in the log already.
    Committed(ProducerBatch),
    /// It is on its way already: it shares that outcome.
    Shared(InProgress),
    /// It was proposed now.
    Proposed(InProgress),
    /// The producer's rules forbid it, as far as the leader of this term knows.
    Refused(PartitionError, Term),
}

impl Partition {
    /// Validates a batch and proposes it. Batches enter the log in the order of these calls; await the result for
    /// the outcome. Dropping the result cancels nothing.
    ///
    /// `zstd_allowed` says whether the version of the request may carry zstd (Produce v7 and later).
    ///
    /// # Errors
    /// Nothing entered the log. That a batch does not continue its producer's sequence is told by the outcome.
    pub fn produce(
        self: &Arc<Self>,
        batch: BytesMut,
        acks: Acks,
        zstd_allowed: bool,
    ) -> Result<InProgress, PartitionError> {
        self.produce_within(None, batch, acks, zstd_allowed)
    }

    /// As [`Partition::produce`], for one of the broker's own writers, whose state is that of one leader epoch.
    ///
    /// # Errors
    /// `NotLeader` where this replica does not lead in that epoch (any more); nothing entered the log.
    pub fn produce_in_epoch(
        self: &Arc<Self>,
        epoch: Term,
        batch: BytesMut,
    ) -> Result<InProgress, PartitionError> {
        self.produce_within(Some(epoch), batch, Acks::All, true)
    }

    fn produce_within(
        self: &Arc<Self>,
        epoch: Option<Term>,
        mut batch: BytesMut,
        acks: Acks,
        zstd_allowed: bool,
    ) -> Result<InProgress, PartitionError> {
        let config = self.config();
        self.serving_view(None)?;
        let now_ms = self.env.clock.wall_ms();
        let validated = validate(&mut batch, &config.validation_rules(zstd_allowed), now_ms)?;
        if acks == Acks::All {
            self.check_in_sync(&config)?;
        }
        let proposal = Proposal {
            kind: EntryKind::Data,
            payload: batch,
            // Positive: validation saw it.
            record_count: validated.record_count.unsigned_abs(),
            max_timestamp_ms: validated.max_timestamp_ms,
        };
        let verdict = self.decide(epoch, proposal, &validated, acks, now_ms)?;
        Ok(match verdict {
            Verdict::Refused(error, term) => InProgress::refused(Arc::clone(self), error, term),
            Verdict::Committed(batch) => self.already_committed(&batch, &config),
            Verdict::Shared(progress) => {
                log::debug!("event=duplicate_in_flight partition={}", self.name);
                progress
            }
            Verdict::Proposed(progress) => progress,
        })
    }

    /// Decides and proposes in one step under the ledger, so that the order of decisions is the order in the log.
    fn decide(
        self: &Arc<Self>,
        epoch: Option<Term>,
        proposal: Proposal,
        validated: &Validated,
        acks: Acks,
        now_ms: i64,
    ) -> Result<Verdict, PartitionError> {
        let mut ledger = self.ledger();
        let term = self.serving_term(&ledger)?;
        if epoch.is_some_and(|epoch| epoch != term) {
            return Err(PartitionError::NotLeader { leader: None });
        }
        ledger.in_flight.enter(term);
        let propose = || {
            self.group
                .propose(proposal)
                .map(Arc::new)
                .map_err(PartitionError::of_refusal)
        };
        let append_time_ms = validated.log_append_time_ms;
        let Some(fields) = validated.producer else {
            return Ok(Verdict::Proposed(self.in_progress(
                propose()?,
                acks,
                append_time_ms,
            )));
        };
        // Looking at the tail takes out what will never be committed: that may be sent again.
        let tail = ledger.in_flight.tail(fields.id);
        if let Some(handle) = ledger.in_flight.duplicate_of(&fields) {
            return Ok(Verdict::Shared(self.in_progress(handle, acks, append_time_ms)));
        }
        match ledger.check(tail, &fields) {
            Ok(None) => {}
            Ok(Some(batch)) => return Ok(Verdict::Committed(batch)),
            Err(refusal) => return Ok(Verdict::Refused(refusal, term)),
        }
        let handle = propose()?;
        ledger.in_flight.add(fields, Arc::clone(&handle));
        ledger.heard_ms.insert(fields.id, now_ms);
        Ok(Verdict::Proposed(self.in_progress(handle, acks, append_time_ms)))
    }

    /// The term in which this replica leads and has applied an entry of its own: from then on the committed state is
    /// complete, and what is in flight is known here (design, settled question 8).
    fn serving_term(&self, ledger: &Ledger) -> Result<Term, PartitionError> {
        let applied = ledger.state.applied.index;
        self.progress.with(|progress| {
            let caught_up = progress
                .own_term_start
                .is_some_and(|start: LogIndex| applied >= start);
            if progress.role == Role::Leader && caught_up {
                return Ok(progress.term);
            }
            let other = |leader: &ReplicaId| *leader != self.replica.replica;
            Err(PartitionError::NotLeader {
                leader: progress.leader.filter(other),
            })
        })
    }

    /// The answer to a batch that was committed before.
    fn already_committed(self: &Arc<Self>, batch: &ProducerBatch, config: &PartitionConfig) -> InProgress {
        log::debug!(
            "event=duplicate_committed partition={} offset={}",
            self.name,
            batch.base_offset
        );
        let append_time_ms = match config.timestamp_type {
            TimestampType::LogAppendTime => batch.max_timestamp_ms,
            TimestampType::CreateTime => -1,
        };
        InProgress::done(Arc::clone(self), batch.base_offset, append_time_ms)
    }
}

impl Ledger {
    /// Whether the batch may be appended (none), or was appended before. `in_flight` is the newest proposal of the
    /// producer that is on its way, which counts as appended.
    ///
    /// # Errors
    /// The producer's rules forbid it.
    fn check(
        &self,
        in_flight: Option<ProducerTail>,
        fields: &ProducerFields,
    ) -> Result<Option<ProducerBatch>, PartitionError> {
        let producers = &self.state.producers;
        let tail = in_flight.or_else(|| producers.tail(fields.id));
        if tail.is_some_and(|tail| tail.epoch == fields.epoch)
            && let Some(batch) = producers.duplicate_of(fields)
        {
            return Ok(Some(batch));
        }
        check_follows(tail, fields).map(|()| None)
    }
}
