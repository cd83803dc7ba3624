//! The named CPU models of s390x hosts, by generation.
//!
//! Facts, taken from the CPU definitions of QEMU (`target/s390x/cpu_models.c`, `s390_cpu_defs`): generation,
//! level (`ec_ga`) and the machine. The suffix `-base` denotes the model without its optional features.
//! KubeVirt labels the models that libvirt lists as usable, and the vendor `IBM`
//! (`pkg/virt-handler/node-labeller/s390x.go`).

use std::cmp::Reverse;

use super::KnownModel;

/// The vendor in KubeVirt's labels.
const VENDOR: &str = "IBM";

/// A generation of machines.
struct Generation {
    /// The marketing name of the machines.
    name: &'static str,
    number: u16,
    /// The models, best first: large machines before midrange ones, each with its level.
    models: &'static [(&'static str, u16)],
}

/// All generations, newest first.
const GENERATIONS: &[Generation] = &[
    Generation { name: "z17", number: 17, models: &[("gen17a", 1), ("gen17b", 1)] },
    Generation { name: "z16", number: 16, models: &[("gen16a", 1), ("gen16b", 1)] },
    Generation { name: "z15", number: 15, models: &[("gen15a", 1), ("gen15b", 1)] },
    Generation { name: "z14", number: 14, models: &[("z14.2", 2), ("z14", 1), ("z14ZR1", 1)] },
    Generation { name: "z13", number: 13, models: &[("z13.2", 2), ("z13", 1), ("z13s", 1)] },
    Generation { name: "zEC12", number: 12, models: &[("zEC12.2", 2), ("zEC12", 1), ("zBC12", 1)] },
    Generation { name: "z196", number: 11, models: &[("z196.2", 2), ("z196", 1), ("z114", 1)] },
    Generation {
        name: "z10",
        number: 10,
        models: &[("z10EC.3", 3), ("z10EC.2", 2), ("z10BC.2", 2), ("z10EC", 1), ("z10BC", 1)],
    },
    Generation {
        name: "z9",
        number: 9,
        models: &[("z9EC.3", 3), ("z9EC.2", 2), ("z9BC.2", 2), ("z9EC", 1), ("z9BC", 1)],
    },
    Generation {
        name: "z990",
        number: 8,
        models: &[
            ("z990.5", 5),
            ("z990.4", 4),
            ("z990.3", 3),
            ("z890.3", 3),
            ("z990.2", 2),
            ("z890.2", 2),
            ("z990", 1),
            ("z890", 1),
        ],
    },
    Generation { name: "z900", number: 7, models: &[("z900.3", 3), ("z900.2", 2), ("z900", 1), ("z800", 1)] },
];

/// Returns the properties of an s390x model, found by its name; `None` if it is not known.
pub(super) fn known(model: &str) -> Option<KnownModel> {
    let (name, is_base) = model.strip_suffix("-base").map_or((model, false), |name| (name, true));
    let listed = |generation: &'static Generation| {
        let at = generation.models.iter().position(|(known, _)| *known == name)?;
        Some((generation, at))
    };
    let (generation, at) = GENERATIONS.iter().find_map(listed)?;
    let (_, level) = generation.models[at];
    Some(KnownModel {
        vendor: VENDOR,
        family: generation.name,
        // A model with its optional features ranks before one without, then by the order of the list: higher
        // level, larger machine.
        rank: (Reverse(generation.number), Reverse(true), is_base, at as u8, Reverse(level)),
        hardened: true,
        tsx: false,
        same_as: None,
    })
}
