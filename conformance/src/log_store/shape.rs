//! What a log is: empty at first, continued entry by entry, opaque to the store.

use super::lab::{DIR, Lab};
use super::maker::Maker;
use super::{Check, Scale, must};
use crate::check::{Verdict, ensure};
use crate::log_store::compare::{compare, read_all};
use crate::log_store::lab::SMALL;
use crate::model::GroupModel;
use chronik_core::log_store::{HardState, StoreHealth, TimeQuery};
use chronik_core::{Entry, EntryKind, GroupId, LogError, LogId, LogIndex, Offset, Term};
use std::path::Path;
use std::sync::Arc;

pub(super) const CHECKS: &[Check] = &[
    must(
        "LS-BAS-01",
        "a_new_group_is_empty_and_reads_of_it_are_empty_answers",
        empty,
    ),
    must("LS-BAS-02", "a_directory_has_one_store_at_a_time", locked),
    must("LS-BAS-03", "the_state_is_that_of_the_last_call", state),
    must(
        "LS-BAS-04",
        "an_index_that_does_not_follow_is_refused_and_nothing_changes",
        index_follows,
    ),
    must(
        "LS-BAS-05",
        "a_term_that_falls_is_refused_and_nothing_changes",
        term_follows,
    ),
    must(
        "LS-BAS-06",
        "an_offset_that_does_not_follow_is_refused_and_nothing_changes",
        offset_follows,
    ),
    must("LS-BAS-07", "appending_nothing_changes_nothing", nothing),
    must(
        "LS-BAS-08",
        "payloads_of_every_size_come_back_and_a_larger_one_is_refused_whole",
        sizes,
    ),
    must("LS-BAS-09", "kinds_counts_and_timestamps_come_back", kinds),
];

fn empty(lab: &Lab<'_>) -> Verdict {
    let subject = lab.fresh("empty")?;
    ensure!(
        subject.store.groups().is_empty(),
        "a new store has groups {:?}",
        subject.store.groups()
    );
    ensure!(
        subject.store.health().get() == StoreHealth::Working,
        "a new store does not work"
    );
    let log = subject.group(7)?;
    let reader = &*log.reader;
    let state = reader.state();
    ensure!(
        (state.last, state.purged, state.durable) == (LogId::default(), LogId::default(), LogIndex(0)),
        "a new group is at {state:?}"
    );
    ensure!(
        (state.offset_start, state.offset_end) == (Offset(0), Offset(0)),
        "a new group has offsets {state:?}"
    );
    ensure!(
        state.hard_state == HardState::default(),
        "a new group has voted: {:?}",
        state.hard_state
    );
    let entries = subject.read("entries", reader.entries(LogIndex(1)..LogIndex(9), 100))?;
    let offsets = subject.read("offsets", reader.read_offsets(Offset(0)..Offset(9), 100))?;
    ensure!(
        entries.is_empty() && offsets.is_empty(),
        "a new group has entries"
    );
    let found = subject.read("time", reader.find_time(TimeQuery::Maximum, Offset(9)))?;
    ensure!(found.is_none(), "a new group has a timestamp");
    ensure!(reader.end_of_term(Term(9)).is_none(), "a new group has a term");
    ensure!(
        reader.checkpoint(LogIndex(9)) == Ok(None),
        "a new group has a checkpoint"
    );
    ensure!(reader.segments().is_empty(), "a new group has segments");
    ensure!(
        reader.term_at(LogIndex(0)) == Ok(Term(0)),
        "the term before the first entry is not 0"
    );
    ensure!(
        reader.term_at(LogIndex(1)) == Err(LogError::Truncated),
        "there is a term beyond the end"
    );
    subject.check_maps()
}

fn locked(lab: &Lab<'_>) -> Verdict {
    let subject = lab.fresh("locked")?;
    let again = lab.backend.open(
        Arc::new(subject.disk.clone()),
        Path::new(DIR),
        subject.sim.env(),
        Scale::Small,
    );
    ensure!(
        matches!(again, Err(LogError::Locked(_))),
        "a second store of the directory: {:?}",
        again.map(|_| "opens")
    );
    let log = subject.group(1)?;
    let busy = subject.store.open_group(GroupId(1), SMALL);
    ensure!(
        matches!(busy, Err(LogError::GroupBusy(GroupId(1)))),
        "a second writer of the group: {:?}",
        busy.map(|_| "opens")
    );
    drop(log);
    drop(subject.group(1)?);
    drop(subject.reopen()?);
    Ok(())
}

