//! Step 3: committed entries are pulled from the log, in order, and make the state.
//!
//! The same function runs live and in replay. The state is stored where segments end, so that their prefix can be
//! purged with the state as of that place, and in between as `checkpoint.rs` says.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use chronik_core::consensus::{ConsensusError, Maintenance, Progress, Role};
use chronik_core::{Entry, LogError, LogIndex, Term, Ticket};

use super::checkpoint::CheckpointPace;
use super::error::PartitionError;
use super::notify::Ended;
use super::open::{Partition, starting_state};
use super::stamp::leader_epoch;
use super::state::Effects;

/// The most payload bytes that are read from the log at a time.
pub(super) const CHUNK_BYTES: u64 = 1 << 20;
/// More than the bytes that a store adds to an entry's payload.
const ENTRY_OVERHEAD_BYTES: u64 = 256;

/// Pulls and applies for one partition; there is one a partition.
pub(super) struct Applier {
    partition: Arc<Partition>,
    /// Bytes applied since the last segment end that was seen, counted generously.
    since_segment_end: u64,
    /// The entry at which this replica asked for the end of the segment that holds it.
    rolled: Option<LogIndex>,
    /// Whether entries were committed before the partition was opened.
    replaying: bool,
    /// The term in which this replica leads, as it was told last.
    led: Option<Term>,
}

impl Applier {
    /// Starts where the partition's state stands.
    pub(super) fn new(partition: Arc<Partition>) -> Self {
        Self {
            partition,
            // A segment may end at the very place where the state stands.
            since_segment_end: u64::MAX,
            rolled: None,
            replaying: true,
            led: None,
        }
    }

    /// Applies what was committed before the partition was opened.
    ///
    /// # Errors
    /// `Storage` if the log cannot be read, `Unreadable` if it holds something that cannot be applied.
    pub(super) async fn replay(&mut self) -> Result<(), PartitionError> {
        let progress = self.partition.progress.get();
        self.catch_up(progress.commit).await?;
        self.replaying = false;
        self.partition.publish(&progress);
        Ok(())
    }

    /// Follows the engine until the group is closed or fails. The partition is ended then.
    pub(super) async fn run(mut self) {
        loop {
            let (progress, version) = self.partition.progress.versioned();
            if let Err(error) = self.catch_up(progress.commit).await {
                if self.partition.view().ended.is_some() {
                    return;
                }
                log::error!(
                    "event=apply_failed partition={} error=\"{error}\"",
                    self.partition.name
                );
                self.partition.ended(Ended::Failed);
                self.partition.group.close().await;
                return;
            }
            self.partition.publish(&progress);
            if progress.role == Role::Stopped {
                self.partition.ended(Ended::Failed);
                return;
            }
            self.partition.progress.changed(version).await;
        }
    }

    /// Tells those who follow it where this replica began or ceased to lead.
    fn tell_leadership(&mut self) {
        let led = self.partition.led_term();
        if std::mem::replace(&mut self.led, led) != led {
            self.partition.notifier.leadership_changed();
        }
    }

    /// Applies every entry up to `commit`.
    async fn catch_up(&mut self, commit: LogIndex) -> Result<(), PartitionError> {
        loop {
            // Not only where everything is applied: other nodes are to hear of a leader at once.
            self.tell_leadership();
            self.skip_to_checkpoint(commit)?;
            let applied = self.partition.ledger().state.applied.index;
            let (until, looked) = self.next_stop(applied, commit);
            if applied >= until {
                return Ok(());
            }
            let range = applied.next()..until.next();
            let mut entries = match self.partition.entries(range, CHUNK_BYTES).await {
                // The engine replaced the log by a checkpoint meanwhile.
                Err(LogError::Compacted { .. }) if self.partition.log_starts_after(applied) => continue,
                other => other?,
            };
            if entries.is_empty() {
                return Err(PartitionError::Unreadable(
                    "the log ends before its commit index".into(),
                ));
            }
            if !looked {
                entries.truncate(self.up_to_a_look(&entries));
            }
            self.apply(&entries)?;
            // A long replay shares its thread with everybody else.
            futures_lite::future::yield_now().await;
        }
    }

    /// Where the log starts after what was applied, a leader has brought this replica up by a checkpoint: the state is
    /// that of the checkpoint from now on (CS-SNP-02: the applied index never moves back).
    fn skip_to_checkpoint(&mut self, commit: LogIndex) -> Result<(), PartitionError> {
        let applied = self.partition.ledger().state.applied.index;
        if !self.partition.log_starts_after(applied) {
            return Ok(());
        }
        let state = starting_state(&*self.partition.reader, commit)?;
        log::info!(
            "event=checkpoint_installed partition={} applied={applied} checkpoint={}",
            self.partition.name,
            state.applied
        );
        self.since_segment_end = u64::MAX;
        {
            let mut ledger = self.partition.ledger();
            assert!(
                state.next_offset >= ledger.state.next_offset,
                "a checkpoint of committed entries continues them"
            );
            ledger.pace = CheckpointPace::new(state.applied.index);
            ledger.state = state;
        }
        self.partition.show_tier();
        self.partition.publish_state();
        Ok(())
    }

