//! When the state is stored beside the log: how little a restart replays, and how far the log can be purged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chronik_core::consensus::{ConsensusError, Maintenance};
use chronik_core::log_store::Checkpoint;
use chronik_core::{LogError, LogId, LogIndex, Offset, Ticket};

use super::apply::CHUNK_BYTES;
use super::error::PartitionError;
use super::open::{Partition, starting_state};

/// The payload bytes between two checkpoints of a busy partition, at least.
const BUSY_BYTES: u64 = 64 << 20;
/// The payload bytes that are worth a checkpoint in a round of upkeep, or when the partition is closed.
const QUIET_BYTES: u64 = 1 << 20;
/// How many times its own size lies between a checkpoint and the next, at least.
const SHARE: u64 = 32;

/// What was applied since the last checkpoint.
#[derive(Debug)]
pub(super) struct CheckpointPace {
    /// The entry that the last checkpoint covers.
    covered: LogIndex,
    /// Payload bytes applied since.
    since_bytes: u64,
    /// The size of the last checkpoint.
    last_bytes: u64,
    /// The store did not take it: there was no space, for instance.
    refused: Arc<AtomicBool>,
    /// The log says that the store takes none.
    told: Arc<AtomicBool>,
}

impl CheckpointPace {
    /// The state up to `covered` is stored.
    pub(super) fn new(covered: LogIndex) -> Self {
        Self {
            covered,
            since_bytes: 0,
            last_bytes: 0,
            refused: Arc::default(),
            told: Arc::default(),
        }
    }

    /// The state up to `covered` is being stored.
    fn begin(&mut self, covered: LogIndex, bytes: u64) {
        let told = Arc::clone(&self.told);
        *self = Self {
            last_bytes: bytes,
            told,
            ..Self::new(covered)
        };
    }

    /// Counts payload bytes that were applied.
    pub(super) const fn count(&mut self, bytes: u64) {
        self.since_bytes = self.since_bytes.saturating_add(bytes);
    }

    /// Whether a busy partition is due.
    pub(super) fn is_due(&self) -> bool {
        self.since_bytes >= BUSY_BYTES.max(self.last_bytes.saturating_mul(SHARE))
    }

    /// Whether a quiet moment should be used.
    fn is_worthwhile(&self) -> bool {
        self.was_refused() || self.since_bytes >= QUIET_BYTES.max(self.last_bytes.saturating_mul(SHARE))
    }

    fn was_refused(&self) -> bool {
        self.refused.load(Ordering::SeqCst)
    }
}

impl Partition {
    /// Stores the state as of the last applied entry, unless that was done. Nobody waits for it. Returns that entry.
    pub(super) fn checkpoint(&self) -> LogIndex {
        let (checkpoint, refused) = {
            let mut ledger = self.ledger();
            let applied = ledger.state.applied.index;
            if applied <= ledger.pace.covered && !ledger.pace.was_refused() {
                return applied;
            }
            let checkpoint = ledger.state.checkpoint();
            ledger.pace.begin(applied, checkpoint.data.len() as u64);
            (checkpoint, Arc::clone(&ledger.pace.refused))
        };
        let applied = checkpoint.at.index;
        self.store(checkpoint, move |stored| {
            refused.store(stored.is_err(), Ordering::SeqCst)
        });
        applied
    }

    /// Gives a state to the store. That it is refused is told once, until one is taken again: on a full disk each try is.
    fn store(&self, checkpoint: Checkpoint, done: impl FnOnce(&Result<(), LogError>) + Send + 'static) {
        let told = Arc::clone(&self.ledger().pace.told);
        let (name, at) = (Arc::clone(&self.name), checkpoint.at);
        let ticket = match self.group.maintain(Maintenance::Checkpoint(checkpoint)) {
            Ok(ticket) => ticket,
            Err(ConsensusError::Log(error)) => Ticket::resolved(Err(error)),
            Err(error) => {
                log::debug!("event=checkpoint_not_begun partition={name} at={at} error=\"{error}\"");
                Ticket::resolved(Err(LogError::Closed))
            }
        };
        ticket.on_resolve(move |stored| {
            done(stored);
            match stored {
                Ok(()) if told.swap(false, Ordering::SeqCst) => {
                    log::info!("event=checkpoint_taken_again partition={name} at={at}");
                }
                Ok(()) | Err(LogError::Closed) => {}
                Err(error) if !told.swap(true, Ordering::SeqCst) => {
                    log::warn!("event=checkpoint_refused partition={name} at={at} error=\"{error}\"");
                }
                Err(_) => {}
            }
        });
    }

    /// Makes the state as of the end of a segment again where the store had no space for it, and the segment could go with
    /// it: nobody might write any more, so that no later one comes to lie below what is kept. `through` is the last entry
    /// that nobody needs.
    ///
    /// # Errors
    /// `Storage` and `Unreadable`.
    pub(super) async fn store_missing(&self, through: LogIndex) -> Result<(), PartitionError> {
        let Some(mut made) = self.missing.try_lock() else {
            return Ok(());
        };
        let segments = self.reader.segments();
        let ends = segments.iter().filter(|segment| segment.sealed);
        let end = ends
            .map(|segment| segment.last)
            .rfind(|last| last.index <= through);
        let stored = self.reader.checkpoint(through)?;
        let covered = stored.map_or(LogIndex(0), |checkpoint| checkpoint.at.index);
        let Some(end) = end.filter(|end| end.index > covered.max(self.reader.state().purged.index)) else {
            *made = None;
            return Ok(());
        };
        let checkpoint = match made.take().filter(|made| made.at == end) {
            Some(made) => made,
            None => self.state_at(end, covered).await?,
        };
        log::info!("event=checkpoint_made_again partition={} at={end}", self.name);
        self.store(checkpoint.clone(), |_| {});
        *made = Some(checkpoint);
        Ok(())
    }

    /// The state as of an entry in the log, from the checkpoint at `covered` on.
    async fn state_at(&self, end: LogId, covered: LogIndex) -> Result<Checkpoint, PartitionError> {
        let log = self.reader.state();
        if covered < log.purged.index || (covered == LogIndex(0) && log.offset_start > Offset(0)) {
            return Err(PartitionError::Unreadable(
                "the log starts after its checkpoint".into(),
            ));
        }
        let mut state = starting_state(&*self.reader, end.index)?;
        while state.applied.index < end.index {
            let range = state.applied.index.next()..end.index.next();
            let entries = self.reader.entries(range, CHUNK_BYTES)?.get().await?;
            if entries.is_empty() {
                return Err(LogError::Truncated.into());
            }
            for entry in &entries {
                state.apply(entry, |_| {}).map_err(PartitionError::Unreadable)?;
            }
            futures_lite::future::yield_now().await;
        }
        Ok(state.checkpoint())
    }

    /// As [`Partition::checkpoint`], if enough was applied to be worth it.
    pub(super) fn checkpoint_if_worthwhile(&self) {
        let worthwhile = self.ledger().pace.is_worthwhile();
        if worthwhile {
            self.checkpoint();
        }
    }
}
