//! A value that others wait on.

use event_listener::{Event, EventListener};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

struct Shared<T> {
    value: Mutex<(T, u64)>,
    changed: Event,
}

/// A shared value with a version, and a way to wait until it changes. Clones share the value.
pub struct Watch<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Watch<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T: Clone> Watch<T> {
    /// A watch that holds `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self {
            shared: Arc::new(Shared {
                value: Mutex::new((value, 0)),
                changed: Event::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, (T, u64)> {
        self.shared.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> T {
        self.lock().0.clone()
    }

    /// The value now and its version.
    #[must_use]
    pub fn versioned(&self) -> (T, u64) {
        let guard = self.lock();
        (guard.0.clone(), guard.1)
    }

    /// Looks at the value without cloning it.
    pub fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock().0)
    }

    /// Changes the value; waiters wake where `change` returns true.
    pub fn update(&self, change: impl FnOnce(&mut T) -> bool) {
        let changed = {
            let mut guard = self.lock();
            let changed = change(&mut guard.0);
            if changed {
                guard.1 += 1;
            }
            changed
        };
        if changed {
            self.shared.changed.notify(usize::MAX);
        }
    }

    /// Registers for the next change. Listen first, then look, then wait: a change in between is not missed.
    #[must_use]
    pub fn listen(&self) -> EventListener {
        self.shared.changed.listen()
    }

    /// Waits until the version is not `seen` any more, and returns the value with its version.
    pub async fn changed(&self, seen: u64) -> (T, u64) {
        self.wait_until(|_, version| version != seen).await
    }

    /// Waits until `ready` says yes to the value.
    pub async fn wait_for(&self, mut ready: impl FnMut(&T) -> bool) -> T {
        self.wait_until(|value, _| ready(value)).await.0
    }

    async fn wait_until(&self, mut ready: impl FnMut(&T, u64) -> bool) -> (T, u64) {
        loop {
            let listener = self.listen();
            {
                let guard = self.lock();
                if ready(&guard.0, guard.1) {
                    return (guard.0.clone(), guard.1);
                }
            }
            listener.await;
        }
    }
}

impl<T: fmt::Debug + Clone> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, version) = self.versioned();
        f.debug_struct("Watch")
            .field("value", &value)
            .field("version", &version)
            .finish()
    }
}
