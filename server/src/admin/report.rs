//! The JSON of the administration listener. The command line reads the same types.
//!
//! `null` means "not known here"; where a field is about another node, `unknown` says why.

use serde::{Deserialize, Serialize};

/// One question about health, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What is wrong, or what was seen.
    pub detail: String,
}

/// Whether a node, or the cluster, is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// Whether all checks are.
    pub ok: bool,
    /// What the process is doing: starting, serving, draining.
    pub phase: String,
    /// The details of the checks that failed.
    pub reasons: Vec<String>,
    /// All checks, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// The store of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReport {
    /// The backend.
    pub backend: String,
    /// working, full or poisoned.
    pub health: String,
    /// Logs in the directory.
    pub logs: usize,
    /// The size of the file system.
    pub total_bytes: Option<u64>,
    /// What is free of it.
    pub free_bytes: Option<u64>,
}

/// A node's replica of the metadata group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataReport {
    /// Its part.
    pub role: String,
    /// The newest term.
    pub term: u64,
    /// The node that leads: the controller.
    pub leader: Option<u64>,
    /// The last entry known to be committed.
    pub commit: u64,
    /// The last entry that was applied.
    pub applied: u64,
    /// Whether the log is followed, or why not.
    pub state: String,
}

/// How the partitions that belong on a node stand there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionCounts {
    /// How many belong there.
    pub placed: usize,
    /// Those that take requests.
    pub open: usize,
    /// Those that are being opened.
    pub opening: usize,
    /// Those that could not be opened.
    pub failed: usize,
    /// Those that the node leads.
    pub leading: usize,
    /// Those of which the node knows no leader.
    pub leaderless: usize,
    /// Those that it leads with fewer replicas in sync than there are.
    pub under_replicated: usize,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its id.
    pub node: u64,
    /// What clients connect to.
    pub address: String,
    /// The program's version.
    pub version: String,
    /// starting, serving or draining.
    pub phase: String,
    /// Time since the process started.
    pub uptime_ms: u64,
    /// The cluster.
    pub cluster_id: Option<String>,
    /// The consensus backend.
    pub consensus: String,
    /// The store.
    pub store: StoreReport,
    /// The metadata group.
    pub metadata: MetadataReport,
    /// The partitions.
    pub partitions: PartitionCounts,
    /// Connections of Kafka clients.
    pub connections: usize,
    /// Whether it is well.
    pub health: HealthReport,
}

/// A replica of a partition, as its node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// The topic.
    pub topic: String,
    /// The index of the partition.
    pub partition: i32,
    /// Its group.
    pub group: u64,
    /// The node.
    pub node: u64,
    /// open, opening, failed, or absent where the node does not hold it yet.
    pub state: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// What there is to say of an open one.
    pub open: Option<OpenReplica>,
}

/// An open replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenReplica {
    /// Its identity in the group.
    pub replica: u64,
    /// leader, follower, candidate, learner or stopped.
    pub role: String,
    /// The newest term: Kafka's leader epoch.
    pub term: u64,
    /// The node that leads, where it is known.
    pub leader: Option<u64>,
    /// The last entry known to be committed.
    pub commit: u64,
    /// The last entry that was applied.
    pub applied: u64,
    /// The last entry in this log that is durable.
    pub durable: u64,
    /// The first offset that is served.
    pub log_start_offset: i64,
    /// The offset after the last record that is committed and applied.
    pub high_watermark: i64,
    /// The offset after the last record in this log.
    pub log_end_offset: i64,
    /// Bytes of this log.
    pub size_bytes: u64,
    /// min.insync.replicas.
    pub min_in_sync: u32,
    /// On the leader: the nodes in sync.
    pub in_sync: Option<Vec<u64>>,
    /// On the leader: how far each replica is.
    pub followers: Option<Vec<FollowerReport>>,
}

/// What a leader knows of a replica, its own included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowerReport {
    /// The replica's node.
    pub node: u64,
    /// Whether it votes.
    pub voter: bool,
    /// The last entry that it confirmed as durable; `null` before its first answer.
    pub matched: Option<u64>,
    /// How many entries it trails the leader's log.
    pub lag_entries: Option<u64>,
    /// Time since the request was sent whose answer came last.
    pub silent_ms: Option<u64>,
    /// Whether it counts as in sync.
    pub in_sync: bool,
}

/// A node of the cluster, as the node that was asked sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Its id.
    pub node: u64,
    /// What clients connect to, as it registered.
    pub address: String,
    /// Where it stands.
    pub rack: Option<String>,
    /// Whether it is the controller; `null` where nobody is known to be.
    pub controller: Option<bool>,
    /// What it says of itself.
    pub report: Option<NodeReport>,
    /// Why it says nothing.
    pub unknown: Option<String>,
}

