//! Directories that another version of the store's program left behind.

use super::driver::{Acted, Driver, Stop};
use super::lab::{DIR, Lab, SMALL};
use super::{Check, Format, Scale, must};
use crate::check::{Failure, Marks, Verdict, ensure};
use crate::model::GroupModel;
use crate::world::SimDisk;
use crate::world::disk::{KeepAll, Unit};
use chronik_core::{GroupId, LogError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const CHECKS: &[Check] = &[must(
    "LS-OPS-02",
    "a_directory_of_another_format_is_refused_by_name_and_stays_as_it_is",
    of_another_format,
)];

fn script(driver: &mut Driver<'_>) -> Acted {
    for _ in 0..4 {
        driver.append(1, &[900, 700, 60])?;
        driver.append(2, &[300])?;
        driver.checkpoint(1, 0, 300)?;
        driver.sync()?;
    }
    driver.vote(1, 1)?;
    driver.roll(1)?;
    driver.append(1, &[40])?;
    driver.sync()
}

fn of_another_format(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "format")?;
    match script(&mut driver) {
        Ok(()) => {}
        Err(Stop::Failed(failure)) => return Err(failure),
        Err(Stop::PowerOff) => return Err(Failure::new("the power went though nobody cut it")),
    }
    let models: BTreeMap<u64, GroupModel> = [1, 2].map(|group| (group, driver.model(group))).into();
    for tracked in driver.groups.values_mut() {
        tracked.log = None;
    }
    let (disk, _) = driver.subject.close()?;
    for format in [Format::Newer, Format::Older] {
        for place in 0.. {
            let image = disk.snapshot(&mut KeepAll, Unit::Page, lab.seed);
            let made = lab
                .backend
                .reformat(Arc::new(image.clone()), Path::new(DIR), format, place);
            match made {
                None => break,
                Some(Err(error)) => return Err(Failure(format!("reformat: {error}"))),
                Some(Ok(())) => {}
            }
            judge(lab, &disk, image, format, &models)
                .map_err(|failure| failure.at(format!("{format:?} format, place {place}")))?;
        }
    }
    if lab.marks.count("newer formats") == 0 {
        lab.marks.hit(Marks::NOT_DECLARED);
    }
    Ok(())
}

pub(super) fn contents(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |(path, _): (PathBuf, u64)| {
        let bytes = disk.content(&path).unwrap_or_default();
        (path, bytes)
    };
    disk.files().into_iter().map(read).collect()
}

fn judge(
    lab: &Lab<'_>,
    before: &SimDisk,
    disk: SimDisk,
    format: Format,
    models: &BTreeMap<u64, GroupModel>,
) -> Verdict {
    let ours = contents(before);
    let mut theirs = contents(&disk);
    theirs.retain(|path, bytes| ours.get(path) != Some(bytes));
    ensure!(!theirs.is_empty(), "the directory is as it was");
    lab.marks.hit(match format {
        Format::Newer => "newer formats",
        Format::Older => "older formats",
    });
    let refused = open(lab, disk.clone(), models)?;
    ensure!(
        refused || format == Format::Older,
        "a store of a newer format was opened, and all of it can be read"
    );
    let after = contents(&disk);
    // One that is opened may be written to; what is refused belongs to the other program.
    let changed = theirs
        .iter()
        .find(|(path, bytes)| after.get(*path) != Some(bytes));
    ensure!(
        !refused || changed.is_none(),
        "what was refused was changed: {:?}",
        changed.map(|(path, _)| path)
    );
    Ok(())
}

/// Whether the store, one of its groups, or a checkpoint says that it does not know the format. Groups that open must be right.
fn open(lab: &Lab<'_>, disk: SimDisk, models: &BTreeMap<u64, GroupModel>) -> Result<bool, Failure> {
    let refuses = |error: &LogError| matches!(error, LogError::UnsupportedFormat(what) if !what.is_empty());
    let subject = match lab.open(disk, lab.seed, Scale::Small) {
        Ok(subject) => subject,
        Err(error) if refuses(&error) => return Ok(true),
        Err(error) => return Err(Failure(format!("the refusal does not say why: {error}"))),
    };
    let mut refused = false;
    for (group, model) in models {
        match subject.store.open_group(GroupId(*group), SMALL) {
            Ok(log) => {
                let indexes = model.checkpoint_indexes().into_iter();
                let checkpoint = |index| log.reader.checkpoint(index).err();
                if indexes.filter_map(checkpoint).any(|error| refuses(&error)) {
                    refused = true;
                    continue;
                }
                super::compare::compare(&subject, &*log.reader, model, &mut lab.seed.prng())
                    .map_err(|failure| failure.at(format!("group {group} was opened")))?;
            }
            Err(error) if refuses(&error) => refused = true,
            Err(error) => {
                return Err(Failure(format!(
                    "the refusal of group {group} does not say why: {error}"
                )));
            }
        }
    }
    let closed = subject.sim.run_blocking(|| subject.store.close());
    ensure!(closed.is_ok(), "close: {closed:?}");
    subject.settle();
    Ok(refused)
}
