//! Single-bit flips at every byte of every file of a small store.

use super::compare::{check_run, compare};
use super::crashes::split_purge;
use super::driver::{Acted, Driver, Stop};
use super::lab::{Lab, Subject};
use super::recovered;
use super::{Check, Scale, must};
use crate::check::{Failure, Verdict, ensure};
use crate::model::GroupModel;
use crate::world::disk::{DropAll, KeepAll, Unit};
use crate::world::{Seed, SimDisk};
use chronik_core::log_store::Read;
use chronik_core::{GroupId, GroupLog, LogError, LogReader};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub(super) const CHECKS: &[Check] = &[
    must(
        "LS-DUR-09",
        "a_flipped_bit_of_a_closed_store_is_found_or_harmless",
        closed,
    ),
    must(
        "LS-DUR-09",
        "a_flipped_bit_after_a_crash_is_found_or_harmless_but_for_the_last_sync",
        crashed,
    ),
];

fn script(driver: &mut Driver<'_>) -> Acted {
    for round in 0..4 {
        driver.append(1, &[700, 60, 900])?;
        driver.append(2, &[500, 10])?;
        driver.vote(1, 1)?;
        driver.checkpoint(2, 0, 200)?;
        driver.sync()?;
        if round == 1 {
            driver.truncate(1, 2)?;
            driver.append(1, &[300])?;
            driver.roll(1)?;
        }
        if round == 2 {
            split_purge(driver, 1, 3, 2)?;
        }
        driver.hint(1)?;
    }
    driver.sync()?;
    driver.append(1, &[100, 1500, 2500])?;
    driver.append(2, &[100])?;
    driver.sync()
}

pub(super) fn built<'a>(lab: &'a Lab<'a>) -> Result<Driver<'a>, Failure> {
    let mut driver = Driver::fresh(lab, "flips")?;
    match script(&mut driver) {
        Ok(()) => {}
        Err(Stop::Failed(failure)) => return Err(failure),
        Err(Stop::PowerOff) => return Err(Failure::new("the power went though nobody cut it")),
    }
    driver.compare()?;
    Ok(driver)
}

/// What a store with one flipped bit showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Everything is answered as if nothing had happened.
    Harmless,
    /// Something is refused as damaged.
    Found,
}

/// Every byte of every file, one bit each; in a longer run every bit.
pub(super) fn places(lab: &Lab<'_>, disk: &SimDisk) -> Vec<(PathBuf, u64, u8)> {
    let mut places = Vec::new();
    for (path, len) in disk.files() {
        for byte in 0..len {
            for turn in 0..lab.effort.min(8) {
                let bit = (lab.seed.nth(byte).0 + turn) % 8;
                places.push((path.clone(), byte, u8::try_from(bit).unwrap_or(0)));
            }
        }
    }
    places
}

fn closed(lab: &Lab<'_>) -> Verdict {
    let mut driver = built(lab)?;
    let models: BTreeMap<u64, GroupModel> = driver
        .groups
        .iter()
        .map(|(group, tracked)| (*group, tracked.model().clone()))
        .collect();
    for tracked in driver.groups.values_mut() {
        tracked.log = None;
    }
    let (disk, _) = driver.subject.close()?;
    let opened = lab.open(
        disk.snapshot(&mut KeepAll, Unit::Page, lab.seed),
        lab.seed,
        Scale::Small,
    );
    ensure!(
        opened.is_ok(),
        "the undamaged store does not open: {:?}",
        opened.err()
    );
    for (path, byte, bit) in places(lab, &disk) {
        let place = format!("bit {bit} of byte {byte} of {}", path.display());
        let image = disk.snapshot(&mut KeepAll, Unit::Page, lab.seed);
        ensure!(image.flip_bit(&path, byte, bit), "{place} is not there");
        let seen = judge(lab, image, &models).map_err(|failure| failure.at(&place))?;
        count(lab, seen);
    }
    lab.marks.require(&["flips found", "flips harmless"])
}

fn count(lab: &Lab<'_>, seen: Seen) {
    lab.marks.hit(match seen {
        Seen::Found => "flips found",
        Seen::Harmless => "flips harmless",
    });
}

/// Opens a store and reads everything: each answer is the model's, or says that something is damaged.
pub(super) fn judge(
    lab: &Lab<'_>,
    disk: SimDisk,
    models: &BTreeMap<u64, GroupModel>,
) -> Result<Seen, Failure> {
    let subject = match lab.open(disk, lab.seed, Scale::Small) {
        Ok(subject) => subject,
        Err(LogError::Damaged(_) | LogError::UnsupportedFormat(_)) => return Ok(Seen::Found),
        Err(error) => return Err(Failure(format!("the store does not open: {error}"))),
    };
    let known: Vec<GroupId> = models.keys().map(|group| GroupId(*group)).collect();
    let groups = subject.store.groups();
    ensure!(
        groups == known,
        "the groups are {groups:?}, not {known:?}, and nobody says why"
    );
    let mut seen = Seen::Harmless;
    for (group, model) in models {
        let log = match subject.store.open_group(GroupId(*group), super::lab::SMALL) {
            Ok(log) => log,
            Err(LogError::Damaged(_) | LogError::UnsupportedFormat(_)) => {
                seen = Seen::Found;
                continue;
            }
            Err(error) => return Err(Failure(format!("group {group} does not open: {error}"))),
        };
        let of_group =
            group_answers(&subject, &log, model).map_err(|failure| failure.at(format!("group {group}")))?;
        if of_group == Seen::Found {
            seen = Seen::Found;
        }
        subject.settle();
    }
    Ok(seen)
}

