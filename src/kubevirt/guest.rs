//! The guest made from a VirtualMachine: its template, plus the values that virt-api fills in when the VirtualMachine
//! is created, plus the values that virt-controller takes from its instancetype and preference when it starts.
//!
//! Mirrors `pkg/instancetype/webhooks/vm/mutator.go`, `pkg/defaults/defaults.go`
//! (`setDefaultArchitectureFromDataSource`), `pkg/instancetype/apply` and `pkg/instancetype/preference/apply`, as far
//! as placement goes. KubeVirt's own defaults follow: [`defaults::apply`](super::defaults::apply).

mod find;
mod infer;
mod requirements;
mod topology;

pub(crate) use find::OlderCopy;
pub(crate) use topology::with_defaults as topology_of;

use std::collections::BTreeSet;

use super::cluster::{Cluster, WhyUnread};
use super::resource::Resource;
use super::setting::{Origins, Setting, SettingOrigin};
use super::wire::{
    Bootloader, DataSource, Efi, InstancetypeSpec, Matcher, Meta, PreferenceFirmware, PreferenceSpec, Present,
    VirtualMachine, VmiSpec,
};
use crate::bounds::Excess;
use crate::fit::label;
use crate::fit::verdict::{Check, Detail, Finding};
use crate::well_known;

/// The guest made from a VirtualMachine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guest {
    /// The guest's specification, before KubeVirt's own defaults.
    pub spec: VmiSpec,
    /// Findings from the objects that were read.
    pub notes: Vec<Finding>,
    /// Origins of the settings that are not in the template.
    pub origins: Origins,
    /// The instancetype that the VirtualMachine uses, named or inferred.
    pub instancetype: Option<Matcher>,
    /// The preference that the VirtualMachine uses, named or inferred.
    pub preference: Option<Matcher>,
    /// The older copies of the instancetype and of the preference that the VirtualMachine uses instead of those.
    pub older: [Option<OlderCopy>; 2],
    /// The missing object, without which the guest's specification is not known.
    pub missing: Option<Finding>,
    /// The requirements of its preference that the guest does not meet. virt-api refuses the VirtualMachine when it is
    /// created or changed; virt-controller does not look at them.
    pub unmet: Vec<Finding>,
    /// Whether an object that KubeVirt takes values from is not known, so that the specification is a guess.
    pub is_guess: bool,
    /// Whether the guest is annotated to be migrated with a bridge on the pod network.
    pub migrates_bridge: bool,
    /// The reason why the VirtualMachine, or an object it takes values from, is too large to judge; `None` if none is.
    pub excess: Option<Excess>,
}

/// Returns the guest made from a VirtualMachine.
pub(crate) fn guest_of(vm: &VirtualMachine, cluster: &Cluster) -> Guest {
    let mut guest =
        Guest { spec: vm.spec.template.spec.clone(), excess: vm.metadata.excess.clone(), ..Guest::default() };
    let instancetype = guest.keep(find::instancetype(vm, cluster)).map(|found| {
        (guest.instancetype, guest.older[0]) = (Some(found.matcher), found.older);
        found.spec
    });
    let preference = guest.keep(find::preference(vm, cluster)).map(|found| {
        (guest.preference, guest.older[1]) = (Some(found.matcher), found.older);
        found.spec
    });
    guest.apply(vm, (instancetype, preference), cluster)
}

/// The guest made from a VirtualMachine of which the instancetype, the preference or both are not known.
#[derive(Debug)]
pub(crate) struct WithoutTypes {
    /// The guest without what they add.
    pub guest: Guest,
    /// Whether the instancetype is not known.
    pub lacks_instancetype: bool,
    /// Whether the preference is not known.
    pub lacks_preference: bool,
}

/// Returns the guest made from a VirtualMachine without the instancetype or preference of which it is not known what
/// it holds; `None` if both are known, or the guest is too large.
pub(crate) fn without_unknown_types(vm: &VirtualMachine, cluster: &Cluster) -> Option<WithoutTypes> {
    let (instancetype, preference) = (find::instancetype(vm, cluster), find::preference(vm, cluster));
    let (lacks_instancetype, lacks_preference) = (find::is_unknown(&instancetype), find::is_unknown(&preference));
    let (instancetype, preference) = (instancetype.ok().flatten(), preference.ok().flatten());
    let is_too_large = vm.metadata.excess.is_some()
        || instancetype.as_ref().is_some_and(|found| found.excess.is_some())
        || preference.as_ref().is_some_and(|found| found.excess.is_some());
    if is_too_large || !lacks_instancetype && !lacks_preference {
        return None;
    }
    let instancetype = instancetype.filter(|_| !lacks_instancetype);
    let preference = preference.filter(|_| !lacks_preference);
    let guest = Guest {
        spec: vm.spec.template.spec.clone(),
        instancetype: instancetype.as_ref().map(|found| found.matcher.clone()),
        preference: preference.as_ref().map(|found| found.matcher.clone()),
        ..Guest::default()
    };
    let types = (instancetype.map(|found| found.spec), preference.map(|found| found.spec));
    Some(WithoutTypes { guest: guest.apply(vm, types, cluster), lacks_instancetype, lacks_preference })
}

