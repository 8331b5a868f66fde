use super::*;

fn set(pairs: &[(&str, &str)]) -> ConfigSet {
    ConfigSet {
        revision: 1,
        values: pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

#[test]
fn every_default_passes_its_own_rule_and_the_tables_are_sorted_and_disjoint() {
    let file = TopicsConfig::default();
    for key in TOPIC_KEYS {
        let default = (key.in_file)(&file);
        assert_eq!(key.rule.check(&default), Ok(default), "{}", key.name);
        assert!(
            NOT_OBEYED.iter().all(|(name, _)| *name != key.name),
            "{}",
            key.name
        );
    }
    assert!(TOPIC_KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
    assert!(NOT_OBEYED.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

#[test]
fn a_config_that_is_obeyed_is_accepted_in_canonical_form() {
    for (name, value, stored) in [
        ("retention.ms", "-1", "-1"),
        ("retention.ms", " 86400000 ", "86400000"),
        ("retention.bytes", "+5", "5"),
        ("segment.bytes", "1048576", "1048576"),
        ("max.message.bytes", "2147483647", "2147483647"),
        ("message.timestamp.type", "LogAppendTime", "LogAppendTime"),
        ("cleanup.policy", "delete", "delete"),
        ("cleanup.policy", " delete ", "delete"),
        ("compression.type", "producer", "producer"),
        ("unclean.leader.election.enable", "FALSE", "false"),
        ("flush.messages", "9223372036854775807", "9223372036854775807"),
        ("min.insync.replicas", "2", "2"),
    ] {
        assert_eq!(check(name, value), Ok(stored.to_owned()), "{name}={value}");
    }
}

#[test]
fn a_config_that_is_not_obeyed_is_refused_and_the_client_is_told_why() {
    for (name, value, why) in [
        ("cleanup.policy", "compact", "compaction is not supported yet"),
        (
            "cleanup.policy",
            "compact,delete",
            "compaction is not supported yet",
        ),
        ("cleanup.policy", "", "only delete is accepted"),
        ("compression.type", "zstd", "as the producer compressed them"),
        ("unclean.leader.election.enable", "true", "only false is accepted"),
        ("preallocate", "false", "is not supported"),
        ("remote.storage.enable", "true", "tiered storage"),
        ("segment.jitter.ms", "0", "without jitter"),
        ("retention.ms", "-2", "must be at least -1"),
        ("retention.ms", "1e3", "not a number of type LONG"),
        ("retention.ms", "", "not a number of type LONG"),
        ("segment.bytes", "1048575", "must be at least 1048576"),
        ("segment.bytes", "2147483648", "not a number of type INT"),
        (
            "message.timestamp.type",
            "createtime",
            "must be one of CreateTime, LogAppendTime",
        ),
        ("min.insync.replicas", "0", "must be at least 1"),
        ("Retention.ms", "1", "Unknown topic config name"),
        ("no.such.config", "1", "Unknown topic config name: no.such.config"),
    ] {
        let said = check(name, value).unwrap_err();
        assert!(said.contains(why), "{name}={value}: {said}");
    }
}

#[test]
fn a_setting_comes_from_the_topic_then_the_cluster_then_the_file() {
    let file = TopicsConfig {
        retention_ms: 1,
        ..TopicsConfig::default()
    };
    let none = ConfigSet::default();
    assert_eq!(TopicSettings::resolve(&none, &none, &file).retention_ms, 1);
    let cluster = set(&[("log.retention.ms", "2"), ("message.max.bytes", "77")]);
    let settings = TopicSettings::resolve(&none, &cluster, &file);
    assert_eq!((settings.retention_ms, settings.max_message_bytes), (2, 77));
    let topic = set(&[("retention.ms", "3"), ("message.timestamp.type", "LogAppendTime")]);
    let settings = TopicSettings::resolve(&topic, &cluster, &file);
    assert_eq!((settings.retention_ms, settings.max_message_bytes), (3, 77));
    assert_eq!(settings.timestamp_type, TimestampType::LogAppendTime);
}

#[test]
fn a_stored_value_that_this_version_would_refuse_has_no_effect() {
    let file = TopicsConfig::default();
    let topic = set(&[("retention.ms", "soon"), ("segment.bytes", "7")]);
    let settings = TopicSettings::resolve(&topic, &ConfigSet::default(), &file);
    let plain = TopicSettings::resolve(&ConfigSet::default(), &ConfigSet::default(), &file);
    assert_eq!(settings, plain);
}
