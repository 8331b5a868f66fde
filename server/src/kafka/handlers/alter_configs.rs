//! AlterConfigs.

use super::alter_resources::Resources;
use crate::cluster::alter::Change;
use crate::cluster::context::ControlContext;
use crate::cluster::kafka_error::KafkaError;
use crate::kafka::api::alter_configs::{AlterConfigsRequest, AlterConfigsResponse, AlterableConfig};
use crate::kafka::wire::ErrorCode;
use std::collections::BTreeMap;

/// Replaces the whole configuration of resources: what a request does not name goes back to its default.
pub async fn handle(
    context: &ControlContext,
    request: AlterConfigsRequest,
    _version: i16,
) -> AlterConfigsResponse {
    let mut resources = Resources::default();
    for resource in request.resources {
        let change = change(resource.configs);
        resources.add(resource.resource_type, resource.resource_name, change);
    }
    AlterConfigsResponse {
        throttle_time_ms: 0,
        responses: resources.alter(context, request.validate_only).await,
    }
}

fn change(configs: Vec<AlterableConfig>) -> Result<Change, KafkaError> {
    let invalid = |what: String| Err(KafkaError::new(ErrorCode::INVALID_REQUEST, what));
    let mut values = BTreeMap::new();
    for AlterableConfig { name, value } in configs {
        let Some(value) = value else {
            return invalid(format!("Null value not supported for : {name}"));
        };
        if values.insert(name.to_string(), value.to_string()).is_some() {
            return invalid("Error due to duplicate config keys".into());
        }
    }
    Ok(Change::Replace(values))
}
