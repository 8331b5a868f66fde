//! Every metric: its name, type, labels and meaning, in one table. `/metrics` and docs/ops/metrics.md are made from it.

use std::fmt::Write;

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, and starts again at 0 with the process.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Durations by size.
    Histogram,
}

impl Kind {
    /// The name in the text form.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// The name, with its unit last.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

macro_rules! families {
    ($($ident:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $ident: Family = Family {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// All of them, in the order of `/metrics`.
        pub static ALL: &[&Family] = &[$(&$ident),*];
    };
}

families! {
    BUILD_INFO = Gauge "chronik_build_info" ["version", "consensus", "storage"] "1; the labels say what runs.";
    NODE_READY = Gauge "chronik_node_ready" [] "Whether /readyz says yes.";
    NODE_HEALTHY = Gauge "chronik_node_healthy" [] "Whether /healthz says yes.";
    UPTIME = Gauge "chronik_uptime_seconds" [] "Time since the process started.";
    PROCESS_CPU = Counter "process_cpu_seconds_total" [] "Processor time used, user and system together.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" [] "Resident memory, mapped segments included.";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" [] "Virtual memory, mapped segments included.";
    PROCESS_THREADS = Gauge "process_threads" [] "Threads.";
    PROCESS_FDS = Gauge "process_open_fds" [] "Open file descriptors.";
    PROCESS_MAX_FDS = Gauge "process_max_fds" [] "The most file descriptors that the system lets the process open.";
    LIMIT = Gauge "chronik_limit" ["key"] "The limit that a key of the configuration sets; the metric that it bounds is named in its row.";
    CONNECTIONS = Gauge "chronik_kafka_connections" [] "Open connections of Kafka clients (limit: kafka.max_connections).";
    CONNECTIONS_ACCEPTED = Counter "chronik_kafka_connections_accepted_total" [] "Connections of Kafka clients that were accepted.";
    CONNECTIONS_REFUSED = Counter "chronik_kafka_connections_refused_total" [] "Connections that were turned away because there were kafka.max_connections.";
    RECEIVED = Counter "chronik_kafka_received_bytes_total" [] "Bytes read from Kafka clients.";
    SENT = Counter "chronik_kafka_sent_bytes_total" [] "Bytes written to Kafka clients.";
    INFLIGHT = Gauge "chronik_kafka_inflight_bytes" [] "Memory that requests in flight take together (limit: kafka.max_inflight_bytes).";
    SESSIONS = Gauge "chronik_kafka_fetch_sessions" [] "Incremental fetch sessions (limit: kafka.max_fetch_sessions).";
    REQUESTS = Counter "chronik_kafka_requests_total" ["api"] "Requests that were answered.";
    REQUESTS_REFUSED = Counter "chronik_kafka_requests_refused_total" [] "Requests that ended their connection, because they could not be read or answered.";
    ERRORS = Counter "chronik_kafka_errors_total" ["api", "error"] "Error codes in answers; an answer about many partitions can carry many.";
    LATENCY = Histogram "chronik_kafka_request_seconds" ["api"] "Time from a request's arrival to its answer. Fetch includes the time that the client asked to wait for records.";
    ACKS = Histogram "chronik_produce_ack_seconds" ["acks"] "Time from a batch's arrival to its acknowledgement: durable on the leader (1) or committed (all).";
    PARTITIONS = Gauge "chronik_partitions" ["state"] "Partitions placed on this node (limit: topics.max_partitions): open, opening, or failed to open.";
    LEADERS = Gauge "chronik_partitions_leading" [] "Open partitions that this node leads.";
    LEADERLESS = Gauge "chronik_partitions_leaderless" [] "Partitions placed on this node of which it knows no leader; those that are not open here count.";
    UNDER_REPLICATED = Gauge "chronik_partitions_under_replicated" [] "Partitions led here with fewer replicas in sync than they have.";
    UNDER_MIN_ISR = Gauge "chronik_partitions_under_min_isr" [] "Partitions led here with fewer replicas in sync than min.insync.replicas: acks=all is refused.";
    PARTITION_BYTES = Gauge "chronik_log_bytes" [] "Bytes of the logs of all open partitions.";
    GROUPS = Gauge "chronik_raft_groups" ["role"] "Open partitions by the part of this node's replica in the group.";
    TERM_MAX = Gauge "chronik_raft_term_max" [] "The largest term among the open groups.";
    LEADER_CHANGES = Counter "chronik_raft_leader_changes_total" [] "How often a leader or a term became known that was not before, over all partitions; opening one counts once.";
    APPLY_LAG = Gauge "chronik_raft_apply_lag_entries" [] "Entries that are committed and not applied, over all partitions.";
    APPLY_LAG_MAX = Gauge "chronik_raft_apply_lag_max_entries" [] "The same of the partition where it is largest.";
    MATCH_LAG_MAX = Gauge "chronik_raft_match_lag_max_entries" [] "Entries by which the slowest replica of a partition led here trails.";
    METADATA_TERM = Gauge "chronik_metadata_term" [] "The term of the metadata group.";
    METADATA_COMMIT = Gauge "chronik_metadata_commit_index" [] "The last committed entry of the metadata group.";
    METADATA_APPLIED = Gauge "chronik_metadata_applied_index" [] "The last entry of the metadata group that this node applied.";
    METADATA_LEADER = Gauge "chronik_metadata_leader_known" [] "Whether this node knows the leader of the metadata group.";
    PARTITION_TERM = Gauge "chronik_partition_term" ["topic", "partition"] "The term of a partition's group.";
    PARTITION_LEADING = Gauge "chronik_partition_leading" ["topic", "partition"] "Whether this node leads the partition.";
    PARTITION_COMMIT = Gauge "chronik_partition_commit_index" ["topic", "partition"] "The last committed entry of a partition.";
    PARTITION_LAG = Gauge "chronik_partition_apply_lag_entries" ["topic", "partition"] "Entries of a partition that are committed and not applied.";
    PARTITION_ISR = Gauge "chronik_partition_in_sync_replicas" ["topic", "partition"] "Replicas in sync of a partition; only its leader says.";
    PARTITION_HW = Gauge "chronik_partition_high_watermark" ["topic", "partition"] "The offset after the last committed record.";
    PARTITION_START = Gauge "chronik_partition_log_start_offset" ["topic", "partition"] "The first offset that is served.";
    PARTITION_SIZE = Gauge "chronik_partition_log_bytes" ["topic", "partition"] "Bytes of a partition's log on this node.";
    OMITTED = Gauge "chronik_partitions_without_metrics" [] "Open partitions without metrics of their own, because there are more than admin.max_partition_metrics.";
    STORE_WORKING = Gauge "chronik_store_working" [] "Whether the store takes appends: 0 while the disk is full, or after an error that ends the process.";
    DISK_TOTAL = Gauge "chronik_disk_total_bytes" [] "Size of the file system that holds the data directory.";
    DISK_FREE = Gauge "chronik_disk_free_bytes" [] "What is free of it for this process (writes are refused below: storage.min_free_bytes).";
    FILES_OPEN = Gauge "chronik_files_open" [] "Files of the data directory that are open (segments are limited by storage.max_open_files; the journal's come on top).";
    FILE_READ = Counter "chronik_file_read_bytes_total" [] "Bytes read from files; what consumers get through mapped segments is not among them.";
    FILE_WRITTEN = Counter "chronik_file_written_bytes_total" [] "Bytes written to files, journal and segments together.";
    FILE_ERRORS = Counter "chronik_file_errors_total" ["call"] "Failed calls of the file system.";
    FSYNC = Histogram "chronik_fsync_seconds" ["what"] "Time that a sync took: of content (data), or of names (dir).";
    PEER_CONNECTED = Gauge "chronik_peer_connected" ["node"] "Whether there is a session with another node.";
    PEER_SESSIONS = Counter "chronik_peer_sessions_total" ["node"] "Sessions with another node so far; each beyond the first is a reconnect.";
    TIER_REQUESTS = Counter "chronik_tier_requests_total" ["kind"] "Requests to the object store, repeats included: put, get (and head), list, delete.";
    TIER_RETRIES = Counter "chronik_tier_retries_total" [] "Requests to the object store that were made again.";
    TIER_FAILURES = Counter "chronik_tier_failures_total" [] "Requests to the object store that failed for good.";
    TIER_UP = Counter "chronik_tier_written_bytes_total" [] "Bytes written to the object store.";
    TIER_DOWN = Counter "chronik_tier_read_bytes_total" [] "Bytes read from the object store.";
    TIER_SEGMENTS_UP = Counter "chronik_tier_segments_uploaded_total" [] "Segments that were uploaded.";
    TIER_DELETED = Counter "chronik_tier_objects_deleted_total" [] "Objects that were deleted.";
    TIER_HITS = Counter "chronik_tier_cache_hits_total" [] "Blocks of cold reads that were found in memory or on the disk cache.";
    TIER_MISSES = Counter "chronik_tier_cache_misses_total" [] "Blocks of cold reads that the object store was asked for.";
    TIER_DAMAGED = Counter "chronik_tier_damaged_blocks_total" [] "Blocks whose bytes did not match their checksum.";
    TIER_CACHE_FAILURES = Counter "chronik_tier_cache_failures_total" [] "Blocks of cold reads that the disk cache (tier.cache_dir) could not keep: its disk is full or broken.";
    TIER_ROUNDS_FAILED = Counter "chronik_tier_rounds_failed_total" [] "Rounds of work on the tier that were not finished; the next one goes on.";
    TIER_LAG = Gauge "chronik_tier_lag_bytes" [] "Bytes of sealed segments of partitions led here that wait for their upload.";
    PARTITION_TIER_END = Gauge "chronik_partition_tier_end_offset" ["topic", "partition"] "The offset up to which everything is in the object tier; only the leader says.";
    PARTITION_LOCAL_START = Gauge "chronik_partition_local_start_offset" ["topic", "partition"] "The first offset on the leader's disk, for partitions that use the object tier.";
    PARTITION_TIER_LAG = Gauge "chronik_partition_tier_lag_bytes" ["topic", "partition"] "Bytes of sealed segments of a partition that wait for their upload; only the leader says.";
    ADMIN_CONNECTIONS = Gauge "chronik_admin_connections" [] "Open connections of the administration listener, this one included (limit: admin.max_connections).";
    ADMIN_REFUSED = Counter "chronik_admin_connections_refused_total" [] "Connections that were turned away because there were admin.max_connections.";
    ADMIN_REQUESTS = Counter "chronik_admin_requests_total" ["status"] "Answers of the administration listener by status code.";
}

/// The table of docs/ops/metrics.md.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from("| name | type | labels | meaning |\n|---|---|---|---|\n");
    for Family {
        name,
        kind,
        labels,
        help,
    } in ALL
    {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| `{name}` | {} | {} | {help} |",
            kind.name(),
            labels.join(", ")
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn names_follow_the_conventions_and_stand_once() {
        let mut seen = BTreeSet::new();
        for Family { name, kind, help, .. } in ALL {
            assert!(seen.insert(name), "{name} stands twice");
            assert!(
                name.starts_with("chronik_") || name.starts_with("process_"),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(
                help.ends_with('.') && !help.contains(['\n', '\\', '|']),
                "{name}: {help}"
            );
        }
    }

    #[test]
    fn the_table_in_the_documents_is_the_one_of_the_program() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ops/metrics.md");
        let page = std::fs::read_to_string(&path).expect("docs/ops/metrics.md");
        assert!(
            page.contains(&reference()),
            "docs/ops/metrics.md lacks this table:\n{}",
            reference()
        );
    }
}
