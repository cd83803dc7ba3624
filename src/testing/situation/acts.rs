//! Requests to the webhook: reviews of each kind and stage.

use serde_json::{Value, json};

use super::guests::{MODELS, pod, vm};
use super::nodes::ZONE;
use super::{NAMES, NAMESPACE, Situation, policies};
use crate::fit::label;
use crate::kubevirt::subject;
use crate::kubevirt::wire::{Vmi, Vmim};
use crate::testing::cluster::{read, replica_set, vm_pool};
use crate::testing::fleet::{feature, required, vendor};
use crate::testing::objects::create;
use crate::testing::random::{self, Random};
use crate::world::World;

/// The senders.
const PERSON: &str = "kubernetes-admin";
const CONTROLLER: &str = "system:serviceaccount:kubevirt:kubevirt-controller";

/// Returns a replica set or a pool.
pub(super) fn replicas(random: &mut Random) -> Value {
    let mut vm = vm(random, "tellers");
    if random.percent(50) {
        vm["spec"].as_object_mut().into_iter().for_each(|spec| {
            spec.remove("instancetype");
            spec.remove("preference");
        });
        replica_set(&vm)
    } else {
        vm_pool(&vm)
    }
}

/// Returns a few reviews about the objects of a situation.
pub(super) fn reviews(random: &mut Random, situation: &Situation) -> Vec<Value> {
    let world = situation.world();
    let mut out = Vec::new();
    for object in &situation.objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        match object["kind"].as_str().unwrap_or_default() {
            "VirtualMachine" if random.percent(50) => out.push(of_vm(random, object)),
            "VirtualMachineInstanceReplicaSet" | "VirtualMachinePool" => {
                out.push(create(&renamed(object, random), PERSON));
            }
            "VirtualMachineInstance" => of_guest(random, &world, object, &mut out),
            "Pod" if random.percent(40) => out.push(eviction(random, name)),
            "CPUPolicy" if random.percent(40) => out.push(create(object, PERSON)),
            _ => {}
        }
    }
    if random.percent(25) && !situation.nodes.is_empty() {
        let at = random.below(situation.nodes.len());
        out.push(edited_node(random, &situation.nodes[at]));
    }
    if random.percent(15) {
        out.push(edited_kubevirt(random, situation));
    }
    if random.percent(10) {
        let pod = random::pod(random, "virt-launcher-ledger", &NAMES.map(str::to_owned));
        out.push(create(&pod, CONTROLLER));
    }
    if random.percent(10) {
        out.push(create(&policies::policy(random, "rules-new"), PERSON));
    }
    out
}

/// Returns an object, or one like it that does not exist yet.
fn renamed(object: &Value, random: &mut Random) -> Value {
    let mut out = object.clone();
    if random.percent(60) {
        let name = format!("{}-new", object["metadata"]["name"].as_str().unwrap_or_default());
        if let Some(owner) = out["metadata"]["ownerReferences"].get_mut(0) {
            owner["name"] = json!(name);
        }
        out["metadata"]["name"] = json!(name);
    }
    out
}

fn of_guest(random: &mut Random, world: &World, object: &Value, out: &mut Vec<Value>) {
    let guest: Vmi = read(object.clone());
    let runs = guest.status.phase == "Running";
    if !runs && random.percent(60) {
        let user = random.one(&[PERSON, CONTROLLER]);
        out.push(create(&renamed(object, random), user));
        if let Some(rendered) = subject::of_vmi(&guest, &world.cluster).predicted {
            let mut fresh = guest.clone();
            fresh.status.node_name.clear();
            out.push(create(&pod(&fresh, &rendered, "start"), CONTROLLER));
        }
    }
    if random.percent(if runs { 75 } else { 20 }) {
        let asked = migration(random, &guest.metadata.name);
        out.push(create(&asked, random.one(&[PERSON, PERSON, CONTROLLER])));
        let vmim: Vmim = read(asked);
        if let Some(rendered) = subject::of_migration(&vmim, &world.cluster).predicted.filter(|_| random.percent(60)) {
            let mut target = pod(&guest, &rendered, "target");
            target["spec"]["nodeName"] = Value::Null;
            let labels = &mut target["metadata"]["labels"];
            labels["kubevirt.io/migrationJobUID"] = json!("job-1");
            labels["kubevirt.io/nodeName"] = json!(guest.status.node_name);
            target["metadata"]["annotations"] = json!({"kubevirt.io/migrationJobName": vmim.metadata.name});
            out.push(create(&target, CONTROLLER));
        }
    }
}

