use proptest::prelude::*;
use proptest::sample::select;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::fit::node::Node;
use crate::kubevirt::cluster::ClusterObject;
use crate::review::tests::{recorded, recording, said};
use crate::testing::cluster::{cluster, launcher, read, read_policy, running, vm, vmi};
use crate::testing::fleet::{cascade_lake, feature, give, intel, known, mixed, model, node, set, taint, vendor};
use crate::testing::{NEVER, Tweak};

fn world() -> World {
    let mut objects = Vec::new();
    for (name, stated) in [("db", ""), ("erp", ""), ("web", "EPYC")] {
        objects.push(vmi(running(name, "node-a", "host-model")));
        objects.push(ClusterObject::VirtualMachine(Box::new(read(vm(name, stated)))));
    }
    World { cluster: cluster("1.9.0", mixed(), objects), policies: Vec::new() }
}

fn kubevirt(model: &str) -> KubeVirt {
    let json: Value = json!({"metadata": {"name": "kubevirt"}, "spec": {"configuration": {"cpuModel": model}}});
    read(json)
}

fn changed(from: &str, to: &str) -> String {
    update(&world(), &kubevirt(from), &kubevirt(to), NEVER).warnings().join("\n")
}

#[test]
fn a_named_default_model_names_its_nodes_and_guests() {
    insta::assert_snapshot!(changed("", "Icelake-Server-noTSX"), @r"
    cpufit: KubeVirt kubevirt: cpuModel Icelake-Server-noTSX is usable on 1 of 8 nodes, not on amd-1, amd-2, amd-3 and 4 more
    cpufit: KubeVirt kubevirt: at their next start 2 guests without a model of their own could start on node-e alone: shop/db, shop/erp
    ");
    insta::assert_snapshot!(changed("", "Skylake-Server-noTSX-IBRS"), @r"
    cpufit: KubeVirt kubevirt: cpuModel Skylake-Server-noTSX-IBRS is usable on 5 of 8 nodes, not on amd-1, amd-2, amd-3
    cpufit: KubeVirt kubevirt: at their next start 2 guests without a model of their own would crowd on these 5: shop/db, shop/erp
    ");
}

/// A guest without a toleration can use no tainted node: the nodes that matter are counted and named.
#[rstest]
#[case::tainted_are_left_out(&["amd-1", "amd-2"], "usable on 5 of 6 nodes, not on amd-3; 2 tainted nodes are not counted", "would crowd on these 5")]
#[case::tainted_can_run_it(&["node-a", "amd-2"], "usable on 4 of 6 nodes, not on amd-1, amd-3; 2 tainted nodes are not counted", "would crowd on the nodes that can run it")]
#[case::only_tainted_are_left_out(&["amd-1", "amd-2", "amd-3"], "usable on 5 of 8 nodes, not on amd-1, amd-2, amd-3; they are tainted, and take no guest without a toleration", "would crowd on these 5")]
#[case::only_tainted_can_run_it(&["node-a", "node-b", "node-c", "node-d", "node-e"], "usable on 5 of 8 nodes, not on amd-1, amd-2, amd-3", "would crowd on these 5")]
fn nodes_that_could_take_guests_are_counted(#[case] tainted: &[&str], #[case] nodes: &str, #[case] guests: &str) {
    let mut world = world();
    let mut all = mixed();
    for node in all.iter_mut().filter(|node| tainted.contains(&node.name.as_str())) {
        node.taints.push(taint("dedicated"));
    }
    world.cluster = cluster("1.9.0", all, [ClusterObject::VirtualMachine(Box::new(read(vm("db", ""))))]);
    let lines = update(&world, &kubevirt(""), &kubevirt("Skylake-Server-noTSX-IBRS"), NEVER).warnings();
    assert!(lines[0].ends_with(nodes), "the nodes that matter are hidden: {lines:?}");
    assert!(lines[1].contains(guests), "the guests could use other nodes: {lines:?}");
}

/// On OpenShift Virtualization the operator reverts an edit of this resource.
#[test]
fn edits_of_an_owned_kubevirt_resource_point_to_the_hyperconverged() {
    let owned = |model: &str, kind: &str| {
        let owner = json!([{"kind": kind, "name": "kubevirt-hyperconverged", "uid": "u", "controller": true}]);
        let name = "kubevirt-kubevirt-hyperconverged";
        let metadata = json!({"name": name, "namespace": "openshift-cnv", "ownerReferences": owner});
        read::<KubeVirt>(json!({"metadata": metadata, "spec": {"configuration": {"cpuModel": model}}}))
    };
    let edit = |from: &str, to: &str, kind: &str| {
        let said = update(&world(), &owned(from, kind), &owned(to, kind), NEVER);
        said.warnings().join("\n")
    };
    insta::assert_snapshot!(edit("", "Icelake-Server-noTSX", "HyperConverged"), @r#"
    cpufit: KubeVirt kubevirt-kubevirt-hyperconverged: cpuModel Icelake-Server-noTSX is usable on 1 of 8 nodes, not on amd-1, amd-2, amd-3 and 4 more
    cpufit: KubeVirt kubevirt-kubevirt-hyperconverged: at their next start 2 guests without a model of their own could start on node-e alone: shop/db, shop/erp
    cpufit: KubeVirt kubevirt-kubevirt-hyperconverged: HyperConverged kubevirt-hyperconverged owns this resource: its operator undoes edits of what it writes, so make them there
    cpufit: KubeVirt kubevirt-kubevirt-hyperconverged: kubectl patch hyperconvergeds.v1beta1.hco.kubevirt.io kubevirt-hyperconverged -n openshift-cnv --type merge -p '{"spec":{"defaultCPUModel":"Icelake-Server-noTSX"}}'
    "#);
    assert!(!edit("", "Icelake-Server-noTSX", "Other").contains("HyperConverged"));
    assert_eq!(edit("EPYC", "EPYC", "HyperConverged"), "", "nothing of ours changes");
}

#[test]
fn a_default_model_that_nodes_know_and_cannot_run_is_warned_about() {
    insta::assert_snapshot!(changed("", "EPYC-Genoa"), @r"
    cpufit: KubeVirt kubevirt: cpuModel EPYC-Genoa is known on 0 of 8 nodes, usable on none
    cpufit: KubeVirt kubevirt: at their next start 2 guests without a model of their own could start nowhere: shop/db, shop/erp
    ");
    insta::assert_snapshot!(changed("", "Skylake-Server-IBRS"), @r"
    cpufit: KubeVirt kubevirt: cpuModel Skylake-Server-IBRS is known on 8 of 8 nodes, usable on 0 of 8: cpu-model-migration labels do not mean usable
    cpufit: KubeVirt kubevirt: at their next start 2 guests without a model of their own could start nowhere: shop/db, shop/erp
    ");
}

#[test]
fn one_guest_is_in_the_singular() {
    let objects =
        [vmi(running("db", "node-a", "host-model")), ClusterObject::VirtualMachine(Box::new(read(vm("db", ""))))];
    let world = World { cluster: cluster("1.9.0", mixed(), objects), policies: Vec::new() };
    let lines = update(&world, &kubevirt(""), &kubevirt("EPYC-Genoa"), NEVER).warnings().join("\n");
    let expected = "at its next start 1 guest without a model of its own could start nowhere: shop/db";
    assert!(lines.ends_with(expected), "{lines}");
}

#[test]
fn a_changed_default_cpu_mode_is_reported_with_its_effect() {
    insta::assert_snapshot!(changed("Haswell", ""), @"cpufit: KubeVirt kubevirt: cpuModel host-model: at its next start a guest without a model takes the CPU of the node it starts on, and keeps it (2 guests)");
    insta::assert_snapshot!(changed("", "host-passthrough"), @"cpufit: KubeVirt kubevirt: cpuModel host-passthrough: no label shows where a guest with it can migrate to; only like hardware takes it (2 guests)");
}

#[test]
fn other_edits_of_the_kubevirt_resource_give_no_warning() {
    assert_eq!(changed("Haswell", "Haswell"), "");
}

#[test]
fn guests_of_a_policy_that_replaces_unset_models_are_not_listed() {
    let policies = vec![read_policy("all", &json!({"commonModel": {"name": "Skylake-Server-noTSX-IBRS"}}))];
    let world = World { policies, ..world() };
    let lines = update(&world, &kubevirt(""), &kubevirt("Icelake-Server-noTSX"), NEVER).warnings().join("\n");
    assert!(!lines.contains("shop/db"), "they do not take the default: {lines}");
}

fn withholding(models: &Value) -> KubeVirt {
    read(json!({"metadata": {"name": "kubevirt"}, "spec": {"configuration": {"obsoleteCPUModels": models}}}))
}

fn listed(world: &World, from: &Value, to: &Value) -> String {
    update(world, &withholding(from), &withholding(to), NEVER).warnings().join("\n")
}

/// Returns a guest with a named model, one with host-model and a stopped one, on nodes that the list affects.
fn fleet_of_the_list() -> World {
    let named = running("named", "node-a", "Skylake-Server-noTSX-IBRS");
    let host = running("host", "node-a", "host-model");
    let launchers = [launcher(&named, [model("Skylake-Server-noTSX-IBRS")]), launcher(&host, [feature("fpu")])];
    let objects = launchers.into_iter().chain([vmi(named), vmi(host)]);
    let off = ClusterObject::VirtualMachine(Box::new(read(vm("off", "Skylake-Server-noTSX-IBRS"))));
    World { cluster: cluster("1.9.0", intel(), objects.chain([off])), policies: Vec::new() }
}

#[test]
fn obsolete_models_name_the_removed_labels_and_the_stuck_guests() {
    insta::assert_snapshot!(listed(&fleet_of_the_list(), &json!(null), &json!({"Skylake-Server-noTSX-IBRS": true})), @r"
    cpufit: KubeVirt kubevirt: obsoleteCPUModels withholds Skylake-Server-noTSX-IBRS: within 3 minutes its labels go from 5 of 5 nodes (node-a, node-b, node-c and 2 more)
    cpufit: KubeVirt kubevirt: node-b is then of an obsolete host model: guests with host-model neither start on nor move to it
    cpufit: KubeVirt kubevirt: then 1 guest no longer fits its own node (shop/named): a restart of the kubelet there would fail it
    cpufit: KubeVirt kubevirt: then 1 guest could migrate nowhere (shop/named), 2 guests could not start again (shop/named, shop/off)
    ");
}

/// As for the labeller, the name counts, regardless of its value; a model that no node has is not mentioned.
#[test]
fn a_list_is_read_as_the_labeller_reads_it() {
    let said = |value: Value| {
        listed(&fleet_of_the_list(), &json!({"486": true}), &json!({"486": true, "Skylake-Server-noTSX-IBRS": value}))
    };
    assert_eq!(said(json!(true)), said(json!(false)));
    let unknown = listed(&fleet_of_the_list(), &json!({"486": true}), &json!({"486": true, "Denverton": true}));
    assert_eq!(unknown, "");
    let same = json!({"Skylake-Server-noTSX-IBRS": true});
    assert_eq!(listed(&fleet_of_the_list(), &same, &same), "");
}

#[test]
fn an_edit_for_which_there_is_no_time_is_not_said_to_have_no_effect() {
    let after = withholding(&json!({"Skylake-Server-noTSX-IBRS": true}));
    let lines = update(&fleet_of_the_list(), &withholding(&json!({})), &after, &|| true).warnings().join("\n");
    assert!(lines.contains("was not counted in time"), "{lines}");
}

#[test]
fn models_removed_from_the_list_are_named_as_returning() {
    let listed = listed(&fleet_of_the_list(), &json!({"486": true, "Westmere": true}), &json!({"486": true}));
    insta::assert_snapshot!(listed, @"cpufit: KubeVirt kubevirt: obsoleteCPUModels no longer withholds Westmere: its labels return within 3 minutes on each node that can run it, and no guest is restarted");
}

/// A default that too few nodes can run binds the guests that take it at their next start.
#[rstest]
#[case::one_node("Icelake-Server-noTSX", &["shop/a", "shop/b"])]
#[case::all_nodes("Cascadelake-Server-noTSX", &[])]
#[case::as_before("host-model", &[])]
fn guests_that_a_default_model_pins_at_their_next_start_are_named(#[case] model_name: &str, #[case] pinned: &[&str]) {
    let mut nodes: Vec<Node> = ["node-a", "node-b", "node-c"].map(cascade_lake).into();
    give(&mut nodes[0], [model("Icelake-Server-noTSX")]);
    let guests = [("a", ""), ("b", ""), ("named", "Cascadelake-Server-noTSX")];
    let guests = guests.map(|(name, stated)| ClusterObject::VirtualMachine(Box::new(read(vm(name, stated)))));
    let world = World { cluster: cluster("1.9.0", nodes, guests), policies: Vec::new() };
    let lines = update(&world, &kubevirt(""), &kubevirt(model_name), NEVER).warnings().join("\n");
    let line = format!(
        "started again, {} guests may end on a node from which they can migrate nowhere ({})",
        pinned.len(),
        pinned.join(", ")
    );
    assert_eq!(lines.contains(&line), !pinned.is_empty(), "{lines}");
    assert_eq!(lines.contains("started again"), !pinned.is_empty(), "{lines}");
}

#[test]
fn the_recorded_change_is_answered() {
    insta::assert_snapshot!(said(&recorded(), &recording("kubevirt-update-cpumodel.json")).join("\n"), @r"
    cpufit: KubeVirt kubevirt: cpuModel Cascadelake-Server-noTSX is usable on 4 of 7 nodes, not on amd-a, amd-b, node-b
    cpufit: KubeVirt kubevirt: at their next start 3 guests without a model of their own would crowd on these 4: shop/db, shop/v3 and 1 more
    ");
}

fn z_node(name: &str) -> Node {
    node(name).tweak(|node| {
        set(node, label::ARCH, "s390x");
        give(node, [model("gen15a-base"), known("gen15a-base"), vendor("IBM")]);
    })
}

/// A guest of the cluster in the fewest words.
#[derive(Clone, Debug)]
struct Given {
    architecture: &'static str,
    stated: &'static str,
    runs: bool,
}

fn given() -> impl Strategy<Value = Vec<Given>> {
    let one = (select(vec!["", "amd64", "s390x", "arm64"]), select(vec!["", "", "EPYC"]), any::<bool>());
    let one = one.prop_map(|(architecture, stated, runs)| Given { architecture, stated, runs });
    proptest::collection::vec(one, 0..6)
}

fn world_of(guests: &[Given]) -> World {
    let mut objects = Vec::new();
    for (at, Given { architecture, stated, runs }) in guests.iter().enumerate() {
        let name = format!("g{at}");
        if *runs {
            objects.push(vmi(running(&name, "node-a", "host-model")));
        }
        let vm = vm(&name, stated).tweak(|vm| vm["spec"]["template"]["spec"]["architecture"] = json!(architecture));
        objects.push(ClusterObject::VirtualMachine(Box::new(read(vm))));
    }
    let nodes = mixed().into_iter().chain(["z1", "z2"].map(z_node)).collect();
    World { cluster: cluster("1.9.0", nodes, objects), policies: Vec::new() }
}

proptest! {
    /// arm64 never takes `cpuModel`; s390x does (`setDefaultCPUModel`). A stopped guest starts again too.
    #[test]
    fn every_guest_that_takes_the_default_is_counted(guests in given()) {
        let takes = |architectures: &[&str]| {
            guests.iter().filter(|guest| guest.stated.is_empty() && architectures.contains(&guest.architecture)).count()
        };
        let world = world_of(&guests);
        let lines = update(&world, &kubevirt(""), &kubevirt("EPYC-Genoa"), NEVER).warnings().join("\n");
        for (count, architecture) in [(takes(&["", "amd64"]), "amd64"), (takes(&["s390x"]), "s390x")] {
            let guests = plural::counted(count, &format!("{architecture} guest"), &format!("{architecture} guests"));
            let said = format!("next start {guests} without a model");
            prop_assert_eq!(lines.contains(&said), count > 0, "{} are not counted: {}", said, lines);
            let other = format!("{architecture} guest");
            prop_assert_eq!(lines.contains(&other), count > 0, "guests that keep their model are counted: {}", lines);
        }
        let modes = update(&world, &kubevirt("EPYC"), &kubevirt("host-model"), NEVER).warnings().join("\n");
        let all = takes(&["", "amd64", "s390x"]);
        let said = plural::counted(all, "guest", "guests");
        prop_assert_eq!(modes.contains(&format!("({said})")), all > 0, "{}", modes);
    }
}

#[test]
fn nodes_of_both_architectures_are_named_apart() {
    let guests = [("", true), ("s390x", false), ("s390x", true)].map(|(architecture, runs)| Given {
        architecture,
        stated: "",
        runs,
    });
    let world = world_of(&guests);
    let said = |model: &str| update(&world, &kubevirt(""), &kubevirt(model), NEVER).warnings().join("\n");
    insta::assert_snapshot!(said("Skylake-Server-noTSX-IBRS"), @r"
    cpufit: KubeVirt kubevirt: cpuModel Skylake-Server-noTSX-IBRS is usable on 5 of 8 amd64 nodes, not on amd-1, amd-2, amd-3
    cpufit: KubeVirt kubevirt: at its next start 1 amd64 guest without a model of its own would crowd on these 5: shop/g0
    cpufit: KubeVirt kubevirt: cpuModel Skylake-Server-noTSX-IBRS is known on 0 of 2 s390x nodes, usable on none
    cpufit: KubeVirt kubevirt: at their next start 2 s390x guests without a model of their own could start nowhere: shop/g2, shop/g1
    ");
    insta::assert_snapshot!(said("gen15a-base"), @r"
    cpufit: KubeVirt kubevirt: cpuModel gen15a-base is known on 0 of 8 amd64 nodes, usable on none
    cpufit: KubeVirt kubevirt: at its next start 1 amd64 guest without a model of its own could start nowhere: shop/g0
    ");
}

fn developing(configuration: &Value) -> KubeVirt {
    read(
        json!({"metadata": {"name": "kubevirt"}, "spec": {"configuration": {"developerConfiguration": configuration}}}),
    )
}

/// The part that the rules of placement read; of other gates nothing is said.
#[rstest]
#[case::node_selectors(json!({}), json!({"nodeSelectors": {"pool": "a"}}),
    "developerConfiguration.nodeSelectors is pool=a: all launchers", "2 guests could not start again (shop/db, shop/erp)")]
#[case::no_node_selectors(json!({"nodeSelectors": {"pool": "a"}}), json!({}),
    "developerConfiguration.nodeSelectors is no longer set (was pool=a): all launchers", "")]
#[case::tsc(json!({}), json!({"minimumClusterTSCFrequency": 2_100_000_000}),
    "developerConfiguration.minimumClusterTSCFrequency is 2100000000: guests that ask for a TSC frequency", "")]
#[case::tsc_changes(json!({"minimumClusterTSCFrequency": 1}), json!({"minimumClusterTSCFrequency": 2}), "is 2 (was 1): ", "")]
#[case::a_gate(json!({"featureGates": ["GPU"]}), json!({"featureGates": ["GPU", "HypervStrictCheck"]}),
    "featureGates: HypervStrictCheck is on: launchers ask", "")]
#[case::a_gate_goes(json!({"featureGates": ["HypervStrictCheck"]}), json!({}), "HypervStrictCheck is off: launchers do not ask", "")]
#[case::a_gate_in_both_lists_stays_on(json!({"featureGates": ["CrossArchitectureVirtualization"]}),
    json!({"featureGates": ["CrossArchitectureVirtualization"], "disabledFeatureGates": ["CrossArchitectureVirtualization"]}), "", "")]
