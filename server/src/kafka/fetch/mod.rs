//! Fetch: many partitions read for one answer, waiting for data without polling.
//!
//! The plan of a request comes from its [`session`]; `Answer` reads what the plan wants, once at first and then
//! again whatever partition says that it changed, until there is enough, something failed, or the time is over.

pub mod session;

use crate::broker::Broker;
use crate::broker::leaders::LeaderHint;
use crate::cluster::ids::broker_id;
use crate::cluster::{ClusterImage, TopicId};
use crate::kafka::api::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
};
use crate::kafka::handlers::{isolation, known_epoch};
use crate::kafka::wire::{ErrorCode, KafkaString, RecordSlices};
use crate::partition::{EpochEnd, FetchQuery, Fetched, Isolation, Partition, Signal, Subscription};
use futures_lite::FutureExt;
use session::{Plan, TopicRef, Wanted};
use std::sync::Arc;
use std::time::Duration;

/// The first version whose consumers may read from a follower (KIP-392).
const FOLLOWER_READ_SINCE: i16 = 11;
/// What a consumer has for the id of a replica.
const CONSUMER: i32 = -1;

/// Answers a fetch request.
pub async fn handle(broker: &Broker, version: i16, request: FetchRequest) -> FetchResponse {
    let plan = match broker.sessions().plan(&request) {
        Ok(plan) => plan,
        Err(error_code) => {
            return FetchResponse {
                error_code,
                ..FetchResponse::default()
            };
        }
    };
    let mut answer = Answer::new(broker, version, &request, &plan);
    answer.read_all().await;
    if !answer.is_enough() && request.max_wait_ms > 0 {
        let wait = Duration::from_millis(u64::from(request.max_wait_ms.unsigned_abs()));
        answer.wait(wait).await;
    }
    let mut read = answer.finish();
    let session_id = broker.sessions().settle(&plan, &mut read);
    FetchResponse {
        session_id,
        node_endpoints: endpoints(broker, &read),
        responses: by_topic(read),
        ..FetchResponse::default()
    }
}

