//! `config check`, `config show` and `config reference`.

use structopt::StructOpt;

use super::Exit;
use super::output::{complain, print};
use super::settings::Settings;
use crate::config::{reference, show};

#[derive(Debug, StructOpt)]
pub(super) enum Command {
    /// Says everything that is wrong with a configuration; exits with 1 if anything is.
    Check(Settings),
    /// Prints the configuration in force and where each value comes from.
    Show(Settings),
    /// Prints every key with its meaning, default and allowed values.
    Reference,
}

pub(super) fn run(command: &Command) -> Exit {
    let (settings, answer): (_, fn(&_) -> String) = match command {
        Command::Reference => return print(&reference()),
        Command::Check(settings) => (settings, |_| "the configuration is good\n".to_owned()),
        Command::Show(settings) => (settings, show),
    };
    match settings.load(&[]) {
        Ok(effective) => print(&answer(&effective)),
        Err(problems) => {
            complain(&problems);
            Exit::Failed
        }
    }
}
