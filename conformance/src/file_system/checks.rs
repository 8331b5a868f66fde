//! What survives a power cut.

use super::{Check, Rig};
use crate::check::{Failure, Marks, Verdict, ensure};
use crate::world::disk::SECTOR_BYTES;
use crate::world::{Prng, Seed};
use chronik_core::fs::{File, FileSystem, FsError, OpenMode};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const CHECKS: &[Check] = &[
    ("FS-01", "what_a_sync_covered_survives_with_its_length", synced),
    ("FS-02", "names_survive_once_their_directory_was_synced", names),
    ("FS-02", "a_rename_is_whole_or_not_at_all", renames),
    ("FS-03", "what_was_not_synced_may_survive_in_any_part", unsynced),
];

fn failed(error: FsError) -> Failure {
    Failure(format!("without any fault: {error}"))
}

/// A directory for one round, durable and empty.
fn place(rig: &mut dyn Rig, round: u64) -> Result<(Arc<dyn FileSystem>, PathBuf), Failure> {
    let (fs, dir) = rig.mount()?;
    let own = dir.join(format!("round-{round}"));
    fs.create_dir_all(&own).map_err(failed)?;
    fs.sync_dir(&dir).map_err(failed)?;
    Ok((fs, own))
}

fn create(fs: &dyn FileSystem, path: &Path, bytes: &[u8]) -> Result<Arc<dyn File>, FsError> {
    let file = fs.open(path, OpenMode::CreateNew)?;
    file.write_at(&[bytes], 0)?;
    Ok(file)
}

fn random(prng: &mut Prng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; 1 + prng.index(most)];
    prng.fill(&mut bytes);
    bytes
}

fn content(fs: &dyn FileSystem, path: &Path) -> Result<Vec<u8>, FsError> {
    let file = fs.open(path, OpenMode::Read)?;
    let mut bytes = vec![0; usize::try_from(file.size()?).unwrap_or(0)];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(bytes)
}

fn synced(rig: &mut dyn Rig, seed: Seed, marks: &Marks) -> Verdict {
    for round in 0..rig.rounds() {
        let (fs, dir) = place(rig, round)?;
        let mut prng = seed.nth(round).prng();
        let want = write_and_sync(&*fs, &dir, &mut prng).map_err(failed)?;
        rig.cut_power()?;
        drop(fs);
        let (fs, _) = rig.mount()?;
        for (path, want) in &want {
            let name = path.display();
            let got = content(&*fs, path).map_err(|error| Failure(format!("{name} is gone: {error}")))?;
            ensure!(
                got.len() == want.len(),
                "{name} has {} bytes after a power cut, and {} were synced",
                got.len(),
                want.len()
            );
            let differs = got.iter().zip(want).position(|(got, want)| got != want);
            ensure!(
                differs.is_none(),
                "byte {} of {name} is not the one that was synced",
                differs.unwrap_or(0)
            );
            marks.hit("synced files");
        }
    }
    marks.require(&["synced files"])
}

/// Files that were written, written over, cut and extended, and what each must be.
fn write_and_sync(
    fs: &dyn FileSystem,
    dir: &Path,
    prng: &mut Prng,
) -> Result<BTreeMap<PathBuf, Vec<u8>>, FsError> {
    let mut want = BTreeMap::new();
    for number in 0..8 {
        let path = dir.join(format!("file-{number}"));
        let mut bytes = random(prng, 20_000);
        let file = create(fs, &path, &bytes)?;
        if prng.chance(50) {
            file.sync_data()?;
        }
        match number % 4 {
            0 => {
                let more = random(prng, 9000);
                file.write_at(&[&more], bytes.len() as u64)?;
                bytes.extend(more);
            }
            1 => {
                let at = prng.index(bytes.len());
                let over = random(prng, bytes.len() - at);
                file.write_at(&[&over], at as u64)?;
                bytes[at..at + over.len()].copy_from_slice(&over);
            }
            2 => {
                bytes.truncate(prng.index(bytes.len()));
                file.set_len(bytes.len() as u64)?;
            }
            _ => {
                bytes.resize(bytes.len() + prng.index(9000), 0);
                file.allocate(bytes.len() as u64)?;
            }
        }
        file.sync_data()?;
        want.insert(path, bytes);
    }
    fs.sync_dir(dir)?;
    // What is not synced beside them is lost or not.
    let beside = random(prng, 9000);
    drop(create(fs, &dir.join("beside"), &beside)?);
    Ok(want)
}

fn names(rig: &mut dyn Rig, seed: Seed, marks: &Marks) -> Verdict {
    for round in 0..rig.rounds() {
        let (fs, dir) = place(rig, round)?;
        let want = change_names(&*fs, &dir, &mut seed.nth(round).prng()).map_err(failed)?;
        rig.cut_power()?;
        drop(fs);
        let (fs, _) = rig.mount()?;
        for (folder, want) in &want {
            let listed = fs.list(folder).map_err(failed)?;
            let got: Vec<&str> = listed.iter().map(|entry| entry.name.as_str()).collect();
            let named: Vec<&str> = want.keys().map(String::as_str).collect();
            ensure!(
                got == named,
                "the names in {} are {got:?}, and {named:?} were synced",
                folder.display()
            );
            for (name, bytes) in want.iter().filter(|(_, bytes)| !bytes.is_empty()) {
                let got = content(&*fs, &folder.join(name)).map_err(failed)?;
                ensure!(
                    got == *bytes,
                    "{name} is another file than the one that was synced"
                );
                marks.hit("synced names");
            }
        }
    }
    marks.require(&["synced names"])
}

/// The files of a directory; nothing stands for a directory.
type Names = BTreeMap<String, Vec<u8>>;