fn state(lab: &Lab<'_>) -> Verdict {
    let subject = lab.fresh("state")?;
    let mut log = subject.group(1)?;
    let mut maker = Maker::new(lab.seed.prng());
    let mut model = GroupModel::new(SMALL);
    let mut prng = lab.seed.child("reads").prng();
    for sizes in [&[100][..], &[0, 300, 5000], &[1; 20]] {
        let entries = maker.entries(GroupId(1), &model, Term(3), sizes);
        let answer = log.writer.append(&entries);
        entries.into_iter().for_each(|entry| model.append(entry));
        compare(&subject, &*log.reader, &model, &mut prng).map_err(|failure| failure.at("before durable"))?;
        subject.durable("append", answer)?;
        let state = log.reader.state();
        ensure!(
            state.durable == state.last.index,
            "durable is {} after the ticket, the log ends at {}",
            state.durable,
            state.last
        );
        compare(&subject, &*log.reader, &model, &mut prng).map_err(|failure| failure.at("durable"))?;
    }
    subject.check_maps()
}

/// Appends something that must be refused, between two good appends, and looks that nothing came of it.
fn refused(lab: &Lab<'_>, spoil: fn(&mut Entry), right: fn(&LogError) -> bool) -> Verdict {
    let subject = lab.fresh("refused")?;
    let mut log = subject.group(1)?;
    let mut maker = Maker::new(lab.seed.prng());
    let mut model = GroupModel::new(SMALL);
    let mut prng = lab.seed.child("reads").prng();
    for spoiled_at in [0, 1, 2] {
        let good = maker.data(GroupId(1), &model, Term(5), &[30, 40]);
        subject.durable("append", log.writer.append(&good))?;
        good.into_iter().for_each(|entry| model.append(entry));
        let mut bad = maker.data(GroupId(1), &model, Term(5), &[10, 20, 30]);
        if let Some(entry) = bad.get_mut(spoiled_at) {
            spoil(entry);
        }
        match log.writer.append(&bad).map(drop) {
            Err(error) => ensure!(right(&error), "refused for another reason: {error}"),
            Ok(()) => ensure!(false, "accepted with entry {spoiled_at} of 3 spoiled"),
        }
        subject.settle();
        compare(&subject, &*log.reader, &model, &mut prng)
            .map_err(|failure| failure.at(format!("after a refusal at entry {spoiled_at} of 3")))?;
    }
    drop(log);
    let subject = subject.reopen()?;
    let log = subject.group(1)?;
    compare(&subject, &*log.reader, &model, &mut prng).map_err(|failure| failure.at("reopened"))
}

fn index_follows(lab: &Lab<'_>) -> Verdict {
    let right = |error: &LogError| matches!(error, LogError::OutOfOrder { .. });
    refused(lab, |entry| entry.id.index.0 += 1, right).map_err(|failure| failure.at("a gap"))?;
    refused(lab, |entry| entry.id.index.0 -= 1, right).map_err(|failure| failure.at("an overlap"))
}

fn term_follows(lab: &Lab<'_>) -> Verdict {
    let right = |error: &LogError| matches!(error, LogError::TermRegression { .. });
    refused(lab, |entry| entry.id.term.0 -= 1, right)?;
    let subject = lab.fresh("hard state")?;
    let mut log = subject.group(1)?;
    let hard = |term| HardState {
        term: Term(term),
        vote: None,
    };
    subject.durable("hard state", log.writer.save_hard_state(hard(7)))?;
    let back = log.writer.save_hard_state(hard(6));
    ensure!(
        matches!(back, Err(LogError::TermRegression { .. })),
        "a hard state of an older term: {back:?}"
    );
    ensure!(
        log.reader.state().hard_state == hard(7),
        "a refused hard state was stored"
    );
    Ok(())
}

fn offset_follows(lab: &Lab<'_>) -> Verdict {
    let right = |error: &LogError| matches!(error, LogError::OffsetMismatch { .. });
    refused(lab, |entry| entry.base_offset.0 += 1, right).map_err(|failure| failure.at("a gap"))?;
    refused(lab, |entry| entry.base_offset.0 -= 1, right).map_err(|failure| failure.at("an overlap"))?;
    refused(lab, |entry| entry.kind = EntryKind::Command, right)
        .map_err(|failure| failure.at("a command with records"))
}

