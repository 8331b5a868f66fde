//! Who reads on from where he stopped, and how far ahead of him to fetch.

use crate::key::PartitionKey;
use chronik_core::Offset;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Readers that are remembered.
const STREAMS_MAX: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Stream {
    partition: PartitionKey,
    next: Offset,
    blocks: u32,
}

/// The readers of late, by where each would go on.
#[derive(Debug)]
pub(super) struct Streams {
    streams: Mutex<VecDeque<Stream>>,
    blocks_max: u32,
}

impl Streams {
    pub(super) const fn new(blocks_max: u32) -> Self {
        Self {
            streams: Mutex::new(VecDeque::new()),
            blocks_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most blocks of one request.
    pub(super) const fn blocks_max(&self) -> u32 {
        self.blocks_max
    }

    /// How many blocks to have from `start` on: one for a reader that was not seen before, twice as many as the last
    /// time for one that goes on.
    pub(super) fn ahead(&self, partition: PartitionKey, start: Offset) -> u32 {
        let mut streams = self.lock();
        let known = streams
            .iter()
            .position(|stream| stream.partition == partition && stream.next == start)
            .and_then(|at| streams.remove(at));
        let blocks = known.map_or(1, |stream| (stream.blocks * 2).min(self.blocks_max));
        if streams.len() >= STREAMS_MAX {
            streams.pop_front();
        }
        streams.push_back(Stream {
            partition,
            next: start,
            blocks,
        });
        blocks
    }

    /// The reader that was seen last in this partition stopped here.
    pub(super) fn note(&self, partition: PartitionKey, next: Offset) {
        let mut streams = self.lock();
        if let Some(stream) = streams
            .iter_mut()
            .rev()
            .find(|stream| stream.partition == partition)
        {
            stream.next = next;
        }
    }

    /// Requests of readers that go on end at multiples of the largest request, so that they are few.
    pub(super) const fn aligned(&self, block: u32) -> u32 {
        block.div_ceil(self.blocks_max).saturating_mul(self.blocks_max)
    }
}
