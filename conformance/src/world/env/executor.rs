//! Tasks on one thread, polled when the driver says so.

use super::life::Life;
use crate::world::locked;
use chronik_core::BoxFuture;
use chronik_core::env::Spawn;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

/// A task between two polls.
struct Task {
    name: &'static str,
    life: Arc<Life>,
    future: BoxFuture<'static, ()>,
}

#[derive(Default)]
struct Tasks {
    next_id: u64,
    /// Tasks that are not being polled right now.
    parked: BTreeMap<u64, Task>,
    /// Those that were woken, in the order of waking, each once.
    ready: Vec<(u64, Arc<Life>)>,
}

/// A deterministic executor.
#[derive(Clone, Default)]
pub struct Executor {
    tasks: Arc<Mutex<Tasks>>,
}

struct TaskWaker {
    id: u64,
    life: Arc<Life>,
    tasks: Arc<Mutex<Tasks>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut tasks = locked(&self.tasks);
        if !tasks.ready.iter().any(|(id, _)| *id == self.id) {
            tasks.ready.push((self.id, Arc::clone(&self.life)));
        }
    }
}

impl Executor {
    /// Whether a task can be polled. Those of a paused node cannot.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        locked(&self.tasks).ready.iter().any(|(_, life)| life.runs())
    }

    /// How many tasks have not ended.
    #[must_use]
    pub fn alive(&self) -> usize {
        locked(&self.tasks).parked.len()
    }

    /// The names of the tasks that have not ended.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        locked(&self.tasks)
            .parked
            .values()
            .map(|task| task.name)
            .collect()
    }

    /// Drops all tasks, as the end of a process does.
    pub fn clear(&self) {
        self.drop_tasks(|_| true);
    }

    /// Drops the tasks of one node and returns their names.
    pub(super) fn clear_of(&self, life: &Arc<Life>) -> Vec<&'static str> {
        self.drop_tasks(|task| Arc::ptr_eq(&task.life, life))
    }

    /// The names of the tasks of one node that have not ended.
    pub(super) fn names_of(&self, life: &Arc<Life>) -> Vec<&'static str> {
        locked(&self.tasks)
            .parked
            .values()
            .filter(|task| Arc::ptr_eq(&task.life, life))
            .map(|task| task.name)
            .collect()
    }

    fn drop_tasks(&self, which: impl Fn(&Task) -> bool) -> Vec<&'static str> {
        let dropped = {
            let mut tasks = locked(&self.tasks);
            let (dropped, kept): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut tasks.parked)
                .into_iter()
                .partition(|(_, task)| which(task));
            tasks.parked = kept;
            tasks.ready.retain(|(id, _)| !dropped.contains_key(id));
            dropped
        };
        // What a task holds may wake others as it is dropped, so the lock is free by now.
        dropped.into_values().map(|task| task.name).collect()
    }

    /// Starts a task of one node. A dead node starts none.
    pub(super) fn start(&self, name: &'static str, life: &Arc<Life>, future: BoxFuture<'static, ()>) {
        if life.is_dead() {
            return;
        }
        let mut tasks = locked(&self.tasks);
        tasks.next_id += 1;
        let id = tasks.next_id;
        let life = Arc::clone(life);
        tasks.ready.push((id, Arc::clone(&life)));
        tasks.parked.insert(id, Task { name, life, future });
    }

    /// Polls one ready task, chosen by `pick`; false where none is ready.
    pub(super) fn step(&self, pick: u64) -> bool {
        let (id, mut task) = {
            let mut tasks = locked(&self.tasks);
            let runs: Vec<usize> = (0..tasks.ready.len())
                .filter(|at| tasks.ready.get(*at).is_some_and(|(_, life)| life.runs()))
                .collect();
            if runs.is_empty() {
                return false;
            }
            let chosen = usize::try_from(pick % runs.len() as u64).unwrap_or(0);
            let Some(at) = runs.get(chosen) else {
                return false;
            };
            let (id, _) = tasks.ready.remove(*at);
            match tasks.parked.remove(&id) {
                Some(task) => (id, task),
                // Woken after its end.
                None => return true,
            }
        };
        let waker = Waker::from(Arc::new(TaskWaker {
            id,
            life: Arc::clone(&task.life),
            tasks: Arc::clone(&self.tasks),
        }));
        let polled = task.future.as_mut().poll(&mut Context::from_waker(&waker));
        if polled.is_pending() && !task.life.is_dead() {
            locked(&self.tasks).parked.insert(id, task);
        }
        true
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("tasks", &self.names()).finish()
    }
}

/// Starts tasks that belong to one node.
#[derive(Debug)]
pub(super) struct NodeSpawn {
    pub(super) executor: Arc<Executor>,
    pub(super) life: Arc<Life>,
}

impl Spawn for NodeSpawn {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.executor.start(name, &self.life, task);
    }
}
