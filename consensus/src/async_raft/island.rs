//! The one file that knows tokio: the private runtime on which the crate's tasks run.
//!
//! Nothing else in the process sees it. Tasks on it may await anything, because wakers do not care where they are woken.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use tokio::runtime::{Builder, Handle, Runtime};

/// The runtime of one engine.
pub(super) struct Island {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl Island {
    /// Starts a runtime of its own.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(super) fn start(worker_threads: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(worker_threads)
            .max_blocking_threads(1)
            .thread_name("chronik-async-raft")
            .enable_time()
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// Runs a task to its end.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(task));
    }

    /// Calls `work`, which starts tasks of its own on the current runtime.
    pub(super) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _guard = self.handle.enter();
        work()
    }

    /// Ends the runtime without waiting: tasks end at their next await.
    pub(super) fn stop(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Island {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Island").finish_non_exhaustive()
    }
}
