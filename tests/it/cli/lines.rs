//! Command lines as kubectl users type them: arguments, standard output, standard error, exit code.
//!
//! `$DUMP` is the demo's cluster, `$MADE` a folder that the test fills.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use super::POLICY;
use crate::common::documents::before_the_upgrade;
use crate::common::{self, Ran, Scratch, cpufit, head, program};

const VM: &str = "\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: NAME, namespace: shop, labels: {app: NAME}}
spec: {runStrategy: Always, template: {spec: {domain: {devices: {}}}}}
";

/// Returns a folder with `manifests/a.yaml`, `manifests/sub/b.yaml`, `c.yaml` and a kustomization of the first.
pub(super) fn made() -> Scratch {
    let made = Scratch::new();
    made.write_json("before.json", &before_the_upgrade());
    std::fs::create_dir_all(made.path().join("manifests/sub")).unwrap();
    for (file, name) in [("manifests/a.yaml", "a"), ("manifests/sub/b.yaml", "b"), ("c.yaml", "c")] {
        made.write(file, VM.replace("NAME", name));
    }
    made.write(
        "lab.yaml",
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: web, namespace: lab}\n\
         spec: {runStrategy: Halted, template: {spec: {domain: {devices: {}}}}}\n",
    );
    made.write("manifests/kustomization.yaml", "resources: [a.yaml]\nnamePrefix: made-\n");
    made
}

/// Splits a line into words; quoted ones may contain blanks.
pub(super) fn words(line: &str, made: &Scratch) -> Vec<String> {
    let dump = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml");
    let mut out = vec![];
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, tail) = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').expect("a closing quote"),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        out.push(word.replace("$DUMP", dump.to_str().unwrap()).replace("$MADE", made.path().to_str().unwrap()));
        rest = tail.trim_start();
    }
    out
}

