//! What the versions of the APIs make of requests and answers.

use super::world::{PARTITIONS, World, client};
use crate::group::LogRole;
use crate::group::subscription::metadata_of;
use crate::kafka::api::Response;
use crate::kafka::api::delete_groups::DeleteGroupsRequest;
use crate::kafka::api::describe_groups::DescribeGroupsRequest;
use crate::kafka::api::heartbeat::HeartbeatRequest;
use crate::kafka::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use crate::kafka::api::leave_group::{LeaveGroupRequest, MemberIdentity};
use crate::kafka::api::list_groups::ListGroupsRequest;
use crate::kafka::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use crate::kafka::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::kafka::api::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use crate::kafka::api::sync_group::SyncGroupRequest;
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};

fn join_request(session_ms: i32) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: session_ms,
        rebalance_timeout_ms: 20_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: metadata_of(&["t"]),
        }],
        ..Default::default()
    }
}

/// The response can be sent in that version.
fn encodes(response: impl Into<Response>, version: i16) {
    let encoded = response.into().encode(version, 1);
    assert!(encoded.is_ok(), "version {version}: {encoded:?}");
}

#[test]
fn join_answers_can_be_sent_in_every_version_also_refusals() {
    for version in 0..=9 {
        let world = World::new();
        let refused = world.ask(world.coordinator.join_group(client(version), join_request(1)));
        assert_eq!(refused.error_code, ErrorCode::INVALID_SESSION_TIMEOUT);
        let name = refused.protocol_name.as_deref();
        assert_eq!(
            name,
            if version < 7 { Some("") } else { None },
            "version {version}"
        );
        encodes(refused, version);
        let mut request = join_request(10_000);
        request.group_instance_id = Some(KafkaString::from("i")).filter(|_| version >= 5);
        let mut joined = world.ask(world.coordinator.join_group(client(version), request.clone()));
        if joined.error_code == ErrorCode::MEMBER_ID_REQUIRED {
            request.member_id.clone_from(&joined.member_id);
            joined = world.ask(world.coordinator.join_group(client(version), request));
        }
        assert_eq!(joined.error_code, ErrorCode::NONE);
        assert_eq!(joined.protocol_type.as_deref(), Some("consumer"));
        encodes(joined, version);
    }
}

#[test]
fn session_timeouts_have_limits() {
    let world = World::new();
    for (session_ms, allowed) in [
        (999, false),
        (1_000, true),
        (100_000, true),
        (100_001, false),
        (-1, false),
    ] {
        let joined = world.ask(world.coordinator.join_group(client(9), join_request(session_ms)));
        let expected = if allowed {
            ErrorCode::MEMBER_ID_REQUIRED
        } else {
            ErrorCode::INVALID_SESSION_TIMEOUT
        };
        assert_eq!(joined.error_code, expected, "{session_ms}");
    }
}

#[test]
fn in_version_zero_the_session_timeout_is_the_rebalance_timeout_too() {
    let world = World::new();
    let request = JoinGroupRequest {
        rebalance_timeout_ms: -1,
        ..join_request(30_000)
    };
    let joined = world.ask(world.coordinator.join_group(client(0), request));
    assert_eq!(joined.error_code, ErrorCode::NONE);
    // A second member now waits for the first one, who has as long as its session lasts.
    let (coordinator, request) = (world.coordinator.clone(), join_request(30_000));
    let asked = world.start(async move { coordinator.join_group(client(0), request).await });
    world.advance(29_000);
    assert!(asked.take().is_none());
    world.advance(1_001);
    assert_eq!(asked.take().unwrap().generation_id, 2);
}

