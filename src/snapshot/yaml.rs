//! YAML: the parser's events are converted to JSON text, one item of a list at a time.
//!
//! Plain scalars are read as kubectl and the API server read them, which use YAML 1.1 through go-yaml v2: `yes` is a
//! boolean, `0755` is octal, and `12e4567`, too large for a number, is a string. kubectl quotes by the same rules, so a
//! YAML 1.2 reader would take some of its strings for numbers. Therefore the events are read here and not through
//! serde.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use granit_parser::{
    ErrorKind, Event, FallibleBufferedInput, InputIoError, Marker, Options, Parser, ScalarStyle, ScanError, Tag,
};
use serde_json::value::RawValue;

use super::error::{self, Error, Halt};
use super::input::{Failed, Input};
use super::objects::{Document, Objects};

/// Maximum bytes that aliases may add to one document. A person saves some lines with them, but a few lines of them can
/// expand to terabytes.
const MOST_ALIASED: usize = 16 * 1024 * 1024;

/// Reads all documents up to the end of the input.
pub(super) fn read_documents(input: &mut Input<'_>, objects: &mut Objects<'_>) -> Result<(), Halt> {
    let (line, _) = input.position();
    let file = objects.file().to_owned();
    let mut options = Options::default();
    // Whether the parser reports comments depends on what other crates enable; nothing here reads them.
    options.set_emit_comments(false);
    let parser = Parser::new_from_fallible_iter_with_options(Chars::of(&mut *input), options);
    let outcome = EventReader { parser, nodes: JsonWriter::default(), before: line - 1 }.documents(objects);
    let (marker, reason) = match outcome {
        Ok(()) => return Ok(()),
        Err(Stop::Halt(halt)) => return Err(halt),
        Err(Stop::Parser(error)) => {
            if let Some(failure) = input.take_failure() {
                return Err(failure.into());
            }
            // go-yaml reads such a comment, and YAML 1.2 does not have it.
            let hint = match error.kind() {
                ErrorKind::CommentNotSeparated => ": put a blank before the #",
                ErrorKind::BomInsideDocument => {
                    " (the character U+FEFF, which some editors write at the start of a file)"
                }
                _ => "",
            };
            (*error.marker(), format!("not YAML: {}{hint}", error.info()))
        }
        Err(Stop::Here(marker, reason)) => (marker, reason),
    };
    let document = objects.document().max(1);
    Err(Error::Syntax { file, document, line: line + marker.line() - 1, column: marker.col() + 1, reason }.into())
}

/// The input as the parser's character iterator, without the byte order marks at the start of documents: concatenated
/// files have them after `---`, where the parser refuses them. kubectl, which parses each document by itself, skips
/// them (`yaml_parser_determine_encoding` and `yaml_parser_scan_to_next_token` of go-yaml).
struct Chars<'i, 'r> {
    input: &'i mut Input<'r>,
    /// Whether the document has had blank lines and comments alone.
    is_before_content: bool,
    line: Line,
}

/// The current line, as far as it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Nothing but this number of `-`, at most three: three are the marker of a document's start.
    Dashes(u8),
    /// The marker, and blanks behind it.
    Marker,
    /// Blanks alone.
    Blank,
    /// A comment; `after_marker`: behind the marker.
    Comment { after_marker: bool },
    /// Anything else.
    Content,
}

impl<'i, 'r> Chars<'i, 'r> {
    fn of(input: &'i mut Input<'r>) -> Self {
        Self { input, is_before_content: true, line: Line::Dashes(0) }
    }

    /// Whether a character is a byte order mark to skip; else the character counts.
    #[inline]
    fn is_skipped(&mut self, character: char) -> bool {
        if self.line == Line::Content && !matches!(character, '\n' | '\r') {
            return false;
        }
        let before = self.line;
        self.line = match (before, character) {
            (Line::Dashes(0), '\u{feff}') if self.is_before_content => return true,
            (_, '\n' | '\r') => {
                let is_marker = matches!(before, Line::Dashes(3) | Line::Marker | Line::Comment { after_marker: true });
                self.is_before_content = is_marker || self.is_before_content && !matches!(before, Line::Dashes(1..));
                Line::Dashes(0)
            }
            (Line::Comment { .. }, _) => before,
            (Line::Dashes(many @ ..3), '-') => Line::Dashes(many + 1),
            (Line::Dashes(3) | Line::Marker, ' ' | '\t') => Line::Marker,
            (Line::Dashes(0) | Line::Blank, ' ' | '\t') => Line::Blank,
            (Line::Dashes(0) | Line::Blank, '#') => Line::Comment { after_marker: false },
            (Line::Marker, '#') => Line::Comment { after_marker: true },
            _ => Line::Content,
        };
        self.is_before_content &= self.line != Line::Content;
        false
    }
}

