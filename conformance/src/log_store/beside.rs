//! Readers beside a writer that goes, and beside one that truncates.

use super::compare::check_run;
use super::driver::{Acted, Driver, Stop};
use super::lab::Lab;
use super::{Check, must};
use crate::check::{Failure, Verdict, ensure};
use crate::model::GroupModel;
use crate::world::{Prng, Seed};
use chronik_core::log_store::Read;
use chronik_core::{Entry, LogError, LogIndex, LogReader, Offset};
use std::ops::Range;
use std::sync::Arc;

pub(super) const CHECKS: &[Check] = &[
    must(
        "LS-READ-06",
        "readers_serve_any_thread_and_outlive_the_writer",
        outlive,
    ),
    must(
        "LS-TRN-04",
        "a_read_beside_a_truncation_answers_one_log_or_that_it_was_cut",
        truncated,
    ),
];

fn play(acted: Acted) -> Verdict {
    match acted {
        Ok(()) => Ok(()),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::PowerOff) => Err(Failure::new("the power went though nobody cut it")),
    }
}

/// A group in a few segments, on disk; `cold` where the store has to look for it there.
fn filled<'a>(lab: &'a Lab<'a>, seed: Seed, cold: bool) -> Result<Driver<'a>, Failure> {
    let subject = lab
        .open(super::lab::disk(seed), seed, super::Scale::Small)
        .map_err(|error| Failure(format!("a new store does not open: {error}")))?;
    let mut driver = Driver::new(subject, seed.child("driver").prng());
    for _ in 0..10 {
        play(driver.append(1, &[900, 30, 1400]))?;
    }
    play(driver.sync())?;
    if cold { driver.reopen() } else { Ok(driver) }
}

fn outlive(lab: &Lab<'_>) -> Verdict {
    let mut driver = filled(lab, lab.seed, false)?;
    let model = driver.model(1);
    let Some(log) = driver.groups.get_mut(&1).and_then(|tracked| tracked.log.take()) else {
        return Err(Failure::new("the group is not open"));
    };
    let mut readers = vec![Arc::clone(&log.reader), Arc::clone(&log.reader), log.reader];
    on_another_thread(lab, &driver, &*readers[0], &model)
        .map_err(|failure| failure.at("a reader on another thread"))?;
    drop(log.writer);
    while let Some(reader) = readers.pop() {
        on_another_thread(lab, &driver, &*reader, &model)
            .map_err(|failure| failure.at("a reader whose writer is gone"))?;
        super::compare::compare(&driver.subject, &*reader, &model, &mut lab.seed.prng())
            .map_err(|failure| failure.at("a reader whose writer is gone"))?;
        if readers.is_empty() {
            // A new writer is no reason to stop either.
            play(driver.append(1, &[70]))?;
            play(driver.sync())?;
            on_another_thread(lab, &driver, &*reader, &model)
                .map_err(|failure| failure.at("a reader of before the group was opened again"))?;
        }
    }
    driver.compare()?;
    lab.marks.require(&["reads from another thread"])
}

