//! Settings that a user can change if nodes lack a requirement, with the command; nothing if KubeVirt would refuse the
//! change, or it would not help.

#![expect(clippy::needless_pass_by_value, reason = "the cases of a table give values")]

mod hints;
mod three_changes;
mod two_changes;

use rstest::rstest;
use serde_json::{Value, json};

use super::super::*;
use crate::fit::node::Node;
use crate::fit::remedy::RemedyId;
use crate::fit::verdict::{Check, Outcome};
use crate::kubevirt::cluster::ClusterObject;
use crate::kubevirt::replicas::Replicas;
use crate::say;
use crate::testing::Tweak;
use crate::testing::cluster::{migration as request, read, running, vm, vm_pool, vmi};
use crate::testing::fleet::{cascade_lake, give, model, rome, set, skylake, take, vendor};

/// Returns a KubeVirt resource of this release, with this configuration and these labels.
fn kubevirt(release: &str, configuration: Value, labels: Value) -> ClusterObject {
    let json = json!({
        "metadata": {"name": "kubevirt", "namespace": "kubevirt", "labels": labels}, "spec": {"configuration": configuration},
        "status": {"observedKubeVirtVersion": release},
    });
    ClusterObject::KubeVirt(Box::new(read(json)))
}

fn cluster(nodes: Vec<Node>, objects: impl IntoIterator<Item = ClusterObject>) -> Cluster {
    let objects: Vec<ClusterObject> = objects.into_iter().collect();
    let known = objects.iter().any(|object| matches!(object, ClusterObject::KubeVirt(_)));
    let newest = (!known).then(|| kubevirt("v1.9.0", json!({}), json!({})));
    Cluster::new(nodes.into_iter().map(ClusterObject::Node).chain(objects).chain(newest), None)
}

/// Returns a remedy as offered: summary, outage and commands.
fn offered(id: RemedyId, prepared: &Prepared<'_>, cluster: &Cluster) -> Option<(String, Vec<String>)> {
    let verdict = prepared.judge(cluster, Depth::Full);
    let remedies = verdict.findings.iter().flat_map(|finding| &finding.remedies);
    let action = remedies.map(|remedy| &remedy.action).find(|action| action.id() == id)?;
    let subject = &prepared.subject;
    let summary = format!("{} ({})", say::remedy::summary(action, subject), action.outage(subject).as_str());
    Some((summary, action.commands(subject).lines()))
}

fn guest(domain: Value) -> Value {
    vm("db", "host-model").tweak(|vm| vm["spec"]["template"]["spec"]["domain"] = domain)
}

fn stored(vm: &Value) -> ClusterObject {
    ClusterObject::VirtualMachine(Box::new(read(vm.clone())))
}

fn three() -> Vec<Node> {
    ["node-a", "node-b", "node-c"].map(cascade_lake).into()
}

fn with_managers(nodes: Vec<Node>, values: [&str; 3]) -> Vec<Node> {
    nodes.into_iter().zip(values).map(|(node, value)| node.tweak(|node| set(node, label::CPU_MANAGER, value))).collect()
}

const PATCH: &str = "kubectl patch vm db -n shop --type";

#[rstest]
#[case::a_feature(
    three(), guest(json!({"cpu": {"features": [{"name": "aes"}, {"name": "gfni", "policy": "require"}]}})),
    Some(("drop CPU feature gfni (none)", format!(r#"{PATCH} json -p '[{{"op":"test","path":"/spec/template/spec/domain/cpu/features/1/name","value":"gfni"}},{{"op":"remove","path":"/spec/template/spec/domain/cpu/features/1"}}]'"#)))
)]
#[case::the_last_of_two_first(
    three(), guest(json!({"cpu": {"features": [{"name": "gfni"}, {"name": "amx-tile"}]}})),
    Some(("drop CPU features gfni, amx-tile (none)", format!(r#"{PATCH} json -p '[{{"op":"test","path":"/spec/template/spec/domain/cpu/features/1/name","value":"amx-tile"}},{{"op":"remove","path":"/spec/template/spec/domain/cpu/features/1"}},{{"op":"test","path":"/spec/template/spec/domain/cpu/features/0/name","value":"gfni"}},{{"op":"remove","path":"/spec/template/spec/domain/cpu/features/0"}}]'"#)))
)]
#[case::a_hyperv_setting(
    vec![rome("amd-1"), rome("amd-2"), rome("amd-3")], guest(json!({"features": {"hyperv": {"evmcs": {}}}})),
    Some(("drop Hyper-V setting evmcs (none)", format!(r#"{PATCH} merge -p '{{"spec":{{"template":{{"spec":{{"domain":{{"features":{{"hyperv":{{"evmcs":null}}}}}}}}}}}}}}'"#)))
)]
#[case::dedicated_cpus(
    with_managers(three(), ["false", "false", "false"]), guest(json!({"cpu": {"dedicatedCpuPlacement": true, "numa": {"guestMappingPassthrough": {}}}})),
    Some(("drop dedicatedCpuPlacement (none)", format!(r#"{PATCH} merge -p '{{"spec":{{"template":{{"spec":{{"domain":{{"cpu":{{"dedicatedCpuPlacement":null,"isolateEmulatorThread":null,"numa":null,"realtime":null}}}}}}}}}}}}'"#)))
)]
#[case::switched_off_it_asks_for_nothing(
    vec![rome("amd-1"), rome("amd-2"), rome("amd-3")], guest(json!({"features": {"hyperv": {"evmcs": {"enabled": false}}}})), None
)]
#[case::every_node_has_it(three(), guest(json!({"cpu": {"features": [{"name": "aes"}]}})), None)]
#[case::another_thing_is_lacking_too(
    three(), guest(json!({"cpu": {"features": [{"name": "gfni"}]}, "machine": {"type": "pc-q35-4.2"}})), None
)]
fn removing_a_setting_that_excludes_nodes_is_offered(
    #[case] nodes: Vec<Node>,
    #[case] guest: Value,
    #[case] expected: Option<(&str, String)>,
) {
    let cluster = cluster(nodes, [stored(&guest)]);
    let prepared = of_vm(&read(guest), &cluster);
    let expected = expected.map(|(summary, command)| (summary.to_owned(), vec![command]));
    assert_eq!(offered(RemedyId::DropSetting, &prepared, &cluster), expected);
}

