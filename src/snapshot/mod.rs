//! Kubernetes objects from dumps: files, folders, standard input.
//!
//! [`read`] accepts the output of `kubectl get … -o yaml` and `-o json`, recognized by content, with Lists, several
//! documents and objects in any mixture, and passes on one [`Item`] at a time. A List is never held whole, so a dump
//! may be larger than memory. [`Item::parse`] then reads only the fields of a type, borrowing from the item.
//!
//! ```
//! use cpufit::kubevirt::wire::Node;
//! use cpufit::snapshot::{self, Error};
//!
//! let dump = "apiVersion: v1\nkind: Node\nmetadata:\n  name: node-a\n";
//! let mut names = Vec::new();
//! snapshot::read("cluster.yaml", dump.as_bytes(), |item| {
//!     names.push(item.parse::<Node>()?.metadata.name);
//!     Ok::<_, Error>(())
//! })?;
//! assert_eq!(names, ["node-a"]);
//! # Ok::<_, Error>(())
//! ```
//!
//! # Errors
//!
//! Every [`Error`] names the file, and the document, item and field if there is one. Other output of kubectl (an error,
//! a table, a description) is recognized and reported.

mod describe;
mod encoding;
mod error;
pub(crate) mod fold;
mod folder;
mod input;
mod json;
pub(crate) mod kustomize;
mod objects;
pub(crate) mod prune;
mod recognise;
pub(crate) mod redact;
mod yaml;

use std::cell::Cell;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::admission::review;
use crate::bounds::{Bounded, Measured};
use crate::domain::Domain;
use crate::kubevirt::resource::{Resource, group_of};
use crate::kubevirt::wire::Reader;

use encoding::Utf8;
pub use error::Error;
use error::Halt;
pub use folder::{DumpPath, Skipped};
use input::Input;
use objects::Objects;
pub(crate) use recognise::domain_of;

/// The command that dumps everything that affects a verdict, for help texts and errors.
#[macro_export]
#[doc(hidden)]
macro_rules! dump_command {
    () => {
        "kubectl get nodes,pods,poddisruptionbudgets,vm,vmi,vmim,kubevirt,ns,vminstancetype,vmclusterinstancetype,vmpref,vmcp,\
         controllerrevisions,datasources,pvc,pv,cpupolicies -A -o yaml"
    };
}

/// The name of standard input in arguments and in [`DumpPlace::file`].
pub(crate) const STDIN: &str = "-";

/// The source of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpSource {
    /// Standard input, `-`.
    Stdin,
    /// A file, or a folder with `.yaml`, `.yml` and `.json` files.
    Path(DumpPath),
    /// A file, or a folder with everything below it.
    Tree(PathBuf),
    /// A folder that kustomize builds.
    Kustomization(PathBuf),
}

impl DumpSource {
    /// Whether it can be read twice: a pipe cannot, and standard input is held by its reader.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            // A pattern is the name of no file.
            Self::Path(path) => path.metadata().ok().is_none_or(|found| found.is_file() || found.is_dir()),
            Self::Stdin | Self::Tree(_) | Self::Kustomization(_) => true,
        }
    }
}

/// A text that names no source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSource {
    /// An empty text.
    #[error("the name of the file is empty")]
    Empty,
    /// A URL, which is not fetched.
    #[error("URLs are not supported: download the file, or pass it on standard input with -")]
    Url,
}

impl FromStr for DumpSource {
    type Err = NoSource;

    fn from_str(text: &str) -> Result<Self, NoSource> {
        match text {
            "" => Err(NoSource::Empty),
            STDIN => Ok(Self::Stdin),
            url if url.starts_with("http://") || url.starts_with("https://") => Err(NoSource::Url),
            path => Ok(Self::Path(PathBuf::from(path).into())),
        }
    }
}

impl fmt::Display for DumpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::Path(path) => path.display().fmt(f),
            Self::Tree(path) | Self::Kustomization(path) => path.display().fmt(f),
        }
    }
}

/// The place of an object in the dumps: `cluster.yaml, document 2, items[14]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DumpPlace {
    /// The file's path as given; `-` is standard input.
    pub file: String,
    /// Number of the document in the file, from 1.
    pub document: usize,
    /// Index of the element in the document's `items`, from 0; `None` if the document is not a list.
    pub item: Option<usize>,
    /// The line of the file at which the object begins, from 1; `None` for an element of a JSON list, or an object that
    /// is in no file.
    pub line: Option<usize>,
}

