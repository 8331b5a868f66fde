//! The requests of consumer groups: handed to the coordinator, which `__consumer_offsets` is created for on first use.

use crate::broker::Broker;
use crate::cluster::ids::broker_id;
use crate::cluster::state::OFFSETS_TOPIC;
use crate::group::ClientInfo;
use crate::group::find::Endpoint;
use crate::kafka::api::{FindCoordinatorRequest, Request, Response};
use crate::kafka::connection::Client;
use crate::kafka::wire::{KafkaString, RequestHeader};

/// Answers a request of a group.
///
/// # Errors
/// The request, where it is not one of a group.
pub async fn answer(
    broker: &Broker,
    client: &Client,
    header: &RequestHeader,
    request: Request,
) -> Result<Response, Request> {
    let info = ClientInfo {
        api_version: header.api_version,
        client_id: header.client_id.clone().unwrap_or_default(),
        client_host: KafkaString::from(format!("/{}", client.address.ip())),
    };
    let groups = broker.groups();
    Ok(match request {
        Request::FindCoordinator(request) => {
            // What goes wrong is told by the answer: there is no coordinator then.
            if let Err(error) = broker.control().offsets_topic().await {
                log::error!(
                    "event=offsets_topic_not_created error={} why=\"{}\"",
                    error.code,
                    error.message
                );
            }
            find_coordinator(broker, header.api_version, &request)
        }
        Request::JoinGroup(request) => groups.join_group(info, request).await.into(),
        Request::SyncGroup(request) => groups.sync_group(&info, request).await.into(),
        Request::Heartbeat(request) => groups.heartbeat(&request).into(),
        Request::LeaveGroup(request) => groups.leave_group(&info, request).await.into(),
        Request::OffsetCommit(request) => groups.commit_offsets(&info, request).await.into(),
        Request::OffsetFetch(request) => groups.fetch_offsets(&info, request).await.into(),
        Request::OffsetDelete(request) => groups.delete_offsets(request).await.into(),
        Request::DescribeGroups(request) => groups.describe_groups(&info, &request).into(),
        Request::ListGroups(request) => groups.list_groups(&request).into(),
        Request::DeleteGroups(request) => groups.delete_groups(&request).await.into(),
        request => return Err(request),
    })
}

fn find_coordinator(broker: &Broker, version: i16, request: &FindCoordinatorRequest) -> Response {
    let image = broker.image();
    let leader = |index: i32| {
        let placed = image.state.topic(OFFSETS_TOPIC)?.partition(index)?;
        let view = broker.control().leaders.partition(placed.group())?;
        let node = image.state.brokers().get(&view.leader?)?;
        let port = i32::from(node.port);
        Some(Endpoint {
            node_id: broker_id(node.node()),
            host: KafkaString::from(&*node.host),
            port,
        })
    };
    broker.groups().find_coordinator(version, request, leader).into()
}
