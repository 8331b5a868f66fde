//! What the journal says about one group.

use crate::codec::{Decoder, Encode, Malformed};
use crate::frame::{FrameType, Record};
use bytes::Bytes;
use chronik_core::log_store::HardState;
use chronik_core::{GroupId, LogId, LogIndex, Offset, ReplicaId, Term};

/// How far a group's entries are durable in segment files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The last such entry.
    pub(crate) through: LogId,
    /// The offset after it.
    pub(crate) next_offset: Offset,
    /// The first index of the segment that holds it.
    pub(crate) segment: LogIndex,
    /// The byte after its frame; 0 where no segment file is trusted.
    pub(crate) end: u64,
    /// The checksum of the last header before `end`.
    pub(crate) chain: u32,
    /// Where the newest index block before `end` lies; 0 where there is none.
    pub(crate) index_at: u64,
    /// Whether the segment ends here and has its footer.
    pub(crate) sealed: bool,
    /// Whether the fields from `segment` on are known; a truncation forgets them.
    pub(crate) exact: bool,
}

/// The place where the stored data of a group starts: what came before its first segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) before: LogId,
    pub(crate) offset: Offset,
}

/// A decision about segments that entries after `after` obey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roll {
    pub(crate) after: LogIndex,
    pub(crate) segment_bytes: u64,
    /// Whether the segment ends after `after`.
    pub(crate) now: bool,
}

/// A checkpoint without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointNote {
    pub(crate) at: LogId,
    pub(crate) next_offset: Offset,
    pub(crate) bytes: u32,
    pub(crate) crc: u32,
    /// Whether it lies in a file of its own; otherwise in the journal.
    pub(crate) stored: bool,
}

/// The state of one group as of one journal position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupImage {
    pub(crate) hard_state: HardState,
    pub(crate) purged: LogId,
    pub(crate) offset_start: Offset,
    pub(crate) truncations: u32,
    pub(crate) commit_hint: LogIndex,
    pub(crate) last: LogId,
    pub(crate) offset_end: Offset,
    pub(crate) start: Start,
    pub(crate) stored: Stored,
    /// The policy for segments that start after `stored.through`, before `rolls`.
    pub(crate) segment_bytes: u64,
    /// Decisions at or after `stored.through`, in order.
    pub(crate) rolls: Vec<Roll>,
    pub(crate) checkpoints: Vec<CheckpointNote>,
}

