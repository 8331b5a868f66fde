//! Lets a writer write, cuts the power, mounts again, and compares with what the writer was promised.

use super::content::{GROUPS, POLICY, entry, offset_of};
use super::mount::Image;
use super::writer::{Plan, open};
use chronik_conformance::check::{Failure, Marks, Verdict};
use chronik_conformance::world::Seed;
use chronik_core::log_store::Read;
use chronik_core::{Entry, GroupId, GroupLog, LogIndex, LogStore};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// What is known about a group: everything acknowledged, in the order of the answers.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The last entry that must be there, and its term.
    last: u64,
    /// Truncations that were asked for and not acknowledged: the last entries that they leave.
    cutting: Vec<u64>,
    /// Everything up to here is purged.
    purged: u64,
    vote_term: u64,
    /// Terms of entries by first index, as recovered or acknowledged.
    terms: BTreeMap<u64, u64>,
}

pub(crate) fn run(seed: Seed, rounds: u64, synced: bool, marks: &Marks) -> Verdict {
    let mut image = Image::new(if synced { "synced" } else { "unsynced" })?;
    let mut known: BTreeMap<u64, Known> = (1..=GROUPS).map(|group| (group, Known::default())).collect();
    let mut prng = seed.prng();
    let mut lost = 0;
    for round in 1..=rounds {
        image.mount()?;
        let plan = Plan {
            dir: image.mount_point().join("data"),
            term: round,
            synced,
        };
        // Early cuts hit the creation of files, late ones their recycling.
        let lines = if round % 4 == 1 {
            prng.below(50)
        } else {
            200 + prng.below(2500)
        };
        write(&image, &plan, lines, &mut known, marks)?;
        image.unmount()?;
        image.mount()?;
        let verdict = judge(&plan, &mut known, marks).map_err(|failure| failure.at(format!("round {round}")));
        image.unmount()?;
        match verdict {
            Ok(()) => {}
            Err(failure) if synced => return Err(failure),
            Err(_) => {
                lost += 1;
                // Of another name: the old one takes its folder away when it goes.
                image = Image::new(&format!("again-{round}"))?;
                known.values_mut().for_each(|known| *known = Known::default());
            }
        }
    }
    if !synced && lost == 0 {
        return Err(Failure(format!(
            "{rounds} power cuts lost nothing of a store that never syncs"
        )));
    }
    marks.require(&["acknowledged writes", "power cuts"])
}

/// Starts the writer, lets it have `lines` acknowledgements, cuts the power, and takes in the rest of what it said.
fn write(image: &Image, plan: &Plan, lines: u64, known: &mut BTreeMap<u64, Known>, marks: &Marks) -> Verdict {
    let program = std::env::current_exe().map_err(|error| Failure(error.to_string()))?;
    let (name, value) = plan.variable();
    let mut child = Command::new(program)
        .env(name, value)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure(format!("the writer does not start: {error}")))?;
    let said = read_lines(&mut child, image, lines, known, marks);
    // After the cut every call of the writer fails, and it ends; the kill is for one that does not notice.
    let _ = child.kill();
    let output = child
        .wait_with_output()
        .map_err(|error| Failure(error.to_string()))?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    said.map_err(|failure| Failure(format!("{failure}; the writer said: {}", complaint.trim())))
}

fn read_lines(
    child: &mut Child,
    image: &Image,
    lines: u64,
    known: &mut BTreeMap<u64, Known>,
    marks: &Marks,
) -> Verdict {
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| Failure::new("the writer has no output"))?;
    let mut seen = 0;
    let mut cut = None;
    for line in BufReader::new(stdout).lines() {
        let line = line.map_err(|error| Failure(error.to_string()))?;
        if note(&line, cut, known)? {
            marks.hit("acknowledged writes");
        } else {
            marks.hit("answers during the cut");
        }
        seen += 1;
        if seen > lines && cut.is_none() {
            cut = Some(image.cut_power()?);
            marks.hit("power cuts");
        }
    }
    if cut.is_some() {
        Ok(())
    } else {
        Err(Failure(format!("the writer ended after {seen} lines")))
    }
}

