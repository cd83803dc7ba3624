//! Standard output and standard error. No other code writes to them. The output is a [`Page`], which is escaped, or the
//! log.

#![expect(clippy::disallowed_methods, reason = "the one place that writes to them")]

use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::domain::Domain;
use crate::page::Page;

/// Prints a page on standard output.
///
/// # Errors
///
/// Standard output is closed.
pub fn print(page: &Page) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(page.as_str().as_bytes())?;
    out.flush()
}

/// Prints a page on standard error; errors of writing are ignored.
pub fn to_stderr(page: &Page) {
    // A failure cannot be reported anywhere.
    let _ = io::stderr().lock().write_all(page.as_str().as_bytes());
}

/// Prints a note about a cluster with this domain on standard error.
pub(crate) fn note(domain: &Domain, text: impl Display) {
    let mut page = Page::in_domain(domain);
    page.line(format_args!("note: {text}"));
    to_stderr(&page);
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A progress display on standard error, shown only on a terminal and for tasks that take longer than a moment.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    /// The time when it is next shown.
    next: Cell<Instant>,
    is_shown: Cell<bool>,
}

impl Progress {
    /// Time before the first line, and between two lines.
    const DELAY: Duration = Duration::from_millis(800);
    const INTERVAL: Duration = Duration::from_millis(100);

    /// Creates the progress of a task that begins now.
    #[must_use]
    pub fn of(what: &'static str) -> Self {
        Self { what, next: Cell::new(Instant::now() + Self::DELAY), is_shown: Cell::new(false) }
    }

    /// Shows that `done` of `of` are done; each line replaces the previous one, and none is left at the end.
    pub fn at(&self, done: usize, of: usize) {
        let Some(line) = self.line(done, of, Instant::now(), is_log_read) else { return };
        let mut stderr = io::stderr().lock();
        // A failure cannot be reported anywhere.
        let _ = write!(stderr, "\r\u{1b}[K{line}").and_then(|()| stderr.flush());
    }
}

impl Progress {
    /// Returns the line to show at this time, empty at the end; `None` if none is due, or standard error is no
    /// terminal.
    fn line(&self, done: usize, of: usize, now: Instant, is_terminal: impl FnOnce() -> bool) -> Option<String> {
        let is_over = done >= of;
        if !(is_over && self.is_shown.get()) && (is_over || now < self.next.get() || !is_terminal()) {
            return None;
        }
        self.next.set(now + Self::INTERVAL);
        self.is_shown.set(!is_over);
        Some(if is_over { String::new() } else { format!("{}: {done} of {of}", self.what) })
    }
}

/// Returns the stream of log lines, which [`crate::telemetry`] escapes.
#[must_use]
pub fn log() -> io::Stderr {
    io::stderr()
}

/// Whether standard error is a terminal.
pub(crate) fn is_log_read() -> bool {
    io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long task shows its progress on a terminal, and leaves no line there; a pipe gets none.
    #[test]
    fn progress_is_shown_on_a_terminal_only_and_for_long_tasks() {
        let progress = Progress::of("judged");
        let started = Instant::now();
        let at = |millis: u64| started + Duration::from_millis(millis);
        let shown = |done: usize, millis: u64, is_terminal: bool| progress.line(done, 9, at(millis), || is_terminal);
        assert_eq!(shown(1, 2_000, false), None, "a script's log would hold control characters");
        assert_eq!(shown(9, 2_000, false), None);
        assert_eq!(shown(1, 100, true), None, "a short task would flicker");
        assert_eq!(shown(2, 2_000, true).as_deref(), Some("judged: 2 of 9"), "nothing is seen of a long task");
        assert_eq!(shown(3, 2_050, true), None, "a line for each step would take longer than the task");
        assert_eq!(shown(4, 2_200, true).as_deref(), Some("judged: 4 of 9"));
        assert_eq!(shown(9, 2_210, true).as_deref(), Some(""), "the last line would stay before the answer");
        assert_eq!(shown(9, 2_220, true), None);
    }
}
