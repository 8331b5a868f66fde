//! One client connection: frames in, responses out in the order of the requests.

use super::budget::{Budget, Share};
use super::frame_buffer::FrameBuffer;
use super::wire::frame::FRAME_PREFIX_LEN;
use super::wire::{OutFrame, frame_len};
use crate::metrics::KafkaMetrics;
use async_channel::{Receiver, Sender};
use bytes::{Buf, BytesMut};
use chronik_core::{BoxFuture, Watch};
use futures_lite::future::yield_now;
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt};
use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Responses that may be outstanding on one connection before it is not read any further.
const MAX_PIPELINED: usize = 64;
/// Bytes of requests that may be outstanding on one connection: enough to keep a log busy, and few enough that one
/// client leaves room for others.
pub const MAX_PIPELINED_BYTES: u64 = 16 << 20;
/// Slices in one vectored write; the kernel takes up to 1,024.
const MAX_SLICES: usize = 256;
/// Bytes of one write. The executor's one thread copies them into the socket, and others have their turn before the next: a
/// socket takes megabytes, and an answer has tens of them.
const MAX_WRITE_BYTES: usize = 256 << 10;

/// How a request ends.
#[derive(Debug)]
pub enum Reply {
    /// With a response.
    Frame(OutFrame),
    /// Without one (a produce request with acks = 0).
    Nothing,
    /// With the end of the connection: the request cannot be understood, and neither can what follows it.
    Close(String),
}

/// What answers requests.
pub trait Service: Send + Sync + Debug {
    /// Whether the request in `frame` takes its place when [`Service::call`] returns, so that requests of the same
    /// kind behind it may start before it is answered.
    fn places(&self, frame: &[u8]) -> bool;

    /// Starts to answer the request in `frame`, which came without its length.
    fn call(&self, client: &Arc<Client>, frame: BytesMut) -> BoxFuture<'static, Reply>;
}

/// Who is at the other end.
#[derive(Debug)]
pub struct Client {
    /// Its address.
    pub address: SocketAddr,
    /// Counts connections; unique in the process.
    pub connection: u64,
}

/// Limits of one connection, and what all connections share.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// The largest request.
    pub max_request_bytes: usize,
    /// The memory that requests in flight share.
    pub budget: Budget,
    /// The part of it that this connection may have: one whose next request does not fit is not read any further.
    pub pipelined_bytes: u64,
    /// Set when the server stops: what was read is answered, nothing more is read.
    pub draining: Watch<bool>,
    /// Where bytes are counted.
    pub metrics: Arc<KafkaMetrics>,
}

/// Whether anything moved since the last look; an idle connection is closed by whoever looks.
#[derive(Debug, Default)]
pub struct Activity {
    moved: AtomicBool,
    outstanding: AtomicUsize,
}

impl Activity {
    fn touch(&self) {
        self.moved.store(true, Ordering::Relaxed);
    }

    /// Whether nothing moved since the last call and no answer is outstanding.
    pub fn was_idle(&self) -> bool {
        !self.moved.swap(false, Ordering::Relaxed) && self.outstanding.load(Ordering::Relaxed) == 0
    }
}

struct Pending {
    answer: BoxFuture<'static, Reply>,
    _shares: [Share; 2],
}

/// Serves a connection until the client closes it, breaks the protocol, or the server drains.
///
/// # Errors
/// Why the connection ended, where that was not the client's or the server's wish.
pub async fn serve<R, W>(
    (reader, writer): (R, W),
    service: Arc<dyn Service>,
    client: Arc<Client>,
    options: ConnectionOptions,
    activity: Arc<Activity>,
) -> io::Result<()>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let (queue, answers) = async_channel::bounded(MAX_PIPELINED);
    let draining = options.draining.clone();
    let metrics = Arc::clone(&options.metrics);
    let drained = async move {
        draining.wait_for(|draining| *draining).await;
        Ok(End::Drained)
    };
    let requests = Requests {
        service,
        client,
        options,
        activity: Arc::clone(&activity),
        queue,
    };
    // The reader ends first, and closes the queue; what is in it is answered unless the client is gone.
    let read = async move { requests.run(reader).or(drained).await };
    let write = write_answers(answers, writer, (activity, metrics));
    race(read, write).await
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    ClientLeft,
    Drained,
}

/// Runs both; a client that left takes the answers that it waits for with it.
async fn race(
    read: impl Future<Output = io::Result<End>>,
    write: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let mut write = std::pin::pin!(write);
    let first = async { Either::Read(read.await) }
        .or(async { Either::Written(write.as_mut().await) })
        .await;
    match first {
        Either::Read(Ok(End::Drained)) => write.await,
        Either::Read(Ok(End::ClientLeft)) => Ok(()),
        Either::Read(Err(error)) => {
            // What was answered before the bad request still leaves, as far as one step of the writer gets.
            let _ = futures_lite::future::poll_once(write).await;
            Err(error)
        }
        Either::Written(result) => result,
    }
}

