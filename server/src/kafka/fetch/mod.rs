//! Fetch: sessions, and reading many partitions for one answer.

pub mod session;