impl Guest {
    /// Applies an instancetype and a preference to the guest of a template.
    fn apply(
        mut self,
        vm: &VirtualMachine,
        (instancetype, preference): (Option<&InstancetypeSpec>, Option<&PreferenceSpec>),
        cluster: &Cluster,
    ) -> Self {
        // Mirrors `pkg/instancetype/apply/annotations.go` and `pkg/instancetype/preference/apply/annotations.go`.
        let annotations = [
            Some(&vm.spec.template.metadata.annotations),
            instancetype.map(|found| &found.annotations),
            preference.map(|found| &found.annotations),
        ];
        self.migrates_bridge = annotations.into_iter().flatten().any(|given| well_known::MIGRATES_BRIDGE.is_set(given));
        let release = cluster.release.release();
        if let Some(preference) = preference {
            if self.spec.architecture.is_empty()
                && !preference.preferred_architecture.is_empty()
                && release.reads_preferred_architecture()
            {
                self.spec.architecture.clone_from(&preference.preferred_architecture);
                self.origins.push((Setting::Architecture, SettingOrigin::Preference));
            }
            self.prefer_machine(preference);
        }
        if self.spec.architecture.is_empty() && release.reads_architecture_of_data_source() {
            self.take_architecture_of_data_source(vm, cluster);
        }
        if let Some(instancetype) = instancetype {
            self.take_instancetype(instancetype);
            topology::apply(&mut self.spec, instancetype.cpu.guest, preference);
        }
        if let Some(preference) = preference {
            self.unmet = requirements::unmet(&self, instancetype, preference, cluster);
            self.prefer(preference);
            if release.reads_preferred_launch_security() && self.spec.domain.launch_security.is_none() {
                self.spec.domain.launch_security.clone_from(&preference.preferred_launch_security);
                self.origins.push((Setting::LaunchSecurity, SettingOrigin::Preference));
            }
        }
        self
    }

