//! Causes are what changed; what a dump does not show is not called a change.

use super::*;

/// A guest whose launcher asks for more than its node has now: whether it did before is not known without nodes.
#[test]
fn no_guest_is_worse_off_than_in_a_dump_without_nodes() {
    let world = |nodes: Vec<Node>| {
        let guest = running("db", "node-a", "host-model");
        let pod = launcher(&guest, [feature("lost")]);
        World { cluster: cluster("1.9.0", nodes, [vmi(guest), pod]), policies: Vec::new() }
    };
    let found = diff(&world(Vec::new()), &world(intel()), &|_| true, &|_, _| {});
    assert_eq!(
        (found.worse, found.better, found.own_node.len()),
        (0, 0, 0),
        "a guest is blamed on no change: {found:?}"
    );
    assert!(found.lacks_guests, "a gate would pass though nothing is known of before");
}

/// Entries that guests inherited are unknown without launchers: where nodes changed, a guest may be worse off unnamed.
#[rstest]
#[case::nodes_changed(true, true, true)]
#[case::nodes_are_equal(false, true, false)]
#[case::launchers_are_known(true, false, false)]
fn two_dumps_without_launchers_are_not_called_equal_for_guests(
    #[case] are_changed: bool,
    #[case] are_lacking: bool,
    #[case] expected: bool,
) {
    let world = |is_new: bool| {
        let mut nodes = intel();
        if is_new && are_changed {
            nodes[0].labels.remove(&format!("{}fpu", label::CPU_FEATURE));
        }
        let guest = running("db", "node-a", "Skylake-Server-noTSX-IBRS");
        let pod = (!are_lacking).then(|| launcher(&guest, []));
        let objects: Vec<ClusterObject> = [vmi(guest)].into_iter().chain(pod).collect();
        World { cluster: cluster("1.9.0", nodes, objects), policies: Vec::new() }
    };
    let found = diff(&world(false), &world(true), &|_| true, &|_, _| {});
    let is_said = found.not_known.iter().any(|line| line.starts_with("neither dump holds any launcher pod"));
    assert_eq!((is_said, found.lacks_guests), (expected, expected), "a gate passes or fails wrongly: {found:?}");
}

/// A host model that requires one more feature: the key that changed on the node is named, so that it can be looked up.
#[rstest]
#[case::required_feature(label::HOST_MODEL_REQUIRED, "novel")]
#[case::host_model(label::HOST_MODEL_CPU, "Novel")]
fn the_label_of_its_own_node_that_made_a_guest_ask_for_more_is_named(#[case] family: &str, #[case] name: &str) {
    let key = format!("{family}{name}");
    let world = |is_new: bool| {
        let mut nodes = intel();
        if is_new {
            if family == label::HOST_MODEL_CPU {
                nodes[0].labels.retain(|key, _| !key.starts_with(family));
            }
            nodes[0].labels.insert(key.clone(), "true".to_owned());
        }
        let guest = running("db", "node-a", "host-model");
        let pod = launcher(&guest, []);
        World { cluster: cluster("1.9.0", nodes, [vmi(guest), pod]), policies: Vec::new() }
    };
    let found = diff(&world(false), &world(true), &|_| true, &|_, _| {});
    let [change] = found.guests.as_slice() else { panic!("the case is another one: {found:?}") };
    assert!(change.because.contains(&key), "what is named as the cause changed nowhere: {change:?}");
    assert!(found.nodes.iter().any(|node| node.gained.contains(&key)), "{:?}", found.nodes);
}
