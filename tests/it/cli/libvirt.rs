//! Saved answers of libvirt: `explain`, `drain` and `audit` with them, merged files, and invalid files.

use std::collections::BTreeMap;
use std::path::Path;

use rstest::rstest;
use serde_json::{Value, json};

use crate::common::{self, Ran, Scratch, cpufit, head, kubevirt, launcher_pod, list, node, running};

const EARLY: &str = "2026-11-01T08:00:00Z";
const LATE: &str = "2026-11-02T08:00:00Z";

/// The nodes other than `node-a`, where the guests run, and each node's answer about `shop/db`: a code, or libvirt's
/// answer.
const NODES: [(&str, &str); 9] = [
    ("node-b", "identical"),
    ("node-c", "superset"),
    ("node-d", "incompatible"),
    ("node-e", "not-saved"),
    ("node-f", "no-launcher"),
    ("node-g", "kept-off"),
    ("node-h", "too-slow"),
    ("node-i", "forbidden"),
    ("node-j", "other-machine"),
];

/// Returns a Cascade Lake node; node-c lost a label, node-g is in another zone, node-j was replaced.
pub(super) fn host(name: &str) -> Value {
    let mut labels = json!({
        "kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name,
        "cpu-vendor.node.kubevirt.io/Intel": "true", "machine-type.node.kubevirt.io/q35": "true",
        "zone": if name == "node-g" { "b" } else { "a" },
    });
    let model = if name == "node-j" { "Icelake-Server" } else { "Cascadelake-Server" };
    for key in ["cpu-model-migration", "cpu-model", "host-model-cpu"] {
        labels[format!("{key}.node.kubevirt.io/{model}")] = json!("true");
        if key != "host-model-cpu" {
            labels[format!("{key}.node.kubevirt.io/Cascadelake-Server")] = json!("true");
        }
    }
    for feature in ["aes", "fpu"] {
        labels[format!("host-model-required-features.node.kubevirt.io/{feature}")] = json!("true");
        if name != "node-c" || feature != "fpu" {
            labels[format!("cpu-feature.node.kubevirt.io/{feature}")] = json!("true");
        }
    }
    node(name, &labels)
}

/// Returns a running guest with its launcher.
pub(super) fn guest(name: &str, on: &str) -> [Value; 2] {
    let mut vmi = running(name, on, "host-model");
    vmi["spec"]["nodeSelector"] = json!({"zone": "a"});
    vmi["spec"]["evictionStrategy"] = json!("LiveMigrate");
    let pod = launcher_pod(&vmi, "x", &json!({"kubevirt.io/schedulable": "true", "zone": "a"}));
    [vmi, pod]
}

fn cluster() -> Value {
    let nodes = ["node-a"].into_iter().chain(NODES.map(|(name, _)| name)).map(host);
    let guests = ["db", "old", "web", "pass"].map(|name| guest(name, "node-a")).into_iter().flatten();
    // Libvirt on node-e can be queried, on node-f it cannot.
    list(nodes.chain(guests).chain(guest("neighbour", "node-e")).chain([kubevirt(&json!({}))]))
}

pub(super) fn cpu() -> Value {
    json!({"model": "Cascadelake-Server", "vendor": "Intel", "require": ["ss"], "disable": ["hle"]})
}

pub(super) fn guest_facts(name: &str, uid: &str) -> Value {
    json!({"apiVersion": "cpufit.io/v1alpha1", "kind": "LibvirtGuest",
        "metadata": {"namespace": "shop", "name": name, "uid": uid},
        "askedAt": EARLY, "accelerator": "kvm", "cpu": cpu(), "losses": {"Nehalem": ["avx512f"]}})
}

pub(super) fn node_facts(name: &str, host_model: &str, answer: &Value) -> Value {
    let mut answer = answer.clone();
    answer["accelerator"] = json!("kvm");
    answer["cpu"] = cpu();
    json!({"apiVersion": "cpufit.io/v1alpha1", "kind": "LibvirtNode", "metadata": {"name": name},
        "machine": {"vendor": "Intel", "hostModel": host_model}, "accelerator": "kvm",
        "hostModel": {"model": host_model}, "usableModels": ["Cascadelake-Server", "Nehalem"], "answers": [answer]})
}

pub(super) fn silent(name: &str, code: &str, detail: &str) -> Value {
    json!({"apiVersion": "cpufit.io/v1alpha1", "kind": "LibvirtNode", "metadata": {"name": name},
        "unanswered": "-", "unansweredCode": code, "unansweredDetail": detail, "askedAt": EARLY})
}

