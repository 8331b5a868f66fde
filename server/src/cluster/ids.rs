//! The identity of a topic, and conversions between core's ids and Kafka's numbers.

use crate::kafka::wire::Uuid;
use chronik_core::NodeId;
use chronik_core::env::Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

const TEXT_LEN: usize = 22;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The id of a topic (KIP-516): never zero, never used again for a topic of the same name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(Uuid);

impl TopicId {
    /// A fresh version 4 UUID. One whose text starts with a dash is drawn again, because command lines would take it
    /// for an option.
    #[must_use]
    pub fn random(rng: &dyn Rng) -> Self {
        loop {
            let drawn = (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64());
            let value = (drawn & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
            let id = Self(Uuid::from_u128(value));
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    /// The id that the protocol carries as `uuid`; nothing for zero, which stands for "no id".
    #[must_use]
    pub fn from_wire(uuid: Uuid) -> Option<Self> {
        (!uuid.is_zero()).then_some(Self(uuid))
    }

    /// What the protocol carries.
    #[must_use]
    pub const fn to_wire(self) -> Uuid {
        self.0
    }
}

/// The text form of Kafka's tools: unpadded URL-safe base64.
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TopicId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a topic id");
        if text.len() != TEXT_LEN {
            return Err(wrong());
        }
        let mut value = 0u128;
        for (i, letter) in text.bytes().enumerate() {
            let bits = ALPHABET
                .iter()
                .position(|known| *known == letter)
                .ok_or_else(wrong)? as u128;
            if i < 21 {
                value = (value << 6) | bits;
            } else if bits & 0xf == 0 {
                value = (value << 2) | (bits >> 4);
            } else {
                return Err(wrong());
            }
        }
        Self::from_wire(Uuid::from_u128(value)).ok_or_else(wrong)
    }
}

impl Serialize for TopicId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TopicId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The number by which clients know a node. Node ids come from the configuration, which admits what fits.
#[must_use]
pub fn broker_id(node: NodeId) -> i32 {
    i32::try_from(node.0).unwrap_or(-1)
}

/// The numbers by which clients know these nodes.
#[must_use]
pub fn broker_ids(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().copied().map(broker_id).collect()
}

/// The node with this broker id; nothing for a negative one.
#[must_use]
pub fn node_id(broker: i32) -> Option<NodeId> {
    u64::try_from(broker).ok().map(NodeId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Debug)]
    struct Counter(AtomicU64);

    impl Rng for Counter {
        fn next_u64(&self) -> u64 {
            self.0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        }
    }

    #[test]
    fn text_and_bytes_read_back_as_the_same_id() {
        let rng = Counter(AtomicU64::new(1));
        for _ in 0..1000 {
            let id = TopicId::random(&rng);
            let text = id.to_string();
            assert_eq!(text.len(), 22);
            assert!(!text.starts_with('-'), "{text}");
            assert_eq!(text.parse(), Ok(id));
            assert_eq!(TopicId::from_wire(id.to_wire()), Some(id));
            assert_eq!(id.to_wire().0[6] >> 4, 4, "version 4");
            assert_eq!(id.to_wire().0[8] >> 6, 2, "variant of RFC 9562");
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "AAAAAAAAAAAAAAAAAAAAAA",
            "AAECAwQFBgcICQoLDA0OD",
            "AAECAwQFBgcICQoLDA0ODx",
            "AAECAwQFBgcICQoLDA0OD=",
        ] {
            assert!(text.parse::<TopicId>().is_err(), "{text}");
        }
        let known: TopicId = "AAECAwQFBgcICQoLDA0ODw".parse().unwrap();
        assert_eq!(known.to_wire().0.to_vec(), (0..16).collect::<Vec<u8>>());
    }
}
