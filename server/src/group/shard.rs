//! The owner of one partition of `__consumer_offsets` on this node.
//!
//! Requests run on the task that brings them, under a lock that is held for no longer than one event of the machine takes.
//! One task of the shard's own follows the role of the log, loads the state, reports the outcomes of appends in their order,
//! and runs the timers.

use super::batch::decode_batches;
use super::limits::GroupLimits;
use super::machine::{Loaded, Machine, Now};
use super::pending::{Action, Answer, AppendId, ReplyId};
use super::state_log::{AppendError, LogRole, StateLog, StateLogError};
use crate::kafka::wire::ErrorCode;
use async_channel::Sender;
use chronik_core::{BoxFuture, Env, Offset};
use event_listener::Event;
use futures_lite::FutureExt;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many bytes of the log are read at once while loading.
const LOAD_CHUNK_BYTES: usize = 1 << 20;
/// How long to wait before the state is loaded again after a failure.
const RELOAD_DELAY: Duration = Duration::from_secs(1);

type Outcome = Result<Offset, AppendError>;

/// The coordinator of the groups of one partition.
pub struct Shard {
    partition: i32,
    env: Env,
    limits: GroupLimits,
    log: Arc<dyn StateLog>,
    core: Mutex<Core>,
    /// Wakes the shard's task.
    kick: Event,
}

struct Core {
    phase: Phase,
    replies: HashMap<ReplyId, Sender<Answer>>,
    next_reply: ReplyId,
    /// Appends whose outcome the task does not wait for yet.
    appends: VecDeque<(AppendId, BoxFuture<'static, Outcome>)>,
    /// The task waits for the outcome of an append.
    awaits_outcome: bool,
    /// The deadline that the task waits for.
    armed: Duration,
}

enum Phase {
    /// Requests are refused with this error.
    Refusing(ErrorCode),
    /// The machine serves.
    Active { machine: Box<Machine>, epoch: u64 },
    /// The shard has ended.
    Closed,
}

/// What the shard's task was woken by.
enum Woken {
    Outcome(AppendId, Outcome),
    Due,
    Kicked,
}

impl Shard {
    /// A shard that serves as soon as [`run`](Self::run) has loaded its state.
    #[must_use]
    pub fn new(partition: i32, env: Env, limits: GroupLimits, log: Arc<dyn StateLog>) -> Self {
        let loading = match log.role().get() {
            LogRole::Leader { .. } => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            LogRole::Follower | LogRole::Closed => ErrorCode::NOT_COORDINATOR,
        };
        Self {
            partition,
            env,
            limits,
            log,
            core: Mutex::new(Core {
                phase: Phase::Refusing(loading),
                replies: HashMap::new(),
                next_reply: 0,
                appends: VecDeque::new(),
                awaits_outcome: false,
                armed: Duration::MAX,
            }),
            kick: Event::new(),
        }
    }

    /// Whether the shard works on that log.
    #[must_use]
    pub fn has_log(&self, log: &Arc<dyn StateLog>) -> bool {
        Arc::ptr_eq(&self.log, log)
    }

    /// Runs an event and waits for its answer, which may take as long as a rebalance. Dropping the future takes nothing
    /// back: the answer is thrown away.
    ///
    /// # Errors
    /// Why the machine does not serve.
    pub async fn ask(&self, event: impl FnOnce(&mut Machine, Now, ReplyId)) -> Result<Answer, ErrorCode> {
        let (sender, receiver) = async_channel::bounded(1);
        {
            let mut core = self.lock();
            let id = core.next_reply;
            core.next_reply += 1;
            let now = self.now();
            event(core.machine()?, now, id);
            core.replies.insert(id, sender);
            self.perform(&mut core);
        }
        // The sender is dropped unused where the shard ends.
        let answer = receiver.recv().await.map_err(|_| ErrorCode::NOT_COORDINATOR)?;
        match answer {
            Answer::Refused(error) => Err(error),
            answer => Ok(answer),
        }
    }

    /// Runs an event that is answered at once.
    ///
    /// # Errors
    /// Why the machine does not serve.
    pub fn look<T>(&self, event: impl FnOnce(&mut Machine, Now) -> T) -> Result<T, ErrorCode> {
        let mut core = self.lock();
        let now = self.now();
        let result = event(core.machine()?, now);
        self.perform(&mut core);
        Ok(result)
    }

