//! How each field type is read and written.

use super::KafkaString;
use super::error::{WireError, WireErrorKind};
use super::error_code::ErrorCode;
use super::reader::Reader;
use super::records::RecordSlices;
use super::uuid::Uuid;
use super::writer::Writer;
use bytes::{Bytes, BytesMut};

/// The version of the message that is being coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The API version.
    pub api: i16,
    /// Whether that version uses the compact encodings and tagged fields of KIP-482.
    pub flexible: bool,
}

/// A type that can be a field of a message.
pub trait Wire: Sized {
    /// Reads a value; null is an error unless the type is an `Option`.
    fn read(r: &mut Reader, v: Version) -> Result<Self, WireError>;

    /// Writes the value.
    fn write(&self, w: &mut Writer, v: Version) -> Result<(), WireError>;

    /// The fewest bytes that a value takes on the wire: it bounds the count of an array.
    fn min_len(v: Version) -> usize;
}

/// A field type that has a null form; `Option` of it is a [`Wire`] too.
pub trait Nullable: Sized {
    /// Reads a value or null.
    fn read_nullable(r: &mut Reader, v: Version) -> Result<Option<Self>, WireError>;

    /// Writes a value or null.
    fn write_nullable(value: Option<&Self>, w: &mut Writer, v: Version) -> Result<(), WireError>;

    /// The fewest bytes that a value or null takes on the wire.
    fn min_nullable_len(v: Version) -> usize;
}

impl<T: Nullable> Wire for Option<T> {
    fn read(r: &mut Reader, v: Version) -> Result<Self, WireError> {
        T::read_nullable(r, v)
    }

    fn write(&self, w: &mut Writer, v: Version) -> Result<(), WireError> {
        T::write_nullable(self.as_ref(), w, v)
    }

    fn min_len(v: Version) -> usize {
        T::min_nullable_len(v)
    }
}

/// Whether a tagged field has to be written.
pub(crate) fn differs<T: PartialEq>(value: &T, default: &T) -> bool {
    value != default
}

/// Fixed-width fields.
macro_rules! fixed {
    ($($ty:ty, $len:literal, |$r:ident| $read:expr, |$w:ident, $value:ident| $write:expr;)*) => {$(
        impl Wire for $ty {
            fn read($r: &mut Reader, _: Version) -> Result<Self, WireError> {
                $read
            }

            fn write(&self, $w: &mut Writer, _: Version) -> Result<(), WireError> {
                let $value = *self;
                $write;
                Ok(())
            }

            fn min_len(_: Version) -> usize {
                $len
            }
        }
    )*};
}

fixed! {
    bool, 1, |r| r.bool(), |w, value| w.bool(value);
    i8, 1, |r| r.i8(), |w, value| w.i8(value);
    i16, 2, |r| r.i16(), |w, value| w.i16(value);
    i32, 4, |r| r.i32(), |w, value| w.i32(value);
    i64, 8, |r| r.i64(), |w, value| w.i64(value);
    Uuid, 16, |r| r.array().map(Uuid), |w, value| w.raw(&value.0);
    ErrorCode, 2, |r| r.i16().map(ErrorCode), |w, value| w.error_code(value);
}

/// Fields with a length in front, where a length of -1 is null: the non-null form is the same on the wire.
macro_rules! length_prefixed {
    ($([$($generic:tt)*] $ty:ty;)*) => {$(
        impl<$($generic)*> Wire for $ty {
            fn read(r: &mut Reader, v: Version) -> Result<Self, WireError> {
                Self::read_nullable(r, v)?.ok_or_else(|| WireErrorKind::UnexpectedNull.into())
            }

            fn write(&self, w: &mut Writer, v: Version) -> Result<(), WireError> {
                Self::write_nullable(Some(self), w, v)
            }

            fn min_len(v: Version) -> usize {
                Self::min_nullable_len(v)
            }
        }
    )*};
}

length_prefixed! {
    [] KafkaString;
    [] BytesMut;
    [] Bytes;
    [] RecordSlices;
    [T: Wire] Vec<T>;
}

/// The length in front of a field: one byte at least if flexible.
fn prefix_len(v: Version, fixed: usize) -> usize {
    if v.flexible { 1 } else { fixed }
}

impl Nullable for KafkaString {
    fn read_nullable(r: &mut Reader, v: Version) -> Result<Option<Self>, WireError> {
        r.nullable_str(v.flexible)
    }

    fn write_nullable(value: Option<&Self>, w: &mut Writer, v: Version) -> Result<(), WireError> {
        w.nullable_str(value.map(Self::as_str), v.flexible)
    }

    fn min_nullable_len(v: Version) -> usize {
        prefix_len(v, 2)
    }
}

/// Bytes that the receiver may change in place: the records of a Produce request.
impl Nullable for BytesMut {
    fn read_nullable(r: &mut Reader, v: Version) -> Result<Option<Self>, WireError> {
        r.nullable_bytes(v.flexible)
    }

    fn write_nullable(value: Option<&Self>, w: &mut Writer, v: Version) -> Result<(), WireError> {
        w.nullable_len(value.map(BytesMut::len), v.flexible)?;
        w.raw(value.map(AsRef::as_ref).unwrap_or_default());
        Ok(())
    }

    fn min_nullable_len(v: Version) -> usize {
        prefix_len(v, 4)
    }
}

impl Nullable for Bytes {
    fn read_nullable(r: &mut Reader, v: Version) -> Result<Option<Self>, WireError> {
        Ok(r.nullable_bytes(v.flexible)?.map(BytesMut::freeze))
    }

    fn write_nullable(value: Option<&Self>, w: &mut Writer, v: Version) -> Result<(), WireError> {
        w.nullable_len(value.map(Bytes::len), v.flexible)?;
        w.raw(value.map(AsRef::as_ref).unwrap_or_default());
        Ok(())
    }

    fn min_nullable_len(v: Version) -> usize {
        prefix_len(v, 4)
    }
}

impl Nullable for RecordSlices {
    fn read_nullable(r: &mut Reader, v: Version) -> Result<Option<Self>, WireError> {
        Ok(Bytes::read_nullable(r, v)?.map(Self::from))
    }

    fn write_nullable(value: Option<&Self>, w: &mut Writer, v: Version) -> Result<(), WireError> {
        w.nullable_len(value.map(RecordSlices::len), v.flexible)?;
        for slice in value.map(RecordSlices::slices).unwrap_or_default() {
            w.shared(slice);
        }
        Ok(())
    }

    fn min_nullable_len(v: Version) -> usize {
        prefix_len(v, 4)
    }
}

impl<T: Wire> Nullable for Vec<T> {
    fn read_nullable(r: &mut Reader, v: Version) -> Result<Option<Self>, WireError> {
        let Some(count) = r.nullable_count(v.flexible, T::min_len(v), size_of::<T>())? else {
            return Ok(None);
        };
        let mut elements = Self::with_capacity(count);
        for _ in 0..count {
            elements.push(T::read(r, v)?);
        }
        Ok(Some(elements))
    }

    fn write_nullable(value: Option<&Self>, w: &mut Writer, v: Version) -> Result<(), WireError> {
        w.nullable_len(value.map(Vec::len), v.flexible)?;
        value
            .into_iter()
            .flatten()
            .try_for_each(|element| element.write(w, v))
    }

    fn min_nullable_len(v: Version) -> usize {
        prefix_len(v, 4)
    }
}