impl fmt::Display for DumpPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, document, item, .. } = self;
        write!(f, "{}, document {document}", error::file_name(file))?;
        item.map_or(Ok(()), |index| write!(f, ", items[{index}]"))
    }
}

/// Maximum bytes of one object: five times the API server's limit, so that endless input ends as an error.
const MOST_HELD: usize = 16 * 1024 * 1024;

/// An object of a dump.
#[derive(Clone, Debug)]
pub struct Item {
    /// The object's place.
    pub place: DumpPlace,
    /// The object's `apiVersion`, or its list's.
    pub api_version: String,
    /// The object's `kind`; in a `NodeList` whose items name none, `Node`.
    pub kind: String,
    /// The whole object as JSON, regardless of its source format.
    pub json: Box<RawValue>,
}

impl Item {
    /// Reads the object as `T`, which may borrow from it, within the [bounds](crate::bounds).
    ///
    /// # Errors
    /// [`Error::Field`] names the object, the field, the expected value and the value found.
    pub fn parse<'a, T: Deserialize<'a> + Measured>(&'a self) -> Result<T, Error> {
        match serde_json::from_str(self.json.get()) {
            Ok(Bounded(object)) => Ok(object),
            Err(_) => Err(error::field::<Bounded<T>>(self.place.clone(), &self.kind, &self.json)),
        }
    }

    /// Reads the object as `T` without bounds, for kinds that only this program reads.
    ///
    /// # Errors
    /// Equal to those of [`parse`](Self::parse).
    pub(crate) fn parse_unbounded<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        serde_json::from_str(self.json.get()).map_err(|_| error::field::<T>(self.place.clone(), &self.kind, &self.json))
    }

    /// Returns the group of the object's `apiVersion`; empty for the core.
    #[must_use]
    pub fn group(&self) -> &str {
        group_of(&self.api_version)
    }

    /// Whether it is an AdmissionReview: a kind without namespace that holds an object which may have one.
    #[must_use]
    pub(crate) fn is_review(&self) -> bool {
        self.kind == review::KIND
    }

    /// Returns the namespace that the object names: its own, or that of a review; empty if it names none.
    #[must_use]
    pub fn namespace(&self) -> String {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Head {
            metadata: Option<Names>,
            request: Option<Names>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Names {
            namespace: Option<String>,
        }
        let Head { metadata, request } = serde_json::from_str(self.json.get()).unwrap_or_default();
        let names = if self.is_review() { request } else { metadata };
        names.and_then(|names| names.namespace).unwrap_or_default()
    }

    /// Returns the namespace that a namespaced object or a review names, empty if it names none; `None` for an object
    /// of another scope or kind.
    pub(crate) fn in_any_namespace(&self) -> Option<String> {
        let is_namespaced = || Resource::of(self.group(), &self.kind).is_some_and(Resource::is_namespaced);
        (self.is_review() || is_namespaced()).then(|| self.namespace())
    }

    /// Returns the object of a cluster with this domain, with KubeVirt's own names.
    fn inward(mut self, domain: &Domain) -> Self {
        if domain.is_own() {
            return self;
        }
        self.api_version = domain.inward(&self.api_version).into_owned();
        if let Ok(json) = RawValue::from_string(domain.inward(self.json.get()).into_owned()) {
            self.json = json;
        }
        self
    }

    /// Returns the error for a faulty field of the object.
    #[must_use]
    pub fn wrong(&self, field: &str, problem: &str) -> Error {
        let object = error::object_name(&self.kind, self.json.get());
        Error::Field { place: self.place.clone(), object: object.into(), field: field.into(), problem: problem.into() }
    }

    /// Returns the object with the namespace that kubectl would send it to: `namespace` if it names none and its kind
    /// is namespaced.
    pub(crate) fn in_namespace(mut self, namespace: &str) -> Self {
        // The scope of a kind that is not read does not matter.
        let is_namespaced = Resource::of(self.group(), &self.kind).is_none_or(Resource::is_namespaced);
        if !is_namespaced || self.is_review() || !self.namespace().is_empty() {
            return self;
        }
        let Ok(mut object) = serde_json::from_str::<Value>(self.json.get()) else { return self };
        let metadata = object.as_object_mut().map(|fields| fields.entry("metadata").or_insert(Value::Null));
        match metadata {
            Some(Value::Object(metadata)) => {
                metadata.insert("namespace".to_owned(), namespace.into());
            }
            Some(metadata @ Value::Null) => *metadata = serde_json::json!({ "namespace": namespace }),
            // Metadata that is not an object is reported when the object is read.
            _ => return self,
        }
        if let Ok(json) = serde_json::value::to_raw_value(&object) {
            self.json = json;
        }
        self
    }
}

