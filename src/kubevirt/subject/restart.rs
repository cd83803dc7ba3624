//! The next start of a running guest.

use super::changes::is_refused;
use super::decentralized::waits_as_receiver;
use super::{after_start, refusals, start_of, unjudged, vm_of};
use crate::fit::label::{self, Family};
use crate::fit::placement::Placement;
use crate::fit::subject::{RestartRequest, Stage, Start, Subject, Unjudged};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::guest::{Guest, guest_of};
use crate::kubevirt::migration::{is_being_deleted, waits_for_restart};
use crate::kubevirt::storage::MountedBy;
use crate::kubevirt::wire::{AnyAffinity, VirtualMachine, Vmi, VmiSpec};

/// Returns the next start of a guest of which only a migration target is known, without the entries that migrations
/// add. `None` outside of migrations.
pub(super) fn of_stranger(subject: &Subject<'_>, cluster: &Cluster) -> Option<Start<'static>> {
    let Stage::Migration(_) = subject.stage else { return None };
    let mut placement = Placement { node_name: None, ..subject.placement.clone().into_owned() };
    placement.selector.retain(|(key, _)| {
        let family = Family::of(key);
        let added = label::is_inherited(key)
            || matches!(family, Family::CpuVendor | Family::HostModelCpu | Family::CpuFeature | Family::Hostname);
        !added
    });
    let after_start = after_start(&placement, &subject.mode, cluster);
    let own_models = subject.restart.as_ref().map(|start| start.own_models.clone()).unwrap_or_default();
    Some(Start {
        mode: subject.mode.clone(),
        placement: placement.into_owned(),
        own_models,
        features: subject.features.clone(),
        by_policy: None,
        after_start,
    })
}

/// Returns how to start a VM's guest again. `running` is the older form of `Always` and `Halted`.
pub(super) fn request(vm: &VirtualMachine) -> RestartRequest {
    match (vm.spec.run_strategy.as_str(), vm.spec.running) {
        ("Once", _) => RestartRequest::Once,
        ("Halted", _) | ("", Some(false)) => RestartRequest::Halted,
        _ => RestartRequest::Restart,
    }
}

/// A VM, and the guest that it makes at the next start.
pub(super) struct Made<'c> {
    vm: &'c VirtualMachine,
    guest: Guest,
}

impl<'c> Made<'c> {
    /// Returns the VM of a guest, with the guest that it makes; `None` if no VM is known.
    pub(super) fn of(vmi: &Vmi, cluster: &'c Cluster) -> Option<Self> {
        vm_of(vmi, cluster).map(|vm| Self { vm, guest: guest_of(vm, cluster) })
    }
}

