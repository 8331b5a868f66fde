//! One segment of a group as memory knows it.

use crate::segment::header::{SegmentHeader, Trailer};
use crate::segment::index::{SegmentIndex, data_timestamp};
use chronik_core::fs::File;
use chronik_core::log_store::SegmentInfo;
use chronik_core::{Entry, LogId, LogIndex, Offset};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// A segment: a run of entries that the rule of the group's policy puts together.
#[derive(Clone, Debug)]
pub(crate) struct Seg {
    pub(crate) first: LogId,
    pub(crate) last: LogId,
    pub(crate) base_offset: Offset,
    pub(crate) end_offset: Offset,
    pub(crate) max_timestamp_ms: i64,
    /// Bytes of payload.
    pub(crate) size_bytes: u64,
    /// It takes no entry once it holds this many bytes of payload.
    pub(crate) limit_bytes: u64,
    /// Whether it takes no more entries.
    pub(crate) closed: bool,
    pub(crate) disk: Disk,
}

/// Where a segment's entries lie, apart from the tail in memory.
#[derive(Clone, Debug)]
pub(crate) enum Disk {
    /// Nowhere yet.
    None,
    /// In a file that is still written.
    Open(Arc<OpenSegment>),
    /// In a file that never changes again.
    Sealed(Arc<SealedSegment>),
}

/// A segment file by name and identity.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
}

/// A segment file that is still written: by the background lane alone, beyond what its index covers.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) file: Arc<SegmentFile>,
    /// Covers what has been written. Locked for moments, never across a call to the disk.
    pub(crate) index: Mutex<SegmentIndex>,
    /// The file while it is open for writing. It stays open as long as anything in it is not synced: a handle that
    /// was opened later might not hear of a failed write-back.
    pub(crate) writing: Mutex<Option<Arc<dyn File>>>,
}

/// A segment file that is complete, synced, and never changes again.
#[derive(Debug)]
pub(crate) struct SealedSegment {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) file_bytes: u64,
    pub(crate) trailer: Trailer,
    /// Whether the file belongs to somebody else now. Locked while the file is mapped, so that nothing maps a file
    /// that was given away.
    pub(crate) retired: Mutex<bool>,
}

impl SealedSegment {
    pub(crate) fn new(file: Arc<SegmentFile>, file_bytes: u64, trailer: Trailer) -> Self {
        Self {
            file,
            file_bytes,
            trailer,
            retired: Mutex::new(false),
        }
    }

    /// Ends the making of maps.
    pub(crate) fn retire(&self) {
        *crate::sync::locked(&self.retired) = true;
    }
}

impl Seg {
    /// A segment that starts with `entry`, which is not in it yet.
    pub(crate) fn starting_with(entry: &Entry, limit_bytes: u64) -> Self {
        Self {
            first: entry.id,
            last: LogId::default(),
            base_offset: entry.base_offset,
            end_offset: entry.base_offset,
            max_timestamp_ms: -1,
            size_bytes: 0,
            limit_bytes,
            closed: false,
            disk: Disk::None,
        }
    }

    /// A segment as its index in a file describes it, or `None` where it has no entries.
    pub(crate) fn from_index(file: &SegmentFile, index: &SegmentIndex) -> Option<Self> {
        let first_term = index.terms.first()?.term;
        Some(Self {
            first: LogId {
                term: first_term,
                index: file.header.base,
            },
            last: index.last,
            base_offset: file.header.base_offset,
            end_offset: index.end_offset,
            max_timestamp_ms: index.max_timestamp_ms,
            size_bytes: index.size_bytes,
            limit_bytes: file.header.segment_bytes,
            closed: index.size_bytes >= file.header.segment_bytes,
            disk: Disk::None,
        })
    }

    pub(crate) fn push(&mut self, entry: &Entry) {
        assert!(!self.closed, "a closed segment takes no entry");
        let meta = entry.meta();
        self.last = meta.id;
        self.end_offset = meta.end_offset();
        self.max_timestamp_ms = self.max_timestamp_ms.max(data_timestamp(&meta));
        self.size_bytes += u64::from(meta.payload_bytes);
        self.closed = self.size_bytes >= self.limit_bytes;
    }

    pub(crate) const fn base(&self) -> LogIndex {
        self.first.index
    }

    /// Whether its file is the one that `open` stands for.
    pub(crate) fn is_open_as(&self, open: &Arc<OpenSegment>) -> bool {
        matches!(&self.disk, Disk::Open(own) if Arc::ptr_eq(own, open))
    }

    pub(crate) const fn info(&self) -> SegmentInfo {
        SegmentInfo {
            first: self.first,
            last: self.last,
            offsets: self.base_offset..self.end_offset,
            max_timestamp_ms: self.max_timestamp_ms,
            size_bytes: self.size_bytes,
            sealed: self.closed,
        }
    }

    /// The file that holds it, if there is one.
    pub(crate) fn file(&self) -> Option<&Arc<SegmentFile>> {
        match &self.disk {
            Disk::None => None,
            Disk::Open(open) => Some(&open.file),
            Disk::Sealed(sealed) => Some(&sealed.file),
        }
    }
}
