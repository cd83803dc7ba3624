//! Manifests that an installed kustomize builds from a folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::Error;

/// The programs that can build, in the order of preference.
const PROGRAMS: [(&str, &str); 2] = [("kustomize", "build"), ("kubectl", "kustomize")];

/// The names of kustomize's own file, in its order of preference (`konfig.RecognizedKustomizationFileNames`).
const FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Returns the error of a line in klog's format, as kubectl writes it: `E1127 11:28:00 … err="must build at
/// directory"`.
fn logged(line: &str) -> Option<String> {
    let value = line.strip_prefix('E')?.split_once(" err=")?.1;
    serde_json::from_str(value).ok()
}

/// Returns kustomize's own file in a folder; `None` without one, or if it is not a folder.
pub(crate) fn file_in(folder: &Path) -> Option<PathBuf> {
    FILES.iter().map(|name| folder.join(name)).find(|file| file.is_file())
}

/// Returns the manifests, as YAML.
///
/// # Errors
///
/// Neither program exists, or it failed; the error holds its message.
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
                return Err(failed(format!("{program} {verb}: {}", logged(line).unwrap_or_else(|| line.to_owned()))));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(format!("{program} cannot be run: {error}"))),
        }
    }
    Err(failed("neither kustomize nor kubectl is installed".to_owned()))
}
