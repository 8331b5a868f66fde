//! Opening a data directory: the journal first, then the segments it vouches for.

use crate::background::{Background, Requests};
use crate::checkpoint::index_of_name;
use crate::damage::{damage, damaged, io_error};
use crate::group::Group;
use crate::group::seg::{Disk, OpenSegment, SealedSegment, Seg, SegmentFile};
use crate::group::state::{CheckpointRef, GroupState};
use crate::group::tail::TailEntry;
use crate::journal::group_image::GroupImage;
use crate::journal::journal_dir;
use crate::journal::replay::{LiveEntry, Replayed, replay};
use crate::journal::scan::Found;
use crate::journal::torn::{self, Torn};
use crate::journal::writer::{JournalConfig, JournalWriter};
use crate::options::StoreOptions;
use crate::pool::{Pool, pool_dir};
use crate::queue::Pending;
use crate::ring::{self, Ring};
use crate::segment::cursor::{CursorError, Source};
use crate::segment::handles::Handles;
use crate::segment::index::SegmentIndex;
use crate::segment::open::{OpenError, open_unsealed, read_footer, read_header};
use crate::segment::writer::SegmentWriter;
use crate::segment::{base_of_name, group_dir, segment_path};
use crate::space::Room;
use crate::store::{Inner, LOCK};
use crate::sync::locked;
use bytes::Bytes;
use chronik_core::fs::{FileSystem, FsError, FsErrorKind, OpenMode};
use chronik_core::log_store::StoreHealth;
use chronik_core::{Entry, Env, GroupId, LogError, LogIndex, Watch};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Opens the directory.
pub(crate) fn open(options: StoreOptions, fs: Arc<dyn FileSystem>, env: Env) -> Result<Arc<Inner>, LogError> {
    let dir = options.dir.clone();
    make_dirs(&*fs, &dir)?;
    let lock = fs.lock(&dir.join(LOCK)).map_err(io_error)?;
    let mut replayed = replay(&*fs, &dir, options.journal_file_bytes)?;
    let images = replayed.recovered.image.groups.clone();
    refuse_orphans(&*fs, &dir, &replayed)?;
    let mut groups = BTreeMap::new();
    for (id, image) in &images {
        let group = recover_group(&*fs, &dir, *id, image)?;
        load_checkpoints(&group, &replayed)?;
        groups.insert(*id, Arc::new(group));
    }
    remove_strangers(&*fs, &dir, &groups).map_err(io_error)?;
    let mut pool = open_pool(&*fs, &dir, &groups).map_err(io_error)?;
    let wanted = options.journal_file_bytes.saturating_add(options.free_bytes_min);
    let free = fs.free_bytes(&dir).ok();
    if free.is_some_and(|free| free < wanted) {
        pool.give_up(&*fs, &dir);
    }
    keep_torn(&*fs, &dir, &replayed, wanted, free);
    let config = JournalConfig {
        dir,
        file_bytes: options.journal_file_bytes,
        files_max: options.journal_files_max,
        free_bytes_min: options.free_bytes_min,
    };
    let recovered = replayed.recovered;
    let journal =
        JournalWriter::start(config, Arc::clone(&fs), Arc::clone(&env.rng), recovered).map_err(io_error)?;
    let inner = Arc::new(Inner {
        journal_room: AtomicU64::new(journal.whole_room()),
        journal: Mutex::new(journal),
        background: Mutex::new(Background::new(pool)),
        requests: Mutex::new(Requests::default()),
        groups: Mutex::new(groups),
        pending: Mutex::new(Pending::default()),
        ring: Mutex::new(Ring::default()),
        handles: Handles::new(options.open_files_max, options.maps_max),
        health: Watch::new(StoreHealth::Working),
        uncopied_bytes: AtomicU64::new(0),
        free_bytes: AtomicU64::new(0),
        refused_bytes: AtomicU64::new(0),
        lock: Mutex::new(Some(lock)),
        closed: AtomicBool::new(false),
        options,
        fs,
        env,
    });
    inner.look_at_space();
    for (id, image) in &images {
        let live = replayed.entries.remove(id).unwrap_or_default();
        deliver(&inner, *id, image, &replayed.found, live)?;
    }
    make_space(&inner)?;
    inner.start_background();
    Ok(inner)
}

