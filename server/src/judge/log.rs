//! One partition, through a connection to its leader.

use super::batch::{self, Producer};
use super::wire::{Api, Connection, FETCH, INIT_PRODUCER_ID, LIST_OFFSETS, PRODUCE, text};
use super::{Failure, Subject, ensure, fine};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FetchResponse, InitProducerIdRequest, ListOffsetsRequest, ProduceRequest,
    ProduceResponse, ProducerId, TopicName,
};
use kafka_protocol::records::Record;

/// Enough for everything that a check stores.
pub(super) const MUCH: i32 = 16 << 20;
const TIMEOUT_MS: i32 = 30_000;

/// One partition.
pub(super) struct Log {
    pub(super) connection: Connection,
    pub(super) topic: String,
    partition: i32,
}

/// How much of a partition to fetch, and how long to wait for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) offset: i64,
    pub(super) max_wait_ms: i32,
    pub(super) min_bytes: i32,
    pub(super) max_bytes: i32,
    pub(super) partition_max_bytes: i32,
    pub(super) isolation: i8,
}

impl Wanted {
    /// Everything from an offset on, at once.
    pub(super) const fn from(offset: i64) -> Self {
        Self {
            offset,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: MUCH,
            partition_max_bytes: MUCH,
            isolation: 0,
        }
    }
}

/// A request for several partitions of a topic, each with its batch.
pub(crate) fn produce_request(topic: &str, acks: i16, batches: &[(i32, Bytes)]) -> ProduceRequest {
    let data = |(partition, batch): &(i32, Bytes)| {
        PartitionProduceData::default()
            .with_index(*partition)
            .with_records(Some(batch.clone()))
    };
    let topic = TopicProduceData::default()
        .with_name(TopicName(text(topic)))
        .with_partition_data(batches.iter().map(data).collect());
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(TIMEOUT_MS)
        .with_topic_data(vec![topic])
}

