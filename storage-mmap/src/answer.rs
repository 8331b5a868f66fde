//! An answer that a disk thread gives later.

use crate::store::Inner;
use crate::sync::locked;
use chronik_core::env::DiskLane;
use chronik_core::log_store::Read;
use chronik_core::{LogError, Ticket};
use std::sync::{Arc, Mutex};

/// Runs `job` on the read lane; the answer comes by the future. Where the job never runs, it is
/// [`LogError::Closed`].
pub(crate) fn on_read_lane<T: Send + 'static>(
    inner: &Inner,
    job: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Read<T> {
    let slot = Arc::new(Mutex::new(None));
    let (sender, ticket) = Ticket::pair();
    let answer = Arc::clone(&slot);
    inner.env.disk.submit(
        DiskLane::Read,
        Box::new(move || {
            *locked(&answer) = Some(job());
            sender.resolve(Ok(()));
        }),
    );
    Read::Pending(Box::pin(async move {
        ticket.await?;
        let answer = locked(&slot).take();
        answer.unwrap_or(Err(LogError::Closed))
    }))
}
