//! Configs as DescribeConfigs and CreateTopics report them: value, where it comes from, what else would apply.

use super::broker_config::{BROKER_KEYS, BrokerKey};
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

/// The configs of this broker, by name: those of its file, which no request changes, and the defaults of topics, which
/// can be changed for all brokers together.
#[must_use]
pub fn broker_entries(defaults: &ConfigSet, config: &Config) -> Vec<Entry> {
    let fixed = BROKER_KEYS.iter().map(|key| fixed_entry(key, config));
    let dynamic = TOPIC_KEYS
        .iter()
        .filter_map(|key| default_entry(key, default_synonyms(key, defaults, &config.topics)));
    let mut entries: Vec<Entry> = fixed.chain(dynamic).collect();
    entries.sort_by_key(|entry| entry.name);
    entries
}

/// What was set for all brokers at run time.
#[must_use]
pub fn broker_default_entries(defaults: &ConfigSet) -> Vec<Entry> {
    let entry = |key: &'static TopicKey| {
        let mut synonyms = default_synonyms(key, defaults, &TopicsConfig::default());
        synonyms.retain(|synonym| synonym.source == Source::DynamicDefaultBroker);
        default_entry(key, synonyms)
    };
    TOPIC_KEYS.iter().filter_map(entry).collect()
}

fn default_entry(key: &'static TopicKey, synonyms: Vec<Synonym>) -> Option<Entry> {
    let first = synonyms.first()?;
    Some(Entry {
        name: key.broker_name?,
        value: first.value.clone(),
        source: first.source,
        read_only: false,
        kind: key.rule.kind(),
        documentation: key.documentation,
        synonyms,
    })
}

fn fixed_entry(key: &'static BrokerKey, config: &Config) -> Entry {
    let (here, built_in) = ((key.value)(config), (key.value)(&Config::default()));
    let synonym = |value, source| Synonym {
        name: key.name,
        value,
        source,
    };
    let mut synonyms = Vec::new();
    if here != built_in {
        synonyms.push(synonym(here.clone(), Source::StaticBroker));
    }
    synonyms.push(synonym(built_in, Source::Default));
    Entry {
        name: key.name,
        value: here,
        source: synonyms.first().map_or(Source::Default, |synonym| synonym.source),
        read_only: true,
        kind: key.kind,
        documentation: key.documentation,
        synonyms,
    }
}