#[test]
fn a_guest_that_runs_is_restarted_and_one_of_a_pool_is_changed_there() {
    let vm_json = guest(json!({"cpu": {"features": [{"name": "svm"}]}}));
    let guest = running("db", "node-a", "host-model")
        .tweak(|vmi| vmi["spec"]["domain"]["cpu"]["features"] = json!([{"name": "svm"}]));
    let objects = [vmi(guest), ClusterObject::VirtualMachine(Box::new(read(vm_json.clone())))];
    let running = cluster(three(), objects);
    let (summary, commands) = offered(RemedyId::DropSetting, &of_migration(&read(request("db")), &running), &running)
        .expect("svm is on no node");
    assert_eq!(summary, "drop CPU feature svm, restart (restart)");
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert!(commands[1].starts_with("virtctl restart db -n shop"), "{commands:?}");

    let pool: Replicas = read::<crate::kubevirt::wire::Pool>(vm_pool(&vm_json)).into();
    let stored = cluster(three(), [ClusterObject::Replicas(Box::new(pool.clone()))]);
    let (_, commands) = offered(RemedyId::DropSetting, &pool.prepared(&stored), &stored).expect("svm is on no node");
    let place = "/spec/virtualMachineTemplate/spec/template/spec/domain/cpu/features/0";
    assert!(
        commands[0].starts_with("kubectl patch vmpool db -n shop --type json") && commands[0].contains(place),
        "{commands:?}"
    );

    let alone = vmi(crate::testing::cluster::running("alone", "node-a", "host-model").tweak(|vmi| {
        vmi["metadata"]["ownerReferences"] = json!([]);
        vmi["spec"]["domain"]["cpu"]["features"] = json!([{"name": "svm"}]);
    }));
    let alone = cluster(three(), [alone]);
    let (_, commands) = offered(RemedyId::DropSetting, &of_migration(&read(request("alone")), &alone), &alone)
        .expect("svm is on no node");
    assert_eq!(commands, ["# take svm out of spec.domain.cpu.features and create the guest again"]);
}

/// A guest that its node selector binds to node-a, and its migration to a host.
fn asked_for(host: &str, selector: Value) -> (Prepared<'static>, Cluster) {
    let nodes =
        ["node-a", "node-b", "node-c"].map(|name| cascade_lake(name).tweak(|node| set(node, label::HOSTNAME, name)));
    let odd = rome("odd").tweak(|node| set(node, label::HOSTNAME, "odd"));
    let mut guest = running("db", "node-a", "host-model");
    let mut made_by = vm("db", "host-model");
    guest["spec"]["nodeSelector"] = selector.clone();
    made_by["spec"]["template"]["spec"]["nodeSelector"] = selector;
    let objects = [vmi(guest), ClusterObject::VirtualMachine(Box::new(read(made_by)))];
    let live = json!({"vmRolloutStrategy": "LiveUpdate"});
    let objects = objects.into_iter().chain([kubevirt("v1.9.0", live, json!({}))]);
    let cluster = cluster(nodes.into_iter().chain([odd]).collect(), objects);
    let request = request("db").tweak(|vmim| vmim["spec"]["addedNodeSelector"] = json!({label::HOSTNAME: host}));
    (of_migration(&read(request), &cluster), cluster)
}

