use super::topics::{config, create, created, topic};
use super::world::{Node, World, registration};
use crate::config::{Config, TopicsConfig};
use crate::kafka::api::describe_configs::{DescribeConfigsResource, DescribeConfigsResult};
use crate::kafka::api::describe_topic_partitions::{Cursor, TopicRequest};
use crate::kafka::api::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use crate::kafka::api::{
    DescribeClusterRequest, DescribeConfigsRequest, DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse, IncrementalAlterConfigsRequest,
};
use crate::kafka::handlers::{
    describe_cluster, describe_configs, describe_topic_partitions, incremental_alter_configs,
};
use crate::kafka::wire::ErrorCode;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn describe(
    world: &World,
    node: &Node,
    kind: i8,
    name: &str,
    keys: Option<&[&str]>,
) -> DescribeConfigsResult {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
        }],
        include_synonyms: true,
        include_documentation: true,
    };
    world
        .run(describe_configs::handle(&node.context, request, 4))
        .results
        .remove(0)
}

fn with_topics(topics: TopicsConfig) -> Config {
    Config {
        topics,
        ..Config::default()
    }
}

fn set_cluster_wide(world: &World, node: &Node, name: &str, value: &str) {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: BROKER,
            resource_name: "".into(),
            configs: vec![AlterableConfig {
                name: name.into(),
                config_operation: 0,
                value: Some(value.into()),
            }],
        }],
        validate_only: false,
    };
    let response = world.run(incremental_alter_configs::handle(&node.context, request, 1));
    assert_eq!(response.responses[0].error_code, ErrorCode::NONE);
}

#[test]
fn a_topics_config_is_reported_with_its_synonyms_type_and_documentation() {
    let world = World::new(80);
    let file = with_topics(TopicsConfig {
        retention_ms: 1_000,
        ..TopicsConfig::default()
    });
    let node = world.start_with(registration(), file).unwrap();
    let mut wanted = topic("a", 1);
    wanted.configs = vec![config("retention.ms", "5")];
    create(&world, &node, wanted);
    set_cluster_wide(&world, &node, "log.retention.ms", "77");
    let result = describe(&world, &node, TOPIC, "a", Some(&["retention.ms"]));
    assert_eq!(result.error_code, ErrorCode::NONE);
    let [row] = &result.configs[..] else {
        panic!("one key was asked for: {:?}", result.configs);
    };
    assert_eq!(
        (row.name.as_str(), row.value.as_deref(), row.config_source),
        ("retention.ms", Some("5"), 1)
    );
    assert_eq!(
        (row.config_type, row.read_only, row.is_sensitive),
        (5, false, false)
    );
    assert!(
        row.documentation
            .as_deref()
            .is_some_and(|text| text.contains("milliseconds"))
    );
    let synonyms: Vec<_> = row
        .synonyms
        .iter()
        .map(|synonym| {
            (
                synonym.name.as_str(),
                synonym.value.as_deref().unwrap(),
                synonym.source,
            )
        })
        .collect();
    assert_eq!(
        synonyms,
        [
            ("retention.ms", "5", 1),
            ("log.retention.ms", "77", 3),
            ("log.retention.ms", "1000", 4),
            ("log.retention.ms", "604800000", 5),
        ]
    );
}

#[test]
fn null_and_empty_keys_both_ask_for_every_config_that_is_obeyed() {
    let world = World::new(81);
    let node = world.start();
    created(&world, &node, "a", 1);
    for keys in [None, Some(&[][..])] {
        let result = describe(&world, &node, TOPIC, "a", keys);
        let names: Vec<_> = result.configs.iter().map(|row| row.name.as_str()).collect();
        let known: Vec<_> = crate::cluster::topic_config::TOPIC_KEYS
            .iter()
            .map(|key| key.name)
            .collect();
        assert_eq!(names, known);
    }
    assert!(
        describe(&world, &node, TOPIC, "a", Some(&["no.such"]))
            .configs
            .is_empty()
    );
}

