//! Produce: each batch is proposed as the request arrives, and answered when its outcome is known.

use crate::broker::Broker;
use crate::broker::leaders::LeaderHint;
use crate::cluster::ids::broker_id;
use crate::cluster::state::is_internal;
use crate::cluster::{ClusterImage, TopicId};
use crate::kafka::api::ProduceRequest;
use crate::kafka::api::produce::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceData, PartitionProduceResponse, ProduceResponse,
    TopicProduceData, TopicProduceResponse,
};
use crate::kafka::deadline::Deadline;
use crate::kafka::wire::{ErrorCode, KafkaString};
use crate::metrics::{AckLevel, KafkaMetrics};
use crate::partition::{Acks, InProgress, Partition, PartitionError, ProduceOutcome};
use chronik_core::BoxFuture;
use futures_lite::FutureExt;
use std::sync::Arc;
use std::time::Duration;

/// The first version in which a batch may be compressed with zstd (KIP-110).
const ZSTD_SINCE: i16 = 7;

/// What a produce request comes to.
#[derive(Debug)]
pub enum Answer {
    /// A response.
    Response(ProduceResponse),
    /// With acks = 0 there is none.
    Nothing,
    /// With acks = 0 a failure can only be told by closing the connection, as Kafka does.
    Close(String),
}

/// Proposes all batches now, and answers when their outcomes are known. Those that are acknowledged count in `metrics`.
pub fn start(
    broker: &Arc<Broker>,
    metrics: &Arc<KafkaMetrics>,
    version: i16,
    request: ProduceRequest,
) -> BoxFuture<'static, Answer> {
    let ProduceRequest {
        acks,
        timeout_ms,
        topic_data,
        transactional_id,
    } = request;
    let silent = acks == 0;
    let acks = match acks {
        _ if transactional_id.is_some() => Err(ErrorCode::INVALID_REQUEST),
        0 => Ok(Acks::None),
        1 => Ok(Acks::Leader),
        -1 => Ok(Acks::All),
        _ => Err(ErrorCode::INVALID_REQUIRED_ACKS),
    };
    let image = broker.image();
    let placing = Placing {
        broker,
        image: &image,
        version,
        acks,
    };
    let topics: Vec<_> = topic_data
        .into_iter()
        .map(|topic| placing.place_topic(topic))
        .collect();
    let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    let stopwatch = Stopwatch {
        metrics: Arc::clone(metrics),
        level: match acks {
            Ok(Acks::Leader) => Some(AckLevel::Leader),
            Ok(Acks::All) => Some(AckLevel::All),
            _ => None,
        },
        begin: broker.env().clock.now(),
    };
    let broker = Arc::clone(broker);
    Box::pin(async move {
        let mut responses = Vec::with_capacity(topics.len());
        let mut deadline = Deadline::after(&*broker.env().clock, timeout);
        for (mut response, placed) in topics {
            for placed in placed {
                response
                    .partition_responses
                    .push(placed.settle(&broker, &mut deadline, &stopwatch).await);
            }
            responses.push(response);
        }
        let response = ProduceResponse {
            node_endpoints: endpoints(&broker, &responses),
            responses,
            ..ProduceResponse::default()
        };
        finish(silent, response)
    })
}

/// The addresses of the leaders that the answer names (KIP-951).
fn endpoints(broker: &Broker, responses: &[TopicProduceResponse]) -> Vec<NodeEndpoint> {
    let partitions = responses.iter().flat_map(|topic| &topic.partition_responses);
    let hints = partitions.map(|partition| LeaderHint {
        leader_id: partition.current_leader.leader_id,
        leader_epoch: partition.current_leader.leader_epoch,
    });
    let nodes = broker.hinted_nodes(hints).into_iter();
    nodes
        .map(|node| NodeEndpoint {
            node_id: broker_id(node.node()),
            host: KafkaString::from(&*node.host),
            port: i32::from(node.port),
            rack: node.rack.as_deref().map(KafkaString::from),
        })
        .collect()
}

/// With acks = 0, `silent`, no answer may be sent, whatever was wrong.
fn finish(silent: bool, response: ProduceResponse) -> Answer {
    if !silent {
        return Answer::Response(response);
    }
    let mut partitions = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    match partitions.find(|partition| partition.error_code != ErrorCode::NONE) {
        None => Answer::Nothing,
        Some(failed) => Answer::Close(format!("produce with acks=0 failed: {:?}", failed.error_code)),
    }
}

struct Placing<'a> {
    broker: &'a Broker,
    image: &'a ClusterImage,
    version: i16,
    acks: Result<Acks, ErrorCode>,
}

