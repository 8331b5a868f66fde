//! Reading entries: from memory at once, from segments on a disk thread.
//!
//! Payloads from files are checked against their checksums on every such read, those from a map once while it lives.
//! Every page is touched on the disk thread, so that whoever sends a mapped slice does not wait for the disk.

use crate::answer::on_read_lane;
use crate::group::Group;
use crate::group::seg::{Disk, Seg, SegmentFile};
use crate::group::state::GroupState;
use crate::segment::cursor::{Cursor, CursorError, Source};
use crate::segment::index::{SegmentIndex, Sparse};
use crate::segment::open::{read_footer, seek};
use crate::store::Inner;
use crate::sync::locked;
use chronik_core::fs::{Advice, FsError};
use chronik_core::log_store::Read;
use chronik_core::{Entry, EntryKind, EntryMeta, LogError, LogIndex, Offset};
use std::ops::Range;
use std::sync::Arc;

/// What a read asks for.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    Indices(Range<LogIndex>),
    Offsets(Range<Offset>),
}

/// Entries as they are collected, within a bound of bytes.
struct Run {
    wanted: Wanted,
    entries: Vec<Entry>,
    bytes: u64,
    max_bytes: u64,
    full: bool,
}

/// What a read needs, as of one instant.
struct Plan {
    segs: Vec<Seg>,
    /// Entries in memory that follow those in `segs`.
    tail: Vec<Entry>,
    /// Entries from here on come from `tail`.
    tail_from: LogIndex,
    rewrites: u64,
}

enum Planned {
    Now(Vec<Entry>),
    Later(Plan),
}

impl Wanted {
    fn passes(&self, meta: &EntryMeta) -> bool {
        match self {
            Self::Indices(range) => meta.id.index >= range.start,
            Self::Offsets(range) => meta.kind == EntryKind::Data && meta.end_offset() > range.start,
        }
    }

    fn ends_at(&self, meta: &EntryMeta) -> bool {
        match self {
            Self::Indices(range) => meta.id.index >= range.end,
            Self::Offsets(range) => meta.base_offset >= range.end,
        }
    }

    fn is_after(&self, sparse: &Sparse) -> bool {
        match self {
            Self::Indices(range) => sparse.index > range.start,
            Self::Offsets(range) => sparse.offset > range.start,
        }
    }
}

impl Run {
    const fn new(wanted: Wanted, max_bytes: u64) -> Self {
        Self {
            wanted,
            entries: Vec::new(),
            bytes: 0,
            max_bytes,
            full: false,
        }
    }

    /// Whether an entry belongs into the run; marks the run as full where it comes after its end.
    fn takes(&mut self, meta: &EntryMeta) -> bool {
        if self.full || self.wanted.ends_at(meta) {
            self.full = true;
            return false;
        }
        if !self.wanted.passes(meta) {
            return false;
        }
        let bytes = self.bytes.saturating_add(u64::from(meta.payload_bytes));
        if !self.entries.is_empty() && bytes > self.max_bytes {
            self.full = true;
            return false;
        }
        self.bytes = bytes;
        true
    }

    fn take_from_memory<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) {
        for entry in entries {
            if self.takes(&entry.meta()) {
                self.entries.push(entry.clone());
            }
            if self.full {
                break;
            }
        }
    }
}

/// Reads what is wanted.
pub(crate) fn read(
    inner: &Arc<Inner>,
    group: &Arc<Group>,
    wanted: Wanted,
    max_bytes: u64,
) -> Result<Read<Vec<Entry>>, LogError> {
    inner.check_readable()?;
    let planned = {
        let mut state = locked(&group.state);
        if matches!(wanted, Wanted::Offsets(_)) {
            state.readers.came();
        }
        plan(&state, &wanted, max_bytes)?
    };
    match planned {
        Planned::Now(entries) => Ok(Read::Ready(entries)),
        Planned::Later(first) => {
            let (job_inner, group) = (Arc::clone(inner), Arc::clone(group));
            Ok(on_read_lane(inner, move || {
                run(&job_inner, &group, &wanted, max_bytes, first)
            }))
        }
    }
}

