//! Defaults that KubeVirt's mutating webhook fills into a VirtualMachineInstance at CREATE, as far as they affect
//! placement.
//!
//! Mirrors `pkg/defaults` of KubeVirt (`SetDefaultVirtualMachineInstance` and `setDefaultCPUModel` of `defaults.go`,
//! `SetHypervFeatureDependencies` of `hyperv.go`) and `pkg/virt-config/virt-config.go` (`GetMachineType`,
//! `GetDefaultArchitecture`).

use super::feature_gate::FeatureGate;
use super::setting::{Origins, Setting, SettingOrigin};
use super::wire::{
    Configuration, CpuFeature, DeveloperConfiguration, FeatureState, Hyperv, KubeVirt, Machine, NodePlacement, VmiSpec,
};
use crate::bounds::Excess;
use crate::fit::subject::ListKnown;
use crate::well_known;

/// The part of the KubeVirt custom resource that affects placement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterConfig {
    /// `spec.configuration`.
    pub configuration: Configuration,
    /// `status.defaultArchitecture`.
    pub default_architecture: String,
    /// The reason why the custom resource is too large to judge by; `None` if it is not.
    pub excess: Option<Excess>,
    /// Whether an operator writes the custom resource from a HyperConverged resource.
    pub is_hyperconverged: bool,
    /// Whether the custom resource is there.
    pub is_known: bool,
    /// `spec.workloads.nodePlacement`.
    pub workloads: Option<NodePlacement>,
}

/// Name of the HyperConverged resource; its operator reads no other one (`HyperConvergedName`).
const HYPERCONVERGED_NAME: &str = "kubevirt-hyperconverged";

/// Returns the name of the HyperConverged resource that owns a KubeVirt resource, as in OpenShift Virtualization. Its
/// operator writes the KubeVirt resource (kubevirt/hyperconverged-cluster-operator, `NewKubevirtHandler`).
pub(crate) fn hyperconverged(kubevirt: &KubeVirt) -> Option<&str> {
    let owners = &kubevirt.metadata.owner_references;
    let owner = owners.iter().find(|owner| owner.kind == "HyperConverged" && owner.controller);
    let by_label = || well_known::MANAGED_BY_HCO.is_set(&kubevirt.metadata.labels).then_some(HYPERCONVERGED_NAME);
    owner.map(|owner| owner.name.as_str()).or_else(by_label)
}

impl DeveloperConfiguration {
    /// Whether a feature gate that is off by default (alpha) is on. Mirrors `isFeatureGateEnabled` of
    /// `pkg/virt-config/feature-gates.go`: `featureGates` takes precedence over `disabledFeatureGates`, which exist
    /// since 1.8.0 and affect gates that are on by default (beta, since 1.9.0) only.
    pub(crate) fn gate(&self, gate: FeatureGate) -> bool {
        self.feature_gates.iter().any(|name| name == gate.as_str())
    }
}

impl From<KubeVirt> for ClusterConfig {
    fn from(kubevirt: KubeVirt) -> Self {
        Self {
            is_hyperconverged: hyperconverged(&kubevirt).is_some(),
            is_known: true,
            workloads: kubevirt.spec.workloads.and_then(|workloads| workloads.node_placement),
            configuration: kubevirt.spec.configuration,
            default_architecture: kubevirt.status.default_architecture,
            excess: kubevirt.metadata.excess,
        }
    }
}

impl ClusterConfig {
    /// Returns the origin of a setting that a field of `spec.configuration` sets: the field if it is not empty, else
    /// KubeVirt's default.
    fn origin(&self, field: &'static str, configured: &str) -> SettingOrigin {
        match (configured, self.is_hyperconverged) {
            ("", _) => SettingOrigin::BuiltIn(Some(field)),
            (_, true) => SettingOrigin::HyperConverged(field),
            (_, false) => SettingOrigin::Configuration(field),
        }
    }