/// A partition, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// The topic.
    pub topic: String,
    /// The index.
    pub partition: i32,
    /// Its group.
    pub group: u64,
    /// The nodes that it was placed on, the preferred leader first.
    pub replicas: Vec<u64>,
    /// The node that leads and says so.
    pub leader: Option<u64>,
    /// Its term.
    pub leader_epoch: Option<u64>,
    /// The nodes in sync, from the positions that they confirmed.
    pub in_sync: Option<Vec<u64>>,
    /// Whether fewer are in sync than there are.
    pub under_replicated: Option<bool>,
    /// Whether fewer are in sync than min.insync.replicas.
    pub under_min_in_sync: Option<bool>,
    /// The first offset that is served.
    pub log_start_offset: Option<i64>,
    /// The offset after the last committed record.
    pub high_watermark: Option<i64>,
    /// Bytes of the leader's log.
    pub size_bytes: Option<u64>,
    /// Why something is not known.
    pub unknown: Option<String>,
    /// What each node says of its replica, where it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<ReplicaReport>,
}

/// The cluster at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterReport {
    /// Its id.
    pub cluster_id: Option<String>,
    /// The node that leads the metadata group.
    pub controller: Option<u64>,
    /// Its nodes.
    pub nodes: Vec<NodeEntry>,
    /// Topics, the broker's own included.
    pub topics: usize,
    /// Their partitions.
    pub partitions: usize,
    /// Partitions that nobody leads, as far as all replicas answered.
    pub leaderless: usize,
    /// Partitions with fewer replicas in sync than they have.
    pub under_replicated: usize,
    /// Partitions of which too little is known to say.
    pub unknown: usize,
    /// Whether everything is well.
    pub health: HealthReport,
}

/// Whether partitions are in sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsrReport {
    /// Partitions with all replicas in sync.
    pub in_sync: usize,
    /// Partitions with fewer.
    pub under_replicated: usize,
    /// Partitions with fewer than min.insync.replicas.
    pub under_min_in_sync: usize,
    /// Partitions of which it is not known.
    pub unknown: usize,
    /// Every partition that is not known to be in sync.
    pub partitions: Vec<PartitionReport>,
}

/// Requests to the bucket since the process started, repeats included: what a bill counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierRequests {
    /// PUT requests, parts of uploads included.
    pub puts: u64,
    /// GET and HEAD requests.
    pub gets: u64,
    /// LIST requests.
    pub lists: u64,
    /// DELETE requests.
    pub deletes: u64,
    /// Requests that were made again.
    pub retries: u64,
    /// Requests that failed for good.
    pub failures: u64,
    /// Bytes written.
    pub bytes_up: u64,
    /// Bytes read.
    pub bytes_down: u64,
}

/// A partition between disk and tier, as one of its replicas sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierPartition {
    /// The topic.
    pub topic: String,
    /// The index of the partition.
    pub partition: u32,
    /// Whether the node leads it: the leader uploads.
    pub leading: bool,
    /// The first offset that is served.
    pub log_start_offset: i64,
    /// The first offset in the tier.
    pub tiered_start_offset: i64,
    /// The offset up to which everything is in the tier.
    pub tiered_end_offset: i64,
    /// The first offset on the node's disk.
    pub local_start_offset: i64,
    /// The offset after the last committed record.
    pub high_watermark: i64,
    /// Bytes of the objects.
    pub tiered_bytes: u64,
    /// Bytes on the node's disk.
    pub local_bytes: u64,
    /// Bytes of sealed segments that wait for their upload.
    pub lag_bytes: u64,
    /// Whether the manifest in the bucket says all of this; what it does not say, a restore does not find.
    pub published: bool,
    /// Objects that wait for their deletion.
    pub garbage_objects: usize,
    /// Why the last round of the leader was not finished.
    pub failure: Option<String>,
}

/// The object tier, as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierReport {
    /// The node.
    pub node: u64,
    /// Where the bucket is.
    pub bucket: String,
    /// The generation of the cluster's claim on it; `null` before the first use.
    pub claim: Option<u64>,
    /// What was asked of it.
    pub requests: TierRequests,
    /// How often a round of work was not finished, because the bucket or the partition said no.
    pub failed_rounds: u64,
    /// What fails on this node beside the rounds of its partitions, and why; empty where nothing does.
    #[serde(default)]
    pub failures: Vec<String>,
    /// The partitions on this node that use it.
    pub partitions: Vec<TierPartition>,
}

/// An answer that is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// What went wrong.
    pub error: String,
}
