//! Tests of whether a remedy is a command or an edit of the manifest: a command names an object that exists.

use super::*;
use crate::kubevirt::replicas::ReplicasKind;
use crate::kubevirt::wire::{Pool, ReplicaSet};
use crate::testing::fleet::set;

/// The object that a person sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Vm,
    Set,
    Pool,
    /// A VMI that nothing makes.
    Vmi,
    /// A VMI that a VM makes.
    VmiOfVm,
    /// A VMI that a replica set makes.
    VmiOfSet,
    /// A VM that a pool makes.
    VmOfPool,
}

use Sent::{Pool as OfPool, Set, Vm, VmOfPool, VmiOfSet, VmiOfVm};

fn owned(mut object: Value, kind: &str, name: &str) -> Value {
    object["metadata"]["ownerReferences"] = json!([{"kind": kind, "name": name, "uid": "u", "controller": true}]);
    object
}

/// A guest that no node takes: no node has its machine type.
fn sent(sent: Sent) -> Value {
    let vm = vm("web", "host-model")
        .tweak(|vm| vm["spec"]["template"]["spec"]["domain"]["machine"] = json!({"type": "pc-q35-none"}));
    let vmi = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"namespace": "shop", "name": "web"}, "spec": vm["spec"]["template"]["spec"],
    });
    match sent {
        Vm => vm,
        Set => replica_set(&vm),
        OfPool => vm_pool(&vm),
        Sent::Vmi => vmi,
        VmiOfVm => owned(vmi, "VirtualMachine", "web"),
        VmiOfSet => owned(vmi, "VirtualMachineInstanceReplicaSet", "webs"),
        VmOfPool => owned(vm, "VirtualMachinePool", "webs"),
    }
}

fn stored(object: &Value) -> ClusterObject {
    let object = object.clone();
    match object["kind"].as_str().unwrap_or_default() {
        "VirtualMachine" => ClusterObject::VirtualMachine(Box::new(read(object))),
        "VirtualMachineInstance" => vmi(object),
        "VirtualMachinePool" => ClusterObject::Replicas(Box::new(read::<Pool>(object).into())),
        _ => ClusterObject::Replicas(Box::new(read::<ReplicaSet>(object).into())),
    }
}

fn named(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = json!(name);
    object
}

/// The commands of the remedies, and the warnings.
fn shown(case: &Evaluation<'_>) -> (Vec<String>, Vec<String>) {
    let remedies = case.verdict.findings.iter().flat_map(|finding| &finding.remedies);
    let commands = remedies.flat_map(|remedy| remedy.action.commands(&case.prepared.subject).lines()).collect();
    (commands, case.decision.warnings())
}

fn nodes() -> Vec<Node> {
    ["n1", "n2", "n3"]
        .map(|name| cascade_lake(name).tweak(|node| set(node, "machine-type.node.kubevirt.io/q35", "true")))
        .into()
}

fn reviewed(world: &World, review: &Value) -> (Vec<String>, Vec<String>) {
    let bytes = review.to_string();
    let request = review::decode(bytes.as_bytes()).expect("a review");
    shown(&case(world, &request).expect("an answer").expect("our concern"))
}

fn checked(world: &World, object: &Value) -> (Vec<String>, Vec<String>) {
    let manifest = match stored(object) {
        ClusterObject::VirtualMachine(vm) => Manifest::VirtualMachine(vm),
        ClusterObject::Vmi(vmi) => Manifest::Vmi(vmi),
        ClusterObject::Replicas(replicas) => Manifest::Replicas(replicas),
        _ => panic!("{object}"),
    };
    shown(&judge(world, &manifest, &UserName::from(""), Depth::Full).expect("it is judged"))
}

const IN_VM: &str = "spec.template.spec.domain.machine.type";
const IN_POOL: &str = "spec.virtualMachineTemplate.spec.template.spec.domain.machine.type";

