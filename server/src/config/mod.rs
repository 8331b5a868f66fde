//! The configuration: one TOML file that selects every backend by name, and flags that override it.
//!
//! `schema.rs` is the table of keys; everything else is made from it: `parse.rs` reads a file and flags by it,
//! `print.rs` prints the reference and the values in force, and the structs that the rest of the server reads
//! ([`Config`] and its sections) have a field for each row. `validate.rs` holds what relates two keys.
//! There are no secrets in the file so far: a key that holds one must not be shown by `config show`.

mod address;
mod choice;
pub mod compose;
mod key;
mod parse;
mod peer;
mod print;
mod problem;
mod schema;
mod store_url;
mod suggest;
mod validate;
mod value;

#[cfg(test)]
mod tests;

use chronik_core::NodeId;
use std::net::SocketAddr;

pub use address::Advertise;
pub use choice::{ConsensusBackend, LogLevel, StorageBackend, TimestampType, TransportBackend};
pub use key::{Key, Rule, Section};
pub use parse::{Effective, FlagValue, Origin, Preset, load, parse};
pub use peer::{Endpoint, PeerAddress};
pub use print::{reference, show};
pub use problem::{Place, Problem, Problems, Source};
pub use schema::{
    AdminConfig, ClusterConfig, Config, ConsensusConfig, GroupsConfig, KafkaConfig, LogConfig, NodeConfig,
    ProducersConfig, StorageConfig, TierConfig, TopicsConfig, TransportConfig,
};
pub use store_url::{HttpAddress, StoreUrl};

/// With how many copies a partition survives the loss of a node and still has a majority.
const USUAL_REPLICATION: usize = 3;

/// The flags that override a key, and the key.
pub const FLAGS: &[(&str, &str)] = &[
    ("--node-id", "node.id"),
    ("--data-dir", "node.data_dir"),
    ("--bind", "kafka.bind"),
    ("--kafka-port", "kafka.port"),
    ("--advertise", "kafka.advertise"),
    ("--admin-port", "admin.port"),
    ("--raft-addr", "cluster.listen"),
    ("--peers", "cluster.peers"),
    ("--raft-advertise", "cluster.advertise"),
    ("--rack", "cluster.rack"),
    ("--bootstrap", "cluster.bootstrap"),
];

/// Where operators find a node that was told nothing else.
pub const DEFAULT_ADMIN_PORT: u16 = 9644;

impl StorageConfig {
    /// The largest entry of a log, and with that the largest record batch: a quarter of a journal file.
    pub const fn max_entry_bytes(&self) -> u64 {
        self.journal_file_bytes / 4
    }
}

impl Config {
    /// This node.
    pub fn node_id(&self) -> NodeId {
        // The table admits no negative id.
        NodeId(u64::try_from(self.node.id).unwrap_or_default())
    }

    /// The peers without this node.
    pub fn other_peers(&self) -> impl Iterator<Item = &PeerAddress> {
        let own = self.node_id().0;
        self.cluster.peers.iter().filter(move |peer| peer.node != own)
    }

    /// The number of copies of a partition whose creator asked for none.
    pub fn replication_factor(&self) -> i16 {
        let nodes = match self.consensus.backend {
            ConsensusBackend::Standalone => 1,
            ConsensusBackend::RaftRs | ConsensusBackend::AsyncRaft => 1 + self.other_peers().count(),
        };
        let usual = i16::try_from(nodes.min(USUAL_REPLICATION)).unwrap_or(1);
        self.topics.replication_factor.unwrap_or(usual)
    }

    /// Where other nodes reach this one, once its transport is bound to `bound`; nothing where only those know that
    /// list it as a peer.
    pub fn peer_endpoint(&self, bound: SocketAddr) -> Option<Endpoint> {
        let own = self.node_id().0;
        let listed = self.cluster.peers.iter().find(|peer| peer.node == own);
        let told = self.cluster.advertise.clone();
        told.or_else(|| listed.map(|peer| peer.endpoint.clone()))
            .or_else(|| {
                (!bound.ip().is_unspecified()).then(|| Endpoint {
                    host: bound.ip().to_string(),
                    port: bound.port(),
                })
            })
    }
}

impl KafkaConfig {
    /// The host and port that clients are told to connect to, once the listener has its port.
    ///
    /// Unset, it is an address that works for a client on the same machine.
    pub fn advertised(&self, bound_port: u16) -> (String, u16) {
        match &self.advertise {
            Some(advertise) => (advertise.host.clone(), advertise.port.unwrap_or(bound_port)),
            None if self.bind.is_unspecified() && self.bind.is_ipv6() => ("::1".to_owned(), bound_port),
            None if self.bind.is_unspecified() => ("127.0.0.1".to_owned(), bound_port),
            None => (self.bind.to_string(), bound_port),
        }
    }

    /// Whether the listener admits clients of other machines while they would be told to connect to themselves: the
    /// start says so and names the key.
    pub fn remote_clients_are_misled(&self) -> bool {
        self.advertise.is_none() && self.bind.is_unspecified()
    }
}
