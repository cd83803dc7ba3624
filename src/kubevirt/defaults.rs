//! What KubeVirt's own mutating webhook fills into a VirtualMachineInstance at CREATE, as far as it
//! bears on placement.
//!
//! Mirrors `pkg/defaults` (`SetDefaultVirtualMachineInstance`, `setDefaultCPUModel`,
//! `SetHypervFeatureDependencies`) and `pkg/virt-config` (`GetMachineType`, `GetDefaultArchitecture`).

use super::wire::{Configuration, CpuFeature, FeatureState, Hyperv, KubeVirt, Machine, VmiSpec};

/// What of the KubeVirt custom resource bears on placement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterConfig {
    /// `spec.configuration`.
    pub configuration: Configuration,
    /// `status.defaultArchitecture`.
    pub default_architecture: String,
}

impl From<KubeVirt> for ClusterConfig {
    fn from(kubevirt: KubeVirt) -> Self {
        Self { configuration: kubevirt.spec.configuration, default_architecture: kubevirt.status.default_architecture }
    }
}

impl ClusterConfig {
    /// Whether a feature gate is on.
    #[must_use]
    pub fn gate(&self, name: &str) -> bool {
        let developer = &self.configuration.developer_configuration;
        developer.feature_gates.iter().any(|gate| gate == name)
            && !developer.disabled_feature_gates.iter().any(|gate| gate == name)
    }

    /// The architecture of guests that name none.
    #[must_use]
    pub fn default_architecture(&self) -> &str {
        let configured = &self.configuration.architecture_configuration.default_architecture;
        [configured.as_str(), self.default_architecture.as_str()]
            .into_iter()
            .find(|architecture| !architecture.is_empty())
            .unwrap_or("amd64")
    }

    /// The machine type of guests that name none.
    #[must_use]
    pub fn machine_type(&self, architecture: &str) -> &str {
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

    /// The CPU model of guests of an architecture that name none (`setDefaultCPUModel`).
    #[must_use]
    pub fn cpu_model(&self, architecture: &str) -> &str {
        match (architecture, self.configuration.cpu_model.as_str()) {
            ("arm64", _) => "host-passthrough",
            (_, "") => "host-model",
            (_, model) => model,
        }
    }
}

/// Fills in what KubeVirt would fill in. Idempotent.
pub fn apply(spec: &mut VmiSpec, config: &ClusterConfig) {
    if spec.architecture.is_empty() {
        config.default_architecture().clone_into(&mut spec.architecture);
    }
    let machine = spec.domain.machine.get_or_insert_with(Machine::default);
    if machine.kind.is_empty() {
        config.machine_type(&spec.architecture).clone_into(&mut machine.kind);
    }
    if let Some(hyperv) = &mut spec.domain.features.hyperv {
        let needs_vmx = hyperv_dependencies(hyperv);
        if needs_vmx {
            require_vmx(spec);
        }
    }
    let cpu = spec.domain.cpu.get_or_insert_default();
    if cpu.model.is_empty() {
        config.cpu_model(&spec.architecture).clone_into(&mut cpu.model);
    }
}

/// Switches on what enlightenments depend on; says whether EVMCS asks for the CPU feature `vmx`.
///
/// KubeVirt stops at the first dependency that the user switched off, and leaves the rest undone.
fn hyperv_dependencies(hyperv: &mut Hyperv) -> bool {
    for state in hyperv.settings_mut().into_iter().filter_map(|(_, state)| state.as_mut()) {
        // SetDefaults_FeatureState: present and silent means on.
        state.enabled.get_or_insert(true);
    }
    let requires = |wanted: bool, dependency: &mut Option<FeatureState>| -> bool {
        if !wanted {
            return true;
        }
        *dependency.get_or_insert_default().enabled.get_or_insert(true)
    };
    let wants_vapic = is_on(hyperv.evmcs.as_ref());
    let wants_vpindex = is_on(hyperv.ipi.as_ref()) || is_on(hyperv.tlbflush.as_ref());
    let wants_synic = is_on(hyperv.synictimer.as_ref());
    requires(wants_vapic, &mut hyperv.vapic)
        && requires(wants_vpindex, &mut hyperv.vpindex)
        && requires(wants_synic, &mut hyperv.synic)
        && requires(is_on(hyperv.synic.as_ref()), &mut hyperv.vpindex)
        && wants_vapic
}

/// Whether an enlightenment is switched on, defaults applied.
#[must_use]
pub fn is_on(state: Option<&FeatureState>) -> bool {
    state.is_some_and(|state| state.enabled == Some(true))
}

fn require_vmx(spec: &mut VmiSpec) {
    let features = &mut spec.domain.cpu.get_or_insert_default().features;
    match features.iter_mut().find(|feature| feature.name == "vmx") {
        Some(vmx) => "require".clone_into(&mut vmx.policy),
        None => features.push(CpuFeature { name: "vmx".to_owned(), policy: "require".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::nothing("", "", "", "amd64", "q35", "host-model")]
    #[case::cluster_model("", "Haswell", "", "amd64", "q35", "Haswell")]
    #[case::own_model("", "Haswell", "EPYC", "amd64", "q35", "EPYC")]
    #[case::arm("arm64", "Haswell", "", "arm64", "virt", "host-passthrough")]
    #[case::s390x("s390x", "Haswell", "", "s390x", "s390-ccw-virtio", "Haswell")]
    fn models_and_machines(
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
