mod refusals;

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::fit::node::Node;
use crate::fit::verdict::{Cause, Impact, OutcomeWord};
use crate::judge::{Manifest, judge};
use crate::kubevirt::cluster::ClusterObject;
use crate::testing::cluster::{cluster, launcher, read, read_policy, running, vm, vmi};
use crate::testing::fleet::{
    CASCADE_LAKE, COMMON, ICE_LAKE, SKYLAKE, TSX, feature, ice_lake, intel, of, skylake, take,
};
use crate::testing::{NEVER, NO_TIME, Tweak};

fn features() -> Vec<String> {
    [&COMMON[..], &SKYLAKE, &CASCADE_LAKE, &TSX].concat().into_iter().map(feature).collect()
}

/// One guest of each kind: own node lost, stuck, one target left, fits, and two that are stopped.
fn world(policies: &[Value]) -> World {
    let nodes: Vec<Node> = intel().tweak(|nodes| take(of(nodes, "node-d"), &[feature("fpu")]));
    let mut objects: Vec<ClusterObject> = Vec::new();
    for (name, node, cpu, inherited) in [
        ("well", "node-a", "Skylake-Server-noTSX-IBRS", Vec::new()),
        ("ledger", "node-a", "host-model", [&features()[..], &[feature("gone")]].concat()),
        ("danger", "node-d", "host-model", features()),
        ("cache", "node-a", "host-model", features()),
        ("stuck", "node-e", "host-model", ICE_LAKE.map(feature).to_vec()),
    ] {
        let guest = running(name, node, cpu);
        objects.push(launcher(&guest, inherited));
        objects.push(vmi(guest));
    }
    for (name, model) in [("off", "Skylake-Server-noTSX-IBRS"), ("never", "EPYC-Genoa")] {
        objects.push(ClusterObject::VirtualMachine(Box::new(read(vm(name, model)))));
    }
    let policy = |spec: &Value| read_policy("pool", spec);
    World { cluster: cluster("1.9.0", nodes, objects), policies: policies.iter().map(policy).collect() }
}

fn one<'r>(rows: &'r [AuditRow], name: &str) -> &'r AuditRow {
    rows.iter().find(|row| row.name == name).expect("a row of that name")
}

#[test]
fn the_worst_comes_first() {
    let rows = audit(&world(&[]), NEVER);
    let order: Vec<(&str, &str)> = rows.iter().map(|row| (row.name.as_str(), row.state.as_str())).collect();
    let expected = [
        ("ledger", "OWN-NODE"),
        ("danger", "OWN-NODE"),
        ("never", "CANNOT-START"),
        ("stuck", "STUCK"),
        ("cache", "FRAGILE"),
        ("off", "FITS"),
        ("well", "FITS"),
    ];
    assert_eq!(order, expected, "what is urgent would be read last, or not at all");
}

/// The audit agrees with the webhook's answer to the same guest's migration.
#[test]
fn a_guest_is_judged_by_what_is_left_of_its_selector() {
    let row = |selectors: &str| {
        let rows = audit(&world(&[json!({"launcherSelectors": selectors})]), NEVER);
        let row = one(&rows, "ledger");
        (row.verdict, row.targets, row.inherited == features().len() + 1, row.stale.clone())
    };
    let stale = vec!["gone".to_owned()];
    assert_eq!(row("Keep"), (OutcomeWord::Pinned, 0, true, stale.clone()));
    assert_eq!(row("DropStale"), (OutcomeWord::Fragile, 1, true, stale), "it would be counted as stuck and is not");
}

/// A guest that fits and whose model leaves many nodes out has that in its row, whether it runs or not.
#[rstest]
#[case::runs(true)]
#[case::stopped(false)]
fn a_model_that_leaves_many_nodes_out_is_in_the_row(#[case] runs: bool) {
    const MODEL: &str = "Icelake-Server-noTSX";
    let nodes = ["i1", "i2", "i3"].map(ice_lake).into_iter().chain(["s1", "s2", "s3"].map(skylake)).collect();
    let live = runs.then(|| vmi(running("web", "i1", MODEL)));
    let objects = [ClusterObject::VirtualMachine(Box::new(read(vm("web", MODEL))))].into_iter().chain(live);
    let world = World { cluster: cluster("1.9.0", nodes, objects), policies: Vec::new() };
    let rows = audit(&world, NEVER);
    let why = &one(&rows, "web").at_next_start.why;
    assert!(
        why.contains("leaves out 3 of 6 nodes that could take the guest (s1, s2, s3)"),
        "the loss is not seen: {why}"
    );
}

