//! Little-endian numbers and byte strings.

use bytes::Bytes;

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    pub(super) bytes: Vec<u8>,
}

impl Encoder {
    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A byte string behind its length.
    pub(super) fn prefixed(&mut self, value: &[u8]) -> &mut Self {
        let length = u32::try_from(value.len()).expect("what a store takes is below 4 GiB");
        self.u32(length).rest(value)
    }

    /// The rest of the record.
    pub(super) fn rest(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(value);
        self
    }
}

/// Takes values off the front; `None` once they run out.
#[derive(Debug)]
pub(super) struct Decoder {
    pub(super) bytes: Bytes,
}

impl Decoder {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = self.bytes.get(..N)?.try_into().ok()?;
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

    pub(super) fn prefixed(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.u32()?).ok()?;
        let value = self.bytes.get(..length).map(|_| self.bytes.slice(..length))?;
        self.bytes = self.bytes.slice(length..);
        Some(value)
    }

    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes)
    }
}
