//! The process as the kernel sees it (`man 5 proc`).

use std::fs;

/// What the kernel says of this process; what it does not say is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessStat {
    /// Processor time used, user and system together.
    pub cpu_seconds: Option<f64>,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Virtual memory.
    pub virtual_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// The most file descriptors that may be open.
    pub max_fds: Option<u64>,
}

/// Asks the kernel.
#[must_use]
pub fn read() -> ProcessStat {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let mut process = from_stat(
        &stat,
        rustix::param::clock_ticks_per_second(),
        rustix::param::page_size() as u64,
    );
    process.open_fds = fs::read_dir("/proc/self/fd")
        .ok()
        .map(|found| found.count() as u64);
    process.max_fds = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    process
}

/// Reads `/proc/PID/stat`: the command in parentheses may hold anything, so that fields are counted from its end.
fn from_stat(stat: &str, ticks_per_second: u64, page_bytes: u64) -> ProcessStat {
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    // `state` is field 3 of the manual and the first one here.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = field(14)
        .zip(field(15))
        .map(|(user, system)| user.saturating_add(system));
    ProcessStat {
        cpu_seconds: ticks.map(|ticks| ticks as f64 / ticks_per_second.max(1) as f64),
        threads: field(20),
        virtual_bytes: field(23),
        resident_bytes: field(24).map(|pages| pages.saturating_mul(page_bytes)),
        ..ProcessStat::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_of_the_manual_whatever_the_command_is_called() {
        let line = "1 (a) b (c) S 4 5 6 7 8 9 10 11 12 13 250 50 16 17 18 19 21 21 22 2300 24 25";
        let stat = from_stat(line, 100, 4096);
        assert_eq!((stat.cpu_seconds, stat.threads), (Some(3.0), Some(21)));
        assert_eq!(
            (stat.virtual_bytes, stat.resident_bytes),
            (Some(2300), Some(24 * 4096))
        );
        assert_eq!(from_stat("", 100, 4096), ProcessStat::default());
    }

    #[test]
    fn this_process_uses_something() {
        let stat = read();
        assert!(stat.resident_bytes > Some(0) && stat.threads > Some(0) && stat.open_fds > Some(2));
    }
}
