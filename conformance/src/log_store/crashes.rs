//! A power cut before every I/O step of small histories, with unsynced sectors, pages, lengths and names kept,
//! dropped and torn.

use super::driver::{Acted, Driver, Script, Stop};
use super::lab::Lab;
use super::recovered::check_image;
use super::{Check, Scale, must};
use crate::check::{Failure, Verdict};
use crate::world::disk::{DropAll, DropFirst, Enumerate, KeepAll, KeepFirst, Unit};
use crate::world::{Seed, SimDisk};
use chronik_core::log_store::Purge;
use chronik_core::{LogId, LogIndex, Offset};

pub(super) const CHECKS: &[Check] = &[
    must(
        "LS-DUR-01",
        "acknowledged_entries_survive_a_power_cut_at_every_step",
        |lab| everywhere(lab, appends),
    ),
    must(
        "LS-DUR-02",
        "several_frames_of_several_groups_in_one_sync_leave_no_hole",
        |lab| {
            everywhere(lab, one_sync)?;
            lab.marks
                .require(&["unacknowledged tails lost", "unacknowledged tails kept"])
        },
    ),
    must(
        "LS-DUR-04",
        "term_and_vote_survive_whole_once_acknowledged",
        |lab| everywhere(lab, votes),
    ),
    must(
        "LS-DUR-05",
        "a_hard_state_is_never_older_than_the_entries_after_it",
        |lab| {
            everywhere(lab, votes_before_appends)?;
            lab.marks.require(&["votes crossed"])
        },
    ),
    must("LS-DUR-06", "what_was_truncated_never_comes_back", |lab| {
        everywhere(lab, truncations)?;
        lab.marks.require(&["truncations crossed"])
    }),
    must(
        "LS-DUR-07",
        "a_purged_log_starts_where_it_did_or_where_it_was_told",
        |lab| {
            everywhere(lab, purges)?;
            lab.marks.require(&["purges crossed"])
        },
    ),
    must(
        "LS-DUR-08",
        "a_torn_tail_is_cut_and_what_was_acknowledged_stays",
        |lab| {
            everywhere(lab, large_entries)?;
            lab.marks.require(&["torn images", "unacknowledged tails lost"])
        },
    ),
    must(
        "LS-DUR-10",
        "bytes_of_a_recycled_file_are_never_taken_for_entries",
        |lab| everywhere(lab, recycling),
    ),
    must(
        "LS-DUR-13",
        "recovery_can_be_cut_short_and_repeated",
        recovery_cut_short,
    ),
    must(
        "LS-DUR-13",
        "what_a_torn_tail_left_behind_is_never_met_again",
        leftovers,
    ),
    must("LS-DUR-14", "names_survive_with_what_they_name", |lab| {
        everywhere(lab, names)
    }),
    must(
        "LS-SNP-02",
        "a_checkpoint_beyond_the_end_replaces_the_log_whole_or_not_at_all",
        |lab| everywhere(lab, installs),
    ),
    must("LS-GRP-04", "a_removed_group_is_gone_or_whole", |lab| {
        everywhere(lab, removals)
    }),
];

fn appends(driver: &mut Driver<'_>) -> Acted {
    driver.append(1, &[10])?;
    driver.sync()?;
    driver.append(1, &[600, 20])?;
    driver.sync()?;
    driver.append(2, &[300])?;
    driver.append(1, &[40])?;
    driver.sync()
}

fn one_sync(driver: &mut Driver<'_>) -> Acted {
    driver.append(1, &[20])?;
    driver.sync()?;
    for _ in 0..2 {
        driver.append(1, &[480, 30, 500])?;
        driver.append(2, &[700])?;
        driver.append(3, &[10, 10, 10])?;
        driver.append(1, &[900])?;
    }
    driver.sync()?;
    driver.append(2, &[450, 450, 450])?;
    driver.append(3, &[450])?;
    driver.sync()
}

fn votes(driver: &mut Driver<'_>) -> Acted {
    driver.vote(1, 1)?;
    driver.sync()?;
    driver.vote(1, 1)?;
    driver.vote(2, 7)?;
    driver.sync()?;
    driver.vote(1, 0)?;
    driver.vote(2, 1)?;
    driver.vote(1, 3)?;
    driver.sync()
}

