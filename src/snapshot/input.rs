//! The bytes of a dump: buffered, checked to be UTF-8, with line numbers.

use std::cell::Cell;
use std::io::{self, Read};

use super::MOST_HELD;
use super::error::{Error, Halt};

const BUFFER_BYTES: usize = 64 * 1024;
/// Maximum bytes of a document's first line that are used to recognize its format.
const OPENING_BYTES: usize = 512;

/// A dump being read. It returns only whole UTF-8 characters.
pub(super) struct Input<'r> {
    file: &'r str,
    reader: &'r mut dyn Read,
    buffer: Vec<u8>,
    /// The next byte to return.
    next: usize,
    /// The end of the bytes known to be UTF-8.
    checked: usize,
    /// The end of the bytes read: up to three more, of an incomplete character.
    end: usize,
    /// Line and column, from 1, of the buffer's first byte.
    line: usize,
    column: usize,
    failure: Option<Error>,
    /// Bytes read since the last complete object.
    held: &'r Cell<usize>,
}

/// The result of a further read from the source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    More,
    End,
    /// The buffer is full and was not consumed yet.
    Full,
    Failed,
}

impl<'r> Input<'r> {
    pub(super) fn new(file: &'r str, reader: &'r mut dyn Read, held: &'r Cell<usize>) -> Self {
        Self {
            file,
            reader,
            buffer: vec![0; BUFFER_BYTES],
            next: 0,
            checked: 0,
            end: 0,
            line: 1,
            column: 1,
            failure: None,
            held,
        }
    }

    /// Returns line and column, from 1, of the next byte.
    pub(super) fn position(&self) -> (usize, usize) {
        let taken = &self.buffer[..self.next];
        match taken.iter().rposition(|&byte| byte == b'\n') {
            Some(last) => (self.line + count_lines(taken), self.next - last),
            None => (self.line, self.column + self.next),
        }
    }

    /// Returns a syntax error at the current position.
    pub(super) fn syntax(&self, document: usize, reason: impl Into<String>) -> Error {
        let (line, column) = self.position();
        Error::Syntax { file: self.file.to_owned(), document, line, column, reason: reason.into() }
    }

    /// Returns the source's failure, which takes precedence over the parser's error about the early end.
    pub(super) fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Returns the first line that is not blank, or its beginning, without consuming it. Empty at the end.
    pub(super) fn opening(&mut self) -> Result<String, Halt> {
        loop {
            let ready = &self.buffer[self.next..self.checked];
            let line = ready.trim_ascii_start();
            if line.len() >= OPENING_BYTES || line.contains(&b'\n') {
                break;
            }
            if line.is_empty() {
                // Whole blank lines are skipped; the last one may be indentation.
                self.next += ready.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
            }
            if !matches!(self.fill(), Fill::More) {
                break;
            }
        }
        if let Some(failure) = self.take_failure() {
            return Err(failure.into());
        }
        let line = self.buffer[self.next..self.checked].trim_ascii_start();
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        Ok(String::from_utf8_lossy(&line[..line.len().min(OPENING_BYTES)]).trim_end().to_owned())
    }

    /// Returns the text that follows, as far as it is buffered, without consuming it.
    pub(super) fn ahead(&mut self) -> &str {
        while matches!(self.fill(), Fill::More) {}
        str::from_utf8(&self.buffer[self.next..self.checked]).unwrap_or_default()
    }

    /// Skips to the next byte that is not blank.
    pub(super) fn skip_blanks(&mut self) -> Result<(), Halt> {
        loop {
            let ready = &self.buffer[self.next..self.checked];
            let blanks = ready.len() - ready.trim_ascii_start().len();
            self.next += blanks;
            if self.next < self.checked {
                return Ok(());
            }
            if !matches!(self.fill(), Fill::More) {
                return self.take_failure().map_or(Ok(()), |failure| Err(failure.into()));
            }
        }
    }

    /// Returns the next character; `None` at the end.
    #[inline]
    pub(super) fn next_char(&mut self) -> Option<Result<char, Failed>> {
        if self.next == self.checked {
            match self.fill() {
                Fill::More => {}
                Fill::Failed => return Some(Err(Failed)),
                Fill::End | Fill::Full => return None,
            }
        }
        let first = self.buffer[self.next];
        if first < 0x80 {
            self.next += 1;
            return Some(Ok(char::from(first)));
        }
        let width = match first {
            0xF0.. => 4,
            0xE0.. => 3,
            _ => 2,
        };
        let character = str::from_utf8(self.buffer.get(self.next..self.next + width)?).ok()?.chars().next()?;
        self.next += width;
        Some(Ok(character))
    }

    /// Drops consumed bytes and reads more.
    #[cold]
    fn fill(&mut self) -> Fill {
        if self.failure.is_some() {
            return Fill::Failed;
        }
        (self.line, self.column) = self.position();
        if self.held.get() > MOST_HELD {
            self.failure = Some(Error::TooLarge { file: self.file.to_owned(), line: self.line });
            return Fill::Failed;
        }
        self.buffer.copy_within(self.next..self.end, 0);
        self.checked -= self.next;
        self.end -= self.next;
        self.next = 0;
        loop {
            if self.end == self.buffer.len() {
                return Fill::Full;
            }
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) if self.end == self.checked => return Fill::End,
                // The source ends within a character.
                Ok(0) => return self.not_text(),
                Ok(count) => {
                    self.end += count;
                    self.held.set(self.held.get() + count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(reason) => {
                    self.failure = Some(Error::Read { file: self.file.to_owned(), reason });
                    return Fill::Failed;
                }
            }
            let fresh = &self.buffer[self.checked..self.end];
            match str::from_utf8(fresh) {
                Ok(_) => self.checked = self.end,
                Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
                Err(_) => return self.not_text(),
            }
            if self.next < self.checked {
                return Fill::More;
            }
        }
    }

    fn not_text(&mut self) -> Fill {
        let is_first = (self.line, self.column) == (1, 1);
        let fresh = &self.buffer[self.checked..self.end];
        let valid = str::from_utf8(fresh).map_or_else(|error| error.valid_up_to(), str::len);
        let line = self.line + count_lines(&self.buffer[..self.checked + valid]);
        let cure = match &self.buffer[..self.end] {
            [0x1F, 0x8B, ..] if is_first => "; it is compressed: unpack it with gunzip",
            _ => "",
        };
        self.failure = Some(Error::NotText { file: self.file.to_owned(), line, cure });
        Fill::Failed
    }
}

/// A failure of the source; [`Input::take_failure`] returns the error.
pub(super) struct Failed;

impl Read for Input<'_> {
    #[inline]
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.next == self.checked {
            match self.fill() {
                Fill::More => {}
                Fill::Failed => return Err(io::ErrorKind::InvalidData.into()),
                Fill::End | Fill::Full => return Ok(0),
            }
        }
        if let [byte] = out {
            *byte = self.buffer[self.next];
            self.next += 1;
            return Ok(1);
        }
        let count = out.len().min(self.checked - self.next);
        out[..count].copy_from_slice(&self.buffer[self.next..self.next + count]);
        self.next += count;
        Ok(count)
    }
}

#[expect(clippy::naive_bytecount, reason = "it runs once for each 64 KiB: a crate for it would save nothing")]
fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}
