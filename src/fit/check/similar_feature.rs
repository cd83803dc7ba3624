//! A CPU feature or CPU model that no node offers, with a name like that of one that nodes offer: it may be misspelled.

use std::collections::BTreeSet;

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::bits::Bits;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::models;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::SimilarFeature,
    word: "similar-feature",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// Longer names are no misspelled features, and comparing them takes time.
const MAX_NAME: usize = 64;

/// Maximum number of required features that are compared with those that nodes offer: people misspell a few.
const MAX_COMPARED: usize = 8;

/// A required feature or model that no node of the guest's architecture offers, and the most similar one that such
/// nodes offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimilarFeature {
    /// Whether it is a CPU model.
    pub is_model: bool,
    /// The required name.
    pub required: String,
    /// The similar name.
    pub similar: String,
    /// The number of nodes that offer the similar one.
    pub offering: usize,
    /// The number of nodes of the guest's architecture.
    pub total: usize,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    if judgement.assessment.outcome.impact().is_none() || !judgement.is_judged() {
        return Vec::new();
    }
    let nodes = judgement.neighbours_and_source();
    [Family::CpuModel, Family::CpuFeature].into_iter().flat_map(|family| of_family(judgement, family, &nodes)).collect()
}

/// Returns a finding for each misspelled name of a family, by these nodes.
fn of_family(judgement: &Judgement<'_, '_>, family: Family, nodes: &Bits) -> Vec<Finding> {
    let fleet = judgement.fleet;
    let selector = &judgement.subject.placement.selector;
    let required = selector.iter().filter(|(key, value)| Family::of(key) == family && *value == "true");
    let unoffered = required.filter(|(key, _)| !fleet.is_borne(key, "true", nodes)).map(|(key, _)| &**key);
    let unoffered: Vec<&str> = unoffered.take(MAX_COMPARED).collect();
    if unoffered.is_empty() {
        return Vec::new();
    }
    // Distributions that rename KubeVirt's domain keep the name after the slash.
    let names: BTreeSet<&str> = fleet.keys_of(family).map(label::name).collect();
    let offering = |name: &str| {
        let mut out = Bits::none(fleet.len());
        let keys = fleet.keys_of(family).filter(|key| label::name(key) == name);
        keys.for_each(|key| out.union(&fleet.bearing(key, "true")));
        out.count_common(nodes)
    };
    let is_name = |name: &str| match family {
        Family::CpuModel => models::is_known(name),
        _ => is_feature(name),
    };
    let finding = |key: &str| {
        let name = label::name(key);
        let (similar, offering) = most_similar(name, is_name, &names, offering)?;
        let detail = SimilarFeature {
            is_model: family == Family::CpuModel,
            required: name.to_owned(),
            similar: similar.to_owned(),
            offering,
            total: nodes.count(),
        };
        let asked = judgement.subject.authors.of_entry(key);
        let field = asked.map(|asked| asked.field.clone()).unwrap_or_default();
        Some(Finding::note(Check::SimilarFeature, field, Detail::SimilarFeature(detail)))
    };
    unoffered.into_iter().filter_map(finding).collect()
}

/// Whether it is the name of a CPU feature.
fn is_feature(name: &str) -> bool {
    // No table of models holds the features of nested virtualization.
    [label::VMX, label::SVM].contains(&name) || models::is_feature(name)
}

