//! Assembly of objects from the fields of a document; Lists are taken apart.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::{self, Error, Halt};
use super::{DumpPlace, Item, fold};
use crate::policy::API_VERSION;

/// Maximum depth of lists within lists; `jq -s` writes one level.
const DEEPEST_LIST: usize = 4;

/// A function that reads a list which is an item of another list.
pub(super) type ReadList = fn(&RawValue, &mut Objects<'_>, Document) -> Result<(), Halt>;

/// The receiver of the objects of one dump.
pub(super) struct Objects<'a> {
    file: &'a str,
    each: &'a mut dyn FnMut(Item) -> Result<(), Halt>,
    document: usize,
    is_empty: bool,
    /// The line at which the current object begins.
    line: Option<usize>,
    /// Bytes read since the last complete object.
    held: &'a Cell<usize>,
    read_list: ReadList,
}

impl<'a> Objects<'a> {
    pub(super) fn new(
        file: &'a str,
        each: &'a mut dyn FnMut(Item) -> Result<(), Halt>,
        held: &'a Cell<usize>,
        read_list: ReadList,
    ) -> Self {
        Self { file, each, document: 0, is_empty: true, line: None, held, read_list }
    }

    pub(super) fn file(&self) -> &'a str {
        self.file
    }

    /// Returns the number of the current document; 0 before the first.
    pub(super) fn document(&self) -> usize {
        self.document
    }

    /// Whether all documents so far were empty.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    pub(super) fn next_document(&mut self) {
        self.document += 1;
        self.held.set(0);
    }

    /// Sets the line of the file at which the next object begins.
    pub(super) fn begins_at(&mut self, line: Option<usize>) {
        self.line = line;
    }

    pub(super) fn place(&self, item: Option<usize>) -> DumpPlace {
        DumpPlace { file: self.file.to_owned(), document: self.document, item, line: self.line }
    }

    fn emit(&mut self, item: Option<usize>, api: String, kind: String, json: Box<RawValue>) -> Result<(), Halt> {
        if kind == "Status" && api == "v1" {
            return Err(refusal(self.file, &json).into());
        }
        let place = self.place(item);
        if kind == fold::KIND && api == API_VERSION {
            return self.emit_each(&place, &json);
        }
        (self.each)(Item { place, api_version: api, kind, json })
    }

    /// Emits the objects that a folded object of a snapshot stands for.
    fn emit_each(&mut self, place: &DumpPlace, folded: &RawValue) -> Result<(), Halt> {
        let wrong = |field: &str, problem: String| {
            Halt::from(Error::Field {
                place: place.clone(),
                object: fold::KIND.into(),
                field: field.into(),
                problem: problem.into(),
            })
        };
        let value: Value = serde_json::from_str(folded.get()).map_err(|error| wrong("first", error.to_string()))?;
        for object in fold::unfold(&value).map_err(|(field, problem)| wrong(field, problem))? {
            let text = |key: &str| object[key].as_str().map(str::to_owned);
            let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
                return Err(wrong("first", "expected an object with apiVersion and kind".to_owned()));
            };
            if kind == fold::KIND {
                return Err(wrong("first", format!("expected another kind than {kind}")));
            }
            let json = serde_json::value::to_raw_value(&object).map_err(|error| wrong("first", error.to_string()))?;
            (self.each)(Item { place: place.clone(), api_version, kind, json })?;
        }
        Ok(())
    }
}

/// Returns the error for a `Status` object, which the API server sends when it refuses a request.
fn refusal(file: &str, json: &RawValue) -> Error {
    #[derive(Default, Deserialize)]
    struct Status {
        #[serde(default)]
        message: String,
    }
    let Status { message } = serde_json::from_str(json.get()).unwrap_or_default();
    Error::Kubectl { file: file.to_owned(), text: error::long(&message) }
}

/// A document being read, with fields in any order.
pub(super) struct Document {
    api_version: Option<String>,
    kind: Option<String>,
    keys: HashSet<String>,
    /// The fields as JSON, while the document may be an object instead of a list.
    fields: String,
    is_list: bool,
    next_item: usize,
    /// Items without a kind, while their list's kind is not known yet, and their lines.
    waiting: Vec<(usize, Option<usize>, Box<RawValue>)>,
    /// The index of this list in an outer list.
    within: Option<usize>,
    depth: usize,
}

/// The fields of an item that are read first.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Peek<'a> {
    #[serde(borrow)]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    items: Option<&'a RawValue>,
}

impl Document {
    pub(super) fn new(objects: &mut Objects<'_>) -> Self {
        objects.is_empty = false;
        Self {
            api_version: None,
            kind: None,
            keys: HashSet::new(),
            fields: String::new(),
            is_list: false,
            next_item: 0,
            waiting: Vec::new(),
            within: None,
            depth: 0,
        }
    }

    /// Begins a document that is a bare list, as `jq .items` writes it.
    pub(super) fn bare_list(objects: &mut Objects<'_>) -> Self {
        let mut document = Self::new(objects);
        document.kind = Some("List".to_owned());
        document.api_version = Some("v1".to_owned());
        document.begin_items();
        document
    }

    /// Handles a key, before its value.
    pub(super) fn key(&mut self, objects: &Objects<'_>, key: &str) -> Result<(), Halt> {
        if error::is_failure(key) {
            return Err(Error::Kubectl { file: objects.file.to_owned(), text: error::short(key) }.into());
        }
        if self.keys.insert(key.to_owned()) { Ok(()) } else { Err(self.wrong(objects, key, "appears twice").into()) }
    }