/// Keeps the torn end of the journal aside, where there is one, and space for it beside the `wanted_bytes` of the start.
fn keep_torn(fs: &dyn FileSystem, dir: &Path, replayed: &Replayed, wanted_bytes: u64, free: Option<u64>) {
    let needed = wanted_bytes.saturating_add(replayed.live_bytes());
    let fits = |torn: &&Torn| free.is_some_and(|free| free >= needed.saturating_add(torn.kept_bytes()));
    let kept = replayed.torn.as_ref().filter(fits);
    torn::trim(fs, dir, kept, free.is_some_and(|free| free < wanted_bytes));
    match kept {
        Some(torn) => torn.keep(fs, dir),
        None if replayed.torn.is_some() => {
            log::warn!("torn_tail_not_kept reason=\"the start needs the space\"");
        }
        None => {}
    }
}

/// On a disk that is nearly full: copies what only the journal has. Its space is there as a rule, in segments that were
/// not synced before, and counts twice until then. Where the journal itself got less than a file, its older files are
/// freed before anything else, as the store may be killed again.
fn make_space(inner: &Arc<Inner>) -> Result<(), LogError> {
    inner.look_at_space();
    let wanted = {
        let journal = locked(&inner.journal);
        journal.is_short().then(|| journal.holders(1))
    };
    if wanted.is_none() && inner.has_space_for(Room::Common, 0) {
        return Ok(());
    }
    let groups: Vec<_> = locked(&inner.groups).values().cloned().collect();
    {
        let mut background = locked(&inner.background);
        inner.give_up_pool(&mut background.pool);
        for group in groups.iter().filter(|group| group.damaged.is_none()) {
            let holds = wanted.as_ref().is_some_and(|holders| holders.contains(&group.id));
            let made = if holds {
                inner.sweep(&mut background, group)
            } else {
                inner.copy_group(&mut background, group, u64::MAX)
            };
            allow_full(inner, made)?;
        }
    }
    inner.flush_control()?;
    if wanted.is_some() {
        let rolled = locked(&inner.journal).roll_over();
        allow_full(inner, rolled.map(drop))?;
        inner.flush_control()?;
    }
    inner.look_at_space();
    Ok(())
}

/// A full disk is no reason not to open.
fn allow_full(inner: &Inner, made: Result<(), FsError>) -> Result<(), LogError> {
    match made {
        Err(error) if error.kind == FsErrorKind::NoSpace => {
            inner.set_full(true);
            Ok(())
        }
        other => other.map_err(io_error),
    }
}

/// Makes the directories and their names durable.
fn make_dirs(fs: &dyn FileSystem, dir: &Path) -> Result<(), LogError> {
    let journal = journal_dir(dir);
    let parts = [dir.join("groups"), journal.clone(), pool_dir(dir)];
    for part in &parts {
        fs.create_dir_all(part).map_err(io_error)?;
    }
    for path in parts.iter().map(std::path::PathBuf::as_path).chain([dir]) {
        fs.sync_dir(path).map_err(io_error)?;
    }
    // The first journal file is made after this. Until there is one, the names above may be new too.
    if !fs.list(&journal).map_err(io_error)?.is_empty() {
        return Ok(());
    }
    let above = dir.ancestors().skip(1);
    for path in above.filter(|above| !above.as_os_str().is_empty()) {
        match fs.sync_dir(path) {
            // A directory in which this process may do nothing was there before.
            Err(error) if error.kind == FsErrorKind::Denied => {
                log::debug!("directory_not_synced path={} error={error}", path.display());
            }
            other => other.map_err(io_error)?,
        }
    }
    Ok(())
}

/// Data without a journal is not a new store.
fn refuse_orphans(fs: &dyn FileSystem, dir: &Path, replayed: &Replayed) -> Result<(), LogError> {
    if !replayed.found.is_empty() {
        return Ok(());
    }
    let names = fs.list(&dir.join("groups")).map_err(io_error)?;
    if names.is_empty() {
        return Ok(());
    }
    let reason = "there are groups, and no journal file has a valid head";
    Err(damaged(damage(dir, &journal_dir(dir), 0..1, None, reason)))
}

