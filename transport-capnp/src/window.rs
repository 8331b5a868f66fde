//! What is taken from a queue at once, and how much of it may be on the way.

use event_listener::{Event, EventListener};
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;

use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;

use crate::limits::{BATCH_BYTES, WINDOW_BATCHES, WINDOW_BYTES, charge};

/// What travels in one call.
pub(crate) struct Batch<T> {
    pub(crate) items: Vec<(u64, T)>,
    pub(crate) bytes: usize,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            bytes: 0,
        }
    }
}

impl<T> Batch<T> {
    pub(crate) fn push(&mut self, call: u64, bytes: usize, item: T) {
        self.items.push((call, item));
        self.bytes += bytes;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// A queue that is emptied by batches.
pub(crate) trait Source {
    /// What it holds.
    type Item;

    /// What the window admits now, or `None`.
    fn take(&self, window: &Window) -> Option<Batch<Self::Item>>;

    /// Notified when something was queued.
    fn work(&self) -> EventListener;
}

/// What is on the way.
#[derive(Default)]
pub(crate) struct Window {
    batches: Cell<usize>,
    bytes: Cell<usize>,
    emptied: Event,
}

impl Window {
    /// Notified when nothing is on the way any more.
    pub(crate) fn emptied(&self) -> EventListener {
        self.emptied.listen()
    }

    /// Whether `len` more bytes may join the batch.
    pub(crate) fn admits<T>(&self, batch: &Batch<T>, len: usize) -> bool {
        if self.batches.get() >= WINDOW_BATCHES {
            return false;
        }
        let (gathered, more) = (batch.bytes, charge(len));
        if !batch.is_empty() && gathered + more > BATCH_BYTES {
            return false;
        }
        let alone = batch.is_empty() && self.batches.get() == 0;
        alone || self.bytes.get() + gathered + more <= WINDOW_BYTES
    }

    /// Whether nothing is on the way.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.get() == 0
    }

    fn add(&self, bytes: usize) {
        self.batches.set(self.batches.get() + 1);
        self.bytes.set(self.bytes.get() + bytes);
    }

    fn release(&self, bytes: usize) {
        self.batches.set(self.batches.get() - 1);
        self.bytes.set(self.bytes.get() - bytes);
        if self.is_empty() {
            self.emptied.notify(usize::MAX);
        }
    }
}

/// Sends what the source has, within the window, until a call fails.
pub(crate) async fn pump<S, F>(
    source: &S,
    window: &Window,
    mut send: impl FnMut(Batch<S::Item>) -> F,
) -> capnp::Error
where
    S: Source,
    F: Future<Output = capnp::Result<()>>,
{
    let mut on_the_way = FuturesUnordered::new();
    loop {
        let work = source.work();
        while let Some(batch) = source.take(window) {
            let bytes = batch.bytes;
            window.add(bytes);
            let done = send(batch);
            on_the_way.push(async move { done.await.map(|()| bytes) });
        }
        if on_the_way.is_empty() {
            work.await;
            continue;
        }
        match select(pin!(work), on_the_way.next()).await {
            Either::Left(((), _)) | Either::Right((None, _)) => {}
            Either::Right((Some(Ok(bytes)), _)) => window.release(bytes),
            Either::Right((Some(Err(error)), _)) => return error,
        }
    }
}
