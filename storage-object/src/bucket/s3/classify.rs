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
    /// Where the bucket is, if the store says so (`x-amz-bucket-region`).
    pub(super) region: Option<String>,
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

/// There are no credentials to sign a request with.
#[derive(Debug)]
pub(super) struct NoCredentials {
    /// Who was asked for them.
    pub(super) host: String,
    pub(super) reason: String,
}

impl fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no credentials in the environment, and {} gave none: {} (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
             or tier.s3_credentials_file)",
            self.host, self.reason
        )
    }
}

impl Error for NoCredentials {}

/// The text of an element of S3's error documents.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(inside, _)| inside)
}

/// A setting that cannot work.
pub(super) fn invalid(what: impl fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, what.to_string())
}

/// Whether the store refused without a word.
pub(super) fn is_mute(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(refusal) = inner.downcast_ref::<Refusal>() {
            return refusal.text.is_empty() && matches!(refusal.status, 400 | 401 | 403);
        }
        cause = inner.source();
    }
    false
}

/// Sorts an error by what the caller does about it.
pub(super) fn classify(call: &str, key: &str, bucket: &str, error: &object_store::Error) -> StoreError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut transport = None;
    while let Some(inner) = cause {
        if let Some(refusal) = inner.downcast_ref::<Refusal>() {
            let kind = of_status(refusal);
            let hint = fix(call, refusal).map_or_else(String::new, |fix| format!(" ({fix})"));
            return StoreError::new(kind, format!("{call} {key} in {bucket}: {refusal}{hint}"));
        }
        if let Some(none) = inner.downcast_ref::<NoCredentials>() {
            return StoreError::new(
                StoreErrorKind::Denied,
                format!("{call} {key} in {bucket}: {none}"),
            );
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
    let hint = match kind {
        StoreErrorKind::Unavailable if text.contains("certificate") => " (check tier.s3_ca_file)",
        StoreErrorKind::Unavailable => " (check tier.s3_endpoint and tier.s3_region)",
        _ => "",
    };
    StoreError::new(kind, format!("{call} {key} in {bucket}: {text}{hint}"))
}

/// What a status means.
fn of_status(refusal: &Refusal) -> StoreErrorKind {
    let code = element(&refusal.text, "Code").unwrap_or_default();
    match (refusal.status, code) {
        (_, "NoSuchBucket") => StoreErrorKind::Invalid,
        (
            _,
            "RequestTimeTooSkewed"
            | "ExpiredToken"
            | "TokenRefreshRequired"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidToken",
        ) => StoreErrorKind::Denied,
        (_, "QuotaExceeded" | "XMinioStorageFull") | (507, _) => StoreErrorKind::Full,
        (_, "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect") | (300..400, _) => {
            StoreErrorKind::Invalid
        }
        (_, "SlowDown" | "RequestTimeout" | "ServiceUnavailable" | "RequestLimitExceeded") => {
            StoreErrorKind::Unavailable
        }
        (404, _) => StoreErrorKind::NotFound,
        (412, _) => StoreErrorKind::Conflict,
        // S3 says so when two conditional writes of one key meet: neither the winner nor the loser is known from it.
        (408 | 409 | 429, _) => StoreErrorKind::Unavailable,
        (401 | 403, _) => StoreErrorKind::Denied,
        (400..=499 | 501, _) => StoreErrorKind::Invalid,
        // A gateway may say this of a request that the store carried out.
        _ => StoreErrorKind::Unknown,
    }
}

/// What to do about it, where a setting is to blame.
fn fix(call: &str, refusal: &Refusal) -> Option<String> {
    let code = element(&refusal.text, "Code").unwrap_or_default();
    let text = match (refusal.status, code) {
        (_, "NoSuchBucket") => "create the bucket, or correct tier.url",
        (_, "RequestTimeTooSkewed") => "set this machine's clock, which is too far from the store's",
        (_, "ExpiredToken" | "TokenRefreshRequired") => {
            "the credentials have expired: renew those of the environment, or those in tier.s3_credentials_file"
        }
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken") => {
            "check the tier's credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment, or \
             tier.s3_credentials_file and tier.s3_profile"
        }
        (_, "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect")
        | (300..400, _)
        | (400, "") => return region(refusal),
        (401 | 403, _) => return Some(permission(call)),
        (501, _) => "tier.s3_endpoint must decide conditional writes (If-Match, If-None-Match)",
        _ => return None,
    };
    Some(text.to_owned())
}

/// A bucket that is elsewhere. Some stores say where, in the text or beside it.
fn region(refusal: &Refusal) -> Option<String> {
    let said = element(&refusal.text, "Region").or(refusal.region.as_deref());
    match said {
        Some(region) => Some(format!(
            "check tier.s3_region and tier.s3_endpoint: the bucket is in {region}"
        )),
        None if refusal.status == 400 && refusal.text.is_empty() => None,
        None => Some("check tier.s3_region and tier.s3_endpoint".to_owned()),
    }
}

/// Credentials that the store knows, and that may not do this.
fn permission(call: &str) -> String {
    let action = match call {
        "put" => "s3:PutObject",
        "upload" => "s3:PutObject and s3:AbortMultipartUpload",
        "list" => "s3:ListBucket",
        "delete" => "s3:DeleteObject",
        // Without the right to list, S3 answers so where there is no such object.
        _ => "s3:GetObject and s3:ListBucket",
    };
    format!("check the tier's credentials and the bucket's policy, which must allow them {action}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, code: &str) -> StoreErrorKind {
        let text = format!("<Error><Code>{code}</Code></Error>");
        of_status(&refusal(status, &text))
    }

    fn refusal(status: u16, text: &str) -> Refusal {
        Refusal {
            status,
            text: text.to_owned(),
            region: None,
        }
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

    #[test]
    fn what_an_operator_can_mend_is_told_with_the_setting() {
        let told = |call, refusal: Refusal| fix(call, &refusal).unwrap_or_default();
        let coded = |status, code| refusal(status, &format!("<Error><Code>{code}</Code></Error>"));
        assert!(told("delete", coded(403, "AccessDenied")).contains("s3:DeleteObject"));
        assert!(told("list", refusal(403, "")).contains("s3:ListBucket"));
        assert!(told("put", coded(403, "SignatureDoesNotMatch")).contains("tier.s3_credentials_file"));
        assert!(told("put", coded(403, "RequestTimeTooSkewed")).contains("clock"));
        let text = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>";
        assert!(told("get", refusal(400, text)).contains("tier.s3_region"));
        assert!(told("get", refusal(400, text)).contains("eu-west-3"));
        let head = Refusal {
            region: Some("eu-west-4".to_owned()),
            ..refusal(400, "")
        };
        assert!(told("get", head).contains("eu-west-4"));
        assert_eq!(fix("get", &refusal(400, "")), None);
        assert_eq!(fix("get", &coded(404, "NoSuchKey")), None);
    }
}
