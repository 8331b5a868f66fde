//! A state machine that applies a log up to its commit index, and takes and restores checkpoints.

use super::oracle::{At, Oracle};
use crate::world::locked;
use bytes::{BufMut, Bytes, BytesMut};
use chronik_core::consensus::{ConsensusGroup, Progress, Role};
use chronik_core::log_store::Checkpoint;
use chronik_core::{Entry, LogError, LogId, LogIndex, LogReader, Offset, Watch};
use std::sync::{Arc, Mutex};

/// The state: a digest of all entries so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MachineState {
    pub(super) applied: LogId,
    pub(super) next_offset: Offset,
    digest: u64,
}

impl MachineState {
    fn apply(&mut self, entry: &Entry) {
        let crc = crc32c::crc32c(&entry.payload);
        let facts = [
            entry.id.term.0,
            entry.id.index.0,
            entry.kind as u64,
            u64::from(crc),
        ];
        for fact in facts {
            self.digest = (self.digest ^ fact)
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(7);
        }
        self.applied = entry.id;
        self.next_offset = entry.end_offset();
    }

    /// The state as a checkpoint; the engine adds its own part.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        let mut data = BytesMut::new();
        data.put_u64(self.digest);
        Checkpoint {
            at: self.applied,
            next_offset: self.next_offset,
            data: data.freeze(),
            consensus: Bytes::new(),
        }
    }

    fn restored(checkpoint: &Checkpoint) -> Self {
        let digest = checkpoint.data.get(..8).and_then(|bytes| bytes.try_into().ok());
        Self {
            applied: checkpoint.at,
            next_offset: checkpoint.next_offset,
            digest: u64::from_be_bytes(digest.unwrap_or_default()),
        }
    }
}

/// The machine of one replica in one process.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) at: At,
    pub(super) oracle: Oracle,
    pub(super) reader: Arc<dyn LogReader>,
    pub(super) state: Arc<Mutex<MachineState>>,
}

impl Machine {
    /// Applies what is committed for as long as the replica runs.
    pub(super) async fn run(self, group: Arc<dyn ConsensusGroup>) {
        let watch: Watch<Progress> = group.watch();
        if self.restore().is_err() {
            return;
        }
        loop {
            let (progress, version) = watch.versioned();
            while self.applied() < progress.commit {
                if self.advance(progress.commit).await.is_err() {
                    return;
                }
            }
            if progress.role == Role::Stopped {
                return;
            }
            watch.changed(version).await;
        }
    }

    fn applied(&self) -> LogIndex {
        locked(&self.state).applied.index
    }

    /// Applies some entries, or takes a checkpoint in place of those that are gone.
    async fn advance(&self, commit: LogIndex) -> Result<(), ()> {
        let from = self.applied().next();
        let read = match self.reader.entries(from..commit.next(), 1 << 16) {
            Ok(read) => read.get().await,
            Err(error) => Err(error),
        };
        match read {
            Ok(entries) if entries.is_empty() => {
                self.complain(format!("entry {from} is committed and cannot be read"));
                Err(())
            }
            Ok(entries) => {
                entries.iter().try_for_each(|entry| self.apply(entry))?;
                Ok(())
            }
            Err(LogError::Compacted { .. }) => self.restore(),
            // The log was cut or closed while it was read; the next look tells.
            Err(LogError::Truncated) => Ok(()),
            Err(_) => Err(()),
        }
    }

    fn apply(&self, entry: &Entry) -> Result<(), ()> {
        let mut state = locked(&self.state);
        if entry.id.index != state.applied.index.next() || entry.base_offset != state.next_offset {
            let what = format!(
                "entry {} (offset {}) where {} (offset {}) is next",
                entry.id,
                entry.base_offset,
                state.applied.index.next(),
                state.next_offset
            );
            drop(state);
            self.complain(what);
            return Err(());
        }
        state.apply(entry);
        let digest = state.digest;
        drop(state);
        self.oracle.on_apply(self.at, entry, digest);
        Ok(())
    }

    /// Takes the newest checkpoint, where it is newer than the state.
    fn restore(&self) -> Result<(), ()> {
        let newest = self.reader.checkpoint(LogIndex(u64::MAX));
        let Ok(newest) = newest else { return Err(()) };
        let purged = self.reader.state().purged.index;
        let mut state = locked(&self.state);
        match newest {
            Some(checkpoint) if checkpoint.at.index > state.applied.index => {
                *state = MachineState::restored(&checkpoint);
                self.oracle.on_restore(self.at, checkpoint.at.index, state.digest);
                Ok(())
            }
            _ if purged > state.applied.index => {
                let applied = state.applied.index;
                drop(state);
                let what = format!(
                    "node {} applied up to {applied}, its log begins after {purged}, and no checkpoint leads there",
                    self.at.node
                );
                self.oracle.violate("CS-SNP-05", what);
                Err(())
            }
            _ => Ok(()),
        }
    }

    fn complain(&self, what: String) {
        self.oracle
            .violate("CS-SM-02", format!("node {}: {what}", self.at.node));
    }
}
