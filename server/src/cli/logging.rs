//! The log of the process: one line per event on standard error.

use env_logger::{Builder, Target};
use log::LevelFilter;

use crate::config::LogLevel;

/// Starts logging at the configured level; libraries below it are heard from `warn` on.
///
/// # Panics
/// If a logger was installed already: the process has one `main`.
pub(super) fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Off => LevelFilter::Off,
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Trace => LevelFilter::Trace,
    };
    Builder::new()
        .filter_level(level.min(LevelFilter::Warn))
        .filter_module("chronik", level)
        .format_timestamp_millis()
        .target(Target::Stderr)
        .init();
}
