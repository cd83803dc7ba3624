//! The command line for scripts: exit codes, sources of input, and errors that name the place.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::common::{self, Ran, Scratch, check, cpufit, fitting, head, list, results, shipped, texts};
use serde_json::Value;

const NODES: &str = "\
apiVersion: v1
kind: Node
metadata:
  name: node-1
  labels: {kubevirt.io/schedulable: 'true', cpu-model.node.kubevirt.io/Haswell: 'true', kubernetes.io/arch: amd64}
---
apiVersion: v1
kind: Node
metadata:
  name: node-2
  labels: {kubevirt.io/schedulable: 'true', cpu-model.node.kubevirt.io/Haswell: 'true', kubernetes.io/arch: amd64}
";

/// Returns a launcher pod with a selector for this model.
fn pod(name: &str, model: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: virt-launcher-{name}\n  namespace: shop\n  labels:\n    kubevirt.io: virt-launcher\n\
         spec:\n  containers: [{{name: compute, image: x}}]\n  nodeSelector:\n    cpu-model.node.kubevirt.io/{model}: 'true'\n"
    )
}

fn policy(spec: &str) -> String {
    format!("apiVersion: cpufit.io/v1alpha1\nkind: CPUPolicy\nmetadata:\n  name: test\nspec: {spec}\n")
}

fn run(verb: &str, snapshot: &Path, file: &Path, more: &[&OsStr]) -> Ran {
    cpufit([OsStr::new(verb), OsStr::new("--snapshot"), snapshot.as_os_str(), OsStr::new("-f"), file.as_os_str()])
        .args(more)
        .run()
}

/// Checks for exit 2, an empty standard output, and an error that contains each of these texts.
#[track_caller]
pub(super) fn assert_cannot_judge(ran: &Ran, names: &[&str]) {
    assert_eq!(ran.code(), 2, "a script would take this for a verdict: {}\n{}", head(&ran.stdout), head(&ran.stderr));
    assert!(ran.stdout.trim().is_empty(), "half an answer on standard output would be parsed: {}", head(&ran.stdout));
    for name in names {
        assert!(
            ran.stderr.contains(name),
            "the error does not say {name:?}, so the user must search: {}",
            head(&ran.stderr)
        );
    }
}

#[test]
fn exit_codes_distinguish_admitted_denied_and_not_judged() {
    let case = shipped("cases").join("04-upgrade-lost-one-feature");
    let (snapshot, input) = (case.join("snapshot.yaml"), case.join("input.yaml"));
    let scratch = Scratch::new();
    let enforce = scratch.write("enforce.yaml", policy("{enforce: Pinned}"));
    let json = [OsStr::new("-o"), OsStr::new("json")];

    let admitted = run("check", &snapshot, &input, &json);
    assert_eq!(admitted.code(), 0, "the default policy only warns: {}", head(&admitted.stderr));
    assert_eq!(results(&admitted.json())[0]["allowed"], true, "a pipeline stops although everything was admitted");

    let denied = run("check", &snapshot, &input, &[&json[..], &[OsStr::new("--policy"), enforce.as_os_str()]].concat());
    assert_eq!(denied.code(), 1, "a gate in a pipeline would let it through: {}", head(&denied.stderr));
    assert_eq!(results(&denied.json())[0]["allowed"], false, "exit 1 means denied");

    let lost = run("check", &snapshot, Path::new("no-such-file.yaml"), &json);
    assert_eq!(lost.code(), 2, "an error must not look like a verdict");
}

