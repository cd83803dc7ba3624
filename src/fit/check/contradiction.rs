//! A label that is both required and forbidden: accepted by KubeVirt, never schedulable.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;
use crate::fit::outcome::Impact;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::Contradiction,
    word: "contradiction",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: true,
    immobilizes: false,
    doubt: None,
    find,
};

/// A selector entry whose key the affinity forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The label key.
    pub key: String,
    /// The required value.
    pub value: String,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let mut out = Vec::new();
    let placement = &judgement.subject.placement;
    let Some(affinity) = &placement.affinity else { return out };
    let forbidden = affinity.forbidden_keys();
    if let Some((key, value)) = placement.selector.iter().find(|(key, _)| forbidden.contains(&**key)) {
        out.push(Finding {
            check: Check::Contradiction,
            impact: Some(Impact::Unschedulable),
            field: judgement.subject.authors.of_entry(key).map(|asked| asked.field.clone()).unwrap_or_default(),
            detail: Detail::Contradiction(Contradiction { key: key.to_string(), value: value.to_string() }),
            remedies: Vec::new(),
        });
    }
    out
}
