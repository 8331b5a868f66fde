//! What operators see of a node: health, metrics and the state of the cluster, over one HTTP listener.
//!
//! Everything is answered from live state when it is asked for; what this node cannot know is `null` with the reason,
//! never a default.
//!
//! - `listener.rs`: sockets, bounds and deadlines; `http.rs`: one request a connection; `token.rs`: who may ask;
//! - `routes.rs`: from a path to its answer;
//! - `lifecycle.rs`: what the process is doing; `node.rs`: this node's own state; `peers.rs`: how other nodes are asked;
//!   `cluster.rs`: what all nodes together say; `report.rs`: the JSON, which the command line reads too;
//! - `tier.rs`: the object tier;
//! - `health.rs`: `/livez`, `/readyz`, `/healthz`; `exposition.rs`: `/metrics`.

mod cluster;
mod exposition;
mod health;
mod http;
mod lifecycle;
mod listener;
mod node;
pub mod peers;
pub mod report;
mod routes;
mod tier;
mod token;

pub use lifecycle::{Lifecycle, Phase};
pub use listener::{AdminError, AdminListener};
pub use node::{Node, NodeParts};
pub(crate) use token::read_token;

use crate::config::Config;
use crate::metrics::{Counter, Metrics};
use chronik_core::Env;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

/// What the listener answers from.
#[derive(Debug, Clone)]
pub struct AdminParts {
    /// The configuration.
    pub config: Arc<Config>,
    /// Time and tasks.
    pub env: Env,
    /// What the process counts.
    pub metrics: Arc<Metrics>,
    /// What the process is doing.
    pub lifecycle: Lifecycle,
}

/// What the listener counts about itself.
#[derive(Debug, Default)]
struct OwnMetrics {
    connections: AtomicUsize,
    refused: Counter,
    answers: Mutex<BTreeMap<u16, u64>>,
}