/// The answer of a read, or `None` where it says that something is damaged.
fn sound<T>(
    subject: &Subject<'_>,
    what: &str,
    read: Result<Read<T>, LogError>,
) -> Result<Option<T>, Failure> {
    match subject.outcome(read)? {
        Ok(answer) => Ok(Some(answer)),
        Err(LogError::Damaged(_)) => Ok(None),
        Err(error) => Err(Failure(format!("{what}: {error}"))),
    }
}

fn group_answers(subject: &Subject<'_>, log: &GroupLog, model: &GroupModel) -> Result<Seen, Failure> {
    let reader = &*log.reader;
    if whole(subject, reader, model)? == Seen::Harmless {
        let mut prng = Seed(1).prng();
        compare(subject, reader, model, &mut prng)?;
        return Ok(Seen::Harmless);
    }
    // Damage in one place must not make the others lie.
    let (got, want) = (reader.state(), model.state());
    ensure!(
        (
            got.last,
            got.purged,
            got.offset_start,
            got.offset_end,
            got.hard_state
        ) == (
            want.last,
            want.purged,
            want.offset_start,
            want.offset_end,
            want.hard_state
        ),
        "the state is {got:?}, not {want:?}, and the group opened"
    );
    Ok(Seen::Found)
}

/// Reads every entry by index and by offset, and every checkpoint.
fn whole(subject: &Subject<'_>, reader: &dyn LogReader, model: &GroupModel) -> Result<Seen, Failure> {
    let state = model.state();
    let mut seen = Seen::Harmless;
    for index in state.index_start().0..=state.last.index.0 {
        let range = chronik_core::LogIndex(index)..chronik_core::LogIndex(index + 1);
        let want = model.entries(&range, u64::MAX).unwrap_or_default();
        match sound(subject, "entry", reader.entries(range, 0))? {
            Some(got) => check_run(&format!("entry {index}"), &got, &want, 0)?,
            None => seen = Seen::Found,
        }
    }
    let mut next = state.offset_start;
    while next < state.offset_end {
        let range = next..chronik_core::Offset(next.0 + 1);
        let want = model.read_offsets(&range, u64::MAX).unwrap_or_default();
        match sound(subject, "offset", reader.read_offsets(range, 0))? {
            Some(got) => check_run(&format!("offset {next}"), &got, &want, 0)?,
            None => seen = Seen::Found,
        }
        next = want
            .last()
            .map_or(chronik_core::Offset(next.0 + 1), chronik_core::Entry::end_offset);
    }
    for index in model
        .checkpoint_indexes()
        .into_iter()
        .filter(|index| *index >= state.purged.index)
    {
        match reader.checkpoint(index) {
            Ok(got) => ensure!(
                got == model.checkpoint(index),
                "checkpoint at {index} is another one"
            ),
            Err(LogError::Damaged(_)) => seen = Seen::Found,
            Err(error) => return Err(Failure(format!("checkpoint at {index}: {error}"))),
        }
    }
    Ok(seen)
}

/// Without a clean end nothing can prove that the last sync happened: its frames may be cut as a torn tail. All
/// before it must be found or harmless.
fn crashed(lab: &Lab<'_>) -> Verdict {
    let mut driver = built(lab)?;
    // From here on nothing counts as acknowledged: these are the frames that a flip may cut.
    let last_sync = |driver: &mut Driver<'_>| -> Acted {
        driver.append(1, &[400])?;
        driver.append(2, &[30])?;
        driver.vote(2, 1)?;
        driver.subject.settle();
        Ok(())
    };
    if let Err(Stop::Failed(failure)) = last_sync(&mut driver) {
        return Err(failure);
    }
    let disk = driver.subject.disk.snapshot(&mut DropAll, Unit::Sector, lab.seed);
    for (path, byte, bit) in places(lab, &disk).into_iter().step_by(7) {
        let place = format!("bit {bit} of byte {byte} of {}", path.display());
        let image = disk.snapshot(&mut KeepAll, Unit::Page, lab.seed);
        ensure!(image.flip_bit(&path, byte, bit), "{place} is not there");
        let seen = after_crash(lab, &driver, image).map_err(|failure| failure.at(&place))?;
        count(lab, seen);
    }
    lab.marks.require(&["flips found", "flips harmless"])
}

fn after_crash(lab: &Lab<'_>, driver: &Driver<'_>, image: SimDisk) -> Result<Seen, Failure> {
    let probe = image.snapshot(&mut KeepAll, Unit::Page, lab.seed);
    let subject = match lab.open(probe, lab.seed, Scale::Small) {
        Ok(subject) => subject,
        Err(LogError::Damaged(_) | LogError::UnsupportedFormat(_)) => return Ok(Seen::Found),
        Err(error) => return Err(Failure(format!("the store does not open: {error}"))),
    };
    for (group, tracked) in &driver.groups {
        let log = match subject.store.open_group(GroupId(*group), super::lab::SMALL) {
            Ok(log) => log,
            Err(LogError::Damaged(_) | LogError::UnsupportedFormat(_)) => return Ok(Seen::Found),
            Err(error) => return Err(Failure(format!("group {group} does not open: {error}"))),
        };
        let model = tracked.model();
        let state = log.reader.state();
        let range = state.index_start()..state.last.index.next();
        if state.last == model.state().last && whole(&subject, &*log.reader, model)? == Seen::Found {
            return Ok(Seen::Found);
        }
        match sound(&subject, "all", log.reader.entries(range, u64::MAX))? {
            Some(_) => {}
            None => return Ok(Seen::Found),
        }
    }
    drop(subject);
    recovered::check_image(driver, image, false)?;
    Ok(Seen::Harmless)
}
