//! What is in the tier, as a state machine: the partition's apply feeds it the commands that its log carries.
//!
//! The truth about a partition's cold data is this state, replicated with the partition. Manifests in the bucket are
//! copies of it, for recovery and for readers outside of the cluster. Byte layouts: `docs/format/tier-state.md`.

mod command;
mod segment;
#[cfg(test)]
mod tests;

pub use command::TierCommand;
pub use segment::SegmentMeta;

use crate::codec::{Decoder, Encode, Malformed, sealed, unsealed};
use crate::key::{PartitionKey, SegmentKey};
use bytes::{BufMut, Bytes};
use chronik_core::{LogId, Offset, Term};
use std::sync::Arc;

const VERSION: u8 = 1;

/// The place up to which everything was uploaded. Never moves back, also where all of it was deleted since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierEnd {
    /// The last entry uploaded; index 0 where there is none.
    pub last: LogId,
    /// The offset after it.
    pub offset: Offset,
}

/// A segment that is not referenced any more, and whose object is still to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// The segment.
    pub segment: Arc<SegmentMeta>,
    /// The version of the state that first was without it.
    pub removed_in: u64,
    /// When a manifest without it is known to have been published, in wall milliseconds of the leader.
    pub unpublished_since_ms: Option<i64>,
}

/// What a command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The state changed.
    Changed,
    /// Local data below this offset can be dropped.
    DropLocal(Offset),
    /// Nothing: the command came too late, or twice.
    Ignored,
}

/// What is in the tier. Built by [`TierState::apply`] and [`TierState::remove_below`] alone; equal logs give equal
/// states, and equal states equal bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TierState {
    segments: Vec<Arc<SegmentMeta>>,
    end: TierEnd,
    local_start: Offset,
    garbage: Vec<Garbage>,
    version: u64,
    published: u64,
}

impl TierState {
    /// The segments that can be read, oldest first.
    #[must_use]
    pub fn segments(&self) -> &[Arc<SegmentMeta>] {
        &self.segments
    }

    /// Up to where everything was uploaded.
    #[must_use]
    pub const fn end(&self) -> TierEnd {
        self.end
    }

    /// Below this offset local data was dropped, because the tier has it.
    #[must_use]
    pub const fn local_start(&self) -> Offset {
        self.local_start
    }

    /// What waits for its deletion.
    #[must_use]
    pub fn garbage(&self) -> &[Garbage] {
        &self.garbage
    }

    /// Rises with every change.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The newest version that is known to be in the bucket.
    #[must_use]
    pub const fn published(&self) -> u64 {
        self.published
    }

    /// The offsets that can be read; empty where nothing can.
    #[must_use]
    pub fn offsets(&self) -> std::ops::Range<Offset> {
        match (self.segments.first(), self.segments.last()) {
            (Some(first), Some(last)) => first.offsets.start..last.offsets.end,
            _ => self.end.offset..self.end.offset,
        }
    }

