//! The raft-rs backend over the reference store, a simulated disk and a simulated network.

#![allow(clippy::unwrap_used)]

mod catch_up;
mod cluster;
mod election;
mod full_disk;
mod groups;
mod membership;
mod random;
mod replication;
mod sleep;
