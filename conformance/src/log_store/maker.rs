//! Makes entries whose bytes tell where they belong.

use crate::model::GroupModel;
use crate::world::Prng;
use bytes::Bytes;
use chronik_core::log_store::Checkpoint;
use chronik_core::{Entry, EntryKind, GroupId, LogId, LogIndex, Term};

/// Time of the first entry.
const FIRST_MS: i64 = 1_700_000_000_000;

/// Makes entries for groups.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    prng: Prng,
    nonce: u64,
}

impl Maker {
    pub(super) const fn new(prng: Prng) -> Self {
        Self { prng, nonce: 0 }
    }

    /// Bytes that no other call makes: a mixed-up, stale or torn payload cannot look right.
    pub(super) fn bytes(&mut self, group: GroupId, size: usize) -> Bytes {
        self.nonce += 1;
        let mut bytes = vec![0; size];
        self.prng.fill(&mut bytes);
        let label = format!("g{} n{};", group.0, self.nonce);
        for (to, from) in bytes.iter_mut().zip(label.bytes()) {
            *to = from;
        }
        Bytes::from(bytes)
    }

    /// Entries that continue `model` in `term`, one for each size; some occupy no offsets.
    pub(super) fn entries(
        &mut self,
        group: GroupId,
        model: &GroupModel,
        term: Term,
        sizes: &[usize],
    ) -> Vec<Entry> {
        let state = model.state();
        let (mut index, mut offset) = (state.last.index, state.offset_end);
        sizes
            .iter()
            .map(|size| {
                index = index.next();
                let kind = match self.prng.below(8) {
                    0 => EntryKind::Blank,
                    1 => EntryKind::Command,
                    2 => EntryKind::Membership,
                    _ => EntryKind::Data,
                };
                let entry = self.entry(group, LogId { term, index }, kind, *size);
                let entry = Entry {
                    base_offset: offset,
                    ..entry
                };
                offset = entry.end_offset();
                entry
            })
            .collect()
    }

    /// Data entries alone.
    pub(super) fn data(
        &mut self,
        group: GroupId,
        model: &GroupModel,
        term: Term,
        sizes: &[usize],
    ) -> Vec<Entry> {
        let state = model.state();
        let (mut index, mut offset) = (state.last.index, state.offset_end);
        sizes
            .iter()
            .map(|size| {
                index = index.next();
                let entry = self.entry(group, LogId { term, index }, EntryKind::Data, *size);
                let entry = Entry {
                    base_offset: offset,
                    ..entry
                };
                offset = entry.end_offset();
                entry
            })
            .collect()
    }

    fn entry(&mut self, group: GroupId, id: LogId, kind: EntryKind, size: usize) -> Entry {
        let data = kind == EntryKind::Data;
        let jitter = i64::try_from(self.prng.below(4000)).unwrap_or(0);
        let at_ms = FIRST_MS + i64::try_from(id.index.0).unwrap_or(0) * 1000 + jitter;
        Entry {
            id,
            kind,
            base_offset: chronik_core::Offset(0),
            record_count: if data {
                u32::try_from(self.prng.between(1, 5)).unwrap_or(1)
            } else {
                0
            },
            max_timestamp_ms: if data { at_ms } else { -1 },
            payload: self.bytes(group, size),
        }
    }

    /// A checkpoint of the state after `index`, which the log has.
    pub(super) fn checkpoint(
        &mut self,
        group: GroupId,
        model: &GroupModel,
        index: LogIndex,
        size: usize,
    ) -> Option<Checkpoint> {
        let term = model.term_at(index).ok()?;
        let next_offset = match model.entries(&(index..index.next()), 0) {
            Ok(run) => run.first()?.end_offset(),
            Err(_) => model.state().offset_start,
        };
        Some(Checkpoint {
            at: LogId { term, index },
            next_offset,
            data: self.bytes(group, size - size / 8),
            consensus: self.bytes(group, size / 8),
        })
    }
}
