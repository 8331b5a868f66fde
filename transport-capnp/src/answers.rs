//! The answers that go back over one connection.

use bytes::Bytes;
use chronik_core::transport::Reply;
use event_listener::{Event, EventListener};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::charge;
use crate::window::{Batch, Source, Window};

/// What a handler gave, or why it gave nothing.
pub(crate) type Given = Result<Bytes, &'static str>;

#[derive(Default)]
struct State {
    /// The connection is gone: answers lead nowhere.
    ended: bool,
    queue: VecDeque<(u64, Given)>,
    queued_bytes: usize,
}

/// The queue of answers of one connection.
pub(crate) struct AnswerQueue {
    state: Mutex<State>,
    /// The largest answer that the caller takes.
    limit_bytes: usize,
    max_queued_bytes: usize,
    work: Event,
    room: Event,
}

impl AnswerQueue {
    pub(crate) fn new(limit_bytes: usize, max_queued_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            limit_bytes,
            max_queued_bytes,
            work: Event::new(),
            room: Event::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, call: u64, given: Given) {
        let given = match given {
            Ok(answer) if answer.len() > self.limit_bytes => {
                log::warn!(
                    "event=answer_too_large bytes={} limit={}",
                    answer.len(),
                    self.limit_bytes
                );
                Err("the answer is larger than the caller takes")
            }
            given => given,
        };
        let mut state = self.lock();
        if state.ended {
            return;
        }
        state.queued_bytes += bytes_of(&given);
        state.queue.push_back((call, given));
        drop(state);
        self.work.notify(1);
    }

    /// Waits until the caller read enough of its answers to be given more work (TR-FLOW-01).
    pub(crate) async fn room(&self) {
        loop {
            let listener = self.room.listen();
            {
                let state = self.lock();
                if state.ended || state.queued_bytes < self.max_queued_bytes {
                    return;
                }
            }
            listener.await;
        }
    }

    /// The connection is gone.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.queued_bytes = 0;
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        drop(queue);
        self.room.notify(usize::MAX);
    }
}

fn bytes_of(given: &Given) -> usize {
    charge(given.as_ref().map_or(0, Bytes::len))
}

impl Source for AnswerQueue {
    type Item = Given;

    fn take(&self, window: &Window) -> Option<Batch<Given>> {
        let mut state = self.lock();
        let was_full = state.queued_bytes >= self.max_queued_bytes;
        let mut batch = Batch::default();
        while let Some((_, given)) = state.queue.front()
            && window.admits(&batch, given.as_ref().map_or(0, Bytes::len))
        {
            let Some((call, given)) = state.queue.pop_front() else {
                break;
            };
            let bytes = bytes_of(&given);
            state.queued_bytes -= bytes;
            batch.push(call, bytes, given);
        }
        if was_full && state.queued_bytes < self.max_queued_bytes {
            self.room.notify(usize::MAX);
        }
        (!batch.is_empty()).then_some(batch)
    }

    fn work(&self) -> EventListener {
        self.work.listen()
    }
}

/// A reply that says so when it is dropped unused (TR-RPC-06).
pub(crate) fn reply(answers: Arc<AnswerQueue>, call: u64) -> Reply {
    if call == 0 {
        return Reply::new(|_| {});
    }
    let mut pending = Pending {
        answers,
        call: Some(call),
    };
    Reply::new(move |message| {
        if let Some(call) = pending.call.take() {
            pending.answers.push(call, Ok(message));
        }
    })
}

struct Pending {
    answers: Arc<AnswerQueue>,
    call: Option<u64>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.answers.push(call, Err("the peer's handler gave no answer"));
        }
    }
}
