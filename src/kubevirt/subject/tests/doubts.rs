//! Doubts that labels do not show are reported for a guest that fits by labels, and only where they apply.

use rstest::rstest;
use serde_json::{Value, json};

use super::super::*;
use crate::fit::node::Node;
use crate::fit::verdict::Outcome;
use crate::kubevirt::cluster::ClusterObject;
use crate::say;
use crate::testing::Tweak;
use crate::testing::cluster::{cluster, migration as request, read, running, vm, vmi};
use crate::testing::fleet::{arm, cascade_lake, cordon, give, of, required, rome, skylake, take};

/// Returns the messages of this check, and the state in one word.
fn said(check: Check, verdict: &Verdict) -> (Vec<String>, &'static str) {
    let found = verdict.findings.iter().filter(|finding| finding.check == check);
    (found.map(say::finding::message).collect(), say::state(verdict, verdict.impact()).as_str())
}

fn starting(guest: Value, nodes: Vec<Node>) -> Verdict {
    let cluster = cluster("1.9.0", nodes, []);
    of_vm(&read(guest), &cluster).judge(&cluster, Depth::Full)
}

fn leaving(guest: Value, nodes: Vec<Node>) -> Verdict {
    let cluster = cluster("1.9.0", nodes, [vmi(guest)]);
    of_migration(&read(request("db")), &cluster).judge(&cluster, Depth::Full)
}

fn two_kinds() -> Vec<Node> {
    vec![cascade_lake("node-a"), cascade_lake("node-c"), skylake("node-b"), skylake("node-d")]
}

/// Returns a node with a host model of the same name, but of a later generation.
fn later(name: &str) -> Node {
    cascade_lake(name).tweak(|node| give(node, ["amx-tile", "amx-bf16"].map(required)))
}

#[rstest]
#[case::unlike_models(two_kinds(), &["host-passthrough keeps the CPU of the node it starts on: the nodes that fit are unlike \
    each other (Cascadelake-Server on node-a and node-c; Skylake-Server-noTSX-IBRS on node-b and node-d), and moved \
    between them it may fail"])]
#[case::one_name_of_two_generations(vec![cascade_lake("node-a"), cascade_lake("node-b"), later("node-c")],
    &["host-passthrough keeps the CPU of the node it starts on: the nodes that fit are unlike \
    each other (Cascadelake-Server on node-a and node-b; Cascadelake-Server with amx-bf16, amx-tile on node-c), and \
    moved between them it may fail"])]
#[case::it_never_goes_to_the_other_vendor(vec![cascade_lake("node-a"), rome("amd-1"), cascade_lake("node-c"), rome("amd-2")], &[])]
#[case::alike(vec![cascade_lake("node-a"), cascade_lake("node-b"), cascade_lake("node-c")], &[])]
#[case::the_unlike_one_takes_no_guests(two_kinds().tweak(|nodes| ["node-b", "node-d"].iter().for_each(|name| cordon(of(nodes, name)))), &[])]
#[case::another_architecture(vec![cascade_lake("node-a"), cascade_lake("node-b"), arm("arm-1")], &[])]
#[case::no_host_model_known(two_kinds().tweak(|nodes| {
    for name in ["node-b", "node-d"] {
        take(of(nodes, name), &[format!("{}Skylake-Server-noTSX-IBRS", label::HOST_MODEL_CPU)]);
    }
}), &[])]
fn a_passthrough_start_among_unlike_hosts_is_reported(#[case] nodes: Vec<Node>, #[case] expected: &[&str]) {
    let verdict = starting(vm("db", "host-passthrough"), nodes);
    let state = if expected.is_empty() { say::state(&verdict, verdict.impact()).as_str() } else { "FITS-BY-LABELS" };
    let expected = expected.iter().map(|line| (*line).to_owned()).collect();
    assert_eq!(said(Check::UnlikeHosts, &verdict), (expected, state));
}

