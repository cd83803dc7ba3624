//! Tests of the risks that remedies state: what happens to guests whose pods select a label that is removed.

use crate::fit::fleet::Fleet;
use crate::fit::label::{self, Family};
use crate::fit::placement::Placement;
use crate::fit::remedy::{Action, Backing, RemoveLabels, RemoveTscLabel, RemoveVendorLabel};
use crate::fit::subject::{Migration, Stage, Subject};
use crate::testing::Tweak;
use crate::testing::fleet::{cascade_lake, give, required, set, vendor};

/// Whether pods of KubeVirt select labels of a family.
fn is_selected(family: Family) -> bool {
    matches!(
        family,
        Family::CpuFeature
            | Family::CpuModel
            | Family::CpuModelMigration
            | Family::CpuVendor
            | Family::Hyperv
            | Family::SchedulingTsc
            | Family::MachineType
            | Family::Schedulable
    )
}

/// A running pod fails at a restart of the kubelet if its node has lost a label that it selects: the risk says so for
/// these labels alone.
#[test]
fn a_risk_for_pods_is_stated_where_pods_select_the_removed_label() {
    let subject = Subject::new("shop", "db", Stage::Migration(Migration::default()), Placement::default());
    let node = cascade_lake("node-a").tweak(|node| {
        give(node, [vendor("AMD")]);
        set(node, label::TSC_FREQUENCY, "2000000000");
    });
    let (before, fleet) = (node.labels.clone(), Fleet::new(vec![node]));
    let node = || "node-a".to_owned();
    let labels = |backing| {
        let keys = vec![required("fpu"), required("vme")];
        Action::from(RemoveLabels { node: node(), keys, is_frozen: false, backing })
    };
    let removals = [
        labels(Backing::Labels),
        labels(Backing::TakesCpu),
        labels(Backing::Provided),
        RemoveVendorLabel { node: node(), keys: vec![vendor("AMD")], vendor: vendor("Intel") }.into(),
        RemoveTscLabel { node: node(), frequency: 1, is_frozen: false }.into(),
    ];
    for action in removals {
        let (_, after) = action.apply(&subject, &fleet);
        let removed: Vec<&String> = before.keys().filter(|key| !after[0].labels.contains_key(*key)).collect();
        assert!(!removed.is_empty(), "{action:?}");
        let is_selected = removed.iter().any(|key| is_selected(Family::of(key)));
        let risk = action.risk(&subject, &fleet);
        assert_eq!(risk.contains("die at a restart of the kubelet"), is_selected, "{removed:?}: {risk}");
    }
}
