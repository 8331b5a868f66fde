//! Checking the segments that the journal vouches for.

use super::{Findings, is_missing};
use crate::frame::FrameType;
use crate::group::seg::SegmentFile;
use crate::journal::group_image::GroupImage;
use crate::segment::cursor::{Cursor, CursorError, Source};
use crate::segment::header::SEGMENT_HEADER_BYTES;
use crate::segment::index::SegmentIndex;
use crate::segment::open::{OpenError, read_footer, read_header};
use crate::segment::{base_of_name, group_dir, segment_path};
use chronik_core::fs::{File, FsError, OpenMode};
use chronik_core::{EntryMeta, GroupId, LogIndex, Offset};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Checks the segments of one group.
pub(super) fn check(findings: &mut Findings<'_>, id: GroupId, image: &GroupImage) -> Result<(), FsError> {
    let names = match findings.fs.list(&group_dir(findings.dir, id)) {
        Err(error) if is_missing(&error) => Vec::new(),
        other => other?,
    };
    let (start, through) = (image.start.before.index, image.stored.through.index);
    let mut bases: Vec<LogIndex> = names
        .iter()
        .filter_map(|name| base_of_name(&name.name))
        .filter(|base| *base > start && *base <= through)
        .collect();
    bases.sort();
    let mut expected = (start.next(), image.start.offset);
    for (place, base) in bases.iter().enumerate() {
        let path = segment_path(findings.dir, id, *base);
        findings.report.files += 1;
        if *base != expected.0 {
            let reason = format!(
                "entries {} to {} are missing before this segment",
                expected.0, base
            );
            findings.damaged(&path, 0..1, Some(id), reason);
        }
        let is_last = place + 1 == bases.len();
        let next_base = bases.get(place + 1).copied().unwrap_or_else(|| through.next());
        expected = match check_segment(findings, id, image, &path, is_last)? {
            Some(end) => end,
            // It is in the report already; the next segment is judged on its own.
            None => (next_base, Offset(0)),
        };
    }
    if expected.0 <= through {
        let reason = format!("entries {} to {through} are missing", expected.0);
        findings.damaged(&group_dir(findings.dir, id), 0..1, Some(id), reason);
    }
    Ok(())
}

/// The header of a segment of this group; none where it is damaged, which is noted.
fn header_of(
    findings: &mut Findings<'_>,
    id: GroupId,
    path: &Path,
    file: &dyn File,
) -> Result<Option<SegmentFile>, FsError> {
    let reason = match read_header(file, path) {
        Ok(of) if of.header.group == id => return Ok(Some(of)),
        Ok(_) => "the segment of another group".to_owned(),
        Err(OpenError::Version(version)) => format!("the segment has version {version}"),
        Err(OpenError::Cursor(error)) => {
            note(findings, path, id, error)?;
            return Ok(None);
        }
    };
    findings.damaged(path, 0..SEGMENT_HEADER_BYTES, Some(id), reason);
    Ok(None)
}

/// Checks one segment; returns the index and the offset after it, where they are known.
fn check_segment(
    findings: &mut Findings<'_>,
    id: GroupId,
    image: &GroupImage,
    path: &Path,
    is_last: bool,
) -> Result<Option<(LogIndex, Offset)>, FsError> {
    let file = findings.fs.open(path, OpenMode::Read)?;
    let file_bytes = file.size()?;
    let Some(of) = header_of(findings, id, path, &*file)? else {
        return Ok(None);
    };
    let source = Source::File(Arc::clone(&file));
    let stored = &image.stored;
    let is_open = is_last && !stored.sealed;
    let known_end = (is_open && stored.exact).then_some(stored.end);
    let footer = if is_open {
        None
    } else {
        Some(read_footer(&of, &source, file_bytes))
    };
    let (limit, index) = match footer {
        None => (known_end.unwrap_or(file_bytes), None),
        Some(Ok((trailer, index))) => (trailer.footer_at, Some(index)),
        Some(Err(error)) => {
            note(findings, path, id, error)?;
            (file_bytes, None)
        }
    };
    let has_index = index.is_some();
    let last = if is_last {
        stored.through.index
    } else {
        LogIndex(u64::MAX)
    };
    let mut walk = Walk {
        of: &of,
        index: index.unwrap_or_default(),
        rebuilt: SegmentIndex::new(of.header.base_offset),
        whole: true,
        limit,
        last,
        // Without a footer nobody knows where the frames end.
        open_end: !has_index && known_end.is_none(),
    };
    walk.run(findings, &file)?;
    findings.report.bytes += limit;
    if has_index && walk.whole && !walk.rebuilt.agrees_with(&walk.index) {
        findings.damaged(
            path,
            limit..file_bytes,
            Some(id),
            "the footer does not describe the entries",
        );
    }
    let end = &walk.rebuilt;
    Ok(walk.whole.then(|| (end.last.index.next(), end.end_offset)))
}

