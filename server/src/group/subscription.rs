//! The topics that a member of a consumer group subscribes to, read from its protocol metadata.

use crate::kafka::wire::{KafkaString, Reader};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeSet;

/// The protocol type of consumers; the metadata of other types is opaque.
pub(super) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// The topics of a consumer's subscription, `None` if the bytes are not one. Every version of the consumer protocol starts
/// with the fields of version 0, the only ones looked at.
pub(super) fn topics_of(metadata: &Bytes) -> Option<BTreeSet<KafkaString>> {
    let mut reader = Reader::new(BytesMut::from(&metadata[..]));
    let version = reader.i16().ok()?;
    if version < 0 {
        return None;
    }
    let count = reader.i32().ok()?;
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        topics.insert(reader.nullable_str(false).ok()??);
    }
    Some(topics)
}

/// The metadata of a consumer that subscribes to `topics`, as a client of version 0 sends it.
#[cfg(test)]
pub(super) fn metadata_of(topics: &[&str]) -> Bytes {
    let mut out = vec![0, 0];
    out.extend_from_slice(&(topics.len() as i32).to_be_bytes());
    for topic in topics {
        out.extend_from_slice(&(topic.len() as i16).to_be_bytes());
        out.extend_from_slice(topic.as_bytes());
    }
    out.extend_from_slice(&(-1i32).to_be_bytes());
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_from_a_subscription_and_garbage_is_not_one() {
        let topics = topics_of(&metadata_of(&["b", "a", "b"])).unwrap();
        assert_eq!(
            topics.iter().map(KafkaString::as_str).collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(topics_of(&metadata_of(&[])), Some(BTreeSet::new()));
        assert_eq!(topics_of(&Bytes::new()), None);
        assert_eq!(
            topics_of(&Bytes::from_static(b"\x00\x00\x7f\xff\xff\xff\x00")),
            None
        );
        assert_eq!(topics_of(&Bytes::from_static(b"\xff\xff\x00\x00\x00\x00")), None);
    }
}
