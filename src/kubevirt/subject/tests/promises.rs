//! Remedies applied to the objects, with everything that KubeVirt derives from them.

use std::sync::Arc;

use super::*;
use crate::fit::bits::Bits;
use crate::fit::label;
use crate::fit::libvirt::{Accelerator, Answers, Cpu, GuestCpu, LibvirtAnswer};
use crate::testing::at_least;
use crate::testing::situation::Situation;
use crate::testing::thorough::one_in;
use crate::world::World;

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

#[rstest]
#[case::zone(ZONE, "z1")]
#[case::feature(&feature("gfni"), "true")]
#[case::model(&crate::testing::fleet::model("EPYC-Turin"), "true")]
#[case::vendor(&vendor("AMD"), "true")]
#[case::host_model("host-model-cpu.node.kubevirt.io/EPYC-Turin", "true")]
fn a_selector_that_is_changed_in_the_vm_sets_the_guest_free(#[case] key: &str, #[case] value: &str) {
    let guest = |own: Value| {
        running("db", "node-a", "EPYC-Rome").tweak(|db| {
            db["spec"]["domain"]["cpu"]["model"] = json!("Skylake-Server-noTSX-IBRS");
            db["spec"]["nodeSelector"] = own;
        })
    };
    let before = cluster("1.9.0", intel(), [vmi(guest(json!({key: value})))]);
    let remedy = find(&remedies(&of_migration(&read(request("db")), &before), &before), "change-node-selector");
    assert_eq!(after(intel(), vec![vmi(guest(json!({})))], request("db")), remedy.then_fits.0);
    let fleet = Fleet::new(intel());
    assert_eq!(fleet.len() - 1, remedy.then_fits.0);
}

#[rstest]
#[case::an_empty_term(json!([{}]))]
#[case::a_label_that_no_node_has(json!([{"matchExpressions": [{"key": ZONE, "operator": "Exists"}]}]))]
#[case::no_node(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-z"]}]}]))]
fn an_affinity_that_is_taken_out_of_the_vm_lets_the_guest_start(#[case] terms: Value) {
    let cluster = cluster("1.9.0", intel(), []);
    let start = |affinity: Value| {
        let guest = vm("db", "Skylake-Server-noTSX-IBRS").tweak(|vm| {
            vm["spec"]["template"]["spec"]["affinity"] = affinity;
        });
        of_vm(&read(guest), &cluster)
    };
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    let before = start(json!({"nodeAffinity": required}));
    let remedy = find(&remedies(&before, &cluster), "change-node-affinity");
    let fitting = start(json!({})).assess(&cluster).fitting.count();
    assert_eq!(remedy.then_fits, (fitting, fitting), "the guest stays down");
}

/// The migration of a guest with a named model selects what the guest requires, whatever the labels of its node are.
#[rstest]
#[case::required("Skylake-Server-IBRS", json!([{"name": "md-clear", "policy": "require"}]), json!({}), false)]
#[case::chosen("Skylake-Server-IBRS", json!([]), json!({feature("md-clear"): "true"}), false)]
#[case::host_model_requires_it("host-model", json!([{"name": "md-clear", "policy": "require"}]), json!({}), false)]
#[case::host_model("host-model", json!([]), json!({}), true)]
fn labels_are_removed_only_where_the_migration_copies_them(
    #[case] model: &str,
    #[case] features: Value,
    #[case] own: Value,
    #[case] expected: bool,
) {
    let labelled = |node: &mut Node| {
        give(node, [feature("md-clear"), required("md-clear"), super::model("Skylake-Server-IBRS")]);
    };
    let nodes = vec![
        cascade_lake("node-a").tweak(labelled),
        cascade_lake("node-c").tweak(|node| {
            labelled(node);
            take(node, &[feature("md-clear")]);
        }),
    ];
    let guest = running("db", "node-a", model).tweak(|db| {
        db["spec"]["domain"]["cpu"] = json!({"model": model, "features": features});
        db["spec"]["nodeSelector"] = own;
    });
    let known = cluster("1.8.4", nodes, [vmi(guest.clone())]);
    for is_asked in [false, true] {
        let mut prepared = of_running(&read(guest.clone()), &known).expect("it runs");
        prepared.subject.asked = is_asked.then(|| all_agree(["node-a", "node-c"]));
        let is_offered = remedies(&prepared, &known).iter().any(|it| matches!(it.action, Action::RemoveLabels(_)));
        assert_eq!(is_offered, expected, "guests are put at risk by a removal that sets none free");
    }
}

/// Answers of the libvirt of all nodes, which provide the guest's CPU.
fn all_agree<'n>(nodes: impl IntoIterator<Item = &'n str>) -> Answers {
    let cpu = Cpu { model: "Unheard-of".to_owned(), ..Cpu::default() };
    let agrees = |node: &str| (node.to_owned(), Ok(LibvirtAnswer::Superset));
    Answers {
        guest: Ok(GuestCpu { cpu, accelerator: Accelerator::Kvm }),
        nodes: Arc::new(nodes.into_iter().map(agrees).collect()),
        hosts: Arc::default(),
        silent_hosts: Arc::default(),
        own_node: None,
        losses: BTreeMap::new(),
        saved: true,
    }
}

/// In random situations, with and without answers of libvirt, a removal of labels leaves the promised number of
/// targets once its commands were run.
#[test]
fn removed_labels_leave_the_promised_targets() {
    let mut seen = [0; 2];
    for seed in 0..6_000 / one_in() as u64 {
        let situation = Situation::new(seed);
        let guests = situation.objects.iter().filter(|object| object["kind"] == "VirtualMachineInstance");
        let guests: Vec<Vmi> = guests.map(|guest| read(guest.clone())).collect();
        if guests.is_empty() {
            continue;
        }
        let world = situation.world();
        for (guest, is_asked) in guests.iter().flat_map(|guest| [(guest, false), (guest, true)]) {
            let prepare = |world: &World| {
                let fleet = &world.cluster.fleet;
                let mut out = of_running(guest, &world.cluster)?;
                let nodes = Bits::all(fleet.len());
                out.subject.asked = is_asked.then(|| all_agree(fleet.names(&nodes)));
                Some(out)
            };
            let Some(prepared) = prepare(&world) else { continue };
            for remedy in remedies(&prepared, &world.cluster) {
                let Action::RemoveLabels(remove) = &remedy.action else { continue };
                seen[usize::from(is_asked)] += 1;
                let mut after = situation.clone();
                let node = after.nodes.iter_mut().find(|node| node["metadata"]["name"] == *remove.node);
                let metadata = &mut node.expect("the guest's node")["metadata"];
                metadata["annotations"][label::SKIP_NODE] = json!("true");
                let labels = metadata["labels"].as_object_mut().expect("labels");
                labels.retain(|key, _| !remove.keys.contains(key));
                let world = after.world();
                let then = prepare(&world).expect("it runs").assess(&world.cluster);
                assert_eq!(
                    (then.fitting.count(), then.fitting.count()),
                    remedy.then_fits,
                    "{seed}: {remove:?} leaves another number of nodes than was said"
                );
            }
        }
    }
    assert!(seen.iter().all(|count| *count >= at_least(10)), "too few removals: {seen:?}");
}
