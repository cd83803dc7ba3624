//! Tests of the common model and trimmed selectors through the responses to the API server: warnings, changes
//! and denials.

use super::*;
use crate::fit::subject::CpuMode;
use crate::fit::verdict::Check;
use crate::report::Reason;
use crate::testing::objects::vmi_of;

const SKYLAKE: &str = "Skylake-Server-noTSX-IBRS";

fn pool(spec: &Value) -> World {
    let policies = vec![read_policy("intel-pool", spec)];
    let web = ClusterObject::VirtualMachine(Box::new(read(vm("web", ""))));
    World { cluster: cluster("1.9.0", intel(), [web]), policies }
}

fn common(otherwise: &str) -> World {
    pool(&json!({"commonModel": {"name": SKYLAKE, "otherwise": otherwise}}))
}

fn answered(world: &World, webhook: Webhook, review: &Value) -> ReviewAnswer {
    let bytes = review.to_string();
    let request = review::decode(bytes.as_bytes()).expect("a review");
    answer(&ReviewContext::new(world), webhook, &request).expect("an answer")
}

/// Returns the object after the mutating webhook.
fn mutated(world: &World, object: &Value, user: &str) -> (Value, ReviewAnswer) {
    let answer = answered(world, Webhook::Mutate, &by(review(object), user));
    let Decision::Admit { patch, .. } = &answer.decision else { panic!("denied while it is changed") };
    let mut out = object.clone();
    json_patch::patch(&mut out, patch).expect("a patch that applies");
    (out, answer)
}

