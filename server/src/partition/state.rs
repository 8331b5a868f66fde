//! The replicated state of a partition: what apply makes of the log, the same on every replica.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chronik_core::log_store::Checkpoint;
use chronik_core::{Entry, EntryKind, LogId, Offset};
use chronik_storage_object::TierState;
use chronik_storage_object::state::Applied;

use crate::kafka::record::batch::Batches;
use crate::kafka::record::{BatchView, ProducerFields};

use super::command::Command;
use super::producer_state::{BATCHES_KEPT, Producer, ProducerBatch, ProducerTable};

/// The first byte of a checkpoint.
const CHECKPOINT_VERSION: u8 = 2;
/// The first byte of a checkpoint from before there was a tier.
const CHECKPOINT_VERSION_UNTIERED: u8 = 1;

/// The state as of one entry. Built by [`PartitionState::apply`] alone, live and in replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartitionState {
    /// The last entry that was applied.
    pub(super) applied: LogId,
    /// The offset after the last applied record: the high watermark.
    pub(super) next_offset: Offset,
    /// The first offset that is served.
    pub(super) log_start: Offset,
    /// The idempotent producers.
    pub(super) producers: ProducerTable,
    /// What is in the object tier.
    pub(super) tier: TierState,
}

/// What an entry asks of this replica beyond the state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// The log start moved: the prefix can be dropped.
    pub(super) log_start_moved: bool,
    /// What is in the tier changed.
    pub(super) tier_changed: bool,
    /// Local data is not needed any more: the prefix can be dropped.
    pub(super) local_start_moved: bool,
    /// The active segment shall end.
    pub(super) roll: bool,
}

impl Effects {
    /// Both together.
    pub(super) fn join(&mut self, other: Self) {
        self.log_start_moved |= other.log_start_moved;
        self.tier_changed |= other.tier_changed;
        self.local_start_moved |= other.local_start_moved;
        self.roll |= other.roll;
    }
}

impl PartitionState {
    /// The state before the first entry of a log that starts at this offset.
    pub(super) fn new(offset_start: Offset) -> Self {
        let producers = ProducerTable::default();
        Self {
            applied: LogId::default(),
            next_offset: offset_start,
            log_start: offset_start,
            producers,
            tier: TierState::default(),
        }
    }

    /// Applies the next entry. `settled` is called for each batch of an idempotent producer.
    ///
    /// # Errors
    /// A text that says what cannot be read; the state is then of no use any more.
    ///
    /// # Panics
    /// If the entry is not the next one: entries are pulled in order.
    pub(super) fn apply(
        &mut self,
        entry: &Entry,
        mut settled: impl FnMut(&ProducerFields),
    ) -> Result<Effects, Arc<str>> {
        assert_eq!(
            entry.id.index,
            self.applied.index.next(),
            "entries are applied in order"
        );
        assert_eq!(
            entry.base_offset, self.next_offset,
            "offsets continue from entry to entry"
        );
        let effects = match entry.kind {
            EntryKind::Data => self.apply_data(entry, &mut settled)?,
            EntryKind::Command => self.apply_command(entry)?,
            EntryKind::Blank | EntryKind::Membership => Effects::default(),
        };
        self.applied = entry.id;
        self.next_offset = entry.end_offset();
        Ok(effects)
    }

    /// Notes the producers of an entry's batches.
    fn apply_data(
        &mut self,
        entry: &Entry,
        settled: &mut impl FnMut(&ProducerFields),
    ) -> Result<Effects, Arc<str>> {
        let mut offset = entry.base_offset.0;
        for batch in Batches::new(&entry.payload) {
            let batch = batch.map_err(|error| unreadable(entry, &error.to_string()))?;
            if batch.base_offset() != offset {
                return Err(unreadable(
                    entry,
                    "its batches do not carry the offsets of the entry",
                ));
            }
            if let Some(fields) = ProducerFields::of(&batch) {
                self.producers.note(fields, producer_batch(&batch));
                settled(&fields);
            }
            offset = batch.last_offset().saturating_add(1);
        }
        if offset != entry.end_offset().0 {
            return Err(unreadable(entry, "its batches do not fill its offsets"));
        }
        Ok(Effects::default())
    }

