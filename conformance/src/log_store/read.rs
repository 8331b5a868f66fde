//! What reads answer while the log moves on.

use super::driver::{Acted, Driver, Stop};
use super::lab::{Lab, SMALL};
use super::{Check, must};
use crate::check::{Failure, Verdict, ensure};
use crate::log_store::compare::check_run;
use crate::log_store::maker::Maker;
use crate::model::GroupModel;
use crate::world::{Prng, Seed, locked};
use bytes::Bytes;
use chronik_core::log_store::{Purge, Read};
use chronik_core::{Entry, GroupId, LogError, LogId, LogIndex, LogReader, Offset, Term};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub(super) const CHECKS: &[Check] = &[
    must(
        "LS-READ-01",
        "an_entry_is_readable_before_it_is_durable",
        before_durable,
    ),
    must(
        "LS-READ-02",
        "ranges_are_clipped_at_the_end_and_refused_below_the_start",
        ranges,
    ),
    must(
        "LS-READ-03",
        "a_byte_limit_ends_a_run_after_at_least_one_entry",
        byte_limit,
    ),
    must(
        "LS-READ-04",
        "readers_beside_the_writer_see_the_log_of_one_instant",
        concurrent,
    ),
    must("LS-READ-05", "bytes_that_readers_hold_never_change", held_bytes),
    must("LS-READ-07", "reads_cross_segments", across_segments),
    must(
        "LS-READ-08",
        "a_dropped_read_leaves_the_store_usable",
        dropped_read,
    ),
];

/// A script that must not stop.
fn play(acted: Acted) -> Verdict {
    match acted {
        Ok(()) => Ok(()),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::PowerOff) => Err(Failure::new("the power went though nobody cut it")),
    }
}

fn before_durable(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "before durable")?;
    for round in 0..30 {
        play(driver.append(1, &[100 + round * 40, 60]))?;
        ensure!(
            driver
                .groups
                .get(&1)
                .is_some_and(|tracked| !tracked.all_durable()),
            "an append waited for the disk"
        );
        driver.compare()?;
        if round % 7 == 6 {
            play(driver.truncate(1, 3))?;
            driver.compare()?;
        }
        if round % 10 == 9 {
            play(driver.sync())?;
            driver.compare()?;
        }
    }
    Ok(())
}

fn ranges(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "ranges")?;
    for _ in 0..25 {
        play(driver.append(1, &[900, 30]))?;
    }
    play(driver.sync())?;
    play(driver.purge(1, 21))?;
    play(driver.sync())?;
    let state = driver.state(1);
    let log = driver.groups.get(&1).and_then(|tracked| tracked.log.as_ref());
    let Some(log) = log else {
        return Err(Failure::new("the group is not open"));
    };
    let subject = &driver.subject;
    for below in [0, 1, 20, 21] {
        let got = subject.outcome(log.reader.entries(LogIndex(below)..LogIndex(40), 100))?;
        let first = state.index_start();
        ensure!(
            got == Err(LogError::Compacted { first }),
            "entries from {below}, with {first} the first: {:?}",
            got.map(|run| run.first().map(|entry| entry.id))
        );
    }
    let at_end = subject.read("at the end", log.reader.entries(LogIndex(51)..LogIndex(99), 100))?;
    let beyond = subject.read("beyond", log.reader.entries(LogIndex(60)..LogIndex(99), 100))?;
    let none = subject.read("empty", log.reader.entries(LogIndex(30)..LogIndex(30), 100))?;
    ensure!(
        at_end.is_empty() && beyond.is_empty() && none.is_empty(),
        "entries beyond the end"
    );
    let below = subject.outcome(
        log.reader
            .read_offsets(Offset(state.offset_start.0 - 1)..state.offset_end, 9),
    )?;
    ensure!(
        matches!(below, Err(LogError::Compacted { .. })),
        "offsets below the start: {:?}",
        below.map(|run| run.len())
    );
    driver.compare()
}

fn byte_limit(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "byte limit")?;
    play(driver.append(1, &[1000; 30]))?;
    for synced in [false, true] {
        if synced {
            play(driver.sync())?;
        }
        let model = driver.model(1);
        let Some(log) = driver.groups.get(&1).and_then(|tracked| tracked.log.as_ref()) else {
            return Err(Failure::new("the group is not open"));
        };
        for max_bytes in [0, 1, 999, 1000, 1001, 2500, 8192, 1 << 40] {
            for from in [1, 9, 30] {
                let range = LogIndex(from)..LogIndex(31);
                let what = format!("entries from {from}, {max_bytes} bytes");
                let got = driver
                    .subject
                    .read(&what, log.reader.entries(range.clone(), max_bytes))?;
                let want = model.entries(&range, u64::MAX).unwrap_or_default();
                check_run(&what, &got, &want, max_bytes)?;
            }
            let all = Offset(0)..model.state().offset_end;
            let what = format!("offsets, {max_bytes} bytes");
            let got = driver
                .subject
                .read(&what, log.reader.read_offsets(all.clone(), max_bytes))?;
            let want = model.read_offsets(&all, u64::MAX).unwrap_or_default();
            check_run(&what, &got, &want, max_bytes)?;
        }
    }
    Ok(())
}

