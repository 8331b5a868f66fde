//! What a command says: its result on standard output, its complaints on standard error.

use std::fmt::Display;
use std::io::{ErrorKind, Write, stderr, stdout};

use super::Exit;

/// Prints a command's result. A reader that has gone away (`| head`) is no failure.
pub(super) fn print(text: &str) -> Exit {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            complain(&format_args!("cannot write the result: {error}"));
            Exit::Failed
        }
    }
}

/// Says what is wrong.
pub(super) fn complain(what: &impl Display) {
    // There is nowhere left to say that standard error is gone.
    let _ = writeln!(stderr().lock(), "{what}");
}
