//! Frames: what both journal files and segment files are made of.
//!
//! Byte by byte in `docs/format/journal.md`. A frame is a header of fixed size and a payload. The header carries
//! where it lies and the checksum of the header before it, so that a frame that was moved, left over from an
//! earlier use of the file, or written by a client into a payload is not taken for one of the file.

use crate::codec::{Decoder, Encode, Malformed};
use bytes::Bytes;
use chronik_core::{EntryKind, EntryMeta, GroupId, LogId, LogIndex, Offset, Term};

/// Length of a frame header.
pub(crate) const HEADER_BYTES: usize = 104;
/// First bytes of every frame.
pub(crate) const MAGIC: [u8; 4] = *b"CKF1";

const AT_PAYLOAD_LEN: usize = 8;
const AT_GROUP: usize = 16;
const AT_INDEX: usize = 24;
const AT_OFFSET: usize = 40;
const AT_RECORDS: usize = 56;
const AT_COMMIT: usize = 64;
const AT_FILE: usize = 72;
const AT_SYNCED: usize = 80;
const AT_POSITION: usize = 88;
const AT_CHAIN: usize = 96;
const AT_CRC: usize = 100;

const _: () = assert!(AT_PAYLOAD_LEN == MAGIC.len() + 4);
const _: () = assert!(AT_GROUP == AT_PAYLOAD_LEN + 8);
const _: () = assert!(AT_INDEX == AT_GROUP + 8);
const _: () = assert!(AT_OFFSET == AT_INDEX + 16);
const _: () = assert!(AT_RECORDS == AT_OFFSET + 16);
const _: () = assert!(AT_COMMIT == AT_RECORDS + 8);
const _: () = assert!(AT_FILE == AT_COMMIT + 8);
const _: () = assert!(AT_SYNCED == AT_FILE + 8);
const _: () = assert!(AT_POSITION == AT_SYNCED + 8);
const _: () = assert!(AT_CHAIN == AT_POSITION + 8);
const _: () = assert!(AT_CRC == AT_CHAIN + 4);
const _: () = assert!(HEADER_BYTES == AT_CRC + 4);

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameType {
    /// An entry of a group's log.
    Entry = 1,
    /// The entries of a group from `index` on are gone.
    Truncate = 2,
    /// A group's log starts later.
    Purge = 3,
    /// A group's term and vote.
    HardState = 4,
    /// A checkpoint of a group's state machine.
    Checkpoint = 5,
    /// A checkpoint lies in a file of its own.
    CheckpointStored = 6,
    /// A group's entries up to `index` are durable in segment files.
    Stored = 7,
    /// A group exists from here on.
    Create = 8,
    /// A group does not exist any more.
    Remove = 9,
    /// A segment ends, or later ones have another size.
    Roll = 10,
    /// Journal files before the one with sequence number `index` are not needed any more.
    Floor = 11,
    /// The state of all groups at the head of a journal file.
    Head = 12,
    /// The store was closed; nothing follows in this file.
    Close = 13,
    /// How far a group is known to be committed.
    CommitHint = 14,
    /// A part of a segment's index, inside the segment.
    IndexBlock = 32,
    /// The end of a segment: the rest of its index, and the sums.
    Footer = 33,
}

impl FrameType {
    const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Entry,
            2 => Self::Truncate,
            3 => Self::Purge,
            4 => Self::HardState,
            5 => Self::Checkpoint,
            6 => Self::CheckpointStored,
            7 => Self::Stored,
            8 => Self::Create,
            9 => Self::Remove,
            10 => Self::Roll,
            11 => Self::Floor,
            12 => Self::Head,
            13 => Self::Close,
            14 => Self::CommitHint,
            32 => Self::IndexBlock,
            33 => Self::Footer,
            _ => return None,
        })
    }
}

/// What a frame says, apart from where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) frame_type: FrameType,
    /// The kind of an entry; 0 in other frames.
    pub(crate) entry_kind: u8,
    pub(crate) group: GroupId,
    pub(crate) id: LogId,
    pub(crate) offset: Offset,
    pub(crate) max_timestamp_ms: i64,
    pub(crate) record_count: u32,
    pub(crate) truncations: u32,
    pub(crate) commit_hint: LogIndex,
    pub(crate) payload: Bytes,
    pub(crate) payload_crc: u32,
}

impl Record {
    /// A record with nothing in it but its type, its group and its payload.
    pub(crate) fn new(frame_type: FrameType, group: GroupId, payload: Bytes) -> Self {
        Self {
            frame_type,
            entry_kind: 0,
            group,
            id: LogId::default(),
            offset: Offset(0),
            max_timestamp_ms: 0,
            record_count: 0,
            truncations: 0,
            commit_hint: LogIndex(0),
            payload_crc: crc32c::crc32c(&payload),
            payload,
        }
    }

    /// Bytes that the frame takes in a file.
    pub(crate) fn frame_bytes(&self) -> u64 {
        (HEADER_BYTES + self.payload.len()) as u64
    }
}

/// Where a frame lies, and what ties it to this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The generation of the file: no two uses of a file have the same.
    pub(crate) file: u64,
    /// The journal position that was durable when the frame was written; 0 in segments.
    pub(crate) synced: u64,
    /// The position of the frame: linear in the journal, from the start of the file in a segment.
    pub(crate) position: u64,
    /// The checksum of the header before this one.
    pub(crate) chain: u32,
}

