//! The ranking of named CPU models: which usable model is best for a guest.
//!
//! The most modern family is first; within it the hardened models (without the bits of the mitigations a
//! guest's kernel reports itself vulnerable), of these the ones without TSX (microcode updates have removed
//! `hle` and `rtm`, and would leave the guest without targets), then the plain name before `-IBRS` and
//! `-IBPB`, `-noTSX`, `-noTSX-IBRS`, then versions, the highest first.

mod facts;
mod features;
mod recommend;
mod silicon;
pub(crate) mod vendors;
mod z;

use std::cmp::Reverse;

use super::bits::Bits;
use super::fleet::Fleet;
use super::label;
use facts::{FAMILIES, Family, Model, OBSOLETE};

pub(crate) use features::{NESTED_AMD, features, is_disputed, is_feature, is_given, needed, proves};
pub(crate) use recommend::{Candidate, NotCounted, Offer, WhyNone, offers, recommend, takes_part, vendor_of};
pub(crate) use silicon::{MICROCODE, contradicting, is_silicon};

/// Whether the labels of a host model's required features name those of the model itself, as since KubeVirt 1.8.4, or
/// only a few that libvirt leaves out of the model, as before; `None` if that is not clear. Mirrors
/// `cmd/virt-launcher/node-labeller/node-labeller.sh`, which asks libvirt to expand the host model.
pub(crate) fn is_expanded(model: &str, is_required: impl Fn(&str) -> bool) -> Option<bool> {
    let own = features(model)?;
    let required = own.iter().filter(|name| is_required(name)).count();
    if required * 2 > own.len() { Some(true) } else { (required * 4 < own.len()).then_some(false) }
}

/// The known properties of a model, found by its name.
#[derive(Clone, Copy, Debug)]
struct KnownModel {
    /// The vendor in libvirt's spelling; several names are separated by blanks.
    vendor: &'static str,
    /// The hardware generation.
    family: &'static str,
    rank: Rank,
    hardened: bool,
    tsx: bool,
    /// The suffix of the model in this family that it is another name of.
    same_as: Option<&'static str>,
}

/// The rank of a named model among those of its vendor; the better one is less (`<`): by family, hardened or
/// not, with TSX or not, variant (0 plain, 1 `-IBRS` and `-IBPB`, 2 `-noTSX`, 3 `-noTSX-IBRS`, 4 versions),
/// version.
type Rank = (Reverse<u16>, Reverse<bool>, bool, u8, Reverse<u16>);

impl KnownModel {
    /// Finds a model. `None` for a name of an unknown family, and for generic and obsolete models.
    fn of(model: &str) -> Option<Self> {
        let x86 = FAMILIES.iter().filter_map(|family| Self::in_family(family, model));
        x86.max_by_key(|known| known.family.len()).or_else(|| z::known(model))
    }

    fn in_family(family: &'static Family, model: &str) -> Option<Self> {
        let suffix = model.strip_prefix(family.name)?;
        let (variant, version) = split(suffix)?;
        let listed = |suffix: &str| family.models.iter().find(|model| model.suffix == suffix);
        // Only versions are assumed to be like others of their family.
        let like = || newest_version(family).or_else(|| listed("")).filter(|_| variant == VERSION);
        let found = listed(suffix).or_else(like)?;
        let same_as = found.same_as.filter(|_| found.suffix == suffix);
        // Another name of a model has the properties of that model.
        let Model { hardened, tsx, .. } = found.same_as.and_then(listed).unwrap_or(found);
        let (hardened, tsx) = (*hardened, *tsx);
        let rank = (Reverse(family.rank), Reverse(hardened), tsx, variant, Reverse(version));
        Some(Self { vendor: family.vendor, family: family.name, rank, hardened, tsx, same_as })
    }

    fn is_of(&self, vendor: &str) -> bool {
        self.vendor == vendor || self.vendor.split(' ').any(|name| name == vendor)
    }

