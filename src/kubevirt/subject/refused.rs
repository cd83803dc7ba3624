//! Combinations of settings that virt-api refuses. Nodes are judged regardless: the labels would allow the guest.

use crate::fit::shown::{Shown, TITLE_CHARS};
use crate::fit::verdict::{Check, Detail, Finding};
use crate::kubevirt::defaults::ClusterConfig;
use crate::kubevirt::feature_gate::FeatureGate;
use crate::kubevirt::release::Release;
use crate::kubevirt::wire::{AnyAffinity, HostDevice, VmiSpec};

/// A specification: as written in the object below `root`, and with what its instancetype and preference add.
pub(super) struct Written<'s> {
    pub own: &'s VmiSpec,
    pub whole: &'s VmiSpec,
    pub root: &'static str,
    /// Whether the object names an instancetype.
    pub has_type: bool,
}

impl Written<'_> {
    /// Returns the path of a setting: in the object's specification if that has it, else of the instancetype that does;
    /// empty if the object holds neither.
    fn place(&self, below: &str, is_set: impl Fn(&VmiSpec) -> bool) -> String {
        if is_set(self.own) {
            format!("{}.{below}", self.root)
        } else if self.has_type {
            "spec.instancetype".to_owned()
        } else {
            String::new()
        }
    }

    /// Returns a note for each setting that virt-api refuses, or that virt-controller creates no pod with. Mirrors
    /// `ValidateSchema` of `pkg/util/webhooks/webhooks.go` (an unknown field), `validateCPUModel` of
    /// `pkg/virt-api/webhooks/arm64.go`, `validateNUMA`, `validateCPURealtime` and `validateMemoryRealtime` of
    /// `pkg/virt-api/webhooks/validating-webhook/admitters/vmi-create-admitter.go`, `validateCPUFeaturePolicies` and
    /// `validateHostDevicesWithPassthroughEnabled` there, `ValidateNodeSelector` of
    /// `validate-k8s-utils.go` there, and `validatePermittedHostDevices` of
    /// `pkg/virt-controller/services/renderresources.go`.
    pub(super) fn refusals(&self, config: &ClusterConfig, release: Release) -> Vec<Finding> {
        let architecture = config.architecture_of(self.whole);
        let mut out = Vec::new();
        let mut refuse = |field: String, why: String| {
            out.push(Finding::note(Check::Contradiction, field, Detail::Refused(why)));
        };
        let has_unknown_security = |spec: &VmiSpec| {
            spec.domain
                .launch_security
                .as_ref()
                .is_some_and(|security| security.snp.is_some() || security.tdx.is_some())
        };
        if has_unknown_security(self.whole) && !release.knows_snp_and_tdx() {
            let field = self.place("domain.launchSecurity", has_unknown_security);
            refuse(field, format!("launchSecurity has snp and tdx from v1.7.0 on, and this is {release}"));
        }
        let has_no_term = |spec: &VmiSpec| spec.affinity.as_ref().is_some_and(AnyAffinity::has_no_term);
        if has_no_term(self.whole) {
            let field = self.place(REQUIRED_AFFINITY, has_no_term);
            refuse(
                field,
                "its required node affinity must have at least one node selector term, and has none".to_owned(),
            );
        }
        if architecture == "amd64" {
            let has_security = |spec: &VmiSpec| spec.domain.launch_security.is_some();
            if let Some(why) = self.refuses_security(config, release) {
                refuse(self.place("domain.launchSecurity", has_security), why);
            }
        }
        if config.is_gate_off(FeatureGate::HostDevices) && !devices_of(self.whole, HOST_DEVICES).is_empty() {
            let field = self.place(HOST_DEVICES, |spec| !devices_of(spec, HOST_DEVICES).is_empty());
            refuse(field, "its host devices need the feature gate HostDevices, which is off".to_owned());
        }
        for (below, device) in not_permitted(self.whole, config) {
            let field = self.place(below, |spec| !devices_of(spec, below).is_empty());
            let what = if below == GPUS { "GPU" } else { "host device" };
            refuse(
                field,
                format!(
                    "{what} {device} is not in permittedHostDevices of the KubeVirt resource, so virt-controller creates no pod"
                ),
            );
        }
        let Some(cpu) = &self.whole.domain.cpu else { return out };
        if architecture == "arm64" && release.refuses_on_arm(&cpu.model) {
            let field = self.place("domain.cpu.model", |spec| !spec.cpu_model().is_empty());
            refuse(field, format!("on arm64 a guest cannot have CPU model {}, only host-passthrough", cpu.model));
        }
        let maps_numa = |spec: &VmiSpec| {
            let numa = spec.domain.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref());
            numa.is_some_and(|numa| numa.guest_mapping_passthrough.is_some())
        };
        let is_realtime = |spec: &VmiSpec| spec.domain.cpu.as_ref().is_some_and(|cpu| cpu.realtime.is_some());
        for (at, feature) in cpu.features.iter().enumerate() {
            if !FEATURE_POLICIES.contains(&feature.policy.as_str()) {
                let is_own = |spec: &VmiSpec| {
                    let features = spec.domain.cpu.iter().flat_map(|cpu| &cpu.features);
                    features.clone().any(|own| own == feature)
                };
                let field = self.place(&format!("domain.cpu.features[{at}].policy"), is_own);
                let (name, policy) =
                    (Shown::within(&feature.name, TITLE_CHARS), Shown::within(&feature.policy, TITLE_CHARS));
                refuse(field, format!("CPU feature {name} has policy {policy}, which KubeVirt does not know"));
            }
        }
        let has_pages = self.whole.domain.memory.hugepages.is_some();
        if maps_numa(self.whole) && !has_pages {
            let field = self.place("domain.cpu.numa.guestMappingPassthrough", maps_numa);
            refuse(field, "cpu.numa.guestMappingPassthrough requires memory.hugepages".to_owned());
        }
        if maps_numa(self.whole) && !cpu.dedicated_cpu_placement {
            let field = self.place("domain.cpu.numa.guestMappingPassthrough", maps_numa);
            refuse(field, "cpu.numa.guestMappingPassthrough requires cpu.dedicatedCpuPlacement".to_owned());
        }
        if is_realtime(self.whole) {
            let needs = [
                ("cpu.dedicatedCpuPlacement", cpu.dedicated_cpu_placement),
                ("cpu.numa.guestMappingPassthrough", maps_numa(self.whole)),
            ];
            let missing: Vec<&str> = needs.into_iter().filter(|(_, is_set)| !is_set).map(|(name, _)| name).collect();
            if !missing.is_empty() {
                let field = self.place("domain.cpu.realtime", is_realtime);
                refuse(field, format!("cpu.realtime requires {}", missing.join(" and ")));
            }
        }
        out
    }
}

