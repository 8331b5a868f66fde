//! Consensus backends: each turns proposals into a committed log behind the contract of `chronik-core`.
//!
//! - [`raft_rs`]: replicated groups; an entry is committed when it is durable on a quorum.
//! - [`async_raft`]: replicated groups over the crate async-raft, behind guards that answer its defects.
//! - [`standalone`]: one replica; an entry is committed when it is durable. No round trip.

pub mod async_raft;
mod margin;
mod membership;
pub mod raft_rs;
pub mod standalone;

pub use async_raft::AsyncRaftEngine;
pub use membership::encode_membership;
pub use raft_rs::RaftRsEngine;
pub use standalone::StandaloneEngine;
