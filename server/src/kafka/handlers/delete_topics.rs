//! DeleteTopics.

use super::create_topics::duplicates;
use crate::cluster::context::ControlContext;
use crate::cluster::join::join_all;
use crate::cluster::kafka_error::KafkaError;
use crate::cluster::state::{Refusal, Topic};
use crate::cluster::{ControlError, TopicId};
use crate::kafka::api::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Deletes topics side by side, by name (all versions) or by id (from version 6).
pub async fn handle(
    context: &ControlContext,
    request: DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    let topics: Vec<DeleteTopicState> = if version >= 6 {
        request.topics
    } else {
        let by_name = |name| DeleteTopicState {
            name: Some(name),
            topic_id: Uuid::ZERO,
        };
        request.topic_names.into_iter().map(by_name).collect()
    };
    let twice = Duplicates {
        names: duplicates(topics.iter().filter_map(|topic| topic.name.as_ref())),
        ids: duplicates(
            topics
                .iter()
                .map(|topic| &topic.topic_id)
                .filter(|id| !id.is_zero()),
        ),
    };
    let mut reported = BTreeSet::new();
    let mut work: Vec<chronik_core::BoxFuture<'_, DeletableTopicResult>> = Vec::new();
    for topic in topics {
        // One answer for a topic that is named twice.
        if !twice.has(&topic) || reported.insert((topic.name.clone(), topic.topic_id)) {
            work.push(Box::pin(delete(context, topic, request.timeout_ms, &twice)));
        }
    }
    DeleteTopicsResponse {
        throttle_time_ms: 0,
        responses: join_all(work).await,
    }
}

struct Duplicates {
    names: BTreeSet<KafkaString>,
    ids: BTreeSet<Uuid>,
}

impl Duplicates {
    fn has(&self, topic: &DeleteTopicState) -> bool {
        topic.name.as_ref().is_some_and(|name| self.names.contains(name))
            || self.ids.contains(&topic.topic_id)
    }
}

async fn delete(
    context: &ControlContext,
    topic: DeleteTopicState,
    timeout_ms: i32,
    twice: &Duplicates,
) -> DeletableTopicResult {
    let mut result = DeletableTopicResult {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        ..DeletableTopicResult::default()
    };
    let deleted = match find(context, &topic, twice) {
        Ok(found) => {
            // The answer names the topic both ways, however it was asked for.
            result.name = Some((&*found.name).into());
            result.topic_id = found.id.to_wire();
            context
                .within(timeout_ms, remove(context, found.id, topic.name.is_some()))
                .await
        }
        Err(error) => Err(error),
    };
    match deleted {
        Ok(topic) => log::info!("event=topic_deleted topic={} id={}", topic.name, topic.id),
        Err(error) => {
            result.error_code = error.code;
            result.error_message = error.text();
        }
    }
    result
}

fn find(
    context: &ControlContext,
    topic: &DeleteTopicState,
    twice: &Duplicates,
) -> Result<Arc<Topic>, KafkaError> {
    let invalid = |what: &str| Err(KafkaError::new(ErrorCode::INVALID_REQUEST, what));
    let image = context.controller.image();
    let found = match (&topic.name, TopicId::from_wire(topic.topic_id)) {
        (Some(_), Some(_)) => return invalid("You may not specify both topic name and topic id."),
        (None, None) => return invalid("Neither topic name nor id were specified."),
        (Some(name), None) if twice.names.contains(name) => return invalid("Duplicate topic name."),
        (None, Some(_)) if twice.ids.contains(&topic.topic_id) => return invalid("Duplicate topic id."),
        (Some(name), None) => image.state.topic(name),
        (None, Some(id)) => image.state.topic_by_id(id),
    };
    match found {
        Some(found) if found.is_internal() => Err(KafkaError::internal_topic(&found.name)),
        Some(found) => Ok(Arc::clone(found)),
        None => Err(unknown(topic.name.is_some())),
    }
}

async fn remove(context: &ControlContext, id: TopicId, by_name: bool) -> Result<Arc<Topic>, KafkaError> {
    match context.controller.delete_topic(id).await {
        Err(ControlError::Refused(Refusal::UnknownTopic)) => Err(unknown(by_name)),
        other => Ok(other?),
    }
}

fn unknown(by_name: bool) -> KafkaError {
    if by_name {
        KafkaError::unknown_topic()
    } else {
        let what = "This server does not host this topic ID.";
        KafkaError::new(ErrorCode::UNKNOWN_TOPIC_ID, what)
    }
}