#[rstest]
#[case::one_that_fits("node-c", Some((1, 1)))]
#[case::other_hardware("odd", None)]
#[case::its_own_node("node-a", None)]
#[case::no_node("node-z", None)]
fn without_its_node_selector_the_migration_selects_its_own_host(
    #[case] host: &str,
    #[case] expected: Option<(usize, usize)>,
) {
    let (prepared, cluster) = asked_for(host, json!({label::HOSTNAME: "node-a"}));
    let verdict = prepared.judge(&cluster, Depth::Full);
    let mut remedies = verdict.findings.iter().flat_map(|finding| &finding.remedies);
    let found = remedies.find(|remedy| remedy.action.id() == RemedyId::ChangeSelector);
    assert_eq!(found.map(|remedy| remedy.then_fits), expected, "the user counts on nodes that the migration excludes");
}

#[rstest]
#[case::other_hardware("odd", Some("odd"), false)]
#[case::no_node("node-z", Some("node-b"), true)]
#[case::one_that_fits("node-c", Some("node-b"), false)]
fn the_lack_of_the_selected_host_is_reported(#[case] host: &str, #[case] nearest: Option<&str>, #[case] unknown: bool) {
    let (prepared, cluster) = asked_for(host, json!({}));
    let verdict = prepared.judge(&cluster, Depth::Full);
    assert_eq!(verdict.nearest.first().map(|near| near.node.as_str()), nearest, "the user learns of another node");
    let found = verdict.found(Check::UnknownHost).map(say::finding::message);
    let expected = unknown.then(|| {
        "no node has the label kubernetes.io/hostname=node-z; without that, 2 of 3 nodes can take it".to_owned()
    });
    assert_eq!(found, expected, "the user does not learn that the host does not exist");
}

/// The host of a node selector, of the guest's own or of `addedNodeSelector`, and other added entries: each is judged
/// with and without it, and the sender of the migration reads that.
#[rstest]
#[case::own_host(json!({label::HOSTNAME: "odd"}), json!(null), &["asked for kubernetes.io/hostname=odd: 0 of 3 nodes can take it; without that, 2 can"])]
#[case::own_node(json!({label::HOSTNAME: "node-a"}), json!(null), &["asked for kubernetes.io/hostname=node-a: 0 of 3 nodes can take it; without that, 2 can"])]
#[case::one_host(json!({label::HOSTNAME: "node-b"}), json!(null), &["asked for kubernetes.io/hostname=node-b: 1 of 3 nodes can take it; without that, 2 can"])]
#[case::added_host(json!(null), json!({label::HOSTNAME: "odd"}), &["asked for kubernetes.io/hostname=odd: 0 of 3 nodes can take it; without that, 2 can"])]
#[case::overridden(json!({label::HOSTNAME: "odd"}), json!({label::HOSTNAME: "node-b"}), &["asked for kubernetes.io/hostname=odd: 0 of 3 nodes can take it; without that, 2 can"])]
#[case::other_entry(json!(null), json!({"rack": "9"}), &["asked for rack=9: 0 of 3 nodes can take it; without that, 2 can; no node has rack=9"])]
#[case::both(json!({label::HOSTNAME: "odd"}), json!({"rack": "9"}), &[
    "asked for rack=9: 0 of 3 nodes can take it; without that, 0 can; no node has rack=9",
    "asked for kubernetes.io/hostname=odd: 0 of 3 nodes can take it; without that, 0 can",
])]
#[case::absent_host(json!({label::HOSTNAME: "gone"}), json!(null), &["no node has the label kubernetes.io/hostname=gone; without that, 2 of 3 nodes can take it"])]
#[case::no_choice(json!({"kubernetes.io/arch": "amd64"}), json!(null), &[])]
fn chosen_nodes_are_judged_with_and_without_the_choice(
    #[case] own: Value,
    #[case] added: Value,
    #[case] expected: &[&str],
) {
    let nodes =
        ["node-a", "node-b", "node-c"].map(|name| cascade_lake(name).tweak(|node| set(node, label::HOSTNAME, name)));
    let odd = rome("odd").tweak(|node| set(node, label::HOSTNAME, "odd"));
    let guest = running("db", "node-a", "host-model").tweak(|guest| guest["spec"]["nodeSelector"] = own);
    let cluster = cluster(nodes.into_iter().chain([odd]).collect(), [vmi(guest)]);
    let request = request("db").tweak(|vmim| vmim["spec"]["addedNodeSelector"] = added);
    let prepared = of_migration(&read(request), &cluster);
    let verdict = prepared.judge(&cluster, Depth::Full);
    let is_of_choice = |finding: &&Finding| matches!(finding.check, Check::UnknownHost | Check::ChosenNodes);
    let said: Vec<String> = verdict.findings.iter().filter(is_of_choice).map(say::finding::message).collect();
    assert_eq!(said, expected, "the user does not learn which nodes the choice alone excludes");
    let warned = say::speak(&prepared, &verdict).reasons;
    for line in expected.iter().filter(|line| !line.ends_with(" 0 can") && !line.contains(" 0 can;")) {
        assert!(warned.iter().any(|known| known == line), "the sender of the migration is not warned: {warned:?}");
    }
}