impl Iterator for Chars<'_, '_> {
    type Item = Result<char, ErrorKind>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.input.next_char()? {
                Ok(character) if self.is_skipped(character) => {}
                Ok(character) => return Some(Ok(character)),
                Err(Failed) => {
                    return Some(Err(ErrorKind::InputIo { error: InputIoError::from_message("cannot read on") }));
                }
            }
        }
    }
}

/// A reason why the stream ends early.
enum Stop {
    Halt(Halt),
    Parser(Box<ScanError>),
    /// Well-formed YAML that cannot be expressed as JSON.
    Here(Marker, String),
}

impl<H: Into<Halt>> From<H> for Stop {
    fn from(halt: H) -> Self {
        Self::Halt(halt.into())
    }
}

struct EventReader<'i, 'r> {
    parser: Parser<'static, FallibleBufferedInput<Chars<'i, 'r>>>,
    nodes: JsonWriter,
    /// Number of lines of the file before the stream.
    before: usize,
}

impl EventReader<'_, '_> {
    /// Returns the next event with data. Comments and names of anchors are skipped.
    fn next(&mut self) -> Result<(Event<'static>, Marker), Stop> {
        loop {
            match self.parser.next_event() {
                Some(Ok((event, span))) if is_data(&event) => return Ok((event, span.start)),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Stop::Parser(Box::new(error))),
                None => return Ok((Event::StreamEnd, Marker::default())),
            }
        }
    }

    fn documents(&mut self, objects: &mut Objects<'_>) -> Result<(), Stop> {
        loop {
            let (event, marker) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(..) => {
                    objects.next_document();
                    self.nodes.forget();
                }
                Event::MappingStart(..) => {
                    objects.begins_at(Some(self.before + marker.line()));
                    self.object(objects)?;
                }
                Event::SequenceStart(..) => {
                    let mut document = Document::bare_list(objects);
                    self.items(objects, &mut document)?;
                    document.finish(objects)?;
                }
                scalar @ (Event::Scalar(..) | Event::Alias(_)) => {
                    let json = self.value(scalar, marker)?;
                    if json != "null" {
                        return Err(no_object(objects, &json).into());
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads the outermost mapping, after its start.
    fn object(&mut self, objects: &mut Objects<'_>) -> Result<(), Stop> {
        let mut document = Document::new(objects);
        let mut merged = Vec::new();
        loop {
            let (event, marker) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.nodes.key_of(event).map_err(|reason| Stop::Here(marker, reason))?;
            let KeySlot::Text(key) = key else {
                let (event, marker) = self.next()?;
                let json = self.value(event, marker)?;
                merge(json.as_bytes(), &mut merged).map_err(|reason| Stop::Here(marker, reason))?;
                continue;
            };
            document.key(objects, &key)?;
            let (event, marker) = self.next()?;
            if key == "items" && matches!(event, Event::SequenceStart(..)) {
                document.begin_items();
                self.items(objects, &mut document)?;
            } else {
                let json = self.value(event, marker)?;
                document.field(objects, &key, &json)?;
            }
        }
        for (key, json) in merged {
            if !document.has(&key) {
                document.key(objects, &key)?;
                document.field(objects, &key, json.get())?;
            }
        }
        Ok(document.finish(objects)?)
    }

    /// Reads the elements of the outermost list, after its start.
    fn items(&mut self, objects: &mut Objects<'_>, document: &mut Document) -> Result<(), Stop> {
        loop {
            let (event, marker) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(());
            }
            objects.begins_at(Some(self.before + marker.line()));
            let json = self.value(event, marker)?;
            let json = RawValue::from_string(json).map_err(|error| Stop::Here(marker, error.to_string()))?;
            document.item(objects, json)?;
        }
    }

    /// Reads a whole value, from its first event on, as JSON.
    fn value(&mut self, event: Event<'static>, marker: Marker) -> Result<String, Stop> {
        let at = |marker: Marker| move |reason: String| Stop::Here(marker, reason);
        self.nodes.event(event).map_err(at(marker))?;
        while !self.nodes.open.is_empty() {
            let (event, marker) = self.next()?;
            self.nodes.event(event).map_err(at(marker))?;
        }
        String::from_utf8(std::mem::take(&mut self.nodes.json))
            .map_err(|error| Stop::Here(marker, error.utf8_error().to_string()))
    }
}

/// Whether the event is a node, or the beginning or end of one.
fn is_data(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::MappingStart(..)
            | Event::MappingEnd
            | Event::SequenceStart(..)
            | Event::SequenceEnd
            | Event::Scalar(..)
            | Event::Alias(_)
    )
}

/// Returns the error for a document that is not an object; a plain text is often a message of kubectl.
fn no_object(objects: &Objects<'_>, json: &str) -> Error {
    let text = serde_json::from_str::<String>(json).unwrap_or_default();
    error::kubectl_output(objects.file(), &text)
        .unwrap_or_else(|| Error::NotAnObject { place: objects.place(None), found: error::describe(json) })
}

/// A writer of JSON.
#[derive(Default)]
struct JsonWriter {
    json: Vec<u8>,
    open: Vec<OpenNode>,
    /// The JSON of every node with an anchor, by the parser's number of it.
    anchors: HashMap<usize, Box<[u8]>>,
    /// Bytes written by aliases or kept for them, in this document.
    aliased: usize,
}

/// A mapping or sequence that has not ended.
struct OpenNode {
    start: usize,
    anchor: usize,
    shape: Shape,
}

enum Shape {
    List,
    Map {
        keys: Keys,
        expects: Expects,
        /// The values of merge keys; the first takes precedence.
        merged: Vec<(String, Box<RawValue>)>,
    },
}

#[derive(PartialEq, Eq)]
enum Expects {
    Key,
    Value,
    /// The value of a merge key, which begins at this length of the JSON.
    Merge(usize),
}

/// A mapping's key.
enum KeySlot<'e> {
    Text(Cow<'e, str>),
    /// `<<`: the entries of its value are added if they are missing.
    Merge,
}

impl JsonWriter {
    fn forget(&mut self) {
        self.anchors.clear();
        self.aliased = 0;
    }

    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        let is_key = matches!(self.open.last(), Some(OpenNode { shape: Shape::Map { expects: Expects::Key, .. }, .. }));
        if is_key && event != Event::MappingEnd {
            return match self.key_of(event)? {
                KeySlot::Text(key) => self.key(&key),
                KeySlot::Merge => {
                    let start = self.json.len();
                    self.expect(Expects::Merge(start));
                    Ok(())
                }
            };
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let start = self.begin_value();
                self.scalar(&text, style, tag.as_deref())?;
                self.end_value(start, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open(b'[', anchor, Shape::List);
                Ok(())
            }
            Event::MappingStart(_, anchor, _) => {
                let shape = Shape::Map { keys: Keys::default(), expects: Expects::Key, merged: Vec::new() };
                self.open(b'{', anchor, shape);
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let json = self.aliased(anchor)?;
                let start = self.begin_value();
                self.json.extend_from_slice(&json);
                self.end_value(start, 0)
            }
            _ => Ok(()),
        }
    }

    /// Returns the key for an event in a key's position.
    fn key_of<'e>(&mut self, event: Event<'e>) -> Result<KeySlot<'e>, String> {
        let not_text = || "a key must be text".to_owned();
        match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<" => Ok(KeySlot::Merge),
            Event::Scalar(text, style, anchor, tag) => {
                if anchor != 0 {
                    let start = self.json.len();
                    self.scalar(&text, style, tag.as_deref())?;
                    self.anchors.insert(anchor, self.json[start..].into());
                    self.json.truncate(start);
                }
                // `yes: …` and `0x10: …` have the keys "true" and "16", because JSON keys are strings.
                let typed = if style == ScalarStyle::Plain { typed(&text).map(Cow::into_owned) } else { None };
                Ok(KeySlot::Text(typed.map_or(text, Cow::Owned)))
            }
            Event::Alias(anchor) => {
                let json = self.aliased(anchor)?;
                let text = match json.first() {
                    Some(b'{' | b'[') => return Err(not_text()),
                    Some(b'"') => serde_json::from_slice(&json).map_err(|_| not_text())?,
                    _ => String::from_utf8_lossy(&json).into_owned(),
                };
                Ok(KeySlot::Text(Cow::Owned(text)))
            }
            _ => Err(not_text()),
        }
    }

    /// Returns the JSON of an alias's value.
    fn aliased(&mut self, anchor: usize) -> Result<Box<[u8]>, String> {
        let Some(json) = self.anchors.get(&anchor).cloned() else {
            return Err("the alias is of a value that contains it, or of a whole list of objects".to_owned());
        };
        self.count_aliased(json.len())?;
        Ok(json)
    }

    fn expect(&mut self, next: Expects) {
        if let Some(OpenNode { shape: Shape::Map { expects, .. }, .. }) = self.open.last_mut() {
            *expects = next;
        }
    }

    fn open(&mut self, bracket: u8, anchor: usize, shape: Shape) {
        let start = self.begin_value();
        self.json.push(bracket);
        self.open.push(OpenNode { start, anchor, shape });
    }

    fn close(&mut self) -> Result<(), String> {
        let Some(OpenNode { start, anchor, shape }) = self.open.pop() else { return Ok(()) };
        match shape {
            Shape::List => self.json.push(b']'),
            Shape::Map { mut keys, merged, .. } => {
                for (key, value) in merged {
                    let quoted = self.begin_key(&key)?;
                    if keys.insert(&self.json, quoted.clone()) {
                        self.json.push(b':');
                        self.json.extend_from_slice(value.get().as_bytes());
                    } else {
                        self.json.truncate(quoted.start);
                        if self.json.last() == Some(&b',') {
                            self.json.pop();
                        }
                    }
                }
                self.json.push(b'}');
            }
        }
        self.end_value(start, anchor)
    }

    /// Writes the separator before a value, and returns the value's start.
    fn begin_value(&mut self) -> usize {
        if matches!(self.open.last(), Some(OpenNode { shape: Shape::List, .. })) && self.json.last() != Some(&b'[') {
            self.json.push(b',');
        }
        self.json.len()
    }

    fn end_value(&mut self, start: usize, anchor: usize) -> Result<(), String> {
        if anchor != 0 {
            self.count_aliased(self.json.len() - start)?;
            self.anchors.insert(anchor, self.json[start..].into());
        }
        if let Some(OpenNode { shape: Shape::Map { expects, merged, .. }, .. }) = self.open.last_mut() {
            if let Expects::Merge(start) = *expects {
                merge(&self.json[start..], merged)?;
                self.json.truncate(start);
            }
            *expects = Expects::Key;
        }
        Ok(())
    }

    /// Writes a key of the innermost mapping.
    fn key(&mut self, key: &str) -> Result<(), String> {
        let quoted = self.begin_key(key)?;
        if let Some(OpenNode { shape: Shape::Map { keys, expects, .. }, .. }) = self.open.last_mut() {
            if !keys.insert(&self.json, quoted) {
                return Err(format!("the key {:?} appears twice in one mapping", error::short(key)));
            }
            *expects = Expects::Value;
        }
        self.json.push(b':');
        Ok(())
    }

    /// Writes a key in quotes and returns its range.
    fn begin_key(&mut self, key: &str) -> Result<Range<usize>, String> {
        if self.json.last() != Some(&b'{') {
            self.json.push(b',');
        }
        let start = self.json.len();
        self.text(key)?;
        Ok(start..self.json.len())
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        serde_json::to_writer(&mut self.json, text).map_err(|error| error.to_string())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<(), String> {
        let is_typed = match tag {
            None => style == ScalarStyle::Plain,
            Some(tag) => matches!(tag.core_suffix(), Some("bool" | "int" | "float" | "null")),
        };
        if is_typed && let Some(json) = typed(text) {
            self.json.extend_from_slice(json.as_bytes());
            return Ok(());
        }
        self.text(text)
    }

    fn count_aliased(&mut self, bytes: usize) -> Result<(), String> {
        self.aliased += bytes;
        if self.aliased > MOST_ALIASED { Err("anchors and aliases that mean too much text".to_owned()) } else { Ok(()) }
    }
}

