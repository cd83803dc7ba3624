//! Files that users and operators name, opened without blocking and read with a limit.
//!
//! Every file that a verb gets is opened or [checked](check) here: dumps, manifests, policies, certificates, keys and
//! kubeconfigs.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Maximum bytes of a file that is read as a whole. A Secret holds 1 MiB; a kubeconfig with the certificates of a
/// thousand clusters holds 5 MiB.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A reason why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileFault {
    /// The operating system's error.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The path is not a regular file: opening or reading it may block forever.
    #[error("it is {0}, not a file")]
    NotAFile(&'static str),
    /// The file exceeds the limit, or is endless.
    #[error("it holds more than {} MiB", MAX_FILE_BYTES >> 20)]
    TooLarge,
}

impl From<FileFault> for io::Error {
    fn from(fault: FileFault) -> Self {
        match fault {
            FileFault::System(error) => error,
            other => Self::new(io::ErrorKind::InvalidInput, other),
        }
    }
}

/// Opens a file for reading, without blocking.
///
/// A path that the shell passes as `<(…)`, or `/dev/stdin`, is a descriptor of this process and may be a pipe or a
/// terminal: its writer exists already. `/dev/null` is an empty file.
///
/// # Errors
/// The system refuses, or the path leads to a named pipe, a socket, a folder or a device.
pub(crate) fn open(path: &Path) -> Result<File, FileFault> {
    // Without the flag, opening a named pipe waits for a writer.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) => {
            let is_socket = path.metadata().is_ok_and(|found| found.file_type().is_socket());
            return Err(if is_socket { FileFault::NotAFile("a socket") } else { error.into() });
        }
    };
    let found = file.metadata()?;
    match what(&found) {
        None => Ok(file),
        // With the flag, the reader would find no data.
        Some("a named pipe" | "a device") if is_own_descriptor(path) => Ok(File::open(path)?),
        Some(what) => Err(FileFault::NotAFile(what)),
    }
}

/// Returns the kind of a special file; `None` for a regular file.
fn what(found: &Metadata) -> Option<&'static str> {
    let kind: FileType = found.file_type();
    match () {
        () if kind.is_file() || is_null(found) => None,
        () if kind.is_dir() => Some("a folder"),
        () if kind.is_fifo() => Some("a named pipe"),
        () if kind.is_socket() => Some("a socket"),
        () => Some("a device"),
    }
}

/// Whether the file is the device `/dev/null`.
fn is_null(found: &Metadata) -> bool {
    found.file_type().is_char_device()
        && Path::new("/dev/null")
            .metadata()
            .is_ok_and(|null| null.file_type().is_char_device() && null.rdev() == found.rdev())
}

fn is_own_descriptor(path: &Path) -> bool {
    path == Path::new("/dev/stdin")
        || path.parent().is_some_and(|folder| ["/dev/fd", "/proc/self/fd"].map(Path::new).contains(&folder))
}

/// Reads a whole file.
///
/// # Errors
/// Equal to those of [`open`]; also if it cannot be read to its end or holds more than 16 MiB.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileFault> {
    let mut content = Vec::new();
    open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE_BYTES { Err(FileFault::TooLarge) } else { Ok(content) }
}

/// Checks that a library that opens a file itself can [read] it.
///
/// # Errors
/// Equal to those of [`open`]; also if it holds more than 16 MiB.
pub(crate) fn check(path: &Path) -> Result<(), FileFault> {
    if open(path)?.metadata()?.len() > MAX_FILE_BYTES { Err(FileFault::TooLarge) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    fn said(path: &Path) -> String {
        let read = read(path).map(|content| content.len());
        assert_eq!(check(path).is_ok(), read.is_ok(), "{}", path.display());
        read.map_or_else(|fault| fault.to_string(), |length| format!("{length} bytes"))
    }

    #[test]
    fn anything_but_a_regular_file_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let _held = UnixListener::bind(at("socket")).unwrap();
        fs::write(at("file"), "12345").unwrap();
        fs::File::create(at("long")).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        for (link, to) in [("to-pipe", at("pipe")), ("to-file", at("file")), ("to-zero", "/dev/zero".into())] {
            symlink(to, at(link)).unwrap();
        }
        for (path, expected) in [
            (at("file"), "5 bytes"),
            (at("to-file"), "5 bytes"),
            ("/dev/null".into(), "0 bytes"),
            (at("pipe"), "it is a named pipe, not a file"),
            (at("to-pipe"), "it is a named pipe, not a file"),
            (at("socket"), "it is a socket, not a file"),
            (folder.path().into(), "it is a folder, not a file"),
            ("/dev/zero".into(), "it is a device, not a file"),
            (at("to-zero"), "it is a device, not a file"),
            (at("long"), "it holds more than 16 MiB"),
            (at("none"), "No such file or directory (os error 2)"),
        ] {
            assert_eq!(said(&path), expected, "{}", path.display());
        }
    }
}
