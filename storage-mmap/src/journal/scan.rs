//! Reading journal files: at recovery, and where a directory is verified.

use super::file::{PREAMBLE_BYTES, Preamble, PreambleError};
use crate::frame::{FrameType, HEADER_BYTES, Header, MAGIC, decode_header};
use chronik_core::fs::{File, FsError};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// How much is read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// A journal file that was found, by its preamble.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) slot: u32,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    pub(crate) file_bytes: u64,
    pub(crate) preamble: Preamble,
}

/// Reads the two preambles of a file: at its head, and at its end.
pub(crate) fn read_preambles(
    file: &dyn File,
    file_bytes: u64,
) -> Result<[Result<Preamble, PreambleError>; 2], FsError> {
    let read = |at: u64| {
        let mut bytes = [0; PREAMBLE_BYTES as usize];
        let count = file.read_at(&mut bytes, at)?;
        Ok(
            Preamble::decode(bytes.get(..count).unwrap_or_default()).and_then(|preamble| {
                if preamble.file_bytes == file_bytes {
                    Ok(preamble)
                } else {
                    Err(crate::codec::Malformed("the file has another length").into())
                }
            }),
        )
    };
    Ok([read(0)?, read(file_bytes.saturating_sub(PREAMBLE_BYTES))?])
}

/// A place where no valid frame starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadFrame {
    /// From the start of the file.
    pub(crate) range: Range<u64>,
    pub(crate) reason: &'static str,
    /// The header is whole and belongs here, but what follows it is not what was written.
    pub(crate) begun: bool,
}

/// Follows the frames of one file.
pub(crate) struct Scan<'a> {
    found: &'a Found,
    at: u64,
    /// The checksum of the header before; unknown before the first frame of the first file.
    chain: Option<u32>,
    window: Window<'a>,
}

/// What a step of a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Frame(Header),
    Bad(BadFrame),
}

impl<'a> Scan<'a> {
    pub(crate) fn new(found: &'a Found, chain: Option<u32>) -> Self {
        Self {
            found,
            at: PREAMBLE_BYTES,
            chain,
            window: Window::new(&*found.file, found.file_bytes),
        }
    }

    /// Where the next frame starts.
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    /// The checksum of the last header.
    pub(crate) const fn chain(&self) -> Option<u32> {
        self.chain
    }

    /// Checks the frame here; does not move. `payload` is looked at through [`Scan::payload`].
    pub(crate) fn look(&mut self) -> Result<Step, FsError> {
        let at = self.at;
        let limit = self.found.file_bytes - PREAMBLE_BYTES;
        let bad = |len: u64, reason, begun| {
            Ok(Step::Bad(BadFrame {
                range: at..at + len,
                reason,
                begun,
            }))
        };
        if at + HEADER_BYTES as u64 > limit {
            return bad(limit.saturating_sub(at), "the file is at its end", false);
        }
        let bytes = self.window.get(at, HEADER_BYTES)?;
        let header = match decode_header(bytes, self.found.preamble.salt) {
            Ok(header) => header,
            Err(error) => return bad(HEADER_BYTES as u64, error.0, false),
        };
        if !self.belongs(&header, at) {
            return bad(HEADER_BYTES as u64, "a frame of another place", false);
        }
        if self.chain.is_some_and(|chain| chain != header.place.chain) {
            return bad(
                HEADER_BYTES as u64,
                "a frame that does not follow the one before",
                false,
            );
        }
        if at + header.frame_bytes() > limit {
            return bad(HEADER_BYTES as u64, "a frame that reaches beyond the end", false);
        }
        let frame_bytes = header.frame_bytes();
        if crc32c::crc32c(self.payload(&header)?) != header.payload_crc {
            return bad(frame_bytes, "the payload's checksum does not match", true);
        }
        Ok(Step::Frame(header))
    }

    fn belongs(&self, header: &Header, at: u64) -> bool {
        let preamble = &self.found.preamble;
        header.place.file == preamble.sequence
            && Some(header.place.position) == preamble.start.checked_add(at)
    }

