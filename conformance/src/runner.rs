//! Runs checks from a command line, in the manner of the standard test harness.

mod args;
mod child;
mod page;
mod report;
mod supervise;

pub use args::Args;

use crate::check::{Failure, Level, Marks, Trial, Verdict};
use crate::world::locked;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The clause holds as far as the check looks.
    Passed,
    /// It does not.
    Failed(Failure),
    /// The check could not tell: what it wanted to look at never happened. Counts as a failure.
    Inconclusive(Failure),
    /// The subject panicked, ended its process, never returned or took all memory. Counts as a failure.
    Error(Failure),
    /// The check needs a capability that the subject does not declare; the text names it.
    Skipped(String),
    /// Whoever wrote the subject does not want the check to be run; the text says why.
    Disabled(String),
}

impl Status {
    /// The evidence, or the reason.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Passed => "",
            Self::Failed(failure) | Self::Inconclusive(failure) | Self::Error(failure) => &failure.0,
            Self::Skipped(reason) | Self::Disabled(reason) => reason,
        }
    }

    const fn counts_as_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Inconclusive(_) | Self::Error(_))
    }
}

/// One line of the report.
#[derive(Clone, Debug)]
pub struct Line {
    /// Clause and name.
    pub name: String,
    /// How binding it is.
    pub level: Level,
    /// How it ended.
    pub status: Status,
    /// What it met.
    pub marks: Marks,
    /// How long it took.
    pub took: Duration,
}

/// All lines, in the order of the checks.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The lines.
    pub lines: Vec<Line>,
    /// How long the whole run took.
    pub took: Duration,
    /// What was noticed of several checks together, and is the fault of none.
    pub notes: Vec<String>,
}

impl Report {
    /// How many passed, failed and were not run.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count =
            |wanted: fn(&Status) -> bool| self.lines.iter().filter(|line| wanted(&line.status)).count();
        (
            count(|status| *status == Status::Passed),
            count(Status::counts_as_failure),
            count(|status| matches!(status, Status::Skipped(_) | Status::Disabled(_))),
        )
    }

    /// How many random runs were made, and how many that is in a minute; `None` where there were none.
    #[must_use]
    pub fn random_runs(&self) -> Option<(u64, u64)> {
        let count = self.lines.iter().map(|line| line.marks.count(Marks::RUNS)).sum();
        (count > 0).then(|| (count, per_minute(count, self.took)))
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &Failure)> {
        self.lines.iter().filter_map(|line| match &line.status {
            Status::Failed(failure) | Status::Inconclusive(failure) | Status::Error(failure) => {
                Some((line.name.as_str(), failure))
            }
            _ => None,
        })
    }
}

/// Does something, and says how long that took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    (work(), began.elapsed())
}

/// How many there are in a minute where `count` took so long.
pub(crate) fn per_minute(count: u64, took: Duration) -> u64 {
    let millis = took.as_millis().max(1);
    u64::try_from(u128::from(count) * 60_000 / millis).unwrap_or(u64::MAX)
}

/// Runs one check; a panic of the backend is an error, which counts as a failure.
#[must_use]
pub fn run_one(trial: &Trial<'_>, args: &Args) -> Line {
    let marks = Marks::default();
    let start = Instant::now();
    let status = match (&trial.disabled, &trial.skip) {
        (Some(reason), _) => Status::Disabled(reason.clone()),
        (None, Some(reason)) => Status::Skipped(reason.clone()),
        (None, None) => {
            let seed = args.seed.child(&trial.full_name());
            match catch_unwind(AssertUnwindSafe(|| (trial.run)(seed, &marks))) {
                Ok(verdict) => status_of(verdict, &marks),
                Err(panic) => Status::Error(Failure(format!("panicked: {}", panic_text(&*panic)))),
            }
        }
    };
    Line {
        name: trial.full_name(),
        level: trial.level,
        status,
        marks,
        took: start.elapsed(),
    }
}

