//! Clusters in which a distribution renamed `kubevirt.io`: the same answers except for the names.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::common::{
    BIN, RENAME, Ran, Scratch, Server, channel_faults, cpufit, differences, head, one_in, program, read, read_json,
    shipped,
};

/// Deckhouse's domain of the API groups.
const DOMAIN: &str = "internal.virtualization.deckhouse.io";

fn renamed(text: &str) -> String {
    text.replace("kubevirt.io", DOMAIN)
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Copies a file with every `kubevirt.io` in it renamed.
fn copy(scratch: &Scratch, path: &Path) -> PathBuf {
    let text = String::from_utf8(read(path)).expect("UTF-8");
    assert!(!text.contains(DOMAIN), "{}", path.display());
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let name = Path::new(folder).join(path.file_name().expect("a file"));
    scratch.write(name.to_str().expect("UTF-8"), renamed(&text))
}

/// Every verb, with a cluster `$DUMP`, a policy `$POLICY` and reviews `$REVIEWS`.
const LINES: [&str; 19] = [
    "audit --snapshot $DUMP",
    "audit --snapshot $DUMP -o wide",
    "audit --snapshot $DUMP -o json",
    "audit --snapshot $DUMP -o name",
    "audit --snapshot $DUMP -o yaml --policy $POLICY",
    "explain vm/db vmi/ledger -n shop --snapshot $DUMP",
    "explain virtualmachineinstance.kubevirt.io/db virtualmachines.v1.kubevirt.io/web -n shop --snapshot $DUMP -o json",
    "explain vmi -A -l kubevirt.io/nodeName=node-a --snapshot $DUMP -o name",
    "check -f $REVIEWS --snapshot $DUMP",
    "check -f $REVIEWS --snapshot $DUMP -o json --predict",
    "check -f $REVIEWS --snapshot $DUMP -o yaml --policy $POLICY",
    "check -f $REVIEWS --snapshot $DUMP -o sarif",
    "drain --all --snapshot $DUMP",
    "drain node-a --snapshot $DUMP -o json",
    "recommend --snapshot $DUMP",
    "recommend --snapshot $DUMP -o yaml",
    "recommend --node-selector kubevirt.io/schedulable=true --snapshot $DUMP -o json",
    "diff $DUMP $DUMP",
    "snapshot --snapshot $DUMP",
];

/// Replaces runs of blanks, which depend on the length of names.
fn flat(text: &str) -> String {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[test]
fn every_verb_gives_the_same_answers_with_renamed_labels() {
    let scratch = Scratch::new();
    let reviews = [
        "1-migrate-db",
        "2-create-report",
        "3-start-web",
        "4-target-of-ledger",
        "5-migrate-ledger",
        "6-plain-pod",
        "7-status-of-db",
    ]
    .map(|review| root("demo/reviews").join(format!("{review}.json")));
    let plain = [root("demo/cluster.yaml"), root("demo/policy.yaml"), root("demo/reviews")];
    let copies: Vec<PathBuf> = reviews.iter().map(|review| copy(&scratch, review)).collect();
    let theirs =
        [copy(&scratch, &plain[0]), copy(&scratch, &plain[1]), copies[0].parent().expect("a folder").to_owned()];
    let run = |line: &str, files: &[PathBuf; 3], more: &[&str]| -> Ran {
        let names = ["$DUMP", "$POLICY", "$REVIEWS"];
        let words = line.split(' ').map(|word| match names.iter().position(|name| *name == word) {
            Some(at) => files[at].to_str().expect("UTF-8").to_owned(),
            None => word.to_owned(),
        });
        cpufit(words).args(more).run()
    };
    for line in LINES.into_iter().step_by(one_in()) {
        let before = run(line, &plain, &[]);
        assert!(matches!(before.code(), 0 | 1) && !before.stdout.is_empty(), "{line}: {}", head(&before.stderr));
        // Files are named by their paths.
        let place = |text: &str| {
            plain.iter().zip(&theirs).fold(text.to_owned(), |text, (plain, theirs)| {
                text.replace(theirs.to_str().expect("UTF-8"), plain.to_str().expect("UTF-8"))
            })
        };
        // A printed command has the domain that was given.
        let flat = |text: &str| flat(&place(text).replace(&format!(" --kubevirt-domain {DOMAIN}"), ""));
        for more in [&["--kubevirt-domain", DOMAIN][..], &[]] {
            let after = run(&renamed(line), &theirs, more);
            let line = format!("{line} {more:?}");
            assert_eq!(after.code(), before.code(), "{line}: {}", head(&after.stderr));
            assert_eq!(flat(&after.stdout), flat(&renamed(&before.stdout)), "{line}");
            assert_eq!(flat(&after.stderr), flat(&renamed(&before.stderr)), "{line}");
            if line.starts_with("check") && line.contains("-o json") {
                let results = after.json();
                for result in results["results"].as_array().expect("results") {
                    let faults: Vec<String> = channel_faults(result);
                    assert!(faults.is_empty(), "{line}: {faults:?}");
                }
            }
        }
    }
}

/// The recorded vectors and the field cases with all objects renamed: the same tests run with the other domain.
#[test]
fn recorded_vectors_and_cases_agree_in_a_renamed_cluster() {
    let scratch = Scratch::new();
    for folder in
        std::fs::read_dir(shipped("cases")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        for file in ["input.yaml", "snapshot.yaml"] {
            copy(&scratch, &folder.join(file));
        }
        let name = Path::new(folder.file_name().expect("a name")).join("expect.json");
        scratch.write_json(name.to_str().expect("UTF-8"), &read_json(&folder.join("expect.json")));
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let tests = ["judgement::cases::every_case", "judgement::golden::", "judgement::cases::explain_prints"];
    command
        .args(tests.into_iter().step_by(one_in()))
        .arg("--nocapture")
        .env(RENAME, DOMAIN)
        .env("CASES", scratch.path());
    let ran = program(command).run();
    assert_eq!(ran.code(), 0, "{}\n{}", head(&ran.stderr), ran.stdout);
    let passed = ran.stdout.lines().find(|line| line.starts_with("test result")).unwrap_or_default();
    assert!(!passed.contains(" 0 passed"), "{}", ran.stdout);
}

/// Reviews of a renamed cluster and their responses: patches have the cluster's names too.
#[test]
fn the_webhook_gives_the_same_answers_with_renamed_labels() {
    let scratch = Scratch::new();
    let policy = "{apiVersion: cpufit.io/v1alpha1, kind: CPUPolicy, metadata: {name: common}, spec: {commonModel: {name: Haswell}}}";
    let policy = scratch.write("policy.yaml", policy);
    let policy = ["--policy", policy.to_str().expect("UTF-8")];
    let plain = Server::start(&shipped("reviews/cluster.yaml"), &policy);
    let snapshot = copy(&scratch, &shipped("reviews/cluster.yaml"));
    let theirs = Server::start(&snapshot, &[&policy[..], &["--kubevirt-domain", DOMAIN]].concat());
    let (mut reviews, mut patches) = (0, 0);
    for file in std::fs::read_dir(shipped("reviews")).unwrap().map(|entry| entry.unwrap().path()) {
        let Some(name) = file.file_stem().and_then(|name| name.to_str()) else { continue };
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let path = if name.contains("mutate") { "/mutate" } else { "/validate" };
        let review = String::from_utf8(read(&file)).expect("UTF-8");
        let before = opened(plain.review(path, review.clone()), &mut 0);
        let after = opened(theirs.review(path, renamed(&review)), &mut patches);
        assert!(channel_faults(&after).is_empty(), "{name}: {:?}", channel_faults(&after));
        let expected: Value = serde_json::from_str(&renamed(&before.to_string())).unwrap();
        let found: Vec<String> = differences(name, &expected, &after)
            .into_iter()
            // A warning that would be too long with the longer names is cut.
            .filter(|difference| !(difference.contains("warnings") && difference.ends_with("…\"")))
            .collect();
        assert!(found.is_empty(), "{found:#?}");
        reviews += 1;
    }
    assert!(reviews > 15 && patches > 0, "{reviews} reviews, {patches} patches");
}

/// Returns a response with its patch as JSON.
fn opened(mut response: Value, patches: &mut usize) -> Value {
    if let Some(patch) = response["patch"].as_str() {
        response["patch"] = serde_json::from_slice(&STANDARD.decode(patch).expect("base64")).expect("JSON");
        *patches += 1;
    }
    response
}

/// arm64 nodes, which have neither CPU models nor features.
const ARM: &str = "apiVersion: v1
kind: Node
metadata: {name: arm-a, labels: {kubernetes.io/arch: arm64, kubevirt.io/schedulable: 'true', machine-type.node.kubevirt.io/virt: 'true'}}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: web, namespace: shop}
spec: {runStrategy: Always, template: {spec: {architecture: arm64, domain: {machine: {type: virt}, devices: {}}}}}
";

/// Returns a text as Windows PowerShell writes it.
fn utf16(text: &str) -> Vec<u8> {
    "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// Runs `audit` with a dump in each form in which one is handed over. Returns the form and the run.
fn audits(scratch: &Scratch, dump: &str) -> [(&'static str, Ran); 5] {
    let plain = scratch.write("plain.yaml", dump);
    let wide = scratch.write("utf16.yaml", utf16(dump));
    let audit = |file: &Path| cpufit(["audit", "-o", "json", "--snapshot"]).args([file]);
    let shell = || {
        let mut command = Command::new("bash");
        let line = format!("exec {BIN} audit -o json --snapshot <(cat {})", plain.display());
        command.args(["-c", &line]).env("NO_COLOR", "1").env_remove("KUBECONFIG").env_remove("KUBEVIRT_DOMAIN");
        program(command).run()
    };
    [
        ("a file", audit(&plain).run()),
        ("UTF-16", audit(&wide).run()),
        ("standard input", audit(Path::new("-")).stdin(dump).run()),
        ("UTF-16 on standard input", audit(Path::new("-")).stdin(utf16(dump)).run()),
        ("a pipe of the shell", shell()),
    ]
}

#[test]
fn another_domain_is_recognised_in_every_form_of_a_dump() {
    let scratch = Scratch::new();
    let demo = String::from_utf8(read(&root("demo/cluster.yaml"))).expect("UTF-8");
    let text = "    annotations:
      docs: 'the labels of https://OWN/labs and cpu-model.node.OWN/EPYC'
";
    let described = demo.replacen(
        "    annotations:
",
        text,
        1,
    );
    assert_ne!(described, demo, "the demo has no annotation");
    for (what, dump) in [("the demo", demo.as_str()), ("arm64 nodes", ARM), ("text with KubeVirt's domain", &described)]
    {
        let dump_of = |domain: &str| dump.replace("kubevirt.io", domain).replace("OWN", "kubevirt.io");
        let [(_, plain), ..] = audits(&scratch, &dump_of("kubevirt.io"));
        for domain in [DOMAIN, "virt.node.example.io"] {
            for (form, ran) in audits(&scratch, &dump_of(domain)) {
                let case = format!("{what}, {domain}, {form}");
                assert_eq!(ran.code(), plain.code(), "{case}: {}", head(&ran.stderr));
                let found: Value = serde_json::from_str(&ran.stdout.replace(domain, "kubevirt.io")).expect("JSON");
                assert_eq!(differences(&case, &plain.json(), &found), [""; 0], "{}", head(&ran.stderr));
            }
        }
    }
}

#[test]
fn an_invalid_domain_is_refused() {
    let ran = cpufit(["manifests", "--kubevirt-domain", "kubernetes.io"]).run();
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("kubernetes.io is not a domain that KubeVirt is renamed to"), "{}", ran.stderr);
}

#[test]
fn manifests_of_a_renamed_cluster_have_its_names() {
    let print = |more: &[&str]| -> Vec<Value> {
        let list = cpufit(["manifests", "-o", "json"]).args(more).run().json();
        list["items"].as_array().expect("items").clone()
    };
    let plain: Vec<Value> = print(&[]);
    let expected: Vec<Value> =
        plain.iter().map(|object| serde_json::from_str(&renamed(&object.to_string())).unwrap()).collect();
    assert_eq!(print(&["--kubevirt-domain", DOMAIN]), expected);
    let text = cpufit(["manifests"]).env("KUBEVIRT_DOMAIN", DOMAIN).run().stdout;
    assert!(
        text.contains(&format!("- apiGroups: [pool.{DOMAIN}]")) && !text.contains("kubevirt.io"),
        "{}",
        head(&text)
    );
}
