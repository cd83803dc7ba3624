//! Output for programs has the required form: SARIF and JUnit against schemas, `version` and completion.
//!
//! The schemas follow SARIF 2.1.0 (OASIS, sections 3.13 to 3.33) and the JUnit XML of Jenkins' xUnit plugin. They
//! contain only the printed parts, and allow no others.

use std::process::Command;

use roxmltree::{Document, Node};
use rstest::rstest;
use serde_json::{Value, json};

use super::POLICY;
use crate::common::{BIN, Scratch, Tally, cpufit, head, program};

/// Two pinned guests, one of them denied by a policy, a guest without a problem, and a kind that is not judged.
const MANIFESTS: &str = "\
# the first object begins in line 4

---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: lost, namespace: shop}
spec: {runStrategy: Always, template: {spec: {domain: {cpu: {model: NoSuchModel}, devices: {}}}}}
---
apiVersion: v1
kind: List
items:
- apiVersion: kubevirt.io/v1
  kind: VirtualMachine
  metadata: {name: \"a<b>&\\\"c\", namespace: shop}
  spec: {runStrategy: Always, template: {spec: {domain: {devices: {}}, nodeSelector: {nowhere: 'true'}}}}
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: x, namespace: shop}
";
fn check(output: &str) -> String {
    let made = Scratch::new();
    let (file, policy) = (made.write("m y.yaml", MANIFESTS), made.write("policy.yaml", POLICY));
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/cluster.yaml");
    let (file, policy) = (file.to_str().unwrap(), policy.to_str().unwrap());
    let ran = cpufit(["check", "--snapshot", demo, "-f", file, "--policy", policy, "-o", output]).run();
    assert_eq!(ran.code(), 1, "{}", head(&ran.stderr));
    ran.stdout
}

/// Returns the violations of a JSON schema, each with its place. Supported are `type`, `const`, `enum`, `minimum`,
/// `minLength`, `pattern` as a prefix, `required`, `properties`, `items`, `minItems`; other properties are violations.
fn faults(value: &Value, schema: &Value, at: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut hold = |is: bool, what: &str| {
        if !is {
            out.push(format!("{at}: {what}: {value}"));
        }
    };
    match schema["type"].as_str() {
        Some("object") => hold(value.is_object(), "no object"),
        Some("array") => hold(value.is_array(), "no array"),
        Some("string") => hold(value.is_string(), "no string"),
        Some("integer") => hold(value.is_u64(), "no whole number"),
        Some("boolean") => hold(value.is_boolean(), "no boolean"),
        other => panic!("{at}: the schema says {other:?}"),
    }
    let text = value.as_str().unwrap_or_default();
    hold(schema["const"].is_null() || schema["const"] == *value, "another value");
    hold(schema["enum"].as_array().is_none_or(|values| values.contains(value)), "none of the values");
    hold(schema["minimum"].as_u64().is_none_or(|least| value.as_u64() >= Some(least)), "too small");
    hold(schema["minLength"].as_u64().is_none_or(|least| text.len() as u64 >= least), "too short");
    let empty = Vec::new();
    for name in schema["required"].as_array().unwrap_or(&empty) {
        hold(value.get(name.as_str().unwrap()).is_some(), &format!("{name} is missing"));
    }
    let items = value.as_array().unwrap_or(&empty);
    hold(schema["minItems"].as_u64().is_none_or(|least| items.len() as u64 >= least), "too few");
    for (index, item) in items.iter().enumerate() {
        out.extend(faults(item, &schema["items"], &format!("{at}/{index}")));
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(schema) => out.extend(faults(inner, schema, &format!("{at}/{name}"))),
            None => out.push(format!("{at}: {name} is no property of it")),
        }
    }
    out
}

fn text() -> Value {
    json!({"type": "string", "minLength": 1})
}

fn object(required: &[&str], properties: Value) -> Value {
    let mut schema = json!({"type": "object", "required": required});
    schema["properties"] = properties;
    schema
}

fn list(items: &Value, least: usize) -> Value {
    json!({"type": "array", "items": items, "minItems": least})
}