    /// Returns the name of the KubeVirt resource in a sentence about one of its settings, with the place where people
    /// change it. `own`: the field of HyperConverged that sets it, if there is one.
    pub(crate) fn holder(&self, own: Option<&str>) -> String {
        let by = match (self.is_hyperconverged, own) {
            (false, _) => String::new(),
            (true, Some(own)) => format!(" ({own} of HyperConverged, which writes it)"),
            (true, None) => {
                " (HyperConverged writes it: its annotation kubevirt.kubevirt.io/jsonpatch can change it)".to_owned()
            }
        };
        format!("the KubeVirt resource{by}")
    }

    /// Returns whether the list of obsolete CPU models is known.
    pub(crate) fn list(&self) -> ListKnown {
        if self.is_known { ListKnown::Known } else { ListKnown::Unknown }
    }

    /// Whether a feature gate is on.
    pub(crate) fn gate(&self, gate: FeatureGate) -> bool {
        self.configuration.developer_configuration.gate(gate)
    }

    /// Whether a feature gate is known to be off.
    pub(crate) fn is_gate_off(&self, gate: FeatureGate) -> bool {
        self.is_known && self.excess.is_none() && !self.gate(gate)
    }

    /// Returns the architecture of guests that name none. Mirrors `GetDefaultArchitecture`.
    pub(crate) fn default_architecture(&self) -> &str {
        let configured = &self.configuration.architecture_configuration.default_architecture;
        [configured.as_str(), self.default_architecture.as_str()]
            .into_iter()
            .find(|architecture| !architecture.is_empty())
            .unwrap_or("amd64")
    }

    /// Returns the architecture of a guest: its own, or the default.
    pub(crate) fn architecture_of<'a>(&'a self, spec: &'a VmiSpec) -> &'a str {
        match spec.architecture.as_str() {
            "" => self.default_architecture(),
            own => own,
        }
    }

    /// Returns the origin of the default architecture. Mirrors `SetDefaultArchitecture` of
    /// `pkg/virt-operator/util/config.go`.
    fn architecture_origin(&self) -> SettingOrigin {
        let configured = &self.configuration.architecture_configuration.default_architecture;
        if configured.is_empty() && !self.default_architecture.is_empty() {
            let by_hyperconverged = self.is_hyperconverged;
            return SettingOrigin::Status { field: "defaultArchitecture", by_hyperconverged };
        }
        self.origin("architectureConfiguration.defaultArchitecture", configured)
    }

    /// Returns the machine type of guests that name none. Mirrors `GetMachineType`.
    pub(crate) fn machine_type(&self, architecture: &str) -> &str {
        if !self.configuration.machine_type.is_empty() {
            return &self.configuration.machine_type;
        }
        let all = &self.configuration.architecture_configuration;
        let (configured, built_in) = match architecture {
            "arm64" => (&all.arm64, "virt"),
            "s390x" => (&all.s390x, "s390-ccw-virtio"),
            _ => (&all.amd64, "q35"),
        };
        if configured.machine_type.is_empty() { built_in } else { &configured.machine_type }
    }

    /// Returns the field of `spec.configuration` that sets the machine type, or would, and its value.
    fn machine_type_field(&self, architecture: &str) -> (&'static str, &str) {
        let all = &self.configuration.architecture_configuration;
        match architecture {
            _ if !self.configuration.machine_type.is_empty() => ("machineType", &self.configuration.machine_type),
            "arm64" => ("architectureConfiguration.arm64.machineType", &all.arm64.machine_type),
            "s390x" => ("architectureConfiguration.s390x.machineType", &all.s390x.machine_type),
            _ => ("architectureConfiguration.amd64.machineType", &all.amd64.machine_type),
        }
    }

