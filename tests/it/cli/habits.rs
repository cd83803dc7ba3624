//! More command lines, compared with kubectl's behaviour: unusual orders, repeated options, invalid files.

use std::process::{Command, Stdio};

use crate::common::{BIN, cpufit};

use super::lines::{Row, assert_rows_of, made, words};

fn assert_rows(rows: &[Row]) {
    let made = made();
    let vm = std::fs::read_to_string(made.path().join("c.yaml")).unwrap();
    made.write("crlf.yaml", vm.replace('\n', "\r\n"));
    made.write("bom.yaml", format!("\u{feff}{vm}"));
    made.write("empty.yaml", "");
    made.write(
        "stuck.yaml",
        "{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: stuck, namespace: shop}, \
          spec: {runStrategy: Always, template: {spec: {domain: {cpu: {model: EPYC-Genoa}, devices: {}}}}}}",
    );
    made.write(
        "strict.yaml",
        "{apiVersion: cpufit.io/v1alpha1, kind: CPUPolicy, metadata: {name: strict}, spec: {enforce: Fragile}}",
    );
    made.write("comment.yaml", "# nothing\n---\n---\n");
    made.write("none.json", "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": []}");
    made.write("kindless.yaml", "{}");
    std::fs::write(made.path().join("latin.yaml"), b"name: caf\xe9\n").unwrap();
    let utf16 = format!("\u{feff}{}", std::fs::read_to_string(made.path().join("c.yaml")).unwrap());
    let utf16: Vec<u8> = utf16.encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(made.path().join("utf16.yaml"), utf16).unwrap();
    std::fs::write(made.path().join("utf32.yaml"), b"\xff\xfe\0\0a\0\0\0").unwrap();
    std::fs::create_dir_all(made.path().join("mixed")).unwrap();
    std::fs::create_dir_all(made.path().join("nothing")).unwrap();
    for (name, text) in [
        ("mixed/vm.yaml", vm.as_str()),
        ("mixed/empty.yaml", "# nothing\n"),
        ("mixed/README.md", "# no manifest"),
        ("mixed/run.sh", "exit 1"),
    ] {
        made.write(name, text);
    }
    assert_rows_of(rows, &made);
}

/// kubectl: the last occurrence of an option counts, in any position; `--` ends the options.
#[test]
fn options_may_be_repeated_and_placed_anywhere() {
    const DB: &[&str] = &["shop/db on node-a"];
    const NAMES: &[&str] = &["=virtualmachineinstance.kubevirt.io/db"];
    assert_rows(&[
        ("explain vm/db -n lab -n shop --snapshot $DUMP", 0, DB, &[]),
        ("explain vm/db -n shop -n lab --snapshot $DUMP", 2, &[], &["vm/db not found in namespace lab"]),
        ("audit -o json -o name -l app=db --snapshot $DUMP", 0, NAMES, &[]),
        ("audit -l app=web -l app=db -o name --snapshot $DUMP", 0, NAMES, &[]),
        ("audit -A -A -l app=db -o name --snapshot $DUMP", 0, NAMES, &[]),
        ("-A audit -l app=db -o name --snapshot $DUMP", 0, NAMES, &[]),
        ("-l app=db audit -o name --snapshot $DUMP", 0, NAMES, &[]),
        ("-o name --snapshot $DUMP -l app=db audit", 0, NAMES, &[]),
        ("-n shop --snapshot $DUMP explain vm/db", 0, DB, &[]),
        ("-n audit explain vm/db --snapshot $DUMP", 2, &[], &["vm/db not found: there is no namespace audit"]),
        ("-A -n lab audit -l app=db -o name --snapshot $DUMP", 0, NAMES, &[]),
        ("--no-headers audit -l app=db --snapshot $DUMP", 0, &["shop/db"], &[]),
        ("explain --snapshot $DUMP -n shop -- vm/db", 0, DB, &[]),
        ("explain --snapshot $DUMP -n shop -- vm db", 0, DB, &[]),
        ("explain --snapshot $DUMP -- vm/db -n shop", 2, &[], &["\"-n\" stands beside"]),
        ("audit --snapshot=$DUMP --selector=app=db --output=name", 0, NAMES, &[]),
        ("audit -lapp=db -oname --snapshot $DUMP", 0, NAMES, &[]),
        // `kubectl drain` without names takes no empty selector.
        ("drain --selector= --snapshot $DUMP", 2, &[], &["--selector is empty"]),
        ("audit -o NAME --snapshot $DUMP", 2, &[], &["invalid value 'NAME'"]),
        ("-A", 2, &[], &["Usage: cpufit"]),
        ("-n shop", 2, &[], &["Usage: cpufit"]),
    ]);
}