fn sarif_schema() -> Value {
    let message = object(&["text"], json!({"text": text()}));
    let region = object(&["startLine"], json!({"startLine": {"type": "integer", "minimum": 1}}));
    let artifact = object(&["uri"], json!({"uri": text()}));
    let physical = object(&["artifactLocation"], json!({"artifactLocation": artifact, "region": region}));
    let logical = object(&[], json!({"fullyQualifiedName": text(), "kind": text()}));
    let location = object(&[], json!({"physicalLocation": physical, "logicalLocations": list(&logical, 1)}));
    let level = json!({"type": "string", "enum": ["none", "note", "warning", "error"]});
    let result = object(
        &["message"],
        json!({"ruleId": text(), "level": level, "message": message, "locations": list(&location, 1)}),
    );
    let rule = object(&["id"], json!({"id": text(), "shortDescription": message}));
    let driver = object(&["name"], json!({"name": text(), "version": text(), "rules": list(&rule, 0)}));
    let notification = object(&["message"], json!({"level": level, "message": message}));
    let invocation = object(
        &["executionSuccessful"],
        json!({"executionSuccessful": {"type": "boolean"}, "toolExecutionNotifications": list(&notification, 0)}),
    );
    let run = object(
        &["tool"],
        json!({
            "tool": object(&["driver"], json!({"driver": driver})),
            "invocations": list(&invocation, 1),
            "results": list(&result, 0),
        }),
    );
    object(
        &["version", "runs"],
        json!({"$schema": text(), "version": {"type": "string", "const": "2.1.0"}, "runs": list(&run, 1)}),
    )
}

#[test]
fn sarif_is_as_its_schema_says_and_names_lines() {
    let sarif: Value = serde_json::from_str(&check("sarif")).unwrap();
    let wrong = faults(&sarif, &sarif_schema(), "");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let lines = |name: &str| -> Vec<&Value> {
        let of = |result: &&Value| {
            result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"].as_str().unwrap().contains(name)
        };
        results
            .iter()
            .filter(of)
            .map(|result| &result["locations"][0]["physicalLocation"]["region"]["startLine"])
            .collect()
    };
    assert!(!lines("lost").is_empty() && lines("lost").into_iter().all(|line| *line == 4), "{results:#?}");
    assert!(!lines("a<b>").is_empty() && lines("a<b>").into_iter().all(|line| *line == 12), "{results:#?}");
    let uri = results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
    assert!(uri.starts_with("file:///") && uri.ends_with("/m%20y.yaml"), "{uri}");
    let mut titles: Vec<&str> = Vec::new();
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    titles.extend(rules.iter().map(|rule| rule["shortDescription"]["text"].as_str().unwrap()));
    titles.sort_unstable();
    titles.dedup();
    assert_eq!(titles.len(), rules.len(), "alerts about different things have one title: {titles:?}");
    // A schema that accepts everything would prove nothing.
    let broken = json!({"version": "2.0", "runs": [{"tool": {"driver": {}}, "results": [{"level": "bad", "x": 1}]}]});
    assert_eq!(faults(&broken, &sarif_schema(), "").len(), 5);
}

#[rstest]
#[case::not_judged("instancetype: {name: nowhere}", "--fail-on=unknown", "unknown", "error")]
#[case::not_judged_and_passed("instancetype: {name: nowhere}", "--fail-on=denied", "unknown", "warning")]
#[case::pinned("{}", "--fail-on=pinned", "start-node", "error")]
#[case::pinned_and_passed("{}", "--fail-on=denied", "start-node", "warning")]
#[case::asked_by("{}", "--fail-on=pinned", "asked-by", "note")]
fn sarif_levels_follow_the_gate(#[case] spec: &str, #[case] gate: &str, #[case] check: &str, #[case] level: &str) {
    let made = Scratch::new();
    let cpu =
        if spec == "{}" { "{domain: {cpu: {model: NoSuchModel}, devices: {}}}" } else { "{domain: {devices: {}}}" };
    let manifest = format!(
        "{{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {{name: a, namespace: shop}}, \
         spec: {{runStrategy: Always, {}template: {{spec: {cpu}}}}}}}",
        if spec == "{}" { String::new() } else { format!("{spec}, ") }
    );
    let file = made.write("vm.yaml", manifest);
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/cluster.yaml");
    let ran = cpufit(["check", "--snapshot", demo, "-f", file.to_str().unwrap(), gate, "-o", "sarif"]).run();
    let sarif: Value = serde_json::from_str(&ran.stdout).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let found: Vec<&Value> = results.iter().filter(|result| result["ruleId"] == check).collect();
    assert!(!found.is_empty(), "{results:#?}");
    assert!(found.iter().all(|result| result["level"] == level), "code scanning would rank it otherwise: {found:#?}");
}

