//! InitProducerId (key 22): obtain a producer id.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Asks for a producer id and epoch; for a transactional id, fences its earlier users.
    pub struct InitProducerIdRequest {
        /// Null for a producer that is only idempotent.
        transactional_id: Option<KafkaString>;
        transaction_timeout_ms: i32;
        /// The id in use, -1 for none (KIP-360).
        producer_id: i64, versions 3.., default -1;
        /// The epoch in use, -1 for none.
        producer_epoch: i16, versions 3.., default -1;
    }
}

wire_struct! {
    /// The producer id and epoch.
    pub struct InitProducerIdResponse {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        producer_id: i64, default -1;
        producer_epoch: i16;
    }
}
