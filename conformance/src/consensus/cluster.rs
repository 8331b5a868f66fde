//! A cluster in a simulated world, driven step by step, with the oracle looking on.

use super::Backend;
use super::client::Clients;
use super::node::{Hosted, Node, World, member};
use super::oracle::{At, Oracle, Violation};
use super::payload::{ProposalId, proposal};
use super::seen::Seen;
use crate::check::{Failure, Verdict};
use crate::world::disk::{Chooser, DropAll, KeepAll};
use crate::world::net::{End, NetOptions, SimNet};
use crate::world::{Seed, SimEnv, locked};
use chronik_core::consensus::{
    Capabilities, ConsensusError, ConsensusGroup, Maintenance, Member, Membership, Progress, Role,
};
use chronik_core::env::Clock;
use chronik_core::log_store::{HardState, Purge};
use chronik_core::proposal::{Appended, ProposeError};
use chronik_core::{BoxFuture, GroupId, LogIndex, NodeId, Outcome, ProposalHandle};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The group of checks that need one.
pub(super) const GROUP: GroupId = GroupId(1);

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// How many nodes there are.
    pub(super) nodes: u64,
    /// Those of them that found each group as voters.
    pub(super) voters: Vec<u64>,
    pub(super) groups: Vec<GroupId>,
}

impl Shape {
    pub(super) fn of(nodes: u64) -> Self {
        Self {
            nodes,
            voters: (1..=nodes).collect(),
            groups: vec![GROUP],
        }
    }

    /// With nodes beyond the voters.
    pub(super) fn with_spares(voters: u64, nodes: u64) -> Self {
        Self {
            voters: (1..=voters).collect(),
            ..Self::of(nodes)
        }
    }
}

/// A proposal without an outcome.
pub(super) struct Pending {
    at: At,
    start: u64,
    id: ProposalId,
    handle: ProposalHandle,
}

pub(super) struct Cluster<'a> {
    backend: &'a dyn Backend,
    seed: Seed,
    pub(super) sim: SimEnv,
    pub(super) net: SimNet,
    pub(super) nodes: BTreeMap<u64, Node>,
    founding: BTreeMap<GroupId, Membership>,
    pub(super) oracle: Oracle,
    /// Filled by clients too, which run in the world's own process.
    pub(super) pending: Arc<Mutex<Vec<Pending>>>,
    seen: BTreeMap<At, (u64, Progress)>,
    outcomes: BTreeMap<ProposalId, Outcome>,
    memberships: BTreeMap<GroupId, Seen>,
    streams: BTreeMap<(At, u64), (u64, u64)>,
    next_stream: u64,
    pub(super) clients: Option<Clients>,
}

impl<'a> Cluster<'a> {
    /// A cluster whose nodes have just started.
    pub(super) fn start(backend: &'a dyn Backend, seed: Seed, shape: &Shape) -> Result<Self, Failure> {
        let mut cluster = Self::prepare(backend, seed, shape);
        for node in 1..=shape.nodes {
            cluster.boot(node)?;
        }
        Ok(cluster)
    }

