//! `/metrics`: what was counted, and what the parts say of themselves at this moment.

use super::health::{Question, ask, of_node};
use super::lifecycle::Phase;
use super::node::{Node, replica_counts};
use super::report::{OpenReplica, ReplicaReport};
use super::{AdminParts, OwnMetrics, tier};
use crate::config::Config;
use crate::kafka::api::ApiKey;
use crate::metrics::families as f;
use crate::metrics::text::Exposition;
use crate::metrics::{AckLevel, FileCall, FileMetrics, KafkaMetrics, Latency, process};
use chronik_core::log_store::StoreHealth;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

impl OwnMetrics {
    pub(super) fn answered(&self, status: u16) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry(status).or_default() += 1;
    }
}

/// The whole text. Every family is there from the start; one whose values are not known yet has no samples.
pub(super) fn render(parts: &AdminParts, own: &OwnMetrics, phase: &Phase) -> String {
    let mut out = Exposition::default();
    let node = phase.node();
    let seen = node.map(|node| Seen::of(node));
    let well = node
        .zip(seen.as_ref())
        .is_some_and(|(node, seen)| of_node(node, phase, &seen.replicas).ok);
    of_process(&mut out, parts, ask(Question::Ready, phase, false).ok, well);
    limits(&mut out, &parts.config);
    kafka(&mut out, &parts.metrics.kafka, node.map(AsRef::as_ref));
    partitions(&mut out, seen.as_ref());
    groups(&mut out, seen.as_ref());
    metadata(&mut out, node.map(AsRef::as_ref));
    each_partition(&mut out, seen.as_ref(), parts.config.admin.max_partition_metrics);
    store(&mut out, node.map(AsRef::as_ref), &parts.metrics.files);
    peers(&mut out, node.map(AsRef::as_ref));
    tier::metrics(
        &mut out,
        node.map(AsRef::as_ref),
        parts.config.admin.max_partition_metrics,
    );
    admin(&mut out, own);
    out.finish()
}

fn of_process(out: &mut Exposition, parts: &AdminParts, ready: bool, well: bool) {
    let consensus = parts.config.consensus.backend.to_string();
    let storage = parts.config.storage.backend.to_string();
    out.family(&f::BUILD_INFO)
        .labelled(&[env!("CARGO_PKG_VERSION"), &consensus, &storage], 1);
    out.family(&f::NODE_READY).value(u8::from(ready));
    out.family(&f::NODE_HEALTHY).value(u8::from(well));
    out.family(&f::UPTIME).value(parts.env.clock.now().as_secs_f64());
    let process = process::read();
    out.family(&f::PROCESS_CPU).known(process.cpu_seconds);
    out.family(&f::PROCESS_RESIDENT).known(process.resident_bytes);
    out.family(&f::PROCESS_VIRTUAL).known(process.virtual_bytes);
    out.family(&f::PROCESS_THREADS).known(process.threads);
    out.family(&f::PROCESS_FDS).known(process.open_fds);
    out.family(&f::PROCESS_MAX_FDS).known(process.max_fds);
}

fn limits(out: &mut Exposition, config: &Config) {
    let mut family = out.family(&f::LIMIT);
    for (key, limit) in [
        ("kafka.max_connections", config.kafka.max_connections as u64),
        ("kafka.max_inflight_bytes", config.kafka.max_inflight_bytes as u64),
        ("kafka.max_fetch_sessions", config.kafka.max_fetch_sessions as u64),
        ("topics.max_partitions", config.topics.max_partitions as u64),
        ("storage.max_open_files", config.storage.max_open_files as u64),
        ("storage.min_free_bytes", config.storage.min_free_bytes),
        ("admin.max_connections", config.admin.max_connections as u64),
        (
            "admin.max_partition_metrics",
            config.admin.max_partition_metrics as u64,
        ),
    ] {
        family.labelled(&[key], limit);
    }
}

fn kafka(out: &mut Exposition, metrics: &KafkaMetrics, node: Option<&Node>) {
    let open = node.map(|node| &node.parts().connections);
    out.family(&f::CONNECTIONS).known(open.map(|open| open.count()));
    out.family(&f::CONNECTIONS_ACCEPTED)
        .value(metrics.connections_accepted.get());
    out.family(&f::CONNECTIONS_REFUSED)
        .value(metrics.connections_refused.get());
    out.family(&f::RECEIVED).value(metrics.received_bytes.get());
    out.family(&f::SENT).value(metrics.sent_bytes.get());
    out.family(&f::INFLIGHT)
        .known(open.map(|open| open.inflight_bytes()));
    out.family(&f::SESSIONS)
        .known(node.map(|node| node.broker().sessions().count()));
    let mut requests = out.family(&f::REQUESTS);
    for api in ApiKey::ALL {
        requests.labelled(&[api.name()], metrics.requests(*api));
    }
    out.family(&f::REQUESTS_REFUSED)
        .value(metrics.requests_refused.get());
    let mut errors = out.family(&f::ERRORS);
    for ((api, error), count) in metrics.errors() {
        errors.labelled(&[api.name(), &error.to_string()], count);
    }
    let mut latencies = out.family(&f::LATENCY);
    for of in Latency::ALL {
        latencies.histogram(&[of.label()], &metrics.latency(of).snapshot());
    }
    let mut acks = out.family(&f::ACKS);
    for level in AckLevel::ALL {
        acks.histogram(&[level.label()], &metrics.acks(level).snapshot());
    }
}