/// Elements with their attributes (required ones, `|`, optional ones) and child elements, by the schema `junit-10.xsd`
/// of <https://github.com/jenkinsci/xunit-plugin>, which its licence keeps out of this repository.
const JUNIT: &[(&str, &str, &str)] = &[
    ("testsuites", "name tests failures errors |", "testsuite"),
    ("testsuite", "name tests failures errors skipped |", "testcase"),
    ("testcase", "classname name |", "error failure skipped system-out"),
    ("error", "message type |", ""),
    ("failure", "message type |", ""),
    ("skipped", "message |", ""),
    ("system-out", "|", ""),
];

fn junit_faults(node: Node<'_, '_>, out: &mut Vec<String>) {
    let name = node.tag_name().name();
    let Some((_, attributes, children)) = JUNIT.iter().find(|(known, ..)| *known == name) else {
        return out.push(format!("<{name}> is no element of it"));
    };
    let (required, others) = attributes.split_once('|').unwrap();
    let required: Vec<&str> = required.split_whitespace().collect();
    out.extend(required.iter().filter(|a| node.attribute(**a).is_none()).map(|a| format!("<{name}> has no {a}")));
    let is_known = |a: &str| required.contains(&a) || others.split_whitespace().any(|other| other == a);
    out.extend(node.attributes().filter(|a| !is_known(a.name())).map(|a| format!("<{name} {}>", a.name())));
    for child in node.children().filter(Node::is_element) {
        let tag = child.tag_name().name();
        if !children.split_whitespace().any(|known| known == tag) {
            out.push(format!("<{tag}> in <{name}>"));
        }
        junit_faults(child, out);
    }
    for (attribute, of) in [("tests", "testcase"), ("errors", "error"), ("failures", "failure"), ("skipped", "skipped")]
    {
        let count = node.descendants().filter(|node| node.has_tag_name(of)).count();
        if node.attribute(attribute).is_some_and(|said| said != count.to_string()) {
            out.push(format!("<{name}> says {attribute} {:?}, and holds {count}", node.attribute(attribute)));
        }
    }
}

#[test]
fn junit_is_as_its_schema_says() {
    let text = check("junit");
    let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let mut wrong = Vec::new();
    assert!(document.root_element().has_tag_name("testsuites"), "programs of continuous integration read no report");
    junit_faults(document.root_element(), &mut wrong);
    assert!(wrong.is_empty(), "{}\n{text}", wrong.join("\n"));
    let cases: Vec<&str> = document
        .descendants()
        .filter(|node| node.has_tag_name("testcase"))
        .filter_map(|node| node.attribute("name"))
        .collect();
    assert_eq!(cases, ["shop/lost #0", "shop/a<b>&\"c #1", "shop/x #2"], "names come back as they are");
    assert_eq!(document.descendants().filter(|node| node.has_tag_name("failure")).count(), 1, "{text}");
}