    /// Returns the patterns of the machine types that guests of an architecture may have; `None` if that is not known.
    /// Mirrors `GetEmulatedMachines`.
    /// `reads_common`: whether the list of all architectures takes precedence.
    pub(crate) fn emulated_machines(&self, architecture: &str, reads_common: bool) -> Option<Vec<&str>> {
        if !self.is_known || self.excess.is_some() {
            return None;
        }
        let all = &self.configuration.architecture_configuration;
        let (configured, built_in) = match architecture {
            "amd64" => (&all.amd64, ["q35*", "pc-q35*"].as_slice()),
            "arm64" => (&all.arm64, ["virt*"].as_slice()),
            "s390x" => (&all.s390x, ["s390-ccw-virtio*"].as_slice()),
            _ => return None,
        };
        let lists = match &self.configuration.emulated_machines {
            Some(_) if !reads_common => return None,
            Some(list) => Some(list),
            None => configured.emulated_machines.as_ref(),
        };
        Some(lists.map_or_else(|| built_in.to_vec(), |list| list.iter().map(String::as_str).collect()))
    }

    /// Returns the CPU model of guests of an architecture that name none. Mirrors `setDefaultCPUModel`, and
    /// `setDefaultArm64CPUModel` of `pkg/defaults/arm64.go`.
    pub(crate) fn cpu_model(&self, architecture: &str) -> &str {
        match (architecture, self.configuration.cpu_model.as_str()) {
            ("arm64", _) => "host-passthrough",
            (_, "") => "host-model",
            (_, model) => model,
        }
    }
}

/// Fills in KubeVirt's defaults and returns the origins of the filled-in settings. Idempotent.
pub fn apply(spec: &mut VmiSpec, config: &ClusterConfig) -> Origins {
    let mut filled = Origins::new();
    if spec.architecture.is_empty() {
        config.default_architecture().clone_into(&mut spec.architecture);
        filled.push((Setting::Architecture, config.architecture_origin()));
    }
    let machine = spec.domain.machine.get_or_insert_with(Machine::default);
    if machine.kind.is_empty() {
        config.machine_type(&spec.architecture).clone_into(&mut machine.kind);
        let (field, configured) = config.machine_type_field(&spec.architecture);
        filled.push((Setting::MachineType, config.origin(field, configured)));
    }
    if let Some(hyperv) = &mut spec.domain.features.hyperv {
        let needs_vmx = hyperv_dependencies(hyperv, &mut filled);
        if needs_vmx {
            require_vmx(spec, &mut filled);
        }
    }
    let cpu = spec.domain.cpu.get_or_insert_default();
    if cpu.model.is_empty() {
        config.cpu_model(&spec.architecture).clone_into(&mut cpu.model);
        filled.push((
            Setting::Model,
            match spec.architecture.as_str() {
                // The configured model does not apply.
                "arm64" => SettingOrigin::BuiltIn(None),
                _ => config.origin("cpuModel", &config.configuration.cpu_model),
            },
        ));
    }
    filled
}

/// Switches on the dependencies of enlightenments. Returns whether EVMCS needs the CPU feature `vmx`.
///
/// KubeVirt stops at the first dependency that the user switched off, and leaves the rest unchanged. Mirrors
/// `SetHypervFeatureDependencies` of `pkg/defaults/hyperv.go`.
fn hyperv_dependencies(hyperv: &mut Hyperv, filled: &mut Origins) -> bool {
    for state in hyperv.settings_mut().into_iter().filter_map(|(_, state)| state.as_mut()) {
        // SetDefaults_FeatureState: a feature without `enabled` is on.
        state.enabled.get_or_insert(true);
    }
    let mut requires = |by: Option<&'static str>, name: &'static str, dependency: &mut Option<FeatureState>| -> bool {
        let Some(by) = by else { return true };
        let state = dependency.get_or_insert_default();
        if state.enabled.is_none() {
            filled.push((Setting::HyperV(name), SettingOrigin::HyperV(by)));
        }
        *state.enabled.get_or_insert(true)
    };
    let on = |name: &'static str, state: &Option<FeatureState>| is_on(state.as_ref()).then_some(name);
    let wants_vapic = on("evmcs", &hyperv.evmcs);
    let wants_vpindex = on("ipi", &hyperv.ipi).or(on("tlbflush", &hyperv.tlbflush));
    let wants_synic = on("synictimer", &hyperv.synictimer);
    requires(wants_vapic, "vapic", &mut hyperv.vapic)
        && requires(wants_vpindex, "vpindex", &mut hyperv.vpindex)
        && requires(wants_synic, "synic", &mut hyperv.synic)
        && requires(on("synic", &hyperv.synic), "vpindex", &mut hyperv.vpindex)
        && wants_vapic.is_some()
}

