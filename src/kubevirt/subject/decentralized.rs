//! Decentralized migrations, between clusters or namespaces: a guest that waits for its source gets no pod, and without
//! the feature gate KubeVirt refuses the run strategy and the migration.

use super::finding;
use crate::fit::shown::{Shown, TITLE_CHARS};
use crate::fit::verdict::{Check, Finding};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::feature_gate::FeatureGate;
use crate::kubevirt::migration::{NoPod, is_synchronized};
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire::{Meta, VirtualMachine, Vmi, Vmim, is_final};
use crate::well_known;

/// The feature gate of decentralized migration.
const GATE: FeatureGate = FeatureGate::DecentralizedLiveMigration;
/// The run strategy of a VirtualMachine that takes in a guest from elsewhere.
const WAIT_AS_RECEIVER: &str = "WaitAsReceiver";

/// Whether the VMI that a VirtualMachine starts is the target of a decentralized migration. Mirrors `startVMI` of
/// `pkg/virt-controller/watch/vm/vm.go`.
pub(crate) fn waits_as_receiver(vm: &VirtualMachine) -> bool {
    vm.spec.run_strategy == WAIT_AS_RECEIVER
}

/// Whether a VMI with this metadata waits as the target of a decentralized migration, and gets no pod as a start.
/// Mirrors `IsMigrationTarget` of `staging/src/kubevirt.io/api/core/v1/types.go` and `sync` of
/// `pkg/virt-controller/watch/vmi/lifecycle.go` (`IsMigrationTarget() && !IsMigrationTargetNodeLabelSet()`); releases
/// before v1.6.0 do not read the annotation.
pub(crate) fn is_made_to_receive(metadata: &Meta, cluster: &Cluster) -> bool {
    cluster.release.release().has_decentralized_migration()
        && well_known::MIGRATION_TARGET.is_set(&metadata.annotations)
        && !well_known::MIGRATION_TARGET_NODE.is_set(&metadata.labels)
}

/// Whether virt-controller made a VMI that waits as the target of a decentralized migration: only `startVMI` of
/// `pkg/virt-controller/watch/vm/vm.go` writes the annotation, for a VirtualMachine that waits as a receiver.
///
/// A user who may update VMIs may take it off again, and reset the phase too, upon which virt-controller starts the
/// guest: `Admit` of `pkg/virt-api/webhooks/validating-webhook/admitters/vmi-update-admitter.go` refuses changes of the
/// specification and of some labels alone, and the resource has no subresource `status` (`NewVirtualMachineInstanceCrd`
/// of `pkg/virt-operator/resource/generate/components/crds.go`).
pub(crate) fn is_made_by_kubevirt(metadata: &Meta, cluster: &Cluster) -> bool {
    let owner = metadata.owner_references.iter().find(|owner| owner.is_a(Resource::VirtualMachines));
    owner.and_then(|owner| cluster.vm(&metadata.namespace, &owner.name)).is_some_and(waits_as_receiver)
}

/// Whether two VMs agree in what makes their VMI the target of a decentralized migration.
pub(super) fn receive_alike(old: &VirtualMachine, new: &VirtualMachine) -> bool {
    let receives = |vm: &VirtualMachine| {
        waits_as_receiver(vm) || well_known::MIGRATION_TARGET.is_set(&vm.spec.template.metadata.annotations)
    };
    receives(old) == receives(new)
}

/// Returns the unfinished migration that creates the pod of such a VMI; `None` if none is known.
pub(super) fn receiving<'c>(vmi: &Vmi, cluster: &'c Cluster) -> Option<&'c Vmim> {
    let is_known = is_made_to_receive(&vmi.metadata, cluster)
        && cluster.vmi(&vmi.metadata.namespace, &vmi.metadata.name).is_some();
    let receives = |vmim: &&Vmim| vmim.spec.receive.is_some() && !is_final(&vmim.status.phase);
    cluster.migrations_of(vmi).filter(|_| is_known).find(receives)
}

/// Returns the reason why nothing is known of the pod of a VMI that is to start; `None` if it gets one as a start, or
/// may at any time: see [`is_annotated_by_hand`].
pub(super) fn waits(vmi: &Vmi, cluster: &Cluster) -> Option<Finding> {
    let waits = is_made_to_receive(&vmi.metadata, cluster) && !is_annotated_by_hand(vmi, cluster);
    waits.then(|| finding(Check::NoPod, "metadata.annotations", waits_for(vmi)))
}

