//! One member of a group.

use super::pending::ReplyId;
use super::record::MemberMetadata;
use crate::kafka::api::join_group::JoinGroupRequestProtocol;
use crate::kafka::wire::KafkaString;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Duration;

/// One member of a group.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: KafkaString,
    /// The name that a static member keeps over its restarts (KIP-345).
    pub(super) instance_id: Option<KafkaString>,
    pub(super) client_id: KafkaString,
    pub(super) client_host: KafkaString,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// The assignment strategies that it supports, the preferred one first, each name once.
    pub(super) protocols: Vec<JoinGroupRequestProtocol>,
    pub(super) assignment: Bytes,
    /// Its JoinGroup request that waits for the others.
    pub(super) awaiting_join: Option<ReplyId>,
    /// Its SyncGroup request that waits for the leader's.
    pub(super) awaiting_sync: Option<ReplyId>,
    /// It has not been through a rebalance yet.
    pub(super) is_new: bool,
    /// When it is given up; `None` after that moment passed while it waited for the group.
    pub(super) session_deadline: Option<Duration>,
}

impl Member {
    /// The member as a record has it; its session starts when somebody sets the deadline.
    pub(super) fn from_record(member: &MemberMetadata, protocol: &KafkaString) -> Self {
        Self {
            id: member.member_id.clone(),
            instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: match member.rebalance_timeout {
                -1 => member.session_timeout,
                timeout => timeout,
            },
            session_timeout_ms: member.session_timeout,
            protocols: vec![JoinGroupRequestProtocol {
                name: protocol.clone(),
                metadata: member.subscription.clone(),
            }],
            assignment: member.assignment.clone(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            session_deadline: None,
        }
    }

    /// The member as a record has it.
    pub(super) fn to_record(&self, protocol: Option<&str>, assignment: Bytes) -> MemberMetadata {
        MemberMetadata {
            member_id: self.id.clone(),
            group_instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout: self.rebalance_timeout_ms,
            session_timeout: self.session_timeout_ms,
            subscription: protocol.map_or_else(Bytes::new, |protocol| self.metadata(protocol)),
            assignment,
        }
    }

    /// What the member told about itself for the protocol; empty if it does not support it.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|known| known.name == protocol);
        found.map_or_else(Bytes::new, |known| known.metadata.clone())
    }

    /// The first of its protocols that `is_candidate`.
    pub(super) fn vote(&self, is_candidate: impl Fn(&str) -> bool) -> Option<&KafkaString> {
        let mut names = self.protocols.iter().map(|protocol| &protocol.name);
        names.find(|name| is_candidate(name))
    }

    /// Whether the member may stay although its session ended: it waits for the group, not the group for it. A new member
    /// may not, as nobody knows whether its client still waits.
    pub(super) const fn waits_for_the_group(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}

/// The protocols of a request as they are kept: each name once, and copied, because the bytes of a request keep its whole
/// frame allocated.
pub(super) fn keep_protocols(protocols: &[JoinGroupRequestProtocol]) -> Vec<JoinGroupRequestProtocol> {
    let mut seen = BTreeSet::new();
    let first = protocols.iter().filter(|protocol| seen.insert(&protocol.name));
    let kept = first.map(|protocol| JoinGroupRequestProtocol {
        name: protocol.name.clone(),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    kept.collect()
}