/// The person is warned, the VM stays as it was sent, its guest gets the model.
#[test]
fn a_common_model_reaches_guests_and_changes_no_vm() {
    let (world, web) = (common("Warn"), vm("web", ""));
    let warnings = admitted(&world, &review(&web));
    insta::assert_debug_snapshot!(warnings, @r#"
    [
        "cpufit: shop/web will run with CPU model Skylake-Server-noTSX-IBRS, not its host's (policy intel-pool)",
    ]
    "#);
    for asked in [review(&web), update(&vm("web", "EPYC"), &web)] {
        let answer = answered(&world, Webhook::Mutate, &asked);
        assert_eq!(answer.decision, Decision::admit(), "GitOps tools would change it back");
    }
    let (guest, answer) = mutated(&world, &vmi_of(&web), CONTROLLER);
    assert_eq!(guest["spec"]["domain"]["cpu"]["model"], SKYLAKE);
    assert_eq!(
        guest["metadata"]["annotations"],
        json!({"cpufit.io/policy": "intel-pool", "cpufit.io/replaced-model": "Unset"})
    );
    let reported: Vec<(Reason, &str)> =
        answer.reports.iter().map(|report| (report.reason, report.regarding.name())).collect();
    assert_eq!(reported, [(Reason::ModelReplaced, "web")], "a controller's warnings are not read: an Event on the VM");
    // The guest gets the model again after a stop and a start.
    assert_eq!(mutated(&world, &vmi_of(&web), CONTROLLER).0, guest);
    // A person who created the VMI is warned in the validating webhook.
    let warnings = admitted(&world, &review(&guest));
    assert!(warnings[0].contains("shop/web will run with CPU model"), "{warnings:?}");
}

/// `--warnings-as-errors` fails on problems only: the effect of a policy is reported by an Event, if at all.
#[test]
fn a_model_may_be_announced_by_an_event_alone() {
    let (mut world, web) = (common("Warn"), vm("web", ""));
    for policy in &mut world.policies {
        policy.common_model.as_mut().expect("a common model").announce = Announce::Event;
    }
    assert_eq!(admitted(&world, &review(&web)), Vec::<String>::new());
    let (guest, answer) = mutated(&world, &vmi_of(&web), CONTROLLER);
    assert_eq!(guest["spec"]["domain"]["cpu"]["model"], SKYLAKE, "it gets it all the same");
    assert_eq!(answer.reports.iter().map(|report| report.reason).collect::<Vec<_>>(), [Reason::ModelReplaced]);
    assert_eq!(admitted(&world, &review(&guest)), Vec::<String>::new());
    // A guest that does not get it causes a warning.
    let warnings = admitted(&world, &review(&vm("web", "EPYC")));
    assert!(warnings.iter().any(|line| line.contains("not the common CPU model")), "{warnings:?}");
}

/// The VM is judged as the guest that it will become.
#[test]
fn a_vm_is_judged_with_the_model() {
    let bytes = review(&vm("web", "host-model")).to_string();
    let request = review::decode(bytes.as_bytes()).expect("a review");
    for (world, mode) in [(common("Warn"), CpuMode::Named(SKYLAKE.to_owned())), (pool(&json!({})), CpuMode::HostModel)]
    {
        let case = case(&world, &request).expect("an answer").expect("our concern");
        assert_eq!(case.prepared.subject.mode, mode, "another guest is judged than the one that will run");
        let found = case.verdict.findings.iter().any(|finding| finding.check == Check::CommonModel);
        assert_eq!(found, mode != CpuMode::HostModel);
    }
}

/// A guest whose own specification excludes the model, under each `otherwise`.
#[rstest]
#[case::another_model(json!({"model": "Cascadelake-Server-noTSX"}), "spec.template.spec.domain.cpu.model")]
#[case::passthrough(json!({"model": "host-passthrough"}), "spec.template.spec.domain.cpu.model")]
#[case::a_feature(json!({"features": [{"name": "fpu"}, {"name": "clzero", "policy": "require"}]}), "spec.template.spec.domain.cpu.features[1].name")]
fn a_guest_without_the_common_model_is_warned_about_or_denied(#[case] cpu: Value, #[case] field: &str) {
    let asked = |user| {
        by(review(&vm("web", "").tweak(|vm| vm["spec"]["template"]["spec"]["domain"]["cpu"] = cpu.clone())), user)
    };
    let of = |otherwise: &str| {
        let mut world = common(otherwise);
        world.cluster = cluster(
            "1.9.0",
            intel()
                .into_iter()
                .chain([
                    crate::testing::fleet::rome("amd-1"),
                    crate::testing::fleet::rome("amd-2"),
                    crate::testing::fleet::rome("amd-3"),
                ])
                .collect(),
            Vec::new(),
        );
        world
    };
    let names_model = |lines: &[String]| {
        lines.iter().any(|line| line.contains("common CPU model") && line.contains("(policy intel-pool)"))
    };
    assert!(!names_model(&admitted(&of("Allow"), &asked(KUBECTL))), "Allow says nothing");
    assert!(names_model(&admitted(&of("Warn"), &asked(KUBECTL))), "Warn says it");
    let denial = denied(&of("Deny"), &asked(KUBECTL)).expect("Deny refuses it");
    assert_eq!(denial.code, DenialKind::Invalid);
    let cause = denial.causes.last().expect("a bullet");
    assert_eq!(cause.field, field);
    assert!(cause.message.starts_with("shop/web ") && denial.message.contains("policy intel-pool"), "{denial:?}");
    assert!(names_model(&admitted(&of("Deny"), &asked(CONTROLLER))), "a controller is exempt and warned");
}

/// If the fleet or the policies are the cause, a guest is reported and never denied.
#[rstest]
#[case::usable_nowhere("EPYC-Turin", json!({}))]
#[case::known_only("EPYC-Rome", json!({}))]
#[case::bound_elsewhere("Icelake-Server-noTSX", json!({"kubernetes.io/hostname": "node-b"}))]
#[case::worse_off("Icelake-Server-noTSX", json!({}))]
fn a_guest_is_not_denied_for_what_the_fleet_causes(#[case] model: &str, #[case] selector: Value) {
    let world =
        pool(&json!({"commonModel": {"name": model, "replaces": ["Unset", "HostPassthrough"], "otherwise": "Deny"}}));
    let web = vm("web", "host-passthrough").tweak(|vm| vm["spec"]["template"]["spec"]["nodeSelector"] = selector);
    let warnings = admitted(&world, &review(&web));
    assert!(warnings[0].contains(&format!("instead of the common CPU model {model}: ")), "{warnings:?}");
    let (guest, answer) = mutated(&world, &vmi_of(&web), CONTROLLER);
    assert_eq!(guest, vmi_of(&web));
    assert_eq!(answer.reports, [], "the reinvocation would report it again");
    assert_eq!(not_replaced(&world, &guest, CONTROLLER).len(), 1);
}

/// Returns the reports about a guest that runs without the common model, in the validating webhook.
fn not_replaced(world: &World, guest: &Value, user: &str) -> Vec<String> {
    let answer = answered(world, Webhook::Validate, &by(review(guest), user));
    let reported = answer.reports.into_iter().filter(|report| report.reason == Reason::ModelNotReplaced);
    reported.map(|report| format!("{}: {}", report.regarding.name(), report.note.as_str())).collect()
}

/// virt-controller only logs its warnings, so the VM gets an Event, once.
#[test]
fn a_guest_of_a_controller_that_is_left_without_the_model_is_an_event() {
    let web = vmi_of(&vm("web", "Cascadelake-Server-noTSX"));
    for otherwise in ["Warn", "Deny"] {
        let world = common(otherwise);
        let (guest, answer) = mutated(&world, &web, CONTROLLER);
        assert_eq!((&guest, answer.reports.len()), (&web, 0));
        insta::allow_duplicates! {
            insta::assert_snapshot!(not_replaced(&world, &guest, CONTROLLER).join("\n"), @"web: shop/web asks for Cascadelake-Server-noTSX, not the common CPU model Skylake-Server-noTSX-IBRS (policy intel-pool)");
        }
        assert!(not_replaced(&world, &guest, KUBECTL).is_empty(), "a person reads it at once");
    }
    assert!(not_replaced(&common("Allow"), &web, CONTROLLER).is_empty());
    let (replaced, _) = mutated(&common("Warn"), &vmi_of(&vm("web", "")), CONTROLLER);
    assert!(not_replaced(&common("Warn"), &replaced, CONTROLLER).is_empty(), "it has the model");
    let exempt = json!({"metadata": {"name": "shop", "labels": {"cpufit.io/exempt": "true"}}});
    let mut alone = common("Warn");
    alone.cluster = cluster("1.9.0", intel(), [ClusterObject::Namespace(read(exempt))]);
    assert!(not_replaced(&alone, &web, CONTROLLER).is_empty(), "a namespace that is left alone");
}

/// KubeVirt's default is not the guest's own choice: it is neither reported nor denied as one.
#[rstest]
#[case::usable_nowhere("EPYC-Turin", json!(["Unset"]), "instead of the common CPU model EPYC-Turin")]
#[case::not_replaced(SKYLAKE, json!([]), "states no CPU model and would run with host-model")]
fn a_guest_sent_without_a_model_is_recognized(#[case] model: &str, #[case] replaces: Value, #[case] said: &str) {
    let world = pool(&json!({"commonModel": {"name": model, "replaces": replaces, "otherwise": "Deny"}}));
    let (guest, _) = mutated(&world, &vmi_of(&vm("web", "")), CONTROLLER);
    let guest = guest.tweak(|vmi| vmi["spec"]["domain"]["cpu"]["model"] = json!("host-model"));
    let reported = not_replaced(&world, &guest, CONTROLLER);
    assert!(reported.len() == 1 && reported[0].contains(said), "{reported:?}");
    let refused = denied(&world, &review(&guest));
    assert_eq!(refused.is_some(), model == SKYLAKE, "refused is only what the guest's own words bring about");
}

/// The model of an instancetype is changed there: KubeVirt refuses one in the template in addition.
#[test]
fn a_model_of_an_instancetype_is_not_the_templates() {
    let mut world = common("Deny");
    let instancetype = json!({"metadata": {"name": "u1"}, "spec": {"cpu": {"model": "Cascadelake-Server-noTSX"}}});
    world.cluster = cluster("1.9.0", intel(), [ClusterObject::Instancetype(read(instancetype))]);
    let web = vm("web", "").tweak(|vm| vm["spec"]["instancetype"] = json!({"name": "u1"}));
    let denial = denied(&world, &review(&web)).expect("it does not use the model");
    assert_eq!(denial.causes[0].field, "spec.instancetype.name");
    insta::assert_snapshot!(
        denial.causes[0].message,
        @"shop/web asks for Cascadelake-Server-noTSX of its instancetype u1, not the common CPU model Skylake-Server-noTSX-IBRS; change it there: KubeVirt refuses a model in the template beside it (policy intel-pool)"
    );
    // An instancetype without a model has the effect of no instancetype.
    world.cluster = cluster("1.9.0", intel(), [ClusterObject::Instancetype(read(json!({"metadata": {"name": "u1"}})))]);
    let warnings = admitted(&world, &review(&web));
    assert!(warnings[0].contains("shop/web will run with CPU model"), "{warnings:?}");
}

#[test]
fn arm_guests_are_admitted_under_every_policy() {
    let world = World { cluster: cluster("1.9.0", mixed(), Vec::new()), ..common("Deny") };
    let web = vm("web", "host-passthrough").tweak(|vm| vm["spec"]["template"]["spec"]["architecture"] = json!("arm64"));
    assert!(admitted(&world, &review(&web)).iter().all(|line| !line.contains("CPU model")));
    assert_eq!(mutated(&world, &vmi_of(&web), KUBECTL).0, vmi_of(&web));
}

/// A target pod under `DropStale`: patched, and reported by warning, Event and audit annotation; not on a dry
/// run.
#[test]
fn dropped_selector_entries_of_a_pod_are_reported() {
    let db = running("db", "node-a", "host-model");
    let mut world = pool(&json!({"launcherSelectors": "DropStale"}));
    world.cluster = cluster("1.9.0", intel(), [vmi(db.clone()), launcher(&db, [feature("fpu"), feature("amd-stibp")])]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "virt-launcher-db-", "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "job"},
            "ownerReferences": [{"kind": "VirtualMachineInstance", "name": "db", "uid": "uid-db"}]},
        "spec": {"nodeSelector": {feature("amd-stibp"): "true", feature("fpu"): "true"}},
    });
    let (after, answer) = mutated(&world, &pod, CONTROLLER);
    assert_eq!(after["spec"]["nodeSelector"], json!({feature("fpu"): "true"}));
    assert_eq!(answer.reports.iter().map(|report| report.reason).collect::<Vec<_>>(), [Reason::SelectorsDropped]);
    let Decision::Admit { audit, .. } = &answer.decision else { panic!("denied") };
    let warnings = answer.decision.warnings();
    assert!(
        warnings[0].starts_with("cpufit: shop/db") && audit.contains_key("dropped-selectors"),
        "{warnings:?} {audit:?}"
    );
    let dry = review(&pod).tweak(|review| review["request"]["dryRun"] = json!(true));
    assert!(answered(&world, Webhook::Mutate, &dry).reports.is_empty(), "an Event of what never happened");
}