/// A header as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) frame_type: FrameType,
    pub(crate) entry_kind: u8,
    pub(crate) payload_bytes: u32,
    pub(crate) payload_crc: u32,
    pub(crate) group: GroupId,
    pub(crate) id: LogId,
    pub(crate) offset: Offset,
    pub(crate) max_timestamp_ms: i64,
    pub(crate) record_count: u32,
    pub(crate) truncations: u32,
    pub(crate) commit_hint: LogIndex,
    pub(crate) place: Place,
    /// This header's own checksum.
    pub(crate) crc: u32,
}

impl Header {
    /// Bytes that the frame takes in a file.
    pub(crate) const fn frame_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.payload_bytes as u64
    }

    /// The numbers of the entry that this frame holds, or `None` where it holds none.
    pub(crate) fn entry_meta(&self) -> Option<EntryMeta> {
        if self.frame_type != FrameType::Entry {
            return None;
        }
        Some(EntryMeta {
            id: self.id,
            kind: EntryKind::from_u8(self.entry_kind)?,
            base_offset: self.offset,
            record_count: self.record_count,
            max_timestamp_ms: self.max_timestamp_ms,
            payload_bytes: self.payload_bytes,
        })
    }

    /// The record that this header and `payload` make.
    pub(crate) fn with_payload(&self, payload: Bytes) -> Record {
        Record {
            frame_type: self.frame_type,
            entry_kind: self.entry_kind,
            group: self.group,
            id: self.id,
            offset: self.offset,
            max_timestamp_ms: self.max_timestamp_ms,
            record_count: self.record_count,
            truncations: self.truncations,
            commit_hint: self.commit_hint,
            payload,
            payload_crc: self.payload_crc,
        }
    }
}

/// Appends the header of `record` at `place` to `out`; returns its checksum, the next frame's chain.
pub(crate) fn encode_header(out: &mut Vec<u8>, record: &Record, place: Place, salt: u32) -> u32 {
    let start = out.len();
    out.put(&MAGIC);
    out.put_u8(record.frame_type as u8);
    out.put_u8(record.entry_kind);
    out.put_u16(0);
    out.put_u32(u32::try_from(record.payload.len()).expect("payloads are bounded far below 4 GiB"));
    out.put_u32(record.payload_crc);
    out.put_u64(record.group.0);
    out.put_u64(record.id.index.0);
    out.put_u64(record.id.term.0);
    out.put_i64(record.offset.0);
    out.put_i64(record.max_timestamp_ms);
    out.put_u32(record.record_count);
    out.put_u32(record.truncations);
    out.put_u64(record.commit_hint.0);
    out.put_u64(place.file);
    out.put_u64(place.synced);
    out.put_u64(place.position);
    out.put_u32(place.chain);
    let crc = crc32c::crc32c_append(salt, &out[start..]);
    out.put_u32(crc);
    assert_eq!(out.len() - start, HEADER_BYTES, "the header has a fixed size");
    crc
}

/// Reads a header; `salt` is that of the file it must belong to.
pub(crate) fn decode_header(bytes: &[u8], salt: u32) -> Result<Header, Malformed> {
    let mut crc_part = Decoder::new(bytes.get(AT_CRC..).unwrap_or_default());
    let crc = crc_part.u32()?;
    let covered = bytes.get(..AT_CRC).unwrap_or_default();
    if !covered.starts_with(&MAGIC) {
        return Err(Malformed("no frame starts here"));
    }
    if crc32c::crc32c_append(salt, covered) != crc {
        return Err(Malformed("the header's checksum does not match"));
    }
    let mut decoder = Decoder::new(covered);
    decoder.bytes(MAGIC.len())?;
    let frame_type = FrameType::from_u8(decoder.u8()?).ok_or(Malformed("an unknown type of frame"))?;
    let entry_kind = decoder.u8()?;
    if decoder.u16()? != 0 {
        return Err(Malformed("a reserved field is in use"));
    }
    let header = Header {
        frame_type,
        entry_kind,
        payload_bytes: decoder.u32()?,
        payload_crc: decoder.u32()?,
        group: GroupId(decoder.u64()?),
        id: {
            let index = LogIndex(decoder.u64()?);
            LogId {
                term: Term(decoder.u64()?),
                index,
            }
        },
        offset: Offset(decoder.i64()?),
        max_timestamp_ms: decoder.i64()?,
        record_count: decoder.u32()?,
        truncations: decoder.u32()?,
        commit_hint: LogIndex(decoder.u64()?),
        place: Place {
            file: decoder.u64()?,
            synced: decoder.u64()?,
            position: decoder.u64()?,
            chain: decoder.u32()?,
        },
        crc,
    };
    if header.frame_type == FrameType::Entry && EntryKind::from_u8(entry_kind).is_none() {
        return Err(Malformed("an unknown kind of entry"));
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Record, Place) {
        let mut record = Record::new(FrameType::Entry, GroupId(7), Bytes::from_static(b"payload"));
        record.entry_kind = 1;
        record.id = LogId::new(3, 11);
        record.record_count = 2;
        let place = Place {
            file: 5,
            synced: 64,
            position: 164,
            chain: 99,
        };
        (record, place)
    }

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        let (record, place) = sample();
        let mut bytes = Vec::new();
        let crc = encode_header(&mut bytes, &record, place, 42);
        let header = decode_header(&bytes, 42).unwrap();
        assert_eq!(header.place, place);
        assert_eq!(header.crc, crc);
        assert_eq!(header.with_payload(record.payload.clone()), record);
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let (record, place) = sample();
        let mut bytes = Vec::new();
        encode_header(&mut bytes, &record, place, 42);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_header(&bytes, 42).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(decode_header(&bytes, 43).is_err(), "another file's salt");
        assert!(decode_header(&bytes[..50], 42).is_err());
    }
}
