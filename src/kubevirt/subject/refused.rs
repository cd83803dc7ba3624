//! Combinations of settings that virt-api refuses. Nodes are judged regardless: the labels would allow the guest.
//!
//! Mirrors `ValidateVirtualMachineInstanceSpec` and the other checks of `Admit` of
//! `pkg/virt-api/webhooks/validating-webhook/admitters/vmi-create-admitter.go`, those of the CPU, of features and of
//! placement. Not reported: networks, disks, volumes, probes, boot order (with encryption, too), memory and its pages,
//! video, sound, watchdogs, DNS, eviction strategy, metadata, and the preferred terms of affinities.

mod cpu;
mod hyperv;
mod placement;

use crate::bounds::Excess;
use crate::fit::subject::Subject;
use crate::fit::verdict::{Check, Detail, Finding};
use crate::kubevirt::defaults::ClusterConfig;
use crate::kubevirt::feature_gate::FeatureGate;
use crate::kubevirt::not_migratable::REENLIGHTENMENT;
use crate::kubevirt::release::Release;
use crate::kubevirt::setting::{Origins, Setting, SettingOrigin};
use crate::kubevirt::wire::{HostDevice, Vmi, VmiSpec};
pub(super) use cpu::repeated;

/// A specification: as written in the object below `root`, and with what its instancetype and preference add.
pub(super) struct Written<'s> {
    pub own: &'s VmiSpec,
    pub whole: &'s VmiSpec,
    pub root: &'static str,
    /// Whether the object names an instancetype.
    pub has_type: bool,
    /// The origins of the settings that `own` lacks.
    pub origins: &'s Origins,
    /// The part of the specification that was not read: a text beyond a bound reads as empty, and nothing is said
    /// about it.
    pub excess: Option<&'s Excess>,
}

/// A refused setting: its field, and why it is refused.
type Refused = (String, String);

impl<'s> Written<'s> {
    /// Returns the specification of a VMI, which has no instancetype.
    pub(super) fn of_vmi(vmi: &'s Vmi, root: &'static str, origins: &'s Origins) -> Self {
        let excess = vmi.metadata.excess.as_ref();
        Self { own: &vmi.spec, whole: &vmi.spec, root, has_type: false, origins, excess }
    }
}