/// Removes what lies in the directory of groups and belongs to none.
fn remove_strangers(
    fs: &dyn FileSystem,
    dir: &Path,
    groups: &BTreeMap<GroupId, Arc<Group>>,
) -> Result<(), FsError> {
    for entry in fs.list(&dir.join("groups"))? {
        let known = entry
            .name
            .parse()
            .is_ok_and(|id| groups.contains_key(&GroupId(id)));
        if known || !entry.is_dir {
            continue;
        }
        let path = dir.join("groups").join(&entry.name);
        for file in fs.list(&path)? {
            fs.remove(&path.join(&file.name))?;
        }
        fs.remove(&path)?;
    }
    Ok(())
}

/// The files that new segments may use.
fn open_pool(
    fs: &dyn FileSystem,
    dir: &Path,
    groups: &BTreeMap<GroupId, Arc<Group>>,
) -> Result<Pool, FsError> {
    let mut in_use = HashSet::new();
    for group in groups.values() {
        if group.damaged.is_some() {
            // Which files it has is not known: nothing is used again until it is.
            return Ok(Pool::default());
        }
        let state = locked(&group.state);
        let files = state.segs.iter().filter_map(Seg::file);
        in_use.extend(files.map(|file| file.header.generation));
    }
    Pool::open(fs, dir, &in_use)
}

/// A group as the journal and its segments describe it, without the entries that only the journal has. Damage of a
/// segment is kept for whoever opens the group; other groups are not touched by it.
fn recover_group(
    fs: &dyn FileSystem,
    dir: &Path,
    id: GroupId,
    image: &GroupImage,
) -> Result<Group, LogError> {
    let mut state = GroupState {
        purged: image.purged,
        last: image.stored.through,
        durable: image.stored.through.index,
        offset_start: image.offset_start,
        offset_end: image.stored.next_offset,
        hard_state: image.hard_state,
        commit_hint: image.commit_hint,
        truncations: image.truncations,
        start: image.start,
        segment_bytes: image.segment_bytes,
        rolls: image.rolls.iter().copied().collect(),
        copied: image.stored.through.index,
        ..GroupState::default()
    };
    for note in &image.checkpoints {
        state.checkpoints.push(CheckpointRef {
            at: note.at,
            next_offset: note.next_offset,
            bytes: note.bytes,
            crc: note.crc,
            data: None,
            durable: true,
            call: 0,
        });
    }
    let writer = match recover_segments(fs, dir, id, image, &mut state) {
        Ok(found) => found,
        Err(error @ (LogError::Damaged(_) | LogError::UnsupportedFormat(_))) => {
            log::error!("group_damaged group={id} error={error}");
            return Ok(Group::new(id, state, Some(error)));
        }
        Err(error) => return Err(error),
    };
    let group = Group::new(id, state, None);
    *locked(&group.writer) = writer;
    Ok(group)
}

