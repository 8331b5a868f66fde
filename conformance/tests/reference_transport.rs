//! The transport over the simulated network keeps the contract: a check that fails here is wrong.

use chronik_conformance::transport::{self, Simulated};
use std::process::ExitCode;

fn main() -> ExitCode {
    transport::main(Simulated::default())
}
