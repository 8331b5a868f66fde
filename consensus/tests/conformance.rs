//! The raft-rs backend under the checks of the consensus contract.

use chronik_conformance::consensus::{self, Backend, Seat};
use chronik_consensus::RaftRsEngine;
use chronik_consensus::raft_rs::RaftOptions;
use chronik_core::Consensus;
use std::process::ExitCode;
use std::sync::Arc;

struct RaftRs;

impl Backend for RaftRs {
    fn name(&self) -> &str {
        "raft-rs"
    }

    fn engine(&self, seat: Seat) -> Arc<dyn Consensus> {
        // So few entries are kept for those that lag that checkpoints are needed.
        let options = RaftOptions {
            keep_entries: 4,
            ..RaftOptions::new(seat.node)
        };
        let engine = RaftRsEngine::new(options, seat.env, seat.transport, seat.inbound);
        Arc::new(engine.expect("the default options make sense"))
    }
}

fn main() -> ExitCode {
    consensus::main(RaftRs)
}
