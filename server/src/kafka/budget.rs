//! A budget of bytes that requests in flight share.

use event_listener::Event;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes of requests may be worked on at once, over all connections.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit_bytes: u64,
    used_bytes: AtomicU64,
    freed: Event,
}

/// A share of a [`Budget`]; dropping it gives the bytes back.
#[derive(Debug)]
pub struct Share {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Budget {
    /// A budget of `limit_bytes`.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit_bytes,
                used_bytes: AtomicU64::new(0),
                freed: Event::new(),
            }),
        }
    }

    /// Bytes taken now.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.shared.used_bytes.load(Ordering::SeqCst)
    }

    /// Takes `bytes`, waiting until they are free. A request above the whole limit gets its share once it is alone,
    /// so that it waits but is never stuck. Cancel safe.
    pub async fn take(&self, bytes: u64) -> Share {
        loop {
            if let Some(share) = self.try_take(bytes) {
                return share;
            }
            let freed = self.shared.freed.listen();
            if let Some(share) = self.try_take(bytes) {
                return share;
            }
            freed.await;
        }
    }

    fn try_take(&self, bytes: u64) -> Option<Share> {
        let fits = |used: u64| {
            let sum = used.checked_add(bytes)?;
            (used == 0 || sum <= self.shared.limit_bytes).then_some(sum)
        };
        let used = &self.shared.used_bytes;
        used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).ok()?;
        Some(Share {
            shared: Arc::clone(&self.shared),
            bytes,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shared.used_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        self.shared.freed.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn what_does_not_fit_waits_until_it_does() {
        let budget = Budget::new(10);
        let first = block_on(budget.take(6));
        let mut second = std::pin::pin!(budget.take(6));
        assert!(block_on(poll_once(second.as_mut())).is_none());
        drop(first);
        let second = block_on(second);
        assert_eq!(budget.used_bytes(), 6);
        drop(second);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_request_above_the_limit_runs_alone() {
        let budget = Budget::new(10);
        let small = block_on(budget.take(1));
        let mut large = std::pin::pin!(budget.take(100));
        assert!(block_on(poll_once(large.as_mut())).is_none());
        drop(small);
        assert_eq!(block_on(large).bytes, 100);
    }
}
