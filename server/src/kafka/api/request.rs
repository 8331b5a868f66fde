//! Any request: decoding for the broker, encoding for clients.

use super::key::ApiKey;
use super::response::ApiResponse;
use super::table::for_each_api;
#[cfg(test)]
use crate::kafka::wire::sample::{Sample, Sampler};
use crate::kafka::wire::{
    KafkaString, OutFrame, Reader, RequestHeader, Version, Wire, WireError, WireErrorKind, Writer,
};
use bytes::BytesMut;
use std::fmt;

/// A guess of the bytes of a request without its records.
const REQUEST_CAPACITY: usize = 256;

/// A request type, with the response that answers it.
pub trait ApiRequest: Wire + Into<Request> {
    /// Its API.
    const KEY: ApiKey;
    /// What answers it.
    type Response: ApiResponse;
}

macro_rules! requests {
    ($($key:literal $name:ident($module:ident, $request:ident, $response:ident) $versions:expr, flexible $flexible:expr;)*) => {
        /// A request of any served API.
        #[non_exhaustive]
        #[derive(Debug, Clone, PartialEq)]
        pub enum Request {
            $(
                #[doc = concat!("[`", stringify!($request), "`](super::", stringify!($request), ").")]
                $name(super::$request),
            )*
        }

        impl Request {
            /// Its API.
            #[must_use]
            pub const fn api_key(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)*
                }
            }

            fn read(r: &mut Reader, api_key: ApiKey, v: Version) -> Result<Self, WireError> {
                match api_key {
                    $(ApiKey::$name => Wire::read(r, v).map(Self::$name),)*
                }
            }

            fn write(&self, w: &mut Writer, v: Version) -> Result<(), WireError> {
                match self {
                    $(Self::$name(request) => request.write(w, v),)*
                }
            }

            /// A random request of an API.
            #[cfg(test)]
            pub(crate) fn sample(s: &mut Sampler, api_key: ApiKey, v: Version) -> Self {
                match api_key {
                    $(ApiKey::$name => Self::$name(Sample::sample(s, v)),)*
                }
            }
        }

        $(
            impl From<super::$request> for Request {
                fn from(request: super::$request) -> Self {
                    Self::$name(request)
                }
            }

            impl ApiRequest for super::$request {
                const KEY: ApiKey = ApiKey::$name;
                type Response = super::$response;
            }
        )*
    };
}

for_each_api!(requests);

impl Request {
    /// Encodes a whole frame: length, header, body. Fields that `api_version` lacks are left out.
    ///
    /// # Errors
    /// The version is not served, a null or a length has no form in it, or the frame exceeds 2 GiB.
    pub fn encode(
        &self,
        api_version: i16,
        correlation_id: i32,
        client_id: Option<KafkaString>,
    ) -> Result<OutFrame, WireError> {
        let key = self.api_key();
        let api_key = key.code();
        let v = key
            .version(api_version)
            .ok_or(WireErrorKind::UnsupportedVersion { api_key, api_version })?;
        let mut w = Writer::new(REQUEST_CAPACITY);
        let header = RequestHeader {
            api_key,
            api_version,
            correlation_id,
            client_id,
        };
        header.write(&mut w, key.request_header_version(v))?;
        self.write(&mut w, v)?;
        w.finish()
    }
}

/// Why a frame is not a request that can be served; the variants say what to do with the connection.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// An ApiVersions request of an unknown version: send
    /// [`ApiVersionsResponse::unsupported_version`](super::ApiVersionsResponse::unsupported_version) encoded as version
    /// 0, and go on (KIP-511).
    UnknownApiVersionsVersion {
        /// The version.
        api_version: i16,
        /// To be returned with the answer.
        correlation_id: i32,
    },
    /// An API or version that is not served: close the connection, as Kafka does.
    Unsupported {
        /// The API key.
        api_key: i16,
        /// The version.
        api_version: i16,
        /// The correlation id, for the log.
        correlation_id: i32,
    },
    /// The bytes are not the request that they claim to be: close the connection.
    Malformed {
        /// The header, as far as it could be read.
        header: RequestHeader,
        /// What is wrong.
        error: WireError,
    },
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownApiVersionsVersion { api_version, .. } => {
                write!(f, "version {api_version} of ApiVersions is unknown")
            }
            Self::Unsupported {
                api_key, api_version, ..
            } => {
                write!(f, "version {api_version} of api key {api_key} is not served")
            }
            Self::Malformed { header, error } => {
                let RequestHeader {
                    api_key, api_version, ..
                } = header;
                write!(
                    f,
                    "malformed request (api key {api_key}, version {api_version}): {error}"
                )
            }
        }
    }
}

impl std::error::Error for RequestError {}

/// Decodes a request frame, without its length prefix.
///
/// The frame is consumed: byte fields of the request are parts of its allocation, and the records of a Produce request
/// are each the sole owner of their range, to be changed in place. Besides that, decoding allocates at most twice the
/// frame plus 64 KiB ([`Reader::new`]). Bytes after the request are ignored, as Kafka does.
///
/// # Errors
/// See [`RequestError`] for what to do.
pub fn decode_request(frame: BytesMut) -> Result<(RequestHeader, Request), RequestError> {
    let mut r = Reader::new(frame);
    let mut header = match RequestHeader::read_start(&mut r) {
        Ok(header) => header,
        Err(error) => {
            return Err(RequestError::Malformed {
                header: RequestHeader::default(),
                error,
            });
        }
    };
    let RequestHeader {
        api_key,
        api_version,
        correlation_id,
        ..
    } = header;
    let key = ApiKey::from_code(api_key);
    let Some((key, v)) = key.and_then(|key| Some((key, key.version(api_version)?))) else {
        return Err(match key {
            Some(ApiKey::ApiVersions) => RequestError::UnknownApiVersionsVersion {
                api_version,
                correlation_id,
            },
            _ => RequestError::Unsupported {
                api_key,
                api_version,
                correlation_id,
            },
        });
    };
    let body = header
        .read_end(&mut r, key.request_header_version(v))
        .and_then(|()| Request::read(&mut r, key, v));
    match body {
        Ok(request) => Ok((header, request)),
        Err(error) => Err(RequestError::Malformed { header, error }),
    }
}
