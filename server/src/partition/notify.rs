//! What others wait on: one view a partition, and one signal for a wait over many partitions.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chronik_core::{LogIndex, Offset, ReplicaId, Watch};
use event_listener::Event;

/// Why a partition takes no further part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was closed: the node stops, or another replica takes over.
    Closed,
    /// Its topic was deleted.
    Deleted,
    /// Its log or its engine failed; the server's log says how.
    Failed,
}

/// A partition at one instant. High watermark, last stable offset and log start never go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The last applied entry.
    pub applied: LogIndex,
    /// The offset after the last committed and applied record.
    pub high_watermark: Offset,
    /// The offset after the last record of which every transaction is decided. The high watermark, until there are
    /// transactions.
    pub last_stable_offset: Offset,
    /// The first offset that is served.
    pub log_start: Offset,
    /// The newest leader epoch that is known.
    pub leader_epoch: i32,
    /// Who leads in that epoch, where that is known.
    pub leader: Option<ReplicaId>,
    /// Whether this replica leads and has applied an entry of its own term: only then it serves clients.
    pub serving: bool,
    /// Set when the partition takes no further part.
    pub ended: Option<Ended>,
}

impl View {
    /// Whether somebody who waits for records, or for the leader, sees a difference.
    fn differs_for_clients(&self, other: &Self) -> bool {
        Self {
            applied: other.applied,
            ..*self
        } != *other
    }
}

/// The view of a partition, and those who wait for it to change.
#[derive(Debug)]
pub(super) struct Notifier {
    view: Watch<View>,
    leader_changes: AtomicU64,
    subscribers: Arc<Subscribers>,
    /// Those who only want to know whether this replica leads.
    leadership: Arc<Subscribers>,
}

impl Notifier {
    /// Nobody waits yet.
    pub(super) fn new(view: View) -> Self {
        Self {
            view: Watch::new(view),
            leader_changes: AtomicU64::new(0),
            subscribers: Arc::default(),
            leadership: Arc::default(),
        }
    }

    /// The view now.
    pub(super) fn view(&self) -> View {
        self.view.get()
    }

    /// How often a leader or a term became known that was not before.
    pub(super) fn leader_changes(&self) -> u64 {
        self.leader_changes.load(Ordering::Relaxed)
    }

    /// Waits until `ready` says yes to the view.
    pub(super) async fn wait_for(&self, ready: impl FnMut(&View) -> bool) -> View {
        self.view.wait_for(ready).await
    }

    /// Changes the view and wakes those whom the change concerns.
    pub(super) fn update(&self, change: impl FnOnce(&mut View)) {
        let mut for_clients = false;
        self.view.update(|view| {
            let before = *view;
            change(view);
            for_clients = view.differs_for_clients(&before);
            let leads = |view: &View| (view.leader, view.leader_epoch);
            if view.leader.is_some() && leads(view) != leads(&before) {
                self.leader_changes.fetch_add(1, Ordering::Relaxed);
            }
            *view != before
        });
        if for_clients {
            self.subscribers.fire();
        }
    }

    /// Adds a subscriber to changes of the view.
    pub(super) fn subscribe(&self, signal: &Signal, token: u64) -> Subscription {
        Subscribers::add(&self.subscribers, signal, token)
    }

    /// This replica began or ceased to lead, or leads in another term.
    pub(super) fn leadership_changed(&self) {
        self.leadership.fire();
    }

    /// Adds a subscriber to changes of whether this replica leads.
    pub(super) fn follow_leadership(&self, signal: &Signal, token: u64) -> Subscription {
        Subscribers::add(&self.leadership, signal, token)
    }
}

/// A wait over many partitions: each tells its token when it changed, and nobody polls those that did not.
#[derive(Debug, Clone, Default)]
pub struct Signal {
    ready: Arc<Ready>,
}

impl Signal {
    /// A signal that nothing fires yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tokens of the partitions that changed since the last call, each once, in the order of the changes.
    pub fn take(&self) -> Vec<u64> {
        let fired = std::mem::take(&mut *self.ready.lock());
        fired
            .into_iter()
            .map(|subscriber| {
                // Cleared before the caller looks at the partition: a change from now on queues the token again.
                subscriber.queued.store(false, Ordering::SeqCst);
                subscriber.token
            })
            .collect()
    }

    /// Waits until [`Signal::take`] has something to give. Cancel safe.
    pub async fn fired(&self) {
        loop {
            let listener = self.ready.event.listen();
            if !self.ready.lock().is_empty() {
                return;
            }
            listener.await;
        }
    }
}

/// Keeps a signal subscribed to a partition until it is dropped.
#[derive(Debug)]
pub struct Subscription {
    id: u64,
    subscribers: Arc<Subscribers>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let id = self.id;
        self.subscribers.lock().retain(|(other, _)| *other != id);
    }
}

#[derive(Debug, Default)]
struct Ready {
    fired: Mutex<Vec<Arc<Subscriber>>>,
    event: Event,
}

impl Ready {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Subscriber>>> {
        self.fired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Subscriber {
    token: u64,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

#[derive(Debug, Default)]
struct Subscribers {
    next_id: AtomicU64,
    all: Mutex<Vec<(u64, Arc<Subscriber>)>>,
}

impl Subscribers {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Arc<Subscriber>)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(this: &Arc<Self>, signal: &Signal, token: u64) -> Subscription {
        let subscriber = Arc::new(Subscriber {
            token,
            queued: AtomicBool::new(false),
            ready: Arc::clone(&signal.ready),
        });
        let id = this.next_id.fetch_add(1, Ordering::Relaxed);
        this.lock().push((id, subscriber));
        Subscription {
            id,
            subscribers: Arc::clone(this),
        }
    }

    /// Queues every token that is not queued yet, and wakes its waiter.
    fn fire(&self) {
        for (_, subscriber) in self.lock().iter() {
            if !subscriber.queued.swap(true, Ordering::SeqCst) {
                subscriber.ready.lock().push(Arc::clone(subscriber));
                subscriber.ready.event.notify(usize::MAX);
            }
        }
    }
}
