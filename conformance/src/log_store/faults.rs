//! Calls on the file system that fail: one at a time, at every place of a small history.

use super::driver::{Acted, Driver, Stop};
use super::lab::Lab;
use super::recovered::check_image;
use super::{Check, Scale, must, should};
use crate::check::{Failure, Verdict, ensure};
use crate::world::disk::{DropAll, Fault, KeepAll, Op, Unit};
use crate::world::{Seed, SimDisk};
use chronik_core::fs::FsErrorKind;
use chronik_core::log_store::StoreHealth;
use chronik_core::{EntryKind, LogError};
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    must(
        "LS-DUR-11",
        "after_a_failed_sync_nothing_is_acknowledged_any_more",
        failed_syncs,
    ),
    must(
        "LS-DUR-12",
        "a_failed_call_loses_nothing_that_was_acknowledged",
        failed_calls,
    ),
    must(
        "LS-DUR-12",
        "a_full_disk_refuses_appends_and_nothing_else_until_there_is_space",
        full_disk,
    ),
    must(
        "LS-DUR-12",
        "random_histories_on_a_disk_that_fills_up_lose_nothing",
        filling_up,
    ),
    should("LS-OPS-03", "what_was_reserved_fits", reserved),
];

fn script(driver: &mut Driver<'_>) -> Acted {
    driver.append(1, &[300, 900])?;
    driver.vote(1, 1)?;
    driver.sync()?;
    for round in 0..5 {
        driver.append(1, &[900, 900, 900])?;
        driver.append(2, &[1500])?;
        driver.checkpoint(1, 1, 500)?;
        driver.sync()?;
        if round == 2 {
            driver.truncate(1, 2)?;
            driver.roll(2)?;
        }
        driver.purge(1, 6)?;
        driver.append(2, &[100])?;
        driver.sync()?;
    }
    driver.remove(2)?;
    driver.vote(1, 1)?;
    driver.append(1, &[10])?;
    driver.sync()
}

/// Plays the script with one fault. `None` where the store did not open; the flag says whether the fault happened.
fn play<'a>(lab: &'a Lab<'a>, fault: Fault) -> Result<(SimDisk, Option<Driver<'a>>, Acted, bool), Failure> {
    let seed = lab.seed.child("faults");
    let disk = super::lab::disk(seed);
    disk.inject(fault);
    let subject = match lab.open(disk.clone(), seed, Scale::Small) {
        Ok(subject) => subject,
        Err(_) if disk.stats().failed > 0 => return Ok((disk, None, Ok(()), true)),
        Err(error) => return Err(Failure(format!("a new store does not open: {error}"))),
    };
    let mut driver = Driver::new(subject, seed.child("driver").prng());
    driver.faulty = true;
    let acted = script(&mut driver);
    driver.subject.settle();
    if let Err(Stop::Failed(failure)) = driver.poll() {
        return Err(failure);
    }
    let happened = disk.stats().failed > 0;
    Ok((disk, Some(driver), acted, happened))
}

fn failed_syncs(lab: &Lab<'_>) -> Verdict {
    for op in [Op::Sync, Op::SyncDir] {
        for nth in 0..200 {
            let (disk, driver, _, happened) = play(lab, Fault::nth(op, nth, FsErrorKind::Io))?;
            if !happened {
                break;
            }
            lab.marks.hit("failed syncs");
            let place = format!("{op:?} number {nth} fails");
            latched(lab, &disk, driver).map_err(|failure| failure.at(place))?;
        }
    }
    lab.marks.require(&["failed syncs", "stores poisoned"])
}

fn latched(lab: &Lab<'_>, disk: &SimDisk, driver: Option<Driver<'_>>) -> Verdict {
    let Some(mut driver) = driver else {
        return survives_open(lab, disk);
    };
    let health = driver.subject.store.health().get();
    ensure!(
        matches!(health, StoreHealth::Poisoned(_)),
        "the store says that it is {health:?}"
    );
    lab.marks.hit("stores poisoned");
    ensure!(
        driver.late_acks == 0,
        "{} tickets resolved well after it",
        driver.late_acks
    );
    let refused = driver.groups.values_mut().find_map(|tracked| {
        let log = tracked.log.as_mut()?;
        Some(log.writer.append(&[]).map(drop))
    });
    if let Some(answer) = refused {
        ensure!(
            matches!(answer, Err(LogError::Poisoned(_))),
            "a later append answers {answer:?}"
        );
    }
    survives(&driver)
}

