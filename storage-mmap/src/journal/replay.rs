//! Reading the whole journal when a store opens: which files belong together, what they say, and where they end.

use super::file::{PREAMBLE_BYTES, PreambleError};
use super::image::Image;
use super::needs::Needs;
use super::scan::{Found, Scan, Step, is_head, read_preambles};
use super::torn::Torn;
use super::writer::{FreeSlot, JournalFile, Newest, Recovered};
use super::{journal_dir, slot_of_name, slot_path};
use crate::damage::{damage, damaged, final_sync, io_error};
use crate::frame::{FrameType, HEADER_BYTES, Header};
use chronik_core::fs::{Advice, FileSystem, FsError, OpenMode};
use chronik_core::{EntryMeta, GroupId, LogError, LogIndex};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Where something lies in the journal.
#[derive(Clone, Debug)]
pub(crate) struct LivePlace {
    /// Which of [`Replayed::found`].
    pub(crate) file: usize,
    pub(crate) at: u64,
}

/// An entry that may lie nowhere but in the journal.
#[derive(Clone, Debug)]
pub(crate) struct LiveEntry {
    pub(crate) place: LivePlace,
    pub(crate) meta: EntryMeta,
    pub(crate) crc: u32,
}

/// What the journal said.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) recovered: Recovered,
    /// The files that were read, oldest first.
    pub(crate) found: Vec<Found>,
    pub(crate) entries: BTreeMap<GroupId, VecDeque<LiveEntry>>,
    pub(crate) checkpoints: HashMap<(GroupId, LogIndex), LivePlace>,
    pub(crate) torn: Option<Torn>,
}

impl Replayed {
    /// About how much lies in the journal alone, and must be copied.
    pub(crate) fn live_bytes(&self) -> u64 {
        let frames = |live: &LiveEntry| HEADER_BYTES as u64 + u64::from(live.meta.payload_bytes);
        self.entries.values().flatten().map(frames).sum()
    }
}

/// All journal files of a directory.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Those with a preamble and a valid head, by sequence number.
    pub(crate) whole: Vec<(Found, Image)>,
    /// Those with a preamble alone.
    pub(crate) headless: Vec<Found>,
    pub(crate) free: Vec<FreeSlot>,
    pub(crate) next_slot: u32,
    pub(crate) next_sequence: u64,
    /// Files with a lower sequence number are not needed, as the newest file says: what is left of them may have
    /// been written over.
    floor: u64,
}

/// Looks at all journal files.
pub(crate) fn survey(fs: &dyn FileSystem, dir: &Path, mode: OpenMode) -> Result<Survey, LogError> {
    let mut survey = Survey {
        next_sequence: 1,
        ..Survey::default()
    };
    for entry in fs.list(&journal_dir(dir)).map_err(io_error)? {
        let Some(slot) = slot_of_name(&entry.name) else {
            continue;
        };
        survey.next_slot = survey.next_slot.max(slot.saturating_add(1));
        let path = slot_path(dir, slot);
        let file = fs.open(&path, mode).map_err(io_error)?;
        let file_bytes = file.size().map_err(io_error)?;
        // A restarted process must not trust pages that never reached the disk.
        file.advise(0, file_bytes, Advice::DropCache);
        let preambles = read_preambles(&*file, file_bytes).map_err(io_error)?;
        for preamble in &preambles {
            match preamble {
                Ok(preamble) => {
                    survey.next_sequence = survey.next_sequence.max(preamble.sequence + 1);
                }
                Err(PreambleError::Version(version)) => {
                    let what = format!("{} has version {version}", path.display());
                    return Err(LogError::UnsupportedFormat(what));
                }
                Err(PreambleError::Malformed(_)) => {}
            }
        }
        let [head, copy] = preambles;
        let Ok(preamble) = head.or(copy) else {
            survey.free.push(FreeSlot { slot, file_bytes });
            continue;
        };
        let found = Found {
            slot,
            path,
            file,
            file_bytes,
            preamble,
        };
        match read_head(&found)? {
            Some(image) => survey.whole.push((found, image)),
            None => survey.headless.push(found),
        }
    }
    survey.whole.sort_by_key(|(found, _)| found.preamble.sequence);
    if let Some((newest, head)) = survey.whole.last() {
        survey.floor = newest_floor(newest, head).map_err(io_error)?;
    }
    Ok(survey)
}

