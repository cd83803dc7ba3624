//! Virtual machines: defaults, instancetypes, preferences, and the next start.

use super::*;

fn instancetype(kind: &str, namespace: &str, spec: &Value) -> ClusterObject {
    let json = json!({"kind": kind, "metadata": {"name": "big", "namespace": namespace}, "spec": spec});
    ClusterObject::Instancetype(read(json))
}

fn of(change: impl FnOnce(&mut Value), objects: Vec<ClusterObject>) -> Prepared<'static> {
    of_vm(&read(vm("db", "").tweak(change)), &cluster("1.9.0", mixed(), objects))
}

#[test]
fn a_vm_is_judged_with_kubevirts_defaults() {
    let prepared = of(|_| {}, Vec::new());
    let expected = [label::ARCH, label::SCHEDULABLE, &machine("q35")].map(ToOwned::to_owned);
    assert_eq!(keys(&prepared).into_keys().collect::<Vec<_>>(), expected);
    assert_eq!(prepared.subject.mode, CpuMode::HostModel, "an unset model means host-model");
    assert_eq!(prepared.subject.field("domain.cpu.model"), "spec.template.spec.domain.cpu.model");
}

#[rstest]
#[case::cluster_wide("VirtualMachineClusterInstancetype", "", "")]
#[case::cluster_wide_named("VirtualMachineClusterInstancetype", "", "virtualmachineclusterinstancetype")]
#[case::of_the_namespace("VirtualMachineInstancetype", "shop", "VirtualMachineInstancetype")]
fn an_instancetype_brings_its_model(#[case] kind: &str, #[case] namespace: &str, #[case] asked: &str) {
    let spec =
        json!({"cpu": {"guest": 4, "model": "EPYC-Rome", "dedicatedCPUPlacement": true}, "nodeSelector": {ZONE: "z1"}});
    let prepared = of(
        |vm| vm["spec"]["instancetype"] = json!({"name": "big", "kind": asked}),
        vec![instancetype(kind, namespace, &spec)],
    );
    let keys = keys(&prepared);
    assert!(keys.contains_key(&model("EPYC-Rome")), "it would be judged as host-model: {keys:#?}");
    assert!(keys.contains_key(label::CPU_MANAGER) && keys.get(ZONE).is_some_and(|zone| zone == "z1"), "{keys:#?}");
    assert!(prepared.notes.is_empty(), "{:#?}", prepared.notes);
}

/// KubeVirt refuses a model in the template if the instancetype sets one: the VM has to name another instancetype.
#[test]
fn the_model_of_an_instancetype_is_not_replaced_in_the_template() {
    let offered = |vm: Value, objects: Vec<ClusterObject>| {
        let cluster = cluster("1.9.0", mixed(), objects);
        let prepared = of_vm(&read(vm), &cluster);
        let found =
            remedies(&prepared, &cluster).into_iter().find(|remedy| matches!(remedy.action, Action::UseModel(_)));
        found.expect("another model helps here").action.commands(&prepared.subject).lines().join("\n")
    };
    assert!(offered(vm("db", "EPYC-Turin"), Vec::new()).contains("spec.template.spec.domain.cpu.model"));
    let spec = json!({"cpu": {"model": "EPYC-Turin"}});
    let named = vm("db", "").tweak(|vm| vm["spec"]["instancetype"] = json!({"name": "big"}));
    let objects = vec![instancetype("VirtualMachineClusterInstancetype", "", &spec)];
    let lines = offered(named, objects);
    assert!(
        lines.contains("spec.instancetype in the manifest: big sets spec.cpu.model") && !lines.contains("domain"),
        "{lines}"
    );
}

#[test]
fn a_model_in_both_is_a_contradiction() {
    let prepared = of(
        |vm| {
            vm["spec"]["instancetype"] = json!({"name": "big"});
            vm["spec"]["template"]["spec"]["domain"]["cpu"] = json!({"model": "EPYC"});
        },
        vec![instancetype("VirtualMachineClusterInstancetype", "", &json!({"cpu": {"model": "EPYC-Rome"}}))],
    );
    let note = prepared.notes.first().expect("KubeVirt refuses such a VM");
    assert_eq!((note.check, note.field.as_str()), (Check::Contradiction, "spec.template.spec.domain.cpu.model"));
}