/// Whether an enlightenment is switched on, defaults applied.
pub(crate) fn is_on(state: Option<&FeatureState>) -> bool {
    state.is_some_and(|state| state.enabled == Some(true))
}

fn require_vmx(spec: &mut VmiSpec, filled: &mut Origins) {
    let features = &mut spec.domain.cpu.get_or_insert_default().features;
    let known = features.iter().position(|feature| feature.name == "vmx");
    let at = known.unwrap_or_else(|| {
        features.push(CpuFeature { name: "vmx".to_owned(), policy: String::new() });
        features.len() - 1
    });
    let vmx = &mut features[at];
    if vmx.policy != "require" {
        "require".clone_into(&mut vmx.policy);
        filled.push((Setting::Feature("vmx".to_owned()), SettingOrigin::HyperV("evmcs")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::silent(&[], &[], false)]
    #[case::switched_on(&["HypervStrictCheck"], &[], true)]
    #[case::switched_off(&[], &["HypervStrictCheck"], false)]
    #[case::both(&["HypervStrictCheck"], &["HypervStrictCheck"], true)]
    fn a_feature_gate_is_on_if_listed_and_not_disabled(
        #[case] on: &[&str],
        #[case] off: &[&str],
        #[case] expected: bool,
    ) {
        let mut config = ClusterConfig::default();
        let developer = &mut config.configuration.developer_configuration;
        developer.feature_gates = on.iter().copied().map(str::to_owned).collect();
        developer.disabled_feature_gates = off.iter().copied().map(str::to_owned).collect();
        assert_eq!(
            config.gate(FeatureGate::HypervStrictCheck),
            expected,
            "labels are expected of launchers that ask for none"
        );
    }

    #[rstest]
    #[case::nothing("", "", "", "amd64", "q35", "host-model")]
    #[case::cluster_model("", "Haswell", "", "amd64", "q35", "Haswell")]
    #[case::own_model("", "Haswell", "EPYC", "amd64", "q35", "EPYC")]
    #[case::arm("arm64", "Haswell", "", "arm64", "virt", "host-passthrough")]
    #[case::s390x("s390x", "Haswell", "", "s390x", "s390-ccw-virtio", "Haswell")]
    fn a_guest_gets_the_default_model_and_machine_type(
        #[case] architecture: &str,
        #[case] cluster: &str,
        #[case] own: &str,
        #[case] expected_architecture: &str,
        #[case] machine: &str,
        #[case] model: &str,
    ) {
        let mut config = ClusterConfig::default();
        config.configuration.cpu_model = cluster.to_owned();
        let mut spec = VmiSpec { architecture: architecture.to_owned(), ..VmiSpec::default() };
        spec.domain.cpu.get_or_insert_default().model = own.to_owned();
        apply(&mut spec, &config);
        let once = spec.clone();
        apply(&mut spec, &config);
        assert_eq!(spec, once, "defaulting must be idempotent: objects pass it several times");
        assert_eq!(spec.architecture, expected_architecture);
        assert_eq!(spec.domain.machine.unwrap_or_default().kind, machine);
        assert_eq!(spec.domain.cpu.unwrap_or_default().model, model);
    }
}