/// A VMI, the VM of another guest, and a pod, after the mutating webhook.
#[test]
fn mutated_objects_are_printed_whole_and_only_vmis_and_target_pods_change() {
    const GUESTS: &str = "\
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: web, namespace: shop}
spec: {domain: {cpu: null, devices: {rng: {}}}}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: db, namespace: shop}
spec: {template: {spec: {domain: {devices: {}}}}}
";
    let scratch = Scratch::new();
    let four = [NODES.to_owned(), NODES.replace("node-1", "node-3").replace("node-2", "node-4")].join("---\n");
    let (nodes, file) = (scratch.write("nodes.yaml", four), scratch.write("guests.yaml", GUESTS));
    let policy = scratch.write("policy.yaml", policy("{commonModel: {name: Haswell}}"));
    let with = |more: &[&'static str]| {
        // A release that requires no machine type, because these nodes have none.
        let more = more.iter().chain(&["--kubevirt-version", "v1.5.0"]).map(OsStr::new);
        let more: Vec<&OsStr> = more.chain([OsStr::new("--policy"), policy.as_os_str()]).collect();
        run("check", &nodes, &file, &more)
    };
    let ran = with(&["-o", "yaml", "--mutated"]);
    assert_eq!(ran.code(), 0, "{}", head(&ran.stderr));
    let documents: Vec<&str> = ran.stdout.split("---\n").collect();
    assert_eq!(documents.len(), 2, "{}", ran.stdout);
    for word in ["model: Haswell", "cpufit.io/policy: test", "cpufit.io/replaced-model: Unset", "rng:"] {
        assert!(documents[0].contains(word), "{word} is missing: {}", documents[0]);
    }
    assert!(!documents[1].contains("Haswell"), "a VM is never changed: {}", documents[1]);

    let json = with(&["-o", "json"]).json();
    let patch = &results(&json)[0]["patch"];
    assert_eq!(patch[0]["path"], "/spec/domain/cpu", "{patch}");
    assert_eq!(results(&json)[1]["patch"], serde_json::json!([]));
    assert!(
        results(&json)[1]["warnings"][0].as_str().is_some_and(|line| line.contains("will run with CPU model Haswell"))
    );

    let refused = with(&["--mutated"]);
    assert_cannot_judge(&refused, &["-o yaml"]);
}

#[test]
fn the_default_output_is_for_people() {
    let scratch = Scratch::new();
    let (nodes, file) = (scratch.write("nodes.yaml", NODES), scratch.write("pod.yaml", pod("db", "NoSuchModel")));
    let ran = run("check", &nodes, &file, &[]);
    assert_eq!(ran.code(), 0, "{}", head(&ran.stderr));
    for word in ["db", "NoSuchModel"] {
        assert!(ran.stdout.contains(word), "a person learns nothing about {word}: {}", head(&ran.stdout));
    }
    assert!(serde_json::from_str::<serde_json::Value>(&ran.stdout).is_err(), "a table was expected, not JSON");
}

#[test]
fn a_missing_file_is_named() {
    let scratch = Scratch::new();
    let (nodes, file) = (scratch.write("nodes.yaml", NODES), scratch.write("pod.yaml", pod("db", "Haswell")));
    let gone = scratch.path().join("gone.yaml");
    assert_cannot_judge(&run("check", &nodes, &gone, &[]), &["gone.yaml"]);
    assert_cannot_judge(&run("check", &gone, &file, &[]), &["gone.yaml"]);
    assert_cannot_judge(&run("explain", &gone, &file, &[]), &["gone.yaml"]);
    let policy = [OsStr::new("--policy"), gone.as_os_str()];
    assert_cannot_judge(&run("check", &nodes, &file, &policy), &["gone.yaml"]);
}

#[test]
fn without_a_cluster_and_without_a_snapshot_both_are_offered() {
    let scratch = Scratch::new();
    let gone = scratch.path().join("gone.kubeconfig");
    let ran = cpufit(["audit", "--kubeconfig"]).args([&gone]).run();
    assert_cannot_judge(&ran, &["gone.kubeconfig", "--kubeconfig FILE", "--snapshot FILE"]);
}