/// A file that cannot be read to its end: the report must not be empty, and must not look like one that passed.
#[test]
fn junit_reports_an_input_that_cannot_be_read() {
    let made = Scratch::new();
    let file = made.write("half.yaml", format!("{MANIFESTS}---\nkind: VirtualMachine\nmetadata: {{name: cut}}\n"));
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/cluster.yaml");
    let args = ["check", "--snapshot", demo, "-f", file.to_str().unwrap(), "-o", "junit"];
    let ran = cpufit(args).env("GITHUB_ACTIONS", "true").run();
    assert_eq!(ran.code(), 2, "{}", head(&ran.stderr));
    assert!(ran.stderr.contains("::error title=input::"), "no annotation says why: {}", ran.stderr);
    let document = Document::parse(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout));
    let mut wrong = Vec::new();
    junit_faults(document.root_element(), &mut wrong);
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), ran.stdout);
    assert_eq!(document.root_element().attribute("errors"), Some("1"), "the report passes: {}", ran.stdout);
    assert!(ran.stdout.contains("shop/lost #0"), "what was judged before is lost: {}", ran.stdout);
}

/// Two good objects around one that is malformed, a file that is not YAML, and a file that does not exist: what can be
/// judged is judged, in every output.
#[test]
fn what_cannot_be_read_hides_nothing_that_can() {
    let made = Scratch::new();
    let vm = |name: &str, annotations: &str| {
        format!(
            "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {{name: {name}, namespace: shop, annotations: {annotations}}}\n\
             spec: {{runStrategy: Always, template: {{spec: {{domain: {{cpu: {{model: NoSuchModel}}, devices: {{}}}}}}}}}}\n---\n"
        )
    };
    made.write("a.yaml", [vm("first", "{}"), vm("faulty", "[]"), vm("second", "{}")].concat());
    made.write("b.yaml", "kind: [VirtualMachine\n");
    made.write("d.yaml", vm("third", "{}"));
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/cluster.yaml");
    let mut tally = Tally::new("outputs of check beside what cannot be read");
    for output in ["table", "wide", "json", "yaml", "name", "junit", "sarif", "yaml --mutated"] {
        let folder = made.path().display();
        let line = format!(
            "check --snapshot {demo} -f {folder}/a.yaml -f {folder}/b.yaml -f {folder}/c.yaml -f {folder}/d.yaml -o {output}"
        );
        let ran = cpufit(line.split(' ')).run();
        let mut wrong = Vec::new();
        for name in ["first", "second", "third"] {
            if !ran.stdout.contains(name) {
                wrong.push(format!("{name} is lost: {}", ran.stdout));
            }
        }
        if ran.code() != 2 {
            wrong.push(format!("exit code {}", ran.code()));
        }
        let errors: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        let expected = ["a.yaml, document 2", "b.yaml, document 1", "c.yaml"];
        if errors.len() != 3 || !errors.iter().zip(expected).all(|(error, place)| error.contains(place)) {
            wrong.push(format!("{errors:?}"));
        }
        let in_report = match output {
            "json" | "yaml" => "unread",
            "junit" => "errors=\"3\"",
            "sarif" => "\"executionSuccessful\": false",
            _ => "",
        };
        if !ran.stdout.contains(in_report) {
            wrong.push(format!("a program that reads the output takes it for whole: {}", ran.stdout));
        }
        tally.case(output, &wrong);
    }
    tally.finish("one bad document hides what was found in the others");
}

