//! The served APIs: the one table that keys, requests and responses are made from.

/// Calls the macro `$callback` with a row for each API: key, name, (module, request, response), the versions that are
/// decoded, and the first flexible version. The ranges are those of Kafka 4.3, except InitProducerId 6, which it marks
/// as unstable.
macro_rules! for_each_api {
    ($callback:ident) => {
        $callback! {
            0 Produce(produce, ProduceRequest, ProduceResponse) 3..=13, flexible 9;
            1 Fetch(fetch, FetchRequest, FetchResponse) 4..=18, flexible 12;
            2 ListOffsets(list_offsets, ListOffsetsRequest, ListOffsetsResponse) 1..=11, flexible 6;
            3 Metadata(metadata, MetadataRequest, MetadataResponse) 0..=13, flexible 9;
            8 OffsetCommit(offset_commit, OffsetCommitRequest, OffsetCommitResponse) 2..=10, flexible 8;
            9 OffsetFetch(offset_fetch, OffsetFetchRequest, OffsetFetchResponse) 1..=10, flexible 6;
            10 FindCoordinator(find_coordinator, FindCoordinatorRequest, FindCoordinatorResponse) 0..=6, flexible 3;
            11 JoinGroup(join_group, JoinGroupRequest, JoinGroupResponse) 0..=9, flexible 6;
            12 Heartbeat(heartbeat, HeartbeatRequest, HeartbeatResponse) 0..=4, flexible 4;
            13 LeaveGroup(leave_group, LeaveGroupRequest, LeaveGroupResponse) 0..=5, flexible 4;
            14 SyncGroup(sync_group, SyncGroupRequest, SyncGroupResponse) 0..=5, flexible 4;
            15 DescribeGroups(describe_groups, DescribeGroupsRequest, DescribeGroupsResponse) 0..=6, flexible 5;
            16 ListGroups(list_groups, ListGroupsRequest, ListGroupsResponse) 0..=5, flexible 3;
            18 ApiVersions(api_versions, ApiVersionsRequest, ApiVersionsResponse) 0..=4, flexible 3;
            19 CreateTopics(create_topics, CreateTopicsRequest, CreateTopicsResponse) 2..=7, flexible 5;
            20 DeleteTopics(delete_topics, DeleteTopicsRequest, DeleteTopicsResponse) 1..=6, flexible 4;
            21 DeleteRecords(delete_records, DeleteRecordsRequest, DeleteRecordsResponse) 0..=2, flexible 2;
            22 InitProducerId(init_producer_id, InitProducerIdRequest, InitProducerIdResponse) 0..=5, flexible 2;
            23 OffsetForLeaderEpoch(
                offset_for_leader_epoch,
                OffsetForLeaderEpochRequest,
                OffsetForLeaderEpochResponse
            ) 2..=4, flexible 4;
            32 DescribeConfigs(describe_configs, DescribeConfigsRequest, DescribeConfigsResponse) 1..=4, flexible 4;
            33 AlterConfigs(alter_configs, AlterConfigsRequest, AlterConfigsResponse) 0..=2, flexible 2;
            35 DescribeLogDirs(describe_log_dirs, DescribeLogDirsRequest, DescribeLogDirsResponse) 1..=5, flexible 2;
            37 CreatePartitions(create_partitions, CreatePartitionsRequest, CreatePartitionsResponse) 0..=3, flexible 2;
            42 DeleteGroups(delete_groups, DeleteGroupsRequest, DeleteGroupsResponse) 0..=2, flexible 2;
            44 IncrementalAlterConfigs(
                incremental_alter_configs,
                IncrementalAlterConfigsRequest,
                IncrementalAlterConfigsResponse
            ) 0..=1, flexible 1;
            47 OffsetDelete(offset_delete, OffsetDeleteRequest, OffsetDeleteResponse) 0..=0, flexible NEVER;
            60 DescribeCluster(describe_cluster, DescribeClusterRequest, DescribeClusterResponse) 0..=2, flexible 0;
            75 DescribeTopicPartitions(
                describe_topic_partitions,
                DescribeTopicPartitionsRequest,
                DescribeTopicPartitionsResponse
            ) 0..=0, flexible 0;
        }
    };
}

pub(super) use for_each_api;
