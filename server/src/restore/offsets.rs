//! Committed offsets on their way into a new cluster.

use crate::group::backup::Newest;
use crate::group::record::{BadRecord, GroupMetadataValue, StateRecord};
use bytes::Bytes;
use chronik_core::Offset;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A committed offset, before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What the group had committed.
    pub before: i64,
    /// Where it goes on.
    pub after: i64,
    /// When that was copied, in wall milliseconds.
    pub copied_at_ms: i64,
}

/// The records of a copy as the new cluster begins with them: a group goes on where it had committed, or at the end of what
/// can be had again, whichever comes first; its members are gone, and join again.
pub(super) fn reset(
    copy: &Bytes,
    copied_at_ms: i64,
    wall_ms: i64,
    ends: &BTreeMap<(&str, i32), Offset>,
) -> Result<(Bytes, Vec<Committed>), BadRecord> {
    let mut committed = Vec::new();
    let mut newest = Newest::default();
    newest.add(copy, 0)?;
    let records = newest.pack(wall_ms, |record| match record {
        StateRecord::Offset {
            key,
            value: Some(mut value),
        } => {
            let end = ends
                .get(&(&*key.topic, key.partition))
                .map_or(i64::MAX, |end| end.0);
            let before = value.offset;
            if before > end {
                // The epoch of a record that is gone would make the consumer look for it.
                (value.offset, value.leader_epoch) = (end, -1);
            }
            committed.push(Committed {
                group: key.group.to_string(),
                topic: key.topic.to_string(),
                partition: key.partition,
                before,
                after: value.offset,
                copied_at_ms,
            });
            Some(StateRecord::Offset {
                key,
                value: Some(value),
            })
        }
        StateRecord::Group {
            group,
            value: Some(value),
        } => {
            let empty = GroupMetadataValue {
                protocol: None,
                leader: None,
                members: Vec::new(),
                ..(*value).clone()
            };
            Some(StateRecord::Group {
                group,
                value: Some(Arc::new(empty)),
            })
        }
        _ => None,
    })?;
    Ok((records.freeze(), committed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::batch::{decode_batches, encode_batch};
    use crate::group::record::OffsetCommitValue;
    use crate::kafka::wire::Uuid;

    #[test]
    fn a_group_goes_on_where_it_was_or_at_the_end_of_what_is_left() {
        let commit = |partition, offset, leader_epoch| {
            let value = OffsetCommitValue {
                offset,
                leader_epoch,
                metadata: "".into(),
                commit_timestamp: 1,
                expire_timestamp: -1,
                topic_id: Uuid::ZERO,
            };
            StateRecord::offset(&"g".into(), &"t".into(), partition, value)
        };
        let before = [commit(0, 90, 4), commit(1, 120, 4), commit(2, 7, 4)];
        let copy = encode_batch(1, &before).unwrap().freeze();
        let ends = BTreeMap::from([(("t", 0), Offset(100)), (("t", 1), Offset(100))]);
        let (records, committed) = reset(&copy, 7, 2, &ends).unwrap();
        let mut after = Vec::new();
        decode_batches(&records, 0, |record| after.push(record)).unwrap();
        assert_eq!(after, [commit(0, 90, 4), commit(1, 100, -1), commit(2, 7, 4)]);
        let moved: Vec<_> = committed.iter().map(|one| (one.before, one.after)).collect();
        assert_eq!(moved, [(90, 90), (120, 100), (7, 7)]);
        assert!(committed.iter().all(|one| one.copied_at_ms == 7));
    }
}