/// A program that writes into a closed pipe ends by SIGPIPE, which a shell reports as 141.
#[test]
fn a_closed_pipe_does_not_change_the_exit_code() {
    let made = made();
    for line in [
        "audit --fail-on pinned --snapshot $DUMP",
        "audit -o json --snapshot $DUMP",
        "explain vm/db -n shop --snapshot $DUMP",
        "drain node-a --snapshot $DUMP",
        "check $MADE/c.yaml --snapshot $DUMP",
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(BIN);
        command.args(words(line, &made)).stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
        let status = command.status().expect("the program under test cannot be started");
        assert_eq!(status.code(), Some(141), "{line} | head: under pipefail a gate passes that should not");
    }
}

/// kubectl get with names prints these; `audit` without names prints all.
#[test]
fn an_audit_takes_names() {
    const DB: &[&str] = &["=virtualmachineinstance.kubevirt.io/db"];
    assert_rows(&[
        ("audit vm/db -n shop -o name --snapshot $DUMP", 0, DB, &[]),
        ("audit vmi db -n shop -o name --snapshot $DUMP", 0, DB, &[]),
        ("audit db -n shop -o name --snapshot $DUMP", 0, DB, &[]),
        ("audit virtualmachineinstance.kubevirt.io/db -n shop -o name --snapshot $DUMP", 0, DB, &[]),
        ("audit vm/db vmi/db -n shop -o name --snapshot $DUMP", 0, DB, &[]),
        ("audit vmi -l app=db -A -o name --snapshot $DUMP", 0, DB, &[]),
        ("audit vm -n lab --snapshot $DUMP", 0, &[], &["there is no guest in namespace lab"]),
        (
            "audit vm/db vm/nowhere -n shop -o name --snapshot $DUMP",
            2,
            DB,
            &["error: vm/nowhere not found in namespace shop"],
        ),
        ("audit vm/nowhere -n shop --snapshot $DUMP", 2, &[], &["error: vm/nowhere not found in namespace shop"]),
        ("audit vm/db --snapshot $DUMP", 2, &[], &["vm/db not found in namespace default"]),
        ("audit vm/db -A --snapshot $DUMP", 2, &[], &["by name across all namespaces"]),
        ("audit vm/db -l app=db -n shop --snapshot $DUMP", 2, &[], &["names and -l do not go together"]),
        ("audit node/node-a --snapshot $DUMP", 2, &[], &["\"node\" is not a type that this verb takes", "vm, vmi"]),
        ("audit vm/db -n shop --fail-on pinned --snapshot $DUMP", 1, &["shop/db"], &[]),
        ("audit vm/web -n shop --fail-on pinned --snapshot $DUMP", 0, &["shop/web"], &[]),
    ]);
}