    /// A cluster whose nodes have not started.
    pub(super) fn prepare(backend: &'a dyn Backend, seed: Seed, shape: &Shape) -> Self {
        let sim = SimEnv::new(seed.child("sim"));
        let net = SimNet::new(&sim, seed.child("net"), NetOptions::default());
        let founding = |group: GroupId| Membership {
            voters: shape.voters.iter().map(|node| member(group, *node)).collect(),
            ..Membership::default()
        };
        Self {
            backend,
            seed,
            sim,
            net,
            nodes: (1..=shape.nodes).map(|id| (id, Node::new(id, seed))).collect(),
            founding: shape
                .groups
                .iter()
                .map(|group| (*group, founding(*group)))
                .collect(),
            oracle: Oracle::default(),
            pending: Arc::default(),
            seen: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            memberships: shape
                .groups
                .iter()
                .map(|group| (*group, Seen::new(founding(*group))))
                .collect(),
            streams: BTreeMap::new(),
            next_stream: 0,
            clients: None,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.sim.clock().now()
    }

    pub(super) fn all(&self) -> Vec<NodeId> {
        self.nodes.keys().map(|node| NodeId(*node)).collect()
    }

    /// What the engine declares.
    pub(super) fn capabilities(&self) -> Option<Capabilities> {
        let process = self.nodes.values().find_map(|node| node.process.as_ref());
        process.map(|process| process.engine.capabilities())
    }

    /// How long the group may be without a leader, as the engine declares.
    pub(super) fn bound(&self) -> Duration {
        let declared = self
            .capabilities()
            .map_or(Duration::ZERO, |can| can.failover_bound);
        declared.max(Duration::from_secs(1))
    }

    /// Starts a node that does not run.
    pub(super) fn boot(&mut self, node: u64) -> Verdict {
        let nodes = self.nodes.len() as u64;
        let world = World {
            backend: self.backend,
            seed: self.seed,
            sim: &self.sim,
            net: &self.net,
            oracle: &self.oracle,
            nodes,
            founding: &self.founding,
        };
        match self.nodes.get_mut(&node) {
            Some(node) if node.process.is_none() => node.start(&world)?,
            _ => return Ok(()),
        }
        if let Some(clients) = &self.clients {
            clients.publish(&self.nodes);
        }
        Ok(())
    }

    /// Ends a node's process.
    pub(super) fn crash(&mut self, node: u64, how: End, chooser: &mut dyn Chooser) {
        self.look();
        // Nobody hears of outcomes that a process did not tell before it ended.
        let mut pending = locked(&self.pending);
        let (ended, left): (Vec<_>, Vec<_>) = std::mem::take(&mut *pending)
            .into_iter()
            .partition(|pending| pending.at.node == node);
        *pending = left;
        drop(pending);
        if let Some(clients) = &self.clients {
            clients.forget(node);
        }
        if let Some(node) = self.nodes.get_mut(&node) {
            node.crash(&self.net, &self.oracle, how, chooser);
        }
        drop(ended);
    }

    /// Ends a process as kill -9 does: what it wrote stays.
    pub(super) fn kill(&mut self, node: u64) {
        self.crash(node, End::Process, &mut KeepAll);
    }

    /// Cuts a node's power: what was not synced is gone.
    pub(super) fn power_cut(&mut self, node: u64) {
        self.crash(node, End::Power, &mut DropAll);
    }

    pub(super) fn pause(&mut self, node: u64) {
        if let Some(process) = self.nodes.get(&node).and_then(|node| node.process.as_ref()) {
            process.sim.pause();
        }
    }

    pub(super) fn resume(&mut self, node: u64) {
        if let Some(process) = self.nodes.get(&node).and_then(|node| node.process.as_ref()) {
            process.sim.resume();
        }
    }

    /// Cuts `nodes` off from the others.
    pub(super) fn isolate(&self, nodes: &[u64]) {
        let inside: Vec<NodeId> = nodes.iter().map(|node| NodeId(*node)).collect();
        self.net.isolate(&inside, &self.all());
    }

    pub(super) fn hosted(&self, node: u64) -> Option<&Hosted> {
        self.nodes.get(&node)?.hosted(GROUP)
    }

    pub(super) fn group(&self, node: u64) -> Result<Arc<dyn ConsensusGroup>, Failure> {
        let group = self.hosted(node).and_then(Hosted::group);
        group.ok_or_else(|| Failure(format!("the group is not open on node {node}")))
    }

    pub(super) fn progress(&self, node: u64) -> Option<Progress> {
        self.hosted(node)?.progress()
    }

    /// How far a node has applied.
    pub(super) fn applied(&self, node: u64) -> LogIndex {
        self.hosted(node)
            .map_or(LogIndex(0), |hosted| locked(&hosted.machine).applied.index)
    }

    /// The node that leads in the newest term and can serve, of those that run.
    pub(super) fn leader_of(&self, group: GroupId) -> Option<u64> {
        let running = self.nodes.values().filter(|node| node.is_running());
        running
            .filter_map(|node| Some((node.hosted(group)?.progress()?, node.id)))
            .filter(|(progress, _)| progress.role == Role::Leader)
            .filter(|(progress, _)| {
                progress
                    .own_term_start
                    .is_some_and(|start| progress.commit >= start)
            })
            .max_by_key(|(progress, _)| progress.term)
            .map(|(_, node)| node)
    }

    pub(super) fn leader(&self) -> Option<u64> {
        self.leader_of(GROUP)
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        self.until(time, |_| false);
    }

    /// Lets time pass until `done`, at most `within`; whether it came.
    pub(super) fn until(&mut self, within: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let sim = self.sim.clone();
        let mut came = done(self);
        if !came {
            sim.advance_watched(within, || {
                self.look();
                came = done(self);
                came
            });
        }
        came
    }

    /// Lets time pass until `done`, or fails.
    pub(super) fn expect(&mut self, what: &str, within: Duration, done: impl Fn(&Self) -> bool) -> Verdict {
        if self.until(within, done) {
            return self.verdict();
        }
        self.verdict()?;
        Err(Failure(format!(
            "{what} (within {within:?}); {}",
            self.describe()
        )))
    }

    /// Looks at everything that may have changed in a step.
    fn look(&mut self) {
        let mut news = Vec::new();
        for node in self.nodes.values() {
            for hosted in node.process.iter().flat_map(|process| process.groups.values()) {
                if let Some(progress) = hosted.progress() {
                    let seen = self.seen.get(&hosted.at);
                    if seen != Some(&(node.starts, progress)) {
                        news.push((hosted.at, node.starts, progress));
                    }
                }
            }
        }
        for (at, start, progress) in news {
            self.seen.insert(at, (start, progress));
            if progress.role == Role::Leader {
                self.in_force(at);
            }
            if self.oracle.on_progress(at, start, progress) {
                self.check_votes(at, progress);
            }
        }
        self.collect_outcomes();
    }

    /// A new leader has the durable votes, or newer terms, of a quorum.
    fn check_votes(&mut self, at: At, progress: Progress) {
        let leader = at.replica();
        let states: BTreeMap<u64, HardState> = self
            .nodes
            .values()
            .filter_map(|node| Some((node.id, node.durable_hard_state(self.backend, at.group)?)))
            .collect();
        let votes = |member: &Member| {
            states.get(&member.node.0).is_some_and(|state| {
                state.term > progress.term || (state.term == progress.term && state.vote == Some(leader))
            })
        };
        let memberships = self.in_force(at);
        if !memberships.iter().any(|membership| is_quorum(membership, votes)) {
            let what = format!(
                "node {} leads term {} without the durable votes of a quorum: {states:?} of {memberships:?}",
                at.node, progress.term
            );
            self.oracle.violate("CS-ELE-02", what);
        }
    }

    /// The memberships that may be in force where `at` speaks: by the order in which they were seen, and those that
    /// other replicas have now.
    fn in_force(&mut self, at: At) -> Vec<Membership> {
        let last = self.nodes.get(&at.node).and_then(|node| node.hosted(at.group));
        let last = last.map(|hosted| hosted.reader.state().last.index);
        let mut in_force = match (self.status(at), last, self.memberships.get_mut(&at.group)) {
            (Some(own), Some(last), Some(seen)) => seen.in_force(&own, last),
            _ => Vec::new(),
        };
        for node in self.nodes.keys() {
            let other = self.status(At { node: *node, ..at });
            in_force.extend(other.filter(|other| !in_force.contains(other)));
        }
        in_force
    }

    fn status(&self, at: At) -> Option<Membership> {
        let group = self.nodes.get(&at.node)?.hosted(at.group)?.group()?;
        Some(group.status().membership)
    }

    fn collect_outcomes(&mut self) {
        let ended = {
            let mut pending = locked(&self.pending);
            if pending.iter().all(|pending| pending.handle.peek().is_none()) {
                return;
            }
            let (ended, left): (Vec<_>, Vec<_>) = std::mem::take(&mut *pending)
                .into_iter()
                .partition(|pending| pending.handle.peek().is_some());
            *pending = left;
            ended
        };
        for Pending {
            at,
            start,
            id,
            handle,
        } in ended
        {
            let Some(outcome) = handle.peek() else { continue };
            // A paused process told it before it was paused, or not at all.
            let current = self.nodes.get(&at.node).is_some_and(|node| node.starts == start);
            if !current {
                continue;
            }
            if let Outcome::Committed(appended) = &outcome {
                self.check_durable(at, id, *appended);
            }
            self.oracle.on_outcome(at, id, &outcome);
            self.outcomes.insert(id, outcome);
        }
    }

    /// What is acknowledged is durable on a quorum at that moment.
    fn check_durable(&mut self, at: At, id: ProposalId, appended: Appended) {
        let having: Vec<u64> = self
            .nodes
            .values()
            .filter(|node| node.has_durable(at.group, appended.id))
            .map(|node| node.id)
            .collect();
        let has = |member: &Member| having.contains(&member.node.0);
        let memberships = self.in_force(at);
        if !memberships.iter().any(|membership| is_quorum(membership, has)) {
            let what = format!(
                "{id:?} was acknowledged at {} and is durable on {having:?} alone, of {memberships:?}",
                appended.id
            );
            self.oracle.violate("CS-LOG-05", what);
        }
    }

    /// Proposes on a node, in one stream per process.
    pub(super) fn propose(
        &mut self,
        node: u64,
        records: u32,
        size: usize,
    ) -> Result<ProposalId, ProposeError> {
        self.propose_in(GROUP, node, records, size)
    }

    pub(super) fn propose_in(
        &mut self,
        group: GroupId,
        node: u64,
        records: u32,
        size: usize,
    ) -> Result<ProposalId, ProposeError> {
        let at = At { group, node };
        let found = self.nodes.get(&node).filter(|node| node.is_running());
        let start = found.map_or(0, |node| node.starts);
        let handle = found.and_then(|node| node.hosted(group)).and_then(Hosted::group);
        let handle = handle.ok_or(ProposeError::Closed)?;
        let fresh = self.next_stream + 1;
        let (stream, number) = self.streams.entry((at, start)).or_insert((fresh, 0));
        self.next_stream = self.next_stream.max(*stream);
        *number += 1;
        let id = ProposalId {
            stream: *stream,
            number: *number,
        };
        match handle.propose(proposal(id, records, size)) {
            Ok(handle) => {
                locked(&self.pending).push(Pending {
                    at,
                    start,
                    id,
                    handle,
                });
                Ok(id)
            }
            Err(error) => {
                self.oracle.on_refused(group, id);
                Err(error)
            }
        }
    }

    pub(super) fn outcome(&self, id: ProposalId) -> Option<&Outcome> {
        self.outcomes.get(&id)
    }

    /// Proposes on whoever leads until something is acknowledged.
    pub(super) fn commit_one(&mut self, within: Duration) -> Result<Appended, Failure> {
        self.commit_one_in(GROUP, within)
    }

    pub(super) fn commit_one_in(&mut self, group: GroupId, within: Duration) -> Result<Appended, Failure> {
        let end = self.now() + within;
        while self.now() < end {
            let leader = self.leader_of(group);
            if let Some(id) = leader.and_then(|leader| self.propose_in(group, leader, 1, 20).ok()) {
                let left = end.saturating_sub(self.now());
                self.until(left.min(Duration::from_secs(2)), |cluster| {
                    cluster.outcome(id).is_some()
                });
                if let Some(Outcome::Committed(appended)) = self.outcome(id) {
                    return Ok(*appended);
                }
            }
            self.run(Duration::from_millis(20));
        }
        self.verdict()?;
        Err(Failure(format!(
            "nothing is committed within {within:?}; {}",
            self.describe()
        )))
    }

    /// Commits several entries one after the other.
    pub(super) fn commit(&mut self, count: u64) -> Result<Appended, Failure> {
        let mut last = self.commit_one(Duration::from_secs(20))?;
        for _ in 1..count {
            last = self.commit_one(Duration::from_secs(20))?;
        }
        Ok(last)
    }

    /// Waits for the answer of a call on a group; `None` where it does not come.
    pub(super) fn answer<T: Send + 'static>(
        &mut self,
        within: Duration,
        call: BoxFuture<'static, Result<T, ConsensusError>>,
    ) -> Option<Result<T, ConsensusError>> {
        let slot = Arc::new(Mutex::new(None));
        let to = Arc::clone(&slot);
        let task = async move {
            let answer = call.await;
            *locked(&to) = Some(answer);
        };
        self.sim.env().spawn.spawn("cluster-call", Box::pin(task));
        self.until(within, |_| locked(&slot).is_some());
        locked(&slot).take()
    }

