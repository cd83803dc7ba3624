//! How named CPU models rank: which of several usable ones is the most modern.
//!
//! Derived from the x86 CPU map of libvirt 12.8.0 and the models of QEMU 11.1.3: families are sorted by
//! x86-64 level, then by the number of features. Inside a family the plain name comes first, then `-IBRS`
//! and `-IBPB`, `-noTSX`, `-noTSX-IBRS`, then versions, the highest first.

use std::cmp::Reverse;

use super::bits::Bits;
use super::fleet::Fleet;
use super::label;

/// A family of models: a name less its suffixes.
struct Family {
    name: &'static str,
    vendor: &'static str,
    /// Higher is more modern; 0 is generic.
    rank: u16,
    /// In KubeVirt's default `obsoleteCPUModels`, or generic.
    obsolete: bool,
}

#[rustfmt::skip]
const FAMILIES: &[Family] = &[
    Family { name: "486", vendor: "", rank: 0, obsolete: true },
    Family { name: "cpu64-rhel5", vendor: "", rank: 0, obsolete: true },
    Family { name: "cpu64-rhel6", vendor: "", rank: 0, obsolete: true },
    Family { name: "kvm32", vendor: "", rank: 0, obsolete: true },
    Family { name: "kvm64", vendor: "", rank: 0, obsolete: true },
    Family { name: "pentium", vendor: "", rank: 0, obsolete: true },
    Family { name: "pentium2", vendor: "", rank: 0, obsolete: true },
    Family { name: "pentium3", vendor: "", rank: 0, obsolete: true },
    Family { name: "pentiumpro", vendor: "", rank: 0, obsolete: true },
    Family { name: "qemu32", vendor: "", rank: 0, obsolete: true },
    Family { name: "qemu64", vendor: "", rank: 0, obsolete: true },
    Family { name: "EPYC-Turin", vendor: "AMD", rank: 12, obsolete: false },
    Family { name: "EPYC-Genoa", vendor: "AMD", rank: 11, obsolete: false },
    Family { name: "EPYC-Milan", vendor: "AMD", rank: 10, obsolete: false },
    Family { name: "EPYC-Rome", vendor: "AMD", rank: 9, obsolete: false },
    Family { name: "EPYC", vendor: "AMD", rank: 8, obsolete: false },
    Family { name: "Opteron_G5", vendor: "AMD", rank: 7, obsolete: false },
    Family { name: "Opteron_G4", vendor: "AMD", rank: 6, obsolete: false },
    Family { name: "phenom", vendor: "AMD", rank: 5, obsolete: true },
    Family { name: "Opteron_G3", vendor: "AMD", rank: 4, obsolete: false },
    Family { name: "Opteron_G2", vendor: "AMD", rank: 3, obsolete: true },
    Family { name: "Opteron_G1", vendor: "AMD", rank: 2, obsolete: true },
    Family { name: "athlon", vendor: "AMD", rank: 1, obsolete: true },
    Family { name: "Dhyana", vendor: "Hygon", rank: 1, obsolete: false },
    Family { name: "DiamondRapids", vendor: "Intel", rank: 25, obsolete: false },
    Family { name: "GraniteRapids", vendor: "Intel", rank: 24, obsolete: false },
    Family { name: "SapphireRapids", vendor: "Intel", rank: 23, obsolete: false },
    Family { name: "Icelake-Server", vendor: "Intel", rank: 22, obsolete: false },
    Family { name: "Cooperlake", vendor: "Intel", rank: 21, obsolete: false },
    Family { name: "Cascadelake-Server", vendor: "Intel", rank: 20, obsolete: false },
    Family { name: "Skylake-Server", vendor: "Intel", rank: 19, obsolete: false },
    Family { name: "ClearwaterForest", vendor: "Intel", rank: 18, obsolete: false },
    Family { name: "SierraForest", vendor: "Intel", rank: 17, obsolete: false },
    Family { name: "Icelake-Client", vendor: "Intel", rank: 16, obsolete: false },
    Family { name: "KnightsMill", vendor: "Intel", rank: 15, obsolete: false },
    Family { name: "Skylake-Client", vendor: "Intel", rank: 14, obsolete: false },
    Family { name: "Broadwell", vendor: "Intel", rank: 13, obsolete: false },
    Family { name: "Haswell", vendor: "Intel", rank: 12, obsolete: false },
    Family { name: "Snowridge", vendor: "Intel", rank: 11, obsolete: false },
    Family { name: "Denverton", vendor: "Intel", rank: 10, obsolete: false },
    Family { name: "IvyBridge", vendor: "Intel", rank: 9, obsolete: false },
    Family { name: "SandyBridge", vendor: "Intel", rank: 8, obsolete: false },
    Family { name: "Westmere", vendor: "Intel", rank: 7, obsolete: false },
    Family { name: "Nehalem", vendor: "Intel", rank: 6, obsolete: false },
    Family { name: "Penryn", vendor: "Intel", rank: 5, obsolete: false },
    Family { name: "core2duo", vendor: "Intel", rank: 4, obsolete: true },
    Family { name: "Conroe", vendor: "Intel", rank: 3, obsolete: true },
    Family { name: "n270", vendor: "Intel", rank: 2, obsolete: true },
    Family { name: "coreduo", vendor: "Intel", rank: 1, obsolete: true },
    Family { name: "YongFeng", vendor: "Zhaoxin CentaurHauls", rank: 1, obsolete: false },
];

