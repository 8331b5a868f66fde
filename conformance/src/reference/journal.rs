//! The journal file: frames that know their place and what was durable when they were written.
//!
//! ```text
//! frame = magic u32 | body length u32 | prev_synced u64 | crc32c u32 over (position u64, the 16 bytes before, body) | body
//! ```
//! A bad frame is a torn tail unless a valid frame after it says that the bad place had been synced.

use super::Mutant;
use super::record::{Change, Record};
use bytes::Bytes;
use chronik_core::error::Damage;
use chronik_core::fs::{Advice, File, FileSystem, FsError, FsErrorKind, OpenMode};
use chronik_core::{GroupId, LogError};
use std::path::Path;
use std::sync::Arc;

/// "CMJ" and the version.
const MAGIC: u32 = magic(VERSION);
const VERSION: u8 = b'1';
const HEADER_BYTES: usize = 20;
pub(super) const NAME: &str = "journal";
/// Space is reserved in steps of this size.
const STEP_BYTES: u64 = 16 * 1024;
/// Space that appends leave for hard state.
const HEADROOM_BYTES: u64 = 8 * 1024;

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) file: Arc<dyn File>,
    /// Where the next frame goes.
    pub(super) end: u64,
    /// Everything before this was synced.
    pub(super) synced: u64,
    allocated: u64,
}

struct Frame {
    version: u8,
    body: Bytes,
    prev_synced: u64,
    end: usize,
}

/// What a scan of the file found.
pub(super) struct Scan {
    pub(super) records: Vec<Record>,
    pub(super) damage: Vec<Damage>,
    /// The end of the last good frame, and that of the last byte that is not zero.
    end: usize,
    written_end: usize,
}

const fn magic(version: u8) -> u32 {
    u32::from_le_bytes([b'C', b'M', b'J', version])
}

fn checksum(position: u64, head: &[u8], body: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&position.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, head), body)
}

fn encode(record: &Record, position: u64, synced: u64) -> Vec<u8> {
    framed(&record.encode(), position, synced, VERSION)
}

fn framed(body: &[u8], position: u64, synced: u64, version: u8) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend_from_slice(&magic(version).to_le_bytes());
    frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(&synced.to_le_bytes());
    let crc = checksum(position, &frame, body);
    frame.extend_from_slice(&crc.to_le_bytes());
    frame.extend_from_slice(body);
    frame
}

/// Frames of records, from the start of a file on.
pub(super) fn encode_all(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        bytes.extend(encode(record, bytes.len() as u64, 0));
    }
    bytes
}

fn frame_at(file: &Bytes, at: usize, mutant: Option<Mutant>) -> Option<Frame> {
    let frame = any_frame_at(file, at, mutant)?;
    (frame.version == VERSION || mutant == Some(Mutant::ReadsEveryFormat)).then_some(frame)
}

/// A frame of whatever version.
fn any_frame_at(file: &Bytes, at: usize, mutant: Option<Mutant>) -> Option<Frame> {
    let head = file.get(at..at + HEADER_BYTES)?;
    let word = |from: usize| Some(u32::from_le_bytes(head.get(from..from + 4)?.try_into().ok()?));
    let version = *head.get(3)?;
    if word(0)? != magic(version) {
        return None;
    }
    let start = at + HEADER_BYTES;
    let end = start.checked_add(usize::try_from(word(4)?).ok()?)?;
    let body = file.get(start..end)?;
    let whole = mutant == Some(Mutant::NoChecksum) || checksum(at as u64, head.get(..16)?, body) == word(16)?;
    whole.then(|| Frame {
        version,
        body: file.slice(start..end),
        prev_synced: u64::from_le_bytes(head[8..16].try_into().unwrap_or_default()),
        end,
    })
}

/// The next valid frame after `at` that proves that `at` had been synced.
fn proof_after(file: &Bytes, at: usize, mutant: Option<Mutant>) -> Option<usize> {
    let magic = MAGIC.to_le_bytes();
    (at + 1..file.len().saturating_sub(HEADER_BYTES)).find(|next| {
        file[*next..].starts_with(&magic)
            && frame_at(file, *next, mutant).is_some_and(|frame| {
                frame.prev_synced > at as u64 || mutant == Some(Mutant::RecoversAroundHole)
            })
    })
}

fn scan(file: &Bytes, mutant: Option<Mutant>) -> Scan {
    let mut found = Scan {
        records: Vec::new(),
        damage: Vec::new(),
        end: 0,
        written_end: file
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1),
    };
    loop {
        let frame = frame_at(file, found.end, mutant);
        let record = frame
            .as_ref()
            .and_then(|frame| Record::decode(frame.body.clone()));
        if let (Some(frame), Some(record)) = (frame, record) {
            found.end = frame.end;
            found.records.push(record);
            continue;
        }
        if mutant == Some(Mutant::CutsAtFirstBadFrame) {
            return found;
        }
        match proof_after(file, found.end, mutant) {
            None => return found,
            Some(next) if mutant == Some(Mutant::RecoversAroundHole) => found.end = next,
            Some(next) => {
                found.damage.push(Damage {
                    file: NAME.to_owned(),
                    from_byte: found.end as u64,
                    to_byte: next as u64,
                    group: None,
                    reason: "a frame that had been synced does not match its checksum".to_owned(),
                });
                found.end = next;
            }
        }
    }
}

pub(super) fn read_all(file: &dyn File) -> Result<Bytes, FsError> {
    let mut bytes = vec![0; usize::try_from(file.size()?).unwrap_or(usize::MAX)];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(Bytes::from(bytes))
}

