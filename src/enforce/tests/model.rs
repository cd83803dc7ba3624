//! Tests of the common model: the guests that it is written into, and those that stay unchanged.

use rstest::rstest;
use serde_json::{Value, json};

use super::{SKYLAKE, applied, defaulted, sent, with_model, world};
use crate::bounds::Bounded;
use crate::enforce::forecast::{of_vm, of_vmi};
use crate::enforce::model::{Common, Reason, Untouched, common_model};
use crate::fit::judgement::{Depth, Effort};
use crate::fit::node::Node;
use crate::fit::verdict::Impact;
use crate::kubevirt::cluster::ClusterObject;
use crate::kubevirt::wire::{VirtualMachine, Vmi};
use crate::policy::{Policy, ReplacedMode, Word as _};
use crate::testing::Tweak;
use crate::testing::cluster::{read, read_policy, vm};
use crate::testing::fleet::{arm, cascade_lake, cordon, ice_lake, intel, mixed, model, rome, set, skylake, take};
use crate::well_known::{MIGRATION_TARGET, POLICY, REPLACED_MODEL, SENT_MODEL};
use crate::world::World;

const ALL: [&str; 4] = ["Unset", "HostModel", "HostPassthrough", "Named"];

/// Returns the decision, and the object as it leaves the webhook.
fn decided(world: &World, object: &Value) -> (Common, Value) {
    let policy = world.policies.first().cloned().unwrap_or_else(Policy::builtin);
    let vmi: Vmi = read(object.clone());
    let common = common_model(world, &policy, &vmi, Depth::Brief.into());
    let patch = common.patch(&policy, object);
    (common, applied(object, &patch))
}

fn reason(world: &World, object: &Value) -> Option<Reason> {
    match decided(world, object) {
        (Common::NotWritten(reason), after) => {
            assert_eq!(after["spec"], object["spec"], "it says no and writes all the same");
            let is_unset = object["spec"]["domain"]["cpu"]["model"].is_null();
            let mark = if is_unset { json!({SENT_MODEL.key: "Unset"}) } else { json!(null) };
            assert_eq!(after["metadata"]["annotations"], mark);
            Some(reason)
        }
        _ => None,
    }
}

fn kubevirt(model: &str) -> ClusterObject {
    ClusterObject::KubeVirt(Box::new(read(json!({
        "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {"configuration": {"cpuModel": model}}, "status": {"observedKubeVirtVersion": "v1.9.0"},
    }))))
}

/// Deciding whether the model can be written takes two judgements: without time for both it is not written,
/// and that is reported.
#[test]
fn a_judgement_that_ran_out_of_time_writes_no_model() {
    let world = world(mixed(), Vec::new(), vec![with_model(SKYLAKE, &["HostModel"], "Deny")]);
    let vmi: Vmi = read(sent(&json!({"model": "host-model"})));
    let until = |after: usize| {
        let asked = std::cell::Cell::new(0);
        let is_over = || asked.replace(asked.get() + 1) >= after;
        let common = common_model(&world, &world.policies[0], &vmi, Effort::until(Depth::Brief, &is_over));
        (common, asked.get())
    };
    let (whole, asked) = until(usize::MAX);
    assert!(matches!(whole, Common::Written { .. }) && asked > 1, "{whole:?} after {asked} steps");
    for after in 0..asked {
        let why = Reason::Unknown("there was no time to judge it".to_owned());
        assert_eq!(until(after).0, Common::NotWritten(why), "after {after} of {asked} steps");
    }
}

