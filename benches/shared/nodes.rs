//! The nodes of the benchmarks: a cluster of eight CPU generations.
//!
//! Nodes of one generation differ randomly in five features, as with different microcode and firmware, so there are up
//! to 256 kinds of hardware. Each node has about 250 labels, including its name, rack and zone.

use std::collections::BTreeMap;

use cpufit::fit::node::{Effect, Node, Taint};

const COMMON: &str = "abm aes apic arat avx avx2 bmi1 bmi2 clflush cmov cx16 cx8 de erms f16c fma fpu fsgsbase fxsr \
    hypervisor invpcid invtsc lahf_lm lm mca mce mmx movbe msr mtrr nx osxsave pae pat pcid pclmuldq pdcm pdpe1gb pge pni \
    popcnt pschange-mc-no pse pse36 rdrand rdtscp sep skip-l1dfl-vmentry smep spec-ctrl ssbd sse sse2 sse4.1 sse4.2 ssse3 \
    stibp syscall tsc tsc-deadline tsc_adjust umip vme vpclmulqdq-host x2apic xsave xsaveopt";
const INTEL: &str = "acpi ds ds_cpl dtes64 est ht ibrs-all mds-no md-clear monitor rdctl-no ss tm tm2 vmx \
    vmx-activity-hlt vmx-apicv-register vmx-apicv-vid vmx-cr3-load-noexit vmx-cr8-load-exit vmx-ept vmx-ept-1gb vmx-eptad \
    vmx-exit-load-efer vmx-flexpriority vmx-invept vmx-invvpid vmx-ins-outs vmx-mtf vmx-preemption-timer \
    vmx-unrestricted-guest vmx-vmfunc vmx-vpid xtpr";
const AMD: &str = "3dnowprefetch amd-ssbd amd-stibp clwb cmp_legacy cr8legacy extapic fxsr_opt gds-no ibpb ibrs lbrv \
    mds-no misalignsse mmxext npt nrip-save osvw pause-filter perfctr_core pfthreshold rdctl-no sha-ni smap svm \
    svme-addr-chk topoext tsc-scale vmcb-clean virt-ssbd wdt xgetbv1 xsavec xsaveerptr";
/// Models, oldest first, with the features that each added.
const INTEL_STEPS: [(&str, &str); 6] = [
    ("Haswell-noTSX-IBRS", "lbr smap-host"),
    ("Broadwell-noTSX-IBRS", "adx rdseed smap 3dnowprefetch"),
    (
        "Skylake-Server-noTSX-IBRS",
        "avx512bw avx512cd avx512dq avx512f avx512vl clflushopt clwb pku xgetbv1 xsavec xsaves",
    ),
    ("Cascadelake-Server-noTSX", "avx512vnni arch-capabilities taa-no tsx-ctrl"),
    (
        "Icelake-Server-noTSX",
        "avx512-vpopcntdq avx512bitalg avx512ifma avx512vbmi fsrm gfni la57 rdpid sha-ni vaes wbnoinvd",
    ),
    (
        "SapphireRapids",
        "amx-bf16 amx-int8 amx-tile avx-vnni avx512-bf16 avx512-fp16 bus-lock-detect fsrs fzrm serialize xfd",
    ),
];
const AMD_STEPS: [(&str, &str); 2] = [
    ("EPYC-Rome", "clzero perfctr_nb rdpid wbnoinvd xsaves"),
    ("EPYC-Milan", "erms-amd fsrm pku vaes vpclmulqdq no-nested-data-bp lfence-always-serializing null-sel-clr-base"),
];
const OLD_MODELS: &str = "486 qemu32 kvm32 Conroe Penryn Nehalem Nehalem-IBRS Westmere Westmere-IBRS SandyBridge \
    SandyBridge-IBRS IvyBridge IvyBridge-IBRS Opteron_G1 Opteron_G2 Dhyana EPYC EPYC-IBPB Denverton";
const HYPERV: &str = "base frequencies ipi reenlightenment relaxed reset runtime spinlocks synic synic2 synictimer time \
    tlbflush vapic vendorid vpindex evmcs";
/// Features that half of the nodes have, each a different half.
const VARYING: [&str; 5] = ["flush-l1d", "gds-no", "its-no", "rfds-no", "bhi-no"];
/// A feature that only the last node has.
pub const LAST: &str = "srso-user-kernel-no";
pub const MACHINE: &str = "pc-q35-rhel9.4.0";

/// A CPU generation.
pub struct Generation {
    vendor: &'static str,
    pub model: &'static str,
    /// All features of the generation, sorted.
    pub features: Vec<&'static str>,
    models: Vec<&'static str>,
}