    /// Bytes of the objects that can be read.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.object_bytes).sum()
    }

    /// The number of the segment that holds `offset`.
    #[must_use]
    pub fn find(&self, offset: Offset) -> Option<usize> {
        let at = self
            .segments
            .partition_point(|segment| segment.offsets.end <= offset);
        let found = self.segments.get(at)?;
        (found.offsets.start <= offset).then_some(at)
    }

    /// The largest term at or below `term` that has records here, and the offset after its last one.
    #[must_use]
    pub fn end_of_term(&self, term: Term) -> Option<(Term, Offset)> {
        let after = self
            .segments
            .partition_point(|segment| segment.terms.first().is_some_and(|span| span.term <= term));
        let segment = self.segments.get(after.checked_sub(1)?)?;
        let span = segment.terms.iter().rev().find(|span| span.term <= term)?;
        Some((span.term, span.offsets.end))
    }

    /// Whether an object with this name is referenced.
    #[must_use]
    pub fn references(&self, key: &SegmentKey) -> bool {
        self.find(key.offsets.start)
            .and_then(|at| self.segments.get(at))
            .is_some_and(|segment| segment.key(key.partition) == *key)
    }

    /// Whether an object with this name waits for its deletion.
    #[must_use]
    pub fn is_garbage(&self, key: &SegmentKey) -> bool {
        self.garbage
            .iter()
            .any(|garbage| garbage.segment.key(key.partition) == *key)
    }

    /// Whether neither this state nor any that follows it refers to an object with this name: nothing refers to it now,
    /// and what is added starts at the end, which never moves back. So it holds whoever leads next, and an object that
    /// is on its way to be referenced is never meant.
    #[must_use]
    pub fn is_past(&self, key: &SegmentKey) -> bool {
        key.offsets.start < self.end.offset && !self.references(key) && !self.is_garbage(key)
    }

    /// Applies a command of the log.
    pub fn apply(&mut self, command: &TierCommand) -> Applied {
        match command {
            TierCommand::Add(segment) => self.add(segment),
            TierCommand::Remove { below } => self.remove_below(*below),
            TierCommand::Published { version, at_ms } => self.note_published(*version, *at_ms),
            TierCommand::Cleanup { segments } => self.cleanup(segments),
            TierCommand::DropLocal { below } => self.drop_local(*below),
        }
    }

    /// Adds the next segment. One that does not continue the tier is ignored: another leader was faster, or the
    /// records in between were deleted before they could be uploaded and older ones are still here.
    fn add(&mut self, segment: &Arc<SegmentMeta>) -> Applied {
        let continues = match self.segments.last() {
            Some(_) => segment.offsets.start == self.end.offset,
            None => segment.offsets.start >= self.end.offset,
        };
        let later = segment.first.index > self.end.last.index && segment.first.term >= self.end.last.term;
        let name = segment.key(PartitionKey {
            topic_id: 0,
            partition: 0,
        });
        if !continues || !later || segment.offsets.is_empty() || self.is_garbage(&name) {
            return Applied::Ignored;
        }
        self.end = TierEnd {
            last: segment.last,
            offset: segment.offsets.end,
        };
        self.segments.push(Arc::clone(segment));
        self.version += 1;
        Applied::Changed
    }

    /// Takes out the segments that lie wholly below `offset`: the log start moved there.
    pub fn remove_below(&mut self, offset: Offset) -> Applied {
        let gone = self
            .segments
            .partition_point(|segment| segment.offsets.end <= offset);
        if gone == 0 {
            return Applied::Ignored;
        }
        self.version += 1;
        let removed_in = self.version;
        self.garbage
            .extend(self.segments.drain(..gone).map(|segment| Garbage {
                segment,
                removed_in,
                unpublished_since_ms: None,
            }));
        Applied::Changed
    }

    /// Takes out everything: the topic is deleted, or the tier is switched off.
    pub fn remove_all(&mut self) -> Applied {
        self.remove_below(self.end.offset)
    }

    fn note_published(&mut self, version: u64, at_ms: i64) -> Applied {
        if version <= self.published || version > self.version {
            return Applied::Ignored;
        }
        self.published = version;
        for garbage in &mut self.garbage {
            if garbage.removed_in <= version && garbage.unpublished_since_ms.is_none() {
                garbage.unpublished_since_ms = Some(at_ms);
            }
        }
        Applied::Changed
    }

    /// Forgets objects that were deleted. One that no published manifest is without is not: it was not deleted.
    fn cleanup(&mut self, segments: &[(LogId, u32, u32)]) -> Applied {
        let before = self.garbage.len();
        self.garbage.retain(|garbage| {
            let segment = &garbage.segment;
            let named = segments.contains(&(segment.last, segment.crc, segment.salt));
            !named || garbage.unpublished_since_ms.is_none()
        });
        match before == self.garbage.len() {
            true => Applied::Ignored,
            false => Applied::Changed,
        }
    }

    /// Moves the start of local data, never past what was uploaded.
    fn drop_local(&mut self, below: Offset) -> Applied {
        let to = below.min(self.end.offset);
        if to <= self.local_start {
            return Applied::Ignored;
        }
        self.local_start = to;
        Applied::DropLocal(to)
    }

    /// The state as it was published, with nothing left to delete but what it says.
    pub(crate) fn restored(segments: Vec<Arc<SegmentMeta>>, end: TierEnd, version: u64) -> Self {
        Self {
            segments,
            end,
            local_start: end.offset,
            garbage: Vec::new(),
            version,
            published: version,
        }
    }

    /// The state as bytes, for a checkpoint.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(128 + self.segments.len() * 128);
        out.put_u8(VERSION);
        out.put_u64_le(self.version);
        out.put_u64_le(self.published);
        out.put_log_id(self.end.last);
        out.put_i64_le(self.end.offset.0);
        out.put_i64_le(self.local_start.0);
        out.put_count(self.segments.len());
        self.segments.iter().for_each(|segment| segment.put(&mut out));
        out.put_count(self.garbage.len());
        for garbage in &self.garbage {
            garbage.segment.put(&mut out);
            out.put_u64_le(garbage.removed_in);
            out.put_u8(u8::from(garbage.unpublished_since_ms.is_some()));
            out.put_i64_le(garbage.unpublished_since_ms.unwrap_or(0));
        }
        sealed(out)
    }

    /// Reads what [`TierState::encode`] wrote.
    ///
    /// # Errors
    /// `Malformed`, also where its parts contradict each other.
    pub fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(unsealed(bytes)?);
        if decoder.u8()? != VERSION {
            return Err(Malformed("the tier's state is of an unknown version"));
        }
        let mut state = Self {
            version: decoder.u64()?,
            published: decoder.u64()?,
            end: TierEnd {
                last: decoder.log_id()?,
                offset: Offset(decoder.i64()?),
            },
            local_start: Offset(decoder.i64()?),
            ..Self::default()
        };
        for _ in 0..decoder.count(SegmentMeta::BYTES_MIN)? {
            state.segments.push(Arc::new(SegmentMeta::take(&mut decoder)?));
        }
        for _ in 0..decoder.count(SegmentMeta::BYTES_MIN + 17)? {
            let segment = Arc::new(SegmentMeta::take(&mut decoder)?);
            let removed_in = decoder.u64()?;
            let (known, at_ms) = (decoder.flag()?, decoder.i64()?);
            state.garbage.push(Garbage {
                segment,
                removed_in,
                unpublished_since_ms: known.then_some(at_ms),
            });
        }
        decoder.end()?;
        SegmentMeta::check_chain(&state.segments)?;
        if state
            .segments
            .last()
            .is_some_and(|last| last.offsets.end != state.end.offset)
        {
            return Err(Malformed("the tier does not end with its last segment"));
        }
        Ok(state)
    }
}
