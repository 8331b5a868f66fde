//! ApiVersions (key 18): negotiate versions.

use super::ApiKey;
use crate::kafka::wire::macros::{wire_field, wire_struct};
use crate::kafka::wire::{ErrorCode, KafkaString};

wire_struct! {
    /// Asks which APIs and versions the broker serves (KIP-35, KIP-511).
    pub struct ApiVersionsRequest {
        client_software_name: KafkaString, versions 3..;
        client_software_version: KafkaString, versions 3..;
    }
}

wire_struct! {
    /// The APIs and versions that are served. Its header is version 0 in every version.
    pub struct ApiVersionsResponse {
        error_code: ErrorCode;
        api_keys: Vec<ApiVersion>;
        throttle_time_ms: i32, versions 1..;
        supported_features: Vec<SupportedFeatureKey>, versions 3.., tag 0;
        /// -1 if the broker has no finalized features.
        finalized_features_epoch: i64, versions 3.., tag 1, default -1;
        finalized_features: Vec<FinalizedFeatureKey>, versions 3.., tag 2;
        zk_migration_ready: bool, versions 3.., tag 3;
    }
}

wire_struct! {
    /// The versions of one API.
    pub struct ApiVersion {
        api_key: i16;
        min_version: i16;
        max_version: i16;
    }
}

wire_struct! {
    /// The levels of a feature that the broker supports (KIP-584).
    pub struct SupportedFeatureKey {
        name: KafkaString;
        min_version: i16;
        max_version: i16;
    }
}

wire_struct! {
    /// The level of a feature that is in force (KIP-584).
    pub struct FinalizedFeatureKey {
        name: KafkaString;
        max_version_level: i16;
        min_version_level: i16;
    }
}

impl ApiVersionsRequest {
    /// Whether the name and version of the client software are well-formed, as Kafka demands from version 3 on: letters,
    /// digits, `-` and `.`, the last two not at the ends. If not, the answer is
    /// [`ErrorCode::INVALID_REQUEST`] (KIP-511).
    #[must_use]
    pub fn has_valid_software(&self, api_version: i16) -> bool {
        let valid = |text: &str| {
            let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
            let outer = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
            outer(text.bytes().next()) && outer(text.bytes().next_back()) && text.bytes().all(inner)
        };
        api_version < 3 || (valid(&self.client_software_name) && valid(&self.client_software_version))
    }
}

impl ApiVersionsResponse {
    /// Every served API with its advertised versions, and no features.
    #[must_use]
    pub fn served() -> Self {
        let api_keys = ApiKey::ALL.iter().map(|key| {
            let versions = key.advertised_versions();
            ApiVersion {
                api_key: key.code(),
                min_version: *versions.start(),
                max_version: *versions.end(),
            }
        });
        Self {
            api_keys: api_keys.collect(),
            ..Self::default()
        }
    }

    /// The answer to an unknown version of the request, to be encoded as version 0 (KIP-511).
    #[must_use]
    pub fn unsupported_version() -> Self {
        Self {
            error_code: ErrorCode::UNSUPPORTED_VERSION,
            ..Self::served()
        }
    }
}
