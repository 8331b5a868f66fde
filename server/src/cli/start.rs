//! `start`: a broker until it is told to stop.

use super::output::complain;
use super::settings::Settings;
use super::{Exit, logging};

pub(super) fn run(settings: &Settings) -> Exit {
    let effective = match settings.load() {
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
