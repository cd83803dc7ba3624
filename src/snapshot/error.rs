//! Errors of dumps, with messages for the person who made the dump.

use std::fmt::Write;
use std::io;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use serde_path_to_error::{Path, Segment};

use super::{DumpPlace, DumpSource, MOST_HELD, STDIN};

/// A reason why a dump cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder that the operating system refuses to open, or fails to read.
    #[error("cannot read {}: {reason}", file_name(file))]
    Read {
        /// The file or folder.
        file: String,
        /// The system's error.
        reason: io::Error,
    },
    /// A path to something other than a file.
    #[error("{} is {what}, not a file; use - and give its content on standard input", file_name(file))]
    NotAFile {
        /// The path.
        file: String,
        /// The kind of the path.
        what: &'static str,
    },
    /// An object, or a text in one, larger than any in Kubernetes.
    #[error("{}, line {line}: an object of more than {} MiB; the API server takes none above 3", file_name(file), MOST_HELD >> 20)]
    TooLarge {
        /// The file.
        file: String,
        /// The line at which reading ended, from 1.
        line: usize,
    },
    /// Bytes that are not text.
    #[error("{}, line {line}: not UTF-8 text{cure}", file_name(file))]
    NotText {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The likely encoding and the fix; may be empty.
        cure: &'static str,
    },
    /// Text that is neither YAML nor JSON.
    #[error("{}, document {document}, line {line}, column {column}: {reason}", file_name(file))]
    Syntax {
        /// The file.
        file: String,
        /// Number of the document in the file, from 1.
        document: usize,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// The error.
        reason: String,
    },
    /// A dump with only blanks and comments.
    #[error("no object in {}", file_name(file))]
    NoObject {
        /// The file.
        file: String,
    },
    /// A folder that kustomize cannot build.
    #[error("cannot build {folder}: {problem}")]
    Kustomize {
        /// The folder.
        folder: String,
        /// The program's error message.
        problem: String,
    },
    /// A folder without dumps.
    #[error("no .yaml, .yml or .json file in folder {folder}")]
    EmptyFolder {
        /// The folder.
        folder: String,
    },
    /// A folder with more content than any dump.
    #[error("folder {folder} is no dump: {what}; give the folder that holds the dump alone, or the dump's file")]
    FolderTooLarge {
        /// The folder.
        folder: String,
        /// The limit that it exceeds.
        what: String,
    },
    /// An error message of kubectl or the API server.
    #[error("{} holds an error instead of objects: {text}", file_name(file))]
    Kubectl {
        /// The file.
        file: String,
        /// The message.
        text: String,
    },
    /// Output of kubectl for people.
    #[error("{} holds {what}; write it with `kubectl get … -o yaml`", file_name(file))]
    NotADump {
        /// The file.
        file: String,
        /// The kind of output.
        what: &'static str,
    },
    /// A value instead of an object.
    #[error("{place}: expected an object, found {found}")]
    NotAnObject {
        /// The value's place.
        place: DumpPlace,
        /// The value found.
        found: String,
    },
    /// An object without a kind or a version.
    #[error("{place}{name}: the object has no {missing}")]
    NoKind {
        /// The object's place.
        place: DumpPlace,
        /// The object's name in parentheses; empty if it has none.
        name: String,
        /// `kind` or `apiVersion`.
        missing: &'static str,
    },
    /// A List whose `items` is not a list.
    #[error("{place}: items: expected a list, found {found}")]
    NotAList {
        /// The list's place.
        place: DumpPlace,
        /// The value found.
        found: String,
    },
    /// Lists nested deeper than any tool writes them.
    #[error("{place}: lists within lists are nested too deep")]
    NestedLists {
        /// The list's place.
        place: DumpPlace,
    },
    /// A field with a value that Kubernetes does not write.
    #[error("{place} ({object}): {field}: {problem}")]
    Field {
        /// The object's place.
        place: DumpPlace,
        /// Kind, namespace and name, as far as they can be read.
        object: Box<str>,
        /// The path of the field.
        field: Box<str>,
        /// The expected value, the value found, and the fix.
        problem: Box<str>,
    },
}

impl Error {
    /// Returns the file of a folder that is a symbolic link to a file that does not exist; `None` for other errors, and
    /// if the link itself was named.
    pub(crate) fn dangling_link(&self, named: &DumpSource) -> Option<&str> {
        match self {
            Self::Read { file, reason } if reason.kind() == io::ErrorKind::NotFound => {
                Some(file.as_str()).filter(|file| std::path::Path::new(file).is_symlink() && *file != named.to_string())
            }
            _ => None,
        }
    }
}

/// A reason why reading ends early.
#[derive(Debug)]
pub(super) enum Halt {
    /// An error in the dump.
    Error(Box<Error>),
    /// A stop requested by the caller.
    Caller,
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Error(Box::new(error))
    }
}

/// Returns the name of a file for messages.
pub(super) fn file_name(file: &str) -> &str {
    if file == STDIN { "standard input" } else { file }
}

/// Recognizes an opening line that kubectl printed instead of a dump.
pub(super) fn kubectl_output(file: &str, line: &str) -> Option<Error> {
    let file = file.to_owned();
    let column = |name: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '));
    if is_failure(line) {
        return Some(Error::Kubectl { file, text: long(line) });
    }
    if column("NAME") || column("NAMESPACE") {
        return Some(Error::NotADump { file, what: "a table" });
    }
    None
}

