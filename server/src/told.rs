//! What tests read of the log: the lines of their own thread.

use log::{LevelFilter, Log, Metadata, Record};
use std::cell::RefCell;

thread_local! {
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

struct Listener;

impl Log for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                lines.push(format!("{} {}", record.level(), record.args()));
            }
        });
    }

    fn flush(&self) {}
}

/// The lines that `call` writes on this thread and that hold `part`.
pub(crate) fn told(part: &str, call: impl FnOnce()) -> Vec<String> {
    // Another test may have been first.
    if log::set_logger(&Listener).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
    LINES.set(Some(Vec::new()));
    call();
    let mut lines = LINES.take().unwrap_or_default();
    lines.retain(|line| line.contains(part));
    lines
}
