//! Any response: encoding for the broker, decoding for clients.

use super::key::ApiKey;
use super::table::for_each_api;
#[cfg(test)]
use crate::kafka::wire::sample::{Sample, Sampler};
use crate::kafka::wire::{OutFrame, Reader, ResponseHeader, Version, Wire, WireError, WireErrorKind, Writer};
use bytes::BytesMut;

/// A guess of the bytes of a response without its records.
const RESPONSE_CAPACITY: usize = 256;

/// What a decoded response may allocate, in frames. The broker is of the client's own choice, and the lists inside the
/// partitions of Metadata make an honest response several times as large in memory as on the wire.
const RESPONSE_BUDGET: usize = 16;

/// A response type.
pub trait ApiResponse: Wire + Into<Response> {
    /// Its API.
    const KEY: ApiKey;

    /// Decodes a response frame, without its length prefix, that answers a request of `api_version`; returns it with
    /// its correlation id.
    ///
    /// # Errors
    /// The version is not known, or the frame is not a response of it.
    fn decode(api_version: i16, frame: BytesMut) -> Result<(i32, Self), WireError> {
        let (mut r, header, v) = start(Self::KEY, api_version, frame)?;
        let response = Self::read(&mut r, v)?;
        r.finish()?;
        Ok((header.correlation_id, response))
    }
}

/// Reads the header of a response.
fn start(
    key: ApiKey,
    api_version: i16,
    frame: BytesMut,
) -> Result<(Reader, ResponseHeader, Version), WireError> {
    let unsupported = WireErrorKind::UnsupportedVersion {
        api_key: key.code(),
        api_version,
    };
    let v = key.version(api_version).ok_or(unsupported)?;
    let mut r = Reader::with_budget(frame, RESPONSE_BUDGET);
    let header = ResponseHeader::read(&mut r, key.response_header_version(v))?;
    Ok((r, header, v))
}

macro_rules! responses {
    ($($key:literal $name:ident($module:ident, $request:ident, $response:ident) $versions:expr, flexible $flexible:expr;)*) => {
        /// A response of any served API.
        #[non_exhaustive]
        #[derive(Debug, Clone, PartialEq)]
        pub enum Response {
            $(
                #[doc = concat!("[`", stringify!($response), "`](super::", stringify!($response), ").")]
                $name(super::$response),
            )*
        }

        impl Response {
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
                    $(Self::$name(response) => response.write(w, v),)*
                }
            }

            /// A random response of an API.
            #[cfg(test)]
            pub(crate) fn sample(s: &mut Sampler, api_key: ApiKey, v: Version) -> Self {
                match api_key {
                    $(ApiKey::$name => Self::$name(Sample::sample(s, v)),)*
                }
            }
        }

        $(
            impl From<super::$response> for Response {
                fn from(response: super::$response) -> Self {
                    Self::$name(response)
                }
            }

            impl ApiResponse for super::$response {
                const KEY: ApiKey = ApiKey::$name;
            }
        )*
    };
}

for_each_api!(responses);

impl Response {
    /// Encodes a whole frame: length, header, body. Fields that `api_version` lacks are left out; records are sent by
    /// reference.
    ///
    /// # Errors
    /// The version is not served, a null or a length has no form in it, or the frame exceeds 2 GiB.
    pub fn encode(&self, api_version: i16, correlation_id: i32) -> Result<OutFrame, WireError> {
        let key = self.api_key();
        let unsupported = WireErrorKind::UnsupportedVersion {
            api_key: key.code(),
            api_version,
        };
        let v = key.version(api_version).ok_or(unsupported)?;
        let mut w = Writer::new(RESPONSE_CAPACITY);
        ResponseHeader { correlation_id }.write(&mut w, key.response_header_version(v));
        self.write(&mut w, v)?;
        w.finish()
    }

    /// Decodes a response frame, without its length prefix, that answers a request of `api_key` and `api_version`;
    /// returns it with its correlation id. [`ApiResponse::decode`] does so for a type known beforehand.
    ///
    /// # Errors
    /// The version is not known, or the frame is not a response of it.
    pub fn decode(api_key: ApiKey, api_version: i16, frame: BytesMut) -> Result<(i32, Self), WireError> {
        let (mut r, header, v) = start(api_key, api_version, frame)?;
        let response = Self::read(&mut r, api_key, v)?;
        r.finish()?;
        Ok((header.correlation_id, response))
    }
}