/// What survives a crash right after the fault, and after more of the cache was written.
fn survives(driver: &Driver<'_>) -> Verdict {
    let disk = &driver.subject.disk;
    disk.clear_faults();
    for round in 0..4_u64 {
        let seed = Seed(round);
        let image = match round {
            0 => disk.snapshot(&mut DropAll, Unit::Sector, seed),
            1 => disk.snapshot(&mut KeepAll, Unit::Sector, seed),
            _ => disk.snapshot(&mut seed.prng(), Unit::Sector, seed),
        };
        check_image(driver, image, round % 2 == 0).map_err(|failure| failure.at(format!("crash {round}")))?;
    }
    Ok(())
}

fn survives_open(lab: &Lab<'_>, disk: &SimDisk) -> Verdict {
    disk.clear_faults();
    let image = disk.snapshot(&mut DropAll, Unit::Sector, lab.seed);
    lab.open(image, lab.seed, Scale::Small)
        .map(drop)
        .map_err(|error| Failure(format!("the store does not open after a failed start: {error}")))
}

fn failed_calls(lab: &Lab<'_>) -> Verdict {
    let faults = [
        (Op::Write, FsErrorKind::Io),
        (Op::Write, FsErrorKind::NoSpace),
        (Op::Allocate, FsErrorKind::Io),
        (Op::Allocate, FsErrorKind::NoSpace),
        (Op::Create, FsErrorKind::Io),
        (Op::Create, FsErrorKind::NoSpace),
        (Op::SetLen, FsErrorKind::Io),
        (Op::Rename, FsErrorKind::Io),
        (Op::Remove, FsErrorKind::Io),
        (Op::Open, FsErrorKind::Io),
        (Op::Map, FsErrorKind::Io),
        (Op::Read, FsErrorKind::Io),
        (Op::List, FsErrorKind::Io),
    ];
    for (op, error) in faults {
        for nth in 0..60 * lab.effort {
            let (disk, driver, acted, happened) = play(lab, Fault::nth(op, nth, error))?;
            if !happened {
                break;
            }
            lab.marks.hit("failed calls");
            let place = format!("{op:?} number {nth} fails with {error:?}");
            after_failure(lab, &disk, driver, acted).map_err(|failure| failure.at(place))?;
        }
    }
    lab.marks.require(&["failed calls"])
}

fn after_failure(lab: &Lab<'_>, disk: &SimDisk, driver: Option<Driver<'_>>, acted: Acted) -> Verdict {
    let Some(mut driver) = driver else {
        return survives_open(lab, disk);
    };
    let works = driver.subject.store.health().get() == StoreHealth::Working;
    match acted {
        Ok(()) if works => {
            lab.marks.hit("failures absorbed");
            driver.faulty = false;
            if let Err(Stop::Failed(failure)) = driver.sync() {
                return Err(failure);
            }
            driver.compare()?;
        }
        _ => lab.marks.hit("failures reported"),
    }
    survives(&driver)
}

/// Appends until the store says that it is full.
fn fill(driver: &mut Driver<'_>) -> Verdict {
    for _ in 0..20_000 {
        match driver.append(1, &[1000]) {
            Ok(()) => {}
            Err(Stop::Failed(failure)) if failure.0.contains(&LogError::Full.to_string()) => {
                // A refused append changes nothing.
                if let Some(tracked) = driver.groups.get_mut(&1) {
                    tracked.steps.pop();
                }
                return Ok(());
            }
            Err(Stop::Failed(failure)) => return Err(failure),
            Err(Stop::PowerOff) => return Err(Failure::new("the power went though nobody cut it")),
        }
        driver.subject.settle();
        if let Err(Stop::Failed(failure)) = driver.poll() {
            return Err(failure);
        }
    }
    Err(Failure::new("20 MB were appended to a disk without space"))
}

fn acted(acted: Acted) -> Verdict {
    match acted {
        Ok(()) => Ok(()),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::PowerOff) => Err(Failure::new("the power went though nobody cut it")),
    }
}

fn full_disk(lab: &Lab<'_>) -> Verdict {
    for pages in [0, 1, 2, 3, 5, 9, 14, 30] {
        full_once(lab, pages).map_err(|failure| failure.at(format!("{pages} pages left")))?;
    }
    Ok(())
}

