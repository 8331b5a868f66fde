//! The engine's task: the one owner of all groups of a node.

use super::counters::count;
use super::group::{Context, Group, Opening};
use super::inbox::{Input, Instance};
use super::liveness::Liveness;
use super::wire::{Ping, read_batch};
use chronik_core::consensus::ConsensusError;
use chronik_core::transport::{Inbound, Lane, PeerState};
use chronik_core::{BoxFuture, GroupId, LogError, NodeId, Transport};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

pub(super) struct Engine {
    context: Context,
    transport: Arc<dyn Transport>,
    groups: BTreeMap<GroupId, Group>,
    liveness: Liveness,
    /// Groups that want to be woken apart from ticks, and when.
    alarms: BTreeMap<GroupId, Duration>,
    /// Groups with something to do in this round.
    dirty: BTreeSet<GroupId>,
    next_tick: Duration,
    /// The sleep under way and the moment of its end.
    sleeping: Option<(Duration, BoxFuture<'static, ()>)>,
    stopping: bool,
}

impl Engine {
    pub(super) fn new(context: Context, transport: Arc<dyn Transport>, liveness: Liveness) -> Self {
        let next_tick = context.now + context.options.tick;
        Self {
            context,
            transport,
            groups: BTreeMap::new(),
            liveness,
            alarms: BTreeMap::new(),
            dirty: BTreeSet::new(),
            next_tick,
            sleeping: None,
            stopping: false,
        }
    }

    /// Runs until it is told to stop.
    pub(super) async fn run(mut self) {
        let mut inputs = Vec::new();
        while !self.stopping {
            self.wait().await;
            self.context.inbox.drain(&mut inputs);
            self.round(&mut inputs);
        }
        for group in std::mem::take(&mut self.groups).into_values() {
            group.stop(&self.context);
        }
        self.context.inbox.close();
    }

    /// Waits for an input, the next tick, or a group's alarm.
    async fn wait(&mut self) {
        let alarm = self.alarms.values().copied().min();
        let until = alarm.map_or(self.next_tick, |alarm| alarm.min(self.next_tick));
        let clock = &self.context.env.clock;
        let mut sleep = match self.sleeping.take() {
            Some((end, sleep)) if end == until => sleep,
            _ => clock.sleep(until.saturating_sub(clock.now())),
        };
        let mut ended = false;
        {
            let mut arrival = std::pin::pin!(self.context.inbox.arrival());
            std::future::poll_fn(|task| {
                if sleep.as_mut().poll(task).is_ready() {
                    ended = true;
                    return Poll::Ready(());
                }
                arrival.as_mut().poll(task)
            })
            .await;
        }
        if !ended {
            self.sleeping = Some((until, sleep));
        }
    }

    /// One round: all inputs, then what they made necessary, then one batch a peer.
    fn round(&mut self, inputs: &mut Vec<Input>) {
        self.context.now = self.context.env.clock.now();
        count(&self.context.counters.engine_rounds, 1);
        for input in inputs.drain(..) {
            self.input(input);
        }
        self.tick();
        // What is lost on sending changes groups again; those wait for the next round.
        for id in std::mem::take(&mut self.dirty) {
            self.with_group(id, |group, context| group.work(context));
            match self.groups.get(&id).and_then(Group::alarm) {
                Some(at) => self.alarms.insert(id, at),
                None => self.alarms.remove(&id),
            };
        }
        self.context.outbox.flush();
        for lost in self.context.outbox.take_lost() {
            self.with_instance(lost.from, |group, _| {
                group.lost(lost.to, lost.kind);
                Ok(())
            });
        }
        for (node, lane) in self.context.outbox.take_full() {
            self.wait_for_room(node, lane);
        }
    }

    fn wait_for_room(&self, node: NodeId, lane: Lane) {
        let room = self.transport.room(node, lane);
        let inbox = self.context.inbox.clone();
        let task = async move {
            drop(room.await);
            inbox.push(Input::Room { node, lane });
        };
        self.context.env.spawn.spawn("consensus-room", Box::pin(task));
    }

    fn tick(&mut self) {
        let now = self.context.now;
        if now >= self.next_tick {
            // Ticks that were missed while the process stood still are not made up for.
            self.next_tick = now + self.context.options.tick;
            self.tick_liveness();
            for (id, group) in self.groups.iter_mut().filter(|(_, group)| !group.is_asleep()) {
                group.tick(&self.context);
                self.dirty.insert(*id);
            }
        }
        let due: Vec<GroupId> = self
            .alarms
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.alarms.remove(&id);
            self.dirty.insert(id);
            self.with_group(id, |group, context| {
                group.ring(context);
                Ok(())
            });
        }
    }

    /// Tells the peers that this node lives, and doubts those that are silent.
    fn tick_liveness(&mut self) {
        let now = self.context.now;
        if self.liveness.tick(now) {
            for (id, group) in &mut self.groups {
                group.wake(&self.context);
                self.dirty.insert(*id);
            }
        }
        for node in self.liveness.take_silent(now) {
            let sleepers = self.groups.iter_mut().filter(|(_, group)| group.is_asleep());
            for (id, group) in sleepers.filter(|(_, group)| group.relies_on(node)) {
                group.lost_connection(&self.context, node);
                self.dirty.insert(*id);
            }
        }
        if let Some(ping) = self.liveness.ping(now) {
            let peers = self.context.outbox.connected();
            for node in peers
                .into_iter()
                .filter(|node| *node != self.context.options.node)
            {
                self.context.outbox.put_ping(node, ping);
            }
        }
    }

