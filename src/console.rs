//! Standard output and standard error. Nothing else in the program writes to them: what is written is a [`Page`], whose text
//! is escaped, or the log.

#![expect(clippy::disallowed_methods, reason = "the one place that writes to them")]

use std::io::{self, IsTerminal as _, Write as _};

use crate::page::Page;

/// Prints a page on standard output.
///
/// # Errors
///
/// It is closed.
pub fn print(page: &Page) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(page.as_str().as_bytes())?;
    out.flush()
}

/// Prints a page on standard error, if anybody reads it.
pub fn tell(page: &Page) {
    // There is nobody to tell of a failure.
    let _ = io::stderr().lock().write_all(page.as_str().as_bytes());
}

/// Whether a person at a terminal reads standard output.
#[must_use]
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Says on standard error how far something is, where a person watches; each call takes the place of the one before.
pub fn progress(what: &'static str, done: usize, of: usize) {
    if !is_log_read() {
        return;
    }
    let end = if done == of { "\r\u{1b}[K" } else { "" };
    let mut stderr = io::stderr().lock();
    // There is nobody to tell of a failure.
    let _ = write!(stderr, "\r\u{1b}[K{what}: {done} of {of}{end}").and_then(|()| stderr.flush());
}

/// Where log lines go; [`crate::telemetry`] escapes them.
#[must_use]
pub fn log() -> io::Stderr {
    io::stderr()
}

/// Whether a person at a terminal reads the log.
#[must_use]
pub fn is_log_read() -> bool {
    io::stderr().is_terminal()
}
