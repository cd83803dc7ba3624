//! Tests of enforcement's guarantees, over many fleets, guests and policies.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use super::{applied, defaulted, sent, world};
use crate::enforce::forecast;
use crate::enforce::model::{Common, common_model};
use crate::enforce::trim::trim;
use crate::fit::bits::Bits;
use crate::fit::judgement::Depth;
use crate::fit::label::Family;
use crate::fit::node::Node;
use crate::judge::{Manifest, judge};
use crate::kubevirt::cluster::ClusterObject;
use crate::kubevirt::placement;
use crate::kubevirt::subject;
use crate::kubevirt::wire::{Pod, VirtualMachine, Vmi};
use crate::policy::{Policy, UserName};
use crate::testing::Tweak;
use crate::testing::cluster::{migration, read, read_policy, running, vmi};
use crate::testing::fleet::{
    arm, cascade_lake, cordon, feature, ice_lake, known, machine, model, rome, skylake, take, vendor,
};
use crate::well_known::{DROPPED_SELECTORS, RELAX};
use crate::world::World;

/// Runs a property over situations that are the same at each run.
fn always<T: std::fmt::Debug>(
    cases: u32,
    situations: &impl Strategy<Value = T>,
    property: impl Fn(&T) -> Result<(), TestCaseError>,
) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    if let Err(error) = runner.run(situations, |situation| property(&situation)) {
        panic!("{error}");
    }
}

const MODELS: [&str; 5] =
    ["Skylake-Server-noTSX-IBRS", "Cascadelake-Server-noTSX", "Icelake-Server-noTSX", "EPYC-Rome", "EPYC-Turin"];
const KINDS: [fn(&str) -> Node; 5] = [cascade_lake, skylake, ice_lake, rome, arm];

/// Generates nodes of several kinds; some cordoned, some with missing labels.
fn nodes() -> impl Strategy<Value = Vec<Node>> {
    let lost = prop_oneof![
        3 => Just(Vec::new()),
        1 => subsequence(vec![feature("fpu"), feature("vme"), feature("hle"), model(MODELS[0])], 0..3)
    ];
    let kind = prop_oneof![3 => Just(0_usize), 2 => Just(1), 2 => Just(2), 2 => Just(3), 1 => Just(4)];
    prop::collection::vec((kind, lost, prop::bool::weighted(0.2)), 1..8).prop_map(|nodes| {
        let node = |(at, (kind, lost, cordoned)): (usize, (usize, Vec<String>, bool))| {
            KINDS[kind](&format!("n{at}")).tweak(|node| {
                take(node, &lost);
                if cordoned {
                    cordon(node);
                }
            })
        };
        nodes.into_iter().enumerate().map(node).collect()
    })
}

fn guest() -> impl Strategy<Value = Value> {
    let own = prop_oneof![
        2 => Just(Value::Null), 2 => Just(json!("host-model")), 1 => Just(json!("")), 1 => Just(json!("host-passthrough")),
        1 => select(&MODELS[..]).prop_map(|name| json!(name))
    ];
    let features = subsequence(vec!["fpu", "hle", "clzero"], 0..2);
    let policy_of = select(vec!["require", "", "optional", "forbid"]);
    let selector = prop_oneof![
        5 => Just(Value::Null), 1 => Just(json!({vendor("AMD"): "true"})), 1 => Just(json!({vendor("Intel"): "true"})),
        1 => Just(json!({"kubernetes.io/hostname": "n1"}))
    ];
    (own, features, policy_of, selector, prop::bool::weighted(0.2)).prop_map(
        |(own, features, word, selector, no_cpu)| {
            let features: Vec<Value> = features.iter().map(|name| json!({"name": name, "policy": word})).collect();
            let cpu = if no_cpu { Value::Null } else { json!({"model": own, "features": features}) };
            sent(&cpu).tweak(|vmi| vmi["spec"]["nodeSelector"] = selector)
        },
    )
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let one = (
        select(&MODELS[..]),
        prop_oneof![
            1 => subsequence(vec!["Unset", "HostModel", "HostPassthrough", "Named"], 0..=4),
            2 => Just(vec!["Unset", "HostModel", "HostPassthrough", "Named"])
        ],
        select(vec!["Allow", "Warn", "Deny"]),
        select(vec!["None", "Unschedulable", "Pinned", "Fragile"]),
        select(vec!["", "", "Intel", "AMD"]),
    );
    prop::collection::vec(one, 1..3).prop_map(|all| {
        let of = |(at, (name, replaces, otherwise, enforce, pool)): (usize, (&str, Vec<&str>, &str, &str, &str))| {
            let mut spec = json!({
                "enforce": enforce, "commonModel": {"name": name, "replaces": replaces, "otherwise": otherwise},
            });
            if !pool.is_empty() {
                spec["nodeSelector"] = json!({"matchLabels": {vendor(pool): "true"}});
            }
            read_policy(&format!("policy-{at}"), &spec)
        };
        all.into_iter().enumerate().map(of).collect()
    })
}