/// Asks on a thread of its own for all that `model` has. What needs the disk is waited for here: a read may end on another
/// thread than it began on.
fn on_another_thread(
    lab: &Lab<'_>,
    driver: &Driver<'_>,
    reader: &dyn LogReader,
    model: &GroupModel,
) -> Verdict {
    let state = model.state();
    let indexes = state.index_start()..state.last.index.next();
    let offsets = state.offset_start..state.offset_end;
    let ask = || {
        let last = reader.term_at(state.last.index);
        let by_index = reader.entries(indexes.clone(), u64::MAX);
        (last, by_index, reader.read_offsets(offsets.clone(), u64::MAX))
    };
    let answers = std::thread::scope(|scope| scope.spawn(ask).join());
    let (last, by_index, by_offset) = match answers {
        Ok(answers) => answers,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    lab.marks.add("reads from another thread", 2);
    ensure!(
        last == Ok(state.last.term),
        "the term of {} is {last:?}",
        state.last
    );
    let got = driver.subject.read("entries", by_index)?;
    let want = model.entries(&indexes, u64::MAX).unwrap_or_default();
    check_run("entries", &got, &want, u64::MAX)?;
    let got = driver.subject.read("offsets", by_offset)?;
    let want = model.read_offsets(&offsets, u64::MAX).unwrap_or_default();
    check_run("offsets", &got, &want, u64::MAX)
}

fn truncated(lab: &Lab<'_>) -> Verdict {
    for round in 0..6 * lab.effort {
        let seed = lab.seed.nth(round);
        history(lab, seed, round % 2 == 1).map_err(|failure| failure.at(format!("history {round}")))?;
    }
    lab.marks.require(&["reads that a truncation met"])
}

/// A read that began before a truncation.
struct Begun {
    range: Range<u64>,
    by_offset: bool,
    max_bytes: u64,
    read: Result<Read<Vec<Entry>>, LogError>,
    /// The log at the call, and after each call that followed.
    logs: Vec<GroupModel>,
}

fn history(lab: &Lab<'_>, seed: Seed, cold: bool) -> Verdict {
    lab.count_run();
    let mut driver = filled(lab, seed, cold)?;
    let mut prng = seed.child("calls").prng();
    for _ in 0..25 {
        let mut begun: Vec<Begun> = (0..4).map(|_| begin(&driver, &mut prng)).collect();
        let mut meanwhile = |driver: &Driver<'_>| {
            let log = driver.model(1);
            begun.iter_mut().for_each(|read| read.logs.push(log.clone()));
        };
        play(driver.step(prng.below(3)))?;
        play(driver.truncate(1, prng.between(1, 12)))?;
        meanwhile(&driver);
        play(driver.step(prng.below(3)))?;
        // A new term: what comes back tells from which log it is.
        play(driver.vote(1, 1))?;
        let sizes: Vec<usize> = (0..prng.between(1, 12)).map(|_| prng.index(1200)).collect();
        play(driver.append(1, &sizes))?;
        meanwhile(&driver);
        if prng.chance(30) {
            play(driver.sync())?;
        }
        for read in begun {
            lab.marks.hit("reads that a truncation met");
            end(lab, &driver, read)?;
        }
    }
    play(driver.sync())?;
    driver.compare()
}

fn begin(driver: &Driver<'_>, prng: &mut Prng) -> Begun {
    let model = driver.model(1);
    let state = model.state();
    let by_offset = prng.chance(40);
    let ends = if by_offset {
        let as_number = |offset: Offset| u64::try_from(offset.0).unwrap_or(0);
        (as_number(state.offset_start), as_number(state.offset_end))
    } else {
        (state.index_start().0, state.last.index.0)
    };
    // Near the end, where truncations are.
    let from = prng.between(ends.1.saturating_sub(20).max(ends.0), ends.1);
    let range = from..from + prng.between(1, 30);
    let max_bytes = prng.below(12_000);
    let reader = driver.groups.get(&1).and_then(|tracked| tracked.log.as_ref());
    let read = match reader {
        None => Err(LogError::Closed),
        Some(log) if by_offset => log.reader.read_offsets(offsets(&range), max_bytes),
        Some(log) => log.reader.entries(indexes(&range), max_bytes),
    };
    Begun {
        range,
        by_offset,
        max_bytes,
        read,
        logs: vec![model],
    }
}

fn indexes(range: &Range<u64>) -> Range<LogIndex> {
    LogIndex(range.start)..LogIndex(range.end)
}

fn offsets(range: &Range<u64>) -> Range<Offset> {
    let offset = |number: u64| Offset(i64::try_from(number).unwrap_or(i64::MAX));
    offset(range.start)..offset(range.end)
}

fn end(lab: &Lab<'_>, driver: &Driver<'_>, begun: Begun) -> Verdict {
    let Begun {
        range,
        by_offset,
        max_bytes,
        read,
        logs,
    } = begun;
    if matches!(read, Ok(Read::Pending(_))) {
        lab.marks.hit("reads that were under way at a truncation");
    }
    let answer = driver.subject.outcome(read)?;
    let explained = logs.iter().any(|log| {
        let want = if by_offset {
            log.read_offsets(&offsets(&range), u64::MAX)
        } else {
            log.entries(&indexes(&range), u64::MAX)
        };
        match (&answer, want) {
            (Ok(got), Ok(want)) => check_run("", got, &want, max_bytes).is_ok(),
            _ => false,
        }
    });
    ensure!(
        explained || answer == Err(LogError::Truncated),
        "{} {}..{} with {max_bytes} bytes gave {}, which no log between call and answer explains",
        if by_offset { "offsets" } else { "entries" },
        range.start,
        range.end,
        match &answer {
            Ok(run) => {
                let ids: Vec<String> = run.iter().map(|entry| entry.id.to_string()).collect();
                format!("{ids:?}")
            }
            Err(error) => error.to_string(),
        }
    );
    Ok(())
}