/// Makes names, gives them to other files, takes them away, and syncs; returns what each directory has.
fn change_names(fs: &dyn FileSystem, dir: &Path, prng: &mut Prng) -> Result<Vec<(PathBuf, Names)>, FsError> {
    let mut want = Names::new();
    for name in ["a", "b", "c", "d", "e"] {
        let bytes = random(prng, 600);
        create(fs, &dir.join(name), &bytes)?.sync_data()?;
        want.insert(name.to_owned(), bytes);
    }
    if prng.chance(50) {
        fs.sync_dir(dir)?;
    }
    fs.rename(&dir.join("a"), &dir.join("moved"))?;
    fs.remove(&dir.join("b"))?;
    fs.rename(&dir.join("c"), &dir.join("d"))?;
    let below = dir.join("below");
    fs.create_dir_all(&below)?;
    fs.rename(&dir.join("e"), &below.join("e"))?;
    let mut take = |name: &str| want.remove(name).unwrap_or_default();
    let (moved, _, replaced, inner) = (take("a"), take("b"), take("c"), take("e"));
    want.insert("moved".to_owned(), moved);
    want.insert("d".to_owned(), replaced);
    want.insert("below".to_owned(), Vec::new());
    let inner = Names::from([("e".to_owned(), inner)]);
    fs.sync_dir(&below)?;
    fs.sync_dir(dir)?;
    Ok(vec![(dir.to_owned(), want), (below, inner)])
}

fn renames(rig: &mut dyn Rig, seed: Seed, marks: &Marks) -> Verdict {
    for round in 0..rig.rounds() {
        let (fs, dir) = place(rig, round)?;
        let mut prng = seed.nth(round).prng();
        let (old, new) = (random(&mut prng, 3000), random(&mut prng, 3000));
        let (target, next) = (dir.join("target"), dir.join("next"));
        let prepared = create(&*fs, &target, &old)
            .and_then(|file| file.sync_data())
            .and_then(|()| create(&*fs, &next, &new))
            .and_then(|file| file.sync_data())
            .and_then(|()| fs.sync_dir(&dir))
            .and_then(|()| fs.rename(&next, &target));
        prepared.map_err(failed)?;
        rig.cut_power()?;
        drop(fs);
        let (fs, _) = rig.mount()?;
        let (target, next) = (content(&*fs, &target).ok(), content(&*fs, &next).ok());
        let kept = target.as_ref() == Some(&new) && next.is_none();
        let lost = target.as_ref() == Some(&old) && next.as_ref() == Some(&new);
        ensure!(
            kept || lost,
            "after a rename without a sync the new name is {}, the old one {}",
            which(target.as_ref(), &old, &new),
            which(next.as_ref(), &old, &new)
        );
        marks.hit(if kept { "renames kept" } else { "renames lost" });
    }
    if rig.is_model() {
        return marks.require(&["renames kept", "renames lost"]);
    }
    Ok(())
}

fn which(found: Option<&Vec<u8>>, old: &[u8], new: &[u8]) -> &'static str {
    match found {
        None => "gone",
        Some(bytes) if bytes == old => "the old file",
        Some(bytes) if bytes == new => "the new file",
        Some(_) => "another file",
    }
}

fn unsynced(rig: &mut dyn Rig, seed: Seed, marks: &Marks) -> Verdict {
    const SECTORS: usize = 24;
    let sector = usize::try_from(SECTOR_BYTES).unwrap_or(512);
    for round in 0..rig.rounds() {
        let (fs, dir) = place(rig, round)?;
        let path = dir.join("file");
        let written = write_without_sync(&*fs, &path, SECTORS * sector, &mut seed.nth(round).prng());
        let file = written.map_err(failed)?;
        rig.cut_power()?;
        drop((file, fs));
        let (fs, _) = rig.mount()?;
        let got = content(&*fs, &path).map_err(failed)?;
        let kept: Vec<bool> = got
            .chunks(sector)
            .map(|bytes| bytes.iter().all(|byte| *byte == 2))
            .collect();
        for (bytes, kept) in got.chunks(sector).zip(&kept) {
            let whole = *kept || bytes.iter().all(|byte| *byte == 1);
            ensure!(whole, "a sector has part of what was written");
            marks.hit(if *kept {
                "unsynced writes kept"
            } else {
                "unsynced writes lost"
            });
        }
        if kept.windows(2).any(|pair| pair == [false, true]) {
            marks.hit("writes kept behind one that was lost");
        }
        if fs.list(&dir).is_ok_and(|names| names.len() == 1) {
            marks.hit("unsynced names lost");
        }
    }
    marks.require(&["unsynced writes lost", "unsynced names lost"])?;
    if rig.is_model() {
        return marks.require(&["unsynced writes kept", "writes kept behind one that was lost"]);
    }
    Ok(())
}

/// A file of ones that is durable, and twos over it that are not, in any order; and a name that is not durable.
fn write_without_sync(
    fs: &dyn FileSystem,
    path: &Path,
    len: usize,
    prng: &mut Prng,
) -> Result<Arc<dyn File>, FsError> {
    let sector = usize::try_from(SECTOR_BYTES).unwrap_or(512);
    let file = create(fs, path, &vec![1; len])?;
    file.sync_data()?;
    fs.sync_dir(path.parent().unwrap_or(path))?;
    let mut places: Vec<usize> = (0..len / sector).collect();
    while !places.is_empty() {
        let at = places.swap_remove(prng.index(places.len()));
        file.write_at(&[&vec![2; sector]], (at * sector) as u64)?;
    }
    drop(create(fs, &path.with_extension("new"), &[3])?);
    Ok(file)
}
