//! Many groups in one directory.

use super::driver::{Acted, Driver, Stop};
use super::lab::Lab;
use super::{Check, must, should};
use crate::check::{Failure, Verdict, ensure};
use chronik_core::env::DiskLane;
use chronik_core::{GroupId, LogError};

pub(super) const CHECKS: &[Check] = &[
    must("LS-GRP-01", "groups_do_not_see_each_other", isolated),
    should("LS-GRP-02", "one_sync_makes_many_groups_durable", one_sync),
    must(
        "LS-GRP-03",
        "every_group_becomes_durable_beside_a_busy_one",
        no_starvation,
    ),
    must(
        "LS-GRP-04",
        "a_group_is_removed_only_when_it_is_closed_and_for_good",
        removal,
    ),
];

fn play(acted: Acted) -> Verdict {
    match acted {
        Ok(()) => Ok(()),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::PowerOff) => Err(Failure::new("the power went though nobody cut it")),
    }
}

/// Ids that a store might confuse: they are equal in some of their bytes, or are neighbours.
const IDS: &[u64] = &[
    0,
    1,
    255,
    256,
    65_535,
    65_536,
    65_537,
    (1 << 32) + 1,
    1 << 48,
    u64::MAX,
];

fn isolated(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "isolated")?;
    for round in 0..6_u64 {
        for (number, id) in IDS.iter().enumerate() {
            play(driver.append(*id, &[100 + number * 70, 20]))?;
            match (number as u64 + round) % 6 {
                0 => play(driver.truncate(*id, 2))?,
                1 => play(driver.purge(*id, 3))?,
                2 => play(driver.vote(*id, 1))?,
                3 => play(driver.checkpoint(*id, 0, 100))?,
                _ => {}
            }
        }
        driver.compare()?;
        play(driver.sync())?;
        driver.compare()?;
    }
    let driver = driver.reopen()?;
    drop(driver.crash(&mut crate::world::disk::DropAll, crate::world::disk::Unit::Page)?);
    Ok(())
}

fn one_sync(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "one sync")?;
    for group in 1..=100 {
        play(driver.append(group, &[50]))?;
    }
    play(driver.sync())?;
    for _ in 0..3 {
        for group in 1..=100 {
            play(driver.append(group, &[60]))?;
        }
        let before = driver.subject.disk.stats().syncs;
        while !driver.groups.values().all(super::tracked::Tracked::all_durable) {
            let moved = driver.subject.sim.queue().step_lane(DiskLane::Journal);
            ensure!(moved, "the journal lane is empty and tickets are open");
            play(driver.poll())?;
        }
        let syncs = driver.subject.disk.stats().syncs - before;
        ensure!(syncs <= 4, "{syncs} syncs made 100 groups durable");
        play(driver.sync())?;
    }
    driver.compare()
}

fn no_starvation(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "starvation")?;
    for _ in 0..10 {
        play(driver.append(2, &[30]))?;
        let mut rounds = 0;
        // The busy group appends after every step; the quiet one must become durable all the same.
        while driver
            .groups
            .get(&2)
            .is_some_and(|tracked| !tracked.all_durable())
        {
            play(driver.append(1, &[900, 900]))?;
            play(driver.step(1))?;
            rounds += 1;
            ensure!(rounds < 1000, "group 2 waits while group 1 appends");
        }
    }
    play(driver.sync())?;
    driver.compare()
}

fn removal(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "removal")?;
    play(driver.append(1, &[500]))?;
    play(driver.append(2, &[5000, 800]))?;
    play(driver.sync())?;
    let store = &driver.subject.store;
    let busy = store.remove_group(GroupId(2)).map(drop);
    ensure!(
        matches!(busy, Err(LogError::GroupBusy(GroupId(2)))),
        "removal of an open group: {busy:?}"
    );
    let unknown = store.remove_group(GroupId(77)).map(drop);
    ensure!(
        matches!(unknown, Err(LogError::NoGroup(GroupId(77)))),
        "removal of a group that is not there: {unknown:?}"
    );
    play(driver.remove(2))?;
    play(driver.sync())?;
    ensure!(
        driver.subject.store.groups() == [GroupId(1)],
        "groups after a removal: {:?}",
        driver.subject.store.groups()
    );
    driver.compare()?;
    let after = driver.crash(&mut crate::world::disk::DropAll, crate::world::disk::Unit::Sector)?;
    ensure!(
        after.subject.store.groups() == [GroupId(1)],
        "groups after a removal and a crash: {:?}",
        after.subject.store.groups()
    );
    drop(after.reopen()?);
    Ok(())
}