impl Written<'_> {
    /// Returns the path of a setting that an instancetype may have: in the object's specification if that has it, else
    /// of the instancetype that does; empty if the object holds neither.
    fn place(&self, below: &str, is_set: impl Fn(&VmiSpec) -> bool) -> String {
        let elsewhere = if self.has_type { "spec.instancetype" } else { "" };
        if is_set(self.own) { format!("{}.{below}", self.root) } else { elsewhere.to_owned() }
    }

    /// Returns the path of a setting that a preference may have.
    fn place_of(&self, below: &str, setting: &Setting, is_set: impl Fn(&VmiSpec) -> bool) -> String {
        let is_preferred =
            |(of, origin): &(Setting, SettingOrigin)| of == setting && *origin == SettingOrigin::Preference;
        if !is_set(self.own) && self.origins.iter().any(is_preferred) {
            return "spec.preference".to_owned();
        }
        self.place(below, is_set)
    }

    /// Changes the path of the field for which KubeVirt will refuse to migrate the guest, which is one below the
    /// guest's spec, to that of the field in this object.
    pub(super) fn locate_foreseen(&self, subject: &mut Subject<'_>) {
        if let Some(foreseen) = &mut subject.live_migratable.foreseen {
            foreseen.field = self.place_of_foreseen(&foreseen.field);
        }
    }

    fn place_of_foreseen(&self, below: &str) -> String {
        let reenlightens = |spec: &VmiSpec| {
            let hyperv = spec.domain.features.hyperv.as_ref();
            hyperv.is_some_and(|hyperv| hyperv.reenlightenment.is_some())
        };
        match below {
            HOST_DEVICES | GPUS => self.place(below, |spec| !devices_of(spec, below).is_empty()),
            "domain.launchSecurity" => self.place_of_security(),
            REENLIGHTENMENT => self.place_of(below, &Setting::HyperV("reenlightenment"), reenlightens),
            _ => format!("{}.{below}", self.root),
        }
    }

    fn place_of_security(&self) -> String {
        let is_set = |spec: &VmiSpec| spec.domain.launch_security.is_some();
        self.place_of("domain.launchSecurity", &Setting::LaunchSecurity, is_set)
    }

    /// Returns a note for each setting that virt-api refuses, or that virt-controller creates no pod with.
    pub(super) fn refusals(&self, config: &ClusterConfig, release: Release) -> Vec<Finding> {
        if self.excess.is_some() {
            return Vec::new();
        }
        let out = [
            self.security(config, release),
            self.placement(config, release),
            self.devices(config),
            self.cpu(config, release),
            self.hyperv(config, release),
        ];
        let note = |(field, why)| Finding::note(Check::Contradiction, field, Detail::Refused(why));
        out.into_iter().flatten().map(note).collect()
    }

    /// Mirrors `validateHostDevicesWithPassthroughEnabled`, and `validatePermittedHostDevices` of
    /// `pkg/virt-controller/services/renderresources.go`.
    fn devices(&self, config: &ClusterConfig) -> Vec<Refused> {
        let mut out = Vec::new();
        if config.is_gate_off(FeatureGate::HostDevices) && !devices_of(self.whole, HOST_DEVICES).is_empty() {
            let field = self.place(HOST_DEVICES, |spec| !devices_of(spec, HOST_DEVICES).is_empty());
            out.push((field, "its host devices need the feature gate HostDevices, which is off".to_owned()));
        }
        out.extend(not_permitted(self.whole, config).into_iter().map(|(below, device)| {
            let field = self.place(below, |spec| !devices_of(spec, below).is_empty());
            let what = if below == GPUS { "GPU" } else { "host device" };
            let of = config.holder(Some("spec.permittedHostDevices"));
            let why =
                format!("{what} {device} is not in permittedHostDevices of {of}, so virt-controller creates no pod");
            (field, why)
        }));
        out
    }

    /// Mirrors `validateLaunchSecurity`, `ValidateLaunchSecurityAmd64` of `pkg/virt-api/webhooks/amd64.go`, and
    /// `ValidateSchema` of `pkg/util/webhooks/webhooks.go` (an unknown field).
    fn security(&self, config: &ClusterConfig, release: Release) -> Vec<Refused> {
        let Some(security) = &self.whole.domain.launch_security else { return Vec::new() };
        let architecture = config.architecture_of(self.whole);
        let is_unknown = (security.snp.is_some() || security.tdx.is_some()) && !release.knows_snp_and_tdx();
        let unknown =
            is_unknown.then(|| format!("launchSecurity has snp and tdx from v1.7.0 on, and this is {release}"));
        let by_type = if architecture == "amd64" {
            self.refuses_security(config, release)
        } else {
            // Until 1.6 the architecture is not asked for.
            let has_none = !matches!(architecture, "amd64" | "s390x") && release.knows_snp_and_tdx();
            has_none.then(|| format!("launchSecurity does not exist on {architecture}"))
        };
        let field = self.place_of_security();
        unknown.into_iter().chain(by_type).map(|why| (field.clone(), why)).collect()
    }

    /// Returns why virt-api refuses the encryption of an amd64 guest. Mirrors `ValidateLaunchSecurityAmd64` of
    /// `pkg/virt-api/webhooks/amd64.go`, and before 1.7 `validateLaunchSecurity` of the create admitter: they ask for
    /// the gate, which for SEV is on by default since 1.9, and for firmware with UEFI, for SEV without secure boot.
    fn refuses_security(&self, config: &ClusterConfig, release: Release) -> Option<String> {
        let security = self.whole.domain.launch_security.as_ref()?;
        let (snp, tdx) = (security.snp.is_some(), security.tdx.is_some());
        if (snp || tdx) && !release.knows_snp_and_tdx() {
            return None;
        }
        let types = [("sev", security.sev.is_some()), ("snp", snp), ("tdx", tdx)];
        let types: Vec<&str> = types.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
        let (kind, gate) = match types.as_slice() {
            [] => return None,
            ["tdx"] => ("tdx", Some(FeatureGate::WorkloadEncryptionTdx)),
            [kind] if release.encrypts_by_default() => (*kind, None),
            [kind] => (*kind, Some(FeatureGate::WorkloadEncryptionSev)),
            several => return Some(format!("launchSecurity has {}, and may have one of them", several.join(" and "))),
        };
        if let Some(gate) = gate.filter(|gate| config.is_gate_off(*gate)) {
            return Some(format!("launchSecurity.{kind} needs the feature gate {gate}, which is off"));
        }
        let bootloader = self.whole.domain.firmware.as_ref().and_then(|firmware| firmware.bootloader.as_ref());
        match bootloader.and_then(|bootloader| bootloader.efi.as_ref()) {
            None => Some(format!("launchSecurity.{kind} needs UEFI (firmware.bootloader.efi)")),
            Some(efi) if kind != "tdx" && efi.secure_boot != Some(false) => Some(format!(
                "launchSecurity.{kind} does not work with secure boot, which is on unless \
                 firmware.bootloader.efi.secureBoot is false"
            )),
            Some(_) => None,
        }
    }
}

const GPUS: &str = "domain.devices.gpus";
const HOST_DEVICES: &str = "domain.devices.hostDevices";

fn devices_of<'s>(spec: &'s VmiSpec, below: &str) -> &'s [HostDevice] {
    let devices = &spec.domain.devices;
    if below == GPUS { &devices.gpus } else { &devices.host_devices }
}

