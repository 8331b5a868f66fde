//! Checks of the transport contract (`docs/contract/transport.md`).
//!
//! A transport over real sockets runs the checks from a test without the standard harness:
//!
//! ```
//! # use chronik_conformance::transport::{self, Sockets};
//! # use chronik_core::{Env, transport::TransportFactory};
//! # use std::sync::Arc;
//! fn judge(make: fn(Env) -> Arc<dyn TransportFactory>) -> std::process::ExitCode {
//!     transport::main(Sockets::new("my-transport", make))
//! }
//! ```
//!
//! The checks reach the peers through wires, which hold back, damage and break what passes. [`Sockets`] puts proxies on
//! loopback there; [`Simulated`] is the transport of [`world::net`](crate::world::net), which stands as the reference.

mod flow;
mod identity;
mod lab;
mod order;
mod reconnect;
mod rig;
mod rpc;
mod simulated;
mod size;
mod sockets;
mod wire_faults;

pub use rig::{Certificate, Harm, Process, Rig, Wire};
pub use simulated::Simulated;
pub use sockets::Sockets;

use crate::check::{Level, LocalFuture, Trial, Verdict};
use crate::runner::{self, Args};
use crate::world::Seed;
use lab::Lab;
use std::process::ExitCode;
use std::sync::Arc;

/// A transport under judgement.
pub trait Backend: Send + Sync + 'static {
    /// Its name in reports.
    fn name(&self) -> &str;

    /// A world of its own for one check.
    fn rig(&self, seed: Seed) -> Box<dyn Rig>;

    /// A check that this backend does not run, with the reason, by clause id.
    fn skip(&self, clause: &str) -> Option<String> {
        let _ = clause;
        None
    }
}

type Body = for<'a> fn(&'a Lab<'a>) -> LocalFuture<'a, Verdict>;

/// One check of the contract.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    clause: &'static str,
    name: &'static str,
    level: Level,
    run: Body,
}

const fn must(clause: &'static str, name: &'static str, run: Body) -> Check {
    let level = Level::Must;
    Check {
        clause,
        name,
        level,
        run,
    }
}

const fn should(clause: &'static str, name: &'static str, run: Body) -> Check {
    let level = Level::Should;
    Check {
        clause,
        name,
        level,
        run,
    }
}

fn all() -> impl Iterator<Item = &'static Check> {
    [
        rpc::CHECKS,
        order::CHECKS,
        size::CHECKS,
        flow::CHECKS,
        reconnect::CHECKS,
        wire_faults::CHECKS,
        identity::CHECKS,
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

/// The checks, ready to run on `backend`.
#[must_use]
pub fn trials<B: Backend>(backend: &Arc<B>, effort: u32) -> Vec<Trial<'static>> {
    all()
        .map(|check| {
            let (backend, check) = (Arc::clone(backend), *check);
            Trial {
                clause: check.clause,
                name: check.name,
                level: check.level,
                disabled: backend.skip(check.clause),
                skip: None,
                run: Box::new(move |seed, marks| {
                    let rig = backend.rig(seed.child("rig"));
                    let lab = Lab::new(&*rig, seed, u64::from(effort), marks);
                    rig.run((check.run)(&lab))
                }),
            }
        })
        .collect()
}

/// The `main` of a conformance test.
#[must_use]
pub fn main<B: Backend>(backend: B) -> ExitCode {
    let backend = Arc::new(backend);
    let name = backend.name().to_owned();
    runner::main(&name, &|args: &Args| trials(&backend, args.effort))
}