enum Either {
    Read(io::Result<End>),
    Written(io::Result<()>),
}

struct Requests {
    service: Arc<dyn Service>,
    client: Arc<Client>,
    options: ConnectionOptions,
    activity: Arc<Activity>,
    queue: Sender<Pending>,
}

impl Requests {
    async fn run<R: AsyncRead + Unpin>(self, mut reader: R) -> io::Result<End> {
        let mut buffer = FrameBuffer::default();
        // Answers that have not been given and did not take their place: whatever comes behind them waits.
        let waiting = Arc::new(AtomicUsize::new(0));
        let own = Budget::new(self.options.pipelined_bytes);
        loop {
            let Some(frame) = self.next_frame(&mut reader, &mut buffer).await? else {
                return Ok(End::ClientLeft);
            };
            let bytes = frame.len() as u64;
            let shares = [own.take(bytes).await, self.options.budget.take(bytes).await];
            let answer = self.start(frame, &waiting);
            self.activity.outstanding.fetch_add(1, Ordering::Relaxed);
            if self
                .queue
                .send(Pending {
                    answer,
                    _shares: shares,
                })
                .await
                .is_err()
            {
                return Ok(End::ClientLeft);
            }
        }
    }

    /// A request that takes its place starts now; any other when it is its turn to be answered, so that it sees what
    /// those before it did.
    fn start(&self, frame: BytesMut, waiting: &Arc<AtomicUsize>) -> BoxFuture<'static, Reply> {
        if waiting.load(Ordering::Relaxed) == 0 && self.service.places(&frame) {
            return self.service.call(&self.client, frame);
        }
        waiting.fetch_add(1, Ordering::Relaxed);
        let (service, client, waiting) = (
            Arc::clone(&self.service),
            Arc::clone(&self.client),
            Arc::clone(waiting),
        );
        Box::pin(async move {
            let answer = service.call(&client, frame).await;
            waiting.fetch_sub(1, Ordering::Relaxed);
            answer
        })
    }

    /// The next frame without its length, or `None` where the client closed the connection between two frames.
    async fn next_frame<R: AsyncRead + Unpin>(
        &self,
        reader: &mut R,
        buffer: &mut FrameBuffer,
    ) -> io::Result<Option<BytesMut>> {
        loop {
            let missing = match buffer.filled().first_chunk::<FRAME_PREFIX_LEN>() {
                None => None,
                Some(prefix) => {
                    let max = self.options.max_request_bytes;
                    let len = frame_len(*prefix, max)
                        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
                    let whole = FRAME_PREFIX_LEN + len;
                    if buffer.filled().len() >= whole {
                        return Ok(Some(buffer.take(len)));
                    }
                    Some(whole - buffer.filled().len())
                }
            };
            let result = reader.read(buffer.room(missing)).await;
            let count = result.as_ref().map_or(0, |read| *read);
            buffer.arrived(count);
            self.options.metrics.received_bytes.add(count as u64);
            self.activity.touch();
            if result? == 0 {
                return if buffer.filled().is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }
}

async fn write_answers<W: AsyncWrite + Unpin>(
    answers: Receiver<Pending>,
    mut writer: W,
    (activity, metrics): (Arc<Activity>, Arc<KafkaMetrics>),
) -> io::Result<()> {
    while let Ok(pending) = answers.recv().await {
        let reply = pending.answer.await;
        let written = match reply {
            Reply::Frame(frame) => write_frame(&mut writer, frame, (&activity, &metrics)).await,
            Reply::Nothing => Ok(()),
            Reply::Close(reason) => {
                metrics.requests_refused.one();
                Err(io::Error::new(io::ErrorKind::InvalidData, reason))
            }
        };
        activity.outstanding.fetch_sub(1, Ordering::Relaxed);
        activity.touch();
        written?;
    }
    writer.flush().await
}

async fn write_frame<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut frame: OutFrame,
    (activity, metrics): (&Activity, &KafkaMetrics),
) -> io::Result<()> {
    while frame.has_remaining() {
        let written = {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let slices = frame.io_slices(&mut slices, MAX_WRITE_BYTES);
            writer.write_vectored(slices).await?
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        frame.advance(written);
        metrics.sent_bytes.add(written as u64);
        activity.touch();
        if frame.has_remaining() {
            yield_now().await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
