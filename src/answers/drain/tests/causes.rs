//! Guests that several causes together keep on their node: the least to do opens the node and changes the guest.

use super::*;
use crate::testing::fleet::{cascade_lake, skylake};

fn pinned(guest: Value) -> Value {
    guest.tweak(|guest| guest["spec"]["nodeSelector"] = json!({"rack": "r1"}))
}

fn of_rack(node: Node, rack: &str) -> Node {
    node.tweak(|node| drop(node.labels.insert("rack".to_owned(), rack.to_owned())))
}

fn cordoned(node: Node) -> Node {
    node.tweak(cordon)
}

fn drifted(node: Node) -> Node {
    node.tweak(|node| take(node, &[feature("fpu"), feature("vme")]))
}

fn unwell(node: Node) -> Node {
    node.tweak(|node| drop(node.labels.insert(label::SCHEDULABLE.to_owned(), "false".to_owned())))
}

fn by_name(model: &str) -> Value {
    live(running("db", "node-a", model))
}

/// One guest on node-a, and one other node; the acts that free it, and the causes to look at if none does.
#[rstest]
#[case::of_another_rack_and_cordoned(
    pinned(migrated("db", "node-a").0), of_rack(cordoned(cascade_lake("node-b")), "r2"),
    Some(&["uncordon", "change-node-selector"][..]), &[], &[]
)]
#[case::of_another_rack_cordoned_and_drifted(
    pinned(migrated("db", "node-a").0), of_rack(drifted(cordoned(cascade_lake("node-b"))), "r2"),
    Some(&["uncordon", "change-together"][..]), &[], &[]
)]
#[case::another_model_and_cordoned(
    by_name("Cascadelake-Server"), cordoned(skylake("node-b")),
    Some(&["uncordon", "restart-with-common-model"][..]), &[], &[]
)]
#[case::cordoned_and_drifted(
    migrated("db", "node-a").0, drifted(cordoned(cascade_lake("node-b"))), Some(&["uncordon", "add-labels"][..]), &[], &[]
)]
#[case::cordoned_drifted_and_unwell(
    migrated("db", "node-a").0, unwell(drifted(cordoned(cascade_lake("node-b")))), None, &["mend-virt-handler"],
    &["uncordon", "add-labels"]
)]
#[case::cordoned_and_unwell(migrated("db", "node-a").0, unwell(cordoned(cascade_lake("node-b"))), None, &["mend-virt-handler"], &["uncordon"])]
#[case::unwell(migrated("db", "node-a").0, unwell(cascade_lake("node-b")), None, &["mend-virt-handler"], &[])]
fn a_guest_that_several_causes_keep_is_freed_by_several_acts(
    #[case] guest: Value,
    #[case] other: Node,
    #[case] expected: Option<&[&str]>,
    #[case] looks: &[&str],
    #[case] besides: &[&str],
) {
    let own = of_rack(cascade_lake("node-a"), "r1");
    let inherited = [&COMMON[..], &SKYLAKE, &CASCADE_LAKE, &TSX].concat().into_iter().map(feature);
    let is_host_model = guest["spec"]["domain"]["cpu"]["model"] == "host-model";
    let pod = if is_host_model { launcher(&guest, inherited) } else { launcher(&guest, []) };
    let found = drained(&world(vec![own, other], [vmi(guest), pod]), "node-a");
    let ids = found.least_to_do.as_ref().map(|steps| steps.iter().map(|step| step.id).collect::<Vec<_>>());
    assert_eq!(ids.as_deref(), expected, "a person learns that nothing helps, and two changes would: {found:#?}");
    let to_look_at: Vec<&str> = found.to_look_at.iter().map(|step| step.id).collect();
    assert_eq!(to_look_at, looks, "{found:#?}");
    let then: Vec<&str> = found.to_look_at.iter().flat_map(|step| &step.then).map(|step| step.id).collect();
    assert_eq!(then, besides, "the cause is fixed, and the node stays closed: {found:#?}");
}

/// A restart under a policy with a common model gives the guest that model: it is not bound again.
#[rstest]
#[case::under_a_policy(true, "the guest sees another CPU")]
#[case::without_one(false, "it is bound again, to the host model of the node where it starts")]
fn a_restart_has_the_risk_that_the_policy_brings(#[case] is_governed: bool, #[case] risk: &str) {
    let objects = [
        vmi(live(running("db", "node-a", "host-model"))),
        ClusterObject::VirtualMachine(Box::new(read(vm("db", "host-model")))),
    ];
    let nodes = vec![cascade_lake("node-a"), skylake("node-b"), skylake("node-c"), cordoned(cascade_lake("node-d"))];
    let nodes = nodes.into_iter().map(|node| if node.name == "node-d" { drifted(node) } else { node }).collect();
    let mut known = world(nodes, objects);
    let policy = || read_policy("pool", &json!({"commonModel": {"name": SKY}}));
    known.policies = is_governed.then(policy).into_iter().collect();
    let found = drained(&known, "node-a");
    let [restart] = found.least_to_do.as_deref().unwrap_or_default() else { panic!("other acts: {found:#?}") };
    assert_eq!((restart.id, &*restart.risk), ("restart", risk), "the guest would be bound again, or is said to be");
}
