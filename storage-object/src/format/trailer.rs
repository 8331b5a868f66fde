//! The last bytes of a segment object: where the footer is.

use super::CHUNK_BYTES;
use crate::codec::{Decoder, Malformed, sealed, unsealed};
use bytes::{BufMut, Bytes};

/// Length of the trailer.
pub const TRAILER_BYTES: u64 = 48;

const MAGIC: &[u8; 8] = b"CHRTEND1";
const VERSION: u16 = 1;

/// Where the parts of an object are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Where the frames end and the footer starts.
    pub footer_position: u64,
    /// The footer's length.
    pub footer_bytes: u32,
    /// The footer's checksum.
    pub footer_crc: u32,
    /// Bytes under one checksum.
    pub chunk_bytes: u32,
}

/// Why a trailer cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrailerError {
    /// It is damaged, or the object is none of ours.
    Malformed(Malformed),
    /// It is whole and of a version that this program does not know.
    Version(u16),
}

impl From<Malformed> for TrailerError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl Trailer {
    /// The length of the whole object.
    #[must_use]
    pub const fn object_bytes(&self) -> u64 {
        self.footer_position + self.footer_bytes as u64 + TRAILER_BYTES
    }

    /// How many checksums cover the frames.
    #[must_use]
    pub const fn chunks(&self) -> u64 {
        self.footer_position.div_ceil(self.chunk_bytes as u64)
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(TRAILER_BYTES as usize);
        out.put_slice(MAGIC);
        out.put_u16_le(VERSION);
        out.put_u16_le(0);
        out.put_u32_le(self.chunk_bytes);
        out.put_u64_le(self.footer_position);
        out.put_u32_le(self.footer_bytes);
        out.put_u32_le(self.footer_crc);
        out.put_u64_le(self.object_bytes());
        out.put_u32_le(0);
        let out = sealed(out);
        assert_eq!(out.len() as u64, TRAILER_BYTES, "the trailer's length is fixed");
        out
    }

    /// Reads the last [`TRAILER_BYTES`] of an object of `object_bytes`.
    ///
    /// # Errors
    /// [`TrailerError`], also where the places do not suit the object's length.
    pub fn decode(bytes: &Bytes, object_bytes: u64) -> Result<Self, TrailerError> {
        let mut decoder = Decoder::new(unsealed(bytes)?);
        if decoder.bytes(MAGIC.len())?.as_ref() != MAGIC {
            return Err(Malformed("the object does not end as a segment does").into());
        }
        let version = decoder.u16()?;
        if version != VERSION {
            return Err(TrailerError::Version(version));
        }
        let flags = decoder.u16()?;
        let trailer = Self {
            chunk_bytes: decoder.u32()?,
            footer_position: decoder.u64()?,
            footer_bytes: decoder.u32()?,
            footer_crc: decoder.u32()?,
        };
        let written_bytes = decoder.u64()?;
        let reserved = decoder.u32()?;
        decoder.end()?;
        let fits = trailer
            .footer_position
            .checked_add(u64::from(trailer.footer_bytes) + TRAILER_BYTES);
        if fits != Some(object_bytes) || written_bytes != object_bytes {
            return Err(Malformed("the object is not as long as its trailer says").into());
        }
        if flags != 0 || reserved != 0 || trailer.chunk_bytes != CHUNK_BYTES {
            return Err(Malformed("the trailer has numbers that this version does not write").into());
        }
        Ok(trailer)
    }
}