/// Opens the segments that the journal vouches for, and removes the others.
fn recover_segments(
    fs: &dyn FileSystem,
    dir: &Path,
    id: GroupId,
    image: &GroupImage,
    state: &mut GroupState,
) -> Result<Option<SegmentWriter>, LogError> {
    let group_dir = group_dir(dir, id);
    let names = match fs.list(&group_dir) {
        Err(error) if error.kind == FsErrorKind::NotFound => Vec::new(),
        other => other.map_err(io_error)?,
    };
    let (start, through) = (image.start.before.index, image.stored.through.index);
    let mut bases = Vec::new();
    for name in names {
        let base = base_of_name(&name.name).filter(|base| *base > start && *base <= through);
        let kept_checkpoint = index_of_name(&name.name)
            .is_some_and(|index| image.checkpoints.iter().any(|note| note.at.index == index));
        match base {
            Some(base) => bases.push(base),
            None if kept_checkpoint => {}
            None => fs.remove(&group_dir.join(&name.name)).map_err(io_error)?,
        }
    }
    bases.sort();
    let mut next = (image.start.before.index.next(), image.start.offset);
    let mut writer = None;
    for (place, base) in bases.iter().enumerate() {
        let path = segment_path(dir, id, *base);
        let wrong = |reason: &str| damaged(damage(dir, &path, 0..1, Some(id), reason));
        if *base != next.0 {
            return Err(wrong("the segment before this one is missing"));
        }
        let is_last = place + 1 == bases.len();
        let opened = open_segment(fs, dir, &path, image, is_last)?;
        let header = opened.file.header;
        if header.group != id || header.base != *base || header.base_offset != next.1 {
            return Err(wrong("the segment's header does not fit its place"));
        }
        let Some(mut seg) = Seg::from_index(&opened.file, &opened.index) else {
            return Err(wrong("the segment has no entries"));
        };
        next = (seg.last.index.next(), seg.end_offset);
        for start in &opened.index.terms {
            state.terms.push_start(*start);
        }
        writer = opened.attach(&mut seg);
        state.segs.push_back(seg);
    }
    if next.0 != through.next() || next.1 != image.stored.next_offset {
        let reason = format!("the segments end before index {}, which was durable", next.0);
        return Err(damaged(damage(dir, &group_dir, 0..1, Some(id), reason)));
    }
    state.terms.trim(start.next(), image.start.offset);
    Ok(writer)
}

/// A segment that was opened again.
struct Opened {
    file: Arc<SegmentFile>,
    index: SegmentIndex,
    how: OpenedAs,
}

enum OpenedAs {
    Sealed(SealedSegment),
    Unsealed(SegmentWriter),
}

impl Opened {
    /// Puts the file into its segment; returns the writer where it takes entries.
    fn attach(self, seg: &mut Seg) -> Option<SegmentWriter> {
        match self.how {
            OpenedAs::Sealed(sealed) => {
                seg.closed = true;
                seg.disk = Disk::Sealed(Arc::new(sealed));
                None
            }
            OpenedAs::Unsealed(writer) => {
                seg.disk = Disk::Open(Arc::clone(&writer.seg));
                Some(writer)
            }
        }
    }
}

fn open_segment(
    fs: &dyn FileSystem,
    dir: &Path,
    path: &Path,
    image: &GroupImage,
    is_last: bool,
) -> Result<Opened, LogError> {
    let file = fs.open(path, OpenMode::Read).map_err(io_error)?;
    let file_bytes = file.size().map_err(io_error)?;
    let of = match read_header(&*file, path) {
        Ok(of) => Arc::new(of),
        Err(OpenError::Version(version)) => {
            let what = format!("{} has version {version}", path.display());
            return Err(LogError::UnsupportedFormat(what));
        }
        Err(OpenError::Cursor(CursorError::Io(error))) => return Err(io_error(error)),
        Err(OpenError::Cursor(CursorError::Damaged(range, reason))) => {
            return Err(damaged(damage(dir, path, range, None, reason)));
        }
    };
    let source = Source::File(Arc::clone(&file));
    let stored = &image.stored;
    let footer = if is_last && !stored.sealed && stored.exact {
        None
    } else {
        Some(read_footer(&of, &source, file_bytes))
    };
    let ends_here = |index: &SegmentIndex| !is_last || index.last == stored.through;
    match footer {
        Some(Ok((trailer, index))) if ends_here(&index) => {
            let sealed = SealedSegment::new(Arc::clone(&of), file_bytes, trailer);
            return Ok(Opened {
                file: of,
                index,
                how: OpenedAs::Sealed(sealed),
            });
        }
        Some(Err(error)) if !is_last || stored.sealed => return Err(error.into_log_error(dir, &of)),
        _ => {}
    }
    let (index, at) =
        open_unsealed(&of, &source, file_bytes, stored).map_err(|error| error.into_log_error(dir, &of))?;
    let seg = Arc::new(OpenSegment {
        file: Arc::clone(&of),
        index: Mutex::new(index.clone()),
        writing: Mutex::new(None),
    });
    Ok(Opened {
        file: of,
        index,
        how: OpenedAs::Unsealed(SegmentWriter {
            seg,
            at,
            unsynced_bytes: 0,
            begun_to: at.end,
            unnamed: false,
            reused: false,
            file_bytes,
            readers: true,
        }),
    })
}