#[test]
fn an_untrue_vendor_label_is_removed() {
    let nodes = ["node-a", "node-b", "node-c"].map(cascade_lake);
    let nodes = nodes.map(|node| {
        node.tweak(|node| {
            if node.name == "node-a" {
                give(node, [vendor("AMD")]);
            }
        })
    });
    let cluster = cluster(nodes.to_vec(), [vmi(running("db", "node-a", "Cascadelake-Server-noTSX"))]);
    let prepared = of_migration(&read(request("db")), &cluster);
    let verdict = prepared.judge(&cluster, Depth::Full);
    assert_eq!(verdict.assessment.outcome, Outcome::Fits, "a try that asks for Intel succeeds");
    let expected = (
        "take cpu-vendor AMD off node-a, which is Intel (none)".to_owned(),
        vec!["kubectl label node node-a cpu-vendor.node.kubevirt.io/AMD-".to_owned()],
    );
    assert_eq!(offered(RemedyId::RemoveVendorLabel, &prepared, &cluster), Some(expected));
}

fn instancetype(cpu: Value) -> ClusterObject {
    ClusterObject::Instancetype(read(json!({"metadata": {"name": "large"}, "spec": {"cpu": cpu}})))
}

/// KubeVirt refuses a VM that sets a field of its instancetype (`pkg/instancetype/conflict`), so no patch of the VM's
/// template is offered.
#[rstest]
#[case::its_model(
    instancetype(json!({"guest": 2, "model": "EPYC-Rome"})),
    "another instancetype than large, which sets CPU model EPYC-Rome (none)",
    "# name another instancetype in spec.instancetype of the VM: large sets spec.cpu.model"
)]
#[case::its_dedicated_cpus(
    instancetype(json!({"guest": 2, "dedicatedCPUPlacement": true})),
    "another instancetype than large, which sets dedicatedCpuPlacement (none)",
    "# name another instancetype in spec.instancetype of the VM: large sets spec.cpu.dedicatedCPUPlacement"
)]
fn settings_of_an_instancetype_are_changed_in_the_instancetype(
    #[case] found: ClusterObject,
    #[case] summary: &str,
    #[case] command: &str,
) {
    let guest = vm("db", "").tweak(|vm| vm["spec"]["instancetype"] = json!({"name": "large"}));
    let cluster = cluster(with_managers(three(), ["false", "false", "false"]), [found, stored(&guest)]);
    let prepared = of_vm(&read(guest), &cluster);
    let expected = Some((summary.to_owned(), vec![command.to_owned()]));
    assert_eq!(offered(RemedyId::DropSetting, &prepared, &cluster), expected);
    let model = offered(RemedyId::UseModel, &prepared, &cluster);
    let is_patch = |(_, lines): (String, Vec<String>)| lines.iter().any(|line| !line.starts_with('#'));
    assert!(!model.is_some_and(is_patch), "KubeVirt would refuse the patch");
}

#[test]
fn settings_of_a_preference_are_changed_in_the_preference() {
    let features = json!([{"name": "gfni", "policy": "require"}]);
    let preference = ClusterObject::Preference(read(
        json!({"metadata": {"name": "fast"}, "spec": {"cpu": {"preferredCPUFeatures": features}}}),
    ));
    let guest =
        guest(json!({"cpu": {"features": features}})).tweak(|vm| vm["spec"]["preference"] = json!({"name": "fast"}));
    let cluster = cluster(three(), [preference, stored(&guest)]);
    let both = of_vm(&read(guest.clone()), &cluster);
    assert_eq!(
        offered(RemedyId::DropSetting, &both, &cluster),
        None,
        "dropped from the VM, it comes back with the preference"
    );
    let alone = guest.tweak(|vm| vm["spec"]["template"]["spec"]["domain"] = json!({}));
    let mut cluster = cluster;
    cluster.put(stored(&alone));
    let (_, commands) =
        offered(RemedyId::DropSetting, &of_vm(&read(alone), &cluster), &cluster).expect("gfni is on no node");
    assert_eq!(
        commands,
        ["# name another preference in spec.preference of the VM: fast sets spec.cpu.preferredCPUFeatures"]
    );
}

