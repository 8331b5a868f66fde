//! The state as bytes: what is stored as the group's checkpoint, and the commands of its log.

use super::{Broker, ConfigSet, Envelope, FORMAT, State, Topic};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Why stored bytes are not a state or a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A newer version wrote it.
    NewerFormat(u32),
    /// It is not what this format says.
    Malformed(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<'a> {
    format: u32,
    cluster_id: Option<Arc<str>>,
    features: Cow<'a, BTreeMap<String, i16>>,
    brokers: Vec<Cow<'a, Broker>>,
    broker_defaults: Cow<'a, ConfigSet>,
    topics: Vec<Cow<'a, Topic>>,
    next_group: u64,
    next_replica: u64,
    next_producer_id: i64,
}

/// Read before anything else, so that a newer format is told from damage.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl State {
    /// The state as JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored {
            format: FORMAT,
            cluster_id: self.cluster_id.clone(),
            features: Cow::Borrowed(&self.features),
            brokers: self.brokers.values().map(Cow::Borrowed).collect(),
            broker_defaults: Cow::Borrowed(&self.broker_defaults),
            topics: self
                .topics
                .values()
                .map(|topic| Cow::Borrowed(&**topic))
                .collect(),
            next_group: self.next_group,
            next_replica: self.next_replica,
            next_producer_id: self.next_producer_id,
        };
        // Keys are strings and numbers are integers: there is nothing that JSON cannot hold.
        serde_json::to_vec(&stored).expect("the state can be written as JSON")
    }

    /// Reads a state back.
    ///
    /// # Errors
    /// [`CheckpointError`]; nothing is guessed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        check_version(bytes)?;
        let stored: Stored<'_> = serde_json::from_slice(bytes).map_err(malformed)?;
        if stored.next_producer_id < 0 {
            let what = format!("next_producer_id is {}", stored.next_producer_id);
            return Err(CheckpointError::Malformed(what));
        }
        let mut state = Self {
            cluster_id: stored.cluster_id,
            features: stored.features.into_owned(),
            broker_defaults: stored.broker_defaults.into_owned(),
            next_group: stored.next_group,
            next_replica: stored.next_replica,
            next_producer_id: stored.next_producer_id,
            ..Self::default()
        };
        for broker in stored.brokers {
            state.brokers.insert(broker.node(), broker.into_owned());
        }
        for topic in stored.topics {
            let topic = Arc::new(topic.into_owned());
            state.check_stored(&topic)?;
            state.index(&topic);
            state.topics.insert(Arc::clone(&topic.name), topic);
        }
        Ok(state)
    }

    fn check_stored(&self, topic: &Topic) -> Result<(), CheckpointError> {
        let wrong = |what: &str| {
            let text = format!("topic '{}' {what}", topic.name);
            Err(CheckpointError::Malformed(text))
        };
        if self.topics.contains_key(&topic.name) || self.names.contains_key(&topic.id) {
            return wrong("appears twice");
        }
        for partition in &topic.partitions {
            if partition.group().0 >= self.next_group {
                return wrong("has a group that was not issued yet");
            }
            let mut ever = partition.replicas().iter().chain(partition.founders());
            if ever.any(|replica| replica.replica().0 >= self.next_replica) {
                return wrong("has a replica that was not issued yet");
            }
        }
        Ok(())
    }
}

impl Envelope {
    /// The command as JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Keys are strings and numbers are integers: there is nothing that JSON cannot hold.
        serde_json::to_vec(self).expect("a command can be written as JSON")
    }

    /// Reads a command back.
    ///
    /// # Errors
    /// [`CheckpointError`]; a command is never skipped.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        check_version(bytes)?;
        serde_json::from_slice(bytes).map_err(malformed)
    }
}

fn check_version(bytes: &[u8]) -> Result<(), CheckpointError> {
    let Version { format } = serde_json::from_slice(bytes).map_err(malformed)?;
    if (1..=FORMAT).contains(&format) {
        Ok(())
    } else {
        Err(CheckpointError::NewerFormat(format))
    }
}

fn malformed(error: serde_json::Error) -> CheckpointError {
    CheckpointError::Malformed(error.to_string())
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewerFormat(format) => {
                write!(
                    f,
                    "metadata of format {format}, where this version reads up to {FORMAT}"
                )
            }
            Self::Malformed(what) => write!(f, "malformed metadata: {what}"),
        }
    }
}

impl std::error::Error for CheckpointError {}