impl<'a> Reader<'a> for &'a Item {
    type Error = Error;

    fn read<T: Deserialize<'a> + Measured>(&self) -> Result<T, Error> {
        self.parse()
    }
}

/// Reads all objects of one dump, in their order. `file` names the dump in places and errors.
///
/// A dump without any document is an error, because most often the command that should have written it failed; a List
/// without items is not.
///
/// # Errors
/// [`Error`] if the dump cannot be read, else the error of `each`, which ends the reading.
pub fn read<E: From<Error>>(
    file: &str,
    reader: impl Read,
    mut each: impl FnMut(Item) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Utf8::new(reader);
    let mut callers = None;
    let mut each = |item| {
        each(item).map_err(|error| {
            callers = Some(error);
            Halt::Caller
        })
    };
    let held = Cell::default();
    let outcome = read_documents(
        &mut Input::new(file, &mut reader, &held),
        &mut Objects::new(file, &mut each, &held, json::read_list),
    );
    match (outcome, callers) {
        (_, Some(error)) => Err(error),
        (Err(Halt::Error(error)), None) => Err(E::from(*error)),
        (Ok(()) | Err(Halt::Caller), None) => Ok(()),
    }
}

/// Reads all objects of all sources of a cluster with this domain, with KubeVirt's own names, in the given order. `-`
/// is read from `stdin`; of a folder, the files in it are read. As for kubectl, a file may be empty if another is not.
///
/// # Errors
/// Equal to those of [`read`]; also if a file or folder cannot be opened, or a folder holds no dump.
pub(crate) fn read_all<E: From<Error>>(
    sources: &[DumpSource],
    domain: &Domain,
    stdin: impl Read,
    mut each: impl FnMut(Item) -> Result<(), E>,
) -> Result<(), E> {
    read_each(sources, domain, stdin, |read| each(read?))
}

/// Reads as [`read_all`] does, and passes on what cannot be read as well: after it, the next file is read.
///
/// # Errors
/// The error of `each`, which ends the reading.
pub(crate) fn read_each<E>(
    sources: &[DumpSource],
    domain: &Domain,
    mut stdin: impl Read,
    mut each: impl FnMut(Result<Item, Error>) -> Result<(), E>,
) -> Result<(), E> {
    let (mut empty, mut has_objects) = (None, false);
    for source in sources {
        let inputs = match inputs(source) {
            Ok(inputs) => inputs,
            Err(error) => {
                each(Err(error))?;
                continue;
            }
        };
        for input in inputs {
            match input.read(&mut stdin, |item| each(Ok(item.inward(domain))).map_err(Fault::Caller)) {
                Ok(()) => has_objects = true,
                Err(Fault::Caller(error)) => return Err(error),
                Err(Fault::Dump(error @ Error::NoObject { .. })) => empty = empty.take().or(Some(error)),
                Err(Fault::Dump(error)) => each(Err(error))?,
            }
        }
    }
    match empty {
        Some(error) if !has_objects => each(Err(error)),
        _ => Ok(()),
    }
}

/// An input of manifests.
enum ManifestInput {
    Stdin,
    File(PathBuf),
    /// A folder, and what kustomize built from it.
    Built(PathBuf, Vec<u8>),
}

/// Returns the inputs that a source names, in their order.
fn inputs(source: &DumpSource) -> Result<Vec<ManifestInput>, Error> {
    let paths = match source {
        DumpSource::Stdin => return Ok(vec![ManifestInput::Stdin]),
        DumpSource::Kustomization(path) => {
            return Ok(vec![ManifestInput::Built(path.clone(), kustomize::build(path)?)]);
        }
        DumpSource::Tree(path) => folder::each_named(path, folder::deep)?,
        DumpSource::Path(path) => folder::each_named(path, folder::flat)?,
    };
    Ok(paths.into_iter().map(ManifestInput::File).collect())
}

