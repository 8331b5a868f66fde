//! The raft-rs backend over the reference store, a simulated disk and a simulated network.

#![allow(clippy::unwrap_used)]

mod cluster;
mod election;
mod replication;
