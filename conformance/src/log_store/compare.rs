//! Compares everything that a reader answers with what the model answers.

use super::lab::Subject;
use crate::check::{Failure, Verdict, ensure};
use crate::model::GroupModel;
use crate::world::Prng;
use chronik_core::log_store::{Read, TimeQuery};
use chronik_core::{Entry, LogError, LogIndex, LogReader, Offset, Term};

/// Compares all that can be read with the model.
pub(super) fn compare(
    subject: &Subject<'_>,
    reader: &dyn LogReader,
    model: &GroupModel,
    prng: &mut Prng,
) -> Verdict {
    state(reader, model)?;
    by_index(subject, reader, model, prng)?;
    terms(reader, model)?;
    by_offset(subject, reader, model, prng)?;
    by_time(subject, reader, model, prng)?;
    checkpoints(reader, model)?;
    segments(reader, model)
}

fn state(reader: &dyn LogReader, model: &GroupModel) -> Verdict {
    let (got, want) = (reader.state(), model.state());
    ensure!(
        (got.purged, got.last) == (want.purged, want.last),
        "the log runs from {} to {}, not from {} to {}",
        got.purged,
        got.last,
        want.purged,
        want.last
    );
    ensure!(
        (got.offset_start, got.offset_end) == (want.offset_start, want.offset_end),
        "offsets run from {} to {}, not from {} to {}",
        got.offset_start,
        got.offset_end,
        want.offset_start,
        want.offset_end
    );
    ensure!(
        got.hard_state == want.hard_state,
        "hard state is {:?}, not {:?}",
        got.hard_state,
        want.hard_state
    );
    ensure!(
        got.durable <= got.last.index,
        "durable {} lies above {}",
        got.durable,
        got.last
    );
    ensure!(
        got.commit_hint <= want.commit_hint,
        "commit hint {} was never given",
        got.commit_hint
    );
    Ok(())
}

/// What a run must be: the front of what there is, at least one entry, and no more than `max_bytes` beyond that.
pub(super) fn check_run(what: &str, got: &[Entry], want: &[Entry], max_bytes: u64) -> Verdict {
    ensure!(
        !got.is_empty() || want.is_empty(),
        "{what}: nothing, though there are {} entries",
        want.len()
    );
    for (position, entry) in got.iter().enumerate() {
        match want.get(position) {
            None => return Err(Failure(format!("{what}: entry {} should not be there", entry.id))),
            Some(expected) => same_entry(what, entry, expected)?,
        }
    }
    let beyond: u64 = got.iter().skip(1).map(|entry| entry.payload.len() as u64).sum();
    ensure!(
        beyond <= max_bytes,
        "{what}: {beyond} bytes beyond the first entry, {max_bytes} allowed"
    );
    Ok(())
}

pub(super) fn same_entry(what: &str, got: &Entry, want: &Entry) -> Verdict {
    ensure!(
        got.meta() == want.meta(),
        "{what}: entry is {:?}, not {:?}",
        got.meta(),
        want.meta()
    );
    ensure!(
        got.payload == want.payload,
        "{what}: entry {} has other bytes than were appended",
        got.id
    );
    Ok(())
}

/// Reads everything by index, in pieces.
pub(super) fn read_all(
    subject: &Subject<'_>,
    reader: &dyn LogReader,
    max_bytes: u64,
) -> Result<Vec<Entry>, Failure> {
    let state = reader.state();
    let (mut next, end) = (state.index_start(), state.last.index.next());
    let mut all = Vec::new();
    while next < end {
        let run: Vec<Entry> = subject.read(
            &format!("entries from {next}"),
            reader.entries(next..end, max_bytes),
        )?;
        ensure!(
            !run.is_empty(),
            "entries from {next}: nothing, though the log runs to {}",
            state.last
        );
        for entry in run {
            ensure!(entry.id.index == next, "entry {} where {next} is next", entry.id);
            next = next.next();
            all.push(entry);
        }
    }
    Ok(all)
}

fn by_index(subject: &Subject<'_>, reader: &dyn LogReader, model: &GroupModel, prng: &mut Prng) -> Verdict {
    let state = model.state();
    let (start, end) = (state.index_start(), state.last.index.next());
    let want = model.entries(&(start..end), u64::MAX).unwrap_or_default();
    let got = read_all(subject, reader, prng.below(5000))?;
    check_run("all entries", &got, &want, u64::MAX)?;
    ensure!(
        got.len() == want.len(),
        "{} entries, not {}",
        got.len(),
        want.len()
    );
    for _ in 0..4 {
        let from = LogIndex(prng.between(start.0.saturating_sub(1), end.0 + 1));
        let to = LogIndex(from.0 + prng.below(6));
        let max_bytes = prng.below(3000);
        let what = format!("entries {from}..{to}");
        let full = model.entries(&(from..to), u64::MAX);
        same_answer(
            subject,
            &what,
            reader.entries(from..to, max_bytes),
            full,
            max_bytes,
        )?;
    }
    Ok(())
}

fn same_answer(
    subject: &Subject<'_>,
    what: &str,
    got: Result<Read<Vec<Entry>>, LogError>,
    want: Result<Vec<Entry>, LogError>,
    max_bytes: u64,
) -> Verdict {
    match (subject.outcome(got)?, want) {
        (Ok(got), Ok(want)) => check_run(what, &got, &want, max_bytes),
        (Err(LogError::Compacted { .. }), Err(LogError::Compacted { .. })) => Ok(()),
        (got, want) => {
            let text = |answer: &Result<Vec<Entry>, LogError>| match answer {
                Ok(run) => format!("{} entries", run.len()),
                Err(error) => error.to_string(),
            };
            Err(Failure(format!(
                "{what}: {}, where {} is right",
                text(&got),
                text(&want)
            )))
        }
    }
}

