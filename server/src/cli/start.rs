//! `start` and `raft-cluster`: a broker until it is told to stop.

use super::output::complain;
use super::settings::Settings;
use super::{Exit, logging};
use crate::config::Preset;

/// What makes a node one of a cluster, where the file does not choose other backends.
pub(super) const CLUSTER: &[Preset] = &[
    ("raft-cluster", "transport.backend", "capnp"),
    ("raft-cluster", "consensus.backend", "raft-rs"),
];

pub(super) fn run(settings: &Settings, presets: &[Preset]) -> Exit {
    let effective = match settings.load(presets) {
        Ok(effective) => effective,
        Err(problems) => {
            complain(&problems);
            return Exit::Failed;
        }
    };
    logging::start(effective.config.log.level);
    match crate::run::run(effective.config) {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&error);
            Exit::Failed
        }
    }
}
