//! A guest that is denied while its instancetype or preference is not known would be denied with any such object too,
//! or KubeVirt would start it nowhere: nothing that a user creates later frees it, so nothing wrong is denied.

use serde_json::{Value, json};

use crate::fit::judgement::Depth;
use crate::fit::label;
use crate::judge::{self, Evaluation, Manifest};
use crate::kubevirt::cluster::ClusterObject;
use crate::policy::{Grounds, Ruling, UserName};
use crate::testing::at_least;
use crate::testing::objects::policy;
use crate::testing::random::Random;
use crate::testing::situation::{Situation, object};
use crate::testing::thorough::one_in;
use crate::world::World;

/// Number of situations tried.
const SITUATIONS: u64 = 1_200;
/// Number of objects tried for each guest.
const TYPES: usize = 6;

const MODELS: [&str; 5] =
    ["host-model", "host-passthrough", "Skylake-Server-noTSX-IBRS", "Cascadelake-Server-noTSX", "EPYC-Turin"];
const FEATURES: [&str; 8] = ["fpu", "vme", "gfni", "svm", "vmx", "invtsc", "hle", "gone"];

/// Returns the specification of an instancetype.
fn instancetype(random: &mut Random) -> Value {
    let mut spec = json!({"cpu": {"guest": 2}});
    if random.percent(40) {
        spec["cpu"]["model"] = json!(random.one(&MODELS));
    }
    if random.percent(20) {
        spec["cpu"]["dedicatedCPUPlacement"] = json!(random.percent(70));
        spec["cpu"]["realtime"] = json!({});
    }
    if random.percent(40) {
        let selectors = [
            json!({"topology.kubernetes.io/zone": "z1"}),
            json!({label::ARCH: random.one(&["arm64", "amd64", "s390x"])}),
            json!({label::HOSTNAME: "quux"}),
            json!({"cpu-feature.node.kubevirt.io/gfni": random.one(&["true", "false", ""])}),
            json!({"cpu-vendor.node.kubevirt.io/AMD": "true"}),
            json!({}),
        ];
        spec["nodeSelector"] = selectors[random.below(6)].clone();
    }
    if random.percent(15) {
        spec["launchSecurity"] = json!({"sev": {}});
    }
    spec
}

/// Returns the specification of a preference.
fn preference(random: &mut Random) -> Value {
    let mut spec = json!({});
    if random.percent(50) {
        let policies = ["require", "", "optional", "force", "forbid", "disable"];
        let features = random.some(3, |random| json!({"name": random.one(&FEATURES), "policy": random.one(&policies)}));
        spec["cpu"]["preferredCPUFeatures"] = json!(features);
    }
    if random.percent(50) {
        let names =
            ["vpindex", "synic", "synictimer", "vapic", "reenlightenment", "frequencies", "ipi", "tlbflush", "evmcs"];
        for _ in 0..=random.below(4) {
            let state = if random.percent(30) { json!({}) } else { json!({"enabled": random.percent(50)}) };
            spec["features"]["preferredHyperv"][random.one(&names)] = state;
        }
    }
    if random.percent(40) {
        spec["machine"] = json!({"preferredMachineType": random.one(&["q35", "pc-q35-9.2", "virt"])});
    }
    if random.percent(40) {
        spec["preferredArchitecture"] = json!(random.one(&["amd64", "arm64", "s390x"]));
    }
    if random.percent(15) {
        spec["preferredLaunchSecurity"] = json!({"sev": {}});
    }
    spec
}

/// Returns the object that a VM names in this field.
fn named(field: &str, spec: &Value) -> Value {
    let kind =
        if field == "instancetype" { "VirtualMachineClusterInstancetype" } else { "VirtualMachineClusterPreference" };
    json!({
        "apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": kind,
        "metadata": {"name": format!("later-{field}")}, "spec": spec,
    })
}

/// Changes a template so that policies often deny it.
fn worsen(random: &mut Random, template: &mut Value) {
    let cpu = &mut template["spec"]["domain"]["cpu"];
    if random.percent(40) {
        cpu["model"] = json!(random.one(&["EPYC-Turin", "host-passthrough", "Icelake-Server-noTSX", "Penryn"]));
    }
    if random.percent(40) {
        let policy = random.one(&["require", "", "forbid"]);
        cpu["features"] = json!([{"name": random.one(&FEATURES), "policy": policy}]);
    }
    if random.percent(20) {
        template["spec"]["domain"]["features"] = json!({"hyperv": {"evmcs": {}, "tlbflush": {}}});
    }
    if random.percent(50) {
        template["spec"]["architecture"] = json!("amd64");
    }
}

