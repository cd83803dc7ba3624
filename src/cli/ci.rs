//! Formats for continuous integration: JUnit XML, SARIF, GitHub annotations.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::gate::Gate;
use super::output::ResultRow;
use crate::page::Page;
use crate::snapshot::STDIN;

/// Prints JUnit XML as Jenkins, GitLab and others read it: a suite for each file, a case for each object.
pub(crate) fn junit(rows: &[ResultRow], gate: Gate<'_>, page: &mut Page) {
    page.line(r#"<?xml version="1.0" encoding="UTF-8"?>"#);
    let counts = |rows: &[&ResultRow]| {
        let failures = rows.iter().filter(|row| gate.failure(row).is_some()).count();
        let skipped = rows.iter().filter(|row| row.skipped.is_some()).count();
        format!(r#"tests="{}" failures="{failures}" errors="0" skipped="{skipped}""#, rows.len())
    };
    let all: Vec<&ResultRow> = rows.iter().collect();
    let failures = all.iter().filter(|row| gate.failure(row).is_some()).count();
    page.line(format_args!(
        r#"<testsuites name="cpufit check" tests="{}" failures="{failures}" errors="0">"#,
        all.len()
    ));
    let mut files: Vec<(&str, Vec<&ResultRow>)> = Vec::new();
    for row in rows {
        match files.iter_mut().find(|(file, _)| *file == row.file) {
            Some((_, rows)) => rows.push(row),
            None => files.push((&row.file, vec![row])),
        }
    }
    for (file, rows) in files {
        let name = if file == STDIN { "standard input" } else { file };
        page.line(format_args!(r#"  <testsuite name="{}" {}>"#, xml(name), counts(&rows)));
        for row in rows {
            let head = format!(r#"<testcase classname="{}" name="{}""#, xml(&row.kind), xml(&object(row)));
            if let Some(why) = gate.failure(row) {
                let kind = if row.allowed { row.verdict } else { "denied" };
                let first = why.lines().next().unwrap_or_default();
                page.line(format_args!("    {head}>"));
                page.line(format_args!(
                    r#"      <failure type="{kind}" message="{}">{}</failure>"#,
                    xml(first),
                    xml(&why)
                ));
                page.line("    </testcase>");
            } else if let Some(why) = &row.skipped {
                page.line(format_args!(r#"    {head}><skipped message="{}"/></testcase>"#, xml(why)));
            } else if row.warnings.is_empty() {
                page.line(format_args!("    {head}/>"));
            } else {
                let text = row.warnings.join("\n");
                page.line(format_args!("    {head}><system-out>{}</system-out></testcase>", xml(&text)));
            }
        }
        page.line("  </testsuite>");
    }
    page.line("</testsuites>");
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

/// Returns SARIF 2.1.0 for code scanning: a result for each denial and each finding.
pub(crate) fn sarif(rows: &[ResultRow], gate: Gate<'_>) -> Value {
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
            rules.insert(finding.check, "What cpufit found about where a guest can run.");
            let level = match finding.impact {
                Some(_) if fails => "error",
                Some(_) => "warning",
                None => "note",
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
            "results": results,
        }],
    })
}

fn location(row: &ResultRow) -> Value {
    let name = format!("{} {}", row.kind, object(row));
    let logical = json!([{"fullyQualifiedName": name, "kind": "object"}]);
    if row.file == STDIN {
        return json!({"logicalLocations": logical});
    }
    let mut physical = json!({"artifactLocation": {"uri": uri(&row.file)}});
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
        let line = row.line.map(|line| format!("line={line},")).unwrap_or_default();
        let file = if row.file == STDIN { String::new() } else { format!("file={},{line}", property(&row.file)) };
        let title = property(&format!("{} {}", row.kind, object(row)));
        page.workflow_command(format_args!("::{level} {file}title={title}::{}", data(&text)));
    }
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
    fn text_cannot_leave_its_place() {
        assert_eq!(xml("a<b>&\"c\"\n"), "a&lt;b&gt;&amp;&quot;c&quot;&#10;");
        assert_eq!(property("a:b,c%\n::error"), "a%3Ab%2Cc%25%0A%3A%3Aerror");
        assert_eq!(uri("a b/ü.yaml"), "a%20b/%C3%BC.yaml");
        assert_eq!(uri("/tmp/a:b"), "file:///tmp/a%3Ab");
    }
}
