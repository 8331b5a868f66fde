//! IncrementalAlterConfigs (key 44): change configurations.

use super::alter_configs::AlterConfigsResourceResponse;
use crate::kafka::wire::KafkaString;
use crate::kafka::wire::macros::{wire_field, wire_struct};

wire_struct! {
    /// Changes single configuration keys (KIP-339).
    pub struct IncrementalAlterConfigsRequest {
        resources: Vec<AlterConfigsResource>;
        validate_only: bool;
    }
}

wire_struct! {
    /// A resource and its values.
    pub struct AlterConfigsResource {
        /// 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
        resource_type: i8;
        resource_name: KafkaString;
        configs: Vec<AlterableConfig>;
    }
}

wire_struct! {
    /// A value to set.
    pub struct AlterableConfig {
        name: KafkaString;
        /// 0 set, 1 delete, 2 append, 3 subtract.
        config_operation: i8;
        value: Option<KafkaString>;
    }
}

wire_struct! {
    /// What became of each resource.
    pub struct IncrementalAlterConfigsResponse {
        throttle_time_ms: i32;
        responses: Vec<AlterConfigsResourceResponse>;
    }
}
