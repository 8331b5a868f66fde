//! Time that passes only when the driver says so.

use crate::world::locked;
use chronik_core::BoxFuture;
use chronik_core::env::Clock;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Wall time at the start of every simulation: 2026-01-01T00:00:00Z.
const WALL_START_MS: i64 = 1_767_225_600_000;

#[derive(Debug, Default)]
struct Timers {
    now: Duration,
    wall_shift_ms: i64,
    next_id: u64,
    /// Wakers by time and order of creation.
    waiting: BTreeMap<(Duration, u64), Option<Waker>>,
}

/// A virtual clock.
#[derive(Clone, Debug, Default)]
pub struct SimClock {
    timers: Arc<Mutex<Timers>>,
}

struct Sleep {
    timers: Arc<Mutex<Timers>>,
    key: (Duration, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timers = locked(&self.timers);
        if timers.now >= self.key.0 {
            return Poll::Ready(());
        }
        timers.waiting.insert(self.key, Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        locked(&self.timers).waiting.remove(&self.key);
    }
}

impl SimClock {
    /// The virtual time.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        locked(&self.timers).now
    }

    /// Shifts wall time, as an operator or a time server does; monotonic time stays.
    pub fn shift_wall_ms(&self, by: i64) {
        locked(&self.timers).wall_shift_ms += by;
    }

    /// Moves to the next timer and wakes it; false where there is none, or none up to `until`.
    pub fn fire_next(&self, until: Option<Duration>) -> bool {
        let waker = {
            let mut timers = locked(&self.timers);
            let Some(key) = timers.waiting.keys().next().copied() else {
                return false;
            };
            if until.is_some_and(|until| key.0 > until) {
                return false;
            }
            timers.now = timers.now.max(key.0);
            timers.waiting.remove(&key).flatten()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Sees to it that time stops at `time` on its way, for something that looks at the clock by itself.
    pub(super) fn stop_at(&self, time: Duration) {
        let mut timers = locked(&self.timers);
        timers.next_id += 1;
        let id = timers.next_id;
        timers.waiting.insert((time, id), None);
    }

    /// Moves to `time`, never back, without firing timers.
    pub(super) fn set(&self, time: Duration) {
        let mut timers = locked(&self.timers);
        timers.now = timers.now.max(time);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        self.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        let timers = locked(&self.timers);
        let passed = i64::try_from(timers.now.as_millis()).unwrap_or(i64::MAX);
        WALL_START_MS
            .saturating_add(passed)
            .saturating_add(timers.wall_shift_ms)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut timers = locked(&self.timers);
        timers.next_id += 1;
        let key = (timers.now + duration, timers.next_id);
        timers.waiting.insert(key, None);
        Box::pin(Sleep {
            timers: Arc::clone(&self.timers),
            key,
        })
    }
}
