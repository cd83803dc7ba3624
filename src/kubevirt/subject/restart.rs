//! The next start of a running guest.

use super::changes::is_refused;
use super::decentralized::waits_as_receiver;
use super::{after_start, start_of, vm_of};
use crate::fit::label::{self, Family};
use crate::fit::placement::Placement;
use crate::fit::subject::{RestartRequest, Stage, Start, Subject};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::guest::{Guest, guest_of};
use crate::kubevirt::migration::is_being_deleted;
use crate::kubevirt::wire::{VirtualMachine, Vmi};

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

/// Returns the next start of a guest: from its VM if that is known, with the current defaults. `None` if an object it
/// depends on is not known, or too large to be read, if the VM would wait for a guest from elsewhere or is being
/// deleted, and if KubeVirt would refuse the start: a restart would leave the guest down.
pub(super) fn of_vmi(vmi: &Vmi, cluster: &Cluster) -> Option<Start<'static>> {
    let vm = vm_of(vmi, cluster);
    if vm.is_some_and(|vm| waits_as_receiver(vm) || is_being_deleted(&vm.metadata)) {
        return None;
    }
    let of_vm = vm.map(|vm| guest_of(vm, cluster));
    let excess = of_vm.as_ref().map_or(&vmi.metadata.excess, |guest| &guest.excess);
    if excess.is_some() || cluster.config.excess.is_some() {
        return None;
    }
    let spec = match of_vm {
        Some(Guest { missing: Some(_), .. }) => return None,
        Some(guest) if !guest.is_guess && vm.is_some_and(|vm| is_refused(vm, &guest, cluster)) => return None,
        Some(guest) => guest.spec,
        None => vmi.spec.clone(),
    };
    start_of(spec, cluster)
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

    /// A restart of a guest whose VM KubeVirt refuses by now would leave it down.
    #[rstest]
    #[case::as_it_runs(json!({}), true)]
    #[case::refused(json!({"numa": {"guestMappingPassthrough": {}}}), false)]
    fn a_guest_whose_start_is_refused_is_not_restarted(#[case] cpu: Value, #[case] is_known: bool) {
        let vm = vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"]["domain"]["cpu"] = cpu);
        let known = cluster("1.8.4", mixed(), [ClusterObject::VirtualMachine(Box::new(read(vm)))]);
        let owner = json!({"kind": "VirtualMachine", "name": "db", "uid": "vm-db", "controller": true});
        let vmi = json!({"metadata": {"namespace": "shop", "name": "db", "ownerReferences": [owner]}});
        assert_eq!(of_vmi(&read(vmi), &known).is_some(), is_known, "a restart would leave the guest down");
    }
}
