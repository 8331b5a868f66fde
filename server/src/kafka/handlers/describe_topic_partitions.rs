//! DescribeTopicPartitions.

use crate::cluster::context::ControlContext;
use crate::cluster::names::check_topic_name;
use crate::cluster::state::{Partition, Topic, is_internal};
use crate::cluster::{authorized, ids};
use crate::kafka::api::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use crate::kafka::wire::{ErrorCode, KafkaString};
use std::collections::BTreeSet;

/// The largest page, whatever the client asks for (Kafka: max.request.partition.size.limit).
const MAX_PAGE_PARTITIONS: i32 = 2000;

/// Describes topics in the order of their names, at most a page of partitions; the cursor says where the next page
/// starts.
pub async fn handle(
    context: &ControlContext,
    request: DescribeTopicPartitionsRequest,
    _version: i16,
) -> DescribeTopicPartitionsResponse {
    let all = request.topics.is_empty();
    let asked: BTreeSet<KafkaString> = request.topics.into_iter().map(|topic| topic.name).collect();
    let cursor = request.cursor;
    if let Some(cursor) = &cursor
        && (cursor.partition_index < 0 || !(all || asked.contains(&cursor.topic_name)))
    {
        return refused(asked);
    }
    let from = cursor
        .as_ref()
        .map_or_else(KafkaString::default, |cursor| cursor.topic_name.clone());
    let image = context.controller.image();
    let names: Vec<KafkaString> = if all {
        let names = image.state.topics().keys();
        names
            .filter(|name| ***name >= *from)
            .map(|name| KafkaString::from(&**name))
            .collect()
    } else {
        asked.into_iter().filter(|name| *name >= from).collect()
    };
    let room = request.response_partition_limit.clamp(1, MAX_PAGE_PARTITIONS);
    let mut page = Page {
        context,
        room: usize::try_from(room).unwrap_or(1),
        response: DescribeTopicPartitionsResponse::default(),
    };
    for name in names {
        let start = cursor
            .as_ref()
            .filter(|cursor| cursor.topic_name == name)
            .map_or(0, |cursor| cursor.partition_index);
        let topic = image.state.topic(&name).map(|topic| &**topic);
        if page.is_full_after(name, topic, usize::try_from(start).unwrap_or(0)) {
            break;
        }
    }
    page.response
}

/// A cursor that points nowhere.
fn refused(topics: BTreeSet<KafkaString>) -> DescribeTopicPartitionsResponse {
    let refused = |name| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::INVALID_REQUEST,
        name: Some(name),
        ..DescribeTopicPartitionsResponseTopic::default()
    };
    DescribeTopicPartitionsResponse {
        topics: topics.into_iter().map(refused).collect(),
        ..DescribeTopicPartitionsResponse::default()
    }
}

struct Page<'a> {
    context: &'a ControlContext,
    room: usize,
    response: DescribeTopicPartitionsResponse,
}

impl Page<'_> {
    /// Adds a topic from a partition on, as far as there is room; true where the page ends.
    fn is_full_after(&mut self, name: KafkaString, topic: Option<&Topic>, start: usize) -> bool {
        let partition_index = match topic {
            _ if self.room == 0 => Some(0),
            None => {
                self.response.topics.push(missing(name.clone()));
                None
            }
            Some(topic) => self.add(topic, start),
        };
        self.response.next_cursor = partition_index.map(|index| Cursor {
            topic_name: name,
            partition_index: i32::try_from(index).unwrap_or(i32::MAX),
        });
        self.response.next_cursor.is_some()
    }

    /// Where the next page starts, if this one ends inside the topic.
    fn add(&mut self, topic: &Topic, start: usize) -> Option<usize> {
        let partitions = topic.partitions.iter().zip(0..).skip(start).take(self.room);
        let partitions: Vec<_> = partitions
            .map(|(partition, index)| self.describe(partition, index))
            .collect();
        self.room -= partitions.len();
        let end = start.saturating_add(partitions.len());
        self.response.topics.push(DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::NONE,
            name: Some((&*topic.name).into()),
            topic_id: topic.id.to_wire(),
            is_internal: topic.is_internal(),
            partitions,
            topic_authorized_operations: authorized::TOPIC,
        });
        (end < topic.partitions.len()).then_some(end)
    }

    fn describe(&self, partition: &Partition, index: i32) -> DescribeTopicPartitionsResponsePartition {
        let view = self
            .context
            .leaders
            .partition(partition.group())
            .unwrap_or_default();
        let leader_id = view.leader.map_or(-1, ids::broker_id);
        let replicas = partition.replicas().iter();
        DescribeTopicPartitionsResponsePartition {
            error_code: if leader_id < 0 {
                ErrorCode::LEADER_NOT_AVAILABLE
            } else {
                ErrorCode::NONE
            },
            partition_index: index,
            leader_id,
            leader_epoch: view.leader_epoch,
            replica_nodes: replicas.map(|replica| ids::broker_id(replica.node())).collect(),
            isr_nodes: ids::broker_ids(&view.in_sync),
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: ids::broker_ids(&self.context.offline(partition)),
        }
    }
}

fn missing(name: KafkaString) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: if check_topic_name(&name).is_ok() {
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        } else {
            ErrorCode::INVALID_TOPIC_EXCEPTION
        },
        is_internal: is_internal(&name),
        name: Some(name),
        topic_authorized_operations: authorized::TOPIC,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}
