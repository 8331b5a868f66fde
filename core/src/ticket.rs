//! The promise that something becomes durable.

use crate::error::LogError;
use event_listener::{Event, EventListener, Listener};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

type Callback = Box<dyn FnOnce(&Result<(), LogError>) + Send>;

#[derive(Default)]
struct State {
    result: Option<Result<(), LogError>>,
    callback: Option<Callback>,
}

#[derive(Default)]
struct Cell {
    state: Mutex<State>,
    resolved: Event,
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resolve(&self, result: Result<(), LogError>) {
        let callback = {
            let mut state = self.lock();
            if state.result.is_some() {
                return;
            }
            state.result = Some(result.clone());
            state.callback.take()
        };
        if let Some(callback) = callback {
            callback(&result);
        }
        self.resolved.notify(usize::MAX);
    }
}

/// Resolves when a write is durable, or when it is known that nobody can say so any more.
///
/// A ticket stands for a position *and* a truncation generation: what it promised survives a crash unless a
/// later, durable truncation removed it (LS-DUR-01, LS-DUR-06).
///
/// `Err` means that the write was not acknowledged: it may or may not be on disk.
///
/// Cancel safety: dropping a ticket cancels nothing (LS-DUR-17).
pub struct Ticket {
    cell: Arc<Cell>,
    listener: Option<EventListener>,
}

/// The store's end of a [`Ticket`]. Dropped unresolved, it resolves the ticket with [`LogError::Closed`].
pub struct TicketSender {
    cell: Arc<Cell>,
}

impl Ticket {
    /// A ticket and the end that resolves it.
    #[must_use]
    pub fn pair() -> (TicketSender, Self) {
        let cell = Arc::new(Cell::default());
        (
            TicketSender {
                cell: Arc::clone(&cell),
            },
            Self { cell, listener: None },
        )
    }

    /// A ticket for something that is durable already, or failed already.
    #[must_use]
    pub fn resolved(result: Result<(), LogError>) -> Self {
        let (sender, ticket) = Self::pair();
        sender.resolve(result);
        ticket
    }

    /// The result, if there is one yet.
    #[must_use]
    pub fn result(&self) -> Option<Result<(), LogError>> {
        self.cell.lock().result.clone()
    }

    /// Blocks the thread until the ticket resolves. Not for threads that run an executor.
    ///
    /// # Errors
    /// The error that the ticket resolved with.
    pub fn wait(self) -> Result<(), LogError> {
        loop {
            let listener = self.cell.resolved.listen();
            if let Some(result) = self.result() {
                return result;
            }
            listener.wait();
        }
    }

    /// Calls `callback` once with the result: on the thread that resolves the ticket, or at once where it is
    /// resolved. Callbacks of one group's tickets run in the order of the writes (LS-DUR-03). The callback must
    /// not block.
    pub fn on_resolve(self, callback: impl FnOnce(&Result<(), LogError>) + Send + 'static) {
        let result = {
            let mut state = self.cell.lock();
            match &state.result {
                Some(result) => result.clone(),
                None => {
                    state.callback = Some(Box::new(callback));
                    return;
                }
            }
        };
        callback(&result);
    }
}

impl Future for Ticket {
    type Output = Result<(), LogError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Some(result) = self.result() {
                return Poll::Ready(result);
            }
            let cell = Arc::clone(&self.cell);
            let listener = self.listener.get_or_insert_with(|| cell.resolved.listen());
            // The result may have come between the look above and the listener's registration.
            if let Some(result) = cell.lock().result.clone() {
                return Poll::Ready(result);
            }
            match Pin::new(listener).poll(context) {
                Poll::Ready(()) => self.listener = None,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl TicketSender {
    /// Resolves the ticket.
    pub fn resolve(self, result: Result<(), LogError>) {
        self.cell.resolve(result);
    }
}

impl Drop for TicketSender {
    fn drop(&mut self) {
        self.cell.resolve(Err(LogError::Closed));
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("result", &self.result()).finish()
    }
}

impl fmt::Debug for TicketSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketSender").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn wait_returns_what_the_sender_said() {
        let (sender, ticket) = Ticket::pair();
        assert!(ticket.result().is_none());
        let waiter = std::thread::spawn(move || ticket.wait());
        sender.resolve(Ok(()));
        assert_eq!(waiter.join().unwrap(), Ok(()));
    }

    #[test]
    fn a_dropped_sender_is_an_unknown_outcome() {
        let (sender, ticket) = Ticket::pair();
        drop(sender);
        assert_eq!(ticket.wait(), Err(LogError::Closed));
    }

    #[test]
    fn the_callback_runs_once_whenever_it_is_attached() {
        let calls = Arc::new(AtomicUsize::new(0));
        for early in [true, false] {
            let (sender, ticket) = Ticket::pair();
            let seen = Arc::clone(&calls);
            let count = move |result: &Result<(), LogError>| {
                assert_eq!(result, &Ok(()));
                seen.fetch_add(1, Ordering::SeqCst);
            };
            if early {
                ticket.on_resolve(count);
                sender.resolve(Ok(()));
            } else {
                sender.resolve(Ok(()));
                ticket.on_resolve(count);
            }
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
}
