//! DescribeLogDirs: what the data directory holds.

use crate::broker::Broker;
use crate::cluster::state::Topic;
use crate::kafka::api::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::kafka::api::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use crate::kafka::wire::KafkaString;

/// Answers a request: the sizes of the partitions of this node, all or those asked for.
#[must_use]
pub fn handle(broker: &Broker, request: &DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let image = broker.image();
    let topics: Vec<DescribeLogDirsTopic> = match &request.topics {
        None => image
            .state
            .topics()
            .values()
            .filter_map(|topic| describe(broker, topic, |_| true))
            .collect(),
        Some(asked) => {
            let one = |asked: &DescribableLogDirTopic| {
                let wanted = |index: i32| asked.partitions.contains(&index);
                describe(broker, image.state.topic(&asked.topic)?, wanted)
            };
            asked.iter().filter_map(one).collect()
        }
    };
    let (total_bytes, usable_bytes) = broker.disk_bytes();
    let result = DescribeLogDirsResult {
        log_dir: KafkaString::from(broker.config().node.data_dir.display().to_string()),
        topics,
        total_bytes,
        usable_bytes,
        ..DescribeLogDirsResult::default()
    };
    DescribeLogDirsResponse {
        results: vec![result],
        ..DescribeLogDirsResponse::default()
    }
}

fn describe(broker: &Broker, topic: &Topic, wanted: impl Fn(i32) -> bool) -> Option<DescribeLogDirsTopic> {
    let partitions = (0..).zip(&topic.partitions).filter(|(index, _)| wanted(*index));
    let here = partitions.filter_map(|(partition_index, placed)| {
        let partition = broker.partitions().get(placed.group())?;
        let lag = partition.log_end() - partition.view().high_watermark.0;
        Some(DescribeLogDirsPartition {
            partition_index,
            partition_size: i64::try_from(partition.size_bytes()).unwrap_or(i64::MAX),
            offset_lag: lag.max(0),
            is_future_key: false,
        })
    });
    let partitions: Vec<_> = here.collect();
    let name = KafkaString::from(&*topic.name);
    (!partitions.is_empty()).then_some(DescribeLogDirsTopic { name, partitions })
}
