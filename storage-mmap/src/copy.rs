//! Copying durable entries from memory into segment files.
//!
//! An entry is copied only after its journal record is durable: the truncation before it is durable too then, so
//! nothing that the journal still counts on is written over.

use crate::background::Background;
use crate::damage::final_sync;
use crate::group::Group;
use crate::group::seg::{Disk, OpenSegment, SealedSegment, SegmentFile};
use crate::group::state::{GroupState, Rewind};
use crate::group::tail::TailEntry;
use crate::journal::group_image::{PurgeRecord, Stored, stored_record};
use crate::pool::Pool;
use crate::queue::{Effect, Work};
use crate::segment::cursor::{Cursor, CursorError, Source};
use crate::segment::header::SegmentHeader;
use crate::segment::index::SegmentIndex;
use crate::segment::segment_path;
use crate::segment::writer::{SegmentWriter, WriterPlace, sync_names};
use crate::store::Inner;
use crate::sync::locked;
use chronik_core::fs::{Advice, File, FsError, FsErrorKind, OpenMode};
use chronik_core::{LogIndex, Offset};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// How much is taken out of memory for one write.
const CHUNK_BYTES: u64 = 4 << 20;

/// What to do next for a group.
enum Plan {
    Copy(CopyPlan),
    Seal { base: LogIndex, rewrites: u64 },
    Nothing,
}

struct CopyPlan {
    base: LogIndex,
    base_offset: Offset,
    segment_bytes: u64,
    entries: Vec<TailEntry>,
    rewind: Option<Rewind>,
    sealed: Option<Arc<SealedSegment>>,
    has_file: bool,
    /// Whether the segment is likely to become a large one.
    is_large: bool,
    rewrites: u64,
    /// Whether somebody is expected to read what is copied.
    readers: bool,
}

impl Inner {
    /// Copies durable entries of a group, up to about `budget_bytes`, and seals what is complete.
    pub(crate) fn copy_group(
        self: &Arc<Self>,
        background: &mut Background,
        group: &Arc<Group>,
        budget_bytes: u64,
    ) -> Result<(), FsError> {
        let mut writer = locked(&group.writer);
        let mut copied_bytes = 0;
        loop {
            let plan = self.plan(group, &mut writer, copied_bytes >= budget_bytes);
            match plan {
                Plan::Nothing => break,
                Plan::Seal { base, rewrites } => self.seal(group, &mut writer, base, rewrites)?,
                Plan::Copy(plan) => {
                    let bytes: u64 = plan.entries.iter().map(TailEntry::bytes).sum();
                    self.copy_chunk(&mut background.pool, group, &mut writer, plan)?;
                    self.note_open(background, group, &writer)?;
                    copied_bytes += bytes;
                    if let Some(writer) = writer.as_mut()
                        && writer.unsynced_bytes >= self.options.sync_bytes
                    {
                        self.sync_segment(group, writer)?;
                    }
                }
            }
        }
        drop(writer);
        let mut state = locked(&group.state);
        self.queue_copy(group, &mut state);
        Ok(())
    }

    fn plan(&self, group: &Group, writer: &mut Option<SegmentWriter>, only_seal: bool) -> Plan {
        let state = locked(&group.state);
        if state.removed {
            return Plan::Nothing;
        }
        if let Some(current) = writer {
            let base = current.base();
            match state.segs.iter().rfind(|seg| seg.is_open_as(&current.seg)) {
                // The segment is gone; its file goes with it. Another may have the same base.
                None => *writer = None,
                Some(seg) => {
                    let rewinds = state.rewind.as_ref().is_some_and(|rewind| rewind.base == base);
                    if seg.closed && seg.last.index <= state.copied && !rewinds {
                        let rewrites = state.rewrites;
                        return Plan::Seal { base, rewrites };
                    }
                }
            }
        }
        if only_seal {
            return Plan::Nothing;
        }
        plan_copy(&state).map_or(Plan::Nothing, Plan::Copy)
    }

