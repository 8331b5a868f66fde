//! CreateTopics.

use crate::cluster::context::ControlContext;
use crate::cluster::controller::NewTopic;
use crate::cluster::describe::{self, Entry};
use crate::cluster::join::join_all;
use crate::cluster::kafka_error::KafkaError;
use crate::cluster::names::check_topic_name;
use crate::cluster::state::{ConfigSet, Placement, State, is_internal};
use crate::cluster::{ids, placement, topic_config};
use crate::kafka::api::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicConfigs,
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};
use std::collections::{BTreeMap, BTreeSet};

/// Creates topics side by side. A topic whose result is a success takes requests: its partitions are open.
pub async fn handle(
    context: &ControlContext,
    request: CreateTopicsRequest,
    _version: i16,
) -> CreateTopicsResponse {
    let CreateTopicsRequest {
        topics,
        timeout_ms,
        validate_only,
    } = request;
    let twice = duplicates(topics.iter().map(|topic| &topic.name));
    let mut work: Vec<chronik_core::BoxFuture<'_, CreatableTopicResult>> = Vec::new();
    for topic in topics.into_iter().filter(|topic| !twice.contains(&topic.name)) {
        work.push(Box::pin(create(context, topic, timeout_ms, validate_only)));
    }
    let mut results = join_all(work).await;
    results.extend(twice.into_iter().map(|name| {
        let error = KafkaError::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name.");
        failed(name, &error)
    }));
    CreateTopicsResponse {
        throttle_time_ms: 0,
        topics: results,
    }
}

/// The names that appear more than once.
pub(super) fn duplicates<'a, T: Ord + Clone + 'a>(all: impl Iterator<Item = &'a T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    all.filter(|name| !seen.insert(*name)).cloned().collect()
}

async fn create(
    context: &ControlContext,
    topic: CreatableTopic,
    timeout_ms: i32,
    validate_only: bool,
) -> CreatableTopicResult {
    let name = topic.name.clone();
    let planned = plan(context, topic);
    let (partitions, factor, configs) = match &planned {
        Ok(new) => (
            i32::try_from(new.placements.len()).unwrap_or(i32::MAX),
            new.placements
                .first()
                .map_or(-1, |nodes| i16::try_from(nodes.len()).unwrap_or(i16::MAX)),
            effective_configs(context, &new.configs),
        ),
        Err(error) => return failed(name, error),
    };
    let id = match planned {
        Ok(new) if !validate_only => {
            let created = context.within(timeout_ms, context.create_topic(new)).await;
            created.map(|topic| topic.id.to_wire())
        }
        Ok(_) => Ok(Uuid::ZERO),
        Err(error) => Err(error),
    };
    match id {
        Ok(topic_id) => CreatableTopicResult {
            name,
            topic_id,
            num_partitions: partitions,
            replication_factor: factor,
            configs: Some(configs),
            ..CreatableTopicResult::default()
        },
        Err(error) => failed(name, &error),
    }
}

fn failed(name: KafkaString, error: &KafkaError) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code: error.code,
        error_message: error.text(),
        ..CreatableTopicResult::default()
    }
}

/// Checks everything that can be checked before the proposal, with Kafka's error codes. What depends on other requests
/// is checked again when the command is applied.
fn plan(context: &ControlContext, topic: CreatableTopic) -> Result<NewTopic, KafkaError> {
    let image = context.controller.image();
    let name = topic.name.as_str();
    check_topic_name(name).map_err(|why| KafkaError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, why))?;
    if is_internal(name) {
        return Err(KafkaError::internal_topic(name));
    }
    if image.state.topic(name).is_some() {
        let what = format!("Topic '{name}' already exists.");
        return Err(KafkaError::new(ErrorCode::TOPIC_ALREADY_EXISTS, what));
    }
    if let Some(taken) = image.state.collision(name) {
        let what = format!("Topic '{name}' collides with existing topic: {taken}");
        return Err(KafkaError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, what));
    }
    let configs = checked_configs(&topic.configs)?;
    topic_config::check_limits(&configs, &context.config)
        .map_err(|why| KafkaError::new(ErrorCode::INVALID_CONFIG, why))?;
    let placements = if topic.assignments.is_empty() {
        place(
            context,
            &image.state,
            topic.num_partitions,
            topic.replication_factor,
        )?
    } else {
        assigned(&image.state, &topic)?
    };
    let backend = context.config.consensus.backend;
    if let Some(why) = placements.iter().find_map(|placed| backend.refuses(placed.len())) {
        return Err(KafkaError::new(ErrorCode::INVALID_REPLICATION_FACTOR, why));
    }
    Ok(NewTopic {
        name: name.to_owned(),
        placements,
        configs,
        replica_limit: context.replica_limit(),
    })
}

fn checked_configs(configs: &[CreatableTopicConfig]) -> Result<BTreeMap<String, String>, KafkaError> {
    let mut checked = BTreeMap::new();
    for CreatableTopicConfig { name, value } in configs {
        let invalid = |what| KafkaError::new(ErrorCode::INVALID_CONFIG, what);
        let Some(value) = value else {
            return Err(invalid(format!(
                "Null value not supported for topic configs: {name}"
            )));
        };
        let value = topic_config::check(name, value).map_err(invalid)?;
        // Of two values for one name the last one counts, as in Kafka.
        checked.insert(name.to_string(), value);
    }
    Ok(checked)
}

