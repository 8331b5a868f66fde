//! The header of a record batch v2, read in place.
//!
//! ```text
//!  0  baseOffset            i64   stamped by the broker, outside the CRC
//!  8  batchLength           i32   bytes after this field
//! 12  partitionLeaderEpoch  i32   stamped by the broker, outside the CRC
//! 16  magic                 i8    2
//! 17  crc                   u32   CRC-32C of everything from 21 on
//! 21  attributes            i16   codec 0-2, timestamp type 3, transactional 4, control 5, delete horizon 6
//! 23  lastOffsetDelta       i32
//! 27  baseTimestamp         i64   milliseconds since 1970
//! 35  maxTimestamp          i64
//! 43  producerId            i64   -1: none
//! 51  producerEpoch         i16
//! 53  baseSequence          i32
//! 57  recordCount           i32
//! 61  records, compressed as a whole if a codec is set
//! ```
//! All integers are big-endian (Kafka protocol guide, "Record Batch"; KIP-98).

use super::error::RecordError;

/// The bytes of a batch before its records.
pub const HEADER_LEN: usize = 61;
/// The bytes before the part that `batchLength` counts.
pub const LENGTH_PREFIX_LEN: usize = 12;
/// The only format that this broker stores.
pub const MAGIC_V2: i8 = 2;
/// The producer id of a batch that has none.
pub const NO_PRODUCER_ID: i64 = -1;
/// The timestamp of a record that has none.
pub const NO_TIMESTAMP: i64 = -1;

/// Where the fields are, in bytes from the start of the batch.
pub(super) mod at {
    pub(crate) const BASE_OFFSET: usize = 0;
    pub(crate) const LENGTH: usize = 8;
    pub(crate) const LEADER_EPOCH: usize = 12;
    pub(crate) const MAGIC: usize = 16;
    pub(crate) const CRC: usize = 17;
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const LAST_OFFSET_DELTA: usize = 23;
    pub(crate) const BASE_TIMESTAMP: usize = 27;
    pub(crate) const MAX_TIMESTAMP: usize = 35;
    pub(crate) const PRODUCER_ID: usize = 43;
    pub(crate) const PRODUCER_EPOCH: usize = 51;
    pub(crate) const BASE_SEQUENCE: usize = 53;
    pub(crate) const RECORD_COUNT: usize = 57;
}

/// The bits of `attributes`.
pub(super) mod bit {
    pub(crate) const CODEC: i16 = 0x07;
    pub(crate) const LOG_APPEND_TIME: i16 = 0x08;
    pub(crate) const TRANSACTIONAL: i16 = 0x10;
    pub(crate) const CONTROL: i16 = 0x20;
    pub(crate) const DELETE_HORIZON: i16 = 0x40;
}

/// Whose clock the timestamps of a batch come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's: each record carries its own.
    CreateTime,
    /// The broker's: every record has the batch's maximum timestamp.
    LogAppendTime,
}