fn plan(state: &GroupState, wanted: &Wanted, max_bytes: u64) -> Result<Planned, LogError> {
    let start = match wanted {
        Wanted::Indices(range) => {
            if range.start <= state.purged.index {
                return Err(LogError::Compacted {
                    first: state.purged.index.next(),
                });
            }
            if range.start > state.last.index || range.start >= range.end {
                return Ok(Planned::Now(Vec::new()));
            }
            state.segs.partition_point(|seg| seg.last.index < range.start)
        }
        Wanted::Offsets(range) => {
            if range.start < state.offset_start {
                return Err(LogError::Compacted {
                    first: state.purged.index.next(),
                });
            }
            if range.start >= state.offset_end || range.start >= range.end {
                return Ok(Planned::Now(Vec::new()));
            }
            state.segs.partition_point(|seg| seg.end_offset <= range.start)
        }
    };
    let tail_from = state.tail.first().unwrap_or_else(|| state.last.index.next());
    let mut run = Run::new(wanted.clone(), max_bytes);
    let in_memory = match wanted {
        Wanted::Indices(range) if range.start >= tail_from => {
            run.take_from_memory(state.tail.from(range.start).map(|tail| &tail.entry));
            true
        }
        Wanted::Indices(_) => false,
        Wanted::Offsets(range) => match state.tail.at_offset(range.start) {
            Some(entries) => {
                run.take_from_memory(entries.map(|tail| &tail.entry));
                true
            }
            None => false,
        },
    };
    if in_memory {
        return Ok(Planned::Now(run.entries));
    }
    Ok(Planned::Later(plan_segments(
        state, wanted, max_bytes, start, tail_from,
    )))
}

fn plan_segments(
    state: &GroupState,
    wanted: &Wanted,
    max_bytes: u64,
    start: usize,
    tail_from: LogIndex,
) -> Plan {
    let mut segs = Vec::new();
    let mut bytes = 0;
    for seg in state.segs.range(start..) {
        if seg.base() >= tail_from || bytes > max_bytes {
            break;
        }
        // The first segment may give but its last entry.
        bytes += if segs.is_empty() { 0 } else { seg.size_bytes };
        segs.push(seg.clone());
    }
    let mut tail = Run::new(wanted.clone(), max_bytes);
    if bytes <= max_bytes {
        tail.take_from_memory(state.tail.from(tail_from).map(|tail| &tail.entry));
    }
    Plan {
        segs,
        tail: tail.entries,
        tail_from,
        rewrites: state.rewrites,
    }
}

fn run(
    inner: &Inner,
    group: &Group,
    wanted: &Wanted,
    max_bytes: u64,
    mut next: Plan,
) -> Result<Vec<Entry>, LogError> {
    loop {
        let mut run = Run::new(wanted.clone(), max_bytes);
        let result = read_plan(inner, &mut run, &next);
        let state = locked(&group.state);
        // Bytes of an open segment may have been written over while they were read: then what was read means
        // nothing, and the read starts again.
        if state.rewrites == next.rewrites {
            return result.map(|()| run.entries);
        }
        match plan(&state, wanted, max_bytes)? {
            Planned::Now(entries) => return Ok(entries),
            Planned::Later(again) => next = again,
        }
    }
}

fn read_plan(inner: &Inner, run: &mut Run, plan: &Plan) -> Result<(), LogError> {
    for seg in &plan.segs {
        let Some(file) = seg.file() else {
            return Err(LogError::Truncated);
        };
        let end = plan.tail_from.min(seg.last.index.next());
        read_segment(inner, run, seg, end).map_err(|error| error.into_log_error(&inner.options.dir, file))?;
        if run.full {
            return Ok(());
        }
    }
    run.take_from_memory(plan.tail.iter());
    Ok(())
}