#[test]
fn a_test_reports_to_continuous_integration_as_check_does() {
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/verdicts");
    let (text, made) = (std::fs::read_to_string(shipped.join("cpufit-test.yaml")).unwrap(), Scratch::new());
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/cluster.yaml");
    for name in ["manifests.yaml", "policy.yaml"] {
        std::fs::copy(shipped.join(name), made.path().join(name)).unwrap();
    }
    let text = text.replace("../../../demo/cluster.yaml", demo).replacen("verdict: pinned", "verdict: fits", 1);
    let file = made.write("cpufit-test.yaml", &text);
    let run = |ci: &str| cpufit(["test", made.path().to_str().unwrap(), "-o", "junit"]).env("GITHUB_ACTIONS", ci).run();
    let ran = run("true");
    let document = Document::parse(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout));
    let mut wrong = Vec::new();
    junit_faults(document.root_element(), &mut wrong);
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), ran.stdout);
    assert_eq!(document.descendants().filter(|node| node.has_tag_name("testcase")).count(), 5, "{}", ran.stdout);
    let failure = document.descendants().find(|node| node.has_tag_name("failure")).expect("a failure");
    assert_eq!(failure.attribute("message"), Some("expected verdict fits, found pinned"));
    let place = format!("{}:9", file.display());
    assert!(failure.text().unwrap().ends_with(&place), "where the expectation is written is not said: {failure:?}");
    assert_eq!(ran.code(), 1, "a pipeline would go on");
    let begin = format!("::error file={},line=9,", file.display());
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.starts_with(&begin) && ran.stderr.contains("::expected verdict fits"), "{}", ran.stderr);
    assert_eq!(run("").stderr, "", "annotations elsewhere are noise");
    // Two documents, with an empty one between them, and expectations as a person writes them.
    let second = text.replacen("verdict: fits", "verdict: fragile", 1).replace("- object:", "-\n  object:");
    let file = made.write("cpufit-test.yaml", format!("{text}\n---\n# nothing\n---\n{second}"));
    let json = cpufit(["test", made.path().to_str().unwrap(), "-o", "json"]).run().json();
    let written = std::fs::read_to_string(&file).unwrap();
    let written: Vec<&str> = written.lines().collect();
    for row in json["results"].as_array().unwrap() {
        let line = row["line"].as_u64().unwrap() as usize;
        let object = row["object"].as_str().unwrap();
        assert!(written[line - 1].contains(object), "{row} is not in line {line}: {}", written[line - 1]);
    }
    let table = cpufit(["test", made.path().to_str().unwrap()]).run().stdout;
    let failed: Vec<&str> = table.lines().filter(|line| line.contains("FAIL")).collect();
    let places = failed.iter().filter(|line| line.contains(&format!("({}:", file.display()))).count();
    assert_eq!((failed.len(), places), (2, 2), "a failure is looked for in the whole file: {table}");
}

#[test]
fn the_version_of_this_program_needs_no_cluster() {
    let version = format!("v{}", env!("CARGO_PKG_VERSION"));
    let ran = cpufit(["version", "--client"]).run();
    assert_eq!((ran.code(), ran.stdout.trim()), (0, format!("Client Version: {version}").as_str()), "{}", ran.stderr);
    let json = cpufit(["version", "--client", "-o", "json"]).run().json();
    assert_eq!(
        (&json["clientVersion"]["version"], &json["leaderVersion"]),
        (&json!(version), &Value::Null),
        "{json:#}"
    );
    // The output equals kubectl's: the client's version, an error, and a failure exit code.
    let alone = cpufit(["version", "--server", "http://127.0.0.1:9"]).run();
    assert_eq!((alone.code(), alone.stdout.trim()), (2, format!("Client Version: {version}").as_str()));
    assert!(alone.stderr.starts_with("error: reading the Lease of cpufit at http://127.0.0.1:9"), "{}", alone.stderr);
}