/// A command line, its exit code, and the expected words of standard output and standard error: all must be present; an
/// empty list means empty output; `=` before the first means exactly this text.
pub(super) type Row = (&'static str, i32, &'static [&'static str], &'static [&'static str]);

#[track_caller]
fn assert_row(row: &Row, ran: &Ran) -> Vec<String> {
    let (line, code, stdout, stderr) = row;
    let mut faults = Vec::new();
    if ran.code() != *code {
        faults.push(format!("{line}: exit {} in the place of {code}: {}", ran.code(), head(&ran.stderr)));
    }
    for (name, text, expected) in [("standard output", &ran.stdout, stdout), ("standard error", &ran.stderr, stderr)] {
        match expected {
            [] if !text.is_empty() => faults.push(format!("{line}: {name} should be empty: {}", head(text))),
            [first] if first.starts_with('=') => {
                if text.trim_end() != &first[1..] {
                    faults.push(format!("{line}: {name} is {}", head(text)));
                }
            }
            words => {
                for word in words.iter().filter(|word| !text.contains(**word)) {
                    faults.push(format!("{line}: {name} lacks {word:?}: {}", head(text)));
                }
            }
        }
    }
    faults
}

#[track_caller]
fn assert_rows(rows: &[Row]) {
    assert_rows_of(rows, &made());
}

#[track_caller]
pub(super) fn assert_rows_of(rows: &[Row], made: &Scratch) {
    // In a job of GitHub Actions, annotations are printed as well.
    let run = |row: &Row| assert_row(row, &cpufit(words(row.0, made)).env("GITHUB_ACTIONS", "").run());
    let faults: Vec<String> = rows.iter().flat_map(run).collect();
    assert!(faults.is_empty(), "{} of {} lines differ:\n{}", faults.len(), rows.len(), faults.join("\n"));
}

/// kubectl: `get` with the same arguments reads the same objects.
#[test]
fn guests_are_named_as_for_kubectl() {
    const DB: &[&str] = &["shop/db on node-a: host-model", "STUCK"];
    const TWO: &[&str] = &["shop/db on node-a", "shop/web"];
    const THREE: &[&str] =
        &["=virtualmachine.kubevirt.io/db\nvirtualmachine.kubevirt.io/ledger\nvirtualmachine.kubevirt.io/web"];
    assert_rows(&[
        ("explain vm/db -n shop --snapshot $DUMP", 0, DB, &[]),
        ("explain vm db -n shop --snapshot $DUMP", 0, DB, &[]),
        ("explain vmi/db -n shop --snapshot $DUMP", 0, DB, &[]),
        ("explain VirtualMachine/db -n shop --snapshot $DUMP", 0, DB, &[]),
        ("explain virtualmachines/db -n shop --snapshot $DUMP", 0, DB, &[]),
        ("explain virtualmachine.kubevirt.io/db -n shop --snapshot $DUMP", 0, DB, &[]),
        ("explain virtualmachineinstances.v1.kubevirt.io db -n shop --snapshot $DUMP", 0, DB, &[]),
        ("explain db -n shop --snapshot $DUMP", 0, DB, &[]),
        ("explain pod/virt-launcher-db-x7k2p -n shop --snapshot $DUMP", 0, DB, &[]),
        ("explain po virt-launcher-db-x7k2p -n shop --snapshot $DUMP", 0, DB, &[]),
        ("explain vm/db vm/web -n shop --snapshot $DUMP", 0, TWO, &[]),
        ("explain vm db web -n shop --snapshot $DUMP", 0, TWO, &[]),
        ("explain db web -n shop --snapshot $DUMP", 0, TWO, &[]),
        ("explain vm -n shop --snapshot $DUMP -o name", 0, THREE, &[]),
        ("explain vm -A --snapshot $DUMP -o name", 0, THREE, &[]),
        ("explain vm -n lab -A --snapshot $DUMP -o name", 0, THREE, &[]),
        (
            "explain -l kubevirt.io/none --snapshot $DUMP -A",
            0,
            &[],
            &["note: nothing that is asked for is in any namespace"],
        ),
        ("explain vm -n lab --snapshot $DUMP", 0, &[], &["note: nothing that is asked for is in namespace lab"]),
        ("explain vm -n lab --snapshot $DUMP -o json", 0, &["\"results\": []"], &["namespace lab"]),
        // One exists, one does not: kubectl prints the first, an error, and fails.
        (
            "explain db nowhere -n shop --snapshot $DUMP",
            2,
            DB,
            &["error: vm/nowhere and vmi/nowhere not found in namespace shop; nor is it a type, which are vm, vmi,"],
        ),
        (
            "explain vm/db vm/nowhere -n shop --snapshot $DUMP",
            2,
            DB,
            &["error: vm/nowhere not found in namespace shop"],
        ),
        ("explain vm/db --snapshot $DUMP", 2, &[], &["vm/db not found in namespace default", "-n"]),
        ("explain vm/db -A --snapshot $DUMP", 2, &[], &["by name across all namespaces"]),
        ("explain vm/db -l app=db --snapshot $DUMP", 2, &[], &["names and -l do not go together"]),
        ("explain vm/ --snapshot $DUMP", 2, &[], &["\"vm/\": use TYPE/NAME"]),
        ("explain vm vm/db --snapshot $DUMP", 2, &[], &["stands beside arguments of the form TYPE/NAME"]),
        ("explain deploy/db --snapshot $DUMP", 2, &[], &["\"deploy\" is not a type that this verb takes", "vm, vmi"]),
        ("explain node/node-a --snapshot $DUMP", 2, &[], &["\"node\" is not a type"]),
        ("explain vm/DB --snapshot $DUMP", 2, &[], &["\"DB\" is not a valid name"]),
        ("explain --snapshot $DUMP", 2, &[], &["TYPE/NAME"]),
        ("explain vm/db -n shop --snapshot $DUMP --no-headers", 0, DB, &[]),
        ("explain vm/db -n shop --snapshot $DUMP -o name", 0, &["=virtualmachine.kubevirt.io/db"], &[]),
        ("explain vm/db -n shop --snapshot $DUMP -o wide", 0, DB, &[]),
        ("check --snapshot $DUMP -f $MADE/[c].yam?", 0, &["shop/c "], &[]),
        ("check --snapshot $DUMP -f $MADE/no*.yaml", 2, &[], &["no*.yaml: no file matches this pattern"]),
        ("check --snapshot $DUMP -f $MADE/c**.yaml", 2, &[], &["the pattern is not valid"]),
        ("check -o wide --snapshot $DUMP -f $MADE/c.yaml", 0, &["NODES", "FILE", "c.yaml:1"], &[]),
        (
            "explain vm/db -n nowhere --snapshot $DUMP",
            2,
            &[],
            &["error: vm/db not found: there is no namespace nowhere"],
        ),
        (
            "explain db -n nowhere --snapshot $DUMP",
            2,
            &[],
            &["vm/db and vmi/db not found: there is no namespace nowhere"],
        ),
        ("explain vm -n nowhere --snapshot $DUMP", 0, &[], &["note: there is no namespace nowhere"]),
        ("explain vm -n a/b --server http://127.0.0.1:9", 2, &[], &["--namespace: a namespace may not contain /"]),
        ("explain vm -n .. --server http://127.0.0.1:9", 2, &[], &["--namespace: a namespace may not be .."]),
        ("audit -n nowhere --snapshot $DUMP", 0, &[], &["there is no namespace nowhere"]),
        ("diff $DUMP $DUMP -n nowhere", 0, &["nothing changed"], &["note: there is no namespace nowhere"]),
        ("diff $DUMP $DUMP -n lab", 0, &["nothing changed"], &["note: there is no guest in namespace lab"]),
        ("diff $DUMP $DUMP -l app=none", 0, &["nothing changed"], &["note: there is no guest with such labels"]),
        ("diff $DUMP $DUMP -n shop", 0, &["nothing changed"], &[]),
        ("snapshot -n nowhere --snapshot $DUMP", 0, &["kind: Node"], &["note: there is no namespace nowhere"]),
        ("snapshot -n lab --snapshot $DUMP", 0, &["kind: Node"], &["note: there is no guest in namespace lab"]),
        ("snapshot -n shop --snapshot $DUMP", 0, &["name: db"], &[]),
        ("recommend -l app=none --snapshot $DUMP", 2, &[], &["error: no node has such labels"]),
        ("-n shop", 2, &[], &["requires a subcommand", "audit"]),
        ("drain nowhere --snapshot $DUMP", 2, &[], &["error: node/nowhere not found"]),
    ]);
}

#[test]
fn options_stand_before_the_verb_or_after_it() {
    const DB: &[&str] = &["shop/db on node-a"];
    assert_rows(&[
        ("-n shop explain vm/db --snapshot $DUMP", 0, DB, &[]),
        ("--namespace=shop explain --snapshot $DUMP vm/db", 0, DB, &[]),
        ("-nshop explain vm/db --snapshot $DUMP", 0, DB, &[]),
        ("-n lab explain vm/db -n shop --snapshot $DUMP", 0, DB, &[]),
        ("explain -n '' vm/db --snapshot $DUMP", 2, &[], &["namespace default"]),
        ("-v=0 audit --snapshot $DUMP", 0, &["shop/db"], &[]),
        ("audit -v 3 --snapshot $DUMP", 0, &["shop/db"], &[]),
        ("audit -v --snapshot $DUMP", 2, &[], &["a value is required for"]),
        (
            "audit --snapshot $DUMP --context prod",
            2,
            &[],
            &["--context says which cluster to read, and --snapshot reads a dump"],
        ),
        ("--kubeconfig x audit --snapshot $DUMP", 2, &[], &["--kubeconfig says which cluster"]),
        ("audit --as jane --snapshot $DUMP", 2, &[], &["--as says which cluster"]),
        ("audit --as-group ops --server http://127.0.0.1:9", 2, &[], &["--as-group and --as-uid go with --as"]),
        ("audit --request-timeout x --snapshot $DUMP", 2, &[], &["expected seconds, or a duration"]),
        ("audit --request-timeout=5s --snapshot $DUMP", 0, &["shop/db"], &[]),
        ("audit --insecure-skip-tls-verify --snapshot $DUMP", 0, &["shop/db"], &[]),
        ("audit --insecure-skip-tls-verify=false --snapshot $DUMP", 0, &["shop/db"], &[]),
        ("audit --kubeconfig $MADE/c.yaml --context x", 2, &[], &["error: "]),
        ("audit --kubeconfig $MADE/none", 2, &[], &["none"]),
    ]);
}

/// kubectl drain accepts only NAME; kubectl get accepts the others.
#[test]
fn nodes_are_named_as_for_kubectl() {
    assert_rows(&[
        ("drain node-b --snapshot $DUMP", 0, &["node-b"], &[]),
        ("drain node/node-b --snapshot $DUMP", 0, &["node-b"], &[]),
        ("drain nodes node-b --snapshot $DUMP", 0, &["node-b"], &[]),
        ("drain no/node-b no/node-c --snapshot $DUMP", 0, &["node-b", "node-c"], &[]),
        ("drain vm/db --snapshot $DUMP", 2, &[], &["\"vm\" is not a type that this verb takes; it takes node"]),
        ("drain node --snapshot $DUMP", 2, &[], &["\"node\": use NAME, node NAME or node/NAME"]),
        ("drain node/ --snapshot $DUMP", 2, &[], &["\"node/\""]),
        ("drain -l kubernetes.io/hostname=node-b --snapshot $DUMP", 0, &["node-b: no guests"], &[]),
        ("drain -l kubernetes.io/hostname=none --snapshot $DUMP", 2, &[], &["no node has such labels"]),
        ("drain node-b -l a=b --snapshot $DUMP", 2, &[], &["cannot be used with"]),
        ("drain --all -l a=b --snapshot $DUMP", 2, &[], &["cannot be used with"]),
        ("drain node-a --no-headers --snapshot $DUMP", 1, &["shop/db"], &[]),
        ("drain node-a -o name --snapshot $DUMP", 1, &["virtualmachineinstance.kubevirt.io/db"], &[]),
        ("drain node-b -o name --snapshot $DUMP", 0, &[], &[]),
        // A drain moves the guests of all namespaces; kubectl drain ignores the option too.
        (
            "drain node-a -n lab --snapshot $DUMP",
            1,
            &["shop/db"],
            &["drain judges the guests of all namespaces: --namespace is ignored"],
        ),
        (
            "recommend -n lab --snapshot $DUMP",
            0,
            &["MODEL"],
            &["recommend judges the guests of all namespaces: --namespace is ignored"],
        ),
        ("drain node-a --ignore-daemonsets --snapshot $DUMP", 2, &[], &["it predicts what kubectl drain would do"]),
        (
            "drain node-a --cache-file x --snapshot $DUMP",
            2,
            &[],
            &["unexpected argument '--cache-file' found\n\nUsage"],
        ),
        ("recommend --no-headers --snapshot $DUMP", 0, &["recommended"], &[]),
        ("recommend -l kubernetes.io/hostname=node-b --snapshot $DUMP", 0, &["1/1"], &[]),
        ("recommend --selector kubernetes.io/hostname=node-b --snapshot $DUMP", 0, &["1/1"], &[]),
        ("recommend -o name --snapshot $DUMP", 0, &["cpupolicy.cpufit.io/"], &[]),
    ]);
}

#[test]
fn an_audit_is_narrowed_as_kubectl_get_is() {
    const ALL: &[&str] = &["GUEST", "shop/db", "shop/ledger", "shop/web", "3 guests"];
    assert_rows(&[
        ("audit --snapshot $DUMP", 0, ALL, &[]),
        ("audit -n shop --snapshot $DUMP", 0, ALL, &[]),
        ("audit -A -n lab --snapshot $DUMP", 0, ALL, &[]),
        ("audit -n lab --snapshot $DUMP", 0, &[], &["note: there is no guest in namespace lab"]),
        ("audit -l app=db --snapshot $DUMP -o name", 0, &["=virtualmachineinstance.kubevirt.io/db"], &[]),
        (
            "audit -l 'app in (db, ledger)' --snapshot $DUMP -o name",
            0,
            &["=virtualmachineinstance.kubevirt.io/ledger\nvirtualmachineinstance.kubevirt.io/db"],
            &[],
        ),
        ("audit --snapshot $DUMP -o name", 0, &["/web"], &[]),
        ("audit --snapshot $DUMP --snapshot $MADE/la[b].yaml -o name", 0, &["/web"], &["are of 2 namespaces"]),
        (
            "audit --snapshot $DUMP --snapshot $MADE/lab.yaml -o name",
            0,
            &["/web"],
            &["note: the names are of 2 namespaces"],
        ),
        ("audit --no-headers=false --all-namespaces=true --snapshot $DUMP", 0, ALL, &[]),
        ("audit -l app!=db --snapshot $DUMP --no-headers -o wide", 0, &["shop/ledger", "shop/web"], &[]),
        ("audit -l 'a b' --snapshot $DUMP", 2, &[], &["\"a b\" is no label key"]),
        ("audit -l app=x, --snapshot $DUMP", 2, &[], &["is no label key"]),
    ]);
    let made = made();
    let bare = cpufit(words("audit --no-headers --snapshot $DUMP", &made)).run();
    assert!(bare.stdout.starts_with("shop/ledger"), "{}", head(&bare.stdout));
    assert!(
        bare.stdout.lines().all(|line| line.starts_with("shop/")),
        "a script would read totals as rows: {}",
        bare.stdout
    );
}

#[test]
fn manifests_are_given_as_to_kubectl_apply() {
    const A: &[&str] = &["=virtualmachine.kubevirt.io/a"];
    const AC: &[&str] = &["=virtualmachine.kubevirt.io/a\nvirtualmachine.kubevirt.io/c"];
    const AB: &[&str] = &["=virtualmachine.kubevirt.io/a\nvirtualmachine.kubevirt.io/b"];
    assert_rows(&[
        ("check --snapshot $DUMP -o name -f $MADE/manifests/a.yaml", 0, A, &[]),
        ("check --snapshot $DUMP -o name $MADE/manifests/a.yaml", 0, A, &[]),
        ("check --snapshot $DUMP -o name -f $MADE/manifests/a.yaml,$MADE/c.yaml", 0, AC, &[]),
        ("check --snapshot $DUMP -o name -f $MADE/manifests/a.yaml -f $MADE/c.yaml", 0, AC, &[]),
        ("check --snapshot $DUMP -o name $MADE/manifests/a.yaml $MADE/c.yaml", 0, AC, &[]),
        ("check --snapshot $DUMP -o name -f $MADE/manifests/a.yaml $MADE/c.yaml", 0, AC, &[]),
        ("check --snapshot $DUMP -o name -f $MADE/manifests/sub", 0, &["=virtualmachine.kubevirt.io/b"], &[]),
        (
            "check --snapshot $DUMP -l app=c -o name -f $MADE/manifests/a.yaml,$MADE/c.yaml",
            0,
            &["=virtualmachine.kubevirt.io/c"],
            &[],
        ),
        (
            "explain --snapshot $DUMP -l app=c -o name -f $MADE/manifests/a.yaml,$MADE/c.yaml",
            0,
            &["=virtualmachine.kubevirt.io/c"],
            &[],
        ),
        ("explain --snapshot $DUMP -o name -f $MADE/manifests/a.yaml -f $MADE/manifests/sub/b.yaml", 0, AB, &[]),
        ("check --snapshot $DUMP -R -k $MADE/manifests", 2, &[], &["cannot be used with"]),
        ("check --snapshot $DUMP -f $MADE/c.yaml -k $MADE/manifests", 2, &[], &["cannot be used with"]),
        ("check --snapshot $DUMP", 2, &[], &["FILE"]),
        ("check --snapshot $DUMP no-such.yaml", 2, &[], &["no-such.yaml"]),
        ("check --snapshot $DUMP -f '' ", 2, &[], &["error: "]),
        ("check --snapshot - -f -", 2, &[], &["standard input (-) can be read only once"]),
        ("check --snapshot $DUMP -f - -f -", 2, &[], &["standard input (-) can be read only once"]),
        ("check --snapshot $DUMP - -", 2, &[], &["standard input (-) can be read only once"]),
    ]);
    let made = made();
    std::fs::remove_file(made.path().join("manifests/kustomization.yaml")).unwrap();
    let deep = cpufit(words("check --snapshot $DUMP -o name -R -f $MADE/manifests", &made)).run();
    assert_eq!(deep.stdout.trim(), AB[0].trim_start_matches('='), "{}", head(&deep.stderr));
    let piped = cpufit(words("check --snapshot $DUMP -o name -", &made)).stdin(VM.replace("NAME", "p")).run();
    assert_eq!(piped.stdout.trim(), "virtualmachine.kubevirt.io/p", "{}", head(&piped.stderr));
}

/// Stub programs with these names replace the installed ones; without any, the error says so.
#[test]
fn a_kustomization_is_built_by_the_program_that_is_there() {
    let (made, tools) = (made(), Scratch::new());
    let line = "check --snapshot $DUMP -o name -k $MADE/manifests";
    let path = tools.path().to_str().unwrap();
    let none = cpufit(words(line, &made)).env("PATH", path).run();
    assert_eq!(none.code(), 2);
    assert!(none.stderr.contains("neither kustomize nor kubectl is installed"), "{}", none.stderr);
    let tool = |name: &str, script: &str| {
        let file = tools.write(name, format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    tool("kubectl", "[ \"$1\" = kustomize ] && while read -r line; do echo \"$line\"; done < \"$2/a.yaml\"");
    let ran = cpufit(words(line, &made)).env("PATH", path).run();
    assert_eq!((ran.code(), ran.stdout.trim()), (0, "virtualmachine.kubevirt.io/a"), "{}", ran.stderr);
    let lost = VM.replace("NAME", "a").replace("domain: {", "nodeSelector: {nowhere: 'true'}, domain: {");
    made.write("manifests/a.yaml", lost);
    let sarif = format!("{line} -o sarif").replace("-o name ", "");
    let ran = cpufit(words(&sarif, &made)).env("PATH", path).env("GITHUB_ACTIONS", "true").run();
    let at = ran.json()["runs"][0]["results"][0]["locations"][0]["physicalLocation"].clone();
    assert!(at["artifactLocation"]["uri"].as_str().unwrap().ends_with("/manifests/kustomization.yaml"), "{at}");
    assert!(at["region"].is_null(), "a line of kustomize's output is in no file: {at}");
    assert!(
        ran.stderr.contains("/manifests/kustomization.yaml,title="),
        "the annotation is on no file: {}",
        ran.stderr
    );
    tool("kustomize", "echo 'Error: no such patch' >&2; exit 1");
    let ran = cpufit(words(line, &made)).env("PATH", path).run();
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("manifests: kustomize build: no such patch"), "{}", ran.stderr);
}

#[test]
fn the_plugin_prints_its_name_as_kubectl_cpufit() {
    let folder = Scratch::new();
    let link = folder.path().join("kubectl-cpufit");
    symlink(common::BIN, &link).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&link);
        command.args(arguments);
        program(command).run()
    };
    for arguments in [&["explain", "--help"][..], &["--help"], &["help", "audit"]] {
        let ran = run(arguments);
        assert!(ran.stdout.contains("Usage: kubectl cpufit"), "{arguments:?}: {}", head(&ran.stdout));
    }
    assert!(run(&["explain", "--help"]).stdout.contains("\n  kubectl cpufit explain vm/db -n shop\n"));
    assert!(
        run(&["explain"]).stderr.contains("Usage: kubectl cpufit explain"),
        "the plugin's help names a command that kubectl does not know"
    );
    let itself = cpufit(["explain", "--help"]).run();
    assert!(
        itself.stdout.contains("Usage: cpufit explain") && itself.stdout.contains("\n  cpufit explain vm/db"),
        "the program's help names the plugin"
    );
}

#[test]
fn both_names_of_completion_print_the_script() {
    for verb in ["completion", "completions"] {
        let ran = cpufit([verb, "bash"]).run();
        assert_eq!(ran.code(), 0);
        assert!(ran.stdout.contains("complete -o nospace"), "{}", head(&ran.stdout));
    }
    for (shell, words) in
        [("zsh", "#compdef cpufit"), ("fish", "complete --keep-order"), ("kubectl", "exec kubectl-cpufit __complete")]
    {
        let ran = cpufit(["completion", shell]).run();
        assert!(ran.code() == 0 && ran.stdout.contains(words), "{shell}: {}", head(&ran.stdout));
    }
}

const GATED: &str = "\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: lost, namespace: shop}
spec: {runStrategy: Always, template: {spec: {domain: {cpu: {model: NoSuchModel}, devices: {}}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: 'a<b>&c', namespace: shop}
";

/// Names that `-o name` prints can be given to kubectl.
#[test]
fn names_have_the_group_of_the_object() {
    let made = made();
    made.write("strict.yaml", POLICY);
    made.write("foreign.yaml", GATED.replace("kubevirt.io/v1", "foo.io/v1"));
    made.write(
        "move.yaml",
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstanceMigration\nmetadata: {name: move, namespace: shop}\nspec: {vmiName: db}\n",
    );
    let rows: &[Row] = &[
        (
            "check --snapshot $DUMP -o name -f $MADE/foreign.yaml",
            0,
            &["=virtualmachine.foo.io/lost\nconfigmap/a<b>&c"],
            &["note: none of 2 objects"],
        ),
        ("check --snapshot $DUMP -o name -f $MADE/strict.yaml", 0, &["=cpupolicy.cpufit.io/strict"], &[]),
        (
            "check --snapshot $DUMP -o name -f $MADE/move.yaml",
            0,
            &["=virtualmachineinstancemigration.kubevirt.io/move"],
            &[],
        ),
        (
            "explain --snapshot $DUMP -o name -f $MADE/move.yaml",
            0,
            &["=virtualmachineinstancemigration.kubevirt.io/move"],
            &[],
        ),
    ];
    assert_rows_of(rows, &made);
}

/// Exit codes for gates: 0 passed, 1 failed, 2 nothing was judged.
#[test]
fn a_pipeline_fails_on_the_state_that_is_asked_for() {
    const LOST: &[&str] = &["VirtualMachine", "shop/lost", "unschedulable"];
    let made = made();
    made.write("gated.yaml", GATED);
    made.write("elsewhere.yaml", GATED.replace("shop", "nowhere"));
    made.write("plain.yaml", GATED.replace(", namespace: shop", ""));
    made.write("namespace.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: nowhere}\n");
    made.write(
        "nodes.yaml",
        "apiVersion: v1\nkind: Node\nmetadata: {name: plain, labels: {kubernetes.io/arch: amd64}}\n",
    );
    made.write("strict.yaml", POLICY);
    made.write(
        "pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec: {containers: []}\n",
    );
    made.write("broken.yaml", POLICY.replace("Unschedulable", "Sometimes"));
    made.write("config.yaml", GATED.split_once("---\n").unwrap().1);
    let rows: &[Row] = &[
        ("check --snapshot $DUMP -f $MADE/gated.yaml", 0, LOST, &[]),
        ("check --snapshot $DUMP -f $MADE/gated.yaml --fail-on denied", 0, LOST, &[]),
        ("check --snapshot $DUMP -f $MADE/gated.yaml --fail-on unschedulable", 1, LOST, &[]),
        ("check --snapshot $DUMP -f $MADE/gated.yaml --fail-on pinned", 1, LOST, &[]),
        ("check --snapshot $DUMP -f $MADE/gated.yaml --fail-on=fragile", 1, LOST, &[]),
        ("check --snapshot $DUMP -f $MADE/gated.yaml --fail-on unknown", 0, LOST, &[]),
        ("check --snapshot $DUMP -f $MADE/gated.yaml --fail-on unknown,pinned", 1, LOST, &[]),
        ("check --snapshot $DUMP -f $MADE/gated.yaml --policy $MADE/strict.yaml", 1, &["NO"], &[]),
        ("check --snapshot $DUMP -f $MADE/gated.yaml --policy $MADE/strict.yaml --fail-on unknown", 1, &["NO"], &[]),
        ("check --snapshot $DUMP -f $MADE/gated.yaml --fail-on sometimes", 2, &[], &["invalid value 'sometimes'"]),
        (
            "check --snapshot $MADE/config.yaml -f $MADE/gated.yaml --fail-on unknown",
            2,
            &[],
            &[
                "there is no KubeVirt: no KubeVirt resource, no guest, and no node with its labels: --fail-on would pass",
            ],
        ),
        ("check --snapshot $MADE/config.yaml -f $MADE/gated.yaml", 0, &["unknown"], &["no node"]),
        ("check --snapshot $MADE/nodes.yaml -f $MADE/gated.yaml --fail-on pinned", 2, &[], &["there is no KubeVirt"]),
        ("check --snapshot $DUMP -f $MADE/gated.yaml -n nowhere --fail-on pinned", 2, &[], &["nowhere"]),
        (
            "check --snapshot $DUMP -f $MADE/elsewhere.yaml --fail-on pinned",
            2,
            &[],
            &["there is no namespace nowhere, nor is one among the manifests", "which policies govern guests there"],
        ),
        (
            "check --snapshot $DUMP -f $MADE/elsewhere.yaml",
            0,
            &["unschedulable"],
            &["note: there is no namespace nowhere, nor is one among the manifests"],
        ),
        (
            "explain --snapshot $DUMP -f $MADE/elsewhere.yaml",
            0,
            &["lost"],
            &["note: there is no namespace nowhere, nor is one among the manifests"],
        ),
        ("explain --snapshot $DUMP -f $MADE/elsewhere.yaml,$MADE/namespace.yaml -o name", 0, &["lost"], &[]),
        (
            "check --snapshot $DUMP -f $MADE/elsewhere.yaml,$MADE/namespace.yaml --fail-on pinned",
            1,
            &["unschedulable"],
            &[],
        ),
        (
            "check --snapshot $DUMP -f $MADE/plain.yaml -n nowhere --fail-on pinned",
            2,
            &[],
            &["there is no namespace nowhere"],
        ),
        // No object of a judged kind: a note, and no gate.
        (
            "check --snapshot $DUMP -f $MADE/config.yaml",
            0,
            &["ConfigMap"],
            &["note: none of 1 object is of a kind that is judged"],
        ),
        (
            "check --snapshot $DUMP -f $MADE/config.yaml --fail-on denied",
            2,
            &[],
            &["none of 1 object is of a kind that is judged: --fail-on would pass"],
        ),
        ("check --snapshot $DUMP -f $MADE/gated.yaml -l a=b --fail-on pinned", 2, &[], &["no object is selected"]),
        ("check --snapshot $DUMP -f $MADE/pod.yaml", 0, &["shop/web"], &["note: none of 1 object"]),
        ("check --snapshot $DUMP -f $MADE/pod.yaml --fail-on denied", 2, &[], &["--fail-on would pass"]),
        // Policies among the manifests.
        ("check --snapshot $DUMP -f $MADE/strict.yaml", 0, &["CPUPolicy", "strict"], &[]),
        ("check --snapshot $DUMP -f $MADE/strict.yaml --fail-on denied", 0, &["CPUPolicy"], &[]),
        ("check --snapshot $DUMP -f $MADE/broken.yaml", 2, &[], &["broken.yaml, document 1", "enforce", "Sometimes"]),
    ];
    assert_rows_of(rows, &made);
}

#[test]
fn a_gate_on_a_cluster_fails_where_nothing_can_be_judged() {
    let made = made();
    made.write("gated.yaml", GATED);
    made.write("config.yaml", GATED.split_once("---\n").unwrap().1);
    made.write("nodeless.yaml", VM.replace("NAME", "alone"));
    let rows: &[Row] = &[
        ("audit --snapshot $DUMP --fail-on own-node", 1, &["shop/ledger"], &[]),
        ("audit --snapshot $DUMP -l app=web --fail-on fragile", 0, &["shop/web"], &[]),
        ("audit --snapshot $DUMP -l app=web --fail-on own-node,unknown", 0, &["shop/web"], &[]),
        ("audit --snapshot $DUMP --fail-on unknown,own-node", 1, &["shop/ledger"], &[]),
        ("audit --snapshot $MADE/nodeless.yaml", 0, &["UNKNOWN"], &["holds no node"]),
        ("audit --snapshot $MADE/nodeless.yaml --fail-on unknown", 2, &[], &["holds no node", "--fail-on would pass"]),
        (
            "check --snapshot $MADE/nodeless.yaml -f $MADE/gated.yaml --fail-on denied",
            2,
            &[],
            &["holds no node", "--fail-on would pass"],
        ),
        (
            "audit --snapshot $DUMP -n nowhere --fail-on pinned",
            2,
            &[],
            &["error: there is no ", "nowhere", "--fail-on would pass"],
        ),
        ("audit --snapshot $DUMP -l app=none --fail-on pinned", 2, &[], &["there is no guest with such labels"]),
        (
            "audit --snapshot $MADE/config.yaml --fail-on pinned",
            2,
            &[],
            &["there is no KubeVirt: no KubeVirt resource, no guest"],
        ),
    ];
    assert_rows_of(rows, &made);
}

#[test]
fn programs_of_continuous_integration_are_answered_in_their_formats() {
    let made = made();
    made.write("gated.yaml", GATED);
    let run = |more: &str, ci: &str| {
        let line = format!("check --snapshot $DUMP -f $MADE/gated.yaml --fail-on pinned {more}");
        cpufit(words(&line, &made)).env("GITHUB_ACTIONS", ci).run()
    };
    let junit = run("-o junit", "");
    assert_eq!((junit.code(), junit.stderr.as_str()), (1, ""), "{}", junit.stdout);
    for words in [
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"cpufit check\" tests=\"2\" failures=\"1\" errors=\"0\">",
        "tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"1\">",
        "<testcase classname=\"VirtualMachine\" name=\"shop/lost #0\">",
        "<failure type=\"unschedulable\" message=\"unschedulable: ",
        "name=\"shop/a&lt;b&gt;&amp;c #1\"><skipped message=",
    ] {
        assert!(junit.stdout.contains(words), "{words} is missing: {}", junit.stdout);
    }
    assert_eq!(junit.stdout.matches("<testcase").count(), 2, "a test case of a manifest is missing or there twice");
    assert!(junit.stdout.ends_with("</testsuites>\n"), "the report is cut off");

    let sarif = run("-o sarif", "");
    assert_eq!(sarif.code(), 1, "{}", sarif.stderr);
    let sarif = sarif.json();
    assert_eq!(sarif["version"], "2.1.0");
    let (driver, results) = (&sarif["runs"][0]["tool"]["driver"], sarif["runs"][0]["results"].as_array().unwrap());
    assert_eq!(driver["name"], "cpufit");
    assert!(results.iter().any(|result| result["level"] == "error"), "{results:?}");
    for result in results {
        assert!(driver["rules"].as_array().unwrap().iter().any(|rule| rule["id"] == result["ruleId"]), "{result}");
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()), "{result}");
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.ends_with("gated.yaml"), "{uri}");
        assert_eq!(result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"], "VirtualMachine shop/lost #0");
    }

    let github = run("-o json", "true");
    let error = github.stderr.lines().find(|line| line.starts_with("::error file=")).expect("an annotation");
    assert!(error.contains("gated.yaml,line=1,title=VirtualMachine shop/lost #0::unschedulable: "), "{error}");
    assert_eq!(github.json()["results"][0]["verdict"], "unschedulable", "annotations do not spoil the output");
}

/// The exit code of a pipe is that of its last program: a recipe with a gate must keep the gate's.
#[test]
fn no_recipe_loses_an_exit_code_in_a_pipe() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let (mut seen, mut faults) = (0, Vec::new());
    for file in docs.chain([root.join("README.md"), root.join("demo/README.md")]).filter(|file| file.is_file()) {
        let text = std::fs::read_to_string(&file).unwrap();
        for block in text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            for line in block.lines() {
                let gate = ["check", "test", "audit", "drain", "diff"]
                    .iter()
                    .find_map(|verb| line.split_once(&format!("cpufit {verb}")).map(|(_, rest)| rest));
                let Some(rest) = gate else { continue };
                seen += 1;
                // Text in quotes, and after `||`, is not a pipe.
                let bare: String = rest.split('\'').step_by(2).collect();
                if bare.replace("||", "").contains('|') && !block.contains("pipefail") {
                    faults.push(format!("{}: {line}", file.display()));
                }
            }
        }
    }
    assert!(seen > 10, "only {seen} recipes were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
