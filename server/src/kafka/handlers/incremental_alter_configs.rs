//! IncrementalAlterConfigs.

use super::alter_resources::Resources;
use crate::cluster::alter::{Change, Operation};
use crate::cluster::context::ControlContext;
use crate::cluster::kafka_error::KafkaError;
use crate::kafka::api::incremental_alter_configs::{
    AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use crate::kafka::wire::{ErrorCode, KafkaString};
use std::collections::BTreeMap;

/// Changes single configs; the others stay as they are. All changes of a resource are made, or none.
pub async fn handle(
    context: &ControlContext,
    request: IncrementalAlterConfigsRequest,
    _version: i16,
) -> IncrementalAlterConfigsResponse {
    let mut resources = Resources::default();
    for resource in request.resources {
        let change = change(resource.configs);
        resources.add(resource.resource_type, resource.resource_name, change);
    }
    IncrementalAlterConfigsResponse {
        throttle_time_ms: 0,
        responses: resources.alter(context, request.validate_only).await,
    }
}

fn change(configs: Vec<AlterableConfig>) -> Result<Change, KafkaError> {
    let invalid = |what: String| Err(KafkaError::new(ErrorCode::INVALID_REQUEST, what));
    let mut operations = BTreeMap::new();
    for AlterableConfig {
        name,
        config_operation,
        value,
    } in configs
    {
        let value = value.as_ref().map(KafkaString::to_string);
        let operation = match (config_operation, value) {
            (1, _) => Operation::Delete,
            (0, Some(value)) => Operation::Set(value),
            (2, Some(value)) => Operation::Append(value),
            (3, Some(value)) => Operation::Subtract(value),
            (0 | 2 | 3, None) => return invalid(format!("Null value not supported for : {name}")),
            (other, _) => return invalid(format!("Unknown operations type {other}")),
        };
        if operations.insert(name.to_string(), operation).is_some() {
            return invalid("Error due to duplicate config keys".into());
        }
    }
    Ok(Change::Update(operations))
}
