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
    sizes(config)
        .into_iter()
        .chain(counts(config))
        .chain([exposed(config)])
        .flatten()
        .collect()
}

/// What is larger than what must hold it.
fn sizes(config: &Config) -> [Option<Conflict>; 4] {
    let Config {
        kafka,
        topics,
        storage,
        ..
    } = config;
    let batch = usize::try_from(topics.max_message_bytes).unwrap_or(usize::MAX);
    let segment = usize::try_from(topics.segment_bytes).unwrap_or(usize::MAX);
    let request = kafka.max_request_bytes;
    [
        (kafka.max_inflight_bytes < request).then(|| Conflict {
            keys: ["kafka.max_inflight_bytes", "kafka.max_request_bytes"],
            message: format!(
                "{} bytes in flight cannot hold one request of {request}",
                kafka.max_inflight_bytes
            ),
            help: "raise max_inflight_bytes to at least max_request_bytes",
        }),
        (batch > request).then(|| Conflict {
            keys: ["topics.max_message_bytes", "kafka.max_request_bytes"],
            message: format!("a batch of {batch} bytes fits no request of {request}"),
            help: "raise max_request_bytes above max_message_bytes",
        }),
        (batch > segment).then(|| Conflict {
            keys: ["topics.max_message_bytes", "topics.segment_bytes"],
            message: format!("a batch of {batch} bytes fits no segment of {segment}"),
            help: "raise segment_bytes to at least max_message_bytes",
        }),
        (batch as u64 > storage.max_entry_bytes()).then(|| Conflict {
            keys: ["topics.max_message_bytes", "storage.journal_file_bytes"],
            message: format!(
                "a batch of {batch} bytes fits no entry of {}",
                storage.max_entry_bytes()
            ),
            help: "raise journal_file_bytes to at least four times max_message_bytes",
        }),
    ]
}

/// What there are more of than there can be.
fn counts(config: &Config) -> [Option<Conflict>; 3] {
    let Config {
        topics,
        groups,
        consensus,
        ..
    } = config;
    let (copies, required) = (topics.replication_factor, topics.min_insync_replicas);
    let (shortest, longest) = (groups.min_session_timeout_ms, groups.max_session_timeout_ms);
    [
        (consensus.backend == ConsensusBackend::Standalone && copies > 1).then(|| Conflict {
            keys: ["topics.replication_factor", "consensus.backend"],
            message: format!("{copies} copies need as many nodes, and a standalone node is alone"),
            help: "write replication_factor = 1",
        }),
        (required > copies).then(|| Conflict {
            keys: ["topics.min_insync_replicas", "topics.replication_factor"],
            message: format!("{required} in-sync replicas of {copies}"),
            help: "with more required than there are, no acks=all write could succeed: lower min_insync_replicas",
        }),
        (shortest > longest).then(|| Conflict {
            keys: ["groups.min_session_timeout_ms", "groups.max_session_timeout_ms"],
            message: format!("{shortest} is above the longest, {longest}"),
            help: "lower min_session_timeout_ms or raise max_session_timeout_ms",
        }),
    ]
}

/// Operators' requests that come over a network carry a token.
fn exposed(config: &Config) -> Option<Conflict> {
    let admin = &config.admin;
    (admin.enabled && !admin.bind.is_loopback() && admin.token_file.is_none()).then(|| Conflict {
        keys: ["admin.bind", "admin.token_file"],
        message: format!(
            "{} can be reached from other machines, and there is no token",
            admin.bind
        ),
        help: "set admin.token_file to a file with a secret (`openssl rand -hex 32`), or bind to 127.0.0.1",
    })
}
