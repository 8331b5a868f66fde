//! Where the walk over records takes its bytes from: a slice, or a decompressor through a small window.

use super::compression::{Decompressor, WINDOW_LEN};
use super::error::RecordError;

const ENDS_EARLY: RecordError = RecordError::invalid("the batch ends inside a record");

/// Bytes in order. An input that has failed must not be read further.
pub trait Input {
    /// The next byte.
    ///
    /// # Errors
    /// The input ended, or decompression failed or passed its limits.
    fn byte(&mut self) -> Result<u8, RecordError>;

    /// Passes over `len` bytes.
    ///
    /// # Errors
    /// As [`Input::byte`]; nothing is allocated for `len`.
    fn skip(&mut self, len: usize) -> Result<(), RecordError>;

    /// How many bytes were read or skipped.
    fn position(&self) -> u64;

    /// Whether nothing follows.
    ///
    /// # Errors
    /// As [`Input::byte`].
    fn at_end(&mut self) -> Result<bool, RecordError>;
}

/// An [`Input`] over bytes in memory.
#[derive(Debug, Clone)]
pub struct SliceInput<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> SliceInput<'a> {
    /// Starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            len: bytes.len(),
        }
    }

    /// The next `len` bytes, borrowed.
    ///
    /// # Errors
    /// Fewer bytes remain.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(ENDS_EARLY);
        };
        self.rest = rest;
        Ok(taken)
    }

    /// How many bytes remain.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl Input for SliceInput<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, RecordError> {
        let Some((byte, rest)) = self.rest.split_first() else {
            return Err(ENDS_EARLY);
        };
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    fn skip(&mut self, len: usize) -> Result<(), RecordError> {
        self.take(len).map(drop)
    }

    #[inline]
    fn position(&self) -> u64 {
        (self.len - self.rest.len()) as u64
    }

    fn at_end(&mut self) -> Result<bool, RecordError> {
        Ok(self.remaining() == 0)
    }
}

/// An [`Input`] over a decompressor: holds one window of the expanded bytes, however many there are.
#[derive(Debug)]
pub struct StreamInput<'a, 'w> {
    source: Decompressor<'a, 'w>,
    window: &'w mut [u8; WINDOW_LEN],
    at: usize,
    filled: usize,
    before_window: u64,
}

impl<'a, 'w> StreamInput<'a, 'w> {
    /// Reads `source` through `window`.
    pub const fn new(source: Decompressor<'a, 'w>, window: &'w mut [u8; WINDOW_LEN]) -> Self {
        Self {
            source,
            window,
            at: 0,
            filled: 0,
            before_window: 0,
        }
    }

    /// Replaces a used up window by the next bytes; false at the end of the input.
    #[cold]
    fn refill(&mut self) -> Result<bool, RecordError> {
        self.before_window += self.filled as u64;
        self.at = 0;
        self.filled = 0;
        self.filled = self.source.read(&mut self.window[..])?;
        Ok(self.filled > 0)
    }
}

impl Input for StreamInput<'_, '_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, RecordError> {
        if self.at == self.filled && !self.refill()? {
            return Err(ENDS_EARLY);
        }
        let Some(byte) = self.window.get(self.at) else {
            return Err(ENDS_EARLY);
        };
        self.at += 1;
        Ok(*byte)
    }

    fn skip(&mut self, mut len: usize) -> Result<(), RecordError> {
        loop {
            let here = len.min(self.filled - self.at);
            self.at += here;
            len -= here;
            if len == 0 {
                return Ok(());
            }
            if !self.refill()? {
                return Err(ENDS_EARLY);
            }
        }
    }

    fn position(&self) -> u64 {
        self.before_window + self.at as u64
    }

    fn at_end(&mut self) -> Result<bool, RecordError> {
        Ok(self.at == self.filled && !self.refill()?)
    }
}

impl StreamInput<'_, '_> {
    /// Appends everything that is left to `out`, within the limits of the decompressor.
    ///
    /// # Errors
    /// As [`Input::byte`].
    pub fn drain_into(&mut self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        loop {
            out.extend_from_slice(self.window.get(self.at..self.filled).unwrap_or(&[]));
            self.at = self.filled;
            if !self.refill()? {
                return Ok(());
            }
        }
    }
}