/// Whether a new VMI is annotated as the target of a decentralized migration, and virt-controller did not do it.
fn is_annotated_by_hand(vmi: &Vmi, cluster: &Cluster) -> bool {
    let meta = &vmi.metadata;
    is_made_to_receive(meta, cluster)
        && cluster.vmi(&meta.namespace, &meta.name).is_none()
        && !is_made_by_kubevirt(meta, cluster)
}

/// Returns the note that such a VMI is judged as one that starts.
pub(super) fn annotated_by_hand(vmi: &Vmi, cluster: &Cluster) -> Option<Finding> {
    let words = format!(
        "its annotation {} is not KubeVirt's, which sets it for a VirtualMachine with runStrategy {WAIT_AS_RECEIVER} alone: judged \
         as a start",
        well_known::MIGRATION_TARGET.key
    );
    is_annotated_by_hand(vmi, cluster).then(|| finding(Check::Assumed, "metadata.annotations", words))
}

/// Returns the report or the object that a target without a known migration waits for.
fn waits_for(vmi: &Vmi) -> String {
    match is_synchronized(&Vmim::default(), vmi) {
        Err(why) => why.to_string(),
        Ok(()) => "its source has reported, and the migration that receives it (spec.receive) is not known: what its \
                   target pod will ask for is not known"
            .to_owned(),
    }
}

/// Returns the reason why a VirtualMachine that waits for a guest is not judged as a start; `None` for any other.
/// Mirrors `validateRunStrategy` of `pkg/virt-api/webhooks/validating-webhook/admitters/vms-admitter.go`, which refuses
/// the run strategy if the feature gate is off.
pub(super) fn receives(vm: &VirtualMachine, cluster: &Cluster) -> Option<Finding> {
    const FIELD: &str = "spec.runStrategy";
    if !waits_as_receiver(vm) {
        return None;
    }
    let words = match not_supported(cluster) {
        Some(why) => format!("KubeVirt refuses {FIELD} {WAIT_AS_RECEIVER}: {why}"),
        None => match cluster
            .vmi(&vm.metadata.namespace, &vm.metadata.name)
            .filter(|vmi| is_made_to_receive(&vmi.metadata, cluster))
        {
            Some(vmi) if receiving(vmi, cluster).is_some() && is_synchronized(&Vmim::default(), vmi).is_ok() => {
                "it takes in a guest whose source has reported: its pod is the target of that migration, not a start"
                    .to_owned()
            }
            Some(vmi) => waits_for(vmi),
            None => NoPod::SourceNotReported.to_string(),
        },
    };
    Some(finding(Check::NoPod, FIELD, words))
}

/// Returns the reason why KubeVirt refuses a new migration from or to another cluster or namespace; `None` if it does
/// not. Mirrors `Admit` of `pkg/virt-api/webhooks/validating-webhook/admitters/migration-create-admitter.go`.
pub(super) fn refused(vmim: &Vmim, cluster: &Cluster) -> Option<Finding> {
    let field = match (&vmim.spec.receive, &vmim.spec.send_to) {
        (Some(_), _) => "spec.receive",
        (None, Some(_)) => "spec.sendTo",
        (None, None) => return None,
    };
    // virt-controller writes a phase into each that was admitted.
    let is_new = vmim.status.phase.is_empty();
    let why = not_supported(cluster).filter(|_| is_new)?;
    Some(finding(Check::NoPod, field, format!("KubeVirt refuses a migration with {field}: {why}")))
}

/// Returns the migration without the fields of a decentralized one, and a note about them, if the release has none:
/// its API server drops them, and migrates the guest within the cluster. `None` for any other migration.
pub(super) fn dropped(vmim: &Vmim, cluster: &Cluster) -> Option<(Vmim, Finding)> {
    let release = cluster.release.release();
    let field = match (&vmim.spec.receive, &vmim.spec.send_to) {
        (Some(_), _) => "spec.receive",
        (None, Some(_)) => "spec.sendTo",
        (None, None) => return None,
    };
    if release.has_decentralized_migration() {
        return None;
    }
    let mut within = vmim.clone();
    (within.spec.receive, within.spec.send_to) = (None, None);
    let words =
        format!("KubeVirt {release} has no {field}: it is dropped, and the guest is migrated within its namespace");
    Some((within, finding(Check::Assumed, field, words)))
}

