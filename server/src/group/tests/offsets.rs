//! OffsetCommit, OffsetFetch, OffsetDelete, and the groups that offsets belong to.

use super::harness::{Commit, GROUP, Harness, Spec, TOPIC};
use crate::group::pending::{Answer, ReplyId};
use crate::kafka::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::kafka::api::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponseGroup,
};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};

fn fetch_request(topic_id: Uuid) -> OffsetFetchRequestGroup {
    OffsetFetchRequestGroup {
        group_id: GROUP.into(),
        topics: Some(vec![OffsetFetchRequestTopics {
            name: TOPIC.into(),
            topic_id,
            partition_indexes: vec![0, 1],
        }]),
        ..Default::default()
    }
}

fn delete(h: &mut Harness, topic: &str) -> ReplyId {
    let request = OffsetDeleteRequest {
        group_id: GROUP.into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    h.run(|machine, now, to| machine.delete_offsets(now, &request, to))
}

/// The error of the request, else that of its partition.
fn deleted(h: &Harness, id: ReplyId) -> ErrorCode {
    match h.answer(id) {
        Some(Answer::OffsetDelete(response)) if response.error_code != ErrorCode::NONE => response.error_code,
        Some(Answer::OffsetDelete(response)) => response.topics[0].partitions[0].error_code,
        other => panic!("no OffsetDelete answer but {other:?}"),
    }
}

fn delete_groups(h: &mut Harness, ids: &[&str]) -> ReplyId {
    let ids: Vec<KafkaString> = ids.iter().map(|id| (*id).into()).collect();
    h.run(|machine, now, to| machine.delete_groups(now, &ids, to))
}

fn delete_errors(h: &Harness, id: ReplyId) -> Vec<ErrorCode> {
    match h.answer(id) {
        Some(Answer::DeleteGroups(results)) => results.iter().map(|result| result.error_code).collect(),
        other => panic!("no DeleteGroups answer but {other:?}"),
    }
}

#[test]
fn offset_epoch_and_metadata_come_back_as_they_were_committed() {
    let mut h = Harness::new();
    let id = h.send_commit(&Commit {
        offset: 42,
        epoch: 5,
        metadata: Some("m\u{e9}ta".into()),
        ..Default::default()
    });
    assert_eq!(h.committed(id), ErrorCode::NONE);
    h.restart();
    let response = h.machine.offsets_of(&fetch_request(Uuid::ZERO));
    let (first, second) = (
        &response.topics[0].partitions[0],
        &response.topics[0].partitions[1],
    );
    assert_eq!((first.committed_offset, first.committed_leader_epoch), (42, 5));
    assert_eq!(first.metadata.as_deref(), Some("m\u{e9}ta"));
    assert_eq!((second.committed_offset, second.committed_leader_epoch), (-1, -1));
    assert_eq!(second.metadata.as_deref(), Some(""));
    assert_eq!(second.error_code, ErrorCode::NONE);
}

#[test]
fn a_commit_is_neither_acknowledged_nor_seen_before_it_is_in_the_log() {
    let mut h = Harness::new();
    h.auto_commit = false;
    let id = h.send_commit(&Commit::default());
    assert!(h.is_parked(id));
    assert_eq!(h.offset(GROUP, TOPIC, 0), -1);
    h.commit_all();
    assert_eq!(h.committed(id), ErrorCode::NONE);
    assert_eq!(h.offset(GROUP, TOPIC, 0), 1);
}

#[test]
fn a_commit_that_cannot_be_stored_is_an_error_and_changes_nothing() {
    let mut h = Harness::new();
    h.commit_simple(GROUP, 0, 1);
    h.auto_commit = false;
    let id = h.send_commit(&Commit {
        offset: 2,
        ..Default::default()
    });
    h.fail_one(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(h.committed(id), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(h.offset(GROUP, TOPIC, 0), 1);
}

#[test]
fn a_stable_fetch_waits_for_the_commits_before_it() {
    let mut h = Harness::new();
    h.auto_commit = false;
    h.send_commit(&Commit::default());
    let fetch = |h: &mut Harness, stable| {
        h.run(|machine, _, to| machine.fetch_offsets(fetch_request(Uuid::ZERO), stable, to))
    };
    let offset = |answer: &OffsetFetchResponseGroup| answer.topics[0].partitions[0].committed_offset;
    let plain = fetch(&mut h, false);
    let stable = fetch(&mut h, true);
    assert!(matches!(h.answer(plain), Some(Answer::OffsetFetch(answer)) if offset(answer) == -1));
    assert!(h.is_parked(stable));
    h.commit_all();
    assert!(matches!(h.answer(stable), Some(Answer::OffsetFetch(answer)) if offset(answer) == 1));
    h.send_commit(&Commit {
        offset: 2,
        ..Default::default()
    });
    let stable = fetch(&mut h, true);
    h.fail_one(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert!(matches!(h.answer(stable), Some(Answer::OffsetFetch(answer)) if offset(answer) == 1));
}

#[test]
fn members_commit_in_their_generation_only() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 2);
    let commit = |member: &str, generation| Commit {
        member: member.into(),
        generation,
        ..Default::default()
    };
    let cases = [
        (commit(&ids[0], generation), ErrorCode::NONE),
        (commit(&ids[0], generation + 1), ErrorCode::ILLEGAL_GENERATION),
        (commit(&ids[0], generation - 1), ErrorCode::ILLEGAL_GENERATION),
        (commit(&ids[0], -1), ErrorCode::ILLEGAL_GENERATION),
        (commit("stranger", generation), ErrorCode::UNKNOWN_MEMBER_ID),
        (commit("", generation), ErrorCode::UNKNOWN_MEMBER_ID),
        (commit("", -1), ErrorCode::UNKNOWN_MEMBER_ID),
    ];
    for (commit, error) in cases {
        let id = h.send_commit(&commit);
        assert_eq!(h.committed(id), error, "{commit:?}");
    }
    let rejoin = h.send_join(&spec, &ids[0]);
    let id = h.send_commit(&commit(&ids[1], generation));
    assert_eq!(
        h.committed(id),
        ErrorCode::NONE,
        "members commit before they rejoin"
    );
    h.send_join(&spec, &ids[1]);
    assert_eq!(h.joined(rejoin).generation_id, generation + 1);
    let id = h.send_commit(&commit(&ids[1], generation + 1));
    assert_eq!(
        h.committed(id),
        ErrorCode::REBALANCE_IN_PROGRESS,
        "nothing is assigned to it yet"
    );
}

#[test]
fn a_commit_shows_that_the_member_lives() {
    let mut h = Harness::new();
    let spec = Spec::default();
    let (ids, generation) = h.stable_group(&spec, 1);
    for _ in 0..4 {
        h.advance(6_000);
        let id = h.send_commit(&Commit {
            member: ids[0].clone(),
            generation,
            ..Default::default()
        });
        assert_eq!(h.committed(id), ErrorCode::NONE);
    }
    assert_eq!(h.state(), "Stable");
}

#[test]
fn a_member_of_an_unknown_group_is_told_in_its_versions_way() {
    for (version, error) in [
        (8, ErrorCode::ILLEGAL_GENERATION),
        (9, ErrorCode::GROUP_ID_NOT_FOUND),
    ] {
        let mut h = Harness::new();
        let id = h.send_commit(&Commit {
            version,
            member: "m".into(),
            generation: 3,
            ..Default::default()
        });
        assert_eq!(h.committed(id), error);
        assert_eq!(h.state(), "Dead");
    }
}

#[test]
fn anybody_commits_to_an_empty_group() {
    let mut h = Harness::new();
    h.stable_group(&Spec::default(), 1);
    h.advance(10_001);
    assert_eq!(h.state(), "Empty");
    h.commit_simple(GROUP, 0, 9);
    assert_eq!(h.offset(GROUP, TOPIC, 0), 9);
}

#[test]
fn metadata_that_is_too_long_fails_its_partition_alone() {
    let mut h = Harness::new();
    let too_long = h.send_commit(&Commit {
        metadata: Some("x".repeat(17).into()),
        ..Default::default()
    });
    assert_eq!(h.committed(too_long), ErrorCode::OFFSET_METADATA_TOO_LARGE);
    assert_eq!(h.offset(GROUP, TOPIC, 0), -1);
    // The length counts UTF-16 units, as in Kafka: these are 16 of them in 32 bytes.
    let fits = h.send_commit(&Commit {
        metadata: Some("\u{e9}".repeat(16).into()),
        ..Default::default()
    });
    assert_eq!(h.committed(fits), ErrorCode::NONE);
}

#[test]
fn offsets_of_an_earlier_topic_of_the_name_are_not_taken_for_the_new_one() {
    let mut h = Harness::new();
    h.commit_simple(GROUP, 0, 5);
    let offset =
        |h: &Harness, id| h.machine.offsets_of(&fetch_request(id)).topics[0].partitions[0].committed_offset;
    assert_eq!(offset(&h, Uuid::from_u128(7)), 5);
    assert_eq!(offset(&h, Uuid::ZERO), 5);
    assert_eq!(offset(&h, Uuid::from_u128(8)), -1);
}

#[test]
fn a_fetch_without_topics_has_them_all() {
    let mut h = Harness::new();
    for partition in 0..3 {
        h.commit_simple(GROUP, partition, i64::from(partition));
    }
    let request = OffsetFetchRequestGroup {
        group_id: GROUP.into(),
        topics: None,
        ..Default::default()
    };
    let response = h.machine.offsets_of(&request);
    assert_eq!(response.topics.len(), 1);
    let offsets: Vec<_> = response.topics[0]
        .partitions
        .iter()
        .map(|one| one.committed_offset)
        .collect();
    assert_eq!(offsets, [0, 1, 2]);
    let unknown = OffsetFetchRequestGroup {
        group_id: "unknown".into(),
        ..request
    };
    assert!(h.machine.offsets_of(&unknown).topics.is_empty());
}

#[test]
fn offsets_of_a_topic_in_use_are_not_deleted() {
    let mut h = Harness::new();
    let missing = delete(&mut h, TOPIC);
    assert_eq!(deleted(&h, missing), ErrorCode::GROUP_ID_NOT_FOUND);
    h.commit_simple(GROUP, 0, 1);
    h.send_commit(&Commit {
        topic: "unused",
        ..Default::default()
    });
    h.stable_group(&Spec::default(), 1);
    let used = delete(&mut h, TOPIC);
    assert_eq!(deleted(&h, used), ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC);
    let unused = delete(&mut h, "unused");
    assert_eq!(deleted(&h, unused), ErrorCode::NONE);
    assert_eq!(h.offset(GROUP, TOPIC, 0), 1);
    assert_eq!(h.offset(GROUP, "unused", 0), -1);
    h.advance(10_001);
    let empty = delete(&mut h, TOPIC);
    assert_eq!(deleted(&h, empty), ErrorCode::NONE);
    h.restart();
    assert_eq!(h.offset(GROUP, TOPIC, 0), -1);
}

#[test]
fn offsets_of_a_group_whose_topics_cannot_be_known_are_deleted_only_when_it_is_empty() {
    let mut h = Harness::new();
    let spec = Spec {
        kind: "connect",
        ..Default::default()
    };
    h.stable_group(&spec, 1);
    let id = delete(&mut h, TOPIC);
    assert_eq!(deleted(&h, id), ErrorCode::NON_EMPTY_GROUP);
}

#[test]
fn a_delete_behind_a_commit_in_flight_deletes_what_it_commits() {
    let mut h = Harness::new();
    h.commit_simple(GROUP, 1, 1);
    h.auto_commit = false;
    h.send_commit(&Commit::default());
    let id = delete(&mut h, TOPIC);
    assert!(h.is_parked(id));
    h.commit_all();
    assert_eq!(deleted(&h, id), ErrorCode::NONE);
    assert_eq!(h.offset(GROUP, TOPIC, 0), -1);
}

#[test]
fn only_empty_groups_are_deleted_and_with_all_that_they_have() {
    let mut h = Harness::new();
    h.stable_group(&Spec::default(), 1);
    h.commit_simple("simple", 0, 1);
    let id = delete_groups(&mut h, &[GROUP, "simple", "unknown"]);
    let (none, not_empty) = (ErrorCode::NONE, ErrorCode::NON_EMPTY_GROUP);
    assert_eq!(
        delete_errors(&h, id),
        [not_empty, none, ErrorCode::GROUP_ID_NOT_FOUND]
    );
    h.advance(10_001);
    h.commit_simple(GROUP, 0, 3);
    h.auto_commit = false;
    h.send_commit(&Commit {
        partition: 1,
        ..Default::default()
    });
    let id = delete_groups(&mut h, &[GROUP]);
    assert!(h.is_parked(id));
    h.commit_all();
    assert_eq!(delete_errors(&h, id), [none]);
    assert_eq!(h.state(), "Dead");
    assert_eq!(h.machine.durable().groups().count(), 0);
    h.restart();
    assert_eq!(h.state(), "Dead");
}

#[test]
fn a_group_that_is_joined_while_it_is_deleted_lives_on() {
    let mut h = Harness::new();
    let (_, generation) = h.stable_group(&Spec::default(), 1);
    h.advance(10_001);
    h.auto_commit = false;
    delete_groups(&mut h, &[GROUP]);
    let (_, joining) = h.start_member(&Spec::default());
    h.commit_all();
    h.advance(3_000);
    assert_eq!(h.joined(joining).generation_id, generation + 2);
}

#[test]
fn offsets_of_deleted_topics_go_and_those_of_their_successors_stay() {
    let mut h = Harness::new();
    h.commit_simple(GROUP, 0, 1);
    h.send_commit(&Commit {
        partition: 1,
        topic_id: Uuid::from_u128(8),
        ..Default::default()
    });
    h.send_commit(&Commit {
        partition: 2,
        topic_id: Uuid::ZERO,
        ..Default::default()
    });
    let gone = [(KafkaString::from(TOPIC), Uuid::from_u128(7))];
    let id = h.run(|machine, now, to| machine.topics_deleted(now, &gone, to));
    assert_eq!(h.answer(id), Some(&Answer::TopicsDeleted(ErrorCode::NONE)));
    let offsets: Vec<_> = (0..3)
        .map(|partition| h.offset(GROUP, TOPIC, partition))
        .collect();
    assert_eq!(offsets, [-1, 1, -1]);
}

#[test]
fn groups_are_listed_by_state_and_described_with_their_members() {
    let mut h = Harness::new();
    let (ids, _) = h.stable_group(&Spec::default(), 1);
    h.commit_simple("simple", 0, 1);
    let names = |h: &Harness, states: &[&str]| {
        let states: Vec<KafkaString> = states.iter().map(|state| (*state).into()).collect();
        let mut names: Vec<_> = h
            .machine
            .list_groups(&states)
            .into_iter()
            .map(|one| one.group_id)
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&h, &[]), [GROUP, "simple"]);
    assert_eq!(names(&h, &["stable"]), [GROUP]);
    assert_eq!(names(&h, &["Empty", "PreparingRebalance"]), ["simple"]);
    assert_eq!(names(&h, &["nonsense"]), Vec::<KafkaString>::new());
    let described = h.machine.describe_group(5, &GROUP.into());
    assert_eq!(
        (&*described.protocol_type, &*described.protocol_data),
        ("consumer", "range")
    );
    let member = &described.members[0];
    assert_eq!((&member.member_id, &*member.client_id), (&ids[0], "client"));
    assert_eq!(&*member.client_host, "/127.0.0.1");
    assert_eq!(&member.member_assignment[..], b"a0");
    assert!(!member.member_metadata.is_empty());
    h.send_join(&Spec::default(), &ids[0]);
    let described = h.machine.describe_group(5, &GROUP.into());
    assert_eq!(described.group_state, "CompletingRebalance");
    assert!(described.protocol_data.is_empty() && described.members[0].member_metadata.is_empty());
    let simple = h.machine.describe_group(5, &"simple".into());
    assert_eq!((&*simple.group_state, &*simple.protocol_type), ("Empty", ""));
    assert_eq!(
        h.machine.describe_group(5, &"unknown".into()).error_code,
        ErrorCode::NONE
    );
    assert_eq!(
        h.machine.describe_group(6, &"unknown".into()).error_code,
        ErrorCode::GROUP_ID_NOT_FOUND
    );
}
