//! Topics: their names, their creation and their end.

use super::subject::create;
use super::wire::{Api, CREATE_TOPICS, DELETE_TOPICS, METADATA};
use super::{Check, Subject, Verdict, batch, ensure, fine, must, refused};
use kafka_protocol::error::ResponseError;

const NEEDS: &[Api] = &[METADATA, CREATE_TOPICS, DELETE_TOPICS];

pub(super) const CHECKS: &[Check] = &[
    must(
        "KB-TOP-01",
        "an_unknown_topic_is_said_to_be_unknown",
        &[METADATA],
        unknown,
    ),
    must(
        "KB-TOP-02",
        "a_name_that_no_topic_can_have_is_refused",
        NEEDS,
        invalid,
    ),
    must(
        "KB-TOP-03",
        "a_new_topic_has_its_partitions_with_leaders_among_the_brokers",
        NEEDS,
        created,
    ),
    must("KB-TOP-04", "a_topic_is_created_once", NEEDS, twice),
    must(
        "KB-TOP-05",
        "impossible_numbers_of_partitions_and_replicas_are_refused",
        NEEDS,
        impossible,
    ),
    must(
        "KB-TOP-06",
        "a_creation_that_is_only_validated_creates_nothing",
        NEEDS,
        validated,
    ),
    must(
        "KB-TOP-07",
        "no_list_means_all_topics_and_an_empty_list_none",
        NEEDS,
        lists,
    ),
    must(
        "KB-TOP-08",
        "a_deleted_topic_is_gone_and_its_name_is_free",
        NEEDS,
        deleted,
    ),
    must(
        "KB-TOP-09",
        "deleting_an_unknown_topic_is_refused",
        NEEDS,
        deleted_unknown,
    ),
];

fn unknown(subject: &Subject) -> Verdict {
    let name = subject.name();
    for _ in 0..2 {
        let topic = subject.described(&name)?;
        refused(
            "Metadata of an unknown topic",
            topic.error_code,
            &[ResponseError::UnknownTopicOrPartition],
        )?;
    }
    Ok(())
}

const INVALID: &[&str] = &["", ".", "..", "a b", "a/b", "\u{e9}"];

fn invalid(subject: &Subject) -> Verdict {
    let long = "x".repeat(250);
    for name in INVALID.iter().copied().chain([long.as_str()]) {
        let answer = subject
            .connection()?
            .call(CREATE_TOPICS, &create(name, 1, -1, &[]))?;
        let code = answer.topics.first().map_or(0, |topic| topic.error_code);
        refused(
            &format!("creating a topic called {name:?}"),
            code,
            &[ResponseError::InvalidTopicException],
        )?;
    }
    let described = subject.described("a b")?;
    let right = [
        ResponseError::InvalidTopicException,
        ResponseError::UnknownTopicOrPartition,
    ];
    refused("Metadata of \"a b\"", described.error_code, &right)
}

fn created(subject: &Subject) -> Verdict {
    let topic = subject.topic(3)?;
    let answer = subject.metadata(Some(&[topic.name.as_str()]))?;
    let brokers: Vec<i32> = answer.brokers.iter().map(|broker| broker.node_id.0).collect();
    ensure!(
        brokers.contains(&answer.controller_id.0),
        "the controller is none of the brokers"
    );
    let mut partitions = answer
        .topics
        .into_iter()
        .flat_map(|topic| topic.partitions)
        .collect::<Vec<_>>();
    partitions.sort_by_key(|partition| partition.partition_index);
    let indexes: Vec<i32> = partitions
        .iter()
        .map(|partition| partition.partition_index)
        .collect();
    ensure!(indexes == [0, 1, 2], "the partitions are {indexes:?}");
    for partition in &partitions {
        fine("a new partition", partition.error_code)?;
        let leader = partition.leader_id;
        ensure!(
            brokers.contains(&leader.0),
            "the leader {} is none of {brokers:?}",
            leader.0
        );
        ensure!(
            partition.replica_nodes.contains(&leader),
            "the leader {} holds no replica",
            leader.0
        );
        ensure!(
            partition.isr_nodes.contains(&leader),
            "the leader {} is not in sync with itself",
            leader.0
        );
    }
    Ok(())
}

