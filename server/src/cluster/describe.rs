//! Configs as DescribeConfigs and CreateTopics report them: value, where it comes from, what else would apply.

use super::state::ConfigSet;
use super::topic_config::{ConfigType, TOPIC_KEYS, TopicKey};
use crate::config::{Config, TopicsConfig};

/// Where a value comes from (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// Set for the topic.
    Topic = 1,
    /// Set for all brokers at run time.
    DynamicDefaultBroker = 3,
    /// The node's file.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
}

/// A value that applies, or would if those before it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The config that holds it.
    pub name: &'static str,
    /// The value.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
}

/// One config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: &'static str,
    /// The value in force.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
    /// Whether no request can change it.
    pub read_only: bool,
    /// The type.
    pub kind: ConfigType,
    /// What it does.
    pub documentation: &'static str,
    /// The value in force and those behind it, most specific first.
    pub synonyms: Vec<Synonym>,
}

/// All configs of a topic, by name.
#[must_use]
pub fn topic_entries(topic: &ConfigSet, defaults: &ConfigSet, config: &Config) -> Vec<Entry> {
    TOPIC_KEYS
        .iter()
        .filter_map(|key| topic_entry(key, topic, defaults, &config.topics))
        .collect()
}

fn topic_entry(
    key: &'static TopicKey,
    topic: &ConfigSet,
    defaults: &ConfigSet,
    file: &TopicsConfig,
) -> Option<Entry> {
    // A stored value that this version would refuse has no effect and is not shown as if it had.
    let stored = |value: &String| key.rule.check(value).ok();
    let mut synonyms = Vec::new();
    synonyms.extend(topic.values.get(key.name).and_then(stored).map(|value| Synonym {
        name: key.name,
        value,
        source: Source::Topic,
    }));
    synonyms.extend(default_synonyms(key, defaults, file));
    let first = synonyms.first()?;
    Some(Entry {
        name: key.name,
        value: first.value.clone(),
        source: first.source,
        read_only: false,
        kind: key.rule.kind(),
        documentation: key.documentation,
        synonyms,
    })
}

/// What a topic gets that does not set the config, most specific first.
pub(super) fn default_synonyms(key: &TopicKey, defaults: &ConfigSet, file: &TopicsConfig) -> Vec<Synonym> {
    let name = key.broker_name.unwrap_or(key.name);
    let synonym = |value, source| Synonym { name, value, source };
    let mut synonyms = Vec::new();
    let dynamic = defaults
        .values
        .get(name)
        .and_then(|value| key.rule.check(value).ok());
    synonyms.extend(dynamic.map(|value| synonym(value, Source::DynamicDefaultBroker)));
    let (here, built_in) = ((key.in_file)(file), (key.in_file)(&TopicsConfig::default()));
    if here != built_in {
        synonyms.push(synonym(here, Source::StaticBroker));
    }
    synonyms.push(synonym(built_in, Source::Default));
    synonyms
}