#[case::it_was_off(json!({}), json!({"disabledFeatureGates": ["HypervStrictCheck"]}), "", "")]
#[case::a_gate_of_migrations(json!({}), json!({"featureGates": ["DecentralizedLiveMigration"]}),
    "DecentralizedLiveMigration is on: since 1.6, guests may be migrated between clusters", "")]
#[case::another_gate(json!({}), json!({"featureGates": ["Snapshot"]}), "", "")]
#[case::nothing(json!({"nodeSelectors": {"pool": "a"}}), json!({"nodeSelectors": {"pool": "a"}}), "", "")]
fn an_edit_of_the_developer_configuration(
    #[case] before: Value,
    #[case] after: Value,
    #[case] expected: &str,
    #[case] guests: &str,
) {
    let stopped = ["db", "erp"].map(|name| ClusterObject::VirtualMachine(Box::new(read(vm(name, "host-model")))));
    let was = ClusterObject::KubeVirt(Box::new(developing(&before)));
    let world = World { cluster: cluster("1.9.0", mixed(), stopped.into_iter().chain([was])), policies: Vec::new() };
    let lines = update(&world, &developing(&before), &developing(&after), NEVER).warnings().join("\n");
    assert!(
        lines.contains(expected) && lines.is_empty() == expected.is_empty(),
        "the edit moves guests unannounced: {lines}"
    );
    assert!(lines.contains(guests), "the guests that it strands are not named: {lines}");
    let same = of_configuration(&developing(&before).spec.configuration, &developing(&after).spec.configuration);
    assert_eq!(same.len(), lines.matches("developerConfiguration").count(), "diff says something else: {lines}");
}

