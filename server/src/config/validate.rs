//! Values that are fine one by one and do not fit each other.

use super::parse::{Effective, Origin, keys};
use super::problem::{Problem, Source};
use super::{Config, ConsensusBackend};

/// Two keys that contradict each other.
struct Conflict {
    keys: [&'static str; 2],
    message: String,
    help: &'static str,
}

/// Appends a problem for every conflict, except where one of the keys was refused already.
pub(super) fn check(effective: &Effective, file: &str, problems: &mut Vec<Problem>) {
    for Conflict {
        keys: pair,
        message,
        help,
    } in conflicts(&effective.config)
    {
        if problems
            .iter()
            .any(|problem| pair.contains(&problem.key.as_str()))
        {
            continue;
        }
        let set = pair
            .iter()
            .find_map(|path| source(effective, path).map(|source| (*path, source)));
        let (key, source) = set.unwrap_or_else(|| (pair[0], Source::Whole(file.to_owned())));
        problems.push(Problem {
            source,
            key: key.to_owned(),
            message,
            allowed: None,
            help: Some(help.to_owned()),
        });
    }
}

/// Where the value of a key was set; nothing if it is the default.
fn source(effective: &Effective, path: &str) -> Option<Source> {
    let key = keys().find(|key| key.path() == path)?;
    match effective.origin(key) {
        Origin::Default => None,
        Origin::File(place) => Some(Source::File(place.clone())),
        Origin::Flag(flag) => Some(Source::Flag(flag)),
    }
}

fn conflicts(config: &Config) -> Vec<Conflict> {
    let Config {
        kafka,
        topics,
        groups,
        consensus,
        ..
    } = config;
    let mut found = Vec::new();
    let mut conflict = |keys: [&'static str; 2], message: String, help: &'static str| {
        found.push(Conflict { keys, message, help });
    };
    if kafka.max_inflight_bytes < kafka.max_request_bytes {
        conflict(
            ["kafka.max_inflight_bytes", "kafka.max_request_bytes"],
            format!(
                "{} bytes in flight cannot hold one request of {}",
                kafka.max_inflight_bytes, kafka.max_request_bytes
            ),
            "raise max_inflight_bytes to at least max_request_bytes",
        );
    }
    if usize::try_from(topics.max_message_bytes).is_ok_and(|bytes| bytes > kafka.max_request_bytes) {
        conflict(
            ["topics.max_message_bytes", "kafka.max_request_bytes"],
            format!(
                "a batch of {} bytes fits no request of {}",
                topics.max_message_bytes, kafka.max_request_bytes
            ),
            "raise max_request_bytes above max_message_bytes",
        );
    }
    if u32::try_from(topics.max_message_bytes).is_ok_and(|bytes| bytes > topics.segment_bytes) {
        conflict(
            ["topics.max_message_bytes", "topics.segment_bytes"],
            format!(
                "a batch of {} bytes fits no segment of {}",
                topics.max_message_bytes, topics.segment_bytes
            ),
            "raise segment_bytes to at least max_message_bytes",
        );
    }
    if consensus.backend == ConsensusBackend::Standalone && topics.replication_factor > 1 {
        conflict(
            ["topics.replication_factor", "consensus.backend"],
            format!(
                "{} copies need as many nodes, and a standalone node is alone",
                topics.replication_factor
            ),
            "write replication_factor = 1",
        );
    }
    if topics.min_insync_replicas > topics.replication_factor {
        conflict(
            ["topics.min_insync_replicas", "topics.replication_factor"],
            format!(
                "{} in-sync replicas of {}",
                topics.min_insync_replicas, topics.replication_factor
            ),
            "with more required than there are, no acks=all write could succeed: lower min_insync_replicas",
        );
    }
    if groups.min_session_timeout_ms > groups.max_session_timeout_ms {
        conflict(
            ["groups.min_session_timeout_ms", "groups.max_session_timeout_ms"],
            format!(
                "{} is above the longest, {}",
                groups.min_session_timeout_ms, groups.max_session_timeout_ms
            ),
            "lower min_session_timeout_ms or raise max_session_timeout_ms",
        );
    }
    found
}
