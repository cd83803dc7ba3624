//! `cpufit test`: manifests with expected verdicts, similar to `kyverno test` and `gator verify`.
//!
//! A folder holds files `cpufit-test.yaml` (or `.yml`), at any depth. Each holds a list of expectations and the names
//! of a dump, policies and manifests; paths are relative to it. No cluster is read.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::args::{TestArgs, TestOutput};
use super::output::ResultRow;
use super::resource::{self, Argument, ObjectKind};
use super::{Exit, Namespace, check, ci};
use crate::domain::Domain;
use crate::files;
use crate::fit::plural;
use crate::fit::verdict::OutcomeWord;
use crate::kubevirt::release::Release;
use crate::page::Page;
use crate::policy::API_VERSION;
use crate::snapshot::{self, DumpSource, Error, Item};
use crate::word::Word;
use crate::world::{self, LoadInput};

/// The names of files with expectations: the one to use, and the one with YAML's other suffix.
const FILE_NAMES: [&str; 2] = ["cpufit-test.yaml", "cpufit-test.yml"];
/// The `kind` of a document in them.
const KIND: &str = "Test";
/// Maximum depth of folders searched.
const MAX_DEPTH: usize = 16;

/// A test: one document of a file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Test {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: TestMeta,
    /// Dumps of the cluster.
    snapshot: Vec<PathBuf>,
    /// Policies in addition to those of the dump.
    #[serde(default)]
    policies: Vec<PathBuf>,
    kubevirt_version: Option<String>,
    manifests: Vec<PathBuf>,
    expect: Vec<Expected>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestMeta {
    name: String,
}

/// The lines of a test's expectations.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ExpectedLines {
    expect: Vec<Spanned<IgnoredAny>>,
}

impl ExpectedLines {
    /// Returns those of each document of a file; none if they are not known.
    fn of(file: &Path) -> Vec<Self> {
        let bytes = files::read(file).unwrap_or_default();
        serde_saphyr::from_multiple(&String::from_utf8_lossy(&bytes)).unwrap_or_default()
    }

    /// Returns the line of an expectation, from 1.
    fn line(&self, index: usize) -> Option<usize> {
        let line = self.expect.get(index)?.referenced.line();
        usize::try_from(line).ok().filter(|line| *line > 0)
    }
}

/// The expectation about one object of the manifests. Omitted fields are not compared.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expected {
    /// The object as `TYPE/NAME`.
    object: String,
    /// Its namespace, if objects of several namespaces have that name.
    namespace: Option<String>,
    verdict: Option<String>,
    allowed: Option<bool>,
    /// The nodes that take it, in any order.
    nodes: Option<Vec<String>>,
    /// A text that a warning or the denial contains.
    says: Option<String>,
    /// Checks that find something; others may too.
    checks: Option<Vec<String>>,
}

/// An expectation with its result. Also the JSON of `cpufit test`: fields are only ever added.
#[derive(Debug, Serialize)]
struct TestResult {
    file: String,
    test: String,
    object: String,
    passed: bool,
    /// The differences, a line each.
    why: Vec<String>,
    /// The line of the expectation, from 1; null if it is not known.
    line: Option<usize>,
    /// Its index in the test, from 0.
    #[serde(skip)]
    index: usize,
}

impl TestResult {
    /// Returns the differences, and the place of the expectation: `expected verdict fits, found pinned
    /// (cpufit-test.yaml:12)`.
    fn words(&self) -> String {
        if self.passed {
            return String::new();
        }
        format!("{} ({})", self.why.join("; "), self.place())
    }

    /// Returns `cpufit-test.yaml:12`, the place of the expectation.
    fn place(&self) -> String {
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        format!("{}{line}", self.file)
    }

    /// Returns it as a case of JUnit XML.
    fn case(&self) -> ci::Case {
        let result = if self.passed {
            ci::CaseResult::Passed(String::new())
        } else {
            let why = format!("{}\n{}", self.why.join("\n"), self.place());
            ci::CaseResult::Failed { kind: "unexpected".to_owned(), why }
        };
        ci::Case { class: self.test.clone(), name: format!("{} #{}", self.object, self.index), result }
    }
}

#[derive(Debug, Serialize)]
struct Outcomes<'o> {
    results: &'o [TestResult],
    passed: usize,
    failed: usize,
    /// Why a test could not be run, an error each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unread: Vec<String>,
}

