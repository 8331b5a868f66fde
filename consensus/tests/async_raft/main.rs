//! The async-raft backend in real time, over a network in memory and the reference store: elections, replication,
//! failover, and what each guard is for.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod alone;
mod basics;
mod change;
mod chaos;
mod cluster;
mod contract;
mod net;
mod record;
mod vanilla;
mod witness;