    fn copy_chunk(
        self: &Arc<Self>,
        pool: &mut Pool,
        group: &Group,
        slot: &mut Option<SegmentWriter>,
        mut plan: CopyPlan,
    ) -> Result<(), FsError> {
        if slot.as_ref().is_some_and(|writer| writer.base() != plan.base) {
            *slot = None;
        }
        if !self.prepare(pool, group, slot, &mut plan)? {
            // The log changed meanwhile; the next plan knows.
            return Ok(());
        }
        let Some(writer) = slot.as_mut() else {
            return Ok(());
        };
        let before = (writer.at, locked(&writer.seg.index).clone());
        writer.readers = plan.readers;
        let written = writer.append(&*self.fs, &plan.entries);
        let mut state = locked(&group.state);
        if let Err(error) = written {
            state.rewrites += 1;
            writer.restore(before.0, before.1);
            return Err(error);
        }
        if state.rewrites != plan.rewrites {
            state.rewrites += 1;
            writer.restore(before.0, before.1);
            return Ok(());
        }
        if let Some(last) = plan.entries.last() {
            state.copied = last.entry.id.index;
            let bytes = plan.entries.iter().map(TailEntry::bytes).sum::<u64>();
            let counted = state.uncopied_bytes;
            state.uncopied_bytes = counted.saturating_sub(bytes);
            state.readers.note_written(bytes);
            self.note_copied(counted - state.uncopied_bytes);
        }
        Ok(())
    }

    /// Makes sure that there is a writer that stands where the plan's entries go; false where the log changed.
    fn prepare(
        &self,
        pool: &mut Pool,
        group: &Group,
        slot: &mut Option<SegmentWriter>,
        plan: &mut CopyPlan,
    ) -> Result<bool, FsError> {
        match (slot.as_mut(), plan.rewind.take()) {
            (Some(_), None) => Ok(true),
            (Some(writer), Some(rewind)) => {
                let mut state = locked(&group.state);
                if state.rewrites != plan.rewrites {
                    return Ok(false);
                }
                state.rewind = None;
                state.rewrites += 1;
                plan.rewrites = state.rewrites;
                writer.rewind(rewind);
                Ok(true)
            }
            (None, Some(rewind)) => {
                let Some(sealed) = plan.sealed.take() else {
                    return Ok(false);
                };
                self.reopen_sealed(group, slot, plan, &sealed, &rewind)
            }
            (None, None) => {
                assert!(!plan.has_file, "a segment file that takes entries has a writer");
                self.create_segment(pool, group, slot, plan)
            }
        }
    }

    fn new_writer(&self, group: &Group, plan: &CopyPlan, file: Arc<dyn File>) -> SegmentWriter {
        let header = SegmentHeader {
            salt: self.env.rng.next_u64() as u32,
            generation: self.env.rng.next_u64() | 1,
            group: group.id,
            base: plan.base,
            base_offset: plan.base_offset,
            segment_bytes: plan.segment_bytes,
        };
        let seg = Arc::new(OpenSegment {
            file: Arc::new(SegmentFile {
                path: segment_path(&self.options.dir, group.id, plan.base),
                header,
            }),
            index: Mutex::new(SegmentIndex::new(plan.base_offset)),
            writing: Mutex::new(Some(file)),
        });
        SegmentWriter {
            seg,
            at: WriterPlace::START,
            unsynced_bytes: 0,
            begun_to: 0,
            unnamed: true,
            reused: false,
            file_bytes: 0,
            readers: plan.readers,
        }
    }

    /// A new file at `path`; one that an interrupted attempt left there is removed.
    pub(crate) fn create_file(&self, path: &Path) -> Result<Arc<dyn File>, FsError> {
        match self.fs.open(path, OpenMode::CreateNew) {
            Err(error) if error.kind == FsErrorKind::AlreadyExists => {
                self.fs.remove(path)?;
                self.fs.open(path, OpenMode::CreateNew)
            }
            Err(error) if error.kind == FsErrorKind::NotFound => {
                self.fs.create_dir_all(path.parent().unwrap_or(path))?;
                self.fs.open(path, OpenMode::CreateNew)
            }
            other => other,
        }
    }

    /// A file of the pool under the name of a segment.
    fn reuse_file(&self, from: &Path, path: &Path) -> Result<Arc<dyn File>, FsError> {
        match self.fs.rename(from, path) {
            Err(error) if error.kind == FsErrorKind::NotFound => {
                self.fs.create_dir_all(path.parent().unwrap_or(path))?;
                self.fs.rename(from, path)?;
            }
            other => other?,
        }
        self.fs.open(path, OpenMode::Write)
    }

    fn create_segment(
        &self,
        pool: &mut Pool,
        group: &Group,
        slot: &mut Option<SegmentWriter>,
        plan: &CopyPlan,
    ) -> Result<bool, FsError> {
        let path = segment_path(&self.options.dir, group.id, plan.base);
        let reused = if plan.is_large {
            pool.take_out(plan.segment_bytes)
        } else {
            None
        };
        let file = match &reused {
            Some((from, _)) => self.reuse_file(from, &path)?,
            None => self.create_file(&path)?,
        };
        let mut writer = self.new_writer(group, plan, file);
        if let Some((_, bytes)) = reused {
            writer.reused = true;
            writer.file_bytes = bytes;
        }
        writer.write_header(&*self.fs)?;
        let mut state = locked(&group.state);
        if state.rewrites != plan.rewrites {
            return Ok(false);
        }
        set_disk(&mut state, plan.base, Disk::Open(Arc::clone(&writer.seg)));
        *slot = Some(writer);
        Ok(true)
    }

