//! Settings of the CPU that virt-api refuses.

use std::collections::HashSet;

use super::{Refused, Written};
use crate::fit::shown::{Shown, TITLE_CHARS};
use crate::fit::verdict::{Check, Finding};
use crate::kubevirt::defaults::ClusterConfig;
use crate::kubevirt::guest::topology_of;
use crate::kubevirt::release::Release;
use crate::kubevirt::setting::Setting;
use crate::kubevirt::wire::{Cpu, CpuFeature, GuestResources, Quantity, VmiSpec};

/// The policies of a CPU feature: `validCPUFeaturePolicies` of
/// `pkg/virt-api/webhooks/validating-webhook/admitters/vmi-create-admitter.go`.
const FEATURE_POLICIES: [&str; 6] = ["", "force", "require", "optional", "disable", "forbid"];
const NUMA: &str = "domain.cpu.numa.guestMappingPassthrough";

fn has(spec: &VmiSpec, is: impl Fn(&Cpu) -> bool) -> bool {
    spec.domain.cpu.as_ref().is_some_and(is)
}

fn maps_numa(spec: &VmiSpec) -> bool {
    has(spec, |cpu| cpu.numa.as_ref().is_some_and(|numa| numa.guest_mapping_passthrough.is_some()))
}

/// Returns the first CPU feature that is listed again: virt-api takes it, and libvirt refuses the guest. Mirrors
/// `configureCPUFeatures` of `pkg/virt-launcher/virtwrap/converter/compute/cpu.go`, which keeps all entries, and
/// libvirt's `virCPUDefParseXML` of `src/conf/cpu_conf.c` (feature specified more than once).
pub(in crate::kubevirt::subject) fn repeated(spec: &VmiSpec) -> Option<(usize, &CpuFeature)> {
    let mut known = HashSet::new();
    let mut features = spec.domain.cpu.iter().flat_map(|cpu| &cpu.features).enumerate();
    features.find(|(_, feature)| !known.insert(feature.name.as_str()))
}

