//! The first bytes of a segment file and the last ones of a sealed one; byte by byte in `docs/format/segment.md`.

use crate::codec::{Decoder, Encode, Malformed};
use chronik_core::{GroupId, LogIndex, Offset};

/// Length of the header; the first frame follows.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 64;
/// Length of the trailer, which ends a sealed segment.
pub(crate) const TRAILER_BYTES: u64 = 32;

const MAGIC: &[u8; 8] = b"CHRNSEG1";
const TRAILER_MAGIC: &[u8; 8] = b"CHRNEND1";
const VERSION: u32 = 1;
const AT_CRC: usize = 60;
const TRAILER_AT_CRC: usize = 28;

const _: () = assert!(SEGMENT_HEADER_BYTES as usize == AT_CRC + 4);
const _: () = assert!(TRAILER_BYTES as usize == TRAILER_AT_CRC + 4);

/// What a segment file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Start value of the checksums of the frames' headers.
    pub(crate) salt: u32,
    /// Drawn at random for each use of a file.
    pub(crate) generation: u64,
    pub(crate) group: GroupId,
    pub(crate) base: LogIndex,
    pub(crate) base_offset: Offset,
    /// The segment takes no entry once it holds this many bytes of payload.
    pub(crate) segment_bytes: u64,
}

/// Why a header cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// It is damaged, or was never written.
    Malformed(Malformed),
    /// It is whole and of a version that this program does not know.
    Version(u32),
}

impl From<Malformed> for HeaderError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES as usize);
        out.put(MAGIC);
        out.put_u32(VERSION);
        out.put_u32(self.salt);
        out.put_u64(self.generation);
        out.put_u64(self.group.0);
        out.put_u64(self.base.0);
        out.put_i64(self.base_offset.0);
        out.put_u64(self.segment_bytes);
        out.put_u32(0);
        let crc = crc32c::crc32c(&out);
        out.put_u32(crc);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let covered = bytes.get(..AT_CRC).unwrap_or_default();
        let crc = Decoder::new(bytes.get(AT_CRC..).unwrap_or_default()).u32()?;
        if !covered.starts_with(MAGIC) || crc32c::crc32c(covered) != crc {
            return Err(Malformed("the segment's header does not match its checksum").into());
        }
        let mut decoder = Decoder::new(covered);
        decoder.bytes(MAGIC.len())?;
        let version = decoder.u32()?;
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let header = Self {
            salt: decoder.u32()?,
            generation: decoder.u64()?,
            group: GroupId(decoder.u64()?),
            base: LogIndex(decoder.u64()?),
            base_offset: Offset(decoder.i64()?),
            segment_bytes: decoder.u64()?,
        };
        if decoder.u32()? != 0 {
            return Err(Malformed("a reserved field is in use").into());
        }
        decoder.end()?;
        Ok(header)
    }
}

/// The last bytes of a sealed segment: where its footer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) footer_at: u64,
    pub(crate) footer_bytes: u64,
}

impl Trailer {
    pub(crate) fn encode(&self, salt: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(TRAILER_BYTES as usize);
        out.put(TRAILER_MAGIC);
        out.put_u64(self.footer_at);
        out.put_u64(self.footer_bytes);
        out.put_u32(0);
        let crc = crc32c::crc32c_append(salt, &out);
        out.put_u32(crc);
        out
    }

    pub(crate) fn decode(bytes: &[u8], salt: u32) -> Result<Self, Malformed> {
        let covered = bytes.get(..TRAILER_AT_CRC).unwrap_or_default();
        let crc = Decoder::new(bytes.get(TRAILER_AT_CRC..).unwrap_or_default()).u32()?;
        if !covered.starts_with(TRAILER_MAGIC) || crc32c::crc32c_append(salt, covered) != crc {
            return Err(Malformed("the segment's trailer does not match its checksum"));
        }
        let mut decoder = Decoder::new(covered);
        decoder.bytes(TRAILER_MAGIC.len())?;
        Ok(Self {
            footer_at: decoder.u64()?,
            footer_bytes: decoder.u64()?,
        })
    }
}
