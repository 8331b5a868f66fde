//! DescribeCluster.

use crate::cluster::context::ControlContext;
use crate::cluster::{authorized, ids};
use crate::kafka::api::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::kafka::wire::{ErrorCode, KafkaString};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Describes the brokers. Controllers have no listener of their own here, so that asking for them is an error.
pub async fn handle(
    context: &ControlContext,
    request: DescribeClusterRequest,
    _version: i16,
) -> DescribeClusterResponse {
    let refused = |error_code, what: &str| DescribeClusterResponse {
        error_code,
        error_message: Some(what.into()),
        ..DescribeClusterResponse::default()
    };
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let what = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            return refused(ErrorCode::MISMATCHED_ENDPOINT_TYPE, what);
        }
        other => {
            let what = format!("Unsupported endpoint type {other}");
            return refused(ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, &what);
        }
    }
    let image = context.controller.image();
    let cluster_id = image.state.cluster_id().map(|id| KafkaString::from(&**id));
    let brokers = image
        .state
        .brokers()
        .values()
        .filter(|broker| context.leaders.is_live(broker.node()))
        .map(|broker| DescribeClusterBroker {
            broker_id: ids::broker_id(broker.node()),
            host: broker.host.as_str().into(),
            port: i32::from(broker.port),
            rack: broker.rack.as_deref().map(KafkaString::from),
            is_fenced: false,
        });
    DescribeClusterResponse {
        cluster_id: cluster_id.unwrap_or_default(),
        controller_id: context.live_controller().map_or(-1, ids::broker_id),
        brokers: brokers.collect(),
        cluster_authorized_operations: authorized::operations(
            request.include_cluster_authorized_operations,
            authorized::CLUSTER,
        ),
        ..DescribeClusterResponse::default()
    }
}
