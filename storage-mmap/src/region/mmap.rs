//! Maps of files that never change again. The only unsafe code of the workspace.
#![allow(unsafe_code)]

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};
use std::fs::File;
use std::io;

struct Region {
    map: Mmap,
}

impl AsRef<[u8]> for Region {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

/// Maps the first `len` bytes of `file`. The caller promises what [`chronik_core::fs::File::map`] demands: these
/// bytes exist, and nobody writes or cuts them while the result or a slice of it lives.
pub(super) fn map(file: &File, len: usize) -> io::Result<Bytes> {
    if len == 0 {
        return Ok(Bytes::new());
    }
    let mut options = MmapOptions::new();
    options.len(len);
    // SAFETY: a shared read-only map is sound as long as the mapped bytes do not change and the file does not
    // become shorter. Only sealed segments are mapped; the store writes, cuts and reuses a segment file only after
    // its last `Bytes` is gone (`Pool`), truncation into a sealed segment makes a new file, and the lock on the data
    // directory keeps other processes out. The simulated disk of the conformance suite notes every breach of this
    // (`SimDisk::violations`); `random_histories_survive_power_cuts` fails on the first.
    let map = unsafe { options.map(file) }?;
    Ok(Bytes::from_owner(Region { map }))
}
