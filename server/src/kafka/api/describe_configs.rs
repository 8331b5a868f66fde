//! DescribeConfigs (key 32): read configurations.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Asks for the configuration of topics, brokers or groups.
    pub struct DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource>;
        include_synonyms: bool;
        include_documentation: bool, versions 3..;
    }
}

wire_struct! {
    /// A resource to describe.
    pub struct DescribeConfigsResource {
        /// 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
        resource_type: i8;
        resource_name: KafkaString;
        /// Null is all keys.
        configuration_keys: Option<Vec<KafkaString>>, default Some(Vec::new());
    }
}

wire_struct! {
    /// The configurations.
    pub struct DescribeConfigsResponse {
        throttle_time_ms: i32;
        results: Vec<DescribeConfigsResult>;
    }
}

wire_struct! {
    /// The configuration of one resource.
    pub struct DescribeConfigsResult {
        error_code: ErrorCode;
        error_message: Option<KafkaString>;
        resource_type: i8;
        resource_name: KafkaString;
        configs: Vec<DescribeConfigsResourceResult>;
    }
}

wire_struct! {
    /// One configuration value.
    pub struct DescribeConfigsResourceResult {
        name: KafkaString;
        value: Option<KafkaString>;
        read_only: bool;
        config_source: i8, default -1;
        is_sensitive: bool;
        synonyms: Vec<DescribeConfigsSynonym>;
        config_type: i8, versions 3..;
        documentation: Option<KafkaString>, versions 3..;
    }
}

wire_struct! {
    /// Where a value comes from, or would come from (KIP-226).
    pub struct DescribeConfigsSynonym {
        name: KafkaString;
        value: Option<KafkaString>;
        source: i8;
    }
}