impl ManifestInput {
    fn read<E: From<Error>>(self, stdin: impl Read, mut each: impl FnMut(Item) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Stdin => read(STDIN, stdin, each),
            Self::File(path) => read(&path.display().to_string(), folder::open(&path)?, each),
            Self::Built(folder, made) => {
                read(&folder.display().to_string(), made.as_slice(), |mut item: Item| {
                    // The lines are those of kustomize's output, which is in no file.
                    item.place.line = None;
                    each(item)
                })
            }
        }
    }
}

/// The origin of an error while reading.
enum Fault<E> {
    Dump(Error),
    Caller(E),
}

impl<E> From<Error> for Fault<E> {
    fn from(error: Error) -> Self {
        Self::Dump(error)
    }
}

/// Reads all objects of dumps of a cluster with this domain, with KubeVirt's own names, in the given order. `-` is read
/// from `stdin`. Folders are read with everything below them, as `must-gather` and support bundles write them; files
/// there without a Kubernetes object are skipped.
///
/// # Errors
/// Equal to those of [`read_all`]. A named file, and a file of a folder that begins with an object, must be readable to
/// its end.
pub(crate) fn read_dumps<E: From<Error>>(
    sources: &[DumpSource],
    domain: &Domain,
    mut stdin: impl Read,
    mut each: impl FnMut(Item) -> Result<(), E>,
) -> Result<Skipped, E> {
    let mut each = |item: Item| each(item.inward(domain));
    let mut skipped = Skipped::default();
    for source in sources {
        let source = match source {
            DumpSource::Stdin => {
                read(STDIN, &mut stdin, &mut each)?;
                continue;
            }
            DumpSource::Path(path) => path.clone(),
            DumpSource::Tree(path) | DumpSource::Kustomization(path) => DumpPath::from(path.clone()),
        };
        let files = source.files()?;
        for path in files.paths() {
            let mut objects = 0;
            let outcome = read(&path.display().to_string(), source.reader(path)?, |item| {
                objects += 1;
                each(item).map_err(Fault::Caller)
            });
            match outcome {
                Ok(()) => {}
                Err(Fault::Caller(error)) => return Err(error),
                Err(Fault::Dump(error)) if files.are_of_folder() && objects == 0 => skipped.add(&error),
                Err(Fault::Dump(error)) => return Err(error.into()),
            }
        }
    }
    Ok(skipped)
}

/// Whether a document with this opening is JSON. YAML has braces too, but needs no quotes in them.
fn is_json(opening: &str) -> bool {
    match opening.strip_prefix('{') {
        Some(rest) => rest.trim_start().is_empty() || rest.trim_start().starts_with(['"', '}']),
        None => opening.starts_with('[') && !describe::is_opening(opening),
    }
}

fn read_documents(input: &mut Input<'_>, objects: &mut Objects<'_>) -> Result<(), Halt> {
    loop {
        let opening = input.opening()?;
        match opening.bytes().next() {
            None => break,
            Some(_) if is_json(&opening) => {
                input.skip_blanks()?;
                objects.begins_at(Some(input.position().0));
                json::read_document(input, objects)?;
            }
            Some(_) if describe::is_opening(&opening) || describe::is_in(input.ahead()) => {
                let (first, _) = input.position();
                let text = describe::rest(|| input.next_char())
                    .map_err(|_| input.take_failure().unwrap_or_else(|| error::not_described(objects.file())))?;
                let pods = describe::pods(&text)
                    .map_err(|entry| error::broken_entry(objects.file(), first + entry.line, &entry.text))?;
                if pods.is_empty() {
                    return Err(error::not_described(objects.file()).into());
                }
                objects.begins_at(None);
                for pod in pods {
                    let text = pod.to_string();
                    let mut text = text.as_bytes();
                    let held = Cell::default();
                    let file = objects.file().to_owned();
                    json::read_document(&mut Input::new(&file, &mut text, &held), objects)?;
                }
                break;
            }
            Some(_) => {
                if let Some(error) = error::kubectl_output(objects.file(), &opening) {
                    return Err(error.into());
                }
                if objects.document() > 0 && !opening.starts_with("---") && !opening.starts_with('#') {
                    input.skip_blanks()?;
                    return Err(input
                        .syntax(objects.document(), "after a JSON document, expected another or the end")
                        .into());
                }
                // Everything that follows is one YAML stream; JSON in it is YAML too.
                yaml::read_documents(input, objects)?;
                break;
            }
        }
    }
    if objects.is_empty() { Err(Error::NoObject { file: objects.file().to_owned() }.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
