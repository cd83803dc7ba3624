//! Remedies applied to the objects, with everything that KubeVirt derives from them.

use super::*;

fn after(cluster_nodes: Vec<Node>, objects: Vec<ClusterObject>, asked: Value) -> usize {
    let cluster = cluster("1.9.0", cluster_nodes, objects);
    of_migration(&read(asked), &cluster).assess(&cluster).fitting.count()
}

fn find(all: &[Remedy], id: &str) -> Remedy {
    all.iter().find(|remedy| remedy.action.id().as_str() == id).unwrap_or_else(|| panic!("no {id} in {all:#?}")).clone()
}

#[test]
fn labels_removed_from_the_source_are_not_required() {
    let guest = running("db", "node-a", "host-model");
    let objects = || vec![vmi(guest.clone()), launcher(&guest, [machine("q35")])];
    let nodes = vec![cascade_lake("node-a"), cascade_lake("node-c").tweak(|n| take(n, &[feature("vme")]))];
    let before = cluster("1.9.0", nodes.clone(), objects());
    let remedy = find(&remedies(&of_migration(&read(request("db")), &before), &before), "remove-labels");
    let Action::RemoveLabels(RemoveLabels { node, keys, .. }) = &remedy.action else { panic!("{remedy:?}") };
    assert_eq!((node.as_str(), keys.as_slice()), ("node-a", &[required("vme")][..]));
    let nodes = nodes.tweak(|nodes| take(of(nodes, node), keys));
    assert_eq!(after(nodes, objects(), request("db")), remedy.then_fits.0, "KubeVirt asks for it all the same");
}

#[rstest]
#[case::arch_stays(json!({label::ARCH: "amd64", ZONE: "z9"}))]
#[case::the_sources_vendor_comes_back(json!({"cpu-vendor.node.kubevirt.io/AMD": "true"}))]
fn the_remedy_that_drops_the_added_selector_helps(#[case] added: Value) {
    let objects = || vec![vmi(running("db", "node-a", "host-passthrough"))];
    let asked = request("db").tweak(|r| r["spec"]["addedNodeSelector"] = added);
    let nodes = mixed().tweak(|nodes| {
        cordon(of(nodes, "amd-2"));
        cordon(of(nodes, "amd-3"));
        // Everything on this node fits except its architecture.
        give(of(nodes, "arm-1"), [machine("q35"), vendor("Intel")]);
    });
    let before = cluster("1.9.0", nodes.clone(), objects());
    let remedy = find(&remedies(&of_migration(&read(asked), &before), &before), "drop-added-node-selector");
    assert_eq!(after(nodes, objects(), request("db")), remedy.then_fits.0, "another number of nodes than was said");
}

/// A feature in the guest's own selector is copied from its launcher from then on: its spec no longer matters.
#[test]
fn an_inherited_feature_is_not_cured_by_the_spec() {
    let guest = running("db", "node-e", "host-model").tweak(|db| {
        db["spec"]["nodeSelector"] = json!({feature("gfni"): "true", ZONE: "z1"});
    });
    let nodes = intel().tweak(|nodes| {
        set(of(nodes, "node-e"), ZONE, "z1");
        give(of(nodes, "node-d"), [feature("gfni")]);
    });
    let cluster = cluster("1.9.0", nodes, [vmi(guest.clone()), launcher(&guest, [feature("gfni")])]);
    let remedy = find(&remedies(&of_migration(&read(request("db")), &cluster), &cluster), "change-node-selector");
    let Action::ChangeSelector(ChangeSelector { keys }) = &remedy.action else { panic!("{remedy:?}") };
    assert_eq!(
        (keys.as_slice(), remedy.then_fits),
        (&[ZONE.to_owned()][..], (1, 1)),
        "people edit the VM and less changes than was said"
    );
}

#[test]
fn a_selector_that_is_changed_in_the_vm_sets_the_guest_free() {
    let guest = |zone: Option<&str>| {
        running("db", "node-a", "EPYC-Rome").tweak(|db| {
            db["spec"]["domain"]["cpu"]["model"] = json!("Skylake-Server-noTSX-IBRS");
            db["spec"]["nodeSelector"] = zone.map_or(json!({}), |zone| json!({ZONE: zone}));
        })
    };
    let before = cluster("1.9.0", intel(), [vmi(guest(Some("z1")))]);
    let remedy = find(&remedies(&of_migration(&read(request("db")), &before), &before), "change-node-selector");
    assert_eq!(after(intel(), vec![vmi(guest(None))], request("db")), remedy.then_fits.0);
    let fleet = Fleet::new(intel());
    assert_eq!(fleet.len() - 1, remedy.then_fits.0);
}
