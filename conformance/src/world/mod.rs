//! The simulated world: random numbers, a disk that loses what was not synced, and an environment in which time,
//! tasks and disk threads move only when a test says so.

pub mod disk;
pub mod env;
pub mod net;
pub mod prng;
pub mod real;

pub use disk::SimDisk;
pub use env::{SimEnv, SimNode};
pub use net::SimNet;
pub use prng::{Prng, Seed};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever a panicking check left behind: the verdict comes from the check, not from the lock.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
