//! Appends that go past the page cache (Linux: `O_DIRECT`).
//!
//! New pages of the cache are dear where nobody reads what they hold: the system has to find them, to copy into them and to
//! write them back. A direct write takes whole blocks from memory that is aligned, so the bytes are gathered in a buffer of
//! the thread, behind those of the block in which the append begins.

use chronik_core::fs::APPEND_BLOCK_BYTES;
use rustix::io::Errno;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

const BLOCK: usize = APPEND_BLOCK_BYTES as usize;
/// The most that one call writes.
const STEP_BYTES: usize = 1 << 20;

thread_local! {
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How one file takes appends.
#[derive(Debug, Default)]
pub(super) enum Direct {
    /// Nothing was appended yet.
    #[default]
    Unopened,
    /// The file system does not take direct writes, or not of this file.
    Unavailable,
    Open(DirectFile),
}

/// A file that is open for direct writes.
#[derive(Debug)]
pub(super) struct DirectFile {
    file: File,
    last: Option<LastBlock>,
}

/// What the last append left of its last block: the next one need not read it.
#[derive(Debug)]
struct LastBlock {
    /// Where the append ended.
    end: u64,
    /// The bytes of the block before that.
    bytes: Vec<u8>,
}

impl Direct {
    /// The file, opened a second time; `None` where direct writes are not to be had.
    pub(super) fn open(&mut self, file: &File) -> Option<&mut DirectFile> {
        if matches!(self, Self::Unopened) {
            // By its number: the file may have another name by now.
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let opened = File::options()
                .write(true)
                .custom_flags(libc::O_DIRECT)
                .open(path);
            *self = opened.map_or(Self::Unavailable, |file| {
                Self::Open(DirectFile { file, last: None })
            });
        }
        match self {
            Self::Open(direct) => Some(direct),
            Self::Unopened | Self::Unavailable => None,
        }
    }

    /// Something else wrote to the file, or cut it.
    pub(super) fn forget(&mut self) {
        if let Self::Open(direct) = self {
            direct.last = None;
        }
    }
}

impl DirectFile {
    /// Appends `parts` at `offset`; false where the system refuses that this file is written so, and any part of it may have
    /// been written.
    pub(super) fn append(&mut self, cached: &File, parts: &[&[u8]], offset: u64) -> io::Result<bool> {
        let last = self.last.take();
        let total: usize = parts.iter().map(|part| part.len()).sum();
        GATHERED.with_borrow_mut(|buffer| {
            let mut step = Step::begin(buffer, total, offset);
            if !step.is_aligned() {
                return Ok(false);
            }
            let before = (offset % APPEND_BLOCK_BYTES) as usize;
            match last.filter(|last| last.end == offset) {
                Some(last) => step.buffer.extend_from_slice(&last.bytes),
                None => step.read(cached, before)?,
            }
            for part in parts {
                let mut rest = *part;
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(rest.len().min(step.room()));
                    step.buffer.extend_from_slice(now);
                    rest = later;
                    if step.room() == 0 && !step.write(&self.file)? {
                        return Ok(false);
                    }
                }
            }
            let end = offset + total as u64;
            let bytes = step.end_of_block(end);
            if !step.write(&self.file)? {
                return Ok(false);
            }
            self.last = Some(LastBlock { end, bytes });
            Ok(true)
        })
    }
}

/// What one call writes.
struct Step<'a> {
    buffer: &'a mut Vec<u8>,
    /// Where the buffer's aligned bytes begin.
    begin: usize,
    /// Where they go.
    at: u64,
}

impl<'a> Step<'a> {
    /// A buffer for `total` bytes, or for one step of them, that start in the block of `offset`.
    fn begin(buffer: &'a mut Vec<u8>, total: usize, offset: u64) -> Self {
        let wanted = total.saturating_add(2 * BLOCK).min(STEP_BYTES) + BLOCK;
        if buffer.capacity() < wanted {
            *buffer = Vec::with_capacity(wanted.next_power_of_two().min(STEP_BYTES + BLOCK));
        }
        buffer.clear();
        let begin = buffer.as_ptr().align_offset(BLOCK).min(BLOCK);
        buffer.resize(begin, 0);
        Self {
            buffer,
            begin,
            at: offset - offset % APPEND_BLOCK_BYTES,
        }
    }

    fn is_aligned(&self) -> bool {
        self.begin < BLOCK
    }

    /// How many bytes fit into this step still.
    fn room(&self) -> usize {
        let whole = (self.buffer.capacity() - self.begin) / BLOCK * BLOCK;
        whole - (self.buffer.len() - self.begin)
    }

