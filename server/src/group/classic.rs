//! One classic group: its members, and the step of the rebalance that it is in.

use super::member::Member;
use super::record::GroupMetadataValue;
use super::subscription::{CONSUMER_PROTOCOL_TYPE, topics_of};
use crate::kafka::api::join_group::JoinGroupRequestProtocol;
use crate::kafka::wire::{ErrorCode, KafkaString};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

/// The step that a group is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupState {
    /// It has no members.
    Empty,
    /// It collects the JoinGroup requests of its members.
    PreparingRebalance,
    /// Its members know the generation and wait for the leader's assignment.
    CompletingRebalance,
    /// Every member can have its assignment.
    Stable,
}

impl GroupState {
    /// The name that clients see.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }

    const fn may_follow(self, previous: Self) -> bool {
        match self {
            Self::Empty | Self::CompletingRebalance => matches!(previous, Self::PreparingRebalance),
            Self::PreparingRebalance => !matches!(previous, Self::PreparingRebalance),
            Self::Stable => matches!(previous, Self::CompletingRebalance),
        }
    }
}

/// The state that a group which does not exist is said to be in.
pub(super) const DEAD: &str = "Dead";

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When the collection of JoinGroup requests ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JoinTimer {
    pub(super) at: Duration,
    /// In the first rebalance of an empty group: how much longer it may be put off while members keep coming.
    pub(super) initial: Option<InitialDelay>,
}

/// The wait of the first rebalance of an empty group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InitialDelay {
    /// The wait that ends now.
    pub(super) delay: Duration,
    /// What is left of the members' rebalance timeout.
    pub(super) remaining: Duration,
}

/// One classic group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: KafkaString,
    pub(super) state: GroupState,
    /// The step before this one.
    pub(super) previous: GroupState,
    /// Wall time of the last step; `None` if an old record did not say.
    pub(super) state_since_ms: Option<i64>,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<KafkaString>,
    pub(super) protocol: Option<KafkaString>,
    pub(super) leader: Option<KafkaString>,
    pub(super) members: BTreeMap<KafkaString, Member>,
    /// Member ids by instance id.
    pub(super) static_members: HashMap<KafkaString, KafkaString>,
    /// Clients that were given a member id (KIP-394), and when they are given up.
    pub(super) pending_members: BTreeMap<KafkaString, Duration>,
    /// Members that have not sent SyncGroup in this generation.
    pub(super) pending_sync: BTreeSet<KafkaString>,
    /// The topics that the members subscribe to; `None` if unknown, or if they are no consumers.
    pub(super) subscribed_topics: Option<BTreeSet<KafkaString>>,
    /// A member came while the first rebalance waited for members.
    pub(super) new_member_added: bool,
    pub(super) join_timer: Option<JoinTimer>,
    pub(super) sync_deadline: Option<Duration>,
    /// The leader's assignment of this generation is on its way into the log.
    pub(super) assignment_in_flight: bool,
    /// Metadata records of the group on their way into the log.
    pub(super) appends_in_flight: u32,
    /// A time not later than the group's next deadline.
    pub(super) wake: Option<Duration>,
    /// The time under which the machine's index has the group.
    pub(super) indexed_wake: Option<Duration>,
    /// How many members support each protocol.
    supporters: HashMap<KafkaString, usize>,
    members_awaiting_join: usize,
}

