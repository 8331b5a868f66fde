//! The real file system: files, locks, and mapped regions.

mod direct;
mod os;
mod real_file;
mod real_fs;

pub use real_fs::RealFs;
