//! The path of a record through whole clusters: produce, replicate, apply, fetch, retention and the object tier of three
//! nodes, which run the server's partitions on raft-rs and the segment store, over simulated disks, network, clock and
//! bucket, under random faults.
//!
//! Without variables a fixed set of seeds runs. `CHRONIK_SWARM=N` or `N@S` runs N seeds, of base seed S;
//! `CHRONIK_SEED=S cargo test --release -p chronik-server --test partitions` repeats one of them.

mod access;
mod bucket;
mod node;
mod oracle;
mod plan;
mod producer;
mod reader;
mod run;

use chronik_conformance::check::Marks;
use chronik_conformance::world::Seed;
use plan::{Fault, Plan};
use run::{Report, run};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs that say something: these happen in any few dozen of them.
const MUST_HAPPEN: [&str; 12] = [
    "batches acknowledged",
    "epochs served",
    "crashes",
    "kills at the bucket",
    "unknown outcomes",
    "requests without an answer",
    "retries deduplicated",
    "last batches sent again",
    "segments uploaded",
    "rounds with local data dropped",
    "cold reads",
    "objects deleted",
];
/// How many seeds a test run has.
const SEEDS: u64 = 24;

fn main() -> ExitCode {
    // A panic is a finding, which is told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    if let Ok(text) = std::env::var("CHRONIK_SEED") {
        return replay(&text);
    }
    let text = std::env::var("CHRONIK_SWARM").unwrap_or_else(|_| format!("{SEEDS}@1"));
    survey(&text)
}

/// A closed pipe is the reader's choice.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn tell(report: &Report) {
    for violation in &report.violations {
        let (seed, rule) = (report.seed, violation.rule);
        say(&format!("CHRONIK_SEED={seed} {rule}: {}", violation.what));
    }
}

/// Runs one seed twice, which must show the same, and looks for the fewest faults that still break its first rule.
fn replay(text: &str) -> ExitCode {
    let Ok(seed) = text.parse::<Seed>() else {
        say(&format!("error: CHRONIK_SEED={text} is no seed"));
        return ExitCode::from(2);
    };
    let plan = Plan::random(seed);
    say(&format!("{:?}", plan.config));
    let (report, again) = (run(&plan), run(&plan));
    say(&format!(
        "seed {seed}, digest {:x?}; {}",
        report.digest, report.marks
    ));
    tell(&report);
    if report.digest != again.digest {
        say(&format!("error: a second run shows {:x?}", again.digest));
        return ExitCode::FAILURE;
    }
    let Some(first) = report.violations.first() else {
        say("no breach");
        return ExitCode::SUCCESS;
    };
    let smaller = shrink(&plan, first.rule);
    let (from, to) = (plan.faults.len(), smaller.faults.len());
    say(&format!(
        "{} is still broken by {to} of {from} faults:",
        first.rule
    ));
    smaller.describe().iter().for_each(|line| say(line));
    tell(&run(&smaller));
    ExitCode::FAILURE
}

/// Leaves out faults for as long as the run still breaks `rule`.
fn shrink(plan: &Plan, rule: &str) -> Plan {
    let mut best = plan.clone();
    let mut tries = 100;
    let mut chunk = best.faults.len().div_ceil(2);
    while chunk > 0 && tries > 0 {
        let mut at = 0;
        while at < best.faults.len() && tries > 0 {
            let mut smaller = best.clone();
            let end = (at + chunk).min(smaller.faults.len());
            smaller.faults.drain(at..end);
            tries -= 1;
            if run(&smaller)
                .violations
                .iter()
                .any(|violation| violation.rule == rule)
            {
                best = smaller;
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    best
}

/// Runs many seeds, and names those that break a rule.
fn survey(text: &str) -> ExitCode {
    let (count, base) = text.split_once('@').unwrap_or((text, "1"));
    let (Ok(count), Ok(base)) = (count.parse::<u64>(), base.parse::<Seed>()) else {
        say(&format!("error: CHRONIK_SWARM={text} is no number of seeds"));
        return ExitCode::from(2);
    };
    say(&format!("{count} seeds, base {base}"));
    let (next, failed, marks) = (AtomicU64::new(0), AtomicU64::new(0), Marks::default());
    let faults = Mutex::new(0_usize);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= count {
                        return;
                    }
                    let plan = Plan::random(base.child("partitions").nth(number));
                    let report = run(&plan);
                    tell(&report);
                    marks.merge(&report.marks);
                    failed.fetch_add(u64::from(!report.violations.is_empty()), Ordering::SeqCst);
                    let ends =
                        |fault: &Fault| matches!(fault, Fault::StartAll | Fault::Heal | Fault::Resume(_));
                    let count = plan.faults.iter().filter(|(_, fault)| !ends(fault)).count();
                    *faults.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += count;
                }
            });
        }
    });
    let failed = failed.into_inner();
    let faults = faults.into_inner().unwrap_or_default();
    say(&format!("met: {marks}; faults {faults}"));
    say(&format!("{} seeds passed, {failed} seeds failed", count - failed));
    let vacuous = if count >= SEEDS {
        marks.require(&MUST_HAPPEN)
    } else {
        Ok(())
    };
    if let Err(missed) = &vacuous {
        say(&format!("error: the runs say nothing: {missed}"));
    }
    if failed == 0 && vacuous.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