/// The policies of a CPU feature: `validCPUFeaturePolicies` of
/// `pkg/virt-api/webhooks/validating-webhook/admitters/vmi-create-admitter.go`.
const FEATURE_POLICIES: [&str; 6] = ["", "force", "require", "optional", "disable", "forbid"];

const GPUS: &str = "domain.devices.gpus";
const HOST_DEVICES: &str = "domain.devices.hostDevices";
/// The path of the required node affinity below a guest's spec.
const REQUIRED_AFFINITY: &str = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution";

fn devices_of<'s>(spec: &'s VmiSpec, below: &str) -> &'s [HostDevice] {
    let devices = &spec.domain.devices;
    if below == GPUS { &devices.gpus } else { &devices.host_devices }
}

impl Written<'_> {
    /// Returns why virt-api refuses the encryption of an amd64 guest. Mirrors `ValidateLaunchSecurityAmd64` of
    /// `pkg/virt-api/webhooks/amd64.go`, and before 1.7 `validateLaunchSecurity` of the create admitter, which asks for
    /// the gate of SEV; that is on by default since 1.9.
    fn refuses_security(&self, config: &ClusterConfig, release: Release) -> Option<String> {
        let security = self.whole.domain.launch_security.as_ref()?;
        let (snp, tdx) = (security.snp.is_some(), security.tdx.is_some());
        if (snp || tdx) && !release.knows_snp_and_tdx() {
            return None;
        }
        let types = [("sev", security.sev.is_some()), ("snp", snp), ("tdx", tdx)];
        let types: Vec<&str> = types.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
        let gate = match types.as_slice() {
            [] => return None,
            ["tdx"] => FeatureGate::WorkloadEncryptionTdx,
            [_] if release.encrypts_by_default() => return None,
            [_] => FeatureGate::WorkloadEncryptionSev,
            several => return Some(format!("launchSecurity has {}, and may have one of them", several.join(" and "))),
        };
        config
            .is_gate_off(gate)
            .then(|| format!("launchSecurity.{} needs the feature gate {gate}, which is off", types[0]))
    }
}

/// Returns the devices, by the path of their list, that KubeVirt's configuration does not permit. Without a list in the
/// configuration all are.
pub(crate) fn not_permitted(spec: &VmiSpec, config: &ClusterConfig) -> Vec<(&'static str, String)> {
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
        let refused = prepared.notes.iter().filter(|note| note.check == Check::Contradiction);
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

    #[rstest]
    #[case::sev("1.8.4", &[], json!({"launchSecurity": {"sev": {}}}), Some("launchSecurity.sev needs the feature gate WorkloadEncryptionSEV, which is off"))]
    #[case::sev_with_the_gate("1.8.4", &["WorkloadEncryptionSEV"], json!({"launchSecurity": {"sev": {}}}), None)]
    #[case::sev_by_default("1.9.0", &[], json!({"launchSecurity": {"sev": {}}}), None)]
    #[case::snp("1.8.4", &[], json!({"launchSecurity": {"snp": {}}}), Some("launchSecurity.snp needs the feature gate WorkloadEncryptionSEV, which is off"))]
    #[case::tdx("1.9.0", &[], json!({"launchSecurity": {"tdx": {}}}), Some("launchSecurity.tdx needs the feature gate WorkloadEncryptionTDX, which is off"))]
    #[case::tdx_with_the_gate("1.9.0", &["WorkloadEncryptionTDX"], json!({"launchSecurity": {"tdx": {}}}), None)]
    #[case::two("1.9.0", &["WorkloadEncryptionSEV"], json!({"launchSecurity": {"sev": {}, "snp": {}}}), Some("launchSecurity has sev and snp, and may have one of them"))]
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
        let vm = vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"]["domain"]["launchSecurity"] = security);
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
        assert_eq!(say::state(&verdict), say::StateWord::CannotStart);
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
