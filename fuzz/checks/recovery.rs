//! Changes to the files of a small store: it then opens or refuses, serves nothing that was not written at that place,
//! and `verify` comes to an end. The store is the directory of `storage-mmap/tests/golden`.
//!
//! An input is a list of changes of eight bytes each: what to do, which file, where (two bytes), how much (two bytes), a
//! value, and the file that bytes are copied from.

use bytes::Bytes;
use chronik_conformance::world::{Seed, SimDisk, SimEnv};
use chronik_core::fs::{FileSystem, OpenMode};
use chronik_core::log_store::{GroupLog, LogStore, SegmentPolicy};
use chronik_core::{Entry, EntryKind, LogError, LogId, LogIndex};
use chronik_storage_mmap::{MmapStore, StoreOptions, verify};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

const DIR: &str = "/d";
const POLICY: SegmentPolicy = SegmentPolicy { segment_bytes: 4096 };
/// Changes of one input; more of them find nothing that fewer do not.
const CHANGES: usize = 32;

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn golden() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../storage-mmap/tests/golden/format-1");
        let (mut files, mut left) = (Files::new(), vec![root.clone()]);
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(dir).expect("the golden directory is there") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    let name = path.strip_prefix(&root).expect("below the root").to_owned();
                    files.insert(name, std::fs::read(&path).expect("a file"));
                }
            }
        }
        files
    })
}

fn options() -> StoreOptions {
    let mut options = StoreOptions::new(DIR);
    options.journal_file_bytes = 16 << 10;
    options.journal_files_max = 4;
    options.payload_bytes_max = 4 << 10;
    options.flush_bytes_max = 8 << 10;
    options.tail_bytes_max = 4 << 10;
    options.copy_bytes = 2 << 10;
    options.sync_bytes = 4 << 10;
    options.pool_bytes_max = 16 << 10;
    options.free_bytes_min = 0;
    options
}

fn change(files: &mut Files, step: &[u8; 8]) {
    let [what, which, at_0, at_1, len_0, len_1, value, from] = *step;
    let names: Vec<PathBuf> = files.keys().cloned().collect();
    let pick = |number: u8| names.get(usize::from(number) % names.len().max(1)).cloned();
    let (Some(name), Some(other)) = (pick(which), pick(from)) else {
        return;
    };
    let source = files.get(&other).cloned().unwrap_or_default();
    let Some(content) = files.get_mut(&name) else {
        return;
    };
    let at = usize::from(u16::from_be_bytes([at_0, at_1])).min(content.len());
    let len = usize::from(u16::from_be_bytes([len_0, len_1]));
    let end = at.saturating_add(len).min(content.len());
    match what % 8 {
        0 => content.get_mut(at).into_iter().for_each(|byte| *byte = value),
        1 => content
            .get_mut(at)
            .into_iter()
            .for_each(|byte| *byte ^= 1 << (value % 8)),
        2 => content.truncate(at),
        3 => content.resize(content.len() + len, value),
        4 => content
            .get_mut(at..end)
            .into_iter()
            .for_each(|range| range.fill(value)),
        5 => drop(content.drain(at..end)),
        6 => {
            let (to, from) = (content.iter_mut().skip(at).take(len), source.iter().skip(at));
            to.zip(from).for_each(|(to, from)| *to = *from);
        }
        _ if value % 2 == 0 => drop(files.remove(&name)),
        _ => *content = source,
    }
}

fn disk(files: &Files) -> SimDisk {
    let disk = SimDisk::new(Seed(1));
    for (name, content) in files {
        let path = Path::new(DIR).join(name);
        let parent = path.parent().expect("below the directory");
        disk.create_dir_all(parent).expect("a directory");
        let file = disk.open(&path, OpenMode::CreateNew).expect("a new file");
        file.write_at(&[content], 0).expect("there is space");
    }
    disk
}

/// Every payload begins with the place that it was written for.
fn is_own(entry: &Entry) -> bool {
    let place = format!("{} {};", entry.id, entry.base_offset.0);
    entry.payload.starts_with(place.as_bytes())
}

fn read(env: &SimEnv, log: &GroupLog) -> Result<(), LogError> {
    let state = log.reader.state();
    let indices = state.index_start()..state.last.index.next();
    let wait = |read: chronik_core::log_store::Read<Vec<Entry>>| env.block_on(read.get()).expect("it ends");
    let entries = wait(log.reader.entries(indices.clone(), u64::MAX)?)?;
    for (entry, place) in entries.iter().zip(indices.start.0..) {
        assert!(entry.id.index == LogIndex(place) && is_own(entry), "{entry:?}");
    }
    let offsets = state.offset_start..state.offset_end;
    for entry in wait(log.reader.read_offsets(offsets, u64::MAX)?)? {
        assert!(is_own(&entry), "{entry:?}");
    }
    log.reader.checkpoint(LogIndex(u64::MAX)).map(drop)
}

/// Another entry, which has its place in what was recovered.
fn append(env: &SimEnv, log: &mut GroupLog) -> Result<(), LogError> {
    let state = log.reader.state();
    let id = LogId::new(
        state.last.term.0.max(state.hard_state.term.0),
        state.last.index.0 + 1,
    );
    let entry = Entry {
        id,
        kind: EntryKind::Data,
        base_offset: state.offset_end,
        record_count: 1,
        max_timestamp_ms: 0,
        payload: Bytes::from(format!("{id} {};", state.offset_end.0)),
    };
    let ticket = log.writer.append(&[entry])?;
    env.wait(&ticket).expect("it ends")
}

fn use_store(env: &SimEnv, store: &dyn LogStore) -> Result<(), LogError> {
    for id in store.groups() {
        let mut log = store.open_group(id, POLICY)?;
        read(env, &log)?;
        append(env, &mut log)?;
        read(env, &log)?;
    }
    Ok(())
}

pub(crate) fn check(data: &[u8]) {
    let mut files = golden().clone();
    for step in data.as_chunks::<8>().0.iter().take(CHANGES) {
        change(&mut files, step);
    }
    let (disk, env) = (disk(&files), SimEnv::new(Seed(1)));
    // A report, or why there is none: both are an end.
    drop(verify(&disk, Path::new(DIR)));
    // What is refused is refused with a reason; nothing else is asked of it.
    if let Ok(store) = MmapStore::open(options(), Arc::new(disk.clone()), env.env()) {
        drop(use_store(&env, &store));
        drop(env.run_blocking(|| store.close()));
    }
    assert_eq!(disk.violations(), Vec::<String>::new());
}
