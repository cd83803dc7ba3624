//! The CPU features of each model.
//!
//! Facts, taken as those of [`facts`](super::facts): from the x86 CPU map of libvirt 12.8.0 (`src/cpu_map`),
//! and the additional features in the definitions of QEMU 11.1.3 (`query-cpu-model-expansion`): a guest has
//! both. VMX bits are omitted, because a guest has them only with nested virtualization. A model is written as
//! its differences from another model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::KnownModel;

/// A model, and its differences from another one.
struct ModelFeatures {
    model: &'static str,
    /// A model that is listed above; empty if all features are in `plus`.
    like: &'static str,
    plus: &'static str,
    minus: &'static str,
}

/// Returns the features of a guest with this model, in libvirt's names; `None` if they are not known.
pub(crate) fn features(model: &str) -> Option<BTreeSet<&'static str>> {
    held(model).cloned()
}

fn held(model: &str) -> Option<&'static BTreeSet<&'static str>> {
    let other = KnownModel::of(model).and_then(|known| known.other_spelling());
    LISTED.get(other.as_deref().unwrap_or(model))
}

/// Whether definitions of a model differ in a feature: those of libvirt's releases, or of libvirt and QEMU. A host or a
/// guest with this model, described without naming the feature, may have it or not.
pub(crate) fn is_disputed(model: &str, feature: &str) -> bool {
    let other = KnownModel::of(model).and_then(|known| known.other_spelling());
    let model = other.as_deref().unwrap_or(model);
    let names = |list: &str, name: &str| list.split_whitespace().any(|listed| listed == name);
    DISPUTED.iter().any(|(features, models)| names(features, feature) && names(models, model))
}

/// Returns the features that a host has on which QEMU can run a guest with this model; none if the features of the
/// model are not known.
pub(crate) fn needed(model: &str) -> impl Iterator<Item = &'static str> {
    held(model).into_iter().flatten().copied().filter(|name| is_given(name))
}

/// Whether a guest has a feature that the definition of its model names: not those of nested virtualization on AMD, and
/// not those that QEMU switches off.
pub(crate) fn is_given(feature: &str) -> bool {
    !NESTED_AMD.contains(&feature) && !OFF_BY_DEFAULT.contains(&feature)
}

/// Whether a host on which QEMU can run a guest with this model has a feature, whichever definition of the model its
/// libvirt and QEMU have.
pub(crate) fn proves(model: &str, feature: &str) -> bool {
    !is_disputed(model, feature) && needed(model).any(|name| name == feature)
}

/// Iterates over the models with known features that have this one.
pub(super) fn holding(feature: &str) -> impl Iterator<Item = &'static str> {
    FEATURES.iter().map(|known| known.model).filter(move |model| held(model).is_some_and(|held| held.contains(feature)))
}

/// Whether a model has a feature of this name.
pub(crate) fn is_feature(name: &str) -> bool {
    NAMES.contains(name)
}

/// The features of the listed models.
static LISTED: LazyLock<BTreeMap<&'static str, BTreeSet<&'static str>>> = LazyLock::new(|| {
    let mut out: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for ModelFeatures { model, like, plus, minus } in FEATURES {
        let mut held = out.get(like).cloned().unwrap_or_default();
        held.extend(plus.split_whitespace());
        minus.split_whitespace().for_each(|feature| {
            held.remove(feature);
        });
        out.insert(model, held);
    }
    out
});

/// The names of all features of the listed models.
static NAMES: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| LISTED.values().flatten().copied().collect());

