//! Errors of object stores, sorted by what the caller does about them.

use std::fmt;
use std::sync::Arc;

/// Why a request to an object store failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// What the caller can tell apart.
    pub kind: StoreErrorKind,
    /// The request, the key, and what the store said.
    pub detail: Arc<str>,
}

/// Kinds of [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// There is no such object, or no such bucket.
    NotFound,
    /// The condition of a conditional write does not hold: somebody else wrote. Nothing was changed.
    Conflict,
    /// The credentials are wrong or expired, or they do not allow it. Nothing was changed.
    Denied,
    /// The request cannot work: a setting is wrong. Nothing was changed.
    Invalid,
    /// The store wants fewer requests, or could not be reached. Nothing was changed.
    Unavailable,
    /// The answer was lost: a write may or may not have happened.
    Unknown,
    /// No space is left, or a quota is used up. Nothing was changed.
    Full,
}

impl StoreError {
    /// An error of `kind`; `detail` names the request and the key.
    #[must_use]
    pub fn new(kind: StoreErrorKind, detail: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// Whether the same request may succeed a moment later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unavailable | StoreErrorKind::Unknown)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object store: {}", self.detail)
    }
}

impl std::error::Error for StoreError {}
