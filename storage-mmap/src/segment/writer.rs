//! Writing one segment file. The background lane alone does this.

use super::header::{SEGMENT_HEADER_BYTES, Trailer};
use super::index::SegmentIndex;
use crate::damage::final_sync;
use crate::frame::{FrameType, HEADER_BYTES, Place, Record, encode_header};
use crate::group::seg::{OpenSegment, SealedSegment};
use crate::group::state::Rewind;
use crate::group::tail::TailEntry;
use crate::journal::group_image::Stored;
use crate::pool::pool_dir;
use crate::sync::locked;
use chronik_core::fs::{APPEND_BLOCK_BYTES, Advice, File, FileSystem, FsError, OpenMode};
use chronik_core::{EntryMeta, LogIndex};
use std::path::Path;
use std::sync::Arc;

/// Where a segment file stands that takes entries.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    pub(crate) seg: Arc<OpenSegment>,
    pub(crate) at: WriterPlace,
    /// Bytes written since the last sync.
    pub(crate) unsynced_bytes: u64,
    /// What lies before this is on its way to the disk, or there.
    pub(crate) begun_to: u64,
    /// Whether the file's name is not durable yet.
    pub(crate) unnamed: bool,
    /// Whether the file was another segment's once.
    pub(crate) reused: bool,
    /// The length of the file, which may hold more than this use of it wrote.
    pub(crate) file_bytes: u64,
    /// Whether somebody is expected to read soon what is written.
    pub(crate) readers: bool,
}

/// The end of what has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriterPlace {
    /// Where the next frame goes.
    pub(crate) end: u64,
    /// The checksum of the last header.
    pub(crate) chain: u32,
    /// Where the newest index block lies, or 0.
    pub(crate) index_at: u64,
}

impl WriterPlace {
    /// The place of the first frame.
    pub(crate) const START: Self = Self {
        end: SEGMENT_HEADER_BYTES,
        chain: 0,
        index_at: 0,
    };
}

impl SegmentWriter {
    pub(crate) fn base(&self) -> LogIndex {
        self.seg.file.header.base
    }