fn terms(reader: &dyn LogReader, model: &GroupModel) -> Verdict {
    let state = model.state();
    for index in state.purged.index.0.saturating_sub(1)..=state.last.index.0 + 1 {
        let index = LogIndex(index);
        let (got, want) = (reader.term_at(index), model.term_at(index));
        let same = match (&got, &want) {
            (Ok(got), Ok(want)) => got == want,
            (Err(got), Err(want)) => std::mem::discriminant(got) == std::mem::discriminant(want),
            _ => false,
        };
        ensure!(same, "term at {index} is {got:?}, not {want:?}");
    }
    for term in 0..=state.last.term.0 + 1 {
        let (got, want) = (reader.end_of_term(Term(term)), model.end_of_term(Term(term)));
        // Terms whose data is gone may be forgotten or remembered.
        ensure!(
            got == want || want.is_none() || model.state().purged.index.0 > 0,
            "end of term {term} is {got:?}, not {want:?}"
        );
        if want.is_some() {
            ensure!(got == want, "end of term {term} is {got:?}, not {want:?}");
        }
    }
    Ok(())
}

fn by_offset(subject: &Subject<'_>, reader: &dyn LogReader, model: &GroupModel, prng: &mut Prng) -> Verdict {
    let state = model.state();
    let want = model
        .read_offsets(&(state.offset_start..state.offset_end), u64::MAX)
        .unwrap_or_default();
    let (mut next, mut got) = (state.offset_start, Vec::new());
    while next < state.offset_end {
        let what = format!("offsets from {next}");
        let run = subject.read(
            &what,
            reader.read_offsets(next..state.offset_end, prng.below(5000)),
        )?;
        let Some(last) = run.last() else { break };
        ensure!(
            last.end_offset() > next,
            "{what}: the run ends at {}",
            last.end_offset()
        );
        next = last.end_offset();
        got.extend(run);
    }
    check_run("all offsets", &got, &want, u64::MAX)?;
    ensure!(
        got.len() == want.len(),
        "{} data entries by offset, not {}",
        got.len(),
        want.len()
    );
    for _ in 0..4 {
        let span = u64::try_from(state.offset_end.0 - state.offset_start.0).unwrap_or(0) + 3;
        let from = Offset(state.offset_start.0 - 1 + i64::try_from(prng.below(span)).unwrap_or(0));
        let to = Offset(from.0 + i64::try_from(prng.below(12)).unwrap_or(0));
        let max_bytes = prng.below(3000);
        let what = format!("offsets {from}..{to}");
        let full = model.read_offsets(&(from..to), u64::MAX);
        same_answer(
            subject,
            &what,
            reader.read_offsets(from..to, max_bytes),
            full,
            max_bytes,
        )?;
    }
    Ok(())
}

fn by_time(subject: &Subject<'_>, reader: &dyn LogReader, model: &GroupModel, prng: &mut Prng) -> Verdict {
    let state = model.state();
    let newest = model
        .find_time(TimeQuery::Maximum, state.offset_end)
        .map_or(0, |meta| meta.max_timestamp_ms);
    for _ in 0..3 {
        let back = i64::try_from(prng.below(20_000)).unwrap_or(0);
        let span = u64::try_from(state.offset_end.0 - state.offset_start.0).unwrap_or(0) + 1;
        let before = Offset(state.offset_start.0 + i64::try_from(prng.below(span)).unwrap_or(0));
        for query in [TimeQuery::Maximum, TimeQuery::AtOrAfter(newest + 1000 - back)] {
            for before in [before, state.offset_end] {
                let what = format!("{query:?} before {before}");
                let got = subject.read(&what, reader.find_time(query, before))?;
                let want = model.find_time(query, before);
                ensure!(got == want, "{what} is {got:?}, not {want:?}");
            }
        }
    }
    Ok(())
}

fn checkpoints(reader: &dyn LogReader, model: &GroupModel) -> Verdict {
    let state = model.state();
    let known = model.checkpoint_indexes();
    for index in known.into_iter().chain([state.purged.index, state.last.index]) {
        if index < state.purged.index {
            continue;
        }
        let (got, want) = (reader.checkpoint(index), model.checkpoint(index));
        ensure!(
            got.as_ref() == Ok(&want),
            "checkpoint at or below {index} is {:?}, not {:?}",
            got.map(|found| found.map(|checkpoint| checkpoint.at)),
            want.map(|checkpoint| checkpoint.at)
        );
    }
    Ok(())
}

fn segments(reader: &dyn LogReader, model: &GroupModel) -> Verdict {
    let (segments, state) = (reader.segments(), model.state());
    for pair in segments.windows(2) {
        let [older, newer] = pair else { continue };
        ensure!(
            older.sealed,
            "segment {}..{} is open, and another follows",
            older.first,
            older.last
        );
        ensure!(
            newer.first.index == older.last.index.next() && newer.offsets.start == older.offsets.end,
            "segment {}..{} is followed by {}..{}",
            older.first,
            older.last,
            newer.first,
            newer.last
        );
    }
    if state.last.index > state.purged.index {
        let (first, last) = (segments.first(), segments.last());
        ensure!(
            first.is_some_and(|segment| segment.first.index <= state.index_start()),
            "no segment holds {}",
            state.index_start()
        );
        ensure!(
            last.is_some_and(|segment| segment.last == state.last && segment.offsets.end == state.offset_end),
            "the last segment does not end with {}",
            state.last
        );
    }
    Ok(())
}