fn situation() -> impl Strategy<Value = (Vec<Node>, Value, Vec<Policy>)> {
    (nodes(), guest(), policies())
}

/// Returns the policy that the webhook uses, and its decision.
fn decided(world: &World, object: &Value) -> (Policy, Common, Value) {
    let manifest = Manifest::Vmi(Box::new(read(object.clone())));
    let patch = crate::judge::mutation(world, &manifest, &UserName::from(""), Depth::Brief.into(), || {
        serde_json::from_value(object.clone())
    });
    let after = applied(object, &patch.expect("the object").patch);
    let named = after["metadata"]["annotations"][crate::well_known::POLICY.key].as_str();
    let governing = world.policies.iter().find(|policy| Some(policy.name.as_str()) == named);
    let policy = governing.or(world.policies.first()).cloned().unwrap_or_else(Policy::builtin);
    let common = common_model(world, &policy, &read(object.clone()), Depth::Brief.into());
    (policy, common, after)
}

fn denies(world: &World, object: &Value) -> bool {
    let manifest = Manifest::Vmi(Box::new(read(object.clone())));
    let case = judge(world, &manifest, &UserName::from(""), Depth::Brief).expect("a VMI is judged");
    matches!(case.decision, crate::admission::response::Decision::Deny { .. })
}

#[test]
fn a_mutation_is_idempotent_also_after_kubevirts_defaulting() {
    always(400, &situation(), |(nodes, object, policies)| {
        let world = world(nodes.clone(), Vec::new(), policies.clone());
        let (.., after) = decided(&world, object);
        for again in [after.clone(), defaulted(&after, &world)] {
            prop_assert_eq!(decided(&world, &again).2, again, "the second call changes what the first one left");
        }
        Ok(())
    });
}

#[test]
fn a_mutated_guest_is_never_worse_off_nor_denied_for_it() {
    let written = std::cell::Cell::new(0);
    always(800, &situation(), |(nodes, object, policies)| {
        let world = world(nodes.clone(), Vec::new(), policies.clone());
        let (.., after) = decided(&world, object);
        if after["spec"] == object["spec"] {
            return Ok(());
        }
        written.set(written.get() + 1);
        let impact = |object: &Value| {
            subject::of_vmi(&read::<Vmi>(object.clone()), &world.cluster).assess(&world.cluster).outcome.impact()
        };
        prop_assert!(impact(&after) <= impact(object), "{:?} was {:?}", impact(&after), impact(object));
        let final_form = defaulted(&after, &world);
        prop_assert!(
            denies(&world, &defaulted(object, &world)) || !denies(&world, &final_form),
            "it would have passed"
        );
        Ok(())
    });
    assert!(written.get() > 80, "{} guests were changed: too few to trust it", written.get());
}

/// The message to the VM's owner matches the guest at each start; the VM is never changed.
#[test]
fn a_vm_is_judged_as_the_guest_that_its_vmi_becomes() {
    always(300, &situation(), |(nodes, object, policies)| {
        let world = world(nodes.clone(), Vec::new(), policies.clone());
        let vm: VirtualMachine = read(json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"template": {"metadata": {"labels": {"app": "web"}}, "spec": object["spec"]}},
        }));
        let (policy, common, after) = decided(&world, object);
        let forecast = forecast::of_vm(&world, &policy, &vm, Depth::Brief.into());
        prop_assert_eq!(&forecast.common, &common);
        if let Some(replacement) = forecast.replacement {
            let guest = subject::of_vmi(&read::<Vmi>(after.clone()), &world.cluster);
            prop_assert_eq!(replacement.subject.placement, guest.subject.placement);
            prop_assert_eq!(replacement.subject.mode, guest.subject.mode);
            prop_assert_eq!(decided(&world, object).2, after, "the second start gives another CPU");
        }
        Ok(())
    });
}