impl Group {
    /// A group that nobody has joined.
    pub(super) fn new(id: KafkaString) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            previous: GroupState::Empty,
            state_since_ms: None,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            pending_members: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            subscribed_topics: None,
            new_member_added: false,
            join_timer: None,
            sync_deadline: None,
            assignment_in_flight: false,
            appends_in_flight: 0,
            wake: None,
            indexed_wake: None,
            supporters: HashMap::new(),
            members_awaiting_join: 0,
        }
    }

    /// The group as a record has it: stable, or empty if it has no members.
    pub(super) fn from_record(id: KafkaString, value: &GroupMetadataValue) -> Self {
        let mut group = Self::new(id);
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type.clone()).filter(|kind| !kind.is_empty());
        group.protocol.clone_from(&value.protocol);
        group.leader.clone_from(&value.leader);
        group.state_since_ms = Some(value.current_state_timestamp).filter(|since| *since != -1);
        let protocol = value.protocol.clone().unwrap_or_default();
        for member in &value.members {
            group.insert(Member::from_record(member, &protocol));
        }
        if !group.members.is_empty() {
            group.state = GroupState::Stable;
        }
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    /// The group as a record has it, with these assignments; a member without one gets an empty one.
    pub(super) fn to_record(&self, assignments: &HashMap<KafkaString, Bytes>) -> GroupMetadataValue {
        let protocol = self.protocol.as_deref();
        let members = self.members.values().map(|member| {
            let assignment = assignments.get(&member.id).cloned().unwrap_or_default();
            member.to_record(protocol, assignment)
        });
        GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.state_since_ms.unwrap_or(-1),
            members: members.collect(),
        }
    }

    /// The assignments that the members have.
    pub(super) fn assignments(&self) -> HashMap<KafkaString, Bytes> {
        let members = self.members.values();
        members
            .map(|member| (member.id.clone(), member.assignment.clone()))
            .collect()
    }

    /// Goes on to another step.
    pub(super) fn enter(&mut self, state: GroupState, wall_ms: i64) {
        assert!(
            state.may_follow(self.state),
            "a group goes from {} to {state}",
            self.state
        );
        self.previous = self.state;
        self.state = state;
        self.state_since_ms = Some(wall_ms);
    }

    /// Whether nothing but the log knows of the group.
    pub(super) fn is_idle(&self) -> bool {
        self.state == GroupState::Empty && self.pending_members.is_empty() && self.appends_in_flight == 0
    }

    /// Asks to be woken at `at` or before.
    pub(super) fn arm(&mut self, at: Duration) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Adds a member, which its JoinGroup request may accompany. The first one leads.
    pub(super) fn insert(&mut self, member: Member) {
        if let Some(instance) = &member.instance_id {
            let before = self.static_members.insert(instance.clone(), member.id.clone());
            assert!(before.is_none(), "a static member is added once");
        }
        self.leader.get_or_insert_with(|| member.id.clone());
        self.pending_members.remove(&member.id);
        self.count_supporters(&member.protocols, true);
        self.members_awaiting_join += usize::from(member.awaiting_join.is_some());
        let before = self.members.insert(member.id.clone(), member);
        assert!(before.is_none(), "a member is added once");
    }

    /// Removes a member or a pending one. If it led, the first of the others does.
    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        self.pending_members.remove(id);
        self.pending_sync.remove(id);
        let removed = self.members.remove(id)?;
        self.count_supporters(&removed.protocols, false);
        self.members_awaiting_join -= usize::from(removed.awaiting_join.is_some());
        if let Some(instance) = &removed.instance_id {
            self.static_members.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(removed)
    }

    /// Changes a member and keeps the counts right.
    pub(super) fn change_member(&mut self, id: &str, change: impl FnOnce(&mut Member)) {
        let Some(mut member) = self.members.remove(id) else {
            return;
        };
        self.count_supporters(&member.protocols, false);
        self.members_awaiting_join -= usize::from(member.awaiting_join.is_some());
        change(&mut member);
        self.count_supporters(&member.protocols, true);
        self.members_awaiting_join += usize::from(member.awaiting_join.is_some());
        self.members.insert(member.id.clone(), member);
    }

    fn count_supporters(&mut self, protocols: &[JoinGroupRequestProtocol], add: bool) {
        for protocol in protocols {
            if add {
                *self.supporters.entry(protocol.name.clone()).or_default() += 1;
            } else if let Some(count) = self.supporters.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.supporters.remove(&protocol.name);
                }
            }
        }
    }

    /// Whether the member leads.
    pub(super) fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    /// How many members wait for the others to join.
    pub(super) const fn members_awaiting_join(&self) -> usize {
        self.members_awaiting_join
    }

    /// Whether nobody is missing.
    pub(super) fn all_joined(&self) -> bool {
        self.members.len() == self.members_awaiting_join && self.pending_members.is_empty()
    }

    /// Whether every member supports the protocol.
    fn supported_by_all(&self, protocol: &str) -> bool {
        self.supporters.get(protocol).copied().unwrap_or(0) == self.members.len()
    }

    /// Whether a member of that type with those protocols could be in the group.
    pub(super) fn accepts(&self, protocol_type: &str, protocols: &[JoinGroupRequestProtocol]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols
                .iter()
                .any(|protocol| self.supported_by_all(&protocol.name))
    }

    /// The protocol of the next generation: every member votes for the first of its protocols that all support. With as
    /// many votes for two of them, the first by name wins.
    pub(super) fn select_protocol(&self) -> Option<KafkaString> {
        let mut votes: BTreeMap<&KafkaString, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(vote) = member.vote(|name| self.supported_by_all(name)) {
                *votes.entry(vote).or_default() += 1;
            }
        }
        let best = votes.into_iter().rev().max_by_key(|(_, count)| *count);
        best.map(|(name, _)| name.clone())
    }

    /// The longest rebalance timeout of the members.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(|member| member.rebalance_timeout_ms);
        millis(timeouts.max().unwrap_or(0))
    }

    /// Makes sure that the leader is among those who joined. False if nobody did.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let joined = |member: &Member| member.awaiting_join.is_some();
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader));
        if leader.is_some_and(joined) {
            return true;
        }
        match self.members.values().find(|member| joined(member)) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// The topics that the members subscribe to; `None` if that cannot be known.
    pub(super) fn compute_subscribed_topics(&self) -> Option<BTreeSet<KafkaString>> {
        if self.protocol_type.as_deref() != Some(CONSUMER_PROTOCOL_TYPE) {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut all = BTreeSet::new();
        for member in self.members.values() {
            all.append(&mut topics_of(&member.metadata(protocol))?);
        }
        Some(all)
    }

    /// Whether members are subscribed to the topic. Consumers whose subscription is unknown may be to any.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE),
        }
    }

    /// Checks that the member belongs to the group, and that a static member is not an older process of the same instance.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID` or `FENCED_INSTANCE_ID`.
    pub(super) fn check_member(&self, id: &str, instance: Option<&KafkaString>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(current) if current != id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) {
            Ok(())
        } else {
            Err(ErrorCode::UNKNOWN_MEMBER_ID)
        }
    }

    /// Checks the member and that it knows the current generation.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID` or `ILLEGAL_GENERATION`.
    pub(super) fn check_generation(
        &self,
        id: &str,
        instance: Option<&KafkaString>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        self.check_member(id, instance)?;
        if generation == self.generation {
            Ok(())
        } else {
            Err(ErrorCode::ILLEGAL_GENERATION)
        }
    }

    /// The member was heard of: its session starts anew.
    pub(super) fn touch(&mut self, id: &str, now: Duration) {
        if let Some(member) = self.members.get_mut(id) {
            let deadline = now + millis(member.session_timeout_ms);
            member.session_deadline = Some(deadline);
            self.arm(deadline);
        }
    }

    /// The group's next deadline.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let sessions = self.members.values().filter_map(|member| member.session_deadline);
        let pending = self.pending_members.values().copied();
        let timers = self
            .join_timer
            .map(|timer| timer.at)
            .into_iter()
            .chain(self.sync_deadline);
        sessions.chain(pending).chain(timers).min()
    }
}

/// A timeout that a client gave; a negative one has passed already.
pub(super) fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
