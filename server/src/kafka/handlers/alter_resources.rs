//! What AlterConfigs and IncrementalAlterConfigs share: many resources, each changed on its own.

use crate::cluster::alter::{Change, alter};
use crate::cluster::context::ControlContext;
use crate::cluster::join::join_all;
use crate::cluster::kafka_error::KafkaError;
use crate::kafka::api::alter_configs::AlterConfigsResourceResponse;
use crate::kafka::wire::{ErrorCode, KafkaString};
use chronik_core::BoxFuture;
use std::collections::BTreeMap;

/// The request has no timeout of its own; this is the default of clients' requests.
const ALTER_TIMEOUT_MS: i32 = 30_000;

/// The resources of a request and what to change, in the order of the request.
#[derive(Default)]
pub(super) struct Resources {
    changes: Vec<(i8, KafkaString, Result<Change, KafkaError>)>,
}

impl Resources {
    pub(super) fn add(&mut self, resource_type: i8, name: KafkaString, change: Result<Change, KafkaError>) {
        self.changes.push((resource_type, name, change));
    }

    /// Changes each resource on its own; one that is named twice is not changed.
    pub(super) async fn alter(
        self,
        context: &ControlContext,
        validate_only: bool,
    ) -> Vec<AlterConfigsResourceResponse> {
        let mut counts: BTreeMap<(i8, KafkaString), usize> = BTreeMap::new();
        for (resource_type, name, _) in &self.changes {
            *counts.entry((*resource_type, name.clone())).or_default() += 1;
        }
        let mut work: Vec<BoxFuture<'_, AlterConfigsResourceResponse>> = Vec::new();
        for (resource_type, name, change) in self.changes {
            let twice = counts
                .get(&(resource_type, name.clone()))
                .is_some_and(|count| *count > 1);
            work.push(Box::pin(async move {
                let altered = match change {
                    _ if twice => {
                        let what = "Each resource must appear at most once.";
                        Err(KafkaError::new(ErrorCode::INVALID_REQUEST, what))
                    }
                    Ok(change) => {
                        let altered = alter(context, resource_type, &name, &change, validate_only);
                        context.within(ALTER_TIMEOUT_MS, altered).await
                    }
                    Err(error) => Err(error),
                };
                let error = altered.err();
                AlterConfigsResourceResponse {
                    error_code: error.as_ref().map_or(ErrorCode::NONE, |error| error.code),
                    error_message: error.and_then(|error| error.text()),
                    resource_type,
                    resource_name: name,
                }
            }));
        }
        join_all(work).await
    }
}