/// Takes in one line of the writer; false where nothing follows from it, because the power went before it was said.
fn note(line: &str, cut: Option<u128>, known: &mut BTreeMap<u64, Known>) -> Result<bool, Failure> {
    let mut words = line.split(' ');
    let verb = words.next().unwrap_or_default();
    if verb == "open" {
        return Ok(true);
    }
    let bad = || Failure(format!("the writer said \"{line}\""));
    let mut number = || words.next().and_then(|word| word.parse::<u128>().ok());
    let small = |number: u128| u64::try_from(number).map_err(|_| bad());
    let group = small(number().ok_or_else(bad)?)?;
    let value = small(number().ok_or_else(bad)?)?;
    let said = number().ok_or_else(bad)?;
    if verb != "cutting" && cut.is_some_and(|cut| said >= cut) {
        return Ok(false);
    }
    let known = known.get_mut(&group).ok_or_else(bad)?;
    match verb {
        "append" => known.last = value,
        "cutting" => known.cutting.push(value - 1),
        "truncate" => {
            known.last = value - 1;
            if !known.cutting.is_empty() {
                known.cutting.remove(0);
            }
        }
        "purge" => known.purged = value,
        "vote" => known.vote_term = value,
        _ => return Err(bad()),
    }
    Ok(true)
}

fn judge(plan: &Plan, known: &mut BTreeMap<u64, Known>, marks: &Marks) -> Verdict {
    let store =
        open(&plan.dir, true).map_err(|error| Failure(format!("the store does not open: {error}")))?;
    for (group, known) in known.iter_mut() {
        let log = store
            .open_group(GroupId(*group), POLICY)
            .map_err(|error| Failure(format!("group {group} does not open: {error}")))?;
        judge_group(*group, &log, known, marks).map_err(|failure| failure.at(format!("group {group}")))?;
    }
    store.close().map_err(|error| Failure(format!("close: {error}")))
}

fn judge_group(group: u64, log: &GroupLog, known: &mut Known, marks: &Marks) -> Verdict {
    let state = log.reader.state();
    let fail = |what: String| Err(Failure(what));
    if state.purged.index.0 < known.purged {
        return fail(format!(
            "purged through {}, acknowledged was {}",
            state.purged, known.purged
        ));
    }
    if state.hard_state.term.0 < known.vote_term {
        return fail(format!(
            "{:?}, acknowledged was term {}",
            state.hard_state, known.vote_term
        ));
    }
    let least = known.cutting.iter().copied().fold(known.last, u64::min);
    if state.last.index.0 < least {
        return fail(format!(
            "the log ends at {}, acknowledged was {least}",
            state.last
        ));
    }
    if state.last.index.0 < known.last {
        marks.hit("truncations in flight");
    }
    if state.last.index.0 > known.last {
        marks.hit("unacknowledged tails kept");
    }
    if state.offset_end != offset_of(state.last.index.0 + 1) {
        return fail(format!("offset {} after {}", state.offset_end, state.last));
    }
    let mut next = state.index_start();
    while next <= state.last.index {
        let run = read(log, next, state.last.index.next())?;
        for got in run {
            if got.id.index != next {
                return fail(format!("entry {} where {next} is next", got.id));
            }
            if known
                .terms
                .get(&next.0)
                .is_some_and(|term| *term != got.id.term.0)
            {
                return fail(format!("entry {} was written in another term", got.id));
            }
            if got != entry(group, got.id) {
                return fail(format!("entry {} has other content than was written", got.id));
            }
            marks.hit("entries compared");
            known.terms.insert(next.0, got.id.term.0);
            next = next.next();
        }
    }
    // What was recovered is durable: it must be there after the next cut too.
    known.terms.retain(|index, _| *index <= state.last.index.0);
    known.last = state.last.index.0;
    known.cutting.clear();
    known.purged = state.purged.index.0;
    known.vote_term = state.hard_state.term.0;
    Ok(())
}

fn read(log: &GroupLog, from: LogIndex, to: LogIndex) -> Result<Vec<Entry>, Failure> {
    let answer = log.reader.entries(from..to, 1 << 20);
    let run = match answer {
        Ok(Read::Ready(run)) => Ok(run),
        Ok(Read::Pending(later)) => futures_lite::future::block_on(later),
        Err(error) => Err(error),
    };
    match run {
        Ok(run) if run.is_empty() => Err(Failure(format!("no entry at {from}"))),
        Ok(run) => Ok(run),
        Err(error) => Err(Failure(format!("entries from {from}: {error}"))),
    }
}
