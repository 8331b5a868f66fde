//! DescribeConfigs.

use crate::cluster::alter::{BROKER, TOPIC, check_broker_name};
use crate::cluster::context::ControlContext;
use crate::cluster::describe::{self, Entry};
use crate::cluster::kafka_error::KafkaError;
use crate::cluster::names::check_topic_name;
use crate::kafka::api::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::kafka::wire::ErrorCode;

/// Reports the configs of topics and of this broker: values, where they come from, what else would apply.
pub async fn handle(
    context: &ControlContext,
    request: DescribeConfigsRequest,
    _version: i16,
) -> DescribeConfigsResponse {
    let (synonyms, documentation) = (request.include_synonyms, request.include_documentation);
    let describe = |resource: DescribeConfigsResource| {
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..DescribeConfigsResult::default()
        };
        match entries(context, &resource) {
            Ok(entries) => {
                let entries = entries
                    .into_iter()
                    .filter(|entry| is_asked(&resource, entry.name));
                result.configs = entries.map(|entry| row(entry, synonyms, documentation)).collect();
            }
            Err(error) => {
                result.error_code = error.code;
                result.error_message = error.text();
            }
        }
        result
    };
    DescribeConfigsResponse {
        throttle_time_ms: 0,
        results: request.resources.into_iter().map(describe).collect(),
    }
}

/// Null and empty both mean all keys.
fn is_asked(resource: &DescribeConfigsResource, name: &str) -> bool {
    match &resource.configuration_keys {
        Some(keys) if !keys.is_empty() => keys.iter().any(|key| key == name),
        _ => true,
    }
}

fn entries(context: &ControlContext, resource: &DescribeConfigsResource) -> Result<Vec<Entry>, KafkaError> {
    let image = context.controller.image();
    let (name, defaults) = (resource.resource_name.as_str(), image.state.broker_defaults());
    match resource.resource_type {
        TOPIC => {
            check_topic_name(name).map_err(|why| KafkaError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, why))?;
            let topic = image.state.topic(name).ok_or_else(KafkaError::unknown_topic)?;
            Ok(describe::topic_entries(&topic.configs, defaults, &context.config))
        }
        BROKER if name.is_empty() => Ok(describe::broker_default_entries(defaults)),
        BROKER => {
            check_broker_name(context, name)?;
            Ok(describe::broker_entries(defaults, &context.config))
        }
        other => {
            let what = format!("Unsupported resource type: {other}");
            Err(KafkaError::new(ErrorCode::INVALID_REQUEST, what))
        }
    }
}

fn row(entry: Entry, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult {
    let all = entry.synonyms.into_iter().filter(|_| synonyms);
    DescribeConfigsResourceResult {
        name: entry.name.into(),
        value: Some(entry.value.into()),
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive: false,
        synonyms: all
            .map(|synonym| DescribeConfigsSynonym {
                name: synonym.name.into(),
                value: Some(synonym.value.into()),
                source: synonym.source as i8,
            })
            .collect(),
        config_type: entry.kind as i8,
        documentation: documentation.then(|| entry.documentation.into()),
    }
}
