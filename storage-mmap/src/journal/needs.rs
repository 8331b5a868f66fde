//! What keeps a journal file from being written over.

use super::group_image::GroupImage;
use super::image::Image;
use crate::frame::{FrameType, Record};
use chronik_core::{GroupId, LogIndex};
use std::collections::HashMap;

/// What one journal file holds that lies nowhere else yet, by group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    groups: HashMap<GroupId, Need>,
}

#[derive(Clone, Debug, Default)]
struct Need {
    /// The largest index of an entry in the file; 0 for none.
    entries: LogIndex,
    /// The checkpoints in the file.
    checkpoints: Vec<LogIndex>,
}

impl Needs {
    /// Takes note of a record that was written into this file.
    pub(crate) fn note(&mut self, record: &Record) {
        match record.frame_type {
            FrameType::Entry => {
                let need = self.groups.entry(record.group).or_default();
                need.entries = need.entries.max(record.id.index);
            }
            FrameType::Checkpoint => {
                let need = self.groups.entry(record.group).or_default();
                need.checkpoints.push(record.id.index);
            }
            _ => {}
        }
    }

    /// Takes note of a record that lies in this file or a later one.
    pub(crate) fn forget(&mut self, record: &Record) {
        match record.frame_type {
            FrameType::Truncate => {
                if let Some(need) = self.groups.get_mut(&record.group) {
                    need.entries = need.entries.min(LogIndex(record.id.index.0.saturating_sub(1)));
                }
            }
            FrameType::Remove => {
                self.groups.remove(&record.group);
            }
            _ => {}
        }
    }

    /// The groups whose data keeps the file.
    pub(crate) fn open<'a>(&'a self, image: &'a Image) -> impl Iterator<Item = GroupId> + 'a {
        self.groups
            .iter()
            .filter(|(group, need)| image.groups.get(group).is_some_and(|group| !need.is_met(group)))
            .map(|(group, _)| *group)
    }
}

impl Need {
    fn is_met(&self, group: &GroupImage) -> bool {
        self.entries <= group.stored.through.index
            && self.checkpoints.iter().all(|index| {
                let mut notes = group.checkpoints.iter();
                notes.all(|note| note.at.index != *index || note.stored)
            })
    }
}