/// Every CPU mode under every row of `replaces`, and every way of sending no model.
#[rstest]
fn a_cpu_mode_is_replaced_only_if_replaces_lists_it(
    #[values("Unset", "HostModel", "HostPassthrough", "Named", "")] listed: &str,
    #[values(
        ("Unset", json!({})), ("Unset", Value::Null), ("Unset", json!({"cores": 2})), ("Unset", json!({"model": ""})),
        ("Unset", json!({"model": null})), ("HostModel", json!({"model": "host-model"})),
        ("HostPassthrough", json!({"model": "host-passthrough", "features": [{"name": "fpu"}]})),
        ("Named", json!({"model": "Cascadelake-Server-noTSX", "cores": 4}))
    )]
    given: (&str, Value),
) {
    let (mode, cpu) = given;
    let rows: Vec<&str> = Some(listed).filter(|row| !row.is_empty()).into_iter().collect();
    let world = world(intel(), Vec::new(), vec![with_model(SKYLAKE, &rows, "Warn")]);
    let object = sent(&cpu);
    let (common, after) = decided(&world, &object);
    if mode == listed {
        let replaced = ReplacedMode::ALL.iter().copied().find(|word| word.as_str() == mode).expect("a mode");
        assert_eq!(common, Common::Written { model: SKYLAKE.to_owned(), replaced });
        let expected = object.clone().tweak(|vmi| {
            if vmi["spec"]["domain"]["cpu"].is_null() {
                vmi["spec"]["domain"]["cpu"] = json!({});
            }
            vmi["spec"]["domain"]["cpu"]["model"] = json!(SKYLAKE);
            vmi["metadata"]["annotations"] = json!({POLICY.key: "intel-pool", REPLACED_MODEL.key: mode});
        });
        assert_eq!(after, expected, "more or less than model and reason was changed");
    } else {
        assert!(matches!(common, Common::Untouched(Untouched::Mode { .. })), "{common:?}: a choice is overruled");
        assert_eq!(after["spec"], object["spec"]);
    }
    // Called again, at once and after KubeVirt's own webhook.
    for again in [after.clone(), defaulted(&after, &world)] {
        assert_eq!(decided(&world, &again).1, again, "a second call changes what the first one left");
    }
}

#[rstest]
#[case::no_domain(json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": {}}))]
#[case::null_domain(json!({"metadata": {"namespace": "shop", "name": "web", "annotations": null}, "spec": {"domain": null}}))]
#[case::generated(json!({"metadata": {"namespace": "shop", "generateName": "web-"}, "spec": {"domain": {"cpu": null}}}))]
fn a_patch_creates_the_missing_parent_fields(#[case] object: Value) {
    let world = world(intel(), Vec::new(), vec![with_model(SKYLAKE, &ALL, "Warn")]);
    let (_, after) = decided(&world, &object);
    assert_eq!(after["spec"]["domain"]["cpu"]["model"], SKYLAKE);
    assert_eq!(after["metadata"]["annotations"], json!({POLICY.key: "intel-pool", REPLACED_MODEL.key: "Unset"}));
}

#[rstest]
#[case::no_policy(Policy::builtin(), json!({}), Untouched::NoCommonModel)]
#[case::uses_it(with_model(SKYLAKE, &ALL, "Deny"), json!({"model": SKYLAKE}), Untouched::UsesIt)]
fn a_guest_without_a_policys_model_or_with_it_already_is_not_changed(
    #[case] policy: Policy,
    #[case] cpu: Value,
    #[case] expected: Untouched,
) {
    let object = sent(&cpu);
    let (common, after) = decided(&world(intel(), Vec::new(), vec![policy]), &object);
    assert_eq!((common, &after), (Common::Untouched(expected), &object));
}

/// The target of a decentralized migration must offer the CPU that the guest has at its origin. KubeVirt
/// requires the value `true`; with any other the guest starts here like all others, and gets the model.
#[rstest]
#[case::absent(None, false)]
#[case::empty(Some(""), false)]
#[case::yes(Some("true"), true)]
#[case::no(Some("false"), false)]
#[case::another_case(Some("True"), false)]
#[case::another_word(Some("yes"), false)]
fn a_guest_that_comes_from_elsewhere_keeps_its_cpu(#[case] value: Option<&str>, #[case] comes: bool) {
    let receiver = vm("web", "host-model").tweak(|vm| vm["spec"]["runStrategy"] = json!("WaitAsReceiver"));
    let receiver = ClusterObject::VirtualMachine(Box::new(read(receiver)));
    let world = world(intel(), vec![receiver], vec![with_model(SKYLAKE, &ALL, "Deny")]);
    let object = sent(&json!({"model": "host-model"})).tweak(|vmi| {
        vmi["metadata"]["annotations"] = value.map_or(json!({}), |value| json!({MIGRATION_TARGET.key: value}));
        vmi["metadata"]["ownerReferences"] = json!([{"kind": "VirtualMachine", "name": "web", "uid": "vm-web"}]);
    });
    let (common, after) = decided(&world, &object);
    if comes {
        assert_eq!((common, &after), (Common::Untouched(Untouched::Received), &object), "libvirt may refuse the guest");
        let forecast = of_vmi(&world, &world.policies[0], &read(object), Depth::Brief.into());
        assert_eq!((forecast.message, forecast.unmet), (None, None), "the guest is reported for what it did not cause");
    } else {
        assert_eq!(after["spec"]["domain"]["cpu"]["model"], SKYLAKE, "an annotation without effect escapes the policy");
    }
}