fn place(
    context: &ControlContext,
    state: &State,
    partitions: i32,
    factor: i16,
) -> Result<Vec<Placement>, KafkaError> {
    if factor < -1 || factor == 0 {
        let what = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(KafkaError::new(ErrorCode::INVALID_REPLICATION_FACTOR, what));
    }
    if partitions < -1 || partitions == 0 {
        let what = "Number of partitions was set to an invalid non-positive value.";
        return Err(KafkaError::new(ErrorCode::INVALID_PARTITIONS, what));
    }
    let topics = &context.config.topics;
    let factor = if factor == -1 {
        context.config.replication_factor()
    } else {
        factor
    };
    let partitions = if partitions == -1 {
        topics.partitions
    } else {
        partitions
    };
    let (factor, partitions) = (
        usize::try_from(factor).unwrap_or(1),
        usize::try_from(partitions).unwrap_or(1),
    );
    check_limit(context, partitions)?;
    placement::place(
        state,
        partitions,
        factor,
        &|node| context.leaders.is_live(node),
        &*context.env.rng,
    )
    .map_err(|brokers| KafkaError::replication_factor(factor, brokers))
}

/// Refuses what no node could hold, before anything is allocated for it.
pub(super) fn check_limit(context: &ControlContext, partitions: usize) -> Result<(), KafkaError> {
    let limit = context.replica_limit();
    if partitions as u64 > limit {
        let what = format!(
            "{partitions} partitions are more than a broker may hold (topics.max_partitions = {limit})"
        );
        return Err(KafkaError::new(ErrorCode::POLICY_VIOLATION, what));
    }
    Ok(())
}

/// The placements that the client chose, in the order of the partitions.
fn assigned(state: &State, topic: &CreatableTopic) -> Result<Vec<Placement>, KafkaError> {
    let refused = |code, what: &str| Err(KafkaError::new(code, what));
    if topic.replication_factor != -1 {
        let what = "A manual partition assignment was specified, but replication factor was not set to -1.";
        return refused(ErrorCode::INVALID_REQUEST, what);
    }
    if topic.num_partitions != -1 {
        let what = "A manual partition assignment was specified, but numPartitions was not set to -1.";
        return refused(ErrorCode::INVALID_REQUEST, what);
    }
    let mut placed = BTreeMap::new();
    let mut factor = None;
    for CreatableReplicaAssignment {
        partition_index,
        broker_ids,
    } in &topic.assignments
    {
        let placement = check_assignment(state, broker_ids, &mut factor)?;
        if placed.insert(*partition_index, placement).is_some() {
            let what = format!("Found multiple manual partition assignments for partition {partition_index}");
            return refused(ErrorCode::INVALID_REPLICA_ASSIGNMENT, &what);
        }
    }
    if placed
        .keys()
        .copied()
        .ne(0..i32::try_from(placed.len()).unwrap_or(i32::MAX))
    {
        let what = "partitions should be a consecutive 0-based integer sequence";
        return refused(ErrorCode::INVALID_REPLICA_ASSIGNMENT, what);
    }
    Ok(placed.into_values().collect())
}

/// Checks the brokers of one partition; all partitions of a topic have as many.
pub(super) fn check_assignment(
    state: &State,
    brokers: &[i32],
    factor: &mut Option<usize>,
) -> Result<Placement, KafkaError> {
    let refused = |what: String| Err(KafkaError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, what));
    if brokers.is_empty() {
        return refused("The manual partition assignment includes an empty replica list.".into());
    }
    let mut placement = Vec::with_capacity(brokers.len());
    for broker in brokers {
        let known = ids::node_id(*broker).filter(|node| state.brokers().contains_key(node));
        let Some(node) = known else {
            return refused(format!(
                "The manual partition assignment includes broker {broker}, but no such broker is registered."
            ));
        };
        if placement.contains(&node.0) {
            return refused(format!(
                "The manual partition assignment includes the broker {broker} more than once."
            ));
        }
        placement.push(node.0);
    }
    let expected = *factor.get_or_insert(placement.len());
    if placement.len() == expected {
        Ok(placement)
    } else {
        refused(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with \
             previous partitions, which have {expected} replica(s).",
            placement.len()
        ))
    }
}

/// All configs of the new topic, as DescribeConfigs will show them.
fn effective_configs(context: &ControlContext, set: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let configs = ConfigSet {
        revision: 0,
        values: set.clone(),
    };
    let image = context.controller.image();
    let entries = describe::topic_entries(&configs, image.state.broker_defaults(), &context.config);
    entries
        .into_iter()
        .map(
            |Entry {
                 name, value, source, ..
             }| CreatableTopicConfigs {
                name: name.into(),
                value: Some(value.into()),
                read_only: false,
                config_source: source as i8,
                is_sensitive: false,
            },
        )
        .collect()
}
