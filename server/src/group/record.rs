//! The records of `__consumer_offsets`, in Kafka's own format.
//!
//! A key starts with a type: 0 and 1 are a committed offset, 2 is the metadata of a classic group; others belong to features
//! that this broker lacks and are passed over. A value starts with the version of its schema; no value is a tombstone.
//! Source: the schemas `OffsetCommitKey`, `OffsetCommitValue`, `GroupMetadataKey`, `GroupMetadataValue` of Kafka 4.3.

use crate::kafka::wire::codec::{Version, Wire};
use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{KafkaString, Reader, Uuid, WireError, Writer};
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::sync::Arc;

/// Key types that hold a committed offset; 0 is an older form with the same fields.
const OFFSET_KEY_TYPES: std::ops::RangeInclusive<i16> = 0..=1;
/// The key type of a committed offset as it is written.
const OFFSET_KEY_TYPE: i16 = 1;
/// The key type of the metadata of a classic group.
const GROUP_KEY_TYPE: i16 = 2;
/// The newest schema of either value.
const MAX_VALUE_VERSION: i16 = 4;
/// The first schema of either value with compact encodings.
const FLEXIBLE_VALUE_VERSION: i16 = 4;
/// The schema of an offset that carries its own time of expiry: a later one cannot.
const OFFSET_VALUE_WITH_EXPIRY: i16 = 1;
/// The schema of any other offset: the first with a topic id.
const OFFSET_VALUE: i16 = 4;
/// The schema of group metadata, the one that Kafka 4.3 writes.
const GROUP_VALUE: i16 = 3;
/// What a key adds to its strings, and a value to its fields, at most.
const RECORD_OVERHEAD: usize = 64;

wire_struct! {
    /// The key of a committed offset.
    pub struct OffsetCommitKey {
        group: KafkaString;
        topic: KafkaString;
        partition: i32;
    }
}

wire_struct! {
    /// A committed offset.
    pub struct OffsetCommitValue {
        offset: i64;
        leader_epoch: i32, versions 3.., default -1;
        metadata: KafkaString;
        commit_timestamp: i64;
        expire_timestamp: i64, versions 1..=1, default -1;
        topic_id: Uuid, versions 4.., tag 0;
    }
}

wire_struct! {
    /// The key of a group's metadata.
    pub struct GroupMetadataKey {
        group: KafkaString;
    }
}

wire_struct! {
    /// The metadata of a group at the end of a rebalance.
    pub struct GroupMetadataValue {
        protocol_type: KafkaString;
        generation: i32;
        protocol: Option<KafkaString>;
        leader: Option<KafkaString>;
        current_state_timestamp: i64, versions 2.., default -1;
        members: Vec<MemberMetadata>;
    }
}

wire_struct! {
    /// A member of a group.
    pub struct MemberMetadata {
        member_id: KafkaString;
        group_instance_id: Option<KafkaString>, versions 3..;
        client_id: KafkaString;
        client_host: KafkaString;
        rebalance_timeout: i32, versions 1.., default -1;
        session_timeout: i32;
        subscription: Bytes;
        assignment: Bytes;
    }
}

/// One change of the durable state.
#[derive(Clone, Debug, PartialEq)]
pub enum StateRecord {
    /// An offset was committed, or removed where there is no value.
    Offset {
        /// Whose offset it is.
        key: OffsetCommitKey,
        /// The offset.
        value: Option<OffsetCommitValue>,
    },
    /// A group entered a generation, or was removed where there is no value.
    Group {
        /// Which group.
        group: KafkaString,
        /// Its metadata.
        value: Option<Arc<GroupMetadataValue>>,
    },
}

/// Why a record could not be read.
#[derive(Debug, Clone, PartialEq)]
pub struct BadRecord(pub String);

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<WireError> for BadRecord {
    fn from(error: WireError) -> Self {
        Self(error.to_string())
    }
}

impl StateRecord {
    /// A committed offset.
    #[must_use]
    pub fn offset(
        group: &KafkaString,
        topic: &KafkaString,
        partition: i32,
        value: OffsetCommitValue,
    ) -> Self {
        Self::Offset {
            key: OffsetCommitKey {
                group: group.clone(),
                topic: topic.clone(),
                partition,
            },
            value: Some(value),
        }
    }