/// A user who annotates a guest may take the annotation off again, upon which it starts. Each row: the mode, labels and
/// the strategy of a VM that owns it, and whether the model is written, and whether the guest is denied.
#[rstest]
#[case::of_its_own("host-model", json!({}), None, false, true)]
#[case::of_a_mode_that_is_not_replaced("host-passthrough", json!({}), None, false, true)]
#[case::on_the_model(SKYLAKE, json!({}), None, false, false)]
#[case::of_a_vm_that_starts("host-model", json!({}), Some("Always"), false, true)]
#[case::of_a_vm_that_waits("host-model", json!({}), Some("WaitAsReceiver"), false, false)]
#[case::that_starts_at_once("host-model", json!({"kubevirt.io/migrationTargetNodeName": "x"}), None, true, false)]
fn a_guest_that_its_author_annotates_as_a_receiver_is_denied_like_any_other(
    #[case] model: &str,
    #[case] labels: Value,
    #[case] strategy: Option<&str>,
    #[case] is_written: bool,
    #[case] is_denied: bool,
) {
    let owner = strategy.map(|strategy| {
        let vm = vm("web", "host-model").tweak(|vm| vm["spec"]["runStrategy"] = json!(strategy));
        ClusterObject::VirtualMachine(Box::new(read(vm)))
    });
    let replaces = ["Unset", "HostModel"];
    let world = world(intel(), owner.into_iter().collect(), vec![with_model(SKYLAKE, &replaces, "Deny")]);
    let object = sent(&json!({"model": model})).tweak(|vmi| {
        vmi["metadata"]["annotations"] = json!({MIGRATION_TARGET.key: "true"});
        vmi["metadata"]["labels"] = labels;
        vmi["metadata"]["ownerReferences"] = json!([{"kind": "VirtualMachine", "name": "web", "uid": "vm-web"}]);
    });
    let (_, after) = decided(&world, &object);
    assert_eq!(after != object, is_written, "the target of a migration gets another CPU than its source has");
    let forecast = of_vmi(&world, &world.policies[0], &read(after), Depth::Brief.into());
    assert_eq!(forecast.unmet.is_some(), is_denied, "an annotation is a way around the policy: {forecast:?}");
}

/// A model that was not read is not said to be unset. Each row: the model, and the words about it.
#[rstest]
#[case::not_read(&"m".repeat(1100), "keeps its own CPU model instead of")]
#[case::read("host-model", "keeps host-model instead of")]
fn a_denial_names_no_model_that_was_not_read(#[case] model: &str, #[case] expected: &str) {
    let world = world(intel(), Vec::new(), vec![with_model(SKYLAKE, &ALL, "Deny")]);
    let text = vm("web", model).tweak(|vm| {
        vm["spec"]["template"]["spec"]["nodeSelector"] = json!({"zone": "z".repeat(1100)});
    });
    let Bounded(vm): Bounded<VirtualMachine> = serde_json::from_str(&text.to_string()).expect("a VM");
    let unmet = of_vm(&world, &world.policies[0], &vm, Depth::Brief.into()).unmet.expect("it is denied");
    assert!(unmet.message.contains(expected), "{}", unmet.message);
}

/// virt-controller itself writes the annotation into the VMI of a VM that waits to receive one.
#[rstest]
#[case::waits("WaitAsReceiver", json!({}), true)]
#[case::waits_whatever_the_template_says("WaitAsReceiver", json!({MIGRATION_TARGET.key: "false"}), true)]
#[case::runs("Always", json!({}), false)]
#[case::runs_whatever_its_template_says("Always", json!({MIGRATION_TARGET.key: "true"}), false)]
fn a_vm_that_waits_for_a_guest_gets_no_model(#[case] strategy: &str, #[case] annotations: Value, #[case] comes: bool) {
    let world = world(intel(), Vec::new(), vec![with_model(SKYLAKE, &ALL, "Deny")]);
    let vm = vm("web", "host-model").tweak(|vm| {
        vm["spec"]["runStrategy"] = json!(strategy);
        vm["spec"]["template"]["metadata"]["annotations"] = annotations;
    });
    let forecast = of_vm(&world, &world.policies[0], &read(vm), Depth::Brief.into());
    assert_eq!(forecast.common == Common::Untouched(Untouched::Received), comes);
    assert_eq!(
        forecast.message.is_none() && forecast.unmet.is_none(),
        comes,
        "it is promised a model that its VMI does not get"
    );
}

