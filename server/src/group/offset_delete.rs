//! OffsetDelete, and the offsets of topics that were deleted.

use super::classic::GroupState;
use super::machine::{Machine, Now};
use super::pending::{Answer, ReplyId, Then};
use super::record::{OffsetCommitKey, OffsetCommitValue, StateRecord};
use super::subscription::CONSUMER_PROTOCOL_TYPE;
use crate::kafka::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};

impl Machine {
    /// Handles OffsetDelete for topics that exist. The answer waits until the removal is in the log.
    pub fn delete_offsets(&mut self, now: Now, request: &OffsetDeleteRequest, to: ReplyId) {
        if let Err(error) = self.check_offset_delete(&request.group_id) {
            let response = OffsetDeleteResponse {
                error_code: error,
                ..Default::default()
            };
            return self.reply(to, Answer::OffsetDelete(response));
        }
        let group = &request.group_id;
        let subscribed = |topic: &str| {
            self.group(group)
                .is_some_and(|group| group.is_subscribed_to(topic))
        };
        let mut records = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let error = if subscribed(&topic.name) {
                ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
            } else {
                ErrorCode::NONE
            };
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let exists = self.durable.offset(group, &topic.name, index).is_some();
                let in_flight = |(key, _): (&OffsetCommitKey, _)| {
                    key.group == *group && key.topic == topic.name && key.partition == index
                };
                if error == ErrorCode::NONE && (exists || self.commits_in_flight().any(in_flight)) {
                    records.push(StateRecord::offset_tombstone(group, &topic.name, index));
                }
                partitions.push(OffsetDeleteResponsePartition {
                    partition_index: index,
                    error_code: error,
                });
            }
            topics.push(OffsetDeleteResponseTopic {
                name: topic.name.clone(),
                partitions,
            });
        }
        let answer = Answer::OffsetDelete(OffsetDeleteResponse {
            topics,
            ..Default::default()
        });
        if records.is_empty() {
            self.reply(to, answer);
        } else {
            self.append(now, records, Then::Reply { to, answer });
        }
    }

    /// Offsets may go if the group is empty, or if it can be told which topics its members use.
    fn check_offset_delete(&self, id: &str) -> Result<(), ErrorCode> {
        match self.group(id) {
            None if self.durable.group(id).is_none() => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            Some(group)
                if group.state != GroupState::Empty
                    && group.protocol_type.as_deref() != Some(CONSUMER_PROTOCOL_TYPE) =>
            {
                Err(ErrorCode::NON_EMPTY_GROUP)
            }
            _ => Ok(()),
        }
    }

    /// The offsets that are on their way into the log.
    pub(super) fn commits_in_flight(&self) -> impl Iterator<Item = (&OffsetCommitKey, &OffsetCommitValue)> {
        let records = self.pending.iter().flat_map(|pending| &pending.records);
        records.filter_map(|record| match record {
            StateRecord::Offset { key, value } => Some((key, value.as_ref()?)),
            StateRecord::Group { .. } => None,
        })
    }

    /// Removes the offsets of topics that were deleted: those of that id, and those that were stored without one.
    pub fn topics_deleted(&mut self, now: Now, topics: &[(KafkaString, Uuid)], to: ReplyId) {
        let gone = |topic: &str, value: &OffsetCommitValue| {
            let same_id = |id: Uuid| value.topic_id.is_zero() || value.topic_id == id;
            topics.iter().any(|(name, id)| name == topic && same_id(*id))
        };
        let mut records = Vec::new();
        for (group, durable) in self.durable.groups() {
            for (topic, partitions) in &durable.offsets {
                let partitions = partitions.iter().filter(|(_, value)| gone(topic, value));
                records
                    .extend(partitions.map(|(index, _)| StateRecord::offset_tombstone(group, topic, *index)));
            }
        }
        for (key, _) in self
            .commits_in_flight()
            .filter(|(key, value)| gone(&key.topic, value))
        {
            records.push(StateRecord::offset_tombstone(
                &key.group,
                &key.topic,
                key.partition,
            ));
        }
        let mark = self.next_append();
        self.append_in_batches(now, records);
        self.reply_behind(mark, to, Answer::TopicsDeleted(ErrorCode::NONE));
    }

    /// Sends records to the log that need not stand or fall together.
    pub(super) fn append_in_batches(&mut self, now: Now, records: Vec<StateRecord>) {
        let limit = self.limits.max_batch_bytes;
        let (mut batch, mut size) = (Vec::new(), 0);
        for record in records {
            size += record.size();
            if size > limit && !batch.is_empty() {
                self.append(now, std::mem::take(&mut batch), Then::Nothing);
                size = record.size();
            }
            batch.push(record);
        }
        if !batch.is_empty() {
            self.append(now, batch, Then::Nothing);
        }
    }
}
