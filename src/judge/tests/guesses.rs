//! Guests that are judged by an object which is not known: a policy never denies them for that.

use super::*;
use crate::bounds::Bounded;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::release::Release;
use crate::kubevirt::revision::Revision;
use crate::kubevirt::wire::MetaOnly;

const NONE_HAS: &str = "EPYC-Turin";
const ALL_HAVE: &str = "Skylake-Server-noTSX-IBRS";

fn instancetype(model: &str) -> ClusterObject {
    let instancetype = json!({"metadata": {"name": "large"}, "spec": {"cpu": {"model": model}}});
    ClusterObject::Instancetype(read(instancetype))
}

/// Returns the copy of instancetype `large` that the guests are pinned to.
fn revision(model: &str) -> ClusterObject {
    let data = json!({"apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": "VirtualMachineClusterInstancetype",
        "metadata": {"name": "large"}, "spec": {"cpu": {"model": model}}});
    let copy = json!({"metadata": {"name": "db-large-1", "namespace": "shop"}, "data": data});
    ClusterObject::Revision(Revision::read(read(copy)).expect("a copy of an instancetype"))
}

fn preference(feature: &str) -> ClusterObject {
    let spec = json!({"cpu": {"preferredCPUFeatures": [{"name": feature}]}});
    ClusterObject::Preference(read(json!({"metadata": {"name": "linux"}, "spec": spec})))
}

fn pinned(field: &str, name: &str) -> Value {
    vm("db", "").tweak(|vm| vm["spec"][field] = json!({"name": name, "revisionName": "db-large-1"}))
}

/// The objects as a user sends them, and as a user changes them.
fn sent(vm: &Value) -> Vec<Value> {
    // Before, nothing was to be denied.
    let before = super::vm("db", ALL_HAVE);
    let after = vm.clone();
    vec![review(vm), review(&vm_pool(vm)), update(&before, &after)]
}

fn strict(common: Option<&Value>) -> Policy {
    let mut spec = json!({"enforce": "Fragile", "warn": "None"});
    if let Some(common) = common {
        spec["commonModel"] = common.clone();
    }
    read_policy("strict", &spec)
}

/// Each row: the guest, the objects that are there, and the policy; with the revision at hand the policy denies.
#[rstest]
#[case::instancetype("instancetype", "large", vec![instancetype(NONE_HAS)], Some(revision(NONE_HAS)), None)]
#[case::its_common_model("instancetype", "large", vec![instancetype(NONE_HAS)], Some(revision(NONE_HAS)),
    Some(json!({"name": ALL_HAVE, "otherwise": "Deny"})))]
#[case::a_mode_that_it_does_not_replace("instancetype", "large", vec![instancetype("host-passthrough")],
    Some(revision("host-passthrough")), Some(json!({"name": ALL_HAVE, "replaces": ["Unset"], "otherwise": "Deny"})))]
#[case::preference("preference", "linux", vec![preference("of-no-node")], None, None)]
fn a_guess_denies_nothing(
    #[case] field: &str,
    #[case] name: &str,
    #[case] objects: Vec<ClusterObject>,
    #[case] revision: Option<ClusterObject>,
    #[case] common: Option<Value>,
) {
    let world = |objects: Vec<ClusterObject>| World {
        policies: vec![strict(common.as_ref())],
        ..super::world(intel(), objects, None)
    };
    let guessed = world(objects.clone());
    let vm = pinned(field, name);
    for asked in sent(&vm) {
        let kind = &asked["request"]["kind"]["kind"];
        let warnings = admitted(&guessed, &asked);
        assert!(
            warnings.iter().any(|line| line.contains("db-large-1, which is not known")),
            "{kind}: nobody learns that the verdict is an assumption: {warnings:?}"
        );
        assert!(warnings.len() > 1, "{kind}: the verdict itself is no longer said: {warnings:?}");
        if let Some(revision) = &revision {
            let known = world(objects.iter().cloned().chain([revision.clone()]).collect());
            assert!(denied(&known, &asked).is_some(), "{kind}: a pin to a revision is a way around the policy");
        }
    }
    // Without a pin the object itself is what KubeVirt uses.
    let plain = vm.tweak(|vm| drop(vm["spec"][field]["revisionName"].take()));
    assert!(denied(&guessed, &review(&plain)).is_some(), "a known object counts");
}

/// The launcher holds the entries that a guest inherited: without it they are not known.
#[test]
fn a_migration_is_denied_only_if_its_launcher_is_known() {
    let db = running("db", "node-a", "host-model");
    let nodes = || intel().tweak(|nodes| nodes.truncate(2));
    let asked = review(&migration("db"));
    let with = |objects| world(nodes(), objects, Some(Impact::Fragile));
    assert!(denied(&with(vec![vmi(db.clone()), launcher(&db, [feature("hle")])]), &asked).is_some());
    let warnings = admitted(&with(vec![vmi(db)]), &asked);
    assert!(warnings.iter().any(|line| line.contains("launcher pod is not known")), "{warnings:?}");
}

