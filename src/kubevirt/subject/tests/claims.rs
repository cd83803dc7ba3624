//! Statements about a guest that hold only for some releases, or only as far as objects are known.

use super::*;
use crate::fit::verdict::Unknown;
use crate::testing::fleet::host;

/// Without the guest, the target pod of a first migration looks like that of a later one between equal nodes.
#[rstest]
#[case::as_its_node_says(&["fpu", "vme"], &["fpu", "vme"], false)]
#[case::less_than_its_node_says(&["fpu", "vme"], &["fpu"], false)]
#[case::more_than_its_node_says(&["fpu"], &["fpu", "vme"], true)]
fn entries_that_the_source_labels_give_are_not_called_inherited(
    #[case] labelled: &[&str],
    #[case] asked: &[&str],
    #[case] expected: bool,
) {
    let nodes = mixed().into_iter().map(|node| {
        node.tweak(|node| {
            node.labels.retain(|key, _| !key.starts_with(label::HOST_MODEL_REQUIRED));
            give(node, labelled.iter().map(|name| required(name)));
        })
    });
    let known = cluster("1.9.0", nodes.collect(), []);
    let labels =
        json!({"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "job", "kubevirt.io/nodeName": "node-a"});
    let keys: Vec<String> = asked.iter().map(|name| feature(name)).collect();
    let prepared = of_pod(&pod(&labels, &selector(&keys)), &known).expect("a launcher");
    let Stage::Migration(migration) = &prepared.subject.stage else { panic!("a target") };
    assert_eq!((migration.inherited, migration.may_be_first), (expected, !expected));
    let verdict = prepared.judge(&known, Depth::Full);
    let speaks_of_inheritance = verdict.not_helping.iter().any(|not| {
        use crate::fit::remedy::{NoDrop, NoRemoval, WhyNot};
        matches!(not.why, WhyNot::Removal(NoRemoval::Inherited) | WhyNot::Drop(NoDrop::NothingInherited))
    });
    assert!(expected || !speaks_of_inheritance, "what is not known is said: {:?}", verdict.not_helping);
}

#[rstest]
#[case::aborted(json!({"abortRequested": true, "abortStatus": "Succeeded"}), false)]
#[case::the_abort_failed(json!({"abortRequested": true, "abortStatus": "Failed"}), true)]
#[case::it_gave_up_by_itself(json!({"abortStatus": "Succeeded"}), true)]
#[case::it_failed(json!({}), true)]
fn a_migration_that_a_user_aborted_did_not_fail(#[case] more: Value, #[case] expected: bool) {
    let guest = running("db", "node-a", "host-model").tweak(|db| {
        let mut state = json!({"failed": true, "targetNode": "node-b", "failureReason": "Live migration aborted "});
        state.as_object_mut().into_iter().for_each(|state| state.extend(more.as_object().cloned().unwrap_or_default()));
        db["status"]["migrationState"] = state;
    });
    let known = cluster("1.9.0", mixed(), [vmi(guest.clone())]);
    let failed = of_running(&read(guest), &known).expect("it runs").subject.failed;
    assert_eq!(failed.is_some(), expected, "a drain is feared, or a failure is not seen");
}

#[rstest]
#[case::unknown("Unknown", true)]
#[case::scheduling("Scheduling", false)]
#[case::pending("Pending", false)]
fn a_guest_whose_node_does_not_report_starts_nowhere_else(#[case] phase: &str, #[case] expected: bool) {
    let guest = running("db", "node-a", "host-model").tweak(|db| db["status"]["phase"] = json!(phase));
    let known = cluster("1.9.0", mixed(), [vmi(guest.clone())]);
    let outcome = of_vmi(&read(guest), &known).assess(&known).outcome;
    let is_so =
        matches!(&outcome, Outcome::Unknown(Unknown::NotJudged(why)) if why.contains("node-a, where it may still run"));
    assert_eq!(is_so, expected, "a guest that may run is said to start elsewhere: {outcome:?}");
}

/// `LowestTSCFrequencyOnCluster` counts all nodes until 1.0.0.
#[rstest]
#[case::before("1.0.0", 1_800_000_000)]
#[case::after("1.0.1", 2_100_000_000)]
#[case::now("1.9.0", 2_100_000_000)]
fn the_frequency_of_a_node_that_is_not_schedulable_counts_in_old_releases(
    #[case] release: &str,
    #[case] expected: i64,
) {
    let tsc = |name: &str, hz: i64, schedulable: &str| {
        host(name, "Intel", "Cascadelake-Server", &[], &[]).tweak(|node| {
            set(node, label::TSC_FREQUENCY, &hz.to_string());
            set(node, label::SCHEDULABLE, schedulable);
        })
    };
    let nodes = vec![tsc("n1", 2_100_000_000, "true"), tsc("n2", 1_800_000_000, "false")];
    let known = cluster(release, nodes, []);
    let guest = vm("db", "host-model").tweak(|vm| {
        vm["spec"]["template"]["spec"]["architecture"] = json!("amd64");
        vm["spec"]["template"]["spec"]["domain"]["cpu"]["features"] = json!([{"name": "invtsc", "policy": "require"}]);
    });
    let prepared = of_vm(&read(guest), &known);
    let key = format!("scheduling.node.kubevirt.io/tsc-frequency-{expected}");
    let selector = &prepared.subject.placement.selector;
    assert!(selector.iter().any(|(known, _)| *known == key), "another frequency is predicted: {selector:?}");
}

/// Dumps of which labels were cut out name what they lack, not the node affinity.
#[rstest]
#[case::cut_out(true)]
#[case::whole(false)]
fn a_dump_without_the_labels_of_the_kubelet_is_called_that(#[case] is_cut: bool) {
    let nodes: Vec<Node> = intel()
        .into_iter()
        .map(|node| {
            node.tweak(|node| {
                if is_cut {
                    node.labels.remove(label::ARCH);
                }
            })
        })
        .collect();
    let guest = running("db", "node-a", "host-model").tweak(|db| db["spec"]["architecture"] = json!("amd64"));
    let known = cluster("1.9.0", nodes, [vmi(guest.clone())]);
    let prepared = of_running(&read(guest), &known).expect("it runs");
    let verdict = prepared.judge(&known, Depth::Full);
    let notes: Vec<&str> = prepared.notes.iter().filter_map(|note| note.words()).collect();
    assert_eq!(
        notes.iter().any(|words| words.contains("no node here has the label kubernetes.io/arch")),
        is_cut,
        "{notes:?}"
    );
    if is_cut {
        let why = crate::say::obstacles(&verdict);
        assert!(why.contains("lacks kubernetes.io/arch=amd64") && !why.contains("affinity"), "{why}");
    }
}
