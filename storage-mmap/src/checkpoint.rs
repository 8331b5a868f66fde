//! Checkpoints of a group's state machine: durable by the journal first, then each in a file of its own.

use crate::background::DropTask;
use crate::codec::{Decoder, Encode, Malformed};
use crate::damage::{damage, damaged, final_sync, io_error};
use crate::frame::{FrameType, Record};
use crate::group::Group;
use crate::group::state::CheckpointRef;
use crate::journal::group_image::{insert_checkpoint, retain_checkpoints};
use crate::queue::Effect;
use crate::segment::group_dir;
use crate::segment::writer::sync_names;
use crate::space::Room;
use crate::store::Inner;
use crate::sync::locked;
use crate::writer::GroupWriter;
use bytes::Bytes;
use chronik_core::fs::{File, FsError, FsErrorKind, OpenMode};
use chronik_core::log_store::Checkpoint;
use chronik_core::{GroupId, LogError, LogId, LogIndex, Offset, Term, Ticket};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"CHRNCKP1";
const VERSION: u32 = 2;
/// Length of a checkpoint file's header; the data follows.
pub(crate) const CHECKPOINT_HEADER_BYTES: usize = 64;
const AT_CRC: usize = 60;

const _: () = assert!(CHECKPOINT_HEADER_BYTES == AT_CRC + 4);

/// The file of the checkpoint at `index`.
pub(crate) fn checkpoint_path(dir: &Path, group: GroupId, index: LogIndex) -> PathBuf {
    group_dir(dir, group).join(format!("{:020}.ckp", index.0))
}

/// The index in a checkpoint's file name, or `None` for a file of another kind.
pub(crate) fn index_of_name(name: &str) -> Option<LogIndex> {
    let digits = name.strip_suffix(".ckp")?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(LogIndex)
}

/// The header of a checkpoint's file.
fn encode_header(group: GroupId, kept: &CheckpointRef) -> Vec<u8> {
    let mut out = Vec::with_capacity(CHECKPOINT_HEADER_BYTES);
    out.put(MAGIC);
    out.put_u32(VERSION);
    out.put_u32(kept.bytes);
    out.put_u64(group.0);
    out.put_u64(kept.at.index.0);
    out.put_u64(kept.at.term.0);
    out.put_i64(kept.next_offset.0);
    out.put_u32(kept.crc);
    out.put_u64(0);
    let crc = crc32c::crc32c(&out);
    out.put_u32(crc);
    out
}

/// Why a checkpoint's header cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointError {
    /// It is damaged.
    Malformed(Malformed),
    /// It is whole and of a version that this program does not know.
    Version(u32),
}

impl From<Malformed> for CheckpointError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

/// What a checkpoint's file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointHeader {
    pub(crate) bytes: u32,
    pub(crate) group: GroupId,
    pub(crate) at: LogId,
    pub(crate) next_offset: Offset,
    pub(crate) crc: u32,
}

/// Reads a checkpoint file's header.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<CheckpointHeader, CheckpointError> {
    let covered = bytes.get(..AT_CRC).unwrap_or_default();
    let crc = Decoder::new(bytes.get(AT_CRC..).unwrap_or_default()).u32()?;
    if !covered.starts_with(MAGIC) || crc32c::crc32c(covered) != crc {
        return Err(Malformed("the checkpoint's header does not match its checksum").into());
    }
    let mut decoder = Decoder::new(covered);
    decoder.bytes(MAGIC.len())?;
    let version = decoder.u32()?;
    if version != VERSION {
        return Err(CheckpointError::Version(version));
    }
    let bytes = decoder.u32()?;
    let group = GroupId(decoder.u64()?);
    let index = LogIndex(decoder.u64()?);
    let header = CheckpointHeader {
        bytes,
        group,
        at: LogId {
            term: Term(decoder.u64()?),
            index,
        },
        next_offset: Offset(decoder.i64()?),
        crc: decoder.u32()?,
    };
    if decoder.u64()? != 0 {
        return Err(Malformed("a reserved field is in use").into());
    }
    Ok(header)
}