#[test]
fn members_need_a_group_id_and_offsets_do_not() {
    let world = World::new();
    let c = &world.coordinator;
    let join = JoinGroupRequest {
        group_id: KafkaString::default(),
        ..join_request(10_000)
    };
    assert_eq!(
        world.ask(c.join_group(client(9), join)).error_code,
        ErrorCode::INVALID_GROUP_ID
    );
    assert_eq!(
        c.heartbeat(&HeartbeatRequest::default()).error_code,
        ErrorCode::INVALID_GROUP_ID
    );
    let sync = world.ask(c.sync_group(&client(4), SyncGroupRequest::default()));
    assert_eq!(sync.error_code, ErrorCode::INVALID_GROUP_ID);
    let leave = world.ask(c.leave_group(&client(3), LeaveGroupRequest::default()));
    assert_eq!(leave.error_code, ErrorCode::INVALID_GROUP_ID);
    let deleted = world.ask(c.delete_offsets(OffsetDeleteRequest::default()));
    assert_eq!(deleted.error_code, ErrorCode::INVALID_GROUP_ID);
    let commit = OffsetCommitRequest {
        group_id: KafkaString::default(),
        ..commit_request(&[("t", &[0])])
    };
    let committed = world.ask(c.commit_offsets(&client(9), commit));
    assert_eq!(committed.topics[0].partitions[0].error_code, ErrorCode::NONE);
}

