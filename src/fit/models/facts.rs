//! The named CPU models of x86 hosts, by family.
//!
//! Facts, taken from the x86 CPU map of libvirt 12.8.0 (`src/cpu_map`) and the models of QEMU 11.1.3
//! (`query-cpu-model-expansion`): a model is *hardened* if its features include the bit by which a guest's
//! kernel drives the mitigations of speculative execution, `spec-ctrl` on Intel and Zhaoxin, `ibpb` on AMD and
//! Hygon; it *has TSX* if they include `rtm`; it is *the same* as another if libvirt or QEMU define it through
//! that one. The rank sorts the plain models of a vendor by their x86-64 level, then by the number of their
//! features.
//!
//! The families exclude generic ones (`cpu64-rhel5`, `cpu64-rhel6`) and those of KubeVirt's default
//! `obsoleteCPUModels` (`pkg/virt-handler/node-labeller/util/util.go`): `486`, `pentium*`, `coreduo`,
//! `core2duo`, `n270`, `Conroe`, `athlon`, `phenom`, `Opteron_G1`, `Opteron_G2`, `qemu32`, `qemu64`, `kvm32`,
//! `kvm64`. They are listed in [`OBSOLETE`].

/// A family of models: a hardware generation of a vendor.
#[derive(Debug)]
pub(super) struct Family {
    /// The name without suffixes.
    pub name: &'static str,
    /// The vendor in libvirt's spelling.
    pub vendor: &'static str,
    /// The rank among the families of the vendor; higher is more modern.
    pub rank: u16,
    /// The plain model, then the variants, then the versions.
    pub models: &'static [Model],
}

/// A model of a family.
#[derive(Debug)]
pub(super) struct Model {
    /// The part of its name after the family's name.
    pub suffix: &'static str,
    /// Whether its features include the bit of the mitigations.
    pub hardened: bool,
    /// Whether its features include `rtm`.
    pub tsx: bool,
    /// The suffix of the model that this one is another name of.
    pub same_as: Option<&'static str>,
}

const fn plain(suffix: &'static str) -> Model {
    Model { suffix, hardened: false, tsx: false, same_as: None }
}

const fn tsx(suffix: &'static str) -> Model {
    Model { tsx: true, ..plain(suffix) }
}

const fn hardened(suffix: &'static str) -> Model {
    Model { hardened: true, ..plain(suffix) }
}

const fn hardened_tsx(suffix: &'static str) -> Model {
    Model { hardened: true, ..tsx(suffix) }
}

/// Defines another name of a model, whose other facts apply.
const fn same(suffix: &'static str, other: &'static str) -> Model {
    Model { same_as: Some(other), ..plain(suffix) }
}