/// Another name beside the same `revisionName` is refused by virt-api, or has no effect in an older release.
#[rstest]
fn another_type_is_named_without_the_revision_of_the_former(
    #[values("VirtualMachine", "pool", "manifest")] holder: &str,
    #[values(json!({}), json!({"revisionName": "copy"}))] revision: Value,
    #[values("instancetype", "preference")] what: &str,
) {
    let (kind, spec) = match what {
        "instancetype" => ("VirtualMachineClusterInstancetype", json!({"cpu": {"guest": 2, "model": "EPYC-Rome"}})),
        _ => (
            "VirtualMachineClusterPreference",
            json!({"cpu": {"preferredCPUFeatures": [{"name": "gfni", "policy": "require"}]}}),
        ),
    };
    let current = json!({"metadata": {"name": "large"}, "spec": spec});
    let current = match what {
        "instancetype" => ClusterObject::Instancetype(read(current)),
        _ => ClusterObject::Preference(read(current)),
    };
    let data = json!({"apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": kind, "metadata": {"name": "large"}, "spec": spec});
    let copy = json!({"metadata": {"name": "copy", "namespace": "shop"}, "data": data});
    let copy =
        ClusterObject::Revision(crate::kubevirt::revision::Revision::read(read(copy)).expect("a copy of a type"));
    let named = revision.clone().tweak(|matcher| matcher["name"] = json!("large"));
    let guest = vm("db", "").tweak(|vm| vm["spec"][what] = named);
    let found = match holder {
        "pool" => {
            let pool: Replicas = read::<crate::kubevirt::wire::Pool>(vm_pool(&guest)).into();
            let cluster = cluster(three(), [current, copy, ClusterObject::Replicas(Box::new(pool.clone()))]);
            offered(RemedyId::DropSetting, &pool.prepared(&cluster), &cluster)
        }
        "manifest" => {
            let cluster = cluster(three(), [current, copy]);
            offered(RemedyId::DropSetting, &of_vm(&read(guest), &cluster), &cluster)
        }
        _ => {
            let cluster = cluster(three(), [current, copy, stored(&guest)]);
            offered(RemedyId::DropSetting, &of_vm(&read(guest), &cluster), &cluster)
        }
    };
    let (_, commands) = found.expect("no node has what it sets");
    let says = commands[0].contains("and set its revisionName to null in the same edit: large sets spec.cpu.");
    assert_eq!(says, revision["revisionName"].is_string(), "{commands:?}");
    assert!(
        commands[0].contains(&format!("name another {what} in ")) && commands[0].contains(": large sets"),
        "{commands:?}"
    );
}

#[rstest]
#[case::forbidden_on_all(&["vme"], Some(("disable vme instead of forbidding it (none)", format!(r#"{PATCH} json -p '[{{"op":"test","path":"/spec/template/spec/domain/cpu/features/0/name","value":"vme"}},{{"op":"replace","path":"/spec/template/spec/domain/cpu/features/0/policy","value":"disable"}}]'"#))))]
#[case::on_no_node(&["gfni"], None)]
fn a_forbidden_feature_is_disabled(#[case] names: &[&str], #[case] expected: Option<(&str, String)>) {
    let features: Vec<Value> = names.iter().map(|name| json!({"name": name, "policy": "forbid"})).collect();
    let guest = guest(json!({"cpu": {"features": features}}));
    let cluster = cluster(three(), [stored(&guest)]);
    let prepared = of_vm(&read(guest), &cluster);
    let expected = expected.map(|(summary, command)| (summary.to_owned(), vec![command]));
    assert_eq!(offered(RemedyId::DisableFeature, &prepared, &cluster), expected);
    assert_eq!(offered(RemedyId::DropSetting, &prepared, &cluster), None, "it is hidden from the guest for a reason");
}

/// Returns nodes without the labels of a model they can run: they can run Cascadelake-Server, which has all of its
/// features.
fn obsolete() -> Vec<Node> {
    let name = "Skylake-Server-noTSX-IBRS";
    three()
        .into_iter()
        .map(|node| node.tweak(|node| take(node, &[model(name), crate::testing::fleet::known(name)])))
        .collect()
}

#[rstest]
#[case::a_list(json!({"Skylake-Server-noTSX-IBRS": true, "Penryn": true}), json!({}),
    r#"kubectl patch kubevirt kubevirt -n kubevirt --type merge -p '{"spec":{"configuration":{"obsoleteCPUModels":{"Skylake-Server-noTSX-IBRS":null}}}}'      # the labels return within 3 minutes"#)]
#[case::its_only_entry(json!({"Skylake-Server-noTSX-IBRS": false}), json!({}),
    r#"kubectl patch kubevirt kubevirt -n kubevirt --type merge -p '{"spec":{"configuration":{"obsoleteCPUModels":{"Skylake-Server-noTSX-IBRS":null}}}}'      # the labels return within 3 minutes"#)]
