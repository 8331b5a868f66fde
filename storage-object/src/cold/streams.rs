//! Who reads on from where he stopped, and how far ahead of him to fetch.

use super::{BLOCK_BYTES, ColdOptions};
use crate::key::PartitionKey;
use chronik_core::Offset;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Readers that are remembered.
const STREAMS_MAX: usize = 256;
/// Who has not read for this long has no share of the memory.
const ACTIVE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
struct Stream {
    id: u64,
    partition: PartitionKey,
    next: Offset,
    blocks: u32,
    /// The blocks that he read the last time.
    read: u32,
    seen: Duration,
}

#[derive(Debug, Default)]
struct State {
    streams: VecDeque<Stream>,
    last_id: u64,
}

/// The readers of late, by where each would go on.
#[derive(Debug)]
pub(super) struct Streams {
    state: Mutex<State>,
    request_blocks: u32,
    blocks_max: u32,
}

/// What one reader may have on its way and in memory before he reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// The reader.
    pub(super) id: u64,
    /// How many blocks to have from his place on.
    pub(super) blocks: u32,
    /// The most blocks that this may be.
    pub(super) share: u32,
    /// Requests end at multiples of so many blocks, so that they are few.
    unit: u32,
}

impl Streams {
    /// Seven eighths of the memory for blocks are there for reading ahead, shared among those who do; what is left is
    /// for what is read now, and for those who do not read on.
    pub(super) fn new(options: &ColdOptions) -> Self {
        let blocks = |bytes: u64| u32::try_from(bytes / BLOCK_BYTES).unwrap_or(u32::MAX).max(1);
        Self {
            state: Mutex::default(),
            request_blocks: blocks(options.request_bytes_max),
            blocks_max: blocks(options.memory_bytes / 8 * 7),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most blocks of one request.
    pub(super) const fn request_blocks(&self) -> u32 {
        self.request_blocks
    }

    /// How many blocks to have from `start` on: one for a reader that was not seen before, twice as many as the last
    /// time, or as he read then, for one that goes on, until he has his share.
    pub(super) fn window(&self, partition: PartitionKey, start: Offset, now: Duration) -> Window {
        let mut state = self.lock();
        let known = state
            .streams
            .iter()
            .position(|stream| stream.partition == partition && stream.next == start)
            .and_then(|at| state.streams.remove(at));
        let others = state
            .streams
            .iter()
            .filter(|stream| stream.blocks > 1 && now.saturating_sub(stream.seen) < ACTIVE)
            .count();
        let readers = u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1);
        let share = (self.blocks_max / readers).max(1);
        let blocks = known.map_or(1, |stream| {
            stream.blocks.max(stream.read).saturating_mul(2).min(share)
        });
        if state.streams.len() >= STREAMS_MAX {
            state.streams.pop_front();
        }
        state.last_id += 1;
        let id = state.last_id;
        state.streams.push_back(Stream {
            id,
            partition,
            next: start,
            blocks,
            read: 0,
            seen: now,
        });
        Window {
            id,
            blocks,
            share,
            unit: self.request_blocks.min(share / 2).max(1),
        }
    }

    /// The reader of this window has read all that there is.
    pub(super) fn end(&self, id: u64) {
        self.lock().streams.retain(|stream| stream.id != id);
    }

    /// The reader of this window stopped here, after so many blocks.
    pub(super) fn note(&self, id: u64, next: Offset, read: u32) {
        let mut state = self.lock();
        if let Some(stream) = state.streams.iter_mut().rev().find(|stream| stream.id == id) {
            stream.next = next;
            stream.read = read;
        }
    }
}

impl Window {
    /// Where what is asked for ahead of `from` ends, with `used` blocks of the window in objects before this one.
    pub(super) const fn end(&self, from: u32, used: u32) -> u32 {
        let left = self.blocks.saturating_sub(used);
        let end = from
            .saturating_add(left)
            .div_ceil(self.unit)
            .saturating_mul(self.unit);
        match end.saturating_sub(from).saturating_add(used) > self.share {
            true => end - self.unit,
            false => end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ACTIVE, Streams};
    use crate::cold::ColdOptions;
    use crate::key::PartitionKey;
    use chronik_core::Offset;
    use std::time::Duration;

    const NOW: Duration = Duration::from_secs(100);

    fn partition(number: u32) -> PartitionKey {
        PartitionKey {
            topic_id: 7,
            partition: number,
        }
    }

    /// Reads 16 times, one offset further each time; the last window.
    fn read_on(streams: &Streams, partition: PartitionKey, from: i64, now: Duration) -> super::Window {
        let mut window = streams.window(partition, Offset(from), now);
        for offset in from + 1..from + 16 {
            streams.note(window.id, Offset(offset), 1);
            window = streams.window(partition, Offset(offset), now);
        }
        window
    }

    #[test]
    fn a_window_grows_while_its_reader_goes_on_and_not_beyond_the_memory() {
        let streams = Streams::new(&ColdOptions::default());
        assert_eq!(streams.window(partition(0), Offset(0), NOW).blocks, 1);
        let window = read_on(&streams, partition(0), 1000, NOW);
        assert_eq!((window.blocks, window.share), (56, 56));
        assert_eq!(
            streams.window(partition(0), Offset(5), NOW).blocks,
            1,
            "a place that nobody stopped at"
        );
    }

    #[test]
    fn a_window_grows_from_what_its_reader_takes_at_a_time() {
        let streams = Streams::new(&ColdOptions::default());
        let window = streams.window(partition(0), Offset(0), NOW);
        streams.note(window.id, Offset(10), 10);
        assert_eq!(streams.window(partition(0), Offset(10), NOW).blocks, 20);
    }

    #[test]
    fn readers_share_the_memory_until_they_stop() {
        let streams = Streams::new(&ColdOptions::default());
        for number in 0..8 {
            read_on(&streams, partition(number), 0, NOW);
        }
        assert_eq!(read_on(&streams, partition(9), 0, NOW).blocks, 56 / 9);
        assert_eq!(read_on(&streams, partition(10), 0, NOW + ACTIVE).blocks, 56);
    }

    #[test]
    fn a_reader_who_has_read_all_leaves_the_memory_to_others() {
        let streams = Streams::new(&ColdOptions::default());
        let window = read_on(&streams, partition(0), 0, NOW);
        streams.end(window.id);
        assert_eq!(read_on(&streams, partition(0), 0, NOW).blocks, 56);
    }

    #[test]
    fn two_readers_of_one_partition_do_not_disturb_each_other() {
        let streams = Streams::new(&ColdOptions::default());
        let (mut first, mut second) = (0, 500);
        for _ in 0..4 {
            let one = streams.window(partition(0), Offset(first), NOW);
            let other = streams.window(partition(0), Offset(second), NOW);
            (first, second) = (first + 1, second + 1);
            streams.note(one.id, Offset(first), 1);
            streams.note(other.id, Offset(second), 1);
        }
        assert_eq!(streams.window(partition(0), Offset(first), NOW).blocks, 16);
        assert_eq!(streams.window(partition(0), Offset(second), NOW).blocks, 16);
    }

    #[test]
    fn what_is_asked_for_ends_at_whole_requests_and_within_the_share() {
        let streams = Streams::new(&ColdOptions::default());
        let window = read_on(&streams, partition(0), 0, NOW);
        assert_eq!(
            (window.end(0, 0), window.end(7, 0), window.end(8, 0)),
            (48, 48, 64)
        );
        // The next object, where 48 blocks of the window lie before it: a whole request does not fit.
        assert_eq!(
            (window.end(0, 48), window.end(0, 40), window.end(0, 32)),
            (0, 16, 16)
        );
        let small = super::Window {
            id: 0,
            blocks: 2,
            share: 48,
            unit: 16,
        };
        assert_eq!((small.end(0, 0), small.end(5, 0), small.end(15, 0)), (16, 16, 32));
        let narrow = super::Window {
            id: 0,
            blocks: 1,
            share: 1,
            unit: 1,
        };
        assert_eq!((narrow.end(0, 0), narrow.end(7, 0), narrow.end(7, 1)), (1, 8, 7));
    }
}