/// The floor as of the last valid frame of the newest file.
fn newest_floor(found: &Found, head: &Image) -> Result<u64, FsError> {
    let mut floor = head.floor;
    let mut scan = Scan::new(found, None);
    while let Step::Frame(header) = scan.look()? {
        if header.frame_type == FrameType::Floor {
            floor = floor.max(header.id.index.0);
        }
        scan.skip(&header);
    }
    Ok(floor)
}

/// The state at the head of a file, or `None` where it is not whole.
fn read_head(found: &Found) -> Result<Option<Image>, LogError> {
    let mut scan = Scan::new(found, None);
    let Step::Frame(header) = scan.look().map_err(io_error)? else {
        return Ok(None);
    };
    if !is_head(&header) {
        return Ok(None);
    }
    let payload = scan.payload(&header).map_err(io_error)?;
    Ok(Image::decode(payload).ok())
}

impl Survey {
    /// Refuses a file whose head is damaged although something shows that it had been durable.
    fn check_headless(&self, dir: &Path) -> Result<(), LogError> {
        let newest = self.whole.last().map_or(0, |(found, _)| found.preamble.sequence);
        for found in &self.headless {
            if found.preamble.sequence < newest {
                continue;
            }
            let probe = Scan::new(found, None).probe(PREAMBLE_BYTES).map_err(io_error)?;
            if let Some(proof) = probe.proof {
                let reason = "the head of a journal file was durable and is not what was written";
                return Err(damaged(damage(
                    dir,
                    &found.path,
                    PREAMBLE_BYTES..proof,
                    None,
                    reason,
                )));
            }
        }
        Ok(())
    }

    /// The place in `whole` from which on files follow each other up to the newest.
    pub(crate) fn first_linked(&self) -> usize {
        let mut first = self.whole.len().saturating_sub(1);
        while let Some(place) = first.checked_sub(1)
            && let (Some((before, _)), Some((after, _))) = (self.whole.get(place), self.whole.get(first))
        {
            let used = after.preamble.start.checked_sub(before.preamble.start);
            let follows = used.is_some_and(|used| used > PREAMBLE_BYTES && used < before.file_bytes);
            if !follows || before.preamble.sequence < self.floor {
                break;
            }
            first = place;
        }
        first
    }
}

/// Reads the journal of `dir`. A torn end is cut; damage is an error.
pub(crate) fn replay(fs: &dyn FileSystem, dir: &Path, min_file_bytes: u64) -> Result<Replayed, LogError> {
    let mut survey = survey(fs, dir, OpenMode::Write)?;
    survey.check_headless(dir)?;
    let first = survey.first_linked();
    let linked = survey.whole.split_off(first.min(survey.whole.len()));
    let unused = survey.whole.drain(..).map(|(found, _)| found);
    for found in unused.chain(survey.headless.drain(..)) {
        survey.free.push(FreeSlot {
            slot: found.slot,
            file_bytes: found.file_bytes,
        });
    }
    remove_unfit(fs, dir, &mut survey.free, min_file_bytes)?;
    let mut reading = Reading::start(linked, survey.next_sequence);
    let mut end = FileEnd::default();
    for place in 0..reading.found.len() {
        end = reading.read_file(dir, place)?;
    }
    if let Some(newest) = reading.found.last() {
        // What was accepted must be durable before anything is built on it.
        if let Err(error) = final_sync(newest.file.sync_data()) {
            return Err(LogError::Poisoned(error.detail));
        }
    }
    reading.check_floor(dir)?;
    Ok(reading.finish(survey, end))
}

