//! Decoding of one frame.

use super::KafkaString;
use super::error::{WireError, WireErrorKind};
use super::varint;
use bytes::{Buf, BytesMut};

/// Strings up to this many bytes are stored inline and cost no allocation.
const INLINE_STR_LEN: usize = 23;
/// Bookkeeping and padding of a shared string, charged to the budget.
const SHARED_STR_OVERHEAD: usize = 24;
/// The longest string of the protocol, in bytes: the length is a signed 16-bit integer, also in the compact form.
pub(super) const MAX_STR_LEN: usize = i16::MAX as usize;

/// Reads a frame from its start; every read checks what remains first.
///
/// The frame is owned, and byte fields are split off it: each piece is the sole owner of its range, so that records can
/// be stamped in place, while all pieces share the frame's one allocation. A piece keeps that allocation alive.
#[derive(Debug)]
pub struct Reader {
    frame: BytesMut,
    /// Bytes at the start of `frame` that have been read but not been cut off yet.
    at: usize,
    /// Bytes that may still be allocated for the decoded form.
    budget: usize,
}

impl Reader {
    /// What the decoded form of any frame may allocate beyond a multiple of the frame, in bytes.
    pub const BUDGET_BASE: usize = 63 * 1024;

    /// Starts at the first byte of `frame`.
    ///
    /// The decoded form may allocate at most twice the frame plus 64 KiB (byte fields and records are part of the frame
    /// and are not counted again); more is [`WireErrorKind::MemoryBudget`]. Small elements are larger in memory than on
    /// the wire, so a frame full of the smallest ones would otherwise grow thirtyfold.
    #[must_use]
    pub fn new(frame: BytesMut) -> Self {
        Self::with_budget(frame, 2)
    }

    /// Like [`Reader::new`], with `times` the frame instead of twice: for a peer that one has chosen oneself.
    #[must_use]
    pub fn with_budget(frame: BytesMut, times: usize) -> Self {
        let budget = frame
            .len()
            .saturating_mul(times)
            .saturating_add(Self::BUDGET_BASE);
        Self { frame, at: 0, budget }
    }

