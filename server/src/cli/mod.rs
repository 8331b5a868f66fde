//! The command line. Exit codes: 0 done; 1 failed, or what was looked at is not well; 2 the command line is wrong;
//! 3 no node answered.

mod bench;
mod cluster;
mod config;
mod conformance;
mod logging;
mod output;
mod restore;
mod settings;
mod start;
mod tier;
mod verify;

use std::ffi::OsString;

use structopt::StructOpt;
use structopt::clap::ErrorKind;

use settings::Settings;

/// How a command ended, as the process's exit code tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for was done.
    Done,
    /// It failed, or a check found something wrong; standard error says what.
    Failed,
    /// The command line is wrong; nothing was done.
    Usage,
    /// No node answered, or the bucket did not.
    Unreachable,
}

impl Exit {
    /// The exit code of the process.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
        }
    }
}

/// A streaming broker that Kafka clients use.
#[derive(Debug, StructOpt)]
#[structopt(name = "chronik-server")]
enum Command {
    /// Runs a broker until SIGTERM or SIGINT.
    Start(Settings),
    /// Asks a running cluster about itself.
    Cluster(cluster::Command),
    /// Runs a broker that is one of several nodes until SIGTERM or SIGINT.
    RaftCluster(Settings),
    /// Checks and explains the configuration.
    Config(config::Command),
    /// Judges a running system from outside; exits with 1 if it breaks a clause of its contract.
    Conformance(conformance::Command),
    /// Writes at a fixed rate, and tells how long that takes.
    Bench(bench::Command),
    /// Reads a data directory and names every damaged byte range; exits with 1 if there is one.
    Verify(verify::Command),
    /// Builds a new cluster from the bucket of another one, alone.
    Restore(restore::Command),
    /// Reads the bucket of the object tier, without a cluster.
    Tier(tier::Command),
    /// Prints the version.
    Version,
}

/// Runs the command that the arguments (with the program's name first) ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    match Command::from_iter_safe(arguments) {
        Ok(Command::Start(settings)) => start::run(&settings, &[]),
        Ok(Command::RaftCluster(settings)) => start::run(&settings, start::CLUSTER),
        Ok(Command::Cluster(command)) => cluster::run(&command),
        Ok(Command::Config(command)) => config::run(&command),
        Ok(Command::Conformance(command)) => conformance::run(&command),
        Ok(Command::Bench(command)) => bench::run(&command),
        Ok(Command::Verify(command)) => verify::run(&command),
        Ok(Command::Restore(command)) => restore::run(&command),
        Ok(Command::Tier(command)) => tier::run(&command),
        Ok(Command::Version) => output::print(&format!("chronik-server {}\n", env!("CARGO_PKG_VERSION"))),
        Err(error) => match error.kind {
            ErrorKind::HelpDisplayed | ErrorKind::VersionDisplayed => {
                output::print(&format!("{}\n", error.message))
            }
            _ => {
                output::complain(&error.message);
                Exit::Usage
            }
        },
    }
}
