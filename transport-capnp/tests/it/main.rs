//! The transport contract, clause by clause, over real sockets on loopback.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says its seed, and fails by panics"
)]

#[path = "../common/authority.rs"]
mod authority;
mod calls;
mod faults;
mod fixture;
mod flow;
mod identity;
mod order;
mod proxy;
#[path = "../common/raw.rs"]
mod raw;
mod reconnect;
#[rustfmt::skip]
#[path = "../../src/generated/session_capnp.rs"]
#[allow(
    clippy::all,
    clippy::unimplemented,
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod session_capnp;
mod tls;
