//! Follows the metadata group's log and applies it.

use super::{ApplyStatus, Controller};
use crate::cluster::error::OpenError;
use crate::cluster::image::ClusterImage;
use crate::cluster::state::{Envelope, State};
use chronik_core::consensus::{ConsensusError, Maintenance, Role};
use chronik_core::log_store::{Checkpoint, Purge};
use chronik_core::{Entry, EntryKind, LogError, LogId, LogIndex, LogReader, Offset};
use std::ops::Range;
use std::sync::Arc;

/// How much is read at a time.
const READ_BYTES: u64 = 1 << 20;
/// How many entries are applied between checkpoints; the log is purged behind each.
const CHECKPOINT_ENTRIES: u64 = 1000;

/// The state machine on its way through the log.
#[derive(Debug)]
pub(super) struct Applier {
    state: State,
    applied: LogId,
    checkpointed: LogIndex,
    /// The store did not take the state when it was given last.
    refused: bool,
}

impl Applier {
    /// Starts from the newest checkpoint, or from the beginning of the log.
    pub(super) fn restore(reader: &dyn LogReader) -> Result<Self, OpenError> {
        let purged = reader.state().purged;
        let (state, applied) = match reader.checkpoint(LogIndex(u64::MAX))? {
            Some(checkpoint) => (State::from_bytes(&checkpoint.data)?, checkpoint.at),
            None => (State::default(), LogId::default()),
        };
        if applied.index < purged.index {
            let first = purged.index.next();
            return Err(OpenError::Log(LogError::Compacted { first }));
        }
        Ok(Self {
            state,
            applied,
            checkpointed: applied.index,
            refused: false,
        })
    }

    pub(super) fn image(&self) -> Arc<ClusterImage> {
        Arc::new(ClusterImage {
            applied: self.applied.index,
            state: self.state.clone(),
        })
    }

    /// Runs until the group is closed or the log cannot be followed.
    pub(super) async fn run(mut self, controller: Arc<Controller>) {
        let end = self.follow(&controller).await;
        let why: Arc<str> = match &end {
            ApplyStatus::Failed(why) => {
                log::error!("event=metadata_failed applied={} error=\"{why}\"", self.applied);
                Arc::clone(why)
            }
            _ => "the metadata group is closed".into(),
        };
        controller.pending.end(&why);
        controller.status.update(|status| {
            *status = end;
            true
        });
    }

    async fn follow(&mut self, controller: &Controller) -> ApplyStatus {
        let watch = controller.group.watch();
        loop {
            let applied = self.applied.index;
            let progress = watch
                .wait_for(|progress| progress.commit > applied || progress.role == Role::Stopped)
                .await;
            if progress.commit <= applied {
                return ApplyStatus::Closed;
            }
            match self.advance(controller, progress.commit).await {
                Ok(()) => self.maybe_checkpoint(controller).await,
                Err(LogError::Closed) => return ApplyStatus::Closed,
                Err(error) => return ApplyStatus::Failed(error.to_string().into()),
            }
        }
    }

    /// Applies a run of entries, publishes the image, and only then answers who waits: an answer is visible.
    async fn advance(&mut self, controller: &Controller, commit: LogIndex) -> Result<(), LogError> {
        let range = self.applied.index.next()..commit.next();
        let entries = match read(&*controller.reader, range).await {
            Err(LogError::Compacted { first }) => return self.jump(controller, first),
            other => other?,
        };
        if entries.is_empty() {
            return Err(LogError::Truncated);
        }
        let mut answers = Vec::with_capacity(entries.len());
        for entry in &entries {
            answers.extend(self.apply(entry)?);
        }
        controller.image.update(|image| {
            *image = self.image();
            true
        });
        for (request, applied) in answers {
            controller.pending.resolve(request, applied);
        }
        Ok(())
    }

    /// The engine put a checkpoint in place of entries that were not applied here: what it holds is applied at once.
    fn jump(&mut self, controller: &Controller, first: LogIndex) -> Result<(), LogError> {
        let compacted = LogError::Compacted { first };
        let checkpoint = controller.reader.checkpoint(LogIndex(u64::MAX))?;
        let newer = |checkpoint: &Checkpoint| checkpoint.at.index.next() >= first;
        let checkpoint = checkpoint.filter(newer).ok_or(compacted)?;
        let unreadable =
            |error| LogError::UnsupportedFormat(format!("checkpoint {}: {error}", checkpoint.at));
        self.state = State::from_bytes(&checkpoint.data).map_err(unreadable)?;
        log::info!(
            "event=metadata_restored from={} to={}",
            self.applied,
            checkpoint.at
        );
        self.applied = checkpoint.at;
        self.checkpointed = checkpoint.at.index;
        controller.image.update(|image| {
            *image = self.image();
            true
        });
        Ok(())
    }

    fn apply(&mut self, entry: &Entry) -> Result<Option<Answer>, LogError> {
        assert_eq!(
            entry.id.index,
            self.applied.index.next(),
            "entries are applied in order"
        );
        let answer = match entry.kind {
            EntryKind::Command => {
                let envelope = Envelope::from_bytes(&entry.payload)
                    .map_err(|error| LogError::UnsupportedFormat(format!("entry {}: {error}", entry.id)))?;
                Some((envelope.request, self.state.apply(entry.id, envelope.command)))
            }
            EntryKind::Blank | EntryKind::Membership => None,
            EntryKind::Data => {
                let what = format!("entry {} of the metadata group holds records", entry.id);
                return Err(LogError::UnsupportedFormat(what));
            }
        };
        self.applied = entry.id;
        Ok(answer)
    }

    /// Stores the state and purges the log behind it. A failure is logged once, and tried again with each later entry: the
    /// log still holds everything.
    async fn maybe_checkpoint(&mut self, controller: &Controller) {
        if self.applied.index.0 - self.checkpointed.0 < CHECKPOINT_ENTRIES {
            return;
        }
        let at = self.applied;
        match self.checkpoint(controller).await {
            Ok(()) => {
                self.checkpointed = at.index;
                if std::mem::take(&mut self.refused) {
                    log::info!("event=metadata_checkpoint_taken_again at={at}");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.refused, true) {
                    log::warn!("event=metadata_checkpoint_failed at={at} error=\"{error}\"");
                }
            }
        }
    }

    async fn checkpoint(&self, controller: &Controller) -> Result<(), ConsensusError> {
        let checkpoint = Checkpoint {
            at: self.applied,
            next_offset: Offset(0),
            data: self.state.to_bytes().into(),
            consensus: bytes::Bytes::new(),
        };
        let group = &controller.group;
        group.maintain(Maintenance::Checkpoint(checkpoint))?.await?;
        let purge = Purge {
            through: self.applied,
            offset_start: Offset(0),
        };
        group.maintain(Maintenance::Purge(purge))?.await?;
        Ok(())
    }
}

async fn read(reader: &dyn LogReader, range: Range<LogIndex>) -> Result<Vec<Entry>, LogError> {
    reader.entries(range, READ_BYTES)?.get().await
}

type Answer = (u64, crate::cluster::state::Applied);
