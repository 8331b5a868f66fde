//! Blocks in memory, and those on their way: who comes second waits for the first one's request.

use crate::error::TierError;
use bytes::Bytes;
use event_listener::Event;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A block of an object.
pub(super) type BlockKey = (Arc<str>, u32);

/// A block on its way.
#[derive(Default)]
pub(super) struct Flight {
    result: Mutex<Option<Result<Bytes, TierError>>>,
    landed: Event,
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").finish_non_exhaustive()
    }
}

impl Flight {
    fn result(&self) -> Option<Result<Bytes, TierError>> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn wait(&self) -> Result<Bytes, TierError> {
        loop {
            let landed = self.landed.listen();
            if let Some(result) = self.result() {
                return result;
            }
            landed.await;
        }
    }
}

/// Where a block stands among those that go when there is no room: first those that a reader was done with and nobody asked for
/// since, then those that nobody asked for for longest. What was read ahead is older than what was read just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    wanted: bool,
    stamp: u64,
}

#[derive(Debug, Default)]
struct State {
    ready: HashMap<BlockKey, (Bytes, Place)>,
    order: BTreeMap<Place, BlockKey>,
    flights: HashMap<BlockKey, Arc<Flight>>,
    bytes: u64,
    stamp: u64,
}

/// The blocks of a node.
#[derive(Debug)]
pub(super) struct Blocks {
    state: Mutex<State>,
    bytes_max: u64,
}

/// A block that is there, or on its way.
#[derive(Debug)]
pub(super) enum Block {
    Ready(Bytes),
    Flying(Arc<Flight>),
}

impl Block {
    pub(super) async fn get(self) -> Result<Bytes, TierError> {
        match self {
            Self::Ready(bytes) => Ok(bytes),
            Self::Flying(flight) => flight.wait().await,
        }
    }
}

/// Blocks that their holder must land. Those that it does not, fail.
#[derive(Debug)]
pub(super) struct Claim {
    blocks: Arc<Blocks>,
    object: Arc<str>,
    numbers: Vec<u32>,
}

impl Blocks {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            state: Mutex::default(),
            bytes_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block `number`. Where it is neither there nor on its way, it is the caller's to land, and so are those after it up
    /// to `end` that are not either: a reader for whom was read ahead asks for nothing, or each block of his would ask for
    /// one more.
    pub(super) fn need(self: &Arc<Self>, object: &Arc<str>, number: u32, end: u32) -> (Block, Claim) {
        let mut claim = self.nothing(object);
        let mut state = self.lock();
        let first = state.claim(&mut claim, number);
        if !claim.is_empty() {
            for number in number.saturating_add(1)..end {
                state.claim(&mut claim, number);
            }
        }
        drop(state);
        (first, claim)
    }

    /// Those of these blocks that are neither there nor on their way, for the caller to land.
    pub(super) fn claim(self: &Arc<Self>, object: &Arc<str>, numbers: Range<u32>) -> Claim {
        let mut claim = self.nothing(object);
        let mut state = self.lock();
        for number in numbers {
            state.claim(&mut claim, number);
        }
        drop(state);
        claim
    }

    /// A reader who goes on is done with these.
    pub(super) fn done_with(&self, object: &Arc<str>, numbers: Range<u32>) {
        let mut state = self.lock();
        for number in numbers {
            state.put_at(&(Arc::clone(object), number), false);
        }
    }

    fn nothing(self: &Arc<Self>, object: &Arc<str>) -> Claim {
        Claim {
            blocks: Arc::clone(self),
            object: Arc::clone(object),
            numbers: Vec::new(),
        }
    }

    fn land(&self, key: &BlockKey, result: Result<Bytes, TierError>) {
        let flight = {
            let mut state = self.lock();
            if let Ok(bytes) = &result {
                state.keep(key.clone(), bytes.clone(), self.bytes_max);
            }
            state.flights.remove(key)
        };
        if let Some(flight) = flight {
            *flight.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            flight.landed.notify(usize::MAX);
        }
    }
}