/// Files of another length than those of today are not used again.
fn remove_unfit(
    fs: &dyn FileSystem,
    dir: &Path,
    free: &mut Vec<FreeSlot>,
    min_file_bytes: u64,
) -> Result<(), LogError> {
    for slot in free.iter().filter(|slot| slot.file_bytes < min_file_bytes) {
        fs.remove(&slot_path(dir, slot.slot)).map_err(io_error)?;
    }
    free.retain(|slot| slot.file_bytes >= min_file_bytes);
    Ok(())
}

/// Where a file ends.
#[derive(Clone, Copy, Debug, Default)]
struct FileEnd {
    at: u64,
    /// The checksum of the last header.
    chain: u32,
    /// The same in front of the frame that closes the file; it says nothing to who goes on there.
    open: (u64, u32),
}

/// The state of reading file after file.
struct Reading {
    found: Vec<Found>,
    heads: Vec<Image>,
    image: Image,
    chain: Option<u32>,
    files: VecDeque<JournalFile>,
    entries: BTreeMap<GroupId, VecDeque<LiveEntry>>,
    checkpoints: HashMap<(GroupId, LogIndex), LivePlace>,
    torn: Option<Torn>,
}

impl Reading {
    fn start(linked: Vec<(Found, Image)>, next_sequence: u64) -> Self {
        let (found, heads): (Vec<_>, Vec<_>) = linked.into_iter().unzip();
        let fresh = Image {
            floor: next_sequence,
            ..Image::default()
        };
        Self {
            image: heads.first().cloned().unwrap_or(fresh),
            found,
            heads,
            chain: None,
            files: VecDeque::new(),
            entries: BTreeMap::new(),
            checkpoints: HashMap::new(),
            torn: None,
        }
    }

    /// Applies the frames of one file.
    fn read_file(&mut self, dir: &Path, place: usize) -> Result<FileEnd, LogError> {
        let Some(found) = self.found.get(place).cloned() else {
            return Ok(FileEnd::default());
        };
        let next_start = self.found.get(place + 1).map(|next| next.preamble.start);
        let known_end = next_start.map(|start| start - found.preamble.start);
        self.files.push_back(JournalFile {
            slot: found.slot,
            sequence: found.preamble.sequence,
            start: found.preamble.start,
            file_bytes: found.file_bytes,
            needs: Needs::default(),
        });
        let wrong = |range, reason: &str| damaged(damage(dir, &found.path, range, None, reason));
        let mut scan = Scan::new(&found, self.chain);
        let mut closed = None;
        while known_end.is_none_or(|end| scan.at() < end) && closed.is_none() {
            let at = scan.at();
            let header = match scan.look().map_err(io_error)? {
                Step::Frame(header) => header,
                Step::Bad(bad) if known_end.is_some() => return Err(wrong(bad.range, bad.reason)),
                Step::Bad(bad) => {
                    let probe = scan.probe(at).map_err(io_error)?;
                    if let Some(proof) = probe.proof {
                        return Err(wrong(at..proof, bad.reason));
                    }
                    let torn_end = if bad.begun { bad.range.end } else { at };
                    self.note_torn(&found, at..torn_end.max(probe.end));
                    break;
                }
            };
            let range = at..at + header.frame_bytes();
            if header.frame_type == FrameType::Head {
                if at != PREAMBLE_BYTES || self.heads.get(place) != Some(&self.image) {
                    return Err(wrong(
                        range,
                        "the head does not say what the records before it say",
                    ));
                }
            } else {
                let payload = match header.frame_type {
                    FrameType::Entry => bytes::Bytes::new(),
                    _ => bytes::Bytes::copy_from_slice(scan.payload(&header).map_err(io_error)?),
                };
                closed = (header.frame_type == FrameType::Close).then_some((at, header.place.chain));
                self.apply(&header, payload, place, at)
                    .map_err(|reason| wrong(range, reason))?;
            }
            scan.skip(&header);
        }
        if known_end.is_some_and(|end| end != scan.at()) {
            let end = scan.at();
            return Err(wrong(
                end..end + 1,
                "the file does not end where the next one starts",
            ));
        }
        self.chain = scan.chain();
        let (at, chain) = (scan.at(), scan.chain().unwrap_or(0));
        Ok(FileEnd {
            at,
            chain,
            open: closed.unwrap_or((at, chain)),
        })
    }

