//! The reference engine keeps the contract: a check that fails here is wrong.

use chronik_conformance::consensus::{self, Reference};
use std::process::ExitCode;

fn main() -> ExitCode {
    consensus::main(Reference::default())
}
