//! Checking the journal.

use super::Findings;
use crate::damage::io_error;
use crate::frame::{FrameType, Header};
use crate::journal::file::{PREAMBLE_BYTES, Preamble, PreambleError};
use crate::journal::image::Image;
use crate::journal::journal_dir;
use crate::journal::replay::survey;
use crate::journal::scan::{Found, Scan, Step, read_preambles};
use bytes::Bytes;
use chronik_core::LogError;
use chronik_core::fs::{FsError, OpenMode};
use std::ops::Range;

/// Checks the files that the journal needs; returns what it says, as far as it can be read.
pub(super) fn check(findings: &mut Findings<'_>) -> Result<Image, LogError> {
    let mut survey = survey(findings.fs, findings.dir, OpenMode::Read)?;
    let first = survey.first_linked();
    let linked = survey.whole.split_off(first.min(survey.whole.len()));
    let newest = linked.last().map_or(0, |(found, _)| found.preamble.sequence);
    for found in &survey.headless {
        if found.preamble.sequence > newest {
            let probe = Scan::new(found, None).probe(PREAMBLE_BYTES).map_err(io_error)?;
            if let Some(proof) = probe.proof {
                findings.damaged(
                    &found.path,
                    PREAMBLE_BYTES..proof,
                    None,
                    "the head is not what was written",
                );
            }
        }
    }
    let mut walk = Walk {
        image: linked.first().map(|(_, image)| image.clone()).unwrap_or_default(),
        chain: None,
        whole: true,
    };
    for (place, (found, head)) in linked.iter().enumerate() {
        findings.report.files += 1;
        check_preambles(findings, found)?;
        let end = linked
            .get(place + 1)
            .map(|(next, _)| next.preamble.start - found.preamble.start);
        if !walk.whole {
            // What lies between is not known, so the state starts again from what this head says.
            walk.image = head.clone();
            walk.whole = true;
        }
        walk.file(findings, found, end).map_err(io_error)?;
    }
    let floor = walk.image.floor;
    if let Some((oldest, _)) = linked.first()
        && oldest.preamble.sequence > floor
    {
        let lost = floor..oldest.preamble.sequence;
        check_lost(findings, &survey.headless, lost).map_err(io_error)?;
    }
    Ok(walk.image)
}

/// Names what is wrong where files are needed that have no valid head.
fn check_lost(findings: &mut Findings<'_>, headless: &[Found], lost: Range<u64>) -> Result<(), FsError> {
    let known = headless
        .iter()
        .filter(|found| lost.contains(&found.preamble.sequence));
    let mut any = false;
    for found in known {
        any = true;
        let probe = Scan::new(found, None).probe(PREAMBLE_BYTES)?;
        let end = probe.next.unwrap_or(found.file_bytes);
        findings.damaged(
            &found.path,
            PREAMBLE_BYTES..end,
            None,
            "the head is not what was written",
        );
    }
    if !any {
        let reason = format!(
            "the journal files from sequence number {} on are missing",
            lost.start
        );
        findings.damaged(&journal_dir(findings.dir), 0..1, None, reason);
    }
    Ok(())
}

/// Both copies of the preamble must be whole, or be left from before the file's last use.
fn check_preambles(findings: &mut Findings<'_>, found: &Found) -> Result<(), LogError> {
    let copies = read_preambles(&*found.file, found.file_bytes).map_err(io_error)?;
    let places = [0, found.file_bytes - PREAMBLE_BYTES];
    for (copy, at) in copies.into_iter().zip(places) {
        let sound = match &copy {
            Ok(preamble) => preamble.sequence <= found.preamble.sequence && sane(preamble, found),
            Err(PreambleError::Version(_)) => false,
            Err(PreambleError::Malformed(_)) => {
                // A power cut may have kept the copy from being written; then it is what the file was made of.
                let mut bytes = [0; PREAMBLE_BYTES as usize];
                found.file.read_at(&mut bytes, at).map_err(io_error)?;
                bytes.iter().all(|byte| *byte == 0)
            }
        };
        if !sound {
            findings.damaged(
                &found.path,
                at..at + PREAMBLE_BYTES,
                None,
                "a preamble is not what was written",
            );
        }
    }
    Ok(())
}

fn sane(preamble: &Preamble, found: &Found) -> bool {
    preamble.sequence != found.preamble.sequence || *preamble == found.preamble
}

struct Walk {
    image: Image,
    chain: Option<u32>,
    /// Whether every frame so far could be read.
    whole: bool,
}

impl Walk {
    /// Follows the frames of one file, over what is damaged where something follows that is not.
    fn file(&mut self, findings: &mut Findings<'_>, found: &Found, end: Option<u64>) -> Result<(), FsError> {
        let mut scan = Scan::new(found, self.chain);
        while end.is_none_or(|end| scan.at() < end) {
            let at = scan.at();
            match scan.look()? {
                Step::Frame(header) => {
                    let payload = match header.frame_type {
                        FrameType::Entry => Bytes::new(),
                        _ => Bytes::copy_from_slice(scan.payload(&header)?),
                    };
                    self.apply(findings, found, at, &header, payload);
                    scan.skip(&header);
                    if header.frame_type == FrameType::Close {
                        break;
                    }
                }
                Step::Bad(bad) => {
                    let probe = scan.probe(at)?;
                    if end.is_none() && probe.proof.is_none() {
                        if bad.begun || probe.end > 0 {
                            let to = bad.range.end.max(probe.end);
                            let torn =
                                crate::damage::damage(findings.dir, &found.path, at..to, None, bad.reason);
                            findings.report.torn = Some(torn);
                        }
                        break;
                    }
                    self.whole = false;
                    let next = probe.next.or(end).unwrap_or(bad.range.end);
                    findings.damaged(
                        &found.path,
                        at..next.max(bad.range.end.min(next)),
                        None,
                        bad.reason,
                    );
                    if probe.next.is_none() {
                        break;
                    }
                    scan.jump(next);
                }
            }
        }
        findings.report.bytes += scan.at();
        self.chain = scan.chain();
        Ok(())
    }

    fn apply(
        &mut self,
        findings: &mut Findings<'_>,
        found: &Found,
        at: u64,
        header: &Header,
        payload: Bytes,
    ) {
        findings.report.entries += u64::from(header.frame_type == FrameType::Entry);
        if !self.whole || header.frame_type == FrameType::Head {
            return;
        }
        if let Err(error) = self.image.apply(&header.with_payload(payload)) {
            self.whole = false;
            let range = at..at + header.frame_bytes();
            findings.damaged(&found.path, range, Some(header.group), error.0);
        }
    }
}