/// The partitions of this node at one moment.
struct Seen {
    replicas: Vec<ReplicaReport>,
    expected: BTreeMap<u64, usize>,
    leader_changes: u64,
}

impl Seen {
    fn of(node: &Node) -> Self {
        let table = node.broker().partitions();
        let now: u64 = table
            .all()
            .iter()
            .map(|partition| partition.leader_changes())
            .sum();
        Self {
            replicas: node.replicas(),
            expected: replica_counts(&node.image()),
            leader_changes: now + table.past_leader_changes(),
        }
    }

    fn open(&self) -> impl Iterator<Item = (&ReplicaReport, &OpenReplica)> {
        self.replicas
            .iter()
            .filter_map(|replica| Some((replica, replica.open.as_ref()?)))
    }

    fn in_state(&self, state: &str) -> usize {
        self.replicas
            .iter()
            .filter(|replica| replica.state == state)
            .count()
    }

    /// How many partitions led here have fewer replicas in sync than `needed` says.
    fn led_with_fewer(&self, needed: impl Fn(&ReplicaReport, &OpenReplica) -> usize) -> usize {
        let led = self
            .open()
            .filter_map(|(replica, open)| Some((replica, open, open.in_sync.as_ref()?.len())));
        led.filter(|(replica, open, in_sync)| *in_sync < needed(replica, open))
            .count()
    }
}

fn lag(open: &OpenReplica) -> u64 {
    open.commit.saturating_sub(open.applied)
}

fn partitions(out: &mut Exposition, seen: Option<&Seen>) {
    let mut states = out.family(&f::PARTITIONS);
    for state in ["open", "opening", "failed"] {
        if let Some(seen) = seen {
            states.labelled(&[state], seen.in_state(state));
        }
    }
    let led = |seen: &Seen| seen.open().filter(|(_, open)| open.in_sync.is_some()).count();
    out.family(&f::LEADERS).known(seen.map(led));
    let known = |replica: &&ReplicaReport| replica.open.as_ref().is_some_and(|open| open.leader.is_some());
    let leaderless = |seen: &Seen| seen.replicas.len() - seen.replicas.iter().filter(known).count();
    out.family(&f::LEADERLESS).known(seen.map(leaderless));
    let expected =
        |seen: &Seen, replica: &ReplicaReport| seen.expected.get(&replica.group).copied().unwrap_or(0);
    let lagging = |seen: &Seen| seen.led_with_fewer(|replica, _| expected(seen, replica));
    out.family(&f::UNDER_REPLICATED).known(seen.map(lagging));
    let blocked = |seen: &Seen| seen.led_with_fewer(|_, open| usize::try_from(open.min_in_sync).unwrap_or(0));
    out.family(&f::UNDER_MIN_ISR).known(seen.map(blocked));
    let bytes = |seen: &Seen| seen.open().map(|(_, open)| open.size_bytes).sum::<u64>();
    out.family(&f::PARTITION_BYTES).known(seen.map(bytes));
}

fn groups(out: &mut Exposition, seen: Option<&Seen>) {
    let mut roles = out.family(&f::GROUPS);
    for role in ["leader", "follower", "candidate", "learner", "stopped"] {
        if let Some(seen) = seen {
            roles.labelled(&[role], seen.open().filter(|(_, open)| open.role == role).count());
        }
    }
    let max = |seen: &Seen, field: fn(&OpenReplica) -> u64| {
        seen.open().map(|(_, open)| field(open)).max().unwrap_or(0)
    };
    out.family(&f::TERM_MAX)
        .known(seen.map(|seen| max(seen, |open| open.term)));
    out.family(&f::LEADER_CHANGES)
        .known(seen.map(|seen| seen.leader_changes));
    let sum = |seen: &Seen| seen.open().map(|(_, open)| lag(open)).sum::<u64>();
    out.family(&f::APPLY_LAG).known(seen.map(sum));
    out.family(&f::APPLY_LAG_MAX)
        .known(seen.map(|seen| max(seen, lag)));
    let trailing = |open: &OpenReplica| {
        let followers = open.followers.iter().flatten();
        followers
            .filter_map(|follower| follower.lag_entries)
            .max()
            .unwrap_or(0)
    };
    out.family(&f::MATCH_LAG_MAX)
        .known(seen.map(|seen| max(seen, trailing)));
}