/// Generates a target pod with inherited entries, its guest's model, the policy's setting, and whether it is
/// relaxed.
fn target() -> impl Strategy<Value = (Vec<Node>, Vec<String>, &'static str, &'static str, bool, bool)> {
    let of_cpu = ["fpu", "vme", "hle", "gfni", "amd-stibp", "gone"].map(feature);
    let others = [
        known("Cascadelake-Server"),
        known("Gone"),
        model(MODELS[0]),
        vendor("Intel"),
        machine("q35"),
        "zone".to_owned(),
    ];
    let entries = subsequence([of_cpu.to_vec(), others.to_vec()].concat(), 0..=12);
    let mode = select(vec!["host-model", "host-model", MODELS[0], "host-passthrough"]);
    (nodes(), entries, mode, select(vec!["Keep", "DropStale", "Common"]), any::<bool>(), any::<bool>())
}

#[test]
fn trimming_only_adds_nodes_and_keeps_entries_that_are_not_of_the_cpu() {
    let cut = std::cell::Cell::new(0);
    always(600, &target(), |(nodes, entries, mode, word, relax, requires)| {
        let guest = running("db", "n0", mode).tweak(|vmi| {
            if *requires {
                vmi["spec"]["domain"]["cpu"]["features"] = json!([{"name": "fpu"}]);
            }
        });
        let job = migration("db").tweak(|vmim| vmim["metadata"]["annotations"] = json!({RELAX.key: relax.to_string()}));
        let policy = read_policy("pool", &json!({"launcherSelectors": word, "commonModel": {"name": MODELS[0]}}));
        let objects = vec![vmi(guest), ClusterObject::Migration(Box::new(read(job)))];
        let world = world(nodes.clone(), objects, vec![policy.clone()]);
        let selector: serde_json::Map<String, Value> = entries.iter().map(|key| (key.clone(), json!("true"))).collect();
        let pod = json!({
            "metadata": {
                "namespace": "shop", "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "job"},
                "annotations": {"kubevirt.io/migrationJobName": "migrate-db"},
                "ownerReferences": [{"kind": "VirtualMachineInstance", "name": "db", "uid": "uid-db"}],
            },
            "spec": {"nodeSelector": selector},
        });
        let text = pod.to_string();
        let before: Pod<'_> = serde_json::from_str(&text).expect("a pod");
        let out = trim(&world, &policy, &before);
        let after_text = applied(&pod, &out.patch(&before)).to_string();
        let after: Pod<'_> = serde_json::from_str(&after_text).expect("a pod");
        let dropped: Vec<&str> = out.dropped().into_iter().map(|(key, _)| key.as_str()).collect();

        let fleet = &world.cluster.fleet;
        let fits = |pod: &Pod<'_>| fleet.look_up(&placement::of_pod(pod)).passes().fitting;
        let mut lost: Bits = fits(&before);
        lost.subtract(&fits(&after));
        prop_assert!(lost.is_empty(), "nodes are shut out: {dropped:?}");
        for key in &dropped {
            prop_assert!(matches!(Family::of(key), Family::CpuFeature | Family::CpuModelMigration), "{key} must stay");
            prop_assert!(!(*requires && *key == feature("fpu")), "the guest's own feature must stay");
        }
        let features = |pod: &Pod<'_>| {
            pod.spec.node_selector.0.iter().filter(|(key, _)| Family::of(key) == Family::CpuFeature).count()
        };
        match *mode {
            "host-passthrough" => prop_assert!(dropped.is_empty(), "a guest at risk: {dropped:?}"),
            "host-model" if !dropped.is_empty() => {
                prop_assert!(features(&after) > 0, "the guess is reset: {dropped:?}");
            }
            _ => {}
        }
        if *word == "Keep" && !relax {
            prop_assert!(out.patch(&before).is_empty(), "Keep keeps all");
        }
        prop_assert_eq!(DROPPED_SELECTORS.is_set(&after.metadata.annotations), !dropped.is_empty());
        prop_assert!(trim(&world, &policy, &after).patch(&after).is_empty(), "a second call drops more");
        cut.set(cut.get() + usize::from(!dropped.is_empty()));
        Ok(())
    });
    assert!(cut.get() > 60, "{} pods were trimmed: too few to trust it", cut.get());
}
