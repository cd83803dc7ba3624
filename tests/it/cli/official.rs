//! SARIF and JUnit XML against the published schemas, which are not part of this repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::POLICY;
use crate::common::{Ran, Scratch, Tally, cpufit, program};

/// Validates a document against a JSON schema, with the package jsonschema of Python.
const JSON_SCHEMA: &str = "import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
kind = jsonschema.validators.validator_for(schema)
faults = [e.message for e in kind(schema, format_checker=kind.FORMAT_CHECKER).iter_errors(json.load(open(sys.argv[2])))]
print('\\n'.join(faults))
sys.exit(bool(faults))";

/// Returns the schema that a variable names; without one, or without the program, says that the check is left out.
fn schema(variable: &str, publisher: &str, validator: &[&str]) -> Option<PathBuf> {
    let named = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    let runs = || Command::new(validator[0]).args(&validator[1..]).output().is_ok_and(|output| output.status.success());
    let found = named.filter(|_| runs());
    if found.is_none() {
        println!("LEFT OUT: {variable} names no schema ({publisher}), or {} does not run", validator.join(" "));
    }
    found
}

/// Returns the command lines of `check`, without the output, for each outcome, and for inputs of all kinds.
fn lines(made: &Scratch) -> Vec<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let line = |snapshot: &Path, more: &[&str]| {
        let begin = ["check", "--snapshot", snapshot.to_str().unwrap()];
        begin.iter().chain(more).map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    let mut out = Vec::new();
    for case in std::fs::read_dir(root.join("tests/data/cases")).unwrap() {
        let case = case.unwrap().path();
        out.push(line(&case.join("snapshot.yaml"), &["-f", case.join("input.yaml").to_str().unwrap()]));
    }
    for review in std::fs::read_dir(root.join("tests/data/reviews")).unwrap() {
        let review = review.unwrap().path();
        out.push(line(&root.join("tests/data/reviews/cluster.yaml"), &["-f", review.to_str().unwrap()]));
    }
    let demo = root.join("demo/cluster.yaml");
    let names = [
        "a<b>&\"c'",
        "]]>",
        "<![CDATA[",
        "\u{1b}[31m",
        "a\tb\nc\rd",
        "\u{0}",
        "\u{85}\u{2028}",
        "\u{202e}abc",
        "\u{fffe}\u{ffff}",
        "\u{1f600}",
        "%0A::error::",
        "",
        " ",
        &"ü".repeat(300),
        "&#0;",
        "\\u0000",
    ];
    let guest = |name: &&str| {
        json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"runStrategy": "Always", "template": {"spec": {
                "domain": {"cpu": {"model": name}, "devices": {}}, "nodeSelector": {"z": name}}}}})
    };
    let items: Vec<_> = names
        .iter()
        .flat_map(|name| [guest(name), json!({"apiVersion": "v1", "kind": name, "metadata": {}})])
        .collect();
    let hostile = made.write_json("a %20ü#?&<.json", &json!({"apiVersion": "v1", "kind": "List", "items": items}));
    let hostile = hostile.to_str().unwrap();
    let policy = made.write("policy.yaml", POLICY);
    let policy = policy.to_str().unwrap();
    let (empty, broken) = (made.write("empty.yaml", ""), made.write("broken.yaml", "kind: [x\n"));
    let (empty, broken) = (empty.to_str().unwrap(), broken.to_str().unwrap());
    let verdicts = root.join("tests/data/verdicts/manifests.yaml");
    for more in [
        &["-f", hostile][..],
        &["-f", hostile, "--policy", policy],
        &["-f", hostile, "-f", broken, "-f", empty, "-f", "nosuch.yaml"],
        &["-f", hostile, "-l", "no=such"],
        &["-f", broken],
        &["-f", verdicts.to_str().unwrap(), "--policy", policy],
        &["-f", policy],
    ] {
        out.push(line(&demo, more));
    }
    for state in ["fragile", "pinned", "unschedulable", "denied", "unknown"] {
        out.push(line(&demo, &["-f", verdicts.to_str().unwrap(), "--fail-on", state]));
    }
    out
}

fn printed(made: &Scratch, format: &str) -> Vec<(String, Ran)> {
    let of = |line: Vec<String>| (line[1..].join(" "), cpufit(line).args(["-o", format]).run());
    let outputs = lines(made).into_iter().map(of);
    outputs.filter(|(_, ran)| !ran.stdout.is_empty()).collect()
}

fn validate(format: &str, outputs: Vec<(String, Ran)>, made: &Scratch, command: &dyn Fn(&Path) -> Command) {
    assert!(outputs.len() > 30, "only {} outputs are validated", outputs.len());
    let mut tally = Tally::new(format!("outputs of {format}"));
    for (line, ran) in outputs {
        let file = made.write("output", &ran.stdout);
        let answer = program(command(&file)).env("PATH", &std::env::var("PATH").unwrap_or_default()).run();
        let faults = if answer.code() == 0 { Vec::new() } else { vec![format!("{}{}", answer.stdout, answer.stderr)] };
        tally.case(&line, &faults);
    }
    tally.finish("a program of continuous integration refuses the report");
}

#[test]
fn sarif_is_accepted_by_the_schema_of_oasis() {
    let validator = ["python3", "-c", "import jsonschema"];
    let Some(schema) = schema("SARIF_SCHEMA", "sarif-schema-2.1.0.json of OASIS", &validator) else { return };
    let made = Scratch::new();
    validate("sarif", printed(&made, "sarif"), &made, &|file| {
        let mut command = Command::new("python3");
        command.args(["-c", JSON_SCHEMA]).args([&schema, file]);
        command
    });
}

#[test]
fn junit_is_accepted_by_the_schema_of_jenkins() {
    let Some(schema) = schema("JUNIT_SCHEMA", "junit-10.xsd of Jenkins' xUnit plugin", &["xmllint", "--version"])
    else {
        return;
    };
    let made = Scratch::new();
    let mut outputs = printed(&made, "junit");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/verdicts");
    outputs.push(("test".to_owned(), cpufit(["test", folder, "-o", "junit"]).run()));
    validate("junit", outputs, &made, &|file| {
        let mut command = Command::new("xmllint");
        command.args(["--noout", "--schema"]).args([&schema, file]);
        command
    });
}
