//! A whole coordinator in a simulated environment, over logs in memory that fail on request.

use super::harness::{MemoryLog, limits};
use crate::group::{
    AppendError, ClientInfo, GroupCoordinator, GroupLimits, HostedLogs, LogRole, StateLog, StateLogError,
    TopicDirectory,
};
use crate::kafka::wire::{KafkaString, Uuid};
use async_channel::Sender;
use bytes::{Bytes, BytesMut};
use chronik_conformance::world::{Seed, SimEnv};
use chronik_core::{BoxFuture, Offset, Watch};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub(super) const PARTITIONS: i32 = 4;

type Waiting = (BytesMut, Sender<Result<Offset, AppendError>>);

#[derive(Debug, Default)]
struct State {
    log: MemoryLog,
    epochs: Vec<u64>,
    waiting: VecDeque<Waiting>,
}

/// A log in memory.
#[derive(Debug)]
pub(super) struct FakeLog {
    role: Watch<LogRole>,
    state: Mutex<State>,
    /// Appends wait to be released.
    pub(super) hold: Watch<bool>,
    /// Reads wait.
    pub(super) hold_reads: Watch<bool>,
}

impl FakeLog {
    fn new() -> Self {
        Self {
            role: Watch::new(LogRole::Leader { epoch: 1 }),
            state: Mutex::new(State::default()),
            hold: Watch::new(false),
            hold_reads: Watch::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn set_role(&self, to: LogRole) {
        self.role.update(|role| {
            *role = to;
            true
        });
    }

    pub(super) fn set(flag: &Watch<bool>, to: bool) {
        flag.update(|value| std::mem::replace(value, to) != to);
    }

    /// Ends the oldest append that waits; `committed` says whether it is in the log.
    pub(super) fn release(&self, committed: bool, answer: Option<AppendError>) {
        let mut state = self.lock();
        let (batch, sender) = state.waiting.pop_front().expect("an append waits");
        let base = if committed { state.log.push(&batch) } else { -1 };
        sender.try_send(answer.map_or(Ok(Offset(base)), Err)).unwrap();
    }

    pub(super) fn epochs(&self) -> Vec<u64> {
        self.lock().epochs.clone()
    }

    pub(super) fn log(&self) -> MemoryLog {
        self.lock().log.clone()
    }

    pub(super) fn edit(&self, edit: impl FnOnce(&mut MemoryLog)) {
        edit(&mut self.lock().log);
    }
}

impl StateLog for FakeLog {
    fn role(&self) -> Watch<LogRole> {
        self.role.clone()
    }

    fn append(&self, epoch: u64, batch: BytesMut) -> BoxFuture<'static, Result<Offset, AppendError>> {
        let (sender, receiver) = async_channel::bounded(1);
        let mut state = self.lock();
        state.epochs.push(epoch);
        if self.role.get() != (LogRole::Leader { epoch }) {
            sender.try_send(Err(AppendError::NotLeader)).unwrap();
        } else if self.hold.get() {
            state.waiting.push_back((batch, sender));
        } else {
            let base = state.log.push(&batch);
            sender.try_send(Ok(Offset(base))).unwrap();
        }
        Box::pin(async move { receiver.recv().await.unwrap_or(Err(AppendError::Unknown)) })
    }

    fn start(&self) -> Offset {
        let state = self.lock();
        let first = state.log.batches.front();
        Offset(first.map_or(state.log.end, |(base, _)| *base))
    }

    fn end(&self) -> Offset {
        Offset(self.lock().log.end)
    }

    fn read(&self, from: Offset, _max_bytes: usize) -> BoxFuture<'_, Result<Vec<Bytes>, StateLogError>> {
        Box::pin(async move {
            self.hold_reads.wait_for(|held| !*held).await;
            let state = self.lock();
            let batches = state.log.batches.iter();
            let at = batches
                .rev()
                .find(|(base, _)| *base <= from.0 && from.0 < state.log.end);
            Ok(at.map(|(_, batch)| batch.clone()).into_iter().collect())
        })
    }

