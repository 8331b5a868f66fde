//! One partition: the path of a record, in reading order.
//!
//! 1. [`produce`](Partition::produce) (`produce.rs`): a batch is validated, and held against what its producer sent
//!    before (`producer_state`, `in_flight`);
//! 2. `replicate.rs`: it is proposed, in the order of arrival, and its outcome awaited as `acks` asks; the engine
//!    stamps it through `stamp`;
//! 3. `apply.rs`: committed entries are pulled from the log in order and make the `state`: high watermark, producers,
//!    log start; `notify` tells those who wait;
//! 4. [`fetch`](Partition::fetch) (`fetch.rs`): consumers get slices of the log's own bytes.
//!
//! Beside the path: `open.rs` (life of a partition), `list_offsets.rs` and `epochs.rs` (questions about the log),
//! `tier.rs` (cold segments as objects; `chronik_storage_object` does the work),
//! `retention.rs` (the leader decides, apply does; `command` is what the log carries),
//! `checkpoint.rs` (how little a restart replays).
//!
//! Architecture invariants: one `Mutex` (the ledger) orders all decisions about producers; no `.await` holds it. Apply
//! is the same function live and in replay, and reads no clock. Nothing here knows which store or engine it runs on.

mod apply;
mod checkpoint;
mod command;
mod config;
mod epochs;
mod error;
mod fetch;
mod in_flight;
mod list_offsets;
mod node_tier;
mod notify;
mod open;
mod produce;
mod producer_state;
mod replicate;
mod restored;
mod retention;
mod stamp;
mod state;
mod tier;

pub use config::PartitionConfig;
pub use epochs::EpochEnd;
pub use error::PartitionError;
pub use fetch::{FetchQuery, Fetched, Isolation};
pub use list_offsets::{FoundOffset, OffsetQuery};
pub use node_tier::{NodeTier, NodeTierParts};
pub use notify::{Ended, Signal, Subscription, View};
pub use open::{Partition, PartitionSpec};
pub use produce::Acks;
pub use producer_state::ProducerTable;
pub use replicate::{InProgress, ProduceOutcome};
pub use restored::{producers_at_end, restored, stamp};
pub use tier::{TierRoundError, TierSpec, TierStatus};

#[cfg(test)]
mod tests;
