//! A node among others: its identity, how it finds or founds its cluster, and what nodes ask each other.
//!
//! ```text
//! Transport -> router -> consensus engine
//!                     -> node: first contact while there is no cluster, the service afterwards
//! ```

pub mod address_book;
pub mod admission;
pub mod client;
pub mod door;
pub mod first_contact;
pub mod forward;
mod founding;
pub mod gossip;
pub mod join;
pub mod message;
pub mod node_file;
pub mod record;
pub mod router;
pub mod service;

#[cfg(test)]
mod tests;

pub use address_book::AddressBook;
pub use admission::Admission;
pub use client::{AskError, PeerClient};
pub use door::{Door, DoorError, Entered};
pub use first_contact::{ContactError, FirstContact};
pub use forward::Nobody;
pub use gossip::{GossipBook, Leads};
pub use join::Joining;
pub use message::{Answer, Identity, Request};
pub use node_file::{Claim, IdentityError, NodeFile};
pub use record::{ClusterRecord, Engine, Founder, Founding, NodeRecord, Restoring};
pub use service::{NodeService, ServiceParts};