    /// Returns a found object, and keeps its notes; records an object that is missing.
    fn keep<'c, T>(&mut self, found: find::Result<'c, T>) -> Option<find::FoundObject<'c, T>> {
        match found {
            Ok(found) => {
                let mut found = found?;
                self.notes.extend(found.assumed.take());
                self.is_guess |= found.is_guess;
                self.excess = self.excess.take().or(found.excess.take());
                Some(found)
            }
            Err(missing) => {
                self.missing.get_or_insert(*missing);
                None
            }
        }
    }

    /// Mirrors `ApplyToVMI` of `pkg/instancetype/apply/vmi.go`. A field that the template sets too is a conflict:
    /// virt-api refuses the VirtualMachine, and virt-controller does not start it.
    fn take_instancetype(&mut self, from: &InstancetypeSpec) {
        let mut conflicts = topology::conflicts(&self.spec, from);
        let spec = &mut self.spec;
        let cpu = spec.domain.cpu.get_or_insert_default();
        let mut take = |path: &'static str, both: bool| conflicts.extend(both.then_some(path));
        if let Some(selector) = &from.node_selector {
            take("nodeSelector", !spec.node_selector.is_empty());
            if spec.node_selector.is_empty() {
                self.origins.push((Setting::NodeSelector, SettingOrigin::Instancetype));
            }
            for (key, value) in selector {
                spec.node_selector.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        if let Some(model) = &from.cpu.model {
            take("domain.cpu.model", !cpu.model.is_empty());
            if cpu.model.is_empty() {
                cpu.model.clone_from(model);
                self.origins.push((Setting::Model, SettingOrigin::Instancetype));
            }
        }
        if let Some(dedicated) = from.cpu.dedicated_cpu_placement {
            take("domain.cpu.dedicatedCpuPlacement", cpu.dedicated_cpu_placement);
            if dedicated && !cpu.dedicated_cpu_placement {
                self.origins.push((Setting::DedicatedCpus, SettingOrigin::Instancetype));
            }
            cpu.dedicated_cpu_placement |= dedicated;
        }
        if let Some(isolated) = from.cpu.isolate_emulator_thread {
            take("domain.cpu.isolateEmulatorThread", cpu.isolate_emulator_thread);
            cpu.isolate_emulator_thread |= isolated;
        }
        cpu.max_sockets = from.cpu.max_sockets.unwrap_or(cpu.max_sockets);
        if let Some(numa) = &from.cpu.numa {
            take("domain.cpu.numa", cpu.numa.is_some());
            cpu.numa.get_or_insert_with(|| numa.clone());
        }
        if let Some(realtime) = &from.cpu.realtime {
            take("domain.cpu.realtime", cpu.realtime.is_some());
            if cpu.realtime.is_none() {
                self.origins.push((Setting::Realtime, SettingOrigin::Instancetype));
            }
            cpu.realtime.get_or_insert(*realtime);
        }
        if let Some(security) = &from.launch_security {
            take("domain.launchSecurity", spec.domain.launch_security.is_some());
            if spec.domain.launch_security.is_none() {
                self.origins.push((Setting::LaunchSecurity, SettingOrigin::Instancetype));
            }
            spec.domain.launch_security.get_or_insert_with(|| security.clone());
        }
        // Mirrors `applyMemory` of `pkg/instancetype/apply/memory.go`.
        if let Some(guest) = &from.memory.guest {
            spec.domain.memory.guest.get_or_insert_with(|| guest.clone());
        }
        if let Some(pages) = &from.memory.hugepages {
            spec.domain.memory.hugepages.get_or_insert_with(|| pages.clone());
        }
        // Mirrors `applyGPUs` and `applyHostDevices` of `pkg/instancetype/apply`.
        let devices = &mut spec.domain.devices;
        take("domain.devices.gpus", !from.gpus.is_empty() && !devices.gpus.is_empty());
        if devices.gpus.is_empty() {
            devices.gpus.clone_from(&from.gpus);
        }
        take("domain.devices.hostDevices", !from.host_devices.is_empty() && !devices.host_devices.is_empty());
        if devices.host_devices.is_empty() {
            devices.host_devices.clone_from(&from.host_devices);
        }
        let name = self.instancetype.as_ref().map_or("", |matcher| &matcher.name);
        self.notes.extend(conflicts.into_iter().map(|path| {
            let field = format!("spec.template.spec.{path}");
            let why = format!("{field} conflicts with instancetype {name}, which sets it too");
            Finding::note(Check::Contradiction, field, Detail::Refused(why))
        }));
    }

    /// Mirrors `applyMachinePreferences` of `pkg/instancetype/preference/apply/machine.go` and `mutateMachineType` of
    /// `pkg/instancetype/webhooks/vm/mutator.go`.
    fn prefer_machine(&mut self, preference: &PreferenceSpec) {
        let machine = self.spec.domain.machine.get_or_insert_default();
        if machine.kind.is_empty() {
            machine.kind.clone_from(&preference.machine.preferred_machine_type);
            if !machine.kind.is_empty() {
                self.origins.push((Setting::MachineType, SettingOrigin::Preference));
            }
        }
    }

    /// Mirrors `applyCPUPreferences` (`cpu.go`) and `applyFeaturePreferences` (`features.go`) of
    /// `pkg/instancetype/preference/apply`.
    fn prefer(&mut self, preference: &PreferenceSpec) {
        let cpu = self.spec.domain.cpu.get_or_insert_default();
        // Only features of the guest are skipped: a preference may name a feature twice.
        let own: BTreeSet<String> = cpu.features.iter().map(|feature| feature.name.clone()).collect();
        for feature in preference.cpu.preferred_cpu_features.iter().filter(|feature| !own.contains(&feature.name)) {
            cpu.features.push(feature.clone());
            self.origins.push((Setting::Feature(feature.name.clone()), SettingOrigin::Preference));
        }
        // Mirrors `applyInterfacePreferences` (`interface.go`) and `applyDevicePreferences` (`device.go`).
        let devices = &mut self.spec.domain.devices;
        devices.autoattach_pod_interface =
            devices.autoattach_pod_interface.or(preference.devices.preferred_autoattach_pod_interface);
        if devices.tpm.is_none() {
            devices.tpm.clone_from(&preference.devices.preferred_tpm);
        }
        let pod_network = self.spec.networks.iter().find(|network| network.pod.is_some());
        for interface in &mut devices.interfaces {
            if interface.model.is_empty() {
                interface.model.clone_from(&preference.devices.preferred_interface_model);
            }
            if interface.is_unbound() && pod_network.is_some_and(|network| network.name == interface.name) {
                interface.masquerade = preference.devices.preferred_interface_masquerade;
            }
        }
        self.prefer_firmware(preference);
        if let Some(preferred) = &preference.features.preferred_hyperv {
            let hyperv = self.spec.domain.features.hyperv.get_or_insert_default();
            for ((name, own), (_, preferred)) in hyperv.settings_mut().into_iter().zip(preferred.settings()) {
                if own.is_none() && preferred.is_some() {
                    own.clone_from(preferred);
                    self.origins.push((Setting::HyperV(name), SettingOrigin::Preference));
                }
            }
        }
    }

    /// Mirrors `applyFirmwarePreferences` of `pkg/instancetype/preference/apply/firmware.go`.
    fn prefer_firmware(&mut self, preference: &PreferenceSpec) {
        let PreferenceFirmware { preferred_use_bios, preferred_efi, preferred_use_efi, preferred_use_secure_boot } =
            &preference.firmware;
        if preference.firmware == PreferenceFirmware::default() {
            return;
        }
        let bootloader = self.spec.domain.firmware.get_or_insert_default().bootloader.get_or_insert_default();
        let has_none = |bootloader: &Bootloader| bootloader.efi.is_none() && bootloader.bios.is_none();
        if *preferred_use_bios == Some(true) && has_none(bootloader) {
            bootloader.bios = Some(Present);
        }
        if preferred_efi.is_some() && has_none(bootloader) {
            bootloader.efi.clone_from(preferred_efi);
            return;
        }
        if *preferred_use_efi == Some(true) && has_none(bootloader) {
            bootloader.efi = Some(Efi::default());
        }
        if let Some(efi) = &mut bootloader.efi {
            efi.secure_boot = efi.secure_boot.or(*preferred_use_secure_boot);
        }
    }

    /// Mirrors `setDefaultArchitectureFromDataSource`: takes the architecture from the first existing DataSource that
    /// states one. A DataSource that is not known may state one too, which matters if nodes differ in architecture.
    fn take_architecture_of_data_source(&mut self, vm: &VirtualMachine, cluster: &Cluster) {
        let mut unknown = None;
        let refs = vm.spec.data_volume_templates.iter().filter_map(|template| template.spec.source_ref.as_ref());
        for source in refs.filter(|source| source.kind.eq_ignore_ascii_case("datasource")) {
            let namespace = Some(&source.namespace).filter(|own| !own.is_empty()).unwrap_or(&vm.metadata.namespace);
            let Some(found) = resolved(cluster, namespace, &source.name) else {
                unknown.get_or_insert_with(|| format!("{namespace}/{}", source.name));
                continue;
            };
            let architecture = well_known::BOOTS_ARCHITECTURE.value(&found.metadata.labels);
            if let Some(architecture @ ("amd64" | "arm64" | "s390x")) = architecture {
                architecture.clone_into(&mut self.spec.architecture);
                let Meta { namespace, name, .. } = &found.metadata;
                self.origins.push((Setting::Architecture, SettingOrigin::DataSource(namespace.clone(), name.clone())));
                return;
            }
        }
        if let Some(name) = unknown.filter(|_| cluster.fleet.values(label::ARCH).count() > 1) {
            let words = format!(
                "the VM boots from DataSource {name}, which is not known and may name an architecture: judged by the cluster's \
                 default; {}",
                not_known(cluster, &[Resource::DataSources])
            );
            self.notes.push(Finding::noted(Check::Assumed, "spec.dataVolumeTemplates", words));
            self.is_guess = true;
        }
    }
}

/// Returns a DataSource, or the DataSource it refers to: one hop, as in KubeVirt.
fn resolved<'c>(cluster: &'c Cluster, namespace: &str, name: &str) -> Option<&'c DataSource> {
    let found = cluster.data_source(namespace, name)?;
    match &found.spec.source.data_source {
        Some(other) => cluster.data_source(&other.namespace, &other.name),
        None => Some(found),
    }
}

/// Describes how to make an object of one of these resources known.
fn not_known(cluster: &Cluster, resources: &[Resource]) -> String {
    let names = resources.iter().map(|resource| resource.plural()).collect::<Vec<_>>().join(" and ");
    let is_unread = |resource: &Resource| cluster.unread.contains(&(*resource, WhyUnread::Forbidden));
    if cluster.is_live && resources.iter().any(is_unread) {
        format!("it does not exist, or {names} may not be read")
    } else if cluster.is_live {
        "it does not exist".to_owned()
    } else {
        format!("a dump must hold {names}")
    }
}

#[cfg(test)]
mod tests;
