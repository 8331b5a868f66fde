//! Consensus backends: each turns proposals into a committed log behind the contract of `chronik-core`.
//!
//! - [`standalone`]: one replica; an entry is committed when it is durable. No round trip.

pub mod standalone;

pub use standalone::StandaloneEngine;
