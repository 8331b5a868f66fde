//! The transport contract, clause by clause, over real sockets on loopback.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says its seed, and fails by panics"
)]

mod calls;
mod fixture;
mod flow;
mod order;
mod proxy;
mod reconnect;
