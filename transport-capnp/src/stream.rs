//! A byte stream that remembers when it last moved.

use async_std::net::TcpStream;
use futures_util::{AsyncRead, AsyncWrite};
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What a connection reads and writes, with or without TLS.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// When a connection last gave a sign of life.
#[derive(Debug)]
pub(crate) struct Progress {
    read: Cell<Instant>,
    /// When a write went on after the socket had been full: the peer's side took something.
    drained: Cell<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            read: Cell::new(now),
            drained: Cell::new(now),
        })
    }

    /// When something was last read.
    pub(crate) fn read(&self) -> Instant {
        self.read.get()
    }

    /// When something was last read, or a full socket drained.
    pub(crate) fn moved(&self) -> Instant {
        self.read.get().max(self.drained.get())
    }
}

/// Measures how long a peer was silent while we looked: time in which we were stopped or starved is not its fault.
pub(crate) struct Silence {
    tick: Duration,
    looked: Instant,
    sign: Instant,
    silent: Duration,
}

impl Silence {
    /// Whoever measures looks once a `tick`.
    pub(crate) fn new(tick: Duration) -> Self {
        let now = Instant::now();
        Self {
            tick,
            looked: now,
            sign: now,
            silent: Duration::ZERO,
        }
    }

    /// How long there was no sign of life, the last of which was at `sign`.
    pub(crate) fn since(&mut self, sign: Instant) -> Duration {
        let now = Instant::now();
        if sign == self.sign {
            self.silent += now.saturating_duration_since(self.looked).min(self.tick * 2);
        } else {
            self.silent = Duration::ZERO;
        }
        self.sign = sign;
        self.looked = now;
        self.silent
    }
}

/// A TCP stream that keeps its [`Progress`].
pub(crate) struct Metered {
    stream: TcpStream,
    progress: Rc<Progress>,
    blocked: bool,
}

impl Metered {
    pub(crate) fn new(stream: TcpStream, progress: Rc<Progress>) -> Self {
        Self {
            stream,
            progress,
            blocked: false,
        }
    }

    fn wrote(&mut self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &poll {
            Poll::Pending => self.blocked = true,
            Poll::Ready(Ok(_)) if self.blocked => {
                self.blocked = false;
                self.progress.drained.set(Instant::now());
            }
            Poll::Ready(_) => {}
        }
        poll
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(1..)) = poll {
            self.progress.read.set(Instant::now());
        }
        poll
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
