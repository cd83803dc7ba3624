//! Formats for continuous integration: JUnit XML, SARIF, GitHub annotations.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use super::args::{CheckOutput, TestOutput, Verb};
use super::gate::Gate;
use super::output::ResultRow;
use crate::console;
use crate::domain::Domain;
use crate::fit::check::{self, Check};
use crate::page::Page;
use crate::snapshot::{STDIN, kustomize};

/// A verb whose result is for continuous integration.
#[derive(Clone, Copy)]
pub(crate) struct GatingVerb {
    /// Its name in reports.
    name: &'static str,
    report: Option<Report>,
}

/// The format of a report.
#[derive(Clone, Copy)]
enum Report {
    Junit,
    Sarif,
}

impl GatingVerb {
    /// Returns the verb of a command line; `None` for one without reports.
    pub(crate) fn of(verb: &Verb) -> Option<Self> {
        match verb {
            Verb::Check(args) => {
                let report = match args.output {
                    CheckOutput::Junit => Some(Report::Junit),
                    CheckOutput::Sarif => Some(Report::Sarif),
                    _ => None,
                };
                Some(Self { name: "cpufit check", report })
            }
            Verb::Test(args) => {
                let report = (args.output == TestOutput::Junit).then_some(Report::Junit);
                Some(Self { name: "cpufit test", report })
            }
            _ => None,
        }
    }

    /// Prints the report of a run that ended with an error and without results: a program that reads an empty file does
    /// not learn why. In a job of GitHub Actions, the error is an annotation too.
    ///
    /// # Errors
    ///
    /// The report cannot be written.
    pub(crate) fn print_error(self, why: &str, page: &mut Page) -> anyhow::Result<()> {
        let unread = [why.to_owned()];
        annotated(page.domain(), &unread, |_| {});
        match self.report {
            Some(Report::Junit) => {
                let mut suites = Vec::new();
                add_unread(&mut suites, unread.to_vec());
                junit(self.name, &suites, page);
            }
            Some(Report::Sarif) => page.json(&sarif(&[], Gate(&[]), &unread))?,
            None => {}
        }
        Ok(())
    }
}

/// A case of JUnit XML.
pub(crate) struct Case {
    /// The class.
    pub class: String,
    /// The name, unique in its suite.
    pub name: String,
    /// The result.
    pub result: CaseResult,
}

/// The result of a case.
pub(crate) enum CaseResult {
    /// Passed, with lines to read.
    Passed(String),
    /// Failed.
    Failed {
        /// The word of the failure.
        kind: String,
        /// The reason.
        why: String,
    },
    /// Not judged, with the reason.
    Skipped(String),
    /// Not read, with the reason.
    Unread(String),
}

