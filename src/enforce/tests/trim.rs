//! Tests of trimmed selectors: the entries that are dropped, those that never are, and the messages.

use rstest::rstest;
use serde_json::{Value, json};

use super::{SKYLAKE, applied, world};
use crate::enforce::trim::{By, KeptEntry, Trim, asks_relax, trim};
use crate::fit::label;
use crate::fit::node::Node;
use crate::kubevirt::cluster::ClusterObject;
use crate::kubevirt::wire::Pod;
use crate::policy::Policy;
use crate::testing::Tweak;
use crate::testing::cluster::{migration, read, read_policy, running, vmi};
use crate::testing::fleet::{cascade_lake, cordon, feature, give, known, machine, model, skylake, take, vendor};
use crate::well_known::{DROPPED_SELECTORS, RELAX};
use crate::world::World;

/// Builds the target pod of a migration of shop/db, with these selector keys.
fn target(keys: &[String]) -> Value {
    let fixed = [label::SCHEDULABLE.to_owned(), machine("q35"), vendor("Intel")];
    let selector: serde_json::Map<String, Value> = keys
        .iter()
        .chain(&fixed)
        .map(|key| (key.clone(), json!("true")))
        .chain([(label::ARCH.to_owned(), json!("amd64"))])
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": "shop", "generateName": "virt-launcher-db-",
            "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "job", "kubevirt.io/nodeName": "n1"},
            "annotations": {"kubevirt.io/migrationJobName": "migrate-db"},
            "ownerReferences": [{"kind": "VirtualMachineInstance", "name": "db", "uid": "uid-db", "controller": true}],
        },
        "spec": {"nodeSelector": selector, "containers": []},
    })
}

fn keys(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| feature(name)).collect()
}

fn job(change: impl FnOnce(&mut Value)) -> ClusterObject {
    let vmim = migration("db").tweak(|vmim| vmim["metadata"]["uid"] = json!("job")).tweak(change);
    ClusterObject::Migration(Box::new(read(vmim)))
}

fn relaxed() -> ClusterObject {
    job(|vmim| vmim["metadata"]["annotations"] = json!({RELAX.key: "true"}))
}

fn mode(word: &str) -> Policy {
    read_policy("intel-pool", &json!({"launcherSelectors": word, "commonModel": {"name": SKYLAKE}}))
}

fn db(cpu: &Value) -> ClusterObject {
    vmi(running("db", "n1", "host-model").tweak(|vmi| vmi["spec"]["domain"]["cpu"] = cpu.clone()))
}

fn host_model() -> ClusterObject {
    db(&json!({"model": "host-model"}))
}

fn nodes() -> Vec<Node> {
    vec![cascade_lake("n1"), cascade_lake("n2"), cascade_lake("n3")]
}

/// Returns the entries dropped from a pod, and the resulting pod.
fn trimmed(world: &World, pod: &Value) -> (Trim, Value) {
    let policy = world.policies.first().cloned().unwrap_or_else(Policy::builtin);
    let text = pod.to_string();
    let read: Pod<'_> = serde_json::from_str(&text).expect("a pod");
    let out = trim(world, &policy, &read);
    let after = applied(pod, &out.patch(&read));
    (out, after)
}

fn dropped(world: &World, pod: &Value) -> Vec<String> {
    let (out, after) = trimmed(world, pod);
    let dropped: Vec<String> = out.dropped().into_iter().map(|(key, _)| key.clone()).collect();
    let left = after["spec"]["nodeSelector"].as_object().expect("a selector");
    let before = pod["spec"]["nodeSelector"].as_object().expect("a selector");
    assert_eq!(left.len() + dropped.len(), before.len(), "the patch does something else than it says");
    assert!(dropped.iter().all(|key| !left.contains_key(key)));
    assert_eq!(trimmed(world, &after).1, after, "a second call changes what the first one left");
    dropped
}

mod drop_stale {
    use super::*;

