//! Checking the checkpoints that lie in files of their own.

use super::{Findings, is_missing};
use crate::checkpoint::{
    CHECKPOINT_HEADER_BYTES, CheckpointError, checkpoint_path, decode_header, read_data,
};
use crate::journal::group_image::{CheckpointNote, GroupImage};
use chronik_core::GroupId;
use chronik_core::fs::{FsError, OpenMode};

/// Checks the checkpoints of one group.
pub(super) fn check(findings: &mut Findings<'_>, id: GroupId, image: &GroupImage) -> Result<(), FsError> {
    for note in image.checkpoints.iter().filter(|note| note.stored) {
        check_one(findings, id, note)?;
    }
    Ok(())
}

fn check_one(findings: &mut Findings<'_>, id: GroupId, note: &CheckpointNote) -> Result<(), FsError> {
    let path = checkpoint_path(findings.dir, id, note.at.index);
    let file = match findings.fs.open(&path, OpenMode::Read) {
        Err(error) if is_missing(&error) => {
            findings.damaged(&path, 0..1, Some(id), "the checkpoint is missing");
            return Ok(());
        }
        other => other?,
    };
    findings.report.files += 1;
    let mut bytes = [0; CHECKPOINT_HEADER_BYTES];
    file.read_at(&mut bytes, 0)?;
    let header_end = CHECKPOINT_HEADER_BYTES as u64;
    let header = match decode_header(&bytes) {
        Ok(header) => header,
        Err(error) => {
            let reason = match error {
                CheckpointError::Malformed(error) => error.0.to_owned(),
                CheckpointError::Version(version) => format!("the checkpoint has version {version}"),
            };
            findings.damaged(&path, 0..header_end, Some(id), &reason);
            return Ok(());
        }
    };
    if header.at != note.at || header.crc != note.crc || header.group != id {
        findings.damaged(
            &path,
            0..header_end,
            Some(id),
            "another checkpoint than the journal says",
        );
    }
    let data = header_end..file.size()?.max(header_end + 1);
    findings.report.bytes += header_end + u64::from(header.bytes);
    if read_data(&*file, &header)?.is_none() {
        findings.damaged(&path, data, Some(id), "the data does not match its checksum");
    }
    Ok(())
}