    /// The file, opened where it is not.
    pub(crate) fn file(&self, fs: &dyn FileSystem) -> Result<Arc<dyn File>, FsError> {
        let mut writing = locked(&self.seg.writing);
        if let Some(file) = &*writing {
            return Ok(Arc::clone(file));
        }
        let file = fs.open(&self.seg.file.path, OpenMode::Write)?;
        *writing = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Lets go of the file. Only where everything in it is synced.
    pub(crate) fn close_file(&self) {
        assert_eq!(self.unsynced_bytes, 0, "a file with unsynced bytes stays open");
        *locked(&self.seg.writing) = None;
    }

    /// Writes the file's header.
    pub(crate) fn write_header(&mut self, fs: &dyn FileSystem) -> Result<(), FsError> {
        let header = self.seg.file.header.encode();
        self.file(fs)?.write_at(&[&header], 0)?;
        self.unsynced_bytes += header.len() as u64;
        Ok(())
    }

    /// Writes entries behind the last one. Where it fails, some may have been written; the caller rewinds.
    pub(crate) fn append(&mut self, fs: &dyn FileSystem, entries: &[TailEntry]) -> Result<(), FsError> {
        let file = self.file(fs)?;
        let mut rest = entries;
        while !rest.is_empty() {
            let taken = self.append_run(&*file, rest)?;
            rest = rest.get(taken..).unwrap_or_default();
            let (due, block) = {
                let index = locked(&self.seg.index);
                let due = index.block_is_due(self.at.end);
                (due, due.then(|| index.encode()))
            };
            if let (true, Some(payload)) = (due, block) {
                let at = self.at.end;
                self.write_frame(
                    &*file,
                    &Record::new(FrameType::IndexBlock, self.seg.file.header.group, payload),
                )?;
                self.at.index_at = at;
                locked(&self.seg.index).block_written(at);
            }
            if self.readers {
                self.begin_writing(&*file);
            }
        }
        Ok(())
    }

    /// Has the system write in steps what the next sync would otherwise write at once: the journal's syncs would wait for
    /// all of it.
    fn begin_writing(&mut self, file: &dyn File) {
        const STEP_BYTES: u64 = 1 << 20;
        self.begun_to = self.begun_to.min(self.at.end);
        if self.at.end - self.begun_to >= STEP_BYTES {
            file.advise(self.begun_to, self.at.end - self.begun_to, Advice::WriteSoon);
            self.begun_to = self.at.end;
        }
    }

    /// Writes entries up to the next index block in one call; returns how many.
    fn append_run(&mut self, file: &dyn File, entries: &[TailEntry]) -> Result<usize, FsError> {
        const RUN_BYTES: u64 = 1 << 20;
        let mut headers = Vec::with_capacity(entries.len().min(4096) * HEADER_BYTES);
        let mut metas: Vec<(EntryMeta, u64)> = Vec::with_capacity(entries.len().min(4096));
        let mut place = self.at;
        let mut trial = RunTrial::new(&locked(&self.seg.index));
        for tail in entries {
            let record = entry_record(self.seg.file.header.group, tail);
            let meta = tail.entry.meta();
            metas.push((meta, place.end));
            trial.push(&meta, place.end);
            place.chain = encode_header(
                &mut headers,
                &record,
                self.place_of(place),
                self.seg.file.header.salt,
            );
            place.end += record.frame_bytes();
            if trial.index.block_is_due(place.end) || place.end - self.at.end >= RUN_BYTES {
                break;
            }
        }
        let mut parts: Vec<&[u8]> = Vec::with_capacity(metas.len() * 2);
        for (header, tail) in headers.chunks_exact(HEADER_BYTES).zip(entries) {
            parts.push(header);
            parts.push(&tail.entry.payload);
        }
        self.write(file, &parts, place.end)?;
        self.at = place;
        let mut index = locked(&self.seg.index);
        for (meta, at) in &metas {
            index.push(meta, *at);
        }
        Ok(metas.len())
    }

    fn place_of(&self, place: WriterPlace) -> Place {
        Place {
            file: self.seg.file.header.generation,
            synced: 0,
            position: place.end,
            chain: place.chain,
        }
    }

    fn write_frame(&mut self, file: &dyn File, record: &Record) -> Result<u64, FsError> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        let salt = self.seg.file.header.salt;
        let chain = encode_header(&mut header, record, self.place_of(self.at), salt);
        let bytes = record.frame_bytes();
        self.write(file, &[&header, &record.payload], self.at.end + bytes)?;
        self.at.end += bytes;
        self.at.chain = chain;
        Ok(bytes)
    }

    /// Writes what lies between the end and `end`.
    fn write(&mut self, file: &dyn File, parts: &[&[u8]], end: u64) -> Result<(), FsError> {
        let mut written_to = end;
        if self.readers {
            file.write_at(parts, self.at.end)?;
        } else {
            file.append_at(parts, self.at.end)?;
            written_to = end.next_multiple_of(APPEND_BLOCK_BYTES);
        }
        self.unsynced_bytes += end - self.at.end;
        self.file_bytes = self.file_bytes.max(written_to);
        Ok(())
    }

    /// Goes back to an earlier end; what lies behind it will be written over.
    pub(crate) fn restore(&mut self, place: WriterPlace, index: SegmentIndex) {
        self.at = place;
        *locked(&self.seg.index) = index;
    }

    /// Goes back to where a truncation cut.
    pub(crate) fn rewind(&mut self, rewind: Rewind) {
        let place = WriterPlace {
            end: rewind.end,
            chain: rewind.chain,
            index_at: rewind.index.blocks.last().map_or(0, |block| block.at),
        };
        self.restore(place, rewind.index);
    }