impl Written<'_> {
    /// Returns a note about a CPU feature that is listed twice.
    pub(in crate::kubevirt::subject) fn repeats(&self) -> Option<Finding> {
        let (at, feature) = repeated(self.whole).filter(|_| self.excess.is_none())?;
        let is_own = |spec: &VmiSpec| has(spec, |cpu| cpu.features.get(at) == Some(feature));
        let setting = Setting::Feature(feature.name.clone());
        let field = self.place_of(&format!("domain.cpu.features[{at}].name"), &setting, is_own);
        let name = Shown::within(&feature.name, TITLE_CHARS);
        let words =
            format!("CPU feature {name} is listed twice: libvirt accepts that on no node, so the guest will not start");
        Some(Finding::noted(Check::Contradiction, field, words))
    }

    /// Mirrors, of the create admitter, `validateCPUFeaturePolicies`, `validateNUMA`, `validateRealtime`,
    /// `validateCPUIsolatorThread`, `validateCPUHotplug` and the numbers of threads of `validateCpuPinning`; and
    /// `validateCPUModel` of `pkg/virt-api/webhooks/arm64.go`.
    pub(super) fn cpu(&self, config: &ClusterConfig, release: Release) -> Vec<Refused> {
        let Some(cpu) = &self.whole.domain.cpu else { return self.pinned_to_cpus(false).into_iter().collect() };
        let mut out = Vec::new();
        let architecture = config.architecture_of(self.whole);
        if architecture == "arm64" && release.refuses_on_arm(&cpu.model) {
            let field = self.place("domain.cpu.model", |spec| !spec.cpu_model().is_empty());
            out.push((field, format!("on arm64 a guest cannot have CPU model {}, only host-passthrough", cpu.model)));
        }
        self.features(cpu, &mut out);
        let is_dedicated = cpu.dedicated_cpu_placement;
        let maps_numa_here = maps_numa(self.whole);
        if maps_numa_here && self.whole.domain.memory.hugepages.is_none() {
            out.push((
                self.place(NUMA, maps_numa),
                "cpu.numa.guestMappingPassthrough requires memory.hugepages".to_owned(),
            ));
        }
        if maps_numa_here && !is_dedicated {
            let why = "cpu.numa.guestMappingPassthrough requires cpu.dedicatedCpuPlacement";
            out.push((self.place(NUMA, maps_numa), why.to_owned()));
        }
        let needs = [("cpu.dedicatedCpuPlacement", is_dedicated), ("cpu.numa.guestMappingPassthrough", maps_numa_here)];
        let missing: Vec<&str> = needs.into_iter().filter(|(_, is_set)| !is_set).map(|(name, _)| name).collect();
        if cpu.realtime.is_some() && !missing.is_empty() {
            let field = self.place("domain.cpu.realtime", |spec| has(spec, |cpu| cpu.realtime.is_some()));
            out.push((field, format!("cpu.realtime requires {}", missing.join(" and "))));
        }
        if cpu.isolate_emulator_thread && !is_dedicated {
            let field =
                self.place("domain.cpu.isolateEmulatorThread", |spec| has(spec, |cpu| cpu.isolate_emulator_thread));
            out.push((field, "cpu.isolateEmulatorThread requires cpu.dedicatedCpuPlacement".to_owned()));
        }
        if cpu.max_sockets != 0 && cpu.sockets > cpu.max_sockets {
            let (field, Cpu { sockets, max_sockets, .. }) =
                (self.place("domain.cpu.sockets", |spec| has(spec, |cpu| cpu.sockets != 0)), cpu);
            out.push((field, format!("cpu.sockets is {sockets}, and cpu.maxSockets is {max_sockets}")));
        }
        let (most, wherever) =
            if architecture == "arm64" && release.limits_threads_on_arm() { (1, " on arm64") } else { (2, "") };
        if is_dedicated && cpu.threads > most {
            let field = self.place("domain.cpu.threads", |spec| has(spec, |cpu| cpu.threads != 0));
            let threads = cpu.threads;
            let why = format!(
                "cpu.threads is {threads}, and with cpu.dedicatedCpuPlacement it may be {most} at most{wherever}"
            );
            out.push((field, why));
        }
        out.extend(self.pinned_to_cpus(is_dedicated));
        out
    }

    /// Mirrors, of the create admitter, `validateCpuRequestDoesNotExceedLimit`, and of `validateCpuPinning` the checks
    /// of requests and limits.
    fn pinned_to_cpus(&self, is_dedicated: bool) -> Option<Refused> {
        let GuestResources { requests, limits } = &self.whole.domain.resources;
        let amount = |quantity: &Option<Quantity>| quantity.as_ref().and_then(Quantity::thousandths).unwrap_or(0);
        let [mut asked, limit] = [&requests.cpu, &limits.cpu].map(amount);
        let [memory, most] = [&requests.memory, &limits.memory].map(amount);
        // Mirrors `setDefaultResourceRequests` of `pkg/defaults/defaults.go`.
        if asked == 0 {
            asked = limit;
        }
        let whole = |thousandths: i64| thousandths.saturating_add(999) / 1000;
        let (sockets, cores, threads) = topology_of(self.whole);
        let counts = [sockets, cores, threads].into_iter().filter(|count| *count != 0);
        let cpus = counts.fold(1_i64, |all, count| all.saturating_mul(i64::from(count)));
        let of = |list: &str, of: &str| format!("domain.resources.{list}.{of}");
        let (below, why) = if limit > 0 && asked > limit {
            (of("requests", "cpu"), "resources.requests.cpu is more than resources.limits.cpu".to_owned())
        } else if !is_dedicated {
            return None;
        } else if let Some((list, _)) =
            [("limits", limit), ("requests", asked)].into_iter().find(|(_, cpu)| cpu % 1000 != 0)
        {
            let why = format!("with cpu.dedicatedCpuPlacement, resources.{list}.cpu must be a whole number");
            (of(list, "cpu"), why)
        } else if limit > 0 && asked != limit {
            let why = "with cpu.dedicatedCpuPlacement, cpu must be equal in resources.requests and resources.limits";
            (of("requests", "cpu"), why.to_owned())
        } else if asked > 0 && whole(asked) != cpus && whole(limit) != cpus {
            let (list, has) = if requests.cpu.is_some() { ("requests", asked) } else { ("limits", limit) };
            let has = whole(has);
            let why = format!(
                "with cpu.dedicatedCpuPlacement, resources.{list}.cpu must be the number of virtual CPUs, {cpus}, and is {has}"
            );
            (of(list, "cpu"), why)
        } else if memory > 0 && most > 0 && memory != most {
            let why = "with cpu.dedicatedCpuPlacement, memory must be equal in resources.requests and resources.limits";
            (of("requests", "memory"), why.to_owned())
        } else {
            return None;
        };
        Some((format!("{}.{below}", self.root), why))
    }

    fn features(&self, cpu: &Cpu, out: &mut Vec<Refused>) {
        for (at, feature) in cpu.features.iter().enumerate() {
            if !FEATURE_POLICIES.contains(&feature.policy.as_str()) {
                let is_own = |spec: &VmiSpec| has(spec, |cpu| cpu.features.contains(feature));
                let setting = Setting::Feature(feature.name.clone());
                let field = self.place_of(&format!("domain.cpu.features[{at}].policy"), &setting, is_own);
                let (name, policy) =
                    (Shown::within(&feature.name, TITLE_CHARS), Shown::within(&feature.policy, TITLE_CHARS));
                out.push((field, format!("CPU feature {name} has policy {policy}, which KubeVirt does not know")));
            }
        }
    }
}