/// Keys that will be dropped from the target pod do not block a migration, and its sender is warned about the
/// drop.
#[rstest]
#[case::stale("DropStale", json!({}), &["fpu", "amd-stibp"], "which no node offers any more (policy intel-pool)")]
#[case::relaxed("Keep", json!({"cpufit.io/relax": "true"}), &["fpu", "hle"], "so that node-d fits (migrate-db is annotated cpufit.io/relax)")]
fn a_migration_is_judged_by_the_entries_left_after_trimming(
    #[case] word: &str,
    #[case] annotations: Value,
    #[case] inherited: &[&str],
    #[case] why: &str,
) {
    let db = running("db", "node-a", "host-model");
    let world = |word: &str| {
        let mut nodes = intel();
        nodes.retain(|node| node.name != "node-c");
        nodes.iter_mut().filter(|node| node.name != "node-a").for_each(|node| {
            crate::testing::fleet::take(node, &[feature("hle")]);
        });
        World {
            cluster: cluster("1.9.0", nodes, [vmi(db.clone()), launcher(&db, inherited.iter().copied().map(feature))]),
            ..pool(&json!({"launcherSelectors": word, "enforce": "Pinned"}))
        }
    };
    let asked = migration("db").tweak(|vmim| vmim["metadata"]["annotations"] = annotations.clone());
    let warnings = admitted(&world(word), &review(&asked));
    assert!(
        warnings.iter().any(|line| line.starts_with("cpufit: shop/db: its target need not have") && line.contains(why)),
        "{warnings:?}"
    );
    assert!(warnings.iter().all(|line| !line.contains("cannot migrate")), "{warnings:?}");
    let plain = migration("db").tweak(|vmim| vmim["metadata"]["annotations"] = json!({}));
    assert!(denied(&world("Keep"), &review(&plain)).is_some(), "else nothing is shown by this");
}

