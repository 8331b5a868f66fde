//! Changes of configs: of a topic, and of all brokers together.

use super::context::ControlContext;
use super::error::ControlError;
use super::ids;
use super::kafka_error::KafkaError;
use super::state::{ConfigSet, Refusal};
use super::topic_config::{ConfigType, Rule, TOPIC_KEYS, TopicKey, check_limits, find, list, refusal};
use crate::kafka::wire::ErrorCode;
use std::collections::BTreeMap;

/// How often a change is made again that met another one.
const ATTEMPTS: usize = 16;
/// The longest value, as in Kafka.
const MAX_VALUE_BYTES: usize = i16::MAX as usize;

/// The number of a topic among the types of resources.
pub const TOPIC: i8 = 2;
/// The number of a broker among the types of resources.
pub const BROKER: i8 = 4;

/// What to do with one config (KIP-339).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Set it.
    Set(String),
    /// Go back to the default.
    Delete,
    /// Add these elements to a list.
    Append(String),
    /// Take these elements from a list.
    Subtract(String),
}

/// What to do with the configs of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These, and nothing else (AlterConfigs).
    Replace(BTreeMap<String, String>),
    /// These; the others stay (IncrementalAlterConfigs).
    Update(BTreeMap<String, Operation>),
}

/// The configs of a kind of resource: which there are, and by which names.
struct Schema {
    find: fn(&str) -> Option<&'static TopicKey>,
    refuse: fn(&str) -> KafkaError,
}

const OF_TOPICS: Schema = Schema {
    find,
    refuse: |name| KafkaError::new(ErrorCode::INVALID_CONFIG, refusal(name)),
};

const OF_BROKERS: Schema = Schema {
    find: |name| TOPIC_KEYS.iter().find(|key| key.broker_name == Some(name)),
    refuse: |name| {
        let what = format!("Cannot update these configs dynamically: {name}; it is set in the node's file");
        KafkaError::new(ErrorCode::INVALID_REQUEST, what)
    },
};