    /// Makes a new file of the part of a sealed segment that a truncation left. The sealed file may be mapped, so it
    /// is replaced, not changed.
    fn reopen_sealed(
        &self,
        group: &Group,
        slot: &mut Option<SegmentWriter>,
        plan: &mut CopyPlan,
        sealed: &SealedSegment,
        rewind: &Rewind,
    ) -> Result<bool, FsError> {
        let path = segment_path(&self.options.dir, group.id, plan.base);
        let temporary = path.with_extension("new");
        let file = self.create_file(&temporary)?;
        let mut writer = self.new_writer(group, plan, file);
        writer.write_header(&*self.fs)?;
        self.copy_prefix(sealed, rewind, &mut writer)?;
        final_sync(writer.file(&*self.fs)?.sync_data())?;
        writer.unsynced_bytes = 0;
        {
            // The one disk call under a state's lock: a reader must find the file that the state names.
            let mut state = locked(&group.state);
            if state.rewrites != plan.rewrites {
                return Ok(false);
            }
            // Under its name lies another file from here on: who still knows the old one must not map that in its place.
            let mut retired = locked(&sealed.retired);
            self.fs.rename(&temporary, &path)?;
            *retired = true;
            drop(retired);
            state.rewind = None;
            state.rewrites += 1;
            plan.rewrites = state.rewrites;
            set_disk(&mut state, plan.base, Disk::Open(Arc::clone(&writer.seg)));
        }
        sync_names(&*self.fs, &path)?;
        writer.unnamed = false;
        self.handles.forget(&sealed.file);
        *slot = Some(writer);
        Ok(true)
    }

    fn copy_prefix(
        &self,
        sealed: &SealedSegment,
        rewind: &Rewind,
        writer: &mut SegmentWriter,
    ) -> Result<(), FsError> {
        let source = Source::Map(self.handles.map(&*self.fs, sealed)?.map);
        let mut cursor = Cursor::new(&sealed.file, source, WriterPlace::START.end, rewind.end);
        let as_io = |error: CursorError| match error {
            CursorError::Io(error) => error,
            CursorError::Damaged(range, reason) => {
                let detail = format!("{} {range:?}: {reason}", sealed.file.path.display());
                FsError::new(FsErrorKind::Io, detail)
            }
        };
        let mut chunk = Vec::new();
        let mut bytes = 0;
        while let Some((meta, header)) = cursor.next_meta().map_err(as_io)? {
            let entry = cursor.entry(&meta, &header).map_err(as_io)?;
            cursor.skip(&header);
            bytes += header.frame_bytes();
            chunk.push(TailEntry {
                entry,
                crc: header.payload_crc,
            });
            if bytes >= CHUNK_BYTES {
                writer.append(&*self.fs, &std::mem::take(&mut chunk))?;
                bytes = 0;
            }
        }
        writer.append(&*self.fs, &chunk)
    }

    fn seal(
        self: &Arc<Self>,
        group: &Arc<Group>,
        slot: &mut Option<SegmentWriter>,
        base: LogIndex,
        rewrites: u64,
    ) -> Result<(), FsError> {
        let Some(writer) = slot.as_mut() else {
            return Ok(());
        };
        let before = (writer.at, locked(&writer.seg.index).clone());
        let file = writer.file(&*self.fs)?;
        let result = writer.seal(&*self.fs, self.options.shrink_step_bytes);
        let mut state = locked(&group.state);
        let sealed = match result {
            Ok(sealed) if state.rewrites == rewrites => sealed,
            other => {
                state.rewrites += 1;
                writer.restore(before.0, before.1);
                return other.map(|_| ());
            }
        };
        let stored = Stored {
            through: before.1.last,
            next_offset: before.1.end_offset,
            segment: base,
            end: before.0.end,
            chain: before.0.chain,
            index_at: before.0.index_at,
            sealed: true,
            exact: true,
        };
        if state.readers.are_away() {
            file.advise(0, writer.at.end, Advice::DropCache);
        }
        self.handles.forget(&sealed.file);
        set_disk(&mut state, base, Disk::Sealed(Arc::new(sealed)));
        *slot = None;
        self.push_control(stored_record(group.id, &stored, state.truncations));
        self.drop_sealed(group, &mut state);
        Ok(())
    }

