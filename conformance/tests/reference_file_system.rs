//! The simulated disk keeps what stores rely on, and nothing more: a check that fails here is wrong.

use chronik_conformance::file_system::{self, Simulated};
use std::process::ExitCode;

fn main() -> ExitCode {
    file_system::main(Simulated::default())
}