fn twice(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    let answer = subject
        .connection()?
        .call(CREATE_TOPICS, &create(&topic.name, 2, -1, &[]))?;
    let code = answer.topics.first().map_or(0, |topic| topic.error_code);
    refused(
        "creating a topic again",
        code,
        &[ResponseError::TopicAlreadyExists],
    )?;
    let count = subject.described(&topic.name)?.partitions.len();
    ensure!(count == 1, "the topic has {count} partitions after the refusal");
    Ok(())
}

fn impossible(subject: &Subject) -> Verdict {
    let mut connection = subject.connection()?;
    let cases = [
        (0, -1, ResponseError::InvalidPartitions),
        (-5, -1, ResponseError::InvalidPartitions),
        (1, 0, ResponseError::InvalidReplicationFactor),
        (1, 10_000, ResponseError::InvalidReplicationFactor),
    ];
    for (partitions, replicas, error) in cases {
        let answer = connection.call(CREATE_TOPICS, &create(&subject.name(), partitions, replicas, &[]))?;
        let code = answer.topics.first().map_or(0, |topic| topic.error_code);
        refused(
            &format!("{partitions} partitions of {replicas} replicas"),
            code,
            &[error],
        )?;
    }
    Ok(())
}

fn validated(subject: &Subject) -> Verdict {
    let name = subject.name();
    let request = create(&name, 1, -1, &[]).with_validate_only(true);
    let answer = subject.connection()?.call(CREATE_TOPICS, &request)?;
    fine(
        "validating a creation",
        answer.topics.first().map_or(-1, |topic| topic.error_code),
    )?;
    let described = subject.described(&name)?;
    refused(
        "a topic that was only validated",
        described.error_code,
        &[ResponseError::UnknownTopicOrPartition],
    )
}

fn lists(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    let all = subject.metadata(None)?.topics;
    let is_it = |name: &str| name == topic.name;
    let there = all
        .iter()
        .filter_map(|topic| topic.name.as_ref())
        .any(|name| is_it(name.as_str()));
    ensure!(there, "the list of all topics lacks {}", topic.name);
    let none = subject.metadata(Some(&[]))?;
    ensure!(
        none.topics.is_empty(),
        "an empty list is answered with {} topics",
        none.topics.len()
    );
    ensure!(
        !none.brokers.is_empty(),
        "an empty list is answered without the brokers"
    );
    Ok(())
}

fn deleted(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    topic.log(0)?.append(batch::of(&["old"])?)?;
    fine("deleting a topic", subject.delete(&topic.name)?)?;
    subject.until("a deleted topic is unknown", || {
        let code = subject.described(&topic.name)?.error_code;
        Ok((code == ResponseError::UnknownTopicOrPartition.code()).then_some(()))
    })?;
    let again = create(&topic.name, 1, -1, &[]);
    subject.until("the name of a deleted topic can be used again", || {
        let answer = subject.connection()?.call(CREATE_TOPICS, &again)?;
        Ok(answer
            .topics
            .first()
            .filter(|topic| topic.error_code == 0)
            .map(|_| ()))
    })?;
    subject.until("the new topic of that name takes records from 0 on", || {
        Ok((topic.log(0)?.append(batch::of(&["new"])?)? == 0).then_some(()))
    })?;
    let values = topic.log(0)?.values()?;
    ensure!(
        values.first().is_some_and(|value| value == "new"),
        "the new topic begins with {values:?}"
    );
    Ok(())
}

fn deleted_unknown(subject: &Subject) -> Verdict {
    let code = subject.delete(&subject.name())?;
    refused(
        "deleting an unknown topic",
        code,
        &[ResponseError::UnknownTopicOrPartition],
    )
}