/// Returns the answers as saved, one file each.
fn facts() -> Vec<Value> {
    let mut passthrough = guest_facts("pass", "uid-pass");
    passthrough["cpu"] = Value::Null;
    passthrough["unansweredCode"] = json!("no-model");
    passthrough["unansweredDetail"] = json!("host-passthrough, the host's CPU itself");
    let cascade = |name, answer| node_facts(name, "Cascadelake-Server", &answer);
    vec![
        guest_facts("db", "uid-db"),
        guest_facts("old", "of-an-earlier-start"),
        passthrough,
        cascade("node-b", json!({"answer": "identical", "askedAt": EARLY})),
        cascade("node-c", json!({"answer": "superset", "askedAt": EARLY})),
        cascade("node-d", json!({"answer": "incompatible", "missing": ["ss"], "askedAt": EARLY})),
        silent("node-f", "no-launcher", ""),
        cascade(
            "node-h",
            json!({"unanswered": "-", "unansweredCode": "too-slow", "unansweredDetail": "3", "askedAt": EARLY}),
        ),
        silent("node-i", "forbidden", "namespace shop: no"),
        cascade("node-j", json!({"answer": "identical", "askedAt": EARLY})),
    ]
}

pub(super) struct Scene {
    pub(super) scratch: Scratch,
}

impl Scene {
    pub(super) fn new() -> Self {
        let scratch = Scratch::new();
        scratch.write_json("cluster.json", &cluster());
        for (number, fact) in facts().iter().enumerate() {
            scratch.write_json(&format!("facts/{number}.json"), fact);
        }
        Self { scratch }
    }

    pub(super) fn run(&self, args: &[&str], facts: &[&str]) -> Ran {
        let path = |name: &str| self.scratch.path().join(name).to_str().unwrap().to_owned();
        let mut all: Vec<String> = args.iter().map(ToString::to_string).collect();
        all.extend(["--snapshot".to_owned(), path("cluster.json")]);
        for name in facts {
            all.extend(["--libvirt-facts".to_owned(), path(name)]);
        }
        cpufit(all).run()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(&[args, &["-o", "json"]].concat(), &["facts"]);
        assert!(ran.code() < 2, "{}", head(&ran.stderr));
        ran.json()
    }

    fn explained(&self, guest: &str) -> Value {
        self.json(&["explain", &format!("vmi/{guest}"), "-n", "shop"])["results"][0].clone()
    }
}

/// Returns the code or the answer of each node.
fn by_node(explained: &Value) -> BTreeMap<String, String> {
    let nodes = explained["libvirt"]["nodes"].as_object().unwrap();
    let word = |row: &Value| row["answer"].as_str().or(row["unansweredCode"].as_str()).unwrap().to_owned();
    nodes.iter().map(|(name, row)| (name.clone(), word(row))).collect()
}

