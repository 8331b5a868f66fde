//! Metadata.

use crate::cluster::context::ControlContext;
use crate::cluster::join::join_all;
use crate::cluster::names::check_topic_name;
use crate::cluster::state::{OFFSETS_TOPIC, Partition, Topic, is_internal};
use crate::cluster::{ClusterImage, TopicId, authorized, ids};
use crate::kafka::api::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};
use chronik_core::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Describes the brokers, and the topics asked for. A topic that is not there is created, where the client and the
/// configuration allow it, and described once it takes requests.
pub async fn handle(context: &ControlContext, request: MetadataRequest, version: i16) -> MetadataResponse {
    let all = match &request.topics {
        None => true,
        // Version 0 has no null: an empty list is all topics there, and none from version 1 on.
        Some(topics) => version == 0 && topics.is_empty(),
    };
    let asked = request.topics.unwrap_or_default();
    let (topics, error_code) = if all {
        (all_topics(context), ErrorCode::NONE)
    } else if version < 12
        && asked
            .iter()
            .any(|topic| topic.name.is_none() || !topic.topic_id.is_zero())
    {
        (
            asked.into_iter().map(refused).collect(),
            ErrorCode::INVALID_REQUEST,
        )
    } else {
        let create = request.allow_auto_topic_creation && context.config.topics.auto_create;
        (some_topics(context, asked, create).await, ErrorCode::NONE)
    };
    let mut response = frame(context, topics, error_code);
    response.cluster_authorized_operations =
        authorized::operations(request.include_cluster_authorized_operations, authorized::CLUSTER);
    let of_topic = authorized::operations(request.include_topic_authorized_operations, authorized::TOPIC);
    for topic in &mut response.topics {
        topic.topic_authorized_operations = of_topic;
    }
    response
}

fn frame(
    context: &ControlContext,
    topics: Vec<MetadataResponseTopic>,
    error_code: ErrorCode,
) -> MetadataResponse {
    let image = context.controller.image();
    let brokers = image
        .state
        .brokers()
        .values()
        .filter(|broker| context.leaders.is_live(broker.node()))
        .map(|broker| MetadataResponseBroker {
            node_id: ids::broker_id(broker.node()),
            host: broker.host.as_str().into(),
            port: i32::from(broker.port),
            rack: broker.rack.as_deref().map(KafkaString::from),
        });
    MetadataResponse {
        throttle_time_ms: 0,
        brokers: brokers.collect(),
        cluster_id: image.state.cluster_id().map(|id| KafkaString::from(&**id)),
        controller_id: context.live_controller().map_or(-1, ids::broker_id),
        topics,
        cluster_authorized_operations: authorized::NOT_ASKED,
        error_code,
    }
}

fn all_topics(context: &ControlContext) -> Vec<MetadataResponseTopic> {
    let image = context.controller.image();
    let topics = image.state.topics().values();
    topics.map(|topic| describe(context, topic)).collect()
}

/// Each topic once, however often it was named. As in Kafka, names are ignored where there are ids.
async fn some_topics(
    context: &ControlContext,
    asked: Vec<MetadataRequestTopic>,
    create: bool,
) -> Vec<MetadataResponseTopic> {
    let ids: BTreeSet<Uuid> = asked
        .iter()
        .map(|topic| topic.topic_id)
        .filter(|id| !id.is_zero())
        .collect();
    if !ids.is_empty() {
        let image = context.controller.image();
        return ids.into_iter().map(|id| by_id(context, &image, id)).collect();
    }
    let mut seen = BTreeSet::new();
    let names = asked.into_iter().filter_map(|topic| topic.name);
    let names: Vec<KafkaString> = names.filter(|name| seen.insert(name.clone())).collect();
    let work = names
        .into_iter()
        .map(|name| -> BoxFuture<'_, MetadataResponseTopic> { Box::pin(by_name(context, name, create)) });
    join_all(work.collect()).await
}

fn by_id(context: &ControlContext, image: &ClusterImage, id: Uuid) -> MetadataResponseTopic {
    match TopicId::from_wire(id).and_then(|id| image.state.topic_by_id(id)) {
        Some(topic) => describe(context, topic),
        None => MetadataResponseTopic {
            error_code: ErrorCode::UNKNOWN_TOPIC_ID,
            name: None,
            topic_id: id,
            ..MetadataResponseTopic::default()
        },
    }
}

async fn by_name(context: &ControlContext, name: KafkaString, create: bool) -> MetadataResponseTopic {
    let known = context.controller.image().state.topic(&name).cloned();
    let topic: Result<Arc<Topic>, ErrorCode> = match known {
        Some(topic) => Ok(topic),
        None if check_topic_name(&name).is_err() => Err(ErrorCode::INVALID_TOPIC_EXCEPTION),
        // Of the internal topics only this one exists so far.
        None if !create || (is_internal(&name) && name != OFFSETS_TOPIC) => {
            Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        }
        None => match context.topic_on_first_use(&name).await {
            Ok(topic) => Ok(topic),
            Err(error) => {
                log::warn!(
                    "event=auto_create_failed topic={name} error={} why=\"{}\"",
                    error.code,
                    error.message
                );
                // Clients ask again for what they take to be on its way, and for nothing else.
                Err(match error.code {
                    ErrorCode::REQUEST_TIMED_OUT | ErrorCode::NOT_CONTROLLER => {
                        ErrorCode::LEADER_NOT_AVAILABLE
                    }
                    other => other,
                })
            }
        },
    };
    match topic {
        Ok(topic) => describe(context, &topic),
        Err(error_code) => MetadataResponseTopic {
            error_code,
            is_internal: is_internal(&name),
            name: Some(name),
            ..MetadataResponseTopic::default()
        },
    }
}

fn refused(topic: MetadataRequestTopic) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: ErrorCode::INVALID_REQUEST,
        // Null is allowed in answers of version 12 and later only.
        name: Some(topic.name.unwrap_or_default()),
        topic_id: topic.topic_id,
        ..MetadataResponseTopic::default()
    }
}

fn describe(context: &ControlContext, topic: &Topic) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().zip(0..);
    MetadataResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some((&*topic.name).into()),
        topic_id: topic.id.to_wire(),
        is_internal: topic.is_internal(),
        partitions: partitions
            .map(|(partition, index)| describe_partition(context, partition, index))
            .collect(),
        ..MetadataResponseTopic::default()
    }
}

fn describe_partition(
    context: &ControlContext,
    partition: &Partition,
    index: i32,
) -> MetadataResponsePartition {
    let view = context.leaders.partition(partition.group()).unwrap_or_default();
    let leader = view.leader.map_or(-1, ids::broker_id);
    MetadataResponsePartition {
        error_code: if leader < 0 {
            ErrorCode::LEADER_NOT_AVAILABLE
        } else {
            ErrorCode::NONE
        },
        partition_index: index,
        leader_id: leader,
        leader_epoch: view.leader_epoch,
        replica_nodes: partition
            .replicas()
            .iter()
            .map(|replica| ids::broker_id(replica.node()))
            .collect(),
        isr_nodes: ids::broker_ids(&view.in_sync),
        offline_replicas: ids::broker_ids(&context.offline(partition)),
    }
}
