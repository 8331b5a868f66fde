//! Starting and ending.

use super::driver::{Driver, Stop};
use super::lab::{DIR, Lab};
use super::{Check, Scale, must};
use crate::check::{Failure, Verdict, ensure};
use crate::world::disk::{DropAll, Unit};
use crate::world::real::open_descriptors;
use chronik_core::{GroupId, LogError};
use std::path::Path;
use std::sync::Arc;

pub(super) const CHECKS: &[Check] = &[
    must(
        "LS-OPS-01",
        "close_makes_all_durable_and_frees_the_directory",
        close,
    ),
    must("LS-OPS-04", "nothing_runs_and_nothing_is_held_after_close", quiet),
    must("LS-OPS-04", "stores_that_ended_leave_no_file_open", left_open),
];

fn loaded<'a>(lab: &'a Lab<'a>) -> Result<Driver<'a>, Failure> {
    let mut driver = Driver::fresh(lab, "close")?;
    let acted = driver
        .append(1, &[300, 3000, 3000])
        .and_then(|()| driver.sync())
        .and_then(|()| driver.append(1, &[700, 20]))
        .and_then(|()| driver.append(2, &[50]))
        .and_then(|()| driver.vote(2, 2));
    match acted {
        Ok(()) => Ok(driver),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::PowerOff) => Err(Failure::new("the power went though nobody cut it")),
    }
}

fn close(lab: &Lab<'_>) -> Verdict {
    let mut driver = loaded(lab)?;
    let closed = driver.subject.sim.run_blocking(|| driver.subject.store.close());
    ensure!(closed == Ok(()), "close: {closed:?}");
    if let Err(Stop::Failed(failure)) = driver.poll() {
        return Err(failure.at("close"));
    }
    for (group, tracked) in &driver.groups {
        ensure!(
            tracked.all_durable(),
            "group {group}: close returned and tickets are open"
        );
    }
    if let Some(log) = driver.groups.get_mut(&1).and_then(|tracked| tracked.log.as_mut()) {
        let late = log.writer.append(&[]).map(drop);
        ensure!(late == Err(LogError::Closed), "an append after close: {late:?}");
    }
    let late = driver
        .subject
        .store
        .open_group(GroupId(5), super::lab::SMALL)
        .map(drop);
    ensure!(
        late == Err(LogError::Closed),
        "a group opened after close: {late:?}"
    );
    // The directory is free though handles of the old store are still about.
    let again = lab.backend.open(
        Arc::new(driver.subject.disk.clone()),
        Path::new(DIR),
        driver.subject.sim.env(),
        Scale::Small,
    );
    ensure!(again.is_ok(), "the directory is not free: {:?}", again.err());
    drop(again);
    driver.subject.settle();
    let image = driver.subject.disk.snapshot(&mut DropAll, Unit::Sector, lab.seed);
    super::recovered::check_image(&driver, image, true)
}

fn quiet(lab: &Lab<'_>) -> Verdict {
    let mut driver = loaded(lab)?;
    for tracked in driver.groups.values_mut() {
        tracked.log = None;
    }
    let subject = driver.subject;
    let closed = subject.sim.run_blocking(|| subject.store.close());
    ensure!(closed == Ok(()), "close: {closed:?}");
    subject.settle();
    let steps = subject.disk.stats().steps;
    subject.sim.advance(std::time::Duration::from_secs(3600));
    ensure!(
        subject.disk.stats().steps == steps,
        "a closed store changes files: {} times",
        subject.disk.stats().steps - steps
    );
    let tasks = subject.sim.executor().names();
    ensure!(tasks.is_empty(), "tasks after close: {tasks:?}");
    ensure!(subject.sim.queue().waiting() == 0, "disk jobs after close");
    let again = subject.sim.run_blocking(|| subject.store.close());
    ensure!(
        again == Ok(()) || again == Err(LogError::Closed),
        "a second close: {again:?}"
    );
    Ok(())
}

/// How many stores live and end before it is looked at what they left behind.
const LIVES: usize = 24;

fn left_open(lab: &Lab<'_>) -> Verdict {
    let before = open_descriptors();
    for _ in 0..LIVES {
        let mut driver = loaded(lab)?;
        for tracked in driver.groups.values_mut() {
            tracked.log = None;
        }
        let (disk, _) = driver.subject.close()?;
        let open = disk.open_files();
        ensure!(
            open == 0,
            "{open} files of the directory are open although the store is gone"
        );
        lab.marks.hit("stores that ended");
    }
    // Other checks of this process open and close files meanwhile; what each store leaves is as much as there are stores.
    if let (Some(before), Some(after)) = (before, open_descriptors()) {
        ensure!(
            after < before + LIVES,
            "{} file descriptors more than before are open after the ends of {LIVES} stores",
            after - before
        );
        lab.marks.hit("counts of file descriptors");
    }
    lab.marks.require(&["stores that ended"])
}