#[test]
fn sync_names_its_protocol_from_version_five_on() {
    let world = World::new();
    let request = SyncGroupRequest {
        group_id: "g".into(),
        ..Default::default()
    };
    for (version, error) in [
        (4, ErrorCode::UNKNOWN_MEMBER_ID),
        (5, ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
    ] {
        let sync = world.ask(world.coordinator.sync_group(&client(version), request.clone()));
        assert_eq!(sync.error_code, error);
        encodes(sync, version);
    }
}

#[test]
fn before_version_three_a_leave_is_of_one_member() {
    let world = World::new();
    for version in 0..=2 {
        let joined = world.ask(world.coordinator.join_group(client(3), join_request(10_000)));
        for error in [ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID] {
            let request = LeaveGroupRequest {
                group_id: "g".into(),
                member_id: joined.member_id.clone(),
                ..Default::default()
            };
            let left = world.ask(world.coordinator.leave_group(&client(version), request));
            assert_eq!(left.error_code, error);
            encodes(left, version);
        }
    }
    let request = LeaveGroupRequest {
        group_id: "g".into(),
        members: vec![MemberIdentity::default()],
        ..Default::default()
    };
    let left = world.ask(world.coordinator.leave_group(&client(3), request));
    assert_eq!((left.error_code, left.members.len()), (ErrorCode::NONE, 1));
    encodes(left, 5);
}

fn commit_request(topics: &[(&str, &[i32])]) -> OffsetCommitRequest {
    let partition = |index: &i32| OffsetCommitRequestPartition {
        partition_index: *index,
        committed_offset: i64::from(*index) + 100,
        ..Default::default()
    };
    let topics = topics.iter().map(|(name, partitions)| OffsetCommitRequestTopic {
        name: (*name).into(),
        topic_id: Uuid::ZERO,
        partitions: partitions.iter().map(partition).collect(),
    });
    OffsetCommitRequest {
        group_id: "g".into(),
        topics: topics.collect(),
        ..Default::default()
    }
}

fn errors(response: &OffsetCommitResponse) -> Vec<ErrorCode> {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

#[test]
fn commits_to_what_does_not_exist_are_refused_one_by_one() {
    let world = World::new();
    let request = commit_request(&[("none", &[0]), ("t", &[9, 1, -1]), ("u", &[0, 1])]);
    let response = world.ask(world.coordinator.commit_offsets(&client(9), request));
    let (ok, unknown) = (ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(errors(&response), [unknown, unknown, ok, unknown, ok, unknown]);
    let names: Vec<_> = response.topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["none", "t", "u"]);
    for version in 2..=9 {
        encodes(response.clone(), version);
    }
    let mut request = commit_request(&[("", &[0]), ("", &[1])]);
    request.topics[0].topic_id = Uuid::from_u128(1234);
    request.topics[1].topic_id = Uuid::from_u128(7);
    let response = world.ask(world.coordinator.commit_offsets(&client(10), request));
    assert_eq!(errors(&response), [ErrorCode::UNKNOWN_TOPIC_ID, ok]);
    assert_eq!(response.topics[0].topic_id, Uuid::from_u128(1234));
    encodes(response, 10);
    let all_unknown = commit_request(&[("none", &[0])]);
    let response = world.ask(world.coordinator.commit_offsets(&client(9), all_unknown));
    assert_eq!(errors(&response), [unknown]);
}

#[test]
fn a_commit_refused_as_a_whole_says_so_for_what_exists() {
    let world = World::new();
    world.log_of("g").set_role(LogRole::Follower);
    world.sim.run_until_idle();
    let request = commit_request(&[("none", &[0]), ("t", &[0])]);
    let response = world.ask(world.coordinator.commit_offsets(&client(9), request));
    let (unknown, moved) = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::NOT_COORDINATOR);
    assert_eq!(errors(&response), [unknown, moved]);
}

fn old_fetch(topics: Option<&[&str]>) -> OffsetFetchRequest {
    let topic = |name: &&str| OffsetFetchRequestTopic {
        name: (*name).into(),
        partition_indexes: vec![0],
    };
    OffsetFetchRequest {
        group_id: "g".into(),
        topics: topics.map(|topics| topics.iter().map(topic).collect()),
        ..Default::default()
    }
}

fn new_fetch(topics: Option<&[(&str, u128)]>) -> OffsetFetchRequest {
    let topic = |(name, id): &(&str, u128)| OffsetFetchRequestTopics {
        name: (*name).into(),
        topic_id: Uuid::from_u128(*id),
        partition_indexes: vec![0],
    };
    let group = |id: &str| OffsetFetchRequestGroup {
        group_id: id.into(),
        topics: topics.map(|topics| topics.iter().map(topic).collect()),
        ..Default::default()
    };
    OffsetFetchRequest {
        groups: vec![group("g"), group("other")],
        ..Default::default()
    }
}

#[test]
fn offsets_are_fetched_in_every_version() {
    let world = World::new();
    let request = commit_request(&[("t", &[0]), ("u", &[0])]);
    world.ask(world.coordinator.commit_offsets(&client(9), request));
    for version in 1..=7 {
        let request = old_fetch(Some(&["t", "none"]));
        let response = world.ask(world.coordinator.fetch_offsets(&client(version), request));
        let offsets: Vec<_> = response
            .topics
            .iter()
            .map(|topic| topic.partitions[0].committed_offset)
            .collect();
        assert_eq!(offsets, [100, -1], "version {version}");
        encodes(response, version);
        if version >= 2 {
            let response = world.ask(world.coordinator.fetch_offsets(&client(version), old_fetch(None)));
            assert_eq!(response.topics.len(), 2);
        }
    }
    for version in 8..=9 {
        let request = new_fetch(Some(&[("t", 0), ("none", 0)]));
        let response = world.ask(world.coordinator.fetch_offsets(&client(version), request));
        let offset =
            |group: usize, topic: usize| response.groups[group].topics[topic].partitions[0].committed_offset;
        assert_eq!(
            [offset(0, 0), offset(0, 1), offset(1, 0), offset(1, 1)],
            [100, -1, -1, -1]
        );
        encodes(response, version);
    }
    let request = new_fetch(Some(&[("", 7), ("", 1234)]));
    let response = world.ask(world.coordinator.fetch_offsets(&client(10), request));
    let topics = &response.groups[0].topics;
    assert_eq!(topics[0].partitions[0].committed_offset, 100);
    assert_eq!(topics[1].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    encodes(response, 10);
    let response = world.ask(world.coordinator.fetch_offsets(&client(10), new_fetch(None)));
    let ids: Vec<_> = response.groups[0]
        .topics
        .iter()
        .map(|topic| topic.topic_id)
        .collect();
    assert_eq!(ids, [Uuid::from_u128(7), Uuid::from_u128(9)]);
    assert!(response.groups[1].topics.is_empty());
    encodes(response, 10);
}

#[test]
fn a_refused_fetch_has_its_error_where_the_version_has_a_place_for_it() {
    let world = World::new();
    world.log_of("g").set_role(LogRole::Follower);
    world.sim.run_until_idle();
    let moved = ErrorCode::NOT_COORDINATOR;
    let response = world.ask(
        world
            .coordinator
            .fetch_offsets(&client(1), old_fetch(Some(&["t"]))),
    );
    assert_eq!(response.topics[0].partitions[0].error_code, moved);
    assert_eq!(response.topics[0].partitions[0].committed_offset, -1);
    encodes(response, 1);
    let response = world.ask(
        world
            .coordinator
            .fetch_offsets(&client(2), old_fetch(Some(&["t"]))),
    );
    assert_eq!((response.error_code, response.topics.len()), (moved, 0));
    let response = world.ask(world.coordinator.fetch_offsets(&client(8), new_fetch(None)));
    assert_eq!(response.groups[0].error_code, moved);
    encodes(response, 8);
}

#[test]
fn offsets_are_deleted_for_what_exists() {
    let world = World::new();
    world.ask(
        world
            .coordinator
            .commit_offsets(&client(9), commit_request(&[("t", &[0])])),
    );
    let topic = |name: &str, partitions: &[i32]| OffsetDeleteRequestTopic {
        name: name.into(),
        partitions: partitions
            .iter()
            .map(|&partition_index| OffsetDeleteRequestPartition { partition_index })
            .collect(),
    };
    let request = OffsetDeleteRequest {
        group_id: "g".into(),
        topics: vec![topic("none", &[0]), topic("t", &[0, 99])],
    };
    let response = world.ask(world.coordinator.delete_offsets(request));
    let mut errors: Vec<_> = response
        .topics
        .iter()
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|one| (topic.name.as_str(), one.partition_index, one.error_code))
        })
        .collect();
    errors.sort();
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(
        errors,
        [
            ("none", 0, unknown),
            ("t", 0, ErrorCode::NONE),
            ("t", 99, unknown)
        ]
    );
    encodes(response, 0);
}

