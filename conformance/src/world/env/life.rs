//! Whether a simulated process runs, stands still, or has ended.

use std::sync::atomic::{AtomicU8, Ordering};

const RUNS: u8 = 0;
const PAUSED: u8 = 1;
const DEAD: u8 = 2;

/// The state of one process; a process that ended never runs again.
#[derive(Debug, Default)]
pub(super) struct Life {
    state: AtomicU8,
}

impl Life {
    pub(super) fn runs(&self) -> bool {
        self.state.load(Ordering::SeqCst) == RUNS
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state.load(Ordering::SeqCst) == DEAD
    }

    pub(super) fn pause(&self) {
        self.turn(RUNS, PAUSED);
    }

    pub(super) fn resume(&self) {
        self.turn(PAUSED, RUNS);
    }

    pub(super) fn end(&self) {
        self.state.store(DEAD, Ordering::SeqCst);
    }

    fn turn(&self, from: u8, to: u8) {
        // A process in any other state stays in it.
        let _ = self
            .state
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
    }
}
