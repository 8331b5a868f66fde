//! The `chronik-server` binary. The exit codes are those of [`Exit`](chronik_server::cli::Exit).

use std::process::ExitCode;

fn main() -> ExitCode {
    chronik_server::cli::run(std::env::args_os()).code().into()
}