/// kubectl diff has no selector, but kubectl get has, and `-o name`.
#[test]
fn a_diff_can_be_narrowed_and_names_its_guests() {
    assert_rows(&[
        ("diff $DUMP $DUMP -n shop", 0, &["nothing changed"], &[]),
        ("diff $DUMP $DUMP -A -n lab --no-headers", 0, &["nothing changed"], &[]),
        ("diff $MADE/before.json $DUMP -o name", 1, &["=virtualmachineinstance.kubevirt.io/ledger"], &[]),
        ("diff $MADE/before.json $DUMP -n shop -o name", 1, &["=virtualmachineinstance.kubevirt.io/ledger"], &[]),
        ("diff $MADE/before.json $DUMP -n lab -o name", 0, &[], &["note: there is no guest in namespace lab"]),
        ("diff $MADE/before.json $DUMP -l app=db -o name", 0, &[], &[]),
        (
            "diff $MADE/before.json $DUMP -l app=ledger -A -o name",
            1,
            &["=virtualmachineinstance.kubevirt.io/ledger"],
            &[],
        ),
        ("diff $MADE/before.json $DUMP -l app=db", 0, &["lost cpu-feature amd-stibp", "no guest is worse off"], &[]),
        ("diff -f $DUMP -f $DUMP", 2, &[], &["tip: the dumps are the arguments: diff OLD, or diff OLD NEW"]),
    ]);
}

/// kubectl refuses options that a verb does not support; here the error also names the alternative.
#[test]
fn an_unsupported_option_is_refused_with_the_alternative() {
    assert_rows(&[
        (
            "audit -f $MADE/c.yaml --snapshot $DUMP",
            2,
            &[],
            &["tip: this verb judges the guests of a cluster", "check -f"],
        ),
        ("snapshot -l app=db --snapshot $DUMP", 2, &[], &["tip: a snapshot holds all guests"]),
        ("snapshot -f $DUMP", 2, &[], &["tip: use --snapshot to read a dump"]),
        ("check -A -f $MADE/c.yaml --snapshot $DUMP", 2, &[], &["tip: a manifest names the namespace"]),
        ("recommend node-a --snapshot $DUMP", 2, &[], &["tip: a CPU model is recommended for a pool of nodes"]),
        ("recommend -A --snapshot $DUMP", 0, &["recommended"], &[]),
        ("drain node-b -A --snapshot $DUMP", 0, &["node-b"], &[]),
        ("test --snapshot $DUMP $MADE", 2, &[], &["tip: a cpufit-test.yaml names its manifests"]),
        ("manifests -o name", 0, &["deployment.apps/cpufit", "namespace/cpufit-system"], &[]),
        ("manifests --crd -o name", 0, &["=customresourcedefinition.apiextensions.k8s.io/cpupolicies.cpufit.io"], &[]),
        ("certs -o json", 2, &[], &["tip: this verb makes certificates in the folder"]),
        ("completion -A bash", 2, &[], &["tip: this verb prints a completion script"]),
    ]);
}

