//! Removing the end of a log, and its start.

use super::driver::{Acted, Driver, Stop};
use super::lab::{DIR, Lab};
use super::{Check, must, should};
use crate::check::{Failure, Verdict, ensure};
use crate::log_store::crashes::split_purge;
use chronik_core::log_store::Purge;
use chronik_core::{GroupId, LogError, LogId, LogIndex, LogWriter, Offset, Term, Ticket};
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    must(
        "LS-TRN-01",
        "truncation_removes_the_end_and_nothing_else",
        removes_the_end,
    ),
    must(
        "LS-TRN-02",
        "truncation_at_the_end_is_nothing_and_elsewhere_an_error",
        at_the_edges,
    ),
    must(
        "LS-TRN-03",
        "new_entries_at_old_places_are_what_reads_see",
        new_term,
    ),
    must("LS-TRN-05", "the_term_of_the_purge_point_stays_known", purge_term),
    must("LS-TRN-06", "the_start_never_moves_back", monotone),
    must(
        "LS-TRN-07",
        "a_purge_beyond_the_end_needs_its_checkpoint",
        beyond_the_end,
    ),
    must(
        "LS-TRN-09",
        "entries_stay_readable_by_offset_below_the_first_index",
        two_starts,
    ),
    should("LS-TRN-08", "space_returns_after_a_purge", space_returns),
];

fn play(acted: Acted) -> Verdict {
    match acted {
        Ok(()) => Ok(()),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::PowerOff) => Err(Failure::new("the power went though nobody cut it")),
    }
}

fn writer<'d>(driver: &'d mut Driver<'_>, group: u64) -> Result<&'d mut (dyn LogWriter + 'static), Failure> {
    driver
        .groups
        .get_mut(&group)
        .and_then(|tracked| tracked.log.as_mut())
        .map(|log| &mut *log.writer)
        .ok_or_else(|| Failure::new("the group is not open"))
}

fn removes_the_end(lab: &Lab<'_>) -> Verdict {
    for count in [1, 2, 7, 30, 60] {
        let mut driver = Driver::fresh(lab, "removes")?;
        for _ in 0..20 {
            play(driver.append(1, &[400, 20, 800]))?;
        }
        play(driver.append(2, &[400]))?;
        play(driver.sync())?;
        play(driver.truncate(1, count))?;
        driver
            .compare()
            .map_err(|failure| failure.at(format!("{count} removed, not durable")))?;
        play(driver.sync())?;
        driver
            .compare()
            .map_err(|failure| failure.at(format!("{count} removed")))?;
        let mut driver = driver.reopen()?;
        play(driver.append(1, &[30]))?;
        play(driver.sync())?;
        driver.compare()?;
    }
    Ok(())
}

fn at_the_edges(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "edges")?;
    play(driver.append(1, &[100; 20]))?;
    play(driver.sync())?;
    play(driver.purge(1, 8))?;
    play(driver.sync())?;
    let at = |index| LogIndex(index);
    for below in [0, 1, 7, 8] {
        let answer = writer(&mut driver, 1)?.truncate_from(at(below)).map(drop);
        ensure!(
            matches!(answer, Err(LogError::Compacted { .. })),
            "truncation from {below}, purged through 8: {answer:?}"
        );
    }
    let beyond = writer(&mut driver, 1)?.truncate_from(at(22)).map(drop);
    ensure!(
        matches!(beyond, Err(LogError::OutOfOrder { .. })),
        "truncation from 22, with 20 the last: {beyond:?}"
    );
    driver.compare()?;
    let ticket: Ticket = writer(&mut driver, 1)?
        .truncate_from(at(21))
        .map_err(|error| Failure(format!("truncation one past the end: {error}")))?;
    driver
        .subject
        .durable("truncation one past the end", Ok(ticket))?;
    driver.compare()?;
    play(driver.truncate(1, 99))?;
    play(driver.sync())?;
    driver
        .compare()
        .map_err(|failure| failure.at("everything removed"))?;
    play(driver.append(1, &[10]))?;
    play(driver.sync())?;
    driver.compare()?;
    drop(driver.reopen()?);
    Ok(())
}