/// States that the log goes through: a read must equal one between those known at its start and at its end.
struct Versions {
    models: Mutex<Vec<GroupModel>>,
    /// Versions below this may be seen; the newest call may or may not have happened yet.
    started: AtomicUsize,
    finished: AtomicUsize,
    stop: AtomicBool,
}

fn concurrent(lab: &Lab<'_>) -> Verdict {
    for round in 0..2 * lab.effort {
        concurrent_round(lab, lab.seed.nth(round)).map_err(|failure| failure.at(format!("round {round}")))?;
    }
    Ok(())
}

fn concurrent_round(lab: &Lab<'_>, seed: Seed) -> Verdict {
    let subject = lab.fresh("concurrent")?;
    let mut log = subject.group(1)?;
    let versions = Versions {
        models: Mutex::new(vec![GroupModel::new(SMALL)]),
        started: AtomicUsize::new(1),
        finished: AtomicUsize::new(1),
        stop: AtomicBool::new(false),
    };
    let reader = Arc::clone(&log.reader);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|number| {
                let (reader, versions) = (&*reader, &versions);
                let mut prng = seed.child("reader").nth(number).prng();
                scope.spawn(move || watch(reader, versions, &mut prng))
            })
            .collect();
        let mut maker = Maker::new(seed.prng());
        let mut prng = seed.child("writer").prng();
        let mut written = Ok(());
        for _ in 0..600 {
            written = written.and_then(|()| write_one(&mut *log.writer, &versions, &mut maker, &mut prng));
            for _ in 0..prng.below(3) {
                subject.sim.step();
            }
        }
        versions.stop.store(true, Ordering::SeqCst);
        subject.settle();
        for reader in readers {
            match reader.join() {
                Ok(seen) => lab.marks.add("reads beside writes", seen?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        written
    })?;
    subject.check_maps()
}

fn write_one(
    writer: &mut dyn chronik_core::LogWriter,
    versions: &Versions,
    maker: &mut Maker,
    prng: &mut Prng,
) -> Verdict {
    let mut model = locked(&versions.models)
        .last()
        .cloned()
        .unwrap_or_else(|| GroupModel::new(SMALL));
    let state = model.state();
    let length = state.last.index.0 - state.purged.index.0;
    let pick = prng.below(10);
    let publish = |model: GroupModel| {
        locked(&versions.models).push(model);
        versions.started.fetch_add(1, Ordering::SeqCst);
    };
    let answer = if pick < 2 && length > 3 {
        let from = LogIndex(state.last.index.0 - prng.below(3));
        model.truncate(from);
        publish(model);
        writer.truncate_from(from)
    } else if pick < 4 && length > 12 {
        let index = LogIndex(state.purged.index.0 + 5);
        let term = model.term_at(index).unwrap_or_default();
        let run = model.entries(&(index..index.next()), 0).unwrap_or_default();
        let purge = Purge {
            through: LogId { term, index },
            offset_start: run.first().map_or(state.offset_start, Entry::end_offset),
        };
        model.purge(&purge);
        publish(model);
        writer.purge(purge)
    } else {
        let sizes: Vec<usize> = (0..prng.between(1, 4)).map(|_| prng.index(1200)).collect();
        let term = Term(state.last.term.0 + prng.below(2)).max(Term(1));
        let entries = maker.entries(GroupId(1), &model, term, &sizes);
        entries.iter().for_each(|entry| model.append(entry.clone()));
        publish(model);
        writer.append(&entries)
    };
    versions.finished.fetch_add(1, Ordering::SeqCst);
    answer
        .map(drop)
        .map_err(|error| Failure(format!("write: {error}")))
}

/// Reads until told to stop; returns how many reads met a moving log.
fn watch(reader: &dyn LogReader, versions: &Versions, prng: &mut Prng) -> Result<u64, Failure> {
    let mut moving = 0;
    while !versions.stop.load(Ordering::SeqCst) {
        let low = versions.finished.load(Ordering::SeqCst) - 1;
        let state = locked(&versions.models).get(low).map(GroupModel::state);
        let Some(state) = state else { continue };
        let from = LogIndex(prng.between(state.purged.index.0, state.last.index.0 + 1));
        let range = from..LogIndex(from.0 + prng.below(20));
        let max_bytes = prng.below(4000);
        // A read that needs the disk is driven by others; only ready answers are compared here.
        let got = match reader.entries(range.clone(), max_bytes) {
            Ok(Read::Ready(run)) => Ok(run),
            Ok(Read::Pending(_)) => continue,
            Err(error) => Err(error),
        };
        let high = versions.started.load(Ordering::SeqCst);
        moving += u64::from(high > low + 1);
        let models = locked(&versions.models)
            .get(low..high)
            .map(<[GroupModel]>::to_vec)
            .unwrap_or_default();
        let explained = models
            .iter()
            .any(|model| match (&got, model.entries(&range, u64::MAX)) {
                (Ok(run), Ok(want)) => check_run("", run, &want, max_bytes).is_ok(),
                (Err(LogError::Compacted { .. }), Err(LogError::Compacted { .. })) => true,
                _ => false,
            });
        // A range that was cut while it was read may say so.
        let cut = got == Err(LogError::Truncated) && high > low + 1;
        ensure!(
            explained || cut,
            "entries {}..{} with {max_bytes} bytes gave {}, which no state between call and answer explains",
            range.start,
            range.end,
            match &got {
                Ok(run) => format!(
                    "{:?}",
                    run.iter().map(|entry| entry.id.to_string()).collect::<Vec<_>>()
                ),
                Err(error) => error.to_string(),
            }
        );
    }
    Ok(moving)
}

