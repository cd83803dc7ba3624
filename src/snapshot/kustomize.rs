//! Manifests that an installed kustomize builds from a folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::Error;

/// The programs that can build, in the order of preference.
const PROGRAMS: [(&str, &str); 2] = [("kustomize", "build"), ("kubectl", "kustomize")];

/// The names of kustomize's own file, in its order of preference (`konfig.RecognizedKustomizationFileNames`).
const FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Returns the error in klog's format, as kubectl writes it: `E1127 11:28:00 … err="must build at directory"`, or
/// several lines between `err=<` and `>`. Mirrors `writeTextWriterValue`
/// of `internal/serialize/keyvalues.go` (`k8s.io/klog/v2`).
fn logged(said: &str) -> Option<String> {
    let (first, rest) = said.trim_start().split_once('\n').unwrap_or((said.trim_start(), ""));
    let value = first.strip_prefix('E')?.split_once(" err=")?.1.trim_end();
    if value != "<" {
        return serde_json::from_str(value).ok();
    }
    let lines = rest.lines().take_while(|line| line.trim_end() != " >").map(str::trim).filter(|line| !line.is_empty());
    Some(lines.collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
}

/// Returns the first line of what a program says.
fn first_line(said: &str) -> String {
    let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it says nothing");
    line.to_owned()
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
    if folder.is_file() {
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Err(failed(format!(
            "it is a file, and -k takes the folder of a kustomization: -k {}",
            parent.display()
        )));
    }
    for (program, verb) in PROGRAMS {
        let output = Command::new(program).arg(verb).arg(folder).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => return Ok(output.stdout),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let text = logged(&said).unwrap_or_else(|| first_line(&said));
                let text = text.strip_prefix("error: ").or(text.strip_prefix("Error: ")).unwrap_or(&text);
                return Err(failed(format!("{program} {verb}: {text}")));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(format!("{program} cannot be run: {error}"))),
        }
    }
    Err(failed("neither kustomize nor kubectl is installed".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_read_whole_from_klogs_lines() {
        let head = "E1127 11:28:00.1 7 run.go:72] \"command failed\" err=";
        for (said, expected) in [
            (format!("{head}\"must build at directory\"\n"), Some("must build at directory")),
            (
                format!("{head}<\n\terror: accumulating resources:\n\t  not found\n >\n"),
                Some("error: accumulating resources: not found"),
            ),
            (format!("{head}<\n\ta > b\n >\nafter\n"), Some("a > b")),
            (format!("{head}<\n"), None),
            ("Error: no such folder\n".to_owned(), None),
            ("Error: x err=<".to_owned(), None),
        ] {
            assert_eq!(logged(&said).as_deref(), expected, "{said}");
        }
    }
}
