//! What the store's own tool says of a store that is not open.

use super::driver::Stop;
use super::flips::{Seen, built, judge, places};
use super::format::contents;
use super::lab::{DIR, Lab};
use super::{Check, must};
use crate::check::{Failure, Marks, Verdict, ensure};
use crate::model::GroupModel;
use crate::world::SimDisk;
use crate::world::disk::{DropFirst, KeepAll, Unit};
use chronik_core::error::Damage;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const CHECKS: &[Check] = &[must(
    "LS-DUR-15",
    "verify_names_what_is_damaged_and_nothing_else",
    verified,
)];

/// Every so many places of a closed store are damaged.
const STRIDE: usize = 5;

fn verified(lab: &Lab<'_>) -> Verdict {
    let mut driver = built(lab)?;
    if named(
        lab,
        &driver.subject.disk.snapshot(&mut KeepAll, Unit::Page, lab.seed),
    )?
    .is_none()
    {
        lab.marks.hit(Marks::NOT_DECLARED);
        return Ok(());
    }
    after_crashes(lab)?;
    let models: BTreeMap<u64, GroupModel> = driver
        .groups
        .iter()
        .map(|(group, tracked)| (*group, tracked.model().clone()))
        .collect();
    for tracked in driver.groups.values_mut() {
        tracked.log = None;
    }
    let (disk, _) = driver.subject.close()?;
    nothing_named(lab, &disk).map_err(|failure| failure.at("a store that was closed"))?;
    for (path, byte, bit) in places(lab, &disk).into_iter().step_by(STRIDE) {
        let place = format!("bit {bit} of byte {byte} of {}", path.display());
        let image = disk.snapshot(&mut KeepAll, Unit::Page, lab.seed);
        ensure!(image.flip_bit(&path, byte, bit), "{place} is not there");
        let before = contents(&image);
        let named = named(lab, &image)?.unwrap_or_default();
        unchanged(&image, &before).map_err(|failure| failure.at(&place))?;
        let seen = judge(lab, image, &models).map_err(|failure| failure.at(&place))?;
        if seen == Seen::Found {
            let hit = names(&named, &path, byte);
            ensure!(hit, "{place} matters, and verify names {named:?}");
            lab.marks.hit("flips named by verify");
        }
    }
    lab.marks.require(&["flips named by verify", "torn tails"])
}

/// What a crash tore off is no damage.
fn after_crashes(lab: &Lab<'_>) -> Verdict {
    for round in 0..24 * lab.effort {
        let mut driver = built(lab)?;
        let disk = driver.subject.disk.clone();
        // The power goes when some of it is written and not synced.
        disk.power_off_at(disk.stats().steps + 1 + round % 6);
        let acted = driver
            .append(1, &[700, 1300])
            .and_then(|()| driver.append(2, &[90]))
            .and_then(|()| driver.sync());
        if let Err(Stop::Failed(failure)) = acted {
            return Err(failure);
        }
        if disk.is_dirty() {
            lab.marks.hit("torn tails");
        }
        let seed = lab.seed.nth(round);
        let image = match round / 6 % 3 {
            0 => disk.snapshot(&mut DropFirst { drop: 1 }, Unit::Sector, seed),
            1 => disk.snapshot(&mut seed.prng(), Unit::Sector, seed),
            _ => disk.snapshot(&mut seed.prng(), Unit::Page, seed),
        };
        nothing_named(lab, &image).map_err(|failure| failure.at(format!("after power cut {round}")))?;
    }
    Ok(())
}

fn named(lab: &Lab<'_>, disk: &SimDisk) -> Result<Option<Vec<Damage>>, Failure> {
    lab.backend
        .verify(Arc::new(disk.clone()), Path::new(DIR))
        .transpose()
        .map_err(|error| Failure(format!("verify: {error}")))
}

/// The tool names nothing, and leaves everything as it is.
fn nothing_named(lab: &Lab<'_>, disk: &SimDisk) -> Verdict {
    let image = disk.snapshot(&mut KeepAll, Unit::Page, lab.seed);
    let before = contents(&image);
    let named = named(lab, &image)?.unwrap_or_default();
    ensure!(
        named.is_empty(),
        "verify names {named:?} in a store without damage"
    );
    unchanged(&image, &before)
}

/// Files with what they hold.
type Contents = BTreeMap<PathBuf, Vec<u8>>;

fn unchanged(disk: &SimDisk, before: &Contents) -> Verdict {
    let after = contents(disk);
    let paths = before.keys().chain(after.keys());
    let changed: BTreeSet<&PathBuf> = paths
        .filter(|path| before.get(*path) != after.get(*path))
        .collect();
    ensure!(changed.is_empty(), "verify changes the store: {changed:?}");
    Ok(())
}

fn names(named: &[Damage], path: &Path, byte: u64) -> bool {
    named.iter().any(|damage| {
        Path::new(DIR).join(&damage.file) == path && damage.from_byte <= byte && byte < damage.to_byte
    })
}