fn held_bytes(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "held bytes")?;
    let mut held: Vec<(Bytes, Vec<u8>)> = Vec::new();
    for round in 0..40 {
        play(driver.append(1, &[700, 1200, 300]))?;
        if round % 3 == 0 {
            play(driver.sync())?;
        }
        hold(&driver, &mut held)?;
        match round % 8 {
            3 => play(driver.truncate(1, 2))?,
            5 => play(driver.purge(1, 9))?,
            7 => play(driver.roll(1))?,
            _ => {}
        }
        // Some are let go, so that files can be used again under those that stay.
        if held.len() > 60 {
            held.drain(..20);
        }
    }
    play(driver.sync())?;
    same_bytes(&held)?;
    driver.subject.check_maps()?;
    let disk = driver.subject.disk.clone();
    let after = driver.reopen()?;
    hold(&after, &mut held)?;
    drop(after);
    same_bytes(&held)?;
    ensure!(disk.violations().is_empty(), "{}", disk.violations().join("; "));
    Ok(())
}

fn hold(driver: &Driver<'_>, held: &mut Vec<(Bytes, Vec<u8>)>) -> Verdict {
    let Some(log) = driver.groups.get(&1).and_then(|tracked| tracked.log.as_ref()) else {
        return Ok(());
    };
    let state = log.reader.state();
    let by_index = log
        .reader
        .entries(state.index_start()..state.last.index.next(), 9000);
    let by_offset = log
        .reader
        .read_offsets(state.offset_start..state.offset_end, 9000);
    for read in [by_index, by_offset] {
        let run: Vec<Entry> = driver.subject.read("read", read)?;
        held.extend(
            run.into_iter()
                .map(|entry| (entry.payload.clone(), entry.payload.to_vec())),
        );
    }
    Ok(())
}

fn same_bytes(held: &[(Bytes, Vec<u8>)]) -> Verdict {
    ensure!(
        held.iter().all(|(now, then)| now == then),
        "bytes that a reader holds have changed"
    );
    Ok(())
}

fn across_segments(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "across segments")?;
    for round in 0..60 {
        play(driver.append(1, &[500, 100, 900]))?;
        if round % 5 == 0 {
            play(driver.sync())?;
        }
        if round % 20 == 10 {
            play(driver.roll(1))?;
        }
    }
    play(driver.sync())?;
    let Some(log) = driver.groups.get(&1).and_then(|tracked| tracked.log.as_ref()) else {
        return Err(Failure::new("the group is not open"));
    };
    let segments = log.reader.segments();
    ensure!(
        segments.len() > 5,
        "{} segments of 90 KB in segments of 8 KiB",
        segments.len()
    );
    let state = log.reader.state();
    for segment in &segments {
        let range =
            LogIndex(segment.last.index.0.saturating_sub(1).max(1))..LogIndex(segment.last.index.0 + 3);
        let mut seen = range.start;
        while seen < range.end.min(state.last.index.next()) {
            let run = driver
                .subject
                .read("over the edge", log.reader.entries(seen..range.end, 1 << 20))?;
            let last = run.last().map(|entry| entry.id.index);
            ensure!(
                last.is_some_and(|last| last >= seen),
                "no entry at {seen}, at the edge of a segment"
            );
            seen = last.unwrap_or(seen).next();
        }
    }
    driver.compare()?;
    drop(driver.reopen()?);
    Ok(())
}

fn dropped_read(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "dropped read")?;
    for _ in 0..30 {
        play(driver.append(1, &[900, 900]))?;
    }
    play(driver.sync())?;
    let mut driver = driver.reopen()?;
    for _ in 0..20 {
        if let Some(log) = driver.groups.get(&1).and_then(|tracked| tracked.log.as_ref()) {
            let state = log.reader.state();
            let read = log
                .reader
                .entries(state.index_start()..state.last.index.next(), 5000);
            let other = log
                .reader
                .read_offsets(state.offset_start..state.offset_end, 5000);
            for read in [read, other] {
                match read {
                    Ok(Read::Pending(future)) => {
                        lab.marks.hit("pending reads dropped");
                        drop(future);
                    }
                    Ok(Read::Ready(run)) => drop(run),
                    Err(error) => return Err(Failure(format!("read: {error}"))),
                }
            }
        }
        play(driver.append(1, &[200]))?;
        play(driver.step(2))?;
    }
    play(driver.sync())?;
    driver.compare()?;
    drop(driver.reopen()?);
    Ok(())
}