    /// Ends the file: footer and trailer, cut to its length, synced with its name.
    pub(crate) fn seal(&mut self, fs: &dyn FileSystem, step_bytes: u64) -> Result<SealedSegment, FsError> {
        let file = self.file(fs)?;
        let payload = locked(&self.seg.index).encode();
        let footer_at = self.at.end;
        let record = Record::new(FrameType::Footer, self.seg.file.header.group, payload);
        let footer_bytes = self.write_frame(&*file, &record)?;
        let trailer = Trailer {
            footer_at,
            footer_bytes,
        };
        let encoded = trailer.encode(self.seg.file.header.salt);
        file.write_at(&[&encoded], self.at.end)?;
        self.at.end += encoded.len() as u64;
        self.unsynced_bytes += encoded.len() as u64;
        let mut file_bytes = self.file_bytes.max(self.at.end);
        while file_bytes > self.at.end {
            file_bytes = file_bytes.saturating_sub(step_bytes).max(self.at.end);
            file.set_len(file_bytes)?;
        }
        self.file_bytes = file_bytes;
        self.sync(fs)?;
        self.close_file();
        Ok(SealedSegment::new(
            Arc::clone(&self.seg.file),
            file_bytes,
            trailer,
        ))
    }

    /// Makes everything that was written durable, and the file's name.
    pub(crate) fn sync(&mut self, fs: &dyn FileSystem) -> Result<(), FsError> {
        if self.unsynced_bytes > 0 {
            final_sync(self.file(fs)?.sync_data())?;
            self.unsynced_bytes = 0;
        }
        if self.unnamed {
            sync_names(fs, &self.seg.file.path)?;
            if let (true, Some(dir)) = (self.reused, self.seg.file.path.ancestors().nth(3)) {
                final_sync(fs.sync_dir(&pool_dir(dir)))?;
            }
            self.unnamed = false;
        }
        Ok(())
    }

    /// Gives back the memory in which the system keeps what is synced. Nothing else changes.
    pub(crate) fn drop_cache(&self) {
        if let Some(file) = &*locked(&self.seg.writing) {
            file.advise(0, self.at.end, Advice::DropCache);
        }
    }

    /// What the journal has to say once everything here is synced.
    pub(crate) fn stored(&self) -> Stored {
        assert_eq!(self.unsynced_bytes, 0, "only synced entries are stored");
        let index = locked(&self.seg.index);
        Stored {
            through: index.last,
            next_offset: index.end_offset,
            segment: self.base(),
            end: self.at.end,
            chain: self.at.chain,
            index_at: self.at.index_at,
            sealed: false,
            exact: true,
        }
    }
}

/// Only as much of an index as is needed to see where a block ends.
struct RunTrial {
    index: SegmentIndex,
}

impl RunTrial {
    fn new(index: &SegmentIndex) -> Self {
        Self {
            index: SegmentIndex {
                partial: index.partial.clone(),
                size_bytes: index.size_bytes,
                ..SegmentIndex::new(index.end_offset)
            },
        }
    }

    fn push(&mut self, meta: &EntryMeta, at: u64) {
        self.index.push(meta, at);
    }
}

/// Makes the name of a segment durable, and those of the directories above it.
pub(crate) fn sync_names(fs: &dyn FileSystem, path: &Path) -> Result<(), FsError> {
    let group_dir = path.parent().unwrap_or(path);
    final_sync(fs.sync_dir(group_dir))?;
    final_sync(fs.sync_dir(group_dir.parent().unwrap_or(group_dir)))
}

/// The record of an entry, for the journal or for a segment.
pub(crate) fn entry_record(group: chronik_core::GroupId, tail: &TailEntry) -> Record {
    let entry = &tail.entry;
    Record {
        frame_type: FrameType::Entry,
        entry_kind: entry.kind as u8,
        group,
        id: entry.id,
        offset: entry.base_offset,
        max_timestamp_ms: entry.max_timestamp_ms,
        record_count: entry.record_count,
        truncations: 0,
        commit_hint: LogIndex(0),
        payload: entry.payload.clone(),
        payload_crc: tail.crc,
    }
}