#[test]
fn synonyms_and_documentation_are_left_out_unless_they_are_asked_for() {
    let world = World::new(82);
    let node = world.start();
    created(&world, &node, "a", 1);
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: "a".into(),
            configuration_keys: None,
        }],
        ..DescribeConfigsRequest::default()
    };
    let response = world.run(describe_configs::handle(&node.context, request, 4));
    for row in &response.results[0].configs {
        assert!(row.synonyms.is_empty() && row.documentation.is_none(), "{row:?}");
        assert_eq!(row.config_source, 5);
    }
}

#[test]
fn a_broker_reports_what_clients_read() {
    let world = World::new(83);
    let file = with_topics(TopicsConfig {
        partitions: 6,
        ..TopicsConfig::default()
    });
    let node = world.start_with(registration(), file).unwrap();
    let result = describe(&world, &node, BROKER, "1", None);
    let row = |name: &str| {
        let found = result.configs.iter().find(|row| row.name == name);
        let row = found.unwrap_or_else(|| panic!("no {name}"));
        (row.value.as_deref().unwrap(), row.read_only, row.config_source)
    };
    assert_eq!(row("default.replication.factor"), ("1", true, 5));
    assert_eq!(row("num.partitions"), ("6", true, 4));
    assert_eq!(row("auto.create.topics.enable"), ("true", true, 5));
    assert_eq!(row("offsets.topic.num.partitions"), ("16", true, 5));
    assert_eq!(row("log.retention.ms"), ("604800000", false, 5));
    assert_eq!(row("message.max.bytes"), ("1048588", false, 5));
    let mut names: Vec<_> = result.configs.iter().map(|row| row.name.clone()).collect();
    let reported = names.clone();
    names.sort();
    names.dedup();
    assert_eq!(names, reported, "sorted, and none twice");
}

#[test]
fn the_nameless_broker_reports_what_was_set_for_all() {
    let world = World::new(84);
    let node = world.start();
    assert!(describe(&world, &node, BROKER, "", None).configs.is_empty());
    set_cluster_wide(&world, &node, "message.max.bytes", "2000000");
    let result = describe(&world, &node, BROKER, "", None);
    let rows: Vec<_> = result
        .configs
        .iter()
        .map(|row| {
            (
                row.name.as_str(),
                row.value.as_deref().unwrap(),
                row.config_source,
            )
        })
        .collect();
    assert_eq!(rows, [("message.max.bytes", "2000000", 3)]);
}

