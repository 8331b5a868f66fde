//! ListOffsets: ends of logs, and records by time.

use crate::broker::Broker;
use crate::kafka::api::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopic, ListOffsetsTopicResponse,
};
use crate::kafka::api::{ListOffsetsRequest, ListOffsetsResponse};
use crate::kafka::wire::ErrorCode;
use crate::partition::{FoundOffset, OffsetQuery};

use super::{isolation, known_epoch};

/// Answers a request. Partitions are asked one after another.
pub async fn handle(broker: &Broker, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let isolation = isolation(request.isolation_level);
    let mut topics = Vec::with_capacity(request.topics.len());
    for ListOffsetsTopic { name, partitions } in request.topics {
        let mut answers = Vec::with_capacity(partitions.len());
        for asked in partitions {
            let found = find(broker, version, &name, &asked, isolation).await;
            answers.push(answer(asked.partition_index, found));
        }
        topics.push(ListOffsetsTopicResponse {
            name,
            partitions: answers,
        });
    }
    ListOffsetsResponse {
        topics,
        ..ListOffsetsResponse::default()
    }
}

async fn find(
    broker: &Broker,
    version: i16,
    topic: &str,
    asked: &ListOffsetsPartition,
    isolation: crate::partition::Isolation,
) -> Result<FoundOffset, ErrorCode> {
    let partition = broker.by_name(topic, asked.partition_index)?;
    let query = OffsetQuery::from_timestamp(asked.timestamp).filter(|query| version >= first_version(*query));
    let query = query.ok_or(ErrorCode::UNSUPPORTED_VERSION)?;
    let found = partition
        .list_offsets(query, isolation, known_epoch(asked.current_leader_epoch))
        .await;
    found.map_err(|error| broker.failure(&partition, &error).0)
}

/// The version of the request in which a special timestamp was introduced.
const fn first_version(query: OffsetQuery) -> i16 {
    match query {
        OffsetQuery::Latest | OffsetQuery::Earliest | OffsetQuery::AtOrAfter(_) => 0,
        OffsetQuery::MaxTimestamp => 7,
        OffsetQuery::EarliestLocal => 8,
        OffsetQuery::LatestTiered => 9,
        OffsetQuery::EarliestPendingUpload => 11,
    }
}

fn answer(partition_index: i32, found: Result<FoundOffset, ErrorCode>) -> ListOffsetsPartitionResponse {
    let blank = ListOffsetsPartitionResponse {
        partition_index,
        ..ListOffsetsPartitionResponse::default()
    };
    match found {
        Ok(FoundOffset {
            offset,
            timestamp_ms,
            leader_epoch,
        }) => ListOffsetsPartitionResponse {
            timestamp: timestamp_ms,
            offset,
            leader_epoch,
            ..blank
        },
        Err(error_code) => ListOffsetsPartitionResponse { error_code, ..blank },
    }
}
