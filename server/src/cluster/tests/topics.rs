use super::world::{NODE, Node, World, registration};
use crate::cluster::state::OFFSETS_TOPIC;
use crate::config::{Config, TopicsConfig};
use crate::kafka::api::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use crate::kafka::api::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult,
    CreateTopicsRequest,
};
use crate::kafka::api::delete_topics::{DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest};
use crate::kafka::handlers::{create_partitions, create_topics, delete_topics};
use crate::kafka::wire::{ErrorCode, Uuid};
use chronik_core::GroupId;
use std::collections::BTreeSet;

pub(super) fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: -1,
        ..CreatableTopic::default()
    }
}

pub(super) fn config(name: &str, value: &str) -> CreatableTopicConfig {
    CreatableTopicConfig {
        name: name.into(),
        value: Some(value.into()),
    }
}

fn create_all(
    world: &World,
    node: &Node,
    topics: Vec<CreatableTopic>,
    validate_only: bool,
) -> Vec<CreatableTopicResult> {
    let request = CreateTopicsRequest {
        topics,
        timeout_ms: 60_000,
        validate_only,
    };
    world.run(create_topics::handle(&node.context, request, 7)).topics
}

pub(super) fn create(world: &World, node: &Node, topic: CreatableTopic) -> CreatableTopicResult {
    create_all(world, node, vec![topic], false).remove(0)
}

pub(super) fn created(world: &World, node: &Node, name: &str, partitions: i32) -> Uuid {
    let result = create(world, node, topic(name, partitions));
    assert_eq!(result.error_code, ErrorCode::NONE, "{:?}", result.error_message);
    result.topic_id
}

fn delete(world: &World, node: &Node, topics: Vec<DeleteTopicState>) -> Vec<DeletableTopicResult> {
    let request = DeleteTopicsRequest {
        topics,
        topic_names: Vec::new(),
        timeout_ms: 60_000,
    };
    world
        .run(delete_topics::handle(&node.context, request, 6))
        .responses
}

fn named(name: &str) -> DeleteTopicState {
    DeleteTopicState {
        name: Some(name.into()),
        topic_id: Uuid::ZERO,
    }
}

fn with_id(topic_id: Uuid) -> DeleteTopicState {
    DeleteTopicState { name: None, topic_id }
}

#[test]
fn a_topic_is_usable_right_after_create_topics_succeeded() {
    let world = World::new(20);
    let node = world.start();
    created(&world, &node, "a", 3);
    let groups: BTreeSet<GroupId> = node.state().topic("a").unwrap().groups().collect();
    assert_eq!(groups.len(), 3);
    assert!(
        groups.is_subset(&node.partitions.open.get()),
        "an answer before the partitions are open"
    );
}