/// Returns the offered name that differs least, with the number of nodes that offer it; `None` if none is similar, or
/// the name is itself the name of a feature or model. `offering` returns that number: 0 for a name that is not offered.
fn most_similar<'o>(
    name: &str,
    is_name: impl Fn(&str) -> bool,
    names: &BTreeSet<&'o str>,
    offering: impl Fn(&str) -> usize,
) -> Option<(&'o str, usize)> {
    if name.len() > MAX_NAME || is_name(name) {
        return None;
    }
    let most = if name.len() < 6 { 1 } else { 2 };
    let name = name.to_ascii_lowercase();
    // A character has up to four bytes.
    let longest = |other: &str| if name.is_ascii() && other.is_ascii() { most } else { 4 * most };
    let may_be_similar = |other: &&str| other.len().abs_diff(name.len()) <= longest(other);
    let distance = |other: &&'o str| (edits(&name, &other.to_ascii_lowercase()), *other);
    let mut similar: Vec<(usize, &str)> = names.iter().filter(|other| may_be_similar(other)).map(distance).collect();
    similar.retain(|(edits, _)| *edits <= most);
    similar.sort_unstable();
    similar.into_iter().map(|(_, other)| (other, offering(other))).find(|(_, count)| *count > 0)
}

/// Returns the number of characters to insert, remove or replace between two names (Levenshtein distance).
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, left) in one.chars().enumerate() {
        let mut before = row[0];
        row[0] = at + 1;
        for (column, &right) in other.iter().enumerate() {
            let replaced = before + usize::from(left != right);
            before = row[column + 1];
            row[column + 1] = replaced.min(before + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// All names but one are offered.
    fn offering(name: &str) -> usize {
        usize::from(name != "avx512vnnj")
    }

    #[rstest]
    #[case::equal("gfni", "gfni", 0)]
    #[case::one_too_many("avx512-vnni", "avx512vnni", 1)]
    #[case::one_too_few("vae", "vaes", 1)]
    #[case::another("sse4_1", "sse4.1", 1)]
    #[case::swapped("gfin", "gfni", 2)]
    #[case::empty("", "gfni", 4)]
    #[case::of_several_bytes("gfnï", "gfni", 1)]
    fn edit_distance_decides_which_names_are_similar(#[case] one: &str, #[case] other: &str, #[case] expected: usize) {
        assert_eq!((edits(one, other), edits(other, one)), (expected, expected));
    }

    #[rstest]
    #[case::a_hyphen("avx512-vnni", Some("avx512vnni"))]
    #[case::capitals("AVX512VNNI", Some("avx512vnni"))]
    #[case::two_letters("avx512_vni", Some("avx512vnni"))]
    #[case::three_letters("avx512__vni", None)]
    #[case::nearer_to_one_that_is_not_offered("avx512vnn_j", Some("avx512vnni"))]
    #[case::one_of_few("gfnii", Some("gfni"))]
    #[case::two_of_few("gfxx", None)]
    #[case::a_feature_of_its_own("svm", None)]
    #[case::another_feature("avx512bw", None)]
    #[case::nothing_like_it("nested-virtualization", None)]
    fn a_misspelled_feature_is_recognized(#[case] name: &str, #[case] expected: Option<&str>) {
        let names = ["avx512vnni", "avx512vnnj", "avx512vl", "gfni", "vmx", "smx"].into();
        let found = most_similar(name, is_feature, &names, offering).map(|(name, _)| name);
        assert_eq!(found, expected, "the user is sent to another feature, or not to the one that was meant");
    }

    #[rstest]
    #[case::capitals("Skylake-server-noTSX-IBRS", Some("Skylake-Server-noTSX-IBRS"))]
    #[case::a_letter("Skylake-Server-noTSX-IBR", Some("Skylake-Server-noTSX-IBRS"))]
    #[case::a_model_of_its_own("Skylake-Server", None)]
    #[case::another_generation("Cascadelake-Server", None)]
    #[case::nothing_like_it("my-model", None)]
    fn a_misspelled_model_is_recognized(#[case] name: &str, #[case] expected: Option<&str>) {
        let names = ["Haswell", "Skylake-Server-IBRS", "Skylake-Server-noTSX-IBRS"].into();
        let found = most_similar(name, models::is_known, &names, offering).map(|(name, _)| name);
        assert_eq!(found, expected, "the user is sent to another model, or not to the one that was meant");
    }
}