/// Returns the migration that receives a guest which is sent from this namespace, in words; `None` if it is not known.
pub(super) fn received_by(vmim: &Vmim, cluster: &Cluster) -> Option<String> {
    let id = &vmim.spec.send_to.as_ref()?.migration_id;
    let receives = |other: &&Vmim| other.spec.receive.as_ref().is_some_and(|receive| receive.migration_id == *id);
    let other = cluster.migrations().filter(|_| !id.is_empty()).find(receives)?;
    let (namespace, name) = (&other.metadata.namespace, &other.metadata.name);
    let title = Shown::within(&format!("{namespace}/{name}"), TITLE_CHARS).to_string();
    Some(format!("it is sent elsewhere (spec.sendTo): migration {title} receives it, and creates its target pod"))
}

/// Returns the reason why KubeVirt does no decentralized migration; `None` if it does, or if the configuration is not
/// known.
fn not_supported(cluster: &Cluster) -> Option<String> {
    let release = cluster.release.release();
    if !release.has_decentralized_migration() {
        return Some(format!("{release} has no decentralized migration, which came with v1.6.0"));
    }
    (cluster.config.is_gate_off(GATE) && release.gates_decentralized_migration())
        .then(|| format!("its feature gate {GATE} is off"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use crate::fit::judgement::Depth;
    use crate::fit::verdict::{Outcome, Unknown};
    use crate::kubevirt::cluster::{Cluster, ClusterObject};
    use crate::kubevirt::subject::{Prepared, of_migration, of_running, of_vm, of_vmi};
    use crate::testing::Tweak;
    use crate::testing::cluster::{cluster, migration, read, running, vm, vmi};
    use crate::testing::fleet::{feature, mixed};

    const WAITS: &str = "its source has not reported yet: KubeVirt creates no target pod until it has, and what one will ask for is \
                         not known";
    const STRATEGY_OFF: &str =
        "KubeVirt refuses spec.runStrategy WaitAsReceiver: its feature gate DecentralizedLiveMigration is off";
    const RECEIVE_OFF: &str =
        "KubeVirt refuses a migration with spec.receive: its feature gate DecentralizedLiveMigration is off";
    const SEND_OFF: &str =
        "KubeVirt refuses a migration with spec.sendTo: its feature gate DecentralizedLiveMigration is off";
    const WAITED_FOR: &str = "the guest does not run (it is WaitingForSync): KubeVirt creates no target pod";
    const SENT: &str = "it is sent to another cluster or namespace (spec.sendTo): the migration that receives it creates its target pod";

    fn kubevirt(developer: &Value) -> ClusterObject {
        ClusterObject::KubeVirt(Box::new(read(json!({
            "metadata": {"namespace": "kubevirt", "name": "kubevirt"},
            "spec": {"configuration": {"developerConfiguration": developer}},
        }))))
    }

    fn receiver() -> Value {
        vm("db", "").tweak(|vm| vm["spec"]["runStrategy"] = json!("WaitAsReceiver"))
    }

    /// Why nothing is judged; empty where something is.
    fn why(prepared: &Prepared<'_>, cluster: &Cluster) -> String {
        match prepared.assess(cluster).outcome {
            Outcome::Unknown(Unknown::NotJudged(why)) => why,
            _ => String::new(),
        }
    }

    #[rstest]
    #[case::gate_on("1.6.3", json!({"featureGates": ["DecentralizedLiveMigration"]}), [WAITS, WAITS, SENT])]
    #[case::gate_off("1.6.3", json!({}), [STRATEGY_OFF, RECEIVE_OFF, SEND_OFF])]
    #[case::newest("1.9.0", json!({}), [STRATEGY_OFF, RECEIVE_OFF, SEND_OFF])]
    #[case::gate_switched_off("1.9.0", json!({"disabledFeatureGates": ["DecentralizedLiveMigration"]}), [STRATEGY_OFF, RECEIVE_OFF, SEND_OFF])]
    #[case::a_release_whose_default_is_not_known("1.10.0", json!({}), [WAITS, WAITS, SENT])]
    #[case::before(
        "1.5.3", json!({}),
        ["KubeVirt refuses spec.runStrategy WaitAsReceiver: v1.5.3 has no decentralized migration, which came with v1.6.0", WAITED_FOR, ""]
    )]
    fn a_receiver_of_a_decentralized_migration_is_not_judged_as_a_start(
        #[case] release: &str,
        #[case] developer: Value,
        #[case] expected: [&str; 3],
    ) {
        let guest = running("db", "node-a", "host-model").tweak(|db| db["status"] = json!({"phase": "WaitingForSync"}));
        let sent = running("web", "node-a", "host-model");
        let known = cluster(release, mixed(), [kubevirt(&developer), vmi(guest), vmi(sent)]);
        let receive = migration("db").tweak(|vmim| vmim["spec"]["receive"] = json!({"migrationID": "x"}));
        let send = migration("web").tweak(|vmim| vmim["spec"]["sendTo"] = json!({"migrationID": "x"}));
        let admitted = receive.clone().tweak(|vmim| vmim["status"] = json!({"phase": "WaitingForSync"}));
        let prepared = [
            why(&of_vm(&read(receiver()), &known), &known),
            why(&of_migration(&read(receive), &known), &known),
            why(&of_migration(&read(send), &known), &known),
        ];
        assert_eq!(prepared, expected, "a start that never comes is judged, or KubeVirt's refusal comes as a surprise");
        let admitted = why(&of_migration(&read(admitted), &known), &known);
        let waits = if release == "1.5.3" { WAITED_FOR } else { WAITS };
        assert_eq!(admitted, waits, "a migration that KubeVirt admitted is said to be refused");
    }

    /// The other migration of the pair, if it is of this cluster, creates the pod.
    #[rstest]
    #[case::received_here(
        "1.6.3",
        Some("x"),
        "it is sent elsewhere (spec.sendTo): migration new/recv receives it, and creates its target pod"
    )]
    #[case::another_pair("1.6.3", Some("y"), SENT)]
    #[case::received_elsewhere("1.6.3", None, SENT)]
    #[case::before_there_were_any("1.5.3", Some("x"), "")]
    fn a_guest_that_is_sent_has_the_pod_of_the_migration_that_receives_it(
        #[case] release: &str,
        #[case] received: Option<&str>,
        #[case] expected: &str,
    ) {
        let receive = received.map(|id| {
            let receive = migration("db").tweak(|vmim| {
                vmim["metadata"] = json!({"namespace": "new", "name": "recv"});
                vmim["spec"]["receive"] = json!({"migrationID": id});
            });
            ClusterObject::Migration(Box::new(read(receive)))
        });
        let gate = kubevirt(&json!({"featureGates": ["DecentralizedLiveMigration"]}));
        let objects = [gate, vmi(running("web", "node-a", "host-model"))];
        let known = cluster(release, mixed(), objects.into_iter().chain(receive));
        let send = migration("web").tweak(|vmim| vmim["spec"]["sendTo"] = json!({"migrationID": "x"}));
        let prepared = of_migration(&read(send), &known);
        assert_eq!(why(&prepared, &known), expected, "people look for the pod in another cluster");
        let dropped =
            prepared.notes.iter().filter_map(|note| note.words()).any(|words| words.contains("has no spec.sendTo"));
        assert_eq!(dropped, release == "1.5.3", "the field is said to count, or not to");
    }

    /// The source reports the labels of its node, as they are compared for a guest of this cluster.
    #[rstest]
    #[case::lacks_what_the_source_has(&["vaes"], &[], Some(&["vaes"][..]))]
    #[case::the_source_lacks_it_too(&[], &[], None)]
    #[case::has_it(&["vaes"], &["vaes"], None)]
    fn a_guest_from_elsewhere_is_in_doubt_where_its_host_model_is_known_by_name_only(
        #[case] reported: &[&str],
        #[case] here: &[&str],
        #[case] expected: Option<&[&str]>,
    ) {
        let nodes = mixed().into_iter().map(|node| {
            node.tweak(|node| {
                node.labels
                    .insert("cpu-model-migration.node.kubevirt.io/Icelake-Server-noTSX".to_owned(), "true".to_owned());
                node.labels.remove(&feature("vaes"));
                node.labels.remove(&crate::testing::fleet::model("Icelake-Server-noTSX"));
                node.labels.extend(here.iter().map(|name| (feature(name), "true".to_owned())));
            })
        });
        let mut labels = json!({"host-model-cpu.node.kubevirt.io/Icelake-Server-noTSX": "true", "a": "b"});
        for name in reported {
            labels[feature(name)] = json!("true");
        }
        let guest = running("db", "", "host-model").tweak(|db| {
            db["status"] = json!({"phase": "WaitingForSync", "migrationState": {"targetState": {}, "sourceState": {
                "node": "far", "pod": "p", "migrationUID": "u", "selinuxContext": "none", "nodeSelectors": labels}}});
        });
        let gate = kubevirt(&json!({"featureGates": ["DecentralizedLiveMigration"]}));
        let known = cluster("1.8.0", nodes.collect(), [gate, vmi(guest)]);
        let receive = migration("db").tweak(|vmim| vmim["spec"]["receive"] = json!({"migrationID": "x"}));
        let verdict = of_migration(&read(receive), &known).judge(&known, Depth::Full);
        let doubtful: Vec<Vec<&str>> = verdict
            .doubtful()
            .map(|(_, lacks)| lacks.iter().map(|(key, _)| crate::fit::label::name(key)).collect())
            .collect();
        let expected = expected.map_or_else(Vec::new, |lacks| vec![lacks.to_vec(); verdict.assessment.fitting.count()]);
        assert!(verdict.assessment.fitting.count() > 0, "{verdict:?}");
        assert_eq!(doubtful, expected, "libvirt refuses a guest that is said to fit");
    }

    #[test]
    fn a_gate_that_is_not_known_is_not_said_to_be_off() {
        let silent = cluster("1.6.3", mixed(), []);
        assert_eq!(why(&of_vm(&read(receiver()), &silent), &silent), WAITS);
    }

    /// Its VM would only wait again.
    #[test]
    fn a_receiver_that_runs_is_not_advised_to_restart() {
        for (strategy, is_start) in [("WaitAsReceiver", false), ("Always", true)] {
            let vm = vm("db", "host-model").tweak(|vm| vm["spec"]["runStrategy"] = json!(strategy));
            let guest = running("db", "node-a", "host-model");
            let objects = [ClusterObject::VirtualMachine(Box::new(read(vm))), vmi(guest.clone())];
            let cluster = cluster("1.6.3", mixed(), objects);
            let prepared = of_running(&read(guest), &cluster).expect("it runs");
            assert_eq!(
                prepared.subject.restart.is_some(),
                is_start,
                "{strategy}: a restart would end the guest for good"
            );
        }
    }

    #[rstest]
    #[case::waits("1.6.0", json!({"kubevirt.io/create-migration-target": "true"}), json!({}), WAITS)]
    #[case::made_by_hand("1.6.0", json!({"kubevirt.io/create-migration-target": "true", "by": "hand"}), json!({}), "")]
    #[case::before_the_annotation_was_read("1.5.2", json!({"kubevirt.io/create-migration-target": "true"}), json!({}), "")]
    #[case::another_value("1.6.3", json!({"kubevirt.io/create-migration-target": "True"}), json!({}), "")]
    #[case::is_synced(
        "1.6.3",
        json!({"kubevirt.io/create-migration-target": "true"}),
        json!({"kubevirt.io/migrationTargetNodeName": "node-a"}),
        ""
    )]
    fn a_vmi_that_waits_for_its_source_is_not_judged_as_a_start(
        #[case] release: &str,
        #[case] annotations: Value,
        #[case] labels: Value,
        #[case] expected: &str,
    ) {
        let is_by_hand = annotations.get("by").is_some();
        let receiver = ClusterObject::VirtualMachine(Box::new(read(receiver())));
        let cluster = cluster(release, mixed(), (!is_by_hand).then_some(receiver));
        let owner = json!({"kind": "VirtualMachine", "name": "db", "uid": "vm-db"});
        let guest = json!({
            "metadata": {"name": "db", "namespace": "shop", "annotations": annotations, "labels": labels, "ownerReferences": [owner]},
            "spec": {"architecture": "amd64", "domain": {"cpu": {"model": "host-model"}}},
        });
        assert_eq!(why(&of_vmi(&read(guest), &cluster), &cluster), expected, "it is judged as a start");
    }
}
