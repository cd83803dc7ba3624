//! Printed output: lines and tables for people, JSON and YAML for programs.
//!
//! A [`Page`] escapes all text: each line and each cell becomes [`Shown`] here, so that no object can forge a line or
//! send an escape sequence. JSON and YAML keep their values exact: characters that are not printable are escaped as the
//! format defines.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use serde::{Serialize, Serializer};
use unicode_width::UnicodeWidthStr as _;

use crate::connection::Connection;
use crate::domain::Domain;
use crate::fit::shown::{Shown, is_printable};

/// Text to print: complete lines, with the names of a cluster, and with the options of the command line in commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    text: String,
    domain: Domain,
    connection: Connection,
}

/// A value that cannot be written as JSON or YAML; no value of this crate is one.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The value cannot be written as JSON.
    #[error("cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The value cannot be written as YAML.
    #[error("cannot be written as YAML")]
    Yaml(#[from] serde_saphyr::SerializeError),
}

impl Page {
    /// Creates a page of one line.
    #[must_use]
    pub fn of(line: impl Display) -> Self {
        let mut page = Self::default();
        page.line(line);
        page
    }

    /// Creates an empty page about a cluster with this domain.
    #[must_use]
    pub fn in_domain(domain: &Domain) -> Self {
        Self { text: String::new(), domain: domain.clone(), connection: Connection::of_process() }
    }

    /// Creates an empty page for other readers than the user of this command line: commands stay without its options.
    pub(crate) fn for_others(&self) -> Self {
        Self { text: String::new(), domain: self.domain.clone(), connection: Connection::default() }
    }

    /// Returns text of this program with the names of the cluster, and with the options in its commands.
    fn completed(&self, text: &str, escape: fn(&str) -> String) -> String {
        self.connection.completed(&self.domain.outward(text), escape).into_owned()
    }

    /// Returns the domain of the names on the page.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Returns the text to print.
    #[must_use]
    pub fn into_string(self) -> String {
        self.text
    }

    /// Returns the text to print.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the page is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Adds a line.
    pub fn line(&mut self, text: impl Display) {
        let text = text.to_string();
        self.text.push_str(&inert(Shown::new(self.completed(text.trim_end(), str::to_owned)).as_str()));
        self.text.push('\n');
    }

    /// Adds a line that a CI program executes as a command: one of this program, in which text of objects cannot leave
    /// its place.
    pub(crate) fn workflow_command(&mut self, text: impl Display) {
        self.text.push_str(Shown::new(self.domain.outward(&text.to_string())).as_str());
        self.text.push('\n');
    }

    /// Adds a line about a table that is not one of its rows: marked, so that scripts can remove it (`grep -v '^#'`).
    pub fn remark(&mut self, text: impl Display) {
        self.line(format_args!("# {text}"));
    }

    /// Adds the lines of another page.
    pub fn append(&mut self, page: &Self) {
        self.text.push_str(&page.text);
    }

    /// Adds rows in columns, separated by at least two blanks.
    ///
    /// Splitting a line at two blanks gives its cells: cells contain no two consecutive blanks, do not begin or end
    /// with one, and an empty cell is `-`.
    pub fn table(&mut self, rows: &[Vec<String>]) {
        self.columns(rows, |_| Blanks::Single);
    }

    /// Adds a table for `awk`: only cells of the last column contain blanks.
    pub(crate) fn listing(&mut self, rows: &[Vec<String>]) {
        let last = rows.first().map_or(0, Vec::len);
        self.columns(rows, |column| if column + 1 == last { Blanks::Single } else { Blanks::None });
    }