#[test]
fn bad_yaml_is_placed_by_file_and_document() {
    let scratch = Scratch::new();
    let (nodes, file) = (scratch.write("nodes.yaml", NODES), scratch.write("pod.yaml", pod("db", "Haswell")));
    let broken = scratch.write("broken.yaml", "# pods\n---\n---\nkind: [Pod\nmetadata: {\n");
    assert_cannot_judge(&run("check", &nodes, &broken, &[]), &["broken.yaml", "document"]);
    let broken = scratch.write("torn.yaml", format!("{NODES}---\nkind: Node\nmetadata: {{name: 'node-3\n"));
    assert_cannot_judge(&run("check", &broken, &file, &[]), &["torn.yaml", "document 3"]);
    let torn = scratch.write("torn.json", r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "#);
    assert_cannot_judge(&run("check", &torn, &file, &[]), &["torn.json"]);
}

#[test]
fn a_field_of_the_wrong_type_is_placed_by_file_document_and_field() {
    let scratch = Scratch::new();
    let (nodes, file) = (scratch.write("nodes.yaml", NODES), scratch.write("pod.yaml", pod("db", "Haswell")));
    let odd = scratch.write(
        "odd.yaml",
        format!("{NODES}---\napiVersion: v1\nkind: Node\nmetadata: {{name: node-3, labels: [a, b]}}\n"),
    );
    assert_cannot_judge(&run("check", &odd, &file, &[]), &["odd.yaml", "document 3", "metadata.labels"]);
    let odd =
        scratch.write("value.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: node-3, labels: {zone: [a]}}\n");
    assert_cannot_judge(&run("check", &odd, &file, &[]), &["value.yaml", "document 1", "metadata.labels", "zone"]);
    let odd = scratch.write("selector.yaml", pod("db", "Haswell").replace("'true'", "{a: b}"));
    assert_cannot_judge(&run("check", &nodes, &odd, &[]), &["selector.yaml", "document 1", "spec.nodeSelector"]);
    let inside = scratch.write(
        "list.yaml",
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Node, metadata: {name: a}}\n\
         - {apiVersion: v1, kind: Node, metadata: {name: b, labels: {zone: [c]}}}\n",
    );
    assert_cannot_judge(&run("check", &inside, &file, &[]), &["list.yaml", "items[1]", "metadata.labels"]);
}

#[test]
fn an_unknown_field_of_a_policy_is_named() {
    let scratch = Scratch::new();
    let (nodes, file) = (scratch.write("nodes.yaml", NODES), scratch.write("pod.yaml", pod("db", "Haswell")));
    for (name, spec, names) in [
        ("typo.yaml", "{enfroce: Pinned}", "enfroce"),
        ("value.yaml", "{enforce: Sometimes}", "Sometimes"),
        ("deep.yaml", "{exemptions: {user: [admin]}}", "user"),
    ] {
        let policy = scratch.write(name, policy(spec));
        let ran = run("check", &nodes, &file, &[OsStr::new("--policy"), policy.as_os_str()]);
        assert_cannot_judge(&ran, &[name, names]);
    }
}

#[test]
fn a_snapshot_without_nodes_is_admitted_unknown_and_said() {
    let scratch = Scratch::new();
    let file = scratch.write("pod.yaml", pod("db", "Haswell"));
    let empty = scratch.write("empty.yaml", "apiVersion: v1\nkind: List\nitems: []\n");
    let ran = run("check", &empty, &file, &[]);
    assert_eq!(ran.code(), 0, "a guess must never deny: {}", ran.stderr);
    for words in ["unknown", "no node is known"] {
        assert!(ran.stdout.contains(words), "a user who forgot the nodes is not output: {}", ran.stdout);
    }
    for words in ["note: the dump holds no node", "kubectl get nodes,pods,", ",controllerrevisions,", " -A -o yaml"] {
        assert!(ran.stderr.contains(words), "what to add is not output: {}", ran.stderr);
    }
}