impl State {
    fn claim(&mut self, claim: &mut Claim, number: u32) -> Block {
        let key = (Arc::clone(&claim.object), number);
        if let Some(bytes) = self.ready_now(&key) {
            return Block::Ready(bytes);
        }
        let flight = self.flights.entry(key).or_insert_with(|| {
            claim.numbers.push(number);
            Arc::default()
        });
        Block::Flying(Arc::clone(flight))
    }

    fn next_place(&mut self, wanted: bool) -> Place {
        self.stamp += 1;
        Place {
            wanted,
            stamp: self.stamp,
        }
    }

    fn ready_now(&mut self, key: &BlockKey) -> Option<Bytes> {
        self.put_at(key, true)
    }

    /// Gives a block a new place.
    fn put_at(&mut self, key: &BlockKey, wanted: bool) -> Option<Bytes> {
        let new = self.next_place(wanted);
        let (bytes, place) = self.ready.get_mut(key)?;
        self.order.remove(place);
        *place = new;
        let bytes = bytes.clone();
        self.order.insert(new, key.clone());
        Some(bytes)
    }

    fn keep(&mut self, key: BlockKey, bytes: Bytes, bytes_max: u64) {
        let place = self.next_place(true);
        self.bytes += bytes.len() as u64;
        self.order.insert(place, key.clone());
        if let Some((old, place)) = self.ready.insert(key, (bytes, place)) {
            self.bytes -= old.len() as u64;
            self.order.remove(&place);
        }
        while self.bytes > bytes_max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            if let Some((bytes, _)) = self.ready.remove(&oldest) {
                self.bytes -= bytes.len() as u64;
            }
        }
    }
}

impl Claim {
    /// The numbers that are still to be landed, as runs of at most `len_max`.
    pub(super) fn runs(&self, len_max: u32) -> Vec<Range<u32>> {
        let mut runs: Vec<Range<u32>> = Vec::new();
        for number in &self.numbers {
            match runs.last_mut() {
                Some(run) if run.end == *number && run.end - run.start < len_max => run.end += 1,
                _ => runs.push(*number..number.saturating_add(1)),
            }
        }
        runs
    }

    /// Whether the block is still to be landed.
    pub(super) fn has(&self, number: u32) -> bool {
        self.numbers.contains(&number)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Lands one block.
    pub(super) fn land(&mut self, number: u32, result: Result<Bytes, TierError>) {
        self.numbers.retain(|other| *other != number);
        self.blocks.land(&(Arc::clone(&self.object), number), result);
    }

    /// Takes some of the numbers out, to be landed apart.
    pub(super) fn split(&mut self, run: &Range<u32>) -> Self {
        let (numbers, rest) = self.numbers.iter().partition(|number| run.contains(number));
        self.numbers = rest;
        Self {
            blocks: Arc::clone(&self.blocks),
            object: Arc::clone(&self.object),
            numbers,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        for number in std::mem::take(&mut self.numbers) {
            let key = (Arc::clone(&self.object), number);
            self.blocks.land(&key, Err(TierError::Closed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Blocks;
    use bytes::Bytes;
    use std::sync::Arc;

    #[test]
    fn what_a_reader_is_done_with_goes_before_what_was_read_ahead_of_him() {
        let (blocks, object) = (Arc::new(Blocks::new(4)), Arc::from("object"));
        let land = |number: u32| {
            let mut claim = blocks.claim(&object, number..number + 1);
            assert!(!claim.is_empty(), "block {number} was there");
            claim.land(number, Ok(Bytes::from_static(b"b")));
        };
        let is_there = |number: u32| blocks.claim(&object, number..number + 1).is_empty();
        (0..4).for_each(land);
        assert!(is_there(0) && is_there(1), "they are read");
        blocks.done_with(&object, 0..2);
        land(4);
        land(5);
        assert!((2..6).all(is_there));
        blocks.done_with(&object, 2..3);
        assert!(is_there(2), "somebody else asks for it");
        land(6);
        assert!(
            is_there(2) && !is_there(3),
            "the oldest of those that are wanted goes"
        );
    }
}