#[test]
fn every_node_has_an_answer_or_a_reason() {
    let scene = Scene::new();
    let expected = NODES.map(|(name, word)| (name.to_owned(), word.to_owned())).into();
    assert_eq!(by_node(&scene.explained("db")), expected);
    let ran = scene.run(&["explain", "vmi/db", "-n", "shop"], &["facts"]);
    assert_eq!(ran.code(), 0, "{}", head(&ran.stderr));
    let row = |name: &str| {
        let line = ran
            .stdout
            .lines()
            .rfind(|line| line.starts_with(&format!("{name}  ")))
            .unwrap_or_else(|| panic!("{name}: {}", ran.stdout));
        line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let expected = [
        ("node-b", "fits", "identical: libvirt there has exactly its features"),
        ("node-c", "lacks cpu-feature fpu", "superset: libvirt there has all its features"),
        ("node-d", "fits", "incompatible: missing feature ss"),
        ("node-e", "fits", "no saved answer"),
        ("node-f", "fits", "not asked: no launcher is known there"),
        ("node-g", "lacks zone=a", "not asked: it lacks zone=a, which is no label of the CPU"),
        ("node-h", "fits", "no answer within 3 s"),
        ("node-i", "fits", "not asked: exec is refused (namespace shop: no)"),
    ];
    for (name, labels, libvirt) in expected {
        assert_eq!(row(name), [labels, libvirt], "{name}: {}", ran.stdout);
    }
    let replaced = "no saved answer of the node as it is: it was labelled host-model-cpu Cascadelake-Server then, and is labelled \
                    host-model-cpu Icelake-Server now";
    assert_eq!(row("node-j")[1], replaced, "an answer about the hardware that was replaced is believed");
}

/// The output names the command to query a node without an answer, even if only a dump is read.
#[test]
fn how_to_ask_is_said_offline() {
    let scene = Scene::new();
    let text = scene.run(&["explain", "vmi/db", "-n", "shop"], &["facts"]).stdout;
    let command = "kubectl cpufit explain vmi/db -n shop --ask-libvirt --save-libvirt-facts FOLDER";
    assert!(text.lines().any(|line| line.trim() == command), "{text}");
    assert!(text.contains("this asks node-e, and adds the answers to FOLDER"), "{text}");
    assert!(text.contains("No launcher is known on node-f, node-j."), "{text}");
    assert!(text.contains("VirtualMachineInstance") && text.contains("\"node-f\""), "{text}");
    let web = scene.run(&["explain", "vmi/web", "-n", "shop"], &["facts"]).stdout;
    assert!(web.contains("Its CPU is not known from its libvirt (no saved answer)."), "{web}");
    assert!(web.contains("NODE    CPU") && web.contains("this asks it, and adds"), "labels are shown in full: {web}");
}

#[rstest]
#[case("db", None)]
#[case("old", Some("started-anew"))]
#[case("web", Some("not-saved"))]
#[case("pass", Some("no-model"))]
fn every_guest_is_known_or_has_a_reason(#[case] guest: &str, #[case] code: Option<&str>) {
    let explained = Scene::new().explained(guest);
    assert_eq!(explained["libvirt"]["unansweredCode"].as_str(), code, "{explained:#}");
    assert_eq!(explained["libvirt"]["cpu"].is_null(), code.is_some());
}

/// `drain` and `audit` report the same about each node and guest as `explain`, in JSON and in the table.
#[rstest]
#[case::drain(&["drain", "node-a"])]
#[case::audit(&["audit"])]
fn unanswered_questions_are_those_of_explain(#[case] verb: &[&str]) {
    let scene = Scene::new();
    let explained = scene.explained("db");
    let reasons = scene.json(verb)["libvirt"].clone();
    let field = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    let nodes = reasons["nodes"].as_array().unwrap();
    let found: BTreeMap<String, String> = nodes.iter().map(|row| (field(row, "node"), field(row, "code"))).collect();
    let mut expected = by_node(&explained);
    expected.retain(|_, word| !["identical", "superset", "incompatible", "kept-off"].contains(&word.as_str()));
    assert_eq!(found, expected, "a guest has neither an answer nor a reason");
    for row in nodes {
        assert_eq!(row["reason"], explained["libvirt"]["nodes"][field(row, "node")]["unanswered"]);
        assert_eq!(row["guests"], 1);
    }
    let guests = reasons["guests"].as_array().unwrap();
    let found: BTreeMap<String, String> = guests.iter().map(|row| (field(row, "guest"), field(row, "code"))).collect();
    for (guest, code) in [("shop/old", "started-anew"), ("shop/web", "not-saved"), ("shop/pass", "no-model")] {
        assert_eq!(found.get(guest).map(String::as_str), Some(code), "{guests:?}");
    }
    let text = scene.run(verb, &["facts"]).stdout;
    for line in [
        "Not known: what libvirt says on node-e about shop/db: no saved answer",
        "Not known: what libvirt says on node-f about shop/db: not asked: no launcher is known there",
        "Not known: what libvirt says on node-h about shop/db: no answer within 3 s",
        "Not known: what libvirt says on node-i about shop/db: not asked: exec is refused (namespace shop: no)",
        "Not known: what libvirt says of the CPU of shop/old: no saved answer since it was started again",
    ] {
        // Lines of this kind are marked below rows.
        assert!(text.lines().any(|printed| printed.trim_start_matches("# ") == line), "{line}: {text}");
    }
    let without = scene.run(&[verb, &["-o", "json"]].concat(), &[]);
    assert!(without.json()["libvirt"].is_null(), "libvirt was not asked");
}

#[test]
fn drain_lists_missing_answers_of_libvirt_as_not_known() {
    let drained = Scene::new().json(&["drain", "node-a"]);
    let lines: Vec<&str> = drained["notKnown"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(lines.contains(&"what libvirt says on node-h about shop/db: no answer within 3 s"), "{lines:?}");
    let db = drained["nodes"][0]["guests"].as_array().unwrap().iter().find(|row| row["guest"] == "shop/db").unwrap();
    let targets = db["targets"].as_array().unwrap();
    assert!(targets.contains(&json!("node-b")) && !targets.contains(&json!("node-d")), "{db:#}");
}

/// Kube-scheduler uses labels: if it may choose a node that libvirt refuses, `drain` and `explain` name that node once,
/// with the consequence.
#[rstest]
#[case::several_targets(&["node-a", "node-b", "node-c", "node-d", "node-e"], "can-leave", "")]
#[case::one_target(&["node-a", "node-b", "node-d"], "one-target",
    "only node-b; libvirt refuses its CPU on node-d, which fits by labels (missing feature ss)")]
