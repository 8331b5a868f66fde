//! Frames: a 32-bit length, then that many bytes.

use super::error::{WireError, WireErrorKind};
use super::error_code::ErrorCode;
use bytes::{Buf, Bytes};
use std::io::IoSlice;

/// Bytes of the length in front of a frame.
pub const FRAME_PREFIX_LEN: usize = 4;

/// The default limit of a request, in bytes (Kafka's `socket.request.max.bytes`).
pub const DEFAULT_MAX_FRAME_LEN: usize = 100 * 1024 * 1024;

/// The bytes that follow the length `prefix`; a negative length, or one above `max`, is refused before anything is
/// allocated for it.
pub fn frame_len(prefix: [u8; FRAME_PREFIX_LEN], max: usize) -> Result<usize, WireError> {
    let len = i32::from_be_bytes(prefix);
    match usize::try_from(len) {
        Ok(len) if len <= max => Ok(len),
        _ => Err(WireErrorKind::FrameLength { len: len.into(), max }.into()),
    }
}

/// A frame to send, length prefix included: encoded fields and shared slices in turn.
///
/// It is a [`Buf`], so that a partial vectored write continues with [`Buf::advance`]:
/// `let n = socket.write_vectored(frame.io_slices(&mut slices, max))`, then `frame.advance(n)`, until nothing remains.
#[derive(Debug, Clone)]
pub struct OutFrame {
    /// Never empty slices, in reverse: the last one is sent next.
    parts: Vec<Bytes>,
    remaining: usize,
    errors: Vec<ErrorCode>,
}

impl OutFrame {
    /// `fields`, with each slice of `shared` put before the field byte at its offset; offsets ascend. `errors` are the
    /// error codes among the fields.
    pub(super) fn new(fields: Bytes, shared: Vec<(usize, Bytes)>, errors: Vec<ErrorCode>) -> Self {
        let mut parts = Vec::with_capacity(2 * shared.len() + 1);
        let mut end = fields.len();
        for (offset, slice) in shared.into_iter().rev() {
            parts.push(fields.slice(offset..end));
            parts.push(slice);
            end = offset;
        }
        parts.push(fields.slice(..end));
        parts.retain(|part| !part.is_empty());
        let remaining = parts.iter().map(Bytes::len).sum();
        Self {
            parts,
            remaining,
            errors,
        }
    }

    /// The error codes that the frame carries, none of them [`ErrorCode::NONE`].
    #[must_use]
    pub fn errors(&self) -> &[ErrorCode] {
        &self.errors
    }

    /// Fills `slices` with what is to be sent next, `max_bytes` at most, and returns the filled part.
    pub fn io_slices<'a, 'b>(&'a self, slices: &'b mut [IoSlice<'a>], max_bytes: usize) -> &'b [IoSlice<'a>] {
        let (mut filled, mut left) = (0, max_bytes);
        for (slot, part) in slices.iter_mut().zip(self.parts.iter().rev()) {
            let part = part.get(..left).unwrap_or(part);
            *slot = IoSlice::new(part);
            filled += usize::from(!part.is_empty());
            left -= part.len();
        }
        slices.get(..filled).unwrap_or_default()
    }

    /// The number of separate slices that remain.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// All that remains, in one piece; copies if there are several slices.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        self.copy_to_bytes(self.remaining)
    }
}

impl Buf for OutFrame {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.last().map(AsRef::as_ref).unwrap_or_default()
    }

    /// # Panics
    /// If `cnt` is more than remains, as [`Buf`] demands.
    fn advance(&mut self, cnt: usize) {
        assert!(
            cnt <= self.remaining,
            "advance by {cnt} but {} bytes remain",
            self.remaining
        );
        self.remaining -= cnt;
        let mut left = cnt;
        while let Some(part) = self.parts.last_mut() {
            if left < part.len() {
                part.advance(left);
                return;
            }
            left -= part.len();
            self.parts.pop();
        }
    }
}