/// The ways into a segment's bytes.
pub(crate) struct Access {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) source: Source,
    pub(crate) index: Arc<SegmentIndex>,
    /// Frames end before this.
    pub(crate) limit: u64,
}

/// Opens or maps a segment, and gets its index.
pub(crate) fn access(inner: &Inner, seg: &Seg) -> Result<Option<Access>, CursorError> {
    let fs = &*inner.fs;
    match &seg.disk {
        Disk::None => Ok(None),
        Disk::Open(open) => {
            let file = inner.handles.open_segment(fs, open).map_err(CursorError::Io)?;
            Ok(Some(Access {
                file: Arc::clone(&open.file),
                source: Source::File(file),
                index: Arc::new(locked(&open.index).clone()),
                limit: u64::MAX,
            }))
        }
        Disk::Sealed(sealed) => {
            let (source, known) = match inner.handles.map(fs, sealed) {
                Ok(mapped) => (Source::Map(mapped.map.clone()), Some(mapped)),
                Err(error) => (unmapped(inner, &sealed.file, &error)?, None),
            };
            let index = match known.as_ref().and_then(|mapped| mapped.index.clone()) {
                Some(index) => index,
                None => {
                    let (_, index) = read_footer(&sealed.file, &source, sealed.file_bytes)?;
                    let index = Arc::new(index);
                    inner.handles.keep_index(&sealed.file, &index);
                    index
                }
            };
            Ok(Some(Access {
                file: Arc::clone(&sealed.file),
                source,
                index,
                limit: sealed.trailer.footer_at,
            }))
        }
    }
}

/// Reads instead, where the process has too many maps.
fn unmapped(inner: &Inner, of: &SegmentFile, error: &FsError) -> Result<Source, CursorError> {
    log::debug!("segment_not_mapped path={} error={error}", of.path.display());
    let file = inner.handles.file(&*inner.fs, of).map_err(CursorError::Io)?;
    Ok(Source::File(file))
}

fn read_segment(inner: &Inner, run: &mut Run, seg: &Seg, end: LogIndex) -> Result<(), CursorError> {
    let Some(access) = access(inner, seg)? else {
        return Ok(());
    };
    let wanted = run.wanted.clone();
    let found = seek(
        &access.file,
        &access.source,
        &access.index,
        access.limit,
        |sparse| wanted.is_after(sparse),
    )?;
    let at = match found {
        Some(sparse) => sparse.at,
        None => crate::segment::header::SEGMENT_HEADER_BYTES,
    };
    let ahead = run.max_bytes.saturating_sub(run.bytes);
    if let (Source::Map(_), Ok(file)) = (&access.source, inner.handles.file(&*inner.fs, &access.file)) {
        let len = ahead
            .clamp(64 << 10, 4 << 20)
            .min(access.limit.saturating_sub(at));
        file.advise(at, len, Advice::WillNeed);
    }
    let mut cursor = Cursor::new(&access.file, access.source.clone(), at, access.limit).reading_ahead(ahead);
    let mut expected: Option<LogIndex> = None;
    while let Some((meta, header)) = next_before(&mut cursor, end)? {
        if expected.is_some_and(|expected| expected != meta.id.index) {
            let range = cursor.at()..cursor.at() + header.frame_bytes();
            return Err(CursorError::Damaged(
                range,
                "an entry does not follow the one before",
            ));
        }
        expected = Some(meta.id.index.next());
        if run.takes(&meta) {
            let entry = cursor.entry(&meta, &header)?;
            run.entries.push(entry);
        }
        if run.full {
            return Ok(());
        }
        cursor.skip(&header);
        if meta.id.index.next() >= end {
            return Ok(());
        }
    }
    let range = cursor.at()..cursor.at();
    Err(CursorError::Damaged(range, "the segment ends too early"))
}

fn next_before(
    cursor: &mut Cursor<'_>,
    end: LogIndex,
) -> Result<Option<(EntryMeta, crate::frame::Header)>, CursorError> {
    let next = cursor.next_meta()?;
    Ok(next.filter(|(meta, _)| meta.id.index < end))
}
