//! Checks of the consensus contract (`docs/contract/consensus.md`).
//!
//! A backend implements [`Backend`] and runs the checks from a test without the standard harness. The engine runs in
//! whole clusters under a simulated clock, network and disk; its time, randomness and tasks must come from the
//! environment that it is given.
//!
//! Some checks play a scene and look at its end. Most clauses are judged by swarms too: many short runs with random
//! mixes of faults, during which nothing may happen that the contract forbids. A failing run is named by its seed.

mod client;
mod cluster;
mod liveness;
mod machine;
mod membership;
mod node;
mod once_wrong;
mod oracle;
mod payload;
mod plan;
mod quorum;
mod reference;
mod replays;
mod scenes;
mod seen;
mod swarm;
mod swarm_checks;
mod upkeep;
mod watched;

pub use oracle::Violation;
pub use reference::Reference;
pub use swarm::RunReport;

use crate::check::{Failure, Level, Marks, Trial, Verdict};
use crate::reference::{MemOptions, MemStore};
use crate::runner::{self, Args};
use crate::survey::{self, Batch, Breach, Played};
use crate::world::Seed;
use chronik_core::consensus::Consensus;
use chronik_core::transport::{InboundStream, Transport};
use chronik_core::{Env, FileSystem, LogError, LogStore, NodeId};
use cluster::{Cluster, Shape};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use swarm::Swarm;

/// Where an engine sits: its node, what it takes from outside, and its connections.
#[derive(Debug)]
pub struct Seat {
    /// The node.
    pub node: NodeId,
    /// Time, randomness, tasks and disk threads.
    pub env: Env,
    /// The sending side of the node's connections.
    pub transport: Arc<dyn Transport>,
    /// The receiving side; the engine reads all of it.
    pub inbound: Box<dyn InboundStream>,
}

/// A consensus engine under judgement.
pub trait Backend: Send + Sync + 'static {
    /// Its name in reports.
    fn name(&self) -> &str;

    /// Makes the engine of a node.
    fn engine(&self, seat: Seat) -> Arc<dyn Consensus>;

    /// Opens the store under the engine; the reference store unless the backend brings another.
    ///
    /// # Errors
    /// The store's.
    fn store(&self, fs: Arc<dyn FileSystem>, dir: &Path, env: Env) -> Result<Arc<dyn LogStore>, LogError> {
        Ok(Arc::new(MemStore::open(&*fs, dir, env, MemOptions::default())?))
    }

    /// A check that this backend does not run, with the reason, by clause id.
    fn skip(&self, clause: &str) -> Option<String> {
        let _ = clause;
        None
    }
}

/// What a check works with.
pub(crate) struct Lab<'a> {
    backend: &'a dyn Backend,
    seed: Seed,
    marks: &'a Marks,
    swarm: &'a Swarm,
    /// Where in the swarm this check begins to look.
    offset: usize,
    clause: &'static str,
}

/// One check of the contract.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    clause: &'static str,
    name: &'static str,
    level: Level,
    run: fn(&Lab<'_>) -> Verdict,
}