    /// Whether the document has had this key so far.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Handles a complete field. A list's items are passed to [`Self::item`] one by one, except those of an alias.
    pub(super) fn field(&mut self, objects: &mut Objects<'_>, key: &str, json: &str) -> Result<(), Halt> {
        if key == "items" {
            self.begin_items();
            let Ok(items) = serde_json::from_str::<Option<Vec<Box<RawValue>>>>(json) else {
                return Err(self.not_a_list(objects, error::describe(json)));
            };
            return items.into_iter().flatten().try_for_each(|item| self.item(objects, item));
        }
        let slot = match key {
            "kind" => Some(&mut self.kind),
            "apiVersion" => Some(&mut self.api_version),
            _ => None,
        };
        if let Some(slot) = slot {
            let Ok(text) = serde_json::from_str(json) else {
                let problem = format!("expected a string, found {}", error::describe(json));
                return Err(self.wrong(objects, key, &problem).into());
            };
            *slot = text;
        }
        if !self.is_list {
            self.fields.push(if self.fields.is_empty() { '{' } else { ',' });
            self.fields.push_str(&serde_json::Value::from(key).to_string());
            self.fields.push(':');
            self.fields.push_str(json);
        }
        Ok(())
    }

    /// Begins the `items`: regardless of its kind, the document is a list, as in kubectl.
    pub(super) fn begin_items(&mut self) {
        self.is_list = true;
        self.fields = String::new();
    }

    /// Handles an element of the `items`.
    pub(super) fn item(&mut self, objects: &mut Objects<'_>, json: Box<RawValue>) -> Result<(), Halt> {
        objects.held.set(0);
        let index = self.within.unwrap_or(self.next_item);
        self.next_item += 1;
        self.deliver(objects, index, json, self.kind.is_some() && self.api_version.is_some())
    }

    fn deliver(
        &mut self,
        objects: &mut Objects<'_>,
        index: usize,
        json: Box<RawValue>,
        is_list_known: bool,
    ) -> Result<(), Halt> {
        let place = || objects.place(Some(index));
        if !json.get().starts_with('{') {
            return Err(Error::NotAnObject { place: place(), found: error::describe(json.get()) }.into());
        }
        let Ok(Peek { api_version, kind, items }) = serde_json::from_str(json.get()) else {
            return Err(error::field::<Peek<'_>>(place(), "object", &json).into());
        };
        if items.is_some_and(|items| items.get().starts_with('[')) {
            return self.inner_list(objects, index, &json);
        }
        let derived = self.kind.as_deref().and_then(|kind| kind.strip_suffix("List")).filter(|kind| !kind.is_empty());
        let (api_version, kind) = match (api_version, kind) {
            (Some(api_version), Some(kind)) => (api_version.into_owned(), kind.into_owned()),
            _ if !is_list_known => {
                self.waiting.push((index, objects.line, json));
                return Ok(());
            }
            (api_version, kind) => {
                let no = |missing| no_kind(place(), &json, missing);
                let kind = kind.as_deref().or(derived).ok_or_else(|| no("kind"))?;
                // The list's version applies to its items only if it is a list of their kind.
                let lists = self.api_version.as_deref().filter(|_| derived == Some(kind));
                let api_version = api_version.as_deref().or(lists).ok_or_else(|| no("apiVersion"))?;
                (api_version.to_owned(), kind.to_owned())
            }
        };
        objects.emit(Some(index), api_version, kind, json)
    }

    fn inner_list(&self, objects: &mut Objects<'_>, index: usize, json: &RawValue) -> Result<(), Halt> {
        if self.depth == DEEPEST_LIST {
            return Err(Error::NestedLists { place: objects.place(Some(index)) }.into());
        }
        objects.begins_at(None);
        let mut inner = Self::new(objects);
        inner.within = Some(index);
        inner.depth = self.depth + 1;
        (objects.read_list)(json, objects, inner)
    }

    /// Completes the document.
    pub(super) fn finish(mut self, objects: &mut Objects<'_>) -> Result<(), Halt> {
        if self.is_list {
            for (index, line, json) in std::mem::take(&mut self.waiting) {
                objects.begins_at(line);
                self.deliver(objects, index, json, true)?;
            }
            return Ok(());
        }
        if self.fields.is_empty() {
            self.fields.push('{');
        }
        self.fields.push('}');
        let place = objects.place(self.within);
        let json = RawValue::from_string(self.fields)
            .map_err(|_| Error::NotAnObject { place: place.clone(), found: "text".to_owned() })?;
        let Some(kind) = self.kind else { return Err(no_kind(place, &json, "kind").into()) };
        if kind == "List" {
            return Err(Error::NotAList { place, found: "nothing".to_owned() }.into());
        }
        let Some(api_version) = self.api_version else { return Err(no_kind(place, &json, "apiVersion").into()) };
        objects.emit(self.within, api_version, kind, json)
    }

    fn wrong(&self, objects: &Objects<'_>, field: &str, problem: &str) -> Error {
        Error::Field {
            place: objects.place(self.within),
            object: self.kind.as_deref().unwrap_or("object").into(),
            field: error::long(field).into(),
            problem: problem.into(),
        }
    }

    fn not_a_list(&self, objects: &Objects<'_>, found: String) -> Halt {
        Error::NotAList { place: objects.place(self.within), found }.into()
    }
}

fn no_kind(place: DumpPlace, json: &RawValue, missing: &'static str) -> Error {
    let name = error::object_name("", json.get());
    Error::NoKind { place, name: if name.is_empty() { name } else { format!(" ({name})") }, missing }
}