    fn delete_before(&self, offset: Offset) -> BoxFuture<'_, Result<(), StateLogError>> {
        self.lock().log.delete_before(offset.0);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Two topics: "t" with id 7 and 8 partitions, "u" with id 9 and one.
#[derive(Debug)]
struct Topics;

const TOPICS: [(&str, u128, i32); 2] = [("t", 7, 8), ("u", 9, 1)];

impl TopicDirectory for Topics {
    fn topic_id(&self, name: &str) -> Option<Uuid> {
        let topic = TOPICS.iter().find(|topic| topic.0 == name)?;
        Some(Uuid::from_u128(topic.1))
    }

    fn topic_name(&self, id: Uuid) -> Option<KafkaString> {
        let topic = TOPICS.iter().find(|topic| Uuid::from_u128(topic.1) == id)?;
        Some(topic.0.into())
    }

    fn partition_count(&self, name: &str) -> Option<i32> {
        TOPICS.iter().find(|topic| topic.0 == name).map(|topic| topic.2)
    }
}

pub(super) struct World {
    pub(super) sim: SimEnv,
    pub(super) logs: Vec<Arc<FakeLog>>,
    pub(super) hosted: Watch<HostedLogs>,
    pub(super) coordinator: GroupCoordinator,
    limits: GroupLimits,
}

/// A request whose answer is awaited in the background.
pub(super) struct Asked<T>(Arc<Mutex<Option<T>>>);

impl<T> Asked<T> {
    pub(super) fn take(&self) -> Option<T> {
        self.0.lock().unwrap().take()
    }
}

impl World {
    pub(super) fn new() -> Self {
        let world = Self::unloaded(limits());
        world.sim.run_until_idle();
        world
    }

    pub(super) fn unloaded(limits: GroupLimits) -> Self {
        let sim = SimEnv::new(Seed(1));
        let logs: Vec<_> = (0..PARTITIONS).map(|_| Arc::new(FakeLog::new())).collect();
        let hosted = Watch::new(host(&logs));
        let coordinator =
            GroupCoordinator::start(sim.env(), limits.clone(), Arc::new(Topics), hosted.clone());
        Self {
            sim,
            logs,
            hosted,
            coordinator,
            limits,
        }
    }

    /// The process dies and starts again over the same logs.
    pub(super) fn restart(&mut self) {
        self.sim.executor().clear();
        let hosted = Watch::new(host(&self.logs));
        let (env, limits) = (self.sim.env(), self.limits.clone());
        self.coordinator = GroupCoordinator::start(env, limits, Arc::new(Topics), hosted.clone());
        self.hosted = hosted;
        self.sim.run_until_idle();
    }

    /// The log that keeps the group.
    pub(super) fn log_of(&self, group: &str) -> &Arc<FakeLog> {
        let partition = crate::group::partitioner::partition_for(group, PARTITIONS);
        &self.logs[partition as usize]
    }

    /// Asks and waits for the answer, however long it takes.
    pub(super) fn ask<T>(&self, future: impl Future<Output = T>) -> T {
        self.sim.block_on(future).expect("there is an answer")
    }

    /// Asks and lets whatever can happen at once happen.
    pub(super) fn start<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Asked<T> {
        let answer = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&answer);
        let task = async move {
            let value = future.await;
            *slot.lock().unwrap() = Some(value);
        };
        self.sim.env().spawn.spawn("request", Box::pin(task));
        self.sim.run_until_idle();
        Asked(answer)
    }

    pub(super) fn advance(&self, ms: u64) {
        self.sim.advance(Duration::from_millis(ms));
        self.sim.run_until_idle();
    }
}

fn host(logs: &[Arc<FakeLog>]) -> HostedLogs {
    let logs = logs.iter().map(|log| Arc::clone(log) as Arc<dyn StateLog>);
    HostedLogs {
        partitions: PARTITIONS,
        logs: (0..).zip(logs).collect::<BTreeMap<_, _>>(),
    }
}

pub(super) fn client(api_version: i16) -> ClientInfo {
    ClientInfo {
        api_version,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
    }
}