#[case::no_target(&["node-a", "node-d"], "stuck", "libvirt refuses its CPU on node-d, which fits by labels (missing feature ss)")]
#[case::no_refusal(&["node-a", "node-b", "node-e"], "can-leave", "")]
fn the_choice_of_the_scheduler_is_named(#[case] nodes: &[&str], #[case] state: &str, #[case] why: &str) {
    let scene = Scene::new();
    let mut cluster = cluster();
    let is_kept = |item: &Value| match item["kind"].as_str() {
        Some("Node") => nodes.iter().any(|name| item["metadata"]["name"] == *name),
        Some("VirtualMachineInstance" | "Pod") => {
            item["metadata"]["name"].as_str().is_some_and(|name| name.contains("db"))
        }
        _ => true,
    };
    cluster["items"].as_array_mut().unwrap().retain(is_kept);
    scene.scratch.write_json("cluster.json", &cluster);
    let row = scene.json(&["drain", "node-a"])["nodes"][0]["guests"][0].clone();
    assert_eq!((&row["state"], &row["why"]), (&json!(state), &json!(why)), "{row:#}");
    let refuses = nodes.contains(&"node-d");
    assert_eq!(row["libvirtRefuses"], if refuses { json!(["node-d"]) } else { json!([]) }, "{row:#}");
    let may_fail = "May fail, and KubeVirt then tries again: 1 migration; kube-scheduler goes by labels and may choose node-d, where libvirt \
                    refuses the guest";
    let may_choose = "kube-scheduler goes by labels and may choose node-d: that migration fails, and the guest stays where it is; one \
                      that a drain brought about is tried again, later each time.";
    for (args, expected) in [(&["drain", "node-a"][..], may_fail), (&["explain", "vmi/db", "-n", "shop"], may_choose)] {
        let text = scene.run(args, &["facts"]).stdout;
        let times = text.lines().filter(|line| *line == expected).count();
        assert_eq!(times, usize::from(refuses && state != "stuck"), "{text}");
    }
    let by_labels = scene.run(&["drain", "node-a", "-o", "json"], &[]).json();
    assert!(by_labels["nodes"][0]["guests"][0]["libvirtRefuses"].is_null(), "libvirt was not asked: {by_labels:#}");
}

/// Answers in a dump have the same effect as those in named files.
#[test]
fn a_dump_carries_libvirts_answers() {
    let scene = Scene::new();
    let named = scene.explained("db");
    let folder = scene.scratch.path();
    let ran = cpufit([
        Path::new("explain"),
        Path::new("vmi/db"),
        Path::new("-n"),
        Path::new("shop"),
        Path::new("-o"),
        Path::new("json"),
        Path::new("--snapshot"),
        &folder.join("cluster.json"),
        Path::new("--snapshot"),
        &folder.join("facts"),
    ])
    .run();
    assert_eq!(ran.code(), 0, "{}", head(&ran.stderr));
    assert_eq!(ran.json()["results"][0], named, "the dump gives another answer than the folder");
}

/// A snapshot of a dump with answers gives the same results, also under new names.
#[rstest]
#[case::plain(&[])]
#[case::redacted(&["--redact"])]
#[case::of_one_namespace(&["-n", "shop"])]
fn a_snapshot_keeps_libvirts_answers(#[case] more: &[&str]) {
    let scene = Scene::new();
    let path = |name: &str| scene.scratch.path().join(name).to_str().unwrap().to_owned();
    let mut args: Vec<String> = ["snapshot".to_owned(), "--snapshot".to_owned(), path("cluster.json")].into();
    args.extend(["--snapshot".to_owned(), path("facts")].into_iter().chain(more.iter().map(ToString::to_string)));
    let taken = cpufit(args).run();
    assert_eq!(taken.code(), 0, "{}", head(&taken.stderr));
    scene.scratch.write("taken.yaml", &taken.stdout);
    let audited = |from: &[&str]| {
        let given = from.iter().flat_map(|name| ["--snapshot".to_owned(), path(name)]);
        let ran = cpufit(["audit", "-o", "json"].map(str::to_owned).into_iter().chain(given)).run();
        assert!(ran.code() < 2, "{}", head(&ran.stderr));
        ran.json()
    };
    let (before, after) = (audited(&["cluster.json", "facts"]), audited(&["taken.yaml"]));
    let codes = |audit: &Value, kind: &str| {
        let mut codes: Vec<String> =
            audit["libvirt"][kind].as_array().unwrap().iter().map(|row| row["code"].to_string()).collect();
        codes.sort_unstable();
        codes
    };
    let verdicts = |audit: &Value| {
        let mut rows: Vec<String> = audit["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| format!("{} {}", row["verdict"], row["targets"]))
            .collect();
        rows.sort_unstable();
        rows
    };
    assert_eq!(verdicts(&after), verdicts(&before), "the answers got lost on the way to the snapshot");
    for kind in ["nodes", "guests"] {
        assert_eq!(codes(&after, kind), codes(&before, kind));
    }
    if more.contains(&"--redact") {
        for name in ["node-b\n", "shop", "uid-db", "namespace shop"] {
            assert!(!taken.stdout.contains(name), "{name} is not renamed: {}", taken.stdout);
        }
        assert!(taken.stdout.contains("host-passthrough"), "{}", taken.stdout);
    }
}

/// A guest that is worse off by libvirt's answers alone: `diff` does not judge by them, and says so.
#[test]
fn diff_says_that_it_goes_by_labels() {
    let scene = Scene::new();
    let path = |name: &str| scene.scratch.path().join(name).to_str().unwrap().to_owned();
    let all = ["cluster.json", "facts"].map(path);
    let [cluster, facts] = &all;
    let folder = scene.scratch.path().join("both");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(cluster, folder.join("cluster.json")).unwrap();
    for file in std::fs::read_dir(facts).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    let said = "Not known: the answers of libvirt in the dumps: guests are compared by labels alone (`explain` and `audit` use them)";
    let both = path("both");
    for (sides, is_said) in [([cluster, &both], true), ([&both, cluster], true), ([cluster, cluster], false)] {
        let ran = cpufit(["diff", sides[0], sides[1]]).run();
        assert_eq!(ran.code(), 0, "{}", head(&ran.stderr));
        assert_eq!(ran.stdout.lines().any(|line| line == said), is_said, "{}", ran.stdout);
    }
}

/// Several folders are merged: each adds its answers; if two differ, the later one counts and a note names both.
#[test]
fn several_folders_are_put_together() {
    let scene = Scene::new();
    let cascade = |name, answer| node_facts(name, "Cascadelake-Server", &answer);
    scene.scratch.write_json("more/e.json", &cascade("node-e", json!({"answer": "superset", "askedAt": LATE})));
    scene.scratch.write_json("more/d.json", &cascade("node-d", json!({"answer": "superset", "askedAt": LATE})));
    for order in [["facts", "more"], ["more", "facts"]] {
        let ran = scene.run(&["explain", "vmi/db", "-n", "shop", "-o", "json"], &order);
        assert_eq!(ran.code(), 0, "{}", head(&ran.stderr));
        let nodes = by_node(&ran.json()["results"][0]);
        assert_eq!(
            (nodes["node-e"].as_str(), nodes["node-d"].as_str(), nodes["node-b"].as_str()),
            ("superset", "superset", "identical")
        );
        let said: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("note:")).collect();
        let note = said.iter().find(|note| note.contains("node-d")).unwrap_or_else(|| panic!("{said:?}"));
        assert!(
            note.contains("facts/5.json") && note.contains("more/d.json") && note.contains("superset, and counts"),
            "{note}"
        );
        assert_eq!(said.len(), 1, "{said:?}");
    }
}

