//! A file of the operating system.

use super::direct::Direct;
use super::os;
use super::real_fs::fs_error;
use crate::sync::locked;
use bytes::Bytes;
use chronik_core::fs::{Advice, File, FsError, FsErrorKind};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Mutex;

/// The most parts that one vectored write takes (Linux: `UIO_MAXIOV`).
const PARTS_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct RealFile {
    file: std::fs::File,
    path: PathBuf,
    direct: Mutex<Direct>,
}

impl RealFile {
    pub(super) fn new(file: std::fs::File, path: PathBuf) -> Self {
        Self {
            file,
            path,
            direct: Mutex::default(),
        }
    }

    fn failed(&self, call: &str, error: &io::Error) -> FsError {
        fs_error(call, &self.path, error)
    }

    /// Writes parts as far as one call takes them; returns how many bytes that was.
    fn write_some(&self, slices: &[IoSlice<'_>], offset: u64) -> Result<usize, FsError> {
        loop {
            match rustix::io::pwritev(&self.file, slices, offset) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failed("write", &error.into())),
                Ok(0) => {
                    let detail = format!("write {}: nothing was written", self.path.display());
                    return Err(FsError::new(FsErrorKind::Io, detail));
                }
                Ok(written) => return Ok(written),
            }
        }
    }
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FsError> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read", &error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, parts: &[&[u8]], mut offset: u64) -> Result<(), FsError> {
        locked(&self.direct).forget();
        for chunk in parts.chunks(PARTS_MAX) {
            let mut slices: Vec<IoSlice<'_>> = chunk
                .iter()
                .filter(|part| !part.is_empty())
                .map(|part| IoSlice::new(part))
                .collect();
            let mut rest = &mut slices[..];
            while !rest.is_empty() {
                let written = self.write_some(rest, offset)?;
                offset += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
        }
        Ok(())
    }

    fn append_at(&self, parts: &[&[u8]], offset: u64) -> Result<(), FsError> {
        let mut direct = locked(&self.direct);
        if let Some(open) = direct.open(&self.file) {
            match open.append(&self.file, parts, offset) {
                Ok(true) => return Ok(()),
                Ok(false) => *direct = Direct::Unavailable,
                Err(error) => return Err(self.failed("write", &error)),
            }
        }
        drop(direct);
        self.write_at(parts, offset)
    }

    fn sync_data(&self) -> Result<(), FsError> {
        // An interrupted sync is an error like any other: nobody knows what it left undone.
        self.file
            .sync_data()
            .map_err(|error| self.failed("fdatasync", &error))
    }

    fn size(&self) -> Result<u64, FsError> {
        match self.file.metadata() {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) => Err(self.failed("stat", &error)),
        }
    }

    fn set_len(&self, len: u64) -> Result<(), FsError> {
        locked(&self.direct).forget();
        self.file
            .set_len(len)
            .map_err(|error| self.failed("truncate", &error))
    }

    fn allocate(&self, len: u64) -> Result<(), FsError> {
        if len == 0 {
            return Ok(());
        }
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failed("fallocate", &error.into())),
            }
        }
    }

    fn map(&self, len: u64) -> Result<Bytes, FsError> {
        let size = self.size()?;
        let len = match usize::try_from(len) {
            Ok(count) if len <= size => count,
            _ => {
                let detail = format!("map {}: {len} bytes of {size}", self.path.display());
                return Err(FsError::new(FsErrorKind::Io, detail));
            }
        };
        os::map(&self.file, len).map_err(|error| self.failed("map", &error))
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) {
        let advice = match advice {
            Advice::WillNeed => rustix::fs::Advice::WillNeed,
            Advice::DropCache => rustix::fs::Advice::DontNeed,
            Advice::WriteSoon => {
                // A hint, as below. What the system could not write, the sync tells.
                let _ = os::start_writing(&self.file, offset, len);
                return;
            }
        };
        // A hint: where it fails nothing but time is lost.
        let _ = rustix::fs::fadvise(&self.file, offset, NonZeroU64::new(len), advice);
    }
}
