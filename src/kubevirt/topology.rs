//! The TSC frequency that a guest gets once, before its launcher is created.
//!
//! Mirrors `pkg/virt-controller/watch/topology` (`hinter.go`, `tsc.go`, `filter.go`) of KubeVirt.

use super::cluster::Cluster;
use super::defaults::is_on;
use super::setting::Setting;
use super::wire::{VmiSpec, VmiStatus};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::well_known;

/// Returns the setting that binds the guest to a TSC frequency; `None` if none does. Mirrors
/// `GetTscFrequencyRequirement`.
pub(crate) fn asks_for_tsc(spec: &VmiSpec) -> Option<Setting> {
    let invtsc = spec.domain.cpu.iter().flat_map(|cpu| &cpu.features).any(|feature| {
        // KubeVirt ignores the empty policy here, although it means require elsewhere.
        feature.name == "invtsc" && matches!(feature.policy.as_str(), "require" | "force")
    });
    if invtsc {
        return Some(Setting::Feature("invtsc".to_owned()));
    }
    let hyperv = spec.domain.features.hyperv.as_ref()?;
    is_on(hyperv.reenlightenment.as_ref()).then_some(Setting::HyperV("reenlightenment"))
}

/// Whether no node gives a starting guest the TSC frequency that its migration needs, though nodes have labels of
/// Hyper-V. [`hint`] must have been applied to the status.
pub(crate) fn lacks_frequency(spec: &VmiSpec, status: &VmiStatus, cluster: &Cluster) -> bool {
    let is_labelled = || !cluster.fleet.bearers(Family::Hyperv).is_empty();
    status.topology_hints.tsc_frequency == Some(0)
        && matches!(asks_for_tsc(spec), Some(Setting::HyperV(_)))
        && is_labelled()
}

/// Sets the TSC frequency of a starting guest that needs one and has none yet. Mirrors `TopologyHintsForVMI`.
///
/// # Errors
///
/// `minimumClusterTSCFrequency` of the KubeVirt resource is not a frequency: virt-controller creates no pod.
pub(crate) fn hint(spec: &VmiSpec, status: &mut VmiStatus, cluster: &Cluster) -> Result<(), i64> {
    if spec.architecture == "amd64" && asks_for_tsc(spec).is_some() && status.topology_hints.tsc_frequency.is_none() {
        status.topology_hints.tsc_frequency = Some(lowest_frequency(cluster)?);
    }
    Ok(())
}

/// Returns the lowest frequency of the cluster in Hz; 0 if no node has the label. Mirrors
/// `LowestTSCFrequencyOnCluster`, which ignores taints and cordons.
fn lowest_frequency(cluster: &Cluster) -> Result<i64, i64> {
    match cluster.config.configuration.developer_configuration.minimum_cluster_tsc_frequency {
        Some(configured) if configured > 0 => return Ok(configured),
        Some(configured) => return Err(configured),
        None => {}
    }
    let fleet = &cluster.fleet;
    let schedulable = fleet.bearing(label::SCHEDULABLE, "true");
    let mut frequencies: Vec<(i64, &str)> =
        fleet.values(label::TSC_FREQUENCY).filter_map(|value| Some((label::frequency(value)?, value))).collect();
    frequencies.sort_unstable();
    let is_offered = |value: &str| {
        let nodes = fleet.bearing(label::TSC_FREQUENCY, value);
        let runs_a_guest = |name: &str| cluster.vmis().any(|vmi| vmi.status.node_name == name);
        let counts_all = !cluster.release.release().leaves_out_unschedulable_tsc();
        counts_all || nodes.meets(&schedulable) || nodes.iter().any(|node| runs_a_guest(fleet.name(node)))
    };
    Ok(frequencies.into_iter().find(|(_, value)| is_offered(value)).map_or(0, |(hz, _)| hz))
}

/// Whether virt-controller gives a node the label of a frequency that a guest uses. Mirrors `CalculateTSCLabelDiff` of
/// `tsc.go` and `ToleranceForFrequency` of `filter.go`.
pub(crate) fn gets_label(fleet: &Fleet, node: NodeIndex, hz: i64) -> bool {
    /// Parts in a million that QEMU tolerates.
    const TOLERANCE: i64 = 250;
    let own = fleet.label(node, label::TSC_FREQUENCY).and_then(label::frequency);
    let is_scalable =
        fleet.label(node, label::TSC_SCALABLE).is_some_and(|value| well_known::TSC_SCALABLE.counts(value));
    own.is_some_and(|own| {
        let tolerated = own.saturating_mul(TOLERANCE) / 1_000_000;
        (own - hz).abs() <= tolerated || is_scalable && hz <= own
    })
}