/// Brings the data of checkpoints into memory that lies in the journal alone.
fn load_checkpoints(group: &Group, replayed: &Replayed) -> Result<(), LogError> {
    let image = replayed.recovered.image.groups.get(&group.id);
    let waiting: HashMap<LogIndex, bool> = image
        .into_iter()
        .flat_map(|image| &image.checkpoints)
        .map(|note| (note.at.index, note.stored))
        .collect();
    let mut state = locked(&group.state);
    for kept in &mut state.checkpoints {
        if waiting.get(&kept.at.index).copied().unwrap_or(true) {
            continue;
        }
        let place = replayed.checkpoints.get(&(group.id, kept.at.index));
        let found = place.and_then(|place| replayed.found.get(place.file).map(|found| (found, place.at)));
        let Some((found, at)) = found else {
            return Err(LogError::Truncated);
        };
        kept.data = Some(read_payload(found, at, kept.bytes, kept.crc)?);
    }
    Ok(())
}

fn read_payload(found: &Found, at: u64, bytes: u32, crc: u32) -> Result<Bytes, LogError> {
    let mut payload = vec![0; bytes as usize];
    let start = at + crate::frame::HEADER_BYTES as u64;
    found.file.read_at(&mut payload, start).map_err(io_error)?;
    if crc32c::crc32c(&payload) != crc {
        let detail = format!("{}: changed while it was read", found.path.display());
        return Err(LogError::Io(FsError::new(FsErrorKind::Io, detail)));
    }
    Ok(payload.into())
}

/// Gives a group the entries that only the journal has.
fn deliver(
    inner: &Arc<Inner>,
    id: GroupId,
    image: &GroupImage,
    found: &[Found],
    live: VecDeque<LiveEntry>,
) -> Result<(), LogError> {
    let Some(group) = locked(&inner.groups).get(&id).cloned() else {
        return Ok(());
    };
    if group.damaged.is_some() {
        return Ok(());
    }
    for entry in live {
        let Some(found) = found.get(entry.place.file) else {
            continue;
        };
        let payload = read_payload(found, entry.place.at, entry.meta.payload_bytes, entry.crc)?;
        let tail = TailEntry {
            entry: Entry {
                id: entry.meta.id,
                kind: entry.meta.kind,
                base_offset: entry.meta.base_offset,
                record_count: entry.meta.record_count,
                max_timestamp_ms: entry.meta.max_timestamp_ms,
                payload,
            },
            crc: entry.crc,
        };
        admit(inner, &group, tail)?;
    }
    let mut state = locked(&group.state);
    state.apply_rolls();
    if state.last != image.last || state.offset_end != image.offset_end {
        let reason = format!("entries after index {} are in no file", state.last.index);
        return Err(damaged(damage(
            &inner.options.dir,
            &journal_dir(&inner.options.dir),
            0..1,
            Some(id),
            reason,
        )));
    }
    inner.queue_copy(&group, &mut state);
    if state.checkpoints.iter().any(|kept| kept.data.is_some()) {
        inner.queue_checkpoints(&group);
    }
    Ok(())
}

fn admit(inner: &Arc<Inner>, group: &Arc<Group>, tail: TailEntry) -> Result<(), LogError> {
    let bytes = tail.bytes();
    let index = tail.entry.id.index;
    {
        let mut state = locked(&group.state);
        if index != state.last.index.next() || tail.entry.base_offset != state.offset_end {
            let reason = format!("entries after index {} are in no file", state.last.index);
            let path = journal_dir(&inner.options.dir);
            return Err(damaged(damage(
                &inner.options.dir,
                &path,
                0..1,
                Some(group.id),
                reason,
            )));
        }
        state.admit(tail);
        state.durable = index;
    }
    locked(&inner.ring).push(group, index, bytes);
    let uncopied = inner.uncopied_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if uncopied > inner.options.copy_bytes {
        // Copied now, so that recovery needs no more memory than the running store.
        allow_full(
            inner,
            inner.copy_group(&mut locked(&inner.background), group, u64::MAX),
        )?;
        ring::evict(&inner.ring, inner.options.tail_bytes_max);
    }
    Ok(())
}
