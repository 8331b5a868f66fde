//! Retention: the leader decides with its clock and proposes; apply does it on every replica; purge frees the space.

use std::sync::{Arc, PoisonError};

use bytes::BytesMut;
use chronik_core::consensus::Maintenance;
use chronik_core::log_store::{Purge, SegmentInfo};
use chronik_core::{EntryKind, LogError, LogIndex, Offset, Proposal, ProposalHandle};

use super::command::Command;
use super::config::PartitionConfig;
use super::error::PartitionError;
use super::notify::View;
use super::open::Partition;

/// The most producers that one command forgets.
const MAX_FORGOTTEN: usize = 10_000;

/// What the rounds of upkeep remember.
#[derive(Debug, Default)]
pub(super) struct UpkeepState {
    /// The commands of earlier rounds whose outcome is not known yet.
    in_flight: Vec<ProposalHandle>,
    /// The first entry of the active segment, and when it was first seen, in wall milliseconds.
    active_since: Option<(LogIndex, i64)>,
}

impl Partition {
    /// One round of upkeep: stores the state, purges what is not served any more and, on the leader, rolls the active
    /// segment by age,
    /// moves the log start by time and size, and forgets silent producers. Never waits for consensus. Call it every
    /// so often (`log.retention.check.interval.ms`), on every replica.
    ///
    /// # Errors
    /// `Storage` if the log cannot be read.
    pub async fn upkeep(&self) -> Result<(), PartitionError> {
        self.checkpoint_if_worthwhile();
        self.make_room_to_purge().await?;
        self.purge_below_log_start().await?;
        if self.serving_view(None).is_err() || self.upkeep_in_flight() {
            return Ok(());
        }
        let now_ms = self.env.clock.wall_ms();
        let config = self.config();
        let segments = self.reader.segments();
        let commands = [
            self.cut(&config, &segments, now_ms),
            self.roll(&config, &segments, now_ms),
            self.forget(&config, now_ms),
        ];
        commands
            .iter()
            .flatten()
            .for_each(|command| self.propose_upkeep(command));
        Ok(())
    }

    /// Deletes the records below `to` (DeleteRecords; -1 is the high watermark). Returns the first offset that is
    /// served, once the deletion is committed and applied.
    ///
    /// # Errors
    /// `OffsetOutOfRange` above the high watermark, `PolicyViolation` for a topic that is only compacted.
    pub async fn delete_records(&self, to: i64) -> Result<i64, PartitionError> {
        if !self.config().delete {
            return Err(PartitionError::PolicyViolation);
        }
        let view = self.serving_view(None)?;
        let to = if to == -1 { view.high_watermark } else { Offset(to) };
        if to.0 < 0 {
            return Err(PartitionError::OffsetOutOfRange);
        }
        self.advance_log_start(to).await
    }

    /// Moves the log start to `to`, whatever the topic's policy is: for state machines that keep their own snapshots.
    /// A `to` below the log start changes nothing. Returns the first offset that is served.
    ///
    /// # Errors
    /// `OffsetOutOfRange` above the high watermark; `OutcomeUnknown` if it may still happen.
    pub async fn advance_log_start(&self, to: Offset) -> Result<i64, PartitionError> {
        let view = self.serving_view(None)?;
        if to > view.high_watermark {
            return Err(PartitionError::OffsetOutOfRange);
        }
        if to > view.log_start {
            let handle = self.propose_command(&Command::AdvanceLogStart(to))?;
            let appended = self.settled(handle.outcome().await)?;
            self.applied(appended.id.index).await?;
        }
        Ok(self.view().log_start.0)
    }

    /// Where retention cuts, if it does: whole sealed segments, oldest first, whose records are committed.
    fn cut(&self, config: &PartitionConfig, segments: &[SegmentInfo], now_ms: i64) -> Option<Command> {
        if !config.delete {
            return None;
        }
        let view = self.view();
        let pieces = self.pieces(config, segments);
        let total: u64 = pieces.iter().map(|piece| piece.size_bytes).sum();
        let mut excess = config
            .retention_bytes
            .map_or(0, |keep| total.saturating_sub(keep));
        let mut cut = view.log_start;
        for segment in &pieces {
            let by_size = excess > 0 && excess >= segment.size_bytes;
            let old = expired(segment.max_timestamp_ms, config.retention_ms, now_ms);
            let droppable = segment.is_complete
                && segment.end <= view.high_watermark
                && (by_size || old || segment.end <= view.log_start);
            if !droppable {
                break;
            }
            excess = excess.saturating_sub(segment.size_bytes);
            cut = cut.max(segment.end);
        }
        (cut > view.log_start).then_some(Command::AdvanceLogStart(cut))
    }

    /// Whether the active segment shall end: it is older than `segment.ms`, or all of its records are expired.
    fn roll(&self, config: &PartitionConfig, segments: &[SegmentInfo], now_ms: i64) -> Option<Command> {
        let active = segments
            .last()
            .filter(|segment| !segment.sealed && !segment.offsets.is_empty())?;
        let mut upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match upkeep.active_since {
            Some((first, since)) if first == active.first.index => since,
            _ => {
                upkeep.active_since = Some((active.first.index, now_ms));
                now_ms
            }
        };
        let old = now_ms.saturating_sub(since) >= config.segment_ms;
        let expired = expired(active.max_timestamp_ms, config.retention_ms, now_ms);
        (old || (config.delete && expired)).then_some(Command::Roll)
    }

