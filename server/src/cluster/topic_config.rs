//! The configs of a topic: those that are obeyed are accepted, all others are refused with the reason.

mod rule;
mod table;

#[cfg(test)]
mod tests;

pub use rule::{ConfigType, Rule, list};
pub use table::{NOT_OBEYED, TOPIC_KEYS, TopicKey};

use super::state::ConfigSet;
use crate::config::{Config, TopicsConfig};
use crate::kafka::record::TimestampType;
use std::collections::BTreeMap;

/// What the configs of a topic come to: each from the topic, else from the cluster-wide broker configs, else from the
/// node's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// How long a segment is kept after its newest record; -1 for ever.
    pub retention_ms: i64,
    /// How much of a partition is kept; -1 for everything.
    pub retention_bytes: i64,
    /// Whether sealed segments go to the object tier.
    pub remote_storage: bool,
    /// How long a tiered segment is kept locally; -1 for ever. -2 is resolved.
    pub local_retention_ms: i64,
    /// How much is kept locally; -1 for everything. -2 is resolved.
    pub local_retention_bytes: i64,
    /// The size at which a segment is sealed.
    pub segment_bytes: u64,
    /// The age at which a segment is sealed.
    pub segment_ms: i64,
    /// The largest record batch.
    pub max_message_bytes: u64,
    /// Whose clock a record's timestamp comes from.
    pub timestamp_type: TimestampType,
    /// How far a timestamp may lie behind the broker's clock.
    pub timestamp_before_max_ms: i64,
    /// How far a timestamp may lie ahead of the broker's clock.
    pub timestamp_after_max_ms: i64,
    /// The number of in-sync replicas below which acks=all is refused.
    pub min_insync_replicas: u32,
}

impl TopicSettings {
    /// The settings of a topic with these configs.
    #[must_use]
    pub fn resolve(topic: &ConfigSet, defaults: &ConfigSet, file: &TopicsConfig) -> Self {
        let resolver = Resolver {
            topic,
            defaults,
            file,
        };
        let number = |name| resolver.number(name);
        let count = |name| u64::try_from(resolver.number(name)).unwrap_or(0);
        Self {
            retention_ms: number("retention.ms"),
            retention_bytes: number("retention.bytes"),
            remote_storage: resolver.value("remote.storage.enable") == "true",
            local_retention_ms: resolver.local("local.retention.ms", "retention.ms"),
            local_retention_bytes: resolver.local("local.retention.bytes", "retention.bytes"),
            segment_bytes: count("segment.bytes"),
            segment_ms: number("segment.ms"),
            max_message_bytes: count("max.message.bytes"),
            timestamp_type: if resolver.value("message.timestamp.type") == "LogAppendTime" {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            },
            timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
            min_insync_replicas: u32::try_from(number("min.insync.replicas")).unwrap_or(u32::MAX),
        }
    }
}

struct Resolver<'a> {
    topic: &'a ConfigSet,
    defaults: &'a ConfigSet,
    file: &'a TopicsConfig,
}

impl Resolver<'_> {
    /// The value in force. Stored values were checked by the version that stored them; one that this version would
    /// refuse has no effect.
    fn value(&self, name: &str) -> String {
        let key = find(name).expect("every setting has a row in the table of topic keys");
        let set = self.topic.values.get(name);
        let set = set.or_else(|| self.defaults.values.get(key.broker_name?));
        set.and_then(|value| key.rule.check(value).ok())
            .unwrap_or_else(|| (key.in_file)(self.file))
    }

    /// A local limit, which at -2 is the one for the whole log.
    fn local(&self, name: &str, whole: &str) -> i64 {
        match self.number(name) {
            -2 => self.number(whole),
            number => number,
        }
    }

    fn number(&self, name: &str) -> i64 {
        self.value(name)
            .parse()
            .expect("the rule of a number and its default admit numbers only")
    }
}

/// The row of this topic config, if it is obeyed.
#[must_use]
pub fn find(name: &str) -> Option<&'static TopicKey> {
    TOPIC_KEYS.iter().find(|key| key.name == name)
}

/// Checks a value and gives it its canonical form.
///
/// # Errors
/// What is wrong, for the client: the key is unknown, or is not obeyed, or does not take the value.
pub fn check(name: &str, value: &str) -> Result<String, String> {
    let key = find(name).ok_or_else(|| refusal(name))?;
    key.rule
        .check(value)
        .map_err(|why| format!("Invalid value {value} for configuration {name}: {why}"))
}

/// Why a config that has no row in the table is refused, for the client.
#[must_use]
pub fn refusal(name: &str) -> String {
    match NOT_OBEYED.iter().find(|(known, _)| *known == name) {
        Some((_, why)) => format!("Topic config {name} is not supported: {why}"),
        None => format!("Unknown topic config name: {name}"),
    }
}

/// Checks values that passed one by one against what this node can hold.
///
/// # Errors
/// What does not fit, for the client.
pub fn check_limits(configs: &BTreeMap<String, String>, config: &Config) -> Result<(), String> {
    let tiered = configs
        .get("remote.storage.enable")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if tiered && config.tier.url.is_none() {
        return Err(
            "Invalid value true for configuration remote.storage.enable: this node has no object tier \
                    (tier.url)"
                .to_owned(),
        );
    }
    let limit = config
        .storage
        .max_entry_bytes()
        .min(config.kafka.max_request_bytes as u64);
    for name in ["max.message.bytes", "message.max.bytes"] {
        let asked = configs.get(name).and_then(|value| value.parse::<u64>().ok());
        if asked.is_some_and(|bytes| bytes > limit) {
            return Err(format!(
                "Invalid value for configuration {name}: this node takes batches of at most {limit} bytes \
                 (storage.journal_file_bytes, kafka.max_request_bytes)"
            ));
        }
    }
    Ok(())
}