#[rstest]
#[case::arm("arm64")]
#[case::mainframe("s390x")]
#[case::as_the_cluster_says("")]
fn guests_of_other_architectures_get_no_model(#[case] architecture: &str) {
    let config = json!({
        "spec": {"configuration": {"architectureConfiguration": {"defaultArchitecture": "arm64"}}},
        "status": {"observedKubeVirtVersion": "v1.9.0"},
    });
    let objects = vec![ClusterObject::KubeVirt(Box::new(read(config)))];
    let world = world(mixed(), objects, vec![with_model(SKYLAKE, &ALL, "Deny")]);
    let object = sent(&json!({})).tweak(|vmi| vmi["spec"]["architecture"] = json!(architecture));
    let (common, after) = decided(&world, &object);
    assert_eq!((common, &after), (Common::Untouched(Untouched::Architecture), &object), "it could never start");
}

#[test]
fn guests_of_an_exempt_namespace_get_no_model() {
    let namespace =
        ClusterObject::Namespace(read(json!({"metadata": {"name": "shop", "labels": {"cpufit.io/exempt": "true"}}})));
    let world = world(intel(), vec![namespace], vec![with_model(SKYLAKE, &ALL, "Deny")]);
    assert_eq!(decided(&world, &sent(&json!({}))).0, Common::Untouched(Untouched::Exempt));
}

/// The cluster's default is the model of a guest without one.
#[rstest]
#[case::gives_the_common_model(SKYLAKE, Common::Untouched(Untouched::UsesIt))]
#[case::gives_another("Cascadelake-Server-noTSX", Common::Written { model: SKYLAKE.to_owned(), replaced: ReplacedMode::Unset })]
fn the_clusters_default_is_known(#[case] default: &str, #[case] expected: Common) {
    let world = world(intel(), vec![kubevirt(default)], vec![with_model(SKYLAKE, &["Unset"], "Warn")]);
    assert_eq!(decided(&world, &sent(&json!({}))).0, expected);
}

/// An unset model that the policy does not replace is not written at the second call either, when KubeVirt has
/// added host-model, which the policy replaces.
#[test]
fn an_unset_model_is_remembered_past_kubevirts_defaulting() {
    let world = world(intel(), Vec::new(), vec![with_model(SKYLAKE, &["HostModel"], "Warn")]);
    let (_, first) = decided(&world, &sent(&json!({})));
    assert_eq!(first["metadata"]["annotations"], json!({SENT_MODEL.key: "Unset"}));
    let second = defaulted(&first, &world);
    assert_eq!(second["spec"]["domain"]["cpu"]["model"], "host-model");
    assert_eq!(decided(&world, &second).1, second, "a default is taken for the guest's own model");
}

mod not_written {
    use super::*;

    #[rstest]
    #[case::nobody_has_it("EPYC-Turin", Reason::NoNode { nodes: 5, known: 0 })]
    #[case::known_everywhere("EPYC-Rome", Reason::NoNode { nodes: 5, known: 5 })]
    fn a_model_that_no_node_can_run_is_not_written(#[case] name: &str, #[case] expected: Reason) {
        let world = world(intel(), Vec::new(), vec![with_model(name, &ALL, "Warn")]);
        assert_eq!(reason(&world, &sent(&json!({}))), Some(expected), "no guest would start any more");
    }

    #[test]
    fn a_model_usable_only_outside_the_policys_nodes() {
        let spec = json!({"nodeSelector": {"matchLabels": {"cpu-vendor.node.kubevirt.io/AMD": "true"}}, "commonModel": {"name": SKYLAKE}});
        let world = world(mixed(), Vec::new(), vec![read_policy("amd-pool", &spec)]);
        assert_eq!(reason(&world, &sent(&json!({}))), Some(Reason::NoNode { nodes: 3, known: 3 }));
    }

