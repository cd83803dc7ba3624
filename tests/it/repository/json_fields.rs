//! The tables of docs/json.md, compared with the JSON that the verbs print: every field, its place, type, and whether
//! it can be null or absent.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::common::documents::{furnish, shell};
use crate::common::{Scratch, Tally, policy};

/// A JSON value that keeps the order of its fields.
enum Json {
    Null,
    Boolean,
    Number,
    Text,
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Json {
    /// Returns the word of the column `Type`.
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::Text => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Boolean)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_str<E>(self, _: &str) -> Result<Json, E> {
        Ok(Json::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element()? {
            out.push(item);
        }
        Ok(Json::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json, A::Error> {
        let mut out = Vec::new();
        while let Some(field) = fields.next_entry()? {
            out.push(field);
        }
        Ok(Json::Object(out))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

/// A row of a table: a field.
struct Row {
    /// The verb whose section holds the table.
    verb: String,
    /// The names that lead to the field, without `[]`; a name in angle brackets stands for any.
    path: Vec<String>,
    kind: String,
    /// The column that says when the field is null or absent.
    missing: String,
}

impl Row {
    /// Returns the verb and the path of the rows that describe the parts of this field.
    fn parts(&self) -> (String, Vec<String>) {
        if let Some((_, verb)) = self.kind.split_once("as in [`") {
            return (verb.split('`').next().unwrap().to_owned(), self.path.clone());
        }
        match self.kind.split_once("as `") {
            Some((_, other)) => (self.verb.clone(), names(other.split('`').next().unwrap())),
            None => (self.verb.clone(), self.path.clone()),
        }
    }

    fn is_of_kubernetes(&self) -> bool {
        ["of Kubernetes", "of JSON Patch"].iter().any(|foreign| self.kind.contains(foreign))
    }
}

fn names(path: &str) -> Vec<String> {
    path.split('.').map(|name| name.trim_end_matches("[]").to_owned()).collect()
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md")).unwrap()
}

/// Returns the fields of all tables, in their order.
fn rows(page: &str) -> Vec<Row> {
    let (mut verb, mut is_fields) = (String::new(), false);
    let mut out = Vec::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            title.trim_matches('`').clone_into(&mut verb);
        }
        is_fields = line.starts_with("| Field | Type |") || (is_fields && line.starts_with('|'));
        let cells: Vec<&str> = line.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
        if let [field, kind, _, missing] = cells[..]
            && is_fields
            && field.starts_with('`')
        {
            // `explain` prints what `check` prints, and more.
            let verb = if verb == "explain" { "check".to_owned() } else { verb.clone() };
            let path = names(field.trim_matches('`'));
            out.push(Row { verb, path, kind: kind.to_owned(), missing: missing.to_owned() });
        }
    }
    out
}

/// A comparison of printed JSON with the rows.
struct Comparison<'r> {
    rows: &'r [Row],
    /// The rows whose field was printed.
    seen: BTreeSet<usize>,
    problems: BTreeSet<String>,
}

impl Comparison<'_> {
    /// Returns the row of the field `name` of an object that is described at `path`.
    fn row(&self, verb: &str, path: &[String], name: &str) -> Option<usize> {
        self.rows.iter().position(|row| {
            let Some((last, parent)) = row.path.split_last() else { return false };
            row.verb == verb && parent == path && (last == name || last.starts_with('<'))
        })
    }

    fn value(&mut self, verb: &str, path: &[String], value: &Json) {
        match value {
            Json::Array(items) => items.iter().for_each(|item| self.value(verb, path, item)),
            Json::Object(fields) => self.object(verb, path, fields),
            _ => {}
        }
    }

    fn object(&mut self, verb: &str, path: &[String], fields: &[(String, Json)]) {
        let mut last = 0;
        for (name, value) in fields {
            let field = format!("{verb}: {}.{name}", path.join("."));
            let Some(at) = self.row(verb, path, name) else {
                self.problems.insert(format!("{field} is printed and has no row"));
                continue;
            };
            let row = &self.rows[at];
            if at < last {
                self.problems.insert(format!("{field} is printed after a field that follows it in the table"));
            }
            last = at;
            self.seen.insert(at);
            let is_right =
                if let Json::Null = value { row.missing.contains("null") } else { row.kind.starts_with(value.kind()) };
            if !is_right {
                self.problems.insert(format!("{field} is printed as {}, not as {}", value.kind(), row.kind));
            }
            if !row.is_of_kubernetes() {
                let (verb, path) = row.parts();
                self.value(&verb, &path, value);
            }
        }
        for row in self.rows.iter().filter(|row| row.verb == verb) {
            let Some((name, parent)) = row.path.split_last() else { continue };
            let can_miss = name.starts_with('<') || row.missing.contains("absent");
            if parent == path && !can_miss && !fields.iter().any(|(field, _)| field == name) {
                self.problems.insert(format!("{verb}: {} is absent where its object is printed", row.path.join(".")));
            }
        }
    }
}

/// Objects that show more fields: one that is denied, one with a required node affinity, one that is not judged.
const OBJECTS: &str = "\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: lost, namespace: shop}
spec: {runStrategy: Always, template: {spec: {domain: {cpu: {model: NoSuchModel}, devices: {}}}}}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: bound, namespace: shop}
spec:
  runStrategy: Always
  template:
    spec:
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [nowhere]}]}]
      domain: {devices: {}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: x, namespace: shop}