    /// The producers that were silent for long.
    fn forget(&self, config: &PartitionConfig, now_ms: i64) -> Option<Command> {
        let mut ledger = self.ledger();
        let ledger = &mut *ledger;
        let mut silent = Vec::new();
        for (id, _) in ledger.state.producers.sorted() {
            let heard = *ledger.heard_ms.entry(id).or_insert(now_ms);
            if now_ms.saturating_sub(heard) >= config.producer_id_expiration_ms
                && silent.len() < MAX_FORGOTTEN
            {
                silent.extend(
                    ledger
                        .state
                        .producers
                        .last_base_offset(id)
                        .map(|offset| (id, offset)),
                );
            }
        }
        for (id, _) in &silent {
            ledger.heard_ms.remove(id);
        }
        (!silent.is_empty()).then_some(Command::ForgetProducers(silent))
    }

    /// Whether a command of an earlier round is still on its way.
    fn upkeep_in_flight(&self) -> bool {
        let mut upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        upkeep.in_flight.retain(|handle| handle.peek().is_none());
        !upkeep.in_flight.is_empty()
    }

    /// Proposes a command that nobody waits for; the next round looks again.
    fn propose_upkeep(&self, command: &Command) {
        match self.propose_command(command) {
            Ok(handle) => {
                log::info!("event=upkeep partition={} command={command:?}", self.name);
                self.upkeep
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .in_flight
                    .push(handle);
            }
            Err(error) => log::warn!("event=upkeep_refused partition={} error=\"{error}\"", self.name),
        }
    }

    /// Proposes a command.
    pub(super) fn propose_command(&self, command: &Command) -> Result<ProposalHandle, PartitionError> {
        let payload: BytesMut = command.encode();
        let proposal = Proposal {
            kind: EntryKind::Command,
            payload,
            record_count: 0,
            max_timestamp_ms: -1,
        };
        self.group.propose(proposal).map_err(PartitionError::of_refusal)
    }

    /// Starts a purge that nobody waits for, after the log start moved.
    pub(super) fn purge(self: &Arc<Self>) {
        let partition = Arc::clone(self);
        let purge = async move {
            if let Err(error) = partition.purge_below_log_start().await {
                log::warn!(
                    "event=purge_failed partition={} error=\"{error}\"",
                    partition.name
                );
            }
        };
        self.env.spawn.spawn("partition-purge", Box::pin(purge));
    }

    /// Sees to it that there is a checkpoint to which everything below the log start can go.
    async fn make_room_to_purge(&self) -> Result<(), PartitionError> {
        let view = self.view();
        // Of a log of which nothing is kept, the state is stored as it stands.
        let Some(keep_from) = self.kept_from(&view).filter(|from| *from < view.high_watermark) else {
            return Ok(());
        };
        let through = self.last_before(keep_from).await?;
        match self.store_missing(through).await {
            // The engine replaced the log meanwhile.
            Err(PartitionError::Storage(LogError::Compacted { .. } | LogError::Truncated)) => Ok(()),
            made => made,
        }
    }

    /// Below this, records are deleted, or the tier has them; none where the store has let go all that it can.
    fn kept_from(&self, view: &View) -> Option<Offset> {
        let log = self.reader.state();
        let keep_from = view.log_start.max(self.local_start());
        // A purge can stop before what it was asked for: where a checkpoint is missing, or another replica lags.
        let stays = |segment: &SegmentInfo| {
            let can_go = segment.sealed && segment.offsets.end <= keep_from;
            can_go && segment.last.index > log.purged.index
        };
        let some = keep_from > log.offset_start || self.reader.segments().iter().any(stays);
        some.then_some(keep_from)
    }

    /// The entry before the one that holds a record.
    async fn last_before(&self, offset: Offset) -> Result<LogIndex, PartitionError> {
        let one = offset..offset.checked_add(1).unwrap_or(offset);
        let entries = self.read(one, 0).await?;
        let first = entries.first().map_or(LogIndex(0), |entry| entry.id.index);
        Ok(LogIndex(first.0.saturating_sub(1)))
    }

    /// Gives the space of records below the log start back, as far as a checkpoint covers what is dropped: the log
    /// starts at a place whose state is known (design, settled question 3).
    async fn purge_below_log_start(&self) -> Result<(), PartitionError> {
        let view = self.view();
        let log = self.reader.state();
        let Some(keep_from) = self.kept_from(&view) else {
            return Ok(());
        };
        let through = if keep_from < view.high_watermark {
            self.last_before(keep_from).await?.max(log.purged.index)
        } else {
            self.checkpoint_emptied(keep_from)
        };
        // Without entries to drop the log start is not told to the store either: the command that moved it is still in
        // the log, and a log that has no checkpoint yet is replayed from the offset at which its first entry lies.
        let checkpoint = self.reader.checkpoint(through)?.map(|checkpoint| checkpoint.at);
        if let Some(through) = checkpoint.filter(|at| at.index > log.purged.index) {
            self.maintain(Maintenance::Purge(Purge {
                through,
                offset_start: keep_from,
            }));
        }
        Ok(())
    }

    /// Stores the state of a log whose records are all below the log start, so that all of it can be purged. Returns
    /// the entry that the state covers, or the purge point if records came since.
    fn checkpoint_emptied(&self, log_start: Offset) -> LogIndex {
        let purged = self.reader.state().purged.index;
        let is_empty = |partition: &Self| partition.ledger().state.next_offset == log_start;
        // Records that come between the two looks lie above the log start, and then nothing is purged yet.
        let covered = if is_empty(self) { self.checkpoint() } else { purged };
        if is_empty(self) {
            covered.max(purged)
        } else {
            purged
        }
    }
}

/// Whether every record of a segment is older than a limit; one without timestamps never is.
pub(super) fn expired(max_timestamp_ms: i64, keep_ms: Option<i64>, now_ms: i64) -> bool {
    keep_ms.is_some_and(|keep_ms| max_timestamp_ms >= 0 && now_ms.saturating_sub(max_timestamp_ms) > keep_ms)
}
