//! What kustomize makes of a folder, by the program that is installed.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::Error;

/// Those that can do it, in the order in which they are tried.
const PROGRAMS: [(&str, &str); 2] = [("kustomize", "build"), ("kubectl", "kustomize")];

/// The manifests, as YAML.
///
/// # Errors
///
/// Neither program is there, or it failed; the error holds what it said.
pub(super) fn build(folder: &Path) -> Result<Vec<u8>, Error> {
    let failed = |problem: String| Error::Kustomize { folder: folder.display().to_string(), problem };
    for (program, verb) in PROGRAMS {
        let output = Command::new(program).arg(verb).arg(folder).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => return Ok(output.stdout),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it says nothing");
                let line = line.strip_prefix("error: ").or(line.strip_prefix("Error: ")).unwrap_or(line);
                return Err(failed(format!("{program} {verb}: {line}")));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(format!("{program} cannot be run: {error}"))),
        }
    }
    Err(failed("neither kustomize nor kubectl is installed".to_owned()))
}