    #[rstest]
    #[case::selector(json!({"nodeSelector": {"cpu-vendor.node.kubevirt.io/AMD": "true"}}))]
    #[case::host(json!({"nodeSelector": {"kubernetes.io/hostname": "amd-2"}}))]
    #[case::affinity(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "cpu-vendor.node.kubevirt.io/Intel", "operator": "DoesNotExist"}]}]}}}}))]
    fn a_guest_bound_to_other_nodes_gets_no_model(#[case] placement: Value) {
        let world = world(mixed(), Vec::new(), vec![with_model(SKYLAKE, &ALL, "Warn")]);
        let object = sent(&json!({})).tweak(|vmi| {
            for (field, value) in placement.as_object().expect("fields") {
                vmi["spec"][field] = value.clone();
            }
        });
        assert_eq!(reason(&world, &object), Some(Reason::OtherNodes { nodes: 5 }), "it could not start any more");
    }

    #[test]
    fn a_guest_gets_no_model_whose_nodes_lack_its_feature() {
        let nodes = vec![cascade_lake("n1"), cascade_lake("n2"), rome("n3")];
        let world = world(nodes, Vec::new(), vec![with_model(SKYLAKE, &ALL, "Warn")]);
        let cpu = json!({"features": [{"name": "fpu"}, {"name": "clzero", "policy": "require"}, {"name": "gfni", "policy": "optional"}]});
        let expected = Reason::Features { features: vec!["clzero".to_owned()], nodes: 2 };
        assert_eq!(reason(&world, &sent(&cpu)), Some(expected));
    }

    #[test]
    fn features_of_the_guest_stay() {
        let world = world(intel(), Vec::new(), vec![with_model(SKYLAKE, &ALL, "Warn")]);
        let cpu = json!({"features": [{"name": "fpu", "policy": "require"}], "dedicatedCpuPlacement": false});
        let (_, after) = decided(&world, &sent(&cpu));
        assert_eq!(
            after["spec"]["domain"]["cpu"],
            json!({"features": [{"name": "fpu", "policy": "require"}], "dedicatedCpuPlacement": false, "model": SKYLAKE})
        );
    }

    /// Two pools select the guest equally: neither is chosen, regardless of their names.
    #[rstest]
    #[case::free(json!({}), None)]
    #[case::says_where(json!({"cpu-vendor.node.kubevirt.io/Intel": "true"}), Some(SKYLAKE))]
    fn a_guest_that_fits_two_pools_gets_no_model(#[case] selector: Value, #[case] written: Option<&str>) {
        let pool = |name: &str, vendor: &str, model: &str| {
            let selector = json!({"matchLabels": {format!("cpu-vendor.node.kubevirt.io/{vendor}"): "true"}});
            read_policy(name, &json!({"nodeSelector": selector, "commonModel": {"name": model}}))
        };
        let policies = vec![pool("intel-pool", "Intel", SKYLAKE), pool("amd-pool", "AMD", "EPYC-Rome")];
        let world = world(mixed(), Vec::new(), policies.clone());
        let object = sent(&json!({})).tweak(|vmi| vmi["spec"]["nodeSelector"] = selector);
        let model = decided(&world, &object).1["spec"]["domain"]["cpu"]["model"].as_str().map(str::to_owned);
        assert_eq!(model.as_deref(), written);
        if written.is_none() {
            let expected = Reason::BetweenPools { policy: "amd-pool".to_owned(), model: "EPYC-Rome".to_owned() };
            assert_eq!(reason(&world, &object), Some(expected));
            let world = World { policies: policies.into_iter().rev().collect(), ..world };
            let expected = Reason::BetweenPools { policy: "intel-pool".to_owned(), model: SKYLAKE.to_owned() };
            assert_eq!(reason(&world, &object), Some(expected));
        }
    }

    /// A policy whose model would not be written does not keep another policy's model from a guest.
    #[rstest]
    #[case::warns_alone(json!([]), Some(SKYLAKE))]
    #[case::of_another_mode(json!(["HostPassthrough"]), Some(SKYLAKE))]
    #[case::of_its_mode(json!(["Unset"]), None)]
    fn a_policy_that_would_not_change_the_guest_does_not_compete(
        #[case] replaces: Value,
        #[case] written: Option<&str>,
    ) {
        let policy = |name: &str, of: &str, model: &str, replaces: &Value| {
            let selector = json!({"matchLabels": {format!("cpu-vendor.node.kubevirt.io/{of}"): "true"}});
            read_policy(name, &json!({"nodeSelector": selector, "commonModel": {"name": model, "replaces": replaces}}))
        };
        let policies = vec![
            policy("a-pool", "Intel", SKYLAKE, &json!(["Unset", "HostModel"])),
            policy("b-pool", "AMD", "EPYC-Rome", &replaces),
        ];
        let world = world(mixed(), Vec::new(), policies);
        let model = decided(&world, &sent(&json!({}))).1["spec"]["domain"]["cpu"]["model"].as_str().map(str::to_owned);
        assert_eq!(model.as_deref(), written, "a policy that only warns would switch off a model that is in force");
    }