/// Returns the next start of a guest: from its VM if that is known, with the current defaults. `None` if an object it
/// depends on is not known, or too large to be read, if the VM would wait for a guest from elsewhere or is being
/// deleted, and if KubeVirt would refuse the start: a restart would leave the guest down.
pub(super) fn of_vmi(vmi: &Vmi, made_of: Option<Made<'_>>, cluster: &Cluster) -> Option<Start<'static>> {
    if made_of.as_ref().is_some_and(|Made { vm, .. }| waits_as_receiver(vm) || is_being_deleted(&vm.metadata)) {
        return None;
    }
    let excess = made_of.as_ref().map_or(&vmi.metadata.excess, |made_of| &made_of.guest.excess);
    if excess.is_some() || cluster.config.excess.is_some() {
        return None;
    }
    let spec = match made_of {
        Some(Made { guest: Guest { missing: Some(_), .. }, .. }) => return None,
        Some(Made { vm, guest }) if !guest.is_guess && is_refused(vm, &guest, cluster) => return None,
        Some(Made { guest, .. }) => guest.spec,
        None if !refusals(vmi, &[], cluster).is_empty() => return None,
        None => vmi.spec.clone(),
    };
    start_of(spec, cluster)
}

/// Returns the requirements of a guest's next start that are named and not judged; `None` if no VM makes it, or if what
/// it asks for is not known: they are taken to be those with which the guest runs.
pub(super) fn unjudged_next(vmi: &Vmi, made_of: Option<&Made<'_>>, cluster: &Cluster) -> Option<Unjudged> {
    let Made { vm, guest } = made_of?;
    if guest.missing.is_some() || guest.excess.is_some() {
        return None;
    }
    let spec = &guest.spec;
    let mut next = unjudged(spec, (&vmi.metadata.namespace, &vmi.metadata.name), MountedBy::Start, cluster);
    let rules = |spec: &VmiSpec| spec.affinity.as_ref().and_then(AnyAffinity::of_pods);
    let amounts = |spec: &VmiSpec| (spec.domain.memory.clone(), spec.domain.resources.clone());
    // Rules about pods, and room, are judged by those of the running launcher.
    next.differs_in_rules_or_room = rules(spec) != rules(&vmi.spec)
        || spec.topology_spread_constraints != vmi.spec.topology_spread_constraints
        || waits_for_restart(vm) && amounts(spec) != amounts(&vmi.spec);
    Some(next)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubevirt::cluster::ClusterObject;
    use crate::kubevirt::subject::of_vm;
    use crate::testing::Tweak;
    use crate::testing::cluster::{cluster, read, vm};
    use crate::testing::fleet::{mixed, model};

    /// KubeVirt copies node selectors to each launcher, whatever the CPU model.
    #[rstest]
    #[case::none(json!({}), json!({}), &["B"])]
    #[case::of_the_guest(json!({model("A"): "true"}), json!({}), &["A", "B"])]
    #[case::of_the_cluster(json!({}), json!({model("A"): "true"}), &["A", "B"])]
    #[case::the_same_model(json!({model("Haswell"): "true"}), json!({}), &["B", "Haswell"])]
    fn models_of_a_node_selector_stay_with_another_model(
        #[case] own: Value,
        #[case] of_cluster: Value,
        #[case] expected: &[&str],
    ) {
        let spec = json!({"configuration": {"developerConfiguration": {"nodeSelectors": of_cluster}}});
        let kubevirt = json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": spec});
        let known = cluster("1.8.4", mixed(), [ClusterObject::KubeVirt(Box::new(read(kubevirt)))]);
        let guest = vm("db", "Haswell").tweak(|vm| vm["spec"]["template"]["spec"]["nodeSelector"] = own);
        let start = of_vm(&read(guest), &known).subject.restart.map(|start| start.with_model("B"));
        let selector = start.map(|start| start.placement.selector).unwrap_or_default();
        let mut models: Vec<&str> = selector
            .iter()
            .map(|(key, _)| &**key)
            .filter(|key| Family::of(key) == Family::CpuModel)
            .map(label::name)
            .collect();
        models.sort_unstable();
        assert_eq!(models, expected, "a restart is promised nodes that the guest's launcher does not ask for");
    }

    /// A guest that is restarted where its new launcher finds no place stays down.
    #[rstest]
    #[case::as_it_runs(json!({}), &[], &[], false)]
    #[case::another_volume(
        json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}), &["data"], &[], false
    )]
    #[case::unknown_volume(
        json!({"volumes": [{"name": "logs", "persistentVolumeClaim": {"claimName": "logs"}}]}), &[], &["logs"], false
    )]
    #[case::rule_about_pods(
        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}
        ]}}}),
        &[], &[], true
    )]
    #[case::spread(
        json!({"topologySpreadConstraints": [{"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "maxSkew": 1}]}),
        &[], &[], true
    )]
    #[case::memory(json!({"domain": {"resources": {"requests": {"memory": "500Gi"}}}}), &[], &[], true)]
    fn a_next_start_has_the_requirements_of_its_edited_vm(
        #[case] edit: Value,
        #[case] volumes: &[&str],
        #[case] unplaced: &[&str],
        #[case] differs: bool,
    ) {
        let near = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]});
        let claim = json!({"metadata": {"namespace": "shop", "name": "data"}, "spec": {"volumeName": "pv"}});
        let volume = json!({"metadata": {"name": "pv"}, "spec": {"nodeAffinity": {"required": near}}});
        let vm = vm("db", "").tweak(|vm| {
            json_patch::merge(&mut vm["spec"]["template"]["spec"], &edit);
            vm["status"] = json!({"conditions": [{"type": "RestartRequired", "status": "True"}]});
        });
        let objects = [
            ClusterObject::VirtualMachine(Box::new(read(vm))),
            ClusterObject::Claim(read(claim)),
            ClusterObject::Volume(read(volume)),
        ];
        let known = cluster("1.8.4", mixed(), objects);
        let owner = json!({"kind": "VirtualMachine", "name": "db", "uid": "vm-db", "controller": true});
        let vmi = json!({"metadata": {"namespace": "shop", "name": "db", "ownerReferences": [owner]}});
        let vmi = read(vmi);
        let next = unjudged_next(&vmi, Made::of(&vmi, &known).as_ref(), &known).expect("its VM is known");
        let bound: Vec<&str> = next.volumes.iter().map(|volume| volume.volume.as_str()).collect();
        assert_eq!((bound, next.unplaced), (volumes.to_vec(), unplaced.iter().map(ToString::to_string).collect()));
        assert_eq!(next.differs_in_rules_or_room, differs, "it is restarted by rules of the past");
    }

    /// A restart of a guest whose VM KubeVirt refuses by now would leave it down.
    #[rstest]
    #[case::as_it_runs(json!({}), true)]
    #[case::refused(json!({"numa": {"guestMappingPassthrough": {}}}), false)]
    fn a_guest_whose_start_is_refused_is_not_restarted(#[case] cpu: Value, #[case] is_known: bool) {
        let vm = vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"]["domain"]["cpu"] = cpu);
        let known = cluster("1.8.4", mixed(), [ClusterObject::VirtualMachine(Box::new(read(vm)))]);
        let owner = json!({"kind": "VirtualMachine", "name": "db", "uid": "vm-db", "controller": true});
        let vmi = json!({"metadata": {"namespace": "shop", "name": "db", "ownerReferences": [owner]}});
        let vmi = read(vmi);
        let start = of_vmi(&vmi, Made::of(&vmi, &known), &known);
        assert_eq!(start.is_some(), is_known, "a restart would leave the guest down");
    }

    /// A guest without a VM whose VMI KubeVirt would not accept again is lost once it is deleted.
    #[rstest]
    #[case::as_it_runs(json!({}), true)]
    #[case::gate_is_off(json!({"devices": {"hostDevices": [{"name": "a", "deviceName": "example.com/a"}]}}), false)]
    #[case::encryption(json!({"launchSecurity": {"sev": {}}}), false)]
    #[case::numa(json!({"cpu": {"numa": {"guestMappingPassthrough": {}}}}), false)]
    fn a_guest_without_a_vm_is_not_made_again_if_that_is_refused(#[case] domain: Value, #[case] is_known: bool) {
        let kubevirt =
            json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": {"configuration": {}}});
        let known = cluster("1.8.4", mixed(), [ClusterObject::KubeVirt(Box::new(read(kubevirt)))]);
        let spec = json!({"architecture": "amd64", "domain": domain});
        let vmi: Vmi = read(json!({"metadata": {"namespace": "shop", "name": "db"}, "spec": spec}));
        assert_eq!(of_vmi(&vmi, Made::of(&vmi, &known), &known).is_some(), is_known, "a restart would lose the guest");
        let changes = super::super::changes::of_vmi(&vmi, None, &known).single;
        assert!(is_known || changes.iter().all(|change| change.ends_refusal), "{changes:?}");
    }
}