#[test]
fn a_node_that_stands_in_two_dumps_counts_once_or_is_an_error() {
    let scratch = Scratch::new();
    let file = scratch.write("pod.yaml", pod("db", "Haswell"));
    let (one, same) = (scratch.write("a.yaml", NODES), scratch.write("b.yaml", NODES));
    let with = |second: &Path| {
        let more = [OsStr::new("--snapshot"), second.as_os_str(), OsStr::new("-o"), OsStr::new("json")];
        run("check", &one, &file, &more)
    };
    let alike = with(&same);
    assert_eq!(alike.json()["results"][0]["nodes"]["judged"], 2, "{}", alike.stderr);
    let note = "node node-1 is in the dump more than once, alike, and counts once; so does 1 other";
    assert!(alike.stderr.contains(note), "{}", alike.stderr);
    let other = scratch.write("c.yaml", NODES.replace("node-1", "node-0").replace("Haswell", "Penryn"));
    assert_cannot_judge(&with(&other), &["c.yaml, document 2", "a Node named node-2 already", "a.yaml, document 2"]);
}

#[test]
fn standard_input_stands_for_either_side() {
    let scratch = Scratch::new();
    let (nodes, file) = (scratch.write("nodes.yaml", NODES), scratch.write("pod.yaml", pod("db", "Haswell")));
    let guest = cpufit(["check", "-o", "json", "-f", "-"])
        .args([OsStr::new("--snapshot"), nodes.as_os_str()])
        .stdin(pod("db", "Haswell"))
        .run();
    let cluster = cpufit(["check", "-o", "json", "--snapshot", "-"])
        .args([OsStr::new("-f"), file.as_os_str()])
        .stdin(NODES)
        .run();
    for ran in [&guest, &cluster] {
        assert_eq!(ran.code(), 0, "kubectl get … | cpufit does not work: {}", head(&ran.stderr));
        assert_eq!(fitting(&results(&ran.json())[0]), ["node-1", "node-2"]);
    }
    let broken = cpufit(["check", "-o", "json", "-f", "-"])
        .args([OsStr::new("--snapshot"), nodes.as_os_str()])
        .stdin("kind: [Pod")
        .run();
    assert_cannot_judge(&broken, &["standard input"]);
    let both = cpufit(["check", "-f", "-", "--snapshot", "-"]).stdin(NODES).run();
    assert_cannot_judge(&both, &["standard input", "once"]);
}

