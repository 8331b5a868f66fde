//! The reference kit: small, correct backends. Checks that fail on them are wrong.
//!
//! [`MemStore`] keeps its groups in memory as the sequential model and makes them durable by one append-only
//! journal over the file-system seam: every call that changes something is one record, one sync covers all groups.
//! It never reclaims space. Parts under test that need a log store without caring for its speed take this one.
//!
//! A [`Mutant`] is one switch that breaks one guarantee; the checks must notice each.

mod codec;
mod journal;
mod mutant;
pub mod raft;
mod reader;
mod record;
mod recycle;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use mutant::Mutant;
pub use store::{MemOptions, MemStore};
