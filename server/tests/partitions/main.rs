//! The path of a record through whole clusters: produce, replicate, apply, fetch, retention and the object tier of three
//! nodes, which run the server's partitions on raft-rs and the segment store, over simulated disks, network, clock and
//! bucket, under random faults.
//!
//! Without variables the scenes (`CHRONIK_SCENES=1`: these alone) and a fixed set of seeds run. `CHRONIK_SWARM=N` or `N@S` runs N seeds, of base seed S;
//! `CHRONIK_SEED=S cargo test --release -p chronik-server --test partitions` repeats one of them.

mod access;
mod bucket;
mod disaster;
mod membership;
mod metadata;
mod node;
mod oracle;
mod plan;
mod producer;
mod reader;
mod run;
mod scenes;
mod tier_scenes;
mod times;

use chronik_conformance::check::Marks;
use chronik_conformance::survey::{self, Batch, Played};
use chronik_conformance::world::Seed;
use plan::{Fault, Plan};
use run::{Report, run};
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs that say something: these happen in any few dozen of them.
const MUST_HAPPEN: [&str; 20] = [
    "batches acknowledged",
    "epochs served",
    "crashes",
    "kills at the bucket",
    "unknown outcomes",
    "requests without an answer",
    "leaders stopped",
    "retries deduplicated",
    "last batches sent again",
    "segments uploaded",
    "rounds with local data dropped",
    "cold reads",
    "objects deleted",
    "look-ups by time",
    "records expired",
    "local data expired",
    "disks lost",
    "memberships changed",
    "replicas moved",
    "clusters restored with records",
];
/// How many seeds a test run has.
const SEEDS: u64 = 24;

fn main() -> ExitCode {
    // A panic is a finding, which is told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    if let Ok(text) = std::env::var("CHRONIK_SEED") {
        return replay(&text);
    }
    if let Ok(text) = std::env::var("CHRONIK_SWARM") {
        return survey_seeds(&text);
    }
    let scenes = play_scenes();
    match (scenes, std::env::var("CHRONIK_SCENES")) {
        (true, Err(_)) => survey_seeds(&format!("{SEEDS}@1")),
        (true, Ok(_)) => ExitCode::SUCCESS,
        (false, _) => ExitCode::FAILURE,
    }
}

/// Plays every scene; whether none shows a breach.
fn play_scenes() -> bool {
    let met = Marks::default();
    let mut sound = true;
    for (name, report) in scenes::scenes() {
        for breach in &report.breaches {
            say(&format!("scene: {name}: {}: {}", breach.rule, breach.what));
            sound = false;
        }
        met.merge(&report.marks);
    }
    say(&format!("scenes met: {met}"));
    if let Err(missed) = met.require(&scenes::MUST_HAPPEN) {
        say(&format!("error: the scenes say nothing: {missed}"));
        sound = false;
    }
    sound
}

/// A closed pipe is the reader's choice.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn tell(report: &Report) {
    let breaches = report.breaches.iter();
    breaches.for_each(|breach| breach.tell(report.seed));
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
    let Some(first) = report.breaches.first() else {
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
    let faults = survey::shrink(&plan.faults, 100, |faults| {
        let fewer = Plan {
            faults: faults.to_vec(),
            ..plan.clone()
        };
        run(&fewer).breaches.iter().any(|breach| breach.rule == rule)
    });
    Plan {
        faults,
        ..plan.clone()
    }
}

/// Runs many seeds, and names those that break a rule.
fn survey_seeds(text: &str) -> ExitCode {
    let batch = match Batch::parse(text) {
        Ok(batch) => batch,
        Err(what) => {
            say(&format!("error: {what}"));
            return ExitCode::from(2);
        }
    };
    say(&batch.to_string());
    let faults = AtomicUsize::new(0);
    let outcome = survey::survey(batch, |number| {
        let plan = Plan::random(batch.base.child("partitions").nth(number));
        let ends = |fault: &Fault| {
            matches!(
                fault,
                Fault::StartAll | Fault::Heal | Fault::Resume(_) | Fault::ResumeAll
            )
        };
        let count = plan.faults.iter().filter(|(_, fault)| !ends(fault)).count();
        faults.fetch_add(count, Ordering::SeqCst);
        let report = run(&plan);
        Played {
            seed: report.seed,
            breaches: report.breaches,
            marks: report.marks,
        }
    });
    say(&format!("met: {}; faults {}", outcome.marks, faults.into_inner()));
    say(&outcome.to_string());
    let vacuous = if batch.count >= SEEDS {
        outcome.marks.require(&MUST_HAPPEN)
    } else {
        Ok(())
    };
    if let Err(missed) = &vacuous {
        say(&format!("error: the runs say nothing: {missed}"));
    }
    if outcome.is_clean() && vacuous.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
