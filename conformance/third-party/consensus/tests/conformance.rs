use chronik_conformance::consensus::{self, Backend, Seat};
use chronik_core::Consensus;
use example_consensus::MyEngine;
use std::{process::ExitCode, sync::Arc};

struct Mine;

impl Backend for Mine {
    fn name(&self) -> &str { "example-consensus" }
    fn engine(&self, seat: Seat) -> Arc<dyn Consensus> {
        Arc::new(MyEngine::new(seat.env, seat.node, seat.transport, seat.inbound, None))
    }
}

fn main() -> ExitCode { consensus::main(Mine) }
