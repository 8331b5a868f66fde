use super::*;

fn disk() -> SimDisk {
    let disk = SimDisk::new(Seed(1));
    disk.create_dir_all(Path::new("/d")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn create(disk: &SimDisk, path: &str) -> Arc<dyn File> {
    disk.open(Path::new(path), OpenMode::CreateNew).unwrap()
}

fn content(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    disk.content(Path::new(path))
}

fn dropped(disk: &SimDisk) -> SimDisk {
    disk.snapshot(&mut DropAll, Unit::Sector, Seed(2))
}

#[test]
fn content_needs_a_sync_and_a_name_needs_another() {
    let disk = disk();
    let file = create(&disk, "/d/a");
    file.write_at(&[b"hello ", b"world"], 0).unwrap();
    assert_eq!(content(&disk, "/d/a").unwrap(), b"hello world");
    assert_eq!(content(&dropped(&disk), "/d/a"), None, "no name");
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(content(&dropped(&disk), "/d/a").unwrap(), b"", "no content");
    file.sync_data().unwrap();
    file.write_at(&[b"HELLO"], 0).unwrap();
    assert_eq!(content(&dropped(&disk), "/d/a").unwrap(), b"hello world");
    let kept = disk.snapshot(&mut KeepAll, Unit::Page, Seed(2));
    assert_eq!(content(&kept, "/d/a").unwrap(), b"HELLO world");
}

#[test]
fn every_subset_of_unsynced_sectors_can_survive() {
    let disk = disk();
    let file = create(&disk, "/d/a");
    file.write_at(&[&[1; 1536]], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(&[&[2; 1536]], 0).unwrap();
    let mut seen = Vec::new();
    let mut chooser = Enumerate::default();
    loop {
        let after = disk.snapshot(&mut chooser, Unit::Sector, Seed(2));
        let bytes = content(&after, "/d/a").unwrap();
        assert_eq!(bytes.len(), 1536);
        seen.push((bytes[0], bytes[512], bytes[1024]));
        if !chooser.advance() {
            break;
        }
    }
    seen.sort_unstable();
    assert_eq!(seen.len(), 8);
    seen.dedup();
    assert_eq!(seen.len(), 8, "each subset once");
}

#[test]
fn an_older_version_of_a_sector_can_survive() {
    let disk = disk();
    let file = create(&disk, "/d/a");
    disk.sync_dir(Path::new("/d")).unwrap();
    for version in 1..=3_u8 {
        file.write_at(&[&[version; 4]], 0).unwrap();
    }
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..100 {
        let after = disk.snapshot(&mut Seed(round).prng(), Unit::Sector, Seed(2));
        seen.extend(content(&after, "/d/a").unwrap().first().copied());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn a_failed_sync_loses_pages_that_reads_still_show() {
    let disk = disk();
    let file = create(&disk, "/d/a");
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(&[&vec![7; 1 << 20]], 0).unwrap();
    disk.inject(Fault::nth(Op::Sync, 0, FsErrorKind::Io));
    assert_eq!(file.sync_data().unwrap_err().kind, FsErrorKind::Io);
    assert_eq!(file.sync_data(), Ok(()), "the second sync has nothing to do");
    assert_eq!(content(&disk, "/d/a").unwrap(), vec![7; 1 << 20]);
    let after = content(&dropped(&disk), "/d/a").unwrap();
    assert_ne!(after, vec![7; 1 << 20]);
    file.advise(0, 1 << 20, chronik_core::fs::Advice::DropCache);
    let mut now = content(&disk, "/d/a").unwrap();
    now.truncate(after.len());
    assert_eq!(now, after, "without the cache, reads see the medium");
}

#[test]
fn a_rename_is_whole_or_absent_in_both_directories() {
    let disk = disk();
    disk.create_dir_all(Path::new("/e")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    create(&disk, "/d/a").sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.rename(Path::new("/d/a"), Path::new("/e/b")).unwrap();
    for round in 0..20 {
        let after = disk.snapshot(&mut Seed(round).prng(), Unit::Sector, Seed(2));
        assert_eq!(after.files().len(), 1);
    }
    disk.sync_dir(Path::new("/e")).unwrap();
    assert_eq!(dropped(&disk).files(), [(PathBuf::from("/e/b"), 0)]);
}

#[test]
fn a_removed_file_comes_back_unless_the_directory_was_synced() {
    let disk = disk();
    let file = create(&disk, "/d/a");
    file.write_at(&[b"old"], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.remove(Path::new("/d/a")).unwrap();
    let mut read = [0; 3];
    assert_eq!(file.read_at(&mut read, 0), Ok(3), "an open file stays");
    assert_eq!(content(&dropped(&disk), "/d/a").unwrap(), b"old");
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(content(&dropped(&disk), "/d/a"), None);
}

#[test]
fn a_cut_file_can_come_back_long_and_never_shows_old_bytes_after_a_synced_cut() {
    let disk = disk();
    let file = create(&disk, "/d/a");
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(&[&[9; 1024]], 0).unwrap();
    file.sync_data().unwrap();
    file.set_len(100).unwrap();
    assert_eq!(content(&dropped(&disk), "/d/a").unwrap(), [9; 1024]);
    file.sync_data().unwrap();
    assert_eq!(content(&dropped(&disk), "/d/a").unwrap(), [9; 100]);
    file.set_len(1024).unwrap();
    let mut expected = vec![9; 100];
    expected.resize(1024, 0);
    assert_eq!(content(&disk, "/d/a").unwrap(), expected);
}

#[test]
fn space_is_counted_by_page_and_reserved_space_takes_writes_when_full() {
    let disk = disk();
    disk.set_capacity(Some(3 * PAGE_BYTES));
    let reserved = create(&disk, "/d/r");
    reserved.allocate(2 * PAGE_BYTES).unwrap();
    let other = create(&disk, "/d/o");
    other.write_at(&[&[1; 10]], 0).unwrap();
    assert_eq!(disk.free_bytes(Path::new("/")), Ok(0));
    let error = other.write_at(&[&[1; 8192]], 4000).unwrap_err();
    assert_eq!(error.kind, FsErrorKind::NoSpace);
    assert_eq!(other.size(), Ok(4096), "what fitted was written");
    reserved.write_at(&[&[2; 8192]], 0).unwrap();
    disk.remove(Path::new("/d/r")).unwrap();
    assert_eq!(disk.used_bytes(), 3 * PAGE_BYTES, "an open file keeps its space");
    drop(reserved);
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(disk.used_bytes(), PAGE_BYTES);
}

#[test]
fn a_write_under_a_live_map_is_a_violation() {
    let disk = disk();
    let file = create(&disk, "/d/a");
    file.write_at(&[&[1; 100]], 0).unwrap();
    let map = file.map(50).unwrap();
    let slice = map.slice(10..20);
    drop(map);
    file.write_at(&[&[2; 10]], 50).unwrap();
    assert!(disk.violations().is_empty(), "beyond the map all is allowed");
    file.write_at(&[&[2; 10]], 45).unwrap();
    assert_eq!(disk.violations().len(), 1);
    file.set_len(20).unwrap();
    assert_eq!(disk.violations().len(), 2);
    assert_eq!(&slice[..], [1; 10]);
    drop(slice);
    file.write_at(&[&[3; 10]], 0).unwrap();
    assert_eq!(disk.violations().len(), 2);
}

#[test]
fn the_power_goes_before_the_step_that_was_named() {
    let disk = disk();
    let file = create(&disk, "/d/a");
    let steps = disk.stats().steps;
    disk.power_off_at(steps + 1);
    file.write_at(&[b"a"], 0).unwrap();
    assert_eq!(file.write_at(&[b"b"], 0).unwrap_err().kind, FsErrorKind::Io);
    assert!(disk.power_is_off());
    assert!(file.read_at(&mut [0], 0).is_err());
    assert_eq!(content(&disk, "/d/a").unwrap(), b"a");
}

#[test]
fn a_lock_is_held_once_and_ends_with_its_holder_or_the_power() {
    let disk = disk();
    let held = disk.lock(Path::new("/d/LOCK")).unwrap();
    assert_eq!(
        disk.lock(Path::new("/d/LOCK")).unwrap_err().kind,
        FsErrorKind::Locked
    );
    let after = disk.snapshot(&mut KeepAll, Unit::Page, Seed(2));
    assert!(after.lock(Path::new("/d/LOCK")).is_ok());
    drop(held);
    assert!(disk.lock(Path::new("/d/LOCK")).is_ok());
}

#[test]
fn a_failed_directory_sync_is_not_repaired_by_the_next() {
    let lost = (0..50).any(|round| {
        let disk = SimDisk::new(Seed(round));
        create(&disk, "/a");
        disk.inject(Fault::nth(Op::SyncDir, 0, FsErrorKind::Io));
        assert!(disk.sync_dir(Path::new("/")).is_err());
        assert!(disk.sync_dir(Path::new("/")).is_ok());
        dropped(&disk).files().is_empty()
    });
    assert!(lost);
}

#[test]
fn a_flipped_bit_is_seen_by_reads_and_survives() {
    let disk = disk();
    let file = create(&disk, "/d/a");
    file.write_at(&[&[0; 4]], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    assert!(disk.flip_bit(Path::new("/d/a"), 2, 3));
    assert!(!disk.flip_bit(Path::new("/d/a"), 4, 0));
    assert_eq!(content(&disk, "/d/a").unwrap(), [0, 0, 8, 0]);
    assert_eq!(content(&dropped(&disk), "/d/a").unwrap(), [0, 0, 8, 0]);
}