    /// Ends the shard: requests that wait are told to look for the coordinator elsewhere.
    pub fn close(&self) {
        self.unload(Phase::Closed);
        self.kick.notify(usize::MAX);
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        Now {
            mono: self.env.clock.now(),
            wall_ms: self.env.clock.wall_ms(),
        }
    }

    /// Does what the machine wants done.
    fn perform(&self, core: &mut Core) {
        let Phase::Active { machine, epoch } = &mut core.phase else {
            return;
        };
        let epoch = *epoch;
        let actions = machine.take_actions();
        let deadline = machine.next_deadline();
        for action in actions {
            match action {
                Action::Reply { to, answer } => core.reply(to, answer),
                Action::Append { id, batch } => {
                    let outcome = match batch {
                        Ok(batch) => self.log.append(epoch, batch),
                        Err(_) => Box::pin(std::future::ready(Err(AppendError::TooLarge))),
                    };
                    core.appends.push_back((id, outcome));
                }
                Action::DeleteBefore(offset) => self.delete_before(Offset(offset)),
            }
        }
        let idle = !core.awaits_outcome && !core.appends.is_empty();
        if idle || deadline < core.armed {
            self.kick.notify(usize::MAX);
        }
    }

    fn delete_before(&self, offset: Offset) {
        let (log, partition) = (Arc::clone(&self.log), self.partition);
        let task = async move {
            if let Err(error) = log.delete_before(offset).await {
                log::warn!(
                    "event=group_log_not_shortened partition={partition} offset={offset} error={error:?}"
                );
            }
        };
        self.env.spawn.spawn("group-log-shorten", Box::pin(task));
    }

    /// Serves whenever this node leads the log, until the log or the shard is closed.
    pub async fn run(self: Arc<Self>) {
        let role = self.log.role();
        let (mut current, mut seen) = role.versioned();
        while current != LogRole::Closed && !self.is_closed() {
            let changed = async { role.changed(seen).await };
            (current, seen) = match current {
                LogRole::Leader { epoch } => {
                    let lead = async {
                        self.lead(epoch).await;
                        (LogRole::Closed, seen)
                    };
                    changed.or(lead).await
                }
                LogRole::Follower | LogRole::Closed => {
                    let closed = async {
                        self.closed().await;
                        (LogRole::Closed, seen)
                    };
                    changed.or(closed).await
                }
            };
            self.unload(Phase::Refusing(ErrorCode::NOT_COORDINATOR));
        }
        self.unload(Phase::Closed);
    }

    fn is_closed(&self) -> bool {
        matches!(self.lock().phase, Phase::Closed)
    }

    async fn closed(&self) {
        loop {
            let kicked = self.kick.listen();
            if self.is_closed() {
                return;
            }
            kicked.await;
        }
    }

