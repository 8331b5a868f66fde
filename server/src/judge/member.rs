//! A member of a consumer group, as a client plays it.

use super::wire::{
    Connection, FIND_COORDINATOR, HEARTBEAT, JOIN_GROUP, LEAVE_GROUP, OFFSET_COMMIT, OFFSET_FETCH,
    SYNC_GROUP, text,
};
use super::{Failure, Subject, Verdict, ensure, fine, refused};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};

pub(super) const SESSION_MS: i32 = 30_000;
pub(super) const PROTOCOL: &str = "range";

/// A member of a group, or one that wants to be.
pub(super) struct Member {
    pub(super) connection: Connection,
    pub(super) group: String,
    pub(super) id: String,
    pub(super) generation: i32,
    pub(super) instance: Option<String>,
    pub(super) session_ms: i32,
}

fn group_id(group: &str) -> GroupId {
    GroupId(text(group))
}

/// What a consumer says of its subscription: version 0, no topic, no user data.
pub(super) fn subscription() -> Bytes {
    Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])
}

impl Member {
    pub(super) fn of(subject: &Subject, group: &str) -> Result<Self, Failure> {
        Ok(Self {
            connection: coordinator_of(subject, group)?,
            group: group.to_owned(),
            id: String::new(),
            generation: -1,
            instance: None,
            session_ms: SESSION_MS,
        })
    }

    /// A member of a new group that is stable.
    pub(super) fn stable(subject: &Subject) -> Result<Self, Failure> {
        let mut member = Self::of(subject, &subject.name())?;
        fine("joining an empty group", member.join()?.error_code)?;
        let (id, assignment) = (member.id.clone(), "all");
        let (code, _) = member.sync(&[(&id, assignment)])?;
        fine("syncing a group of one", code)?;
        Ok(member)
    }

    pub(super) fn join_request(&self, protocol_type: &'static str, protocol: &str) -> JoinGroupRequest {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text(protocol))
            .with_metadata(subscription());
        JoinGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_session_timeout_ms(self.session_ms)
            .with_rebalance_timeout_ms(SESSION_MS)
            .with_member_id(text(self.id.clone()))
            .with_group_instance_id(self.instance.clone().map(text))
            .with_protocol_type(text(protocol_type))
            .with_protocols(vec![protocol])
    }

    pub(super) fn ask(&mut self) -> Result<JoinGroupResponse, Failure> {
        let request = self.join_request("consumer", PROTOCOL);
        self.connection.call(JOIN_GROUP, &request)
    }

    pub(super) fn send_join(&mut self) -> Result<i32, Failure> {
        let request = self.join_request("consumer", PROTOCOL);
        self.connection.send(JOIN_GROUP, &request)
    }

    pub(super) fn joined(&mut self, correlation: i32) -> Result<JoinGroupResponse, Failure> {
        let answer = self
            .connection
            .receive::<JoinGroupRequest>(JOIN_GROUP, correlation)?;
        self.note(&answer);
        Ok(answer)
    }

    pub(super) fn note(&mut self, answer: &JoinGroupResponse) {
        if answer.error_code == 0 {
            self.generation = answer.generation_id;
            self.id = answer.member_id.to_string();
        }
    }

    /// Takes the id that a first join of a dynamic member is answered with.
    pub(super) fn take_id(&mut self) -> Verdict {
        let answer = self.ask()?;
        refused(
            "a first join",
            answer.error_code,
            &[ResponseError::MemberIdRequired],
        )?;
        ensure!(
            !answer.member_id.is_empty(),
            "the answer to a first join has no member id"
        );
        self.id = answer.member_id.to_string();
        Ok(())
    }

    pub(super) fn join(&mut self) -> Result<JoinGroupResponse, Failure> {
        if self.id.is_empty() && self.instance.is_none() {
            self.take_id()?;
        }
        let answer = self.ask()?;
        self.note(&answer);
        Ok(answer)
    }

