//! One segment as one object: entries, a footer that finds them, a trailer that finds the footer.
//!
//! Byte by byte in `docs/format/tier-object.md`. Equal entries and checkpoints give equal bytes, on every replica.

mod encode;
mod footer;
mod frame;
mod sections;
#[cfg(test)]
mod tests;
mod trailer;

pub use encode::{EncodeError, Encoder, Finished};
pub use footer::Footer;
pub use frame::{FRAME_HEADER_BYTES, FrameError, Frames};
pub use sections::{AbortedTxn, IndexPoint, TermSpan};
pub use trailer::{TRAILER_BYTES, Trailer, TrailerError};

/// The first bytes of every segment object; the first frame follows.
pub const OBJECT_HEADER: &[u8; 16] = b"CHRTIER1\x01\0\0\0\0\0\0\0";
/// Bytes under one checksum; the last chunk is shorter.
pub const CHUNK_BYTES: u32 = 256 << 10;
/// A point of the index stands for about this many bytes of frames.
pub const INDEX_INTERVAL_BYTES: u64 = 64 << 10;
