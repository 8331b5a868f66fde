//! Fetch (key 1): read record batches.

use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString, RecordSlices, Uuid};

wire_struct! {
    /// Reads record batches from partitions, waiting for `min_bytes` up to `max_wait_ms`; KIP-227 for sessions.
    pub struct FetchRequest {
        cluster_id: Option<KafkaString>, versions 12.., tag 0;
        /// The broker that fetches, -1 for a consumer; from version 15 see `replica_state`.
        replica_id: i32, versions ..=14, default -1;
        replica_state: ReplicaState, versions 15.., tag 1;
        /// How long to wait for `min_bytes`.
        max_wait_ms: i32;
        /// Answer at once if there are as many bytes.
        min_bytes: i32;
        /// The most bytes to return; the first batch is returned whole in any case.
        max_bytes: i32, default i32::MAX;
        /// 0 read_uncommitted, 1 read_committed.
        isolation_level: i8;
        /// The session, 0 for none or a new one (KIP-227).
        session_id: i32, versions 7..;
        /// The place in the session: 0 starts one, -1 ends it.
        session_epoch: i32, versions 7.., default -1;
        topics: Vec<FetchTopic>;
        forgotten_topics_data: Vec<ForgottenTopic>, versions 7..;
        /// Where the consumer is (KIP-392).
        rack_id: KafkaString, versions 11..;
    }
}

wire_struct! {
    /// Which replica fetches; -1 for a consumer.
    pub struct ReplicaState {
        replica_id: i32, default -1;
        replica_epoch: i64, default -1;
    }
}

wire_struct! {
    /// The partitions of one topic to fetch.
    pub struct FetchTopic {
        topic: KafkaString, versions ..=12;
        topic_id: Uuid, versions 13..;
        partitions: Vec<FetchPartition>;
    }
}

wire_struct! {
    /// A partition to fetch, and from where.
    ///
    /// The tagged fields that only replicas send (directory id, high watermark) are left out: a request lists
    /// thousands of partitions, and this keeps an element no larger in memory than on the wire.
    pub struct FetchPartition {
        partition: i32;
        /// The epoch that the client believes in, -1 if it knows none.
        current_leader_epoch: i32, versions 9.., default -1;
        fetch_offset: i64;
        /// The epoch of the last record that the follower has, -1 if it knows none.
        last_fetched_epoch: i32, versions 12.., default -1;
        /// The first offset of a follower, -1 for a consumer.
        log_start_offset: i64, versions 5.., default -1;
        /// The most bytes to return of this partition.
        partition_max_bytes: i32;
    }
}

wire_struct! {
    /// Partitions that leave the fetch session.
    pub struct ForgottenTopic {
        topic: KafkaString, versions 7..=12;
        topic_id: Uuid, versions 13..;
        partitions: Vec<i32>;
    }
}

wire_struct! {
    /// The batches that were read; in a session, only the partitions that changed.
    pub struct FetchResponse {
        throttle_time_ms: i32;
        error_code: ErrorCode, versions 7..;
        session_id: i32, versions 7..;
        responses: Vec<FetchableTopicResponse>;
        node_endpoints: Vec<NodeEndpoint>, versions 16.., tag 0;
    }
}

wire_struct! {
    /// The fetched partitions of one topic.
    pub struct FetchableTopicResponse {
        topic: KafkaString, versions ..=12;
        topic_id: Uuid, versions 13..;
        partitions: Vec<PartitionData>;
    }
}

wire_struct! {
    /// What was fetched from one partition.
    pub struct PartitionData {
        partition_index: i32;
        error_code: ErrorCode;
        /// The end of what is committed.
        high_watermark: i64;
        /// The end of what `read_committed` may see.
        last_stable_offset: i64, default -1;
        log_start_offset: i64, versions 5.., default -1;
        diverging_epoch: EpochEndOffset, versions 12.., tag 0;
        current_leader: LeaderIdAndEpoch, versions 12.., tag 1;
        snapshot_id: SnapshotId, versions 12.., tag 2;
        /// For `read_committed`, sorted by first offset; null otherwise.
        aborted_transactions: Option<Vec<AbortedTransaction>>, default Some(Vec::new());
        /// The replica to read from, -1 if any.
        preferred_read_replica: i32, versions 11.., default -1;
        /// The batches; empty rather than null, which librdkafka refuses.
        records: Option<RecordSlices>, default Some(RecordSlices::new());
    }
}

wire_struct! {
    /// Where the log of a follower diverges; -1 if it does not.
    pub struct EpochEndOffset {
        epoch: i32, default -1;
        end_offset: i64, default -1;
    }
}

wire_struct! {
    /// The current leader of a partition (KIP-951); -1 if not told.
    pub struct LeaderIdAndEpoch {
        leader_id: i32, default -1;
        leader_epoch: i32, default -1;
    }
}

wire_struct! {
    /// The snapshot that a follower has to load; -1 if none.
    pub struct SnapshotId {
        end_offset: i64, default -1;
        epoch: i32, default -1;
    }
}

wire_struct! {
    /// An aborted transaction that a `read_committed` consumer has to skip.
    pub struct AbortedTransaction {
        producer_id: i64;
        first_offset: i64;
    }
}

wire_struct! {
    /// The address of a leader that the response names (KIP-951).
    pub struct NodeEndpoint {
        node_id: i32;
        host: KafkaString;
        port: i32;
        rack: Option<KafkaString>;
    }
}
