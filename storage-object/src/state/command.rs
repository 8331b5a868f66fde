//! Commands to the tier's state, as the partition's log carries them.

use super::SegmentMeta;
use crate::codec::{Decoder, Encode, Malformed, sealed, unsealed};
use bytes::{BufMut, Bytes};
use chronik_core::{LogId, Offset};
use std::sync::Arc;

/// A change of what is in the tier. The leader proposes it; every replica applies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TierCommand {
    /// This segment's object is complete in the bucket.
    Add(Arc<SegmentMeta>),
    /// Segments wholly below this offset are not needed any more.
    Remove {
        /// The offset.
        below: Offset,
    },
    /// A manifest of this version of the state is in the bucket.
    Published {
        /// The version.
        version: u64,
        /// When, in wall milliseconds of the leader.
        at_ms: i64,
    },
    /// The objects of these removed segments are deleted: last entry, checksum and salt of each.
    Cleanup {
        /// The segments.
        segments: Vec<(LogId, u32, u32)>,
    },
    /// Local data below this offset is not needed any more.
    DropLocal {
        /// The offset.
        below: Offset,
    },
}

impl TierCommand {
    /// The command as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Add(segment) => {
                out.put_u8(1);
                segment.put(&mut out);
            }
            Self::Remove { below } => {
                out.put_u8(2);
                out.put_i64_le(below.0);
            }
            Self::Published { version, at_ms } => {
                out.put_u8(3);
                out.put_u64_le(*version);
                out.put_i64_le(*at_ms);
            }
            Self::Cleanup { segments } => {
                out.put_u8(4);
                out.put_count(segments.len());
                for (last, crc, salt) in segments {
                    out.put_log_id(*last);
                    out.put_u32_le(*crc);
                    out.put_u32_le(*salt);
                }
            }
            Self::DropLocal { below } => {
                out.put_u8(5);
                out.put_i64_le(below.0);
            }
        }
        sealed(out)
    }

    /// Reads what [`TierCommand::encode`] wrote.
    ///
    /// # Errors
    /// `Malformed`: damaged, or of a newer version. A log with such a command cannot be applied.
    pub fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(unsealed(bytes)?);
        let command = match decoder.u8()? {
            1 => Self::Add(Arc::new(SegmentMeta::take(&mut decoder)?)),
            2 => Self::Remove {
                below: Offset(decoder.i64()?),
            },
            3 => Self::Published {
                version: decoder.u64()?,
                at_ms: decoder.i64()?,
            },
            4 => {
                let mut segments = Vec::new();
                for _ in 0..decoder.count(24)? {
                    segments.push((decoder.log_id()?, decoder.u32()?, decoder.u32()?));
                }
                Self::Cleanup { segments }
            }
            5 => Self::DropLocal {
                below: Offset(decoder.i64()?),
            },
            _ => return Err(Malformed("a command to the tier is unknown")),
        };
        decoder.end()?;
        Ok(command)
    }
}