/// Files that cannot be merged, and files that are not answers: the error names the file and the fault.
#[rstest]
#[case::contradicting("x.json", node_facts("node-b", "Cascadelake-Server", &json!({"answer": "incompatible"})).to_string(),
    &["saved answers of libvirt contradict each other", "it is not known which answer is newer", "facts/3.json", "bad/x.json", "node-b"])]
#[case::other_kind("x.json", r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}"#.to_owned(), &["a Node is not an answer of libvirt"])]
#[case::no_json("x.json", "{".to_owned(), &["bad/x.json"])]
#[case::other_answer("x.json", node_facts("node-z", "EPYC", &json!({"answer": "maybe"})).to_string(), &["bad/x.json", "expected identical, superset or incompatible"])]
#[case::shell_in_a_name("x.json", node_facts("node-z", "$(reboot)", &json!({"answer": "identical"})).to_string(), &["bad/x.json", "not the name of a CPU model"])]
#[case::no_time("x.json", node_facts("node-z", "EPYC", &json!({"answer": "identical", "askedAt": "today"})).to_string(), &["bad/x.json", "RFC 3339"])]
#[case::usable_and_not("x.json", node_facts("node-z", "EPYC", &json!({"answer": "identical"})).to_string()
    .replacen("\"usableModels\"", "\"unusableModels\":{\"Nehalem\":[\"hle\"]},\"usableModels\"", 1), &["bad/x.json", "model Nehalem stands in several"])]
#[case::identical_and_lacking("x.json", node_facts("node-z", "EPYC", &json!({"answer": "identical", "missing": ["hle"]})).to_string(),
    &["bad/x.json", "answer: identical, and missing names hle"])]
#[case::huge("x.json", format!(r#"{{"apiVersion":"cpufit.io/v1alpha1","kind":"LibvirtNode","metadata":{{"name":"n"}},"x":"{}"}}"#, "x".repeat(5 << 20)),
    &["bad/x.json", "at most 4194304 of one object are read"])]
#[case::deep("x.json", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), &["bad/x.json"])]
fn an_invalid_answer_is_refused(#[case] name: &str, #[case] content: String, #[case] words: &[&str]) {
    let scene = Scene::new();
    scene.scratch.write(&format!("bad/{name}"), content);
    let ran = scene.run(&["explain", "vmi/db", "-n", "shop"], &["facts", "bad"]);
    assert_eq!((ran.code(), ran.stdout.as_str()), (2, ""), "{}", head(&ran.stderr));
    for word in words {
        assert!(ran.stderr.contains(word), "{word}: {}", head(&ran.stderr));
    }
    let is_contradiction = ran.stderr.contains("contradict each other");
    assert!(
        !(is_contradiction && ran.stderr.contains("not an answer of libvirt")),
        "the form is not at fault: {}",
        ran.stderr
    );
    assert!(ran.stderr.len() < 2_000, "a stranger fills the screen");
}

