//! How named CPU models rank: which of several usable ones a guest should have.
//!
//! The most modern family goes first; in it the hardened models (without the bits of the mitigations a guest's kernel calls
//! itself vulnerable), of these the ones without TSX (microcode updates have taken `hle` and `rtm` away, and would strand the
//! guest), then the plain name before `-IBRS` and `-IBPB`, `-noTSX`, `-noTSX-IBRS`, then versions, the highest first.

mod facts;
mod features;
mod recommend;
mod z;

use std::cmp::Reverse;

use super::bits::Bits;
use super::fleet::Fleet;
use super::label;
use facts::{FAMILIES, Family, Model, OBSOLETE};

pub(crate) use features::features;
pub(crate) use recommend::{Candidate, NotCounted, Offer, Recommendation, WhyNone, offers, recommend, takes_part};

/// What is known of a model by its name.
#[derive(Clone, Copy, Debug)]
struct KnownModel {
    /// As libvirt spells it; several names apart by blanks.
    vendor: &'static str,
    /// The hardware generation.
    family: &'static str,
    rank: Rank,
    hardened: bool,
    tsx: bool,
    /// The suffix of the model of the family that it is another spelling of.
    same_as: Option<&'static str>,
}

/// A named model's place among others of its vendor: compare with `<`, the smaller goes first.
/// The family's, hardened or not, with TSX or not, the variant (0 plain, 1 `-IBRS` and `-IBPB`, 2 `-noTSX`, 3 `-noTSX-IBRS`,
/// 4 versions), the version.
type Rank = (Reverse<u16>, Reverse<bool>, bool, u8, Reverse<u16>);

impl KnownModel {
    /// `None` for a name of an unknown family, and for generic and obsolete models.
    fn of(model: &str) -> Option<Self> {
        let x86 = FAMILIES.iter().filter_map(|family| Self::in_family(family, model));
        x86.max_by_key(|known| known.family.len()).or_else(|| z::known(model))
    }

    fn in_family(family: &'static Family, model: &str) -> Option<Self> {
        let suffix = model.strip_prefix(family.name)?;
        let (variant, version) = split(suffix)?;
        let listed = |suffix: &str| family.models.iter().find(|model| model.suffix == suffix);
        let found = listed(suffix).or_else(|| newest_version(family)).or_else(|| listed(""))?;
        let same_as = found.same_as.filter(|_| found.suffix == suffix);
        // What is another spelling has the properties of the other.
        let Model { hardened, tsx, .. } = found.same_as.and_then(listed).unwrap_or(found);
        let (hardened, tsx) = (*hardened, *tsx);
        let rank = (Reverse(family.rank), Reverse(hardened), tsx, variant, Reverse(version));
        Some(Self { vendor: family.vendor, family: family.name, rank, hardened, tsx, same_as })
    }

    fn is_of(&self, vendor: &str) -> bool {
        self.vendor == vendor || self.vendor.split(' ').any(|name| name == vendor)
    }

    /// The name of the model that it is another spelling of.
    fn other_spelling(&self) -> Option<String> {
        self.same_as.map(|suffix| format!("{}{suffix}", self.family))
    }

    /// What a model of the same family may have and this one has not, or the other way round.
    fn drawbacks(&self) -> Vec<Drawback> {
        let bit = if matches!(self.vendor, "AMD" | "Hygon") { "ibpb" } else { "spec-ctrl" };
        let unhardened = (!self.hardened).then_some(Drawback::NoMitigations(bit));
        unhardened.into_iter().chain(self.tsx.then_some(Drawback::Tsx)).collect()
    }
}

/// Variant and version of a suffix; `None` for a suffix of no known form.
fn split(suffix: &str) -> Option<(u8, u16)> {
    Some(match suffix {
        "" => (0, 0),
        "-IBRS" | "-IBPB" => (1, 0),
        "-noTSX" => (2, 0),
        "-noTSX-IBRS" => (3, 0),
        _ => (4, suffix.strip_prefix("-v")?.parse().ok()?),
    })
}

/// The newest version of a family: a version that is not known yet is taken to be like it.
fn newest_version(family: &Family) -> Option<&Model> {
    family.models.iter().filter(|model| model.suffix.starts_with("-v")).max_by_key(|model| split(model.suffix))
}

/// What speaks against a model, beside others of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Drawback {
    /// It lacks this bit, by which a guest's kernel drives the mitigations of speculative execution.
    NoMitigations(&'static str),
    /// It asks for TSX, which microcode updates have taken away.
    Tsx,
    /// KubeVirt's `obsoleteCPUModels` withholds it: its labels go within minutes, but on nodes whose labels are frozen.
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

/// What speaks against a model, beside others of its family; nothing for a name that is not known.
#[must_use]
pub(crate) fn drawbacks(model: &str) -> Vec<Drawback> {
    KnownModel::of(model).map_or_else(Vec::new, |known| known.drawbacks())
}

/// Whether a name is one of the models that are never recommended: generic ones, and those that KubeVirt calls obsolete.
#[must_use]
pub(crate) fn is_obsolete(model: &str) -> bool {
    let plain =
        model.rsplit_once("-v").filter(|(_, version)| version.parse::<u16>().is_ok()).map_or(model, |(name, _)| name);
    OBSOLETE.contains(&plain)
}

/// Whether anything is known of a model by its name.
#[must_use]
pub(crate) fn is_known(model: &str) -> bool {
    KnownModel::of(model).is_some() || is_obsolete(model)
}

/// Whether a model goes before another one of the same vendor; never where one of them is not known.
#[must_use]
pub(crate) fn is_better(model: &str, than: &str) -> bool {
    matches!((KnownModel::of(model), KnownModel::of(than)), (Some(one), Some(other)) if one.rank < other.rank)
}

/// The models that hold a feature.
#[must_use]
pub(crate) fn holding(feature: &str) -> Vec<&'static str> {
    features::with_known_features().filter(|model| features(model).is_some_and(|held| held.contains(feature))).collect()
}

/// The models worth offering to guests on hosts of a vendor (as libvirt spells it), the best first.
/// Left out are other vendors' models, obsolete and generic ones, and names of unknown families.
#[must_use]
pub(crate) fn ranked<'m>(models: impl IntoIterator<Item = &'m str>, vendor: &str) -> Vec<&'m str> {
    let known =
        |model: &'m str| KnownModel::of(model).filter(|known| known.is_of(vendor)).map(|known| (known.rank, model));
    let mut out: Vec<(Rank, &str)> = models.into_iter().filter_map(known).collect();
    out.sort_unstable();
    out.dedup();
    out.into_iter().map(|(_, model)| model).collect()
}

/// The best model that the most nodes can run, and these nodes: `at_least` of them, all of one of these vendors.
/// `passes` tells which nodes may be counted with a model.
pub(crate) fn most_common(
    fleet: &Fleet,
    vendors: &[&str],
    at_least: usize,
    passes: impl Fn(&str) -> Bits,
) -> Option<(String, Bits)> {
    let mut best: Option<(String, Bits)> = None;
    for vendor in vendors {
        // Some models of one vendor run on the other's hosts; a migration never leads from one to the other.
        let of_vendor = fleet.bearing(&format!("{}{vendor}", label::CPU_VENDOR), "true");
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

/// The other models of its family among these, the best first; of several spellings of one model only one.
#[must_use]
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

/// Whether a model is another spelling of one of these.
fn is_spelled_otherwise(model: &str, among: &[&str]) -> bool {
    KnownModel::of(model).and_then(|known| known.other_spelling()).is_some_and(|other| among.contains(&other.as_str()))
}

#[cfg(test)]
mod tests;
