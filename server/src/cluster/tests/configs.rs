use super::topics::{config, create, created, topic};
use super::world::{Node, World};
use crate::cluster::state::OFFSETS_TOPIC;
use crate::kafka::api::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use crate::kafka::api::{AlterConfigsRequest, IncrementalAlterConfigsRequest, alter_configs as legacy};
use crate::kafka::handlers::{alter_configs, incremental_alter_configs};
use crate::kafka::wire::ErrorCode;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

type Step<'a> = (i8, &'a str, Option<&'a str>);

fn resource(resource_type: i8, name: &str, steps: &[Step<'_>]) -> AlterConfigsResource {
    let configs = steps
        .iter()
        .map(|(config_operation, name, value)| AlterableConfig {
            name: (*name).into(),
            config_operation: *config_operation,
            value: value.map(Into::into),
        });
    AlterConfigsResource {
        resource_type,
        resource_name: name.into(),
        configs: configs.collect(),
    }
}

fn alter_all(
    world: &World,
    node: &Node,
    resources: Vec<AlterConfigsResource>,
    validate_only: bool,
) -> Vec<(ErrorCode, String)> {
    let request = IncrementalAlterConfigsRequest {
        resources,
        validate_only,
    };
    let response = world.run(incremental_alter_configs::handle(&node.context, request, 1));
    let responses = response.responses.into_iter();
    responses
        .map(|answer| {
            (
                answer.error_code,
                answer.error_message.unwrap_or_default().to_string(),
            )
        })
        .collect()
}

fn alter(
    world: &World,
    node: &Node,
    resource_type: i8,
    name: &str,
    steps: &[Step<'_>],
) -> (ErrorCode, String) {
    alter_all(world, node, vec![resource(resource_type, name, steps)], false).remove(0)
}

fn value(node: &Node, topic: &str, name: &str) -> Option<String> {
    node.state()
        .topic(topic)
        .unwrap()
        .configs
        .values
        .get(name)
        .cloned()
}

#[test]
fn set_and_delete_change_one_config_and_leave_the_others() {
    let world = World::new(70);
    let node = world.start();
    let mut wanted = topic("a", 1);
    wanted.configs = vec![config("retention.ms", "1"), config("segment.ms", "2")];
    create(&world, &node, wanted);
    let (code, message) = alter(
        &world,
        &node,
        TOPIC,
        "a",
        &[
            (SET, "retention.ms", Some("-1")),
            (SET, "retention.bytes", Some("77")),
        ],
    );
    assert_eq!(code, ErrorCode::NONE, "{message}");
    assert_eq!(value(&node, "a", "retention.ms").as_deref(), Some("-1"));
    assert_eq!(value(&node, "a", "segment.ms").as_deref(), Some("2"));
    let settings = node.context.settings(node.state().topic("a").unwrap());
    assert_eq!((settings.retention_ms, settings.retention_bytes), (-1, 77));
    let (code, _) = alter(&world, &node, TOPIC, "a", &[(DELETE, "retention.ms", None)]);
    assert_eq!(code, ErrorCode::NONE);
    assert_eq!(value(&node, "a", "retention.ms"), None);
    let settings = node.context.settings(node.state().topic("a").unwrap());
    assert_eq!(settings.retention_ms, 604_800_000);
}

#[test]
fn append_and_subtract_work_on_lists_and_on_nothing_else() {
    let world = World::new(71);
    let node = world.start();
    created(&world, &node, "a", 1);
    // The default is part of the list, as in Kafka.
    let (code, message) = alter(
        &world,
        &node,
        TOPIC,
        "a",
        &[(APPEND, "cleanup.policy", Some("delete"))],
    );
    assert_eq!(code, ErrorCode::NONE, "{message}");
    assert_eq!(value(&node, "a", "cleanup.policy").as_deref(), Some("delete"));
    for (step, text) in [
        (
            (APPEND, "cleanup.policy", Some("compact")),
            "compaction is not supported yet",
        ),
        (
            (SUBTRACT, "cleanup.policy", Some("delete")),
            "only delete is accepted",
        ),
        (
            (APPEND, "retention.ms", Some("1")),
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            (SUBTRACT, "retention.ms", Some("1")),
            "Can't SUBTRACT to key retention.ms because its type is not LIST.",
        ),
    ] {
        let (code, message) = alter(&world, &node, TOPIC, "a", &[step]);
        assert_eq!(code, ErrorCode::INVALID_CONFIG, "{message}");
        assert!(message.contains(text), "{message}");
    }
    let (code, message) = alter(
        &world,
        &node,
        TOPIC,
        "a",
        &[(SUBTRACT, "cleanup.policy", Some("compact"))],
    );
    assert_eq!(code, ErrorCode::NONE, "{message}");
    assert_eq!(value(&node, "a", "cleanup.policy").as_deref(), Some("delete"));
}

const SET_RETENTION: Step<'static> = (SET, "retention.ms", Some("5"));

fn is_refused(
    world: &World,
    node: &Node,
    resource_type: i8,
    name: &str,
    steps: &[Step<'_>],
    code: ErrorCode,
) {
    let (got, message) = alter(world, node, resource_type, name, steps);
    assert_eq!(got, code, "{resource_type} {name} {steps:?}: {message}");
    assert!(!message.is_empty());
}

#[test]
fn a_change_with_one_bad_config_is_refused_whole() {
    let world = World::new(72);
    let node = world.start();
    created(&world, &node, "a", 1);
    let long = "1".repeat(40_000);
    let (config, request) = (ErrorCode::INVALID_CONFIG, ErrorCode::INVALID_REQUEST);
    for (step, code) in [
        ((SET, "no.such", Some("1")), config),
        ((SET, "retention.bytes", Some("-9")), config),
        ((SET, "retention.bytes", Some(&*long)), config),
        ((SET, "max.message.bytes", Some("2000000000")), config),
        (SET_RETENTION, request),
        ((SET, "segment.ms", None), request),
        ((4, "segment.ms", Some("1")), request),
    ] {
        is_refused(&world, &node, TOPIC, "a", &[SET_RETENTION, step], code);
    }
    let set = value(&node, "a", "retention.ms");
    assert_eq!(set, None, "a part of a refused change was made");
}

#[test]
fn resources_that_cannot_be_altered_are_refused_with_kafkas_code() {
    let world = World::new(78);
    let node = world.start();
    world.run(node.context.offsets_topic()).unwrap();
    let (config, request) = (ErrorCode::INVALID_CONFIG, ErrorCode::INVALID_REQUEST);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let internal = ErrorCode::INVALID_TOPIC_EXCEPTION;
    let of_broker: Step<'_> = (SET, "log.retention.ms", Some("1"));
    for (kind, name, step, code) in [
        (TOPIC, "nobody", SET_RETENTION, unknown),
        (TOPIC, OFFSETS_TOPIC, SET_RETENTION, internal),
        (BROKER, "1", of_broker, config),
        (BROKER, "2", of_broker, request),
        (BROKER, "x", of_broker, request),
        (BROKER, "", (SET, "num.partitions", Some("1")), request),
        (BROKER, "", (SET, "log.retention.ms", Some("x")), config),
        (8, "1", (SET, "root", Some("DEBUG")), request),
        (99, "a", SET_RETENTION, request),
    ] {
        is_refused(&world, &node, kind, name, &[step], code);
    }
}

#[test]
fn a_resource_twice_in_one_request_is_refused_both_times() {
    let world = World::new(73);
    let node = world.start();
    created(&world, &node, "a", 1);
    let twice = || resource(TOPIC, "a", &[(SET, "retention.ms", Some("5"))]);
    let answers = alter_all(&world, &node, vec![twice(), twice()], false);
    assert_eq!(answers.len(), 2);
    for (code, message) in answers {
        assert_eq!(code, ErrorCode::INVALID_REQUEST, "{message}");
    }
    assert_eq!(value(&node, "a", "retention.ms"), None);
}

#[test]
fn validate_only_checks_and_changes_nothing() {
    let world = World::new(74);
    let node = world.start();
    created(&world, &node, "a", 1);
    let good = resource(TOPIC, "a", &[(SET, "retention.ms", Some("5"))]);
    let bad = resource(BROKER, "", &[(SET, "log.retention.ms", Some("x"))]);
    let codes: Vec<_> = alter_all(&world, &node, vec![good, bad], true)
        .into_iter()
        .map(|(code, _)| code)
        .collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::INVALID_CONFIG]);
    assert_eq!(value(&node, "a", "retention.ms"), None);
}

#[test]
fn legacy_alter_configs_replaces_everything() {
    let world = World::new(75);
    let node = world.start();
    let mut wanted = topic("a", 1);
    wanted.configs = vec![config("retention.ms", "1"), config("segment.ms", "2")];
    create(&world, &node, wanted);
    let request = |value: Option<&str>| AlterConfigsRequest {
        resources: vec![legacy::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: "a".into(),
            configs: vec![legacy::AlterableConfig {
                name: "retention.bytes".into(),
                value: value.map(Into::into),
            }],
        }],
        validate_only: false,
    };
    let response = world.run(alter_configs::handle(&node.context, request(None), 2));
    assert_eq!(response.responses[0].error_code, ErrorCode::INVALID_REQUEST);
    let response = world.run(alter_configs::handle(&node.context, request(Some("9")), 2));
    assert_eq!(response.responses[0].error_code, ErrorCode::NONE);
    let state = node.state();
    let values = &state.topic("a").unwrap().configs.values;
    assert_eq!(values.len(), 1);
    assert_eq!(values["retention.bytes"], "9");
}