    #[test]
    fn stale_features_are_dropped_and_reported() {
        let world = world(nodes(), vec![host_model(), job(|_| {})], vec![mode("DropStale")]);
        let pod = target(&[keys(&["amd-stibp", "fpu", "vme"]), vec![known("Cascadelake-Server")]].concat());
        assert_eq!(dropped(&world, &pod), keys(&["amd-stibp"]));
        let (out, after) = trimmed(&world, &pod);
        assert_eq!(after["metadata"]["annotations"][DROPPED_SELECTORS.key], feature("amd-stibp"));
        assert_eq!(after["metadata"]["annotations"]["kubevirt.io/migrationJobName"], "migrate-db");
        insta::assert_snapshot!(
            out.sentences().join("\n"),
            @"shop/db: its target need not have cpu-feature amd-stibp, which no node offers any more (policy intel-pool); libvirt decides"
        );
        assert_eq!(json!(out.audit()), json!({"dropped-selectors": feature("amd-stibp")}));
        let patch = out.patch(&serde_json::from_str(&pod.to_string()).expect("a pod"));
        let expected = json!([
            {"op": "remove", "path": "/spec/nodeSelector/cpu-feature.node.kubevirt.io~1amd-stibp"},
            {"op": "add", "path": "/metadata/annotations/cpufit.io~1dropped-selectors", "value": feature("amd-stibp")},
        ]);
        assert_eq!(json!(patch), expected);
    }

    #[rstest]
    #[case::keep("Keep", host_model(), keys(&["amd-stibp", "fpu"]), job(|_| {}))]
    #[case::offered_by_one_node("DropStale", host_model(), keys(&["hle", "fpu"]), job(|_| {}))]
    #[case::the_guest_requires_it("DropStale", db(&json!({"model": "host-model", "features": [{"name": "amd-stibp"}]})), keys(&["amd-stibp", "fpu"]), job(|_| {}))]
    #[case::its_own_selector("DropStale", vmi(running("db", "n1", "host-model").tweak(|vmi| vmi["spec"]["nodeSelector"] = json!({feature("amd-stibp"): "true"}))), keys(&["amd-stibp", "fpu"]), job(|_| {}))]
    #[case::asked_for_with_the_migration("DropStale", host_model(), keys(&["amd-stibp", "fpu"]), job(|vmim| vmim["spec"]["addedNodeSelector"] = json!({feature("amd-stibp"): "true"})))]
    #[case::a_stale_model("DropStale", host_model(), [keys(&["fpu"]), vec![known("Gone")]].concat(), job(|_| {}))]
    #[case::passthrough("DropStale", db(&json!({"model": "host-passthrough"})), keys(&["amd-stibp", "fpu"]), job(|_| {}))]
    fn entries_that_are_not_stale_features_are_kept(
        #[case] word: &str,
        #[case] guest: ClusterObject,
        #[case] entries: Vec<String>,
        #[case] migration: ClusterObject,
    ) {
        let nodes = vec![cascade_lake("n1"), skylake("n2")];
        let world = world(nodes, vec![guest, migration], vec![mode(word)]);
        let (out, after) = trimmed(&world, &target(&entries));
        assert_eq!((out.dropped(), &after), (Vec::new(), &target(&entries)));
    }

    /// KubeVirt would treat the guest as one that never migrated, and pin it to the CPU of its current node.
    #[rstest]
    #[case::all_stale(keys(&["amd-stibp", "gone"]))]
    #[case::all_but_its_model([keys(&["amd-stibp"]), vec![known("Cascadelake-Server")]].concat())]
    fn the_last_inherited_feature_stays(#[case] entries: Vec<String>) {
        let world = world(nodes(), vec![host_model(), job(|_| {})], vec![mode("DropStale")]);
        let (out, after) = trimmed(&world, &target(&entries));
        assert_eq!((out.refused, &after), (Some(KeptEntry::LastFeature), &target(&entries)));
    }