#[case::of_an_operator(json!({"Skylake-Server-noTSX-IBRS": true, "Conroe": true}), json!({"app.kubernetes.io/managed-by": "hco-operator"}),
    r#"kubectl patch hyperconvergeds.v1beta1.hco.kubevirt.io kubevirt-hyperconverged -n kubevirt --type merge -p '{"spec":{"obsoleteCPUs":{"cpuModels":[]}}}'      # its operator writes KubeVirt's list; the labels return within 3 minutes"#)]
#[case::of_an_operator_beside_others(json!({"Skylake-Server-noTSX-IBRS": true, "Conroe": true, "Penryn": true}), json!({"app.kubernetes.io/managed-by": "hco-operator"}),
    r#"kubectl patch hyperconvergeds.v1beta1.hco.kubevirt.io kubevirt-hyperconverged -n kubevirt --type merge -p '{"spec":{"obsoleteCPUs":{"cpuModels":["Penryn"]}}}'      # its operator writes KubeVirt's list; the labels return within 3 minutes"#)]
fn a_withheld_model_is_taken_off_the_list(#[case] list: Value, #[case] labels: Value, #[case] command: &str) {
    let cluster = cluster(obsolete(), [kubevirt("v1.9.0", json!({"obsoleteCPUModels": list}), labels)]);
    let prepared = of_vm(&read(vm("db", "Skylake-Server-noTSX-IBRS")), &cluster);
    let (summary, commands) =
        offered(RemedyId::EditObsoleteModels, &prepared, &cluster).expect("the list alone is to blame");
    assert_eq!(summary, "take Skylake-Server-noTSX-IBRS off obsoleteCPUModels, wait 3 minutes (none)");
    assert_eq!(commands, [command]);
}

#[test]
fn host_models_removed_from_the_list_are_no_longer_avoided() {
    let nodes = three().into_iter().map(|node| node.tweak(|node| set(node, label::OBSOLETE_HOST_MODEL, "true")));
    let list = json!({"obsoleteCPUModels": {"Cascadelake-Server": true}});
    let cluster = cluster(nodes.collect(), [kubevirt("v1.9.0", list, json!({}))]);
    let prepared = of_vm(&read(vm("db", "host-model")), &cluster);
    assert_eq!(prepared.assess(&cluster).outcome, Outcome::Impaired(crate::fit::verdict::Impact::Unschedulable));
    assert!(offered(RemedyId::EditObsoleteModels, &prepared, &cluster).is_some());
}

#[rstest]
#[case::the_nodes_cannot_run_it(three(), "Icelake-Server-noTSX", json!({"Icelake-Server-noTSX": true}))]
#[case::nothing_is_known_of_it(obsolete(), "Unheard-Of", json!({"Unheard-Of": true}))]
#[case::it_is_not_on_the_list(obsolete(), "Skylake-Server-noTSX-IBRS", json!({"Penryn": true}))]
fn an_edit_of_the_list_is_not_offered_if_uncertain(#[case] nodes: Vec<Node>, #[case] name: &str, #[case] list: Value) {
    let cluster = cluster(nodes, [kubevirt("v1.9.0", json!({"obsoleteCPUModels": list}), json!({}))]);
    let prepared = of_vm(&read(vm("db", name)), &cluster);
    assert_eq!(offered(RemedyId::EditObsoleteModels, &prepared, &cluster), None);
}

/// An empty list counts as none, so the built-in one would replace it.
#[test]
fn the_built_in_list_is_replaced_by_one_without_the_model() {
    let nodes: Vec<Node> = three().into_iter().map(|node| node.tweak(|node| give(node, [model("Penryn")]))).collect();
    for list in [json!(null), json!({"Opteron_G2": true})] {
        let kubevirt = kubevirt("v1.9.0", json!({"obsoleteCPUModels": list}), json!({}));
        let cluster = cluster(nodes.clone(), [kubevirt]);
        let prepared = of_vm(&read(vm("db", "Opteron_G2")), &cluster);
        let found = prepared.subject.configured.obsolete.expect("it is withheld");
        assert_eq!(found.models, ["Opteron_G2"]);
        let added: Vec<&str> = found.edits.iter().filter(|(_, is_in)| *is_in).map(|(name, _)| name.as_str()).collect();
        assert_eq!(added.len(), 33, "17 names in two versions, less one: {added:?}");
        assert!(!added.contains(&"Opteron_G2") && added.contains(&"Conroe-v1"));
    }
}