/// All families, sorted by vendor, the most modern first.
#[rustfmt::skip]
pub(super) const FAMILIES: &[Family] = &[
    Family { name: "EPYC-Turin", vendor: "AMD", rank: 12, models: &[hardened(""), same("-v1", "")] },
    Family { name: "EPYC-Genoa", vendor: "AMD", rank: 11, models: &[hardened(""), same("-v1", ""), hardened("-v2")] },
    Family { name: "EPYC-Milan", vendor: "AMD", rank: 10, models: &[
        hardened(""), same("-v1", ""), hardened("-v2"), hardened("-v3"),
    ] },
    Family { name: "EPYC-Rome", vendor: "AMD", rank: 9, models: &[
        hardened(""), same("-v1", ""), hardened("-v2"), hardened("-v3"), hardened("-v4"), hardened("-v5"),
    ] },
    Family { name: "EPYC", vendor: "AMD", rank: 8, models: &[
        plain(""), hardened("-IBPB"), same("-v1", ""), same("-v2", "-IBPB"), hardened("-v3"), hardened("-v4"),
        hardened("-v5"),
    ] },
    Family { name: "Opteron_G5", vendor: "AMD", rank: 7, models: &[plain(""), same("-v1", "")] },
    Family { name: "Opteron_G4", vendor: "AMD", rank: 6, models: &[plain(""), same("-v1", "")] },
    Family { name: "Opteron_G3", vendor: "AMD", rank: 4, models: &[plain(""), same("-v1", "")] },
    Family { name: "Dhyana", vendor: "Hygon", rank: 1, models: &[hardened(""), same("-v1", ""), hardened("-v2")] },
    Family { name: "DiamondRapids", vendor: "Intel", rank: 25, models: &[hardened_tsx(""), same("-v1", "")] },
    Family { name: "GraniteRapids", vendor: "Intel", rank: 24, models: &[
        hardened_tsx(""), same("-v1", ""), hardened_tsx("-v2"), hardened_tsx("-v3"), hardened_tsx("-v4"),
        hardened_tsx("-v5"),
    ] },
    Family { name: "SapphireRapids", vendor: "Intel", rank: 23, models: &[
        hardened_tsx(""), same("-v1", ""), hardened_tsx("-v2"), hardened_tsx("-v3"), hardened_tsx("-v4"),
        hardened_tsx("-v5"), hardened_tsx("-v6"),
    ] },
    Family { name: "Icelake-Server", vendor: "Intel", rank: 22, models: &[
        hardened_tsx(""), hardened("-noTSX"), same("-v1", ""), same("-v2", "-noTSX"), hardened("-v3"),
        hardened("-v4"), hardened("-v5"), hardened("-v6"), hardened_tsx("-v7"),
    ] },
    Family { name: "Cooperlake", vendor: "Intel", rank: 21, models: &[
        hardened_tsx(""), same("-v1", ""), hardened_tsx("-v2"),
    ] },
    Family { name: "Cascadelake-Server", vendor: "Intel", rank: 20, models: &[
        hardened_tsx(""), hardened("-noTSX"), same("-v1", ""), hardened_tsx("-v2"), same("-v3", "-noTSX"),
        hardened("-v4"), hardened("-v5"),
    ] },
    Family { name: "Skylake-Server", vendor: "Intel", rank: 19, models: &[
        tsx(""), hardened_tsx("-IBRS"), hardened("-noTSX-IBRS"), same("-v1", ""), same("-v2", "-IBRS"),
        same("-v3", "-noTSX-IBRS"), hardened("-v4"), hardened("-v5"),
    ] },
    Family { name: "ClearwaterForest", vendor: "Intel", rank: 18, models: &[
        hardened(""), same("-v1", ""), hardened("-v2"), hardened("-v3"),
    ] },
    Family { name: "SierraForest", vendor: "Intel", rank: 17, models: &[
        hardened(""), same("-v1", ""), hardened("-v2"), hardened("-v3"), hardened("-v4"), hardened("-v5"),
    ] },
    Family { name: "Icelake-Client", vendor: "Intel", rank: 16, models: &[hardened_tsx(""), hardened("-noTSX")] },
    Family { name: "KnightsMill", vendor: "Intel", rank: 15, models: &[plain(""), same("-v1", "")] },
    Family { name: "Skylake-Client", vendor: "Intel", rank: 14, models: &[
        tsx(""), hardened_tsx("-IBRS"), hardened("-noTSX-IBRS"), same("-v1", ""), same("-v2", "-IBRS"),
        same("-v3", "-noTSX-IBRS"), hardened("-v4"),
    ] },
    Family { name: "Broadwell", vendor: "Intel", rank: 13, models: &[
        tsx(""), hardened_tsx("-IBRS"), plain("-noTSX"), hardened("-noTSX-IBRS"), same("-v1", ""),
        same("-v2", "-noTSX"), same("-v3", "-IBRS"), same("-v4", "-noTSX-IBRS"),
    ] },
    Family { name: "Haswell", vendor: "Intel", rank: 12, models: &[
        tsx(""), hardened_tsx("-IBRS"), plain("-noTSX"), hardened("-noTSX-IBRS"), same("-v1", ""),
        same("-v2", "-noTSX"), same("-v3", "-IBRS"), same("-v4", "-noTSX-IBRS"),
    ] },
    Family { name: "Snowridge", vendor: "Intel", rank: 11, models: &[
        hardened(""), same("-v1", ""), hardened("-v2"), hardened("-v3"), hardened("-v4"),
    ] },
    Family { name: "Denverton", vendor: "Intel", rank: 10, models: &[
        hardened(""), same("-v1", ""), hardened("-v2"), hardened("-v3"),
    ] },
    Family { name: "IvyBridge", vendor: "Intel", rank: 9, models: &[
        plain(""), hardened("-IBRS"), same("-v1", ""), same("-v2", "-IBRS"),
    ] },
    Family { name: "SandyBridge", vendor: "Intel", rank: 8, models: &[
        plain(""), hardened("-IBRS"), same("-v1", ""), same("-v2", "-IBRS"),
    ] },
    Family { name: "Westmere", vendor: "Intel", rank: 7, models: &[
        plain(""), hardened("-IBRS"), same("-v1", ""), same("-v2", "-IBRS"),
    ] },
    Family { name: "Nehalem", vendor: "Intel", rank: 6, models: &[
        plain(""), hardened("-IBRS"), same("-v1", ""), same("-v2", "-IBRS"),
    ] },
    Family { name: "Penryn", vendor: "Intel", rank: 5, models: &[plain(""), same("-v1", "")] },
    Family { name: "YongFeng", vendor: "Zhaoxin CentaurHauls", rank: 1, models: &[
        hardened(""), same("-v1", ""), hardened("-v2"), hardened("-v3"),
    ] },
];

/// The models that are never recommended, without versions: generic ones of x86 and s390x, and those that
/// KubeVirt's default lists as obsolete.
pub(super) const OBSOLETE: &[&str] = &[
    "486",
    "Conroe",
    "Opteron_G1",
    "Opteron_G2",
    "athlon",
    "core2duo",
    "coreduo",
    "cpu64-rhel5",
    "cpu64-rhel6",
    "host",
    "kvm32",
    "kvm64",
    "max",
    "n270",
    "pentium",
    "pentium2",
    "pentium3",
    "pentiumpro",
    "phenom",
    "qemu",
    "qemu32",
    "qemu64",
];
