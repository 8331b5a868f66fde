//! The sending side of one lane to one peer: what waits, and the calls that wait for an answer.

use bytes::Bytes;
use chronik_core::BoxFuture;
use chronik_core::transport::{CallOutcome, SendError};
use event_listener::{Event, EventListener};
use futures_channel::oneshot;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::charge;
use crate::window::{Batch, Source, Window};

const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Where a call is.
enum Stage {
    /// In the queue, under this number.
    Queued(u64),
    /// Handed to the connection: from here on it may have reached the peer.
    Sent,
}

struct Call {
    outcome: oneshot::Sender<CallOutcome>,
    deadline: Instant,
    stage: Stage,
}

struct Queued {
    call: u64,
    /// `None` where the call was given up while it waited.
    message: Option<Bytes>,
}

struct State {
    /// Why nothing can be sent now.
    refusal: Option<SendError>,
    limit_bytes: usize,
    queue: VecDeque<Queued>,
    /// The number of the first message of the queue.
    first: u64,
    queued_bytes: usize,
    calls: HashMap<u64, Call>,
    last_call: u64,
    deadlines: BTreeSet<(Instant, u64)>,
    /// When the keeper of the deadlines wakes next.
    armed: Option<Instant>,
}

/// One lane to one peer. Sessions come and go below it; what is queued belongs to one session and ends with it.
pub(crate) struct OutLane {
    state: Mutex<State>,
    max_queued_bytes: usize,
    work: Event,
    room: Event,
    earlier: Event,
}

impl OutLane {
    pub(crate) fn new(max_queued_bytes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                refusal: Some(SendError::Disconnected),
                limit_bytes: 0,
                queue: VecDeque::new(),
                first: 0,
                queued_bytes: 0,
                calls: HashMap::new(),
                last_call: 0,
                deadlines: BTreeSet::new(),
                armed: None,
            }),
            max_queued_bytes,
            work: Event::new(),
            room: Event::new(),
            earlier: Event::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins; messages up to the limit are taken.
    pub(crate) fn open(&self, limit_bytes: usize) {
        let mut state = self.lock();
        // Closed, or out of the book, it stays.
        if state.refusal == Some(SendError::Disconnected) {
            state.refusal = None;
            state.limit_bytes = limit_bytes;
        }
    }

    /// The session ends. What waited was surely not delivered; what was handed over is unknown (TR-REC-02).
    pub(crate) fn end(&self, refusal: &SendError, reason: &Arc<str>) {
        let (queue, calls) = {
            let mut state = self.lock();
            // What is closed, or not in the book, stays so.
            if matches!(state.refusal, None | Some(SendError::Disconnected)) {
                state.refusal = Some(refusal.clone());
            }
            state.first += state.queue.len() as u64;
            state.queued_bytes = 0;
            state.deadlines.clear();
            (std::mem::take(&mut state.queue), std::mem::take(&mut state.calls))
        };
        self.room.notify(usize::MAX);
        drop(queue);
        for call in calls.into_values() {
            let outcome = match call.stage {
                Stage::Queued(_) => CallOutcome::NotDelivered(refusal.clone()),
                Stage::Sent => CallOutcome::Unknown(Arc::clone(reason)),
            };
            let _ = call.outcome.send(outcome);
        }
    }

    /// Refuses what is new, and leaves what is there.
    pub(crate) fn refuse(&self, refusal: SendError) {
        self.lock().refusal = Some(refusal);
        self.room.notify(usize::MAX);
    }

    pub(crate) fn send(&self, message: Bytes) -> Result<(), SendError> {
        let mut state = self.lock();
        self.admit(&state, &message)?;
        state.push(0, message);
        drop(state);
        self.work.notify(1);
        Ok(())
    }

    pub(crate) fn call(
        self: &Arc<Self>,
        message: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, CallOutcome> {
        let now = Instant::now();
        // Longer than a clock can count is as long as anybody waits.
        let deadline = now.checked_add(timeout).unwrap_or(now + FOREVER);
        let (outcome, waiter) = oneshot::channel();
        let id;
        {
            let mut state = self.lock();
            if let Err(error) = self.admit(&state, &message) {
                return Box::pin(std::future::ready(CallOutcome::NotDelivered(error)));
            }
            state.last_call += 1;
            id = state.last_call;
            let stage = Stage::Queued(state.push(id, message));
            state.calls.insert(
                id,
                Call {
                    outcome,
                    deadline,
                    stage,
                },
            );
            state.deadlines.insert((deadline, id));
            if state.armed.is_none_or(|armed| deadline < armed) {
                self.earlier.notify(1);
            }
        }
        self.work.notify(1);
        let guard = CallGuard {
            lane: Arc::clone(self),
            id,
        };
        Box::pin(async move {
            let outcome = waiter.await;
            drop(guard);
            outcome.unwrap_or_else(|_| CallOutcome::Unknown("the transport ended".into()))
        })
    }

    fn admit(&self, state: &State, message: &Bytes) -> Result<(), SendError> {
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        if message.len() > state.limit_bytes {
            return Err(SendError::TooLarge {
                limit_bytes: state.limit_bytes as u64,
            });
        }
        if state.queued_bytes >= self.max_queued_bytes {
            return Err(SendError::Busy);
        }
        Ok(())
    }

    /// Waits until the queue takes messages.
    pub(crate) async fn room(self: Arc<Self>) -> Result<(), SendError> {
        loop {
            let listener = self.room.listen();
            {
                let state = self.lock();
                if let Some(refusal) = &state.refusal {
                    return Err(refusal.clone());
                }
                if state.queued_bytes < self.max_queued_bytes {
                    return Ok(());
                }
            }
            listener.await;
        }
    }

    /// Gives the answer to its call; one that nobody waits for any more is discarded (TR-RPC-05).
    pub(crate) fn answered(&self, id: u64, outcome: CallOutcome) {
        let call = self.lock().forget(id);
        if let Some(call) = call {
            let _ = call.outcome.send(outcome);
        }
    }

    /// Ends the calls whose time is over and says when the next one's is.
    pub(crate) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut over = Vec::new();
        let next = {
            let mut state = self.lock();
            while let Some(&(deadline, id)) = state.deadlines.first()
                && deadline <= now
            {
                state.deadlines.remove(&(deadline, id));
                over.extend(self.withdraw(&mut state, id));
            }
            state.armed = state.deadlines.first().map(|(deadline, _)| *deadline);
            state.armed
        };
        for call in over {
            let outcome = match call.stage {
                // It still stood in the queue, because the lane was full to the end.
                Stage::Queued(_) => CallOutcome::NotDelivered(SendError::Busy),
                Stage::Sent => CallOutcome::Unknown("no answer by the deadline".into()),
            };
            let _ = call.outcome.send(outcome);
        }
        next
    }

    /// Notified when a deadline came in that is earlier than the one that [`OutLane::expire`] named.
    pub(crate) fn earlier(&self) -> EventListener {
        self.earlier.listen()
    }

    /// Whether everything was handed to the connection.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().queue.is_empty()
    }

    /// Removes a call, and its message where that still waits (TR-FLOW-04).
    fn withdraw(&self, state: &mut State, id: u64) -> Option<Call> {
        let call = state.forget(id)?;
        if let Stage::Queued(number) = call.stage {
            let was_full = state.queued_bytes >= self.max_queued_bytes;
            state.blank(number);
            if was_full && state.queued_bytes < self.max_queued_bytes {
                self.room.notify(usize::MAX);
            }
        }
        Some(call)
    }
}