impl GroupImage {
    /// The image of a group that `record` creates.
    pub(crate) fn created(record: &Record) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(&record.payload);
        let segment_bytes = decoder.u64()?;
        decoder.end()?;
        Ok(Self {
            segment_bytes,
            stored: Stored {
                segment: LogIndex(1),
                exact: true,
                ..Stored::default()
            },
            ..Self::default()
        })
    }

    /// The policy of a segment that starts after the last entry.
    pub(crate) fn newest_policy(&self) -> u64 {
        self.rolls
            .last()
            .map_or(self.segment_bytes, |roll| roll.segment_bytes)
    }

    /// Applies one record of this group.
    pub(crate) fn apply(&mut self, record: &Record) -> Result<(), Malformed> {
        match record.frame_type {
            FrameType::Entry => self.apply_entry(record)?,
            FrameType::Truncate => self.apply_truncate(record)?,
            FrameType::Purge => self.apply_purge(record)?,
            FrameType::HardState => self.apply_hard_state(record)?,
            FrameType::Checkpoint => self.apply_checkpoint(record)?,
            FrameType::CheckpointStored => {
                for note in self.checkpoints.iter_mut().filter(|note| note.at == record.id) {
                    note.stored = true;
                }
            }
            FrameType::Stored => self.apply_stored(record)?,
            FrameType::Roll => {
                let roll = decode_roll(record)?;
                if roll.after > self.last.index {
                    return Err(Malformed("a roll after the end of the log"));
                }
                self.rolls.push(roll);
            }
            FrameType::CommitHint => {}
            _ => return Err(Malformed("a frame of this type does not belong to a group")),
        }
        self.commit_hint = self.commit_hint.max(record.commit_hint.min(self.last.index));
        Ok(())
    }

    fn apply_entry(&mut self, record: &Record) -> Result<(), Malformed> {
        let end = record.offset.checked_add(record.record_count);
        let follows = record.truncations == self.truncations
            && record.id.index.0.checked_sub(1) == Some(self.last.index.0)
            && record.id.term >= self.last.term
            && record.offset == self.offset_end;
        match end {
            Some(end) if follows => {
                self.last = record.id;
                self.offset_end = end;
                Ok(())
            }
            _ => Err(Malformed("an entry does not follow the one before")),
        }
    }

    fn apply_truncate(&mut self, record: &Record) -> Result<(), Malformed> {
        let from = record.id.index;
        let sane = from > self.purged.index
            && from <= self.last.index
            && Some(record.truncations) == self.truncations.checked_add(1)
            && record.offset <= self.offset_end;
        if !sane {
            return Err(Malformed("a truncation does not fit the log"));
        }
        self.last = LogId {
            term: record.id.term,
            index: LogIndex(from.0 - 1),
        };
        self.offset_end = record.offset;
        self.offset_start = self.offset_start.min(self.offset_end);
        self.truncations = record.truncations;
        self.commit_hint = self.commit_hint.min(self.last.index);
        self.rolls.retain(|roll| roll.after < from);
        if self.stored.through.index >= from {
            self.stored = Stored {
                through: self.last,
                next_offset: self.offset_end,
                ..Stored::default()
            };
        } else if !self.stored.sealed {
            // The segment may have been sealed behind what is stored by now, and then another file takes its place: it
            // has the same entries, and other checksums.
            self.stored.exact = false;
        }
        Ok(())
    }

    fn apply_purge(&mut self, record: &Record) -> Result<(), Malformed> {
        let purge = PurgeRecord::decode(record)?;
        if purge.through.index < self.purged.index || purge.offset_start < self.offset_start {
            return Err(Malformed("a purge goes back"));
        }
        match purge.reset {
            Some(offset_end) => {
                self.last = purge.through;
                self.offset_end = offset_end;
                self.segment_bytes = self.newest_policy();
                self.rolls.clear();
            }
            None if purge.through.index > self.last.index => {
                return Err(Malformed("a purge beyond the end of the log"));
            }
            None => {}
        }
        self.purged = purge.through;
        self.offset_start = purge.offset_start;
        self.start = purge.start;
        if purge.reset.is_some() || self.start.before.index > self.stored.through.index {
            self.stored = Stored {
                through: self.start.before,
                next_offset: self.start.offset,
                segment: self.start.before.index.next(),
                exact: true,
                ..Stored::default()
            };
            self.fold_rolls();
        }
        retain_checkpoints(&mut self.checkpoints, self.purged.index, |note| note.at.index);
        Ok(())
    }

    fn apply_hard_state(&mut self, record: &Record) -> Result<(), Malformed> {
        let mut decoder = Decoder::new(&record.payload);
        let voted = decoder.bool()?;
        let vote = ReplicaId(decoder.u64()?);
        decoder.end()?;
        if record.id.term < self.hard_state.term {
            return Err(Malformed("a hard state goes back"));
        }
        self.hard_state = HardState {
            term: record.id.term,
            vote: voted.then_some(vote),
        };
        Ok(())
    }

    fn apply_checkpoint(&mut self, record: &Record) -> Result<(), Malformed> {
        let note = CheckpointNote {
            at: record.id,
            next_offset: record.offset,
            bytes: u32::try_from(record.payload.len()).map_err(|_| Malformed("a checkpoint too large"))?,
            crc: record.payload_crc,
            stored: false,
        };
        insert_checkpoint(&mut self.checkpoints, note, |note| note.at.index);
        retain_checkpoints(&mut self.checkpoints, self.purged.index, |note| note.at.index);
        Ok(())
    }

    fn apply_stored(&mut self, record: &Record) -> Result<(), Malformed> {
        let stored = decode_stored(record)?;
        let sane = record.truncations == self.truncations
            && stored.through.index >= self.stored.through.index
            && stored.through.index <= self.last.index
            && stored.segment <= stored.through.index;
        if !sane {
            return Err(Malformed("a stored mark does not fit the log"));
        }
        self.stored = stored;
        self.fold_rolls();
        Ok(())
    }

    /// Decisions that lie in the stored past are folded into the policy.
    fn fold_rolls(&mut self) {
        let stored = self.stored;
        let past = |roll: &Roll| {
            roll.after < stored.through.index || (roll.after == stored.through.index && stored.sealed)
        };
        if let Some(newest) = self.rolls.iter().rfind(|roll| past(roll)) {
            self.segment_bytes = newest.segment_bytes;
        }
        self.rolls.retain(|roll| !past(roll));
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_hard_state(out, self.hard_state);
        put_id(out, self.purged);
        out.put_i64(self.offset_start.0);
        out.put_u32(self.truncations);
        out.put_u64(self.commit_hint.0);
        put_id(out, self.last);
        out.put_i64(self.offset_end.0);
        put_id(out, self.start.before);
        out.put_i64(self.start.offset.0);
        put_id(out, self.stored.through);
        out.put_i64(self.stored.next_offset.0);
        put_stored(out, &self.stored);
        out.put_bool(self.stored.exact);
        out.put_u64(self.segment_bytes);
        out.put_count(self.rolls.len());
        for roll in &self.rolls {
            out.put_u64(roll.after.0);
            out.put_u64(roll.segment_bytes);
            out.put_bool(roll.now);
        }
        out.put_count(self.checkpoints.len());
        for note in &self.checkpoints {
            put_id(out, note.at);
            out.put_i64(note.next_offset.0);
            out.put_u32(note.bytes);
            out.put_u32(note.crc);
            out.put_bool(note.stored);
        }
    }

    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let mut image = Self {
            hard_state: get_hard_state(decoder)?,
            purged: get_id(decoder)?,
            offset_start: Offset(decoder.i64()?),
            truncations: decoder.u32()?,
            commit_hint: LogIndex(decoder.u64()?),
            last: get_id(decoder)?,
            offset_end: Offset(decoder.i64()?),
            start: Start {
                before: get_id(decoder)?,
                offset: Offset(decoder.i64()?),
            },
            ..Self::default()
        };
        let through = get_id(decoder)?;
        let next_offset = Offset(decoder.i64()?);
        image.stored = get_stored(decoder, through, next_offset)?;
        image.stored.exact = decoder.bool()?;
        image.segment_bytes = decoder.u64()?;
        for _ in 0..decoder.count(17)? {
            image.rolls.push(Roll {
                after: LogIndex(decoder.u64()?),
                segment_bytes: decoder.u64()?,
                now: decoder.bool()?,
            });
        }
        for _ in 0..decoder.count(33)? {
            image.checkpoints.push(CheckpointNote {
                at: get_id(decoder)?,
                next_offset: Offset(decoder.i64()?),
                bytes: decoder.u32()?,
                crc: decoder.u32()?,
                stored: decoder.bool()?,
            });
        }
        Ok(image)
    }
}

