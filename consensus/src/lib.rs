//! Consensus backends: each turns proposals into a committed log behind the contract of `chronik-core`.
//!
//! - [`raft_rs`]: replicated groups; an entry is committed when it is durable on a quorum.
//! - [`standalone`]: one replica; an entry is committed when it is durable. No round trip.

mod membership;
pub mod raft_rs;
pub mod standalone;

pub use raft_rs::RaftRsEngine;
pub use standalone::StandaloneEngine;