/// Labels of the namespace that were not read may make another policy the guest's, if one selects by them.
#[rstest]
#[case::few(3, true, true)]
#[case::more_than_are_read(crate::bounds::LABELS + 1, true, false)]
#[case::more_than_are_read_that_no_policy_selects(crate::bounds::LABELS + 1, false, true)]
fn a_guest_whose_namespace_may_have_another_policy_is_not_denied(
    #[case] labels: usize,
    #[case] is_selected: bool,
    #[case] expected: bool,
) {
    let labels: serde_json::Map<String, Value> = (0..labels).map(|at| (format!("key-{at}"), json!("x"))).collect();
    let json = json!({"metadata": {"name": "shop", "labels": labels}}).to_string();
    let Bounded(namespace): Bounded<MetaOnly> = serde_json::from_str(&json).expect("a namespace");
    let other = read_policy("other", &json!({"namespaceSelector": {"matchLabels": {"env": "test"}}}));
    let policies = [Some(strict(None)), is_selected.then_some(other)];
    let world = World {
        policies: policies.into_iter().flatten().collect(),
        ..super::world(intel(), vec![ClusterObject::Namespace(namespace)], None)
    };
    for asked in [review(&vm("db", NONE_HAS)), review(&vm_pool(&vm("db", NONE_HAS)))] {
        assert_eq!(denied(&world, &asked).is_some(), expected, "another policy may govern the guest");
        if !expected {
            assert!(admitted(&world, &asked).len() > 1, "the verdict itself is no longer said");
        }
    }
}

/// Each row: the CPU model that the guest asks for, on two nodes of one vendor each, and whether the policy denies it
/// by the rules of the oldest and of the newest release that the cluster may have.
#[rstest]
#[case::by_the_newest_alone(ALL_HAVE, (false, true))]
#[case::by_both(NONE_HAS, (true, true))]
fn a_verdict_that_depends_on_an_assumed_release_is_not_denied(#[case] model: &str, #[case] denies: (bool, bool)) {
    // Since 1.6.4, a migration keeps to the vendor of its source.
    let amd = cascade_lake("amd-1").tweak(|node| {
        take(node, &[vendor("Intel")]);
        give(node, [vendor("AMD")]);
    });
    let nodes = [cascade_lake("intel-1"), amd];
    let by = |release: &str| World {
        cluster: Cluster::new(nodes.iter().cloned().map(ClusterObject::Node), Release::parse(release)),
        policies: vec![read_policy("strict", &json!({"enforce": "Pinned", "warn": "None"}))],
    };
    let asked = review(&vm("db", model));
    let is_denied = |world: &World| denied(world, &asked).is_some();
    assert_eq!((is_denied(&by("1.5.1")), is_denied(&by("1.9.0"))), denies);
    let assumed = by("");
    let expected = denies == (true, true);
    assert_eq!(is_denied(&assumed), expected, "a policy denies by a release that is only assumed");
    if !expected {
        let warnings = admitted(&assumed, &asked);
        assert!(warnings.iter().any(|line| line.contains("no KubeVirt version is known")), "{warnings:?}");
    }
    for release in ["1.10.0", "2.0.1", "v4.17.3"] {
        assert!(!is_denied(&by(release)), "{release}: a policy denies by rules that are not known to be those");
        let warnings = admitted(&by(release), &asked);
        assert!(warnings.iter().any(|line| line.contains("newer than the releases")), "{warnings:?}");
    }
    assert_eq!(is_denied(&by("1.9.7")), denies.1, "a later patch release is not enforced");
}

/// No instancetype or preference changes a model that the template states: one that exists only later hides nothing.
#[rstest]
#[case::preference("preference", "amd64", "host-passthrough", true)]
#[case::instancetype("instancetype", "amd64", "host-passthrough", true)]
#[case::a_model_that_is_replaced("preference", "amd64", "host-model", false)]
#[case::no_model_of_its_own("preference", "amd64", "", false)]
#[case::an_architecture_that_a_preference_may_set("preference", "", "host-passthrough", false)]
fn an_unknown_type_does_not_hide_the_guests_own_model(
    #[case] field: &str,
    #[case] architecture: &str,
    #[case] model: &str,
    #[case] is_denied: bool,
) {
    let common = json!({"name": ALL_HAVE, "replaces": ["Unset", "HostModel"], "otherwise": "Deny"});
    let world = World {
        policies: vec![read_policy("strict", &json!({"commonModel": common}))],
        ..super::world(intel(), Vec::new(), None)
    };
    let bad = vm("db", model).tweak(|vm| {
        vm["spec"][field] = json!({"name": "later"});
        vm["spec"]["template"]["spec"]["architecture"] = json!(architecture);
    });
    for asked in sent(&bad) {
        let denial = denied(&world, &asked);
        assert_eq!(denial.is_some(), is_denied, "{}: {denial:?}", asked["request"]["kind"]["kind"]);
    }
}