/// Reads the data behind a checkpoint's header, `None` where it is not what was written.
pub(crate) fn read_data(file: &dyn File, header: &CheckpointHeader) -> Result<Option<Bytes>, FsError> {
    let length = file.size()?.saturating_sub(CHECKPOINT_HEADER_BYTES as u64);
    if length != u64::from(header.bytes) {
        return Ok(None);
    }
    let mut data = vec![0; header.bytes as usize];
    let read = file.read_at(&mut data, CHECKPOINT_HEADER_BYTES as u64)?;
    let whole = read == data.len() && crc32c::crc32c(&data) == header.crc;
    Ok(whole.then(|| data.into()))
}

/// The two parts of a checkpoint as one payload: the length of the engine's part, it, and the state.
fn join_parts(checkpoint: &Checkpoint) -> Bytes {
    let mut out = Vec::with_capacity(4 + checkpoint.consensus.len() + checkpoint.data.len());
    out.put_u32(checkpoint.consensus.len() as u32);
    out.put(&checkpoint.consensus);
    out.put(&checkpoint.data);
    out.into()
}

/// The engine's part and the state.
fn split_parts(payload: &Bytes) -> Option<(Bytes, Bytes)> {
    let length = Decoder::new(payload).u32().ok()? as usize;
    let rest = payload.slice(4..);
    (length <= rest.len()).then(|| (rest.slice(..length), rest.slice(length..)))
}

impl GroupWriter {
    pub(crate) fn add_checkpoint(&self, checkpoint: Checkpoint) -> Result<Ticket, LogError> {
        let inner = &self.inner;
        inner.check_open()?;
        let got_bytes = (checkpoint.data.len() + checkpoint.consensus.len()) as u64;
        let limit_bytes = inner.options.payload_bytes_max;
        if got_bytes > limit_bytes {
            return Err(LogError::TooLarge {
                limit_bytes,
                got_bytes,
            });
        }
        // The log can be purged to it.
        inner.admit(Room::Reserve, got_bytes)?;
        inner.reserve_journal(Room::Reserve, got_bytes)?;
        let payload = join_parts(&checkpoint);
        let bytes = payload.len() as u32;
        let mut record = Record::new(FrameType::Checkpoint, self.group.id, payload.clone());
        record.id = checkpoint.at;
        record.offset = checkpoint.next_offset;
        let mut state = locked(&self.group.state);
        state.checkpoint_calls += 1;
        let call = state.checkpoint_calls;
        let kept = CheckpointRef {
            at: checkpoint.at,
            next_offset: checkpoint.next_offset,
            bytes,
            crc: record.payload_crc,
            data: Some(payload),
            durable: false,
            call,
        };
        insert_checkpoint(&mut state.checkpoints, kept, |kept| kept.at.index);
        let before: Vec<_> = state.checkpoints.iter().map(|kept| kept.at.index).collect();
        let purged = state.purged.index;
        retain_checkpoints(&mut state.checkpoints, purged, |kept| kept.at.index);
        let dropped = before.len() - state.checkpoints.len();
        let effect = Effect::Checkpoint {
            call,
            dropped: before.into_iter().take(dropped).collect(),
        };
        Ok(self.queue(VecDeque::from([record]), effect))
    }
}

impl Inner {
    /// A checkpoint's record is durable: its data can move into a file, and older ones can go.
    pub(crate) fn checkpoint_is_durable(&self, group: &Arc<Group>, call: u64, dropped: Vec<LogIndex>) {
        {
            let mut state = locked(&group.state);
            // Not another one at the same entry, whose record still waits.
            for kept in state.checkpoints.iter_mut().filter(|kept| kept.call == call) {
                kept.durable = true;
            }
        }
        let mut task = DropTask::segments(group, Vec::new());
        task.checkpoints = dropped;
        self.queue_drop(task);
        self.queue_checkpoints(group);
    }

    /// Moves the data of durable checkpoints into files.
    pub(crate) fn store_checkpoints(self: &Arc<Self>, group: &Arc<Group>) -> Result<(), FsError> {
        loop {
            let next = {
                let state = locked(&group.state);
                if state.removed {
                    return Ok(());
                }
                let mut waiting = state.checkpoints.iter();
                waiting.find(|kept| kept.durable && kept.data.is_some()).cloned()
            };
            let Some(kept) = next else {
                return Ok(());
            };
            self.write_checkpoint(group.id, &kept)?;
            let mut state = locked(&group.state);
            let mut same = state.checkpoints.iter_mut();
            let Some(same) = same.find(|now| now.at == kept.at && now.call == kept.call) else {
                // Another one took its place and will be written over it.
                continue;
            };
            same.data = None;
            let mut record = Record::new(FrameType::CheckpointStored, group.id, Bytes::new());
            record.id = kept.at;
            record.offset = kept.next_offset;
            self.push_control(record);
        }
    }

