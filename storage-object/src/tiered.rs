//! One log out of two: the hot store's reader, and the tier behind it.

use crate::cold::{ColdReader, SEGMENTS_AHEAD};
use crate::error::TierError;
use crate::key::PartitionKey;
use crate::state::{SegmentMeta, TierState};
use chronik_core::error::Damage;
use chronik_core::fs::{FsError, FsErrorKind};
use chronik_core::log_store::{Checkpoint, LogState, Read, SegmentInfo, TimeQuery};
use chronik_core::{Entry, EntryMeta, LogError, LogIndex, LogReader, Offset, Term};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

/// The tier's state as it was applied last; the partition's apply sets it, readers look.
#[derive(Debug, Default)]
pub struct TierView(RwLock<Arc<TierState>>);

impl TierView {
    /// The state now.
    #[must_use]
    pub fn get(&self) -> Arc<TierState> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows a new state to readers.
    pub fn set(&self, state: TierState) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }
}

/// Reads a partition across the edge between its local log and the tier, without a gap or a repetition: the local log is
/// asked first; where it says that the offset was dropped, the tier's applied state leads to the object; where that does
/// not hold the offset either, the local log is asked once more, for the edge may have moved in between.
///
/// What goes by index stays local: only offsets reach into the tier.
#[derive(Clone)]
pub struct TieredReader {
    hot: Arc<dyn LogReader>,
    cold: Arc<ColdReader>,
    partition: PartitionKey,
    view: Arc<TierView>,
}

/// A search of the local log that began where nothing was in the tier alone.
struct Begun {
    /// Where the local log started.
    edge: Offset,
    hot: Result<Read<Option<EntryMeta>>, LogError>,
}

impl TieredReader {
    /// The log of `partition` out of its local part and the tier as `view` shows it.
    #[must_use]
    pub fn new(
        hot: Arc<dyn LogReader>,
        cold: Arc<ColdReader>,
        partition: PartitionKey,
        view: Arc<TierView>,
    ) -> Self {
        Self {
            hot,
            cold,
            partition,
            view,
        }
    }

    /// The local part.
    #[must_use]
    pub fn hot(&self) -> &Arc<dyn LogReader> {
        &self.hot
    }

    /// The read out of the tier; none where it does not hold the start.
    fn cold_read(&self, offsets: &Range<Offset>, max_bytes: u64) -> Option<Read<Vec<Entry>>> {
        let state = self.view.get();
        let at = state.find(offsets.start)?;
        let end = state.segments().len().min(at + 1 + SEGMENTS_AHEAD);
        let segments: Vec<Arc<SegmentMeta>> = state.segments().get(at..end)?.to_vec();
        let (this, offsets) = (self.clone(), offsets.clone());
        Some(Read::Pending(Box::pin(async move {
            let read = this
                .cold
                .read(this.partition, &segments, offsets.clone(), max_bytes)
                .await;
            read.map_err(|error| this.answer(error, offsets.start))
        })))
    }

    /// What a failure of the tier means to a reader of the log.
    fn answer(&self, error: TierError, start: Offset) -> LogError {
        // The segment was taken out and deleted while it was read.
        let gone = matches!(error, TierError::Missing { .. }) && self.view.get().find(start).is_none();
        if gone {
            return LogError::Compacted {
                first: self.hot.state().index_start(),
            };
        }
        log_error(&error)
    }

    /// The segments of the tier that start in this range.
    fn cold_segments(&self, state: &TierState, starts: Range<Offset>) -> Vec<Arc<SegmentMeta>> {
        let below = |offset| {
            let segments = state.segments();
            segments.partition_point(|segment| segment.offsets.start < offset)
        };
        let cold = state.segments().get(below(starts.start)..below(starts.end));
        cold.unwrap_or_default().to_vec()
    }

    /// The entry that a time leads to: out of the tier, then out of the local log, whose search may have begun. What is
    /// dropped while both are looked at is in neither of them, and is looked for anew.
    async fn find(
        &self,
        query: TimeQuery,
        before: Offset,
        mut begun: Option<Begun>,
    ) -> Result<Option<EntryMeta>, LogError> {
        let (mut from, mut best) = (Offset(0), None);
        loop {
            let (edge, hot) = match begun.take() {
                Some(begun) => (begun.edge, begun.hot),
                None => {
                    let edge = self.hot.state().offset_start;
                    let segments = self.cold_segments(&self.view.get(), from..edge);
                    best = self.find_cold(&segments, (query, before), best).await?;
                    if best.is_some() && query != TimeQuery::Maximum {
                        return Ok(best);
                    }
                    (edge, self.hot.find_time(query, before))
                }
            };
            let hot = match hot {
                Ok(read) => read.get().await,
                Err(error) => Err(error),
            };
            if self.hot.state().offset_start > edge {
                from = edge;
                continue;
            }
            // Of equal ones the first counts, and the tier's are older.
            return Ok(match (best, hot?) {
                (Some(cold), Some(hot)) if hot.max_timestamp_ms > cold.max_timestamp_ms => Some(hot),
                (cold, hot) => cold.or(hot),
            });
        }
    }