    /// The impact with the model is never worse than without.
    #[rstest]
    #[case::only_one_node(vec![skylake("n1"), skylake("n2"), ice_lake("n3")], "Icelake-Server-noTSX", None, Some(Impact::Pinned))]
    #[case::two_nodes(vec![skylake("n1"), skylake("n2"), skylake("n3"), ice_lake("n4"), ice_lake("n5")], "Icelake-Server-noTSX", None, Some(Impact::Fragile))]
    fn a_guest_that_would_be_worse_off_gets_no_model(
        #[case] nodes: Vec<Node>,
        #[case] name: &str,
        #[case] is: Option<Impact>,
        #[case] would_be: Option<Impact>,
    ) {
        // By labels a passthrough guest fits everywhere: only the new CPU could pin it.
        let world = world(nodes, Vec::new(), vec![with_model(name, &ALL, "Warn")]);
        assert_eq!(reason(&world, &sent(&json!({"model": "host-passthrough"}))), Some(Reason::Worse { is, would_be }));
    }

    /// Two nodes are cordoned: no model helps today, but tomorrow the guest fits again.
    #[test]
    fn a_temporary_obstacle_changes_no_model() {
        let without = |name: &str| skylake(name).tweak(|node| take(node, &[model(SKYLAKE)])).tweak(cordon);
        let world = world(
            vec![skylake("n1"), without("n2"), without("n3")],
            Vec::new(),
            vec![with_model(SKYLAKE, &ALL, "Warn")],
        );
        let pinned = Some(Impact::Pinned);
        let found = reason(&world, &sent(&json!({"model": "host-passthrough"})));
        assert_eq!(found, Some(Reason::Worse { is: pinned, would_be: pinned }), "enforced, it would be denied");
    }

    #[test]
    fn nodes_without_cpu_labels_change_no_model() {
        let bare = |name: &str| crate::testing::fleet::node(name);
        let world = world(vec![bare("n1"), bare("n2"), arm("n3")], Vec::new(), vec![with_model(SKYLAKE, &ALL, "Warn")]);
        assert!(matches!(reason(&world, &sent(&json!({}))), Some(Reason::Unknown(_))));
    }

    #[test]
    fn each_reason_is_a_short_clause() {
        let reasons = [
            Reason::NoNode { nodes: 0, known: 0 },
            Reason::NoNode { nodes: 5, known: 0 },
            Reason::NoNode { nodes: 5, known: 3 },
            Reason::OtherNodes { nodes: 1 },
            Reason::Features { features: vec!["gfni".to_owned(), "vaes".to_owned()], nodes: 4 },
            Reason::BetweenPools { policy: "amd-pool".to_owned(), model: "EPYC-Rome".to_owned() },
            Reason::Worse { is: None, would_be: Some(Impact::Pinned) },
            Reason::Worse { is: Some(Impact::Fragile), would_be: Some(Impact::Fragile) },
        ];
        let said: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(said.join("\n"), @"
        the policy selects no node
        usable on none of the 5 nodes
        known on 3 of 5 nodes, usable on none
        its node selector, affinity or machine type keeps it off the only node that can run it
        it requires cpu-feature gfni, vaes, which none of the 4 nodes with that model offers
        it also fits the nodes of policy amd-pool (EPYC-Rome); a node selector would say where it belongs
        with it, it could migrate nowhere
        with it, it would have one node left to migrate to, also when cordoned nodes come back
        ");
    }
}

/// Labels with another value do not count, because the guest's selector does not match them.
#[test]
fn a_model_label_with_another_value_than_true_is_ignored() {
    let nodes = vec![cascade_lake("n1"), cascade_lake("n2")]
        .into_iter()
        .map(|node| node.tweak(|node| set(node, &model(SKYLAKE), "false")));
    let world = world(nodes.collect(), Vec::new(), vec![with_model(SKYLAKE, &ALL, "Warn")]);
    assert_eq!(reason(&world, &sent(&json!({}))), Some(Reason::NoNode { nodes: 2, known: 2 }));
}
