//! Whether a node lives, may be sent clients, and is well.
//!
//! | question | asked by | no means |
//! |---|---|---|
//! | `/livez` | who restarts processes | nothing but a restart helps |
//! | `/readyz` | who sends clients | new clients should go elsewhere |
//! | `/healthz` | who wakes people | something is wrong, though clients may be served |

use super::lifecycle::Phase;
use super::node::{Node, replica_counts};
use super::report::{Check, HealthReport, ReplicaReport};
use chronik_core::log_store::StoreHealth;

/// A question that is asked of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    /// Does it live?
    Live,
    /// Can clients be sent there?
    Ready,
    /// Is it well?
    Well,
}

/// The answer to a question. Each question asks everything that the ones before it ask.
pub(super) fn ask(question: Question, phase: &Phase, verbose: bool) -> HealthReport {
    let mut checks = Vec::new();
    if question >= Question::Ready {
        checks.push(started(phase));
    }
    if let Some(node) = phase.node() {
        checks.extend(alive(node));
        if question >= Question::Ready {
            checks.push(controller_known(node));
        }
        if question >= Question::Well {
            checks.extend(well(node, &node.replicas()));
        }
    }
    report(phase, checks, verbose)
}

/// Whether a node is well, in full.
pub(super) fn of_node(node: &Node, phase: &Phase, replicas: &[ReplicaReport]) -> HealthReport {
    let mut checks = vec![started(phase)];
    checks.extend(alive(node));
    checks.push(controller_known(node));
    checks.extend(well(node, replicas));
    report(phase, checks, false)
}

pub(super) fn report(phase: &Phase, checks: Vec<Check>, verbose: bool) -> HealthReport {
    let failed = checks.iter().filter(|check| !check.ok);
    let reasons: Vec<String> = failed.map(|check| check.detail.clone()).collect();
    HealthReport {
        ok: reasons.is_empty(),
        phase: phase.name().to_owned(),
        reasons,
        checks: if verbose { checks } else { Vec::new() },
    }
}

fn check(name: &str, wrong: Option<String>, right: &str) -> Check {
    Check {
        name: name.to_owned(),
        ok: wrong.is_none(),
        detail: wrong.unwrap_or_else(|| right.to_owned()),
    }
}

fn started(phase: &Phase) -> Check {
    let wrong = match phase {
        Phase::Starting(step) => Some(format!("the node starts: {step}")),
        Phase::Draining(_) => Some("the node was told to stop".to_owned()),
        Phase::Serving(_) => None,
    };
    check("serving", wrong, "clients are served")
}

/// What ends the process when it goes wrong, as long as it still answers.
fn alive(node: &Node) -> [Check; 2] {
    let poisoned = match node.store_health() {
        StoreHealth::Poisoned(why) => Some(format!("the store failed: {why}")),
        StoreHealth::Working | StoreHealth::Full => None,
    };
    let metadata = node.metadata();
    let lost =
        (metadata.state != "followed").then(|| format!("the metadata is not followed: {}", metadata.state));
    [
        check("store", poisoned, "the store works"),
        check("metadata", lost, "the metadata is followed"),
    ]
}

fn controller_known(node: &Node) -> Check {
    let metadata = node.metadata();
    match metadata.leader {
        Some(leader) => check(
            "controller",
            None,
            &format!("node {leader} leads the metadata group"),
        ),
        None => {
            let what = format!(
                "no leader of the metadata group is known in term {}",
                metadata.term
            );
            check("controller", Some(what), "")
        }
    }
}

/// What limits the service without ending it.
fn well(node: &Node, replicas: &[ReplicaReport]) -> Vec<Check> {
    let full = (node.store_health() == StoreHealth::Full)
        .then(|| "the disk is full: writes are refused (storage.min_free_bytes)".to_owned());
    let names = |wanted: &dyn Fn(&ReplicaReport) -> bool| -> Vec<String> {
        let found = replicas.iter().filter(|replica| wanted(replica));
        found
            .map(|replica| format!("{}-{}", replica.topic, replica.partition))
            .collect()
    };
    let failed = names(&|replica| replica.state == "failed");
    let leaderless = names(&|replica| replica.open.as_ref().is_some_and(|open| open.leader.is_none()));
    let expected = replica_counts(&node.image());
    let in_sync = |replica: &ReplicaReport| replica.open.as_ref()?.in_sync.as_ref().map(Vec::len);
    let lagging = names(&|replica| {
        in_sync(replica) < expected.get(&replica.group).copied() && in_sync(replica).is_some()
    });
    vec![
        check("disk", full, "the disk has room"),
        check(
            "partitions_open",
            list("not open", &failed),
            "no partition failed to open",
        ),
        check(
            "leaders",
            list("without a leader", &leaderless),
            "every open partition has a leader",
        ),
        check(
            "replicas",
            list("under-replicated", &lagging),
            "every partition led here is in sync",
        ),
    ]
}

/// A few names, and how many more there are.
fn list(what: &str, names: &[String]) -> Option<String> {
    const SHOWN: usize = 5;
    let (shown, more) = (names.iter().take(SHOWN), names.len().saturating_sub(SHOWN));
    let shown: Vec<&str> = shown.map(String::as_str).collect();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    (!names.is_empty()).then(|| format!("{} partitions {what}: {}{more}", names.len(), shown.join(", ")))
}
