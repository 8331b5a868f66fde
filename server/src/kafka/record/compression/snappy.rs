//! Snappy in both of its shapes: one raw block (librdkafka) and the frames of xerial's snappy-java (Java clients).

use super::super::error::RecordError;

/// The header of the framed shape: these eight bytes, then two version numbers of four bytes each.
pub(super) const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// The magic with its version numbers.
const XERIAL_HEADER_LEN: usize = 16;
/// No valid block expands further: its best element makes 64 bytes of 3.
const MAX_BLOCK_RATIO: u64 = 64;

const TORN_FRAME: RecordError = RecordError::invalid("a snappy frame ends early");

/// Expands block by block. A raw block is the format's smallest unit, so that it is held whole.
pub(super) struct SnappyReader<'a, 'w> {
    rest: &'a [u8],
    framed: bool,
    block: &'w mut Vec<u8>,
    at: usize,
    max_block_bytes: u64,
}

impl<'a, 'w> SnappyReader<'a, 'w> {
    /// Tells the two shapes apart by the magic, which no raw block of a batch starts with.
    pub(super) fn new(body: &'a [u8], block: &'w mut Vec<u8>, max_block_bytes: u64) -> Self {
        block.clear();
        Self {
            rest: body,
            framed: body.starts_with(&XERIAL_MAGIC),
            block,
            at: 0,
            max_block_bytes,
        }
    }

    /// Fills `out` from the front; 0 at the end.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, RecordError> {
        while self.at == self.block.len() {
            match self.next_block()? {
                Some(compressed) => self.expand(compressed)?,
                None => return Ok(0),
            }
        }
        let ready = self.block.get(self.at..).unwrap_or(&[]);
        let len = ready.len().min(out.len());
        out[..len].copy_from_slice(&ready[..len]);
        self.at += len;
        Ok(len)
    }

    /// The next compressed block, none at the end. A header may stand before any frame: streams can be joined.
    fn next_block(&mut self) -> Result<Option<&'a [u8]>, RecordError> {
        if !self.framed {
            let block = std::mem::take(&mut self.rest);
            return Ok((!block.is_empty()).then_some(block));
        }
        while self.rest.starts_with(&XERIAL_MAGIC) {
            self.rest = self.rest.get(XERIAL_HEADER_LEN..).ok_or(TORN_FRAME)?;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (len, rest) = self.rest.split_first_chunk::<4>().ok_or(TORN_FRAME)?;
        let len = usize::try_from(i32::from_be_bytes(*len)).map_err(|_| TORN_FRAME)?;
        let block = rest.get(..len).ok_or(TORN_FRAME)?;
        self.rest = rest.get(len..).ok_or(TORN_FRAME)?;
        Ok(Some(block))
    }

    /// Expands one block, after its declared size was held against the limit and against what the format can do.
    fn expand(&mut self, compressed: &[u8]) -> Result<(), RecordError> {
        let declared = snap::raw::decompress_len(compressed).map_err(broken)?;
        let possible = (compressed.len() as u64).saturating_mul(MAX_BLOCK_RATIO);
        if declared as u64 > possible {
            return Err(RecordError::invalid(
                "a snappy block declares more than it can expand to",
            ));
        }
        if declared as u64 > self.max_block_bytes {
            return Err(RecordError::TooLarge {
                size: declared as u64,
                limit: self.max_block_bytes,
            });
        }
        self.block.resize(declared, 0);
        self.at = 0;
        let len = snap::raw::Decoder::new()
            .decompress(compressed, self.block)
            .map_err(broken)?;
        self.block.truncate(len);
        Ok(())
    }
}

/// What the decoder complained about.
fn broken(error: snap::Error) -> RecordError {
    RecordError::Invalid(format!("the compressed records cannot be read: {error}").into())
}