/// Options of kubectl that no verb has, and the formats of kubectl that print chosen fields.
#[test]
fn options_of_kubectl_are_answered_with_what_does_the_same() {
    const FIELDS: &[&str] = &["]\n\n  tip: use -o json, and choose fields with jq\n"];
    const READING: &[&str] = &["tip: leave it out: it is about how kubectl reads, and changes no answer\n"];
    const USAGE: &str = "\n\nUsage: cpufit explain [OPTIONS] [TYPE/NAME]...\n";
    assert_rows(&[
        ("check -f $MADE/c.yaml --dry-run=server", 2, &[], &["tip: this verb writes nothing"]),
        ("check -f $MADE/c.yaml --warnings-as-errors", 2, &[], &["tip: use --fail-on", "--fail-on fragile"]),
        ("audit --warnings-as-errors", 2, &[], &["tip: use --fail-on", "--fail-on fragile"]),
        ("audit -w", 2, &[], &["tip: the output is of one instant"]),
        ("explain vm/db --watch", 2, &[], &["tip: the output is of one instant"]),
        ("audit --sort-by=.metadata.name", 2, &[], &["tip: guests are listed worst first"]),
        ("explain vm --sort-by .metadata.name", 2, &[], &["tip: use -o json and sort it"]),
        (
            "audit --client-certificate a.crt",
            2,
            &[],
            &["tip: a client certificate belongs to a user", "set-credentials"],
        ),
        ("drain node-a --client-key=a.key", 2, &[], &["tip: a client certificate belongs to a user"]),
        ("drain node-a --dry-run=client", 2, &[], &["tip: this verb evicts nothing"]),
        (
            "audit --field-selector spec.nodeName=node-a",
            2,
            &[],
            &["tip: name the guests, as TYPE/NAME, or select them"],
        ),
        ("drain --field-selector=metadata.name=node-a", 2, &[], &["tip: select the nodes by their labels, with -l"]),
        ("explain vm --show-labels", 2, &[], &["tip: kubectl get prints labels"]),
        ("audit -L app", 2, &[], &["tip: kubectl get prints labels"]),
        ("explain vm/nosuch --ignore-not-found", 2, &[], &["tip: a guest that does not exist is an error"]),
        ("audit --chunk-size=500", 2, &[], READING),
        ("explain vm/db --cache-dir /tmp/cache", 2, &[], READING),
        ("version --match-server-version", 2, &[], READING),
        ("snapshot --disable-compression", 2, &[], READING),
        ("completion tcsh", 2, &[], &["[possible values: bash, elvish, fish, powershell, zsh, kubectl]\n\nFor more"]),
        ("audit --fail-on pin", 2, &[], &["a similar value exists: 'pinned'"]),
        ("audit -o custom-columns=A:.b", 2, &[], FIELDS),
        ("explain vm -o jsonpath={.items}", 2, &[], FIELDS),
        ("check -f $MADE/c.yaml -o go-template-file=a", 2, &[], FIELDS),
        // Only the options that the verb needs stand in the usage, not those that were given.
        ("explain --snapshot $DUMP -k a --nosuch", 2, &[], &[USAGE, "unexpected argument '--nosuch'"]),
        ("manifests --replicas -1", 2, &[], &["invalid value '-1' for '--replicas <NUMBER>'"]),
        ("certs --days -1", 2, &[], &["invalid value '-1' for '--days"]),
        ("audit --request-timeout -1", 2, &[], &["invalid value '-1' for '--request-timeout"]),
        (
            "check -k $MADE/manifests/kustomization.yaml --snapshot $DUMP",
            2,
            &[],
            &["it is a file, and -k takes the folder of a kustomization: -k ", "/manifests\n"],
        ),
        ("audit --version", 0, &["=cpufit 0.1.0"], &[]),
        ("--version", 0, &["=cpufit 0.1.0"], &[]),
        ("explain vm,vm -l app=db -n shop -o name --snapshot $DUMP", 0, &["=virtualmachine.kubevirt.io/db"], &[]),
        ("explain virtualmachines.v9.kubevirt.io/db -n shop --snapshot $DUMP", 2, &[], &["is not a type"]),
        (
            "explain pod -n shop -l app=db,kubevirt.io=virt-launcher -o name --snapshot $DUMP",
            0,
            &["=pod/virt-launcher-db-x7k2p"],
            &[],
        ),
        ("explain pod -A -l kubevirt.io=other --snapshot $DUMP", 0, &[], &["nothing that is asked for"]),
        (
            "audit --kubeconfig $MADE/lab.yaml",
            2,
            &[],
            &["lab.yaml is a VirtualMachine of kubevirt.io/v1, not a kubeconfig (a Config of v1)"],
        ),
        (
            "audit --server https://127.0.0.1:9 --certificate-authority nosuch --insecure-skip-tls-verify",
            2,
            &[],
            &["--certificate-authority and --insecure-skip-tls-verify do not go together"],
        ),
    ]);
}