/// Returns policies that deny, some of them for one vendor's nodes.
fn policies(random: &mut Random) -> Vec<Value> {
    let dials = ["Unschedulable", "Pinned", "Fragile", "None"];
    let one = |random: &mut Random, name: &str| {
        let mut spec = json!({"enforce": random.one(&dials), "warn": "None"});
        if random.percent(60) {
            let replaces = [json!(["Unset"]), json!(["Unset", "HostModel"]), json!(["HostPassthrough", "Named"])];
            spec["commonModel"] =
                json!({"name": MODELS[2], "replaces": replaces[random.below(3)], "otherwise": "Deny"});
        }
        if random.percent(50) {
            let vendor = random.one(&["Intel", "AMD"]);
            spec["nodeSelector"] = json!({"matchLabels": {format!("cpu-vendor.node.kubevirt.io/{vendor}"): "true"}});
        }
        policy(name, &spec)
    };
    vec![one(random, "a-strict"), one(random, "b-strict")]
}

fn judged(world: &World, json: &Value) -> Option<Evaluation<'static>> {
    let manifest = match object(json)? {
        ClusterObject::VirtualMachine(vm) => Manifest::VirtualMachine(vm),
        ClusterObject::Replicas(replicas) => Manifest::Replicas(replicas),
        _ => return None,
    };
    judge::judge(world, &manifest, &UserName::from("kubernetes-admin"), Depth::Brief)
}

fn grounds(case: &Evaluation<'_>) -> Option<Grounds> {
    match case.ruling {
        Ruling::Deny { grounds, .. } => Some(grounds),
        Ruling::Exempt | Ruling::Admit { .. } => None,
    }
}

#[test]
fn a_denial_by_the_template_alone_holds_for_every_type_that_may_come() {
    let (mut by_impact, mut by_model, mut again) = (0, 0, 0);
    for seed in (0..SITUATIONS).step_by(one_in()) {
        let mut situation = Situation::new(seed);
        let random = &mut Random::new(seed ^ 0x7e5);
        situation.objects.retain(|object| object["kind"] != "CPUPolicy");
        situation.objects.extend(policies(random));
        let kinds = ["VirtualMachine", "VirtualMachinePool"];
        let found: Vec<Value> = situation
            .objects
            .iter()
            .filter(|object| kinds.iter().any(|kind| object["kind"] == *kind))
            .cloned()
            .collect();
        for mut sent in found {
            let spec = if sent["kind"] == "VirtualMachine" {
                &mut sent["spec"]
            } else {
                &mut sent["spec"]["virtualMachineTemplate"]["spec"]
            };
            worsen(random, &mut spec["template"]);
            let fields: &[&str] =
                random.one(&[&["instancetype"][..], &["preference"], &["instancetype", "preference"]]);
            for field in fields {
                spec[*field] = json!({"name": format!("later-{field}")});
            }
            sent["metadata"]["name"] = json!("another");
            let alone = judged(&situation.world(), &sent).expect("a guest");
            let Some(why) = grounds(&alone) else { continue };
            *(if why == Grounds::Impact { &mut by_impact } else { &mut by_model }) += 1;
            for _ in 0..TYPES {
                let mut later = situation.clone();
                for field in fields {
                    let spec = if *field == "instancetype" { instancetype(random) } else { preference(random) };
                    later.objects.push(named(field, &spec));
                }
                let known = judged(&later.world(), &sent).expect("a guest");
                let starts = !known.prepared.subject.is_refused && !known.verdict.assessment.fitting.is_empty();
                assert!(
                    grounds(&known).is_some() || !starts,
                    "{seed}: denied for {why:?} for a name alone, and admitted with\n{:#?}\n{sent}\n{:?}\n{}",
                    &later.objects[situation.objects.len()..],
                    known.verdict.assessment.outcome,
                    later.brief(),
                );
                again += usize::from(grounds(&known).is_some());
            }
        }
    }
    assert!(
        by_impact.min(by_model) >= at_least(50) && again >= at_least(2_000),
        "{by_impact} were denied for their impact and {by_model} for their model, {again} again: too few to trust them"
    );
}
