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
        ("remote.log.copy.disable", "true", "copied as soon as"),
        ("remote.storage.enable", "yes", "true or false"),
        ("local.retention.ms", "-3", "at least -2"),
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

/// The document that operators read, made from the tables.
fn reference() -> String {
    let file = TopicsConfig::default();
    let mut text = String::from(
        "# Topic configs\n\nMade from the tables in `server/src/cluster/topic_config/table.rs`; a test compares \
         them. What is not listed here is refused\nwith INVALID_CONFIG. A topic that does not set a config gets the \
         value that was set for all brokers under the broker's name\n(`kafka-configs --entity-type brokers \
         --entity-default`), else the one of the node's file.\n\n## Obeyed\n\n| config | default | for all brokers | \
         meaning |\n|---|---|---|---|\n",
    );
    for key in TOPIC_KEYS {
        let only = match key.rule {
            Rule::Only { why, .. } => format!(" No other value: {why}."),
            _ => String::new(),
        };
        let (default, broker) = ((key.in_file)(&file), key.broker_name.unwrap_or("-"));
        let row = format!(
            "| `{}` | `{default}` | `{broker}` | {}{only} |\n",
            key.name, key.documentation
        );
        text.push_str(&row);
    }
    text.push_str("\n## Refused\n\n| config | why |\n|---|---|\n");
    for (name, why) in NOT_OBEYED {
        text.push_str(&format!("| `{name}` | {why} |\n"));
    }
    text
}

#[test]
fn the_document_of_topic_configs_says_what_the_tables_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ops/topic-configs.md");
    if std::env::var_os("CHRONIK_WRITE_DOCS").is_some() {
        std::fs::write(path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == reference(),
        "{path} differs from the tables: run this test with CHRONIK_WRITE_DOCS=1"
    );
}