/// One batch, borrowed. Its length fields are consistent with its bytes; nothing else is promised before
/// [`validate`](super::validate::validate) has seen it.
#[derive(Debug, Clone, Copy)]
pub struct BatchView<'a> {
    header: &'a [u8; HEADER_LEN],
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// The batch at the front of `buffer`; the rest of the buffer is ignored.
    ///
    /// # Errors
    /// `Invalid` if the buffer does not start with a whole batch of format v2.
    pub fn parse(buffer: &'a [u8]) -> Result<Self, RecordError> {
        let Some(magic) = buffer.get(at::MAGIC) else {
            return Err(RecordError::invalid(
                "no record batch: fewer bytes than a batch header",
            ));
        };
        if *magic as i8 != MAGIC_V2 {
            return Err(RecordError::Invalid(
                format!("record format {} is not served, only v2", *magic as i8).into(),
            ));
        }
        let Some(header) = buffer.first_chunk::<HEADER_LEN>() else {
            return Err(RecordError::invalid(
                "the record batch is shorter than its header",
            ));
        };
        let len = i32::from_be_bytes(field(header, at::LENGTH));
        let len = usize::try_from(len)
            .unwrap_or(0)
            .saturating_add(LENGTH_PREFIX_LEN);
        if len < HEADER_LEN {
            return Err(RecordError::invalid(
                "the record batch declares fewer bytes than its header has",
            ));
        }
        match buffer.get(..len) {
            Some(bytes) => Ok(Self { header, bytes }),
            None => Err(RecordError::invalid(
                "the record batch declares more bytes than there are",
            )),
        }
    }

    /// The whole batch.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records, still compressed if the batch is.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// The size of the whole batch in bytes.
    pub const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The offset of the first record.
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(field(self.header, at::BASE_OFFSET))
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset()
            .saturating_add(i64::from(self.last_offset_delta()))
    }

    /// The leader epoch under which the batch was appended.
    pub fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(field(self.header, at::LEADER_EPOCH))
    }

    /// The CRC that the batch carries.
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(field(self.header, at::CRC))
    }

    /// The CRC-32C of the bytes that it covers.
    pub fn computed_crc(&self) -> u32 {
        crc32c::crc32c(&self.bytes[at::ATTRIBUTES..])
    }

    /// The raw attribute bits.
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(field(self.header, at::ATTRIBUTES))
    }

    /// The number of the codec, 0 to 7; not all of them exist.
    pub fn codec_id(&self) -> u8 {
        (self.attributes() & bit::CODEC) as u8
    }

    /// Whose clock the timestamps come from.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes() & bit::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes() & bit::TRANSACTIONAL != 0
    }

    /// Whether the batch holds control records (transaction markers), which only a broker may write.
    pub fn is_control(&self) -> bool {
        self.attributes() & bit::CONTROL != 0
    }

    /// Whether the base timestamp is a delete horizon, which only compaction may set.
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes() & bit::DELETE_HORIZON != 0
    }

    /// The offset of the last record less the offset of the first.
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(field(self.header, at::LAST_OFFSET_DELTA))
    }

    /// The timestamp that the records' deltas count from, in milliseconds.
    pub fn base_timestamp_ms(&self) -> i64 {
        i64::from_be_bytes(field(self.header, at::BASE_TIMESTAMP))
    }

    /// The greatest timestamp of the batch, in milliseconds; -1 if no record has one.
    pub fn max_timestamp_ms(&self) -> i64 {
        i64::from_be_bytes(field(self.header, at::MAX_TIMESTAMP))
    }

    /// The id of the idempotent producer, -1 if there is none.
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(field(self.header, at::PRODUCER_ID))
    }

    /// The epoch of the producer id.
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(field(self.header, at::PRODUCER_EPOCH))
    }

    /// The sequence number of the first record.
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(field(self.header, at::BASE_SEQUENCE))
    }

    /// The sequence number of the last record; sequences wrap from `i32::MAX` to 0. Negative if the batch has none.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence() < 0 {
            return self.base_sequence();
        }
        let last = i64::from(self.base_sequence()) + i64::from(self.last_offset_delta());
        // The mask is the wrap: after 2^31 - 1 comes 0.
        (last & i64::from(i32::MAX)) as i32
    }

    /// The number of records that the header declares.
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(field(self.header, at::RECORD_COUNT))
    }
}

/// The batches of a buffer, one after the other. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// Starts at the front of `buffer`.
    pub const fn new(buffer: &'a [u8]) -> Self {
        Self { rest: buffer }
    }

    /// The bytes that were not walked yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchView<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = BatchView::parse(self.rest);
        self.rest = match &batch {
            Ok(view) => &self.rest[view.size()..],
            Err(_) => &[],
        };
        Some(batch)
    }
}

/// Copies a field out of the header. The positions are the constants of [`at`], all of which lie within it.
fn field<const N: usize>(header: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}