#[test]
fn what_cannot_be_described_has_an_error_and_the_others_are_described() {
    let world = World::new(85);
    let node = world.start();
    for (kind, name, code) in [
        (TOPIC, "nobody", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (TOPIC, "a b", ErrorCode::INVALID_TOPIC_EXCEPTION),
        (BROKER, "2", ErrorCode::INVALID_REQUEST),
        (BROKER, "one", ErrorCode::INVALID_REQUEST),
        (32, "group", ErrorCode::INVALID_REQUEST),
    ] {
        let result = describe(&world, &node, kind, name, None);
        assert_eq!(result.error_code, code, "{kind} {name}");
        assert_eq!(
            (result.resource_type, result.resource_name.as_str()),
            (kind, name)
        );
        assert!(result.configs.is_empty());
    }
}

fn pages(world: &World, node: &Node, topics: &[&str], limit: i32) -> Vec<DescribeTopicPartitionsResponse> {
    let mut cursor = None;
    let mut pages = Vec::new();
    loop {
        let request = DescribeTopicPartitionsRequest {
            topics: topics
                .iter()
                .map(|name| TopicRequest { name: (*name).into() })
                .collect(),
            response_partition_limit: limit,
            cursor,
        };
        let page = world.run(describe_topic_partitions::handle(&node.context, request, 0));
        cursor = page.next_cursor.clone();
        pages.push(page);
        if cursor.is_none() {
            return pages;
        }
        assert!(pages.len() < 100, "the cursor does not move");
    }
}

#[test]
fn topics_are_described_in_pages_without_a_gap_or_a_repeat() {
    let world = World::new(86);
    let node = world.start();
    for (name, partitions) in [("c", 3), ("a", 4), ("b", 1)] {
        created(&world, &node, name, partitions);
    }
    let expected: Vec<_> = [("a", 4), ("b", 1), ("c", 3)]
        .into_iter()
        .flat_map(|(name, partitions)| (0..partitions).map(move |index| (name.to_owned(), index)))
        .collect();
    for limit in [-5, 0, 1, 2, 3, 4, 5, 7, 8, 9, 5000] {
        for topics in [&[][..], &["c", "b", "a", "b"][..]] {
            let pages = pages(&world, &node, topics, limit);
            let mut seen = Vec::new();
            for page in &pages {
                let rows = page
                    .topics
                    .iter()
                    .map(|topic| topic.partitions.len())
                    .sum::<usize>();
                assert!(rows <= limit.max(1) as usize, "limit {limit}");
                for topic in &page.topics {
                    let name = topic.name.as_deref().unwrap().to_owned();
                    seen.extend(
                        topic
                            .partitions
                            .iter()
                            .map(|row| (name.clone(), row.partition_index)),
                    );
                }
            }
            assert_eq!(seen, expected, "limit {limit}");
        }
    }
}

#[test]
fn a_described_partition_has_leader_replicas_and_empty_lists_not_null() {
    let world = World::new(87);
    let node = world.start();
    let id = created(&world, &node, "a", 1);
    let page = pages(&world, &node, &["a", "nobody", "a b"], 100).remove(0);
    let codes: Vec<_> = page
        .topics
        .iter()
        .map(|topic| (topic.name.as_deref().unwrap(), topic.error_code))
        .collect();
    assert_eq!(
        codes,
        [
            ("a", ErrorCode::NONE),
            ("a b", ErrorCode::INVALID_TOPIC_EXCEPTION),
            ("nobody", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ]
    );
    assert_eq!(page.topics[0].topic_id, id);
    let row = &page.topics[0].partitions[0];
    assert_eq!(
        (row.leader_id, row.leader_epoch, &row.replica_nodes[..]),
        (1, 7, &[1][..])
    );
    assert_eq!(row.eligible_leader_replicas.as_deref(), Some(&[][..]));
    assert_eq!(row.last_known_elr.as_deref(), Some(&[][..]));
}

#[test]
fn a_cursor_that_points_nowhere_is_an_invalid_request() {
    let world = World::new(88);
    let node = world.start();
    created(&world, &node, "a", 1);
    for (topic_name, partition_index) in [("b", 0), ("a", -1)] {
        let request = DescribeTopicPartitionsRequest {
            topics: vec![TopicRequest { name: "a".into() }],
            response_partition_limit: 10,
            cursor: Some(Cursor {
                topic_name: topic_name.into(),
                partition_index,
            }),
        };
        let page = world.run(describe_topic_partitions::handle(&node.context, request, 0));
        assert_eq!(page.topics[0].error_code, ErrorCode::INVALID_REQUEST);
    }
}

#[test]
fn the_cluster_is_described_for_clients_of_brokers_only() {
    let world = World::new(89);
    let node = world.start();
    let ask = |endpoint_type, include| {
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: include,
            endpoint_type,
            ..DescribeClusterRequest::default()
        };
        world.run(describe_cluster::handle(&node.context, request, 2))
    };
    let response = ask(1, false);
    assert_eq!(response.error_code, ErrorCode::NONE);
    assert_eq!(
        Some(response.cluster_id.as_str()),
        node.state().cluster_id().map(|id| &**id)
    );
    assert_eq!((response.controller_id, response.brokers[0].broker_id), (1, 1));
    assert_eq!(response.cluster_authorized_operations, i32::MIN);
    assert_ne!(ask(1, true).cluster_authorized_operations, i32::MIN);
    assert_eq!(ask(2, false).error_code, ErrorCode::MISMATCHED_ENDPOINT_TYPE);
    assert_eq!(ask(3, false).error_code, ErrorCode::UNSUPPORTED_ENDPOINT_TYPE);
}
