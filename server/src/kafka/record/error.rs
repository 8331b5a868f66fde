//! What can be wrong with a record batch, and the Kafka error code that says so.

use std::borrow::Cow;
use std::fmt;

/// The Kafka error codes that this folder answers with (Kafka protocol guide, "Error codes").
pub mod code {
    /// The CRC does not match the bytes.
    pub const CORRUPT_MESSAGE: i16 = 2;
    /// The batch is larger than the topic allows.
    pub const MESSAGE_TOO_LARGE: i16 = 10;
    /// A timestamp is out of the topic's range.
    pub const INVALID_TIMESTAMP: i16 = 32;
    /// A transactional operation in a state that forbids it.
    pub const INVALID_TXN_STATE: i16 = 48;
    /// The codec is unknown, or not allowed in this version of the request.
    pub const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
    /// The batch breaks a rule of the format or of the topic.
    pub const INVALID_RECORD: i16 = 87;
}

/// One record that a topic's rules refuse, as Produce v8 and later report it (KIP-467).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordIssue {
    /// The position of the record in its batch, from 0.
    pub index: i32,
    /// What is wrong with it, for the user of the client.
    pub message: String,
}

/// Why a batch was refused. Nothing of a refused batch enters the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes do not match their CRC: they were damaged on the way, and sending them again may help.
    Corrupt {
        /// The CRC-32C that the batch carries.
        stored: u32,
        /// The CRC-32C of the bytes that arrived.
        computed: u32,
    },
    /// The batch breaks the format or a rule of the topic; sending it again cannot help.
    Invalid(Cow<'static, str>),
    /// Some records break a rule of the topic; the issues name the first of them.
    InvalidRecords(Vec<RecordIssue>),
    /// Some records have a timestamp that the topic refuses; the issues name the first of them.
    InvalidTimestamps(Vec<RecordIssue>),
    /// The batch, or what it expands to, is larger than allowed. Clients may split it and try again.
    TooLarge {
        /// The size that was found, in bytes; for compressed data the size at which reading stopped.
        size: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The codec is unknown, or not allowed in this version of the request.
    UnsupportedCompression(u8),
    /// The batch is transactional and no transaction is open for it.
    NotInTransaction,
}

impl RecordError {
    /// An [`RecordError::Invalid`] with a fixed text.
    pub(crate) const fn invalid(what: &'static str) -> Self {
        Self::Invalid(Cow::Borrowed(what))
    }

    /// The Kafka error code of the partition's answer.
    pub fn code(&self) -> i16 {
        match self {
            Self::Corrupt { .. } => code::CORRUPT_MESSAGE,
            Self::Invalid(_) | Self::InvalidRecords(_) => code::INVALID_RECORD,
            Self::InvalidTimestamps(_) => code::INVALID_TIMESTAMP,
            Self::TooLarge { .. } => code::MESSAGE_TOO_LARGE,
            Self::UnsupportedCompression(_) => code::UNSUPPORTED_COMPRESSION_TYPE,
            Self::NotInTransaction => code::INVALID_TXN_STATE,
        }
    }

    /// The records at fault, empty unless single records are (Produce v8 and later carry them).
    pub fn issues(&self) -> &[RecordIssue] {
        match self {
            Self::InvalidRecords(issues) | Self::InvalidTimestamps(issues) => issues,
            _ => &[],
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { stored, computed } => {
                write!(
                    f,
                    "record batch is corrupt: stored crc {stored:#010x}, computed crc {computed:#010x}"
                )
            }
            Self::Invalid(what) => f.write_str(what),
            Self::InvalidRecords(issues) => write!(f, "{} record(s) were refused", issues.len()),
            Self::InvalidTimestamps(issues) => {
                write!(f, "{} record(s) have a timestamp out of range", issues.len())
            }
            Self::TooLarge { size, limit } => write!(f, "record batch of {size} bytes exceeds {limit} bytes"),
            Self::UnsupportedCompression(codec) => {
                write!(f, "compression codec {codec} is not supported here")
            }
            Self::NotInTransaction => f.write_str("transactional records outside of a transaction"),
        }
    }
}

impl std::error::Error for RecordError {}
