//! The codecs of a batch. Expansion is streamed through a window of fixed size and bounded in bytes and in ratio.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, Operation};

use super::error::RecordError;
use super::input::StreamInput;

mod compress;
mod snappy;

pub use compress::compress;
use snappy::SnappyReader;

/// The bytes of expanded data that are held at a time.
pub const WINDOW_LEN: usize = 64 * 1024;
/// The base 2 logarithm of the largest zstd window that is accepted: 8 MiB, what RFC 8878 section 3.1.1.1.2 asks a
/// decoder to support. It bounds the memory of a decoder, whatever a frame asks for.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// The snappy buffer that a thread keeps between batches, in bytes.
const SNAPPY_KEPT_LEN: usize = 1 << 20;

/// How the records of a batch are compressed (attribute bits 0 to 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    None,
    /// RFC 1952, one or more members.
    Gzip,
    /// Snappy, as one raw block or in the frames of xerial's snappy-java.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878, since Produce v7 and Fetch v10 (KIP-110).
    Zstd,
}

impl Codec {
    /// All codecs, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this number.
    ///
    /// # Errors
    /// `UnsupportedCompression` if there is none.
    pub fn from_id(id: u8) -> Result<Self, RecordError> {
        Self::ALL
            .get(usize::from(id))
            .copied()
            .ok_or(RecordError::UnsupportedCompression(id))
    }

    /// The number of the codec in the attribute bits.
    pub const fn id(self) -> u8 {
        self as u8
    }
}

/// How far compressed records may expand before they are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecompressLimits {
    /// The most bytes of expanded records.
    pub max_output_bytes: u64,
    /// Up to this many bytes of output no ratio is asked for: small batches of equal records compress extremely well.
    pub ratio_free_bytes: u64,
    /// The most bytes of output for each byte of input beyond `ratio_free_bytes`.
    pub max_ratio: u64,
}

impl DecompressLimits {
    /// For batches that this broker validated when they were appended: bounded by the format alone.
    pub const STORED: Self = Self {
        max_output_bytes: i32::MAX as u64,
        ratio_free_bytes: i32::MAX as u64,
        max_ratio: u64::MAX,
    };

    /// The limits for a topic whose `max.message.bytes` is given: eight times that, at least 64 MiB.
    pub fn for_max_message_bytes(max_message_bytes: u64) -> Self {
        Self {
            max_output_bytes: max_message_bytes
                .saturating_mul(8)
                .clamp(64 << 20, i32::MAX as u64),
            ratio_free_bytes: 16 << 20,
            max_ratio: 1024,
        }
    }
}

/// What decompression reuses from batch to batch. One for each thread, by [`with_scratch`].
pub struct Scratch {
    window: Box<[u8; WINDOW_LEN]>,
    snappy: Vec<u8>,
    zstd: Option<ZstdDecoder<'static>>,
}

impl Scratch {
    /// Allocates the window; the other parts are made when a codec needs them.
    pub fn new() -> Self {
        Self {
            window: Box::new([0; WINDOW_LEN]),
            snappy: Vec::new(),
            zstd: None,
        }
    }

    /// Opens the compressed `body` for the walk over records.
    ///
    /// # Errors
    /// `Invalid` if the decoder cannot be made; what is wrong with the data shows when it is read.
    pub fn open<'a, 'w>(
        &'w mut self,
        codec: Codec,
        body: &'a [u8],
        limits: DecompressLimits,
    ) -> Result<StreamInput<'a, 'w>, RecordError> {
        let Self { window, snappy, zstd } = self;
        let inner = match codec {
            Codec::None => Inner::None(body),
            Codec::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(body))),
            Codec::Snappy => Inner::Snappy(SnappyReader::new(body, snappy, limits.max_output_bytes)),
            Codec::Lz4 => Inner::Lz4(Box::new(FrameDecoder::new(body))),
            Codec::Zstd => Inner::Zstd(ZstdReader::open(body, zstd).map_err(unreadable)?),
        };
        let source = Decompressor {
            inner,
            limits,
            input_len: body.len() as u64,
            produced: 0,
        };
        Ok(StreamInput::new(source, window))
    }

    /// Gives back memory that one unusually large batch needed.
    fn trim(&mut self) {
        self.snappy.clear();
        self.snappy.shrink_to(SNAPPY_KEPT_LEN);
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch")
            .field("snappy_capacity", &self.snappy.capacity())
            .finish_non_exhaustive()
    }
}

