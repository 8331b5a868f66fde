//! Little-endian numbers and slices, every length checked against the bytes that remain.

use bytes::Bytes;

/// Takes values off the front of a message; `None` once the bytes run out.
#[derive(Debug)]
pub(super) struct Reader {
    bytes: Bytes,
}

impl Reader {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.bytes.first_chunk::<N>()?;
        self.bytes = self.bytes.slice(N..);
        Some(array)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[value]| value)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// A slice of the message's own bytes.
    pub(super) fn slice(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.bytes.len()).then(|| self.bytes.split_to(length))
    }

    /// A slice behind its length.
    pub(super) fn prefixed(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.slice(length)
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len()
    }
}

/// Appends values to a message.
pub(super) trait Put {
    fn u8(&mut self, value: u8) -> &mut Self;
    fn u32(&mut self, value: u32) -> &mut Self;
    fn u64(&mut self, value: u64) -> &mut Self;
    fn i64(&mut self, value: i64) -> &mut Self;
    fn prefixed(&mut self, value: &[u8]) -> &mut Self;
}

impl Put for Vec<u8> {
    fn u8(&mut self, value: u8) -> &mut Self {
        self.push(value);
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn i64(&mut self, value: i64) -> &mut Self {
        self.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn prefixed(&mut self, value: &[u8]) -> &mut Self {
        let length = u32::try_from(value.len()).expect("payloads are bounded far below 4 GiB by the options");
        self.u32(length);
        self.extend_from_slice(value);
        self
    }
}
