//! A JSON document as written, and a reader of its objects that reports every problem.
//!
//! `serde_json::Value` keeps the last of two equal keys and stops at the first error; a person who fixes a
//! policy needs both keys, and all errors at once.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::word::{Word, nearest, parse, quoted};

/// A JSON value; objects keep their order and their repeated keys.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Number,
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TreeVisitor;
        impl<'de> Visitor<'de> for TreeVisitor {
            type Value = Tree;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(value))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
                Ok(Tree::Number)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
                Ok(Tree::Number)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
                Ok(Tree::Number)
            }
            fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
                Ok(Tree::Text(text.to_owned()))
            }
            fn visit_string<E>(self, text: String) -> Result<Tree, E> {
                Ok(Tree::Text(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Tree::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Tree::Object(entries))
            }
        }
        deserializer.deserialize_any(TreeVisitor)
    }
}

/// A problem of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyProblem {
    /// The field's path, such as `spec.commonModel.name`; empty if the whole document is wrong.
    pub field: String,
    /// The problem, and the correct value.
    pub message: String,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.field, self.message) }
    }
}

/// An object that is being read. Fields become known by being read; all others are reported when the object is
/// closed, so that no separate list of known fields exists.
pub(super) struct FieldReader<'t, 'p> {
    path: String,
    entries: &'t [(String, Tree)],
    asked: Vec<&'static str>,
    /// Fields of nested objects, as paths from here, to suggest the right place of a misplaced field.
    below: Vec<String>,
    problems: &'p mut Vec<PolicyProblem>,
}

