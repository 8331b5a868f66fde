//! Little-endian numbers to bytes and back; every length is held against the bytes that are there.

use bytes::{Buf, BufMut, Bytes};
use chronik_core::{LogId, Offset};
use std::ops::Range;

/// Bytes that are not what this program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Reads numbers from the front of a slice.
#[derive(Debug)]
pub(crate) struct Decoder {
    rest: Bytes,
}

macro_rules! number {
    ($name:ident, $read:ident, $type:ty) => {
        pub(crate) fn $name(&mut self) -> Result<$type, Malformed> {
            self.rest.$read().map_err(|_| SHORT)
        }
    };
}

const SHORT: Malformed = Malformed("it ends too early");

impl Decoder {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    number!(u8, try_get_u8, u8);
    number!(u16, try_get_u16_le, u16);
    number!(u32, try_get_u32_le, u32);
    number!(u64, try_get_u64_le, u64);
    number!(i64, try_get_i64_le, i64);
    number!(u128, try_get_u128_le, u128);

    /// The next `len` bytes, shared and not copied.
    pub(crate) fn bytes(&mut self, len: usize) -> Result<Bytes, Malformed> {
        if len > self.rest.len() {
            return Err(SHORT);
        }
        Ok(self.rest.split_to(len))
    }

    /// A count of things that take `each_bytes` or more; never more than the bytes that are there can hold.
    pub(crate) fn count(&mut self, each_bytes: usize) -> Result<usize, Malformed> {
        assert!(each_bytes > 0, "things that take no room cannot be counted");
        let count = self.u32()? as usize;
        if count > self.rest.len() / each_bytes {
            return Err(Malformed("a count is larger than the bytes that are there"));
        }
        Ok(count)
    }

    pub(crate) fn log_id(&mut self) -> Result<LogId, Malformed> {
        let index = self.u64()?;
        let term = self.u64()?;
        Ok(LogId::new(term, index))
    }

    /// A range of offsets, neither negative nor backwards.
    pub(crate) fn offsets(&mut self) -> Result<Range<Offset>, Malformed> {
        let start = self.i64()?;
        let end = self.i64()?;
        if start < 0 || end < start {
            return Err(Malformed("a range of offsets is backwards or negative"));
        }
        Ok(Offset(start)..Offset(end))
    }

    /// A byte that is 0 or 1.
    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither 0 nor 1")),
        }
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.rest.has_remaining() {
            return Err(Malformed("bytes are left over"));
        }
        Ok(())
    }
}

/// What is written as more than one number.
pub(crate) trait Encode: BufMut {
    fn put_log_id(&mut self, id: LogId) {
        self.put_u64_le(id.index.0);
        self.put_u64_le(id.term.0);
    }

    fn put_offsets(&mut self, offsets: &Range<Offset>) {
        self.put_i64_le(offsets.start.0);
        self.put_i64_le(offsets.end.0);
    }

    /// A count that was bounded when the things were made.
    fn put_count(&mut self, count: usize) {
        self.put_u32_le(
            u32::try_from(count).expect("counts of a segment fit 32 bits: limits of the encoder"),
        );
    }
}

impl<T: BufMut> Encode for T {}

/// Puts the checksum of all that precedes behind it.
pub(crate) fn sealed(mut bytes: Vec<u8>) -> Bytes {
    let crc = crc32c::crc32c(&bytes);
    bytes.put_u32_le(crc);
    bytes.into()
}

/// What precedes the checksum at the end, if it matches.
pub(crate) fn unsealed(bytes: &Bytes) -> Result<Bytes, Malformed> {
    let at = bytes.len().checked_sub(4).ok_or(SHORT)?;
    let covered = bytes.slice(..at);
    if Decoder::new(bytes.slice(at..)).u32()? != crc32c::crc32c(&covered) {
        return Err(Malformed("it does not match its checksum"));
    }
    Ok(covered)
}
