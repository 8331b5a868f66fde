//! CreatePartitions.

use super::create_topics::{check_assignment, check_limit, duplicates};
use crate::cluster::context::ControlContext;
use crate::cluster::join::join_all;
use crate::cluster::kafka_error::KafkaError;
use crate::cluster::placement;
use crate::cluster::state::{Placement, State, Topic};
use crate::kafka::api::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};
use crate::kafka::wire::{ErrorCode, KafkaString};
use chronik_core::BoxFuture;

/// Adds partitions to topics side by side; the new ones take requests when a topic's result is a success.
pub async fn handle(
    context: &ControlContext,
    request: CreatePartitionsRequest,
    _version: i16,
) -> CreatePartitionsResponse {
    let CreatePartitionsRequest {
        topics,
        timeout_ms,
        validate_only,
    } = request;
    let twice = duplicates(topics.iter().map(|topic| &topic.name));
    let mut work: Vec<BoxFuture<'_, CreatePartitionsTopicResult>> = Vec::new();
    for topic in topics.into_iter().filter(|topic| !twice.contains(&topic.name)) {
        work.push(Box::pin(async move {
            let grown = context
                .within(timeout_ms, grow(context, &topic, validate_only))
                .await;
            result(topic.name, grown.err())
        }));
    }
    let mut results = join_all(work).await;
    results.extend(twice.into_iter().map(|name| {
        let error = KafkaError::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name.");
        result(name, Some(error))
    }));
    CreatePartitionsResponse {
        throttle_time_ms: 0,
        results,
    }
}

fn result(name: KafkaString, error: Option<KafkaError>) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult {
        name,
        error_code: error.as_ref().map_or(ErrorCode::NONE, |error| error.code),
        error_message: error.and_then(|error| error.text()),
    }
}

async fn grow(
    context: &ControlContext,
    request: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), KafkaError> {
    let image = context.controller.image();
    let topic = image
        .state
        .topic(&request.name)
        .ok_or_else(KafkaError::unknown_topic)?;
    if topic.is_internal() {
        return Err(KafkaError::internal_topic(&topic.name));
    }
    let placements = plan(context, &image.state, topic, request)?;
    if validate_only {
        return Ok(());
    }
    let based_on = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    let grown = context
        .controller
        .create_partitions(topic.id, based_on, placements, context.replica_limit())
        .await
        .map_err(|error| KafkaError::of_topic(&error, &topic.name))?;
    log::info!(
        "event=partitions_created topic={} partitions={}",
        grown.name,
        grown.partitions.len()
    );
    context.wait_open(&grown).await
}

fn plan(
    context: &ControlContext,
    state: &State,
    topic: &Topic,
    request: &CreatePartitionsTopic,
) -> Result<Vec<Placement>, KafkaError> {
    let (name, have) = (&topic.name, topic.partitions.len());
    let refused = |what: String| Err(KafkaError::new(ErrorCode::INVALID_PARTITIONS, what));
    let count = usize::try_from(request.count).unwrap_or(0);
    if count == have {
        return refused(format!("Topic already has {have} partition(s)."));
    }
    let Some(additional) = count.checked_sub(have) else {
        return refused(format!(
            "The topic {name} currently has {have} partition(s); {} would not be an increase.",
            request.count
        ));
    };
    check_limit(context, count)?;
    let factor = topic
        .partitions
        .first()
        .map_or(1, |partition| partition.replicas().len());
    match &request.assignments {
        // An empty list is what clients send that leave the choice to the broker.
        Some(assignments) if !assignments.is_empty() => assigned(state, additional, factor, assignments),
        _ => placement::place(
            state,
            additional,
            factor,
            &|node| context.leaders.is_live(node),
            &*context.env.rng,
        )
        .map_err(|brokers| KafkaError::replication_factor(factor, brokers)),
    }
}

fn assigned(
    state: &State,
    additional: usize,
    factor: usize,
    assignments: &[CreatePartitionsAssignment],
) -> Result<Vec<Placement>, KafkaError> {
    if assignments.len() != additional {
        let what = format!(
            "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
            assignments.len()
        );
        return Err(KafkaError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, what));
    }
    let mut factor = Some(factor);
    assignments
        .iter()
        .map(|assignment| check_assignment(state, &assignment.broker_ids, &mut factor))
        .collect()
}
