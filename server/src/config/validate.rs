//! Values that are fine one by one and do not fit each other.

use super::parse::{Effective, Origin, keys};
use super::problem::{Problem, Source};
use super::{Config, ConsensusBackend, TransportBackend};

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
        Origin::Command(command) => Some(Source::Command(command)),
    }
}

fn conflicts(config: &Config) -> Vec<Conflict> {
    sizes(config)
        .into_iter()
        .chain(counts(config))
        .chain([untiered(config)])
        .chain([exposed(config)])
        .chain(nodes(config))
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
    let (copies, required) = (config.replication_factor(), topics.min_insync_replicas);
    let (shortest, longest) = (groups.min_session_timeout_ms, groups.max_session_timeout_ms);
    [
        (consensus.backend == ConsensusBackend::Standalone && copies > 1).then(|| Conflict {
            keys: ["topics.replication_factor", "consensus.backend"],
            message: format!("{copies} copies need as many nodes, and a standalone node is alone"),
            help: "write replication_factor = 1, or run the nodes of a cluster with `raft-cluster`",
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

/// Segments go to a tier that there is not.
fn untiered(config: &Config) -> Option<Conflict> {
    (config.topics.remote_storage_enable && config.tier.url.is_none()).then(|| Conflict {
        keys: ["topics.remote_storage_enable", "tier.url"],
        message: "segments shall go to the object tier, and there is none".to_owned(),
        help: "give tier.url, for example \"file:///var/lib/chronik-tier\" or \"s3://my-bucket/chronik\"",
    })
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

/// What does not fit together in a node of a cluster.
fn nodes(config: &Config) -> Vec<Option<Conflict>> {
    let Config {
        cluster,
        transport,
        consensus,
        ..
    } = config;
    let raft = consensus.backend != ConsensusBackend::Standalone;
    let alone = transport.backend == TransportBackend::None;
    let tls = [&transport.tls_ca, &transport.tls_cert, &transport.tls_key];
    let given = tls.iter().filter(|path| path.is_some()).count();
    let mut found = vec![
        (given != 0 && given != tls.len()).then(|| Conflict {
            keys: ["transport.tls_cert", "transport.tls_key"],
            message: "TLS needs a certificate, its key and the authority".to_owned(),
            help: "give tls_ca, tls_cert and tls_key, or none of them",
        }),
        (raft && alone).then(|| Conflict {
            keys: ["consensus.backend", "transport.backend"],
            message: "Raft needs a way to other nodes, and transport.backend is \"none\"".to_owned(),
            help: "write transport.backend = \"capnp\"",
        }),
        (!raft && !alone).then(|| Conflict {
            keys: ["transport.backend", "consensus.backend"],
            message: "a standalone node talks to no other".to_owned(),
            help: "write consensus.backend = \"raft-rs\", or leave transport.backend out",
        }),
        (!alone && cluster.listen.is_none()).then(|| Conflict {
            keys: ["transport.backend", "cluster.listen"],
            message: "there is no address to listen on for other nodes".to_owned(),
            help: "give cluster.listen (--raft-addr), for example \"0.0.0.0:5001\"",
        }),
        (consensus.election_timeout_ms < 3 * consensus.heartbeat_interval_ms.max(consensus.tick_ms)).then(|| {
            Conflict {
                keys: ["consensus.election_timeout_ms", "consensus.heartbeat_interval_ms"],
                message: format!(
                    "{} ms leave no room for a heartbeat that is late",
                    consensus.election_timeout_ms
                ),
                help: "raise election_timeout_ms to at least three times heartbeat_interval_ms and tick_ms",
            }
        }),
        (alone && !cluster.peers.is_empty()).then(|| Conflict {
            keys: ["cluster.peers", "transport.backend"],
            message: "peers are listed, and the node is alone".to_owned(),
            help: "run `chronik-server raft-cluster`, or write transport.backend = \"capnp\" and consensus.backend = \
                   \"raft-rs\"",
        }),
    ];
    found.extend(async_raft(config));
    found.extend(peers(config).into_iter().map(Some));
    found
}

/// What async-raft cannot do safely.
fn async_raft(config: &Config) -> Vec<Option<Conflict>> {
    if config.consensus.backend != ConsensusBackend::AsyncRaft {
        return Vec::new();
    }
    let others = config.other_peers().count();
    let conflict = |other: &'static str, message: String, help: &'static str| Conflict {
        keys: ["consensus.backend", other],
        message,
        help,
    };
    vec![
        (others == 1).then(|| {
            let message =
                "async-raft cannot run groups of two voters safely, and two nodes are listed".to_owned();
            conflict(
                "cluster.peers",
                message,
                "list three nodes, or write consensus.backend = \"raft-rs\"",
            )
        }),
        (others > 1 && config.cluster.metadata_voters < 3).then(|| {
            let voters = config.cluster.metadata_voters;
            let message = format!("async-raft cannot grow from {voters} voters of the metadata safely");
            let help = "write metadata_voters = 3 or more, or consensus.backend = \"raft-rs\"";
            conflict("cluster.metadata_voters", message, help)
        }),
        (config.topics.replication_factor == Some(2)).then(|| {
            let message = "async-raft cannot run groups of two voters safely".to_owned();
            let help = "write replication_factor = 1, 3 or more, or consensus.backend = \"raft-rs\"";
            conflict("topics.replication_factor", message, help)
        }),
    ]
}

/// What is wrong with the list of peers.
fn peers(config: &Config) -> Vec<Conflict> {
    let conflict = |other: &'static str, message: String, help: &'static str| Conflict {
        keys: ["cluster.peers", other],
        message,
        help,
    };
    let mut found = Vec::new();
    let peers = &config.cluster.peers;
    for (at, peer) in peers.iter().enumerate() {
        let before = peers.iter().take(at);
        if before.clone().any(|other| other.node == peer.node) {
            let message = format!("node {} is listed twice", peer.node);
            found.push(conflict(
                "cluster.peers",
                message,
                "give every node one entry and an id of its own",
            ));
        } else if before.clone().any(|other| other.endpoint == peer.endpoint) {
            let message = format!("{} is listed for two nodes", peer.endpoint);
            found.push(conflict(
                "cluster.peers",
                message,
                "give every node an address of its own",
            ));
        }
    }
    let own = peers.iter().find(|peer| peer.node == config.node_id().0);
    if let (Some(own), None, Some(listen)) = (own, &config.cluster.advertise, config.cluster.listen)
        && own.endpoint.port != listen.port()
        && listen.port() != 0
    {
        let message = format!("{own} is this node's own id, and the node listens on {listen}");
        let help = "leave this node out of peers, or give it its own address; give another node its own node.id (--node-id)";
        found.push(conflict("cluster.listen", message, help));
    }
    found
}