fn nothing(lab: &Lab<'_>) -> Verdict {
    let subject = lab.fresh("nothing")?;
    let mut log = subject.group(1)?;
    subject.durable("append nothing to an empty log", log.writer.append(&[]))?;
    let mut maker = Maker::new(lab.seed.prng());
    let mut model = GroupModel::new(SMALL);
    let entries = maker.entries(GroupId(1), &model, Term(1), &[10, 20]);
    let first = log.writer.append(&entries);
    entries.into_iter().for_each(|entry| model.append(entry));
    // Behind another write, the empty one says that the other is durable.
    subject.durable("append nothing", log.writer.append(&[]))?;
    let first = first.map(|ticket| ticket.result());
    ensure!(
        first == Ok(Some(Ok(()))),
        "the write before the empty one: {first:?}"
    );
    compare(&subject, &*log.reader, &model, &mut lab.seed.prng())
}

fn sizes(lab: &Lab<'_>) -> Verdict {
    let limit = usize::try_from(lab.payload_limit()).unwrap_or(usize::MAX);
    let segment = usize::try_from(SMALL.segment_bytes).unwrap_or(usize::MAX);
    let mut sizes: Vec<usize> = vec![0, 1, 7, 8, 511, 512, 513, 4095, 4096, 4097];
    sizes.extend((0..160).map(|back| segment.saturating_sub(back)));
    sizes.extend([
        segment - 1,
        segment,
        segment + 1,
        65_535,
        65_536,
        limit - 1,
        limit,
    ]);
    sizes.retain(|size| *size <= limit);
    let subject = lab.fresh("sizes")?;
    let mut log = subject.group(1)?;
    let mut maker = Maker::new(lab.seed.prng());
    let mut model = GroupModel::new(SMALL);
    for size in &sizes {
        let entries = maker.entries(GroupId(1), &model, Term(1), &[*size]);
        subject.durable(&format!("append {size} bytes"), log.writer.append(&entries))?;
        entries.into_iter().for_each(|entry| model.append(entry));
    }
    let too_large = maker.entries(GroupId(1), &model, Term(1), &[10, limit + 1, 10]);
    let answer = log.writer.append(&too_large).map(drop);
    ensure!(
        matches!(answer, Err(LogError::TooLarge { .. })),
        "{} bytes, one more than the limit: {answer:?}",
        limit + 1
    );
    let mut prng = lab.seed.prng();
    compare(&subject, &*log.reader, &model, &mut prng)?;
    drop(log);
    let subject = subject.reopen()?;
    let log = subject.group(1)?;
    compare(&subject, &*log.reader, &model, &mut prng).map_err(|failure| failure.at("reopened"))
}

fn kinds(lab: &Lab<'_>) -> Verdict {
    let subject = lab.fresh("kinds")?;
    let mut log = subject.group(1)?;
    let mut maker = Maker::new(lab.seed.prng());
    let mut offset = 0;
    let kinds = [
        EntryKind::Blank,
        EntryKind::Membership,
        EntryKind::Data,
        EntryKind::Command,
    ];
    let mut entries = Vec::new();
    for index in 1..=40_u64 {
        let kind = kinds
            .get(usize::try_from(index).unwrap_or(0) % 4)
            .copied()
            .unwrap_or(EntryKind::Data);
        let record_count = if kind == EntryKind::Data {
            u32::try_from(index).unwrap_or(1)
        } else {
            0
        };
        let entry = Entry {
            id: LogId::new(index / 10 + 1, index),
            kind,
            base_offset: Offset(offset),
            record_count,
            max_timestamp_ms: if index % 3 == 0 {
                -1
            } else {
                5000 + i64::from(record_count)
            },
            payload: maker.bytes(GroupId(1), 100),
        };
        offset = entry.end_offset().0;
        entries.push(entry);
    }
    subject.durable("append", log.writer.append(&entries))?;
    let same = |what: &str, got: &[Entry]| -> Verdict {
        for (got, want) in got.iter().zip(&entries) {
            super::compare::same_entry(what, got, want)?;
        }
        ensure!(
            got.len() == entries.len(),
            "{what}: {} entries of {}",
            got.len(),
            entries.len()
        );
        Ok(())
    };
    same("at once", &read_all(&subject, &*log.reader, 1000)?)?;
    drop(log);
    let subject = subject.reopen()?;
    let log = subject.group(1)?;
    same("reopened", &read_all(&subject, &*log.reader, 1000)?)
}