    /// The removal of a committed offset.
    #[must_use]
    pub fn offset_tombstone(group: &KafkaString, topic: &KafkaString, partition: i32) -> Self {
        Self::Offset {
            key: OffsetCommitKey {
                group: group.clone(),
                topic: topic.clone(),
                partition,
            },
            value: None,
        }
    }

    /// Whether two records speak of the same thing, so that the later one replaces the earlier.
    #[must_use]
    pub fn same_key(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Offset { key, .. }, Self::Offset { key: other, .. }) => key == other,
            (Self::Group { group, .. }, Self::Group { group: other, .. }) => group == other,
            _ => false,
        }
    }

    /// About how many bytes the record takes in the log.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Offset { key, value } => offset_size(&key.group, &key.topic, value.as_ref()),
            Self::Group { group, value } => group_size(group, value.as_deref()),
        }
    }

    /// The bytes of the record's key and value.
    ///
    /// # Errors
    /// A string is longer than the format allows.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), WireError> {
        match self {
            Self::Offset { key, value } => {
                let value = value.as_ref().map(|value| {
                    let expires = value.expire_timestamp != -1;
                    encode(
                        if expires {
                            OFFSET_VALUE_WITH_EXPIRY
                        } else {
                            OFFSET_VALUE
                        },
                        value,
                    )
                });
                Ok((encode_key(OFFSET_KEY_TYPE, key)?, value.transpose()?))
            }
            Self::Group { group, value } => {
                let key = GroupMetadataKey { group: group.clone() };
                let value = value.as_ref().map(|value| encode(GROUP_VALUE, value.as_ref()));
                Ok((encode_key(GROUP_KEY_TYPE, &key)?, value.transpose()?))
            }
        }
    }

    /// Reads a record; `None` for one of a type that this broker does not know.
    ///
    /// # Errors
    /// The bytes are not such a record.
    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<Self>, BadRecord> {
        let Some(key) = key else {
            return Err(BadRecord("a record has no key".into()));
        };
        let mut key = Reader::new(BytesMut::from(key));
        match key.i16()? {
            kind if OFFSET_KEY_TYPES.contains(&kind) => Ok(Some(Self::Offset {
                key: OffsetCommitKey::read(&mut key, version(0))?,
                value: value.map(decode_value).transpose()?,
            })),
            GROUP_KEY_TYPE => Ok(Some(Self::Group {
                group: GroupMetadataKey::read(&mut key, version(0))?.group,
                value: value.map(decode_value).transpose()?.map(Arc::new),
            })),
            _ => Ok(None),
        }
    }
}

/// About how many bytes a committed offset takes in the log.
#[must_use]
pub fn offset_size(group: &str, topic: &str, value: Option<&OffsetCommitValue>) -> usize {
    RECORD_OVERHEAD + group.len() + topic.len() + value.map_or(0, |value| value.metadata.len())
}

/// About how many bytes the metadata of a group takes in the log.
#[must_use]
pub fn group_size(group: &str, value: Option<&GroupMetadataValue>) -> usize {
    let fields = value.map_or(0, |value| {
        let members = value.members.iter().map(MemberMetadata::size).sum::<usize>();
        value.protocol_type.len() + len(&value.protocol) + len(&value.leader) + members
    });
    RECORD_OVERHEAD + group.len() + fields
}

fn len(string: &Option<KafkaString>) -> usize {
    string.as_ref().map_or(0, |string| string.len())
}

impl MemberMetadata {
    fn size(&self) -> usize {
        RECORD_OVERHEAD
            + self.member_id.len()
            + len(&self.group_instance_id)
            + self.client_id.len()
            + self.client_host.len()
            + self.subscription.len()
            + self.assignment.len()
    }
}

const fn version(api: i16) -> Version {
    Version {
        api,
        flexible: api >= FLEXIBLE_VALUE_VERSION,
    }
}

fn encode_key(kind: i16, key: &impl Wire) -> Result<Bytes, WireError> {
    write(kind, key, version(0))
}

fn encode(schema: i16, value: &impl Wire) -> Result<Bytes, WireError> {
    write(schema, value, version(schema))
}

fn write(prefix: i16, value: &impl Wire, version: Version) -> Result<Bytes, WireError> {
    let mut writer = Writer::new(RECORD_OVERHEAD);
    writer.i16(prefix);
    value.write(&mut writer, version)?;
    let mut frame = writer.finish()?.into_bytes();
    // A frame starts with its length, which a record does not have.
    Ok(frame.split_off(crate::kafka::wire::frame::FRAME_PREFIX_LEN))
}

