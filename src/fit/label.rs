//! The label keys of KubeVirt. No other module spells them.
//!
//! Mirrors the constants of `staging/src/kubevirt.io/api/core/v1/types.go`. A key such as
//! `cpu-feature.node.kubevirt.io/fpu` has a [`Family`] and a name (`fpu`). Distributions that rename
//! KubeVirt's domain keep the part before it, so only that part determines the family.

use super::word::words;
use std::borrow::Cow;

/// `cpu-feature.node.kubevirt.io/`: the host offers this CPU feature.
pub const CPU_FEATURE: &str = "cpu-feature.node.kubevirt.io/";
/// `cpu-model.node.kubevirt.io/`: a guest with this named model can run here.
pub(crate) const CPU_MODEL: &str = "cpu-model.node.kubevirt.io/";
/// `cpu-model-migration.node.kubevirt.io/`: libvirt on the host lists the model, usable or not.
pub(crate) const CPU_MODEL_MIGRATION: &str = "cpu-model-migration.node.kubevirt.io/";
/// `cpu-vendor.node.kubevirt.io/`: the vendor in libvirt's spelling.
pub(crate) const CPU_VENDOR: &str = "cpu-vendor.node.kubevirt.io/";
/// `host-model-cpu.node.kubevirt.io/`: the model that libvirt uses for host-model.
pub(crate) const HOST_MODEL_CPU: &str = "host-model-cpu.node.kubevirt.io/";
/// `host-model-required-features.node.kubevirt.io/`: the features that libvirt adds to that model.
pub(crate) const HOST_MODEL_REQUIRED: &str = "host-model-required-features.node.kubevirt.io/";
/// `hyperv.node.kubevirt.io/`: a Hyper-V enlightenment the host offers.
pub const HYPERV: &str = "hyperv.node.kubevirt.io/";
/// `machine-type.node.kubevirt.io/`: an emulated machine type.
pub(crate) const MACHINE_TYPE: &str = "machine-type.node.kubevirt.io/";
/// `cpu-timer.node.kubevirt.io/tsc-frequency`: the host's TSC frequency in Hz.
pub(crate) const TSC_FREQUENCY: &str = "cpu-timer.node.kubevirt.io/tsc-frequency";
/// `cpu-timer.node.kubevirt.io/tsc-scalable`: whether the node can give a guest a lower TSC frequency.
pub(crate) const TSC_SCALABLE: &str = "cpu-timer.node.kubevirt.io/tsc-scalable";
/// `scheduling.node.kubevirt.io/tsc-frequency-`: the node can give a guest this TSC frequency (Hz).
pub(crate) const SCHEDULING_TSC: &str = "scheduling.node.kubevirt.io/tsc-frequency-";
/// `kubevirt.io/schedulable`: whether virt-handler is ready on the node.
pub(crate) const SCHEDULABLE: &str = "kubevirt.io/schedulable";
/// `node-labeller.kubevirt.io/obsolete-host-model`: the host's own model is on KubeVirt's list of obsolete
/// models.
pub(crate) const OBSOLETE_HOST_MODEL: &str = "node-labeller.kubevirt.io/obsolete-host-model";
/// `node-labeller.kubevirt.io/skip-node`, an annotation: its presence, regardless of its value, stops
/// labelling.
pub(crate) const SKIP_NODE: &str = "node-labeller.kubevirt.io/skip-node";
/// `kubevirt.io/cpumanager`: the node has a static CPU manager.
pub(crate) const CPU_MANAGER: &str = "kubevirt.io/cpumanager";
/// `cpumanager`, the older spelling (up to KubeVirt 1.7).
pub(crate) const CPU_MANAGER_OLD: &str = "cpumanager";
/// `kubevirt.io/realtime`: the node can run realtime guests.
pub(crate) const REALTIME: &str = "kubevirt.io/realtime";
/// `kubevirt.io/sev`: the node supports AMD SEV.
pub(crate) const SEV: &str = "kubevirt.io/sev";
/// `kubevirt.io/sev-es`: the node supports AMD SEV-ES.
pub(crate) const SEV_ES: &str = "kubevirt.io/sev-es";
/// `kubevirt.io/sev-snp`: the node supports AMD SEV-SNP.
pub(crate) const SEV_SNP: &str = "kubevirt.io/sev-snp";
/// `kubevirt.io/tdx`: the node supports Intel TDX.
pub(crate) const TDX: &str = "kubevirt.io/tdx";
/// `kubevirt.io/s390-pv`: the node supports IBM Secure Execution.
pub(crate) const S390_PV: &str = "kubevirt.io/s390-pv";
/// `kubevirt.io/vm-arch-`: the node can run guests of this architecture (cross-architecture gate).
pub(crate) const VM_ARCH: &str = "kubevirt.io/vm-arch-";
/// `kubernetes.io/arch`: the node's architecture.
pub(crate) const ARCH: &str = "kubernetes.io/arch";
/// `kubernetes.io/hostname`: the node's host name.
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";
/// KubeVirt's taint for a drain. Mirrors `nodeDrainTaintDefaultKey` of `pkg/virt-config/virt-config.go`.
pub(crate) const TAINT_DRAIN: &str = "kubevirt.io/drain";
/// The taint that the node controller adds to a cordoned node.
pub(crate) const TAINT_UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// The taint of a node whose condition `Ready` is false.
pub(crate) const TAINT_NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The taint of a node whose condition `Ready` is unknown.
pub(crate) const TAINT_UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// The CPU feature of nested virtualization on Intel.
pub(crate) const VMX: &str = "vmx";
/// The CPU feature of nested virtualization on AMD.
pub(crate) const SVM: &str = "svm";

