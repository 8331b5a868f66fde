//! Reading frames: the limits hold before anything is allocated, and large bodies are shared, not copied.

use bytes::Bytes;
use capnp::message::ReaderSegments;
use futures_util::{AsyncRead, AsyncReadExt as _};
use std::cell::RefCell;
use std::mem;
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::limits::{BATCH_BYTES, FRAME_OVERHEAD};

/// A buffer holds a full batch, so that steady traffic needs no other.
const BUFFER_BYTES: usize = BATCH_BYTES + FRAME_OVERHEAD;

/// Without a known frame, no more is read at once: what belongs to the next frame is copied.
const PROBE_BYTES: usize = 64 * 1024;

/// Bodies below are copied: they are not worth what it takes to share them.
const SHARED_BYTES: usize = 16 * 1024;

/// What is shared keeps the whole buffer in which it lies: at least one part in so many of it is worth that.
const SHARED_PART: usize = 4;

/// The encoding allows more; nobody sends as many.
const MAX_SEGMENTS: usize = 512;

/// Buffers that wait for use: their pages are there and need no clearing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

const POOLED_BUFFERS: usize = 16;

impl Pool {
    fn take(&self) -> Vec<u8> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let pooled = free.pop();
        drop(free);
        pooled.unwrap_or_else(|| vec![0; BUFFER_BYTES])
    }
}

/// A buffer that goes back to its pool with its last slice.
struct Pooled {
    buffer: Vec<u8>,
    len: usize,
    pool: Weak<Mutex<Vec<Vec<u8>>>>,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade().filter(|_| self.buffer.len() == BUFFER_BYTES) else {
            return;
        };
        let mut free = pool.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < POOLED_BUFFERS {
            free.push(mem::take(&mut self.buffer));
        }
    }
}

/// Where the segments of a frame lie.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    segments: Vec<Range<usize>>,
    len: usize,
}