#[test]
fn offsets_of_deleted_topics_are_removed_in_every_partition() {
    let world = World::new();
    for group in ["g", "h", "i", "j", "k"] {
        let request = OffsetCommitRequest {
            group_id: group.into(),
            ..commit_request(&[("t", &[0])])
        };
        world.ask(world.coordinator.commit_offsets(&client(9), request));
    }
    let gone = [(KafkaString::from("t"), Uuid::from_u128(7))];
    assert_eq!(world.ask(world.coordinator.topics_deleted(&gone)), Ok(()));
    assert!(
        world
            .coordinator
            .list_groups(&ListGroupsRequest::default())
            .groups
            .is_empty()
    );
}

#[test]
fn groups_of_all_partitions_are_listed_described_and_deleted() {
    let world = World::new();
    let names: Vec<KafkaString> = (0..PARTITIONS * 3)
        .map(|at| format!("group-{at}").into())
        .collect();
    for name in &names {
        let request = OffsetCommitRequest {
            group_id: name.clone(),
            ..commit_request(&[("t", &[0])])
        };
        world.ask(world.coordinator.commit_offsets(&client(9), request));
    }
    let list = |types: &[&str]| {
        let request = ListGroupsRequest {
            types_filter: types.iter().map(|kind| (*kind).into()).collect(),
            ..Default::default()
        };
        world.coordinator.list_groups(&request)
    };
    assert_eq!(list(&[]).groups.len(), names.len());
    assert_eq!(list(&["consumer", "Classic"]).groups.len(), names.len());
    assert!(list(&["consumer", "nonsense"]).groups.is_empty());
    assert_eq!(&*list(&[]).groups[0].group_type, "classic");
    let request = DescribeGroupsRequest {
        groups: vec![names[0].clone(), "none".into()],
        include_authorized_operations: true,
    };
    let described = world.coordinator.describe_groups(&client(6), &request);
    assert_eq!(described.groups[0].group_state, "Empty");
    assert_eq!(described.groups[0].authorized_operations, 3400);
    assert_eq!(described.groups[1].error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(described.groups[1].authorized_operations, i32::MIN);
    encodes(described, 6);
    let mut doomed = names.clone();
    doomed.push(names[0].clone());
    doomed.push("none".into());
    let request = DeleteGroupsRequest { groups_names: doomed };
    let response = world.ask(world.coordinator.delete_groups(&request));
    assert_eq!(response.results.len(), names.len() + 1, "each group once");
    let failed: Vec<_> = response
        .results
        .iter()
        .filter(|one| one.error_code != ErrorCode::NONE)
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(
        (&*failed[0].group_id, failed[0].error_code),
        ("none", ErrorCode::GROUP_ID_NOT_FOUND)
    );
    assert!(list(&[]).groups.is_empty());
    encodes(response, 2);
}