/// A request for these partitions of a topic.
pub(super) fn fetch_request(topic: &str, partitions: &[i32], wanted: Wanted) -> FetchRequest {
    let partition = |partition: &i32| {
        FetchPartition::default()
            .with_partition(*partition)
            .with_fetch_offset(wanted.offset)
            .with_partition_max_bytes(wanted.partition_max_bytes)
    };
    let topic = FetchTopic::default()
        .with_topic(TopicName(text(topic)))
        .with_partitions(partitions.iter().map(partition).collect());
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(wanted.max_wait_ms)
        .with_min_bytes(wanted.min_bytes)
        .with_max_bytes(wanted.max_bytes)
        .with_isolation_level(wanted.isolation)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// The partitions of an answer to a produce.
pub(crate) fn produced(answer: ProduceResponse) -> Vec<PartitionProduceResponse> {
    let topics = answer.responses.into_iter();
    topics.flat_map(|topic| topic.partition_responses).collect()
}

/// The partitions of an answer to a fetch.
pub(super) fn fetched(answer: FetchResponse) -> Vec<PartitionData> {
    answer
        .responses
        .into_iter()
        .flat_map(|topic| topic.partitions)
        .collect()
}

impl Log {
    pub(super) fn new(connection: Connection, topic: &str, partition: i32) -> Self {
        Self {
            connection,
            topic: topic.to_owned(),
            partition,
        }
    }

    /// Sends a batch without waiting for its answer.
    pub(super) fn send(&mut self, batch: Bytes, acks: i16) -> Result<i32, Failure> {
        let request = produce_request(&self.topic, acks, &[(self.partition, batch)]);
        self.connection.send(PRODUCE, &request)
    }

    /// The answer to a batch that was sent.
    pub(super) fn sent(&mut self, correlation: i32) -> Result<PartitionProduceResponse, Failure> {
        let answer = self.connection.receive::<ProduceRequest>(PRODUCE, correlation)?;
        let first = produced(answer).into_iter().next();
        first.ok_or_else(|| Failure("the answer to a produce names no partition".to_owned()))
    }

    pub(super) fn produce(&mut self, batch: Bytes, acks: i16) -> Result<PartitionProduceResponse, Failure> {
        let correlation = self.send(batch, acks)?;
        self.sent(correlation)
    }

    /// Appends a batch, acknowledged by all, and returns its base offset.
    pub(super) fn append(&mut self, batch: Bytes) -> Result<i64, Failure> {
        let answer = self.produce(batch, -1)?;
        fine("a produce", answer.error_code)?;
        Ok(answer.base_offset)
    }

    /// Sends a fetch without waiting for its answer.
    pub(super) fn send_fetch(&mut self, wanted: Wanted) -> Result<i32, Failure> {
        let request = fetch_request(&self.topic, &[self.partition], wanted);
        self.connection.send(FETCH, &request)
    }

    /// The answer to a fetch that was sent.
    pub(super) fn fetch_sent(&mut self, correlation: i32) -> Result<PartitionData, Failure> {
        let answer = self.connection.receive::<FetchRequest>(FETCH, correlation)?;
        fine("a fetch", answer.error_code)?;
        let first = fetched(answer).into_iter().next();
        first.ok_or_else(|| Failure("the answer to a fetch names no partition".to_owned()))
    }

    pub(super) fn fetch(&mut self, wanted: Wanted) -> Result<PartitionData, Failure> {
        let correlation = self.send_fetch(wanted)?;
        self.fetch_sent(correlation)
    }

    /// The batches from an offset on.
    pub(super) fn batches(&mut self, wanted: Wanted) -> Result<Vec<Bytes>, Failure> {
        let answer = self.fetch(wanted)?;
        fine("a fetch", answer.error_code)?;
        batch::split(answer.records.unwrap_or_default())
    }

    /// Every record of the partition, however many fetches that takes.
    pub(super) fn records(&mut self) -> Result<Vec<Record>, Failure> {
        let mut all: Vec<Record> = Vec::new();
        loop {
            let next = all.last().map_or(0, |record| record.offset + 1);
            let answer = self.fetch(Wanted::from(next))?;
            fine("a fetch", answer.error_code)?;
            let before = all.len();
            all.extend(batch::records(answer.records.unwrap_or_default())?);
            if all.len() == before {
                let end = answer.high_watermark;
                ensure!(
                    next >= end,
                    "the high watermark is {end}, and nothing comes from {next} on"
                );
                return Ok(all);
            }
        }
    }

    /// The values of the partition.
    pub(super) fn values(&mut self) -> Result<Vec<String>, Failure> {
        let value = |record: Record| String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned();
        Ok(self.records()?.into_iter().map(value).collect())
    }

    /// Error code, offset and timestamp of a question for an offset.
    pub(super) fn list(&mut self, api: Api, timestamp: i64) -> Result<(i16, i64, i64), Failure> {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(self.partition)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default()
            .with_name(TopicName(text(self.topic.clone())))
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![topic]);
        let answer = self.connection.call(api, &request)?;
        let first = answer
            .topics
            .into_iter()
            .flat_map(|topic| topic.partitions)
            .next();
        let first =
            first.ok_or_else(|| Failure("the answer to ListOffsets names no partition".to_owned()))?;
        Ok((first.error_code, first.offset, first.timestamp))
    }

    /// Offset and timestamp of a question for an offset.
    pub(super) fn offset_at(&mut self, timestamp: i64) -> Result<(i64, i64), Failure> {
        let (code, offset, found) = self.list(LIST_OFFSETS, timestamp)?;
        fine("ListOffsets", code)?;
        Ok((offset, found))
    }

    /// A producer that nobody else is, once the broker gives one: it may have to get its ids first.
    pub(super) fn new_producer(&mut self, subject: &Subject) -> Result<Producer, Failure> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(TIMEOUT_MS)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        subject.until("a producer gets its id", || {
            let answer = self.connection.call(INIT_PRODUCER_ID, &request)?;
            if answer.error_code == ResponseError::CoordinatorLoadInProgress.code() {
                return Ok(None);
            }
            fine("InitProducerId", answer.error_code)?;
            Ok(Some(Producer {
                id: answer.producer_id.0,
                epoch: answer.producer_epoch,
            }))
        })
    }
}