fn new_term(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "new term")?;
    for round in 0..25 {
        // The same sizes again, so that the new entries lie where the old ones lay.
        play(driver.vote(1, 1))?;
        play(driver.append(1, &[700, 700, 700, 700]))?;
        driver.compare()?;
        if round % 2 == 0 {
            play(driver.sync())?;
            driver.compare()?;
        }
        play(driver.truncate(1, 1 + round % 4))?;
        driver.compare()?;
    }
    play(driver.sync())?;
    driver.compare()?;
    drop(driver.reopen()?);
    Ok(())
}

fn purge_term(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "purge term")?;
    for _ in 0..8 {
        play(driver.vote(1, 3))?;
        play(driver.append(1, &[500, 600]))?;
    }
    play(driver.sync())?;
    for _ in 0..7 {
        play(driver.purge(1, 2))?;
        driver.compare()?;
        play(driver.sync())?;
        driver.compare()?;
        driver = driver.reopen()?;
    }
    play(driver.purge(1, 99))?;
    play(driver.sync())?;
    let mut driver = driver
        .reopen()
        .map_err(|failure| failure.at("everything purged"))?;
    play(driver.append(1, &[10]))?;
    play(driver.sync())?;
    driver.compare()
}

fn monotone(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "monotone")?;
    play(driver.append(1, &[300; 20]))?;
    play(driver.sync())?;
    let early = Purge {
        through: LogId {
            term: driver.model(1).term_at(LogIndex(5)).unwrap_or_default(),
            index: LogIndex(5),
        },
        offset_start: Offset(2),
    };
    play(driver.purge(1, 12))?;
    play(driver.sync())?;
    let before = driver.state(1);
    play(driver.purge_to(1, early))?;
    ensure!(
        (driver.state(1).purged, driver.state(1).offset_start) == (before.purged, before.offset_start),
        "the model moved back"
    );
    driver.compare()?;
    play(driver.sync())?;
    driver.compare()?;
    drop(driver.reopen()?);
    Ok(())
}

fn beyond_the_end(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "beyond")?;
    play(driver.append(1, &[300; 5]))?;
    play(driver.sync())?;
    let beyond = Purge {
        through: LogId {
            term: Term(9),
            index: LogIndex(30),
        },
        offset_start: Offset(50),
    };
    let answer = writer(&mut driver, 1)?.purge(beyond).map(drop);
    ensure!(
        matches!(answer, Err(LogError::OutOfOrder { .. })),
        "a purge beyond the end without a checkpoint: {answer:?}"
    );
    driver.compare()?;
    play(driver.install(1, 25))?;
    driver.compare()?;
    play(driver.sync())?;
    driver.compare()?;
    let mut driver = driver.reopen()?;
    play(driver.append(1, &[100, 200]))?;
    play(driver.sync())?;
    driver.compare()?;
    drop(driver.reopen()?);
    Ok(())
}

fn two_starts(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "two starts")?;
    for _ in 0..30 {
        play(driver.append(1, &[700, 300, 500]))?;
    }
    play(driver.sync())?;
    for behind in [5, 20, 0, 40, 3] {
        play(split_purge(&mut driver, 1, 12, behind))?;
        driver
            .compare()
            .map_err(|failure| failure.at(format!("{behind} offsets kept below")))?;
        play(driver.append(1, &[90]))?;
        play(driver.sync())?;
        driver.compare()?;
        driver = driver.reopen()?;
    }
    Ok(())
}

fn space_returns(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "space")?;
    let mut most = 0;
    for round in 0..400 {
        play(driver.append(1, &[900; 8]))?;
        play(driver.sync())?;
        play(driver.purge(1, 8))?;
        play(driver.sync())?;
        // A store may give space back in small steps, with pauses between them.
        driver.subject.sim.advance(Duration::from_millis(100));
        if round >= 100 {
            most = most.max(driver.subject.disk.used_bytes());
        }
    }
    // 2.9 MB went through; a few segments and journal files may stay.
    ensure!(
        most <= 512 * 1024,
        "{most} bytes of {DIR} are taken by a log of at most 8 KB"
    );
    let removed = driver.subject.disk.used_bytes();
    play(driver.remove(1))?;
    play(driver.sync())?;
    ensure!(
        !driver.subject.store.groups().contains(&GroupId(1)),
        "a removed group is still listed"
    );
    ensure!(
        driver.subject.disk.used_bytes() <= removed,
        "a removal takes space"
    );
    Ok(())
}
