//! The reference: the small engine of [`reference::raft`](mod@crate::reference::raft), whole or with one guarantee broken.

use super::{Backend, Seat};
use crate::reference::raft::{RaftMutant, RefEngine};
use chronik_core::consensus::Consensus;
use std::sync::Arc;

/// The reference engine over the reference store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference {
    /// The guarantee to break.
    pub mutant: Option<RaftMutant>,
}

impl Backend for Reference {
    fn name(&self) -> &str {
        "reference"
    }

    fn engine(&self, seat: Seat) -> Arc<dyn Consensus> {
        let Seat {
            node,
            env,
            transport,
            inbound,
        } = seat;
        Arc::new(RefEngine::new(env, node, transport, inbound, self.mutant))
    }
}