fn full_once(lab: &Lab<'_>, pages: u64) -> Verdict {
    let mut driver = Driver::fresh(lab, "full")?;
    acted(driver.append(1, &[500, 900]))?;
    acted(driver.append(2, &[500]))?;
    acted(driver.sync())?;
    let disk = driver.subject.disk.clone();
    disk.set_capacity(Some(disk.used_bytes() + pages * 4096));
    driver.faulty = true;
    fill(&mut driver)?;
    driver.faulty = false;
    acted(driver.sync())?;
    let health = driver.subject.store.health().get();
    ensure!(
        health == StoreHealth::Full,
        "full, the store says that it is {health:?}"
    );
    driver.compare().map_err(|failure| failure.at("full"))?;
    for _ in 0..20 {
        acted(driver.vote(1, 1)).map_err(|failure| failure.at("a vote on a full disk"))?;
        acted(driver.vote(2, 1)).map_err(|failure| failure.at("a vote on a full disk"))?;
        acted(driver.sync())?;
    }
    let image = disk.snapshot(&mut DropAll, Unit::Sector, lab.seed);
    check_image(&driver, image, true).map_err(|failure| failure.at("crash while full"))?;
    disk.set_capacity(None);
    let mut tries = 0;
    driver.faulty = true;
    while let Err(stop) = driver.append(1, &[1000]) {
        if let Some(tracked) = driver.groups.get_mut(&1) {
            tracked.steps.pop();
        }
        tries += 1;
        ensure!(
            tries < 20,
            "there is space again, and appends still fail: {stop:?}"
        );
        driver.subject.sim.advance(Duration::from_secs(1));
    }
    driver.faulty = false;
    acted(driver.sync())?;
    let health = driver.subject.store.health().get();
    ensure!(
        health == StoreHealth::Working,
        "with space again, the store says that it is {health:?}"
    );
    driver.compare()?;
    drop(driver.reopen()?);
    Ok(())
}

fn filling_up(lab: &Lab<'_>) -> Verdict {
    for round in 0..30 * lab.effort {
        let seed = lab.seed.child("filling").nth(round);
        fill_history(lab, seed).map_err(|failure| failure.at(format!("history {round}")))?;
    }
    lab.marks.require(&["refused as full"])
}

fn fill_history(lab: &Lab<'_>, seed: Seed) -> Verdict {
    let mut prng = seed.prng();
    let subject = lab
        .open(super::lab::disk(seed), seed, Scale::Small)
        .map_err(|error| Failure(format!("a new store does not open: {error}")))?;
    let mut driver = Driver::new(subject, seed.child("driver").prng());
    acted(driver.append(1, &[10]))?;
    acted(driver.sync())?;
    for _ in 0..120 {
        if prng.chance(10) {
            let used = driver.subject.disk.used_bytes();
            let room = prng.chance(60).then(|| used + prng.below(12) * 4096);
            driver.subject.disk.set_capacity(room);
        }
        driver.faulty = true;
        let group = prng.between(1, 2);
        let answer = match prng.below(8) {
            0 => driver.purge(group, prng.below(9)),
            1 => driver.vote(group, 1),
            2 => driver.truncate(group, prng.below(3)),
            3 => driver.checkpoint(group, 0, 900),
            _ => driver.append(group, &[prng.index(2000)]),
        };
        if let Err(Stop::Failed(failure)) = answer {
            ensure!(failure.0.contains(&LogError::Full.to_string()), "{failure}");
            ensure!(!failure.0.starts_with("vote"), "a vote is refused: {failure}");
            lab.marks.hit("refused as full");
            if let Some(tracked) = driver.groups.get_mut(&group) {
                tracked.steps.pop();
            }
        }
        driver.faulty = false;
        acted(driver.step(prng.below(4)))?;
        if prng.chance(10) {
            driver.compare()?;
        }
    }
    acted(driver.sync())?;
    driver.compare()?;
    driver.subject.disk.set_capacity(None);
    let mut chooser = seed.child("crash").prng();
    let after = driver.crash(&mut chooser, Unit::Sector)?;
    drop(after.reopen()?);
    Ok(())
}

fn reserved(lab: &Lab<'_>) -> Verdict {
    for bytes in [1000, 3000, 9000, 30_000] {
        let mut driver = Driver::fresh(lab, "reserved")?;
        acted(driver.append(1, &[500]))?;
        acted(driver.sync())?;
        let answer = driver
            .groups
            .get_mut(&1)
            .and_then(|tracked| tracked.log.as_mut())
            .map(|log| log.writer.reserve(EntryKind::Data, bytes));
        ensure!(
            answer == Some(Ok(())),
            "reserve {bytes} on an empty disk: {answer:?}"
        );
        let disk = driver.subject.disk.clone();
        // Another program takes the rest.
        disk.set_capacity(Some(disk.used_bytes()));
        let sizes = vec![500; usize::try_from(bytes / 500).unwrap_or(0)];
        acted(driver.append(1, &sizes))
            .map_err(|failure| failure.at(format!("{bytes} bytes were reserved")))?;
        acted(driver.sync())?;
        driver.compare()?;
    }
    Ok(())
}