#[test]
fn unknown_fields_of_saved_answers_are_ignored() {
    let scene = Scene::new();
    let mut later = node_facts("node-e", "Cascadelake-Server", &json!({"answer": "superset", "later": {"much": 1}}));
    later["later"] = json!([1, 2]);
    scene.scratch.write_json("more/e.json", &later);
    let ran = scene.run(&["explain", "vmi/db", "-n", "shop", "-o", "json"], &["facts", "more"]);
    assert_eq!(ran.code(), 0, "{}", head(&ran.stderr));
    assert_eq!(by_node(&ran.json()["results"][0])["node-e"], "superset");
}

/// Files from before times, machines and codes were added.
#[test]
fn files_of_earlier_releases_are_read() {
    let scene = Scene::new();
    let mut old = node_facts("node-e", "Cascadelake-Server", &json!({"answer": "superset"}));
    let fields = old.as_object_mut().unwrap();
    fields.remove("machine");
    fields.remove("accelerator");
    scene.scratch.write_json("more/e.json", &old);
    let silent = json!({"apiVersion": "cpufit.io/v1alpha1", "kind": "LibvirtNode", "metadata": {"name": "node-k"},
        "hostModel": null, "usableModels": null, "answers": [], "unanswered": "not asked: no launcher is known there"});
    scene.scratch.write_json("more/k.json", &silent);
    let ran = scene.run(&["explain", "vmi/db", "-n", "shop", "-o", "json"], &["facts", "more"]);
    assert_eq!(ran.code(), 0, "{}", head(&ran.stderr));
    assert_eq!(by_node(&ran.json()["results"][0])["node-e"], "superset");
}

/// The models of all policies of the dump, the recommended ones, and the ones that libvirt was queried about.
#[test]
fn models_are_compared_offline() {
    let scene = Scene::new();
    for (name, model) in [("old", "Nehalem"), ("new", "Westmere"), ("other", "Nosuch"), ("own", "Cascadelake-Server")] {
        let policy = common::policy(
            name,
            &json!({"virtualMachineSelector": {"matchLabels": {"nobody": name}}, "commonModel": {"name": model}}),
        );
        scene.scratch.write_json(&format!("policies/{name}.json"), &policy);
    }
    let own = common::policy("zz", &json!({"commonModel": {"name": "Penryn"}}));
    scene.scratch.write_json("policies/zz.json", &own);
    let policies = scene.scratch.path().join("policies");
    let args = ["explain", "vmi/db", "-n", "shop", "--policy", policies.to_str().unwrap()];
    let compared = scene.json(&args)["results"][0]["libvirt"]["compared"].clone();
    assert_eq!(compared["Nehalem"]["lost"], json!(["avx512f"]), "{compared:#}");
    assert_eq!(compared["Nehalem"]["by"], "libvirt");
    assert_eq!(compared["Nehalem"]["policies"], json!(["old"]), "the policy with this model is not named");
    let westmere = compared["Westmere"]["lost"].as_array().unwrap();
    assert!(westmere.contains(&json!("avx2")) && westmere.contains(&json!("ss")), "{compared:#}");
    assert!(!westmere.contains(&json!("hle")), "the guest does not have it: {compared:#}");
    assert_eq!(compared["Westmere"]["by"], "models");
    assert_eq!(
        (&compared["Nosuch"]["lost"], &compared["Nosuch"]["by"]),
        (&Value::Null, &Value::Null),
        "something is claimed about a model that is not known"
    );
    let recommended = compared["Cascadelake-Server"].clone();
    assert_eq!(recommended["recommended"], true, "{compared:#}");
    let text = scene.run(&args, &["facts"]).stdout;
    assert!(text.contains("With Nehalem, the common model of CPUPolicy old, it would lose avx512f.\n"), "{text}");
    assert!(text.contains("With Nosuch, the common model of CPUPolicy other, it is not compared"), "{text}");
    assert!(text.contains("define it: libvirt was not asked about it."), "{text}");
    let first = text.lines().find(|line| line.starts_with("With ")).unwrap();
    assert!(
        first.starts_with("With Penryn, the common model of CPUPolicy zz,"),
        "its own policy's model is first: {text}"
    );
}

/// Older files compare a guest with the recommended models of all pools: only that of its own pool is printed for it.
#[test]
fn a_model_of_another_pool_is_not_listed() {
    const OTHERS: [&str; 2] = ["node-x", "node-y"];
    let scene = Scene::new();
    let mut cluster = cluster();
    let items = cluster["items"].as_array_mut().unwrap();
    items.extend(OTHERS.map(|name| {
        let text = host(name).to_string().replace("Intel", "AMD").replace("Cascadelake-Server", "EPYC");
        serde_json::from_str(&text).unwrap()
    }));
    items.extend(guest("amd", OTHERS[0]));
    scene.scratch.write_json("cluster.json", &cluster);
    let losses = json!({"Cascadelake-Server": ["vaes"], "EPYC": ["vaes"], "Nehalem": ["avx512f"]});
    for (number, name) in ["db", "amd"].iter().enumerate() {
        let mut facts = guest_facts(name, &format!("uid-{name}"));
        facts["losses"] = losses.clone();
        scene.scratch.write_json(&format!("old/{number}.json"), &facts);
    }
    for (name, own, other) in [("db", "Cascadelake-Server", "EPYC"), ("amd", "EPYC", "Cascadelake-Server")] {
        let args = ["explain", &format!("vmi/{name}"), "-n", "shop"];
        let text = scene.run(&args, &["old"]).stdout;
        let listed = |model: &str| text.lines().any(|line| line.starts_with(&format!("With {model}")));
        assert!(listed(own), "{name} learns nothing of the model of its own pool: {text}");
        assert!(!listed(other) && !listed("Nehalem"), "{name} may not get it, or it does not run there: {text}");
        let json = scene.run(&[&args[..], &["-o", "json"]].concat(), &["old"]).json();
        assert_eq!(json["results"][0]["libvirt"]["losses"], losses, "an answer is kept from a script");
    }
}

