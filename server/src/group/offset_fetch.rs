//! OffsetFetch: the offsets that a group committed.

use super::durable::Offsets;
use super::machine::Machine;
use super::pending::{Answer, ReplyId};
use super::record::OffsetCommitValue;
use crate::kafka::api::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};
use crate::kafka::wire::Uuid;

/// The offset of a partition that nothing was committed for.
const NO_OFFSET: i64 = -1;
/// The leader epoch of an offset that has none.
const NO_LEADER_EPOCH: i32 = -1;

impl Machine {
    /// Handles OffsetFetch for one group. Commits that are not in the log yet are not seen; with `stable`, the answer waits
    /// for those that were made before.
    pub fn fetch_offsets(&mut self, request: OffsetFetchRequestGroup, stable: bool, to: ReplyId) {
        match self.pending.back_mut().filter(|_| stable) {
            Some(last) => last.readers.push((to, request)),
            None => {
                let answer = self.offsets_of(&request);
                self.reply(to, Answer::OffsetFetch(answer));
            }
        }
    }

    /// What is committed and applied now.
    #[must_use]
    pub fn offsets_of(&self, request: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
        let offsets = self.durable.group(&request.group_id).map(|group| &group.offsets);
        let topics = match &request.topics {
            None => offsets.map(every_topic).unwrap_or_default(),
            Some(topics) => {
                let topics = topics.iter().map(|topic| OffsetFetchResponseTopics {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partitions: topic
                        .partition_indexes
                        .iter()
                        .map(|&partition| {
                            let value = offsets.and_then(|offsets| offsets.get(&topic.name)?.get(&partition));
                            // The offset may belong to an earlier topic of that name.
                            let value = value.filter(|value| same_topic(value.topic_id, topic.topic_id));
                            response(partition, value)
                        })
                        .collect(),
                });
                topics.collect()
            }
        };
        OffsetFetchResponseGroup {
            group_id: request.group_id.clone(),
            topics,
            ..Default::default()
        }
    }
}

/// Whether two ids can be of the same topic; an unknown one can.
pub(super) fn same_topic(ours: Uuid, theirs: Uuid) -> bool {
    ours.is_zero() || theirs.is_zero() || ours == theirs
}

/// All offsets. Those that were committed to different topics of the same name stand apart, next to each other.
fn every_topic(offsets: &Offsets) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::with_capacity(offsets.len());
    for (name, partitions) in offsets {
        let first = topics.len();
        for (partition, value) in partitions {
            let partition = response(*partition, Some(value));
            let same = topics
                .iter_mut()
                .skip(first)
                .find(|topic| topic.topic_id == value.topic_id);
            match same {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(OffsetFetchResponseTopics {
                    name: name.clone(),
                    topic_id: value.topic_id,
                    partitions: vec![partition],
                }),
            }
        }
    }
    topics
}

fn response(partition: i32, value: Option<&OffsetCommitValue>) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: partition,
        committed_offset: value.map_or(NO_OFFSET, |value| value.offset),
        committed_leader_epoch: value.map_or(NO_LEADER_EPOCH, |value| value.leader_epoch),
        metadata: Some(value.map(|value| value.metadata.clone()).unwrap_or_default()),
        ..Default::default()
    }
}