    fn columns(&mut self, rows: &[Vec<String>], blanks: impl Fn(usize) -> Blanks) {
        let shown = |row: &Vec<String>| -> Vec<String> {
            row.iter()
                .enumerate()
                .map(|(column, text)| cell(&self.completed(text, str::to_owned), blanks(column)))
                .collect()
        };
        let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &rows {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                self.text.push_str(cell);
                if column + 1 < row.len() {
                    self.text.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
                }
            }
            self.text.push('\n');
        }
    }

    /// Adds a value as JSON, indented.
    ///
    /// # Errors
    ///
    /// The value cannot be written as JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), PageError> {
        let text = serde_json::to_string_pretty(value)?;
        self.text.push_str(&quoted(&self.completed(&text, in_json), json_escape));
        self.text.push('\n');
        Ok(())
    }

    /// Adds a value as JSON on one line.
    ///
    /// # Errors
    ///
    /// The value cannot be written as JSON.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<(), PageError> {
        let text = serde_json::to_string(value)?;
        self.text.push_str(&quoted(&self.domain.outward(&text), json_escape));
        self.text.push('\n');
        Ok(())
    }

    /// Adds an object of the API as a YAML document, as [`yaml`](Self::yaml) does: its texts are not this program's,
    /// and stay as they are.
    ///
    /// # Errors
    ///
    /// The value cannot be written as YAML.
    pub(crate) fn manifest(&mut self, object: &impl Serialize) -> Result<(), PageError> {
        let text = yaml(object)?;
        let text = self.domain.outward(&text).into_owned();
        self.add_document(&text);
        Ok(())
    }

    /// Adds a value as a YAML document: in block style, or, if a text in it is not printable, in the style of JSON,
    /// which is YAML too and can escape everything.
    ///
    /// # Errors
    ///
    /// The value cannot be written as YAML.
    pub fn yaml(&mut self, value: &impl Serialize) -> Result<(), PageError> {
        let text = if self.connection.is_plain() {
            self.completed(&yaml(value)?, str::to_owned)
        } else {
            let text = serde_json::to_string_pretty(value)?;
            format!("{}\n", quoted(&self.completed(&text, in_json), yaml_escape))
        };
        self.add_document(&text);
        Ok(())
    }

    /// Adds a value as an item of a block list that is not indented.
    ///
    /// # Errors
    ///
    /// The value cannot be written as YAML.
    pub(crate) fn yaml_item(&mut self, value: &impl Serialize) -> Result<(), PageError> {
        let text = yaml(value)?;
        for (at, line) in text.lines().enumerate() {
            self.text.push_str(if at == 0 { "- " } else { "  " });
            self.text.push_str(&self.domain.outward(line));
            self.text.push('\n');
        }
        Ok(())
    }

    /// Adds a value on one line of YAML, after the text `before`.
    ///
    /// # Errors
    ///
    /// The value cannot be written as JSON.
    pub(crate) fn flow(&mut self, before: &str, value: &impl Serialize) -> Result<(), PageError> {
        let text = serde_json::to_string(value)?;
        self.text.push_str(before);
        self.text.push_str(&quoted(&self.domain.outward(&text), yaml_escape));
        self.text.push('\n');
        Ok(())
    }

    /// Adds a YAML document of this program, with values of the user in it.
    pub fn document(&mut self, text: &str) {
        self.begin_document();
        text.lines().for_each(|line| self.line(line));
    }

    /// Adds the text of a document. An object in the style of JSON is marked as YAML, even at the beginning: kubectl,
    /// and this program, read a file that begins with `{` as JSON, which has other escapes and one document.
    fn add_document(&mut self, text: &str) {
        if self.text.is_empty() && text.starts_with("{\n") {
            self.text.push_str("---\n");
        } else {
            self.begin_document();
        }
        self.text.push_str(text);
    }

    fn begin_document(&mut self) {
        if !self.text.is_empty() {
            self.text.push_str("---\n");
        }
    }

    /// Adds text for a shell: a script of this program, or completion words, which contain only names of a checked
    /// form.
    pub fn shell(&mut self, text: &[u8]) {
        self.text.push_str(&String::from_utf8_lossy(text));
    }
}

impl<T: Display> FromIterator<T> for Page {
    fn from_iter<I: IntoIterator<Item = T>>(lines: I) -> Self {
        let mut page = Self::default();
        lines.into_iter().for_each(|line| page.line(line));
        page
    }
}

fn yaml(value: &impl Serialize) -> Result<String, PageError> {
    let mut text = serde_saphyr::to_string(value)?;
    // Block style keeps tabs; quoted style escapes all control characters.
    if text.contains('\t') {
        let quoted = serde_saphyr::ser_options! { prefer_block_scalars: false };
        text = serde_saphyr::to_string_with_options(value, quoted)?;
    }
    if !text.chars().all(is_fine) || text.lines().any(is_command) {
        text = quoted(&serde_json::to_string_pretty(value)?, yaml_escape).into_owned();
        text.push('\n');
    }
    Ok(text)
}

/// The blanks that a cell may contain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blanks {
    /// No blanks.
    None,
    /// Single blanks.
    Single,
}

/// Formats a cell; blanks that are not allowed are escaped.
fn cell(text: &str, blanks: Blanks) -> String {
    let text = text.trim_matches(' ');
    if text.is_empty() {
        return "-".to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut before = None;
    for c in inert(Shown::new(text).as_str()).chars() {
        if c == ' ' && (blanks == Blanks::None || before == Some(' ')) {
            out.push_str("\\u{20}");
        } else {
            out.push(c);
        }
        before = Some(c);
    }
    out
}

/// Whether a CI program would execute a printed line as a command. GitHub Actions: `::name::…` after blanks, and
/// `##[name]…` anywhere in a line; Azure Pipelines: `##vso[…]`; `TeamCity`: `##teamcity[…]`. The author of a
/// manifest may be any author of a pull request.
fn is_command(line: &str) -> bool {
    line.trim_start().starts_with("::") || line.contains("##")
}

/// Escapes a line so that it is no [command](is_command).
fn inert(line: &str) -> Cow<'_, str> {
    if !is_command(line) {
        return Cow::Borrowed(line);
    }
    let line = line.replace("##", r"#\u{23}");
    Cow::Owned(if is_command(&line) { line.replacen(':', r"\u{3a}", 1) } else { line })
}

/// Escapes JSON text so that it holds no [command](is_command) and is printable. `#` occurs only in strings.
fn quoted(text: &str, escape: fn(char, &mut String)) -> Cow<'_, str> {
    let text = printable(text, escape);
    if text.contains("##") { Cow::Owned(text.replace("##", r"#\u0023")) } else { text }
}

/// Escapes a text for a string of JSON.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Whether a character may appear unescaped in JSON or YAML.
fn is_fine(c: char) -> bool {
    c == '\n' || is_printable(c)
}

/// Escapes the characters of JSON text that are not printable. Except for line feeds and indentation they occur only in
/// strings, and serde escapes only those that JSON does not allow there.
fn printable(text: &str, escape: fn(char, &mut String)) -> Cow<'_, str> {
    if text.chars().all(is_fine) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_fine(c) { out.push(c) } else { escape(c, &mut out) }
    }
    Cow::Owned(out)
}

fn json_escape(c: char, out: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

/// Escapes a character for YAML: as in JSON, but YAML has no surrogate pairs.
fn yaml_escape(c: char, out: &mut String) {
    if c.len_utf16() == 1 {
        return json_escape(c, out);
    }
    let _ = write!(out, "\\U{:08x}", u32::from(c));
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
