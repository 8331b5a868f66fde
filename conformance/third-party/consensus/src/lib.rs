//! Stands for a consensus engine of somebody else's: here, the reference engine behind another name.

pub use chronik_conformance::reference::raft::RefEngine as MyEngine;