/// A policy sets the model at each start, also after a restart: a plain restart is enough, and is offered with its
/// result.
#[test]
fn a_restart_gives_the_model_of_the_policy() {
    let guest = running("web", "node-c", "host-model");
    let world = World {
        cluster: cluster(
            "1.9.0",
            intel().tweak(|nodes| {
                give(
                    crate::testing::fleet::of(nodes, "node-c"),
                    [crate::testing::fleet::required("amx-bf16"), feature("amx-bf16")],
                );
            }),
            [ClusterObject::VirtualMachine(Box::new(read(vm("web", "")))), vmi(guest)],
        ),
        ..common("Warn")
    };
    let summaries = |world: &World| -> Vec<String> {
        let manifest = Manifest::Migration(Box::new(read(migration("web"))));
        let case = judge(world, &manifest, UserName::NOBODY, Depth::Full).expect("it is judged");
        let certain = case.verdict.findings.iter().flat_map(|finding| &finding.remedies);
        certain
            .filter(|remedy| matches!(remedy.action.id().as_str(), "restart" | "restart-with-common-model"))
            .map(|remedy| say::remedy::summary(&remedy.action, &case.prepared.subject))
            .collect()
    };
    let with_policy = format!("restart as it is: policy intel-pool gives it {SKYLAKE}");
    assert_eq!(summaries(&world), [with_policy], "an edit is asked for that the policy makes by itself");
    let without = World { policies: Vec::new(), ..world };
    assert_eq!(summaries(&without), [format!("restart with {SKYLAKE}")]);
}