";

/// Saved answers of libvirt: about the CPU of one guest, from one node, and a node that gave none.
const ANSWERS: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
{"apiVersion": "cpufit.io/v1alpha1", "kind": "LibvirtGuest", "metadata": {"namespace": "shop", "name": "db"},
 "accelerator": "kvm", "losses": {"EPYC": ["vaes"]},
 "lossesUnanswered": {"EPYC-Rome": {"unansweredCode": "failed", "unansweredDetail": "no"}},
 "cpu": {"model": "Cascadelake-Server", "vendor": "Intel", "require": ["vaes"], "disable": [], "forbid": ["pks"]}},
{"apiVersion": "cpufit.io/v1alpha1", "kind": "LibvirtNode", "metadata": {"name": "node-c"}, "accelerator": "kvm",
 "hostModel": {"model": "Cascadelake-Server", "vendor": "Intel", "require": [], "disable": []},
 "answers": [{"accelerator": "kvm", "answer": "incompatible", "missing": ["vaes"], "outdatedLauncher": true,
  "cpu": {"model": "Cascadelake-Server", "vendor": "Intel", "require": ["vaes"], "disable": [], "forbid": ["pks"]}}]},
{"apiVersion": "cpufit.io/v1alpha1", "kind": "LibvirtNode", "metadata": {"name": "node-b"},
 "accelerator": "kvm", "hostUnanswered": {"unansweredCode": "failed", "unansweredDetail": "no"},
 "unanswered": "no answer within 10 s", "unansweredCode": "too-slow"}]}"#;

const TEST: &str = "\
apiVersion: cpufit.io/v1alpha1
kind: Test
metadata: {name: shop}
snapshot: [cluster.yaml]
manifests: [vm.yaml]
expect: [{object: vm/new, verdict: fits}]
---
apiVersion: cpufit.io/v1alpha1
kind: Test
metadata: {name: not-run}
snapshot: [no-such-file.yaml]
manifests: [vm.yaml]
expect: [{object: vm/new, verdict: fits}]
";

