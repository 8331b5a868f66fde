use super::topics::{created, topic};
use super::world::{Node, World, registration};
use crate::cluster::state::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
use crate::config::{Config, GroupsConfig, TopicsConfig};
use crate::kafka::api::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use crate::kafka::handlers::{create_topics, metadata};
use crate::kafka::wire::{ErrorCode, Uuid};

const NEWEST: i16 = 13;

fn by_name(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic {
        topic_id: Uuid::ZERO,
        name: Some(name.into()),
    }
}

fn by_id(topic_id: Uuid) -> MetadataRequestTopic {
    MetadataRequestTopic { topic_id, name: None }
}

fn ask(
    world: &World,
    node: &Node,
    topics: Option<Vec<MetadataRequestTopic>>,
    version: i16,
) -> MetadataResponse {
    let request = MetadataRequest {
        topics,
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    world.run(metadata::handle(&node.context, request, version))
}

fn ask_creating(world: &World, node: &Node, names: &[&str]) -> Vec<MetadataResponseTopic> {
    let request = MetadataRequest {
        topics: Some(names.iter().map(|name| by_name(name)).collect()),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    world.run(metadata::handle(&node.context, request, NEWEST)).topics
}

fn names(response: &MetadataResponse) -> Vec<&str> {
    response
        .topics
        .iter()
        .map(|topic| topic.name.as_deref().unwrap_or("-"))
        .collect()
}

#[test]
fn metadata_names_the_cluster_its_brokers_and_the_controller() {
    let world = World::new(40);
    let node = world.start();
    let response = ask(&world, &node, Some(Vec::new()), NEWEST);
    assert_eq!(
        response.cluster_id.as_deref(),
        node.state().cluster_id().map(|id| &**id)
    );
    assert_eq!(response.controller_id, 1);
    let [broker] = &response.brokers[..] else {
        panic!("one broker: {:?}", response.brokers);
    };
    assert_eq!(
        (broker.node_id, broker.host.as_str(), broker.port),
        (1, "localhost", 9092)
    );
    assert_eq!(response.error_code, ErrorCode::NONE);
}

#[test]
fn null_is_all_topics_and_an_empty_list_is_none_except_in_version_0() {
    let world = World::new(41);
    let node = world.start();
    created(&world, &node, "b", 1);
    created(&world, &node, "a", 1);
    assert_eq!(names(&ask(&world, &node, None, 1)), ["a", "b"]);
    assert_eq!(names(&ask(&world, &node, Some(Vec::new()), 0)), ["a", "b"]);
    assert!(names(&ask(&world, &node, Some(Vec::new()), 1)).is_empty());
    assert!(names(&ask(&world, &node, Some(Vec::new()), NEWEST)).is_empty());
}

#[test]
fn a_topic_is_described_with_leader_epoch_replicas_and_a_stable_id() {
    let world = World::new(42);
    let node = world.start();
    let id = created(&world, &node, "a", 2);
    let response = ask(&world, &node, Some(vec![by_name("a"), by_name("a")]), NEWEST);
    let [topic] = &response.topics[..] else {
        panic!("one topic: {:?}", response.topics);
    };
    assert_eq!((topic.topic_id, topic.is_internal), (id, false));
    assert!(!id.is_zero());
    for (partition, index) in topic.partitions.iter().zip(0..) {
        assert_eq!(
            (partition.partition_index, partition.error_code),
            (index, ErrorCode::NONE)
        );
        assert_eq!((partition.leader_id, partition.leader_epoch), (1, 7));
        assert_eq!(
            (&partition.replica_nodes[..], &partition.isr_nodes[..]),
            (&[1][..], &[1][..])
        );
        assert!(partition.offline_replicas.is_empty());
    }
    let same = ask(&world, &node, Some(vec![by_id(id)]), NEWEST);
    assert_eq!(same.topics, response.topics);
}

#[test]
fn a_partition_that_is_not_open_yet_has_no_leader() {
    let world = World::new(43);
    let node = world.start();
    created(&world, &node, "a", 1);
    node.partitions.open.update(|open| {
        open.clear();
        true
    });
    let response = ask(&world, &node, None, NEWEST);
    let partition = &response.topics[0].partitions[0];
    assert_eq!(partition.error_code, ErrorCode::LEADER_NOT_AVAILABLE);
    assert_eq!((partition.leader_id, partition.leader_epoch), (-1, -1));
    assert_eq!(partition.replica_nodes, [1]);
}

#[test]
fn an_unknown_topic_id_is_unknown_topic_id_with_a_null_name() {
    let world = World::new(44);
    let node = world.start();
    let id = Uuid::from_u128(99);
    let response = ask(&world, &node, Some(vec![by_id(id)]), NEWEST);
    let topic = &response.topics[0];
    assert_eq!(
        (topic.error_code, topic.name.as_deref(), topic.topic_id),
        (ErrorCode::UNKNOWN_TOPIC_ID, None, id)
    );
}

#[test]
fn ids_and_null_names_below_version_12_are_an_invalid_request() {
    let world = World::new(45);
    let node = world.start();
    let id = created(&world, &node, "a", 1);
    let response = ask(&world, &node, Some(vec![by_id(id)]), 11);
    assert_eq!(response.topics[0].error_code, ErrorCode::INVALID_REQUEST);
    assert!(
        response.topics[0].name.is_some(),
        "null cannot be written in this version"
    );
    assert_eq!(response.error_code, ErrorCode::INVALID_REQUEST);
}

#[test]
fn a_topic_is_created_on_first_use_and_described_with_its_leader() {
    let world = World::new(46);
    let topics = TopicsConfig {
        partitions: 3,
        ..TopicsConfig::default()
    };
    let config = Config {
        topics,
        ..Config::default()
    };
    let node = world.start_with(registration(), config).unwrap();
    let topics = ask_creating(&world, &node, &["new"]);
    assert_eq!(topics[0].error_code, ErrorCode::NONE);
    assert_eq!(topics[0].partitions.len(), 3);
    for partition in &topics[0].partitions {
        assert_eq!((partition.error_code, partition.leader_id), (ErrorCode::NONE, 1));
    }
}

#[test]
fn a_client_that_declines_creates_nothing() {
    let world = World::new(47);
    let node = world.start();
    let response = ask(&world, &node, Some(vec![by_name("new"), by_name("a b")]), NEWEST);
    let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(
        codes,
        [
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::INVALID_TOPIC_EXCEPTION
        ]
    );
    assert!(node.state().topics().is_empty());
}

#[test]
fn a_broker_that_declines_creates_nothing() {
    let world = World::new(48);
    let topics = TopicsConfig {
        auto_create: false,
        ..TopicsConfig::default()
    };
    let config = Config {
        topics,
        ..Config::default()
    };
    let node = world.start_with(registration(), config).unwrap();
    let topics = ask_creating(&world, &node, &["new"]);
    assert_eq!(topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert!(node.state().topics().is_empty());
}

#[test]
fn names_that_are_no_names_are_not_created() {
    let world = World::new(49);
    let node = world.start();
    for name in ["", ".", "..", "a/b", "t\u{e9}"] {
        let topics = ask_creating(&world, &node, &[name]);
        assert_eq!(
            topics[0].error_code,
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            "{name:?}"
        );
        assert_eq!(topics[0].name.as_deref(), Some(name));
    }
    assert!(node.state().topics().is_empty());
}

#[test]
fn asking_for_all_topics_or_by_id_creates_nothing() {
    let world = World::new(50);
    let node = world.start();
    for topics in [None, Some(vec![by_id(Uuid::from_u128(3))])] {
        let request = MetadataRequest {
            topics,
            allow_auto_topic_creation: true,
            ..MetadataRequest::default()
        };
        world.run(metadata::handle(&node.context, request, NEWEST));
    }
    assert!(node.state().topics().is_empty());
}

#[test]
fn concurrent_first_uses_of_one_topic_all_see_it() {
    for seed in 0..10 {
        let world = World::new(500 + seed);
        let node = world.start();
        let asks = (0..6).map(|_| -> chronik_core::BoxFuture<'_, _> {
            let request = MetadataRequest {
                topics: Some(vec![by_name("new")]),
                ..MetadataRequest::default()
            };
            Box::pin(metadata::handle(&node.context, request, NEWEST))
        });
        for response in world.run(crate::cluster::join::join_all(asks.collect())) {
            assert_eq!(response.topics[0].error_code, ErrorCode::NONE);
        }
        assert_eq!(node.state().topics().len(), 1);
    }
}

#[test]
fn the_offsets_topic_is_created_on_first_use_with_its_own_partitions_and_without_retention() {
    let world = World::new(51);
    let groups = GroupsConfig {
        offsets_partitions: 7,
        ..GroupsConfig::default()
    };
    let config = Config {
        groups,
        ..Config::default()
    };
    let node = world.start_with(registration(), config).unwrap();
    let topic = world.run(node.context.offsets_topic()).unwrap();
    assert_eq!(topic.partitions.len(), 7);
    let settings = node.context.settings(&topic);
    assert_eq!((settings.retention_ms, settings.retention_bytes), (-1, -1));
    let again = world.run(node.context.offsets_topic()).unwrap();
    assert_eq!(again.id, topic.id);
    let response = ask(&world, &node, Some(vec![by_name(OFFSETS_TOPIC)]), NEWEST);
    assert!(response.topics[0].is_internal);
    let missing = ask_creating(&world, &node, &[TRANSACTIONS_TOPIC]);
    assert_eq!(missing[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert!(missing[0].is_internal);
}

#[test]
fn authorized_operations_are_the_least_number_unless_they_are_asked_for() {
    let world = World::new(52);
    let node = world.start();
    created(&world, &node, "a", 1);
    let response = ask(&world, &node, None, 10);
    assert_eq!(response.cluster_authorized_operations, i32::MIN);
    assert_eq!(response.topics[0].topic_authorized_operations, i32::MIN);
    let request = MetadataRequest {
        include_cluster_authorized_operations: true,
        include_topic_authorized_operations: true,
        topics: None,
        ..MetadataRequest::default()
    };
    let response = world.run(metadata::handle(&node.context, request, 10));
    // READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS by Kafka's codes.
    assert_eq!(response.topics[0].topic_authorized_operations, 0b1101_1111_1000);
    assert_eq!(response.cluster_authorized_operations, 0b1_1111_1010_0000);
}

#[test]
fn a_first_use_that_cannot_be_finished_in_time_is_asked_again() {
    let world = World::new(53);
    let node = world.start();
    let request = MetadataRequest {
        topics: Some(vec![by_name("new")]),
        ..MetadataRequest::default()
    };
    let mut answer = Box::pin(metadata::handle(&node.context, request, NEWEST));
    let response = loop {
        if let Some(response) = world.run(futures_lite::future::poll_once(&mut answer)) {
            break response;
        }
        world.sim.queue().clear();
        world.sim.clock().fire_next(None);
    };
    assert_eq!(response.topics[0].error_code, ErrorCode::LEADER_NOT_AVAILABLE);
}

#[test]
fn a_topic_that_create_topics_answered_is_in_the_next_metadata_with_its_leaders() {
    let world = World::new(54);
    let node = world.start();
    world.run(async {
        for i in 0..20 {
            let name = format!("t{i}");
            let request = crate::kafka::api::CreateTopicsRequest {
                topics: vec![topic(&name, 2)],
                timeout_ms: 30_000,
                validate_only: false,
            };
            let response = create_topics::handle(&node.context, request, 7).await;
            assert_eq!(response.topics[0].error_code, ErrorCode::NONE);
            let request = MetadataRequest {
                topics: Some(vec![by_name(&name)]),
                allow_auto_topic_creation: false,
                ..MetadataRequest::default()
            };
            let response = metadata::handle(&node.context, request, NEWEST).await;
            assert!(
                response.topics[0]
                    .partitions
                    .iter()
                    .all(|partition| partition.leader_id == 1)
            );
        }
    });
}
