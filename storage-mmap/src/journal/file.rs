//! The first and the last bytes of a journal file; byte by byte in `docs/format/journal.md`.

use crate::codec::{Decoder, Encode, Malformed};

/// Length of the preamble, which stands at both ends of a journal file.
pub(crate) const PREAMBLE_BYTES: u64 = 64;

const MAGIC: &[u8; 8] = b"CHRNJNL1";
const VERSION: u32 = 1;
const AT_CRC: usize = 60;

const _: () = assert!(PREAMBLE_BYTES as usize == AT_CRC + 4);

/// What one use of a journal file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preamble {
    /// Start value of the checksums of the frames' headers, drawn at random for each use.
    pub(crate) salt: u32,
    /// Uses are numbered; this is the generation that frames carry.
    pub(crate) sequence: u64,
    /// The journal position of the file's first byte.
    pub(crate) start: u64,
    /// The file's length.
    pub(crate) file_bytes: u64,
}

/// Why a preamble cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PreambleError {
    /// It is damaged, or was never written.
    Malformed(Malformed),
    /// It is whole and of a version that this program does not know.
    Version(u32),
}

impl From<Malformed> for PreambleError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl Preamble {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PREAMBLE_BYTES as usize);
        out.put(MAGIC);
        out.put_u32(VERSION);
        out.put_u32(self.salt);
        out.put_u64(self.sequence);
        out.put_u64(self.start);
        out.put_u64(self.file_bytes);
        out.put(&[0; 20]);
        let crc = crc32c::crc32c(&out);
        out.put_u32(crc);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, PreambleError> {
        let covered = bytes.get(..AT_CRC).unwrap_or_default();
        let crc = Decoder::new(bytes.get(AT_CRC..).unwrap_or_default()).u32()?;
        if !covered.starts_with(MAGIC) || crc32c::crc32c(covered) != crc {
            return Err(Malformed("the preamble does not match its checksum").into());
        }
        let mut decoder = Decoder::new(covered);
        decoder.bytes(MAGIC.len())?;
        let version = decoder.u32()?;
        if version != VERSION {
            return Err(PreambleError::Version(version));
        }
        let preamble = Self {
            salt: decoder.u32()?,
            sequence: decoder.u64()?,
            start: decoder.u64()?,
            file_bytes: decoder.u64()?,
        };
        if decoder.bytes(20)?.iter().any(|byte| *byte != 0) {
            return Err(Malformed("a reserved field is in use").into());
        }
        decoder.end()?;
        Ok(preamble)
    }
}
