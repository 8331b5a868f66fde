//! The Kafka wire format: primitives, headers and frames, bounds-checked in both directions.
//!
//! A request arrives as one [`BytesMut`](bytes::BytesMut) (see [`frame`]). A [`Reader`] consumes it: byte fields and
//! records are split off the frame without a copy, counts are checked against the bytes that remain before anything is
//! allocated, and a budget bounds what the decoded form may hold ([`Reader::new`]). A [`Writer`] builds a
//! [`OutFrame`]: small fields in one buffer, record slices by reference, sent with vectored writes.
//!
//! The messages are tables made with `wire_struct!` (module [`macros`]); they live in [`super::api`].
//!
//! Sources: the Kafka protocol guide, KIP-482 (flexible versions), KIP-511 (ApiVersions).

pub mod codec;
pub mod error;
pub mod error_code;
pub mod frame;
pub mod header;
pub mod macros;
pub mod reader;
pub mod records;
#[cfg(test)]
pub(crate) mod sample;
pub mod uuid;
pub mod varint;
pub mod writer;

pub use codec::{Nullable, Version, Wire};
pub use error::{WireError, WireErrorKind};
pub use error_code::ErrorCode;
pub use frame::{DEFAULT_MAX_FRAME_LEN, OutFrame, frame_len};
pub use header::{RequestHeader, ResponseHeader};
pub use reader::Reader;
pub use records::RecordSlices;
pub use uuid::Uuid;
pub use writer::Writer;

/// A string of the protocol: at most 23 bytes are stored inline, longer ones are shared; a clone is cheap and never
/// keeps the request frame alive.
pub type KafkaString = smol_str::SmolStr;