/// Reads the journal without changing it; `None` where there is none.
pub(super) fn inspect(
    fs: &dyn FileSystem,
    dir: &Path,
    mutant: Option<Mutant>,
) -> Result<Option<Scan>, FsError> {
    let file = match fs.open(&dir.join(NAME), OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind == FsErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut scan = scan(&read_all(&*file)?, None);
    if mutant == Some(Mutant::TakesTornTailsForDamage) && scan.written_end > scan.end {
        scan.damage.push(Damage {
            file: NAME.to_owned(),
            from_byte: scan.end as u64,
            to_byte: scan.written_end as u64,
            group: None,
            reason: "a frame does not match its checksum".to_owned(),
        });
    }
    Ok(Some(scan))
}

/// Makes all frames those of another version, whole otherwise.
pub(super) fn reformat(fs: &dyn FileSystem, dir: &Path, version: u8) -> Result<(), FsError> {
    let file = fs.open(&dir.join(NAME), OpenMode::Write)?;
    let old = read_all(&*file)?;
    let mut at = 0;
    while let Some(frame) = frame_at(&old, at, None) {
        let again = framed(&frame.body, at as u64, frame.prev_synced, version);
        file.write_at(&[&again], at as u64)?;
        at = frame.end;
    }
    file.sync_data()
}

impl Journal {
    /// Opens the journal of `dir`, creating it where there is none, and returns what stands in it.
    pub(super) fn recover(
        fs: &dyn FileSystem,
        dir: &Path,
        mutant: Option<Mutant>,
    ) -> Result<(Self, Vec<Record>), LogError> {
        let path = dir.join(NAME);
        let file = match fs.open(&path, OpenMode::Write) {
            Ok(file) => file,
            Err(error) if error.kind == FsErrorKind::NotFound => create(fs, dir, &path, mutant)?,
            Err(error) => return Err(LogError::Io(error)),
        };
        let size = file.size().map_err(LogError::Io)?;
        // Pages that never reached the disk must not be believed because the cache still shows them.
        file.advise(0, size, Advice::DropCache);
        let bytes = read_all(&*file).map_err(LogError::Io)?;
        let other = any_frame_at(&bytes, 0, None).map(|frame| frame.version);
        let other = other.filter(|version| *version != VERSION);
        let reads_it = matches!(
            mutant,
            Some(Mutant::ReadsEveryFormat | Mutant::TakesNewerForEmpty)
        );
        if let (Some(version), false) = (other, reads_it) {
            let what = format!("{NAME} has version {}", char::from(version));
            return Err(LogError::UnsupportedFormat(what));
        }
        let scan = scan(&bytes, mutant);
        if let Some(damage) = scan.damage.into_iter().next() {
            return Err(LogError::Damaged(Arc::new(damage)));
        }
        if mutant != Some(Mutant::KeepsTornTail) && scan.written_end > scan.end {
            // Zeros, not a cut: the space stays reserved for hard state.
            let zeros = vec![0; scan.written_end - scan.end];
            file.write_at(&[&zeros], scan.end as u64).map_err(LogError::Io)?;
        }
        file.sync_data().map_err(LogError::Io)?;
        let end = scan.end as u64;
        let journal = Self {
            file,
            end,
            synced: end,
            allocated: size,
        };
        Ok((journal, scan.records))
    }

    /// Goes on in another file, whose frames end at `end`.
    pub(super) fn replace(&mut self, file: Arc<dyn File>, end: u64, allocated: u64) {
        *self = Self {
            file,
            end,
            synced: end,
            allocated,
        };
    }

    /// Puts a record at the end of `buffer`, which will be written at [`Journal::end`].
    pub(super) fn encode(&self, buffer: &mut Vec<u8>, record: &Record) {
        let position = self.end + buffer.len() as u64;
        buffer.extend_from_slice(&encode(record, position, self.synced));
    }

    /// How many bytes a record takes with a payload of `payload_bytes`, at most.
    pub(super) const fn frame_bytes(payload_bytes: u64) -> u64 {
        payload_bytes + HEADER_BYTES as u64 + 64
    }

    /// Makes sure that `bytes` more fit behind `buffered`; appends leave the headroom.
    pub(super) fn reserve(&mut self, buffered: u64, bytes: u64, headroom: bool) -> Result<(), LogError> {
        let mut needed = self.end + buffered + bytes;
        if headroom {
            needed += HEADROOM_BYTES;
        }
        if needed <= self.allocated {
            return Ok(());
        }
        for size in [needed.next_multiple_of(STEP_BYTES), needed] {
            match self.file.allocate(size) {
                Ok(()) => {
                    self.allocated = size;
                    return Ok(());
                }
                Err(error) if error.kind == FsErrorKind::NoSpace => {}
                Err(error) => return Err(LogError::Poisoned(error.detail)),
            }
        }
        Err(LogError::Full)
    }

    /// The record that proves that all before it was synced.
    pub(super) const fn closing() -> Record {
        Record {
            group: GroupId(0),
            change: Change::Close,
        }
    }
}

fn create(
    fs: &dyn FileSystem,
    dir: &Path,
    path: &Path,
    mutant: Option<Mutant>,
) -> Result<Arc<dyn File>, LogError> {
    let file = fs.open(path, OpenMode::CreateNew).map_err(LogError::Io)?;
    if mutant != Some(Mutant::NoDirSync) {
        fs.sync_dir(dir).map_err(LogError::Io)?;
        // The directories above may be new too.
        for above in dir.ancestors().skip(1) {
            fs.sync_dir(above).map_err(LogError::Io)?;
        }
    }
    Ok(file)
}
