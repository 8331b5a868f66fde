//! One answer from one thread to another.

use super::{StoreError, StoreErrorKind};
use async_channel::{Receiver, Sender};

/// The end that answers.
#[derive(Debug)]
pub(crate) struct Reply<T>(Sender<Result<T, StoreError>>);

/// A place for one answer, and the future that waits for it.
pub(crate) fn reply<T: Send + 'static>() -> (Reply<T>, impl Future<Output = Result<T, StoreError>> + Send) {
    let (sender, receiver): (_, Receiver<Result<T, StoreError>>) = async_channel::bounded(1);
    let answer = async move {
        let lost = || {
            Err(StoreError::new(
                StoreErrorKind::Unknown,
                "the store's thread ended",
            ))
        };
        receiver.recv().await.unwrap_or_else(|_| lost())
    };
    (Reply(sender), answer)
}

impl<T> Reply<T> {
    /// Answers; nobody may be waiting any more.
    pub(crate) fn send(self, answer: Result<T, StoreError>) {
        let _ = self.0.try_send(answer);
    }
}