#[rstest]
#[case::unlike(two_kinds(), &["host-passthrough keeps the CPU of node-a (Cascadelake-Server): 2 nodes fit by labels \
    and are unlike it (Skylake-Server-noTSX-IBRS on node-b and node-d), and it may fail there"])]
#[case::one_unlike(vec![cascade_lake("node-a"), rome("amd-1")].tweak(|nodes| {
    take(of(nodes, "amd-1"), &["cpu-vendor.node.kubevirt.io/AMD".to_owned()]);
    give(of(nodes, "amd-1"), ["cpu-vendor.node.kubevirt.io/Intel".to_owned()]);
}), &["host-passthrough keeps the CPU of node-a (Cascadelake-Server): 1 node fits by labels and is unlike it \
    (EPYC-Rome on amd-1), and it may fail there"])]
#[case::poorer_itself(vec![cascade_lake("node-a"), later("node-b")],
    &["host-passthrough keeps the CPU of node-a (Cascadelake-Server): 1 node fits by labels and is unlike it \
    (Cascadelake-Server with amx-bf16, amx-tile on node-b), and it may fail there"])]
#[case::another_vendor_does_not_fit(vec![cascade_lake("node-a"), rome("amd-1"), cascade_lake("node-c")], &[])]
#[case::its_own_is_not_known(two_kinds().tweak(|nodes| take(of(nodes, "node-a"), &[format!("{}Cascadelake-Server", label::HOST_MODEL_CPU)])), &[])]
fn a_passthrough_migration_to_unlike_hosts_is_reported(#[case] nodes: Vec<Node>, #[case] expected: &[&str]) {
    let verdict = leaving(running("db", "node-a", "host-passthrough"), nodes);
    let (lines, state) = said(Check::UnlikeHosts, &verdict);
    assert_eq!(lines, expected);
    let fits = verdict.assessment.outcome == Outcome::Fits;
    assert_eq!(state == "FITS-BY-LABELS", fits && !expected.is_empty(), "{state}");
}

#[rstest]
#[case::host_model("host-model")]
#[case::named("Skylake-Server-noTSX-IBRS")]
fn requirements_by_labels_cause_no_doubt(#[case] model: &str) {
    for verdict in [starting(vm("db", model), two_kinds()), leaving(running("db", "node-a", model), two_kinds())] {
        assert_eq!(said(Check::UnlikeHosts, &verdict).0, Vec::<String>::new());
    }
}

/// Returns nodes of both vendors that have the label of one model.
fn both_vendors() -> Vec<Node> {
    ["node-a", "node-b"]
        .map(cascade_lake)
        .into_iter()
        .chain(["amd-1", "amd-2"].map(rome))
        .collect::<Vec<_>>()
        .tweak(|nodes| nodes.iter_mut().for_each(|node| give(node, [label_of_model("Westmere")])))
}

fn label_of_model(name: &str) -> String {
    format!("{}{name}", label::CPU_MODEL)
}

/// Only later releases exclude nodes of the other vendor: with earlier ones, a plain "fits" leads to a migration where
/// the guest may crash.
#[rstest]
#[case::named("1.6.3", "Westmere", &["its pod asks for no CPU vendor, so that nodes of another one fit by labels (AMD on amd-1 and amd-2; \
    node-a is Intel): moved there it may crash"])]
#[case::asked_for("1.6.4", "Westmere", &[])]
#[case::not_asked_for("1.7.0", "Westmere", &["its pod asks for no CPU vendor, so that nodes of another one fit by labels (AMD on amd-1 \
    and amd-2; node-a is Intel): moved there it may crash"])]
#[case::host_model("1.6.3", "host-model", &[])]
fn a_migration_to_another_vendor_is_reported(#[case] release: &str, #[case] model: &str, #[case] expected: &[&str]) {
    let cluster = cluster(release, both_vendors(), [vmi(running("db", "node-a", model))]);
    let verdict = of_migration(&read(request("db")), &cluster).judge(&cluster, Depth::Full);
    let (lines, state) = said(Check::UnlikeHosts, &verdict);
    assert_eq!(lines, expected);
    assert_eq!(state == "FITS-BY-LABELS", !expected.is_empty(), "{state}");
}

