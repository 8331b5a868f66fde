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
    complain(&"this build cannot run a broker: the parts that serve clients are not in it");
    Exit::Failed
}