    fn ping(&mut self, from: NodeId, ping: Ping) {
        let (answer, changed) = self.liveness.heard(from, ping, self.context.now);
        if let Some(answer) = answer {
            self.context.outbox.put_ping(from, answer);
        }
        if changed {
            // It may have lost what it led while it stood still.
            let sleepers = self.groups.iter_mut().filter(|(_, group)| group.is_asleep());
            for (id, group) in sleepers.filter(|(_, group)| group.relies_on(from)) {
                group.wake(&self.context);
                self.dirty.insert(*id);
            }
        }
    }

    /// Does something to a group; one whose log failed is stopped.
    fn with_group(
        &mut self,
        id: GroupId,
        act: impl FnOnce(&mut Group, &mut Context) -> Result<(), LogError>,
    ) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        if let Err(error) = act(group, &mut self.context) {
            log::error!("event=group_stopped group={id} error=\"{error}\"");
            count(&self.context.counters.groups_stopped, 1);
            if let Some(group) = self.groups.remove(&id) {
                group.stop(&self.context);
            }
        }
    }

    /// As [`Engine::with_group`], where the group is still the same opening; it has something to do afterwards.
    fn with_instance(
        &mut self,
        to: Instance,
        act: impl FnOnce(&mut Group, &mut Context) -> Result<(), LogError>,
    ) {
        let same = self
            .groups
            .get(&to.group)
            .is_some_and(|group| group.instance() == to);
        if same {
            self.dirty.insert(to.group);
            self.with_group(to.group, act);
        }
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Open(opening) => self.open(*opening),
            Input::Propose {
                to,
                proposal,
                sender,
                permit,
            } => self.with_instance(to, |group, context| {
                group.propose(context, proposal, sender, permit);
                Ok(())
            }),
            Input::Message(inbound) => self.message(inbound),
            Input::Persisted { to, round, result } => {
                self.with_instance(to, |group, context| group.persisted(context, round, result));
            }
            Input::Peers(peers) => self.peers(peers),
            Input::Room { node, lane } => self.context.outbox.room(node, lane),
            Input::Stop => self.stopping = true,
            Input::Close { to, answer } => {
                let same = self
                    .groups
                    .get(&to.group)
                    .is_some_and(|group| group.instance() == to);
                if same && let Some(group) = self.groups.remove(&to.group) {
                    group.stop(&self.context);
                }
                answer.give(Ok(()));
            }
            other => self.request(other),
        }
    }

    fn request(&mut self, input: Input) {
        match input {
            Input::ReadBarrier { to, answer } => self.with_instance(to, |group, context| {
                group.read_barrier(context, answer);
                Ok(())
            }),
            Input::Change { to, change, answer } => self.with_instance(to, |group, context| {
                group.change(context, change, answer);
                Ok(())
            }),
            Input::Transfer { to, replica, answer } => self.with_instance(to, |group, context| {
                group.transfer(context, replica, answer);
                Ok(())
            }),
            Input::Maintain {
                to,
                maintenance,
                stored,
                done,
            } => self.with_instance(to, |group, context| {
                group.maintain(context, *maintenance, stored, done);
                Ok(())
            }),
            Input::Fetched {
                to,
                low,
                generation,
                result,
            } => {
                // Also where the group is gone: the read was counted when it started.
                self.context.reads_left += 1;
                let waiting = self.groups.iter().filter(|(_, group)| group.waits_to_read());
                self.dirty.extend(waiting.map(|(id, _)| *id));
                self.with_instance(to, |group, _| {
                    group.fetched(low, generation, result);
                    Ok(())
                });
            }
            Input::CheckpointRead { to, result } => self.with_instance(to, |group, _| {
                group.checkpoint_read(result);
                Ok(())
            }),
            _ => {}
        }
    }

    fn open(&mut self, opening: Opening) {
        let id = opening.to.group;
        if self.groups.contains_key(&id) {
            let what = format!("group {id} is open already");
            opening.answer.give(Err(ConsensusError::Invalid(what)));
            return;
        }
        let (group, answer) = Group::new(&self.context, opening);
        self.groups.insert(id, group);
        self.dirty.insert(id);
        answer.give(Ok(()));
    }

    fn message(&mut self, inbound: Inbound) {
        let counters = Arc::clone(&self.context.counters);
        let batch = read_batch(&inbound.message);
        count(&counters.batches_in, 1);
        count(&counters.bytes_in, inbound.message.len() as u64);
        count(&counters.messages_in, batch.messages.len() as u64);
        count(&counters.dropped_malformed, batch.malformed);
        for ping in batch.pings {
            self.ping(inbound.from, ping);
        }
        for envelope in batch.messages {
            let id = envelope.group;
            if self.groups.contains_key(&id) {
                self.dirty.insert(id);
                self.with_group(id, |group, context| {
                    group.receive(context, inbound.from, envelope)
                });
            } else {
                counters.dropped_unknown.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn peers(&mut self, peers: BTreeMap<NodeId, PeerState>) {
        let before = self.context.outbox.peers().clone();
        self.context.outbox.set_peers(peers.clone());
        for (node, was) in before.iter().filter(|(_, was)| was.connected) {
            let is = peers.get(node);
            if is.is_some_and(|is| is.connected && is.session == was.session) {
                continue;
            }
            log::info!("event=peer_lost peer={node} session={}", was.session);
            self.liveness.forget(*node);
            for (id, group) in &mut self.groups {
                group.lost_connection(&self.context, *node);
                self.dirty.insert(*id);
            }
        }
    }
}