fn note(findings: &mut Findings<'_>, path: &Path, id: GroupId, error: CursorError) -> Result<(), FsError> {
    match error {
        CursorError::Io(error) => Err(error),
        CursorError::Damaged(range, reason) => {
            findings.damaged(path, range, Some(id), reason);
            Ok(())
        }
    }
}

/// Follows all frames of a segment.
struct Walk<'a> {
    of: &'a SegmentFile,
    /// What the footer says; empty where there is none.
    index: SegmentIndex,
    rebuilt: SegmentIndex,
    whole: bool,
    limit: u64,
    /// Nothing after this entry counts.
    last: LogIndex,
    open_end: bool,
}

impl Walk<'_> {
    fn run(&mut self, findings: &mut Findings<'_>, file: &Arc<dyn File>) -> Result<(), FsError> {
        let path = &self.of.path;
        let id = self.of.header.group;
        let mut at = SEGMENT_HEADER_BYTES;
        let mut chain = Some(0);
        while at < self.limit && self.rebuilt.last.index < self.last {
            let source = Source::File(Arc::clone(file));
            let mut cursor = Cursor::new(self.of, source, at, self.limit).reading_ahead(1 << 20);
            let bad = match self.follow(findings, &mut cursor, &mut chain) {
                Ok(()) => return Ok(()),
                Err(CursorError::Io(error)) => return Err(error),
                Err(CursorError::Damaged(range, reason)) => (range, reason),
            };
            let (range, reason) = bad;
            if self.open_end && !self.whole {
                return Ok(());
            }
            self.whole = false;
            let next = self.after(range.start);
            findings.damaged(path, range.start..next.unwrap_or(self.limit), Some(id), reason);
            chain = None;
            match next {
                Some(next) => at = next,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// The next place behind `at` where a frame is known to start.
    fn after(&self, at: u64) -> Option<u64> {
        let sparse = self.index.partial.iter().map(|sparse| sparse.at);
        let blocks = self
            .index
            .blocks
            .iter()
            .flat_map(|block| [block.first.at, block.at]);
        sparse.chain(blocks).filter(|start| *start > at).min()
    }

    fn follow(
        &mut self,
        findings: &mut Findings<'_>,
        cursor: &mut Cursor<'_>,
        chain: &mut Option<u32>,
    ) -> Result<(), CursorError> {
        while cursor.at() < self.limit && self.rebuilt.last.index < self.last {
            let at = cursor.at();
            let header = cursor.header()?;
            let range: Range<u64> = at..at + header.frame_bytes();
            if chain.is_some_and(|chain| chain != header.place.chain) {
                return Err(CursorError::Damaged(
                    range,
                    "a frame that does not follow the one before",
                ));
            }
            match (header.frame_type, header.entry_meta()) {
                (FrameType::Entry, Some(meta)) => {
                    self.entry(&meta, at, &range)?;
                    if let Err(CursorError::Damaged(payload, reason)) = cursor.payload(&header) {
                        // The header is whole, so the next frame is where it says.
                        self.whole = false;
                        findings.damaged(&self.of.path, payload, Some(self.of.header.group), reason);
                    } else {
                        findings.report.entries += 1;
                    }
                }
                (FrameType::IndexBlock, _) => self.block(cursor, &header, at, range)?,
                (FrameType::Footer, _) if self.open_end => return Ok(()),
                _ => return Err(CursorError::Damaged(range, "a frame that does not belong here")),
            }
            *chain = Some(header.crc);
            cursor.skip(&header);
        }
        Ok(())
    }

    fn entry(&mut self, meta: &EntryMeta, at: u64, range: &Range<u64>) -> Result<(), CursorError> {
        let first = self.rebuilt.last.index.0 == 0;
        let expected = if first {
            self.of.header.base
        } else {
            self.rebuilt.last.index.next()
        };
        let follows = meta.id.index == expected
            && meta.id.term >= self.rebuilt.last.term
            && meta.base_offset == self.rebuilt.end_offset;
        if self.whole && !follows {
            return Err(CursorError::Damaged(
                range.clone(),
                "an entry does not follow the one before",
            ));
        }
        self.rebuilt.push(meta, at);
        Ok(())
    }

    fn block(
        &mut self,
        cursor: &mut Cursor<'_>,
        header: &crate::frame::Header,
        at: u64,
        range: Range<u64>,
    ) -> Result<(), CursorError> {
        let payload = cursor.payload(header)?;
        let block =
            SegmentIndex::decode(&payload).map_err(|error| CursorError::Damaged(range.clone(), error.0))?;
        if self.whole && !self.rebuilt.agrees_with(&block) {
            return Err(CursorError::Damaged(
                range,
                "the index block does not describe the entries",
            ));
        }
        self.rebuilt.block_written(at);
        Ok(())
    }
}
