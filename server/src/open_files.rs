//! How many files the process may have open: connections, segments and the journal share the system's limit.

use crate::config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process opens beside connections and segments, generously.
const OTHER_FILES: u64 = 128;

/// Raises the soft limit to the hard one, and says so where even that is less than the configuration may need. A shell
/// often gives a process 1,024, for the sake of programs that cannot hold more.
pub(crate) fn raise_limit(config: &Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            log::warn!("event=open_files_limit_not_raised error=\"{error}\"");
            current
        }
    };
    let needed = needed(config);
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        log::warn!(
            "event=open_files_limit_low limit={limit} needed={needed} fix=\"raise the hard limit of open files \
             (LimitNOFILE, ulimit -Hn), or lower kafka.max_connections\""
        );
    }
}

/// The files that the configuration lets the process open.
fn needed(config: &Config) -> u64 {
    let connections = config.kafka.max_connections + config.admin.max_connections;
    (connections + config.storage.max_open_files + config.storage.max_journal_files) as u64 + OTHER_FILES
}