/// Features in which definitions of the same models differ. `mpx`, `monitor` and `intel-pt` are part of these models in
/// the CPU map of some releases of libvirt (`mpx` in that of 9.0) and not in that of 12.8; a libvirt writes only what
/// differs from its own definition. QEMU alone gives the others to a guest with the model.
#[rustfmt::skip]
const DISPUTED: &[(&str, &str)] = &[
    ("mpx", "Skylake-Client Skylake-Client-IBRS Skylake-Client-noTSX-IBRS Skylake-Server Skylake-Server-IBRS Skylake-Server-noTSX-IBRS \
         Cascadelake-Server Cascadelake-Server-noTSX Icelake-Client Icelake-Client-noTSX Icelake-Server Icelake-Server-noTSX Snowridge"),
    ("intel-pt", "Icelake-Client Icelake-Client-noTSX Icelake-Server Icelake-Server-noTSX"),
    ("monitor", "Opteron_G3 EPYC EPYC-IBPB Dhyana"),
    ("abm arat f16c rdrand xsaveopt", "Haswell Haswell-IBRS Haswell-noTSX Haswell-noTSX-IBRS Broadwell Broadwell-IBRS Broadwell-noTSX \
         Broadwell-noTSX-IBRS"),
    ("arat pclmuldq", "Westmere Westmere-IBRS"),
    ("arat xsaveopt", "SandyBridge SandyBridge-IBRS IvyBridge IvyBridge-IBRS"),
    ("pku", "Skylake-Server Skylake-Server-IBRS Skylake-Server-noTSX-IBRS Cascadelake-Server Cascadelake-Server-noTSX"),
    ("clflushopt", "Skylake-Server"),
    ("arch-capabilities ibrs-all mds-no rdctl-no skip-l1dfl-vmentry", "Cascadelake-Server-noTSX"),
    ("avx10-128 avx10-256 avx10-512", "DiamondRapids"),
    ("npt nrip-save", "Opteron_G4 Opteron_G5 EPYC EPYC-IBPB Dhyana"),
    ("topoext", "EPYC EPYC-IBPB EPYC-v3 EPYC-v4 EPYC-v5 EPYC-Rome EPYC-Rome-v2 EPYC-Rome-v3 EPYC-Rome-v4 EPYC-Rome-v5 EPYC-Milan \
         EPYC-Milan-v2 EPYC-Milan-v3 EPYC-Genoa EPYC-Genoa-v2 EPYC-Turin Dhyana Dhyana-v2"),
    ("xsaves", "EPYC-Rome"),
];

/// The features that KVM offers only with nested virtualization: mirrors `kvm_set_cpu_caps` and `svm_set_cpu_caps` of
/// Linux (`arch/x86/kvm`), which clear them if the parameter `nested` of `kvm_intel` or `kvm_amd` is off. QEMU gives
/// them to no guest that does not ask for `svm` by name.
pub(crate) const NESTED_AMD: &[&str] = &[
    "flushbyasid",
    "lbrv",
    "npt",
    "nrip-save",
    "pause-filter",
    "pfthreshold",
    "svm",
    "svme-addr-chk",
    "tsc-scale",
    "v-vmsave-vmload",
    "vgif",
    "vmcb-clean",
    "vnmi",
];

/// Features of models that QEMU switches off for a guest of KVM: mirrors `kvm_default_props` of
/// `target/i386/kvm/kvm-cpu.c`.
const OFF_BY_DEFAULT: &[&str] = &["acpi", "monitor"];

