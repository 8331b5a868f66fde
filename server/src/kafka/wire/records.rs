//! The records of a Fetch response.

use bytes::{Buf, Bytes, BytesMut};
use std::fmt;

/// Record batches as slices of the log, sent one after the other without a copy.
///
/// Two values are equal if their bytes are, however they are cut.
#[derive(Clone, Default)]
pub struct RecordSlices {
    slices: Vec<Bytes>,
    len: usize,
}

impl RecordSlices {
    /// No records.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slices: Vec::new(),
            len: 0,
        }
    }

    /// Appends a slice.
    pub fn push(&mut self, slice: Bytes) {
        self.len += slice.len();
        self.slices.push(slice);
    }

    /// Bytes of all slices.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slices, in order.
    #[must_use]
    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// All bytes in one piece; copies if there are several slices.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        if self.slices.len() <= 1 {
            return self.slices.pop().unwrap_or_default();
        }
        let mut all = BytesMut::with_capacity(self.len);
        for slice in &self.slices {
            all.extend_from_slice(slice);
        }
        all.freeze()
    }
}

/// Shows the sizes, not the records.
impl fmt::Debug for RecordSlices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RecordSlices({} bytes in {} slices)",
            self.len,
            self.slices.len()
        )
    }
}

impl PartialEq for RecordSlices {
    fn eq(&self, other: &Self) -> bool {
        if self.len != other.len {
            return false;
        }
        let bytes = |records: &Self| records.clone().into_bytes();
        bytes(self).chunk() == bytes(other).chunk()
    }
}

impl Eq for RecordSlices {}

impl From<Bytes> for RecordSlices {
    fn from(slice: Bytes) -> Self {
        Self {
            len: slice.len(),
            slices: vec![slice],
        }
    }
}

impl From<Vec<Bytes>> for RecordSlices {
    fn from(slices: Vec<Bytes>) -> Self {
        Self {
            len: slices.iter().map(Bytes::len).sum(),
            slices,
        }
    }
}

impl FromIterator<Bytes> for RecordSlices {
    fn from_iter<I: IntoIterator<Item = Bytes>>(slices: I) -> Self {
        slices.into_iter().collect::<Vec<_>>().into()
    }
}