    /// Takes what the file has in the first `before` bytes of the block; zeros where it ends before them.
    fn read(&mut self, file: &File, before: usize) -> io::Result<()> {
        self.buffer.resize(self.begin + before, 0);
        let mut done = 0;
        while done < before {
            match file.read_at(&mut self.buffer[self.begin + done..], self.at + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The bytes of the last block, which is filled with zeros then.
    fn end_of_block(&mut self, end: u64) -> Vec<u8> {
        let count = (end % APPEND_BLOCK_BYTES) as usize;
        let bytes = self.buffer[self.buffer.len() - count..].to_vec();
        let filled = (self.buffer.len() - self.begin).next_multiple_of(BLOCK);
        self.buffer.resize(self.begin + filled, 0);
        bytes
    }

    /// Writes the blocks, and goes on behind them; false where the system does not take them so.
    fn write(&mut self, file: &File) -> io::Result<bool> {
        let mut done = self.begin;
        while done < self.buffer.len() {
            match rustix::io::pwrite(file, &self.buffer[done..], self.at) {
                Ok(count) if count > 0 && count % BLOCK == 0 => {
                    done += count;
                    self.at += count as u64;
                }
                // A part of a block: the cache takes the rest, and says what is wrong with it.
                Ok(_) | Err(Errno::INVAL) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.buffer.truncate(self.begin);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::RealFs;
    use chronik_core::fs::{APPEND_BLOCK_BYTES, File, FileSystem, OpenMode};
    use std::path::{Path, PathBuf};

    /// Numbers that are the same in every run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, most: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % most
        }
    }

    fn place(name: &str) -> PathBuf {
        // Beside the program: directories for temporary files may lie in memory.
        let program = std::env::current_exe().unwrap();
        program.with_file_name(format!("append-{name}-{}", std::process::id()))
    }

    fn content(file: &dyn File) -> Vec<u8> {
        let mut bytes = vec![0; file.size().unwrap() as usize];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
        bytes
    }

    /// Appends, writes, cuts and opens again as the numbers say; the file must have what a plain one would.
    fn history(path: &Path, seed: u64) {
        let mut numbers = Numbers(seed);
        let mut file = RealFs.open(path, OpenMode::CreateNew).unwrap();
        let mut want: Vec<u8> = Vec::new();
        let mut end = 0;
        for _ in 0..60 {
            let count = match numbers.below(6) {
                0 => numbers.below(3_000_000),
                1 => numbers.below(4) * APPEND_BLOCK_BYTES,
                _ => numbers.below(9000),
            } as usize;
            let bytes: Vec<u8> = (0..count).map(|_| numbers.below(251) as u8).collect();
            match numbers.below(10) {
                0 => end = numbers.below(end as u64 + 1) as usize,
                1 => {
                    want.truncate(end);
                    file.set_len(end as u64).unwrap();
                }
                2 => {
                    file.sync_data().unwrap();
                    file = RealFs.open(path, OpenMode::Write).unwrap();
                }
                3 => {
                    file.write_at(&[&bytes], end as u64).unwrap();
                    want.resize(want.len().max(end + count), 0);
                    want[end..end + count].copy_from_slice(&bytes);
                    end += count;
                }
                _ => {
                    let (head, tail) = bytes.split_at(count / 3);
                    file.append_at(&[head, &[], tail], end as u64).unwrap();
                    want.resize(want.len().max(end + count), 0);
                    want[end..end + count].copy_from_slice(&bytes);
                    end += count;
                }
            }
            let got = content(&*file);
            assert_eq!(got[..end], want[..end], "seed {seed}");
            // Behind the end zeros may have come, up to the next block and no further.
            let free = end.next_multiple_of(APPEND_BLOCK_BYTES as usize);
            assert!(got.len() <= want.len().max(free), "seed {seed}");
            want.resize(got.len(), 0);
            assert_eq!(got.get(free..), want.get(free..), "seed {seed}");
            want = got;
        }
    }

    #[test]
    fn an_append_changes_what_it_says_and_nothing_around_it() {
        for seed in 1..20 {
            let path = place("history");
            history(&path, seed);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_was_appended_is_read_in_every_way() {
        let path = place("read");
        let file = RealFs.open(&path, OpenMode::CreateNew).unwrap();
        file.write_at(&[&[7; 64]], 0).unwrap();
        let mut want = vec![7; 64];
        for step in 0..200u32 {
            let bytes = vec![step as u8; 3000];
            file.append_at(&[&bytes], want.len() as u64).unwrap();
            want.extend(bytes);
            // Pages that were read before, the last one among them, must not hide what is written next.
            assert_eq!(content(&*file)[..want.len()], want[..]);
        }
        file.sync_data().unwrap();
        file.set_len(want.len() as u64).unwrap();
        assert_eq!(file.map(want.len() as u64).unwrap(), want);
        assert_eq!(std::fs::read(&path).unwrap(), want);
        std::fs::remove_file(&path).unwrap();
    }
}