    /// Leads until the shard is closed; the caller drops it when the role changes.
    async fn lead(&self, epoch: u64) {
        loop {
            self.unload(Phase::Refusing(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
            match self.load().await {
                Ok(loaded) => {
                    self.start(loaded, epoch);
                    self.serve().await;
                    // What the machine holds may be wrong: nobody is to see it.
                    self.unload(Phase::Refusing(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
                }
                Err(error) => {
                    log::error!(
                        "event=group_load_failed partition={} error={error:?}",
                        self.partition
                    );
                    self.unload(Phase::Refusing(ErrorCode::COORDINATOR_NOT_AVAILABLE));
                }
            }
            if self.is_closed() {
                return;
            }
            let pause = async { self.env.clock.sleep(RELOAD_DELAY).await };
            pause.or(self.closed()).await;
        }
    }

    /// Reads the whole log.
    async fn load(&self) -> Result<Loaded, StateLogError> {
        let mut loaded = Loaded {
            end: self.log.start().0,
            ..Default::default()
        };
        let end = self.log.end();
        while loaded.end < end.0 {
            let from = loaded.end;
            for slice in self.log.read(Offset(from), LOAD_CHUNK_BYTES).await? {
                loaded.log_bytes += slice.len() as u64;
                let apply = |record| loaded.state.apply(&record);
                let next = decode_batches(&slice, loaded.end, apply);
                loaded.end = next.map_err(|bad| StateLogError(format!("near offset {from}: {bad}")))?;
            }
            if loaded.end == from {
                return Err(StateLogError(format!(
                    "nothing to read at offset {from} before {end}"
                )));
            }
        }
        Ok(loaded)
    }

    fn start(&self, loaded: Loaded, epoch: u64) {
        log::info!(
            "event=group_loaded partition={} epoch={epoch} groups={} end={} log_bytes={}",
            self.partition,
            loaded.state.groups().count(),
            loaded.end,
            loaded.log_bytes
        );
        let machine = Box::new(Machine::new(self.limits.clone(), loaded, self.now()));
        let mut core = self.lock();
        if !matches!(core.phase, Phase::Closed) {
            core.phase = Phase::Active { machine, epoch };
            self.perform(&mut core);
        }
    }

    /// Runs the machine until an outcome is unknown, so that the state has to be read from the log again, or the shard is
    /// closed.
    async fn serve(&self) {
        let mut front: Option<(AppendId, BoxFuture<'static, Outcome>)> = None;
        loop {
            let kicked = self.kick.listen();
            let Some(deadline) = self.arm(&mut front) else {
                return;
            };
            let wait = deadline.saturating_sub(self.env.clock.now());
            let outcome = async {
                match &mut front {
                    Some((id, outcome)) => Woken::Outcome(*id, outcome.await),
                    None => std::future::pending().await,
                }
            };
            let due = async {
                self.env.clock.sleep(wait).await;
                Woken::Due
            };
            let kick = async {
                kicked.await;
                Woken::Kicked
            };
            match outcome.or(due).or(kick).await {
                Woken::Outcome(id, outcome) => {
                    front = None;
                    if !self.report(id, outcome) {
                        return;
                    }
                }
                Woken::Due => drop(self.look(Machine::tick)),
                Woken::Kicked => {}
            }
        }
    }

    /// Takes the next append to wait for, unless there is one, and returns the next deadline; `None` where the shard has
    /// ended.
    fn arm(&self, front: &mut Option<(AppendId, BoxFuture<'static, Outcome>)>) -> Option<Duration> {
        let mut core = self.lock();
        let deadline = core.machine().ok()?.next_deadline();
        core.armed = deadline;
        if front.is_none() {
            *front = core.appends.pop_front();
        }
        core.awaits_outcome = front.is_some();
        Some(deadline)
    }

    /// Tells the machine how an append ended. False if the state has to be read from the log again.
    fn report(&self, id: AppendId, outcome: Outcome) -> bool {
        let mut core = self.lock();
        let now = self.now();
        let Ok(machine) = core.machine() else {
            return false;
        };
        let error = match outcome {
            Ok(offset) if offset.0 == machine.applied_end() => {
                machine.appended(now, id, offset.0);
                self.perform(&mut core);
                return true;
            }
            Ok(offset) => {
                let expected = machine.applied_end();
                log::error!(
                    "event=group_log_foreign_records partition={} expected={expected} offset={offset}",
                    self.partition
                );
                return false;
            }
            Err(AppendError::Unknown) => {
                log::warn!("event=group_append_unknown partition={}", self.partition);
                return false;
            }
            Err(AppendError::NotLeader) => ErrorCode::NOT_COORDINATOR,
            Err(AppendError::Unavailable) => ErrorCode::COORDINATOR_NOT_AVAILABLE,
            Err(AppendError::TooLarge) => ErrorCode::UNKNOWN_SERVER_ERROR,
        };
        machine.not_appended(now, id, error);
        self.perform(&mut core);
        true
    }

    /// Ends the machine, if there is one, and goes on to another phase.
    fn unload(&self, next: Phase) {
        let mut core = self.lock();
        if matches!(core.phase, Phase::Closed) {
            return;
        }
        core.appends.clear();
        core.awaits_outcome = false;
        core.armed = Duration::MAX;
        if let Phase::Active { machine, .. } = std::mem::replace(&mut core.phase, next) {
            log::info!("event=group_unloaded partition={}", self.partition);
            for action in machine.unload(ErrorCode::NOT_COORDINATOR) {
                if let Action::Reply { to, answer } = action {
                    core.reply(to, answer);
                }
            }
        }
        core.replies.clear();
    }
}

impl Core {
    fn machine(&mut self) -> Result<&mut Machine, ErrorCode> {
        match &mut self.phase {
            Phase::Active { machine, .. } => Ok(machine),
            Phase::Refusing(error) => Err(*error),
            Phase::Closed => Err(ErrorCode::NOT_COORDINATOR),
        }
    }

    fn reply(&mut self, to: ReplyId, answer: Answer) {
        if let Some(sender) = self.replies.remove(&to) {
            // Nobody may wait any more: the client is gone.
            drop(sender.try_send(answer));
        }
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("partition", &self.partition)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}
