//! Removing a suffix of a group's log.

use crate::frame::FrameType;
use crate::group::seg::{Disk, Seg};
use crate::group::state::{Cut, Rewind};
use crate::queue::Effect;
use crate::segment::cursor::Source;
use crate::segment::open::{cut_before, read_footer};
use crate::sync::locked;
use crate::writer::{GroupWriter, empty_record};
use chronik_core::{LogError, LogId, LogIndex, Ticket};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

impl GroupWriter {
    pub(crate) fn truncate(&self, from: LogIndex) -> Result<Ticket, LogError> {
        self.inner.check_open()?;
        loop {
            // Entries that lie in segments are gone from memory, so what stays has to be looked up: the one case in
            // which a writer's call reads from the disk.
            let cut = match self.segment_to_cut(from)? {
                None => None,
                Some((seg, rewrites)) => match self.cut(&seg, from) {
                    Ok(rewind) => Some((rewind, rewrites)),
                    Err(_) if locked(&self.group.state).rewrites != rewrites => continue,
                    Err(error) => return Err(error),
                },
            };
            let mut state = locked(&self.group.state);
            if from == state.last.index.next() {
                return Ok(self.barrier());
            }
            let rewrites = state.rewrites;
            let copied = state.copied;
            let cuts_copied = from <= copied
                && state
                    .segs
                    .iter()
                    .any(|seg| seg.base() < from && seg.last.index >= from);
            let cut = match cut {
                Some((rewind, known)) if known == rewrites => Some(Cut { rewind }),
                None if !cuts_copied => None,
                // The background lane moved something meanwhile.
                _ => continue,
            };
            let uncopied = state.uncopied_bytes;
            let gone = state.truncate(from, cut);
            self.inner
                .uncopied_bytes
                .fetch_sub(uncopied - state.uncopied_bytes, Ordering::Relaxed);
            let mut record = empty_record(FrameType::Truncate, &self.group);
            record.id = LogId {
                term: state.last.term,
                index: from,
            };
            record.offset = state.offset_end;
            record.truncations = state.truncations;
            let effect = Effect::Truncated {
                through: state.last.index,
                truncations: state.truncations,
                gone,
            };
            return Ok(self.queue(VecDeque::from([record]), effect));
        }
    }

    /// The segment in which copied entries have to go while others stay.
    fn segment_to_cut(&self, from: LogIndex) -> Result<Option<(Seg, u64)>, LogError> {
        let state = locked(&self.group.state);
        if from <= state.purged.index {
            return Err(LogError::Compacted {
                first: state.purged.index.next(),
            });
        }
        if from > state.last.index.next() {
            return Err(LogError::OutOfOrder {
                expected: state.last.index.next(),
                got: from,
            });
        }
        if from > state.copied {
            return Ok(None);
        }
        let holder = state
            .segs
            .iter()
            .find(|seg| seg.base() < from && seg.last.index >= from);
        Ok(holder.map(|seg| (seg.clone(), state.rewrites)))
    }

    fn cut(&self, seg: &Seg, from: LogIndex) -> Result<Rewind, LogError> {
        let inner = &self.inner;
        let failed = |error: chronik_core::fs::FsError| LogError::Io(error);
        let pending = locked(&self.group.state).rewind.clone();
        let known = pending.filter(|rewind| rewind.base == seg.base());
        match &seg.disk {
            Disk::None => Err(LogError::Truncated),
            Disk::Open(open) => {
                let file = inner.handles.open_segment(&*inner.fs, open).map_err(failed)?;
                let index = known.map_or_else(|| locked(&open.index).clone(), |rewind| rewind.index);
                cut_before(&open.file, &Source::File(file), &index, u64::MAX, from)
                    .map_err(|error| error.into_log_error(&inner.options.dir, &open.file))
            }
            Disk::Sealed(sealed) => {
                let map = inner.handles.map(&*inner.fs, sealed).map_err(failed)?;
                let source = Source::Map(map.map);
                let in_file = |error: crate::segment::cursor::CursorError| {
                    error.into_log_error(&inner.options.dir, &sealed.file)
                };
                let index = match known {
                    Some(rewind) => rewind.index,
                    None => {
                        read_footer(&sealed.file, &source, sealed.file_bytes)
                            .map_err(in_file)?
                            .1
                    }
                };
                cut_before(&sealed.file, &source, &index, sealed.trailer.footer_at, from).map_err(in_file)
            }
        }
    }
}
