//! One thread with the runtime that the HTTP client needs. Nothing else in the crate knows tokio but `http.rs`.

use crate::bucket::{Answer, StoreError, reply};
use std::fmt;
use std::io;
use std::thread;
use tokio::runtime::{Builder, Handle};
use tokio::task::AbortHandle;

/// How much nicer than the node's other threads it is.
const NICE: i32 = 10;

/// The thread. It ends when the last owner is gone; requests that are under way end with it.
pub(super) struct Island {
    handle: Handle,
    _stop: async_channel::Sender<()>,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Island {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = async_channel::bounded::<()>(1);
        thread::Builder::new()
            .name("tier-http".to_owned())
            .spawn(move || {
                give_way();
                // Resolves when the island is dropped.
                let _ = runtime.block_on(stopped.recv());
            })?;
        Ok(Self { handle, _stop: stop })
    }

    /// Runs `request` there once the answer is waited for. Dropping the answer ends the request.
    pub(super) fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Answer<T> {
        let handle = self.handle.clone();
        Box::pin(async move {
            let (sender, answer) = reply();
            let task = handle.spawn(async move { sender.send(request.await) });
            let _abort = AbortOnDrop(task.abort_handle());
            answer.await
        })
    }
}

/// Lowers the priority of this thread: what it copies out of sockets, and into them, must not keep a produce request from
/// its core.
fn give_way() {
    if let Err(error) = rustix::process::nice(NICE) {
        log::debug!("event=priority_not_lowered thread=tier-http error=\"{error}\"");
    }
}

impl fmt::Debug for Island {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Island").finish_non_exhaustive()
    }
}
