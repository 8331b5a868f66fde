//! Names of objects: where the segments of a partition lie in the bucket.

use chronik_core::{LogId, Offset};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// A partition, by the id that its topic keeps for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// The topic's id.
    pub topic_id: u128,
    /// The partition's number in its topic.
    pub partition: u32,
}

impl PartitionKey {
    /// The folder of the partition's objects. The first part spreads topics over the store's key space.
    #[must_use]
    pub fn folder(&self) -> String {
        let spread = crc32c::crc32c(&self.topic_id.to_le_bytes()) & 0xff;
        format!("p/{spread:02x}/{:032x}/{}", self.topic_id, self.partition)
    }

    /// The folder of the partition's segments.
    #[must_use]
    pub fn segments(&self) -> String {
        format!("{}/seg", self.folder())
    }

    /// The partition whose folder a key lies in.
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        let mut parts = key.split('/');
        if parts.next() != Some("p") {
            return None;
        }
        let spread = parts.next()?;
        let topic = parts.next().filter(|topic| topic.len() == 32)?;
        let found = Self {
            topic_id: u128::from_str_radix(topic, 16).ok()?,
            partition: parts.next()?.parse().ok()?,
        };
        let rest = found.folder();
        (rest.split('/').nth(1) == Some(spread)).then_some(found)
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}/{}", self.topic_id, self.partition)
    }
}

/// As it is displayed: the topic's id and the number.
impl FromStr for PartitionKey {
    type Err = NotAPartition;

    fn from_str(text: &str) -> Result<Self, NotAPartition> {
        let (topic, partition) = text.split_once('/').ok_or(NotAPartition)?;
        let parsed = Self {
            topic_id: u128::from_str_radix(topic, 16).map_err(|_| NotAPartition)?,
            partition: partition.parse().map_err(|_| NotAPartition)?,
        };
        (parsed.to_string() == text)
            .then_some(parsed)
            .ok_or(NotAPartition)
    }
}

/// A text that names no partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAPartition;

impl fmt::Display for NotAPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a topic id of 32 hexadecimal digits, a slash, and a number")
    }
}

impl std::error::Error for NotAPartition {}

/// What names a segment's object: two uploads of the same bytes have the same name, and nothing else has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SegmentKey {
    /// The partition.
    pub partition: PartitionKey,
    /// The offsets in it.
    pub offsets: Range<Offset>,
    /// Its last entry.
    pub last: LogId,
    /// The checksum of the whole object.
    pub crc: u32,
    /// 0, or a random number where the plain name may be about to be deleted.
    pub salt: u32,
}

/// The end of every segment's name.
const SUFFIX: &str = ".seg";

impl fmt::Display for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{:020}-{:020}-{:020}-{:08x}-{:08x}",
            self.partition.segments(),
            self.offsets.start.0,
            self.offsets.end.0,
            self.last.index.0,
            self.last.term.0,
            self.crc
        )?;
        if self.salt != 0 {
            write!(f, "-{:08x}", self.salt)?;
        }
        f.write_str(SUFFIX)
    }
}

/// A key that is not the name of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASegment;

impl FromStr for SegmentKey {
    type Err = NotASegment;

    fn from_str(key: &str) -> Result<Self, NotASegment> {
        parse(key)
            .filter(|parsed| parsed.to_string() == key)
            .ok_or(NotASegment)
    }
}

fn parse(key: &str) -> Option<SegmentKey> {
    let partition = PartitionKey::of_key(key)?;
    let (_, name) = key.rsplit_once('/')?;
    let mut parts = name.strip_suffix(SUFFIX)?.split('-');
    let start = parts.next()?.parse().ok()?;
    let end = parts.next()?.parse().ok()?;
    let index = parts.next()?.parse().ok()?;
    let term = u64::from_str_radix(parts.next()?, 16).ok()?;
    let crc = u32::from_str_radix(parts.next()?, 16).ok()?;
    let salt = match parts.next() {
        Some(salt) => u32::from_str_radix(salt, 16).ok()?,
        None => 0,
    };
    Some(SegmentKey {
        partition,
        offsets: Offset(start)..Offset(end),
        last: LogId::new(term, index),
        crc,
        salt,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(salt: u32) -> SegmentKey {
        SegmentKey {
            partition: PartitionKey {
                topic_id: 0xabc,
                partition: 7,
            },
            offsets: Offset(5)..Offset(90),
            last: LogId::new(3, 44),
            crc: 0xdead_beef,
            salt,
        }
    }

    #[test]
    fn a_name_says_all_that_is_in_the_key() {
        for salt in [0, 9] {
            let key = key(salt);
            assert_eq!(key.to_string().parse(), Ok(key));
        }
    }

    #[test]
    fn names_sort_by_offset() {
        let mut later = key(0);
        later.offsets = Offset(10)..Offset(90);
        assert!(key(0).to_string() < later.to_string());
    }

    #[test]
    fn foreign_names_are_not_segments() {
        let name = key(0).to_string();
        let upper = name.replace("deadbeef", "DEADBEEF");
        let foreign = [
            "",
            "p/",
            "p/00/zz/1/seg/x.seg",
            &name[1..],
            &upper,
            &format!("{name}x"),
        ];
        for foreign in foreign {
            assert_eq!(foreign.parse::<SegmentKey>(), Err(NotASegment), "{foreign}");
        }
    }
}
