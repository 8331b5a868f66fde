//! DescribeCluster (key 60): describe the brokers.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Asks for the brokers of the cluster (KIP-700).
    pub struct DescribeClusterRequest {
        include_cluster_authorized_operations: bool;
        /// 1 brokers, 2 controllers.
        endpoint_type: i8, versions 1.., default 1;
        include_fenced_brokers: bool, versions 2..;
    }
}

wire_struct! {
    /// The brokers of the cluster.
    pub struct DescribeClusterResponse {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        error_message: Option<KafkaString>;
        endpoint_type: i8, versions 1.., default 1;
        cluster_id: KafkaString;
        controller_id: i32, default -1;
        brokers: Vec<DescribeClusterBroker>;
        cluster_authorized_operations: i32, default i32::MIN;
    }
}

wire_struct! {
    /// A broker and its address.
    pub struct DescribeClusterBroker {
        broker_id: i32;
        host: KafkaString;
        port: i32;
        rack: Option<KafkaString>;
        is_fenced: bool, versions 2..;
    }
}
