//! Cuts the power under a writing store, on a real file system: a loop-mounted ext4 image that the kernel is told to
//! shut down at once, without writing anything back. What was acknowledged must be there after the next mount.
//!
//! `cargo test -p chronik-storage-mmap --test power_cut -- [--seed S] [--effort N]`; needs root and loop devices. Where
//! they are missing the test is skipped, and where `CI` is set a skip is a failure.

mod content;
mod ext4;
mod mount;
mod rig;
mod unsynced;
mod writer;

use chronik_conformance::check::{Level, Trial};
use chronik_conformance::{file_system, runner};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;

/// Set in the process that has mounts of its own.
const INSIDE: &str = "CHRONIK_POWER_CUT_INSIDE";

fn main() -> ExitCode {
    if let Some(plan) = writer::Plan::of_this_process() {
        return writer::run(&plan);
    }
    let obstacle = mount::obstacle();
    if obstacle.is_none() && std::env::var_os(INSIDE).is_none() {
        // Mounts of a private name space end with the last process in it, however that ends.
        let Ok(program) = std::env::current_exe() else {
            return ExitCode::FAILURE;
        };
        let error = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(program)
            .args(std::env::args_os().skip(1))
            .env(INSIDE, "1")
            .exec();
        eprintln!("unshare: {error}");
        return ExitCode::FAILURE;
    }
    runner::main("storage-mmap on ext4", &|args| {
        let effort = u64::from(args.effort);
        let skip = obstacle.clone().filter(|_| std::env::var_os("CI").is_none());
        let missing = obstacle.clone();
        let trial = |clause, name, rounds: u64, synced| {
            let missing = missing.clone();
            Trial {
                clause,
                name,
                level: Level::Must,
                disabled: None,
                skip: skip.clone(),
                run: Box::new(move |seed, marks| match &missing {
                    Some(what) => Err(chronik_conformance::check::Failure::new(what.clone())),
                    None => rig::run(seed, rounds, synced, marks),
                }),
            }
        };
        let mut trials = file_system::trials(&Arc::new(ext4::Ext4 {
            missing: obstacle.clone(),
        }));
        trials.iter_mut().for_each(|trial| trial.skip = skip.clone());
        trials.extend([
            trial(
                "FS-01",
                "acknowledged_writes_survive_power_cuts_on_ext4",
                8 * effort,
                true,
            ),
            trial("FS-03", "the_rig_loses_what_was_not_synced", 4, false),
        ]);
        trials
    })
}
