//! What the journal says about every group: the state that stands at the head of each journal file.
//!
//! There is one function that applies a record, used when a record has become durable and when it is replayed, so
//! that what a restart sees is what the running store saw.

use crate::codec::{Decoder, Encode, Malformed};
use crate::frame::{FrameType, Record};
use crate::journal::group_image::GroupImage;
use bytes::Bytes;
use chronik_core::GroupId;
use std::collections::BTreeMap;

/// The state of all groups as of one journal position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// Journal files with a lower sequence number are not needed.
    pub(crate) floor: u64,
    pub(crate) groups: BTreeMap<GroupId, GroupImage>,
}

impl Image {
    /// Applies one record.
    ///
    /// # Errors
    /// The record cannot follow what was applied before: the journal is damaged, or the store has a bug.
    pub(crate) fn apply(&mut self, record: &Record) -> Result<(), Malformed> {
        match record.frame_type {
            FrameType::Floor => {
                self.floor = self.floor.max(record.id.index.0);
                Ok(())
            }
            FrameType::Close => Ok(()),
            FrameType::Create => {
                if self.groups.contains_key(&record.group) {
                    return Err(Malformed("a group is created twice"));
                }
                self.groups.insert(record.group, GroupImage::created(record)?);
                Ok(())
            }
            FrameType::Remove => match self.groups.remove(&record.group) {
                Some(_) => Ok(()),
                None => Err(Malformed("a group is removed that does not exist")),
            },
            FrameType::Head | FrameType::IndexBlock | FrameType::Footer => {
                Err(Malformed("a frame of this type does not belong here"))
            }
            _ => match self.groups.get_mut(&record.group) {
                Some(group) => group.apply(record),
                None => Err(Malformed("a record of a group that does not exist")),
            },
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(32 + self.groups.len() * 256);
        out.put_u64(self.floor);
        out.put_count(self.groups.len());
        for (group, image) in &self.groups {
            out.put_u64(group.0);
            image.encode(&mut out);
        }
        out.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(bytes);
        let floor = decoder.u64()?;
        let count = decoder.count(8)?;
        let mut groups = BTreeMap::new();
        for _ in 0..count {
            let group = GroupId(decoder.u64()?);
            let image = GroupImage::decode(&mut decoder)?;
            if groups.insert(group, image).is_some() {
                return Err(Malformed("a group stands twice in a head"));
            }
        }
        decoder.end()?;
        Ok(Self { floor, groups })
    }
}