    /// Bytes that have not been read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.frame.len() - self.at
    }

    /// Fails with [`WireErrorKind::TrailingBytes`] unless everything has been read.
    pub fn finish(&self) -> Result<(), WireError> {
        match self.remaining() {
            0 => Ok(()),
            n => Err(WireErrorKind::TrailingBytes(n).into()),
        }
    }

    fn rest(&self) -> &[u8] {
        self.frame.get(self.at..).unwrap_or_default()
    }

    fn truncated(&self, needed: usize) -> WireError {
        WireErrorKind::Truncated {
            needed,
            remaining: self.remaining(),
        }
        .into()
    }

    /// Reads exactly `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        match self.rest().first_chunk::<N>() {
            Some(chunk) => {
                let chunk = *chunk;
                self.at += N;
                Ok(chunk)
            }
            None => Err(self.truncated(N)),
        }
    }

    /// Reads a byte that is zero or not: a boolean.
    pub fn bool(&mut self) -> Result<bool, WireError> {
        Ok(self.array::<1>()? != [0])
    }

    /// Reads a signed 8-bit integer.
    pub fn i8(&mut self) -> Result<i8, WireError> {
        self.array().map(i8::from_be_bytes)
    }

    /// Reads a signed 16-bit integer.
    pub fn i16(&mut self) -> Result<i16, WireError> {
        self.array().map(i16::from_be_bytes)
    }

    /// Reads a signed 32-bit integer.
    pub fn i32(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_be_bytes)
    }

    /// Reads a signed 64-bit integer.
    pub fn i64(&mut self) -> Result<i64, WireError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Reads an unsigned variable-length integer of at most 5 bytes.
    pub fn uvarint(&mut self) -> Result<u32, WireError> {
        let (value, len) = varint::read_u32(self.rest())?;
        self.at += len;
        Ok(value)
    }

    /// Skips `len` bytes.
    pub fn skip(&mut self, len: usize) -> Result<(), WireError> {
        if len > self.remaining() {
            return Err(self.truncated(len));
        }
        self.at += len;
        Ok(())
    }

    /// Splits `len` bytes off the frame, without a copy.
    pub fn split(&mut self, len: usize) -> Result<BytesMut, WireError> {
        if len > self.remaining() {
            return Err(self.truncated(len));
        }
        self.frame.advance(self.at);
        self.at = 0;
        Ok(self.frame.split_to(len))
    }

    /// Reads the length of a string: `None` is null.
    fn str_len(&mut self, compact: bool) -> Result<Option<usize>, WireError> {
        let len = if compact {
            i64::from(self.uvarint()?) - 1
        } else {
            i64::from(self.i16()?)
        };
        match usize::try_from(len) {
            Ok(len) if len <= MAX_STR_LEN => Ok(Some(len)),
            Err(_) if len == -1 => Ok(None),
            _ => Err(WireErrorKind::InvalidLength(len).into()),
        }
    }

    /// Reads a string: the length is a variable-length integer if `compact`, else 16 bits.
    pub fn nullable_str(&mut self, compact: bool) -> Result<Option<KafkaString>, WireError> {
        let Some(len) = self.str_len(compact)? else {
            return Ok(None);
        };
        if len > self.remaining() {
            return Err(self.truncated(len));
        }
        if len > INLINE_STR_LEN {
            self.charge(len + SHARED_STR_OVERHEAD)?;
        }
        let bytes = self.rest().get(..len).unwrap_or_default();
        let text = std::str::from_utf8(bytes).map_err(|_| WireErrorKind::InvalidUtf8)?;
        let text = KafkaString::new(text);
        self.at += len;
        Ok(Some(text))
    }

    /// Reads bytes: the length is a variable-length integer if `compact`, else 32 bits.
    pub fn nullable_bytes(&mut self, compact: bool) -> Result<Option<BytesMut>, WireError> {
        let len = if compact {
            i64::from(self.uvarint()?) - 1
        } else {
            i64::from(self.i32()?)
        };
        match usize::try_from(len) {
            Ok(len) => self.split(len).map(Some),
            Err(_) if len == -1 => Ok(None),
            Err(_) => Err(WireErrorKind::InvalidLength(len).into()),
        }
    }

    /// Reads the count of an array whose elements take at least `min_len` bytes each on the wire and exactly `mem_len`
    /// bytes in memory, and charges the memory, so that the caller may allocate `count` elements at once.
    pub fn nullable_count(
        &mut self,
        compact: bool,
        min_len: usize,
        mem_len: usize,
    ) -> Result<Option<usize>, WireError> {
        let count = if compact {
            i64::from(self.uvarint()?) - 1
        } else {
            i64::from(self.i32()?)
        };
        if count == -1 {
            return Ok(None);
        }
        let max = self.remaining() / min_len.max(1);
        match usize::try_from(count) {
            Ok(count) if count <= max => {
                self.charge(count.saturating_mul(mem_len))?;
                Ok(Some(count))
            }
            _ => Err(WireErrorKind::InvalidCount { count, max }.into()),
        }
    }

    /// Takes `len` bytes from the memory budget.
    fn charge(&mut self, len: usize) -> Result<(), WireError> {
        match self.budget.checked_sub(len) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(WireErrorKind::MemoryBudget.into()),
        }
    }

    /// Reads the tagged fields at the end of a structure (KIP-482).
    ///
    /// `known` is called with each tag, and reads the value and answers true, or leaves it alone and answers false; then
    /// the value is skipped. The count is checked against the two bytes that the smallest tagged field takes, and a
    /// value must have exactly the size that is announced for it.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        let count = self.uvarint()?;
        let max = self.remaining() / 2;
        if count as usize > max {
            return Err(WireErrorKind::InvalidCount {
                count: count.into(),
                max,
            }
            .into());
        }
        for _ in 0..count {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let after = self
                .remaining()
                .checked_sub(size)
                .ok_or_else(|| self.truncated(size))?;
            if !known(self, tag)? {
                self.skip(size)?;
            } else if self.remaining() != after {
                return Err(WireErrorKind::TagSize.into());
            }
        }
        Ok(())
    }
}
