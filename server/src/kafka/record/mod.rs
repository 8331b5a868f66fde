//! The Kafka record batch, format v2, as bytes that are looked at and never re-encoded.
//!
//! - [`batch`]: the 61 byte header as a view over the client's bytes, and the walk over several batches in one buffer;
//! - [`mod@validate`]: what a broker must check before a batch may enter a log;
//! - [`rewrite`]: the only functions that write into a batch: the stamp (offset and leader epoch) and the timestamps;
//! - [`records`]: the records of a batch, borrowed from it;
//! - [`time_lookup`]: the first record of a batch at or after a time;
//! - [`builder`]: makes batches (internal topics, tests, load generators);
//! - [`compression`], [`input`], [`varint`], [`walk`]: the parts that these share.
//!
//! Architecture invariants: nothing here allocates per record, nothing allocates by a count or a length that was not
//! checked against the bytes at hand, and no memory grows with what a compressed batch expands to (raw snappy, whose
//! format has no smaller unit, excepted and bounded). No function of this folder reads a clock.

pub mod batch;
pub mod builder;
pub mod compression;
pub mod error;
pub mod input;
pub mod records;
pub mod rewrite;
pub mod time_lookup;
pub mod validate;
pub mod varint;
pub mod walk;

pub use batch::{BatchView, Batches, HEADER_LEN, TimestampType};
pub use builder::BatchBuilder;
pub use compression::Codec;
pub use error::{RecordError, RecordIssue};
pub use records::{Header, Record, Records};
pub use rewrite::stamp;
pub use validate::{ProducerFields, Validated, ValidationRules, validate};

#[cfg(test)]
mod tests;