fn votes_before_appends(driver: &mut Driver<'_>) -> Acted {
    driver.append(1, &[300])?;
    driver.sync()?;
    for _ in 0..3 {
        driver.vote(1, 1)?;
        driver.append(1, &[500, 500])?;
        driver.vote(2, 1)?;
        driver.append(2, &[100])?;
    }
    driver.sync()
}

fn truncations(driver: &mut Driver<'_>) -> Acted {
    driver.append(1, &[500, 500, 500, 500])?;
    driver.sync()?;
    driver.truncate(1, 3)?;
    driver.sync()?;
    // Entries of the same size, so that old frames fit where new ones end.
    driver.vote(1, 1)?;
    driver.append(1, &[500])?;
    driver.sync()?;
    driver.truncate(1, 1)?;
    driver.vote(1, 1)?;
    driver.append(1, &[500, 500])?;
    driver.append(1, &[500])?;
    driver.truncate(1, 2)?;
    driver.sync()?;
    driver.append(1, &[20])?;
    driver.sync()
}

fn purges(driver: &mut Driver<'_>) -> Acted {
    for _ in 0..6 {
        driver.append(1, &[900, 800, 700])?;
        driver.checkpoint(1, 1, 100)?;
    }
    driver.sync()?;
    driver.purge(1, 7)?;
    driver.append(1, &[100])?;
    driver.sync()?;
    driver.purge(1, 2)?;
    driver.purge(1, 4)?;
    driver.sync()?;
    driver.purge(1, 99)?;
    driver.sync()?;
    driver.append(1, &[100])?;
    driver.sync()
}

fn large_entries(driver: &mut Driver<'_>) -> Acted {
    let limit = usize::try_from(driver.subject.lab.payload_limit()).unwrap_or(usize::MAX);
    driver.append(1, &[3000.min(limit)])?;
    driver.sync()?;
    driver.append(1, &[4000.min(limit), 100, 3000.min(limit)])?;
    driver.sync()?;
    driver.append(1, &[10])?;
    driver.append(1, &[3500.min(limit)])?;
    driver.sync()
}

fn recycling(driver: &mut Driver<'_>) -> Acted {
    for round in 0..14 {
        // Frames of one size lie at the same places in every file.
        driver.append(1, &[900, 900, 900])?;
        driver.append(2, &[900])?;
        if round % 2 == 1 {
            driver.sync()?;
            driver.purge(1, 5)?;
        }
        driver.sync()?;
    }
    driver.append(1, &[900])?;
    driver.append(1, &[900, 900])?;
    driver.sync()
}

fn names(driver: &mut Driver<'_>) -> Acted {
    driver.append(1, &[10])?;
    driver.sync()?;
    driver.roll(1)?;
    driver.append(1, &[3000, 3000, 3000])?;
    driver.append(2, &[3000, 3000])?;
    driver.sync()?;
    driver.roll(1)?;
    driver.roll(2)?;
    driver.append(1, &[10])?;
    driver.append(2, &[10])?;
    driver.checkpoint(2, 0, 2000)?;
    driver.sync()
}

fn installs(driver: &mut Driver<'_>) -> Acted {
    driver.append(1, &[500, 600])?;
    driver.sync()?;
    driver.install(1, 10)?;
    driver.append(1, &[100])?;
    driver.sync()?;
    driver.append(1, &[100])?;
    driver.install(1, 3)?;
    driver.sync()?;
    // A log that has nothing yet starts beyond its first entry.
    driver.install(2, 40)?;
    driver.sync()?;
    driver.append(2, &[100])?;
    driver.sync()
}

fn removals(driver: &mut Driver<'_>) -> Acted {
    driver.append(1, &[500, 600])?;
    driver.append(2, &[700, 3000, 3000])?;
    driver.vote(2, 3)?;
    driver.sync()?;
    driver.remove(2)?;
    driver.append(1, &[50])?;
    driver.sync()?;
    driver.append(3, &[900])?;
    driver.remove(3)?;
    driver.sync()?;
    driver.append(1, &[50])?;
    driver.sync()
}

/// A purge that lets entries be read by offset below the first index.
pub(super) fn split_purge(driver: &mut Driver<'_>, group: u64, count: u64, behind: i64) -> Acted {
    let model = driver.model(group);
    let state = model.state();
    let index = LogIndex((state.purged.index.0 + count).min(state.last.index.0));
    let Ok(term) = model.term_at(index) else {
        return Ok(());
    };
    let end = match model.entries(&(index..index.next()), 0) {
        Ok(run) => run.first().map_or(state.offset_start, |entry| entry.base_offset),
        Err(_) => state.offset_start,
    };
    let offset_start = Offset((end.0 - behind).max(state.offset_start.0));
    let through = LogId { term, index };
    driver.purge_to(
        group,
        Purge {
            through,
            offset_start,
        },
    )
}