    /// Stores a node's state as a checkpoint, and purges the log up to it.
    pub(super) fn checkpoint(&mut self, node: u64) -> bool {
        let Some(hosted) = self.hosted(node).cloned() else {
            return false;
        };
        let running = self.nodes.get(&node).is_some_and(Node::is_running);
        let Some(group) = hosted.group().filter(|_| running) else {
            return false;
        };
        let state = *locked(&hosted.machine);
        if state.applied.index.0 == 0 {
            return false;
        }
        let stored = group.maintain(Maintenance::Checkpoint(state.checkpoint()));
        let purge = Purge {
            through: state.applied,
            offset_start: state.next_offset,
        };
        stored.is_ok() && group.maintain(Maintenance::Purge(purge)).is_ok()
    }

    /// Where everybody stands, for evidence.
    pub(super) fn describe(&self) -> String {
        let mut lines = Vec::new();
        for node in self.nodes.values() {
            for group in self.founding.keys() {
                let state = node.hosted(*group).map(|hosted| {
                    let log = hosted.reader.state();
                    let opened = locked(&hosted.opened);
                    let progress = match &*opened {
                        None => "opening".to_owned(),
                        Some(Err(error)) => format!("not open: {error}"),
                        Some(Ok((_, watch))) => watch.with(|progress| {
                            format!(
                                "{:?} term {} leader {:?} commit {}",
                                progress.role,
                                progress.term,
                                progress.leader.map(|leader| leader.0),
                                progress.commit
                            )
                        }),
                    };
                    let applied = locked(&hosted.machine).applied.index;
                    format!(
                        "{progress} last {} purged {} applied {applied}",
                        log.last, log.purged
                    )
                });
                let state = state.unwrap_or_else(|| "down".to_owned());
                lines.push(format!("node {} group {group}: {state}", node.id));
            }
        }
        lines.join("; ")
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.oracle.violations()
    }

    /// Fails where the oracle noted a breach.
    pub(super) fn verdict(&self) -> Verdict {
        match self.oracle.violations().first() {
            None => Ok(()),
            Some(Violation { clause, what }) => Err(Failure(format!("{clause}: {what}"))),
        }
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        // A subject that panics while it is dropped would end the whole suite here.
        if std::thread::panicking() {
            return;
        }
        self.sim.end();
        locked(&self.pending).clear();
        for process in self.nodes.values_mut().filter_map(|node| node.process.take()) {
            let sim = process.sim.clone();
            drop(process);
            sim.kill();
        }
        self.sim.end();
    }
}

/// Whether those for whom `has` holds are a quorum of every voter set.
fn is_quorum(membership: &Membership, has: impl Fn(&Member) -> bool) -> bool {
    let majority =
        |members: &[Member]| members.iter().filter(|member| has(member)).count() * 2 > members.len();
    let outgoing = &membership.outgoing_voters;
    majority(&membership.voters) && (outgoing.is_empty() || majority(outgoing))
}

impl Pending {
    pub(super) const fn new(at: At, start: u64, id: ProposalId, handle: ProposalHandle) -> Self {
        Self {
            at,
            start,
            id,
            handle,
        }
    }
}