#[test]
fn concurrent_changes_of_different_configs_of_one_topic_are_all_made() {
    for seed in 0..10 {
        let world = World::new(760 + seed);
        let node = world.start();
        created(&world, &node, "a", 1);
        let names = [
            "retention.ms",
            "retention.bytes",
            "segment.ms",
            "flush.ms",
            "flush.messages",
            "min.insync.replicas",
        ];
        let work = names.iter().map(|name| -> chronik_core::BoxFuture<'_, _> {
            let request = IncrementalAlterConfigsRequest {
                resources: vec![resource(TOPIC, "a", &[(SET, name, Some("3"))])],
                validate_only: false,
            };
            Box::pin(incremental_alter_configs::handle(&node.context, request, 1))
        });
        for response in world.run(crate::cluster::join::join_all(work.collect())) {
            let answer = &response.responses[0];
            assert_eq!(answer.error_code, ErrorCode::NONE, "{:?}", answer.error_message);
        }
        assert_eq!(node.state().topic("a").unwrap().configs.values.len(), names.len());
    }
}

#[test]
fn cluster_wide_defaults_apply_to_topics_that_do_not_set_the_config_and_survive_a_crash() {
    let mut world = World::new(77);
    let node = world.start();
    created(&world, &node, "plain", 1);
    let mut wanted = topic("own", 1);
    wanted.configs = vec![config("retention.ms", "5")];
    create(&world, &node, wanted);
    let (code, message) = alter(
        &world,
        &node,
        BROKER,
        "",
        &[(SET, "log.retention.ms", Some("99"))],
    );
    assert_eq!(code, ErrorCode::NONE, "{message}");
    world.crash(node);
    let node = world.start();
    let state = node.state();
    let retention = |name: &str| node.context.settings(state.topic(name).unwrap()).retention_ms;
    assert_eq!((retention("plain"), retention("own")), (99, 5));
}