/// The content of a purge record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PurgeRecord {
    pub(crate) through: LogId,
    pub(crate) offset_start: Offset,
    /// Where the data starts after the segments were dropped that nobody needs.
    pub(crate) start: Start,
    /// Where the log is empty afterwards: the offset that the next record gets.
    pub(crate) reset: Option<Offset>,
}

impl PurgeRecord {
    pub(crate) fn encode(&self, group: GroupId) -> Record {
        let mut payload = Vec::new();
        put_id(&mut payload, self.start.before);
        payload.put_i64(self.start.offset.0);
        payload.put_bool(self.reset.is_some());
        payload.put_i64(self.reset.unwrap_or_default().0);
        let mut record = Record::new(FrameType::Purge, group, payload.into());
        record.id = self.through;
        record.offset = self.offset_start;
        record
    }

    fn decode(record: &Record) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(&record.payload);
        let before = get_id(&mut decoder)?;
        let offset = Offset(decoder.i64()?);
        let reset = decoder.bool()?;
        let offset_end = Offset(decoder.i64()?);
        decoder.end()?;
        Ok(Self {
            through: record.id,
            offset_start: record.offset,
            start: Start { before, offset },
            reset: reset.then_some(offset_end),
        })
    }
}

/// The record that creates a group.
pub(crate) fn create_record(group: GroupId, segment_bytes: u64) -> Record {
    Record::new(
        FrameType::Create,
        group,
        Bytes::copy_from_slice(&segment_bytes.to_le_bytes()),
    )
}