/// A guest that was started again after the question has another CPU: the answer of its earlier start does not count,
/// until it is asked again; then the file has both.
#[test]
fn a_guest_that_starts_after_an_answer_is_not_judged_by_it() {
    let scene = Scene::new();
    let asked = by_node(&scene.explained("db"));
    assert_eq!((asked["node-b"].as_str(), asked["node-d"].as_str()), ("identical", "incompatible"));
    let text = cluster().to_string().replace("uid-db", "of-its-next-start");
    scene.scratch.write("cluster.json", &text);
    let again = scene.explained("db");
    assert_eq!(again["libvirt"]["unansweredCode"], "started-anew", "{again:#}");
    assert_eq!((&again["libvirt"]["nodes"], &again["libvirt"]["losses"]), (&json!({}), &json!({})));
    let fitting = again["nodes"]["fitting"].as_array().unwrap();
    assert!(fitting.contains(&json!("node-d")), "labels decide, as for a guest that was never asked: {again:#}");
    let text = scene.run(&["explain", "vmi/db", "-n", "shop"], &["facts"]).stdout;
    assert!(text.contains("this asks it, and adds the answers to FOLDER"), "{text}");
    let drained = scene.json(&["drain", "node-a"]);
    let guests = drained["nodes"][0]["guests"].as_array().unwrap();
    let db = guests.iter().find(|row| row["guest"] == "shop/db").unwrap();
    assert!(db["targets"].as_array().unwrap().contains(&json!("node-d")), "{db:#}");

    scene
        .scratch
        .write_json("facts/0.json", &list([guest_facts("db", "uid-db"), guest_facts("db", "of-its-next-start")]));
    assert_eq!(by_node(&scene.explained("db")), asked, "the answer of its present start is not found");
}

/// A refusal without a feature excludes no node from the next start; the output names such nodes.
#[test]
fn a_refusal_that_names_no_feature_is_a_doubt_about_the_next_start() {
    const MODEL: &str = "Cascadelake-Server";
    let scene = Scene::new();
    let [mut vmi, pod] = guest("db", "node-a");
    vmi["spec"]["domain"]["cpu"]["model"] = json!(MODEL);
    let vm = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"namespace": "shop", "name": "db"},
        "spec": {"runStrategy": "Always", "template": {"metadata": {}, "spec": vmi["spec"]}},
    });
    let nodes = ["node-a", "node-b", "node-c"].map(host);
    scene.scratch.write_json("cluster.json", &list(nodes.into_iter().chain([vm, vmi, pod, kubevirt(&json!({}))])));
    let doubt = " Libvirt on node-b refuses its present CPU of this model without naming features: it may fail there.";
    let unlisted = "Its start is judged by labels: whether libvirt lists Cascadelake-Server as usable is not known of these nodes.";
    let listed = "At its start, libvirt lists Cascadelake-Server as usable on node-c; of the other nodes where it may start only their labels say so.";
    let answer = json!({"answer": "incompatible", "reason": "the vendor differs"});
    let silent = json!({"answer": "incompatible", "missing": ["ss"]});
    for (answer, lists, expected) in [
        (&answer, false, format!("{unlisted}{doubt}")),
        (&answer, true, format!("{listed}{doubt}")),
        (&silent, false, unlisted.to_owned()),
    ] {
        let mut refuses = node_facts("node-b", MODEL, answer);
        (refuses["hostModel"], refuses["usableModels"]) = (Value::Null, Value::Null);
        let mut other = node_facts("node-c", MODEL, &json!({"answer": "superset"}));
        if !lists {
            (other["hostModel"], other["usableModels"]) = (Value::Null, Value::Null);
        }
        scene.scratch.write_json("doubt.json", &list([guest_facts("db", "uid-db"), refuses, other]));
        let text = scene.run(&["explain", "vm/db", "-n", "shop"], &["doubt.json"]).stdout;
        assert!(text.lines().any(|line| line == expected), "{expected}: {text}");
    }
}

