//! `verify`: reads a data directory that no process uses, and names every damaged byte range.

use super::Exit;
use super::output::{complain, print};
use crate::config::compose;
use std::path::PathBuf;
use structopt::StructOpt;

#[derive(Debug, StructOpt)]
pub(super) struct Command {
    /// The data directory. It is read only, and locked while it is read.
    #[structopt(long, parse(from_os_str))]
    data_dir: PathBuf,
}

pub(super) fn run(command: &Command) -> Exit {
    match compose::verify(&command.data_dir) {
        Ok((text, true)) => print(&text),
        Ok((text, false)) => {
            print(&text);
            Exit::Failed
        }
        Err(error) => {
            complain(&format_args!(
                "cannot verify {}: {error}",
                command.data_dir.display()
            ));
            Exit::Failed
        }
    }
}
