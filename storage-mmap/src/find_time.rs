//! Finding data by time. Timestamps need not rise with offsets, so every part of the log has a largest one, and
//! parts are passed over by it.

use crate::answer::on_read_lane;
use crate::frame::FrameType;
use crate::group::Group;
use crate::group::seg::Seg;
use crate::group::state::GroupState;
use crate::read::{Access, access};
use crate::segment::cursor::{Cursor, CursorError};
use crate::segment::index::{SegmentIndex, Sparse};
use crate::segment::open::read_index;
use crate::store::Inner;
use crate::sync::locked;
use chronik_core::log_store::{Read, TimeQuery};
use chronik_core::{EntryKind, EntryMeta, LogError, LogIndex, Offset};
use std::sync::Arc;

/// The search so far.
struct Search {
    query: TimeQuery,
    before: Offset,
    offset_start: Offset,
    found: Option<EntryMeta>,
}

/// What a search looks through, as of one instant.
struct Plan {
    segs: Vec<Seg>,
    tail: Vec<EntryMeta>,
    tail_from: LogIndex,
    offset_start: Offset,
    rewrites: u64,
}

impl Search {
    /// Whether a part of the log with this largest timestamp can hold something better than what was found.
    fn may_hold(&self, max_timestamp_ms: i64) -> bool {
        match self.query {
            TimeQuery::AtOrAfter(at) => self.found.is_none() && max_timestamp_ms >= at,
            TimeQuery::Maximum => self
                .found
                .is_none_or(|found| max_timestamp_ms > found.max_timestamp_ms),
        }
    }

    fn look_at(&mut self, meta: &EntryMeta) {
        let counts = meta.kind == EntryKind::Data
            && meta.base_offset < self.before
            && meta.end_offset() > self.offset_start;
        if counts && self.may_hold(meta.max_timestamp_ms) {
            self.found = Some(*meta);
        }
    }

    /// Whether nothing that follows can change the answer.
    const fn is_over(&self) -> bool {
        matches!(self.query, TimeQuery::AtOrAfter(_)) && self.found.is_some()
    }
}

/// Answers `query` among the data that starts below `before`.
pub(crate) fn find(
    inner: &Arc<Inner>,
    group: &Arc<Group>,
    query: TimeQuery,
    before: Offset,
) -> Read<Option<EntryMeta>> {
    let first = plan(&locked(&group.state), before);
    if first.segs.is_empty() {
        return Read::Ready(in_memory(&first, query, before));
    }
    let (job_inner, group) = (Arc::clone(inner), Arc::clone(group));
    on_read_lane(inner, move || search(&job_inner, &group, query, before, first))
}

fn plan(state: &GroupState, before: Offset) -> Plan {
    let tail_from = state.tail.first().unwrap_or_else(|| state.last.index.next());
    let on_disk = |seg: &&Seg| {
        seg.base() < tail_from && seg.end_offset > state.offset_start && seg.base_offset < before
    };
    Plan {
        segs: state.segs.iter().filter(on_disk).cloned().collect(),
        tail: state
            .tail
            .from(tail_from)
            .map(|tail| tail.entry.meta())
            .take_while(|meta| meta.base_offset < before)
            .collect(),
        tail_from,
        offset_start: state.offset_start,
        rewrites: state.rewrites,
    }
}

fn in_memory(plan: &Plan, query: TimeQuery, before: Offset) -> Option<EntryMeta> {
    let mut search = Search {
        query,
        before,
        offset_start: plan.offset_start,
        found: None,
    };
    for meta in &plan.tail {
        search.look_at(meta);
    }
    search.found
}

fn search(
    inner: &Inner,
    group: &Group,
    query: TimeQuery,
    before: Offset,
    mut next: Plan,
) -> Result<Option<EntryMeta>, LogError> {
    loop {
        let mut search = Search {
            query,
            before,
            offset_start: next.offset_start,
            found: None,
        };
        let result = search_plan(inner, &mut search, &next);
        let state = locked(&group.state);
        if state.rewrites == next.rewrites {
            return result.map(|()| search.found);
        }
        next = plan(&state, before);
    }
}

fn search_plan(inner: &Inner, search: &mut Search, plan: &Plan) -> Result<(), LogError> {
    for seg in &plan.segs {
        if !search.may_hold(seg.max_timestamp_ms) {
            continue;
        }
        let Some(file) = seg.file() else {
            return Err(LogError::Truncated);
        };
        let end = plan.tail_from.min(seg.last.index.next());
        search_segment(inner, search, seg, end)
            .map_err(|error| error.into_log_error(&inner.options.dir, file))?;
        if search.is_over() {
            return Ok(());
        }
    }
    for meta in &plan.tail {
        search.look_at(meta);
    }
    Ok(())
}

fn search_segment(inner: &Inner, search: &mut Search, seg: &Seg, end: LogIndex) -> Result<(), CursorError> {
    let Some(access) = access(inner, seg)? else {
        return Ok(());
    };
    let SegmentIndex { blocks, partial, .. } = &*access.index;
    for block in blocks {
        if block.first.index >= end || block.first.offset >= search.before {
            return Ok(());
        }
        if !search.may_hold(block.first.max_timestamp_ms) {
            continue;
        }
        let inside = read_index(
            &access.file,
            &access.source,
            block.at,
            access.limit,
            FrameType::IndexBlock,
        )?;
        search_sparse(&access, search, &inside.partial, Some(block.at), end)?;
        if search.is_over() {
            return Ok(());
        }
    }
    search_sparse(&access, search, partial, None, end)
}

/// Looks through runs of frames; the last of them ends at `list_end`, or at `end` alone.
fn search_sparse(
    access: &Access,
    search: &mut Search,
    list: &[Sparse],
    list_end: Option<u64>,
    end: LogIndex,
) -> Result<(), CursorError> {
    for (place, sparse) in list.iter().enumerate() {
        if sparse.index >= end || sparse.offset >= search.before || search.is_over() {
            return Ok(());
        }
        if !search.may_hold(sparse.max_timestamp_ms) {
            continue;
        }
        let run_end = list.get(place + 1).map(|next| next.at).or(list_end);
        let limit = run_end.unwrap_or(access.limit);
        let mut cursor = Cursor::new(&access.file, access.source.clone(), sparse.at, limit);
        while let Some((meta, header)) = cursor.next_meta()? {
            if meta.id.index >= end {
                return Ok(());
            }
            search.look_at(&meta);
            cursor.skip(&header);
            if meta.id.index.next() >= end || search.is_over() {
                break;
            }
        }
    }
    Ok(())
}