#[rstest]
#[case::named("1.6.3", &["its pod asks for no CPU vendor, and nor will its migrations: nodes of several fit by labels (AMD on amd-1 and \
    amd-2; Intel on node-a and node-b), and moved between them it may crash"])]
#[case::asked_for("1.6.4", &[])]
fn a_start_on_nodes_of_two_vendors_is_reported(#[case] release: &str, #[case] expected: &[&str]) {
    let cluster = cluster(release, both_vendors(), []);
    let verdict = of_vm(&read(vm("db", "Westmere")), &cluster).judge(&cluster, Depth::Full);
    assert_eq!(said(Check::UnlikeHosts, &verdict).0, expected);
}

fn apart() -> Value {
    json!([{"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}])
}

#[rstest]
#[case::anti_affinity(json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": apart()}}}),
    "affinity.podAntiAffinity", &["its required pod anti-affinity is not judged: by the pods on the nodes kube-scheduler may keep it off any of the 3 nodes that fit"])]
#[case::affinity(json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": apart()}}}),
    "affinity.podAffinity", &["its required pod affinity is not judged: by the pods on the nodes kube-scheduler may keep it off any of the 3 nodes that fit"])]
#[case::spread(json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]}),
    "topologySpreadConstraints", &["its topology spread (DoNotSchedule) is not judged: by the pods on the nodes kube-scheduler may keep it off any of the 3 nodes that fit"])]
#[case::both(json!({
    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": apart()}},
    "topologySpreadConstraints": [{"whenUnsatisfiable": "ScheduleAnyway"}, {"whenUnsatisfiable": "DoNotSchedule"}],
}), "affinity.podAntiAffinity", &["its required pod anti-affinity and topology spread (DoNotSchedule) are not judged: by the pods on the nodes \
    kube-scheduler may keep it off any of the 3 nodes that fit"])]
#[case::preferred(json!({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {}}]}}}), "", &[])]
#[case::empty(json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}}), "", &[])]
#[case::soft_spread(json!({"topologySpreadConstraints": [{"whenUnsatisfiable": "ScheduleAnyway"}]}), "", &[])]
#[case::null(json!({"affinity": null, "topologySpreadConstraints": null}), "", &[])]
fn rules_about_other_pods_are_reported_for_guests_that_fit(
    #[case] more: Value,
    #[case] field: &str,
    #[case] expected: &[&str],
) {
    let in_zone = |name: &str| cascade_lake(name).tweak(|node| give(node, ["zone".to_owned()]));
    let nodes = || ["node-a", "node-b", "node-c"].map(in_zone).to_vec();
    let with = |spec: &mut Value| {
        let more = more.as_object().cloned().unwrap_or_default();
        spec.as_object_mut().expect("a spec").extend(more);
    };
    let guest = vm("db", "host-model").tweak(|vm| with(&mut vm["spec"]["template"]["spec"]));
    let verdict = starting(guest, nodes());
    assert_eq!(said(Check::PodRules, &verdict).0, expected);
    let fields: Vec<&str> =
        verdict.findings.iter().filter(|found| found.check == Check::PodRules).map(|found| &*found.field).collect();
    let expected_fields: Vec<String> = expected.iter().map(|_| format!("spec.template.spec.{field}")).collect();
    assert_eq!(fields, expected_fields);
    // For a migration of the guest, one node less fits.
    let verdict = leaving(running("db", "node-a", "host-model").tweak(|vmi| with(&mut vmi["spec"])), nodes());
    let (lines, state) = said(Check::PodRules, &verdict);
    assert_eq!(lines, expected.iter().map(|line| line.replace("3 nodes", "2 nodes")).collect::<Vec<_>>());
    assert_eq!(state, if expected.is_empty() { "FITS" } else { "FITS-BY-LABELS" });
}

