//! Errors of the tier, sorted by what the caller does about them.

use crate::bucket::{StoreError, StoreErrorKind};
use crate::codec::Malformed;
use chronik_core::{ErrorClass, LogError};
use std::fmt;
use std::sync::Arc;

/// What a part of the tier answers when it cannot do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TierError {
    /// The object store refused, or did not answer.
    Store(StoreError),
    /// The local log could not be read.
    Log(LogError),
    /// An object is not what was written, on every try.
    Damaged {
        /// The object's key.
        key: Arc<str>,
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// An object that should be there is not.
    Missing {
        /// The object's key.
        key: Arc<str>,
    },
    /// Another owner has taken over: nothing may be written any more.
    Fenced {
        /// Who owns what was to be written.
        owner: Arc<str>,
    },
    /// An object was written by a newer version.
    UnsupportedFormat {
        /// The object's key.
        key: Arc<str>,
        /// Its version.
        version: u16,
    },
    /// A bucket that belongs to another cluster, or a setting that cannot work; the text names the fix.
    Refused(Arc<str>),
    /// The part was shut down while somebody waited.
    Closed,
}

impl TierError {
    /// What the caller does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => match error.kind {
                StoreErrorKind::Denied | StoreErrorKind::Invalid => ErrorClass::CallerBug,
                StoreErrorKind::NotFound => ErrorClass::Corrupt,
                _ => ErrorClass::Retry,
            },
            Self::Log(error) => error.class(),
            Self::Damaged { .. } | Self::Missing { .. } => ErrorClass::Corrupt,
            Self::Fenced { .. } => ErrorClass::Redirect,
            Self::UnsupportedFormat { .. } | Self::Closed => ErrorClass::Fatal,
            Self::Refused(_) => ErrorClass::CallerBug,
        }
    }

    /// An object that is not what was written.
    pub(crate) fn damaged(key: &str, reason: impl fmt::Display) -> Self {
        Self::Damaged {
            key: key.into(),
            reason: reason.to_string().into(),
        }
    }

    /// As damage of a key, where a decoder failed.
    pub(crate) fn malformed(key: &str) -> impl FnOnce(Malformed) -> Self + '_ {
        move |error| Self::damaged(key, error)
    }
}

impl From<StoreError> for TierError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<LogError> for TierError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl fmt::Display for TierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "{error}"),
            Self::Log(error) => write!(f, "{error}"),
            Self::Damaged { key, reason } => write!(f, "object {key} is damaged: {reason}"),
            Self::Missing { key } => write!(f, "object {key} is missing"),
            Self::Fenced { owner } => write!(f, "another owner writes here: {owner}"),
            Self::UnsupportedFormat { key, version } => {
                write!(f, "object {key} has the unknown version {version}")
            }
            Self::Refused(reason) => write!(f, "{reason}"),
            Self::Closed => write!(f, "the tier was shut down"),
        }
    }
}

impl std::error::Error for TierError {}
