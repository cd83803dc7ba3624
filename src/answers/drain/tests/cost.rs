//! Growth of the work with the cluster, in steps that are counted, not in time.

use super::*;
use crate::answers::drain::work::counted;
use crate::testing::fleet::{cascade_lake, skylake};

/// Makes a cluster of `count` racks. In each rack two nodes are alike and one of them is cordoned, the third has a
/// feature of its own that a guest there asks for, another guest there is being deleted, and three guests of two sizes
/// can leave.
fn racks(count: usize, volumes: bool) -> World {
    let (mut nodes, mut guests) = (Vec::new(), Vec::new());
    for rack in 0..count {
        let name = |node: &str| format!("node-{rack:04}-{node}");
        let own = feature(&format!("own-{rack:04}"));
        let mut special = cascade_lake(&name("a"));
        special.labels.insert(own.clone(), "true".to_owned());
        let mut closed = skylake(&name("b"));
        cordon(&mut closed);
        nodes.extend([special, closed, skylake(&name("c"))]);
        let bound = migrated(&format!("bound-{rack}"), &name("a")).0;
        guests.push((launcher(&bound, [own]), bound, "2"));
        for (at, cores) in ["1", "1", "4"].into_iter().enumerate() {
            let guest = live(running(&format!("web-{rack}-{at}"), &name("c"), "Skylake-Server-noTSX-IBRS"));
            guests.push((launcher(&guest, []), guest, cores));
        }
        let ends = live(running(&format!("ends-{rack}"), &name("a"), "Skylake-Server-noTSX-IBRS"))
            .tweak(|guest| guest["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
        guests.push((launcher(&ends, []), ends, "1"));
    }
    if volumes {
        for (_, guest, _) in &mut guests {
            guest["spec"]["volumes"] =
                json!([{"name": "root", "persistentVolumeClaim": {"claimName": guest["metadata"]["name"]}}]);
        }
    }
    let claims = guests.iter().filter(|_| volumes).flat_map(|(_, guest, _)| {
        let (name, node) = (guest["metadata"]["name"].clone(), guest["status"]["nodeName"].clone());
        let volume = format!("pv-{}", name.as_str().unwrap_or_default());
        let hosts =
            json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]);
        [
            ClusterObject::Claim(read(
                json!({"metadata": {"namespace": "shop", "name": name}, "spec": {"volumeName": volume}}),
            )),
            ClusterObject::Volume(read(json!({
                "metadata": {"name": volume}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": hosts}}}}))),
        ]
    });
    let claims: Vec<ClusterObject> = claims.collect();
    let cores: Vec<(String, &str)> = nodes.iter().map(|node| (node.name.clone(), "16")).collect();
    let cores: Vec<(&str, &str)> = cores.iter().map(|(node, cores)| (node.as_str(), *cores)).collect();
    let pods: Vec<(String, String, &str)> = guests
        .iter()
        .map(|(_, guest, cores)| {
            let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (of(&guest["status"]["nodeName"]), of(&guest["metadata"]["name"]), *cores)
        })
        .collect();
    let pods: Vec<(&str, Option<&str>, &str)> =
        pods.iter().map(|(node, name, cores)| (node.as_str(), Some(name.as_str()), *cores)).collect();
    let objects = guests.iter().map(|(pod, guest, _)| [vmi(guest.clone()), pod.clone()]).collect::<Vec<_>>();
    let objects = objects.into_iter().flatten().chain(claims).collect::<Vec<_>>();
    with_room(world(nodes, objects), &cores, &pods)
}

/// A cluster four times as large takes about four times the steps.
#[rstest]
#[case::free_volumes(false)]
#[case::local_volumes(true)]
fn the_drain_of_all_nodes_takes_steps_in_proportion_to_the_cluster(#[case] volumes: bool) {
    let steps = |count: usize| {
        let world = racks(count, volumes);
        let mut found = None;
        let steps = counted(|| found = Some(drain(&world, &world.cluster.fleet.in_name_order(), true, &|_, _| {})));
        let found = found.expect("an answer");
        let stuck: usize = found.nodes.iter().map(|node| node.count(State::Stuck)).sum();
        assert_eq!(stuck, if volumes { 4 * count } else { count }, "not the cluster that is meant");
        steps
    };
    let (small, large) = (steps(20), steps(80));
    assert!(large <= 5 * small, "an upgrade of four times the nodes takes {large} steps instead of {small}");
}