#[test]
fn without_a_fitting_node_no_doubt_is_reported() {
    let spread = json!([{"whenUnsatisfiable": "DoNotSchedule"}]);
    let guest = vm("db", "EPYC-Turin").tweak(|vm| vm["spec"]["template"]["spec"]["topologySpreadConstraints"] = spread);
    let verdict = starting(guest, two_kinds());
    assert_eq!(said(Check::PodRules, &verdict), (Vec::new(), "CANNOT-START"));
}

/// Returns the claims `root-db` and `data-db` of namespace `shop`, bound to `pv-root` and `pv-data`, with these node
/// affinities.
fn storage(root: &Value, data: &Value) -> Vec<ClusterObject> {
    let claim = |name: &str, volume: &str| {
        ClusterObject::Claim(read(
            json!({"metadata": {"namespace": "shop", "name": name}, "spec": {"volumeName": volume}}),
        ))
    };
    let volume = |name: &str, required: &Value| {
        let affinity =
            if required.is_null() { json!(null) } else { json!({"required": {"nodeSelectorTerms": required}}) };
        ClusterObject::Volume(read(json!({"metadata": {"name": name}, "spec": {"nodeAffinity": affinity}})))
    };
    let claims = [claim("root-db", "pv-root"), claim("data-db", "pv-data"), claim("new-db", "")];
    claims.into_iter().chain([volume("pv-root", root), volume("pv-data", data)]).collect()
}

fn on(nodes: &[&str]) -> Value {
    json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": nodes}]}])
}

fn by(kind: &str) -> Value {
    match kind {
        "dataVolume" => json!([{"name": "root", "dataVolume": {"name": "root-db"}}]),
        "claim" => json!([{"name": "root", "persistentVolumeClaim": {"claimName": "root-db", "hotpluggable": true}}]),
        "ephemeral" => json!([{"name": "root", "ephemeral": {"persistentVolumeClaim": {"claimName": "root-db"}}}]),
        "both" => {
            json!([{"name": "root", "dataVolume": {"name": "root-db"}}, {"name": "data", "dataVolume": {"name": "data-db"}}])
        }
        "unbound" => json!([{"name": "root", "dataVolume": {"name": "new-db"}}]),
        "unknown" => json!([{"name": "root", "dataVolume": {"name": "gone-db"}}]),
        _ => {
            json!([{"name": "root", "containerDisk": {"image": "x"}}, {"name": "init", "cloudInitNoCloud": {}}, {"name": "empty", "dataVolume": {}}])
        }
    }
}

#[rstest]
#[case::one_node("dataVolume", on(&["node-a"]), json!(null),
    &["of 3 nodes that fit by labels, it can use root (PersistentVolume pv-root) on node-a alone"])]
#[case::by_claim("claim", on(&["node-a", "node-b"]), json!(null),
    &["of 3 nodes that fit by labels, it can use root (PersistentVolume pv-root) on node-a and node-b alone"])]
#[case::ephemeral("ephemeral", on(&["gone"]), json!(null),
    &["of 3 nodes that fit by labels, it can use root (PersistentVolume pv-root) on none"])]
#[case::two("both", on(&["node-a"]), on(&["node-c"]),
    &["of 3 nodes that fit by labels, it can use root (PersistentVolume pv-root) on node-a alone; \
    data (PersistentVolume pv-data) on node-c alone"])]
#[case::no_term_matches_none("dataVolume", json!([]), json!(null),
    &["of 3 nodes that fit by labels, it can use root (PersistentVolume pv-root) on none"])]
