//! The broker: its parts put together, and what the handlers ask of them.

pub mod cluster_view;
mod deleted_topics;
mod entry;
mod full_disk;
mod handover;
mod hosting;
pub mod leaders;
mod leadership;
pub mod membership;
pub mod network;
pub mod offsets_log;
mod others;
pub mod partitions;
mod service;
pub mod start;
mod tier;
mod topic_settings;
mod upkeep;

pub use service::BrokerService;

use crate::cluster::{ClusterImage, ControlContext, Controller};
use crate::config::Config;
use crate::group::GroupCoordinator;
use crate::kafka::fetch::session::Sessions;
use crate::kafka::wire::ErrorCode;
use crate::partition::Partition;
use chronik_core::{Env, Watch};
use partitions::PartitionTable;
use std::sync::Arc;

/// The parts of a broker that is open.
#[derive(Debug)]
pub struct BrokerParts {
    /// The configuration.
    pub config: Arc<Config>,
    /// Time, randomness, tasks.
    pub env: Env,
    /// What the control-plane handlers need.
    pub control: ControlContext,
    /// The partitions of this node.
    pub partitions: Arc<PartitionTable>,
    /// The consumer groups that this node coordinates.
    pub groups: Arc<GroupCoordinator>,
    /// Set when the server stops.
    pub draining: Watch<bool>,
}

/// A broker that is open.
#[derive(Debug)]
pub struct Broker {
    parts: BrokerParts,
    sessions: Sessions,
}

impl Broker {
    /// A broker of these parts.
    #[must_use]
    pub fn new(parts: BrokerParts) -> Self {
        let sessions = Sessions::new(parts.config.kafka.max_fetch_sessions, parts.env.clone());
        Self { parts, sessions }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.parts.config
    }

    /// Time, randomness, tasks.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.parts.env
    }

    /// What the control-plane handlers need.
    #[must_use]
    pub fn control(&self) -> &ControlContext {
        &self.parts.control
    }

    /// The control plane.
    #[must_use]
    pub fn controller(&self) -> &Controller {
        &self.parts.control.controller
    }

    /// The metadata now.
    #[must_use]
    pub fn image(&self) -> Arc<ClusterImage> {
        self.controller().image()
    }

    /// The partitions of this node.
    #[must_use]
    pub fn partitions(&self) -> &PartitionTable {
        &self.parts.partitions
    }

    /// The consumer groups that this node coordinates.
    #[must_use]
    pub fn groups(&self) -> &Arc<GroupCoordinator> {
        &self.parts.groups
    }

    /// The fetch sessions.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Set when the server stops.
    #[must_use]
    pub fn draining(&self) -> &Watch<bool> {
        &self.parts.draining
    }

    /// The partition of a topic, where it is open here.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`, `NOT_LEADER_OR_FOLLOWER`.
    pub fn by_name(&self, topic: &str, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        let image = self.image();
        let topic = image
            .state
            .topic(topic)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        self.partitions().of_topic(topic, index)
    }

    /// The size of the file system that holds the data directory and what is free of it; -1 where that is not known.
    #[must_use]
    pub fn disk_bytes(&self) -> (i64, i64) {
        let Ok(stat) = rustix::fs::statvfs(&self.config().node.data_dir) else {
            return (-1, -1);
        };
        let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
        (bytes(stat.f_blocks), bytes(stat.f_bavail))
    }
}
