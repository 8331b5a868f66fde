//! The replicated backend over the published crate `async-raft` 0.6.1, unmodified, behind guards.
//!
//! As published the crate loses acknowledged writes. Here it elects and replicates: terms come from its votes, and what
//! a follower stores goes through its append call. We commit, apply, read and answer for proposals:
//!
//! - `storage`, `lead`: the hooks through which the crate stores, and where a proposal gets its place and its stamp;
//! - `network`, `exchange`: the crate's calls to others, and what travels instead of its messages;
//! - `ingress`, `install`: what the crate gets to see of the messages of others;
//! - `commit`, `reads`, `fence`, `change`: our own count, reads, check-quorum and limits of membership changes;
//! - `guards`: the names of the defects that each answers.
//!
//! Terms and reasons stand in `docs/decisions/0007-async-raft-behind-guards.md`.

mod change;
mod commit;
mod counters;
mod descriptor;
mod engine;
mod exchange;
mod fence;
mod group;
mod guards;
mod ingress;
mod install;
mod island;
mod lead;
mod limits;
mod maintain;
mod network;
mod open;
mod options;
mod proposals;
mod reads;
mod replica;
mod state;
mod storage;
#[cfg(test)]
mod tests;
mod wire;

pub use counters::AsyncRaftCounters;
pub use engine::AsyncRaftEngine;
pub use guards::Guards;
pub use options::AsyncRaftOptions;