#[test]
fn a_partition_that_does_not_open_is_no_success() {
    let world = World::new(21);
    let node = world.start();
    node.partitions.broken.update(|broken| {
        *broken = Some("the disk is full".into());
        true
    });
    let result = create(&world, &node, topic("a", 1));
    assert_eq!(result.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    assert!(result.error_message.unwrap().contains("the disk is full"));
}

#[test]
fn a_creation_that_outlasts_the_timeout_is_request_timed_out() {
    let world = World::new(22);
    let node = world.start();
    // The disk never answers: its jobs are taken away as they come.
    let request = CreateTopicsRequest {
        topics: vec![topic("a", 1)],
        timeout_ms: 5_000,
        validate_only: false,
    };
    let started = world.sim.clock().elapsed();
    let mut answer = Box::pin(create_topics::handle(&node.context, request, 7));
    let response = loop {
        let polled = world.run(futures_lite::future::poll_once(&mut answer));
        if let Some(response) = polled {
            break response;
        }
        world.sim.queue().clear();
        world.sim.clock().fire_next(None);
    };
    assert_eq!(response.topics[0].error_code, ErrorCode::REQUEST_TIMED_OUT);
    assert_eq!((world.sim.clock().elapsed() - started).as_millis(), 5_000);
}

#[test]
fn create_topics_returns_every_config_with_its_value_and_source() {
    let world = World::new(23);
    let node = world.start();
    let mut wanted = topic("a", 2);
    wanted.configs = vec![
        config("retention.ms", "1000"),
        config("segment.bytes", " 2097152 "),
    ];
    let result = create(&world, &node, wanted);
    assert_eq!((result.num_partitions, result.replication_factor), (2, 1));
    assert_eq!(result.topic_config_error_code, ErrorCode::NONE);
    let configs = result.configs.unwrap();
    assert_eq!(configs.len(), crate::cluster::topic_config::TOPIC_KEYS.len());
    let row = |name: &str| {
        let row = configs.iter().find(|row| row.name == name).unwrap();
        (row.value.as_deref().unwrap(), row.config_source)
    };
    assert_eq!(row("retention.ms"), ("1000", 1));
    assert_eq!(row("segment.bytes"), ("2097152", 1));
    assert_eq!(row("cleanup.policy"), ("delete", 5));
    assert_eq!(row("max.message.bytes"), ("1048588", 5));
}

#[test]
fn minus_one_takes_the_configured_partitions_and_replication_factor() {
    let world = World::new(24);
    let topics = TopicsConfig {
        partitions: 5,
        ..TopicsConfig::default()
    };
    let config = Config {
        topics,
        ..Config::default()
    };
    let node = world.start_with(registration(), config).unwrap();
    let result = create(&world, &node, topic("a", -1));
    assert_eq!((result.num_partitions, result.replication_factor), (5, 1));
    assert_eq!(node.state().topic("a").unwrap().partitions.len(), 5);
}

/// Refused when it is asked for, and when it is only checked.
fn is_not_created(world: &World, node: &Node, topic: CreatableTopic, code: ErrorCode, text: &str) {
    let name = topic.name.clone();
    for validate_only in [true, false] {
        let result = create_all(world, node, vec![topic.clone()], validate_only).remove(0);
        let message = result.error_message.unwrap_or_default();
        assert_eq!(result.error_code, code, "{name}: {message}");
        assert!(message.contains(text), "{name}: {message}");
    }
}

#[test]
fn names_that_cannot_be_created_are_refused_with_kafkas_code() {
    let world = World::new(25);
    let node = world.start();
    created(&world, &node, "taken.name", 1);
    let invalid = ErrorCode::INVALID_TOPIC_EXCEPTION;
    let long = "x".repeat(250);
    for (name, code, text) in [
        ("", invalid, "empty string"),
        ("..", invalid, "not allowed"),
        ("a b", invalid, "ASCII alphanumerics"),
        (&*long, invalid, "longer than"),
        ("taken_name", invalid, "collides"),
        (OFFSETS_TOPIC, invalid, "internal"),
        ("taken.name", ErrorCode::TOPIC_ALREADY_EXISTS, "already exists"),
    ] {
        is_not_created(&world, &node, topic(name, 1), code, text);
    }
    assert_eq!(node.state().topics().len(), 1);
}

#[test]
fn numbers_and_configs_that_cannot_be_are_refused_with_kafkas_code() {
    let world = World::new(36);
    let node = world.start();
    let partitions = ErrorCode::INVALID_PARTITIONS;
    for (count, code, text) in [
        (0, partitions, "non-positive"),
        (-2, partitions, "non-positive"),
        (i32::MAX, ErrorCode::POLICY_VIOLATION, "topics.max_partitions"),
    ] {
        is_not_created(&world, &node, topic("a", count), code, text);
    }
    for (factor, text) in [
        (0, "larger than 0"),
        (-2, "larger than 0"),
        (2, "only 1 broker(s)"),
    ] {
        let topic = CreatableTopic {
            replication_factor: factor,
            ..topic("a", 1)
        };
        is_not_created(&world, &node, topic, ErrorCode::INVALID_REPLICATION_FACTOR, text);
    }
    for (name, value, text) in [
        ("cleanup.policy", Some("compact"), "not supported yet"),
        ("no.such", Some("1"), "Unknown topic config name"),
        ("retention.ms", None, "Null value"),
        ("max.message.bytes", Some("2147483647"), "at most"),
    ] {
        let mut topic = topic("a", 1);
        topic.configs = vec![CreatableTopicConfig {
            name: name.into(),
            value: value.map(Into::into),
        }];
        is_not_created(&world, &node, topic, ErrorCode::INVALID_CONFIG, text);
    }
    assert!(node.state().topics().is_empty());
}

#[test]
fn validate_only_creates_nothing_and_reports_what_would_be() {
    let world = World::new(26);
    let node = world.start();
    let result = create_all(&world, &node, vec![topic("a", 4)], true).remove(0);
    assert_eq!((result.error_code, result.num_partitions), (ErrorCode::NONE, 4));
    assert!(!result.configs.unwrap().is_empty());
    assert!(node.state().topics().is_empty());
}

#[test]
fn a_name_twice_in_one_request_is_refused_once_and_the_others_are_created() {
    let world = World::new(27);
    let node = world.start();
    let results = create_all(
        &world,
        &node,
        vec![topic("a", 1), topic("b", 1), topic("a", 2)],
        false,
    );
    let codes: Vec<_> = results
        .iter()
        .map(|result| (result.name.as_str(), result.error_code))
        .collect();
    assert_eq!(codes, [("b", ErrorCode::NONE), ("a", ErrorCode::INVALID_REQUEST)]);
    assert!(node.state().topic("a").is_none());
}

#[test]
fn a_manual_assignment_is_checked_and_obeyed() {
    let world = World::new(28);
    let node = world.start();
    let here = NODE.0 as i32;
    let manual = |rows: &[(i32, &[i32])]| CreatableTopic {
        num_partitions: -1,
        assignments: rows
            .iter()
            .map(|(partition_index, broker_ids)| CreatableReplicaAssignment {
                partition_index: *partition_index,
                broker_ids: broker_ids.to_vec(),
            })
            .collect(),
        ..topic("a", -1)
    };
    let refused = |topic: CreatableTopic, code, text: &str| {
        let result = create(&world, &node, topic);
        let message = result.error_message.unwrap_or_default();
        assert_eq!(result.error_code, code, "{message}");
        assert!(message.contains(text), "{message}");
    };
    let wrong = ErrorCode::INVALID_REPLICA_ASSIGNMENT;
    refused(manual(&[(0, &[9])]), wrong, "no such broker");
    refused(manual(&[(0, &[-1])]), wrong, "no such broker");
    refused(manual(&[(0, &[])]), wrong, "empty replica list");
    refused(manual(&[(0, &[here, here])]), wrong, "more than once");
    refused(manual(&[(0, &[here]), (0, &[here])]), wrong, "multiple manual");
    refused(manual(&[(1, &[here])]), wrong, "consecutive");
    let mut both = manual(&[(0, &[here])]);
    both.num_partitions = 1;
    refused(both, ErrorCode::INVALID_REQUEST, "numPartitions");
    let mut both = manual(&[(0, &[here])]);
    both.replication_factor = 1;
    refused(both, ErrorCode::INVALID_REQUEST, "replication factor");
    let result = create(&world, &node, manual(&[(1, &[here]), (0, &[here])]));
    assert_eq!((result.error_code, result.num_partitions), (ErrorCode::NONE, 2));
}

#[test]
fn a_topic_is_deleted_by_name_or_id_and_a_new_one_has_another_id_and_other_logs() {
    let world = World::new(29);
    let node = world.start();
    let first = created(&world, &node, "a", 2);
    let old_groups: BTreeSet<_> = node.state().topic("a").unwrap().groups().collect();
    let result = delete(&world, &node, vec![named("a")]).remove(0);
    assert_eq!((result.error_code, result.topic_id), (ErrorCode::NONE, first));
    let second = created(&world, &node, "a", 2);
    assert_ne!(first, second);
    let groups: BTreeSet<_> = node.state().topic("a").unwrap().groups().collect();
    assert!(groups.is_disjoint(&old_groups));
    // The id of the deleted topic does not reach the new one.
    let gone = delete(&world, &node, vec![with_id(first)]).remove(0);
    assert_eq!(gone.error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    let result = delete(&world, &node, vec![with_id(second)]).remove(0);
    assert_eq!(
        (result.error_code, result.name.as_deref()),
        (ErrorCode::NONE, Some("a"))
    );
    assert!(node.state().topics().is_empty());
}

#[test]
fn up_to_version_5_topics_are_deleted_by_name() {
    let world = World::new(30);
    let node = world.start();
    created(&world, &node, "a", 1);
    let request = DeleteTopicsRequest {
        topics: Vec::new(),
        topic_names: vec!["a".into(), "b".into()],
        timeout_ms: 0,
    };
    let response = world.run(delete_topics::handle(&node.context, request, 5));
    let codes: Vec<_> = response
        .responses
        .iter()
        .map(|result| result.error_code)
        .collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
}

#[test]
fn what_cannot_be_deleted_is_refused_with_kafkas_code() {
    let world = World::new(31);
    let node = world.start();
    let id = created(&world, &node, "a", 1);
    world.run(node.context.offsets_topic()).unwrap();
    let both = DeleteTopicState {
        name: Some("a".into()),
        topic_id: id,
    };
    for (topics, code) in [
        (vec![named("nobody")], ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (vec![with_id(Uuid::from_u128(7))], ErrorCode::UNKNOWN_TOPIC_ID),
        (vec![both], ErrorCode::INVALID_REQUEST),
        (vec![with_id(Uuid::ZERO)], ErrorCode::INVALID_REQUEST),
        (vec![named("a"), named("a")], ErrorCode::INVALID_REQUEST),
        (vec![with_id(id), with_id(id)], ErrorCode::INVALID_REQUEST),
        (vec![named(OFFSETS_TOPIC)], ErrorCode::INVALID_TOPIC_EXCEPTION),
    ] {
        let results = delete(&world, &node, topics);
        assert_eq!(results.len(), 1);
        assert_eq!(results[0].error_code, code, "{results:?}");
    }
    assert_eq!(node.state().topics().len(), 2);
}

fn grow_all(
    world: &World,
    node: &Node,
    topics: Vec<CreatePartitionsTopic>,
    validate_only: bool,
) -> Vec<(String, ErrorCode, String)> {
    let request = CreatePartitionsRequest {
        topics,
        timeout_ms: 60_000,
        validate_only,
    };
    let response = world.run(create_partitions::handle(&node.context, request, 3));
    let results = response.results.into_iter();
    results
        .map(|result| {
            let message = result.error_message.unwrap_or_default();
            (result.name.to_string(), result.error_code, message.to_string())
        })
        .collect()
}

fn to_count(name: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic {
        name: name.into(),
        count,
        assignments: None,
    }
}

#[test]
fn partitions_are_added_open_and_keep_the_ones_that_were_there() {
    let world = World::new(32);
    let node = world.start();
    created(&world, &node, "a", 2);
    let before = node.state().topic("a").unwrap().partitions.clone();
    let (_, code, message) = grow_all(&world, &node, vec![to_count("a", 5)], false).remove(0);
    assert_eq!(code, ErrorCode::NONE, "{message}");
    let state = node.state();
    let after = &state.topic("a").unwrap().partitions;
    assert_eq!((after.len(), &after[..2]), (5, &before[..]));
    let groups: BTreeSet<_> = state.topic("a").unwrap().groups().collect();
    assert!(groups.is_subset(&node.partitions.open.get()));
}

#[test]
fn partitions_that_cannot_be_added_are_refused_with_kafkas_code() {
    let world = World::new(33);
    let node = world.start();
    created(&world, &node, "a", 2);
    world.run(node.context.offsets_topic()).unwrap();
    let assigned = |count, rows: &[&[i32]]| {
        let row = |ids: &&[i32]| CreatePartitionsAssignment {
            broker_ids: ids.to_vec(),
        };
        CreatePartitionsTopic {
            assignments: Some(rows.iter().map(row).collect()),
            ..to_count("a", count)
        }
    };
    for (topic, code) in [
        (to_count("a", 2), ErrorCode::INVALID_PARTITIONS),
        (to_count("a", 1), ErrorCode::INVALID_PARTITIONS),
        (to_count("a", -1), ErrorCode::INVALID_PARTITIONS),
        (to_count("a", i32::MAX), ErrorCode::POLICY_VIOLATION),
        (to_count("nobody", 3), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (to_count(OFFSETS_TOPIC, 50), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (assigned(3, &[&[1], &[1]]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(3, &[&[2]]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(4, &[&[1], &[]]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
    ] {
        let (_, got, message) = grow_all(&world, &node, vec![topic.clone()], false).remove(0);
        assert_eq!(got, code, "{topic:?}: {message}");
    }
    let twice = grow_all(&world, &node, vec![to_count("a", 3), to_count("a", 4)], false);
    assert_eq!(twice.len(), 1);
    assert_eq!(twice[0].1, ErrorCode::INVALID_REQUEST);
    let valid = grow_all(&world, &node, vec![assigned(4, &[&[1], &[1]])], true);
    assert_eq!(valid[0].1, ErrorCode::NONE);
    assert_eq!(node.state().topic("a").unwrap().partitions.len(), 2);
}
