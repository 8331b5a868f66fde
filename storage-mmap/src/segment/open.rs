//! Opening segment files again, and finding one's way in them.

use super::cursor::{Cursor, CursorError, Source, read_exact};
use super::header::{HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader, TRAILER_BYTES, Trailer};
use super::index::{Hint, SegmentIndex, Sparse, last_before};
use crate::frame::FrameType;
use crate::group::seg::SegmentFile;
use crate::group::state::Rewind;
use crate::journal::group_image::Stored;
use crate::segment::writer::WriterPlace;
use chronik_core::fs::File;
use chronik_core::{LogId, LogIndex};
use std::path::Path;

/// Why a segment's header cannot be used.
pub(crate) enum OpenError {
    Cursor(CursorError),
    /// The file is of a newer format.
    Version(u32),
}

impl From<CursorError> for OpenError {
    fn from(error: CursorError) -> Self {
        Self::Cursor(error)
    }
}

/// Reads a segment's header.
pub(crate) fn read_header(file: &dyn File, path: &Path) -> Result<SegmentFile, OpenError> {
    let bytes = read_exact(file, 0, SEGMENT_HEADER_BYTES as usize)?;
    let header = SegmentHeader::decode(&bytes).map_err(|error| match error {
        HeaderError::Version(version) => OpenError::Version(version),
        HeaderError::Malformed(error) => CursorError::Damaged(0..SEGMENT_HEADER_BYTES, error.0).into(),
    })?;
    Ok(SegmentFile {
        path: path.to_owned(),
        header,
    })
}

/// Reads a sealed segment's trailer and footer.
pub(crate) fn read_footer(
    of: &SegmentFile,
    source: &Source,
    file_bytes: u64,
) -> Result<(Trailer, SegmentIndex), CursorError> {
    let trailer_at = file_bytes.saturating_sub(TRAILER_BYTES);
    let damaged = |reason| CursorError::Damaged(trailer_at..file_bytes, reason);
    let bytes = match source {
        Source::Map(map) => map.bytes().slice((trailer_at as usize).min(map.bytes().len())..),
        Source::File(file) => read_exact(&**file, trailer_at, TRAILER_BYTES as usize)?,
    };
    let trailer = Trailer::decode(&bytes, of.header.salt).map_err(|error| damaged(error.0))?;
    let fits = trailer.footer_at.checked_add(trailer.footer_bytes) == Some(trailer_at)
        && trailer.footer_at >= SEGMENT_HEADER_BYTES;
    if !fits {
        return Err(damaged("the trailer points elsewhere"));
    }
    let index = read_index(of, source, trailer.footer_at, trailer_at, FrameType::Footer)?;
    Ok((trailer, index))
}

/// Reads an index block or a footer whose frame starts at `at`.
pub(crate) fn read_index(
    of: &SegmentFile,
    source: &Source,
    at: u64,
    limit: u64,
    frame_type: FrameType,
) -> Result<SegmentIndex, CursorError> {
    let mut cursor = Cursor::new(of, source.clone(), at, limit);
    let header = cursor.header()?;
    let range = at..at + header.frame_bytes();
    if header.frame_type != frame_type {
        return Err(CursorError::Damaged(range, "no index where one was expected"));
    }
    let payload = cursor.payload(&header)?;
    SegmentIndex::decode(&payload).map_err(|error| CursorError::Damaged(range, error.0))
}

/// Where to start following frames for the last thing that is not `is_after`.
pub(crate) fn seek(
    of: &SegmentFile,
    source: &Source,
    index: &SegmentIndex,
    limit: u64,
    is_after: impl Fn(&Sparse) -> bool,
) -> Result<Option<Sparse>, CursorError> {
    match index.seek(&is_after) {
        None => Ok(None),
        Some(Hint::Frame(sparse)) => Ok(Some(sparse)),
        Some(Hint::Block(at)) => {
            let block = read_index(of, source, at, limit, FrameType::IndexBlock)?;
            Ok(last_before(&block.partial, is_after))
        }
    }
}