/// The addresses of the leaders that the answer names (KIP-951).
fn endpoints(broker: &Broker, read: &[(TopicRef, PartitionData)]) -> Vec<NodeEndpoint> {
    let hints = read.iter().map(|(_, data)| LeaderHint {
        leader_id: data.current_leader.leader_id,
        leader_epoch: data.current_leader.leader_epoch,
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

/// Puts the partitions of one topic together, in the order in which topics first appear.
fn by_topic(read: Vec<(TopicRef, PartitionData)>) -> Vec<FetchableTopicResponse> {
    let mut topics: Vec<(TopicRef, FetchableTopicResponse)> = Vec::new();
    for (topic, data) in read {
        match topics.last_mut() {
            Some((last, response)) if *last == topic => response.partitions.push(data),
            _ => {
                let mut response = FetchableTopicResponse {
                    partitions: vec![data],
                    ..Default::default()
                };
                match &topic {
                    TopicRef::Name(name) => response.topic = name.clone(),
                    TopicRef::Id(id) => response.topic_id = *id,
                }
                topics.push((topic, response));
            }
        }
    }
    topics.into_iter().map(|(_, response)| response).collect()
}

/// One partition of the answer.
#[derive(Debug)]
struct Part<'a> {
    wanted: &'a Wanted,
    partition: Result<Arc<Partition>, (ErrorCode, LeaderHint)>,
    data: PartitionData,
    bytes: usize,
}

/// The answer as it grows.
struct Answer<'a> {
    broker: &'a Broker,
    parts: Vec<Part<'a>>,
    isolation: Isolation,
    /// Whether followers may answer, and where the consumer is.
    follower_read: Option<&'a str>,
    min_bytes: usize,
    max_bytes: usize,
    bytes: usize,
    failed: bool,
}

impl<'a> Answer<'a> {
    fn new(broker: &'a Broker, version: i16, request: &'a FetchRequest, plan: &'a Plan) -> Self {
        let replica = request.replica_id.max(request.replica_state.replica_id);
        let follower_read = version >= FOLLOWER_READ_SINCE && replica == CONSUMER;
        let image = broker.image();
        let parts = plan.wanted.iter().map(|wanted| Part {
            wanted,
            partition: find(broker, &image, wanted),
            data: PartitionData::default(),
            bytes: 0,
        });
        Self {
            broker,
            parts: parts.collect(),
            isolation: isolation(request.isolation_level),
            follower_read: follower_read.then_some(&*request.rack_id),
            min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
            max_bytes: usize::try_from(request.max_bytes)
                .unwrap_or(0)
                .min(broker.config().kafka.fetch_max_bytes),
            bytes: 0,
            failed: false,
        }
    }

    fn is_enough(&self) -> bool {
        self.failed || self.bytes >= self.min_bytes || self.parts.is_empty()
    }

    async fn read_all(&mut self) {
        for place in 0..self.parts.len() {
            self.read(place).await;
        }
    }

    /// Reads one partition (again). The first that has data gives a whole batch, however large; the others share
    /// what is left.
    async fn read(&mut self, place: usize) {
        let Some(part) = self.parts.get(place) else {
            return;
        };
        let others = self.bytes - part.bytes;
        let left = self.max_bytes.saturating_sub(others);
        let want = &part.wanted.partition;
        let query = FetchQuery {
            offset: want.fetch_offset,
            max_bytes: left.min(usize::try_from(want.partition_max_bytes).unwrap_or(0)) as u64,
            min_one_batch: others == 0,
            isolation: self.isolation,
            leader_epoch: known_epoch(want.current_leader_epoch),
            last_fetched_epoch: known_epoch(want.last_fetched_epoch),
            follower_read: self.follower_read.is_some(),
        };
        let fetched = match &part.partition {
            Ok(partition) => partition
                .fetch(query)
                .await
                .map_err(|error| self.broker.failure(partition, &error)),
            Err(refused) => Err(*refused),
        };
        let data = match fetched {
            Ok(fetched) => self.near(part, data(fetched)),
            Err((
                error_code,
                LeaderHint {
                    leader_id,
                    leader_epoch,
                },
            )) => PartitionData {
                error_code,
                current_leader: LeaderIdAndEpoch {
                    leader_id,
                    leader_epoch,
                },
                high_watermark: -1,
                ..PartitionData::default()
            },
        };
        // A diverging client has to truncate at once; that does not wait for data either.
        self.failed |= data.error_code != ErrorCode::NONE
            || data.diverging_epoch.epoch != -1
            || data.preferred_read_replica != -1;
        let Some(part) = self.parts.get_mut(place) else {
            return;
        };
        part.bytes = data.records.as_ref().map_or(0, RecordSlices::len);
        part.data = PartitionData {
            partition_index: want.partition,
            ..data
        };
        self.bytes = others + part.bytes;
    }

    /// Sends a consumer to a replica in its own rack where there is one, instead of the records.
    fn near(&self, part: &Part<'_>, data: PartitionData) -> PartitionData {
        let (Some(rack), Ok(partition)) = (self.follower_read, &part.partition) else {
            return data;
        };
        match self.broker.preferred_replica(partition, rack) {
            Some(node) => PartitionData {
                preferred_read_replica: broker_id(node),
                records: Some(RecordSlices::new()),
                ..data
            },
            None => data,
        }
    }

    /// Reads again what changes, until there is enough or the time is over.
    async fn wait(&mut self, wait: Duration) {
        let signal = Signal::new();
        let _subscriptions = self.subscribe(&signal);
        // What came between the first look and the subscription is not signalled.
        self.read_all().await;
        let mut deadline = std::pin::pin!(self.broker.env().clock.sleep(wait));
        let draining = self.broker.draining();
        while !self.is_enough() {
            let fired = async {
                signal.fired().await;
                true
            };
            let over = async {
                deadline.as_mut().await;
                false
            };
            let drained = async {
                draining.wait_for(|draining| *draining).await;
                false
            };
            if !fired.or(over).or(drained).await {
                return;
            }
            for token in signal.take() {
                self.read(usize::try_from(token).unwrap_or(usize::MAX)).await;
            }
        }
    }

    fn subscribe(&self, signal: &Signal) -> Vec<Subscription> {
        let tokens = (0..).zip(&self.parts);
        let open = tokens.filter_map(|(token, part)| part.partition.as_ref().ok().map(|open| (token, open)));
        open.map(|(token, partition)| partition.subscribe(signal, token))
            .collect()
    }

    fn finish(self) -> Vec<(TopicRef, PartitionData)> {
        self.parts
            .into_iter()
            .map(|part| (part.wanted.topic.clone(), part.data))
            .collect()
    }
}

fn find(
    broker: &Broker,
    image: &ClusterImage,
    wanted: &Wanted,
) -> Result<Arc<Partition>, (ErrorCode, LeaderHint)> {
    let topic = match &wanted.topic {
        TopicRef::Name(name) => image
            .state
            .topic(name)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        TopicRef::Id(id) => {
            let topic = TopicId::from_wire(*id).and_then(|id| image.state.topic_by_id(id));
            topic.ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
        }
    };
    let topic = topic.map_err(|code| (code, LeaderHint::NONE))?;
    broker.hosted(topic, wanted.partition.partition)
}

fn data(fetched: Fetched) -> PartitionData {
    PartitionData {
        high_watermark: fetched.high_watermark,
        last_stable_offset: fetched.last_stable_offset,
        log_start_offset: fetched.log_start_offset,
        records: Some(RecordSlices::from(fetched.records)),
        diverging_epoch: fetched.diverging.map(diverging).unwrap_or_default(),
        ..PartitionData::default()
    }
}

fn diverging(end: EpochEnd) -> EpochEndOffset {
    EpochEndOffset {
        epoch: end.leader_epoch,
        end_offset: end.end_offset,
    }
}