impl<'t> FieldReader<'t, '_> {
    /// Reads a document's root with `read`.
    pub(super) fn root<T>(
        tree: &'t Tree,
        problems: &mut Vec<PolicyProblem>,
        read: impl FnOnce(&mut FieldReader<'t, '_>) -> T,
    ) -> Option<T> {
        let Tree::Object(entries) = tree else {
            problems.push(PolicyProblem {
                field: String::new(),
                message: format!("must be an object, is {}", tree.kind()),
            });
            return None;
        };
        let mut object = FieldReader { path: String::new(), entries, asked: Vec::new(), below: Vec::new(), problems };
        let value = read(&mut object);
        object.close();
        Some(value)
    }

    fn at(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// Reports a problem of a field of this object; `field` may be deeper (`replaces[1]`).
    pub(super) fn problem(&mut self, field: &str, message: impl Into<String>) {
        let field = self.at(field);
        self.problems.push(PolicyProblem { field, message: message.into() });
    }

    /// Accepts any value of a field.
    pub(super) fn ignore(&mut self, field: &'static str) {
        self.take(field);
    }

    /// Returns the value of a field. Null counts as absent: the API server prunes it before it sets defaults.
    fn take(&mut self, field: &'static str) -> Option<&'t Tree> {
        self.asked.push(field);
        let mut values = self.entries.iter().filter(|(key, _)| key == field).map(|(_, value)| value);
        let value = values.next();
        if values.next().is_some() {
            self.problem(field, "is given more than once");
        }
        value.filter(|value| **value != Tree::Null)
    }

    fn wrong_kind(&mut self, field: &str, wanted: &str, tree: &Tree) {
        self.problem(field, format!("must be {wanted}, is {}", tree.kind()));
    }

    /// Reads a text.
    pub(super) fn text(&mut self, field: &'static str) -> Option<&'t str> {
        match self.take(field)? {
            Tree::Text(text) => Some(text),
            other => {
                self.wrong_kind(field, "a string", other);
                None
            }
        }
    }

    /// Reports a missing field, with its purpose.
    pub(super) fn expect(&mut self, field: &'static str, hint: &str) {
        if !self.entries.iter().any(|(key, value)| key == field && *value != Tree::Null) {
            self.problem(field, format!("is required: {hint}"));
        }
    }

    /// Reads a required text.
    pub(super) fn required(&mut self, field: &'static str, hint: &str) -> Option<&'t str> {
        self.expect(field, hint);
        self.text(field)
    }

    /// Reads a boolean.
    pub(super) fn boolean(&mut self, field: &'static str) -> Option<bool> {
        match self.take(field)? {
            Tree::Bool(value) => Some(*value),
            other => {
                self.wrong_kind(field, "true or false", other);
                None
            }
        }
    }

    /// Reads a word of a fixed list.
    pub(super) fn word<T: Word>(&mut self, field: &'static str) -> Option<T> {
        let text = self.text(field)?;
        parse(text).map_err(|error| self.problem(field, error.to_string())).ok()
    }

    /// Reads an object with `read`; an absent one is read as an empty one.
    pub(super) fn object<T>(&mut self, field: &'static str, read: impl FnOnce(&mut FieldReader<'t, '_>) -> T) -> T {
        self.entry(field).unwrap_or_default().read(self, field, read)
    }

    /// Reads an optional object; `None` if it is absent.
    pub(super) fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut FieldReader<'t, '_>) -> T,
    ) -> Option<T> {
        let entries = self.entry(field)?;
        Some(entries.read(self, field, read))
    }

    fn entry(&mut self, field: &'static str) -> Option<TreeEntries<'t>> {
        match self.take(field)? {
            Tree::Object(entries) => Some(TreeEntries(entries)),
            other => {
                self.wrong_kind(field, "an object", other);
                None
            }
        }
    }

    /// Reads a list of objects, each with `read`.
    pub(super) fn objects<T>(
        &mut self,
        field: &'static str,
        mut read: impl FnMut(&mut FieldReader<'t, '_>) -> T,
    ) -> Vec<T> {
        let mut found = Vec::new();
        for (index, item) in self.list(field).unwrap_or_default().iter().enumerate() {
            let place = format!("{field}[{index}]");
            match item {
                Tree::Object(entries) => found.push(TreeEntries(entries).read(self, &place, &mut read)),
                other => self.wrong_kind(&place, "an object", other),
            }
        }
        found
    }

    /// Reads a list without repetitions, each text with `read`. `None` if it is absent.
    pub(super) fn set<T: PartialEq>(
        &mut self,
        field: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let mut found: Vec<T> = Vec::new();
        for (index, item) in self.list(field)?.iter().enumerate() {
            let place = format!("{field}[{index}]");
            match item {
                Tree::Text(text) => match read(text) {
                    Ok(value) if found.contains(&value) => {
                        self.problem(&place, format!("{} is listed twice", quoted(text)));
                    }
                    Ok(value) => found.push(value),
                    Err(message) => self.problem(&place, message),
                },
                other => self.wrong_kind(&place, "a string", other),
            }
        }
        Some(found)
    }

    /// Reads a list of texts; `check` returns the problem of a text.
    pub(super) fn texts(&mut self, field: &'static str, check: impl Fn(&str) -> Result<(), String>) -> Vec<String> {
        let mut found = Vec::new();
        for (index, item) in self.list(field).unwrap_or_default().iter().enumerate() {
            let place = format!("{field}[{index}]");
            let Tree::Text(text) = item else {
                self.wrong_kind(&place, "a string", item);
                continue;
            };
            if let Err(message) = check(text) {
                self.problem(&place, message);
            }
            found.push(text.clone());
        }
        found
    }

    fn list(&mut self, field: &'static str) -> Option<&'t [Tree]> {
        match self.take(field)? {
            Tree::List(items) => Some(items),
            other => {
                self.wrong_kind(field, "a list", other);
                None
            }
        }
    }

    /// Reads a map of texts with arbitrary keys; `check` returns the problem of a key or a value.
    pub(super) fn map(
        &mut self,
        field: &'static str,
        check: impl Fn(&str, &str) -> Result<(), String>,
    ) -> Vec<(&'t str, &'t str)> {
        let mut found: Vec<(&str, &str)> = Vec::new();
        for (key, value) in self.entry(field).unwrap_or_default().0 {
            let place = format!("{field}[{}]", key.escape_debug());
            match value {
                Tree::Text(_) if found.iter().any(|(other, _)| other == key) => {
                    self.problem(&place, "is given more than once");
                }
                Tree::Text(value) => {
                    if let Err(message) = check(key, value) {
                        self.problem(&place, message);
                    }
                    found.push((key, value));
                }
                other => self.wrong_kind(&place, "a string", other),
            }
        }
        found
    }

    /// Reports the fields that were not read, in document order. Returns the known fields.
    fn close(self) -> Vec<String> {
        let Self { path, entries, asked, below, problems } = self;
        let mut reported: Vec<&str> = Vec::new();
        for (key, _) in entries {
            if asked.contains(&key.as_str()) || reported.contains(&key.as_str()) {
                continue;
            }
            reported.push(key);
            let at = |field: &str| if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
            let misplaced = below.iter().find(|field| field.rsplit('.').next() == Some(key));
            let message = if let Some(place) = misplaced {
                format!("unknown field, did you mean {}?", at(place))
            } else if let Some(name) = nearest(key, asked.iter().copied()) {
                format!("unknown field, did you mean {name}?")
            } else if asked.len() <= MAX_FIELDS_LISTED {
                format!("unknown field; known are {}", asked.join(", "))
            } else {
                "unknown field".to_owned()
            };
            problems.push(PolicyProblem { field: at(&key.escape_debug().to_string()), message });
        }
        asked.into_iter().map(str::to_owned).chain(below).collect()
    }
}

/// Maximum number of known fields that are listed if none resembles an unknown one.
const MAX_FIELDS_LISTED: usize = 10;

/// The entries of an object; none for an absent one.
#[derive(Clone, Copy, Default)]
struct TreeEntries<'t>(&'t [(String, Tree)]);

impl<'t> TreeEntries<'t> {
    fn read<T>(
        self,
        parent: &mut FieldReader<'t, '_>,
        place: &str,
        read: impl FnOnce(&mut FieldReader<'t, '_>) -> T,
    ) -> T {
        let path = parent.at(place);
        let problems = &mut *parent.problems;
        let mut object = FieldReader { path, entries: self.0, asked: Vec::new(), below: Vec::new(), problems };
        let value = read(&mut object);
        let known = object.close();
        parent.below.extend(known.into_iter().map(|field| format!("{place}.{field}")));
        value
    }
}
