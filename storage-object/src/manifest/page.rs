//! Pages: immutable runs of segments.

use super::head::PageRef;
use crate::codec::{Decoder, Encode, Malformed, sealed, unsealed};
use crate::key::PartitionKey;
use crate::state::SegmentMeta;
use bytes::{BufMut, Bytes};
use chronik_core::Offset;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"CHRTPAG1";

/// A page of these segments, of which there is one at least, and the reference to it.
pub(super) fn encode(partition: PartitionKey, segments: &[Arc<SegmentMeta>]) -> (PageRef, Bytes) {
    let mut out = Vec::with_capacity(64 + segments.len() * 128);
    out.put_slice(MAGIC);
    out.put_u128_le(partition.topic_id);
    out.put_u32_le(partition.partition);
    out.put_count(segments.len());
    segments.iter().for_each(|segment| segment.put(&mut out));
    let bytes = sealed(out);
    let start = segments
        .first()
        .map_or(Offset(0), |segment| segment.offsets.start);
    let end = segments.last().map_or(start, |segment| segment.offsets.end);
    let page = PageRef {
        offsets: start..end,
        crc: crc32c::crc32c(&bytes),
    };
    (page, bytes)
}

/// Reads the page that `page` refers to.
pub(super) fn decode(
    bytes: &Bytes,
    partition: PartitionKey,
    page: &PageRef,
) -> Result<Vec<Arc<SegmentMeta>>, Malformed> {
    if crc32c::crc32c(bytes) != page.crc {
        return Err(Malformed("the page is not the one that the manifest names"));
    }
    let segments = parse(bytes, partition)?;
    SegmentMeta::check_chain(&segments)?;
    let start = segments.first().map(|segment| segment.offsets.start);
    let end = segments.last().map(|segment| segment.offsets.end);
    match (start, end) == (Some(page.offsets.start), Some(page.offsets.end)) {
        true => Ok(segments),
        false => Err(Malformed("the page has other offsets than the manifest says")),
    }
}

/// Reads a page whose segments may contradict each other.
pub(super) fn parse(bytes: &Bytes, partition: PartitionKey) -> Result<Vec<Arc<SegmentMeta>>, Malformed> {
    let mut decoder = Decoder::new(unsealed(bytes)?);
    if decoder.bytes(MAGIC.len())?.as_ref() != MAGIC {
        return Err(Malformed("it is no page of a manifest"));
    }
    let topic_id = decoder.u128()?;
    if (PartitionKey {
        topic_id,
        partition: decoder.u32()?,
    }) != partition
    {
        return Err(Malformed("the page is another partition's"));
    }
    let mut segments = Vec::new();
    for _ in 0..decoder.count(SegmentMeta::BYTES_MIN)? {
        segments.push(Arc::new(SegmentMeta::take(&mut decoder)?));
    }
    decoder.end()?;
    Ok(segments)
}
