//! What nodes ask each other outside of consensus: requests and answers, and their bytes.
//!
//! A message is the byte of [`Channel::Node`], a byte with the version, and JSON; an answer is the version and JSON.
//! Nothing here is frequent: records and votes travel on the engine's own channel.

use super::record::{Ballot, ClusterRecord, Engine};
use crate::admin::peers::Answer as Report;
use crate::cluster::state::Envelope;
use bytes::Bytes;
use chronik_core::transport::Channel;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of the messages. A node that is asked in another one refuses, and says which it speaks.
pub const VERSION: u8 = 1;

/// What a node asks another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Who are you?
    Probe,
    /// Promise to accept no founding below this one.
    Prepare {
        /// The attempt.
        ballot: Ballot,
        /// The nodes whose majority decides, sorted. Who lists others does not take part.
        nodes: Vec<u64>,
        /// What shall decide in the groups. Who has another one does not take part.
        #[serde(default)]
        engine: Engine,
    },
    /// Accept this founding.
    Accept {
        /// The attempt.
        ballot: Ballot,
        /// The nodes whose majority decides, sorted.
        nodes: Vec<u64>,
        /// The cluster that shall be.
        cluster: ClusterRecord,
    },
    /// Take my directory into the metadata group.
    Join {
        /// The node.
        node: u64,
        /// The incarnation of its directory.
        incarnation: u64,
        /// Where others reach it, if it says so.
        address: Option<String>,
    },
    /// Propose this command, if you lead the metadata group; do not pass it on.
    Submit {
        /// The command.
        envelope: Box<Envelope>,
    },
    /// What do you know of yourself?
    Status,
    /// These groups I lead; one-way.
    Gossip {
        /// Whether these are all.
        full: bool,
        /// The groups.
        claims: Vec<Claim>,
    },
}

/// A group that the sender leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The group.
    #[serde(rename = "g")]
    pub group: u64,
    /// In which term.
    #[serde(rename = "t")]
    pub term: u64,
    /// The nodes whose replicas are in sync.
    #[serde(rename = "s")]
    pub in_sync: Vec<u64>,
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To a probe.
    Identity(Identity),
    /// The promise is given.
    Promised {
        /// The incarnation of the directory that promises.
        incarnation: u64,
        /// What was accepted so far.
        accepted: Option<(Ballot, ClusterRecord)>,
    },
    /// The founding is accepted.
    Accepted,
    /// Another founding is ahead.
    Outbid {
        /// What was promised.
        promised: Ballot,
    },
    /// The node has its place in the metadata group.
    Joined,
    /// Not yet; ask again.
    Later {
        /// What is being waited for.
        why: String,
    },
    /// Nothing was done: ask the leader.
    NotLeader {
        /// Who that is, where it is known.
        leader: Option<u64>,
    },
    /// The command is in the log for ever.
    Committed,
    /// The command was not done, and would not be if it were tried again.
    Impossible {
        /// Why.
        why: String,
    },
    /// Nobody knows whether it was done, or will be.
    Unknown {
        /// Why.
        why: String,
    },
    /// What the node knows of itself.
    Status(Box<Report>),
    /// Nothing was done; the text says why.
    Refused {
        /// Why.
        why: String,
    },
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node.
    pub node: u64,
    /// The incarnation of its directory.
    pub incarnation: u64,
    /// Whether it may found a cluster.
    pub may_found: bool,
    /// The nodes that its configuration lists, itself included, sorted.
    pub nodes: Vec<u64>,
    /// What decides in its groups.
    #[serde(default)]
    pub engine: Engine,
    /// Its cluster, if it has one.
    pub cluster: Option<ClusterRecord>,
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadMessage {
    /// It is for another part of the node.
    Channel,
    /// It is of another version.
    Version(u8),
    /// It is not what the version says.
    Malformed(String),
}

impl Request {
    /// The request as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        encode(&[Channel::Node as u8, VERSION], self)
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`BadMessage`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadMessage> {
        match bytes.split_first() {
            Some((channel, rest)) if *channel == Channel::Node as u8 => decode(rest),
            _ => Err(BadMessage::Channel),
        }
    }
}

impl Answer {
    /// The answer as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        encode(&[VERSION], self)
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// [`BadMessage`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadMessage> {
        decode(bytes)
    }
}

fn encode(head: &[u8], message: &impl Serialize) -> Bytes {
    let mut bytes = head.to_vec();
    // Keys are strings and numbers are integers: there is nothing that JSON cannot hold.
    serde_json::to_writer(&mut bytes, message).expect("a message can be written as JSON");
    bytes.into()
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadMessage> {
    match bytes.split_first() {
        Some((&VERSION, json)) => {
            serde_json::from_slice(json).map_err(|error| BadMessage::Malformed(error.to_string()))
        }
        Some((other, _)) => Err(BadMessage::Version(*other)),
        None => Err(BadMessage::Malformed("it is empty".to_owned())),
    }
}

impl fmt::Display for BadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel => write!(f, "the message is for another part of the node"),
            Self::Version(version) => {
                write!(
                    f,
                    "the message is of version {version}, this node speaks {VERSION}"
                )
            }
            Self::Malformed(what) => write!(f, "malformed message: {what}"),
        }
    }
}

impl std::error::Error for BadMessage {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_reads_back_and_no_damage_makes_it_panic() {
        let cluster = ClusterRecord {
            cluster_id: "c".to_owned(),
            engine: Engine::AsyncRaft,
            founders: Vec::new(),
        };
        let ballot = Ballot {
            round: 3,
            node: u64::MAX,
        };
        let nodes = vec![1, 2];
        let prepare = Request::Prepare {
            ballot,
            nodes: nodes.clone(),
            engine: Engine::AsyncRaft,
        };
        let accept = Request::Accept {
            ballot,
            nodes,
            cluster,
        };
        for request in [Request::Probe, prepare, accept] {
            let bytes = request.to_bytes();
            assert_eq!(Request::from_bytes(&bytes), Ok(request));
            for cut in 0..bytes.len() {
                assert!(Request::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
                for flip in [0x01, 0x20, 0x80] {
                    let mut damaged = bytes.to_vec();
                    damaged[cut] ^= flip;
                    let _ = Request::from_bytes(&damaged);
                }
            }
        }
    }

    #[test]
    fn another_version_and_deep_nesting_are_refused() {
        assert_eq!(Request::from_bytes(&[2, 9, b'"']), Err(BadMessage::Version(9)));
        let mut nested = vec![Channel::Node as u8, VERSION];
        nested.extend(std::iter::repeat_n(b'[', 100_000));
        assert!(matches!(
            Request::from_bytes(&nested),
            Err(BadMessage::Malformed(_))
        ));
    }
}
