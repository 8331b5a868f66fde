//! Keys that take one of a few names.

use std::fmt;
use std::str::FromStr;

use super::value::FromText;

/// Declares an enum whose variants have names in the configuration file.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        $type:ident { $( $(#[doc = $variant_doc:literal])* $variant:ident = $name:literal, )* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type { $( $(#[doc = $variant_doc])* $variant, )* }

        impl $type {
            /// The names that the configuration file accepts.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The name in the configuration file.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl FromText for $type {}

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($name => Ok(Self::$variant),)*
                    _ => Err("is not one of the allowed values".to_owned()),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(self.name())
            }
        }
    };
}

choice! {
    /// Who decides that an entry of a partition's log is committed.
    ConsensusBackend {
        /// One node: an entry is committed when it is durable.
        Standalone = "standalone",
        /// Raft: an entry is committed when a majority of its replicas has it on disk.
        RaftRs = "raft-rs",
        /// The published crate async-raft behind guards: the same promise, with fewer changes of membership.
        AsyncRaft = "async-raft",
    }
}

impl ConsensusBackend {
    /// Why a group of so many voters cannot run, or nothing.
    #[must_use]
    pub fn refuses(self, voters: usize) -> Option<String> {
        (self == Self::AsyncRaft && voters == 2).then(|| {
            "consensus.backend = \"async-raft\" cannot run groups of two voters safely; take 1, or 3 and more, or \
             \"raft-rs\""
                .to_owned()
        })
    }
}

choice! {
    /// How nodes talk to each other.
    TransportBackend {
        /// Not at all.
        None = "none",
        /// Cap'n Proto RPC over TCP, with TLS where a certificate is given.
        Capnp = "capnp",
    }
}

choice! {
    /// Where the logs are kept.
    StorageBackend {
        /// Segment files, written through a shared journal and read through memory maps.
        Mmap = "mmap",
    }
}

choice! {
    /// Which clock a record's timestamp comes from (Kafka's `message.timestamp.type`).
    TimestampType {
        /// The producer's clock, as sent.
        CreateTime = "CreateTime",
        /// The broker's clock when the batch is appended.
        LogAppendTime = "LogAppendTime",
    }
}

choice! {
    /// The least severe events that are logged.
    LogLevel {
        /// Nothing.
        Off = "off",
        /// What failed and stays failed.
        Error = "error",
        /// What went wrong and was dealt with.
        Warn = "warn",
        /// What an operator wants to find afterwards.
        Info = "info",
        /// What explains a decision of the broker.
        Debug = "debug",
        /// Every request.
        Trace = "trace",
    }
}
