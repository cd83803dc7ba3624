//! The authors of the demands that nodes do not meet: a field of the guest, or a less visible source.

use std::collections::{BTreeSet, HashMap};

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::author::{AskedAt, Author};
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::outcome::Nearest;
use crate::fit::placement::{AffinityRule, Term};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::AskedBy,
    word: "asked-by",
    reported: Reported::WithAuthors,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// Maximum number of terms of a node affinity that are compared.
const MAX_TERMS: usize = 16;

/// The demands of one author that nodes do not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedBy {
    /// The author.
    pub author: Author,
    /// Selector entries that a nearest node lacks, by key.
    pub entries: Vec<(String, String)>,
    /// Conditions of the required node affinity that a node fails which meets every selector entry, or a nearest node.
    pub rules: Vec<AffinityRule>,
    /// The author's conditions in each term, if the terms differ: those of one term suffice. Else empty.
    pub alternatives: Vec<Vec<AffinityRule>>,
    /// Whether the author is visible in the judged object to its sender.
    pub in_sight: bool,
    /// The candidate nodes that lack one of the entries, by name, if all guests require them.
    pub lacking: Vec<String>,
    /// Whether the VM of the running guest has none of the entries any more: a restart takes them away.
    pub is_gone: bool,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    if judgement.assessment.outcome.impact().is_none() || !judgement.is_judged() {
        return Vec::new();
    }
    let authors = &judgement.subject.authors;
    let mut groups = Groups::default();
    let besides = judgement.nearest().iter().flat_map(|near| &near.besides.affinity).map(|rule| &**rule);
    let rules: BTreeSet<&AffinityRule> = judgement.excluding_rules().into_iter().chain(besides).collect();
    for rule in rules {
        if let Some(asked) = authors.of_rule(rule) {
            groups.of(asked).rules.push(rule.clone());
        }
    }
    let mut known = BTreeSet::new();
    let entries = judgement.nearest().iter().flat_map(Nearest::to_blame);
    // An unready virt-handler is a fault of the node: every launcher requires a ready one.
    let entries = entries.filter(|(key, _)| Family::of(key) != Family::Schedulable);
    for entry in entries.filter(|entry| known.insert(*entry)) {
        if let Some(asked) = authors.of_entry(&entry.0).filter(|asked| matters(judgement, &entry.0, asked)) {
            groups.of(asked).entries.push(entry.clone());
        }
    }
    // The nodes that lack another architecture than the guest's own are not among the nearest.
    let chosen = judgement.subject.chosen_architecture().map(|chosen| (label::ARCH.to_owned(), chosen.to_owned()));
    if let Some((entry, asked)) = chosen.and_then(|entry| Some((entry, authors.of_entry(label::ARCH)?)))
        && !groups.list.iter().any(|(_, by)| by.entries.contains(&entry))
    {
        groups.of(asked).entries.push(entry);
    }
    for (_, by) in groups.list.iter_mut().filter(|(asked, _)| asked.author.is_of_all_guests()) {
        by.lacking = lacking(judgement, &by.entries);
    }
    let terms = by_term(judgement);
    for (asked, by) in groups.list.iter_mut().filter(|(_, by)| !by.rules.is_empty()) {
        by.alternatives = alternatives(&terms, asked);
    }
    for (_, by) in &mut groups.list {
        let gone = &judgement.subject.definition.dropped_from_vm;
        by.is_gone = !by.entries.is_empty()
            && by.rules.is_empty()
            && by.entries.iter().all(|(key, _)| gone.binary_search(key).is_ok());
    }
    groups.list.into_iter().map(|(asked, by)| Finding::note(Check::AskedBy, asked.field, Detail::AskedBy(by))).collect()
}

/// Returns the conditions in each of the first terms of the node affinity, by author.
fn by_term<'j>(judgement: &'j Judgement<'_, '_>) -> Vec<HashMap<&'j AskedAt, Vec<AffinityRule>>> {
    let authors = &judgement.subject.authors;
    let of_term = |term: &Term| {
        let labels = term.expressions.iter().cloned().map(AffinityRule::Label);
        let mut out: HashMap<&AskedAt, Vec<AffinityRule>> = HashMap::new();
        for rule in labels.chain(term.names.iter().cloned().map(AffinityRule::Name)) {
            if let Some(asked) = authors.of_rule(&rule) {
                out.entry(asked).or_default().push(rule);
            }
        }
        out
    };
    let affinity = judgement.subject.placement.affinity.iter();
    let terms = affinity.flat_map(|affinity| &affinity.terms).filter(|term| !term.is_empty());
    terms.take(MAX_TERMS).map(of_term).collect()
}

/// Returns an author's conditions in each of these terms, if they differ.
fn alternatives(terms: &[HashMap<&AskedAt, Vec<AffinityRule>>], asked: &AskedAt) -> Vec<Vec<AffinityRule>> {
    let mut out: Vec<&[AffinityRule]> = Vec::new();
    for term in terms {
        let rules = term.get(asked).map_or(&[][..], Vec::as_slice);
        if !out.contains(&rules) {
            out.push(rules);
        }
    }
    // A term without conditions of the author asks for nothing of it.
    let is_any_empty = out.iter().any(|rules| rules.is_empty());
    if out.len() < 2 || is_any_empty { Vec::new() } else { out.into_iter().map(<[AffinityRule]>::to_vec).collect() }
}

/// Returns the candidate nodes that lack one of these entries, by name.
fn lacking(judgement: &Judgement<'_, '_>, entries: &[(String, String)]) -> Vec<String> {
    let mut meeting = judgement.neighbours.clone();
    for (key, value) in entries {
        meeting.intersect(&judgement.fleet.bearing(key, value));
    }
    let mut lacking = judgement.neighbours.clone();
    lacking.subtract(&meeting);
    judgement.names(&lacking)
}

/// Whether an entry is related to the impact. An architecture from the cluster's defaults is not, if there are nodes of
/// it.
fn matters(judgement: &Judgement<'_, '_>, key: &str, asked: &AskedAt) -> bool {
    let is_default = asked.author.is_default() || asked.author == Author::KubeVirt;
    key != label::ARCH || !is_default || judgement.neighbours.is_empty()
}

/// The demands by author, in the order in which they were found.
#[derive(Default)]
struct Groups {
    list: Vec<(AskedAt, AskedBy)>,
    places: HashMap<AskedAt, usize>,
}

impl Groups {
    /// Returns the group of an author, and adds it if it is new.
    fn of(&mut self, asked: &AskedAt) -> &mut AskedBy {
        if let Some(&at) = self.places.get(asked) {
            return &mut self.list[at].1;
        }
        let in_sight = match asked.author.of_setting() {
            Author::Field { path, .. } => *path == asked.field,
            Author::KubeVirt | Author::Receiver | Author::SourceNode(_) | Author::Inherited => true,
            _ => false,
        };
        let by = AskedBy {
            author: asked.author.clone(),
            entries: Vec::new(),
            rules: Vec::new(),
            alternatives: Vec::new(),
            in_sight,
            lacking: Vec::new(),
            is_gone: false,
        };
        let at = self.list.len();
        self.places.insert(asked.clone(), at);
        self.list.push((asked.clone(), by));
        &mut self.list[at].1
    }
}