    /// Lets go of segments that were purged before they were sealed. Nobody waits for that.
    fn drop_sealed(self: &Arc<Self>, group: &Arc<Group>, state: &mut GroupState) {
        let gone = state.drop_purged();
        if gone.is_empty() {
            return;
        }
        let record = PurgeRecord {
            through: state.purged,
            offset_start: state.offset_start,
            start: state.start,
            reset: None,
        };
        self.push(Work {
            group: Arc::clone(group),
            records: VecDeque::from([record.encode(group.id)]),
            effect: Effect::Purged {
                gone,
                checkpoints: Vec::new(),
            },
            ticket: None,
        });
    }

    /// Syncs the segment that is being written and tells the journal how far entries are durable in it.
    pub(crate) fn sync_segment(
        self: &Arc<Self>,
        group: &Group,
        writer: &mut SegmentWriter,
    ) -> Result<(), FsError> {
        writer.sync(&*self.fs)?;
        let state = locked(&group.state);
        if state.readers.are_away() {
            writer.drop_cache();
        }
        let rewinds = state
            .rewind
            .as_ref()
            .is_some_and(|rewind| rewind.base == writer.base());
        let known = state.segs.iter().any(|seg| seg.is_open_as(&writer.seg));
        let stored = writer.stored();
        if known && !rewinds && !state.removed && stored.through.index.0 > 0 {
            self.push_control(stored_record(group.id, &stored, state.truncations));
        }
        Ok(())
    }

    /// Keeps the number of files open for writing within its bound.
    fn note_open(
        self: &Arc<Self>,
        background: &mut Background,
        group: &Arc<Group>,
        writer: &Option<SegmentWriter>,
    ) -> Result<(), FsError> {
        if writer.is_none() || background.open.iter().any(|open| Arc::ptr_eq(open, group)) {
            return Ok(());
        }
        background.open.push_back(Arc::clone(group));
        while background.open.len() > self.options.open_files_max {
            let Some(oldest) = background.open.pop_front() else {
                break;
            };
            if Arc::ptr_eq(&oldest, group) {
                continue;
            }
            let mut writer = locked(&oldest.writer);
            if let Some(writer) = writer.as_mut() {
                self.sync_segment(&oldest, writer)?;
                writer.close_file();
            }
        }
        Ok(())
    }
}

fn plan_copy(state: &GroupState) -> Option<CopyPlan> {
    let next = state.copied.next();
    let nothing_new = next > state.durable;
    if nothing_new && !state.cuts.is_empty() {
        return None;
    }
    let cut = state
        .rewind
        .as_ref()
        .and_then(|rewind| state.segs.iter().position(|seg| seg.base() == rewind.base));
    // A cut needs no entry after it: while it waits, the journal cannot say what of the segment is stored.
    if nothing_new && cut.is_none() {
        return None;
    }
    // A segment that was cut and takes no more entries must lose what was cut off before later ones are written.
    let place = match cut {
        Some(cut) => cut,
        None => state.segs.partition_point(|seg| seg.last.index < next),
    };
    let seg = state.segs.get(place)?;
    let end = seg.last.index.min(state.durable);
    let mut bytes = 0;
    let entries: Vec<TailEntry> = state
        .tail
        .from(next)
        .take_while(|entry| {
            let fits = entry.entry.id.index <= end && bytes < CHUNK_BYTES;
            bytes += entry.bytes();
            fits
        })
        .cloned()
        .collect();
    let cut_alone = cut.is_some() && (nothing_new || seg.last.index < next);
    assert!(
        cut_alone || !entries.is_empty(),
        "entries that no segment has are in memory"
    );
    let (sealed, has_file) = match &seg.disk {
        Disk::Sealed(sealed) => (Some(Arc::clone(sealed)), false),
        Disk::Open(_) => (None, true),
        Disk::None => (None, false),
    };
    Some(CopyPlan {
        base: seg.base(),
        base_offset: seg.base_offset,
        segment_bytes: seg.limit_bytes,
        entries,
        rewind: state.rewind.clone().filter(|rewind| rewind.base == seg.base()),
        sealed,
        has_file,
        is_large: state.segs.len() > 1 || bytes >= CHUNK_BYTES / 4,
        rewrites: state.rewrites,
        readers: !state.readers.are_away(),
    })
}

fn set_disk(state: &mut GroupState, base: LogIndex, disk: Disk) {
    if let Some(seg) = state.segs.iter_mut().rfind(|seg| seg.base() == base) {
        seg.disk = disk;
    }
}