/// Returns the error for a description of something other than a pod.
pub(super) fn not_described(file: &str) -> Error {
    Error::NotADump { file: file.to_owned(), what: "the output of `kubectl describe`" }
}

/// Returns the error for a pasted list with an entry of which a part is missing.
pub(super) fn broken_entry(file: &str, line: usize, text: &str) -> Error {
    let reason = format!(
        "{:?} is no whole entry of a list of `kubectl describe`: paste the description with its indentation and line breaks",
        short(text)
    );
    Error::Syntax { file: file.to_owned(), document: 1, line, column: 1, reason }
}

/// Whether kubectl or the shell printed this line because it failed.
pub(super) fn is_failure(line: &str) -> bool {
    const OPENINGS: [&str; 6] = [
        "error: ",
        "Error from server",
        "No resources found",
        "Unable to connect to the server",
        "The connection to the server",
        "Flag --",
    ];
    OPENINGS.iter().any(|opening| line.starts_with(opening))
        || line.contains("kubectl: command not found")
        || line.contains("kubectl: not found")
        || is_log(line)
}

/// Whether a line is from kubectl's own log: `E1123 15:30:48.123456    1234 memcache.go:265] …`.
fn is_log(line: &str) -> bool {
    line.len() > 8
        && line.bytes().zip("E1123 15:".bytes()).all(|(byte, model)| match model {
            b'E' => matches!(byte, b'E' | b'W' | b'F'),
            b'0'..=b'9' => byte.is_ascii_digit(),
            _ => byte == model,
        })
}

/// Returns a value cut to fit into a message.
pub(super) fn short(text: &str) -> String {
    cut(text, 80)
}

/// Returns a message or path, cut to a readable length.
pub(super) fn long(text: &str) -> String {
    cut(text, 240)
}

fn cut(text: &str, most: usize) -> String {
    let text = text.trim_end();
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Describes a JSON value for messages.
pub(super) fn describe(json: &str) -> String {
    let json = json.trim();
    match json.bytes().next() {
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "a list".to_owned(),
        Some(b'"') => format!("string {}", short(json)),
        Some(b't' | b'f') => format!("boolean {json}"),
        Some(b'n') => "null".to_owned(),
        _ => format!("number {}", short(json)),
    }
}

/// Returns kind, namespace and name of an object, as far as they can be read.
pub(super) fn object_name(kind: &str, json: &str) -> String {
    #[derive(Default, Deserialize)]
    struct Named {
        #[serde(default)]
        metadata: Names,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Names {
        namespace: Option<Value>,
        name: Option<Value>,
    }
    let Names { namespace, name } = serde_json::from_str::<Named>(json).unwrap_or_default().metadata;
    let text = |value: Option<Value>| value.as_ref().and_then(Value::as_str).map(short);
    let name = match (text(namespace), text(name)) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (_, Some(name)) => name,
        (_, None) => String::new(),
    };
    [kind, &name].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" ")
}

/// Reads an object that could not be read as `T` again, to find the faulty field.
pub(super) fn field<'a, T: Deserialize<'a>>(place: DumpPlace, kind: &str, json: &'a RawValue) -> Error {
    let deserializer = &mut serde_json::Deserializer::from_str(json.get());
    let (path, problem) = match serde_path_to_error::deserialize::<_, T>(deserializer) {
        Err(error) => (field_path(error.path()), problem(&error.inner().to_string())),
        // A failure repeats, unless `T` reads its input differently each time.
        Ok(_) => (String::new(), "cannot be read".to_owned()),
    };
    let field = if path.is_empty() { "the object".to_owned() } else { long(&path) };
    Error::Field { place, object: object_name(kind, json.get()).into(), field: field.into(), problem: problem.into() }
}

/// Formats a path: `metadata.labels["cpu-feature.node.kubevirt.io/fpu"]`; a key with dots is quoted.
fn field_path(path: &Path) -> String {
    let mut out = String::new();
    for segment in path {
        // Writing to a String cannot fail.
        let _ = match segment {
            Segment::Seq { index } => write!(out, "[{index}]"),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
                let dot = if out.is_empty() { "" } else { "." };
                if plain { write!(out, "{dot}{key}") } else { write!(out, "[{key:?}]") }
            }
            Segment::Unknown => Ok(()),
        };
    }
    out
}

/// Rewords an error of serde: ``invalid type: integer `5`, expected a string``.
fn problem(message: &str) -> String {
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    let mismatch = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    let Some((found, expected)) = mismatch.and_then(|text| text.rsplit_once(", expected ")) else {
        return match message {
            "recursion limit exceeded" => "nested too deep".to_owned(),
            message => long(message),
        };
    };
    let bare = |prefix: &str| found.strip_prefix(prefix).map(|text| text.trim_matches('`'));
    let (found, is_plain) = if let Some(number) = bare("integer ").or_else(|| bare("floating point ")) {
        (format!("number {number}"), true)
    } else if let Some(value) = bare("boolean ") {
        (format!("boolean {value}"), true)
    } else {
        match found {
            "sequence" => ("a list".to_owned(), false),
            "map" => ("an object".to_owned(), false),
            found => (short(found), false),
        }
    };
    let expected = match expected {
        "a sequence" => "a list",
        "a map" => "an object",
        "u32" | "u64" | "usize" => "a whole number from 0",
        "i32" | "i64" => "a whole number",
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    };
    let cure = if is_plain && expected == "a string" { "; put it in quotes" } else { "" };
    format!("expected {expected}, found {found}{cure}")
}