words! {
    /// The subject of a label key, in the spelling that is printed: `cpu-feature`, `machine-type`.
    Family {
        /// `cpu-feature.node…`
        CpuFeature = "cpu-feature",
        /// `cpu-model.node…`
        CpuModel = "cpu-model",
        /// `cpu-model-migration.node…`
        CpuModelMigration = "cpu-model-migration",
        /// `cpu-vendor.node…`
        CpuVendor = "cpu-vendor",
        /// `host-model-cpu.node…`
        HostModelCpu = "host-model-cpu",
        /// `host-model-required-features.node…`
        HostModelRequired = "host-model-required-features",
        /// `cpu-timer.node…`
        CpuTimer = "cpu-timer",
        /// `hyperv.node…`
        Hyperv = "hyperv",
        /// `scheduling.node…/tsc-frequency-…`, written by virt-controller.
        SchedulingTsc = "tsc-frequency",
        /// `machine-type.node…`
        MachineType = "machine-type",
        /// `kubevirt.io/schedulable`
        Schedulable = "schedulable",
        /// `kubernetes.io/hostname`
        Hostname = "hostname",
        /// Any other key: placement that a person chose.
        Other = "label",
    }
}

impl Family {
    /// Whether labels of the family state that a node can run a named CPU model.
    pub(crate) fn is_model(self) -> bool {
        matches!(self, Self::CpuModel | Self::CpuModelMigration)
    }

    /// Returns the family of a label key.
    #[must_use]
    pub fn of<'k>(key: &'k str) -> Self {
        // Runs for each key of each review. Keys are short, and for them a loop over bytes is faster than `split_once`.
        let split = |text: &'k str, at: u8| {
            let at = text.bytes().position(|byte| byte == at)?;
            Some((&text[..at], &text[at + 1..]))
        };
        let Some((domain, name)) = split(key, b'/') else { return Self::Other };
        // No family name contains a dot, so the first dot ends it.
        if let Some((family, rest)) = split(domain, b'.')
            && rest.starts_with("node.")
        {
            return match family {
                "cpu-feature" => Self::CpuFeature,
                "cpu-model" => Self::CpuModel,
                "cpu-model-migration" => Self::CpuModelMigration,
                "cpu-vendor" => Self::CpuVendor,
                "host-model-cpu" => Self::HostModelCpu,
                "host-model-required-features" => Self::HostModelRequired,
                "cpu-timer" => Self::CpuTimer,
                "hyperv" => Self::Hyperv,
                "scheduling" if name.starts_with("tsc-frequency-") => Self::SchedulingTsc,
                "machine-type" => Self::MachineType,
                _ => Self::Other,
            };
        }
        match name {
            "schedulable" if domain.starts_with("kubevirt.") => Self::Schedulable,
            "hostname" if domain == "kubernetes.io" => Self::Hostname,
            _ => Self::Other,
        }
    }

    /// Whether labels of the family describe the CPU. Their absence is not temporary.
    pub(crate) fn is_cpu(self) -> bool {
        match self {
            Self::CpuFeature
            | Self::CpuModel
            | Self::CpuModelMigration
            | Self::CpuVendor
            | Self::HostModelCpu
            | Self::HostModelRequired
            | Self::CpuTimer
            | Self::Hyperv
            | Self::SchedulingTsc => true,
            Self::MachineType | Self::Schedulable | Self::Hostname | Self::Other => false,
        }
    }

    /// Whether the label belongs to the profile that similar nodes share. Measured frequencies differ between
    /// machines and would give every node a profile of its own.
    pub(crate) fn is_profile(self) -> bool {
        self.is_cpu() && !matches!(self, Self::CpuTimer | Self::SchedulingTsc)
    }

    /// Whether KubeVirt's node-labeller writes such labels, so that it removes a manual one unless `skip-node`
    /// stops it.
    pub(crate) fn is_labeller(self) -> bool {
        (self.is_cpu() && self != Self::SchedulingTsc) || self == Self::MachineType
    }
}

