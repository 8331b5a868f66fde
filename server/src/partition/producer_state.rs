//! What a partition remembers of idempotent producers: the last five batches of each (KIP-98).
//!
//! The table is part of the replicated state: every replica builds it in apply, and a checkpoint holds it. What is
//! proposed and not applied yet lies over it, on the leader alone, in [`InFlight`](super::in_flight::InFlight).

use std::collections::{HashMap, VecDeque};

use crate::kafka::record::ProducerFields;

use super::error::PartitionError;

/// The batches of a producer that are remembered, as in Kafka: a client has at most five in flight.
pub(super) const BATCHES_KEPT: usize = 5;

/// A batch of an idempotent producer that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProducerBatch {
    /// The sequence number of its first record.
    pub(super) base_sequence: i32,
    /// The sequence number of its last record.
    pub(super) last_sequence: i32,
    /// The offset of its first record.
    pub(super) base_offset: i64,
    /// Its greatest timestamp in milliseconds.
    pub(super) max_timestamp_ms: i64,
}

/// One producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Producer {
    /// The newest epoch that has written.
    pub(super) epoch: i16,
    /// The last batches of that epoch, oldest first; never empty.
    pub(super) batches: VecDeque<ProducerBatch>,
}

/// How far a producer has come: what the next batch is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProducerTail {
    /// The newest epoch.
    pub(super) epoch: i16,
    /// The last sequence number of that epoch.
    pub(super) last_sequence: i32,
}

/// The producers of a partition, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerTable {
    producers: HashMap<i64, Producer>,
}

impl ProducerTable {
    /// Notes a batch that was applied. What is in the log counts: nothing is checked here.
    pub(super) fn note(&mut self, fields: ProducerFields, batch: ProducerBatch) {
        let fresh = || Producer {
            epoch: fields.epoch,
            batches: VecDeque::with_capacity(BATCHES_KEPT),
        };
        let producer = self.producers.entry(fields.id).or_insert_with(fresh);
        if producer.epoch != fields.epoch {
            producer.epoch = fields.epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_KEPT {
            producer.batches.pop_front();
        }
        producer.batches.push_back(batch);
    }

    /// Puts back what a checkpoint held.
    pub(super) fn restore(&mut self, id: i64, producer: Producer) {
        self.producers.insert(id, producer);
    }

    /// How far a producer has come, none if it is not known.
    pub(super) fn tail(&self, id: i64) -> Option<ProducerTail> {
        let producer = self.producers.get(&id)?;
        let last = producer.batches.back()?;
        Some(ProducerTail {
            epoch: producer.epoch,
            last_sequence: last.last_sequence,
        })
    }

    /// The batch in the log that has exactly these producer fields, if it is remembered.
    pub(super) fn duplicate_of(&self, fields: &ProducerFields) -> Option<ProducerBatch> {
        let producer = self
            .producers
            .get(&fields.id)
            .filter(|producer| producer.epoch == fields.epoch)?;
        let same = |batch: &&ProducerBatch| {
            batch.base_sequence == fields.base_sequence && batch.last_sequence == fields.last_sequence
        };
        producer.batches.iter().find(same).copied()
    }

    /// Forgets a producer unless it has written past `last_base_offset`.
    pub(super) fn forget(&mut self, id: i64, last_base_offset: i64) {
        if self.last_base_offset(id) == Some(last_base_offset) {
            self.producers.remove(&id);
        }
    }

    /// Where a producer's newest batch starts.
    pub(super) fn last_base_offset(&self, id: i64) -> Option<i64> {
        self.producers
            .get(&id)?
            .batches
            .back()
            .map(|batch| batch.base_offset)
    }

    /// How many producers are remembered.
    pub(super) fn len(&self) -> usize {
        self.producers.len()
    }

    /// All producers in the order of their ids, so that equal tables are written as equal bytes.
    pub(super) fn sorted(&self) -> Vec<(i64, &Producer)> {
        let mut all: Vec<_> = self
            .producers
            .iter()
            .map(|(id, producer)| (*id, producer))
            .collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}

/// Whether a batch may follow `tail` (Kafka 4.3, ProducerAppendInfo). A producer that is not known may start with any
/// sequence number: its past may have been deleted.
///
/// # Errors
/// `InvalidProducerEpoch` for an older epoch; `OutOfOrderSequence` for a gap, or for a new epoch that does not start
/// with sequence number 0.
pub(super) fn check_follows(
    tail: Option<ProducerTail>,
    fields: &ProducerFields,
) -> Result<(), PartitionError> {
    let Some(tail) = tail else {
        return Ok(());
    };
    if fields.epoch < tail.epoch {
        return Err(PartitionError::InvalidProducerEpoch);
    }
    let expected = if fields.epoch > tail.epoch {
        0
    } else {
        next_sequence(tail.last_sequence)
    };
    if fields.base_sequence == expected {
        Ok(())
    } else {
        Err(PartitionError::OutOfOrderSequence)
    }
}

/// The sequence number after this one; 0 follows the greatest.
const fn next_sequence(sequence: i32) -> i32 {
    match sequence.checked_add(1) {
        Some(next) => next,
        None => 0,
    }
}