#[rstest]
#[case::vm(Vm, IN_VM, "kubectl patch vm web -n shop ")]
#[case::replica_set(Set, IN_VM, "kubectl patch vmirs web -n shop ")]
#[case::pool(OfPool, IN_POOL, "kubectl patch vmpool web -n shop ")]
#[case::vmi(Sent::Vmi, "spec.domain.machine.type", "# set spec.domain.machine.type to q35 and create the guest again")]
fn remedies_for_a_submitted_object_change_its_manifest(#[case] kind: Sent, #[case] field: &str, #[case] patch: &str) {
    let object = sent(kind);
    let cluster =
        |objects: Vec<ClusterObject>| World { cluster: cluster("1.9.0", nodes(), objects), policies: Vec::new() };
    let (empty, full) = (cluster(Vec::new()), cluster(vec![stored(&object)]));
    let edit = format!("# in the manifest set {field} to q35");
    for (commands, warnings) in [reviewed(&empty, &review(&object)), checked(&empty, &object)] {
        assert_eq!(commands, [edit.as_str()], "a command for what does not exist fails");
        let said = warnings.join("\n");
        assert!(said.contains(&edit[2..]), "the sender does not learn what to change: {said}");
        assert!(!said.contains("kubectl patch") && !said.contains("explain v"), "{said}");
    }
    // One of another name is not stored either.
    assert_eq!(checked(&full, &named(object.clone(), "other")).0, [edit.as_str()]);
    let (commands, _) = checked(&full, &object);
    assert!(commands[0].starts_with(patch), "the person edits a file, and the stored object stays: {commands:?}");
    if kind != Sent::Vmi {
        let place = format!("/{}", field.trim_end_matches(".machine.type").replace('.', "/"));
        let old = object.clone().tweak(|object| *object.pointer_mut(&place).expect("a domain") = json!({}));
        // A watch may not have seen it yet.
        for world in [&empty, &full] {
            let (commands, warnings) = reviewed(world, &update(&old, &object));
            assert!(commands[0].starts_with(patch), "{commands:?}");
            assert!(!warnings.join("\n").contains("manifest"), "{warnings:?}");
        }
    }
}

/// A guest that another object makes is changed in that object, which exists before it.
#[rstest]
#[case::vmi_of_a_vm(VmiOfVm, Vm, "web", "kubectl patch vm web -n shop ")]
#[case::vmi_of_a_replica_set(VmiOfSet, Set, "webs", "kubectl patch vmirs webs -n shop ")]
#[case::vm_of_a_pool(VmOfPool, OfPool, "webs", "kubectl patch vmpool webs -n shop ")]
fn remedies_for_an_owned_object_change_its_owner(
    #[case] kind: Sent,
    #[case] by: Sent,
    #[case] name: &str,
    #[case] patch: &str,
) {
    let (object, maker) = (sent(kind), named(sent(by), name));
    let world = World { cluster: cluster("1.9.0", nodes(), [stored(&maker)]), policies: Vec::new() };
    for (commands, _) in [reviewed(&world, &review(&object)), checked(&world, &object)] {
        assert!(commands[0].starts_with(patch), "{commands:?}");
    }
    let empty = World { cluster: cluster("1.9.0", nodes(), Vec::new()), policies: Vec::new() };
    let (commands, _) = checked(&empty, &object);
    assert!(commands[0].starts_with("# in the manifest set spec."), "its maker does not exist: {commands:?}");
}

/// A migration is about a guest that exists; so is one that is not stored itself.
#[test]
fn the_guest_of_a_migration_exists() {
    let db = running("db", "n1", "Icelake-Server-noTSX");
    let world = World { cluster: cluster("1.9.0", nodes(), [vmi(db)]), policies: Vec::new() };
    let (commands, _) = reviewed(&world, &review(&migration("db")));
    assert!(commands.iter().any(|line| line.starts_with("kubectl patch vm db -n shop ")), "{commands:?}");
    let alone = owned(running("db", "n1", "Icelake-Server-noTSX"), ReplicasKind::ReplicaSet.kind(), "dbs");
    let world = World { cluster: cluster("1.9.0", nodes(), [vmi(alone)]), policies: Vec::new() };
    let (commands, _) = reviewed(&world, &review(&migration("db")));
    let patch = commands.iter().position(|line| line.starts_with("kubectl patch vmirs dbs -n shop "));
    let again = commands.iter().position(|line| line.starts_with("kubectl delete vmi db -n shop "));
    assert!(patch.is_some() && again > patch, "the replica set makes it again as it was: {commands:?}");
}