    /// The payload of the frame here.
    pub(crate) fn payload(&mut self, header: &Header) -> Result<&[u8], FsError> {
        self.window
            .get(self.at + HEADER_BYTES as u64, header.payload_bytes as usize)
    }

    /// Moves behind the frame here.
    pub(crate) const fn skip(&mut self, header: &Header) {
        self.at += header.frame_bytes();
        self.chain = Some(header.crc);
    }

    /// Goes on at `at`, without knowing what came before.
    pub(crate) const fn jump(&mut self, at: u64) {
        self.at = at;
        self.chain = None;
    }

    /// Looks for frames of this use of the file behind a bad place. `Proof` where one shows that the place had
    /// been durable.
    pub(crate) fn probe(&mut self, bad_at: u64) -> Result<Probe, FsError> {
        let limit = self.found.file_bytes - PREAMBLE_BYTES;
        let bad_position = self.found.preamble.start + bad_at;
        let mut probe = Probe::default();
        let mut at = bad_at + 1;
        while at + HEADER_BYTES as u64 <= limit {
            let span = (WINDOW_BYTES as u64).min(limit - at) as usize;
            let bytes = self.window.get(at, span)?;
            let starts: Vec<usize> = find_magic(bytes).collect();
            // A magic at the very end of the window is met again at the start of the next one.
            let step = span - (MAGIC.len() - 1).min(span - 1);
            for start in starts.into_iter().filter(|start| *start < step) {
                let place = at + start as u64;
                if place + HEADER_BYTES as u64 > limit {
                    break;
                }
                let bytes = self.window.get(place, HEADER_BYTES)?;
                let Ok(header) = decode_header(bytes, self.found.preamble.salt) else {
                    continue;
                };
                if !self.belongs(&header, place) {
                    continue;
                }
                probe.next = probe.next.or(Some(place));
                probe.end = probe.end.max((place + header.frame_bytes()).min(limit));
                if header.place.synced > bad_position {
                    probe.proof = Some(place);
                    return Ok(probe);
                }
            }
            at += step as u64;
        }
        Ok(probe)
    }
}

/// What lies behind a bad place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Where a frame starts that was written when the bad place was durable already.
    pub(crate) proof: Option<u64>,
    /// Where the first frame of this use of the file starts that lies behind the bad place.
    pub(crate) next: Option<u64>,
    /// The end of the last frame of this use of the file; 0 where there is none.
    pub(crate) end: u64,
}

fn find_magic(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    bytes
        .windows(MAGIC.len())
        .enumerate()
        .filter(|(_, window)| *window == MAGIC)
        .map(|(at, _)| at)
}

/// A part of a file in memory.
struct Window<'a> {
    file: &'a dyn File,
    bytes: Vec<u8>,
    at: u64,
    file_bytes: u64,
}

impl<'a> Window<'a> {
    const fn new(file: &'a dyn File, file_bytes: u64) -> Self {
        Self {
            file,
            bytes: Vec::new(),
            at: 0,
            file_bytes,
        }
    }

    /// The bytes of a range; zeros where the file ends before it does.
    fn get(&mut self, at: u64, count: usize) -> Result<&[u8], FsError> {
        let end = self.at + self.bytes.len() as u64;
        if at < self.at || at + count as u64 > end {
            let left = usize::try_from(self.file_bytes.saturating_sub(at)).unwrap_or(WINDOW_BYTES);
            let wanted = count.max(WINDOW_BYTES.min(left));
            self.bytes.clear();
            self.bytes.resize(wanted, 0);
            self.at = at;
            let read = self.file.read_at(&mut self.bytes, at)?;
            // What was not read stays zero.
            self.bytes.truncate(read.max(count));
        }
        let from = (at - self.at) as usize;
        Ok(self.bytes.get(from..from + count).unwrap_or_default())
    }
}

/// Whether a header starts a journal file.
pub(crate) fn is_head(header: &Header) -> bool {
    header.frame_type == FrameType::Head
}
