//! Files and folders of dumps: which are read, in which order, and which are skipped.

use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
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

/// A file, or a folder with everything below it. A folder is listed once, and what can be read only once is held:
/// clones share both.
#[derive(Clone, Debug)]
pub struct DumpPath {
    path: PathBuf,
    walked: Arc<OnceLock<DumpFiles>>,
    /// Files that can be read only once, for example pipes, of which a part is read.
    begun: Arc<Mutex<Vec<Begun>>>,
}

/// A file that can be read only once: its content so far, and the rest.
#[derive(Debug)]
struct Begun {
    path: PathBuf,
    held: Vec<u8>,
    rest: File,
}

/// The files of a dump, sorted.
#[derive(Clone, Debug)]
pub(super) enum DumpFiles {
    /// The path itself, or the files that match it as a pattern.
    Named(Arc<[PathBuf]>),
    /// The files of a folder.
    Folder(Arc<[PathBuf]>),
}

impl DumpFiles {
    pub(super) fn paths(&self) -> &[PathBuf] {
        let (Self::Named(paths) | Self::Folder(paths)) = self;
        paths
    }

    pub(super) fn are_of_folder(&self) -> bool {
        matches!(self, Self::Folder(_))
    }
}

impl DumpPath {
    /// Returns the files of the dump.
    ///
    /// # Errors
    /// As [`deep`], and if the path cannot be read.
    pub(super) fn files(&self) -> Result<DumpFiles, Error> {
        if let Some(files) = self.walked.get() {
            return Ok(files.clone());
        }
        let found = if self.path.is_dir() {
            DumpFiles::Folder(deep(&self.path)?.into())
        } else {
            DumpFiles::Named(each_named(&self.path, deep)?.into())
        };
        Ok(self.walked.get_or_init(|| found).clone())
    }

    /// Reads one of the files before [`reader`](Self::reader) does, which loses nothing by it.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn peek<T>(&self, path: &Path, look: impl FnOnce(&mut dyn Read) -> T) -> Result<T, Error> {
        let mut file = open(path)?;
        if path.is_file() {
            return Ok(look(&mut file));
        }
        let mut held = Vec::new();
        let seen = look(&mut Tee { reader: &mut file, held: &mut held });
        let begun = Begun { path: path.to_owned(), held, rest: file };
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).push(begun);
        Ok(seen)
    }

    /// Opens one of the files, from its beginning.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn reader(&self, path: &Path) -> Result<Box<dyn Read>, Error> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match begun.iter().position(|begun| begun.path == path) {
            Some(at) => {
                let Begun { held, rest, .. } = begun.swap_remove(at);
                Box::new(Cursor::new(held).chain(rest))
            }
            None => Box::new(open(path)?),
        })
    }
}

/// A reader that holds all that is read from it, so that it can be read again.
pub(super) struct Tee<'t, R> {
    pub(super) reader: R,
    pub(super) held: &'t mut Vec<u8>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(out)?;
        self.held.extend_from_slice(&out[..count]);
        Ok(count)
    }
}

impl From<PathBuf> for DumpPath {
    fn from(path: PathBuf) -> Self {
        Self { path, walked: Arc::default(), begun: Arc::default() }
    }
}

