//! The authors of the demands that nodes do not meet: a field of the guest, or a less visible source.

use std::collections::BTreeSet;

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::author::{AskedAt, Author};
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::outcome::Nearest;
use crate::fit::placement::AffinityRule;

pub(super) const SPEC: CheckSpec =
    CheckSpec { id: Check::AskedBy, word: "asked-by", always_reported: false, applies_to_launcher_pods: false, find };

/// The demands of one author that nodes do not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedBy {
    /// The author.
    pub author: Author,
    /// Selector entries that a nearest node lacks, by key.
    pub entries: Vec<(String, String)>,
    /// Conditions of the required node affinity that a node fails which meets every selector entry.
    pub rules: Vec<AffinityRule>,
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
    let mut groups: Vec<(AskedAt, AskedBy)> = Vec::new();
    for rule in judgement.excluding_rules() {
        if let Some(asked) = authors.of_rule(rule) {
            group(&mut groups, asked).rules.push(rule.clone());
        }
    }
    let mut known = BTreeSet::new();
    let entries = judgement.nearest().iter().flat_map(Nearest::to_blame);
    // An unready virt-handler is a fault of the node: every launcher requires a ready one.
    let entries = entries.filter(|(key, _)| Family::of(key) != Family::Schedulable);
    for entry in entries.filter(|entry| known.insert(*entry)) {
        if let Some(asked) = authors.of_entry(&entry.0).filter(|asked| matters(judgement, &entry.0, asked)) {
            group(&mut groups, asked).entries.push(entry.clone());
        }
    }
    for (_, by) in groups.iter_mut().filter(|(asked, _)| asked.author.is_of_all_guests()) {
        by.lacking = lacking(judgement, &by.entries);
    }
    for (_, by) in &mut groups {
        let gone = &judgement.subject.definition.dropped_from_vm;
        by.is_gone =
            !by.entries.is_empty() && by.rules.is_empty() && by.entries.iter().all(|(key, _)| gone.contains(key));
    }
    groups.into_iter().map(|(asked, by)| Finding::note(Check::AskedBy, asked.field, Detail::AskedBy(by))).collect()
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

/// Whether an entry is related to the impact. An architecture from the cluster's defaults is not, if the guest
/// only has too few migration targets.
fn matters(judgement: &Judgement<'_, '_>, key: &str, asked: &AskedAt) -> bool {
    let is_default = matches!(
        asked.author,
        Author::Configuration(_)
            | Author::HyperConverged(_)
            | Author::BuiltIn(_)
            | Author::Status(_)
            | Author::KubeVirt
    );
    let is_of_interest = if key == label::ARCH { judgement.neighbours.is_empty() } else { judgement.needs_a_node() };
    is_of_interest || Family::of(key).is_cpu() || !is_default
}

/// Returns the group of an author, and adds it if it is new.
fn group<'g>(groups: &'g mut Vec<(AskedAt, AskedBy)>, asked: &AskedAt) -> &'g mut AskedBy {
    let at = groups.iter().position(|(known, _)| known == asked).unwrap_or(groups.len());
    if at == groups.len() {
        let in_sight = match &asked.author {
            Author::Field { path, .. } => *path == asked.field,
            Author::KubeVirt | Author::SourceNode(_) | Author::Inherited => true,
            _ => false,
        };
        let by = AskedBy {
            author: asked.author.clone(),
            entries: Vec::new(),
            rules: Vec::new(),
            in_sight,
            lacking: Vec::new(),
            is_gone: false,
        };
        groups.push((asked.clone(), by));
    }
    &mut groups[at].1
}