/// A named model's place among others: compare with `<`, the smaller is the more modern.
type Rank = (Reverse<u16>, u8, Reverse<u16>);

/// The family of a model, and what its suffix says: `(variant, version)`.
fn family(model: &str) -> Option<(&'static Family, u8, u16)> {
    FAMILIES
        .iter()
        .filter_map(|family| {
            let suffix = model.strip_prefix(family.name)?;
            let (variant, version) = match suffix {
                "" => (0, 0),
                "-IBRS" | "-IBPB" => (1, 0),
                "-noTSX" => (2, 0),
                "-noTSX-IBRS" => (3, 0),
                _ => (4, suffix.strip_prefix("-v")?.parse().ok()?),
            };
            Some((family, variant, version))
        })
        .max_by_key(|(family, ..)| family.name.len())
}

fn rank(model: &str, vendor: &str) -> Option<Rank> {
    let (family, variant, version) = family(model)?;
    (family.vendor == vendor && !family.obsolete).then_some((Reverse(family.rank), variant, Reverse(version)))
}

/// The models worth offering to guests on hosts of a vendor (as libvirt spells it), the most modern first.
/// Left out are other vendors' models, obsolete and generic ones, and names of unknown families.
#[must_use]
pub fn ranked<'m>(models: impl IntoIterator<Item = &'m str>, vendor: &str) -> Vec<&'m str> {
    let mut out: Vec<(Rank, &str)> =
        models.into_iter().filter_map(|model| Some((rank(model, vendor)?, model))).collect();
    out.sort_unstable();
    out.dedup();
    out.into_iter().map(|(_, model)| model).collect()
}

/// The most modern model that the most nodes can run, and these nodes: at least two, all of one of these vendors.
/// `passes` tells which nodes come into question with a model.
pub fn most_common(fleet: &Fleet, vendors: &[&str], passes: impl Fn(&str) -> Bits) -> Option<(String, Bits)> {
    let mut best: Option<(String, Bits)> = None;
    for vendor in vendors {
        // Some models of one vendor run on the other's hosts; a migration never leads from one to the other.
        let of_vendor = fleet.bearing(&format!("{}{vendor}", label::CPU_VENDOR), "true");
        for model in ranked(fleet.offered(label::Family::CpuModel, &of_vendor), vendor) {
            let mut nodes = passes(model);
            nodes.intersect(&of_vendor);
            if nodes.count() >= 2 && best.as_ref().is_none_or(|(_, best)| nodes.count() > best.count()) {
                best = Some((model.to_owned(), nodes));
            }
        }
    }
    best
}

/// Whether two models are of one family: the same hardware generation, with other mitigations.
#[must_use]
pub fn same_family(one: &str, other: &str) -> bool {
    match (family(one), family(other)) {
        (Some((one, ..)), Some((other, ..))) => one.name == other.name,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_modern_model_of_the_vendor_comes_first() {
        let models = [
            "Westmere-IBRS",
            "Skylake-Server-v4",
            "Skylake-Server-noTSX-IBRS",
            "EPYC-Milan",
            "qemu64",
            "Skylake-Server",
            "Broadwell-IBRS",
            "made-up",
            "Skylake-Server-IBRS",
            "Skylake-Server-v5",
        ];
        assert_eq!(
            ranked(models, "Intel"),
            [
                "Skylake-Server",
                "Skylake-Server-IBRS",
                "Skylake-Server-noTSX-IBRS",
                "Skylake-Server-v5",
                "Skylake-Server-v4",
                "Broadwell-IBRS",
                "Westmere-IBRS"
            ],
            "a guest would be given an older CPU than it could have"
        );
        assert_eq!(ranked(models, "AMD"), ["EPYC-Milan"]);
        assert!(same_family("EPYC", "EPYC-IBPB") && !same_family("EPYC", "EPYC-Rome"));
    }
}