impl Deref for DumpPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl PartialEq for DumpPath {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for DumpPath {}

/// Returns the files that an argument names, in kubectl's order: the path itself, or if it does not exist, the paths
/// that match it as a pattern; of each folder, the files that `in_folder` returns.
///
/// Mirrors k8s.io/cli-runtime pkg/resource/builder.go `expandIfFilePattern`.
pub(super) fn each_named(
    path: &Path,
    in_folder: impl Fn(&Path) -> Result<Vec<PathBuf>, Error>,
) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for path in matching(path)? {
        if is_folder(&path)? {
            found.extend(in_folder(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// Returns the paths that match a pattern; a path that exists, or is no pattern, is returned as is.
fn matching(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let Some(pattern) = path.to_str().filter(|text| text.contains(['*', '?', '[']) && !path.exists()) else {
        return Ok(vec![path.to_owned()]);
    };
    let invalid = |problem: String| unreadable(path, io::Error::new(io::ErrorKind::InvalidInput, problem));
    let matched = glob::glob(pattern).map_err(|error| invalid(format!("the pattern is not valid: {}", error.msg)))?;
    let found = matched.collect::<Result<Vec<_>, _>>().map_err(|error| {
        let folder = error.path().to_owned();
        unreadable(&folder, error.into())
    })?;
    if found.is_empty() { Err(invalid("no file matches this pattern".to_owned())) } else { Ok(found) }
}

/// Returns the dumps in the folder, sorted by name as in kubectl.
pub(super) fn flat(path: &Path) -> Result<Vec<PathBuf>, Error> {
    // Symbolic links are followed, because a mounted ConfigMap consists of them.
    let found = Walk::new(path, &BOUNDS).entries(path)?;
    not_empty(found.into_iter().filter(|entry| is_dump(entry) && !entry.is_dir()).collect(), path)
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
///
/// # Errors
/// A folder cannot be read, holds no dump, or holds more than a dump does.
pub(super) fn deep(path: &Path) -> Result<Vec<PathBuf>, Error> {
    walk(path, &BOUNDS)
}

fn walk(path: &Path, bounds: &WalkBounds) -> Result<Vec<PathBuf>, Error> {
    let mut walk = Walk::new(path, bounds);
    let mut found = Vec::new();
    let mut folders = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        if depth > bounds.depth {
            return Err(walk.too_large(format!("folders are nested deeper than {}", bounds.depth)));
        }
        for entry in walk.entries(&folder)? {
            walk.in_time()?;
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

/// The state of a walk.
struct Walk<'w> {
    root: &'w Path,
    bounds: &'w WalkBounds,
    start: Instant,
    entries: usize,
}

impl<'w> Walk<'w> {
    fn new(root: &'w Path, bounds: &'w WalkBounds) -> Self {
        Self { root, bounds, start: Instant::now(), entries: 0 }
    }

    /// Returns the content of one folder, sorted.
    fn entries(&mut self, folder: &Path) -> Result<Vec<PathBuf>, Error> {
        let listed = fs::read_dir(folder).map_err(|reason| unreadable(folder, reason))?;
        self.listed(folder, listed.map(|entry| entry.map(|entry| entry.path())))
    }

    /// Sorts a list, which is counted while it is read.
    fn listed(
        &mut self,
        folder: &Path,
        entries: impl Iterator<Item = io::Result<PathBuf>>,
    ) -> Result<Vec<PathBuf>, Error> {
        let mut found = Vec::new();
        for entry in entries {
            self.entries += 1;
            if self.entries > self.bounds.entries {
                let most = self.bounds.entries;
                return Err(self.too_large(format!("more than {most} files and folders are below it")));
            }
            self.in_time()?;
            found.push(entry.map_err(|reason| unreadable(folder, reason))?);
        }
        found.sort();
        Ok(found)
    }

    fn in_time(&self) -> Result<(), Error> {
        if self.start.elapsed() > self.bounds.time {
            return Err(self.too_large(format!("it takes longer than {} s to list", self.bounds.time.as_secs())));
        }
        Ok(())
    }

    fn too_large(&self, what: String) -> Error {
        Error::FolderTooLarge { folder: self.root.display().to_string(), what }
    }
}

/// Whether it is a folder.
fn is_folder(path: &Path) -> Result<bool, Error> {
    Ok(fs::metadata(path).map_err(|reason| unreadable(path, reason))?.is_dir())
}

fn unreadable(path: &Path, reason: io::Error) -> Error {
    Error::Read { file: path.display().to_string(), reason }
}

fn not_empty(found: Vec<PathBuf>, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    if found.is_empty() { Err(Error::EmptyFolder { folder: folder.display().to_string() }) } else { Ok(found) }
}

#[cfg(test)]
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
    fn a_walk_of_a_folder_ends_at_each_bound(#[case] bounds: WalkBounds, #[case] expected: Option<&str>) {
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

    /// A folder that is still listed, or has no end, must not be read to its end before its size counts.
    #[rstest]
    #[case::entries(WalkBounds { entries: 50, ..NONE })]
    #[case::time(WalkBounds { entries: usize::MAX, time: Duration::from_millis(20), ..NONE })]
    fn a_folder_is_counted_while_it_is_listed(#[case] bounds: WalkBounds) {
        let endless = std::iter::repeat_with(|| Ok(PathBuf::from("node.yaml")));
        let listed = Walk::new(Path::new("huge"), &bounds).listed(Path::new("huge"), endless);
        assert!(matches!(listed, Err(Error::FolderTooLarge { .. })), "the list would fill the memory");
    }

    #[test]
    fn a_folder_is_walked_once() {
        let scratch = tempfile::tempdir().expect("a folder");
        fs::write(scratch.path().join("a.yaml"), "").expect("a file");
        let dump = DumpPath::from(scratch.path().to_owned());
        let first = dump.clone().files().expect("files").paths().to_vec();
        fs::write(scratch.path().join("b.yaml"), "").expect("a file");
        assert_eq!(dump.files().expect("files").paths(), first, "a large folder would be listed twice for one verb");
    }
}