#[case::everywhere("dataVolume", on(&["node-a", "node-b", "node-c"]), json!(null), &[])]
#[case::of_no_node("dataVolume", json!(null), json!(null), &[])]
#[case::not_bound_yet("unbound", on(&["node-a"]), json!(null), &[])]
#[case::not_in_the_dump("unknown", on(&["node-a"]), json!(null), &[])]
#[case::no_claim("other", on(&["node-a"]), json!(null), &[])]
fn volumes_that_only_some_fitting_nodes_can_use_are_reported(
    #[case] kind: &str,
    #[case] root: Value,
    #[case] data: Value,
    #[case] expected: &[&str],
) {
    let nodes = || vec![cascade_lake("node-a"), cascade_lake("node-b"), cascade_lake("node-c")];
    let with = |spec: &mut Value| spec["volumes"] = by(kind);
    let state = if expected.is_empty() { "FITS" } else { "FITS-BY-LABELS" };
    let guest = vm("db", "host-model").tweak(|vm| with(&mut vm["spec"]["template"]["spec"]));
    let start = cluster("1.9.0", nodes(), storage(&root, &data));
    let verdict = of_vm(&read(guest), &start).judge(&start, Depth::Full);
    assert_eq!(said(Check::BoundVolumes, &verdict), (expected.iter().map(ToString::to_string).collect(), state));
    assert_eq!(verdict.assessment.outcome, Outcome::Fits, "volumes are named, not judged");

    let guest = vmi(running("db", "node-c", "host-model").tweak(|vmi| with(&mut vmi["spec"])));
    let moving = cluster("1.9.0", nodes(), storage(&root, &data).into_iter().chain([guest]));
    let verdict = of_migration(&read(request("db")), &moving).judge(&moving, Depth::Full);
    let (lines, _) = said(Check::BoundVolumes, &verdict);
    assert!(lines.iter().all(|line| line.contains("of 2 nodes that fit") && !line.contains("node-c")), "{lines:?}");
}

#[test]
fn a_claim_of_another_namespace_is_another_claim() {
    let guest = vm("db", "host-model").tweak(|vm| {
        vm["metadata"]["namespace"] = json!("lab");
        vm["spec"]["template"]["spec"]["volumes"] = by("dataVolume");
    });
    let cluster =
        cluster("1.9.0", vec![cascade_lake("node-a"), cascade_lake("node-b")], storage(&on(&["node-a"]), &json!(null)));
    let verdict = of_vm(&read(guest), &cluster).judge(&cluster, Depth::Full);
    assert_eq!(said(Check::BoundVolumes, &verdict).0, Vec::<String>::new());
}

/// The guest's node has no host model, or two vendors: its migration requires nothing, or a random vendor.
#[rstest]
#[case::no_host_model("host-model", |node: &mut Node| take(node, &[format!("{}Cascadelake-Server", label::HOST_MODEL_CPU)]),
    &["node-a, where it runs, has no host-model-cpu label: its migration asks for no CPU model and for no feature, so labels do not \
    show which nodes can run its CPU; virt-handler there writes it: look at its log, or restart it"])]
#[case::no_host_model_and_none_asked_for("Cascadelake-Server-noTSX", |node: &mut Node| {
    take(node, &[format!("{}Cascadelake-Server", label::HOST_MODEL_CPU)]);
}, &[])]
#[case::two_vendors("host-model", |node: &mut Node| give(node, [format!("{}AMD", label::CPU_VENDOR)]),
    &["node-a, where it runs, is labelled cpu-vendor AMD and Intel, and its migration asks for any one of them: with AMD no node \
    fits, with Intel 1 fits; the labeller takes none off, so the untrue one must be taken off by hand"])]
#[case::as_it_should_be("host-model", |_: &mut Node| {}, &[])]
fn features_that_the_own_nodes_labels_leave_open_are_reported(
    #[case] model: &str,
    #[case] change: fn(&mut Node),
    #[case] expected: &[&str],
) {
    let nodes = vec![cascade_lake("node-a").tweak(change), cascade_lake("node-c"), skylake("node-b"), rome("amd-1")];
    let verdict = leaving(running("db", "node-a", model), nodes);
    let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
    assert_eq!(said(Check::SourceLabels, &verdict).0, expected, "{verdict:#?}");
}

