//! Encoding of one frame.

use super::error::{WireError, WireErrorKind};
use super::error_code::ErrorCode;
use super::frame::{FRAME_PREFIX_LEN, OutFrame};
use super::reader::MAX_STR_LEN;
use super::varint;
use bytes::{BufMut, Bytes, BytesMut};

/// Shared slices below this length, in bytes, are copied: an entry of a vectored write costs more than the copy.
const COPY_BELOW: usize = 512;

/// Builds a frame: fields in one buffer, large byte slices by reference.
#[derive(Debug)]
pub struct Writer {
    buf: BytesMut,
    /// Slices that belong into the frame before the byte of `buf` at the offset.
    shared: Vec<(usize, Bytes)>,
    /// The error codes that were written, for whoever counts them.
    errors: Vec<ErrorCode>,
}

impl Writer {
    /// An empty frame; `capacity` is a guess of the bytes of its fields.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let mut buf = BytesMut::with_capacity(FRAME_PREFIX_LEN + capacity);
        buf.put_bytes(0, FRAME_PREFIX_LEN);
        Self {
            buf,
            shared: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// The finished frame, with its length prefix.
    pub fn finish(mut self) -> Result<OutFrame, WireError> {
        let shared_len: usize = self.shared.iter().map(|(_, slice)| slice.len()).sum();
        let len = self.buf.len() - FRAME_PREFIX_LEN + shared_len;
        let max = i32::MAX as usize;
        let prefix = i32::try_from(len).map_err(|_| WireErrorKind::FrameLength { len: len as i64, max })?;
        if let Some(dst) = self.buf.first_chunk_mut() {
            *dst = prefix.to_be_bytes();
        }
        Ok(OutFrame::new(self.buf.freeze(), self.shared, self.errors))
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.put_slice(bytes);
    }

    /// Appends bytes as they are: by reference if they are many, else as a copy.
    pub fn shared(&mut self, bytes: &Bytes) {
        if bytes.len() < COPY_BELOW {
            self.buf.put_slice(bytes);
        } else {
            self.shared.push((self.buf.len(), bytes.clone()));
        }
    }

    /// Appends a boolean.
    pub fn bool(&mut self, value: bool) {
        self.buf.put_u8(value.into());
    }

    /// Appends a signed 8-bit integer.
    pub fn i8(&mut self, value: i8) {
        self.buf.put_i8(value);
    }

    /// Appends a signed 16-bit integer.
    pub fn i16(&mut self, value: i16) {
        self.buf.put_i16(value);
    }

    /// Appends an error code, and notes it where it is one.
    pub fn error_code(&mut self, value: ErrorCode) {
        if value != ErrorCode::NONE {
            self.errors.push(value);
        }
        self.i16(value.0);
    }

    /// Appends a signed 32-bit integer.
    pub fn i32(&mut self, value: i32) {
        self.buf.put_i32(value);
    }

    /// Appends a signed 64-bit integer.
    pub fn i64(&mut self, value: i64) {
        self.buf.put_i64(value);
    }

    /// Appends an unsigned variable-length integer.
    pub fn uvarint(&mut self, value: u32) {
        varint::put_u32(&mut self.buf, value);
    }

    /// Appends a string: the length is a variable-length integer if `compact`, else 16 bits.
    pub fn nullable_str(&mut self, value: Option<&str>, compact: bool) -> Result<(), WireError> {
        match value {
            Some(text) if text.len() > MAX_STR_LEN => {
                Err(WireErrorKind::InvalidLength(text.len() as i64).into())
            }
            Some(text) => {
                if compact {
                    self.uvarint(text.len() as u32 + 1);
                } else {
                    self.i16(text.len() as i16);
                }
                self.raw(text.as_bytes());
                Ok(())
            }
            None if compact => {
                self.uvarint(0);
                Ok(())
            }
            None => {
                self.i16(-1);
                Ok(())
            }
        }
    }

    /// Appends the length of bytes or the count of an array: a variable-length integer if `compact`, else 32 bits.
    pub fn nullable_len(&mut self, len: Option<usize>, compact: bool) -> Result<(), WireError> {
        let len = match len {
            Some(len) => i32::try_from(len).map_err(|_| WireErrorKind::InvalidLength(len as i64))?,
            None => -1,
        };
        if compact {
            self.uvarint((i64::from(len) + 1) as u32);
        } else {
            self.i32(len);
        }
        Ok(())
    }

    /// Appends one tagged field: the tag, the size, and the value that `value` writes.
    pub fn tagged_field(
        &mut self,
        tag: u32,
        value: impl FnOnce(&mut Self) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        self.uvarint(tag);
        let start = self.buf.len();
        let shared = self.shared.len();
        value(self)?;
        // The size goes in front of the value, which is moved up; that would displace slices held by offset.
        assert_eq!(shared, self.shared.len(), "records are never tagged fields");
        let size = self.buf.len() - start;
        let size = u32::try_from(size).map_err(|_| WireErrorKind::InvalidLength(size as i64))?;
        let end = self.buf.len();
        self.uvarint(size);
        let size_len = self.buf.len() - end;
        if let Some(tail) = self.buf.get_mut(start..) {
            tail.rotate_right(size_len);
        }
        Ok(())
    }
}