fn of_vm(random: &mut Random, object: &Value) -> Value {
    if random.percent(70) {
        return create(&renamed(object, random), random.one(&[PERSON, PERSON, CONTROLLER]));
    }
    let mut after = object.clone();
    after["spec"]["template"]["spec"]["domain"]["cpu"]["model"] = json!(random.one(&MODELS));
    if after["spec"]["instancetype"].is_object() {
        after = object.clone();
        after["spec"]["template"]["spec"]["nodeSelector"] = json!({ZONE: "z2"});
    }
    update(object, &after)
}

fn migration(random: &mut Random, guest: &str) -> Value {
    let mut vmim = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
        "metadata": {"namespace": NAMESPACE, "name": format!("move-{guest}"), "uid": "job-1"},
        "spec": {"vmiName": guest},
    });
    if random.percent(25) {
        let added = match random.below(4) {
            0 => json!({ZONE: random.one(&["z1", "z2", "z9"])}),
            1 => json!({label::HOSTNAME: random.one(&NAMES)}),
            2 => json!({vendor("AMD"): "true"}),
            _ => json!({feature("gfni"): "true", ZONE: "z1"}),
        };
        vmim["spec"]["addedNodeSelector"] = added;
    }
    match random.below(100) {
        0..=2 => vmim["spec"]["receive"] = json!({"migrationID": "m"}),
        3..=4 => vmim["spec"]["sendTo"] = json!({"migrationID": "m"}),
        5..=9 => vmim["metadata"]["annotations"] = json!({"cpufit.io/relax": "true"}),
        _ => {}
    }
    vmim
}

fn edited_node(random: &mut Random, node: &Value) -> Value {
    let mut after = node.clone();
    let labels = &mut after["metadata"]["labels"];
    match random.below(6) {
        0 => after["spec"]["unschedulable"] = json!(true),
        1 => after["spec"]["unschedulable"] = json!(false),
        2 => {
            let lost = random.one(&["fpu", "vme", "aes"]);
            for key in [feature(lost), required(lost)] {
                labels.as_object_mut().and_then(|labels| labels.remove(&key));
            }
        }
        3 => labels[feature("vme")] = json!("true"),
        4 => labels[ZONE] = json!("z2"),
        _ => after["spec"]["taints"] = json!([{"key": "example.com/dedicated", "effect": "NoExecute"}]),
    }
    if random.percent(30) {
        after["metadata"]["annotations"] = json!({label::SKIP_NODE: "true"});
    }
    update(node, &after)
}

fn edited_kubevirt(random: &mut Random, situation: &Situation) -> Value {
    let fresh = policies::kubevirt(random);
    let before = situation.find("KubeVirt", "kubevirt").cloned().unwrap_or(fresh);
    let mut after = before.clone();
    after["spec"]["configuration"]["cpuModel"] =
        json!(random.one(&[MODELS[0], MODELS[2], MODELS[3], MODELS[4], "", "host-passthrough"]));
    update(&before, &after)
}

fn eviction(random: &mut Random, pod: &str) -> Value {
    let dry_run = if random.percent(20) { json!(["All"]) } else { json!([]) };
    let object = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE},
        "deleteOptions": {"dryRun": dry_run},
    });
    let mut review = create(&object, PERSON);
    review["request"]["subResource"] = json!("eviction");
    review["request"]["resource"] = json!({"group": "", "version": "v1", "resource": "pods"});
    review
}

fn update(before: &Value, after: &Value) -> Value {
    let mut review = create(after, PERSON);
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["oldObject"] = before.clone();
    review
}