/// The list was edited a moment ago: the labels still exist, and the guest fits until the labeller has run.
#[test]
fn a_withheld_model_fits_only_until_the_next_labelling() {
    let kubevirt = |list: Value| {
        ClusterObject::KubeVirt(Box::new(read(json!({"metadata": {"name": "kubevirt"},
            "spec": {"configuration": {"obsoleteCPUModels": list}}, "status": {"observedKubeVirtVersion": "v1.9.0"}}))))
    };
    let prepared = |list: Value, asked: &str| {
        let cluster = cluster("1.9.0", two_kinds(), [kubevirt(list)]);
        of_vm(&read(vm("db", asked)), &cluster).judge(&cluster, Depth::Full)
    };
    let listed = json!({"Skylake-Server-noTSX-IBRS": true});
    let lines = vec![
        "CPU model Skylake-Server-noTSX-IBRS is in obsoleteCPUModels of the KubeVirt resource: the labels of it that are there go \
         within 3 minutes, but from nodes with skip-node"
            .to_owned(),
    ];
    let asking = prepared(listed.clone(), "Skylake-Server-noTSX-IBRS");
    assert_eq!(said(Check::ModelWithheld, &asking), (lines, "FITS-BY-LABELS"));
    assert_eq!(said(Check::ModelWithheld, &prepared(json!({}), "Skylake-Server-noTSX-IBRS")), (Vec::new(), "FITS"));

    // The withheld model is not offered to a guest either.
    let offered = |verdict: &Verdict| -> Vec<String> {
        let remedies = verdict.findings.iter().flat_map(|finding| &finding.remedies);
        remedies
            .filter_map(|remedy| Some(format!("{:?}", remedy.action)).filter(|text| text.contains("UseModel")))
            .collect()
    };
    let free = offered(&prepared(json!({"Nehalem": true}), "Icelake-Server-noTSX"));
    assert!(free.iter().any(|action| action.contains("Skylake-Server-noTSX-IBRS")), "{free:?}");
    let withheld = offered(&prepared(listed, "Icelake-Server-noTSX"));
    assert!(!withheld.iter().any(|action| action.contains("\"Skylake-Server-noTSX-IBRS\"")), "{withheld:?}");
}

/// KubeVirt accepts no second migration while one is unfinished; the judged migration does not count.
#[rstest]
#[case::another("migrate-other", "Scheduling", true)]
#[case::not_begun("migrate-other", "", true)]
#[case::itself("migrate-db", "Running", false)]
#[case::one_that_has_ended("migrate-other", "Failed", false)]
fn an_unfinished_migration_is_named(#[case] name: &str, #[case] phase: &str, #[case] expected: bool) {
    let other =
        json!({"metadata": {"namespace": "shop", "name": name}, "spec": {"vmiName": "db"}, "status": {"phase": phase}});
    let guest = crate::testing::cluster::running("db", "node-a", "Skylake-Server-noTSX-IBRS");
    let objects = [crate::testing::cluster::vmi(guest), ClusterObject::Migration(Box::new(read(other)))];
    let cluster = crate::testing::cluster::cluster("1.9.0", crate::testing::fleet::intel(), objects);
    let prepared = of_migration(&read(crate::testing::cluster::migration("db")), &cluster);
    let words: Vec<&str> = prepared.notes.iter().filter_map(crate::fit::verdict::Finding::words).collect();
    let is_said = words.iter().any(|words| words.contains(&format!("its migration {name} is unfinished")));
    assert_eq!(is_said, expected, "KubeVirt refuses what is called possible: {words:?}");
}