pub fn generations() -> Vec<Generation> {
    let mut out = Vec::new();
    for (vendor, base, steps) in [("Intel", INTEL, &INTEL_STEPS[..]), ("AMD", AMD, &AMD_STEPS[..])] {
        let mut features: Vec<&str> = COMMON.split_whitespace().chain(base.split_whitespace()).collect();
        let mut models: Vec<&str> = OLD_MODELS.split_whitespace().collect();
        for (model, more) in steps {
            features.extend(more.split_whitespace());
            features.sort_unstable();
            features.dedup();
            models.push(model);
            out.push(Generation { vendor, model, features: features.clone(), models: models.clone() });
        }
    }
    out
}

impl Generation {
    /// Returns the labels that all its nodes have.
    fn labels(&self) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        let mut put = |key: String, value: &str| out.insert(key, value.to_owned());
        for feature in &self.features {
            put(format!("cpu-feature.node.kubevirt.io/{feature}"), "true");
        }
        for feature in self.features.iter().step_by(3) {
            put(format!("host-model-required-features.node.kubevirt.io/{feature}"), "true");
        }
        for model in &self.models {
            put(format!("cpu-model.node.kubevirt.io/{model}"), "true");
            put(format!("cpu-model-migration.node.kubevirt.io/{model}"), "true");
        }
        for feature in HYPERV.split_whitespace() {
            put(format!("hyperv.node.kubevirt.io/{feature}"), "true");
        }
        for machine in ["q35", "pc-q35-rhel8.6.0", "pc-q35-rhel9.0.0", "pc-q35-rhel9.2.0", MACHINE] {
            put(format!("machine-type.node.kubevirt.io/{machine}"), "true");
        }
        put(format!("cpu-vendor.node.kubevirt.io/{}", self.vendor), "true");
        put(format!("host-model-cpu.node.kubevirt.io/{}", self.model), "true");
        put("cpu-timer.node.kubevirt.io/tsc-scalable".to_owned(), "true");
        put("kubevirt.io/schedulable".to_owned(), "true");
        put("kubernetes.io/arch".to_owned(), "amd64");
        put("kubernetes.io/os".to_owned(), "linux");
        put("network.harvesterhci.io/mgmt".to_owned(), "true");
        put("node.kubernetes.io/instance-type".to_owned(), self.model);
        for at in out.len()..238 {
            let name = self.features[at % self.features.len()].to_uppercase();
            out.insert(format!("feature.node.kubernetes.io/cpu-cpuid.{name}-{at}"), "true".to_owned());
        }
        out
    }
}

/// Returns the nodes of a cluster of `count`, one at a time, because together they are large.
pub fn nodes(count: usize) -> impl Iterator<Item = Node> {
    let templates: Vec<BTreeMap<String, String>> = generations().iter().map(Generation::labels).collect();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    (0..count).map(move |index| {
        // Xorshift generates the same cluster in every run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let is_last = index + 1 == count;
        // The last node is of the newest Intel generation, the others alternate.
        let mut labels = templates[if is_last { 5 } else { index % templates.len() }].clone();
        let mut put = |key: String, value: String| labels.insert(key, value);
        let name = format!("node-{index:05}");
        put("kubernetes.io/hostname".to_owned(), name.clone());
        put("topology.kubernetes.io/region".to_owned(), format!("region-{}", index % 3));
        put("topology.kubernetes.io/zone".to_owned(), format!("zone-{}", index % 9));
        put("example.com/rack".to_owned(), format!("rack-{:04}", index / 20));
        put("example.com/row".to_owned(), format!("row-{:03}", index / 400));
        put(
            "cpu-timer.node.kubevirt.io/tsc-frequency".to_owned(),
            (2_000_000_000 + index % 12 * 1_000_000).to_string(),
        );
        put("feature.node.kubernetes.io/kernel-version.full".to_owned(), format!("6.4.0-150700.53.{}", index % 4));
        let varying =
            VARYING.iter().enumerate().filter(|(bit, _)| random >> (bit + 20) & 1 == 1).map(|(_, name)| *name);
        for feature in varying.chain(is_last.then_some(LAST)) {
            put(format!("cpu-feature.node.kubevirt.io/{feature}"), "true".to_owned());
        }
        let cordoned = index % 50 == 7;
        let taint = || Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            value: String::new(),
            effect: Effect::NoSchedule,
        };
        Node { name, labels, taints: cordoned.then(taint).into_iter().collect(), cordoned, ..Node::default() }
    })
}