#[rstest]
#[case::fixed_by_a_later_release("v1.5.1", Some("upgrade KubeVirt to v1.5.3 (none)"))]
#[case::fixed_already("v1.5.3", None)]
#[case::asks_for_the_empty_value("v1.4.0", None)]
fn the_release_that_fixes_values_is_named(#[case] release: &str, #[case] expected: Option<&str>) {
    let nodes = three().into_iter().map(|node| node.tweak(|node| set(node, label::SEV, ""))).collect();
    let gate = json!({"developerConfiguration": {"featureGates": ["WorkloadEncryptionSEV"]}});
    let cluster = cluster(nodes, [kubevirt(release, gate, json!({}))]);
    let prepared = of_vm(
        &read(guest(
            json!({"firmware": {"bootloader": {"efi": {"secureBoot": false}}}, "launchSecurity": {"sev": {}}}),
        )),
        &cluster,
    );
    let found = offered(RemedyId::UpgradeKubeVirt, &prepared, &cluster);
    assert_eq!(found.as_ref().map(|(summary, _)| summary.as_str()), expected);
    assert!(found.is_none_or(|(_, commands)| commands == ["# upgrade KubeVirt to v1.5.3 or later"]));
}

#[rstest]
#[case::half(vec![cascade_lake("node-a"), cascade_lake("node-b"), skylake("node-c"), skylake("node-d")], Some("CPU model Cascadelake-Server-noTSX leaves out \
    2 of 4 nodes that could take the guest (node-c, node-d); it is asked for by spec.template.spec.domain.cpu.model of the VM"))]
#[case::a_third(vec![cascade_lake("node-a"), cascade_lake("node-b"), skylake("node-c")], Some("CPU model Cascadelake-Server-noTSX leaves out \
    1 of 3 nodes that could take the guest (node-c); it is asked for by spec.template.spec.domain.cpu.model of the VM"))]
#[case::a_quarter(vec![cascade_lake("node-a"), cascade_lake("node-b"), cascade_lake("node-c"), skylake("node-d")], None)]
#[case::none_left(vec![skylake("node-c"), skylake("node-d")], None)]
fn a_model_that_leaves_many_out_is_named(#[case] nodes: Vec<Node>, #[case] expected: Option<&str>) {
    let cluster = cluster(nodes, []);
    let verdict = of_vm(&read(vm("db", "Cascadelake-Server-noTSX")), &cluster).judge(&cluster, Depth::Full);
    assert_eq!(verdict.found(Check::ModelCoverage).map(say::finding::message).as_deref(), expected);
}

/// By its own field or the cluster's default, the guest itself can get another model; by an instancetype it cannot, and
/// the model is named: another instancetype may set it.
#[rstest]
#[case::its_own("Cascadelake-Server-noTSX", json!({}), Some((5, 5)), None)]
#[case::the_default("", json!({"cpuModel": "Cascadelake-Server-noTSX"}), Some((5, 5)), None)]
#[case::an_instancetype("it", json!({}), Some((5, 5)), None)]
fn a_model_that_leaves_many_out_has_a_way_out(
    #[case] model: &str,
    #[case] configuration: Value,
    #[case] expected: Option<(usize, usize)>,
    #[case] said: Option<&str>,
) {
    let nodes = three().into_iter().chain(["node-d", "node-e", "node-f"].map(skylake)).collect();
    let named = json!({
        "apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": "VirtualMachineClusterInstancetype",
        "metadata": {"name": "corp.large"},
        "spec": {"cpu": {"guest": 2, "model": "Cascadelake-Server-noTSX"}, "memory": {"guest": "1Gi"}},
    });
    let is_of_type = model == "it";
    let named = crate::testing::situation::object(&named);
    let guest = vm("db", if is_of_type { "" } else { model }).tweak(|vm| {
        if is_of_type {
            vm["spec"]["template"]["spec"]["domain"] = json!({});
            vm["spec"]["instancetype"] = json!({"name": "corp.large"});
        }
    });
    let cluster = cluster(nodes, [kubevirt("v1.9.0", configuration, json!({}))].into_iter().chain(named));
    let prepared = of_vm(&read(guest), &cluster);
    let verdict = prepared.judge(&cluster, Depth::Full);
    let found = verdict.found(Check::ModelCoverage).expect("three of six nodes cannot run it");
    let remedy = found.remedies.iter().find(|remedy| remedy.action.id() == RemedyId::UseModel);
    assert_eq!(remedy.map(|remedy| remedy.then_fits), expected, "the user learns of the loss, not of the way out");
    let words = say::finding::message(found);
    assert!(words.ends_with(said.unwrap_or("of the VM")) || said.is_none() && !words.contains("runs on"), "{words}");
}

#[test]
fn a_default_that_leaves_many_out_is_named_as_the_clusters() {
    let nodes = vec![cascade_lake("node-a"), cascade_lake("node-b"), skylake("node-c"), skylake("node-d")];
    let kubevirt = kubevirt("v1.9.0", json!({"cpuModel": "Cascadelake-Server-noTSX"}), json!({}));
    let cluster = cluster(nodes, [kubevirt]);
    let verdict = of_vm(&read(vm("db", "")), &cluster).judge(&cluster, Depth::Full);
    let found = verdict.found(Check::ModelCoverage).map(say::finding::message).expect("half of the nodes are left out");
    assert!(
        found.ends_with("it is asked for by the cluster's default (spec.configuration.cpuModel of KubeVirt)"),
        "{found}"
    );
}