/// If libvirt refuses the guest on every node that fits by labels, `drain` uses the restart that `explain` offers: with
/// a common model, not an unchanged one.
#[test]
fn drain_and_explain_agree_on_a_restart() {
    let scene = Scene::new();
    let mut cluster = cluster();
    let is_kept = |item: &Value| match item["kind"].as_str() {
        Some("Node") => ["node-a", "node-d"].map(|name| json!(name)).contains(&item["metadata"]["name"]),
        Some("VirtualMachineInstance" | "Pod") => {
            item["metadata"]["name"].as_str().is_some_and(|name| name.contains("db"))
        }
        _ => true,
    };
    cluster["items"].as_array_mut().unwrap().retain(is_kept);
    scene.scratch.write_json("cluster.json", &cluster);
    let explained = scene.explained("db");
    let ids = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    let offered = ids(&explained["remedies"]);
    assert!(offered.contains(&"restart-with-common-model".to_owned()), "{explained:#}");
    assert!(!offered.contains(&"restart".to_owned()), "{offered:?}");
    let drained = scene.json(&["drain", "node-a"]);
    assert_eq!(drained["nodes"][0]["guests"][0]["state"], "stuck", "{drained:#}");
    assert_eq!(ids(&drained["leastToDo"]), ["restart-with-common-model"], "{drained:#}");
}

/// A VM's next start uses libvirt's list of usable models, or labels if there is no list; the output states which.
#[test]
fn the_next_start_goes_by_what_libvirt_lists() {
    const MODEL: &str = "Cascadelake-Server";
    let scratch = Scratch::new();
    let [mut vmi, pod] = guest("db", "node-a");
    vmi["spec"]["domain"]["cpu"]["model"] = json!(MODEL);
    vmi["metadata"]["ownerReferences"] = json!([{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "db", "uid": "vm", "controller": true}]);
    let vm = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"namespace": "shop", "name": "db", "uid": "vm"},
        "spec": {"runStrategy": "Always", "template": {"metadata": {}, "spec": vmi["spec"]}},
    });
    let nodes = ["node-a", "node-b", "node-c", "node-d"].map(host);
    scratch.write_json("cluster.json", &list(nodes.into_iter().chain([vm, vmi, pod, kubevirt(&json!({}))])));
    let node = |name: &str, usable: &Value, unusable: &Value| {
        json!({"apiVersion": "cpufit.io/v1alpha1", "kind": "LibvirtNode", "metadata": {"name": name}, "accelerator": "kvm",
            "usableModels": usable, "unusableModels": unusable})
    };
    let run = |facts: &[Value], args: &[&str]| {
        scratch.write_json("facts.json", &list(facts.iter().cloned()));
        let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
        let given = ["--snapshot".to_owned(), path("cluster.json"), "--libvirt-facts".to_owned(), path("facts.json")];
        let ran = cpufit(args.iter().map(ToString::to_string).chain(given)).run();
        assert!(ran.code() < 2, "{}", head(&ran.stderr));
        ran
    };
    let explain = ["explain", "vm/db", "-n", "shop"];
    let some = [node("node-b", &json!([]), &json!({MODEL: ["hle"]})), node("node-c", &json!([MODEL]), &json!({}))];
    let next = run(&some, &[&explain[..], &["-o", "json"]].concat()).json()["results"][0]["atNextStart"].clone();
    assert_eq!(next["nodes"]["fitting"], json!(["node-a", "node-c", "node-d"]), "{next:#}");
    let text = run(&some, &explain).stdout;
    for line in [
        "It would fail at its start on node-b, which fits by labels: libvirt there does not list Cascadelake-Server as usable (missing: \
         hle).",
        "At its start, libvirt lists Cascadelake-Server as usable on node-c; of the other nodes where it may start only their labels say so.",
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line}: {text}");
    }
    let said = "# At next start named models are judged by what libvirt lists as usable on node-b, node-c; all else, and the other \
                nodes, by labels";
    let text = run(&some, &["audit"]).stdout;
    assert!(text.lines().any(|printed| printed == said), "{text}");

    let nowhere: Vec<Value> =
        ["a", "b", "c", "d"].map(|name| node(&format!("node-{name}"), &json!([]), &json!({MODEL: ["hle"]}))).into();
    let next = run(&nowhere, &["audit", "-o", "json"]).json()["items"][0]["atNextStart"].clone();
    let expected = "cannot start: on the nodes that fit by labels it would fail, as libvirt there says; it would fail at its start on \
                    node-a, node-b, node-c and 1 more, which fit by labels: libvirt there does not list Cascadelake-Server as usable \
                    (missing: hle)";
    assert_eq!(
        (&next["verdict"], &next["why"], &next["startNodes"]),
        (&json!("unschedulable"), &json!(expected), &json!(0))
    );

    let unheard = [guest_facts("other", "other")];
    let text = run(&unheard, &explain).stdout;
    let said = "Its start is judged by labels: whether libvirt lists Cascadelake-Server as usable is not known of these nodes.";
    assert!(text.lines().any(|printed| printed == said), "{text}");
}