const fn must(clause: &'static str, name: &'static str, run: fn(&Lab<'_>) -> Verdict) -> Check {
    let level = Level::Must;
    Check {
        clause,
        name,
        level,
        run,
    }
}

const fn should(clause: &'static str, name: &'static str, run: fn(&Lab<'_>) -> Verdict) -> Check {
    let level = Level::Should;
    Check {
        clause,
        name,
        level,
        run,
    }
}

impl<'a> Lab<'a> {
    /// A cluster whose nodes have started, another one in each round.
    fn cluster(&'a self, round: u64, shape: &Shape) -> Result<Cluster<'a>, Failure> {
        Cluster::start(self.backend, self.seed.nth(round), shape)
    }

    /// A cluster whose nodes have not started.
    fn prepared(&'a self, round: u64, shape: &Shape) -> Cluster<'a> {
        Cluster::prepare(self.backend, self.seed.nth(round), shape)
    }
}

fn all() -> impl Iterator<Item = &'static Check> {
    [
        swarm_checks::CHECKS,
        scenes::CHECKS,
        quorum::CHECKS,
        membership::CHECKS,
        upkeep::CHECKS,
        liveness::CHECKS,
        once_wrong::CHECKS,
        replays::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// Clause, level and name of every check, in the order in which they run.
#[must_use]
pub fn index() -> Vec<(&'static str, Level, &'static str)> {
    all()
        .map(|check| (check.clause, check.level, check.name))
        .collect()
}

/// How many seeds a swarm has at effort 1.
const SEEDS: u64 = 40;

/// The checks, ready to run on `backend`; their swarm follows `seed`.
#[must_use]
pub fn trials<B: Backend>(backend: &Arc<B>, seed: Seed, effort: u32) -> Vec<Trial<'static>> {
    let swarm = Arc::new(Swarm::new(seed, SEEDS * u64::from(effort)));
    trials_with(backend, &swarm)
}

fn trials_with<B: Backend>(backend: &Arc<B>, swarm: &Arc<Swarm>) -> Vec<Trial<'static>> {
    all()
        .enumerate()
        .map(|(number, check)| {
            let (backend, check, swarm) = (Arc::clone(backend), *check, Arc::clone(swarm));
            Trial {
                clause: check.clause,
                name: check.name,
                level: check.level,
                disabled: backend.skip(check.clause),
                skip: None,
                run: Box::new(move |seed, marks| {
                    (check.run)(&Lab {
                        backend: &*backend,
                        seed,
                        marks,
                        swarm: &swarm,
                        offset: number * 7,
                        clause: check.clause,
                    })
                }),
            }
        })
        .collect()
}

/// Runs one seed of a swarm, as a failing check names it.
pub fn run_seed<B: Backend>(backend: &B, seed: Seed) -> RunReport {
    swarm::run(backend, &plan::Plan::random(seed)).0
}

/// Runs one seed with as few of its faults as still break `clause`.
pub fn shrink_seed<B: Backend>(backend: &B, seed: Seed, clause: &str) -> RunReport {
    let plan = swarm::shrink(backend, seed, clause, 200);
    swarm::run(backend, &plan).0
}

/// The `main` of a conformance test.
///
/// `CHRONIK_SEED=S` runs one seed of a swarm, and shrinks it where it fails. `CHRONIK_SWARM=N` or `N@S` runs N seeds, of
/// base seed S, and names those that fail.
#[must_use]
pub fn main<B: Backend>(backend: B) -> ExitCode {
    if let Ok(text) = std::env::var("CHRONIK_SEED") {
        return replay(&backend, &text);
    }
    if let Ok(text) = std::env::var("CHRONIK_SWARM") {
        return survey(&backend, &text);
    }
    let backend = Arc::new(backend);
    let name = backend.name().to_owned();
    runner::main(&name, &|args: &Args| trials(&backend, args.seed, args.effort))
}

/// Runs the one seed that a failing check named, and shows the smallest plan that still breaks its first clause.
fn replay<B: Backend>(backend: &B, text: &str) -> ExitCode {
    let Ok(seed) = text.parse() else {
        runner::say(&format!("error: CHRONIK_SEED={text} is no seed"));
        return ExitCode::from(2);
    };
    let report = run_seed(backend, seed);
    runner::say(&format!("seed {seed}, digest {:x?}", report.digest));
    for violation in &report.violations {
        runner::say(&format!("{}: {}", violation.clause, violation.what));
    }
    let Some(first) = report.violations.first() else {
        runner::say("no breach");
        return ExitCode::SUCCESS;
    };
    let smaller = shrink_seed(backend, seed, first.clause);
    let (from, to) = (report.plan.len(), smaller.plan.len());
    runner::say(&format!(
        "{} is still broken by {to} of {from} faults:",
        first.clause
    ));
    smaller
        .plan
        .iter()
        .for_each(|fault| runner::say(&format!("  {fault}")));
    for violation in &smaller.violations {
        runner::say(&format!("{}: {}", violation.clause, violation.what));
    }
    ExitCode::FAILURE
}

/// Runs many seeds, and names those that break a clause.
fn survey<B: Backend>(backend: &B, text: &str) -> ExitCode {
    let batch = match Batch::parse(text) {
        Ok(batch) => batch,
        Err(what) => {
            runner::say(&format!("error: {what}"));
            return ExitCode::from(2);
        }
    };
    runner::say(&format!("a swarm of {batch}, on {}", backend.name()));
    let outcome = survey::survey(batch, |number| {
        let plan = plan::Plan::random(batch.base.child("survey").nth(number));
        let (report, marks) = swarm::run(backend, &plan);
        let breaches = report.violations.into_iter().map(|violation| Breach {
            rule: violation.clause,
            what: violation.what,
        });
        Played {
            seed: report.seed,
            breaches: breaches.collect(),
            marks,
        }
    });
    runner::say(&format!("met: {}", outcome.marks));
    runner::say(&outcome.to_string());
    if outcome.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