/// Runs `work` with the scratch of this thread, or with a fresh one if `work` is called from inside of another `work`.
pub fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
    }
    SCRATCH.with(|slot| match slot.try_borrow_mut() {
        Ok(mut slot) => {
            let scratch = slot.get_or_insert_with(Scratch::new);
            let result = work(scratch);
            scratch.trim();
            result
        }
        Err(_) => work(&mut Scratch::new()),
    })
}

/// Expands a body into `out`, which is cleared first and whose memory can be used again.
///
/// # Errors
/// `Invalid` if the data does not decompress, `TooLarge` beyond the limits.
pub fn decompress_into(
    codec: Codec,
    body: &[u8],
    limits: DecompressLimits,
    out: &mut Vec<u8>,
) -> Result<(), RecordError> {
    out.clear();
    with_scratch(|scratch| scratch.open(codec, body, limits)?.drain_into(out))
}

/// Compressed bytes that are expanded as they are read, within limits.
pub struct Decompressor<'a, 'w> {
    inner: Inner<'a, 'w>,
    limits: DecompressLimits,
    input_len: u64,
    produced: u64,
}

enum Inner<'a, 'w> {
    None(&'a [u8]),
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Snappy(SnappyReader<'a, 'w>),
    Lz4(Box<FrameDecoder<&'a [u8]>>),
    Zstd(ZstdReader<'a, 'w>),
}

impl Decompressor<'_, '_> {
    /// Fills `out` from the front; 0 at the end of the data.
    ///
    /// # Errors
    /// `Invalid` if the data does not decompress, `TooLarge` beyond the limits.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, RecordError> {
        let read = match &mut self.inner {
            Inner::None(body) => body.read(out).map_err(unreadable),
            Inner::Gzip(reader) => reader.read(out).map_err(unreadable),
            Inner::Snappy(reader) => reader.read(out),
            Inner::Lz4(reader) => reader.read(out).map_err(unreadable),
            Inner::Zstd(reader) => reader.read(out).map_err(unreadable),
        }?;
        self.produced += read as u64;
        let by_ratio = self
            .input_len
            .saturating_mul(self.limits.max_ratio)
            .max(self.limits.ratio_free_bytes);
        let limit = by_ratio.min(self.limits.max_output_bytes);
        if self.produced > limit {
            return Err(RecordError::TooLarge {
                size: self.produced,
                limit,
            });
        }
        Ok(read)
    }
}

impl fmt::Debug for Decompressor<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor")
            .field("limits", &self.limits)
            .field("input_len", &self.input_len)
            .field("produced", &self.produced)
            .finish_non_exhaustive()
    }
}

/// Zstd frames, one after the other, through a decoder that is kept.
struct ZstdReader<'a, 'w> {
    rest: &'a [u8],
    decoder: &'w mut ZstdDecoder<'static>,
    inside_frame: bool,
}

impl<'a, 'w> ZstdReader<'a, 'w> {
    /// Takes the kept decoder, or makes it with its window bounded.
    fn open(body: &'a [u8], kept: &'w mut Option<ZstdDecoder<'static>>) -> io::Result<Self> {
        let decoder = match kept {
            Some(decoder) => {
                decoder.reinit()?;
                decoder
            }
            None => {
                let mut decoder = ZstdDecoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
                kept.insert(decoder)
            }
        };
        Ok(Self {
            rest: body,
            decoder,
            inside_frame: false,
        })
    }

    /// Fills `out` from the front; 0 only at the end of the last frame.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.rest.is_empty() && !self.inside_frame {
                return Ok(0);
            }
            let starved = self.rest.is_empty();
            let status = self.decoder.run_on_buffers(self.rest, out)?;
            self.rest = self.rest.get(status.bytes_read..).unwrap_or(&[]);
            self.inside_frame = status.remaining != 0;
            if status.bytes_written > 0 {
                return Ok(status.bytes_written);
            }
            if starved && self.inside_frame {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// What a decoder complained about, as the user of the client may read it.
fn unreadable(error: io::Error) -> RecordError {
    RecordError::Invalid(format!("the compressed records cannot be read: {error}").into())
}