#[test]
fn options_may_be_repeated_and_results_keep_their_order() {
    let scratch = Scratch::new();
    let (one, two) = NODES.split_once("---\n").expect("two documents");
    let snapshots = [scratch.write("one.yaml", one), scratch.write("two.yaml", two)];
    let many = format!("{}---\n{}", pod("b", "NoSuchModel"), pod("a", "Haswell"));
    let files = [scratch.write("z.yaml", many), scratch.write("a.yaml", pod("c", "Haswell"))];
    let results = check(&snapshots.each_ref().map(PathBuf::as_path), &files.each_ref().map(PathBuf::as_path), &[]);
    let seen: Vec<(&str, Option<u64>, &str)> = results
        .iter()
        .map(|result| {
            let file = result["file"].as_str().unwrap_or_default();
            (
                file.rsplit('/').next().unwrap_or_default(),
                result["index"].as_u64(),
                result["name"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("z.yaml", Some(0), "virt-launcher-b"),
            ("z.yaml", Some(1), "virt-launcher-a"),
            ("a.yaml", Some(0), "virt-launcher-c"),
        ],
        "a script matches results to objects by file, index and order"
    );
    for result in &results {
        assert_eq!(result["nodes"]["judged"], 2, "a snapshot in two files is one cluster: {}", result["nodes"]);
        assert_eq!((&result["kind"], &result["namespace"]), (&"Pod".into(), &"shop".into()));
    }
    assert_eq!(fitting(&results[0]), Vec::<String>::new(), "a node is named that the pod cannot run on");
    assert_eq!(fitting(&results[1]), ["node-1", "node-2"]);
}

#[test]
fn every_promised_field_is_in_the_json() {
    let scratch = Scratch::new();
    let (nodes, file) = (scratch.write("nodes.yaml", NODES), scratch.write("pod.yaml", pod("db", "NoSuchModel")));
    let results = check(&[&nodes], &[&file], &[]);
    let result = results[0].as_object().expect("an object");
    for field in [
        "file",
        "index",
        "line",
        "kind",
        "namespace",
        "name",
        "allowed",
        "verdict",
        "impact",
        "cause",
        "nodes",
        "nearest",
        "findings",
        "warnings",
        "patch",
    ] {
        assert!(
            result.contains_key(field),
            "scripts read {field}, even where it is null or empty: {:?}",
            result.keys()
        );
    }
    assert_eq!(
        (&result["verdict"], &result["cause"]),
        (&"unschedulable".into(), &"structural".into()),
        "a script reads another severity than people do"
    );
    let finding = &result["findings"][0];
    for field in ["check", "impact", "field", "message", "remedies"] {
        assert!(finding.get(field).is_some(), "scripts read {field} of a finding: {finding}");
    }
}

#[test]
fn a_folder_stands_for_the_files_in_it() {
    let scratch = Scratch::new();
    let (one, two) = NODES.split_once("---\n").expect("two documents");
    scratch.write("cluster/one.yaml", one);
    scratch.write("cluster/two.yml", two);
    let third = common::node("node-3", &serde_json::json!({"cpu-model.node.kubevirt.io/Haswell": "true"}));
    scratch.write_json("cluster/three.json", &third);
    scratch.write("guests/b.yaml", pod("b", "Haswell"));
    scratch.write("guests/a.yaml", pod("a", "Haswell"));
    let results = check(&[&scratch.path().join("cluster")], &[&scratch.path().join("guests")], &[]);
    let names: Vec<&str> = results.iter().filter_map(|result| result["name"].as_str()).collect();
    assert_eq!(names, ["virt-launcher-a", "virt-launcher-b"], "the order of a folder must not depend on the disk");
    for result in &results {
        assert_eq!(fitting(result), ["node-1", "node-2", "node-3"], "a file of the folder was passed over");
    }
}

#[test]
fn explain_finds_a_guest_by_kind_and_name() {
    let case = shipped("cases").join("04-upgrade-lost-one-feature").join("snapshot.yaml");
    let explain =
        |what: &[&str]| cpufit(["explain"]).args(what).args([OsStr::new("--snapshot"), case.as_os_str()]).run();
    let found = explain(&["vmi/db", "-n", "shop"]);
    assert!(matches!(found.code(), 0 | 1), "{}", head(&found.stderr));
    assert!(found.stdout.contains("amd-stibp"), "the one missing label is not said: {}", head(&found.stdout));
    assert_cannot_judge(&explain(&["vmi/nobody", "-n", "shop"]), &["nobody"]);
    assert_cannot_judge(&explain(&["vmi/db", "-n", "elsewhere"]), &["db", "elsewhere"]);
    assert_cannot_judge(&explain(&["teapot/db", "-n", "shop"]), &["teapot"]);
}

/// Objects with a template for many guests are judged from a file, and by name in a snapshot.
#[test]
fn replica_sets_and_pools_are_judged_and_explained() {
    const TEMPLATE: &str = "{metadata: {labels: {app: web}}, spec: {domain: {cpu: {model: EPYC}, devices: {}}}}";
    const IN_POOL: &str = "spec.virtualMachineTemplate.spec.template.spec.domain.cpu.model";
    let set = format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstanceReplicaSet\nmetadata: {{generateName: web-}}\n\
         spec: {{selector: {{matchLabels: {{app: web}}}}, template: {TEMPLATE}}}\n"
    );
    let pool = |version: &str| {
        format!(
            "---\napiVersion: pool.kubevirt.io/{version}\nkind: VirtualMachinePool\nmetadata: {{name: web, namespace: shop}}\n\
             spec: {{virtualMachineTemplate: {{spec: {{template: {TEMPLATE}}}}}}}\n"
        )
    };
    let scratch = Scratch::new();
    // The nodes meet all requirements of the guests except the model.
    let nodes = NODES.replace("kubernetes.io/arch", "machine-type.node.kubevirt.io/q35: 'true', kubernetes.io/arch");
    let snapshot = scratch.write("nodes.yaml", format!("{nodes}{}", pool("v1beta1")));
    let enforce = scratch.write("enforce.yaml", policy("{enforce: Unschedulable}"));
    let file = scratch.write("objects.yaml", format!("{set}{}{}", pool("v1alpha1"), pool("v1beta1")));
    let more = [OsStr::new("-o"), OsStr::new("json"), OsStr::new("--policy"), enforce.as_os_str()];
    let ran = run("check", &snapshot, &file, &more);
    assert_eq!(ran.code(), 1, "a pipeline would let a pool through that no node takes: {}", head(&ran.stderr));
    let rows = results(&ran.json());
    let found: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| (row["kind"].as_str().expect("a kind"), row["findings"][0]["field"].as_str().unwrap_or_default()))
        .collect();
    let expected = [
        ("VirtualMachineInstanceReplicaSet", "spec.template.spec.domain.cpu.model"),
        ("VirtualMachinePool", IN_POOL),
        ("VirtualMachinePool", IN_POOL),
    ];
    assert_eq!(found, expected, "the field is not one of the replica set or pool");
    assert!(
        rows.iter().all(|row| row["allowed"] == false),
        "a replica set or pool passes a policy that its guests do not"
    );

    let explain = |what: &str| cpufit(["explain", what, "-n", "shop", "--snapshot"]).args([snapshot.as_os_str()]).run();
    let explained = explain("vmpool/web");
    assert_eq!(explained.code(), 0, "{}", head(&explained.stderr));
    assert!(explained.stdout.contains("shop/web") && explained.stdout.contains("EPYC"), "{}", head(&explained.stdout));
    assert_cannot_judge(&explain("vmirs/web"), &["web", "vmirs"]);
    assert_cannot_judge(&explain("vm/web"), &["web"]);
}