    #[rstest]
    #[case::start(|pod: &mut Value| {
        pod["metadata"]["labels"].as_object_mut().expect("labels").remove("kubevirt.io/migrationJobUID");
    })]
    #[case::bound(|pod: &mut Value| pod["spec"]["nodeName"] = json!("n2"))]
    #[case::no_launcher(|pod: &mut Value| pod["metadata"]["labels"]["kubevirt.io"] = json!("hotplug-disk"))]
    fn only_target_pods_are_touched(#[case] change: fn(&mut Value)) {
        let world = world(nodes(), vec![host_model(), relaxed()], vec![mode("DropStale")]);
        let pod = target(&keys(&["amd-stibp", "fpu"])).tweak(change);
        let (out, after) = trimmed(&world, &pod);
        assert_eq!((out, &after), (Trim::default(), &pod));
    }

    #[test]
    fn an_unknown_guest_drops_no_entry() {
        let world = world(nodes(), vec![], vec![mode("DropStale")]);
        let (out, _) = trimmed(&world, &target(&keys(&["amd-stibp", "fpu"])));
        assert_eq!((out.dropped().len(), out.refused), (0, Some(KeptEntry::UnknownGuest)));
    }

    #[test]
    fn nodes_without_cpu_labels_drop_no_entry() {
        let bare = vec![crate::testing::fleet::node("n1"), crate::testing::fleet::node("n2")];
        let world = world(bare, vec![host_model()], vec![mode("DropStale")]);
        let (out, _) = trimmed(&world, &target(&keys(&["amd-stibp", "fpu"])));
        assert_eq!((out.dropped().len(), out.refused), (0, Some(KeptEntry::NoLabels)), "all would be dropped");
    }
}

mod common {
    use super::*;

    #[test]
    fn a_guest_on_the_common_model_asks_for_that_and_its_own() {
        let guest =
            db(&json!({"model": SKYLAKE, "features": [{"name": "vme"}, {"name": "hle", "policy": "optional"}]}));
        let added = job(|vmim| vmim["spec"]["addedNodeSelector"] = json!({feature("rtm"): "true", "zone": "z1"}));
        let world = world(nodes(), vec![guest, added], vec![mode("Common")]);
        let entries = [keys(&["vme", "hle", "rtm"]), vec![model(SKYLAKE), known(SKYLAKE), "zone".to_owned()]].concat();
        assert_eq!(dropped(&world, &target(&entries)), [feature("hle"), feature("rtm"), known(SKYLAKE)]);
        insta::assert_snapshot!(
            trimmed(&world, &target(&entries)).0.sentences().join("\n"),
            @"shop/db: its target need not have cpu-feature hle, rtm; cpu-model-migration Skylake-Server-noTSX-IBRS: it runs with model Skylake-Server-noTSX-IBRS (policy intel-pool)"
        );
    }

    #[rstest]
    #[case::host_model(json!({"model": "host-model"}), vec![known(SKYLAKE)])]
    #[case::another_model(json!({"model": "Cascadelake-Server"}), vec![model("Cascadelake-Server")])]
    #[case::passthrough(json!({"model": "host-passthrough"}), vec![])]
    #[case::its_pod_says_otherwise(json!({"model": SKYLAKE}), vec![])]
    fn a_guest_without_the_common_model_keeps_all_keys(#[case] cpu: Value, #[case] more: Vec<String>) {
        let world = world(nodes(), vec![db(&cpu), job(|_| {})], vec![mode("Common")]);
        assert_eq!(dropped(&world, &target(&[keys(&["amd-stibp", "hle"]), more].concat())), Vec::<String>::new());
    }
}

mod relax {
    use super::*;

