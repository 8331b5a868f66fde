//! What only a mutant does: it writes what is live into a file that was used before, and tells nobody where the new frames
//! end.

use super::journal::{self, Journal};
use super::record::{Change, Record};
use crate::model::GroupModel;
use chronik_core::fs::{FileSystem, FsError, OpenMode};
use chronik_core::log_store::Purge;
use chronik_core::{GroupId, LogId, LogIndex};
use std::path::Path;

/// A shorter journal is not worth it.
const WORTH_BYTES: u64 = 2 * 1024;

/// Gives the journal a file in which old frames lie behind the live ones, as in one that is used again.
pub(super) fn use_file_again(
    journal: &mut Journal,
    fs: &dyn FileSystem,
    dir: &Path,
    groups: &[(GroupId, GroupModel)],
) -> Result<(), FsError> {
    let records: Vec<Record> = groups
        .iter()
        .flat_map(|(group, model)| records_of(*group, model))
        .collect();
    let mut bytes = journal::encode_all(&records);
    let live = bytes.len() as u64;
    if live + WORTH_BYTES > journal.end {
        return Ok(());
    }
    let old = journal::read_all(&*journal.file)?;
    bytes.extend_from_slice(old.get(bytes.len()..).unwrap_or_default());
    let (next, path) = (dir.join("journal.next"), dir.join(journal::NAME));
    // One of before a crash may be there.
    drop(fs.remove(&next));
    let file = fs.open(&next, OpenMode::CreateNew)?;
    file.write_at(&[&bytes], 0)?;
    file.sync_data()?;
    fs.rename(&next, &path)?;
    fs.sync_dir(dir)?;
    journal.replace(file, live, bytes.len() as u64);
    Ok(())
}

/// Records that make a group what it is.
fn records_of(group: GroupId, model: &GroupModel) -> Vec<Record> {
    let state = model.state();
    let first = model.kept().next();
    let before = first.map_or(state.purged, |entry| LogId {
        term: state.purged.term,
        index: LogIndex(entry.id.index.0 - 1),
    });
    let offset = first.map_or(state.offset_end, |entry| entry.base_offset);
    let mut changes = vec![Change::Create(model.policy()), Change::Restart(before, offset)];
    for entry in model.kept() {
        changes.push(Change::Append(entry.clone()));
        if model.is_cut_after(entry.id.index) {
            changes.push(Change::Roll(model.policy(), true));
        }
    }
    changes.push(Change::Purge(Purge {
        through: state.purged,
        offset_start: state.offset_start,
    }));
    changes.push(Change::HardState(state.hard_state));
    let checkpoints = model.checkpoint_indexes().into_iter();
    changes.extend(checkpoints.filter_map(|index| model.checkpoint(index).map(Change::Checkpoint)));
    changes.push(Change::CommitHint(state.commit_hint));
    changes
        .into_iter()
        .map(|change| Record { group, change })
        .collect()
}