fn decode_value<T: Wire>(bytes: &[u8]) -> Result<T, BadRecord> {
    let mut reader = Reader::new(BytesMut::from(bytes));
    let schema = reader.i16()?;
    if !(0..=MAX_VALUE_VERSION).contains(&schema) {
        return Err(BadRecord(format!(
            "a value has the unknown schema version {schema}"
        )));
    }
    Ok(T::read(&mut reader, version(schema))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(record: &StateRecord) {
        let (key, value) = record.encode().unwrap();
        let back = StateRecord::decode(Some(&key), value.as_deref()).unwrap();
        assert_eq!(back.as_ref(), Some(record));
    }

    fn offset_value() -> OffsetCommitValue {
        OffsetCommitValue {
            offset: 42,
            leader_epoch: 7,
            metadata: "meta".into(),
            commit_timestamp: 1_700_000_000_000,
            expire_timestamp: -1,
            topic_id: Uuid::from_u128(99),
        }
    }

    #[test]
    fn records_read_back_as_they_were_written() {
        round_trip(&StateRecord::offset(&"g".into(), &"t".into(), 3, offset_value()));
        round_trip(&StateRecord::offset_tombstone(&"g".into(), &"t".into(), 3));
        let group = GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation: 5,
            protocol: Some("range".into()),
            leader: Some("m-1".into()),
            current_state_timestamp: 12,
            members: vec![MemberMetadata {
                member_id: "m-1".into(),
                group_instance_id: Some("i".into()),
                client_id: "c".into(),
                client_host: "/127.0.0.1".into(),
                rebalance_timeout: 60_000,
                session_timeout: 10_000,
                subscription: Bytes::from_static(b"sub"),
                assignment: Bytes::from_static(b"asg"),
            }],
        };
        round_trip(&StateRecord::Group {
            group: "g".into(),
            value: Some(Arc::new(group)),
        });
        round_trip(&StateRecord::Group {
            group: "g".into(),
            value: None,
        });
    }

    #[test]
    fn the_bytes_are_those_of_kafka() {
        let (key, value) = StateRecord::offset(&"g".into(), &"t".into(), 3, offset_value())
            .encode()
            .unwrap();
        assert_eq!(&key[..], b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x03");
        let mut expected = b"\x00\x04\0\0\0\0\0\0\0\x2a\0\0\0\x07\x05meta".to_vec();
        expected.extend_from_slice(&1_700_000_000_000_i64.to_be_bytes());
        expected.extend_from_slice(b"\x01\x00\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x63");
        assert_eq!(&value.unwrap()[..], &expected[..]);
        let (key, _) = StateRecord::Group {
            group: "g".into(),
            value: None,
        }
        .encode()
        .unwrap();
        assert_eq!(&key[..], b"\x00\x02\x00\x01g");
    }

    #[test]
    fn an_offset_with_its_own_expiry_is_written_in_the_schema_that_has_it() {
        let value = OffsetCommitValue {
            expire_timestamp: 77,
            ..offset_value()
        };
        let record = StateRecord::offset(&"g".into(), &"t".into(), 0, value);
        let (key, bytes) = record.encode().unwrap();
        assert_eq!(&bytes.as_ref().unwrap()[..2], b"\x00\x01");
        let Some(StateRecord::Offset {
            value: Some(back), ..
        }) = StateRecord::decode(Some(&key), bytes.as_deref()).unwrap()
        else {
            panic!("not an offset");
        };
        assert_eq!((back.offset, back.expire_timestamp), (42, 77));
        assert_eq!(
            (back.leader_epoch, back.topic_id),
            (-1, Uuid::ZERO),
            "not in that schema"
        );
    }

    #[test]
    fn foreign_and_damaged_records_are_told_apart() {
        assert_eq!(StateRecord::decode(Some(b"\x00\x03\x00\x01g"), None), Ok(None));
        assert!(StateRecord::decode(None, None).is_err());
        assert!(StateRecord::decode(Some(b"\x00"), None).is_err());
        assert!(StateRecord::decode(Some(b"\x00\x01\x7f\xff"), None).is_err());
        assert!(StateRecord::decode(Some(b"\x00\x02\x00\x01g"), Some(b"\x00\x09")).is_err());
    }
}
