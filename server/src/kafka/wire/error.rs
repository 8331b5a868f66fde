//! Why bytes could not be decoded, or a message could not be encoded.

use std::fmt;

/// A decoding or encoding failure, with the innermost message field it happened in.
///
/// Decoding errors mean that the peer sent something that is not the protocol: close the connection. Encoding errors
/// mean that the message was built wrongly for the version (a null where the version has none, a string over 32767
/// bytes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError {
    /// What is wrong.
    pub kind: WireErrorKind,
    /// `Struct.field` of the innermost field that was being coded, if any.
    pub field: Option<&'static str>,
}

/// The kinds of [`WireError`].
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireErrorKind {
    /// The field needs more bytes than remain.
    Truncated {
        /// Bytes the field needs.
        needed: usize,
        /// Bytes that remain.
        remaining: usize,
    },
    /// A length below -1, or above the limit of its type.
    InvalidLength(i64),
    /// An array count that is negative or cannot fit in the bytes that remain.
    InvalidCount {
        /// The count that was read.
        count: i64,
        /// The most elements that the remaining bytes can hold.
        max: usize,
    },
    /// A variable-length integer of more bytes than its type has room for.
    OverlongVarint,
    /// A string is not UTF-8.
    InvalidUtf8,
    /// Null where the version allows none.
    UnexpectedNull,
    /// A tagged field whose value does not have the announced size.
    TagSize,
    /// The decoded form would need more memory than the frame justifies.
    MemoryBudget,
    /// A frame length that is negative or above the maximum.
    FrameLength {
        /// The length that was read or built.
        len: i64,
        /// The largest length that is allowed.
        max: usize,
    },
    /// Bytes follow the message.
    TrailingBytes(usize),
    /// The API key and version have no codec here.
    UnsupportedVersion {
        /// The API key.
        api_key: i16,
        /// The version.
        api_version: i16,
    },
}

impl WireError {
    /// Names the field, unless a field nested in it has been named already.
    #[must_use]
    pub fn in_field(mut self, field: &'static str) -> Self {
        self.field.get_or_insert(field);
        self
    }
}

impl From<WireErrorKind> for WireError {
    fn from(kind: WireErrorKind) -> Self {
        Self { kind, field: None }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = self.field {
            write!(f, "{field}: ")?;
        }
        self.kind.fmt(f)
    }
}

impl fmt::Display for WireErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, remaining } => {
                write!(f, "needs {needed} bytes but {remaining} remain")
            }
            Self::InvalidLength(len) => write!(f, "invalid length {len}"),
            Self::InvalidCount { count, max } => {
                write!(f, "count {count} but at most {max} elements can follow")
            }
            Self::OverlongVarint => f.write_str("variable-length integer is too long"),
            Self::InvalidUtf8 => f.write_str("string is not UTF-8"),
            Self::UnexpectedNull => f.write_str("null is not allowed in this version"),
            Self::TagSize => f.write_str("tagged field does not have the announced size"),
            Self::MemoryBudget => f.write_str("decoded form is too large for its frame"),
            Self::FrameLength { len, max } => write!(f, "frame length {len} is not in 0..={max}"),
            Self::TrailingBytes(n) => write!(f, "{n} bytes follow the message"),
            Self::UnsupportedVersion { api_key, api_version } => {
                write!(f, "api key {api_key} version {api_version} is not supported")
            }
        }
    }
}

impl std::error::Error for WireError {}