/// Whether KubeVirt's node-labeller removes a label that it does not write again. Mirrors `nodeLabellerLabels` of
/// `pkg/virt-handler/node-labeller/node_labeller.go`, which has neither the CPU vendor nor Secure Execution.
pub(crate) fn is_removed_by_labeller(key: &str) -> bool {
    let family = Family::of(key);
    (family.is_labeller() && family != Family::CpuVendor)
        || is_capability(key)
        || key.starts_with(VM_ARCH)
        || is_obsolete_host_model(key)
}

/// Whether KubeVirt's node-labeller writes a label. Mirrors `prepareLabels` of the same file.
pub(crate) fn is_written_by_labeller(key: &str) -> bool {
    is_removed_by_labeller(key) || Family::of(key) == Family::CpuVendor || key == S390_PV
}

/// Returns the part of a key after the `/`: the feature, model or machine type.
#[must_use]
pub fn name(key: &str) -> &str {
    key.split_once('/').map_or(key, |(_, name)| name)
}

/// Returns the key of another family with this key's name and domain: for `host-model-cpu.node.kubevirt.io/X`
/// and [`CPU_MODEL_MIGRATION`], `cpu-model-migration.node.kubevirt.io/X`.
pub(crate) fn same_name_in(key: &str, prefix: &str) -> String {
    match (key.split_once(".node."), prefix.split_once(".node.")) {
        (Some((_, rest)), Some((family, _))) => format!("{family}.node.{rest}"),
        _ => format!("{prefix}{}", name(key)),
    }
}

/// Whether the label states a capability that only some nodes have.
pub(crate) fn is_capability(key: &str) -> bool {
    [REALTIME, SEV, SEV_ES, SEV_SNP, TDX].contains(&key)
}

/// Whether KubeVirt treats this key of a launcher pod as the trace of an earlier migration.
///
/// Mirrors `prepareNodeSelectorForHostCpuModel` of `pkg/virt-controller/watch/migration/migration.go`, which tests
/// whether the key *contains* the prefix; in any domain.
pub(crate) fn is_inherited(key: &str) -> bool {
    // Most keys that contain it begin with it, and that test is faster.
    let contains = |prefix| key.starts_with(prefix) || key.contains(prefix);
    contains("cpu-feature.node.") || contains("cpu-model-migration.node.")
}

/// Parses a frequency in Hz, as KubeVirt reads the value of [`TSC_FREQUENCY`]; `None` if KubeVirt ignores the
/// node.
///
/// Mirrors `TSCFrequencyFromNode` of `pkg/virt-controller/watch/topology/tsc.go`.
#[must_use]
pub fn frequency(value: &str) -> Option<i64> {
    value.parse().ok().filter(|&hz| hz > 0)
}

/// Whether KubeVirt uses this key to keep host-model guests off obsolete hosts, in any domain.
pub(crate) fn is_obsolete_host_model(key: &str) -> bool {
    key.starts_with("node-labeller.") && key.ends_with("/obsolete-host-model")
}

/// Formats an entry for people: `cpu-feature fpu`, `kubernetes.io/arch=amd64`.
#[must_use]
pub fn short<'a>(key: &'a str, value: &str) -> Cow<'a, str> {
    let family = Family::of(key);
    match family {
        Family::Other | Family::Schedulable | Family::Hostname => Cow::Owned(format!("{key}={value}")),
        Family::SchedulingTsc => Cow::Borrowed(name(key)),
        _ if value == "true" => Cow::Owned(format!("{} {}", family.as_str(), name(key))),
        _ => Cow::Owned(format!("{} {}={value}", family.as_str(), name(key))),
    }
}

