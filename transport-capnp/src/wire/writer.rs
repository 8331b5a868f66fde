//! Writing frames: what is ready leaves in one call to the system.

use capnp::message::{Builder, HeapAllocator};
use futures_channel::oneshot;
use futures_lite::future::{poll_fn, yield_now};
use futures_util::{AsyncWrite, AsyncWriteExt as _};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Poll, Waker};

pub(super) type Message = Rc<Builder<HeapAllocator>>;

#[derive(Default)]
struct State {
    queue: VecDeque<(Message, oneshot::Sender<()>)>,
    bytes: usize,
    /// How the writer ends once the queue is empty.
    end: Option<capnp::Result<()>>,
    ended: Vec<oneshot::Sender<()>>,
    writer: Option<Waker>,
    /// Who waits for the queue to shrink.
    reader: Option<Waker>,
}

/// The frames that wait to be written.
#[derive(Clone, Default)]
pub(super) struct WriteQueue {
    state: Rc<RefCell<State>>,
}

impl WriteQueue {
    pub(super) fn push(&self, message: Message) -> oneshot::Receiver<()> {
        let (written, waiter) = oneshot::channel();
        let mut state = self.state.borrow_mut();
        if state.end.is_none() {
            state.bytes += message.size_in_words() * 8;
            state.queue.push_back((message, written));
            wake(&mut state.writer);
        }
        waiter
    }

    /// Ends the writer when everything is written.
    pub(super) fn end(&self, result: capnp::Result<()>) -> oneshot::Receiver<()> {
        let (ended, waiter) = oneshot::channel();
        let mut state = self.state.borrow_mut();
        state.end.get_or_insert(result);
        state.ended.push(ended);
        wake(&mut state.writer);
        waiter
    }

    /// Waits until at most so many bytes wait.
    pub(super) async fn at_most(&self, bytes: usize) {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if state.bytes <= bytes {
                return Poll::Ready(());
            }
            state.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    async fn work(&self) {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if !state.queue.is_empty() || state.end.is_some() {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Writes what is queued until an error, or the end that was asked for.
    pub(super) async fn write_to<W: AsyncWrite + Unpin>(self, mut io: W) -> capnp::Result<()> {
        loop {
            self.work().await;
            // What else is ready now joins.
            yield_now().await;
            let batch = std::mem::take(&mut self.state.borrow_mut().queue);
            if batch.is_empty() {
                let (end, ended) = {
                    let mut state = self.state.borrow_mut();
                    (state.end.clone(), std::mem::take(&mut state.ended))
                };
                if let Some(result) = end {
                    let closed = io.close().await;
                    drop(ended);
                    return result.and_then(|()| Ok(closed?));
                }
                continue;
            }
            write_batch(&mut io, &batch).await?;
            let mut state = self.state.borrow_mut();
            for (message, written) in batch {
                state.bytes -= message.size_in_words() * 8;
                let _ = written.send(());
            }
            wake(&mut state.reader);
        }
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

async fn write_batch<W: AsyncWrite + Unpin>(
    io: &mut W,
    batch: &VecDeque<(Message, oneshot::Sender<()>)>,
) -> io::Result<()> {
    let frames: Vec<_> = batch
        .iter()
        .map(|(message, _)| message.get_segments_for_output())
        .collect();
    let tables: Vec<Vec<u8>> = frames.iter().map(|segments| table(segments)).collect();
    let mut slices = Vec::with_capacity(frames.len() * 2);
    for (table, segments) in tables.iter().zip(&frames) {
        slices.push(IoSlice::new(table));
        slices.extend(segments.iter().map(|segment| IoSlice::new(segment)));
    }
    let mut rest = &mut slices[..];
    // Skips what is empty.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        let written = io.write_vectored(rest).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    io.flush().await
}

/// The table in front of a frame: the number of segments less one, and the words of each.
fn table(segments: &[&[u8]]) -> Vec<u8> {
    let mut table = Vec::with_capacity((segments.len() * 4 + 4).next_multiple_of(8));
    let mut push = |number: usize| {
        // Below 2^32, because the builder numbers segments and their words with 32 bits.
        table.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    };
    push(segments.len() - 1);
    segments.iter().for_each(|segment| push(segment.len() / 8));
    if segments.len().is_multiple_of(2) {
        push(0);
    }
    table
}
