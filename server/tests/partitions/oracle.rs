//! What nobody may ever see, judged by everything that clients saw.

use crate::times::Asked;
use bytes::Bytes;
use chronik_conformance::check::Marks;
use chronik_conformance::survey::Breach;
use chronik_core::env::Clock;
use chronik_server::kafka::record::{BatchView, Batches, ProducerFields};
use chronik_server::partition::{Fetched, PartitionConfig, View};
use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bytes of a batch that the broker writes: base offset, length, leader epoch.
const STAMPED_BYTES: usize = 16;

/// A process of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) node: u64,
    pub(crate) start: u64,
    /// How many partitions the process opened before.
    pub(crate) opened: u64,
}

/// A batch that was acknowledged to a producer that asked for all replicas.
#[derive(Clone, Debug)]
pub(crate) struct Acked {
    pub(crate) base_offset: i64,
    /// As it was sent.
    pub(crate) batch: Bytes,
    /// The epoch of the leader that took it.
    pub(crate) epoch: i32,
    /// The answer told of a batch that was in the log before.
    pub(crate) is_duplicate: bool,
}

/// What was known when a request arrived at a replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    pub(crate) at: At,
    pub(crate) view: View,
    /// The local log started there.
    pub(crate) local_start: i64,
    /// The greatest that this process answered.
    high_watermark: i64,
    log_start: i64,
    /// The end of what leaders of this epoch and of older ones acknowledged.
    acked_end: i64,
    /// The greatest high watermark that anybody answered, and the newest epoch that anybody showed.
    seen_end: i64,
}

/// Lowest and greatest answers of the leaders of an epoch.
#[derive(Clone, Copy, Debug)]
struct Answers {
    lowest: (i64, i64),
    greatest: (i64, i64),
}

#[derive(Debug, Default)]
pub(crate) struct State {
    breaches: Vec<Breach>,
    pub(crate) acked: BTreeMap<i64, Acked>,
    acked_ends: BTreeMap<i32, i64>,
    pub(crate) seen: BTreeMap<i64, Bytes>,
    placed: BTreeMap<(i64, i16, i32), i64>,
    leaders: BTreeMap<i32, Answers>,
    processes: BTreeMap<At, (i64, i64)>,
    delete_asked: i64,
    /// Where the log starts for whatever reason was judged up to here.
    expired: i64,
    pub(crate) asked: Vec<Asked>,
    /// The newest epoch of the cluster that this one was restored from, and the end of what was restored.
    epochs_before: i32,
    pub(crate) restored: i64,
    digest: u64,
}

/// The judge of a run. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Oracle {
    state: Arc<Mutex<State>>,
    pub(crate) marks: Marks,
    clock: Arc<dyn Clock>,
    pub(crate) config: Arc<PartitionConfig>,
}

