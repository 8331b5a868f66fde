//! Answers as text. `?` stands for what the node that was asked does not know.

use super::table::table;
use crate::admin::report::{
    ClusterReport, FollowerReport, HealthReport, IsrReport, NodeEntry, PartitionReport, ReplicaReport,
};
use std::fmt::Display;

fn or_unknown(value: Option<impl Display>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| value.to_string())
}

fn ids(nodes: &[u64]) -> String {
    let nodes: Vec<String> = nodes.iter().map(u64::to_string).collect();
    if nodes.is_empty() {
        "none".to_owned()
    } else {
        nodes.join(",")
    }
}

/// Whether a partition has a leader, and all its replicas in sync.
pub(super) fn is_well(partition: &PartitionReport) -> bool {
    partition.leader.is_some() && partition.under_replicated == Some(false)
}

fn state(partition: &PartitionReport) -> String {
    match (&partition.unknown, partition.leader, partition.under_replicated) {
        (Some(why), ..) => format!("unknown: {why}"),
        (None, None, _) => "no leader".to_owned(),
        (None, Some(_), Some(false)) => "in sync".to_owned(),
        (None, Some(_), Some(true)) if partition.under_min_in_sync == Some(true) => {
            "under-replicated, acks=all refused".to_owned()
        }
        (None, Some(_), Some(true)) => "under-replicated".to_owned(),
        (None, Some(_), None) => "unknown".to_owned(),
    }
}

fn leader(partition: &PartitionReport) -> String {
    match (partition.leader, &partition.unknown) {
        (Some(node), _) => node.to_string(),
        (None, Some(_)) => "?".to_owned(),
        (None, None) => "none".to_owned(),
    }
}

fn verdict(health: &HealthReport) -> String {
    let mut out = format!("health: {}\n", if health.ok { "well" } else { "NOT WELL" });
    for reason in &health.reasons {
        out += &format!("  - {reason}\n");
    }
    out
}

pub(super) fn cluster(report: &ClusterReport) -> String {
    let controller = report
        .controller
        .map_or_else(|| "none known".to_owned(), |node| format!("node {node}"));
    format!(
        "cluster: {}\ncontroller: {controller}\ntopics: {}\npartitions: {} ({} without a leader, {} under-replicated, {} \
         unknown)\n{}\n{}",
        or_unknown(report.cluster_id.as_ref()),
        report.topics,
        report.partitions,
        report.leaderless,
        report.under_replicated,
        report.unknown,
        verdict(&report.health),
        nodes(&report.nodes)
    )
}

pub(super) fn nodes(nodes: &[NodeEntry]) -> String {
    let row = |entry: &NodeEntry| {
        let report = entry.report.as_ref();
        let counts = report.map(|report| &report.partitions);
        let health = match (report, &entry.unknown) {
            (Some(report), _) if report.health.ok => "well".to_owned(),
            (Some(report), _) => report.health.reasons.join("; "),
            (None, Some(why)) => format!("no answer: {why}"),
            (None, None) => "no answer".to_owned(),
        };
        vec![
            entry.node.to_string(),
            entry.address.clone(),
            or_unknown(entry.controller.map(|yes| if yes { "controller" } else { "-" })),
            or_unknown(report.map(|report| report.phase.as_str())),
            or_unknown(report.map(|report| report.version.as_str())),
            or_unknown(counts.map(|counts| counts.placed)),
            or_unknown(counts.map(|counts| counts.leading)),
            or_unknown(report.and_then(|report| report.store.free_bytes).map(size)),
            health,
        ]
    };
    let headings = [
        "NODE",
        "ADDRESS",
        "ROLE",
        "PHASE",
        "VERSION",
        "REPLICAS",
        "LEADING",
        "DISK FREE",
        "HEALTH",
    ];
    table(&headings, &nodes.iter().map(row).collect::<Vec<_>>())
}

pub(super) fn partitions(partitions: &[PartitionReport]) -> String {
    let row = |one: &PartitionReport| {
        vec![
            one.topic.clone(),
            one.partition.to_string(),
            leader(one),
            or_unknown(one.leader_epoch),
            ids(&one.replicas),
            or_unknown(one.in_sync.as_deref().map(ids)),
            or_unknown(one.log_start_offset),
            or_unknown(one.high_watermark),
            or_unknown(one.size_bytes.map(size)),
            state(one),
        ]
    };
    let headings = [
        "TOPIC",
        "PARTITION",
        "LEADER",
        "EPOCH",
        "REPLICAS",
        "IN SYNC",
        "START",
        "HIGH WATERMARK",
        "SIZE",
        "STATE",
    ];
    table(&headings, &partitions.iter().map(row).collect::<Vec<_>>())
}

