//! The sequential specification of one group's log: what each call does, with nothing about disks or time.

mod group;
mod read;
#[cfg(test)]
mod tests;

pub use group::GroupModel;
