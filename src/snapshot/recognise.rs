//! The domain of KubeVirt's names in dumps, recognised from their objects before these are read.

use std::io::{Cursor, Read};

use serde_json::Value;

use super::error::Error;
use super::folder::Tee;
use super::{DumpPath, DumpSource, STDIN, read};
use crate::domain::{Domain, DomainEvidence};

/// Returns the given domain, else the one that these dumps use throughout, and standard input, of which nothing is
/// lost.
///
/// # Errors
/// A folder is too large for a dump. Other unreadable dumps are reported by the code that reads them later.
pub(crate) fn domain_of<R: Read>(
    given: Option<&Domain>,
    dumps: &[DumpSource],
    stdin: R,
) -> Result<(Domain, impl Read + use<R>), Error> {
    let (recognised, rest) = recognise(if given.is_some() { &[] } else { dumps }, stdin)?;
    Ok((given.cloned().unwrap_or(recognised), rest))
}

/// Returns the domain that these dumps use throughout if it is not KubeVirt's own, and the content of standard input.
/// Dumps are read until one uses KubeVirt's own domain: in most clusters that is the first node.
fn recognise<R: Read>(dumps: &[DumpSource], mut stdin: R) -> Result<(Domain, impl Read + use<R>), Error> {
    let mut evidence = DomainEvidence::default();
    let mut held = Vec::new();
    for dump in dumps {
        let is_decided = match dump {
            DumpSource::Stdin => look(&mut evidence, Tee { reader: &mut stdin, held: &mut held }),
            DumpSource::Path(path) => look_below(&mut evidence, path)?,
            // Manifests, not dumps.
            DumpSource::Tree(_) | DumpSource::Kustomization(_) => false,
        };
        if is_decided {
            break;
        }
    }
    Ok((evidence.domain().unwrap_or_default(), Cursor::new(held).chain(stdin)))
}

/// Reads the files of a dump. Returns whether further dumps cannot add anything.
fn look_below(evidence: &mut DomainEvidence, path: &DumpPath) -> Result<bool, Error> {
    match path.files() {
        Ok(files) => Ok(files
            .paths()
            .iter()
            .any(|file| path.peek(file, |reader| look(evidence, reader)).is_ok_and(|is_decided| is_decided))),
        Err(error @ Error::FolderTooLarge { .. }) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Reads the objects of a dump as far as it is readable. Returns whether further dumps cannot add anything.
fn look(evidence: &mut DomainEvidence, reader: impl Read) -> bool {
    let mut is_decided = false;
    // An unreadable dump is reported by the code that reads it later.
    let _ = read(STDIN, reader, |item| {
        let object: Value = serde_json::from_str(item.json.get()).unwrap_or_default();
        is_decided = !evidence.look(&item.api_version, &object);
        if is_decided { Err(Stop) } else { Ok(()) }
    });
    is_decided
}

/// The end of reading before the end of a dump.
struct Stop;

impl From<Error> for Stop {
    fn from(_: Error) -> Self {
        Self
    }
}
