//! What a crash may leave of a group, and whether it did.

use super::compare::{compare, read_all, same_entry};
use super::driver::Driver;
use super::lab::Subject;
use super::tracked::Tracked;
use crate::check::{Failure, Verdict, ensure};
use crate::model::GroupModel;
use crate::world::SimDisk;
use chronik_core::log_store::{Checkpoint, LogState};
use chronik_core::{Entry, GroupLog, LogIndex, LogReader, Ticket};

/// What is read of a group after a crash.
struct Found {
    state: LogState,
    entries: Vec<Entry>,
}

/// Opens the store on what survived of `before`'s disk and checks every group.
pub(super) fn recover<'a>(before: &Driver<'a>, disk: SimDisk) -> Result<Driver<'a>, Failure> {
    let subject = open(before, disk)?;
    let mut after = Driver::new(subject, before.prng.clone());
    after.maker = before.maker.clone();
    for (group, tracked) in &before.groups {
        let known = after.subject.store.groups().contains(&tracked.id);
        let removed = tracked.removal.as_ref().map(Ticket::result);
        if removed == Some(Some(Ok(()))) {
            ensure!(
                !known,
                "group {group} is back, though its removal was acknowledged"
            );
            continue;
        }
        if !known {
            ensure!(
                removed.is_some() || !tracked.must_exist,
                "group {group} is gone, though writes to it were acknowledged"
            );
            continue;
        }
        let recovered =
            one(&after.subject, *group, tracked).map_err(|failure| failure.at(format!("group {group}")))?;
        after.groups.insert(*group, recovered);
    }
    let unknown = after
        .subject
        .store
        .groups()
        .into_iter()
        .find(|id| !before.groups.contains_key(&id.0));
    ensure!(unknown.is_none(), "group {unknown:?} was never created");
    after.compare()?;
    Ok(after)
}

fn open<'a>(before: &Driver<'a>, disk: SimDisk) -> Result<Subject<'a>, Failure> {
    let lab = before.subject.lab;
    // Each life has random numbers of its own: a store may rely on those of an earlier one not coming again.
    let seed = before
        .subject
        .seed
        .child("after a power cut")
        .nth(before.prng.clone().next_u64());
    lab.open(disk, seed, super::Scale::Small)
        .map_err(|error| Failure(format!("the store does not open after a power cut: {error}")))
}

fn one(subject: &Subject<'_>, group: u64, tracked: &Tracked) -> Result<Tracked, Failure> {
    let log = subject.group(group)?;
    let found = look(subject, &log)?;
    let model = explain(tracked, &found, &*log.reader)?;
    subject.lab.marks.hit("recoveries");
    if !tracked.steps.is_empty() {
        let newest = tracked.model();
        if model.state().last != newest.state().last {
            subject.lab.marks.hit("unacknowledged tails lost");
        } else if tracked.steps.iter().any(|step| !step.appended.is_empty()) {
            subject.lab.marks.hit("unacknowledged tails kept");
        }
        for (word, mark) in [
            ("truncate", "truncations crossed"),
            ("purge", "purges crossed"),
            ("vote", "votes crossed"),
            ("checkpoint", "checkpoints crossed"),
        ] {
            if tracked.steps.iter().any(|step| step.what.contains(word)) {
                subject.lab.marks.hit(mark);
            }
        }
    }
    Ok(Tracked::new(tracked.id, Some(log), model, tracked.must_exist))
}

fn look(subject: &Subject<'_>, log: &GroupLog) -> Result<Found, Failure> {
    let state = log.reader.state();
    ensure!(
        state.durable == state.last.index,
        "recovery keeps entries up to {} and says that {} is durable",
        state.last,
        state.durable
    );
    let entries = read_all(subject, &*log.reader, u64::MAX)?;
    Ok(Found { state, entries })
}

/// The state that explains what was found: one of the candidates, with the start, the hard state and the
/// checkpoints of that moment or a later one.
fn explain(tracked: &Tracked, found: &Found, reader: &dyn LogReader) -> Result<GroupModel, Failure> {
    let mut closest: Option<Failure> = None;
    // The newest candidate first: it is the likeliest, and the one whose refusal tells most.
    for (position, candidate) in tracked.candidates().into_iter().rev() {
        match matches(tracked, position, &candidate, found, reader) {
            Ok(model) => return Ok(model),
            Err(failure) => {
                closest.get_or_insert(failure);
            }
        }
    }
    let steps: Vec<&str> = tracked.steps.iter().map(|step| step.what.as_str()).collect();
    let base = tracked.base.state();
    Err(Failure(format!(
        "no history explains the log from {} to {} (offsets {}..{}, {:?}): durable was {}..{} (offsets {}..{}, {:?}), then [{}]; {}",
        found.state.purged,
        found.state.last,
        found.state.offset_start,
        found.state.offset_end,
        found.state.hard_state,
        base.purged,
        base.last,
        base.offset_start,
        base.offset_end,
        base.hard_state,
        steps.join(", "),
        closest.map_or_else(String::new, |failure| failure.0)
    )))
}