/// The index of the part of a segment that ends before `from`, made by following frames from the newest block that
/// lies wholly before it. `from` lies above the segment's first entry.
pub(crate) fn cut_before(
    of: &SegmentFile,
    source: &Source,
    index: &SegmentIndex,
    limit: u64,
    from: LogIndex,
) -> Result<Rewind, CursorError> {
    // A block ends where the next one starts; the last one ends where the partial list starts.
    let ends_before = |place: usize| {
        let next = index
            .blocks
            .get(place + 1)
            .map(|block| block.first.index)
            .or_else(|| index.partial.first().map(|sparse| sparse.index));
        next.is_some_and(|next| next <= from)
    };
    let whole = (0..index.blocks.len())
        .take_while(|place| ends_before(*place))
        .last()
        .and_then(|place| index.blocks.get(place));
    let start = match whole {
        None => (SegmentIndex::new(of.header.base_offset), WriterPlace::START),
        Some(block) => resume_at_block(of, source, block.at, limit)?,
    };
    follow(of, source, start, limit, LogIndex(from.0.saturating_sub(1)))
}

/// The index as of an index block, and the place after the block.
fn resume_at_block(
    of: &SegmentFile,
    source: &Source,
    at: u64,
    limit: u64,
) -> Result<(SegmentIndex, WriterPlace), CursorError> {
    let mut index = read_index(of, source, at, limit, FrameType::IndexBlock)?;
    let header = Cursor::new(of, source.clone(), at, limit).header()?;
    index.block_written(at);
    let place = WriterPlace {
        end: at + header.frame_bytes(),
        chain: header.crc,
        index_at: at,
    };
    Ok((index, place))
}

/// Follows frames from `start` through the entry `last`, and whatever index block comes right after it is left out.
fn follow(
    of: &SegmentFile,
    source: &Source,
    (mut index, mut place): (SegmentIndex, WriterPlace),
    limit: u64,
    last: LogIndex,
) -> Result<Rewind, CursorError> {
    let mut cursor = Cursor::new(of, source.clone(), place.end, limit);
    while index.last.index < last {
        let at = cursor.at();
        let header = cursor.header()?;
        let range = at..at + header.frame_bytes();
        let linked = header.place.chain == place.chain;
        match (header.frame_type, header.entry_meta()) {
            (FrameType::Entry, Some(meta)) if linked && follows(of, &index, &meta.id) => {
                index.push(&meta, at);
            }
            (FrameType::IndexBlock, _) if linked => {
                index.block_written(at);
                place.index_at = at;
            }
            _ => {
                return Err(CursorError::Damaged(
                    range,
                    "a frame does not follow the one before",
                ));
            }
        }
        cursor.skip(&header);
        place.chain = header.crc;
        place.end = cursor.at();
    }
    Ok(Rewind {
        base: of.header.base,
        index,
        end: place.end,
        chain: place.chain,
    })
}

fn follows(of: &SegmentFile, index: &SegmentIndex, id: &LogId) -> bool {
    let expected = if index.last.index.0 == 0 {
        of.header.base
    } else {
        index.last.index.next()
    };
    id.index == expected && id.term >= index.last.term
}

/// The index and the end of a segment that was not sealed, up to what the journal says is stored in it.
pub(crate) fn open_unsealed(
    of: &SegmentFile,
    source: &Source,
    file_bytes: u64,
    stored: &Stored,
) -> Result<(SegmentIndex, WriterPlace), CursorError> {
    let known = stored.exact && stored.segment == of.header.base;
    let limit = if known { stored.end } else { file_bytes };
    if limit > file_bytes {
        return Err(CursorError::Damaged(file_bytes..limit, "the file is too short"));
    }
    let start = if known && stored.index_at > 0 {
        resume_at_block(of, source, stored.index_at, limit)?
    } else {
        (SegmentIndex::new(of.header.base_offset), WriterPlace::START)
    };
    let found = follow(of, source, start, limit, stored.through.index)?;
    let mut place = WriterPlace {
        end: found.end,
        chain: found.chain,
        index_at: found.index.blocks.last().map_or(0, |block| block.at),
    };
    let mut index = found.index;
    if known && place.end < stored.end {
        // The index block that follows the last entry was written before the mark.
        (index, place) = resume_at_block(of, source, place.end, limit)?;
    }
    let matches = index.last == stored.through && index.end_offset == stored.next_offset;
    if !matches || (known && (place.end != stored.end || place.chain != stored.chain)) {
        let range = SEGMENT_HEADER_BYTES..limit;
        return Err(CursorError::Damaged(
            range,
            "the segment does not end as the journal says",
        ));
    }
    Ok((index, place))
}
