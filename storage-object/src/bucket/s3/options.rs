//! How to reach an S3 store.

use super::classify::invalid;
use super::credentials::ProfileCredentials;
use super::http::Connector;
use crate::bucket::StoreError;
use object_store::RetryConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where the credentials come from.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// The process's environment: `AWS_ACCESS_KEY_ID` and its like, a web identity, a container's or a machine's role.
    Environment,
    /// A file of profiles, as the AWS command line keeps them. Read again whenever it changes.
    Profile {
        /// The file.
        file: PathBuf,
        /// The profile's name.
        profile: String,
    },
    /// None: requests are not signed.
    Anonymous,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "Environment",
            Self::Profile { .. } => "Profile",
            Self::Anonymous => "Anonymous",
        })
    }
}

/// An S3 store and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Options {
    /// The bucket.
    pub bucket: String,
    /// The folder in the bucket, or an empty text.
    pub prefix: String,
    /// The store's address where it is not Amazon's.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
    /// Whether the bucket's name goes into the path and not into the host's name.
    pub path_style: bool,
    /// Where the credentials come from.
    pub credentials: Credentials,
    /// The one authority to trust, in a PEM file; the system's where there is none.
    pub ca_file: Option<PathBuf>,
}

impl S3Options {
    /// The client.
    pub(super) fn client(&self) -> Result<AmazonS3, StoreError> {
        let plain = self
            .endpoint
            .as_deref()
            .is_some_and(|endpoint| endpoint.starts_with("http://"));
        let builder = match &self.credentials {
            Credentials::Environment => AmazonS3Builder::from_env(),
            Credentials::Profile { file, profile } => {
                let provider = ProfileCredentials::open(file, profile)?;
                AmazonS3Builder::new().with_credentials(Arc::new(provider))
            }
            Credentials::Anonymous => AmazonS3Builder::new().with_skip_signature(true),
        };
        let signs = self.credentials != Credentials::Anonymous;
        let no_retries = RetryConfig {
            max_retries: 0,
            retry_timeout: Duration::from_secs(1),
            ..RetryConfig::default()
        };
        // Over TLS the body needs no signature of its own: that would cost more than all else that is done to it.
        let mut builder = builder
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_virtual_hosted_style_request(!self.path_style)
            .with_allow_http(plain)
            .with_unsigned_payload(!plain)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // One object is deleted at a time here. The bulk call hides a refusal in an answer of success, and not every
            // store has it.
            .with_disable_bulk_delete(true)
            .with_retry(no_retries)
            .with_http_connector(Connector::new(self.ca_file.as_deref(), signs)?);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        builder
            .build()
            .map_err(|error| invalid(format!("tier settings: {error}")))
    }

    /// The place as an operator writes it.
    pub(super) fn describe(&self) -> String {
        match self.prefix.is_empty() {
            true => format!("s3://{}", self.bucket),
            false => format!("s3://{}/{}", self.bucket, self.prefix),
        }
    }
}