/// Commands whose output is compared, by the section that describes it.
const COMMANDS: [(&str, &str); 23] = [
    (
        "check",
        "cpufit check --snapshot cluster.yaml -f vm.yaml,vmi.yaml,objects.yaml --policy policy.yaml -o json --predict",
    ),
    ("check", "cpufit check --snapshot cluster.yaml -f review.json -o json"),
    ("check", "cpufit check --snapshot cluster.yaml -f vm.yaml,policy.yaml,nowhere.yaml -o json"),
    ("check", "cpufit explain vm -A --snapshot cluster.yaml -o json"),
    ("check", "cpufit explain vmi -A --snapshot cluster.yaml --libvirt-facts answers.json -o json"),
    ("check", "cpufit explain vmi -A --snapshot full.yaml -o json"),
    ("check", "cpufit explain vm -A --snapshot full.yaml -o json"),
    ("audit", "cpufit audit --snapshot full.yaml -o json"),
    ("audit", "cpufit audit --snapshot cluster.yaml -o json"),
    ("audit", "cpufit audit --snapshot cluster.yaml --policy policy.yaml --libvirt-facts answers.json -o json"),
    ("recommend", "cpufit recommend --snapshot cluster.yaml -o json"),
    ("recommend", "cpufit recommend --snapshot cluster.yaml --policy policy.yaml -o json"),
    ("recommend", "cpufit recommend --snapshot cluster.yaml --with-node new.yaml --without-node node-b -o json"),
    ("drain", "cpufit drain node-a --snapshot cluster.yaml -o json"),
    ("drain", "cpufit drain --all --snapshot cluster.yaml -o json"),
    ("drain", "cpufit drain node-a --snapshot unlike.yaml -o json"),
    ("drain", "cpufit drain node-a --snapshot cluster.yaml --libvirt-facts answers.json -o json"),
    ("diff", "cpufit diff before.yaml after.yaml -o json"),
    ("diff", "cpufit diff after.yaml before.yaml -o json"),
    ("diff", "cpufit diff before.yaml evicting.yaml -o json"),
    ("diff", "cpufit diff before.yaml fewer.yaml -o json"),
    ("test", "cpufit test . -o json"),
    ("version", "cpufit version --client -o json"),
];

/// Returns the text of all files below a folder.
fn texts(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { texts(&path) } else { fs::read_to_string(path).unwrap() }).collect()
}

/// Returns `start_nodes` for `startNodes`.
fn declared(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_uppercase() { format!("_{}", c.to_ascii_lowercase()) } else { c.to_string() };
    name.chars().map(letter).collect()
}

