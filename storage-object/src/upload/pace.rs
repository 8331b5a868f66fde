//! Bytes a second.

use chronik_core::Env;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Lets bytes through at a rate, first come, first served.
#[derive(Debug)]
pub struct Pace {
    env: Env,
    bytes_per_s: u64,
    next: Mutex<Duration>,
}

impl Pace {
    /// At most `bytes_per_s`.
    #[must_use]
    pub fn new(env: Env, bytes_per_s: u64) -> Self {
        Self {
            env,
            bytes_per_s: bytes_per_s.max(1),
            next: Mutex::default(),
        }
    }

    /// Waits for the turn of `bytes`.
    pub async fn wait(&self, bytes: u64) {
        let took = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_per_s);
        let took = Duration::from_micros(u64::try_from(took).unwrap_or(u64::MAX));
        let wait = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.env.clock.now();
            let start = now.max(*next);
            *next = start.saturating_add(took);
            start - now
        };
        if !wait.is_zero() {
            self.env.clock.sleep(wait).await;
        }
    }
}
