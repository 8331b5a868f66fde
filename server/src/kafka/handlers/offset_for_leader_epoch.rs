//! OffsetForLeaderEpoch: where a leader epoch ends.

use crate::broker::Broker;
use crate::kafka::api::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopic, OffsetForLeaderTopicResult,
};
use crate::kafka::api::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use crate::kafka::wire::ErrorCode;
use crate::partition::EpochEnd;

use super::known_epoch;

/// Answers a request.
pub fn handle(broker: &Broker, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = request
        .topics
        .into_iter()
        .map(|OffsetForLeaderTopic { topic, partitions }| {
            let answers = partitions.iter().map(|asked| {
                let blank = EpochEndOffset {
                    partition: asked.partition,
                    ..EpochEndOffset::default()
                };
                match find(broker, &topic, asked) {
                    Ok(EpochEnd {
                        leader_epoch,
                        end_offset,
                    }) => EpochEndOffset {
                        leader_epoch,
                        end_offset,
                        ..blank
                    },
                    Err(error_code) => EpochEndOffset { error_code, ..blank },
                }
            });
            let partitions = answers.collect();
            OffsetForLeaderTopicResult { topic, partitions }
        });
    OffsetForLeaderEpochResponse {
        topics: topics.collect(),
        ..OffsetForLeaderEpochResponse::default()
    }
}

fn find(broker: &Broker, topic: &str, asked: &OffsetForLeaderPartition) -> Result<EpochEnd, ErrorCode> {
    let partition = broker.by_name(topic, asked.partition)?;
    let end = partition.end_of_epoch(asked.leader_epoch, known_epoch(asked.current_leader_epoch));
    end.map_err(|error| broker.failure(&partition, &error).0)
}