    /// Returns the model that this name is another name of.
    fn other_spelling(&self) -> Option<String> {
        self.same_as.map(|suffix| format!("{}{suffix}", self.family))
    }

    /// Returns the disadvantages of this model that other models of its family may not have.
    fn drawbacks(&self) -> Vec<Drawback> {
        let bit = if matches!(self.vendor, "AMD" | "Hygon") { "ibpb" } else { "spec-ctrl" };
        let unhardened = (!self.hardened).then_some(Drawback::NoMitigations(bit));
        unhardened.into_iter().chain(self.tsx.then_some(Drawback::Tsx)).collect()
    }
}

/// Whether libvirt and QEMU of later releases of KubeVirt still know a model that they once gave as host model: the
/// facts list it. QEMU 7.1 removed `Icelake-Client`; of versions it depends on libvirt whether it names them.
pub(crate) fn stays_known(model: &str) -> bool {
    let is_listed = |family: &Family| {
        let suffix = model.strip_prefix(family.name);
        family.name != "Icelake-Client"
            && suffix.is_some_and(|suffix| {
                split(suffix).is_some_and(|(variant, _)| variant != VERSION)
                    && family.models.iter().any(|known| known.suffix == suffix)
            })
    };
    FAMILIES.iter().any(is_listed)
}

/// The variant of versions.
const VERSION: u8 = 4;

/// Splits a suffix into variant and version; `None` if its form is not known.
fn split(suffix: &str) -> Option<(u8, u16)> {
    Some(match suffix {
        "" => (0, 0),
        "-IBRS" | "-IBPB" => (1, 0),
        "-noTSX" => (2, 0),
        "-noTSX-IBRS" => (3, 0),
        _ => (VERSION, version(suffix.strip_prefix("-v")?)?),
    })
}

/// Reads the number of a version, as libvirt and QEMU write it: digits alone, the first of them not 0.
fn version(text: &str) -> Option<u16> {
    let is_written_so = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_written_so)
}

/// Returns the newest version of a family, whose properties are assumed for later versions.
fn newest_version(family: &Family) -> Option<&Model> {
    family.models.iter().filter(|model| model.suffix.starts_with("-v")).max_by_key(|model| split(model.suffix))
}

/// A disadvantage of a model compared with others of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Drawback {
    /// The model lacks this bit, by which a guest's kernel drives the mitigations of speculative execution.
    NoMitigations(&'static str),
    /// The model requires TSX, which microcode updates have removed.
    Tsx,
    /// KubeVirt's `obsoleteCPUModels` withholds the model: its labels disappear within minutes, except on
    /// nodes whose labels are frozen.
    Withheld,
}

impl std::fmt::Display for Drawback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoMitigations(bit) => write!(f, "without {bit}"),
            Self::Tsx => f.write_str("with TSX"),
            Self::Withheld => f.write_str("withheld by obsoleteCPUModels"),
        }
    }
}

/// Returns the disadvantages of a model; none for an unknown name.
pub(crate) fn drawbacks(model: &str) -> Vec<Drawback> {
    KnownModel::of(model).map_or_else(Vec::new, |known| known.drawbacks())
}

/// Returns the bit of the mitigations of speculative execution that a model lacks; `None` if it has it, or for an
/// unknown name.
pub(crate) fn mitigations_lacked(model: &str) -> Option<&'static str> {
    drawbacks(model).into_iter().find_map(|drawback| match drawback {
        Drawback::NoMitigations(bit) => Some(bit),
        Drawback::Tsx | Drawback::Withheld => None,
    })
}

/// Whether the model is never recommended: generic ones, and those that KubeVirt's default lists as obsolete.
pub(crate) fn is_obsolete(model: &str) -> bool {
    let plain = model.rsplit_once("-v").filter(|(_, number)| version(number).is_some()).map_or(model, |(name, _)| name);
    OBSOLETE.contains(&plain)
}