/// bash completes a line with the printed script.
#[test]
fn bash_completes_verbs_options_and_names() {
    let folder = Scratch::new();
    std::os::unix::fs::symlink(BIN, folder.path().join("cpufit")).unwrap();
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/cluster.yaml");
    let complete = |line: &[&str]| {
        let script = "source <(cpufit completion bash); COMP_WORDS=(cpufit \"$@\"); COMP_CWORD=$#; COMP_TYPE=9; \
             _clap_complete_cpufit cpufit \"${!#}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
        let mut command = Command::new("bash");
        command.args(["-c", script, "-"]).args(line);
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let ran = program(command).env("PATH", path.as_str()).run();
        assert_eq!(ran.code(), 0, "{}", ran.stderr);
        ran.stdout.lines().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["expl"]), ["explain"], "the shell does not complete a verb");
    assert_eq!(complete(&["audit", "--fail-on", "pin"]), ["pinned"]);
    // bash splits words at `=` and `:`, and replaces only the part after the break.
    for (line, expected) in [
        (&["audit", "--fail-on", "=", "pin"][..], &["pinned"][..]),
        (&["audit", "--output", "="], &["table", "wide", "json", "yaml", "name"]),
        (&["audit", "--output", "=", "wi"], &["wide"]),
        (&["audit", "--output=wi"], &["--output=wide"]),
        (&["explain", "--snapshot", "=", demo, "--namespace", "=", "sh"], &["shop"]),
        (&["explain", "-l", "app", "=", "db", "--snapshot", demo, "-n", "sh"], &["shop"]),
        (&["-l", "app", "=", "db", "audit", "--fail-on", "=", "pin"], &["pinned"]),
        (&["audit", "--server", "https", ":", "//a", ":", "6443", "--fail-on", "pin"], &["pinned"]),
        (&["audit", "-l", "app", "=", "d"], &[]),
    ] {
        assert_eq!(complete(line), expected, "{line:?}: the Tab key offers another thing");
    }
    assert_eq!(complete(&["explain", "--snapshot", demo, "-n", "shop", "vm/"]), ["vm/db", "vm/ledger", "vm/web"]);
    assert_eq!(complete(&["drain", "--snapshot", demo, "node-a", "node-"]).len(), 4, "the fifth is named already");
    assert_eq!(complete(&["explain", "--snapshot", demo, "-n", "sh"]), ["shop"]);
    let kubectl = cpufit(["__complete", "--", "explain", "--snapshot", demo, "-n", "shop", "vmi", ""]).run();
    assert_eq!(kubectl.stdout, "db\nledger\nweb\n:4\n", "{}", kubectl.stderr);
    let other = cpufit(["version", "--client"]).env("COMPLETE", "no-such-shell").run();
    assert!(other.stdout.starts_with("Client Version"), "{}", other.stderr);
}

/// The mutating webhook changes a target pod before the validating one judges it, whatever is printed.
#[test]
fn a_review_gets_one_answer_in_every_format() {
    let made = Scratch::new();
    let policy = made.write(
        "policy.yaml",
        "apiVersion: cpufit.io/v1alpha1\nkind: CPUPolicy\nmetadata: {name: drop}\nspec: {launcherSelectors: DropStale}\n",
    );
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reviews");
    // The nodes have lost these labels, which guests inherited.
    let lost = ["vmx-activity-wait-sipi", "pku", "umip"].map(|name| format!("cpu-feature.node.kubevirt.io/{name}"));
    let whole = std::fs::read_to_string(format!("{folder}/cluster.yaml")).unwrap();
    let (nodes, others) = whole.split_once("  kind: Pod\n").unwrap();
    let kept = nodes.lines().filter(|line| !lost.iter().any(|key| line.contains(key.as_str())));
    let cluster = format!("{}\n  kind: Pod\n{others}", kept.collect::<Vec<_>>().join("\n"));
    let cluster = made.write("cluster.yaml", &cluster);
    let mut changed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let answer = |file: &std::path::Path, output: &str| -> Value {
            let [cluster, policy, file] = [&cluster, &policy, file].map(|path| path.to_str().unwrap());
            let args = ["check", "--snapshot", cluster, "--policy", policy, "-f", file, "-o", output];
            serde_json::from_str(&cpufit(args).run().stdout).unwrap_or_else(|error| panic!("{file}: {error}"))
        };
        let (row, response) = (answer(&file, "json")["results"][0].take(), answer(&file, "review")["response"].take());
        let none = json!([]);
        let warnings = |of: &Value| if of["warnings"].is_null() { none.clone() } else { of["warnings"].clone() };
        assert_eq!(warnings(&row), warnings(&response), "{}: two answers to one question", file.display());
        assert_eq!(row["allowed"], response["allowed"], "{}", file.display());
        changed += usize::from(row["patch"] != none);
        let review: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        if review["request"]["kind"]["kind"] == "Pod" && review["request"]["subResource"].is_null() {
            let pod = made.write_json("pod.json", &review["request"]["object"]);
            let alone = answer(&pod, "json")["results"][0].take();
            assert_eq!(warnings(&alone), warnings(&row), "{}: the pod alone has another answer", file.display());
        }
    }
    assert!(changed > 0, "no target pod is changed: the test shows nothing");
}
