//! Commands of a partition: entries without an offset that every replica applies (`docs/format/partition.md`).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chronik_core::Offset;
use chronik_storage_object::TierCommand;

/// A decision that the leader took and that the log carries, so that apply needs no clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Records below this offset are not served any more.
    AdvanceLogStart(Offset),
    /// The active segment ends.
    Roll,
    /// These producers have been silent for long: forget them unless they wrote past the given base offset.
    ForgetProducers(Vec<(i64, i64)>),
    /// A change of what is in the object tier.
    Tier(TierCommand),
}

impl Command {
    /// The bytes of an entry's payload.
    pub(super) fn encode(&self) -> BytesMut {
        let mut out = BytesMut::new();
        match self {
            Self::AdvanceLogStart(offset) => {
                out.put_u8(1);
                out.put_i64(offset.0);
            }
            Self::Roll => out.put_u8(2),
            Self::Tier(command) => {
                out.put_u8(4);
                out.put_slice(&command.encode());
            }
            Self::ForgetProducers(producers) => {
                out.put_u8(3);
                for (id, last_base_offset) in producers {
                    out.put_i64(*id);
                    out.put_i64(*last_base_offset);
                }
            }
        }
        out
    }

    /// Reads a payload; none if it is not one that this version wrote.
    pub(super) fn decode(mut payload: Bytes) -> Option<Self> {
        match payload.try_get_u8().ok()? {
            1 if payload.len() == 8 => Some(Self::AdvanceLogStart(Offset(payload.get_i64()))),
            2 if payload.is_empty() => Some(Self::Roll),
            3 if payload.len().is_multiple_of(16) => {
                let mut producers = Vec::with_capacity(payload.len() / 16);
                while let (Ok(id), Ok(offset)) = (payload.try_get_i64(), payload.try_get_i64()) {
                    producers.push((id, offset));
                }
                Some(Self::ForgetProducers(producers))
            }
            4 => Some(Self::Tier(TierCommand::decode(&payload).ok()?)),
            _ => None,
        }
    }
}
