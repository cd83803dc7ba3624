//! Kubernetes objects from dumps: files, folders, standard input.
//!
//! `kubectl get … -o yaml` and `-o json` are what people have. [`read`] takes either, recognised by content, with Lists,
//! many documents and objects in any mixture, and hands over one [`Item`] at a time. A List is never held whole, so a dump
//! may be larger than memory. [`Item::parse`] then reads only the fields a type asks for, borrowing from the item.
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
//! Every [`Error`] names the file, and the document, item and field where there is one. What kubectl printed instead of a
//! dump (an error, a table, a description) is recognized and said.

mod describe;
mod error;
pub(crate) mod fold;
mod folder;
mod input;
mod json;
mod kustomize;
mod objects;
pub(crate) mod prune;
pub(crate) mod redact;
mod yaml;

use std::cell::Cell;
use std::fmt;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::bounds::{Bounded, Measured};
use crate::domain::{Domain, DomainEvidence};
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire::Reader;

pub use error::Error;
use error::Halt;
pub use folder::Skipped;
use input::Input;
use objects::Objects;

/// The command that dumps all that affects a verdict, as help and errors show it.
#[macro_export]
#[doc(hidden)]
macro_rules! dump_command {
    () => {
        "kubectl get nodes,pods,poddisruptionbudgets,vm,vmi,vmim,kubevirt,ns,vminstancetype,vmclusterinstancetype,vmpref,vmcp,\
         controllerrevisions,datasources,pvc,pv,cpupolicies -A -o yaml"
    };
}

/// How standard input is called in arguments and in [`DumpPlace::file`].
pub(crate) const STDIN: &str = "-";

/// Where a dump is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpSource {
    /// Standard input, `-`.
    Stdin,
    /// A file, or a folder with `.yaml`, `.yml` and `.json` files.
    Path(PathBuf),
    /// A file, or a folder with all that is below it.
    Tree(PathBuf),
    /// A folder that kustomize makes manifests of.
    Kustomization(PathBuf),
}

/// A text that names no source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSource {
    /// Nothing.
    #[error("the name of the file is empty")]
    Empty,
    /// A URL: nothing is fetched.
    #[error("files are read, and no URLs: fetch it first, or pipe it in and say -")]
    Url,
}

impl FromStr for DumpSource {
    type Err = NoSource;

    fn from_str(text: &str) -> Result<Self, NoSource> {
        match text {
            "" => Err(NoSource::Empty),
            STDIN => Ok(Self::Stdin),
            url if url.starts_with("http://") || url.starts_with("https://") => Err(NoSource::Url),
            path => Ok(Self::Path(PathBuf::from(path))),
        }
    }
}

impl fmt::Display for DumpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::Path(path) | Self::Tree(path) | Self::Kustomization(path) => path.display().fmt(f),
        }
    }
}

/// Where in the dumps an object stands: `cluster.yaml, document 2, items[14]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DumpPlace {
    /// The file's path as it was given; `-` is standard input.
    pub file: String,
    /// Which document of the file, from 1.
    pub document: usize,
    /// Which element of the document's `items`, from 0, if the document is a list.
    pub item: Option<usize>,
    /// The line of the file that it begins at, from 1; `None` for what is an element of a list in JSON, or stands in no file.
    pub line: Option<usize>,
}

impl fmt::Display for DumpPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, document, item, .. } = self;
        write!(f, "{}, document {document}", error::file_name(file))?;
        item.map_or(Ok(()), |index| write!(f, ", items[{index}]"))
    }
}

/// One object of a dump.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where it stands.
    pub place: DumpPlace,
    /// Its `apiVersion`, or its list's.
    pub api_version: String,
    /// Its `kind`; in a `NodeList` whose items name none, `Node`.
    pub kind: String,
    /// The whole object as JSON, whatever it was read from.
    pub json: Box<RawValue>,
}

impl Item {
    /// Reads the object as `T`, which may borrow from it, within the [bounds](crate::bounds).
    ///
    /// # Errors
    /// [`Error::Field`] names the object, the field, what was expected and what stood there.
    pub fn parse<'a, T: Deserialize<'a> + Measured>(&'a self) -> Result<T, Error> {
        match serde_json::from_str(self.json.get()) {
            Ok(Bounded(object)) => Ok(object),
            Err(_) => Err(error::field::<Bounded<T>>(self.place.clone(), &self.kind, &self.json)),
        }
    }
}

