//! The reading side of a group of the reference store.

use super::Mutant;
use super::store::{Shared, SharedModel};
use crate::model::GroupModel;
use crate::world::locked;
use chronik_core::env::DiskLane;
use chronik_core::log_store::{Checkpoint, LogState, Read, SegmentInfo, TimeQuery};
use chronik_core::{Entry, EntryMeta, LogError, LogId, LogIndex, LogReader, Offset, Term, Ticket};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

#[derive(Debug)]
pub(super) struct MemReader {
    shared: Arc<Shared>,
    model: SharedModel,
    /// Whether the group has a writer; and where the reader was made. Only mutants ask.
    is_open: Arc<AtomicBool>,
    home: ThreadId,
    /// What a mutant answers reads by offset from.
    stale: Mutex<BTreeMap<Offset, Vec<Entry>>>,
    /// What a mutant answers reads by index from.
    copy: Mutex<Option<GroupModel>>,
}

/// Ends the store where a mutant's read goes away before its answer came.
struct Ends {
    shared: Arc<Shared>,
    answered: bool,
}

impl Ends {
    fn has_answer(&mut self) {
        self.answered = true;
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        if !self.answered && self.shared.has(Mutant::DroppedReadEndsStore) {
            locked(&self.shared.inner).ended = Some(LogError::Closed);
        }
    }
}

impl MemReader {
    pub(super) fn new(shared: Arc<Shared>, model: SharedModel, is_open: Arc<AtomicBool>) -> Self {
        Self {
            shared,
            model,
            is_open,
            home: std::thread::current().id(),
            stale: Mutex::default(),
            copy: Mutex::default(),
        }
    }

    /// What a mutant refuses to answer.
    fn check_caller(&self) -> Result<(), LogError> {
        let refused = match self.shared.options.mutant {
            Some(Mutant::ReadersEndWithWriter) => !self.is_open.load(Ordering::SeqCst),
            Some(Mutant::ReadersKnowOneThread) => self.home != std::thread::current().id(),
            _ => false,
        };
        if refused { Err(LogError::Closed) } else { Ok(()) }
    }

    /// Answers now, or by a job of the read lane.
    fn answer<T: Send + 'static>(
        &self,
        look: impl FnOnce(&GroupModel) -> Result<T, LogError> + Send + 'static,
    ) -> Result<Read<T>, LogError> {
        self.check_caller()?;
        let later = self.shared.options.pending_reads
            || matches!(
                self.shared.options.mutant,
                Some(Mutant::DroppedReadEndsStore | Mutant::MixesTwoLogs)
            );
        if !later {
            return look(&locked(&self.model)).map(Read::Ready);
        }
        let answer = Arc::new(Mutex::new(None));
        let (sender, done) = Ticket::pair();
        let (slot, model) = (Arc::clone(&answer), Arc::clone(&self.model));
        let job = move || {
            *locked(&slot) = Some(look(&locked(&model)));
            sender.resolve(Ok(()));
        };
        self.shared.env.disk.submit(DiskLane::Read, Box::new(job));
        let mut ends = Ends {
            shared: Arc::clone(&self.shared),
            answered: false,
        };
        Ok(Read::Pending(Box::pin(async move {
            let done = done.await;
            ends.has_answer();
            done?;
            let answer = locked(&answer).take();
            answer.unwrap_or(Err(LogError::Closed))
        })))
    }
}

impl LogReader for MemReader {
    fn state(&self) -> LogState {
        let mut state = locked(&self.model).state();
        if self.shared.has(Mutant::PurgeForgetsTerm) && state.purged != LogId::default() {
            state.purged.term = Term(0);
        }
        if self.shared.has(Mutant::DurableLags) {
            state.durable.0 = state.durable.0.saturating_sub(1);
        }
        state
    }

    fn term_at(&self, index: LogIndex) -> Result<Term, LogError> {
        let model = locked(&self.model);
        if self.shared.has(Mutant::PurgeForgetsTerm) && index == model.state().purged.index {
            let first = index.next();
            return Err(LogError::Compacted { first });
        }
        model.term_at(index)
    }

    fn entries(&self, mut range: Range<LogIndex>, max_bytes: u64) -> Result<Read<Vec<Entry>>, LogError> {
        if self.shared.has(Mutant::SkipsCompactedGap) {
            range.start = range.start.max(locked(&self.model).state().index_start());
        }
        let mutant = self.shared.options.mutant;
        if mutant == Some(Mutant::AnswersFromCopy) {
            let mut copy = locked(&self.copy);
            let model = copy.get_or_insert_with(|| locked(&self.model).clone());
            return model.entries(&range, max_bytes).map(Read::Ready);
        }
        if mutant == Some(Mutant::MixesTwoLogs) {
            let before = locked(&self.model).clone();
            return self.answer(move |now| mixed_entries(&before, now, &range, max_bytes));
        }
        self.answer(move |model| broken_entries(model, range, max_bytes, mutant))
    }

    fn read_offsets(&self, offsets: Range<Offset>, max_bytes: u64) -> Result<Read<Vec<Entry>>, LogError> {
        if self.shared.has(Mutant::StaleCache) {
            let mut stale = locked(&self.stale);
            let run = locked(&self.model).read_offsets(&offsets, max_bytes)?;
            let cached = stale.entry(offsets.start).or_default();
            if cached.is_empty() {
                *cached = run;
            }
            return Ok(Read::Ready(cached.clone()));
        }
        self.answer(move |model| model.read_offsets(&offsets, max_bytes))
    }

    fn find_time(&self, query: TimeQuery, before: Offset) -> Result<Read<Option<EntryMeta>>, LogError> {
        self.answer(move |model| Ok(model.find_time(query, before)))
    }

    fn end_of_term(&self, term: Term) -> Option<(Term, Offset)> {
        locked(&self.model).end_of_term(term)
    }

    fn checkpoint(&self, index: LogIndex) -> Result<Option<Checkpoint>, LogError> {
        Ok(locked(&self.model).checkpoint(index))
    }

    fn segments(&self) -> Vec<SegmentInfo> {
        locked(&self.model).segments()
    }
}

/// The front as it was when the read began, the rest as it is when it ends.
fn mixed_entries(
    before: &GroupModel,
    now: &GroupModel,
    range: &Range<LogIndex>,
    max_bytes: u64,
) -> Result<Vec<Entry>, LogError> {
    let mut run = before.entries(range, max_bytes)?;
    let rest = now.entries(range, max_bytes)?;
    run.truncate(run.len() - run.len() / 4);
    run.extend(rest.into_iter().skip(run.len()));
    Ok(run)
}

/// The entries of a range, as a store answers them that may be broken.
fn broken_entries(
    model: &GroupModel,
    mut range: Range<LogIndex>,
    max_bytes: u64,
    mutant: Option<Mutant>,
) -> Result<Vec<Entry>, LogError> {
    let state = model.state();
    match mutant {
        Some(Mutant::EmptyIsError) if state.last == LogId::default() => return Err(LogError::Truncated),
        Some(Mutant::ReadsOnlyDurable) => range.end = range.end.min(state.durable.next()),
        _ => {}
    }
    let mut run = model.entries(&range, max_bytes)?;
    match mutant {
        Some(Mutant::StrictByteLimit) => run.retain(|entry| entry.payload.len() as u64 <= max_bytes),
        Some(Mutant::LosesSegmentEdge) => {
            let edges: Vec<LogId> = model.segments().iter().map(|segment| segment.first).collect();
            run.retain(|entry| entry.id.index == range.start || !edges.contains(&entry.id));
        }
        _ => {}
    }
    Ok(run)
}