/// A batch that was proposed, or refused.
struct Placed {
    index: i32,
    result: Result<(Arc<Partition>, InProgress), Refused>,
}

struct Refused {
    code: ErrorCode,
    message: Option<KafkaString>,
    leader: LeaderIdAndEpoch,
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            message: None,
            leader: LeaderIdAndEpoch::default(),
        }
    }
}

impl Refused {
    fn new(broker: &Broker, partition: &Arc<Partition>, error: &PartitionError) -> Self {
        let refused = Self::elsewhere(broker.failure(partition, error));
        Self {
            message: Some(KafkaString::from(error.to_string())),
            ..refused
        }
    }

    fn elsewhere((code, hint): (ErrorCode, LeaderHint)) -> Self {
        let leader = LeaderIdAndEpoch {
            leader_id: hint.leader_id,
            leader_epoch: hint.leader_epoch,
        };
        Self {
            code,
            message: None,
            leader,
        }
    }
}

/// Since when the batches of a request wait, and for what.
struct Stopwatch {
    metrics: Arc<KafkaMetrics>,
    level: Option<AckLevel>,
    begin: Duration,
}

impl Stopwatch {
    fn acknowledged(&self, broker: &Broker) {
        if let Some(level) = self.level {
            let took = broker.env().clock.now().saturating_sub(self.begin);
            self.metrics.acknowledged(level, took);
        }
    }
}

impl Placing<'_> {
    fn place_topic(&self, topic: TopicProduceData) -> (TopicProduceResponse, Vec<Placed>) {
        let TopicProduceData {
            name,
            topic_id,
            partition_data,
        } = topic;
        let found = if topic_id.is_zero() {
            self.image
                .state
                .topic(&name)
                .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        } else {
            let by_id = TopicId::from_wire(topic_id).and_then(|id| self.image.state.topic_by_id(id));
            by_id.ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
        };
        // The broker's own topics are written by the broker alone.
        let found = found.and_then(|topic| {
            if is_internal(&topic.name) {
                Err(ErrorCode::INVALID_TOPIC_EXCEPTION)
            } else {
                Ok(topic)
            }
        });
        let placed = partition_data.into_iter().map(|data| {
            let index = data.index;
            let partition = found
                .map_err(Refused::from)
                .and_then(|topic| self.broker.hosted(topic, index).map_err(Refused::elsewhere));
            Placed {
                index,
                result: partition.and_then(|open| self.place(open, data)),
            }
        });
        let placed = placed.collect();
        (
            TopicProduceResponse {
                name,
                topic_id,
                ..TopicProduceResponse::default()
            },
            placed,
        )
    }

    fn place(
        &self,
        partition: Arc<Partition>,
        data: PartitionProduceData,
    ) -> Result<(Arc<Partition>, InProgress), Refused> {
        let acks = self.acks?;
        let batch = data.records.ok_or(ErrorCode::INVALID_RECORD)?;
        match partition.produce(batch, acks, self.version >= ZSTD_SINCE) {
            Ok(placed) => Ok((partition, placed)),
            Err(error) => Err(Refused::new(self.broker, &partition, &error)),
        }
    }
}

impl Placed {
    async fn settle(
        self,
        broker: &Broker,
        deadline: &mut Deadline,
        stopwatch: &Stopwatch,
    ) -> PartitionProduceResponse {
        let index = self.index;
        let settled = match self.result {
            Err(refused) => Err(refused),
            Ok((partition, placed)) => {
                let outcome = async { Some(placed.outcome().await) };
                let late = async {
                    deadline.passed().await;
                    None
                };
                match outcome.or(late).await {
                    // The batch goes its way; whether it is committed later is not known to this answer.
                    None => Err(Refused::from(ErrorCode::REQUEST_TIMED_OUT)),
                    Some(Ok(outcome)) => {
                        stopwatch.acknowledged(broker);
                        Ok(outcome)
                    }
                    Some(Err(error)) => Err(Refused::new(broker, &partition, &error)),
                }
            }
        };
        response(index, settled)
    }
}

fn response(index: i32, settled: Result<ProduceOutcome, Refused>) -> PartitionProduceResponse {
    match settled {
        Ok(outcome) => PartitionProduceResponse {
            index,
            base_offset: outcome.base_offset,
            log_append_time_ms: outcome.log_append_time_ms,
            log_start_offset: outcome.log_start_offset,
            ..PartitionProduceResponse::default()
        },
        Err(refused) => PartitionProduceResponse {
            index,
            error_code: refused.code,
            base_offset: -1,
            error_message: refused.message,
            current_leader: refused.leader,
            ..PartitionProduceResponse::default()
        },
    }
}