/// Prints JUnit XML as Jenkins, GitLab and others read it: suites with their cases.
pub(crate) fn junit(name: &str, suites: &[(String, Vec<Case>)], out: &mut Page) {
    let mut page = out.for_others();
    let counts = |cases: &[&Case]| {
        let failures = cases.iter().filter(|case| matches!(case.result, CaseResult::Failed { .. })).count();
        let errors = cases.iter().filter(|case| matches!(case.result, CaseResult::Unread(_))).count();
        format!(r#"tests="{}" failures="{failures}" errors="{errors}""#, cases.len())
    };
    let all: Vec<&Case> = suites.iter().flat_map(|(_, cases)| cases).collect();
    page.line(r#"<?xml version="1.0" encoding="UTF-8"?>"#);
    page.line(format_args!(r#"<testsuites name="{}" {}>"#, xml(name), counts(&all)));
    for (name, cases) in suites {
        let skipped = cases.iter().filter(|case| matches!(case.result, CaseResult::Skipped(_))).count();
        let counts = counts(&cases.iter().collect::<Vec<_>>());
        page.line(format_args!(r#"  <testsuite name="{}" {counts} skipped="{skipped}">"#, xml(name)));
        for Case { class, name, result } in cases {
            let head = format!(r#"<testcase classname="{}" name="{}""#, xml(class), xml(name));
            match result {
                CaseResult::Failed { kind, why } => {
                    let first = xml(why.lines().next().unwrap_or_default());
                    page.line(format_args!("    {head}>"));
                    page.line(format_args!(
                        r#"      <failure type="{}" message="{first}">{}</failure>"#,
                        xml(kind),
                        xml(why)
                    ));
                    page.line("    </testcase>");
                }
                CaseResult::Unread(why) => {
                    page.line(format_args!(r#"    {head}><error type="unread" message="{}"/></testcase>"#, xml(why)));
                }
                CaseResult::Skipped(why) => {
                    page.line(format_args!(r#"    {head}><skipped message="{}"/></testcase>"#, xml(why)));
                }
                CaseResult::Passed(said) if said.is_empty() => page.line(format_args!("    {head}/>")),
                CaseResult::Passed(said) => {
                    page.line(format_args!("    {head}><system-out>{}</system-out></testcase>", xml(said)));
                }
            }
        }
        page.line("  </testsuite>");
    }
    page.line("</testsuites>");
    out.append(&page);
}

/// Returns a suite for each file, in the order of the files, and a case for each object.
pub(crate) fn suites(rows: &[ResultRow], gate: Gate<'_>) -> Vec<(String, Vec<Case>)> {
    grouped(rows.iter().map(|row| case(row, gate)))
}

/// Returns the file of an object, and its case.
fn case<'r>(row: &'r ResultRow, gate: Gate<'_>) -> (&'r str, Case) {
    let result = match (gate.failure(row), &row.skipped) {
        (Some(why), _) => {
            CaseResult::Failed { kind: if row.allowed { row.verdict.as_str() } else { "denied" }.to_owned(), why }
        }
        (None, Some(why)) => CaseResult::Skipped(why.to_string()),
        (None, None) => CaseResult::Passed(row.warnings.join("\n")),
    };
    let file = if row.file == STDIN { "standard input" } else { &row.file };
    (file, Case { class: row.kind.clone(), name: object(row), result })
}

/// Adds a suite with the errors of inputs and objects that were not read; nothing if all were.
pub(crate) fn add_unread(suites: &mut Vec<(String, Vec<Case>)>, unread: Vec<String>) {
    let case = |(at, why)| {
        let name = if at == 0 { "unread".to_owned() } else { format!("unread #{at}") };
        Case { class: "input".to_owned(), name, result: CaseResult::Unread(why) }
    };
    let cases: Vec<Case> = unread.into_iter().enumerate().map(case).collect();
    suites.extend((!cases.is_empty()).then(|| ("input".to_owned(), cases)));
}

/// Groups cases by their file, in the order of the files.
pub(crate) fn grouped<'f>(cases: impl Iterator<Item = (&'f str, Case)>) -> Vec<(String, Vec<Case>)> {
    let mut suites: Vec<(String, Vec<Case>)> = Vec::new();
    for (file, case) in cases {
        match suites.iter_mut().find(|(name, _)| name == file) {
            Some((_, cases)) => cases.push(case),
            None => suites.push((file.to_owned(), vec![case])),
        }
    }
    suites
}

/// Returns `shop/db #3`: the name, and the object's index in the file.
fn object(row: &ResultRow) -> String {
    let name = if row.namespace.is_empty() { row.name.clone() } else { format!("{}/{}", row.namespace, row.name) };
    format!("{name} #{}", row.index)
}

/// Escapes text of an element or attribute. Characters that XML does not allow are escaped by [`Page`], as in tables.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            other => out.push(other),
        }
    }
    out
}

/// Returns SARIF 2.1.0 for code scanning: a result for each denial and each finding, and a notification for each error
/// of an input that was not read.
pub(crate) fn sarif(rows: &[ResultRow], gate: Gate<'_>, unread: &[String]) -> Value {
    let mut rules: BTreeMap<&str, &str> = BTreeMap::new();
    let mut results = Vec::new();
    for row in rows {
        let fails = gate.failure(row).is_some();
        let mut add = |rule: &str, level: &str, message: &str| {
            results.push(json!({
                "ruleId": rule,
                "level": level,
                "message": {"text": message},
                "locations": [location(row)],
            }));
        };
        if let Some(denial) = &row.denial {
            rules.insert("denied", "The webhook would deny the request.");
            add("denied", "error", denial);
        }
        for finding in &row.findings {
            rules.extend(check::of_word(finding.check).map(|check| (finding.check, check.description())));
            let is_reason = finding.impact.is_some() || finding.check == Check::Unknown.as_str();
            let is_warned = row.warnings.iter().any(|warning| warning.contains(&finding.message));
            let level = match (is_reason, fails) {
                (true, true) => "error",
                (true, false) => "warning",
                (false, _) if is_warned => "warning",
                (false, _) => "note",
            };
            add(finding.check, level, &finding.message);
        }
    }
    let rules: Vec<Value> =
        rules.iter().map(|(id, text)| json!({"id": id, "shortDescription": {"text": text}})).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "cpufit", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "invocations": [{
                "executionSuccessful": unread.is_empty(),
                "toolExecutionNotifications":
                    unread.iter().map(|why| json!({"level": "error", "message": {"text": why}})).collect::<Vec<_>>(),
            }],
            "results": results,
        }],
    })
}

/// Returns the file to show for an object: of a folder that kustomize builds, kustomize's own file.
fn file_of(row: &ResultRow) -> String {
    let own = kustomize::file_in(Path::new(&row.file));
    let file = own.unwrap_or_else(|| PathBuf::from(&row.file));
    without_dots(&file).display().to_string()
}

/// Returns a path without `.`, and without the folders that `..` leaves: programs compare it with paths of the
/// repository. Of a folder that is a link, `..` would lead elsewhere: such a path is returned as it is.
fn without_dots(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                if out.is_symlink() {
                    return path.to_owned();
                }
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

fn location(row: &ResultRow) -> Value {
    let name = format!("{} {}", row.kind, object(row));
    let logical = json!([{"fullyQualifiedName": name, "kind": "object"}]);
    if row.file == STDIN {
        return json!({"logicalLocations": logical});
    }
    let mut physical = json!({"artifactLocation": {"uri": uri(&file_of(row))}});
    if let Some(line) = row.line {
        physical["region"] = json!({"startLine": line});
    }
    json!({"physicalLocation": physical, "logicalLocations": logical})
}

/// Returns a path as a relative reference, or with the scheme `file` if it is absolute.
fn uri(path: &str) -> String {
    let mut out = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

/// Prints workflow commands of GitHub Actions: an error for each failed object, a warning for each object with
/// warnings.
pub(crate) fn annotations(rows: &[ResultRow], gate: Gate<'_>, page: &mut Page) {
    for row in rows {
        let (level, text) = match gate.failure(row) {
            Some(why) => ("error", why),
            None if row.warnings.is_empty() => continue,
            None => ("warning", row.warnings.join("\n")),
        };
        let file = Some(file_of(row)).filter(|file| file != STDIN);
        annotate(
            level,
            file.as_deref().map(|file| (file, row.line)),
            &format!("{} {}", row.kind, object(row)),
            &text,
            page,
        );
    }
}

/// Prints a workflow command of GitHub Actions about a line of a file, or about no file.
pub(crate) fn annotate(level: &str, file: Option<(&str, Option<usize>)>, title: &str, text: &str, page: &mut Page) {
    let place = file.map(|(file, line)| {
        let line = line.map(|line| format!("line={line},")).unwrap_or_default();
        format!("file={},{line}", property(file))
    });
    let place = place.unwrap_or_default();
    page.workflow_command(format_args!("::{level} {place}title={}::{}", property(title), data(text)));
}

/// In a job of GitHub Actions, prints the workflow commands of the results, and an error for each input that was not
/// read, to standard error.
pub(crate) fn annotated(domain: &Domain, unread: &[String], results: impl FnOnce(&mut Page)) {
    if std::env::var_os("GITHUB_ACTIONS").is_none_or(|value| value != "true") {
        return;
    }
    let mut page = Page::in_domain(domain);
    results(&mut page);
    for why in unread {
        annotate("error", None, "input", why, &mut page);
    }
    console::to_stderr(&page);
}

/// Mirrors `@actions/core` (`escapeData`).
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Mirrors `@actions/core` (`escapeProperty`).
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_objects_are_escaped_in_ci_formats() {
        assert_eq!(xml("a<b>&\"c\"\n"), "a&lt;b&gt;&amp;&quot;c&quot;&#10;");
        assert_eq!(property("a:b,c%\n::error"), "a%3Ab%2Cc%25%0A%3A%3Aerror");
        assert_eq!(uri("a b/ü.yaml"), "a%20b/%C3%BC.yaml");
        assert_eq!(uri("/tmp/a:b"), "file:///tmp/a%3Ab");
        for (path, plain) in
            [("./a.yaml", "a.yaml"), ("b/../a.yaml", "a.yaml"), ("../a.yaml", "../a.yaml"), ("/b/./a", "/b/a")]
        {
            assert_eq!(without_dots(Path::new(path)), Path::new(plain), "GitHub finds no file {path}");
        }
    }
}