/// Without these objects, the guest's requirements are not known.
#[rstest]
#[case::of_a_name("instancetype", json!({"name": "gone"}), "virtualmachineclusterinstancetypes")]
#[case::inferred("instancetype", json!({"inferFromVolume": "disk"}), "inferred from volume disk")]
#[case::preference("preference", json!({"name": "gone"}), "virtualmachineclusterpreferences")]
#[case::of_the_namespace(
    "preference", json!({"name": "gone", "kind": "VirtualMachinePreference"}), "virtualmachinepreferences"
)]
fn an_unknown_instancetype_of_a_vm_makes_the_verdict_unknown(
    #[case] what: &str,
    #[case] matcher: Value,
    #[case] words: &str,
) {
    let prepared = of(|vm| vm["spec"][what] = matcher, Vec::new());
    let why = prepared.not_judged.as_ref().expect("a guess, said as if it were known");
    assert_eq!((why.check, &why.field), (Check::Unknown, &format!("spec.{what}")));
    assert!(message(why).contains(words), "the resource to add is not named: {}", message(why));
    assert!(prepared.predicted.is_none() && prepared.subject.restart.is_none());
    let verdict = prepared.assess(&cluster("1.9.0", mixed(), []));
    assert!(matches!(verdict.outcome, Outcome::Unknown(_)) && verdict.fitting.is_empty());
}

#[test]
fn a_preference_adds_features_and_a_machine_type() {
    let spec = json!({"cpu": {"preferredCPUFeatures": [{"name": "gfni", "policy": "require"}, {"name": "hle", "policy": "require"}]},
        "machine": {"preferredMachineType": "pc-q35-9.2"}});
    let preference = ClusterObject::Preference(read(json!({"metadata": {"name": "modern"}, "spec": spec})));
    let prepared = of(
        |vm| {
            vm["spec"]["preference"] = json!({"name": "modern"});
            vm["spec"]["template"]["spec"]["domain"]["cpu"] =
                json!({"features": [{"name": "hle", "policy": "optional"}]});
        },
        vec![preference],
    );
    let keys = keys(&prepared);
    assert!(keys.contains_key(&feature("gfni")) && keys.contains_key(&machine("pc-q35-9.2")), "{keys:#?}");
    assert!(!keys.contains_key(&feature("hle")), "the guest's own word on a feature stands");
}

/// A restart uses what the VM says now, not what the guest was started with.
#[test]
fn a_restart_follows_the_template() {
    let guest = running("db", "node-a", "host-model");
    let edited = vm("db", "Icelake-Server-noTSX").tweak(|vm| {
        vm["spec"]["template"]["spec"]["nodeSelector"] = json!({ZONE: "z2"});
    });
    let objects = [vmi(guest), ClusterObject::VirtualMachine(Box::new(read(edited)))];
    let prepared = of_migration(&read(request("db")), &cluster("1.9.0", mixed(), objects));
    let restart = prepared.subject.restart.as_ref().expect("it can be started again");
    assert_eq!(restart.mode, CpuMode::Named("Icelake-Server-noTSX".to_owned()), "a restart into an unknown future");
    assert_eq!(restart.placement.get(ZONE), Some("z2"));
    assert_eq!(prepared.subject.mode, CpuMode::HostModel, "until then it is what it is");
}

#[test]
fn a_guest_without_a_vm_starts_as_it_is() {
    let guest = running("db", "node-a", "EPYC").tweak(|db| db["metadata"]["ownerReferences"] = json!([]));
    let prepared = of_migration(&read(request("db")), &cluster("1.9.0", mixed(), [vmi(guest)]));
    assert!(prepared.subject.definition.template.is_none(), "a virtctl restart of a VM that is not there");
    assert_eq!(prepared.subject.restart.as_ref().map(|start| start.mode.to_string()).as_deref(), Some("EPYC"));
}