    fn note_torn(&mut self, found: &Found, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        log::warn!(
            "journal_tail_torn file={} from={} to={}",
            found.path.display(),
            range.start,
            range.end
        );
        self.torn = Some(Torn {
            found: found.clone(),
            range,
        });
    }

    fn apply(
        &mut self,
        header: &Header,
        payload: bytes::Bytes,
        file: usize,
        at: u64,
    ) -> Result<(), &'static str> {
        let mut record = header.with_payload(payload);
        self.image.apply(&record).map_err(|error| error.0)?;
        for earlier in &mut self.files {
            earlier.needs.forget(&record);
        }
        if let Some(newest) = self.files.back_mut() {
            newest.needs.note(&record);
        }
        let place = LivePlace { file, at };
        match header.frame_type {
            FrameType::Entry => {
                if let Some(meta) = header.entry_meta() {
                    self.entries
                        .entry(header.group)
                        .or_default()
                        .push_back(LiveEntry {
                            place,
                            meta,
                            crc: header.payload_crc,
                        });
                }
            }
            FrameType::Truncate => {
                if let Some(live) = self.entries.get_mut(&header.group) {
                    let keep = live.partition_point(|entry| entry.meta.id.index < header.id.index);
                    live.truncate(keep);
                }
            }
            FrameType::Remove => {
                self.entries.remove(&header.group);
            }
            FrameType::Checkpoint => {
                self.checkpoints.insert((header.group, header.id.index), place);
            }
            _ => {}
        }
        record.payload = bytes::Bytes::new();
        Ok(())
    }

    /// Every file that the journal still needs must have been read.
    fn check_floor(&self, dir: &Path) -> Result<(), LogError> {
        let Some(oldest) = self.found.first() else {
            return Ok(());
        };
        if oldest.preamble.sequence > self.image.floor {
            let reason = format!(
                "the journal file with sequence number {} is missing",
                self.image.floor
            );
            return Err(damaged(damage(dir, &journal_dir(dir), 0..1, None, reason)));
        }
        Ok(())
    }

    fn finish(mut self, survey: Survey, end: FileEnd) -> Replayed {
        for (group, live) in &mut self.entries {
            let stored = self
                .image
                .groups
                .get(group)
                .map(|image| image.stored.through.index);
            let gone =
                live.partition_point(|entry| stored.is_some_and(|stored| entry.meta.id.index <= stored));
            live.drain(..gone);
        }
        let mut free = survey.free;
        let mut files = self.files;
        while files.len() > 1 && files.front().is_some_and(|file| file.sequence < self.image.floor) {
            free.extend(files.pop_front().map(|file| FreeSlot {
                slot: file.slot,
                file_bytes: file.file_bytes,
            }));
        }
        let start = files.back().map_or(0, |file| file.start);
        let newest = self.found.last().map(|found| Newest {
            file: Arc::clone(&found.file),
            salt: found.preamble.salt,
            end: end.open.0,
            chain: end.open.1,
            torn_end: self.torn.as_ref().map_or(0, |torn| torn.range.end),
        });
        Replayed {
            recovered: Recovered {
                image: self.image,
                files,
                free,
                next_slot: survey.next_slot,
                end: start + end.at,
                chain: end.chain,
                newest,
                next_sequence: survey.next_sequence,
            },
            found: self.found,
            entries: self.entries,
            checkpoints: self.checkpoints,
            torn: self.torn,
        }
    }
}
