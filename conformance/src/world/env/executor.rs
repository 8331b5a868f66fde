//! Tasks on one thread, polled when the driver says so.

use crate::world::locked;
use chronik_core::BoxFuture;
use chronik_core::env::Spawn;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

#[derive(Default)]
struct Tasks {
    next_id: u64,
    /// Tasks that are not being polled right now.
    parked: BTreeMap<u64, (&'static str, BoxFuture<'static, ()>)>,
    /// Ids that were woken, in the order of waking, each once.
    ready: Vec<u64>,
}

/// A deterministic executor.
#[derive(Clone, Default)]
pub struct Executor {
    tasks: Arc<Mutex<Tasks>>,
}

struct TaskWaker {
    id: u64,
    tasks: Arc<Mutex<Tasks>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut tasks = locked(&self.tasks);
        if !tasks.ready.contains(&self.id) {
            tasks.ready.push(self.id);
        }
    }
}

impl Executor {
    /// Whether a task can be polled.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !locked(&self.tasks).ready.is_empty()
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
            .map(|(name, _)| *name)
            .collect()
    }

    /// Drops all tasks, as the end of a process does.
    pub fn clear(&self) {
        let dropped = {
            let mut tasks = locked(&self.tasks);
            tasks.ready.clear();
            std::mem::take(&mut tasks.parked)
        };
        drop(dropped);
    }

    /// Polls one ready task, chosen by `pick`; false where none is ready.
    pub(super) fn step(&self, pick: u64) -> bool {
        let (id, name, mut task) = {
            let mut tasks = locked(&self.tasks);
            let count = tasks.ready.len() as u64;
            if count == 0 {
                return false;
            }
            let at = usize::try_from(pick % count).unwrap_or(0);
            let id = tasks.ready.remove(at);
            match tasks.parked.remove(&id) {
                Some((name, task)) => (id, name, task),
                // Woken after its end.
                None => return true,
            }
        };
        let waker = Waker::from(Arc::new(TaskWaker {
            id,
            tasks: Arc::clone(&self.tasks),
        }));
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            locked(&self.tasks).parked.insert(id, (name, task));
        }
        true
    }
}

impl Spawn for Executor {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let mut tasks = locked(&self.tasks);
        tasks.next_id += 1;
        let id = tasks.next_id;
        tasks.parked.insert(id, (name, task));
        tasks.ready.push(id);
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("tasks", &self.names()).finish()
    }
}
