//! A directory that a store of format 1 wrote, kept in `tests/golden`: what is on disks today must be read tomorrow.
//!
//! `CHRONIK_WRITE=1` writes it anew. That is right only where the numbers of the formats in `docs/format` change too.

use crate::kit::{Machine, TempDir, open_real};
use crate::sample::{Dump, dump, open_and_dump, options, sample};
use chronik_core::Entry;
use chronik_core::fs::{FileSystem, OpenMode};
use chronik_core::log_store::LogStore;
use chronik_storage_mmap::{RealFs, verify};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The files below `dir` with their content.
fn files_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut left) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// What the store of today writes.
fn written() -> BTreeMap<PathBuf, Vec<u8>> {
    let machine = sample();
    let files = machine.disk.files().into_iter();
    files
        .map(|(path, _)| {
            let content = machine.disk.content(&path).unwrap();
            (path.strip_prefix("/d").unwrap().to_owned(), content)
        })
        .collect()
}

fn line(entry: &Entry) -> String {
    format!(
        "{} {:?} offset {} records {} time {} payload {} crc32c {:08x}",
        entry.id,
        entry.kind,
        entry.base_offset.0,
        entry.record_count,
        entry.max_timestamp_ms,
        entry.payload.len(),
        crc32c::crc32c(&entry.payload)
    )
}

/// All that is read of a store, as text.
fn told(dumps: &[Dump]) -> String {
    let mut text = String::new();
    for dump in dumps {
        writeln!(text, "{:?}", dump.state).unwrap();
        writeln!(text, "{:?}", dump.checkpoint).unwrap();
        for entry in &dump.by_index {
            writeln!(text, "{}", line(entry)).unwrap();
        }
        writeln!(text, "by offset: {} entries", dump.by_offset.len()).unwrap();
    }
    text
}

fn wanted() -> bool {
    std::env::var_os("CHRONIK_WRITE").is_some()
}

#[test]
fn the_files_of_format_1_are_written_byte_for_byte_as_ever() {
    let (written, dir) = (written(), folder().join("format-1"));
    if wanted() {
        let _ = fs::remove_dir_all(&dir);
        for (name, content) in &written {
            fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
            fs::write(dir.join(name), content).unwrap();
        }
        let read = open_and_dump(&sample()).unwrap();
        fs::write(folder().join("format-1.txt"), told(&read)).unwrap();
    }
    let golden = files_below(&dir);
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&written), names(&golden));
    for (name, content) in &written {
        let differs = content.iter().zip(&golden[name]).position(|(a, b)| a != b);
        // A file that takes frames may have zeros behind them, up to a whole block.
        let behind = content.get(golden[name].len()..);
        let padded = behind.is_some_and(|bytes| bytes.len() < 4096 && bytes.iter().all(|byte| *byte == 0));
        assert!(
            differs.is_none() && padded,
            "{}: {} bytes for {}, the first that differs is {differs:?}",
            name.display(),
            content.len(),
            golden[name].len(),
        );
    }
}

#[test]
fn a_directory_of_format_1_is_read_from_a_simulated_disk() {
    let machine = Machine::new(1);
    for (name, content) in files_below(&folder().join("format-1")) {
        let path = Path::new("/d").join(name);
        machine.disk.create_dir_all(path.parent().unwrap()).unwrap();
        let file = machine.disk.open(&path, OpenMode::CreateNew).unwrap();
        file.write_at(&[&content], 0).unwrap();
    }
    let report = verify(&machine.disk, Path::new("/d")).unwrap();
    assert_eq!((report.damages, report.torn), (Vec::new(), None));
    let expected = fs::read_to_string(folder().join("format-1.txt")).unwrap();
    assert_eq!(told(&open_and_dump(&machine).unwrap()), expected);
}

#[test]
fn a_directory_of_format_1_is_read_from_a_real_disk() {
    let dir = TempDir::new("golden");
    for (name, content) in files_below(&folder().join("format-1")) {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    assert_eq!(verify(&RealFs, dir.path()).unwrap().damages, Vec::new());
    let mut own = options();
    own.dir = dir.path().to_owned();
    let store = open_real(own).unwrap();
    let read = dump(|read| futures_lite::future::block_on(read.get()), &store);
    let expected = fs::read_to_string(folder().join("format-1.txt")).unwrap();
    assert_eq!(told(&read.unwrap()), expected);
    store.close().unwrap();
}