#[test]
fn help_and_completions_are_printed() {
    for verb in [&[][..], &["serve"], &["check"], &["explain"], &["recommend"], &["diff"], &["certs"], &["completions"]]
    {
        let ran = cpufit(verb).args(["--help"]).run();
        assert_eq!(ran.code(), 0, "{verb:?}: {}", head(&ran.stderr));
        assert!(ran.stdout.len() > 100, "{verb:?} --help explains nothing: {:?}", ran.stdout);
    }
    for shell in ["bash", "zsh", "fish"] {
        let ran = cpufit(["completions", shell]).run();
        assert_eq!(ran.code(), 0, "{shell}: {}", head(&ran.stderr));
        assert!(ran.stdout.contains("cpufit"), "{shell} gets no completions: {}", head(&ran.stdout));
    }
}

#[test]
fn a_wrong_command_line_exits_as_an_error() {
    for args in [&["check", "--no-such-flag"][..], &["no-such-verb"], &["check", "-o", "poetry"], &["check"]] {
        let ran = cpufit(args).run();
        assert_eq!(ran.code(), 2, "{args:?}: {}", head(&ran.stderr));
        assert!(!ran.stderr.trim().is_empty(), "{args:?} fails in silence");
    }
}

#[test]
fn certificates_are_made_and_never_readable_by_all() {
    let scratch = Scratch::new();
    let out = scratch.path().join("certs");
    let ran = cpufit([OsStr::new("certs"), OsStr::new("--out"), out.as_os_str()]).run();
    assert_eq!(ran.code(), 0, "{}", head(&ran.stderr));
    for (file, mark) in [("ca.pem", "CERTIFICATE"), ("tls.crt", "CERTIFICATE"), ("tls.key", "PRIVATE KEY")] {
        let text = String::from_utf8(common::read(&out.join(file))).expect("PEM is text");
        assert!(text.contains(mark), "{file} holds no {mark}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(out.join("tls.key")).expect("the key").permissions().mode();
        assert_eq!(mode & 0o077, 0, "every user of the machine could read the key (mode {mode:o})");
    }
}

#[test]
fn a_guest_that_fits_is_admitted_without_warnings() {
    let scratch = Scratch::new();
    let file = scratch.write(
        "vm.yaml",
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: quiet, namespace: shop}\n\
         spec: {template: {spec: {domain: {cpu: {model: Skylake-Server-noTSX-IBRS}, devices: {}}}}}\n",
    );
    // The KubeVirt version is not known there, which is reported only if there is a problem.
    let cluster = shipped("reviews").join("cluster.yaml");
    let result = &check(&[&cluster], &[&file], &[])[0];
    assert_eq!(result["verdict"], "fits");
    assert_eq!(result["warnings"], serde_json::json!([]), "people stop reading warnings that say nothing");
}