    pub(super) fn sync_request(&self, assignments: &[(&str, &str)]) -> SyncGroupRequest {
        let assignment = |(member, share): &(&str, &str)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(*member))
                .with_assignment(Bytes::copy_from_slice(share.as_bytes()))
        };
        SyncGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(text(self.id.clone()))
            .with_group_instance_id(self.instance.clone().map(text))
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text(PROTOCOL)))
            .with_assignments(assignments.iter().map(assignment).collect())
    }

    /// Error code and assignment.
    pub(super) fn sync(&mut self, assignments: &[(&str, &str)]) -> Result<(i16, Bytes), Failure> {
        let request = self.sync_request(assignments);
        let answer = self.connection.call(SYNC_GROUP, &request)?;
        Ok((answer.error_code, answer.assignment))
    }

    pub(super) fn heartbeat(&mut self) -> Result<i16, Failure> {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(text(self.id.clone()))
            .with_group_instance_id(self.instance.clone().map(text));
        Ok(self.connection.call(HEARTBEAT, &request)?.error_code)
    }

    pub(super) fn leave(&mut self) -> Result<i16, Failure> {
        let identity = MemberIdentity::default().with_member_id(text(self.id.clone()));
        let request = LeaveGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_members(vec![identity]);
        let answer = self.connection.call(LEAVE_GROUP, &request)?;
        let own = answer.members.first().map_or(0, |member| member.error_code);
        Ok(if answer.error_code == 0 {
            own
        } else {
            answer.error_code
        })
    }

    pub(super) fn commit(&mut self, topic: &str, offset: i64, metadata: &str) -> Result<i16, Failure> {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text(metadata)));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(text(self.id.clone()))
            .with_topics(vec![topic]);
        let answer = self.connection.call(OFFSET_COMMIT, &request)?;
        let first = answer
            .topics
            .into_iter()
            .flat_map(|topic| topic.partitions)
            .next();
        Ok(first.map_or(-1, |partition| partition.error_code))
    }

    /// The committed offset of a topic's first partition, with its metadata.
    pub(super) fn committed(&mut self, topic: &str) -> Result<(i64, String), Failure> {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default()
            .with_group_id(group_id(&self.group))
            .with_topics(Some(vec![topic]));
        let answer = self.connection.call(OFFSET_FETCH, &request)?;
        fine("OffsetFetch", answer.error_code)?;
        let first = answer
            .topics
            .into_iter()
            .flat_map(|topic| topic.partitions)
            .next();
        let first = first.ok_or_else(|| Failure("OffsetFetch answers for no partition".to_owned()))?;
        fine("the partition of OffsetFetch", first.error_code)?;
        Ok((
            first.committed_offset,
            first.metadata.unwrap_or_default().to_string(),
        ))
    }
}

/// A connection to the coordinator, once it serves the group: a broker may have to make its own topic first.
pub(super) fn coordinator_of(subject: &Subject, group: &str) -> Result<Connection, Failure> {
    let request = FindCoordinatorRequest::default()
        .with_key(text(group))
        .with_key_type(0);
    subject.until("the group has a coordinator", || {
        let found = subject.connection()?.call(FIND_COORDINATOR, &request)?;
        if found.error_code != 0 {
            return Ok(None);
        }
        let mut connection = Connection::open(&format!("{}:{}", &*found.host, found.port))?;
        // Kafka lets every heartbeat pass while it loads the group, so that only a refusal shows that it is served.
        let probe = HeartbeatRequest::default()
            .with_group_id(group_id(group))
            .with_generation_id(0)
            .with_member_id(text("nobody"));
        let code = connection.call(HEARTBEAT, &probe)?.error_code;
        let not_yet = [
            ResponseError::CoordinatorNotAvailable,
            ResponseError::CoordinatorLoadInProgress,
            ResponseError::NotCoordinator,
        ];
        let serves = code != 0 && !not_yet.iter().any(|error| error.code() == code);
        Ok(serves.then_some(connection))
    })
}