impl State {
    pub(crate) fn violate(&mut self, rule: &'static str, what: String) {
        if !self.breaches.iter().any(|breach| breach.rule == rule) {
            self.breaches.push(Breach { rule, what });
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        self.digest = bytes.iter().fold(self.digest, |digest, byte| {
            (digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    }

    fn log_start(&self) -> i64 {
        let starts = self.processes.values().map(|(_, start)| *start);
        starts.max().unwrap_or(0)
    }
}

impl Oracle {
    /// For partitions of this configuration, in the world of `clock`.
    pub(crate) fn new(config: &PartitionConfig, clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Arc::default(),
            marks: Marks::default(),
            clock,
            config: Arc::new(config.clone()),
        }
    }

    /// The judge of a cluster that begins with what this one had below `end`, in an epoch that this one never had.
    pub(crate) fn restored(&self, end: i64) -> Self {
        let mut before = self.lock();
        let epochs = before.leaders.keys().chain(before.acked_ends.keys());
        let epochs_before = epochs.max().copied().unwrap_or(0);
        let state = State {
            acked: before
                .acked
                .range(..end)
                .map(|(at, acked)| (*at, acked.clone()))
                .collect(),
            seen: before
                .seen
                .range(..end)
                .map(|(at, seen)| (*at, seen.clone()))
                .collect(),
            placed: before
                .placed
                .iter()
                .map(|(key, at)| (*key, *at))
                .filter(|(_, at)| *at < end)
                .collect(),
            delete_asked: before.delete_asked,
            expired: before.expired,
            epochs_before,
            restored: end,
            digest: before.digest,
            ..State::default()
        };
        // What the old cluster acknowledges from now on is nobody's.
        before.asked.clear();
        Self {
            state: Arc::new(Mutex::new(state)),
            ..self.clone()
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    fn deletes_by_retention(&self) -> bool {
        self.config.retention_bytes.is_some() || self.config.retention_ms.is_some()
    }

    pub(crate) fn violate(&self, rule: &'static str, what: impl Into<String>) {
        self.lock().violate(rule, what.into());
    }

    pub(crate) fn breaches(&self) -> Vec<Breach> {
        self.lock().breaches.clone()
    }

    /// A digest of all that was acknowledged and read.
    pub(crate) fn digest(&self) -> u64 {
        self.lock().digest
    }

    /// Some client asks for records below `to` to be deleted.
    pub(crate) fn on_delete_asked(&self, to: i64) {
        let mut state = self.lock();
        state.delete_asked = state.delete_asked.max(to);
    }

    /// Where the log starts at most, for all that was deleted; none where retention deletes as it sees fit.
    pub(crate) fn deleted_below(&self) -> Option<i64> {
        let asked = self.lock().delete_asked;
        (!self.deletes_by_retention()).then_some(asked)
    }

    /// The end of what was seen as committed.
    pub(crate) fn seen_end(&self) -> i64 {
        let state = self.lock();
        let greatest = state.processes.values().map(|(end, _)| *end);
        greatest.max().unwrap_or(0)
    }

    /// An offset among those that were acknowledged.
    pub(crate) fn acked_near(&self, offset: i64) -> Option<i64> {
        self.lock().acked.range(offset..).next().map(|(base, _)| *base)
    }

    pub(crate) fn acked_count(&self) -> usize {
        self.lock().acked.len()
    }

    /// The last batches that a producer had acknowledged, oldest first.
    pub(crate) fn last_acked_of(&self, id: i64, count: usize) -> Vec<(i64, Bytes)> {
        let state = self.lock();
        let acked = state.acked.iter().rev();
        last_of(acked.map(|(base, acked)| (*base, &acked.batch)), id, count)
    }

    /// From where on all batches below `end` were read.
    pub(crate) fn seen_up_to(&self, end: i64) -> i64 {
        let state = self.lock();
        state.seen.range(..end).rev().fold(
            end,
            |from, (base, batch)| {
                if end_of(batch) == from { *base } else { from }
            },
        )
    }

    /// The last batches of a producer that are in the log from `start` on, oldest first.
    pub(crate) fn last_seen_of(&self, id: i64, start: i64, count: usize) -> Vec<(i64, Bytes)> {
        let state = self.lock();
        let seen = state.seen.range(start..).rev();
        last_of(seen.map(|(base, batch)| (*base, batch)), id, count)
    }

    /// A producer was told that its batch is committed.
    pub(crate) fn on_acked(&self, acked: Acked) {
        let mut state = self.lock();
        let base = acked.base_offset;
        let Ok(batch) = BatchView::parse(&acked.batch) else {
            return;
        };
        let end = base + batch.last_offset() + 1;
        state.note(&base.to_le_bytes());
        if let Some(seen) = state.seen.get(&base)
            && body(seen) != body(&acked.batch)
        {
            let what = format!("a batch was acknowledged at {base}, where readers saw another one");
            state.violate("acknowledged-batch-is-there", what);
        }
        if let Some(other) = state.acked.get(&base)
            && body(&other.batch) != body(&acked.batch)
        {
            let what = format!("two batches were acknowledged at {base}");
            state.violate("offsets-are-given-once", what);
        }
        if let Some(fields) = ProducerFields::of(&batch) {
            place(&mut state, &fields, base);
        }
        if acked.is_duplicate {
            self.marks.hit("retries deduplicated");
        }
        let ends = state.acked_ends.entry(acked.epoch).or_default();
        *ends = end.max(*ends);
        state.acked.insert(base, acked);
    }

    /// A request arrives at a replica, which shows this.
    pub(crate) fn before(&self, at: At, view: View, local_start: i64) -> Before {
        let state = self.lock();
        let (high_watermark, log_start) = state.processes.get(&at).copied().unwrap_or((0, 0));
        let ends = state.acked_ends.range(..=view.leader_epoch);
        Before {
            at,
            view,
            local_start,
            high_watermark,
            log_start,
            acked_end: ends.map(|(_, end)| *end).max().unwrap_or(0),
            seen_end: state.processes.values().map(|(end, _)| *end).max().unwrap_or(0),
        }
    }

    /// A replica answered a fetch from `offset`.
    pub(crate) fn on_fetched(&self, before: &Before, offset: i64, fetched: &Fetched) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let (end, start) = (fetched.high_watermark, fetched.log_start_offset);
        let At { node, .. } = before.at;
        if end < before.high_watermark || start < before.log_start || end < start {
            let what = format!(
                "node {node} answers {start}..{end} after {}..{}",
                before.log_start, before.high_watermark
            );
            state.violate("watermarks-never-go-back", what);
        }
        if before.view.serving {
            self.leader_answers(state, before, (end, start));
        }
        let known = state.processes.entry(before.at).or_default();
        *known = (known.0.max(end), known.1.max(start));
        let expired = self.deleted(state, start);
        if fetched.records.is_empty() && offset < end && fetched.diverging.is_none() {
            let what = format!("node {node} has {start}..{end}, and answers nothing from {offset} on");
            state.violate("what-is-committed-is-readable", what);
        }
        self.read(state, (offset, end), fetched, node);
        if !fetched.records.is_empty() && offset < before.local_start {
            self.marks.hit("cold reads");
        }
        drop(guard);
        if let (Some(offsets), Some(keep_ms)) = (expired, self.config.retention_ms) {
            self.marks.hit("records expired");
            self.on_expired(node, offsets, keep_ms);
        }
    }

    /// The log starts at `start`: what retention by time alone deleted since that was judged last.
    fn deleted(&self, state: &mut State, start: i64) -> Option<Range<i64>> {
        if start <= state.delete_asked.max(state.expired) {
            return None;
        }
        if !self.deletes_by_retention() {
            let what = format!(
                "the log starts at {start}, and nobody deleted beyond {}",
                state.delete_asked
            );
            state.violate("nothing-is-deleted-unasked", what);
        }
        let offsets = state.delete_asked.max(state.expired)..start;
        state.expired = start;
        self.config.retention_bytes.is_none().then_some(offsets)
    }

    /// Leaders of later epochs have what those of earlier ones answered, and what was acknowledged.
    fn leader_answers(&self, state: &mut State, before: &Before, now: (i64, i64)) {
        let epoch = before.view.leader_epoch;
        if now.0 < before.acked_end {
            let what = format!(
                "node {} leads in epoch {epoch} with the high watermark {}, and {} was acknowledged",
                before.at.node, now.0, before.acked_end
            );
            state.violate("what-is-acknowledged-is-readable", what);
        }
        let earlier = state.leaders.range(..epoch).next_back();
        let later = state
            .leaders
            .range((Bound::Excluded(epoch), Bound::Unbounded))
            .next();
        let back = |low: (i64, i64), high: (i64, i64)| high.0 < low.0 || high.1 < low.1;
        let fell = earlier.is_some_and(|(_, other)| back(other.greatest, now))
            || later.is_some_and(|(_, other)| back(now, other.lowest));
        if fell {
            let what =
                format!("the leader of epoch {epoch} answers {now:?}; earlier {earlier:?}, later {later:?}");
            state.violate("watermarks-never-go-back", what);
        }
        if epoch <= state.epochs_before {
            let what = format!(
                "epoch {epoch} of a restored log, and {} was before",
                state.epochs_before
            );
            state.violate("epochs-are-given-once", what);
        }
        if !state.leaders.contains_key(&epoch) {
            self.marks.hit("epochs served");
        }
        let answers = state.leaders.entry(epoch).or_insert(Answers {
            lowest: now,
            greatest: now,
        });
        answers.lowest = (answers.lowest.0.min(now.0), answers.lowest.1.min(now.1));
        answers.greatest = (answers.greatest.0.max(now.0), answers.greatest.1.max(now.1));
    }

    /// Holds batches against all that was read and acknowledged before.
    fn read(&self, state: &mut State, (offset, end): (i64, i64), fetched: &Fetched, node: u64) {
        let mut next = None;
        let slices = fetched.records.iter().map(|slice| (slice, Batches::new(slice)));
        for (slice, batches) in slices {
            let mut position = 0;
            for batch in batches {
                let Ok(batch) = batch else {
                    state.violate("batches-are-whole", format!("node {node} at {offset}: {batch:?}"));
                    return;
                };
                let bytes = slice.slice(position..position + batch.size());
                position += batch.size();
                let (base, last) = (batch.base_offset(), batch.last_offset());
                let follows = match next {
                    Some(next) => base == next,
                    None => base <= offset && offset <= last,
                };
                if !follows || last >= end {
                    let what =
                        format!("node {node} from {offset}: {base}..={last} after {next:?}, end {end}");
                    state.violate("reads-have-no-gap", what);
                }
                if batch.crc() != batch.computed_crc() {
                    state.violate("batches-are-whole", format!("node {node} at {base}: the CRC"));
                }
                next = Some(last + 1);
                see(state, &batch, bytes, node);
            }
        }
    }

    /// A replica refused a fetch of an offset as out of range; `log_start` is what it shows now.
    pub(crate) fn on_out_of_range(&self, before: &Before, offset: i64, log_start: i64) {
        let mut state = self.lock();
        let start = state.log_start().max(log_start);
        if before.view.serving && offset >= start && offset <= before.seen_end {
            let what = format!(
                "node {} refuses {offset}, and the log is {start}..{}",
                before.at.node, before.seen_end
            );
            state.violate("what-is-committed-is-readable", what);
        }
    }

    /// At the end of a run: a replica has shown everything from `start` to `end`.
    pub(crate) fn on_swept(&self, node: u64, start: i64, end: i64) {
        let mut state = self.lock();
        let missing = |base: &i64| !state.seen.contains_key(base);
        let lost = state.acked.range(start..).map(|(base, _)| *base);
        let lost: Vec<i64> = lost.filter(|base| *base >= end || missing(base)).collect();
        if let Some(first) = lost.first() {
            let what = format!(
                "node {node} has {start}..{end}; {} batches are lost, the first at {first}",
                lost.len()
            );
            state.violate("acknowledged-batch-is-there", what);
        }
    }
}

/// What of a batch is its producer's.
fn body(batch: &[u8]) -> &[u8] {
    batch.get(STAMPED_BYTES..).unwrap_or_default()
}

/// The last batches of a producer in its newest epoch, oldest first, out of batches from the newest on.
fn last_of<'a>(batches: impl Iterator<Item = (i64, &'a Bytes)>, id: i64, count: usize) -> Vec<(i64, Bytes)> {
    let mut newest = Vec::new();
    let mut epoch = -1;
    for (base, bytes) in batches {
        let Some(batch) = parsed(bytes).filter(|batch| batch.producer_id() == id) else {
            continue;
        };
        if newest.is_empty() {
            epoch = batch.producer_epoch();
        }
        if batch.producer_epoch() == epoch && newest.len() < count {
            newest.push((base, bytes.clone()));
        }
    }
    newest.reverse();
    newest
}

/// One batch of an idempotent producer has one place.
fn place(state: &mut State, fields: &ProducerFields, base: i64) {
    let key = (fields.id, fields.epoch, fields.base_sequence);
    let known = *state.placed.entry(key).or_insert(base);
    if known != base {
        let what = format!("{fields:?} is at {known} and at {base}");
        state.violate("no-batch-twice", what);
    }
}

fn see(state: &mut State, batch: &BatchView<'_>, bytes: Bytes, node: u64) {
    let (base, last) = (batch.base_offset(), batch.last_offset());
    if let Some(fields) = ProducerFields::of(batch) {
        place(state, &fields, base);
    }
    if let Some(acked) = state.acked.get(&base)
        && body(&acked.batch) != body(&bytes)
    {
        let what = format!("node {node} has another batch at {base} than was acknowledged there");
        state.violate("acknowledged-batch-is-there", what);
    }
    match state.seen.get(&base) {
        Some(known) if *known == bytes => return,
        Some(_) => {
            let what = format!("node {node} has another batch at {base} than was read there");
            state.violate("offsets-are-given-once", what);
            return;
        }
        None => {}
    }
    let before = state.seen.range(..base).next_back();
    let overlaps = before.is_some_and(|(_, bytes)| end_of(bytes) > base)
        || state
            .seen
            .range(base + 1..)
            .next()
            .is_some_and(|(next, _)| *next <= last);
    if overlaps {
        let what = format!("node {node} has {base}..={last}, which overlaps what was read there");
        state.violate("offsets-are-given-once", what);
    }
    state.note(body(&bytes));
    // The slice is one of the log's, which a reader must not keep.
    state.seen.insert(base, Bytes::copy_from_slice(&bytes));
}

fn end_of(batch: &[u8]) -> i64 {
    BatchView::parse(batch).map_or(0, |batch| batch.last_offset() + 1)
}

/// A batch that was read or sent; all of those were parsed before.
pub(crate) fn parsed(batch: &[u8]) -> Option<BatchView<'_>> {
    BatchView::parse(batch).ok()
}