#[rustfmt::skip]
const FEATURES: &[ModelFeatures] = &[
    ModelFeatures { model: "Opteron_G3", like: "", plus: "abm apic clflush cmov cx16 cx8 de fpu fxsr lahf_lm lm mca mce misalignsse mmx msr mtrr \
         nx pae pat pge pni popcnt pse pse36 rdtscp sep sse sse2 sse4a svm syscall tsc", minus: "" },
    ModelFeatures { model: "Opteron_G4", like: "Opteron_G3", plus: "3dnowprefetch aes avx fma4 npt nrip-save pclmuldq pdpe1gb sse4.1 sse4.2 ssse3 xop xsave", minus: "" },
    ModelFeatures { model: "Opteron_G5", like: "Opteron_G4", plus: "f16c fma tbm", minus: "" },
    ModelFeatures { model: "EPYC", like: "Opteron_G5", plus: "adx arat avx2 bmi1 bmi2 clflushopt cr8legacy fsgsbase fxsr_opt mmxext movbe osvw rdrand \
         rdseed sha-ni smap smep topoext vme xgetbv1 xsavec xsaveopt", minus: "fma4 tbm xop" },
    ModelFeatures { model: "EPYC-IBPB", like: "EPYC", plus: "ibpb", minus: "" },
    ModelFeatures { model: "EPYC-v3", like: "EPYC-IBPB", plus: "clzero perfctr_core xsaveerptr xsaves", minus: "" },
    ModelFeatures { model: "EPYC-v4", like: "EPYC-v3", plus: "", minus: "" },
    ModelFeatures { model: "EPYC-v5", like: "EPYC-v3", plus: "flushbyasid lbrv overflow-recov pause-filter pfthreshold succor tsc-scale \
         v-vmsave-vmload vgif vmcb-clean", minus: "" },
    ModelFeatures { model: "EPYC-Rome", like: "EPYC-v3", plus: "amd-stibp clwb rdpid umip wbnoinvd", minus: "" },
    ModelFeatures { model: "EPYC-Rome-v2", like: "EPYC-Rome", plus: "amd-ssbd ibrs", minus: "" },
    ModelFeatures { model: "EPYC-Rome-v3", like: "EPYC-Rome-v2", plus: "", minus: "" },
    ModelFeatures { model: "EPYC-Rome-v4", like: "EPYC-Rome-v2", plus: "", minus: "xsaves" },
    ModelFeatures { model: "EPYC-Rome-v5", like: "EPYC-v5", plus: "amd-ssbd amd-stibp clwb ibrs rdpid umip wbnoinvd", minus: "xsaves" },
    ModelFeatures { model: "EPYC-Milan", like: "EPYC-Rome-v2", plus: "erms fsrm invpcid pcid pku svme-addr-chk", minus: "" },
    ModelFeatures { model: "EPYC-Milan-v2", like: "EPYC-Milan", plus: "amd-psfd lfence-always-serializing no-nested-data-bp null-sel-clr-base stibp-always-on \
         vaes vpclmulqdq", minus: "" },
    ModelFeatures { model: "EPYC-Milan-v3", like: "EPYC-Milan-v2", plus: "flushbyasid lbrv overflow-recov pause-filter pfthreshold succor tsc-scale \
         v-vmsave-vmload vgif vmcb-clean", minus: "" },
    ModelFeatures { model: "EPYC-Genoa", like: "EPYC-Milan-v2", plus: "auto-ibrs avx512-bf16 avx512-vpopcntdq avx512bitalg avx512bw avx512cd avx512dq avx512f \
         avx512ifma avx512vbmi avx512vbmi2 avx512vl avx512vnni gfni la57 vnmi", minus: "" },
    ModelFeatures { model: "EPYC-Genoa-v2", like: "EPYC-Genoa", plus: "flushbyasid fs-gs-base-ns lbrv overflow-recov pause-filter perfmon-v2 pfthreshold succor \
         tsc-scale v-vmsave-vmload vgif vmcb-clean", minus: "" },
    ModelFeatures { model: "EPYC-Turin", like: "EPYC-Genoa-v2", plus: "avx-vnni avx512-vp2intersect ibpb-brtype movdir64b movdiri prefetchi sbpb \
         srso-user-kernel-no", minus: "" },
    ModelFeatures { model: "Dhyana", like: "", plus: "3dnowprefetch abm adx apic arat avx avx2 bmi1 bmi2 clflush clflushopt cmov cr8legacy \
         cx16 cx8 de f16c fma fpu fsgsbase fxsr fxsr_opt ibpb lahf_lm lm mca mce misalignsse mmx \
         mmxext movbe msr mtrr npt nrip-save nx osvw pae pat pdpe1gb pge pni popcnt pse pse36 \
         rdrand rdseed rdtscp sep smap smep sse sse2 sse4.1 sse4.2 sse4a ssse3 svm syscall \
         topoext tsc vme xgetbv1 xsave xsavec xsaveopt", minus: "" },
    ModelFeatures { model: "Dhyana-v2", like: "Dhyana", plus: "xsaves", minus: "" },
    ModelFeatures { model: "Penryn", like: "", plus: "apic clflush cmov cx16 cx8 de fpu fxsr lahf_lm lm mca mce mmx msr mtrr nx pae pat pge \
         pni pse pse36 sep sse sse2 sse4.1 ssse3 syscall tsc", minus: "" },
    ModelFeatures { model: "Nehalem", like: "Penryn", plus: "popcnt sse4.2", minus: "" },
    ModelFeatures { model: "Nehalem-IBRS", like: "Nehalem", plus: "spec-ctrl", minus: "" },
    ModelFeatures { model: "Westmere", like: "Nehalem", plus: "aes arat pclmuldq", minus: "" },
    ModelFeatures { model: "Westmere-IBRS", like: "Westmere", plus: "spec-ctrl", minus: "" },
    ModelFeatures { model: "SandyBridge", like: "Westmere", plus: "avx rdtscp tsc-deadline x2apic xsave xsaveopt", minus: "" },
    ModelFeatures { model: "SandyBridge-IBRS", like: "SandyBridge", plus: "spec-ctrl", minus: "" },
    ModelFeatures { model: "IvyBridge", like: "SandyBridge", plus: "erms f16c fsgsbase rdrand smep vme", minus: "" },
    ModelFeatures { model: "IvyBridge-IBRS", like: "IvyBridge", plus: "spec-ctrl", minus: "" },
    ModelFeatures { model: "Denverton", like: "IvyBridge-IBRS", plus: "3dnowprefetch arch-capabilities clflushopt movbe mpx pdpe1gb rdctl-no rdseed sha-ni \
         skip-l1dfl-vmentry smap ssbd xgetbv1 xsavec", minus: "avx f16c" },
    ModelFeatures { model: "Denverton-v2", like: "Denverton", plus: "", minus: "mpx" },
    ModelFeatures { model: "Denverton-v3", like: "Denverton-v2", plus: "xsaves", minus: "" },
    ModelFeatures { model: "Snowridge", like: "Denverton", plus: "cldemote clwb core-capability gfni movdir64b movdiri split-lock-detect umip", minus: "rdctl-no skip-l1dfl-vmentry" },
    ModelFeatures { model: "Snowridge-v2", like: "Snowridge", plus: "", minus: "mpx" },
    ModelFeatures { model: "Snowridge-v3", like: "Snowridge-v2", plus: "xsaves", minus: "" },
    ModelFeatures { model: "Snowridge-v4", like: "Snowridge-v3", plus: "", minus: "core-capability split-lock-detect" },
    ModelFeatures { model: "Haswell", like: "IvyBridge", plus: "abm avx2 bmi1 bmi2 fma hle invpcid movbe pcid rtm", minus: "vme" },
    ModelFeatures { model: "Haswell-IBRS", like: "Haswell", plus: "spec-ctrl", minus: "" },
    ModelFeatures { model: "Haswell-noTSX", like: "Haswell", plus: "", minus: "hle rtm" },
    ModelFeatures { model: "Haswell-noTSX-IBRS", like: "Haswell-noTSX", plus: "spec-ctrl", minus: "" },
    ModelFeatures { model: "Broadwell", like: "Haswell", plus: "3dnowprefetch adx rdseed smap", minus: "" },
    ModelFeatures { model: "Broadwell-IBRS", like: "Broadwell", plus: "spec-ctrl", minus: "" },
    ModelFeatures { model: "Broadwell-noTSX", like: "Broadwell", plus: "", minus: "hle rtm" },
    ModelFeatures { model: "Broadwell-noTSX-IBRS", like: "Broadwell-noTSX", plus: "spec-ctrl", minus: "" },
    ModelFeatures { model: "Skylake-Client", like: "Broadwell", plus: "vme xgetbv1 xsavec", minus: "" },
    ModelFeatures { model: "Skylake-Client-IBRS", like: "Skylake-Client", plus: "spec-ctrl", minus: "" },
    ModelFeatures { model: "Skylake-Client-noTSX-IBRS", like: "Skylake-Client-IBRS", plus: "", minus: "hle rtm" },
    ModelFeatures { model: "Skylake-Client-v4", like: "Skylake-Client-noTSX-IBRS", plus: "xsaves", minus: "" },
    ModelFeatures { model: "KnightsMill", like: "Broadwell-noTSX", plus: "avx512-4fmaps avx512-4vnniw avx512-vpopcntdq avx512cd avx512er avx512f avx512pf pdpe1gb \
         ss vme", minus: "invpcid pcid smap" },
    ModelFeatures { model: "Icelake-Client", like: "Skylake-Client-IBRS", plus: "avx512-vpopcntdq avx512bitalg avx512vbmi avx512vbmi2 avx512vnni gfni mpx pku ssbd umip \
         vaes vpclmulqdq wbnoinvd", minus: "" },
    ModelFeatures { model: "Icelake-Client-noTSX", like: "Icelake-Client", plus: "", minus: "hle rtm" },
    ModelFeatures { model: "SierraForest", like: "Skylake-Client-v4", plus: "arch-capabilities avx-ifma avx-ne-convert avx-vnni avx-vnni-int8 bus-lock-detect \
         clflushopt clwb cmpccxadd fbsdp-no fsrm fsrs gfni ibrs-all mcdt-no mds-no pbrsb-no \
         pdpe1gb pku pschange-mc-no psdp-no rdctl-no rdpid sbdr-ssdp-no serialize sha-ni \
         skip-l1dfl-vmentry ssbd umip vaes vpclmulqdq wbnoinvd", minus: "" },
    ModelFeatures { model: "SierraForest-v2", like: "SierraForest", plus: "bhi-ctrl cldemote gds-no intel-psfd ipred-ctrl lam movdir64b movdiri rfds-no rrsba-ctrl \
         ss tsc_adjust", minus: "" },
    ModelFeatures { model: "SierraForest-v3", like: "SierraForest-v2", plus: "", minus: "" },
    ModelFeatures { model: "SierraForest-v4", like: "SierraForest-v2", plus: "cet-ibt cet-ss", minus: "" },
    ModelFeatures { model: "SierraForest-v5", like: "SierraForest-v4", plus: "its-no", minus: "" },
    ModelFeatures { model: "ClearwaterForest", like: "SierraForest-v2", plus: "avx-vnni-int16 bhi-no ddpd-u prefetchiti sha512 sm3 sm4", minus: "" },
    ModelFeatures { model: "ClearwaterForest-v2", like: "ClearwaterForest", plus: "cet-ibt cet-ss", minus: "" },
    ModelFeatures { model: "ClearwaterForest-v3", like: "ClearwaterForest-v2", plus: "its-no", minus: "" },
    ModelFeatures { model: "Skylake-Server", like: "Skylake-Client", plus: "avx512bw avx512cd avx512dq avx512f avx512vl clflushopt clwb pdpe1gb pku", minus: "" },
    ModelFeatures { model: "Skylake-Server-IBRS", like: "Skylake-Server", plus: "spec-ctrl", minus: "clflushopt" },
    ModelFeatures { model: "Skylake-Server-noTSX-IBRS", like: "Skylake-Server-IBRS", plus: "", minus: "hle rtm" },
    ModelFeatures { model: "Skylake-Server-v4", like: "Skylake-Server-noTSX-IBRS", plus: "", minus: "" },
    ModelFeatures { model: "Skylake-Server-v5", like: "Skylake-Server-noTSX-IBRS", plus: "xsaves", minus: "" },
    ModelFeatures { model: "Cascadelake-Server", like: "Skylake-Server", plus: "avx512vnni spec-ctrl ssbd", minus: "" },
    ModelFeatures { model: "Cascadelake-Server-noTSX", like: "Cascadelake-Server", plus: "arch-capabilities ibrs-all mds-no rdctl-no skip-l1dfl-vmentry", minus: "hle rtm" },
    ModelFeatures { model: "Cascadelake-Server-v2", like: "Cascadelake-Server-noTSX", plus: "hle rtm", minus: "" },
    ModelFeatures { model: "Cascadelake-Server-v4", like: "Cascadelake-Server-noTSX", plus: "", minus: "" },
    ModelFeatures { model: "Cascadelake-Server-v5", like: "Cascadelake-Server-noTSX", plus: "xsaves", minus: "" },
    ModelFeatures { model: "Cooperlake", like: "Cascadelake-Server-v2", plus: "avx512-bf16 pschange-mc-no stibp taa-no", minus: "" },
    ModelFeatures { model: "Cooperlake-v2", like: "Cooperlake", plus: "xsaves", minus: "" },
    ModelFeatures { model: "Icelake-Server", like: "Icelake-Client", plus: "avx512bw avx512cd avx512dq avx512f avx512vl clflushopt clwb la57 pdpe1gb", minus: "mpx" },
    ModelFeatures { model: "Icelake-Server-noTSX", like: "Icelake-Server", plus: "", minus: "hle rtm" },
    ModelFeatures { model: "Icelake-Server-v3", like: "Icelake-Server-noTSX", plus: "arch-capabilities ibrs-all mds-no pschange-mc-no rdctl-no skip-l1dfl-vmentry taa-no", minus: "" },
    ModelFeatures { model: "Icelake-Server-v4", like: "Icelake-Server-v3", plus: "avx512ifma fsrm rdpid sha-ni", minus: "" },
    ModelFeatures { model: "Icelake-Server-v5", like: "Icelake-Server-v4", plus: "xsaves", minus: "" },
    ModelFeatures { model: "Icelake-Server-v6", like: "Icelake-Server-v5", plus: "", minus: "" },
    ModelFeatures { model: "Icelake-Server-v7", like: "Icelake-Server-v5", plus: "hle rtm", minus: "" },
    ModelFeatures { model: "SapphireRapids", like: "Icelake-Server-v7", plus: "amx-bf16 amx-int8 amx-tile avx-vnni avx512-bf16 avx512-fp16 bus-lock-detect fsrc fsrs \
         fzrm serialize tsx-ldtrk xfd", minus: "" },
    ModelFeatures { model: "SapphireRapids-v2", like: "SapphireRapids", plus: "fbsdp-no psdp-no sbdr-ssdp-no", minus: "" },
    ModelFeatures { model: "SapphireRapids-v3", like: "SapphireRapids-v2", plus: "cldemote movdir64b movdiri ss tsc_adjust", minus: "" },
    ModelFeatures { model: "SapphireRapids-v4", like: "SapphireRapids-v3", plus: "", minus: "" },
    ModelFeatures { model: "SapphireRapids-v5", like: "SapphireRapids-v3", plus: "cet-ibt cet-ss", minus: "" },
    ModelFeatures { model: "SapphireRapids-v6", like: "SapphireRapids-v5", plus: "its-no", minus: "" },
    ModelFeatures { model: "GraniteRapids", like: "SapphireRapids-v2", plus: "amx-fp16 mcdt-no pbrsb-no prefetchiti", minus: "" },
    ModelFeatures { model: "GraniteRapids-v2", like: "SapphireRapids-v3", plus: "amx-fp16 avx10 avx10-128 avx10-256 avx10-512 mcdt-no pbrsb-no prefetchiti", minus: "" },
    ModelFeatures { model: "GraniteRapids-v3", like: "GraniteRapids-v2", plus: "", minus: "" },
    ModelFeatures { model: "GraniteRapids-v4", like: "GraniteRapids-v2", plus: "cet-ibt cet-ss", minus: "" },
    ModelFeatures { model: "GraniteRapids-v5", like: "GraniteRapids-v4", plus: "its-no", minus: "" },
    ModelFeatures { model: "DiamondRapids", like: "GraniteRapids-v4", plus: "amx-avx512 amx-bf16-alias amx-complex amx-complex-alias amx-fp16-alias amx-fp8 \
         amx-int8-alias amx-movrs amx-tf32 apx-nci-ndd-nf apxf avx-ifma avx-ne-convert \
         avx-vnni-int8 avx10-vnni-int bhi-ctrl bhi-no cmpccxadd ddpd-u fdp-excptn-only flush-l1d \
         fred gds-no intel-psfd ipred-ctrl lam lkgs md-clear movrs rfds-no rrsba-ctrl stibp \
         wrmsrns zero-fcs-fds", minus: "" },
    ModelFeatures { model: "YongFeng", like: "", plus: "3dnowprefetch abm ace2 acpi adx aes apic arch-capabilities avx avx2 bmi1 bmi2 clflush \
         cmov cx16 cx8 de f16c fma fpu fsgsbase fxsr invpcid invtsc lahf_lm lm mca mce mds-no mmx \
         movbe msr mtrr nx pae pat pcid pclmuldq pdpe1gb pge phe phe-en pku pmm pmm-en pni popcnt \
         pschange-mc-no pse pse36 rdctl-no rdpid rdrand rdseed rdtscp sep sha-ni \
         skip-l1dfl-vmentry smap smep spec-ctrl ss ssb-no sse sse2 sse4.1 sse4.2 ssse3 syscall \
         tsc tsc-deadline umip vme x2apic xcrypt xcrypt-en xsave xsaveopt xstore xstore-en", minus: "" },
    ModelFeatures { model: "YongFeng-v2", like: "YongFeng", plus: "", minus: "" },
    ModelFeatures { model: "YongFeng-v3", like: "YongFeng", plus: "", minus: "" },
];
