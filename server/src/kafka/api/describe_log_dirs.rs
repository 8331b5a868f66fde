//! DescribeLogDirs (key 35): describe data directories.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Asks for the size of partitions in the data directories.
    pub struct DescribeLogDirsRequest {
        /// Null is all topics.
        topics: Option<Vec<DescribableLogDirTopic>>, default Some(Vec::new());
    }
}

wire_struct! {
    /// The partitions of one topic.
    pub struct DescribableLogDirTopic {
        topic: KafkaString;
        partitions: Vec<i32>;
    }
}

wire_struct! {
    /// The data directories and what they hold.
    pub struct DescribeLogDirsResponse {
        throttle_time_ms: i32;
        error_code: ErrorCode, versions 3..;
        results: Vec<DescribeLogDirsResult>;
    }
}

wire_struct! {
    /// One data directory.
    pub struct DescribeLogDirsResult {
        error_code: ErrorCode;
        log_dir: KafkaString;
        topics: Vec<DescribeLogDirsTopic>;
        /// Bytes of the volume, -1 if not known.
        total_bytes: i64, versions 4.., default -1;
        /// Free bytes of the volume, -1 if not known.
        usable_bytes: i64, versions 4.., default -1;
        is_cordoned: bool, versions 5..;
    }
}

wire_struct! {
    /// What it holds of one topic.
    pub struct DescribeLogDirsTopic {
        name: KafkaString;
        partitions: Vec<DescribeLogDirsPartition>;
    }
}

wire_struct! {
    /// What it holds of one partition.
    pub struct DescribeLogDirsPartition {
        partition_index: i32;
        partition_size: i64;
        /// How far the log is behind the high watermark, in offsets.
        offset_lag: i64;
        is_future_key: bool;
    }
}
