//! The broker: Kafka protocol, partitions, groups, and the composition of the selected backends.

pub mod admin;
pub mod bench;
pub mod broker;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod group;
pub mod judge;
pub mod kafka;
pub mod metrics;
mod open_files;
pub mod partition;
pub mod peers;
pub mod restore;
pub mod run;
pub mod runtime;
#[cfg(test)]
mod told;
