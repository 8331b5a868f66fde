//! The control plane: the metadata group's state machine, and what proposes to it.
//!
//! ```text
//! handler -> Controller (propose) -> group 0 -> log -> apply task -> State::apply -> ClusterImage -> everybody
//! ```
//!
//! Every node applies the metadata group and answers from its own [`ClusterImage`]; a change is answered when it was
//! applied here, with what applying it decided.

pub mod alter;
pub mod authorized;
pub mod broker_config;
pub mod context;
pub mod controller;
pub mod describe;
pub mod error;
pub mod ids;
pub mod image;
pub mod join;
pub mod kafka_error;
pub mod names;
pub mod placement;
pub mod producer_ids;
pub mod stamper;
pub mod state;
pub mod topic_config;
pub mod view;

#[cfg(test)]
mod tests;

pub use context::ControlContext;
pub use controller::{Controller, Forward, Placed, Registration};
pub use error::{ControlError, OpenError};
pub use ids::TopicId;
pub use image::ClusterImage;
pub use kafka_error::KafkaError;
pub use producer_ids::ProducerIds;
pub use stamper::NoRecords;
pub use view::{LeaderView, PartitionView, PartitionsReady};