impl State {
    /// Queues a message and returns its number.
    fn push(&mut self, call: u64, message: Bytes) -> u64 {
        self.queued_bytes += charge(message.len());
        self.queue.push_back(Queued {
            call,
            message: Some(message),
        });
        self.first + self.queue.len() as u64 - 1
    }

    fn forget(&mut self, id: u64) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        self.deadlines.remove(&(call.deadline, id));
        Some(call)
    }

    fn blank(&mut self, number: u64) {
        let index = number
            .checked_sub(self.first)
            .and_then(|index| usize::try_from(index).ok());
        let Some(entry) = index.and_then(|index| self.queue.get_mut(index)) else {
            return;
        };
        if let Some(message) = entry.message.take() {
            self.queued_bytes -= charge(message.len());
        }
    }
}

impl Source for OutLane {
    type Item = Bytes;

    fn take(&self, window: &Window) -> Option<Batch<Bytes>> {
        let mut state = self.lock();
        let state = &mut *state;
        let was_full = state.queued_bytes >= self.max_queued_bytes;
        let mut batch = Batch::default();
        while let Some(next) = state.queue.front_mut() {
            let Some(message) = &next.message else {
                state.queue.pop_front();
                state.first += 1;
                continue;
            };
            if !window.admits(&batch, message.len()) {
                break;
            }
            if let Some(call) = state.calls.get_mut(&next.call) {
                call.stage = Stage::Sent;
            }
            let call = next.call;
            if let Some(message) = next.message.take() {
                state.queued_bytes -= charge(message.len());
                batch.push(call, charge(message.len()), message);
            }
            state.queue.pop_front();
            state.first += 1;
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

/// Frees a call whose future is dropped.
struct CallGuard {
    lane: Arc<OutLane>,
    id: u64,
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut state = self.lane.lock();
        drop(self.lane.withdraw(&mut state, self.id));
    }
}
