//! InitProducerId, for idempotent producers.

use crate::cluster::context::ControlContext;
use crate::kafka::api::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::kafka::wire::ErrorCode;

const NONE: i64 = -1;

/// Gives out a producer id. As in Kafka, a producer without a transactional id gets a new one with epoch 0, also where
/// it names the id and the epoch that it has (KIP-360): nobody else can have used the new id, so that there is nothing
/// to fence, and sequences start at 0 again.
///
/// A transactional id is answered with UNSUPPORTED_VERSION until transactions exist: the Java client ends with it as a
/// fatal error. librdkafka, which would repeat the request, does not come this far: FindCoordinator ends it.
pub async fn handle(
    context: &ControlContext,
    request: InitProducerIdRequest,
    _version: i16,
) -> InitProducerIdResponse {
    match answer(context, &request).await {
        Ok(producer_id) => InitProducerIdResponse {
            producer_id,
            producer_epoch: 0,
            ..InitProducerIdResponse::default()
        },
        Err(error_code) => InitProducerIdResponse {
            error_code,
            producer_id: NONE,
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        },
    }
}

async fn answer(context: &ControlContext, request: &InitProducerIdRequest) -> Result<i64, ErrorCode> {
    match &request.transactional_id {
        Some(id) if id.is_empty() => return Err(ErrorCode::INVALID_REQUEST),
        Some(id) => {
            log::warn!(
                "event=transactional_producer_refused transactional_id={id:?} why=\"transactions are not supported yet\""
            );
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        None => {}
    }
    // Both or none: half an identity is a mistake of the client.
    if (request.producer_id == NONE) != (request.producer_epoch == -1) {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    context.producer_ids.next().await.map_err(|error| {
        log::warn!("event=no_producer_id error=\"{error}\"");
        // What clients try again. No id was given out, so that trying again is harmless.
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
    })
}
