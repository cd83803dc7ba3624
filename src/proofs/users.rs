//! Hand-written situations of users: the important sentences about each, as the verbs print them; and sentences that
//! were false or useless.

use clap::Parser as _;
use rstest::rstest;
use serde_json::{Value, json};

use crate::answers::audit::audit;
use crate::cli;
use crate::cli::args::{Args, Verb};
use crate::fit::label;
use crate::fit::node::Node;
use crate::kubevirt::cluster::ClusterObject;
use crate::page::Page;
use crate::snapshot::DumpSource;
use crate::testing::cluster::{cluster, launcher, read, read_policy, running, vm, vmi};
use crate::testing::fleet::{
    arm, cascade_lake, cordon, feature, give, host, model, node, rome, set, skylake, take, vendor,
};
use crate::testing::situation::object;
use crate::testing::{NEVER, Tweak};
use crate::world::World;

/// A world with its VMs.
struct Given {
    world: World,
    vms: Vec<Value>,
}

impl Given {
    fn new(nodes: Vec<Node>, vms: &[Value], others: impl IntoIterator<Item = ClusterObject>) -> Self {
        let stored = vms.iter().map(|vm| ClusterObject::VirtualMachine(Box::new(read(vm.clone()))));
        let cluster = cluster("1.9.0", nodes, stored.chain(others));
        Self { world: World { cluster, policies: Vec::new() }, vms: vms.to_vec() }
    }

    /// Returns the output of `explain`, `check` and `audit`.
    fn pages(&self) -> String {
        let namespace = cli::Namespace { name: "shop".to_owned(), is_asked: true };
        let verb = |line: &[&str]| Args::try_parse_from(["cpufit"].iter().chain(line)).expect("a command line").verb;
        let mut page = Page::default();
        for vm in &self.vms {
            let name = format!("vm/{}", vm["metadata"]["name"].as_str().expect("a name"));
            let Verb::Explain(args) = verb(&["explain", &name]) else { unreachable!("it is explain") };
            cli::explain::run(&args, &self.world, &namespace, std::io::empty(), &mut page).expect("a page");
            let Verb::Check(args) = verb(&["check", "-f", "-"]) else { unreachable!("it is check") };
            let text = vm.to_string();
            let files = [DumpSource::Stdin];
            cli::check::run(&args, &files, &self.world, &namespace, text.as_bytes(), &mut page).expect("a page");
        }
        let Verb::Audit(args) = verb(&["audit"]) else { unreachable!("it is audit") };
        let wanted = cli::audit::WantedGuests::of(&args, None, "default", &self.world).expect("all guests");
        cli::audit::run(&args, &wanted, &self.world, &mut page).expect("a page");
        page.into_string()
    }
}

/// Returns a VM with this specification.
fn with(spec: Value) -> Value {
    vm("web", "").tweak(|vm| vm["spec"]["template"]["spec"] = spec)
}

/// Returns a VM that runs with host-model on a node, with a launcher that requires these keys.
fn runs(on: &str, keys: &[String]) -> (Value, [ClusterObject; 2]) {
    let guest = running("web", on, "host-model");
    (vm("web", "host-model"), [launcher(&guest, keys.to_vec()), vmi(guest)])
}

fn inherited(on: &str) -> (Value, [ClusterObject; 2]) {
    runs(on, &[feature("avx2"), feature("clzero"), vendor("AMD")])
}

fn of((vm, others): (Value, [ClusterObject; 2]), nodes: Vec<Node>) -> Given {
    Given::new(nodes, &[vm], others)
}

fn start(spec: Value, nodes: Vec<Node>) -> Given {
    Given::new(nodes, &[with(spec)], [])
}

fn three() -> Vec<Node> {
    ["n1", "n2", "n3"].map(rome).to_vec()
}

/// Returns a node with an additional label.
fn labelled(name: &str, key: &str, value: &str) -> Node {
    rome(name).tweak(|node| set(node, key, value))
}

fn s390x(name: &str) -> Node {
    arm(name).tweak(|node| {
        set(node, label::ARCH, "s390x");
        give(node, [model("gen16a")]);
    })
}

