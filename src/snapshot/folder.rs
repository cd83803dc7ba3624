//! Files and folders of dumps: which are read, in which order, and what is passed over.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::error::Error;
use crate::files::{self, FileFault};

/// What was passed over in folders, because it holds no Kubernetes object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many files.
    pub files: usize,
    /// Why the first of them was.
    pub first: Option<String>,
}

impl Skipped {
    pub(super) fn add(&mut self, error: &Error) {
        self.files += 1;
        self.first.get_or_insert_with(|| error.to_string());
    }

    /// In one line; `None` where nothing was passed over.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(match self.files {
            1 => format!("1 file of the dump holds no Kubernetes object and is left out: {first}"),
            many => format!("{many} files of the dump hold no Kubernetes object and are left out, the first: {first}"),
        })
    }
}

/// Opens a dump, without waiting.
pub(super) fn open(path: &Path) -> Result<File, Error> {
    let file = || path.display().to_string();
    files::open(path).map_err(|fault| match fault {
        FileFault::NotAFile(what) => Error::NotAFile { file: file(), what },
        fault => Error::Read { file: file(), reason: fault.into() },
    })
}

/// Whether a name is one of a dump.
fn is_dump(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
}

/// The file itself, or the dumps in the folder, sorted by name, as kubectl reads them.
pub(super) fn flat(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !is_folder(path)? {
        return Ok(vec![path.to_owned()]);
    }
    // Through symbolic links, as a mounted ConfigMap has them.
    let found = entries(path)?.into_iter().filter(|entry| is_dump(entry) && !entry.is_dir()).collect();
    not_empty(found, path)
}

/// The dumps in the folder and in all below it, sorted.
pub(super) fn deep(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in entries(&folder)? {
            let is_link = entry.is_symlink();
            if entry.is_dir() {
                // A link to a folder may lead back to one above it.
                folders.extend((!is_link).then_some(entry));
            } else if is_dump(&entry) && entry.is_file() {
                found.push(entry);
            }
        }
    }
    found.sort();
    not_empty(found, path)
}

/// Whether it is a folder.
pub(super) fn is_folder(path: &Path) -> Result<bool, Error> {
    let unreadable = |reason| Error::Read { file: path.display().to_string(), reason };
    Ok(fs::metadata(path).map_err(unreadable)?.is_dir())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |reason| Error::Read { file: folder.display().to_string(), reason };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        found.push(entry.map_err(unreadable)?.path());
    }
    found.sort();
    Ok(found)
}

fn not_empty(found: Vec<PathBuf>, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    if found.is_empty() { Err(Error::EmptyFolder { folder: folder.display().to_string() }) } else { Ok(found) }
}