#[test]
fn each_row_of_an_audit_has_its_reason() {
    let rows = audit(&world(&[]), NEVER);
    let rows_of: Vec<String> = rows.iter().map(|row| format!("{}: {}", row.guest, row.why)).collect();
    insta::assert_snapshot!(rows_of.join("\n"), @r"
    shop/ledger: its own node node-a no longer meets its pod's selector (cpu-feature gone): a restart of the kubelet there would fail the running guest
    shop/danger: its own node node-d no longer meets its pod's selector (cpu-feature fpu): a restart of the kubelet there would fail the running guest
    shop/never: cannot start: no node offers cpu-model EPYC-Genoa, which its selector requires
    shop/stuck: node-a lacks cpu-feature gfni, vaes (other hardware)
    shop/cache: only node-c is left; node-d lacks cpu-feature fpu
    shop/off: 
    shop/well:
    ");
}

#[test]
fn the_json_row_of_an_audit_has_the_fields_that_scripts_read() {
    let rows =
        audit(&world(&[json!({"enforce": "Pinned", "commonModel": {"name": "Skylake-Server-noTSX-IBRS"}})]), NEVER);
    let ledger = one(&rows, "ledger");
    assert_eq!((ledger.targets, ledger.judged, ledger.inherited), (0, 4, 23));
    assert_eq!(
        (ledger.impact, ledger.cause, ledger.stale.as_slice()),
        (Some(Impact::Pinned), Some(Cause::Structural), ["gone".to_owned()].as_slice())
    );
    assert_eq!((ledger.policy.as_deref(), ledger.on_common_model), (Some("pool"), Some(false)));
    assert_eq!(ledger.answer, PolicyAnswer::Deny);
    let well = one(&rows, "well");
    assert_eq!((well.on_common_model, well.answer, well.stand), (Some(true), PolicyAnswer::Admit, LifeStage::Running));
    let off = one(&rows, "off");
    assert_eq!((off.stand, off.node.as_deref(), off.start_nodes), (LifeStage::Stopped, None, Some(5)));
}

/// The number of guests that a policy would deny or warn about if a person requested them.
#[rstest]
#[case::built_in(None, 0, 5)]
#[case::enforced(Some(json!({"enforce": "Pinned"})), 3, 2)]
#[case::exempt(Some(json!({"enforce": "Pinned", "exemptions": {"namespaces": ["shop"]}})), 0, 5)]
#[case::quiet_but_for_danger(Some(json!({"warn": "None"})), 0, 2)]
fn a_policy_is_tried_before_it_is_enforced(#[case] spec: Option<Value>, #[case] denied: usize, #[case] warned: usize) {
    let rows = audit(&world(&Vec::from_iter(spec)), NEVER);
    let count = |answer: PolicyAnswer| rows.iter().filter(|row| row.answer == answer).count();
    assert_eq!((count(PolicyAnswer::Deny), count(PolicyAnswer::Warn)), (denied, warned), "{rows:#?}");
}

/// A dry run of a common model: the guests that get another CPU at the next start.
#[test]
fn the_guests_whose_model_a_policy_would_change_are_counted() {
    let world = |spec: Value| {
        let mut world = world(&[spec]);
        let (template, web) = (vm("web", ""), running("web", "node-a", "host-model"));
        let replaced = running("replaced", "node-a", "Skylake-Server-noTSX-IBRS");
        let objects = [
            ClusterObject::VirtualMachine(Box::new(read(template))),
            ClusterObject::VirtualMachine(Box::new(read(vm("replaced", "host-model")))),
            ClusterObject::VirtualMachine(Box::new(read(vm("idle", "host-model")))),
            vmi(running("alone", "node-a", "host-passthrough")),
            vmi(web),
            vmi(replaced),
        ];
        world.cluster = cluster("1.9.0", intel(), objects);
        world
    };
    let rows_of = |spec: Value| {
        let mut rows = audit(&world(spec), NEVER);
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        let line = |row: &AuditRow| format!("{}: {}", row.name, json!(row.change));
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(rows_of(json!({"commonModel": {"name": "Skylake-Server-noTSX-IBRS"}})), @r#"
    alone: null
    idle: {"model":"Skylake-Server-noTSX-IBRS","replaces":"HostModel"}
    replaced: null
    web: {"model":"Skylake-Server-noTSX-IBRS","replaces":"Unset"}
    "#);
    insta::assert_snapshot!(rows_of(json!({"commonModel": {"name": "EPYC-Rome"}})), @"
    alone: null
    idle: null
    replaced: null
    web: null
    ");
    insta::assert_snapshot!(rows_of(json!({})), @"
    alone: null
    idle: null
    replaced: null
    web: null
    ");
}

/// A stopped guest is on no model; the audit counts those that the policy's status counts.
#[test]
fn guests_off_the_common_model_are_counted_as_in_the_status() {
    for model in ["Skylake-Server-noTSX-IBRS", "EPYC-Rome"] {
        let world = world(&[json!({"commonModel": {"name": model}})]);
        let rows = audit(&world, NEVER);
        let stopped: Vec<&AuditRow> = rows.iter().filter(|row| row.stand == LifeStage::Stopped).collect();
        assert!(!stopped.is_empty(), "{rows:?}");
        for row in stopped {
            assert_eq!(row.on_common_model, None, "{} has no CPU that could be another one", row.name);
        }
        let off = rows.iter().filter(|row| row.on_common_model == Some(false)).count();
        let statuses = crate::answers::status::statuses(&world, NEVER, NO_TIME);
        assert_eq!(off, statuses[0].not_compliant, "two numbers for one question");
    }
}

#[test]
fn a_guest_that_has_ended_is_no_guest() {
    let ended = running("done", "node-a", "host-model").tweak(|vmi| vmi["status"]["phase"] = json!("Succeeded"));
    let cluster = cluster("1.9.0", intel(), [vmi(ended)]);
    assert_eq!(audit(&World { cluster, policies: Vec::new() }, NEVER), Vec::new());
}

#[test]
fn an_audit_ends_at_its_deadline() {
    assert_eq!(audit(&world(&[]), &|| true), Vec::new());
}

/// The denials that the audit counts are those that the webhook answers to the same object.
#[rstest]
#[case::enforced(json!({"enforce": "Unschedulable"}))]
#[case::another_model(json!({"commonModel": {"name": "Cascadelake-Server", "replaces": ["HostModel"], "otherwise": "Deny"}}))]
#[case::replaced(json!({"enforce": "Fragile", "commonModel": {"name": "Skylake-Server-noTSX-IBRS", "replaces": ["Named"]}}))]
#[case::exempt(json!({"enforce": "Fragile", "exemptions": {"namespaces": ["shop"]}}))]
fn the_audit_denies_what_the_webhook_denies(#[case] spec: Value) {
    let world = world(&[spec]);
    for row in audit(&world, NEVER) {
        let object = match row.stand {
            LifeStage::Stopped | LifeStage::RunningUnseen | LifeStage::NotKnown => {
                vm(&row.name, if row.name == "never" { "EPYC-Genoa" } else { "Skylake-Server-noTSX-IBRS" })
            }
            LifeStage::Running | LifeStage::Starting => crate::testing::cluster::migration(&row.name),
        };
        let manifest = match object["kind"].as_str() {
            Some("VirtualMachine") => Manifest::VirtualMachine(Box::new(read(object))),
            _ => Manifest::Migration(Box::new(read(object))),
        };
        let case = judge(&world, &manifest, &"kubernetes-admin".into(), Depth::Full).expect("it is judged");
        assert_eq!(row.answer == PolicyAnswer::Deny, case.ruling.denies(), "{}: {:#?}", row.guest, case.decision);
        assert_eq!(row.answer == PolicyAnswer::Admit, case.decision == crate::admission::response::Decision::admit());
    }
}

#[test]
fn exposures_of_a_guest_to_the_next_upgrade_are_listed() {
    let mut many = running("many", "node-a", "host-model");
    many["spec"]["domain"]["cpu"]["sockets"] = json!(2);
    many["spec"]["domain"]["cpu"]["cores"] = json!(2);
    let mut old = running("old", "node-a", "Skylake-Server-noTSX-IBRS");
    old["metadata"]["labels"] = json!({"kubevirt.io/outdatedLauncherImage": ""});
    old["spec"]["domain"]["cpu"]["cores"] = json!(8);
    let moved = running("moved", "node-a", "host-model");
    let still = running("still", "node-a", "host-model");
    let mut objects = vec![launcher(&moved, features())];
    objects.extend([many, old, moved, still].map(vmi));
    let world = World { cluster: cluster("1.9.0", intel(), objects), policies: Vec::new() };
    let rows = audit(&world, NEVER);
    let found: Vec<(&str, &[&str])> =
        ["many", "moved", "old", "still"].map(|name| (name, &one(&rows, name).exposed[..])).to_vec();
    let expected: [(&str, &[&str]); 4] = [
        ("many", &["host-model-vcpus"]),
        ("moved", &["inherited-selectors"]),
        ("old", &["outdated-launcher"]),
        ("still", &[]),
    ];
    assert_eq!(found, expected);
}

/// A guest that KubeVirt will not migrate has no target at its next start, however many nodes it may start on.
#[rstest]
#[case::migratable(json!({}), "fits", (4, 4), "")]
#[case::refused(json!({"features": {"hypervPassthrough": {"enabled": true}}}), "pinned", (0, 0), "KubeVirt will not migrate it: HypervPassthroughNotLiveMigratable")]
fn a_guest_that_kubevirt_will_not_migrate_is_pinned_at_its_next_start(
    #[case] domain: Value,
    #[case] expected: &str,
    #[case] targets: (usize, usize),
    #[case] why: &str,
) {
    let mut stored = vm("db", "Skylake-Server-noTSX-IBRS");
    json_patch::merge(&mut stored["spec"]["template"]["spec"]["domain"], &domain);
    let objects = [ClusterObject::VirtualMachine(Box::new(read(stored)))];
    let world = World { cluster: cluster("1.9.0", intel(), objects), policies: Vec::new() };
    let rows = audit(&world, &NEVER);
    let next = &rows[0].at_next_start;
    let found = (next.verdict.as_str(), (next.targets.min, next.targets.max), next.start_nodes);
    assert_eq!(found, (expected, targets, Some(5)), "{}", next.why);
    assert!(next.why.starts_with(why) && next.why.is_empty() == why.is_empty(), "{}", next.why);
}