    #[rstest]
    #[case::fewest(
        vec![cascade_lake("n1"), cascade_lake("n2").tweak(|n| take(n, &keys(&["fpu", "vme"]))), cascade_lake("n3").tweak(|n| take(n, &keys(&["hle"])))],
        keys(&["hle"]), "n3"
    )]
    #[case::by_name(
        vec![cascade_lake("n1"), cascade_lake("n3").tweak(|n| take(n, &keys(&["fpu"]))), cascade_lake("n2").tweak(|n| take(n, &keys(&["hle"])))],
        keys(&["hle"]), "n2"
    )]
    #[case::like_hardware_first(
        vec![cascade_lake("n1"), skylake("n2").tweak(|n| give(n, [known("Cascadelake-Server")])), cascade_lake("n3").tweak(|n| take(n, &keys(&["fpu"])))],
        keys(&["fpu"]), "n3"
    )]
    #[case::not_to_a_cordoned_node(
        vec![cascade_lake("n1"), cascade_lake("n2").tweak(|n| take(n, &keys(&["fpu", "vme"]))), cascade_lake("n3").tweak(|n| take(n, &keys(&["hle"]))).tweak(cordon)],
        keys(&["fpu", "vme"]), "n2"
    )]
    #[case::a_model_key_too(
        vec![cascade_lake("n1"), cascade_lake("n2").tweak(|n| take(n, &[known("Cascadelake-Server")]))],
        vec![known("Cascadelake-Server")], "n2"
    )]
    fn the_fewest_keys_are_dropped(#[case] nodes: Vec<Node>, #[case] expected: Vec<String>, #[case] node: &str) {
        let world = world(nodes, vec![host_model(), relaxed()], vec![]);
        let pod = target(&[keys(&["fpu", "vme", "hle"]), vec![known("Cascadelake-Server")]].concat());
        assert_eq!(dropped(&world, &pod), expected);
        let (out, _) = trimmed(&world, &pod);
        let by = By::Relax { migration: "migrate-db".to_owned(), node: node.to_owned() };
        assert_eq!(out.cuts.first().map(|cut| &cut.by), Some(&by));
        let sentences = out.sentences();
        let is_said = !sentences.is_empty() && sentences.iter().all(|line| line.contains("libvirt decides"));
        assert!(is_said, "{sentences:?}");
    }

    /// `virtctl migrate` lets the API server generate the name.
    #[rstest]
    #[case::named("migrate-db", "(migrate-db is annotated cpufit.io/relax)")]
    #[case::not_named_yet("", "(the migration is annotated cpufit.io/relax)")]
    fn the_migration_that_relaxes_is_named_as_far_as_it_has_a_name(#[case] name: &str, #[case] expected: &str) {
        let nodes = vec![cascade_lake("n1"), cascade_lake("n2").tweak(|n| take(n, &keys(&["hle"])))];
        let world = world(nodes, vec![host_model(), relaxed()], vec![]);
        let (mut out, _) = trimmed(&world, &target(&keys(&["fpu", "vme", "hle"])));
        for cut in &mut out.cuts {
            if let By::Relax { migration, .. } = &mut cut.by {
                name.clone_into(migration);
            }
        }
        let lines = out.sentences();
        assert!(!lines.is_empty() && lines.iter().all(|line| line.contains(expected)), "{lines:?}");
    }

    #[rstest]
    #[case::nothing_in_the_way(nodes(), host_model(), keys(&["fpu", "vme"]), None)]
    #[case::passthrough(vec![cascade_lake("n1")], db(&json!({"model": "host-passthrough"})), keys(&["fpu"]), Some(KeptEntry::HostPassthrough))]
    #[case::vendor(vec![cascade_lake("n1"), crate::testing::fleet::rome("n2")], host_model(), keys(&["fpu", "hle"]), Some(KeptEntry::OtherCauses))]
    #[case::machine_type(vec![cascade_lake("n1"), cascade_lake("n2").tweak(|n| take(n, &[machine("q35"), feature("hle")]))], host_model(), keys(&["fpu", "hle"]), Some(KeptEntry::OtherCauses))]
    #[case::a_feature_of_its_own(vec![cascade_lake("n1"), skylake("n2")], db(&json!({"model": "host-model", "features": [{"name": "hle"}]})), keys(&["fpu", "hle"]), Some(KeptEntry::OtherCauses))]
    #[case::the_last_one(vec![cascade_lake("n1"), skylake("n2")], host_model(), keys(&["hle", "rtm"]), Some(KeptEntry::LastFeature))]
    #[case::alone(vec![cascade_lake("n1")], host_model(), keys(&["fpu", "hle"]), Some(KeptEntry::OtherCauses))]
    #[case::named(vec![cascade_lake("n1"), skylake("n2")], db(&json!({"model": "Cascadelake-Server"})), vec![model("Cascadelake-Server")], Some(KeptEntry::OtherCauses))]
    fn entries_that_are_not_stale_features_are_kept(
        #[case] nodes: Vec<Node>,
        #[case] guest: ClusterObject,
        #[case] entries: Vec<String>,
        #[case] refused: Option<KeptEntry>,
    ) {
        let world = world(nodes, vec![guest, relaxed()], vec![]);
        let (out, after) = trimmed(&world, &target(&entries));
        assert_eq!((out.refused, &after), (refused, &target(&entries)));
        let sentences = out.sentences();
        assert_eq!(
            sentences.is_empty(),
            out.refused.is_none(),
            "no reason is given, or one for nothing: {sentences:?}"
        );
        assert!(sentences.iter().all(|line| line.starts_with("shop/db: ") && line.chars().count() < 256));
    }

    /// Older releases select no vendor: the guest would migrate to another vendor's node and crash there.
    #[test]
    fn a_node_of_another_vendor_is_no_target() {
        let nodes = vec![cascade_lake("n1"), crate::testing::fleet::rome("n2")];
        let world = world(nodes, vec![host_model(), relaxed()], vec![]);
        let pod = target(&keys(&["fpu", "hle"])).tweak(|pod| {
            pod["spec"]["nodeSelector"].as_object_mut().expect("a selector").remove(&vendor("Intel"));
        });
        assert_eq!(trimmed(&world, &pod).0.refused, Some(KeptEntry::OtherCauses));
    }

    #[rstest]
    #[case::another_value(json!({RELAX.key: "yes"}), "job")]
    #[case::another_migration(json!({RELAX.key: "true"}), "earlier")]
    fn only_this_migrations_annotation_counts(#[case] annotations: Value, #[case] uid: &str) {
        let migration = job(|vmim| {
            vmim["metadata"]["annotations"] = annotations;
            vmim["metadata"]["uid"] = json!(uid);
        });
        let world = world(vec![cascade_lake("n1"), skylake("n2")], vec![host_model(), migration], vec![]);
        assert_eq!(trimmed(&world, &target(&keys(&["fpu", "hle"]))).0, Trim::default());
    }

    #[test]
    fn stale_entries_of_a_policy_and_missing_ones_of_a_relaxed_migration_are_both_dropped() {
        let nodes = vec![cascade_lake("n1"), skylake("n2")];
        let world = world(nodes, vec![host_model(), relaxed()], vec![mode("DropStale")]);
        let pod = target(&keys(&["fpu", "hle", "amd-stibp"]));
        assert_eq!(dropped(&world, &pod), keys(&["amd-stibp", "hle"]));
        assert_eq!(trimmed(&world, &pod).0.cuts.len(), 2);
    }
}

#[rstest]
#[case::created(json!({RELAX.key: "true"}), None, true)]
#[case::added(json!({RELAX.key: "true"}), Some(json!({})), true)]
#[case::turned_on(json!({RELAX.key: "true"}), Some(json!({RELAX.key: "false"})), true)]
#[case::as_it_was(json!({RELAX.key: "true"}), Some(json!({RELAX.key: "true"})), false)]
#[case::taken_back(json!({}), Some(json!({RELAX.key: "true"})), false)]
#[case::another_word(json!({RELAX.key: "True"}), None, false)]
#[case::none(Value::Null, None, false)]
fn setting_the_relax_annotation_needs_the_verb_relax(
    #[case] new: Value,
    #[case] old: Option<Value>,
    #[case] expected: bool,
) {
    let of = |annotations: Value| read(migration("db").tweak(|vmim| vmim["metadata"]["annotations"] = annotations));
    let old = old.map(of);
    assert_eq!(
        asks_relax(&of(new), old.as_ref()),
        expected,
        "every user could turn it on, or no controller could update the migration"
    );
}