    fn write_checkpoint(&self, group: GroupId, kept: &CheckpointRef) -> Result<(), FsError> {
        let path = checkpoint_path(&self.options.dir, group, kept.at.index);
        let temporary = path.with_extension("tmp");
        let file = self.create_file(&temporary)?;
        let header = encode_header(group, kept);
        let data = kept.data.clone().unwrap_or_default();
        file.write_at(&[&header, &data], 0)?;
        final_sync(file.sync_data())?;
        self.fs.rename(&temporary, &path)?;
        sync_names(&*self.fs, &path)
    }
}

/// The newest checkpoint at or below `index`.
pub(crate) fn newest(inner: &Inner, group: &Group, index: LogIndex) -> Result<Option<Checkpoint>, LogError> {
    loop {
        let kept = {
            let state = locked(&group.state);
            let place = state.checkpoints.partition_point(|kept| kept.at.index <= index);
            place
                .checked_sub(1)
                .and_then(|place| state.checkpoints.get(place))
                .cloned()
        };
        let Some(kept) = kept else {
            return Ok(None);
        };
        let data = match &kept.data {
            Some(data) => Ok(data.clone()),
            None => read_file(inner, group.id, &kept),
        };
        match data {
            Ok(payload) => return unpack(inner, group, &kept, &payload).map(Some),
            // It may have been dropped or replaced while it was read.
            Err(error) if locked(&group.state).checkpoints.contains(&kept) => return Err(error),
            Err(_) => {}
        }
    }
}

fn unpack(
    inner: &Inner,
    group: &Group,
    kept: &CheckpointRef,
    payload: &Bytes,
) -> Result<Checkpoint, LogError> {
    let Some((consensus, data)) = split_parts(payload) else {
        let dir = &inner.options.dir;
        let path = checkpoint_path(dir, group.id, kept.at.index);
        let range = CHECKPOINT_HEADER_BYTES as u64..CHECKPOINT_HEADER_BYTES as u64 + 4;
        let reason = "the checkpoint's parts do not fit into it";
        return Err(damaged(damage(dir, &path, range, Some(group.id), reason)));
    };
    Ok(Checkpoint {
        at: kept.at,
        next_offset: kept.next_offset,
        data,
        consensus,
    })
}

fn read_file(inner: &Inner, group: GroupId, kept: &CheckpointRef) -> Result<Bytes, LogError> {
    let path = checkpoint_path(&inner.options.dir, group, kept.at.index);
    let wrong = |range, reason: &str| damaged(damage(&inner.options.dir, &path, range, Some(group), reason));
    let file = match inner.fs.open(&path, OpenMode::Read) {
        Err(error) if error.kind == FsErrorKind::NotFound => {
            return Err(wrong(0..1, "the checkpoint is missing"));
        }
        other => other.map_err(io_error)?,
    };
    let mut bytes = [0; CHECKPOINT_HEADER_BYTES];
    file.read_at(&mut bytes, 0).map_err(io_error)?;
    let header_range = 0..CHECKPOINT_HEADER_BYTES as u64;
    let header = decode_header(&bytes).map_err(|error| match error {
        CheckpointError::Malformed(error) => wrong(header_range.clone(), error.0),
        CheckpointError::Version(version) => {
            LogError::UnsupportedFormat(format!("{} has version {version}", path.display()))
        }
    })?;
    if header.at != kept.at || header.crc != kept.crc || header.group != group {
        return Err(wrong(header_range, "another checkpoint than the journal says"));
    }
    let data = read_data(&*file, &header).map_err(io_error)?;
    let data_range = header_range.end..header_range.end + u64::from(header.bytes);
    data.ok_or_else(|| wrong(data_range, "the checkpoint's data does not match its checksum"))
}