impl Item {
    /// The same for what people write for this program alone, which has no bounds of its own.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(crate) fn parse_unbounded<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        serde_json::from_str(self.json.get()).map_err(|_| error::field::<T>(self.place.clone(), &self.kind, &self.json))
    }
}

/// How much of a dump one object may take: five times what the API server takes, so that an endless one ends as an error.
const MOST_HELD: usize = 16 * 1024 * 1024;
/// A kind that is in no namespace, and holds an object that may be.
const REVIEW: &str = "AdmissionReview";

impl Item {
    /// The namespace that the object names: its own, or the one that a review was sent to; empty where it names none.
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
        let names = if self.kind == REVIEW { request } else { metadata };
        names.and_then(|names| names.namespace).unwrap_or_default()
    }

    /// The object of a cluster with this domain, with KubeVirt's own names.
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

    /// That a field of it does not hold what it should.
    #[must_use]
    pub fn wrong(&self, field: &str, problem: &str) -> Error {
        let object = error::object_name(&self.kind, self.json.get());
        Error::Field { place: self.place.clone(), object: object.into(), field: field.into(), problem: problem.into() }
    }

    /// The object as kubectl would send it to a namespace: there if it names none and is of a kind that has one.
    #[must_use]
    pub(crate) fn in_namespace(mut self, namespace: &str) -> Self {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        // The scope of a kind that is not read does not matter.
        let is_namespaced = Resource::of(group, &self.kind).is_none_or(Resource::is_namespaced);
        if !is_namespaced || self.kind == REVIEW || !self.namespace().is_empty() {
            return self;
        }
        let Ok(mut object) = serde_json::from_str::<Value>(self.json.get()) else { return self };
        let metadata = object.as_object_mut().map(|fields| fields.entry("metadata").or_insert(Value::Null));
        match metadata {
            Some(Value::Object(metadata)) => {
                metadata.insert("namespace".to_owned(), namespace.into());
            }
            Some(metadata @ Value::Null) => *metadata = serde_json::json!({ "namespace": namespace }),
            // What is not an object is reported when the object is read.
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

/// Reads all objects of one dump, in their order. `file` names it in places and errors.
///
/// A dump without any document is an error, for most often the command that should have filled it failed; a List
/// without items is not.
///
/// # Errors
/// [`Error`] if the dump cannot be read, else whatever `each` returns, which ends the reading.
pub fn read<E: From<Error>>(
    file: &str,
    mut reader: impl Read,
    mut each: impl FnMut(Item) -> Result<(), E>,
) -> Result<(), E> {
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

/// Reads all objects of all sources of a cluster with this domain, with KubeVirt's own names, in the order given; `-` is read from
/// `stdin`, of a folder the files in it.
///
/// # Errors
/// As [`read`], and where a file or folder cannot be opened or a folder holds no dump.
pub(crate) fn read_all<E: From<Error>>(
    sources: &[DumpSource],
    domain: &Domain,
    mut stdin: impl Read,
    mut each: impl FnMut(Item) -> Result<(), E>,
) -> Result<(), E> {
    let mut each = |item: Item| each(item.inward(domain));
    for source in sources {
        match source {
            DumpSource::Stdin => read(STDIN, &mut stdin, &mut each)?,
            DumpSource::Path(path) | DumpSource::Tree(path) => {
                let is_tree = matches!(source, DumpSource::Tree(_)) && folder::is_folder(path)?;
                for path in if is_tree { folder::deep(path)? } else { folder::flat(path)? } {
                    read(&path.display().to_string(), folder::open(&path)?, &mut each)?;
                }
            }
            DumpSource::Kustomization(path) => {
                let made = kustomize::build(path)?;
                read(&path.display().to_string(), made.as_slice(), &mut each)?;
            }
        }
    }
    Ok(())
}

/// Reads all objects of dumps of a cluster with this domain, with KubeVirt's own names, in the order given; `-` is read from `stdin`. Folders are read with all that is below
/// them, as `must-gather` and support bundles write them, and files there that hold no Kubernetes object are passed over.
///
/// # Errors
/// As [`read_all`]. A file that is named, and one of a folder that begins with an object, must be readable to its end.
pub(crate) fn read_dumps<E: From<Error>>(
    sources: &[DumpSource],
    domain: &Domain,
    mut stdin: impl Read,
    mut each: impl FnMut(Item) -> Result<(), E>,
) -> Result<Skipped, E> {
    /// Who is at fault.
    enum Fault<E> {
        Dump(Error),
        Caller(E),
    }
    impl<E> From<Error> for Fault<E> {
        fn from(error: Error) -> Self {
            Self::Dump(error)
        }
    }
    let mut each = |item: Item| each(item.inward(domain));
    let mut skipped = Skipped::default();
    for source in sources {
        let path = match source {
            DumpSource::Stdin => {
                read(STDIN, &mut stdin, &mut each)?;
                continue;
            }
            DumpSource::Path(path) | DumpSource::Tree(path) | DumpSource::Kustomization(path) => path,
        };
        let is_folder = folder::is_folder(path)?;
        for path in if is_folder { folder::deep(path)? } else { vec![path.clone()] } {
            let mut objects = 0;
            let outcome = read(&path.display().to_string(), folder::open(&path)?, |item| {
                objects += 1;
                each(item).map_err(Fault::Caller)
            });
            match outcome {
                Ok(()) => {}
                Err(Fault::Caller(error)) => return Err(error),
                Err(Fault::Dump(error)) if is_folder && objects == 0 => skipped.add(&error),
                Err(Fault::Dump(error)) => return Err(error.into()),
            }
        }
    }
    Ok(skipped)
}

/// Bytes that are looked at together.
const PIECE: usize = 64 * 1024;

/// The domain that is given, else the one that these dumps use throughout; and standard input, with nothing of it lost.
pub(crate) fn domain_of<R: Read>(
    given: Option<&Domain>,
    dumps: &[DumpSource],
    stdin: R,
) -> (Domain, impl Read + use<R>) {
    let (recognised, rest) = recognise(if given.is_some() { &[] } else { dumps }, stdin);
    (given.cloned().unwrap_or(recognised), rest)
}

/// The domain that these dumps use throughout, where it is not KubeVirt's own, and what standard input holds. Dumps are read until one
/// uses KubeVirt's own domain: in most clusters that is the first node. Objects that cannot be read are left to the code that reads them later.
fn recognise<R: Read>(sources: &[DumpSource], mut stdin: R) -> (Domain, impl Read + use<R>) {
    let mut evidence = DomainEvidence::default();
    let mut held = Vec::new();
    let mut piece = vec![0; PIECE];
    for source in sources {
        let path = match source {
            DumpSource::Stdin => {
                while let Ok(read @ 1..) = stdin.read(&mut piece) {
                    held.extend_from_slice(&piece[..read]);
                    if !evidence.look(&piece[..read]) || piece[..read].contains(&0) {
                        break;
                    }
                }
                continue;
            }
            DumpSource::Path(path) | DumpSource::Tree(path) | DumpSource::Kustomization(path) => path,
        };
        let files = if path.is_dir() { folder::deep(path).unwrap_or_default() } else { vec![path.clone()] };
        // What a pipe holds can be read once alone.
        for file in files.iter().filter(|file| file.is_file()).map_while(|file| folder::open(file).ok()) {
            let mut file = file;
            while let Ok(read @ 1..) = file.read(&mut piece) {
                if !evidence.look(&piece[..read]) {
                    return (Domain::default(), Cursor::new(held).chain(stdin));
                }
                // No text, and of no use to read to its end.
                if piece[..read].contains(&0) {
                    break;
                }
            }
        }
    }
    (evidence.domain().unwrap_or_default(), Cursor::new(held).chain(stdin))
}

/// Whether a document that opens so is JSON: YAML has braces too, and needs no quotes in them.
fn is_json(opening: &str) -> bool {
    match opening.strip_prefix('{') {
        Some(rest) => rest.trim_start().is_empty() || rest.trim_start().starts_with(['"', '}']),
        None => opening.starts_with('['),
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
            Some(_) if describe::is_opening(&opening) => {
                let text = describe::rest(|| input.next_char())
                    .map_err(|_| input.take_failure().unwrap_or_else(|| error::not_described(objects.file())))?;
                let pods = describe::pods(&text);
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
                // All that follows is one YAML stream; JSON in it is YAML too.
                yaml::read_documents(input, objects)?;
                break;
            }
        }
    }
    if objects.is_empty() { Err(Error::NoObject { file: objects.file().to_owned() }.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