    /// Notes the producers of an entry, of whatever place in the log.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub(super) fn note_batches(&mut self, entry: &Entry) -> Result<(), Arc<str>> {
        self.apply_data(entry, &mut |_| {}).map(|_| ())
    }

    /// Does what the leader decided.
    fn apply_command(&mut self, entry: &Entry) -> Result<Effects, Arc<str>> {
        let mut effects = Effects::default();
        match Command::decode(entry.payload.clone())
            .ok_or_else(|| unreadable(entry, "its command is unknown"))?
        {
            Command::AdvanceLogStart(to) => {
                let to = to.min(self.next_offset);
                effects.log_start_moved = to > self.log_start;
                self.log_start = self.log_start.max(to);
                effects.tier_changed = self.tier.remove_below(self.log_start) != Applied::Ignored;
            }
            Command::Roll => effects.roll = true,
            Command::Tier(command) => {
                let applied = self.tier.apply(&command);
                effects.tier_changed = applied != Applied::Ignored;
                effects.local_start_moved = matches!(applied, Applied::DropLocal(_));
                // A segment that was uploaded while the log start moved past it is garbage at once.
                self.tier.remove_below(self.log_start);
            }
            Command::ForgetProducers(producers) => {
                for (id, last_base_offset) in producers {
                    self.producers.forget(id, last_base_offset);
                }
            }
        }
        Ok(effects)
    }

    /// The state as a checkpoint of the last applied entry. Equal states give equal bytes.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        let tier = self.tier.encode();
        let mut out =
            BytesMut::with_capacity(21 + tier.len() + self.producers.len() * (12 + BATCHES_KEPT * 24));
        out.put_u8(CHECKPOINT_VERSION);
        out.put_i64(self.log_start.0);
        // A state of 4 GiB would be one of more segments than can be uploaded.
        out.put_u32(tier.len() as u32);
        out.put_slice(&tier);
        for (id, producer) in self.producers.sorted() {
            out.put_i64(id);
            out.put_i16(producer.epoch);
            // At most BATCHES_KEPT, so that it fits.
            out.put_u8(producer.batches.len() as u8);
            for batch in &producer.batches {
                out.put_i32(batch.base_sequence);
                out.put_i32(batch.last_sequence);
                out.put_i64(batch.base_offset);
                out.put_i64(batch.max_timestamp_ms);
            }
        }
        Checkpoint {
            at: self.applied,
            next_offset: self.next_offset,
            data: out.freeze(),
            consensus: Bytes::new(),
        }
    }

    /// Reads a checkpoint; none if it is not one that this version wrote.
    pub(super) fn from_checkpoint(checkpoint: &Checkpoint) -> Option<Self> {
        let mut data = checkpoint.data.clone();
        let version = data.try_get_u8().ok()?;
        let log_start = Offset(data.try_get_i64().ok()?);
        let tier = match version {
            CHECKPOINT_VERSION => {
                let len = data.try_get_u32().ok()? as usize;
                let tier = (len <= data.len()).then(|| data.split_to(len))?;
                TierState::decode(&tier).ok()?
            }
            CHECKPOINT_VERSION_UNTIERED => TierState::default(),
            _ => return None,
        };
        let mut producers = ProducerTable::default();
        while data.has_remaining() {
            let (id, producer) = read_producer(&mut data)?;
            producers.restore(id, producer);
        }
        let valid = log_start <= checkpoint.next_offset;
        valid.then_some(Self {
            applied: checkpoint.at,
            next_offset: checkpoint.next_offset,
            log_start,
            producers,
            tier,
        })
    }
}

/// Reads one producer of a checkpoint.
fn read_producer(data: &mut Bytes) -> Option<(i64, Producer)> {
    let id = data.try_get_i64().ok()?;
    let epoch = data.try_get_i16().ok()?;
    let count = usize::from(data.try_get_u8().ok()?);
    if count == 0 || count > BATCHES_KEPT {
        return None;
    }
    let mut batches = VecDeque::with_capacity(count);
    for _ in 0..count {
        batches.push_back(ProducerBatch {
            base_sequence: data.try_get_i32().ok()?,
            last_sequence: data.try_get_i32().ok()?,
            base_offset: data.try_get_i64().ok()?,
            max_timestamp_ms: data.try_get_i64().ok()?,
        });
    }
    Some((id, Producer { epoch, batches }))
}

/// What the table keeps of a batch in the log.
fn producer_batch(batch: &BatchView<'_>) -> ProducerBatch {
    ProducerBatch {
        base_sequence: batch.base_sequence(),
        last_sequence: batch.last_sequence(),
        base_offset: batch.base_offset(),
        max_timestamp_ms: batch.max_timestamp_ms(),
    }
}

/// Names the entry that cannot be read.
fn unreadable(entry: &Entry, what: &str) -> Arc<str> {
    format!("entry {} cannot be applied: {what}", entry.id).into()
}