/// Collects the entries that a merge key's value adds.
fn merge(json: &[u8], merged: &mut Vec<(String, Box<RawValue>)>) -> Result<(), String> {
    type MergedEntries = BTreeMap<String, Box<RawValue>>;
    let maps = match json.first() {
        Some(b'[') => serde_json::from_slice::<Vec<MergedEntries>>(json),
        _ => serde_json::from_slice::<MergedEntries>(json).map(|map| vec![map]),
    };
    let maps = maps.map_err(|_| "a merge key (<<) needs a mapping or a list of them".to_owned())?;
    merged.extend(maps.into_iter().flatten());
    Ok(())
}

/// The keys of a mapping, as ranges of the JSON, to find repeated ones.
#[derive(Default)]
struct Keys {
    last: Range<usize>,
    all: Vec<Range<usize>>,
    /// All keys, once some are out of order; kubectl writes them sorted.
    seen: Option<HashSet<Box<[u8]>>>,
}

impl Keys {
    /// Adds a key. Returns whether it is new.
    fn insert(&mut self, json: &[u8], key: Range<usize>) -> bool {
        if let Some(seen) = &mut self.seen {
            return seen.insert(json[key].into());
        }
        if self.all.is_empty() || json[self.last.clone()] < json[key.clone()] {
            self.last = key.clone();
            self.all.push(key);
            return true;
        }
        let mut seen: HashSet<Box<[u8]>> = self.all.drain(..).map(|key| json[key].into()).collect();
        let is_new = seen.insert(json[key].into());
        self.seen = Some(seen);
        is_new
    }
}