fn matches(
    tracked: &Tracked,
    position: usize,
    candidate: &GroupModel,
    found: &Found,
    reader: &dyn LogReader,
) -> Result<GroupModel, Failure> {
    let want = candidate.state();
    ensure!(
        (found.state.last, found.state.offset_end) == (want.last, want.offset_end),
        "the log ends at {}, not at {}",
        found.state.last,
        want.last
    );
    let later = |position: usize| (position..=tracked.steps.len()).map(|at| tracked.state_at(at));
    ensure!(
        later(position).any(|state| state.state().hard_state == found.state.hard_state)
            || want.hard_state == found.state.hard_state,
        "hard state {:?} is older than the entries, whose was {:?}",
        found.state.hard_state,
        want.hard_state
    );
    let start = later(0)
        .chain([candidate])
        .find(|state| {
            let state = state.state();
            (state.purged, state.offset_start) == (found.state.purged, found.state.offset_start)
        })
        .ok_or_else(|| {
            Failure(format!(
                "the log starts after {} and at offset {}, which nobody asked for",
                found.state.purged, found.state.offset_start
            ))
        })?;
    ensure!(
        found.state.purged.index <= want.last.index,
        "the log starts beyond its end"
    );
    let mut model = candidate.with_start_of(start);
    let end = model.state().last.index.next();
    let entries = model
        .entries(&(model.state().index_start()..end), u64::MAX)
        .unwrap_or_default();
    ensure!(
        entries.len() == found.entries.len(),
        "{} entries, not {}",
        found.entries.len(),
        entries.len()
    );
    for (got, want) in found.entries.iter().zip(&entries) {
        same_entry("recovered", got, want)?;
    }
    model.set_hard_state(found.state.hard_state);
    let hints = later(0)
        .map(|state| state.state().commit_hint)
        .max()
        .unwrap_or_default();
    ensure!(
        found.state.commit_hint <= hints.max(want.commit_hint),
        "commit hint {} was never given",
        found.state.commit_hint
    );
    model.reset_commit_hint(found.state.commit_hint);
    model.replace_checkpoints(recovered_checkpoints(tracked, &model, reader)?);
    model.all_durable();
    Ok(model)
}

/// The checkpoints that survived; each must have been the answer at some moment since the last acknowledged one.
fn recovered_checkpoints(
    tracked: &Tracked,
    model: &GroupModel,
    reader: &dyn LogReader,
) -> Result<Vec<Checkpoint>, Failure> {
    let states: Vec<&GroupModel> = (0..=tracked.steps.len()).map(|at| tracked.state_at(at)).collect();
    let purged = model.state().purged.index;
    let mut indexes: Vec<LogIndex> = states
        .iter()
        .flat_map(|state| state.checkpoint_indexes())
        .collect();
    indexes.push(purged);
    indexes.retain(|index| *index >= purged);
    indexes.sort_unstable();
    indexes.dedup();
    let mut survivors = Vec::new();
    for index in indexes {
        let got = reader
            .checkpoint(index)
            .map_err(|error| Failure(format!("checkpoint at or below {index}: {error}")))?;
        ensure!(
            states.iter().any(|state| state.checkpoint(index) == got),
            "checkpoint at or below {index} is {:?}, which it never was",
            got.map(|checkpoint| checkpoint.at)
        );
        survivors.extend(got);
    }
    Ok(survivors)
}

/// Checks a disk image that a crash left, without touching the driver: the image must open, be explained, go on
/// taking entries, and survive another crash with what it said.
pub(super) fn check_image(before: &Driver<'_>, image: SimDisk, go_on: bool) -> Verdict {
    let mut after = recover(before, image)?;
    if !go_on {
        return after.subject.check_maps();
    }
    let failed = |stop: super::driver::Stop| match stop {
        super::driver::Stop::Failed(failure) => failure.at("after recovery"),
        super::driver::Stop::PowerOff => Failure::new("the power went though nobody cut it"),
    };
    let groups: Vec<u64> = after.groups.keys().copied().collect();
    for group in groups {
        after.append(group, &[40, 700]).map_err(failed)?;
    }
    after.sync().map_err(failed)?;
    let again = after.crash(&mut crate::world::disk::DropAll, crate::world::disk::Unit::Sector);
    let again = again.map_err(|failure| failure.at("after a second crash"))?;
    let mut prng = again.prng.clone();
    for (group, tracked) in &again.groups {
        if let Some(log) = &tracked.log {
            compare(&again.subject, &*log.reader, tracked.model(), &mut prng)
                .map_err(|failure| failure.at(format!("group {group} after a second crash")))?;
        }
    }
    again.subject.check_maps()
}
