//! Results of `cpufit check`, and a count of agreements.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::{cpufit, head};

/// Returns the results of `cpufit check -o json`, one for each object of each file.
#[track_caller]
pub fn check(snapshots: &[&Path], files: &[&Path], more: &[&str]) -> Vec<Value> {
    let mut run = cpufit(["check", "-o", "json"]).args(more);
    for path in snapshots {
        run = run.args([OsStr::new("--snapshot"), path.as_os_str()]);
    }
    for path in files {
        run = run.args([OsStr::new("-f"), path.as_os_str()]);
    }
    let ran = run.run();
    assert!(
        matches!(ran.code(), 0 | 1),
        "check could not judge {files:?} against {snapshots:?} (exit {}), so nothing is said about the guest: {}",
        ran.code(),
        head(&ran.stderr)
    );
    results(&ran.json())
}

/// Returns the `results` of a JSON output.
#[track_caller]
pub fn results(answer: &Value) -> Vec<Value> {
    answer["results"]
        .as_array()
        .unwrap_or_else(|| {
            panic!("the answer has no list named results, which scripts read: {}", head(&answer.to_string()))
        })
        .clone()
}

/// Returns the texts in a JSON list; empty if there is no list.
pub fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Returns `nodes.fitting` of a result.
#[track_caller]
pub fn fitting(result: &Value) -> Vec<String> {
    assert!(result["nodes"]["fitting"].is_array(), "a result without nodes.fitting names no node: {result}");
    texts(&result["nodes"]["fitting"])
}

/// Returns a `v1` List of these objects.
pub fn list(items: impl IntoIterator<Item = Value>) -> Value {
    let items: Vec<Value> = items.into_iter().collect();
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// A count of agreements over many cases, so that one failure does not hide the others.
pub struct Tally {
    what: String,
    agreed: usize,
    notes: Vec<String>,
    problems: Vec<String>,
}

impl Tally {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), agreed: 0, notes: Vec::new(), problems: Vec::new() }
    }

    /// Adds a remark to the summary line.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Adds a case; no difference means agreement.
    pub fn case(&mut self, name: &str, differences: &[String]) {
        if differences.is_empty() {
            self.agreed += 1;
        } else {
            self.problems.push(format!("{name}\n      {}", differences.join("\n      ")));
        }
    }

    /// Prints the count; fails with the list of all disagreements.
    #[track_caller]
    pub fn finish(self, loss: &str) {
        let total = self.agreed + self.problems.len();
        let notes = if self.notes.is_empty() { String::new() } else { format!(" ({})", self.notes.join("; ")) };
        println!("{}: {} of {total} agree{notes}", self.what, self.agreed);
        assert!(total > 0, "{}: there is no case, so nothing was shown", self.what);
        if !self.problems.is_empty() {
            let mut text = format!("{}: {} of {total} disagree: {loss}\n", self.what, self.problems.len());
            for problem in &self.problems {
                writeln!(text, "  - {problem}").expect("writing to a string");
            }
            panic!("{text}");
        }
    }
}