#[test]
fn a_pod_bound_to_a_node_fits_there_alone() {
    let scratch = Scratch::new();
    let nodes = scratch.write("nodes.yaml", NODES);
    let bound = |node: &str| format!("{}  nodeName: {node}\n", pod("db", "Haswell"));
    let (free, here) = (scratch.write("free.yaml", pod("db", "Haswell")), scratch.write("here.yaml", bound("node-2")));
    let gone = scratch.write("gone.yaml", bound("node-9"));
    let rows = check(&[&nodes], &[&free, &here, &gone], &[]);
    assert_eq!(fitting(&rows[0]), ["node-1", "node-2"]);
    assert_eq!(fitting(&rows[1]), ["node-2"], "NodeName is one of the scheduler's filters");
    assert!(fitting(&rows[2]).is_empty(), "no other node takes a pod that names its own");
}

#[test]
fn a_malformed_affinity_is_an_error_not_no_affinity() {
    let scratch = Scratch::new();
    let nodes = scratch.write("nodes.yaml", NODES);
    let file = scratch.write(
        "vm.yaml",
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: web, namespace: shop}\n\
         spec: {template: {spec: {domain: {}, affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution:\n\
         \x20 {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [1]}]}]}}}}}}\n",
    );
    assert_cannot_judge(&run("check", &nodes, &file, &[]), &["vm.yaml", "affinity", "values"]);
}

#[test]
fn a_contradiction_in_the_guest_is_printed_beside_the_nearest_node() {
    let scratch = Scratch::new();
    let nodes = scratch.write("nodes.yaml", NODES.replace("amd64", "amd64, cpu-feature.node.kubevirt.io/fpu: 'true'"));
    let torn = scratch.write(
        "vm.yaml",
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: torn, namespace: shop}\n\
         spec: {template: {spec: {domain: {cpu: {model: Haswell, features: [{name: fpu}, {name: fpu, policy: forbid}]}}}}}\n",
    );
    let warnings = check(&[&nodes], &[&torn], &["--kubevirt-version", "v1.5.0"])[0]["warnings"].to_string();
    assert!(warnings.contains("requires and forbids cpu-feature fpu"), "people would look at nodes: {warnings}");
}

#[test]
fn explain_numbers_objects_as_check_does() {
    let scratch = Scratch::new();
    let nodes = scratch.write("nodes.yaml", NODES);
    let documents = [pod("a", "Haswell"), pod("b", "Haswell"), pod("c", "Haswell")].join("---\n");
    let file = scratch.write("pods.yaml", documents);
    for verb in ["check", "explain"] {
        let ran = run(verb, &nodes, &file, &[OsStr::new("-o"), OsStr::new("json")]).json();
        let numbers: Vec<_> = results(&ran).iter().filter_map(|row| row["index"].as_u64()).collect();
        assert_eq!(numbers, [0, 1, 2], "{verb}: a row could not be traced to its object");
    }
}

/// Returns the objects of a file without this namespace.
fn without_namespace(file: &Path, namespace: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(file).unwrap()).unwrap();
    let items = documents.into_iter().flat_map(|mut document| match document["items"].take() {
        Value::Array(items) => items,
        _ => vec![document],
    });
    let strip = |mut object: Value| {
        if object["metadata"]["namespace"] == namespace {
            object["metadata"].as_object_mut().unwrap().remove("namespace");
        }
        object
    };
    items.map(strip).collect()
}