    /// The entry in these segments, or `best`, which comes before them.
    async fn find_cold(
        &self,
        segments: &[Arc<SegmentMeta>],
        (query, before): (TimeQuery, Offset),
        mut best: Option<EntryMeta>,
    ) -> Result<Option<EntryMeta>, LogError> {
        for segment in segments.iter().filter(|segment| segment.offsets.start < before) {
            let reached = match query {
                TimeQuery::AtOrAfter(time) => segment.max_timestamp_ms >= time,
                TimeQuery::Maximum => {
                    best.is_none_or(|best| segment.max_timestamp_ms > best.max_timestamp_ms)
                }
            };
            if !reached {
                continue;
            }
            let found = self.cold.find_time(self.partition, segment, query, before).await;
            let found = found.map_err(|error| self.answer(error, segment.offsets.start))?;
            match (query, found) {
                (_, None) => {}
                (TimeQuery::AtOrAfter(_), found) => return Ok(found),
                (TimeQuery::Maximum, Some(found)) => {
                    if best.is_none_or(|best| found.max_timestamp_ms > best.max_timestamp_ms) {
                        best = Some(found);
                    }
                }
            }
        }
        Ok(best)
    }
}

/// A failure of the tier in the words of a log store.
fn log_error(error: &TierError) -> LogError {
    let file = match error {
        TierError::Log(error) => return error.clone(),
        TierError::Closed => return LogError::Closed,
        TierError::Damaged { key, .. } | TierError::Missing { key } => key,
        other => return LogError::Io(FsError::new(FsErrorKind::Io, other.to_string())),
    };
    LogError::Damaged(Arc::new(Damage {
        file: file.to_string(),
        from_byte: 0,
        to_byte: 0,
        group: None,
        reason: error.to_string(),
    }))
}

impl LogReader for TieredReader {
    /// The local log's state, with the start and the size of both parts.
    fn state(&self) -> LogState {
        let mut state = self.hot.state();
        let tier = self.view.get();
        let cold = self.cold_segments(&tier, Offset(0)..state.offset_start);
        if let Some(first) = cold.first() {
            state.offset_start = first.offsets.start;
            state.size_bytes += cold.iter().map(|segment| segment.footer_position).sum::<u64>();
        }
        state
    }

    fn term_at(&self, index: LogIndex) -> Result<Term, LogError> {
        self.hot.term_at(index)
    }

    fn entries(&self, range: Range<LogIndex>, max_bytes: u64) -> Result<Read<Vec<Entry>>, LogError> {
        self.hot.entries(range, max_bytes)
    }

    fn read_offsets(&self, offsets: Range<Offset>, max_bytes: u64) -> Result<Read<Vec<Entry>>, LogError> {
        match self.hot.read_offsets(offsets.clone(), max_bytes) {
            Err(LogError::Compacted { .. }) => {}
            Ok(Read::Pending(later)) => {
                let this = self.clone();
                return Ok(Read::Pending(Box::pin(async move {
                    match later.await {
                        // It was dropped while it was read: the tier has it now.
                        Err(LogError::Compacted { first }) => match this.cold_read(&offsets, max_bytes) {
                            Some(read) => read.get().await,
                            None => Err(LogError::Compacted { first }),
                        },
                        other => other,
                    }
                })));
            }
            other => return other,
        }
        match self.cold_read(&offsets, max_bytes) {
            Some(read) => Ok(read),
            None => self.hot.read_offsets(offsets, max_bytes),
        }
    }

    fn find_time(&self, query: TimeQuery, before: Offset) -> Result<Read<Option<EntryMeta>>, LogError> {
        let edge = self.hot.state().offset_start;
        let mut begun = None;
        if self.cold_segments(&self.view.get(), Offset(0)..edge).is_empty() {
            let hot = self.hot.find_time(query, before);
            // Nothing is in the tier alone, and nothing was dropped since that was looked at.
            if matches!(hot, Ok(Read::Ready(_))) && self.hot.state().offset_start == edge {
                return hot;
            }
            begun = Some(Begun { edge, hot });
        }
        let this = self.clone();
        Ok(Read::Pending(Box::pin(async move {
            this.find(query, before, begun).await
        })))
    }

    fn end_of_term(&self, term: Term) -> Option<(Term, Offset)> {
        let hot = self.hot.end_of_term(term);
        let cold = self.view.get().end_of_term(term);
        // Terms rise along the log: the larger term is the later one, and so is the larger end of the same term.
        hot.max(cold)
    }

    fn checkpoint(&self, index: LogIndex) -> Result<Option<Checkpoint>, LogError> {
        self.hot.checkpoint(index)
    }

    fn segments(&self) -> Vec<SegmentInfo> {
        self.hot.segments()
    }
}

impl fmt::Debug for TieredReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredReader")
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}
