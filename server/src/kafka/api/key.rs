//! The API keys and their versions.

use super::table::for_each_api;
use crate::kafka::wire::Version;
use std::fmt;
use std::ops::RangeInclusive;

/// The first flexible version of an API that has none.
const NEVER: i16 = i16::MAX;

macro_rules! api_keys {
    ($($key:literal $name:ident($module:ident, $request:ident, $response:ident) $versions:expr, flexible $flexible:expr;)*) => {
        /// An API that is served; the number is the key on the wire.
        #[non_exhaustive]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("Key ", stringify!($key), ", versions `", stringify!($versions), "`.")]
                $name = $key,
            )*
        }

        impl ApiKey {
            /// Every served API, in ascending order of the keys.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The API of a key, if it is served.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($key => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name of the API.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The versions that are decoded and answered.
            #[must_use]
            pub const fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(Self::$name => $versions,)*
                }
            }

            const fn first_flexible(self) -> i16 {
                match self {
                    $(Self::$name => $flexible,)*
                }
            }
        }
    };
}

for_each_api!(api_keys);

impl ApiKey {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The versions that ApiVersions tells clients.
    ///
    /// Produce is listed from 0 although 0 to 2 are refused: librdkafka takes a broker without them for one that cannot
    /// compress (KAFKA-18659).
    #[must_use]
    pub const fn advertised_versions(self) -> RangeInclusive<i16> {
        match self {
            Self::Produce => 0..=*self.versions().end(),
            _ => self.versions(),
        }
    }

    /// How version `api_version` is coded; `None` if it is not served.
    #[must_use]
    pub fn version(self, api_version: i16) -> Option<Version> {
        let flexible = api_version >= self.first_flexible();
        self.versions().contains(&api_version).then_some(Version {
            api: api_version,
            flexible,
        })
    }

    /// The version of the request header.
    #[must_use]
    pub fn request_header_version(self, v: Version) -> i16 {
        if v.flexible { 2 } else { 1 }
    }

    /// The version of the response header. That of ApiVersions is always 0, because a client that asked for an unknown
    /// version must be able to read the answer (KIP-511).
    #[must_use]
    pub fn response_header_version(self, v: Version) -> i16 {
        i16::from(v.flexible && self != Self::ApiVersions)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
