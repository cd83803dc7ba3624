//! Shared test helpers: the binary under a time limit, temporary folders, a guarded server, a TLS client.
//!
//! The product is used only through its public interfaces, as its users do.

#[path = "../common/answers.rs"]
mod answers;
#[path = "../common/apart.rs"]
pub mod apart;
#[path = "../common/documents.rs"]
pub mod documents;
#[path = "../common/forward.rs"]
pub mod forward;
#[path = "../../src/testing/objects/launcher.rs"]
mod launcher;
#[path = "../../src/testing/objects/node.rs"]
mod node;
#[path = "../../src/testing/objects/policy.rs"]
mod policy;
#[path = "../../src/testing/objects/review.rs"]
mod review;
#[path = "../common/run.rs"]
mod run;
#[path = "../../src/testing/objects/running.rs"]
mod running;
mod server;
#[path = "../../src/testing/thorough.rs"]
mod thorough;
#[path = "../common/tls.rs"]
mod tls;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

pub use answers::{Tally, check, fitting, list, results, texts};
pub use documents::documented_commands;
pub(crate) use launcher::launcher_pod;
pub(crate) use node::node;
pub(crate) use policy::policy;
pub(crate) use review::create;
pub use run::{BIN, RENAME, Ran, cpufit, head, program, read, wait};
pub(crate) use running::running;
pub use server::{Answer, Server};
pub(crate) use thorough::one_in;
pub use tls::{Http, client_config, ports};

/// Returns `nearest` of a result: node, then the keys it lacks, sorted.
pub fn nearest(result: &Value) -> Vec<(String, Vec<String>)> {
    let node = |entry: &Value| {
        let mut keys: Vec<String> = entry["missing"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|missing| missing["key"].as_str().map(str::to_owned))
            .collect();
        keys.sort();
        (entry["node"].as_str().unwrap_or_default().to_owned(), keys)
    };
    result["nearest"].as_array().into_iter().flatten().map(node).collect()
}

/// Returns a folder of test data: the one named in the environment, else the shipped one.
pub fn data(variable: &str, folder: &str) -> PathBuf {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map_or_else(|| shipped(folder), PathBuf::from)
}

/// Returns a folder of shipped test data, regardless of the environment.
pub fn shipped(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder)
}

#[track_caller]
pub fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A folder for one test, removed with its content when dropped.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file (and its parent folders) and returns its path.
    #[track_caller]
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        let text = std::str::from_utf8(content.as_ref()).ok();
        let content = match run::rename().zip(text) {
            Some((domain, text)) => text.replace("kubevirt.io", &domain).into_bytes(),
            None => content.as_ref().to_vec(),
        };
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    #[track_caller]
    pub fn write_json(&self, name: &str, content: &Value) -> PathBuf {
        self.write(name, content.to_string())
    }
}

/// Returns the `KubeVirt` CR of a cluster with this configuration. Without an observed version, the newest rules apply.
pub fn kubevirt(configuration: &Value) -> Value {
    serde_json::json!({
        "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt",
        "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {"configuration": configuration},
        "status": {"phase": "Deployed"},
    })
}

/// Returns the differences of two JSON values, one line each.
pub fn differences(path: &str, expected: &Value, got: &Value) -> Vec<String> {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            let keys: BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
            let at = |key: &str| format!("{path}[{key:?}]");
            keys.into_iter()
                .flat_map(|key| match (expected.get(key), got.get(key)) {
                    (Some(expected), Some(got)) => differences(&at(key), expected, got),
                    (Some(expected), None) => vec![format!("{}: expected {expected}, got nothing", at(key))],
                    (None, Some(got)) => vec![format!("{}: expected nothing, got {got}", at(key))],
                    (None, None) => Vec::new(),
                })
                .collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().flat_map(|(i, (a, b))| differences(&format!("{path}[{i}]"), a, b)).collect()
        }
        (expected, got) if expected == got => Vec::new(),
        (expected, got) => vec![format!("{path}: expected {expected}, got {got}")],
    }
}

/// Returns violations of the channel's limits: text that the API server or kubectl would cut, drop or show twice must
/// never be sent.
pub fn channel_faults(response: &Value) -> Vec<String> {
    let warnings = texts(&response["warnings"]);
    let mut faults = Vec::new();
    if warnings.len() > 4 {
        faults.push(format!("{} warnings for one request drown each other (at most four)", warnings.len()));
    }
    if warnings.iter().map(String::len).sum::<usize>() > 4_096 {
        faults.push("warnings past 4,096 bytes: the API server would drop some".to_owned());
    }
    for warning in &warnings {
        if warning.chars().count() > 256 {
            faults.push(format!("a warning of {} characters would be cut: {warning:?}", warning.chars().count()));
        }
        if warning.chars().any(char::is_control) {
            faults.push(format!("a control character makes the whole warning vanish: {warning:?}"));
        }
        if warning.starts_with("Warning:") || warning.trim().is_empty() {
            faults.push(format!("kubectl adds the prefix itself: {warning:?}"));
        }
    }
    let message = response["status"]["message"].as_str().unwrap_or_default();
    for words in ["violates PodSecurity", "exceeded quota"] {
        if message.contains(words) {
            faults.push(format!("KubeVirt takes another path on a denial that says {words:?}"));
        }
    }
    faults
}