fn required(key: &str, operator: &str, values: &[&str]) -> Value {
    let term = json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    json!({"domain": {}, "affinity": {"nodeAffinity":
        {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}})
}

/// Returns a guest that KubeVirt refuses to migrate.
fn refused() -> Given {
    let guest = running("web", "n1", "host-model").tweak(|guest| {
        guest["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": "False",
            "reason": "HostDeviceNotLiveMigratable", "message": "VMI uses a PCI host device"}]);
    });
    Given::new(three(), &[vm("web", "host-model")], [launcher(&guest, []), vmi(guest)])
}

fn by_default(model: &str) -> Given {
    let kubevirt = json!({"apiVersion": "kubevirt.io/v1", "kind": "KubeVirt", "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {"configuration": {"cpuModel": model}}, "status": {"observedKubeVirtVersion": "v1.9.0"}});
    let nodes = three().tweak(|nodes| nodes.iter_mut().skip(1).for_each(|node| take(node, &[self::model(model)])));
    Given::new(nodes, &[with(json!({"domain": {}}))], object(&kubevirt))
}

fn frozen(value: &str) -> Given {
    let nodes = three().tweak(|nodes| {
        take(&mut nodes[1], &[feature("clzero")]);
        nodes[1].skip_node = Some(value.to_owned());
        nodes.truncate(2);
    });
    of(inherited("n1"), nodes)
}

/// Entries that a policy drops count as inherited too.
#[test]
fn explain_and_audit_count_the_same_entries() {
    let mut given = of(runs("n1", &[feature("avx2"), feature("gone"), vendor("AMD")]), three());
    given.world.policies.push(read_policy("all", &json!({"launcherSelectors": "DropStale"})));
    let pages = given.pages();
    assert!(pages.contains("host-model, 2 CPU entries inherited at an earlier migration"), "{pages}");
    let inherited: Vec<usize> = audit(&given.world, NEVER).iter().map(|row| row.inherited).collect();
    assert_eq!(inherited, [2], "the tables would disagree");
}

#[rstest]
#[case::one_node(
    of(inherited("n1"), vec![rome("n1")]),
    &["Cannot migrate: there is no other node.", "-  add labels, restart with a common model: there is no other node",
        "shop/web can start on n1 alone, and could never leave it"],
    &["is the only node that fits", "uses host-model", "not a matter of"]
)]
#[case::no_labels(
    of(runs("n1", &[]), vec![node("n1"), node("n2")]),
    &["No node has a CPU model or feature label: is virt-handler running?\n"],
    &["?.", "Judged by labels"]
)]
#[case::two_vendors(
    of(runs("i1", &[feature("avx512vnni"), vendor("Intel")]), vec![cascade_lake("i1"), cascade_lake("i2"), rome("a1")]),
    &["restart with a common model: with any named CPU model at most 1 node is left to migrate to",
        "Uses host-model: if it starts on a1 it can never migrate; from i1 or i2 only to 1 node."],
    &["lacks a label"]
)]
#[case::two_architectures(
    of(inherited("x1"), vec![rome("x1"), rome("x2"), arm("m1"), arm("m2")]),
    &["Nodes of another architecture than amd64 are not counted: 2 are arm64.", "Can migrate to one node only: x2.",
        "add labels: no other node of its architecture lacks a label that it asks for", "only x2 is left"],
    &["Nearest", "m1", "machine-type", "defaultArchitecture"]
)]
#[case::no_node_of_its_architecture(
    start(json!({"domain": {}, "architecture": "amd64"}), vec![s390x("z1"), s390x("z2")]),
    &["No node is of its architecture amd64: 2 are s390x.",
        "kubernetes.io/arch=amd64 is asked for by spec.template.spec.architecture of the VM."],
    &["Nearest", "nearest is", "machine-type q35 is asked for", "z1 lacks"]
)]
#[case::sev_on_one(
    start(json!({"domain": {"firmware": {"bootloader": {"efi": {"secureBoot": false}}}, "launchSecurity": {"sev": {}}}}), vec![labelled("n1", label::SEV, "true"), rome("n2"), rome("n3")]),
    &["Can start on n1 alone, and could never leave it.", "shop/web: nearest is n2, which lacks kubevirt.io/sev=true",
        "could never leave it; nearest is n2, which lacks kubevirt.io/sev=true"],
    &["uses host-model"]
)]
#[case::sev_on_two(
    start(json!({"domain": {"firmware": {"bootloader": {"efi": {"secureBoot": false}}}, "launchSecurity": {"sev": {}}}}),
        vec![labelled("n1", label::SEV, "true"), labelled("n2", label::SEV, "true"), labelled("n3", label::SEV, "")]),
    &["Can start on n1 and n2 alone, and would not migrate between them.", "n3 lacks kubevirt.io/sev (has an empty value, needs true)"],
    &["uses host-model"]
)]
#[case::start_on_one_and_others_cordoned(
    start(json!({"domain": {}}), three().tweak(|nodes| nodes.iter_mut().skip(1).for_each(cordon))),
    &["Can start on n1 alone, and could never leave it.", "1  uncordon any of n2, n3  none", "1  kubectl uncordon n2",
        "shop/web: cheapest remedy: kubectl uncordon n2"],
    &["no node is cordoned"]
)]
#[case::start_on_one_by_its_own_affinity(
    start(required("zone", "In", &["a"]), vec![labelled("n1", "zone", "a"), rome("n2"), rome("n3")]),
    &["Can start on n1 alone, and could never leave it.", "1  take its own required node affinity out  none    2 of 2"],
    &[]
)]
#[case::start_on_one_and_will_not_migrate(
    start(json!({"domain": {"devices": {"hostDevices": [{"deviceName": "x"}]}}, "nodeSelector": {"zone": "a"}}), vec![labelled("n1", "zone", "a"), rome("n2"), rome("n3")]),
    &["KubeVirt will refuse to migrate it for another reason (HostDeviceNotLiveMigratable)"],
    &["THEN TARGETS", "change nodeSelector", "cheapest remedy"]
)]
#[case::start_on_none_and_will_not_migrate(
    start(json!({"domain": {"devices": {"hostDevices": [{"deviceName": "x"}]}}, "nodeSelector": {"zone": "b"}}), vec![labelled("n1", "zone", "a"), rome("n2"), rome("n3")]),
    &["THEN STARTS ON", "1  change nodeSelector zone  none    3 of 3"],
    &["KubeVirt will refuse to migrate it for another reason"]
)]
#[case::start_on_one_by_its_own_selector(
    start(json!({"domain": {}, "nodeSelector": {"zone": "a"}}), vec![labelled("n1", "zone", "a"), rome("n2"), rome("n3")]),
    &["1  change nodeSelector zone  none    2 of 2"],
    &[]
)]
#[case::required_and_forbidden(
    start(json!({"domain": {"cpu": {"features": [{"name": "svm", "policy": "require"}, {"name": "svm", "policy": "forbid"}]}}}),
        three().tweak(|nodes| nodes.iter_mut().for_each(|node| give(node, [feature("svm")])))),
    &["asked for by the policy forbid of a CPU feature (spec.template.spec.domain.cpu.features[1].name of the VM)"],
    &["features[0].name of the VM"]
)]
#[case::nobody_configured_host_model(
    Given::new(three().tweak(|nodes| nodes.iter_mut().for_each(|node| set(node, label::OBSOLETE_HOST_MODEL, "true"))),
        &[with(json!({"domain": {}}))], []),
    &["is asked for by KubeVirt of every host-model guest, which it is by KubeVirt's own default (no spec.configuration.cpuModel is known)"],
    &["the cluster's default"]
)]
#[case::arm64_whatever_is_configured(
    start(json!({"architecture": "arm64", "domain": {}}), vec![arm("a1"), arm("a2").tweak(cordon), rome("n1")]),
    &["1  uncordon a2  none"],
    &["the cluster's default", "spec.configuration.cpuModel"]
)]
#[case::tdx_nowhere(
    start(json!({"domain": {"firmware": {"bootloader": {"efi": {"secureBoot": false}}}, "launchSecurity": {"tdx": {}}}}), vec![skylake("i1"), skylake("i2")]),
    &["cannot start: none of 2 nodes meets its selector; nearest is i1, which lacks kubevirt.io/tdx=true"],
    &["the absence of a label that"]
)]
#[case::virt_handler_unwell(
    of(inherited("n1"), three().tweak(|nodes| nodes.iter_mut().skip(1).for_each(|node| set(node, label::SCHEDULABLE, "false")))),
    &["n2 lacks kubevirt.io/schedulable (has false, needs true) (virt-handler is not ready there)", "find out why virt-handler is not ready on any of n2, n3, and fix it"],
    &["asked for by KubeVirt", "of every launcher"]
)]
#[case::not_migratable(
    refused(),
    &["-  uncordon, add labels, drop stale keys, remove labels: KubeVirt refuses to migrate it for another reason (HostDeviceNotLiveMigratable)"],
    &["Judged by labels", "will be restarted"]
)]
#[case::unknown_instancetype(
    Given::new(three(), &[vm("web", "").tweak(|vm| vm["spec"]["instancetype"] = json!({"name": "u1"}))], []),
    &["shop/web  (not-known)  -  ", "a dump must hold virtualmachineclusterinstancetypes"],
    &["\\u{20}"]
)]
#[case::default_of_the_cluster(
    by_default("EPYC-Rome"),
    &["CPU model EPYC-Rome leaves out 2 of 3 nodes that could take the guest (n2, n3); it is asked for by the cluster's default \
        (spec.configuration.cpuModel of KubeVirt)."],
    &["cpu-model EPYC-Rome is asked for by the cluster's default (spec.configuration.cpuModel of KubeVirt).\n"]
)]
#[case::empty_in(
    start(required("zone", "In", &[]), three()),
    &["KubeVirt refuses the guest: a condition of its required node affinity, for key zone, has operator In and no value"],
    &["invalid expression"]
)]
#[case::greater(
    start(required("rack", "Gt", &["3"]), vec![labelled("n1", "rack", "5"), labelled("n2", "rack", "2"), labelled("n3", "rack", "x")]),
    &["Can start on n1 alone, and could never leave it.", "n2, n3 meet its selector, not its node affinity (rack > 3)"],
    &["uses host-model"]
)]
#[case::cordoned(
    of(inherited("n1"), three().tweak(|nodes| nodes.iter_mut().skip(1).for_each(cordon))),
    &["2 nodes fit but are cordoned (n2, n3); at next start: can start on n1 alone, and could never leave it\n"],
    &["uses host-model"]
)]
#[case::frozen(
    frozen("true"),
    &["n2 is under node-labeller.kubevirt.io/skip-node=true: its labels are frozen.\n"],
    &["is still there"]
)]
#[case::frozen_by_false(
    frozen("false"),
    &["skip-node is still there: its value does not count, only its presence."],
    &[]
)]
#[case::own_node(
    of(runs("n1", &[feature("gone")]), three()),
    &["cpu-feature gone", "At next start:\n"],
    &[]
)]
#[case::unlike_hosts(
    Given::new(
        vec![rome("n1"), host("n2", "AMD", "EPYC-Milan", &["aes", "svm"], &["EPYC"])],
        &[vm("web", "host-passthrough")],
        [vmi(running("web", "n1", "host-passthrough"))],
    ),
    &["host-passthrough keeps the CPU of n1 (EPYC-Rome): 1 node fits by labels and is unlike it"],
    &[]
)]
fn what_is_said_is_worth_reading(#[case] given: Given, #[case] says: &[&str], #[case] never: &[&str]) {
    let pages = given.pages();
    for words in says {
        assert!(pages.contains(words), "lacks {words:?}:\n{pages}");
    }
    for words in never {
        assert!(!pages.contains(words), "says {words:?}:\n{pages}");
    }
    // The finding is not repeated for the next start.
    for explained in pages.split("\n\n").filter(|text| text.contains("UNKNOWN") || text.contains("STUCK")) {
        let own_node = explained.lines().filter(|line| line.starts_with("Its own node")).count();
        assert!(own_node <= 1, "{explained}");
    }
}