/// Reads the table of a frame, `None` if more bytes are needed for it.
fn table(bytes: &[u8], limit_words: usize) -> capnp::Result<Option<Table>> {
    let Some((count, sizes)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let count = u32::from_le_bytes(*count) as usize;
    if count >= MAX_SEGMENTS {
        return Err(capnp::Error::failed(format!(
            "a frame has more than {MAX_SEGMENTS} segments"
        )));
    }
    let count = count + 1;
    let Some((sizes, _)) = sizes.split_at_checked(count * 4) else {
        return Ok(None);
    };
    // The table fills whole words.
    let mut end = (4 + count * 4).next_multiple_of(8);
    let start = end;
    let mut segments = Vec::with_capacity(count);
    for size in sizes.as_chunks::<4>().0 {
        let from = end;
        // Five hundred times four thousand million words fit a 64-bit number.
        end += u32::from_le_bytes(*size) as usize * 8;
        segments.push(from..end);
    }
    if (end - start) / 8 > limit_words {
        return Err(capnp::Error::failed(format!(
            "a frame has more than {limit_words} words"
        )));
    }
    Ok(Some(Table { segments, len: end }))
}

/// A frame that was read.
pub(super) struct Frame {
    bytes: Bytes,
    segments: Vec<Range<usize>>,
    live: Option<Live>,
}

impl ReaderSegments for Frame {
    fn get_segment(&self, index: u32) -> Option<&[u8]> {
        let range = self.segments.get(usize::try_from(index).ok()?)?;
        self.bytes.get(range.clone())
    }

    fn len(&self) -> usize {
        self.segments.len()
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if let Some(live) = &self.live {
            let mut frames = live.0.borrow_mut();
            frames.retain(|(frame, _)| frame.as_ptr() != self.bytes.as_ptr());
        }
    }
}

/// The large frames that are being handled, so that a body that lies in one can be shared, each with the bytes that
/// whoever shares it keeps.
#[derive(Clone, Default)]
pub(crate) struct Live(Rc<RefCell<Vec<(Bytes, usize)>>>);

impl Live {
    /// The body as a message of its own: a part of its frame where that is worth it, else a copy.
    pub(crate) fn share(&self, body: &[u8]) -> Bytes {
        if body.len() < SHARED_BYTES {
            return Bytes::copy_from_slice(body);
        }
        let frames = self.0.borrow();
        let range = body.as_ptr_range();
        let home = frames.iter().find(|(frame, kept)| {
            let frame = frame.as_ptr_range();
            frame.start <= range.start && range.end <= frame.end && body.len() * SHARED_PART >= *kept
        });
        home.map_or_else(
            || Bytes::copy_from_slice(body),
            |(frame, _)| frame.slice_ref(body),
        )
    }
}

/// Reads frames from a stream.
pub(super) struct FrameReader<R> {
    io: R,
    limit_words: usize,
    pool: Pool,
    live: Live,
    /// Whole frames that were read, and the bytes that a part of them keeps.
    ready: Bytes,
    ready_kept: usize,
    buffer: Vec<u8>,
    filled: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(io: R, limit_words: usize, pool: Pool, live: Live) -> Self {
        let buffer = pool.take();
        Self {
            io,
            limit_words,
            pool,
            live,
            ready: Bytes::new(),
            ready_kept: 0,
            buffer,
            filled: 0,
        }
    }

    /// The next frame, or `None` where the stream ends between two.
    pub(super) async fn next(&mut self) -> capnp::Result<Option<Frame>> {
        while self.ready.is_empty() {
            let wanted = self.next_read()?;
            // A frame that exceeds the buffer is within the limit; what is not written takes no memory.
            if wanted.end > self.buffer.len() {
                let mut larger = vec![0; wanted.end];
                larger[..self.filled].copy_from_slice(&self.buffer[..self.filled]);
                self.buffer = larger;
            }
            let read = self.io.read(&mut self.buffer[wanted]).await?;
            if read == 0 && self.filled == 0 {
                return Ok(None);
            }
            if read == 0 {
                return Err(capnp::Error::failed(
                    "the connection ended within a frame".to_owned(),
                ));
            }
            self.filled += read;
            self.cut()?;
        }
        let table = table(&self.ready, self.limit_words)?;
        let table = table.filter(|table| table.len <= self.ready.len());
        let Some(table) = table else {
            return Err(capnp::Error::failed(
                "a frame changed while it was read".to_owned(),
            ));
        };
        let bytes = self.ready.split_to(table.len);
        let live = (bytes.len() >= SHARED_BYTES).then(|| self.live.clone());
        if let Some(live) = &live {
            live.0.borrow_mut().push((bytes.clone(), self.ready_kept));
        }
        Ok(Some(Frame {
            bytes,
            segments: table.segments,
            live,
        }))
    }

    /// Where the next bytes go: to the end of the frame that has begun, or some more if that is near.
    fn next_read(&self) -> capnp::Result<Range<usize>> {
        let end = match table(&self.buffer[..self.filled], self.limit_words)? {
            Some(table) => table.len.max((self.filled + SHARED_BYTES).min(self.buffer.len())),
            None => self.filled + PROBE_BYTES,
        };
        Ok(self.filled..end)
    }

    /// Moves whole frames out of the buffer.
    fn cut(&mut self) -> capnp::Result<()> {
        let mut whole = 0;
        while let Some(table) = table(&self.buffer[whole..self.filled], self.limit_words)?
            && whole + table.len <= self.filled
        {
            whole += table.len;
        }
        if whole == 0 {
            return Ok(());
        }
        let rest = whole..self.filled;
        self.filled = rest.len();
        if whole * 2 < self.buffer.len() {
            self.ready = Bytes::copy_from_slice(&self.buffer[..whole]);
            self.ready_kept = whole;
            self.buffer.copy_within(rest, 0);
            return Ok(());
        }
        let mut next = self.pool.take();
        if next.len() < rest.len() {
            next.resize(rest.len(), 0);
        }
        next[..rest.len()].copy_from_slice(&self.buffer[rest]);
        let buffer = mem::replace(&mut self.buffer, next);
        let pool = Arc::downgrade(&self.pool.free);
        self.ready_kept = buffer.len();
        self.ready = Bytes::from_owner(Pooled {
            buffer,
            len: whole,
            pool,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