/// An edit of a VM that waits for a restart does not reach the running guest, and an entry that the VM does not have
/// cannot be removed from it: a user who makes such an edit would wait in vain for a migration.
#[rstest]
#[case::applied_live(json!([]), true, Some("none"))]
#[case::other_conditions(json!([{"type": "Ready", "status": "True"}]), true, Some("none"))]
#[case::waits_for_a_restart(json!([{"type": "RestartRequired", "status": "True"}]), true, Some("restart"))]
#[case::whatever_its_status(json!([{"type": "RestartRequired", "status": "False"}]), true, Some("restart"))]
#[case::gone_from_the_vm(json!([{"type": "RestartRequired", "status": "True"}]), false, None)]
fn an_edit_of_the_vm_reaches_the_guest_live_unless_the_vm_waits_for_a_restart(
    #[case] conditions: Value,
    #[case] has_entry: bool,
    #[case] outage: Option<&str>,
) {
    let entry = json!({label::HOSTNAME: "node-a"});
    let machine = vm("db", "host-model").tweak(|vm| {
        vm["status"] = json!({"conditions": conditions});
        if has_entry {
            vm["spec"]["template"]["spec"]["nodeSelector"] = entry.clone();
        }
    });
    let guest = running("db", "node-a", "host-model").tweak(|vmi| vmi["spec"]["nodeSelector"] = entry.clone());
    let named = |node: Node| {
        let name = node.name.clone();
        node.tweak(|node| set(node, label::HOSTNAME, &name))
    };
    let waits = conditions.to_string().contains("RestartRequired");
    let cluster = cluster(
        three().into_iter().map(named).collect(),
        [vmi(guest), ClusterObject::VirtualMachine(Box::new(read(machine)))],
    );
    let prepared = of_migration(&read(request("db")), &cluster);
    let offered = offered(RemedyId::ChangeSelector, &prepared, &cluster);
    let expected = outage.map(|outage| format!("({outage})"));
    let summary = offered.map(|(summary, _)| summary);
    assert!(
        match (&summary, &expected) {
            (Some(summary), Some(expected)) => summary.ends_with(expected.as_str()),
            (None, None) => true,
            _ => false,
        },
        "{summary:?}, not {expected:?}"
    );
    let found = prepared.judge(&cluster, Depth::Full).findings;
    assert_eq!(found.iter().any(|finding| finding.check == Check::RestartRequired), waits);
}

/// A drain's migration adds no entries: entries that one migration adds do not delay the drain.
#[rstest]
#[case::nowhere_for_itself(json!({label::HOSTNAME: "node-a"}), false, false)]
#[case::nowhere_at_all(json!({label::HOSTNAME: "node-a"}), true, true)]
#[case::nothing_added(json!({}), true, true)]
fn a_drain_does_not_wait_for_what_one_migration_adds(#[case] added: Value, #[case] alone: bool, #[case] waits: bool) {
    let guest =
        running("db", "node-a", "host-model").tweak(|vmi| vmi["spec"]["evictionStrategy"] = json!("LiveMigrate"));
    let nodes = three().into_iter().take(if alone { 1 } else { 3 }).collect();
    let cluster = cluster(nodes, [vmi(guest)]);
    let request = request("db").tweak(|vmim| vmim["spec"]["addedNodeSelector"] = added);
    let prepared = of_migration(&read(request), &cluster);
    let found = prepared.judge(&cluster, Depth::Full).findings;
    assert_eq!(found.iter().any(|finding| finding.check == Check::DrainWaits), waits);
}

/// One node on which a guest can start is better than none: the guest is offered the model that runs there.
#[rstest]
#[case::one_node(vec![cascade_lake("node-a")], "EPYC-Genoa", Some("start with Cascadelake-Server-noTSX (none)"))]
#[case::one_of_each_vendor(vec![cascade_lake("node-a"), rome("amd-1")], "Icelake-Server-noTSX", Some("start with EPYC-Rome (none)"))]
#[case::it_starts_already(vec![cascade_lake("node-a")], "Skylake-Server-noTSX-IBRS", None)]
fn a_model_is_offered_where_one_node_can_run_it(
    #[case] nodes: Vec<Node>,
    #[case] named: &str,
    #[case] expected: Option<&str>,
) {
    let cluster = cluster(nodes, []);
    let prepared = of_vm(&read(vm("db", named)), &cluster);
    let found = offered(RemedyId::UseModel, &prepared, &cluster);
    assert_eq!(found.map(|(summary, _)| summary).as_deref(), expected);
}
