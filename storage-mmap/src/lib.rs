//! The segment log store: groups of entries in one directory, durable by group commit.
//!
//! Every change goes to a journal that all groups share, with one sync for everything that waits ([`MmapStore`]
//! starts the next group while the last one syncs). What is durable there is copied, unsynced, into segments of its
//! group; a segment that is complete is synced, mapped, and read without a copy. Journal files are written over
//! and over, once their entries are durable in segments.
//!
//! One file per verb: `append`, `flush`, `copy`, `read`, `find_time`, `truncate`, `purge`, `checkpoint`,
//! `recover`. The formats stand in `docs/format/journal.md` and `docs/format/segment.md`.

mod answer;
mod append;
mod background;
mod checkpoint;
mod codec;
mod copy;
mod damage;
mod disk_threads;
mod drop_files;
mod erase;
mod find_time;
mod flush;
mod frame;
mod group;
mod journal;
mod options;
mod pool;
mod purge;
mod queue;
mod read;
mod reader;
mod recover;
mod region;
mod ring;
mod segment;
mod space;
mod store;
mod sync;
mod truncate;
mod verify;
mod writer;

pub use disk_threads::DiskThreads;
pub use erase::erase;
pub use options::StoreOptions;
pub use region::RealFs;
pub use store::MmapStore;
pub use verify::{VerifyReport, verify};