pub(super) fn partition(one: &PartitionReport) -> String {
    let mut out = format!(
        "partition: {}-{}\ngroup: {}\nstate: {}\nleader: {}\nepoch: {}\nreplicas: {}\nin sync: {}\nlog start: {}\nhigh \
         watermark: {}\n\n",
        one.topic,
        one.partition,
        one.group,
        state(one),
        leader(one),
        or_unknown(one.leader_epoch),
        ids(&one.replicas),
        or_unknown(one.in_sync.as_deref().map(ids)),
        or_unknown(one.log_start_offset),
        or_unknown(one.high_watermark)
    );
    let seen = one
        .copies
        .iter()
        .filter_map(|copy| copy.open.as_ref()?.followers.as_ref())
        .next();
    let rows: Vec<_> = one
        .replicas
        .iter()
        .map(|node| copy(*node, &one.copies, seen))
        .collect();
    let headings = [
        "NODE",
        "STATE",
        "ROLE",
        "TERM",
        "COMMIT",
        "APPLIED",
        "DURABLE",
        "LOG END",
        "SIZE",
        "CONFIRMED",
        "LAG",
        "SILENT MS",
    ];
    out += &table(&headings, &rows);
    out
}

/// What a node says of its replica, and what the leader says of it.
fn copy(node: u64, copies: &[ReplicaReport], seen: Option<&Vec<FollowerReport>>) -> Vec<String> {
    let copy = copies.iter().find(|copy| copy.node == node);
    let open = copy.and_then(|copy| copy.open.as_ref());
    let state = match copy {
        None => "?".to_owned(),
        Some(ReplicaReport {
            state,
            reason: Some(why),
            ..
        }) => format!("{state}: {why}"),
        Some(copy) => copy.state.clone(),
    };
    let follower = seen.and_then(|seen| seen.iter().find(|follower| follower.node == node));
    vec![
        node.to_string(),
        state,
        or_unknown(open.map(|open| open.role.as_str())),
        or_unknown(open.map(|open| open.term)),
        or_unknown(open.map(|open| open.commit)),
        or_unknown(open.map(|open| open.applied)),
        or_unknown(open.map(|open| open.durable)),
        or_unknown(open.map(|open| open.log_end_offset)),
        or_unknown(open.map(|open| size(open.size_bytes))),
        or_unknown(follower.and_then(|follower| follower.matched)),
        or_unknown(follower.and_then(|follower| follower.lag_entries)),
        or_unknown(follower.and_then(|follower| follower.silent_ms)),
    ]
}

pub(super) fn isr(report: &IsrReport) -> String {
    let counts = format!(
        "in sync: {}\nunder-replicated: {}\nbelow min.insync.replicas: {}\nunknown: {}\n",
        report.in_sync, report.under_replicated, report.under_min_in_sync, report.unknown
    );
    if report.partitions.is_empty() {
        return counts;
    }
    counts + "\n" + &partitions(&report.partitions)
}

pub(super) fn health(report: &HealthReport) -> String {
    let rows: Vec<_> = report
        .checks
        .iter()
        .map(|check| {
            let ok = if check.ok { "ok" } else { "NOT OK" };
            vec![check.name.clone(), ok.to_owned(), check.detail.clone()]
        })
        .collect();
    format!(
        "phase: {}\n{}\n{}",
        report.phase,
        verdict(report),
        table(&["CHECK", "RESULT", "DETAIL"], &rows)
    )
}

/// Bytes in the unit that leaves up to three digits before the point.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition_report() -> PartitionReport {
        PartitionReport {
            topic: "t".into(),
            partition: 3,
            group: 9,
            replicas: vec![1, 2, 3],
            leader: Some(2),
            leader_epoch: Some(5),
            in_sync: Some(vec![2]),
            under_replicated: Some(true),
            under_min_in_sync: Some(false),
            log_start_offset: Some(0),
            high_watermark: Some(10),
            size_bytes: Some(2048),
            unknown: None,
            copies: Vec::new(),
        }
    }

    #[test]
    fn a_partition_is_shown_with_what_is_known_of_it() {
        let lagging = partition_report();
        let silent = PartitionReport {
            leader: None,
            leader_epoch: None,
            in_sync: None,
            under_replicated: None,
            under_min_in_sync: None,
            log_start_offset: None,
            high_watermark: None,
            size_bytes: None,
            unknown: Some("node 2: no answer".into()),
            ..partition_report()
        };
        let leaderless = PartitionReport {
            unknown: None,
            ..silent.clone()
        };
        let text = partitions(&[lagging, silent, leaderless]);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        for (line, words) in lines.iter().zip([
            "t 3 2 5 1,2,3 2 0 10 2.0 KiB under-replicated",
            "t 3 ? ? 1,2,3 ? ? ? ? unknown: node 2: no answer",
            "t 3 none ? 1,2,3 ? ? ? ? no leader",
        ]) {
            assert_eq!(line.split_whitespace().collect::<Vec<_>>().join(" "), words);
        }
    }

    #[test]
    fn only_a_partition_with_a_leader_and_all_replicas_is_well() {
        let mut one = partition_report();
        assert!(!is_well(&one));
        one.under_replicated = Some(false);
        assert!(is_well(&one));
        one.leader = None;
        assert!(!is_well(&one));
    }

    #[test]
    fn sizes_have_the_unit_that_fits() {
        assert_eq!(
            [0, 1023, 1024, 1 << 30, u64::MAX].map(size),
            ["0 B", "1023 B", "1.0 KiB", "1.0 GiB", "16777216.0 TiB"]
        );
    }
}