/// Runs the verb, and returns why tests could not be run, an error each: the others are.
///
/// # Errors
///
/// Returns an error if a folder holds no test.
pub(crate) fn run(
    args: &TestArgs,
    namespace: &Namespace,
    given: Option<&Domain>,
    page: &mut Page,
) -> anyhow::Result<(Exit, Vec<anyhow::Error>)> {
    let mut files = Vec::new();
    for folder in &args.folders {
        let before = files.len();
        find(folder, 0, &mut files)?;
        ensure!(files.len() > before, "there is no {} in {}: nothing would be tested", FILE_NAMES[0], folder.display());
    }
    files.sort();
    files.dedup();
    let (mut outcomes, mut unread) = (Vec::new(), Vec::new());
    for file in &files {
        // Read once the first item shows that the file is one that can be read to its end.
        let mut lines = None;
        let mut document = 0;
        let read =
            snapshot::read_all(&[DumpSource::Path(file.clone().into())], &Domain::default(), io::empty(), |item| {
                let all = lines.get_or_insert_with(|| ExpectedLines::of(file));
                match outcomes_of(file, &item, all.get(document), namespace, given) {
                    Ok(found) => outcomes.extend(found),
                    Err(error) => unread.push(error),
                }
                document += 1;
                Ok::<_, Error>(())
            });
        unread.extend(read.err().map(anyhow::Error::from));
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    let passed = outcomes.len() - failed;
    let errors: Vec<String> = unread.iter().map(|error| format!("{error:#}")).collect();
    ci::annotated(page.domain(), &errors, |page| {
        for outcome in outcomes.iter().filter(|outcome| !outcome.passed) {
            let title = format!("{} {}", outcome.test, outcome.object);
            let place = Some((outcome.file.as_str(), outcome.line));
            ci::annotate("error", place, &title, &outcome.why.join("\n"), page);
        }
    });
    match args.output {
        // The errors follow.
        TestOutput::Table if outcomes.is_empty() => {}
        TestOutput::Table => {
            let mut rows = Vec::new();
            if !args.no_headers {
                rows.push(["TEST", "OBJECT", "RESULT", "WHY"].map(str::to_owned).to_vec());
            }
            rows.extend(outcomes.iter().map(|outcome| {
                let result = if outcome.passed { "pass" } else { "FAIL" };
                vec![outcome.test.clone(), outcome.object.clone(), result.to_owned(), outcome.words()]
            }));
            page.table(&rows);
            if !args.no_headers {
                page.remark(format_args!(
                    "{}: {passed} passed, {failed} failed",
                    plural::counted(outcomes.len(), "expectation", "expectations")
                ));
            }
        }
        TestOutput::Json => page.json(&Outcomes { results: &outcomes, passed, failed, unread: errors })?,
        TestOutput::Yaml => page.yaml(&Outcomes { results: &outcomes, passed, failed, unread: errors })?,
        TestOutput::Junit => {
            let cases = outcomes.iter().map(|outcome| (outcome.file.as_str(), outcome.case()));
            let mut suites = ci::grouped(cases);
            ci::add_unread(&mut suites, errors);
            ci::junit("cpufit test", &suites, page);
        }
    }
    Ok((Exit::failed_if(failed > 0), unread))
}

/// Finds the files of expectations in a folder and below it; a file given by path is used as is.
fn find(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let is_folder = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.is_dir();
    if !is_folder {
        files.push(path.to_owned());
        return Ok(());
    }
    ensure!(depth < MAX_DEPTH, "{} is deeper than {MAX_DEPTH} folders", path.display());
    for entry in std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        let entry = entry?;
        // Links to folders are not followed, because they may form a cycle.
        if entry.file_type()?.is_dir() {
            find(&entry.path(), depth + 1, files)?;
        } else if FILE_NAMES.iter().any(|name| entry.file_name() == *name) {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn outcomes_of(
    file: &Path,
    item: &Item,
    lines: Option<&ExpectedLines>,
    namespace: &Namespace,
    given: Option<&Domain>,
) -> anyhow::Result<Vec<TestResult>> {
    if (item.api_version.as_str(), item.kind.as_str()) != (API_VERSION, KIND) {
        bail!("{}: expected a {KIND} of {API_VERSION}, found a {} of {}", item.place, item.kind, item.api_version);
    }
    let test: Test = item.parse_unbounded()?;
    ensure!(!test.expect.is_empty(), "{}: expect is empty: nothing would be tested", item.place);
    let beside = |paths: &[PathBuf]| -> Vec<DumpSource> {
        let folder = file.parent().unwrap_or(Path::new(""));
        paths.iter().map(|path| DumpSource::Path(folder.join(path).into())).collect()
    };
    let release = match &test.kubevirt_version {
        None => None,
        Some(version) => Some(Release::parse(version).ok_or_else(|| {
            item.wrong("kubevirtVersion", "expected a version as KubeVirt spells it, for example v1.6.3")
        })?),
    };
    let dumps = beside(&test.snapshot);
    let domain = snapshot::domain_of(given, &dumps, io::empty()).with_context(|| item.place.to_string())?.0;
    let policies = beside(&test.policies);
    let input = LoadInput { policies: &policies, release, ..LoadInput::new(&dumps, &domain) };
    let (world, _) = world::load(input, io::empty()).with_context(|| item.place.to_string())?;
    let rows = check::rows(&beside(&test.manifests), &world, namespace).with_context(|| item.place.to_string())?;
    let mut out = Vec::new();
    for (at, expected) in test.expect.iter().enumerate() {
        let wrong = |field: &str, problem: &str| item.wrong(&format!("expect[{at}]{field}"), problem);
        let why = expected.differences(&rows, &domain, &wrong)?;
        out.push(TestResult {
            file: file.display().to_string(),
            test: test.metadata.name.clone(),
            object: expected.object.clone(),
            passed: why.is_empty(),
            why,
            line: lines.and_then(|lines| lines.line(at)).or(item.place.line),
            index: at,
        });
    }
    Ok(out)
}

impl Expected {
    /// Returns the differences, a line each.
    fn differences(
        &self,
        rows: &[ResultRow],
        domain: &Domain,
        wrong: &dyn Fn(&str, &str) -> Error,
    ) -> Result<Vec<String>, Error> {
        let object = domain.inward(&self.object).into_owned();
        let target = resource::parse(std::slice::from_ref(&object), &ObjectKind::EXPLAINED);
        let Ok([Argument::Named(kind, name)]) = target.as_deref() else {
            return Err(wrong(".object", "expected TYPE/NAME, for example vm/db"));
        };
        if let Some(verdict) = self.verdict.as_deref().filter(|verdict| OutcomeWord::of(verdict).is_none()) {
            let all: Vec<&str> = OutcomeWord::ALL.iter().map(|word| word.as_str()).collect();
            return Err(wrong(".verdict", &format!("{verdict:?} is not one of {}", all.join(", "))));
        }
        if self.expects_nothing() {
            return Err(wrong("", "nothing is expected: say verdict, allowed, nodes, says or checks"));
        }
        let is_meant = |row: &&ResultRow| {
            ObjectKind::of_word(&row.kind) == Some(*kind)
                && row.name == *name
                && self.namespace.as_ref().is_none_or(|namespace| row.namespace == *namespace)
        };
        let found: Vec<&ResultRow> = rows.iter().filter(is_meant).collect();
        let row = match found.as_slice() {
            [row] => row,
            [] => return Ok(vec!["it is not among the manifests".to_owned()]),
            _ => return Ok(vec!["several among the manifests have that name: say namespace".to_owned()]),
        };
        Ok(self.compared(row))
    }

    /// Whether every result would meet it: no checks, and the empty text, are in each.
    fn expects_nothing(&self) -> bool {
        let Self { object: _, namespace: _, verdict, allowed, nodes, says, checks } = self;
        let is_empty = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
        let has_checks = checks.as_ref().is_some_and(|checks| !checks.is_empty());
        verdict.is_none() && allowed.is_none() && nodes.is_none() && is_empty(says) && !has_checks
    }

    fn compared(&self, row: &ResultRow) -> Vec<String> {
        let mut out = Vec::new();
        if let Some(verdict) = self.verdict.as_deref().filter(|verdict| *verdict != row.verdict.as_str()) {
            out.push(format!("expected verdict {verdict}, found {}", row.verdict));
        }
        if let Some(allowed) = self.allowed.filter(|allowed| *allowed != row.allowed) {
            out.push(format!("expected allowed {allowed}, found {}", row.allowed));
        }
        if let Some(nodes) = &self.nodes {
            let mut nodes = nodes.clone();
            nodes.sort();
            let fitting = &row.nodes.fitting;
            if nodes != *fitting {
                let listed =
                    |nodes: &[String]| if nodes.is_empty() { "none".to_owned() } else { plural::fold_names(nodes, 6) };
                out.push(format!("expected nodes {}, found {}", listed(&nodes), listed(fitting)));
            }
        }
        let said: Vec<&str> = row.warnings.iter().chain(&row.denial).map(String::as_str).collect();
        if let Some(says) = self.says.as_ref().filter(|says| !said.iter().any(|line| line.contains(says.as_str()))) {
            let said = said.first().and_then(|said| said.lines().next()).unwrap_or("nothing");
            out.push(format!("expected {says:?} to be said, found {said}"));
        }
        let has = |check: &&String| row.findings.iter().any(|finding| finding.check == check.as_str());
        let missing: Vec<&String> = self.checks.iter().flatten().filter(|check| !has(check)).collect();
        if !missing.is_empty() {
            out.push(format!("expected the checks {} to find something", plural::fold_names(&missing, 6)));
        }
        out
    }
}
