//! Calls of the system that the compiler cannot check: maps of files that never change again, and the start of writing
//! a range back. The only unsafe code of the workspace.
#![allow(unsafe_code)]

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

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

/// Starts to write what the page cache has of a range (Linux: `sync_file_range`); it waits where the disk's queue is full.
/// It makes nothing durable; what fails here shows again at the sync.
pub(super) fn start_writing(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let (Ok(at), Ok(len)) = (libc::off64_t::try_from(offset), libc::off64_t::try_from(len)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // SAFETY: the descriptor is open as long as `file` is borrowed; the call takes numbers alone and touches no memory of
    // this process.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), at, len, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