#[test]
fn an_object_without_a_namespace_gets_the_requested_one() {
    let scratch = Scratch::new();
    let mut judged = 0;
    for case in std::fs::read_dir(shipped("cases")).unwrap().map(|entry| entry.unwrap().path()) {
        let [snapshot, input] = ["snapshot.yaml", "input.yaml"].map(|file| case.join(file));
        let named = run("check", &snapshot, &input, &["-o", "json", "--predict"].map(OsStr::new)).json();
        let namespace = named["results"][0]["namespace"].as_str().unwrap().to_owned();
        let strip = |file: &Path| {
            let items = without_namespace(file, &namespace);
            scratch.write_json(file.file_name().unwrap().to_str().unwrap(), &list(items))
        };
        let [snapshot, bare] = [&snapshot, &input].map(|file| strip(file));
        let bare =
            run("check", &snapshot, &bare, &["-n", &namespace, "-o", "json", "--predict"].map(OsStr::new)).json();
        let [named, mut bare] = [named, bare].map(|answer| results(&answer));
        for (named, bare) in named.iter().zip(&mut bare) {
            // Elements of a JSON list have no line numbers.
            (bare["file"], bare["line"]) = (named["file"].clone(), named["line"].clone());
            assert_eq!(bare, named, "{}: without its namespace it is judged otherwise", case.display());
            judged += 1;
        }
        let other = run("check", &snapshot, &input, &["-n", "elsewhere"].map(OsStr::new));
        assert_cannot_judge(&other, &["metadata.namespace: expected \"elsewhere\", as -n says, found", &namespace]);
    }
    assert!(judged > 9, "{judged} objects were compared");
}

#[test]
fn without_a_namespace_it_is_default_and_no_command_names_another() {
    const STUCK: &str = "\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: web}
spec: {runStrategy: Always, template: {spec: {domain: {cpu: {model: Penryn}, devices: {}}}}}
";
    let scratch = Scratch::new();
    let labelled = NODES.replace("arch: amd64", "arch: amd64, cpu-vendor.node.kubevirt.io/Intel: 'true'");
    let stored = |namespace: &str| STUCK.replace("name: web", &format!("name: web, namespace: {namespace}"));
    let dump = [labelled, stored("default"), stored("shop")].join("---\n");
    let (nodes, file) = (scratch.write("nodes.yaml", dump), scratch.write("guest.yaml", STUCK));
    let without_machine_types = ["--kubevirt-version", "v1.5.0"];
    let output = |verb: &str, more: &[&str]| {
        let more: Vec<&OsStr> = more.iter().chain(&without_machine_types).map(OsStr::new).collect();
        run(verb, &nodes, &file, &more)
    };
    let commands = |more: &[&str]| {
        let json = output("check", &[more, &["-o", "json"]].concat()).json();
        let result = results(&json).remove(0);
        let remedies = result["remedies"].as_array().unwrap().clone();
        let commands: Vec<String> = remedies.iter().flat_map(|remedy| texts(&remedy["commands"])).collect();
        (result["namespace"].as_str().unwrap().to_owned(), commands)
    };
    for (more, expected) in [(&[][..], "default"), (&["-n", "shop"], "shop")] {
        let (namespace, commands) = commands(more);
        assert_eq!(namespace, expected, "the object is judged in another namespace than it is applied to");
        let patch = commands.iter().find(|command| command.contains("patch")).expect("a command that changes the VM");
        assert!(patch.contains(&format!(" -n {expected} ")), "{patch}");
        let explained = output("explain", more);
        assert!(explained.stdout.contains(&format!("-n {expected} ")), "{}", explained.stdout);
    }
    let (_, commands) = commands(&["-n", "elsewhere"]);
    let edit = "# in the manifest set spec.template.spec.domain.cpu.model to ";
    assert!(commands.iter().any(|line| line.starts_with(edit)), "it is stored in no such namespace: {commands:?}");
    let mutated = output("check", &["-o", "yaml", "--mutated"]);
    assert!(!mutated.stdout.contains("namespace"), "applied elsewhere, it would be refused: {}", mutated.stdout);
}