/// How many changing calls a script makes, from an empty disk on.
fn count_steps(lab: &Lab<'_>, script: Script) -> Result<u64, Failure> {
    let mut driver = Driver::fresh(lab, "script")?;
    match script(&mut driver) {
        Ok(()) => {}
        Err(Stop::Failed(failure)) => return Err(failure.at("without any crash")),
        Err(Stop::PowerOff) => return Err(Failure::new("the power went though nobody cut it")),
    }
    driver.compare()?;
    Ok(driver.subject.disk.stats().steps)
}

/// Plays a script on a disk whose power goes before step `at`; `None` where the store had not opened yet.
fn play_until<'a>(
    lab: &'a Lab<'a>,
    script: Script,
    at: u64,
) -> Result<(SimDisk, Option<Driver<'a>>), Failure> {
    let seed = lab.seed.child("script");
    let disk = super::lab::disk(seed);
    disk.power_off_at(at);
    let Ok(subject) = lab.open(disk.clone(), seed, Scale::Small) else {
        return Ok((disk, None));
    };
    let mut driver = Driver::new(subject, seed.child("driver").prng());
    match script(&mut driver).and_then(|()| driver.poll()) {
        Ok(()) | Err(Stop::PowerOff) => {}
        Err(Stop::Failed(failure)) => return Err(failure),
    }
    match driver.poll() {
        Ok(()) | Err(Stop::PowerOff) => Ok((disk, Some(driver))),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

fn everywhere(lab: &Lab<'_>, script: Script) -> Verdict {
    let steps = count_steps(lab, script)?;
    lab.marks.add("crash points", steps + 1);
    for at in 0..=steps {
        let (disk, driver) =
            play_until(lab, script, at).map_err(|failure| failure.at(format!("step {at}")))?;
        match driver {
            None => opens_empty(lab, &disk)
                .map_err(|failure| failure.at(format!("crash at step {at}, in open")))?,
            Some(driver) => images(lab, &driver, at, &mut |image, go_on| {
                check_image(&driver, image, go_on)
            })
            .map_err(|failure| failure.at(format!("crash at step {at}")))?,
        }
    }
    Ok(())
}

fn opens_empty(lab: &Lab<'_>, disk: &SimDisk) -> Verdict {
    for round in 0..6 {
        let seed = lab.seed.nth(round);
        let image = match round {
            0 => disk.snapshot(&mut DropAll, Unit::Sector, seed),
            1 => disk.snapshot(&mut KeepAll, Unit::Sector, seed),
            _ => disk.snapshot(&mut seed.prng(), Unit::Sector, seed),
        };
        lab.open(image, seed, Scale::Small)
            .map_err(|error| Failure(format!("a store that was never finished does not open: {error}")))?;
    }
    Ok(())
}

/// Calls `check` with the disks that a power cut may leave; not all of them, but the regular ones and some at random.
fn images(
    lab: &Lab<'_>,
    driver: &Driver<'_>,
    at: u64,
    check: &mut dyn FnMut(SimDisk, bool) -> Verdict,
) -> Verdict {
    let disk = &driver.subject.disk;
    let seed = lab.seed.child("images").nth(at);
    let mut judge = |name: String, image: SimDisk, go_on: bool| {
        lab.marks.hit("images");
        check(image, go_on).map_err(|failure| failure.at(name))
    };
    judge(
        "all dropped".into(),
        disk.snapshot(&mut DropAll, Unit::Sector, seed),
        at.is_multiple_of(3),
    )?;
    judge(
        "all kept".into(),
        disk.snapshot(&mut KeepAll, Unit::Sector, seed),
        at % 3 == 1,
    )?;
    // The number of choices is known after one pass; few choices are tried in every combination.
    let mut enumerate = Enumerate::default();
    let mut combinations = 0_u64;
    loop {
        let image = disk.snapshot(&mut enumerate, Unit::Sector, seed);
        combinations += 1;
        judge(format!("combination {combinations}"), image, false)?;
        if !enumerate.advance() {
            lab.marks.hit("points with every combination");
            return Ok(());
        }
        if combinations >= 16 * lab.effort {
            break;
        }
    }
    for count in 1..=3 {
        let mut first = KeepFirst { keep: count };
        judge(
            format!("first {count} kept"),
            disk.snapshot(&mut first, Unit::Sector, seed),
            false,
        )?;
        let mut later = DropFirst { drop: count };
        judge(
            format!("first {count} dropped"),
            disk.snapshot(&mut later, Unit::Sector, seed),
            at % 3 == 2,
        )?;
    }
    for round in 0..8 * lab.effort {
        let mut prng = seed.nth(round).prng();
        let unit = if round % 2 == 0 { Unit::Sector } else { Unit::Page };
        lab.marks.hit("torn images");
        judge(
            format!("random {round}"),
            disk.snapshot(&mut prng, unit, seed),
            round % 8 == 0,
        )?;
    }
    Ok(())
}

/// Crashes in the middle of a script, crashes again at every step of the recovery, and looks what a third start finds.
fn recovery_cut_short(lab: &Lab<'_>) -> Verdict {
    for (number, script) in [one_sync as Script, truncations, large_entries, recycling]
        .into_iter()
        .enumerate()
    {
        let steps = count_steps(lab, script)?;
        let mut prng = lab.seed.child("points").nth(number as u64).prng();
        for _ in 0..10 * lab.effort {
            let at = prng.below(steps + 1);
            let (_, Some(driver)) = play_until(lab, script, at)? else {
                continue;
            };
            let seed = Seed(prng.next_u64());
            let image = driver.subject.disk.snapshot(&mut seed.prng(), Unit::Sector, seed);
            cut_recovery(lab, &driver, &image, seed)
                .map_err(|failure| failure.at(format!("script {number}, crash at step {at}")))?;
        }
    }
    lab.marks.require(&["recoveries cut short"])
}

/// Loses the front of a tail whose end survives, writes entries of the same size in its place, and crashes after
/// each: the old end must not join the new entries.
fn leftovers(lab: &Lab<'_>) -> Verdict {
    for steps in 1..5 {
        for lost in 1..8 {
            leftover(lab, steps, lost)
                .map_err(|failure| failure.at(format!("power off after {steps} steps, {lost} units lost")))?;
        }
    }
    lab.marks.require(&["unacknowledged tails lost"])
}

fn leftover(lab: &Lab<'_>, steps: u64, lost: usize) -> Verdict {
    let stopped = |stop: Stop| match stop {
        Stop::Failed(failure) => failure,
        Stop::PowerOff => Failure::new("the power went though nobody cut it"),
    };
    let mut driver = Driver::fresh(lab, "leftovers")?;
    driver.append(1, &[500]).map_err(stopped)?;
    driver.sync().map_err(stopped)?;
    for _ in 0..5 {
        driver.append(1, &[500]).map_err(stopped)?;
    }
    // The power goes when the tail is written and not synced.
    let disk = driver.subject.disk.clone();
    disk.power_off_at(disk.stats().steps + steps);
    driver.subject.settle();
    driver = driver.crash(&mut DropFirst { drop: lost }, Unit::Sector)?;
    for round in 0..4 {
        driver
            .append(1, &[500])
            .and_then(|()| driver.sync())
            .map_err(|stop| stopped(stop).at(format!("new entry {round}")))?;
        driver = driver
            .crash(&mut DropAll, Unit::Sector)
            .map_err(|failure| failure.at(format!("crash after new entry {round}")))?;
    }
    Ok(())
}

fn cut_recovery(lab: &Lab<'_>, driver: &Driver<'_>, image: &SimDisk, seed: Seed) -> Verdict {
    for at in 0..60 {
        let disk = image.snapshot(&mut KeepAll, Unit::Sector, seed);
        disk.power_off_at(at);
        let opened = lab.open(disk.clone(), seed, Scale::Small);
        if let Ok(subject) = &opened {
            subject.settle();
        }
        let finished = !disk.power_is_off();
        for round in 0..3 {
            let survivor = match round {
                0 => disk.snapshot(&mut DropAll, Unit::Sector, seed),
                1 => disk.snapshot(&mut KeepAll, Unit::Sector, seed),
                _ => disk.snapshot(&mut seed.nth(at).prng(), Unit::Sector, seed),
            };
            check_image(driver, survivor, true).map_err(|failure| {
                failure.at(format!("second crash at step {at} of recovery, round {round}"))
            })?;
        }
        if finished {
            return Ok(());
        }
        lab.marks.hit("recoveries cut short");
    }
    Ok(())
}