fn status_of(verdict: Verdict, marks: &Marks) -> Status {
    match verdict {
        Ok(()) if marks.count(Marks::NOT_DECLARED) > 0 => {
            Status::Skipped("it needs a capability that is not declared".to_owned())
        }
        Ok(()) if marks.count(Marks::REFUSES_GROWTH) > 0 => {
            Status::Skipped("it refuses growth from one voter as unsupported".to_owned())
        }
        Ok(()) => Status::Passed,
        Err(failure) if failure.0.starts_with(Marks::VACUOUS) => Status::Inconclusive(failure),
        Err(failure) => Status::Failed(failure),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

/// Runs the checks that `args` selects, on as many threads as it allows, and calls `done` for each in order.
pub fn run(trials: &[Trial<'_>], args: &Args, done: &mut (dyn FnMut(&Line) + Send)) -> Report {
    run_here(&selected(trials, args), args, done)
}

fn selected<'a, 'b>(trials: &'a [Trial<'b>], args: &Args) -> Vec<&'a Trial<'b>> {
    let wanted = |trial: &&Trial<'_>| args.selects(&trial.full_name());
    trials.iter().filter(wanted).collect()
}

/// Runs checks in this process.
fn run_here(selected: &[&Trial<'_>], args: &Args, done: &mut (dyn FnMut(&Line) + Send)) -> Report {
    let next = AtomicUsize::new(0);
    // Finished lines wait here until all before them are reported.
    let finished = Mutex::new((Report::default(), Vec::<Option<Line>>::new(), done));
    locked(&finished).1.resize(selected.len(), None);
    std::thread::scope(|scope| {
        for _ in 0..args.threads.min(selected.len()) {
            scope.spawn(|| {
                while let Some(trial) = selected.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let line = run_one(trial, args);
                    let mut guard = locked(&finished);
                    let (report, waiting, done) = &mut *guard;
                    let at = selected.iter().position(|other| std::ptr::eq(*other, *trial));
                    if let Some(place) = at.and_then(|at| waiting.get_mut(at)) {
                        *place = Some(line);
                    }
                    while let Some(line) = waiting.get_mut(report.lines.len()).and_then(Option::take) {
                        done(&line);
                        report.lines.push(line);
                    }
                }
            });
        }
    });
    let (report, _, _) = finished
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    report
}

/// The whole program: reads the command line, runs, reports, and says how it ended. A run of all checks leaves its report as
/// JSON in the folder that the variable `CHRONIK_REPORT_DIR` names.
#[must_use]
pub fn main(subject: &str, trials: &dyn Fn(&Args) -> Vec<Trial<'static>>) -> ExitCode {
    // What the command line says comes later, so it wins.
    let seed = std::env::var("CHRONIK_SEED").ok();
    let seed = seed.into_iter().flat_map(|seed| ["--seed".to_owned(), seed]);
    let args = match Args::parse(seed.chain(std::env::args().skip(1))) {
        Ok(args) => args,
        Err(wrong) => {
            say(&format!("error: {wrong}"));
            return ExitCode::from(2);
        }
    };
    let trials = trials(&args);
    if args.list {
        for trial in trials.iter().filter(|trial| args.selects(&trial.full_name())) {
            say(&format!("{}: test", trial.full_name()));
        }
        return ExitCode::SUCCESS;
    }
    let selected = selected(&trials, &args);
    if let Some(code) = child::run(&selected, &args) {
        return code;
    }
    say(&format!(
        "\nconformance of {subject}, seed {}, effort {}",
        args.seed, args.effort
    ));
    let mut done = |line: &Line| say(&text_of(line));
    let (mut report, took) = timed(|| {
        let supervised = (!args.inline).then(|| supervise::run(&selected, &args, &mut done));
        let supervised = supervised.flatten();
        supervised.unwrap_or_else(|| run_here(&selected, &args, &mut done))
    });
    report.took = took;
    let (passed, failed, skipped) = report.counts();
    for (name, failure) in report.failures() {
        let seed = args.seed;
        say(&format!(
            "\nfailed: {name}\n  {failure}\n  again with: \"{name}\" --seed {seed} --effort {}",
            args.effort
        ));
    }
    let seed = args.seed.to_string();
    let kept = kept_report(subject, &trials, &args);
    let written = [
        (&kept, report.json(subject, &seed)),
        (&args.json, report.json(subject, &seed)),
        (&args.junit, report.junit(subject)),
        (&args.html, report.page(subject, &seed)),
        (&args.badge, report.badge(subject, &seed)),
    ];
    for (path, text) in written {
        if let Some((path, error)) = path
            .as_ref()
            .and_then(|path| Some((path, std::fs::write(path, text).err()?)))
        {
            say(&format!("error: {path}: {error}"));
            return ExitCode::from(2);
        }
    }
    say_beside(&report);
    say(&format!("\n{passed} passed, {failed} failed, {skipped} skipped"));
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What there is to say of the run beside the checks.
fn say_beside(report: &Report) {
    for note in &report.notes {
        say(&format!("\nnote: {note}"));
    }
    if let Some((count, rate)) = report.random_runs() {
        say(&format!("\n{count} random runs, {rate} a minute"));
    }
}

/// Where a run of all checks leaves its report: in the folder that `CHRONIK_REPORT_DIR` names, under the contract and
/// the subject, so that one command leaves those of many subjects.
fn kept_report(subject: &str, trials: &[Trial<'_>], args: &Args) -> Option<String> {
    let folder = std::env::var("CHRONIK_REPORT_DIR").ok()?;
    let whole = args.filters.is_empty() && args.skips.is_empty() && !args.ignored;
    let (contract, _) = trials.first().filter(|_| whole)?.clause.split_once('-')?;
    let name = format!("{contract} {subject}")
        .to_lowercase()
        .replace([' ', '/'], "-");
    Some(format!("{folder}/{name}.json"))
}

fn text_of(line: &Line) -> String {
    let end = match &line.status {
        Status::Passed => "ok".to_owned(),
        Status::Failed(_) => "FAILED".to_owned(),
        Status::Inconclusive(_) => "INCONCLUSIVE".to_owned(),
        Status::Error(_) => "ERROR".to_owned(),
        Status::Skipped(reason) => format!("skipped ({reason})"),
        Status::Disabled(reason) => format!("disabled ({reason})"),
    };
    let level = report::level_name(line.level);
    let marks = line.marks.to_string();
    let met = if marks.is_empty() {
        marks
    } else {
        format!(" [{marks}]")
    };
    format!(
        "test {} ({level}) ... {end} {:.2} s{met}",
        line.name,
        line.took.as_secs_f64()
    )
}

/// A closed pipe is the reader's choice.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_says_what_was_not_there_to_be_judged() {
        let reason = |mark: &'static str| {
            let marks = Marks::default();
            marks.hit(mark);
            status_of(Ok(()), &marks).text().to_owned()
        };
        assert_eq!(
            reason(Marks::NOT_DECLARED),
            "it needs a capability that is not declared"
        );
        assert_eq!(
            reason(Marks::REFUSES_GROWTH),
            "it refuses growth from one voter as unsupported"
        );
        assert_eq!(reason(Marks::RUNS), "");
    }
}