#[test]
fn the_page_lists_every_field_of_the_json() {
    let scratch = Scratch::new();
    furnish(scratch.path());
    for (name, text) in [("objects.yaml", OBJECTS), ("answers.json", ANSWERS), ("cpufit-test.yaml", TEST)] {
        scratch.write(name, text);
    }
    // This cluster without its first node, with another release of KubeVirt and a cordon.
    let after = fs::read_to_string(scratch.path().join("after.yaml")).unwrap();
    let mut list: serde_json::Value = serde_saphyr::from_str(&after).unwrap();
    let items = list["items"].as_array_mut().unwrap();
    items.retain(|item| item["metadata"]["name"] != "node-a");
    for item in items.iter_mut() {
        match item["kind"].as_str() {
            Some("Node") => {
                item["spec"]["unschedulable"] = true.into();
                item["metadata"]["annotations"] = serde_json::json!({"node-labeller.kubevirt.io/skip-node": "true"});
            }
            Some("KubeVirt") => item["status"]["observedKubeVirtVersion"] = "v1.7.1".into(),
            _ => {}
        }
    }
    scratch.write("fewer.yaml", list.to_string());

    // The cluster before, with guests that a drain shuts down, and another policy.
    let before = fs::read_to_string(scratch.path().join("before.yaml")).unwrap();
    let mut evicting: serde_json::Value = serde_saphyr::from_str(&before).unwrap();
    let items = evicting["items"].as_array_mut().unwrap();
    for item in items.iter_mut().filter(|item| item["kind"] == "VirtualMachineInstance") {
        item["spec"]["evictionStrategy"] = "None".into();
    }
    items.push(policy("strict", &serde_json::json!({"enforce": "Pinned"})));
    scratch.write("evicting.yaml", evicting.to_string());

    // This cluster with nodes that take no more pods, and with VMs that KubeVirt refuses.
    let cluster = fs::read_to_string(scratch.path().join("cluster.yaml")).unwrap();
    let mut full: serde_json::Value = serde_saphyr::from_str(&cluster).unwrap();
    for item in full["items"].as_array_mut().unwrap() {
        match item["kind"].as_str() {
            Some("Node") => {
                item["status"]["allocatable"] = serde_json::json!({"cpu": "64", "memory": "64Gi", "pods": "0"});
            }
            Some("VirtualMachine") => {
                item["spec"]["template"]["spec"]["domain"]["cpu"]["numa"] =
                    serde_json::json!({"guestMappingPassthrough": {}});
            }
            _ => {}
        }
    }
    scratch.write("full.yaml", full.to_string());

    // This cluster without the nodes to which its guests could be moved: they are restarted, and may be stuck again.
    let mut unlike: serde_json::Value = serde_saphyr::from_str(&cluster).unwrap();
    let items = unlike["items"].as_array_mut().unwrap();
    items.retain(|item| item["metadata"]["name"] != "node-c" && item["metadata"]["name"] != "node-d");
    scratch.write("unlike.yaml", unlike.to_string());

    let page = page();
    let rows = rows(&page);
    assert!(rows.len() > 200, "the tables were not read");
    let mut compared = Comparison { rows: &rows, seen: BTreeSet::new(), problems: BTreeSet::new() };
    let mut tally = Tally::new("outputs in JSON");
    for (verb, command) in COMMANDS {
        let ran = shell(scratch.path(), command, Path::new("/nonexistent"));
        compared.problems.clear();
        match serde_json::from_str(&ran.stdout) {
            Ok(json) => compared.value(verb, &[], &json),
            Err(error) => _ = compared.problems.insert(format!("{error}: {}{}", ran.stdout, ran.stderr)),
        }
        tally.case(command, &compared.problems.iter().cloned().collect::<Vec<_>>());
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let source: String = ["cli", "answers", "live"].iter().map(|name| texts(&source.join(name))).collect();
    let unseen: Vec<&Row> = (0..rows.len()).filter(|at| !compared.seen.contains(at)).map(|at| &rows[at]).collect();
    let mut invented = Vec::new();
    for row in &unseen {
        let name = row.path.last().unwrap();
        let is_declared =
            source.contains(&format!("{}: ", declared(name))) || source.contains(&format!("rename = \"{name}\""));
        if !is_declared && !name.starts_with('<') {
            invented.push(format!("no verb prints {}", row.path.join(".")));
        }
    }
    tally.case("fields that no output shows", &invented);
    let unseen: Vec<String> = unseen.iter().map(|row| format!("{} {}", row.verb, row.path.join("."))).collect();
    tally.note(format!("{} fields, of which these outputs do not show {}", rows.len(), unseen.join(", ")));
    tally.finish("a script that is written by docs/json.md misses a field or waits for one");
    assert!(unseen.len() < 32, "too few fields are compared");
}

#[test]
fn a_field_that_the_page_lacks_is_found() {
    let page = "## `audit`\n| Field | Type | Meaning | Null or absent |\n|---|---|---|---|\n\
                | `a[]` | array | x | never |\n| `a[].b` | string | x | null if y |\n| `a[].c` | number | x | never |\n\
                | `d` | object, as `a[]` | x | absent if y |\n";
    let rows = rows(page);
    let problems = |text: &str| {
        let mut compared = Comparison { rows: &rows, seen: BTreeSet::new(), problems: BTreeSet::new() };
        compared.value("audit", &[], &serde_json::from_str(text).unwrap());
        compared.problems.len()
    };
    assert_eq!(problems(r#"{"a": [{"b": null, "c": 1}], "d": {"b": "", "c": 2}}"#), 0);
    for wrong in [
        r#"{"a": [{"b": null, "c": 1, "e": 1}]}"#,
        r#"{"a": [{"c": 1, "b": null}]}"#,
        r#"{"a": [{"b": null, "c": null}]}"#,
        r#"{"a": [{"b": 1, "c": 1}]}"#,
        r#"{"a": [{"b": null}]}"#,
        r#"{"a": [], "d": {"b": "", "c": ""}}"#,
        "{}",
    ] {
        assert_eq!(problems(wrong), 1, "a wrong row would stay: {wrong}");
    }
}
