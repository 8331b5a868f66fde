//! The reading side of a group.

use crate::group::Group;
use crate::read::{self, Wanted};
use crate::store::Inner;
use crate::sync::locked;
use crate::{checkpoint, find_time};
use chronik_core::log_store::{Checkpoint, LogReader, LogState, Read, SegmentInfo, TimeQuery};
use chronik_core::{Entry, EntryMeta, LogError, LogIndex, Offset, Term};
use std::ops::Range;
use std::sync::Arc;

/// A reader of one group.
#[derive(Debug)]
pub(crate) struct GroupReader {
    inner: Arc<Inner>,
    group: Arc<Group>,
}

impl GroupReader {
    pub(crate) const fn new(inner: Arc<Inner>, group: Arc<Group>) -> Self {
        Self { inner, group }
    }
}

impl LogReader for GroupReader {
    fn state(&self) -> LogState {
        locked(&self.group.state).log_state()
    }

    fn term_at(&self, index: LogIndex) -> Result<Term, LogError> {
        let state = locked(&self.group.state);
        if index < state.purged.index {
            return Err(LogError::Compacted {
                first: state.purged.index.next(),
            });
        }
        if index > state.last.index {
            return Err(LogError::Truncated);
        }
        Ok(state.term_of(index))
    }

    fn entries(&self, range: Range<LogIndex>, max_bytes: u64) -> Result<Read<Vec<Entry>>, LogError> {
        read::read(&self.inner, &self.group, Wanted::Indices(range), max_bytes)
    }

    fn read_offsets(&self, offsets: Range<Offset>, max_bytes: u64) -> Result<Read<Vec<Entry>>, LogError> {
        read::read(&self.inner, &self.group, Wanted::Offsets(offsets), max_bytes)
    }

    fn find_time(&self, query: TimeQuery, before: Offset) -> Result<Read<Option<EntryMeta>>, LogError> {
        Ok(find_time::find(&self.inner, &self.group, query, before))
    }

    fn end_of_term(&self, term: Term) -> Option<(Term, Offset)> {
        let state = locked(&self.group.state);
        state.terms.end_of(term, state.offset_start..state.offset_end)
    }

    fn checkpoint(&self, index: LogIndex) -> Result<Option<Checkpoint>, LogError> {
        checkpoint::newest(&self.inner, &self.group, index)
    }

    fn segments(&self) -> Vec<SegmentInfo> {
        let state = locked(&self.group.state);
        state.segs.iter().map(crate::group::seg::Seg::info).collect()
    }
}