    /// How far to apply in one go: to `commit`, or to the end of a segment before it. Where the state stands at the end
    /// of a segment, it is checkpointed. A look at the segments costs as much as there are, so that there is none where
    /// none can have ended; false then.
    fn next_stop(&mut self, applied: LogIndex, commit: LogIndex) -> (LogIndex, bool) {
        if self.since_segment_end < self.partition.config().segment_bytes {
            return (commit, false);
        }
        let segments = self.partition.reader.segments();
        let mut next_end = None;
        for segment in segments.iter().filter(|segment| segment.sealed) {
            match segment.last.index.cmp(&applied) {
                Ordering::Less => {}
                Ordering::Equal => {
                    self.partition.checkpoint();
                }
                Ordering::Greater => {
                    next_end = Some(segment.last.index);
                    break;
                }
            }
        }
        if next_end.is_none() {
            let active = segments.last().filter(|segment| !segment.sealed);
            self.since_segment_end = match active {
                // The engine has not ended it yet, and may do so anywhere.
                Some(active) if self.rolled >= Some(active.first.index) => u64::MAX,
                active => active.map_or(0, |segment| segment.size_bytes),
            };
        }
        (next_end.map_or(commit, |end| end.min(commit)), true)
    }

    /// How many of these entries to apply before the segments are to be looked at: a segment may have ended after them.
    fn up_to_a_look(&self, entries: &[Entry]) -> usize {
        let mut left = self
            .partition
            .config()
            .segment_bytes
            .saturating_sub(self.since_segment_end);
        let fits = entries.iter().take_while(|entry| {
            let before = left;
            left = left.saturating_sub(applied_bytes(entry));
            before > 0
        });
        fits.count()
    }

    /// Applies a run of entries under the ledger, tells those who wait, and does what the entries ask for.
    fn apply(&mut self, entries: &[Entry]) -> Result<(), PartitionError> {
        let mut effects = Effects::default();
        let due = {
            let mut ledger = self.partition.ledger();
            let ledger = &mut *ledger;
            for entry in entries {
                let settle = |fields: &_| ledger.in_flight.settle(fields);
                effects.join(
                    ledger
                        .state
                        .apply(entry, settle)
                        .map_err(PartitionError::Unreadable)?,
                );
                let bytes = entry.payload.len() as u64;
                ledger.pace.count(bytes);
                self.since_segment_end = self.since_segment_end.saturating_add(applied_bytes(entry));
            }
            ledger.pace.is_due()
        };
        if effects.tier_changed {
            self.partition.show_tier();
        }
        self.partition.publish_state();
        if due {
            self.partition.checkpoint();
        }
        self.act(effects);
        Ok(())
    }

    /// Does what commands ask of this replica's log. In replay it was done before, or will be by the next round of
    /// upkeep.
    fn act(&mut self, effects: Effects) {
        if self.replaying {
            return;
        }
        if effects.roll {
            let policy = self.partition.config().segment_policy();
            self.partition.maintain(Maintenance::Roll { policy, now: true });
            self.since_segment_end = u64::MAX;
            self.rolled = Some(self.partition.ledger().state.applied.index);
        }
        if effects.log_start_moved || effects.local_start_moved {
            self.partition.purge();
        }
    }
}

/// What applying an entry adds to the bytes since the last segment end, counted generously.
fn applied_bytes(entry: &Entry) -> u64 {
    entry.payload.len() as u64 + ENTRY_OVERHEAD_BYTES
}

impl Partition {
    async fn entries(&self, range: Range<LogIndex>, max_bytes: u64) -> Result<Vec<Entry>, LogError> {
        self.reader.entries(range, max_bytes)?.get().await
    }

    fn log_starts_after(&self, applied: LogIndex) -> bool {
        self.reader.state().purged.index > applied
    }

    /// Shows what was applied to those who wait.
    fn publish_state(&self) {
        let (applied, next_offset, log_start) = {
            let ledger = self.ledger();
            (
                ledger.state.applied.index,
                ledger.state.next_offset,
                ledger.state.log_start,
            )
        };
        self.notifier.update(|view| {
            view.applied = applied;
            view.high_watermark = next_offset;
            view.last_stable_offset = next_offset;
            view.log_start = log_start;
        });
    }

    /// Shows where the engine stands to those who wait. A new term starts with nothing in flight.
    fn publish(&self, progress: &Progress) {
        let applied = {
            let mut ledger = self.ledger();
            if progress.role != Role::Leader {
                ledger.in_flight.enter(progress.term);
                ledger.heard_ms.clear();
            }
            ledger.state.applied.index
        };
        let caught_up = progress.own_term_start.is_some_and(|start| applied >= start);
        self.notifier.update(|view| {
            view.leader_epoch = leader_epoch(progress.term);
            view.leader = progress.leader;
            view.serving = view.ended.is_none() && progress.role == Role::Leader && caught_up;
        });
    }

    /// Ends the partition for those who wait, unless it was ended on purpose.
    fn ended(&self, how: Ended) {
        self.notifier.update(|view| {
            view.ended.get_or_insert(how);
            view.serving = false;
        });
    }

    /// Asks the engine for upkeep of the log. A failure concerns the log as a whole and shows in the engine too.
    pub(super) fn maintain(&self, maintenance: Maintenance) -> Option<Ticket> {
        let failed = |error: &ConsensusError| {
            log::warn!(
                "event=log_upkeep_failed partition={} error=\"{error}\"",
                self.name
            );
        };
        self.group.maintain(maintenance).inspect_err(failed).ok()
    }
}
