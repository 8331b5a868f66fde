//! The transport between nodes over Cap'n Proto RPC: [`chronik_core::transport`] over TCP.
//!
//! Clauses (`TR-...`) stand in `docs/contract/transport.md`. The objects of Cap'n Proto RPC stay on one thread; a
//! transport has one, with an executor of its own, and the rest of the program talks to it through bounded queues.
//!
//! - A session has three connections, one a lane, so that control passes while bulk moves (TR-ORD-03). Each node
//!   dials for its own sending direction; answers come back on the connection of their call.
//! - Messages of a lane are gathered into one RPC call; the call returns when the receiver took them all, and how much
//!   may be on the way is bounded (TR-FLOW-03).
//! - What waits at the sender belongs to a session and ends with it (TR-ORD-02, TR-REC-02).

mod accept;
mod answers;
mod dial;
mod factory;
mod hello;
mod inbound;
mod inbox;
mod lane;
mod limits;
mod node;
mod session;
#[rustfmt::skip]
#[path = "generated/session_capnp.rs"]
#[allow(
    clippy::all,
    clippy::or_fun_call,
    clippy::unimplemented,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated from schema/session.capnp"
)]
mod session_capnp;
mod shared;
mod stream;
mod tls;
mod transport;
mod window;
mod wire;

pub use factory::{CapnpFactory, CapnpOptions};
pub use tls::{Tls, TlsOptions};
