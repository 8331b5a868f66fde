//! Consumer groups: membership and committed offsets, kept in `__consumer_offsets`.
//!
//! In reading order:
//!
//! 1. [`coordinator`]: the public face. One async method for each API; finds the partition of `__consumer_offsets`
//!    that a group belongs to ([`partitioner`]) and asks its [`shard`].
//! 2. [`shard`]: one partition's owner. Loads the state from the log, appends what the machine wants written, runs its
//!    timers, and answers parked requests.
//! 3. [`machine`]: the deterministic state machine of one partition: events and the time in, replies and appends out. It
//!    does no I/O and reads no clock. Its rules stand in one file for each concern: [`join`], `rebalance`, `sync`,
//!    `heartbeat`, `leave`, `expire`, `offset_commit`, `offset_fetch`, `offset_delete`, `retention`,
//!    [`describe`], `delete`. The data that they change is a group (`classic`) and its `member`s.
//! 4. [`durable`]: what the log says. One function applies a record, whether it was just committed or is replayed.
//!    [`record`] is the format of its records, [`batch`] packs them, `snapshot` keeps the log short.
//!
//! # Architecture invariants
//! - A reply that acknowledges a change leaves after the records of the change were committed and applied.
//! - The durable state changes in [`durable::DurableState::apply`] alone, and in the order of the log.
//! - Time enters as an argument; wall time only on the leader, which writes it into the records.
//! - Every parked request has a deadline or a pending append, so that nothing waits for ever.
//!
//! The rules are those of the classic groups of Kafka 4.3's group coordinator. Where they differ on purpose, the function
//! says so.

pub mod backup;
pub mod batch;
mod classic;
pub mod coordinator;
mod delete;
pub mod describe;
pub mod durable;
mod expire;
pub mod find;
mod heartbeat;
pub mod join;
mod leave;
pub mod limits;
pub mod machine;
mod member;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
pub mod partitioner;
pub mod pending;
mod rebalance;
pub mod record;
mod retention;
pub mod shard;
mod snapshot;
pub mod state_log;
mod subscription;
mod sync;
#[cfg(test)]
mod tests;
pub mod topics;

pub use coordinator::{ClientInfo, GroupCoordinator, HostedLogs};
pub use limits::GroupLimits;
pub use state_log::{AppendError, LogRole, StateLog, StateLogError};
pub use topics::TopicDirectory;