/// Every other setting that is read: the guests that it leaves worse off are named, whichever it is.
#[rstest]
#[case::machine_type(json!({}), json!({"architectureConfiguration": {"amd64": {"machineType": "pc-q35-gone"}}}),
    "architectureConfiguration.amd64.machineType is pc-q35-gone: guests that state none get it at their next start",
    "2 guests could not start again (shop/db, shop/gpu)")]
#[case::architecture(json!({}), json!({"architectureConfiguration": {"defaultArchitecture": "s390x"}}),
    "architectureConfiguration.defaultArchitecture is s390x: guests that state none get it", "2 guests could not start again (shop/db, shop/gpu)")]
#[case::a_device_is_no_longer_permitted(
    json!({"permittedHostDevices": {"pciHostDevices": [{"pciVendorSelector": "10DE:1EB8", "resourceName": "nvidia.com/T4"}]}}),
    json!({"permittedHostDevices": {}}), "", "1 guest could not start again (shop/gpu)")]
#[case::eviction(json!({}), json!({"evictionStrategy": "LiveMigrate"}),
    "evictionStrategy is LiveMigrate: guests that state none are migrated at a drain", "")]
#[case::rollout(json!({}), json!({"vmRolloutStrategy": "Stage"}), "vmRolloutStrategy is Stage: it says whether a change", "")]
#[case::selinux(json!({}), json!({"migrations": {"matchSELinuxLevelOnMigration": true}}), "", "")]
fn an_edit_of_any_other_setting(
    #[case] before: Value,
    #[case] after: Value,
    #[case] expected: &str,
    #[case] guests: &str,
) {
    let [before, after] = [before, after].map(|configuration| -> KubeVirt {
        let mut all = json!({"permittedHostDevices": {"pciHostDevices": [{"pciVendorSelector": "10DE:1EB8", "resourceName": "nvidia.com/T4"}]}});
        for (field, value) in configuration.as_object().into_iter().flatten() {
            all[field] = value.clone();
        }
        read(json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": {"configuration": all}}))
    });
    let gpu = vm("gpu", "host-model").tweak(|vm| {
        let gpus = json!([{"name": "a", "deviceName": "nvidia.com/T4"}]);
        vm["spec"]["template"]["spec"]["domain"]["devices"] = json!({"gpus": gpus});
    });
    let stopped = [vm("db", "host-model"), gpu].map(|vm| ClusterObject::VirtualMachine(Box::new(read(vm))));
    let was = ClusterObject::KubeVirt(Box::new(before.clone()));
    let world = World { cluster: cluster("1.9.0", mixed(), stopped.into_iter().chain([was])), policies: Vec::new() };
    let lines = update(&world, &before, &after, NEVER).warnings().join("\n");
    assert!(lines.contains(expected), "the edit moves guests unannounced: {lines}");
    assert!(lines.contains(guests), "the guests that it strands are not named: {lines}");
    assert_eq!(lines.is_empty(), expected.is_empty() && guests.is_empty(), "{lines}");
}
