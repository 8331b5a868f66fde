//! DeleteRecords: cuts off the start of partitions.

use crate::broker::Broker;
use crate::cluster::state::is_internal;
use crate::kafka::api::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsTopic, DeleteRecordsTopicResult,
};
use crate::kafka::api::{DeleteRecordsRequest, DeleteRecordsResponse};
use crate::kafka::deadline::Deadline;
use crate::kafka::wire::ErrorCode;
use futures_lite::FutureExt;
use std::time::Duration;

/// Answers a request; what is not decided in time is answered with `REQUEST_TIMED_OUT` and may still happen.
pub async fn handle(broker: &Broker, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let mut deadline = Deadline::after(&*broker.env().clock, timeout);
    let mut topics = Vec::with_capacity(request.topics.len());
    for DeleteRecordsTopic { name, partitions } in request.topics {
        let mut answers = Vec::with_capacity(partitions.len());
        for asked in partitions {
            let late = async {
                deadline.passed().await;
                Err(ErrorCode::REQUEST_TIMED_OUT)
            };
            let deleted = delete(broker, &name, &asked).or(late).await;
            answers.push(answer(asked.partition_index, deleted));
        }
        topics.push(DeleteRecordsTopicResult {
            name,
            partitions: answers,
        });
    }
    DeleteRecordsResponse {
        topics,
        ..DeleteRecordsResponse::default()
    }
}

async fn delete(broker: &Broker, topic: &str, asked: &DeleteRecordsPartition) -> Result<i64, ErrorCode> {
    let partition = broker.by_name(topic, asked.partition_index)?;
    if is_internal(topic) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    let deleted = partition.delete_records(asked.offset).await;
    deleted.map_err(|error| broker.failure(&partition, &error).0)
}

fn answer(partition_index: i32, deleted: Result<i64, ErrorCode>) -> DeleteRecordsPartitionResult {
    match deleted {
        Ok(low_watermark) => DeleteRecordsPartitionResult {
            partition_index,
            low_watermark,
            error_code: ErrorCode::NONE,
        },
        Err(error_code) => DeleteRecordsPartitionResult {
            partition_index,
            low_watermark: -1,
            error_code,
        },
    }
}