/// kubectl reads the files of a folder that end in .json, .yaml or .yml, and all documents of a file.
#[test]
fn odd_encodings_and_files_without_objects_are_handled() {
    const C: &[&str] = &["=virtualmachine.kubevirt.io/c"];
    assert_rows(&[
        ("check --snapshot $DUMP -o name -f $MADE/crlf.yaml", 0, C, &[]),
        ("check --snapshot $DUMP -o name -f $MADE/bom.yaml", 0, C, &[]),
        ("check --snapshot $DUMP -o name -f $MADE/mixed", 0, C, &[]),
        ("check --snapshot $DUMP -f $MADE/nothing", 2, &[], &["no .yaml, .yml or .json file in folder"]),
        ("check --snapshot $DUMP -f $MADE/empty.yaml", 2, &[], &["no object in"]),
        ("check --snapshot $DUMP -f $MADE/comment.yaml", 2, &[], &["no object in"]),
        // A gate over guests that are stored already: the policy denies no change that makes nothing worse.
        (
            "check --snapshot $DUMP --snapshot $MADE/stuck.yaml --policy $MADE/strict.yaml -f $MADE/stuck.yaml",
            1,
            &["Note: shop/stuck: denied as a new object; the stored one would be denied too"],
            &[],
        ),
        (
            "check --snapshot $DUMP --policy $MADE/strict.yaml -f $MADE/stuck.yaml",
            1,
            &["Denied: shop/stuck cannot start"],
            &[],
        ),
        ("check --snapshot $DUMP -f $MADE/comment.yaml -f $MADE/empty.yaml", 2, &[], &["no object in", "comment.yaml"]),
        ("explain --snapshot $DUMP -f $MADE/c.yaml -l app=nothing", 0, &[], &["note: no object is selected"]),
        // A template without output leaves such files.
        (
            "check --snapshot $DUMP -f $MADE/empty.yaml -f $MADE/c.yaml -n shop -o name",
            0,
            &["=virtualmachine.kubevirt.io/c"],
            &[],
        ),
        (
            "explain --snapshot $DUMP -f $MADE/comment.yaml,$MADE/c.yaml -n shop -o name",
            0,
            &["=virtualmachine.kubevirt.io/c"],
            &[],
        ),
        ("check --snapshot $DUMP -f $MADE/kindless.yaml", 2, &[], &["the object has no kind"]),
        ("check --snapshot $DUMP -o name -f $MADE/none.json", 0, &[], &["note: no object is there"]),
        ("check --snapshot $DUMP -f $MADE/none.json --fail-on pinned", 2, &[], &["no object is there"]),
        ("check vm/db -n shop --snapshot $DUMP", 2, &[], &["use explain, with the same arguments"]),
        ("check vmi --snapshot $DUMP", 2, &[], &["use explain, with the same arguments"]),
        ("drain --all --snapshot $MADE/none.json", 2, &[], &["the dump holds no node"]),
        ("check --snapshot $DUMP -f $MADE/latin.yaml", 2, &[], &["line 1: not UTF-8 text"]),
        ("check --snapshot $DUMP -o name -f $MADE/utf16.yaml", 0, C, &[]),
        ("check --snapshot $DUMP -f $MADE/utf32.yaml", 2, &[], &["it is UTF-32; write it as UTF-8"]),
        ("check --snapshot $DUMP -f ''", 2, &[], &["the name of the file is empty"]),
        ("check --snapshot $DUMP -f $MADE/c.yaml,", 2, &[], &["the name of the file is empty"]),
        ("audit --snapshot ''", 2, &[], &["the name of the file is empty"]),
        ("check --snapshot $DUMP -f https://example.org/vm.yaml", 2, &[], &["URLs are not supported"]),
        ("check --snapshot $DUMP -f $MADE/c.yaml -f $MADE/c.yaml -o name", 0, &["virtualmachine.kubevirt.io/c"], &[]),
    ]);
}

#[test]
fn only_verbs_of_the_help_are_offered() {
    let ran = cpufit(["-n", "shop"]).run();
    assert_eq!(ran.code(), 2, "{}", ran.stderr);
    for hidden in ["__complete", "probe", "completions"] {
        assert!(!ran.stderr.contains(hidden), "{hidden} is no verb for people: {}", ran.stderr);
    }
}
