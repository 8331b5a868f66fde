//! Where the object tier is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::value::FromText;

/// A folder of a bucket, or a directory that serves as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A bucket of S3, or of what speaks its protocol.
    S3 {
        /// The bucket.
        bucket: String,
        /// The folder in it; empty where the bucket is the cluster's alone.
        folder: String,
    },
    /// A directory.
    File(PathBuf),
}

impl FromText for StoreUrl {}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("file://") {
            if !path.starts_with('/') {
                return Err("is not a whole path: write file:///path, with three slashes".to_owned());
            }
            return Ok(Self::File(PathBuf::from(path)));
        }
        let place = text
            .strip_prefix("s3://")
            .ok_or("is neither s3://bucket/folder nor file:///path")?;
        let (bucket, folder) = place.split_once('/').unwrap_or((place, ""));
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if bucket.is_empty() || !bucket.bytes().all(named) {
            return Err("names no bucket: write s3://bucket/folder".to_owned());
        }
        if !folder.bytes().all(|byte| named(byte) || byte == b'/') {
            return Err(
                "has a folder with other characters than letters, digits, '.', '_', '-' and '/'".to_owned(),
            );
        }
        Ok(Self::S3 {
            bucket: bucket.to_owned(),
            folder: folder.trim_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(out, "file://{}", path.display()),
            Self::S3 { bucket, folder } if folder.is_empty() => write!(out, "s3://{bucket}"),
            Self::S3 { bucket, folder } => write!(out, "s3://{bucket}/{folder}"),
        }
    }
}

/// The address of a store, as HTTP clients take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAddress(String);

impl FromText for HttpAddress {}

impl FromStr for HttpAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"))
            .ok_or("does not start with http:// or https://")?;
        let host = rest.strip_suffix('/').unwrap_or(rest);
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
            return Err("is not http://host:port or https://host:port".to_owned());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_shown_again() {
        for text in ["file:///var/tier", "s3://bucket", "s3://my-bucket/a/folder"] {
            assert_eq!(
                text.parse::<StoreUrl>().map(|url| url.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["http://127.0.0.1:9000", "https://minio.example.com"] {
            assert_eq!(
                text.parse::<HttpAddress>().map(|url| url.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn what_names_no_place_is_refused() {
        for text in [
            "",
            "file://relative",
            "/var/tier",
            "s3://",
            "s3:///folder",
            "s3://b/a b",
            "gs://bucket",
        ] {
            assert!(text.parse::<StoreUrl>().is_err(), "{text}");
        }
        for text in ["minio:9000", "http://", "https://host/path", "ftp://host"] {
            assert!(text.parse::<HttpAddress>().is_err(), "{text}");
        }
    }
}