/// The record of a hard state.
pub(crate) fn hard_state_record(group: GroupId, state: HardState) -> Record {
    let mut payload = Vec::new();
    payload.put_bool(state.vote.is_some());
    payload.put_u64(state.vote.unwrap_or_default().0);
    let mut record = Record::new(FrameType::HardState, group, payload.into());
    record.id.term = state.term;
    record
}

/// The record of a roll.
pub(crate) fn roll_record(group: GroupId, roll: Roll) -> Record {
    let mut payload = Vec::new();
    payload.put_u64(roll.segment_bytes);
    payload.put_bool(roll.now);
    let mut record = Record::new(FrameType::Roll, group, payload.into());
    record.id.index = roll.after;
    record
}

fn decode_roll(record: &Record) -> Result<Roll, Malformed> {
    let mut decoder = Decoder::new(&record.payload);
    let roll = Roll {
        after: record.id.index,
        segment_bytes: decoder.u64()?,
        now: decoder.bool()?,
    };
    decoder.end()?;
    Ok(roll)
}

/// The record that says how far entries are durable in segments.
pub(crate) fn stored_record(group: GroupId, stored: &Stored, truncations: u32) -> Record {
    let mut payload = Vec::new();
    put_stored(&mut payload, stored);
    let mut record = Record::new(FrameType::Stored, group, payload.into());
    record.id = stored.through;
    record.offset = stored.next_offset;
    record.truncations = truncations;
    record
}

pub(crate) fn decode_stored(record: &Record) -> Result<Stored, Malformed> {
    let mut decoder = Decoder::new(&record.payload);
    let stored = get_stored(&mut decoder, record.id, record.offset)?;
    decoder.end()?;
    Ok(stored)
}

fn put_stored(out: &mut Vec<u8>, stored: &Stored) {
    out.put_u64(stored.segment.0);
    out.put_u64(stored.end);
    out.put_u32(stored.chain);
    out.put_u64(stored.index_at);
    out.put_bool(stored.sealed);
}

fn get_stored(decoder: &mut Decoder<'_>, through: LogId, next_offset: Offset) -> Result<Stored, Malformed> {
    Ok(Stored {
        through,
        next_offset,
        segment: LogIndex(decoder.u64()?),
        end: decoder.u64()?,
        chain: decoder.u32()?,
        index_at: decoder.u64()?,
        sealed: decoder.bool()?,
        exact: true,
    })
}

fn put_hard_state(out: &mut Vec<u8>, state: HardState) {
    out.put_u64(state.term.0);
    out.put_bool(state.vote.is_some());
    out.put_u64(state.vote.unwrap_or_default().0);
}

fn get_hard_state(decoder: &mut Decoder<'_>) -> Result<HardState, Malformed> {
    let term = Term(decoder.u64()?);
    let voted = decoder.bool()?;
    let vote = ReplicaId(decoder.u64()?);
    Ok(HardState {
        term,
        vote: voted.then_some(vote),
    })
}

fn put_id(out: &mut Vec<u8>, id: LogId) {
    out.put_u64(id.index.0);
    out.put_u64(id.term.0);
}

fn get_id(decoder: &mut Decoder<'_>) -> Result<LogId, Malformed> {
    let index = LogIndex(decoder.u64()?);
    Ok(LogId {
        term: Term(decoder.u64()?),
        index,
    })
}

/// Puts a checkpoint in its place by index; one of the same index is replaced.
pub(crate) fn insert_checkpoint<T>(list: &mut Vec<T>, item: T, index: impl Fn(&T) -> LogIndex) {
    let place = list.partition_point(|known| index(known) < index(&item));
    if list.get(place).is_some_and(|known| index(known) == index(&item)) {
        list[place] = item;
    } else {
        list.insert(place, item);
    }
}

/// Keeps the newest checkpoint at or below the purge point and all above it.
pub(crate) fn retain_checkpoints<T>(list: &mut Vec<T>, purged: LogIndex, index: impl Fn(&T) -> LogIndex) {
    let below = list.partition_point(|item| index(item) <= purged);
    list.drain(..below.saturating_sub(1));
}
