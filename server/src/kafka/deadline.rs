//! The time limit of a request that several waits share.

use chronik_core::BoxFuture;
use chronik_core::env::Clock;
use std::time::Duration;

/// Ends once, and is over from then on. A future may not be polled again after its end, and the parts of a request that
/// are late are late one after the other.
pub(in crate::kafka) struct Deadline {
    /// None once it has ended.
    timer: Option<BoxFuture<'static, ()>>,
}

impl Deadline {
    pub(in crate::kafka) fn after(clock: &dyn Clock, time: Duration) -> Self {
        let timer = Some(clock.sleep(time));
        Self { timer }
    }

    /// Waits for the end; returns at once after it. Cancel safe.
    pub(in crate::kafka) async fn passed(&mut self) {
        if let Some(timer) = &mut self.timer {
            timer.await;
            self.timer = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Deadline;
    use chronik_conformance::world::{Seed, SimEnv};
    use futures_lite::future::poll_once;
    use std::time::Duration;

    #[test]
    fn it_is_over_for_everybody_who_asks_after_its_end() {
        let sim = SimEnv::new(Seed(1));
        let env = sim.node(Seed(2)).env();
        let mut deadline = Deadline::after(&*env.clock, Duration::from_secs(1));
        sim.block_on(async move {
            assert_eq!(poll_once(deadline.passed()).await, None);
            deadline.passed().await;
            assert_eq!(poll_once(deadline.passed()).await, Some(()));
            deadline.passed().await;
        })
        .unwrap();
    }
}
