//! Files and folders of dumps: which are read, in which order, and which are skipped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::Error;
use crate::files::{self, FileFault};

/// The files in folders that were skipped, because they hold no Kubernetes object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Number of files.
    pub files: usize,
    /// The reason for the first file.
    pub first: Option<String>,
}

impl Skipped {
    pub(super) fn add(&mut self, error: &Error) {
        self.files += 1;
        self.first.get_or_insert_with(|| error.to_string());
    }

    /// Returns a line about the skipped files; `None` if there are none.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(match self.files {
            1 => format!("1 file of the dump holds no Kubernetes object and is left out: {first}"),
            many => format!("{many} files of the dump hold no Kubernetes object and are left out, the first: {first}"),
        })
    }
}

/// Opens a dump, without blocking.
pub(super) fn open(path: &Path) -> Result<File, Error> {
    let file = || path.display().to_string();
    files::open(path).map_err(|fault| match fault {
        FileFault::NotAFile(what) => Error::NotAFile { file: file(), what },
        fault => Error::Read { file: file(), reason: fault.into() },
    })
}

/// Whether a name is that of a dump.
fn is_dump(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
}

/// Returns the file itself, or the dumps in the folder, sorted by name as in kubectl.
pub(super) fn flat(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !is_folder(path)? {
        return Ok(vec![path.to_owned()]);
    }
    // Symbolic links are followed, because a mounted ConfigMap consists of them.
    let found = entries(path)?.into_iter().filter(|entry| is_dump(entry) && !entry.is_dir()).collect();
    not_empty(found, path)
}

/// Limits of walking a folder: a dump of a large cluster (must-gather, a support bundle) stays well below, the root of
/// a file system does not.
struct WalkBounds {
    /// Maximum number of files and folders.
    entries: usize,
    /// Maximum depth of folders.
    depth: usize,
    /// Maximum time of the walk, without reading files.
    time: Duration,
}

const BOUNDS: WalkBounds = WalkBounds { entries: 100_000, depth: 24, time: Duration::from_secs(5) };

/// Returns the dumps in the folder and below, sorted.
pub(super) fn deep(path: &Path) -> Result<Vec<PathBuf>, Error> {
    walk(path, &BOUNDS)
}

fn walk(path: &Path, bounds: &WalkBounds) -> Result<Vec<PathBuf>, Error> {
    let too_large = |what: String| Error::FolderTooLarge { folder: path.display().to_string(), what };
    let start = Instant::now();
    let mut walked = 0;
    let mut found = Vec::new();
    let mut folders = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        if depth > bounds.depth {
            return Err(too_large(format!("folders are nested deeper than {}", bounds.depth)));
        }
        for entry in entries(&folder)? {
            walked += 1;
            if walked > bounds.entries {
                return Err(too_large(format!("more than {} files and folders are below it", bounds.entries)));
            }
            if start.elapsed() > bounds.time {
                return Err(too_large(format!("it takes longer than {} s to list", bounds.time.as_secs())));
            }
            let is_link = entry.is_symlink();
            if entry.is_dir() {
                // A link to a folder may lead to one above it.
                folders.extend((!is_link).then_some((entry, depth + 1)));
            } else if is_dump(&entry) && entry.is_file() {
                found.push(entry);
            }
        }
    }
    found.sort();
    not_empty(found, path)
}

/// Whether the path is a folder.
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

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use rstest::rstest;

    const NONE: WalkBounds = WalkBounds { entries: 100, depth: 3, time: Duration::from_secs(60) };

    /// `deep/a/b/c.yaml`, the only dump, among eight files and folders.
    #[rstest]
    #[case::within(NONE, None)]
    #[case::entries(WalkBounds { entries: 4, ..NONE }, Some("more than 4 files"))]
    #[case::depth(WalkBounds { depth: 1, ..NONE }, Some("deeper than 1"))]
    #[case::time(WalkBounds { time: Duration::ZERO, ..NONE }, Some("longer than 0 s"))]
    fn a_walk_ends(#[case] bounds: WalkBounds, #[case] expected: Option<&str>) {
        let scratch = tempfile::tempdir().expect("a folder");
        let inner = scratch.path().join("deep/a/b");
        fs::create_dir_all(&inner).expect("a folder");
        for name in ["c.yaml", "d.txt", "e.txt", "f.txt", "g.txt"] {
            fs::write(inner.join(name), "").expect("a file");
        }
        match (walk(scratch.path(), &bounds), expected) {
            (Ok(found), None) => assert_eq!(found, [inner.join("c.yaml")]),
            (Err(error), Some(expected)) => {
                let error = error.to_string();
                assert!(error.contains(expected) && error.contains("give the folder that holds the dump"), "{error}");
            }
            (walked, _) => panic!("a folder that is no dump would be walked without end: {walked:?}"),
        }
    }
}
