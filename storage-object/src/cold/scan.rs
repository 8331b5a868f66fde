//! Entry after entry from a place in an object, across blocks.

use super::object::Object;
use super::{BLOCK_BYTES, ColdReader};
use crate::error::TierError;
use crate::format::{FrameError, Frames};
use bytes::{Bytes, BytesMut};
use chronik_core::Entry;
use futures_lite::future;
use std::sync::Arc;

/// Who copied so much lets others have their turn on the executor: batches as large as blocks are all copied.
const TURN_BYTES: usize = 128 << 10;

/// Reads the frames of one object in order.
pub(super) struct Scan {
    reader: Arc<ColdReader>,
    object: Object,
    position: u64,
    frames: Frames,
    ahead: u32,
    /// Blocks before this one are done with.
    done: u32,
}

impl Scan {
    /// Starts at the frame at `position`, and asks for `ahead` blocks at a time.
    pub(super) fn new(reader: Arc<ColdReader>, object: Object, position: u64, ahead: u32) -> Self {
        Self {
            reader,
            object,
            position,
            frames: Frames::new(Bytes::new()),
            ahead,
            done: block_of(position),
        }
    }

    /// Whether what was read since the last call went on into another block; what lies before that is done with.
    pub(super) fn left_a_block(&mut self) -> bool {
        let (done, now) = (self.done, self.block());
        self.done = now;
        if done < now {
            self.reader.blocks.done_with(&self.object.key, done..now);
        }
        done < now
    }

    /// The block that is read now.
    pub(super) fn block(&self) -> u32 {
        block_of(self.position)
    }

    /// The next entry; none at the end of the object.
    pub(super) async fn next(&mut self) -> Result<Option<Entry>, TierError> {
        loop {
            if self.frames.rest().is_empty() {
                if self.position >= self.object.segment.footer_position {
                    return Ok(None);
                }
                self.frames = Frames::new(self.rest_of_block(self.position).await?);
            }
            let before = self.frames.rest().len();
            match self.frames.next_entry() {
                Ok(Some(entry)) => {
                    self.position += (before - self.frames.rest().len()) as u64;
                    return Ok(Some(entry));
                }
                Ok(None) => {}
                Err(FrameError::Short(len)) => self.frames = Frames::new(self.gather(len).await?),
                Err(FrameError::Malformed(error)) => {
                    return Err(TierError::damaged(&self.object.key, error));
                }
            }
        }
    }

    /// The bytes from `position` to the end of its block.
    async fn rest_of_block(&self, position: u64) -> Result<Bytes, TierError> {
        let number = block_of(position);
        let ahead = number.saturating_add(self.ahead).min(self.object.blocks());
        let block = self.reader.block(&self.object, number, ahead).await?;
        let at = (position % BLOCK_BYTES) as usize;
        match at < block.len() {
            true => Ok(block.slice(at..)),
            false => Err(TierError::damaged(
                &self.object.key,
                "a frame lies outside of its block",
            )),
        }
    }

    /// At least `len` bytes from here on, out of as many blocks as that takes.
    async fn gather(&self, len: usize) -> Result<Bytes, TierError> {
        let end = self.position.saturating_add(len as u64);
        if end > self.object.segment.footer_position {
            return Err(TierError::damaged(
                &self.object.key,
                "a frame reaches beyond the frames",
            ));
        }
        let mut gathered = BytesMut::with_capacity(len);
        while gathered.len() < len {
            let piece = self.rest_of_block(self.position + gathered.len() as u64).await?;
            let take = piece.len().min(len - gathered.len());
            gathered.extend_from_slice(&piece[..take]);
        }
        if len >= TURN_BYTES {
            future::yield_now().await;
        }
        Ok(gathered.freeze())
    }
}

fn block_of(position: u64) -> u32 {
    u32::try_from(position / BLOCK_BYTES).unwrap_or(u32::MAX)
}
