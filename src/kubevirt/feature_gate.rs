//! KubeVirt's feature gates that decide about guests.

use crate::fit::word::words;

words! {
    /// A feature gate that the code here decides by. Mirrors `pkg/virt-config/featuregate/active.go`.
    FeatureGate {
        /// Launchers may ask for the device of another hypervisor than KVM.
        ConfigurableHypervisor = "ConfigurableHypervisor",
        /// virt-handler labels the nodes with a CPU manager.
        CpuManager = "CPUManager",
        /// Guests may run on nodes of another architecture.
        CrossArchitectureVirtualization = "CrossArchitectureVirtualization",
        /// Guests may be migrated between clusters and namespaces.
        DecentralizedLiveMigration = "DecentralizedLiveMigration",
        /// GPUs may come from resource claims.
        GpusWithDra = "GPUsWithDRA",
        /// Guests may have host devices.
        HostDevices = "HostDevices",
        /// Launchers ask for the labels of their Hyper-V settings.
        HypervStrictCheck = "HypervStrictCheck",
        /// Launchers request a device for IOMMUFD.
        Iommufd = "IOMMUFD",
        /// A guest with one mediated GPU may migrate.
        VgpuLiveMigration = "VGPULiveMigration",
        /// The rollout strategy `LiveUpdate` counts.
        VmLiveUpdateFeatures = "VMLiveUpdateFeatures",
        /// Guests may have SEV.
        WorkloadEncryptionSev = "WorkloadEncryptionSEV",
        /// Guests may have TDX.
        WorkloadEncryptionTdx = "WorkloadEncryptionTDX",
    }
}

impl FeatureGate {
    /// Returns the effect of the gate on guests where it is on, and where it is off.
    pub(crate) fn effect(self) -> (&'static str, &'static str) {
        match self {
            Self::ConfigurableHypervisor => (
                "launchers may ask for the device of another hypervisor than KVM",
                "launchers ask for the device of no other hypervisor than KVM",
            ),
            Self::CpuManager => (
                "virt-handler labels nodes by the CPU manager of their kubelet, for guests with dedicated CPUs",
                "virt-handler labels every node as one without CPU manager",
            ),
            Self::CrossArchitectureVirtualization => (
                "since 1.9, guests may run on nodes of another architecture",
                "guests run on nodes of their own architecture only",
            ),
            Self::DecentralizedLiveMigration => (
                "since 1.6, guests may be migrated between clusters and namespaces",
                "KubeVirt refuses to migrate guests between clusters and namespaces",
            ),
            Self::GpusWithDra => (
                "permittedHostDevices need not list the GPUs of guests",
                "permittedHostDevices, if it is set, has to list the GPUs of guests",
            ),
            Self::HostDevices => {
                ("KubeVirt admits guests with hostDevices", "KubeVirt refuses guests with hostDevices")
            }
            Self::HypervStrictCheck => (
                "launchers ask for the labels of their Hyper-V settings",
                "launchers do not ask for the labels of their Hyper-V settings",
            ),
            Self::Iommufd => (
                "since 1.9, launchers request devices.kubevirt.io/iommufd",
                "launchers do not request devices.kubevirt.io/iommufd",
            ),
            Self::VgpuLiveMigration => {
                ("since 1.9, guests with one mediated GPU may be migrated", "guests with a GPU are not migrated")
            }
            Self::VmLiveUpdateFeatures => (
                "before 1.5, changes of a VirtualMachine reach its running guest if vmRolloutStrategy is LiveUpdate",
                "before 1.5, changes of a VirtualMachine do not reach its running guest",
            ),
            Self::WorkloadEncryptionSev => (
                "KubeVirt admits guests with SEV, and since 1.7 with SEV-SNP",
                "before 1.9, KubeVirt refuses guests with SEV or SEV-SNP",
            ),
            Self::WorkloadEncryptionTdx => {
                ("since 1.7, KubeVirt admits guests with TDX", "KubeVirt refuses guests with TDX")
            }
        }
    }
}