/// The remedy "restart with model M" promises exactly what KubeVirt would render for it.
#[rstest]
#[case::host_model(json!({"model": "host-model"}))]
#[case::unset(json!({}))]
#[case::passthrough(json!({"model": "host-passthrough"}))]
#[case::named(json!({"model": "EPYC"}))]
#[case::with_features(json!({"model": "host-model", "features": [{"name": "aes"}, {"name": "gfni", "policy": "forbid"}]}))]
fn another_model_is_rendered_as_promised(#[case] cpu: Value) {
    let with = |cpu: &Value| vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"]["domain"]["cpu"] = cpu.clone());
    let cluster = cluster("1.9.0", mixed(), []);
    let now = of_vm(&read(with(&cpu)), &cluster);
    let promised = now.subject.restart.as_ref().expect("a start").with_model("EPYC-Rome");
    let then = of_vm(&read(with(&cpu.tweak(|cpu| cpu["model"] = json!("EPYC-Rome")))), &cluster);
    let sorted = |placement: &Placement<'_>| placement.selector.clone().into_owned();
    assert_eq!(sorted(&promised.placement), sorted(&then.subject.placement));
    assert_eq!(promised.placement.affinity, then.subject.placement.affinity, "a condition of host-model stays behind");
    assert_eq!(Stage::Start(promised.after_start), then.subject.stage);
}

/// A restart gives a guest the machine type again that its alias was resolved to: where other nodes do not offer it, a
/// restart frees nobody. Another QEMU may resolve the alias to another type.
#[rstest]
#[case::resolved("q35", "pc-q35-9.2", false, "pinned", false)]
#[case::offered_by_all("q35", "pc-q35-9.0", false, "fits", true)]
#[case::not_resolved_yet("q35", "", false, "fits", true)]
#[case::outdated_launcher("q35", "pc-q35-9.2", true, "fits", true)]
#[case::no_alias("pc-q35-9.2", "pc-q35-9.2", false, "pinned", false)]
fn a_next_start_has_the_machine_type_that_its_alias_was_resolved_to(
    #[case] written: &str,
    #[case] resolved: &str,
    #[case] is_outdated: bool,
    #[case] expected: &str,
    #[case] restarts: bool,
) {
    let mut nodes: Vec<Node> = mixed().into_iter().take(5).collect();
    for node in &mut nodes {
        give(node, [machine("pc-q35-9.0")]);
    }
    nodes.iter_mut().filter(|node| node.name != "node-a").for_each(|node| take(node, &[machine("pc-q35-9.2")]));
    let named = "Skylake-Server-noTSX-IBRS";
    let stored =
        vm("db", named).tweak(|vm| vm["spec"]["template"]["spec"]["domain"]["machine"] = json!({"type": written}));
    let guest = running("db", "node-a", named).tweak(|guest| {
        guest["spec"]["domain"]["machine"] = json!({"type": written});
        guest["status"]["machine"] = json!({"type": resolved});
        if is_outdated {
            guest["metadata"]["labels"][well_known::OUTDATED_LAUNCHER.key] = json!("");
        }
    });
    let objects = [vmi(guest), ClusterObject::VirtualMachine(Box::new(read(stored.clone())))];
    let cluster = cluster("1.9.0", nodes, objects);
    let next = of_vm(&read(stored), &cluster).judge(&cluster, Depth::Full);
    assert_eq!(next.assessment.outcome.as_str(), expected, "the next start: {:?}", next.findings);
    let now = of_migration(&read(request("db")), &cluster);
    let is_stuck = now.judge(&cluster, Depth::Full).assessment.outcome.as_str() == "pinned";
    let remedies = remedies(&now, &cluster);
    let is_offered = remedies.iter().any(|remedy| matches!(remedy.action, Action::Restart(_)));
    assert_eq!(is_offered, is_stuck && restarts, "a restart would interrupt the guest for nothing");
}
