//! Compression, for the batches that this program makes itself.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::Codec;
use super::snappy::XERIAL_MAGIC;

/// The bytes of input in one snappy frame, as snappy-java makes them.
const SNAPPY_FRAME_LEN: usize = 32 * 1024;

/// Appends the compressed `body` to `out`, in the shape in which the Java client writes it.
///
/// # Errors
/// What the encoder reports; writing to memory itself cannot fail.
pub fn compress(codec: Codec, body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    match codec {
        Codec::None => out.extend_from_slice(body),
        Codec::Gzip => {
            let mut encoder = GzEncoder::new(out, flate2::Compression::default());
            encoder.write_all(body)?;
            encoder.finish()?;
        }
        Codec::Snappy => snappy(body, out)?,
        Codec::Lz4 => {
            let info = FrameInfo::new()
                .block_mode(BlockMode::Independent)
                .block_size(BlockSize::Max64KB);
            let mut encoder = FrameEncoder::with_frame_info(info, out);
            encoder.write_all(body)?;
            encoder.finish().map_err(io::Error::other)?;
        }
        Codec::Zstd => zstd::stream::copy_encode(body, out, zstd::DEFAULT_COMPRESSION_LEVEL)?,
    }
    Ok(())
}

/// Xerial's frames: the header, then blocks that are each led by their compressed length.
fn snappy(body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&1_i32.to_be_bytes());
    out.extend_from_slice(&1_i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for chunk in body.chunks(SNAPPY_FRAME_LEN) {
        let block = encoder.compress_vec(chunk).map_err(io::Error::other)?;
        let len = i32::try_from(block.len()).map_err(io::Error::other)?;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&block);
    }
    Ok(())
}