/// A launcher with what a migration copied has the host model's name too; one without it has lost that, and the nodes
/// that lack something of the host model are in doubt.
#[rstest]
#[case::the_name_was_dropped(&["aes"], false, true)]
#[case::all_but_the_name_was_dropped(&["aes"], true, false)]
fn a_launcher_that_lost_the_host_model_leaves_doubts(
    #[case] features: &[&str],
    #[case] has_name: bool,
    #[case] expected: bool,
) {
    use crate::testing::cluster::launcher;
    use crate::testing::fleet::{feature, known};
    let own = "Icelake-Server-noTSX";
    let guest = running("db", "node-i", "host-model");
    let keys = features.iter().map(|name| feature(name)).chain(has_name.then(|| known(own)));
    let launcher = launcher(&guest, keys.collect::<Vec<_>>());
    let mut nodes = vec![crate::testing::fleet::ice_lake("node-i"), skylake("node-b"), skylake("node-d")];
    for node in &mut nodes {
        give(node, [feature("aes"), known(own)]);
    }
    let cluster = cluster("1.9.0", nodes, [launcher, vmi(guest)]);
    let verdict = of_migration(&read(request("db")), &cluster).judge(&cluster, Depth::Full);
    let (words, state) = said(Check::HostModelUnasked, &verdict);
    assert_eq!(!words.is_empty(), expected, "{words:?}");
    assert_eq!(state, "FITS-BY-LABELS", "it is said to fit, and libvirt will likely refuse: {:?}", verdict.findings);
    if expected {
        assert!(words[0].contains("for no host model: its launcher has lost the name"), "{words:?}");
    }
}

/// kube-scheduler takes no node without the label of a `DoNotSchedule` constraint.
#[rstest]
#[case::on_no_node(&[], "node-a, node-c, node-d lack the label rack of its topology spread (DoNotSchedule): kube-scheduler never chooses them")]
#[case::on_some(&["node-a", "node-c"], "its topology spread (DoNotSchedule) is not judged: by the pods on the nodes kube-scheduler may keep it off any of 2 of the 3 \
    nodes that fit; node-d lacks the label rack of its topology spread (DoNotSchedule): kube-scheduler never chooses it")]
#[case::on_all(&["node-a", "node-c", "node-d"], "its topology spread (DoNotSchedule) is not judged: by the pods on the nodes kube-scheduler may keep it off any of the 3 \
    nodes that fit")]
fn a_node_without_the_key_of_a_spread_is_named(#[case] with: &[&str], #[case] expected: &str) {
    let mut nodes: Vec<Node> = ["node-a", "node-c", "node-d"].map(cascade_lake).into();
    for name in with {
        give(of(&mut nodes, name), ["rack".to_owned()]);
    }
    let guest = vm("db", "Cascadelake-Server").tweak(|vm| {
        let spread = json!([{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]);
        vm["spec"]["template"]["spec"]["topologySpreadConstraints"] = spread;
    });
    let verdict = starting(guest, nodes);
    assert_eq!(said(Check::PodRules, &verdict).0, [expected], "the guest is said to start: {:?}", verdict.findings);
}

/// A node selector for another architecture than the guest's own is named, and no machine type of that architecture is
/// offered.
#[test]
fn a_disk_is_not_started_on_another_architecture() {
    let mut nodes = vec![arm("arm-1"), cascade_lake("node-a"), cascade_lake("node-c")];
    give(of(&mut nodes, "arm-1"), [crate::testing::fleet::machine("virt")]);
    nodes
        .iter_mut()
        .filter(|node| node.name != "arm-1")
        .for_each(|node| give(node, [crate::testing::fleet::machine("q35")]));
    let guest = vm("db", "host-model").tweak(|vm| {
        let spec = &mut vm["spec"]["template"]["spec"];
        spec["architecture"] = json!("amd64");
        spec["nodeSelector"] = json!({label::ARCH: "arm64"});
        spec["domain"]["machine"] = json!({"type": "q35"});
    });
    let verdict = starting(guest, nodes);
    let (asked, _) = said(Check::AskedBy, &verdict);
    let wanted = "kubernetes.io/arch=arm64 is asked for by spec.template.spec.nodeSelector of the VM";
    assert!(asked.iter().any(|line| line == wanted), "nothing says why arm64: {asked:?}");
    let remedies: Vec<&str> = verdict
        .findings
        .iter()
        .flat_map(|finding| &finding.remedies)
        .map(|remedy| remedy.action.id().as_str())
        .collect();
    assert_eq!(remedies, ["change-node-selector"], "an amd64 disk is put on arm64");
}
