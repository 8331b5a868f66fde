//! What a failed request means, and which setting an operator should look at.

use crate::bucket::{StoreError, StoreErrorKind};
use object_store::client::{HttpError, HttpErrorKind};
use std::error::Error;
use std::fmt;

/// A status that is not a success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)?;
        let parts = [element(&self.text, "Code"), element(&self.text, "Message")];
        for part in parts.into_iter().flatten() {
            write!(f, " {part}")?;
        }
        Ok(())
    }
}

impl Error for Refusal {}

/// The text of an element of S3's error documents.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(inside, _)| inside)
}

/// A setting that cannot work.
pub(super) fn invalid(what: impl fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, what.to_string())
}

/// Sorts an error by what the caller does about it.
pub(super) fn classify(call: &str, key: &str, bucket: &str, error: &object_store::Error) -> StoreError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut transport = None;
    while let Some(inner) = cause {
        if let Some(refusal) = inner.downcast_ref::<Refusal>() {
            let (kind, fix) = of_status(refusal);
            let hint = fix.map_or_else(String::new, |fix| format!(" ({fix})"));
            return StoreError::new(kind, format!("{call} {key} in {bucket}: {refusal}{hint}"));
        }
        transport = inner.downcast_ref::<HttpError>().or(transport);
        cause = inner.source();
    }
    let kind = match error {
        object_store::Error::NotFound { .. } => StoreErrorKind::NotFound,
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => {
            StoreErrorKind::Conflict
        }
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            StoreErrorKind::Denied
        }
        object_store::Error::NotSupported { .. }
        | object_store::Error::NotImplemented { .. }
        | object_store::Error::InvalidPath { .. }
        | object_store::Error::UnknownConfigurationKey { .. } => StoreErrorKind::Invalid,
        _ if transport.is_some_and(|error| error.kind() == HttpErrorKind::Connect) => {
            StoreErrorKind::Unavailable
        }
        _ => StoreErrorKind::Unknown,
    };
    let text = transport.map_or_else(|| error.to_string(), ToString::to_string);
    StoreError::new(kind, format!("{call} {key} in {bucket}: {text}"))
}

/// What a status means, and what to do about it where a setting is to blame.
fn of_status(refusal: &Refusal) -> (StoreErrorKind, Option<&'static str>) {
    let code = element(&refusal.text, "Code").unwrap_or_default();
    match (refusal.status, code) {
        (_, "NoSuchBucket") => (
            StoreErrorKind::Invalid,
            Some("create the bucket, or correct tier.url"),
        ),
        (_, "RequestTimeTooSkewed") => (StoreErrorKind::Denied, Some("set this machine's clock")),
        (_, "ExpiredToken" | "TokenRefreshRequired") => {
            (StoreErrorKind::Denied, Some("the credentials have expired"))
        }
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken") => {
            (StoreErrorKind::Denied, Some("check the tier's credentials"))
        }
        (_, "QuotaExceeded" | "XMinioStorageFull") | (507, _) => (StoreErrorKind::Full, None),
        (_, "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect") | (300..400, _) => (
            StoreErrorKind::Invalid,
            Some("check tier.s3_region and tier.s3_endpoint"),
        ),
        (_, "SlowDown" | "RequestTimeout" | "ServiceUnavailable" | "RequestLimitExceeded") => {
            (StoreErrorKind::Unavailable, None)
        }
        (404, _) => (StoreErrorKind::NotFound, None),
        (412, _) => (StoreErrorKind::Conflict, None),
        // S3 says so when two conditional writes of one key meet: neither the winner nor the loser is known from it.
        (408 | 409 | 429, _) => (StoreErrorKind::Unavailable, None),
        (401 | 403, _) => (
            StoreErrorKind::Denied,
            Some("check the tier's credentials and the bucket's policy"),
        ),
        (400..500, _) => (StoreErrorKind::Invalid, None),
        // A gateway may say this of a request that the store carried out.
        _ => (StoreErrorKind::Unknown, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, code: &str) -> StoreErrorKind {
        let text = format!("<Error><Code>{code}</Code></Error>");
        of_status(&Refusal { status, text }).0
    }

    #[test]
    fn a_status_says_whether_a_write_may_have_happened() {
        assert_eq!(kind(500, "InternalError"), StoreErrorKind::Unknown);
        assert_eq!(kind(503, ""), StoreErrorKind::Unknown);
        assert_eq!(kind(503, "SlowDown"), StoreErrorKind::Unavailable);
        assert_eq!(
            kind(409, "ConditionalRequestConflict"),
            StoreErrorKind::Unavailable
        );
        assert_eq!(kind(412, "PreconditionFailed"), StoreErrorKind::Conflict);
        assert_eq!(kind(404, "NoSuchKey"), StoreErrorKind::NotFound);
    }

    #[test]
    fn a_wrong_setting_is_told_from_a_missing_object() {
        assert_eq!(kind(404, "NoSuchBucket"), StoreErrorKind::Invalid);
        assert_eq!(kind(301, "PermanentRedirect"), StoreErrorKind::Invalid);
        assert_eq!(kind(400, "AuthorizationHeaderMalformed"), StoreErrorKind::Invalid);
        assert_eq!(kind(403, "RequestTimeTooSkewed"), StoreErrorKind::Denied);
        assert_eq!(kind(400, "ExpiredToken"), StoreErrorKind::Denied);
    }
}