/// Joins at most `most` names for people and counts the rest: `node-a, node-c and 7 more`.
pub(crate) fn fold_names<S: AsRef<str>>(names: &[S], most: usize) -> String {
    let shown = names.iter().take(most).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if names.len() > most { format!("{shown} and {} more", names.len() - most) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::feature("cpu-feature.node.kubevirt.io/fpu", Family::CpuFeature, "fpu")]
    #[case::model("cpu-model.node.kubevirt.io/Haswell", Family::CpuModel, "Haswell")]
    #[case::migration("cpu-model-migration.node.kubevirt.io/Haswell", Family::CpuModelMigration, "Haswell")]
    #[case::renamed_domain("cpu-feature.node.virtualization.example.io/fpu", Family::CpuFeature, "fpu")]
    #[case::tsc(
        "scheduling.node.kubevirt.io/tsc-frequency-2100000000",
        Family::SchedulingTsc,
        "tsc-frequency-2100000000"
    )]
    #[case::machine("machine-type.node.kubevirt.io/q35", Family::MachineType, "q35")]
    #[case::schedulable("kubevirt.io/schedulable", Family::Schedulable, "schedulable")]
    #[case::nobody("example.com/rack", Family::Other, "rack")]
    #[case::no_domain("cpumanager", Family::Other, "cpumanager")]
    fn a_label_has_its_family_and_short_name(#[case] key: &str, #[case] family: Family, #[case] short_name: &str) {
        assert_eq!(Family::of(key), family, "{key}: a wrong family files the cause under the wrong heading");
        assert_eq!(name(key), short_name);
    }

    #[rstest]
    #[case::hertz("2100000000", Some(2_100_000_000))]
    #[case::zero("0", None)]
    #[case::negative("-1", None)]
    #[case::empty("", None)]
    #[case::fraction("2.1", None)]
    #[case::a_word("true", None)]
    #[case::too_large("99999999999999999999", None)]
    fn a_frequency_is_a_whole_number_above_zero(#[case] value: &str, #[case] expected: Option<i64>) {
        assert_eq!(
            frequency(value),
            expected,
            "a start would be promised the clock of a node that KubeVirt passes over"
        );
    }

    #[rstest]
    #[case::feature("cpu-feature.node.kubevirt.io/fpu", true)]
    #[case::usable("cpu-model.node.kubevirt.io/Haswell", true)]
    #[case::known("cpu-model-migration.node.kubevirt.io/Haswell", true)]
    #[case::host_model("host-model-cpu.node.kubevirt.io/Haswell", true)]
    #[case::required("host-model-required-features.node.kubevirt.io/fpu", true)]
    #[case::timer("cpu-timer.node.kubevirt.io/tsc-frequency", true)]
    #[case::hyperv("hyperv.node.kubevirt.io/base", true)]
    #[case::machine("machine-type.node.kubevirt.io/q35", true)]
    #[case::obsolete("node-labeller.kubevirt.io/obsolete-host-model", true)]
    #[case::sev(SEV, true)]
    #[case::realtime(REALTIME, true)]
    #[case::architecture("kubevirt.io/vm-arch-arm64", true)]
    #[case::vendor("cpu-vendor.node.kubevirt.io/AMD", false)]
    #[case::secure_execution(S390_PV, false)]
    #[case::schedulable(SCHEDULABLE, false)]
    #[case::cpu_manager(CPU_MANAGER, false)]
    #[case::tsc("scheduling.node.kubevirt.io/tsc-frequency-2100000000", false)]
    #[case::own("example.com/rack", false)]
    fn the_labeller_removes_the_labels_of_its_list(#[case] key: &str, #[case] removed: bool) {
        assert_eq!(is_removed_by_labeller(key), removed, "a label is said to go that stays, or to stay that goes");
        let stays_written = matches!(Family::of(key), Family::CpuVendor) || key == S390_PV;
        assert_eq!(is_written_by_labeller(key), removed || stays_written, "{key}");
    }

    #[test]
    fn a_key_translated_to_another_family_keeps_its_domain() {
        assert_eq!(
            same_name_in("host-model-cpu.node.kubevirt.io/X", CPU_MODEL_MIGRATION),
            format!("{CPU_MODEL_MIGRATION}X")
        );
        let renamed = same_name_in("host-model-required-features.node.virtualization.example.io/fpu", CPU_FEATURE);
        assert_eq!(renamed, "cpu-feature.node.virtualization.example.io/fpu", "no node there has KubeVirt's own key");
        assert!(is_inherited(&renamed) && is_obsolete_host_model("node-labeller.example.io/obsolete-host-model"));
    }
}
