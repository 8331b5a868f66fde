//! One thread that wakes sleepers.

use crate::world::locked;
use chronik_core::BoxFuture;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// How often the thread looks whether anybody still needs it.
const LOOK_AROUND: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Sleepers {
    next_id: u64,
    waiting: BTreeMap<(Instant, u64), Waker>,
}

#[derive(Debug, Default)]
struct Shared {
    sleepers: Mutex<Sleepers>,
    earlier: Condvar,
}

/// A clock's alarm.
#[derive(Debug)]
pub(super) struct Timer {
    shared: Arc<Shared>,
}

impl Timer {
    pub(super) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let weak = Arc::downgrade(&shared);
        let spawned = thread::Builder::new()
            .name("check-timer".to_owned())
            .spawn(move || wake_sleepers(&weak));
        assert!(spawned.is_ok(), "the system has threads: {spawned:?}");
        Self { shared }
    }

    pub(super) fn sleep(&self, until: Instant) -> BoxFuture<'static, ()> {
        let mut sleepers = locked(&self.shared.sleepers);
        sleepers.next_id += 1;
        Box::pin(Sleep {
            shared: Arc::clone(&self.shared),
            key: (until, sleepers.next_id),
        })
    }
}

struct Sleep {
    shared: Arc<Shared>,
    key: (Instant, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.key.0 {
            return Poll::Ready(());
        }
        let mut sleepers = locked(&self.shared.sleepers);
        sleepers.waiting.insert(self.key, context.waker().clone());
        self.shared.earlier.notify_one();
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        locked(&self.shared.sleepers).waiting.remove(&self.key);
    }
}

fn wake_sleepers(shared: &Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        let due = {
            let sleepers = locked(&shared.sleepers);
            let now = Instant::now();
            let next = sleepers.waiting.keys().next().map(|(at, _)| *at);
            let pause = next.map_or(LOOK_AROUND, |at| {
                at.saturating_duration_since(now).min(LOOK_AROUND)
            });
            let mut sleepers = if pause.is_zero() {
                sleepers
            } else {
                let waited = shared.earlier.wait_timeout(sleepers, pause);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
            let later = sleepers.waiting.split_off(&(Instant::now(), u64::MAX));
            std::mem::replace(&mut sleepers.waiting, later)
        };
        due.into_values().for_each(Waker::wake);
    }
}
