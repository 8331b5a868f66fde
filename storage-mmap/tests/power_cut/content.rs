//! Entries that are known from their place alone, so that writer and judge need not talk about bytes.

use bytes::Bytes;
use chronik_conformance::world::Seed;
use chronik_core::log_store::SegmentPolicy;
use chronik_core::{Entry, EntryKind, LogId, Offset};

/// Small segments, so that a few seconds cross many.
pub(crate) const POLICY: SegmentPolicy = SegmentPolicy {
    segment_bytes: 256 << 10,
};

/// How many groups are written.
pub(crate) const GROUPS: u64 = 6;

const fn records(index: u64) -> u64 {
    1 + index % 3
}

/// The offset of the entry at `index`: the records of all before it.
pub(crate) fn offset_of(index: u64) -> Offset {
    let (rounds, rest) = ((index - 1) / 3, (index - 1) % 3);
    // Three indexes in a row have 2, 3 and 1 records.
    let sum = rounds * 6 + (1..=rest).map(records).sum::<u64>();
    Offset(i64::try_from(sum).unwrap_or(i64::MAX))
}

/// The entry of `group` at `id`.
pub(crate) fn entry(group: u64, id: LogId) -> Entry {
    let index = id.index.0;
    let mut prng = Seed(group).nth(index).nth(id.term.0).prng();
    let size = match prng.below(20) {
        0 => prng.index(60_000),
        1..4 => prng.index(9000),
        _ => prng.index(700),
    };
    let mut payload = vec![0; size];
    prng.fill(&mut payload);
    Entry {
        id,
        kind: EntryKind::Data,
        base_offset: offset_of(index),
        record_count: u32::try_from(records(index)).unwrap_or(1),
        max_timestamp_ms: i64::try_from(index).unwrap_or(0),
        payload: Bytes::from(payload),
    }
}