/// Each row: a field of the template by which no node takes the guest, and whether an instancetype or a preference may
/// lift it.
#[rstest]
#[case::a_model("domain.cpu.model", json!(NONE_HAS), [true, true])]
#[case::a_feature("domain.cpu.features", json!([{"name": "of-no-node", "policy": "require"}]), [true, true])]
#[case::a_forbidden_feature("domain.cpu.features", json!([{"name": "fpu", "policy": "forbid"}]), [true, true])]
#[case::a_feature_that_evmcs_requires("domain.cpu.features", json!([{"name": "vmx", "policy": "forbid"}]), [true, false])]
#[case::a_feature_as_selector("nodeSelector", json!({feature("of-no-node"): "true"}), [true, true])]
#[case::a_zone("nodeSelector", json!({"zone": "none"}), [false, false])]
#[case::nothing("domain.cpu.model", json!(ALL_HAVE), [false, false])]
fn a_name_that_does_not_exist_yet_is_no_way_around_enforce(
    #[case] path: &str,
    #[case] value: Value,
    #[case] denies: [bool; 2],
    #[values(Impact::Unschedulable, Impact::Pinned)] enforce: Impact,
) {
    let nodes = || intel().into_iter().map(|node| node.tweak(|node| give(node, [feature("vmx")]))).collect();
    let world = super::world(nodes(), Vec::new(), Some(enforce));
    for (field, is_denied) in ["instancetype", "preference"].into_iter().zip(denies) {
        for pin in [json!({"name": "later"}), json!({"name": "later", "revisionName": "later-1"})] {
            let bad = vm("db", ALL_HAVE).tweak(|vm| {
                let spec = &mut vm["spec"]["template"]["spec"];
                let at = path.split('.').fold(spec, |value, key| &mut value[key]);
                at.clone_from(&value);
                vm["spec"][field] = pin.clone();
            });
            for asked in sent(&bad) {
                let kind = &asked["request"]["kind"]["kind"];
                let denial = denied(&world, &asked);
                assert_eq!(denial.is_some(), is_denied, "{kind}, {field}, {pin}: {denial:?}");
                if !is_denied {
                    let said = admitted(&world, &asked);
                    assert!(said.iter().any(|line| line.contains("is not known")), "{kind}: {said:?}");
                }
            }
        }
    }
}

/// A copy of a known object is not known: only the template is certain.
#[rstest]
#[case::enforce(json!({"enforce": "Unschedulable"}), NONE_HAS)]
#[case::common_model(
    json!({"commonModel": {"name": ALL_HAVE, "replaces": ["Unset"], "otherwise": "Deny"}}), "host-passthrough"
)]
fn an_unknown_revision_does_not_hide_the_template(#[case] rules: Value, #[case] model: &str) {
    let world =
        World { policies: vec![read_policy("strict", &rules)], ..super::world(intel(), vec![preference("fpu")], None) };
    let bad = pinned("preference", "linux").tweak(|vm| {
        vm["spec"]["template"]["spec"]["domain"]["cpu"]["model"] = json!(model);
        vm["spec"]["template"]["spec"]["architecture"] = json!("amd64");
    });
    for asked in sent(&bad) {
        let kind = &asked["request"]["kind"]["kind"];
        assert!(denied(&world, &asked).is_some(), "{kind}: the name of a revision is a way around the policy");
    }
}

/// The annotation and the run strategy by which a VM keeps its CPU are dropped again.
#[rstest]
#[case::run_strategy(|vm: &mut Value| vm["spec"]["runStrategy"] = json!("WaitAsReceiver"), false)]
#[case::annotation(|vm: &mut Value| {
    vm["spec"]["template"]["metadata"]["annotations"] = json!({"kubevirt.io/create-migration-target": "true"});
}, true)]
fn a_guest_that_no_longer_waits_to_be_received_is_judged(#[case] wait: fn(&mut Value), #[case] at_once: bool) {
    let common = json!({"name": ALL_HAVE, "replaces": ["Unset"], "otherwise": "Deny"});
    let world = World {
        policies: vec![read_policy("strict", &json!({"commonModel": common}))],
        ..super::world(intel(), Vec::new(), None)
    };
    let starts = vm("db", "host-passthrough");
    let waits = starts.clone().tweak(wait);
    assert_eq!(denied(&world, &review(&waits)).is_some(), at_once, "a guest that is received cannot keep its CPU");
    assert!(at_once || denied(&world, &update(&waits, &starts)).is_some(), "two steps avoid the policy");
    assert!(denied(&world, &update(&starts, &waits)).is_none());
}
