//! Waits for several futures at once.

use chronik_core::BoxFuture;
use std::future::poll_fn;
use std::task::Poll;

/// Runs all futures side by side and returns their results in order. Each is polled once before any is waited for, so
/// that what they propose goes to the disk together.
pub async fn join_all<T: Send>(futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut slots: Vec<_> = futures.into_iter().map(Slot::Running).collect();
    poll_fn(|context| {
        let mut pending = false;
        for slot in &mut slots {
            if let Slot::Running(future) = slot {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *slot = Slot::Done(value),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    let done = |slot| match slot {
        Slot::Done(value) => Some(value),
        Slot::Running(_) => None,
    };
    slots.into_iter().filter_map(done).collect()
}

enum Slot<'a, T> {
    Running(BoxFuture<'a, T>),
    Done(T),
}