/// Returns the devices, by the path of their list, that KubeVirt's configuration does not permit. Without a list in the
/// configuration all are.
fn not_permitted(spec: &VmiSpec, config: &ClusterConfig) -> Vec<(&'static str, String)> {
    let Some(permitted) = &config.configuration.permitted_host_devices else { return Vec::new() };
    let known = [&permitted.pci_host_devices, &permitted.mediated_devices, &permitted.usb];
    let is_known = |name: &str| known.into_iter().flatten().any(|known| known.resource_name == name);
    let is_checked = |below: &&str| *below != GPUS || !config.gate(FeatureGate::GpusWithDra);
    let lists = [GPUS, HOST_DEVICES].into_iter().filter(is_checked);
    let devices = lists.flat_map(|below| devices_of(spec, below).iter().map(move |of| (below, of.device_name.clone())));
    // A device by a claim has no name.
    devices.filter(|(_, name)| !name.is_empty() && !is_known(name)).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::bounds::Bounded;
    use crate::fit::judgement::Depth;
    use crate::fit::label;
    use crate::kubevirt::cluster::ClusterObject;
    use crate::kubevirt::subject::{Prepared, of_vm, of_vmi};
    use crate::kubevirt::wire::VirtualMachine;
    use crate::say;
    use crate::testing::Tweak;
    use crate::testing::cluster::{cluster, read, vm};
    use crate::testing::fleet::{arm, cascade_lake, mixed, set};

    /// Returns the refusals with their fields.
    fn refusals(prepared: &Prepared<'_>) -> Vec<String> {
        let refused = prepared.notes.iter().filter(|note| matches!(note.detail, Detail::Refused(_)));
        refused.map(|note| format!("{}: {}", note.field, say::finding::message(note))).collect()
    }

    const ON_ARM: &str = "domain.cpu.model: KubeVirt refuses the guest: on arm64 a guest cannot have CPU model";
    const PAGES: &str = "domain.cpu.numa.guestMappingPassthrough: KubeVirt refuses the guest: \
                         cpu.numa.guestMappingPassthrough requires memory.hugepages";
    const NUMA: &str = "domain.cpu.numa.guestMappingPassthrough: KubeVirt refuses the guest: \
                        cpu.numa.guestMappingPassthrough requires cpu.dedicatedCpuPlacement";

    #[rstest]
    #[case::named_on_arm("1.6.0", "arm64", json!({"model": "Haswell"}), vec![format!("{ON_ARM} Haswell, only host-passthrough")])]
    #[case::named_on_arm_before("1.5.3", "arm64", json!({"model": "Haswell"}), vec![])]
    #[case::host_model_on_arm("1.9.0", "arm64", json!({"model": "host-model"}), vec![format!("{ON_ARM} host-model, only host-passthrough")])]
    #[case::host_model_on_arm_before("1.5.3", "arm64", json!({"model": "host-model"}), vec![format!("{ON_ARM} host-model, only host-passthrough")])]
    #[case::host_passthrough_on_arm("1.9.0", "arm64", json!({"model": "host-passthrough"}), vec![])]
    #[case::none_on_arm("1.9.0", "arm64", json!({}), vec![])]
    #[case::named_elsewhere("1.9.0", "amd64", json!({"model": "Haswell"}), vec![])]
    #[case::numa("1.5.0", "", json!({"numa": {"guestMappingPassthrough": {}}}), vec![PAGES.to_owned(), NUMA.to_owned()])]
    #[case::numa_without_mapping("1.9.0", "", json!({"numa": {}}), vec![])]
    #[case::numa_with_cpus("1.9.0", "", json!({"dedicatedCpuPlacement": true, "numa": {"guestMappingPassthrough": {}}}), vec![PAGES.to_owned()])]
    #[case::policy_of_a_feature("1.9.0", "", json!({"features": [{"name": "aes"}, {"name": "vmx", "policy": "required"}]}), vec![
        "domain.cpu.features[1].policy: KubeVirt refuses the guest: CPU feature vmx has policy required, which KubeVirt does not know".to_owned()])]
    #[case::policies_of_features("1.9.0", "", json!({"features": [{"name": "aes", "policy": "optional"}, {"name": "vmx", "policy": "force"}]}), vec![])]
    #[case::realtime("1.9.0", "", json!({"realtime": {}}), vec!["domain.cpu.realtime: KubeVirt refuses the guest: cpu.realtime requires \
        cpu.dedicatedCpuPlacement and cpu.numa.guestMappingPassthrough".to_owned()])]
    #[case::realtime_without_numa("1.9.0", "", json!({"realtime": {}, "dedicatedCpuPlacement": true}), vec![
        "domain.cpu.realtime: KubeVirt refuses the guest: cpu.realtime requires cpu.numa.guestMappingPassthrough".to_owned()])]
    #[case::realtime_without_cpus("1.9.0", "", json!({"realtime": {}, "numa": {"guestMappingPassthrough": {}}}), vec![PAGES.to_owned(), NUMA.to_owned(),
        "domain.cpu.realtime: KubeVirt refuses the guest: cpu.realtime requires cpu.dedicatedCpuPlacement".to_owned()])]
    fn a_guest_that_virt_api_refuses_is_reported_and_judged_by_labels(
        #[case] release: &str,
        #[case] architecture: &str,
        #[case] cpu: Value,
        #[case] expected: Vec<String>,
    ) {
        let cluster = cluster(release, mixed(), []);
        let spec = json!({"architecture": architecture, "domain": {"cpu": cpu}});
        let of_vm = of_vm(&read(vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"] = spec.clone())), &cluster);
        let of_vmi = of_vmi(&read(json!({"metadata": {"name": "db", "namespace": "shop"}, "spec": spec})), &cluster);
        let at = |root: &str| expected.iter().map(|words| format!("{root}.{words}")).collect::<Vec<_>>();
        assert_eq!(refusals(&of_vm), at("spec.template.spec"), "the user does not learn why the VM is refused");
        assert_eq!(refusals(&of_vmi), at("spec"), "the user does not learn why the VMI is refused");
        assert!(of_vm.not_judged.is_none() && of_vmi.not_judged.is_none(), "the verdict by labels is gone");
    }

    const OFF: &str = "domain.features.hyperv";

    /// The mutating webhook switches on what is required and not set, and leaves alone what is switched off.
    #[rstest]
    #[case::required_and_not_set("1.9.0", json!({"hyperv": {"evmcs": {}, "ipi": {"enabled": true}, "synictimer": {}}}), None)]
    #[case::required_and_on("1.9.0", json!({"hyperv": {"ipi": {}, "vpindex": {}}}), None)]
    #[case::off_and_not_required("1.9.0", json!({"hyperv": {"vpindex": {"enabled": false}, "ipi": {"enabled": false}}}), None)]
    #[case::evmcs("1.9.0", json!({"hyperv": {"evmcs": {}, "vapic": {"enabled": false}}}), Some(("vapic", "evmcs")))]
    #[case::ipi_and_flushes("1.0.0", json!({"hyperv": {"ipi": {}, "tlbflush": {"enabled": true}, "vpindex": {"enabled": false}}}), Some(("vpindex", "ipi and tlbflush")))]
    #[case::synic("1.9.0", json!({"hyperv": {"synictimer": {}, "synic": {"enabled": false}}}), Some(("synic", "synictimer")))]
    #[case::what_is_switched_on("1.9.0", json!({"hyperv": {"synictimer": {}, "vpindex": {"enabled": false}}}), Some(("vpindex", "synic")))]
    fn a_hyperv_setting_that_is_required_and_switched_off_is_refused(
        #[case] release: &str,
        #[case] features: Value,
        #[case] expected: Option<(&str, &str)>,
    ) {
        let known = cluster(release, mixed(), []);
        let spec = json!({"architecture": "amd64", "domain": {"features": features}});
        let guest = vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"] = spec);
        let expected: Vec<String> = expected
            .into_iter()
            .map(|(off, by)| {
                format!(
                    "spec.template.spec.{OFF}.{off}: KubeVirt refuses the guest: Hyper-V setting {off} is switched off \
                     (enabled: false), and required by {by}"
                )
            })
            .collect();
        assert_eq!(
            refusals(&of_vm(&read(guest), &known)),
            expected,
            "the verdict is FITS for a VM that never starts, or not"
        );
    }

    #[rstest]
    #[case::both_modes("1.3.0", json!({"features": {"hyperv": {}, "hypervPassthrough": {"enabled": false}}}), "features has hyperv and hypervPassthrough, and may have one of them")]
    #[case::both_modes_before("1.2.2", json!({"features": {"hyperv": {}, "hypervPassthrough": {"enabled": true}}}), "")]
    #[case::passthrough("1.9.0", json!({"features": {"hypervPassthrough": {"enabled": true}}}), "")]
    #[case::vmx_twice("1.9.0", json!({"features": {"hyperv": {"evmcs": {}}}, "cpu": {"features": [{"name": "vmx"}, {"name": "vmx", "policy": "disable"}]}}),
        "Hyper-V setting evmcs requires CPU feature vmx, which is listed twice, with another policy too")]
    #[case::vmx_off("1.9.0", json!({"features": {"hyperv": {"evmcs": {}}}, "cpu": {"features": [{"name": "vmx", "policy": "disable"}]}}), "")]
    #[case::emulator_thread("1.9.0", json!({"cpu": {"isolateEmulatorThread": true}}), "cpu.isolateEmulatorThread requires cpu.dedicatedCpuPlacement")]
    #[case::emulator_thread_of_its_own("1.9.0", json!({"cpu": {"isolateEmulatorThread": true, "dedicatedCpuPlacement": true}}), "")]
    #[case::sockets("1.9.0", json!({"cpu": {"sockets": 4, "maxSockets": 2}}), "cpu.sockets is 4, and cpu.maxSockets is 2")]
    #[case::sockets_to_plug("1.9.0", json!({"cpu": {"sockets": 2, "maxSockets": 4}}), "")]
    #[case::threads("1.9.0", json!({"cpu": {"threads": 4, "dedicatedCpuPlacement": true}}), "cpu.threads is 4, and with cpu.dedicatedCpuPlacement it may be 2 at most")]
    #[case::shared_threads("1.9.0", json!({"cpu": {"threads": 4}}), "")]
    #[case::half_a_cpu("1.9.0", json!({"cpu": {"dedicatedCpuPlacement": true}, "resources": {"limits": {"cpu": "1500m"}}}), "resources.limits.cpu must be a whole number")]
    #[case::other_cpus("1.9.0", json!({"cpu": {"dedicatedCpuPlacement": true, "cores": 4}, "resources": {"requests": {"cpu": 2}}}), "resources.requests.cpu must be the number of virtual CPUs, 4, and is 2")]
    #[case::as_many_cpus("1.9.0", json!({"cpu": {"dedicatedCpuPlacement": true, "cores": 2, "threads": 2}, "resources": {"requests": {"cpu": 4}, "limits": {"cpu": "4"}}}), "")]
    #[case::cpus_by_limit("1.9.0", json!({"cpu": {"dedicatedCpuPlacement": true}, "resources": {"limits": {"cpu": "4"}}}), "")]
    #[case::unlike("1.9.0", json!({"cpu": {"dedicatedCpuPlacement": true}, "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "4"}}}), "cpu must be equal in resources.requests and resources.limits")]
    #[case::unlike_memory("1.9.0", json!({"cpu": {"dedicatedCpuPlacement": true}, "resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}}), "memory must be equal in resources.requests and resources.limits")]
    #[case::more_than_the_limit("1.9.0", json!({"resources": {"requests": {"cpu": "3"}, "limits": {"cpu": "2"}}}), "resources.requests.cpu is more than resources.limits.cpu")]
    #[case::shared_cpus("1.9.0", json!({"cpu": {"cores": 4}, "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "1500m"}}}), "")]
    #[case::machine("1.9.0", json!({"machine": {"type": "pc-i440fx-9.2"}}), "machine type pc-i440fx-9.2 is not in emulatedMachines of the KubeVirt resource (q35*, pc-q35*)")]
    #[case::machine_version("1.9.0", json!({"machine": {"type": "pc-q35-9.2"}}), "")]
    fn settings_that_virt_api_refuses_are_said(#[case] release: &str, #[case] domain: Value, #[case] expected: &str) {
        let kubevirt = ClusterObject::KubeVirt(Box::new(read(json!({"metadata": {"name": "kubevirt"}}))));
        let known = cluster(release, mixed(), [kubevirt]);
        let guest = vm("db", "").tweak(|vm| {
            vm["spec"]["template"]["spec"] = json!({"architecture": "amd64", "domain": domain});
        });
        let found = refusals(&of_vm(&read(guest), &known));
        assert_eq!(
            found.is_empty(),
            expected.is_empty(),
            "the verdict is FITS for a VM that never starts, or not: {found:?}"
        );
        assert!(found.iter().all(|line| line.ends_with(expected)), "{found:?}");
    }

    #[rstest]
    #[case::threads_on_arm("1.9.0", json!({"architecture": "arm64", "domain": {"cpu": {"threads": 2, "dedicatedCpuPlacement": true}}}), "it may be 1 at most on arm64")]
    #[case::threads_on_arm_before("1.0.1", json!({"architecture": "arm64", "domain": {"cpu": {"threads": 2, "dedicatedCpuPlacement": true}}}), "")]
    #[case::security_on_arm("1.7.0", json!({"architecture": "arm64", "domain": {"launchSecurity": {"sev": {}}}}), "launchSecurity does not exist on arm64")]
    #[case::security_on_arm_before("1.6.6", json!({"architecture": "arm64", "domain": {"launchSecurity": {"sev": {}}}}), "")]
    #[case::security_on_z("1.9.0", json!({"architecture": "s390x", "domain": {"launchSecurity": {}}}), "")]
    #[case::architecture("1.6.0", json!({"architecture": "riscv64", "domain": {}}), "it has no guests of architecture riscv64")]
    #[case::architecture_before("1.5.3", json!({"architecture": "riscv64", "domain": {}}), "")]
    #[case::spread_twice("1.9.0", json!({"domain": {}, "topologySpreadConstraints": [{"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
        {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]}), "two topology spread constraints have topologyKey zone and whenUnsatisfiable DoNotSchedule")]
    #[case::spread_never("1.9.0", json!({"domain": {}, "topologySpreadConstraints": [{"topologyKey": "zone", "whenUnsatisfiable": "Never"}]}), "ScheduleAnyway, and is Never")]
    #[case::spread_nowhere("1.9.0", json!({"domain": {}, "topologySpreadConstraints": [{"whenUnsatisfiable": "DoNotSchedule"}]}), "must have a topologyKey, and has none")]
    #[case::affinity("1.9.0", json!({"domain": {}, "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": []}]}]}}}}), "for key zone, has operator In and no value")]
    fn placements_that_virt_api_refuses_are_said(#[case] release: &str, #[case] spec: Value, #[case] expected: &str) {
        let known = cluster(release, mixed(), []);
        let guest = json!({"metadata": {"name": "db", "namespace": "shop"}, "spec": spec});
        let found = refusals(&of_vmi(&read(guest), &known));
        assert_eq!(
            found.is_empty(),
            expected.is_empty(),
            "the verdict is FITS for a guest that never starts, or not: {found:?}"
        );
        assert!(found.iter().all(|line| line.ends_with(expected)), "{found:?}");
    }

    /// virt-api takes a feature that is listed twice, and libvirt refuses the guest: no change may lead to that.
    #[rstest]
    #[case::twice(json!([{"name": "gfni"}, {"name": "gfni"}]), true, 1)]
    #[case::required_and_forbidden(json!([{"name": "svm", "policy": "require"}, {"name": "svm", "policy": "forbid"}]), true, 1)]
    #[case::forbidden(json!([{"name": "svm", "policy": "forbid"}]), false, 1)]
    #[case::two(json!([{"name": "gfni"}, {"name": "svm", "policy": "forbid"}]), false, 2)]
    fn a_feature_that_is_listed_twice_is_said_and_not_made(
        #[case] features: Value,
        #[case] is_twice: bool,
        #[case] changes: usize,
    ) {
        let mut nodes = ["n1", "n2", "n3"].map(cascade_lake);
        set(&mut nodes[0], "cpu-feature.node.kubevirt.io/svm", "true");
        let guest =
            vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"]["domain"]["cpu"] = json!({"features": features}));
        let stored = ClusterObject::VirtualMachine(Box::new(read(guest.clone())));
        let known = cluster("1.9.0", nodes.into(), [stored]);
        let prepared = of_vm(&read(guest), &known);
        let notes: Vec<String> = prepared.notes.iter().map(say::finding::message).collect();
        assert_eq!(notes.iter().any(|note| note.contains("is listed twice")), is_twice, "it waits for ever: {notes:?}");
        assert_eq!(prepared.subject.changes.len(), changes, "{:?}", prepared.subject.changes);
        for change in &prepared.subject.changes {
            let of = &change.start.features;
            let mut names =
                [&of.required, &of.forced, &of.optional, &of.disabled, &of.forbidden].map(Clone::clone).concat();
            names.sort_unstable();
            assert!(
                names.is_sorted_by(|one, other| one < other),
                "a remedy makes a guest that libvirt refuses: {change:?}"
            );
        }
    }

    /// A text beyond a bound reads as empty, and nothing is said about the empty one.
    #[rstest]
    #[case::conditions(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": vec![json!({"matchExpressions": (0..500).map(|at| json!({"key": format!("k{at}"),
            "operator": "DoesNotExist"})).collect::<Vec<_>>()}); 9]}}}}))]
    #[case::long_conditions(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "k".repeat(2000), "operator": "DoesNotExist"}]}]}}}}))]
    #[case::spread(json!({"nodeSelector": (0..200).map(|at| (at.to_string(), json!("v".repeat(1000))))
        .collect::<serde_json::Map<_, _>>(), "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule"}]}))]
    #[case::features(json!({"domain": {"cpu": {"features": (["a", "b"].map(|c| json!({"name": c.repeat(1100)})))}}}))]
    #[case::policies(json!({"domain": {"cpu": {"features": [{"name": "a", "policy": "p".repeat(1100)}]}}}))]
    #[case::model(json!({"architecture": "arm64", "domain": {"cpu": {"model": "m".repeat(1100)}}}))]
    fn nothing_is_said_about_texts_that_were_not_read(#[case] spec: Value) {
        let known = cluster("1.9.0", mixed(), []);
        let of_vm = vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"] = spec.clone()).to_string();
        let Bounded(of_vm): Bounded<VirtualMachine> = serde_json::from_str(&of_vm).unwrap();
        let of_vmi = json!({"metadata": {"name": "db", "namespace": "shop"}, "spec": spec}).to_string();
        let Bounded(of_vmi): Bounded<Vmi> = serde_json::from_str(&of_vmi).unwrap();
        for prepared in [super::super::of_vm(&of_vm, &known), super::super::of_vmi(&of_vmi, &known)] {
            assert!(prepared.is_too_large, "the case is not too large");
            let said: Vec<String> = prepared.notes.iter().map(say::finding::message).collect();
            let is_false = |line: &String| line.contains("refuses the guest") || line.contains("is listed twice");
            assert!(
                !said.iter().any(is_false) && !prepared.subject.is_refused,
                "the object says something else: {said:?}"
            );
        }
        assert_eq!(super::super::refusals(&of_vmi, &[], &known), Vec::<String>::new());
    }

    /// A setting that a preference has is not looked for in the instancetype.
    #[test]
    fn a_refused_setting_of_the_preference_is_traced_to_it() {
        let off = json!({"features": {"preferredHyperv": {"ipi": {}, "vpindex": {"enabled": false}}}});
        let preferred = ClusterObject::Preference(read(json!({"metadata": {"name": "windows"}, "spec": off})));
        let big =
            ClusterObject::Instancetype(read(json!({"metadata": {"name": "big"}, "spec": {"cpu": {"guest": 2}}})));
        let vm: VirtualMachine = read(vm("db", "").tweak(|vm| {
            vm["spec"]["template"]["spec"] = json!({"domain": {}});
            (vm["spec"]["instancetype"], vm["spec"]["preference"]) =
                (json!({"name": "big"}), json!({"name": "windows"}));
        }));
        let found = refusals(&of_vm(&vm, &cluster("1.9.0", mixed(), [big, preferred])));
        assert!(found.iter().all(|line| line.starts_with("spec.preference: ")) && found.len() == 1, "{found:?}");
    }

    #[rstest]
    #[case::sev("1.8.4", &[], json!({"firmware": {"bootloader": {"efi": {"secureBoot": false}}}, "launchSecurity": {"sev": {}}}), Some("launchSecurity.sev needs the feature gate WorkloadEncryptionSEV, which is off"))]
    #[case::sev_with_the_gate("1.8.4", &["WorkloadEncryptionSEV"], json!({"firmware": {"bootloader": {"efi": {"secureBoot": false}}}, "launchSecurity": {"sev": {}}}), None)]
    #[case::sev_by_default("1.9.0", &[], json!({"firmware": {"bootloader": {"efi": {"secureBoot": false}}}, "launchSecurity": {"sev": {}}}), None)]
    #[case::snp("1.8.4", &[], json!({"firmware": {"bootloader": {"efi": {"secureBoot": false}}}, "launchSecurity": {"snp": {}}}), Some("launchSecurity.snp needs the feature gate WorkloadEncryptionSEV, which is off"))]
    #[case::tdx("1.9.0", &[], json!({"firmware": {"bootloader": {"efi": {"secureBoot": false}}}, "launchSecurity": {"tdx": {}}}), Some("launchSecurity.tdx needs the feature gate WorkloadEncryptionTDX, which is off"))]
    #[case::tdx_with_the_gate("1.9.0", &["WorkloadEncryptionTDX"], json!({"firmware": {"bootloader": {"efi": {"secureBoot": false}}}, "launchSecurity": {"tdx": {}}}), None)]
    #[case::two("1.9.0", &["WorkloadEncryptionSEV"], json!({"firmware": {"bootloader": {"efi": {"secureBoot": false}}}, "launchSecurity": {"sev": {}, "snp": {}}}), Some("launchSecurity has sev and snp, and may have one of them"))]
    #[case::host_devices("1.9.0", &[], json!({"devices": {"hostDevices": [{"deviceName": "x/y"}]}}), Some("its host devices need the feature gate HostDevices, which is off"))]
    #[case::host_devices_with_the_gate("1.9.0", &["HostDevices"], json!({"devices": {"hostDevices": [{"deviceName": "x/y"}]}}), None)]
    fn what_a_feature_gate_keeps_from_the_cluster_is_said(
        #[case] release: &str,
        #[case] gates: &[&str],
        #[case] domain: Value,
        #[case] expected: Option<&str>,
    ) {
        let kubevirt = json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"},
            "spec": {"configuration": {"developerConfiguration": {"featureGates": gates}}}});
        let objects = |known: bool| known.then(|| ClusterObject::KubeVirt(Box::new(read(kubevirt.clone()))));
        let guest = json!({"architecture": "amd64", "domain": domain});
        let guest = vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"] = guest);
        let found = |known: bool| {
            let cluster = cluster(release, mixed(), objects(known));
            refusals(&of_vm(&read(guest.clone()), &cluster))
        };
        let said = found(true);
        let is_said = |expected: &str| said.iter().any(|line| line.ends_with(expected));
        assert_eq!(
            said.is_empty(),
            expected.is_none(),
            "the verdict is FITS for a VM that KubeVirt refuses, or not: {said:?}"
        );
        assert!(expected.is_none_or(is_said), "{said:?}");
        let of_gates = |line: &String| line.contains("feature gate");
        assert!(!found(false).iter().any(of_gates), "gates that are not known are said to be off");
    }

    /// An encrypted guest boots with UEFI, by its own firmware or its preference's.
    #[rstest]
    #[case::none("sev", json!({}), json!({}), "needs UEFI (firmware.bootloader.efi)")]
    #[case::bios("sev", json!({"bootloader": {"bios": {}}}), json!({"preferredUseEfi": true}), "needs UEFI (firmware.bootloader.efi)")]
    #[case::secure_boot_by_default("sev", json!({"bootloader": {"efi": {}}}), json!({}), "which is on unless firmware.bootloader.efi.secureBoot is false")]
    #[case::secure_boot("snp", json!({"bootloader": {"efi": {"secureBoot": true}}}), json!({}), "which is on unless firmware.bootloader.efi.secureBoot is false")]
    #[case::efi("sev", json!({"bootloader": {"efi": {"secureBoot": false}}}), json!({}), "")]
    #[case::efi_of_snp("snp", json!({"bootloader": {"efi": {"secureBoot": false}}}), json!({}), "")]
    #[case::tdx("tdx", json!({}), json!({}), "needs UEFI (firmware.bootloader.efi)")]
    #[case::tdx_with_secure_boot("tdx", json!({"bootloader": {"efi": {"secureBoot": true}}}), json!({}), "")]
    #[case::preferred("sev", json!({}), json!({"preferredEfi": {"secureBoot": false}}), "")]
    #[case::preferred_before("sev", json!({}), json!({"preferredUseEfi": true, "preferredUseSecureBoot": false}), "")]
    #[case::preferred_secure_boot("sev", json!({"bootloader": {"efi": {}}}), json!({"preferredUseSecureBoot": false}), "")]
    #[case::preferred_bios_goes_first("sev", json!({}), json!({"preferredUseBios": true, "preferredEfi": {"secureBoot": false}}), "needs UEFI (firmware.bootloader.efi)")]
    #[case::preferred_and_own("sev", json!({"bootloader": {"efi": {"secureBoot": true}}}), json!({"preferredEfi": {"secureBoot": false}}), "which is on unless firmware.bootloader.efi.secureBoot is false")]
    fn an_encrypted_guest_without_fitting_firmware_is_refused(
        #[case] kind: &str,
        #[case] firmware: Value,
        #[case] preferred: Value,
        #[case] expected: &str,
    ) {
        let preference = read(json!({"metadata": {"name": "efi"}, "spec": {"firmware": preferred}}));
        let gates = json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": {"configuration":
            {"developerConfiguration": {"featureGates": ["WorkloadEncryptionTDX"]}}}});
        let objects = [ClusterObject::Preference(preference), ClusterObject::KubeVirt(Box::new(read(gates)))];
        let vm = vm("db", "").tweak(|vm| {
            vm["spec"]["preference"] = json!({"name": "efi"});
            vm["spec"]["template"]["spec"] =
                json!({"architecture": "amd64", "domain": {"launchSecurity": {kind: {}}, "firmware": firmware}});
        });
        let found = refusals(&of_vm(&read(vm), &cluster("1.9.0", mixed(), objects)));
        assert_eq!(
            found.is_empty(),
            expected.is_empty(),
            "it is said to fit, and KubeVirt refuses it, or not: {found:?}"
        );
        assert!(found.iter().all(|line| line.ends_with(expected)), "{found:?}");
    }

    #[rstest]
    #[case::snp_before("1.6.6", json!({"snp": {}}), true)]
    #[case::tdx_before("1.6.6", json!({"tdx": {}}), true)]
    #[case::snp("1.7.0", json!({"snp": {}}), false)]
    #[case::tdx("1.7.0", json!({"tdx": {}}), false)]
    #[case::sev("1.6.6", json!({"sev": {}}), false)]
    fn launch_security_of_a_later_release_is_refused(
        #[case] release: &str,
        #[case] security: Value,
        #[case] is_refused: bool,
    ) {
        let vm = vm("db", "").tweak(|vm| {
            let domain = &mut vm["spec"]["template"]["spec"]["domain"];
            domain["launchSecurity"] = security;
            domain["firmware"] = json!({"bootloader": {"efi": {"secureBoot": false}}});
        });
        let found = refusals(&of_vm(&read(vm), &cluster(release, mixed(), [])));
        let expected = format!(
            "spec.template.spec.domain.launchSecurity: KubeVirt refuses the guest: launchSecurity has snp and tdx from v1.7.0 on, \
             and this is v{release}"
        );
        assert_eq!(
            found,
            if is_refused { vec![expected] } else { Vec::new() },
            "a guest that KubeVirt refuses is said to fit"
        );
    }

    /// The VirtualMachine has no such field: its instancetype does.
    #[test]
    fn a_setting_of_the_instancetype_is_traced_to_it() {
        let spec = json!({"cpu": {"guest": 2, "numa": {"guestMappingPassthrough": {}}}});
        let big = ClusterObject::Instancetype(read(json!({"metadata": {"name": "big"}, "spec": spec})));
        let vm: VirtualMachine = read(vm("db", "").tweak(|vm| {
            vm["spec"]["template"]["spec"] = json!({"domain": {}});
            vm["spec"]["instancetype"] = json!({"name": "big"});
        }));
        let prepared = of_vm(&vm, &cluster("1.9.0", mixed(), [big]));
        assert_eq!(
            refusals(&prepared),
            [PAGES, NUMA]
                .map(|words| words.replace("domain.cpu.numa.guestMappingPassthrough: ", "spec.instancetype: "))
        );
    }

    const ONE_GPU: &str = r#"{"devices": {"gpus": [{"name": "a", "deviceName": "nvidia.com/A100"}]}}"#;
    const ONE_DEVICE: &str = r#"{"devices": {"hostDevices": [{"name": "a", "deviceName": "nvidia.com/A100"}]}}"#;
    const LISTED: &str = r#"{"mediatedDevices": [{"resourceName": "nvidia.com/A100"}]}"#;

    /// Without a list all devices are permitted; with one, virt-controller creates no pod for another device.
    #[rstest]
    #[case::no_list(ONE_GPU, "null", &[], false)]
    #[case::listed(ONE_GPU, LISTED, &[], false)]
    #[case::usb(ONE_DEVICE, r#"{"usb": [{"resourceName": "nvidia.com/A100"}]}"#, &["HostDevices"], false)]
    #[case::another_is_listed(ONE_GPU, r#"{"pciHostDevices": [{"resourceName": "nvidia.com/A10"}]}"#, &[], true)]
    #[case::empty_list(ONE_DEVICE, "{}", &["HostDevices"], true)]
    #[case::by_claims(ONE_GPU, "{}", &["GPUsWithDRA"], false)]
    fn a_device_that_is_not_permitted_is_refused(
        #[case] domain: &str,
        #[case] permitted: &str,
        #[case] gates: &[&str],
        #[case] expected: bool,
    ) {
        let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let configuration =
            json!({"permittedHostDevices": json(permitted), "developerConfiguration": {"featureGates": gates}});
        let kubevirt = json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": {"configuration": configuration}});
        let cluster = cluster("1.8.4", mixed(), [ClusterObject::KubeVirt(Box::new(read(kubevirt)))]);
        let guest = vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"]["domain"] = json(domain));
        let found = refusals(&of_vm(&read(guest), &cluster));
        assert_eq!(!found.is_empty(), expected, "{found:?}");
        assert!(found.iter().all(|line| line.contains("nvidia.com/A100 is not in permittedHostDevices")), "{found:?}");
    }

    /// A guest that KubeVirt refuses needs another specification: no node, and no cordon, is in the way.
    #[rstest]
    #[case::model_on_arm("1.8.4", json!({"architecture": "arm64", "domain": {"cpu": {"model": "host-model"}}}), "drop CPU model host-model", 2)]
    #[case::named_on_arm("1.6.0", json!({"architecture": "arm64", "domain": {"cpu": {"model": "cortex-a57"}}}), "drop CPU model cortex-a57", 2)]
    #[case::numa("1.8.4", json!({"domain": {"cpu": {"numa": {"guestMappingPassthrough": {}}}}}), "drop cpu.numa", 3)]
    #[case::hyperv("1.8.4", json!({"domain": {"features": {"hyperv": {"ipi": {}, "vpindex": {"enabled": false}}}}}), "drop Hyper-V setting vpindex", 3)]
    #[case::realtime("1.8.4", json!({"domain": {"cpu": {"dedicatedCpuPlacement": true, "realtime": {}}}}), "drop cpu.realtime", 3)]
    #[case::no_term("1.8.4", json!({"domain": {}, "affinity": {"nodeAffinity":
        {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}}), "drop its required node affinity", 3)]
    fn a_refusal_ends_when_the_refused_setting_is_removed(
        #[case] release: &str,
        #[case] spec: Value,
        #[case] wanted: &str,
        #[case] starts: usize,
    ) {
        let mut nodes = vec![arm("a1"), arm("a2")];
        nodes.extend(["n1", "n2", "n3"].map(|name| {
            cascade_lake(name).tweak(|node| {
                for key in [label::CPU_MANAGER, label::CPU_MANAGER_OLD, label::REALTIME] {
                    set(node, key, "true");
                }
            })
        }));
        let spec = spec.tweak(|spec| {
            if spec["architecture"].is_null() {
                spec["architecture"] = json!("amd64");
            }
        });
        let cluster = cluster(release, nodes, []);
        let prepared = of_vm(&read(vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"] = spec)), &cluster);
        let verdict = prepared.judge(&cluster, Depth::Full);
        let found: Vec<(String, (usize, usize))> = verdict
            .findings
            .iter()
            .flat_map(|finding| &finding.remedies)
            .map(|remedy| (say::remedy::summary(&remedy.action, &prepared.subject), remedy.then_fits))
            .collect();
        assert_eq!(found, [(wanted.to_owned(), (starts, starts))], "nothing says how the guest is accepted");
        assert_eq!(verdict.not_helping, [], "nodes are discussed, and there is no guest");
        assert_eq!(say::state(&verdict, verdict.impact()), say::StateWord::CannotStart);
    }

    /// Before 1.6 a named model on arm64 is not refused, and no node has its label.
    #[test]
    fn a_model_on_arm_that_no_node_offers_is_dropped() {
        let cluster = cluster("1.5.3", vec![arm("a1"), arm("a2")], []);
        let guest = vm("db", "cortex-a57").tweak(|vm| vm["spec"]["template"]["spec"]["architecture"] = json!("arm64"));
        let prepared = of_vm(&read(guest), &cluster);
        let verdict = prepared.judge(&cluster, Depth::Full);
        let remedies = verdict.findings.iter().flat_map(|finding| &finding.remedies);
        let found: Vec<String> =
            remedies.map(|remedy| say::remedy::summary(&remedy.action, &prepared.subject)).collect();
        assert_eq!(found, ["drop CPU model cortex-a57"], "it starts with the default model");
    }
}
