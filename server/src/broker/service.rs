//! From a frame to its answer: the one place that knows every request.

use super::Broker;
use crate::cluster::ControlContext;
use crate::kafka::api::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, Request, RequestError, Response, decode_request,
};
use crate::kafka::connection::{Client, Reply, Service};
use crate::kafka::fetch;
use crate::kafka::handlers::{
    self, alter_configs, create_partitions, create_topics, delete_topics, describe_cluster, describe_configs,
    describe_topic_partitions, incremental_alter_configs, init_producer_id, metadata, produce,
};
use crate::kafka::wire::{ErrorCode, RequestHeader};
use crate::metrics::KafkaMetrics;
use bytes::BytesMut;
use chronik_core::BoxFuture;
use chronik_core::env::Clock;
use std::sync::Arc;
use std::time::Duration;

/// Answers the requests of all connections of a broker.
#[derive(Debug)]
pub struct BrokerService {
    broker: Arc<Broker>,
    metrics: Arc<KafkaMetrics>,
}

impl BrokerService {
    /// The service of `broker`, which counts its answers in `metrics`.
    #[must_use]
    pub const fn new(broker: Arc<Broker>, metrics: Arc<KafkaMetrics>) -> Self {
        Self { broker, metrics }
    }

    /// Starts to count a request.
    fn begin(&self, api: ApiKey) -> Begun {
        let clock = Arc::clone(&self.broker.env().clock);
        Begun {
            metrics: Arc::clone(&self.metrics),
            api,
            at: clock.now(),
            clock,
        }
    }
}

/// A request that is being answered.
struct Begun {
    metrics: Arc<KafkaMetrics>,
    clock: Arc<dyn Clock>,
    api: ApiKey,
    at: Duration,
}

impl Begun {
    /// Counts the answer.
    fn end(self, reply: Reply) -> Reply {
        let took = self.clock.now().saturating_sub(self.at);
        match &reply {
            Reply::Frame(frame) => self.metrics.answered(self.api, took, frame.errors()),
            Reply::Nothing => self.metrics.answered(self.api, took, &[]),
            // The connection counts it with the requests that cannot be read.
            Reply::Close(_) => {}
        }
        reply
    }
}

impl Service for BrokerService {
    fn places(&self, frame: &[u8]) -> bool {
        frame
            .first_chunk()
            .is_some_and(|key| i16::from_be_bytes(*key) == ApiKey::Produce.code())
    }

    fn call(&self, client: &Arc<Client>, frame: BytesMut) -> BoxFuture<'static, Reply> {
        match decode_request(frame) {
            Ok((header, Request::Produce(request))) => {
                let begun = self.begin(ApiKey::Produce);
                let answer = produce::start(&self.broker, &self.metrics, header.api_version, request);
                Box::pin(async move {
                    begun.end(match answer.await {
                        produce::Answer::Response(response) => reply(&header, response.into()),
                        produce::Answer::Nothing => Reply::Nothing,
                        produce::Answer::Close(reason) => Reply::Close(reason),
                    })
                })
            }
            Ok((header, request)) => {
                let begun = self.begin(request.api_key());
                let (broker, client) = (Arc::clone(&self.broker), Arc::clone(client));
                Box::pin(async move {
                    let response = answer(&broker, &client, &header, request).await;
                    begun.end(reply(&header, response))
                })
            }
            Err(error) => Box::pin(std::future::ready(refuse(&error))),
        }
    }
}

fn reply(header: &RequestHeader, response: Response) -> Reply {
    match response.encode(header.api_version, header.correlation_id) {
        Ok(frame) => Reply::Frame(frame),
        Err(error) => Reply::Close(format!(
            "the answer to api key {} cannot be sent: {error}",
            header.api_key
        )),
    }
}

/// KIP-511: whoever asks in an unknown version for the versions is told them; anything else unknown ends the
/// connection, because its end cannot be found.
fn refuse(error: &RequestError) -> Reply {
    match error {
        RequestError::UnknownApiVersionsVersion { correlation_id, .. } => {
            let response = Response::from(ApiVersionsResponse::unsupported_version());
            match response.encode(0, *correlation_id) {
                Ok(frame) => Reply::Frame(frame),
                Err(error) => Reply::Close(error.to_string()),
            }
        }
        error => Reply::Close(error.to_string()),
    }
}

fn api_versions(request: &ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    if request.has_valid_software(version) {
        ApiVersionsResponse::served()
    } else {
        ApiVersionsResponse {
            error_code: ErrorCode::INVALID_REQUEST,
            ..ApiVersionsResponse::default()
        }
    }
}

async fn answer(broker: &Arc<Broker>, client: &Client, header: &RequestHeader, request: Request) -> Response {
    let version = header.api_version;
    log::trace!(
        "event=request client={} api={:?} version={version}",
        client.address,
        request.api_key()
    );
    match request {
        Request::ApiVersions(request) => api_versions(&request, version).into(),
        Request::Fetch(request) => fetch::handle(broker, version, request).await.into(),
        Request::ListOffsets(request) => handlers::list_offsets::handle(broker, version, request)
            .await
            .into(),
        Request::OffsetForLeaderEpoch(request) => {
            handlers::offset_for_leader_epoch::handle(broker, request).into()
        }
        Request::DeleteRecords(request) => handlers::delete_records::handle(broker, request).await.into(),
        Request::DescribeLogDirs(request) => handlers::describe_log_dirs::handle(broker, &request).into(),
        Request::Produce(_) => unreachable!("produce requests are answered by `call`"),
        request => match handlers::groups::answer(broker, client, header, request).await {
            Ok(response) => response,
            Err(request) => control(broker.control(), version, request).await,
        },
    }
}

/// The requests of the control plane.
async fn control(context: &ControlContext, version: i16, request: Request) -> Response {
    match request {
        Request::Metadata(request) => metadata::handle(context, request, version).await.into(),
        Request::CreateTopics(request) => create_topics::handle(context, request, version).await.into(),
        Request::DeleteTopics(request) => delete_topics::handle(context, request, version).await.into(),
        Request::CreatePartitions(request) => {
            create_partitions::handle(context, request, version).await.into()
        }
        Request::DescribeConfigs(request) => describe_configs::handle(context, request, version).await.into(),
        Request::AlterConfigs(request) => alter_configs::handle(context, request, version).await.into(),
        Request::IncrementalAlterConfigs(request) => {
            incremental_alter_configs::handle(context, request, version)
                .await
                .into()
        }
        Request::DescribeCluster(request) => describe_cluster::handle(context, request, version).await.into(),
        Request::DescribeTopicPartitions(request) => {
            describe_topic_partitions::handle(context, request, version)
                .await
                .into()
        }
        Request::InitProducerId(request) => init_producer_id::handle(context, request, version).await.into(),
        request => unreachable!("{:?} has a handler above", request.api_key()),
    }
}