fn metadata(out: &mut Exposition, node: Option<&Node>) {
    let metadata = node.map(Node::metadata);
    let metadata = metadata.as_ref();
    out.family(&f::METADATA_TERM)
        .known(metadata.map(|group| group.term));
    out.family(&f::METADATA_COMMIT)
        .known(metadata.map(|group| group.commit));
    out.family(&f::METADATA_APPLIED)
        .known(metadata.map(|group| group.applied));
    let known = metadata.map(|group| u8::from(group.leader.is_some()));
    out.family(&f::METADATA_LEADER).known(known);
}

/// A family, and where its value is found.
type Column = (&'static f::Family, fn(&OpenReplica) -> Option<i64>);

fn each_partition(out: &mut Exposition, seen: Option<&Seen>, max: usize) {
    let open: Vec<_> = seen.map(|seen| seen.open().collect()).unwrap_or_default();
    let shown = if open.len() > max { &[][..] } else { &open };
    let columns: [Column; 8] = [
        (&f::PARTITION_TERM, |open| i64::try_from(open.term).ok()),
        (&f::PARTITION_LEADING, |open| {
            Some(i64::from(open.in_sync.is_some()))
        }),
        (&f::PARTITION_COMMIT, |open| i64::try_from(open.commit).ok()),
        (&f::PARTITION_LAG, |open| i64::try_from(lag(open)).ok()),
        (&f::PARTITION_ISR, |open| {
            i64::try_from(open.in_sync.as_ref()?.len()).ok()
        }),
        (&f::PARTITION_HW, |open| Some(open.high_watermark)),
        (&f::PARTITION_START, |open| Some(open.log_start_offset)),
        (&f::PARTITION_SIZE, |open| i64::try_from(open.size_bytes).ok()),
    ];
    for (family, value) in columns {
        let mut samples = out.family(family);
        for (replica, open) in shown {
            if let Some(value) = value(open) {
                samples.labelled(&[&replica.topic, &replica.partition.to_string()], value);
            }
        }
    }
    out.family(&f::OMITTED)
        .known(seen.map(|_| open.len() - shown.len()));
}

fn store(out: &mut Exposition, node: Option<&Node>, files: &FileMetrics) {
    let working = node.map(|node| u8::from(node.store_health() == StoreHealth::Working));
    out.family(&f::STORE_WORKING).known(working);
    let (total, free) = node.map(|node| node.broker().disk_bytes()).unwrap_or((-1, -1));
    let known = |bytes: i64| u64::try_from(bytes).ok();
    out.family(&f::DISK_TOTAL).known(known(total));
    out.family(&f::DISK_FREE).known(known(free));
    out.family(&f::FILES_OPEN).value(files.open());
    out.family(&f::FILE_READ).value(files.read_bytes.get());
    out.family(&f::FILE_WRITTEN).value(files.written_bytes.get());
    let mut errors = out.family(&f::FILE_ERRORS);
    for call in FileCall::ALL {
        errors.labelled(&[call.label()], files.errors(call).get());
    }
    let mut syncs = out.family(&f::FSYNC);
    syncs.histogram(&["data"], &files.data_syncs.snapshot());
    syncs.histogram(&["dir"], &files.dir_syncs.snapshot());
}

fn peers(out: &mut Exposition, node: Option<&Node>) {
    let sessions = node.map(|node| node.parts().peers.sessions()).unwrap_or_default();
    let mut connected = out.family(&f::PEER_CONNECTED);
    for session in &sessions {
        connected.labelled(&[&session.node.to_string()], u8::from(session.connected));
    }
    let mut counts = out.family(&f::PEER_SESSIONS);
    for session in &sessions {
        counts.labelled(&[&session.node.to_string()], session.sessions);
    }
}

fn admin(out: &mut Exposition, own: &OwnMetrics) {
    out.family(&f::ADMIN_CONNECTIONS)
        .value(own.connections.load(Ordering::SeqCst));
    out.family(&f::ADMIN_REFUSED).value(own.refused.get());
    let answers = own.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut statuses = out.family(&f::ADMIN_REQUESTS);
    for (status, count) in answers {
        statuses.labelled(&[&status.to_string()], count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Lifecycle;
    use crate::metrics::Metrics;
    use chronik_conformance::world::{Seed, SimEnv};
    use std::sync::Arc;

    #[test]
    fn every_family_is_printed_once_in_the_order_of_the_table_before_the_node_is_open_too() {
        let parts = AdminParts {
            config: Arc::new(Config::default()),
            env: SimEnv::new(Seed(1)).env(),
            metrics: Metrics::new(),
            lifecycle: Lifecycle::new(),
        };
        let text = render(&parts, &OwnMetrics::default(), &parts.lifecycle.phase());
        let printed: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let table: Vec<&str> = f::ALL.iter().map(|family| family.name).collect();
        assert_eq!(printed, table);
        assert!(text.contains("\nchronik_node_ready 0\n"), "{text}");
    }
}