/// Changes the configs of a resource, all or none of them. Where another request changes the same resource at the same
/// time, one comes after the other, and neither is lost.
///
/// # Errors
/// For the client.
pub async fn alter(
    context: &ControlContext,
    resource_type: i8,
    name: &str,
    change: &Change,
    validate_only: bool,
) -> Result<(), KafkaError> {
    for _ in 0..ATTEMPTS {
        let result = match resource_type {
            TOPIC => alter_topic(context, name, change, validate_only).await,
            BROKER => alter_brokers(context, name, change, validate_only).await,
            other => {
                let what = format!("Unknown resource type {other}");
                return Err(KafkaError::new(ErrorCode::INVALID_REQUEST, what));
            }
        };
        match result {
            Err(Failure::Stale) => {}
            Err(Failure::Final(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
    Err(KafkaError::of_topic(&ControlError::Refused(Refusal::Stale), name))
}

enum Failure {
    Stale,
    Final(KafkaError),
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        Self::Final(error)
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Refused(Refusal::Stale) => Self::Stale,
            other => Self::Final(other.into()),
        }
    }
}

async fn alter_topic(
    context: &ControlContext,
    name: &str,
    change: &Change,
    validate_only: bool,
) -> Result<(), Failure> {
    let image = context.controller.image();
    let topic = image.state.topic(name).ok_or_else(KafkaError::unknown_topic)?;
    if topic.is_internal() {
        return Err(KafkaError::internal_topic(name).into());
    }
    let default = |key: &TopicKey| {
        let broker = key
            .broker_name
            .and_then(|name| image.state.broker_defaults().values.get(name));
        broker
            .cloned()
            .unwrap_or_else(|| (key.in_file)(&context.config.topics))
    };
    let configs = change.apply(&topic.configs, &OF_TOPICS, &default)?;
    fits(context, &configs)?;
    if !validate_only && configs != topic.configs.values {
        let revision = topic.configs.revision;
        context
            .controller
            .set_topic_configs(topic.id, revision, configs)
            .await?;
        log::info!("event=topic_configs_set topic={name}");
    }
    Ok(())
}

/// A broker takes all brokers' configs only: what is decided by them is decided once for all replicas.
async fn alter_brokers(
    context: &ControlContext,
    name: &str,
    change: &Change,
    validate_only: bool,
) -> Result<(), Failure> {
    if !name.is_empty() {
        check_broker_name(context, name)?;
        let what = "configs of a single broker cannot be changed at run time: change them for all brokers (an empty \
                    resource name, --entity-default), or in the node's file";
        return Err(KafkaError::new(ErrorCode::INVALID_CONFIG, what).into());
    }
    let image = context.controller.image();
    let current = image.state.broker_defaults();
    let default = |key: &TopicKey| (key.in_file)(&context.config.topics);
    let configs = change.apply(current, &OF_BROKERS, &default)?;
    fits(context, &configs)?;
    if !validate_only && configs != current.values {
        context
            .controller
            .set_broker_defaults(current.revision, configs)
            .await?;
        log::info!("event=broker_defaults_set");
    }
    Ok(())
}

fn fits(context: &ControlContext, configs: &BTreeMap<String, String>) -> Result<(), KafkaError> {
    check_limits(configs, &context.config).map_err(|why| KafkaError::new(ErrorCode::INVALID_CONFIG, why))
}

/// Checks that a broker's name is this broker's.
///
/// # Errors
/// INVALID_REQUEST.
pub fn check_broker_name(context: &ControlContext, name: &str) -> Result<(), KafkaError> {
    let here = ids::broker_id(context.node);
    let what = match name.parse::<i32>() {
        Ok(broker) if broker == here => return Ok(()),
        Ok(_) => format!("Unexpected broker id, expected {here} or empty string, but received {name}"),
        Err(_) => format!("Broker id must be an integer, but it is: {name}"),
    };
    Err(KafkaError::new(ErrorCode::INVALID_REQUEST, what))
}

type Default<'a> = &'a (dyn Fn(&TopicKey) -> String + Sync);

impl Change {
    fn apply(
        &self,
        current: &ConfigSet,
        schema: &Schema,
        default: Default<'_>,
    ) -> Result<BTreeMap<String, String>, KafkaError> {
        match self {
            Self::Replace(values) => values
                .iter()
                .map(|(name, value)| Ok((name.clone(), schema.check(name, value)?)))
                .collect(),
            Self::Update(operations) => {
                let mut values = current.values.clone();
                for (name, operation) in operations {
                    schema.update(&mut values, name, operation, default)?;
                }
                Ok(values)
            }
        }
    }
}

impl Schema {
    fn key(&self, name: &str) -> Result<&'static TopicKey, KafkaError> {
        (self.find)(name).ok_or_else(|| (self.refuse)(name))
    }

    fn check(&self, name: &str, value: &str) -> Result<String, KafkaError> {
        let invalid = |what| Err(KafkaError::new(ErrorCode::INVALID_CONFIG, what));
        let rule: &Rule = &self.key(name)?.rule;
        if value.len() > MAX_VALUE_BYTES {
            return invalid(format!("the value of {name} exceeds {MAX_VALUE_BYTES} bytes"));
        }
        rule.check(value)
            .or_else(|why| invalid(format!("Invalid value {value} for configuration {name}: {why}")))
    }

    fn update(
        &self,
        values: &mut BTreeMap<String, String>,
        name: &str,
        operation: &Operation,
        default: Default<'_>,
    ) -> Result<(), KafkaError> {
        let value = match operation {
            Operation::Set(value) => value.clone(),
            Operation::Delete => {
                values.remove(name);
                return Ok(());
            }
            Operation::Append(more) | Operation::Subtract(more) => {
                let key = self.key(name)?;
                if key.rule.kind() != ConfigType::List {
                    let verb = if matches!(operation, Operation::Append(_)) {
                        "APPEND"
                    } else {
                        "SUBTRACT"
                    };
                    let what = format!("Can't {verb} to key {name} because its type is not LIST.");
                    return Err(KafkaError::new(ErrorCode::INVALID_CONFIG, what));
                }
                let old = values.get(name).cloned().unwrap_or_else(|| default(key));
                let mut elements: Vec<&str> = list(&old).collect();
                for element in list(more) {
                    match operation {
                        Operation::Subtract(_) => elements.retain(|old| *old != element),
                        _ if elements.contains(&element) => {}
                        _ => elements.push(element),
                    }
                }
                elements.join(",")
            }
        };
        values.insert(name.to_owned(), self.check(name, &value)?);
        Ok(())
    }
}
