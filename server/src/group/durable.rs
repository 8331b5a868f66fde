//! What the log of one offsets partition says: the groups and their committed offsets.

use super::record::{GroupMetadataValue, OffsetCommitValue, StateRecord, group_size, offset_size};
use crate::kafka::wire::KafkaString;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Offsets by topic and partition.
pub type Offsets = BTreeMap<KafkaString, BTreeMap<i32, OffsetCommitValue>>;

/// One group as the log has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DurableGroup {
    /// The last generation that was completed; `None` for a group that only committed offsets.
    pub metadata: Option<Arc<GroupMetadataValue>>,
    /// The committed offsets.
    pub offsets: Offsets,
}

/// The state that the records of the log add up to.
///
/// Only [`apply`](Self::apply) changes it, for a record that was just committed as for one that is replayed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DurableState {
    groups: BTreeMap<KafkaString, DurableGroup>,
    live_bytes: u64,
}

impl DurableState {
    /// Applies one committed record. Reads no clock.
    pub fn apply(&mut self, record: &StateRecord) {
        match record {
            StateRecord::Offset { key, value } => {
                self.apply_offset(&key.group, &key.topic, key.partition, value.as_ref());
            }
            StateRecord::Group { group, value } => self.apply_group(group, value.as_ref()),
        }
    }

    fn apply_offset(
        &mut self,
        id: &KafkaString,
        topic: &KafkaString,
        partition: i32,
        value: Option<&OffsetCommitValue>,
    ) {
        let old = match value {
            Some(value) => {
                self.live_bytes += offset_size(id, topic, Some(value)) as u64;
                let group = self.groups.entry(id.clone()).or_default();
                let partitions = group.offsets.entry(topic.clone()).or_default();
                partitions.insert(partition, value.clone())
            }
            None => self.remove_offset(id, topic, partition),
        };
        if let Some(old) = old {
            self.live_bytes -= offset_size(id, topic, Some(&old)) as u64;
        }
    }

    fn remove_offset(&mut self, id: &str, topic: &str, partition: i32) -> Option<OffsetCommitValue> {
        let group = self.groups.get_mut(id)?;
        let partitions = group.offsets.get_mut(topic)?;
        let old = partitions.remove(&partition);
        if partitions.is_empty() {
            group.offsets.remove(topic);
        }
        self.forget_if_bare(id);
        old
    }

    fn apply_group(&mut self, id: &KafkaString, value: Option<&Arc<GroupMetadataValue>>) {
        let old = match value {
            Some(value) => {
                self.live_bytes += group_size(id, Some(value)) as u64;
                let group = self.groups.entry(id.clone()).or_default();
                group.metadata.replace(Arc::clone(value))
            }
            None => {
                let old = self.groups.get_mut(id).and_then(|group| group.metadata.take());
                self.forget_if_bare(id);
                old
            }
        };
        if let Some(old) = old {
            self.live_bytes -= group_size(id, Some(&old)) as u64;
        }
    }

    fn forget_if_bare(&mut self, id: &str) {
        let bare = |group: &DurableGroup| group.metadata.is_none() && group.offsets.is_empty();
        if self.groups.get(id).is_some_and(bare) {
            self.groups.remove(id);
        }
    }

    /// The group, if the log has anything of it.
    #[must_use]
    pub fn group(&self, id: &str) -> Option<&DurableGroup> {
        self.groups.get(id)
    }

    /// The offset that the group committed last.
    #[must_use]
    pub fn offset(&self, id: &str, topic: &str, partition: i32) -> Option<&OffsetCommitValue> {
        self.groups.get(id)?.offsets.get(topic)?.get(&partition)
    }

    /// Every group, in the order of the ids.
    pub fn groups(&self) -> impl Iterator<Item = (&KafkaString, &DurableGroup)> {
        self.groups.iter()
    }

    /// The groups whose id is not less than `from`.
    pub fn groups_from(&self, from: &KafkaString) -> impl Iterator<Item = (&KafkaString, &DurableGroup)> {
        self.groups.range(from.clone()..)
    }

    /// About how many bytes of records it takes to write the state anew.
    #[must_use]
    pub const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }
}