/// Returns the JSON of a plain scalar that is null, a boolean or a number; `None` if it is text.
///
/// Mirrors go-yaml v2 `resolve.go`. Infinities and NaN, which JSON lacks, are text.
fn typed(text: &str) -> Option<Cow<'_, str>> {
    match text.bytes().next() {
        None => Some("null".into()),
        Some(b'+' | b'-' | b'.' | b'0'..=b'9') => number(text),
        Some(b'~' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'y' | b'Y' | b'o' | b'O') => match text {
            "~" | "null" | "Null" | "NULL" => Some("null".into()),
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some("true".into()),
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
                Some("false".into())
            }
            _ => None,
        },
        _ => None,
    }
}

fn number(text: &str) -> Option<Cow<'_, str>> {
    // Timestamps and versions are the most common texts that begin with a digit.
    if !text.bytes().all(|b| b.is_ascii_hexdigit() || b"+-._xXoO".contains(&b)) {
        return None;
    }
    let plain = text.replace('_', "");
    let (is_negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain.as_str()),
    };
    let radix_of = |prefix: u8| match prefix.to_ascii_lowercase() {
        b'x' => Some(16),
        b'o' => Some(8),
        b'b' => Some(2),
        _ => None,
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', prefix, ..] if radix_of(*prefix).is_some() => (radix_of(*prefix)?, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // `from_str_radix` would accept a second sign.
    if digits.bytes().all(|b| b.is_ascii_hexdigit())
        && let Ok(magnitude) = u64::from_str_radix(digits, radix)
    {
        if !is_negative {
            return Some(magnitude.to_string().into());
        }
        if let Some(value) = 0_i64.checked_sub_unsigned(magnitude) {
            return Some(value.to_string().into());
        }
    }
    // Rust's grammar of floats equals go-yaml's, except for words, which do not begin with a digit.
    let value: f64 = plain.parse().ok()?;
    if !value.is_finite() || !plain.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(value.to_string().into())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case::empty("", Some("null"))]
    #[case::tilde("~", Some("null"))]
    #[case::word("node-a", None)]
    #[case::yes("yes", Some("true"))]
    #[case::norway("NO", Some("false"))]
    #[case::odd_capitals("yEs", None)]
    #[case::integer("42", Some("42"))]
    #[case::negative("-42", Some("-42"))]
    #[case::plus("+7", Some("7"))]
    #[case::underscores("1_000", Some("1000"))]
    #[case::hexadecimal("0x1F", Some("31"))]
    #[case::binary("0b101", Some("5"))]
    #[case::octal("0755", Some("493"))]
    #[case::no_octal("089", Some("89"))]
    #[case::largest("18446744073709551615", Some("18446744073709551615"))]
    #[case::larger("18446744073709551616", Some("18446744073709552000"))]
    #[case::float("1.5", Some("1.5"))]
    #[case::integral_float("4.0", Some("4"))]
    #[case::bare_point(".5", Some("0.5"))]
    #[case::exponent("1e3", Some("1000"))]
    #[case::commit_beyond_floats("12e4567", None)]
    #[case::commit("12e45f7", None)]
    #[case::version("1.30.2", None)]
    #[case::time("2026-11-23T15:30:48Z", None)]
    #[case::date("2026-11-23", None)]
    #[case::quantity("16Gi", None)]
    #[case::dots("...", None)]
    #[case::infinity(".inf", None)]
    #[case::sign("-", None)]
    #[case::two_signs("--5", None)]
    // The expectations are the output of `kubectl annotate --local -o json` (1.32), except for infinities, which it
    // refuses.
    fn plain_yaml_scalars_are_typed_as_by_kubectl(#[case] text: &str, #[case] json: Option<&str>) {
        let typed = super::typed(text);
        assert_eq!(typed.as_deref(), json, "{text}: labels that kubectl wrote would be refused, or changed");
        assert!(typed.is_none_or(|json| serde_json::from_str::<serde_json::Value>(&json).is_ok()));
    }
}