/// Whether the model's name is known.
pub(crate) fn is_known(model: &str) -> bool {
    KnownModel::of(model).is_some() || is_obsolete(model)
}

/// Whether the model is one of those that are recommended for hosts of some vendor.
pub(crate) fn is_current(model: &str) -> bool {
    KnownModel::of(model).is_some()
}

/// Returns the vendor of a model's CPUs in libvirt's spelling; `None` if the model is not known, or of several vendors.
pub(crate) fn vendor(model: &str) -> Option<&'static str> {
    KnownModel::of(model).map(|known| known.vendor).filter(|vendor| !vendor.contains(' '))
}

/// Whether a model ranks before another one of its vendor; false if one of them is not known.
pub(crate) fn is_better(model: &str, than: &str) -> bool {
    matches!((KnownModel::of(model), KnownModel::of(than)), (Some(one), Some(other)) if one.rank < other.rank)
}

/// Whether two names are spellings of one model.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    first_spelling(one) == first_spelling(other)
}

/// Returns the name that a model is another spelling of, or its own.
pub(crate) fn first_spelling(model: &str) -> String {
    KnownModel::of(model).and_then(|known| known.other_spelling()).unwrap_or_else(|| model.to_owned())
}

/// Returns the models that have a feature.
pub(crate) fn holding(feature: &str) -> Vec<&'static str> {
    features::holding(feature).collect()
}

/// Returns the models suitable for guests on hosts of a vendor (in libvirt's spelling), best first, without
/// other vendors' models, obsolete and generic ones, and names of unknown families.
pub(crate) fn ranked<'m>(models: impl IntoIterator<Item = &'m str>, vendor: &str) -> Vec<&'m str> {
    let known =
        |model: &'m str| KnownModel::of(model).filter(|known| known.is_of(vendor)).map(|known| (known.rank, model));
    let mut out: Vec<(Rank, &str)> = models.into_iter().filter_map(known).collect();
    out.sort_unstable();
    out.dedup();
    out.into_iter().map(|(_, model)| model).collect()
}

/// Returns the best model that the most nodes can run, and these nodes: at least `at_least`, all of one of
/// the vendors `among` which it is chosen. `passes` returns the nodes that count for a model.
pub(crate) fn most_common(
    fleet: &Fleet,
    among: &[&str],
    at_least: usize,
    passes: impl Fn(&str) -> Bits,
) -> Option<(String, Bits)> {
    let mut best: Option<(String, Bits)> = None;
    for vendor in among {
        // Some models of one vendor run on the other's hosts, but a migration never goes from one vendor to
        // the other.
        let of_vendor = vendors::nodes_of(fleet, vendor);
        for model in ranked(fleet.offered(label::Family::CpuModel, &of_vendor), vendor) {
            let mut nodes = passes(model);
            nodes.intersect(&of_vendor);
            if nodes.count() >= at_least && best.as_ref().is_none_or(|(_, best)| nodes.count() > best.count()) {
                best = Some((model.to_owned(), nodes));
            }
        }
    }
    best
}

/// Returns the other models of its family among these, best first; of several names of one model only one.
pub(crate) fn of_same_family<'m>(model: &str, among: &[&'m str]) -> Vec<&'m str> {
    let Some(of) = KnownModel::of(model) else { return Vec::new() };
    let is_other = |name: &&str| {
        let same_family = |known: &KnownModel| known.family == of.family;
        *name != model
            && KnownModel::of(name).as_ref().is_some_and(same_family)
            && !is_spelled_otherwise(name, &[among, &[model]].concat())
    };
    ranked(among.iter().copied().filter(is_other), of.vendor)
}

/// Whether the model is another name of one of these.
fn is_spelled_otherwise(model: &str, among: &[&str]) -> bool {
    KnownModel::of(model).and_then(|known| known.other_spelling()).is_some_and(|other| among.contains(&other.as_str()))
}

#[cfg(test)]
mod tests;
