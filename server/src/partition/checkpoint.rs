//! When the state is stored beside the log: how little a restart replays, and how far the log can be purged.

use chronik_core::LogIndex;
use chronik_core::consensus::Maintenance;

use super::open::Partition;

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
}

impl CheckpointPace {
    /// The state up to `covered` is stored.
    pub(super) const fn new(covered: LogIndex) -> Self {
        Self {
            covered,
            since_bytes: 0,
            last_bytes: 0,
        }
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
        self.since_bytes >= QUIET_BYTES.max(self.last_bytes.saturating_mul(SHARE))
    }
}

impl Partition {
    /// Stores the state as of the last applied entry, unless that was done. Nobody waits for it. Returns that entry.
    pub(super) fn checkpoint(&self) -> LogIndex {
        let checkpoint = {
            let mut ledger = self.ledger();
            let applied = ledger.state.applied.index;
            if applied <= ledger.pace.covered {
                return applied;
            }
            let checkpoint = ledger.state.checkpoint();
            ledger.pace = CheckpointPace::new(applied);
            ledger.pace.last_bytes = checkpoint.data.len() as u64;
            checkpoint
        };
        let applied = checkpoint.at.index;
        self.maintain(Maintenance::Checkpoint(checkpoint));
        applied
    }

    /// As [`Partition::checkpoint`], if enough was applied to be worth it.
    pub(super) fn checkpoint_if_worthwhile(&self) {
        let worthwhile = self.ledger().pace.is_worthwhile();
        if worthwhile {
            self.checkpoint();
        }
    }
}
