//! A verdict: the outcome of a judgement, its findings, and the remedies.

use std::collections::BTreeSet;

use super::check::{self, DoubtfulNodes};
use super::effort::Depth;
use super::immobile::Immobile;
use super::judgement::Judgement;
use super::remedy::{self, NotHelping, Remedy, RemedyId};

pub use super::check::{Check, Detail, Finding};
pub use super::outcome::{
    Assessment, Besides, Blocked, Cause, Evidence, Excluded, Impact, Nearest, Outcome, OutcomeWord, Unknown,
};

/// Findings about a guest that do not depend on the nodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notes<'n> {
    /// The reason why no judgement is possible.
    pub not_judged: Option<&'n Finding>,
    /// Findings that the checks report unchanged.
    pub notes: &'n [Finding],
}

impl<'n> Notes<'n> {
    /// Iterates over the notes of a check.
    fn of(self, check: Check) -> impl Iterator<Item = &'n Finding> {
        let notes = self.not_judged.into_iter().chain(self.notes);
        notes.filter(move |finding| finding.check == check)
    }
}

impl Judgement<'_, '_> {
    /// Whether there is nothing to report for a launcher pod. Most requests are plain, so this must be cheap.
    #[must_use]
    pub fn is_plain(&self, notes: Notes<'_>) -> bool {
        let outcome = &self.assessment.outcome;
        let mut of_pods = check::ALL.iter().filter(|spec| spec.applies_to_launcher_pods);
        *outcome == Outcome::Fits
            && of_pods.all(|spec| notes.of(spec.id).next().is_none() && (spec.find)(self).is_empty())
    }

    /// Returns the complete verdict.
    pub fn verdict(self) -> Verdict {
        self.verdict_with(Notes::default())
    }

    /// Returns the findings in the order of the checks, with each remedy once.
    pub(crate) fn findings(&self, notes: Notes<'_>) -> Vec<Finding> {
        self.findings_and_luck(notes).0
    }

    /// Returns all remedies that may help, also those that help depending on the start node: for callers that try them.
    pub(crate) fn candidates(&self, notes: Notes<'_>) -> Vec<remedy::Action> {
        let (findings, by_luck) = self.findings_and_luck(notes);
        let certain = findings.into_iter().flat_map(|finding| finding.remedies);
        certain.chain(by_luck).map(|remedy| remedy.action).collect()
    }

    /// Returns the findings, and the remedies that help depending on the start node.
    fn findings_and_luck(&self, notes: Notes<'_>) -> (Vec<Finding>, Vec<Remedy>) {
        let found = check::ALL.iter().flat_map(|spec| notes.of(spec.id).cloned().chain((spec.find)(self)));
        let mut findings: Vec<Finding> = found.collect();
        let mut by_luck = Vec::new();
        for finding in &mut findings {
            by_luck.extend(remedy::take_lucky(self, &mut finding.remedies));
            remedy::retain_startable(self, &mut finding.remedies);
        }
        let immobile = Immobile::of(self.subject, self.fleet);
        let is_held = matches!(immobile, Some(Immobile::SourceDown(_) | Immobile::Off(_)));
        if self.subject.is_refused || is_held {
            // Nodes do not matter to a guest that KubeVirt refuses, or that nothing migrates.
            by_luck.clear();
            for finding in &mut findings {
                finding.remedies.clear();
            }
        }
        if self.subject.is_refused {
            let refused = findings.iter_mut().find(|finding| matches!(finding.detail, Detail::Refused(_)));
            if let Some(finding) = refused.filter(|_| self.effort.depth == Depth::Full) {
                finding.remedies.extend(self.within(|| remedy::ends_refusal(self)));
            }
        }
        offer_once(&mut findings);
        (findings, by_luck)
    }

    /// Returns the complete verdict, including findings that do not depend on the nodes.
    pub(crate) fn verdict_with(self, notes: Notes<'_>) -> Verdict {
        let (findings, mut by_luck) = self.findings_and_luck(notes);
        let is_full = self.effort.depth == Depth::Full;
        let offered: BTreeSet<&str> =
            findings.iter().flat_map(|finding| &finding.remedies).map(|remedy| remedy.action.id().as_str()).collect();
        by_luck.retain(|luck| !offered.contains(luck.action.id().as_str()));
        let may_help = by_luck.iter().map(|luck| luck.action.id().as_str()).chain(offered).collect();
        let not_helping = if is_full { remedy::not_helping(&self, &may_help) } else { Vec::new() };
        let blocked = self.blocked();
        let nearest = self.nearest().to_vec();
        let (excluded, excluded_unnamed) = (self.excluded().to_vec(), self.excluded_unnamed());
        let assessment = self.assessment;
        Verdict { assessment, nearest, excluded, excluded_unnamed, findings, blocked, not_helping, by_luck }
    }
}

/// Keeps each remedy only in the first finding that offers it, and a further node after all others.
fn offer_once(findings: &mut [Finding]) {
    let mut offered = BTreeSet::new();
    let mut added = None;
    for finding in findings.iter_mut() {
        finding.remedies.retain(|remedy| offered.insert(remedy.action.id()));
        added = added.or(finding.remedies.pop_if(|remedy| remedy.action.id() == RemedyId::AddNode));
    }
    let last = findings.iter().rposition(|finding| !finding.remedies.is_empty());
    let of_targets = findings.iter().position(|finding| finding.impact.is_some());
    if let Some((added, at)) = added.zip(last.or(of_targets)) {
        findings[at].remedies.push(added);
    }
}

/// The complete result of a judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// The numbers.
    pub assessment: Assessment,
    /// Up to three nodes that lack the fewest entries.
    pub nearest: Vec<Nearest>,
    /// The nodes that meet every selector entry and fail the required node affinity, by name.
    pub excluded: Vec<Excluded>,
    /// Number of further nodes of that kind, which are not named.
    pub excluded_unnamed: usize,
    /// The findings, in the order of the checks.
    pub findings: Vec<Finding>,
    /// The nodes that are excluded only by a cordon or taints, by name.
    pub blocked: Vec<Blocked>,
    /// Well-known remedies that would not help, with the reason.
    pub not_helping: Vec<NotHelping>,
    /// Remedies that help or not depending on the node where the guest starts.
    pub by_luck: Vec<Remedy>,
}

impl Verdict {
    /// Creates a verdict without findings.
    pub fn plain(assessment: Assessment) -> Self {
        Self {
            assessment,
            nearest: Vec::new(),
            excluded: Vec::new(),
            excluded_unnamed: 0,
            findings: Vec::new(),
            blocked: Vec::new(),
            not_helping: Vec::new(),
            by_luck: Vec::new(),
        }
    }

    /// Returns the first finding of a check.
    #[must_use]
    pub fn found(&self, check: Check) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.check == check)
    }

    /// Returns the first finding that says why KubeVirt refuses the guest's specification.
    pub(crate) fn refused(&self) -> Option<&Finding> {
        self.refusals().next().map(|(finding, _)| finding)
    }

    /// Returns all findings that say why KubeVirt refuses the guest's specification, with the reason of each.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&Finding, &str)> {
        self.findings.iter().filter_map(|finding| match &finding.detail {
            Detail::Refused(why) => Some((finding, why.as_str())),
            _ => None,
        })
    }

    /// Returns the finding that says why the running guest migrates nowhere now, whatever the labels are.
    pub(crate) fn immobile(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.check.spec().immobilizes && finding.impact.is_some())
    }

    /// Returns the impact by labels, or the worse one of a guest that KubeVirt refuses, that nothing migrates, or that
    /// KubeVirt will not migrate: the impact for a gate.
    pub(crate) fn impact(&self) -> Option<Impact> {
        let of_refusal = self.refused().map(|_| Impact::Unschedulable);
        let of_immobile = self.immobile().or(self.found(Check::WillNotMigrate)).map(|_| Impact::Pinned);
        self.assessment.outcome.impact().max(of_refusal).max(of_immobile)
    }

    /// Iterates over the fitting nodes that lack entries of the running guest's host model, or optional features of it,
    /// by name, with those entries: libvirt may refuse there.
    pub(crate) fn doubtful(&self) -> impl Iterator<Item = &(String, Vec<(String, String)>)> {
        let lacking = self.findings.iter().filter_map(|finding| match &finding.detail {
            Detail::HostModelUnasked(found) if found.runs => Some(&found.doubtful),
            Detail::HostModelKnown(found) if found.runs => Some(&found.doubtful),
            Detail::OptionalFeature(found) if found.runs => Some(&found.doubtful),
            _ => None,
        });
        lacking.flat_map(DoubtfulNodes::iter)
    }

    /// Whether a finding may exclude nodes that fit by labels.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.findings.iter().any(|finding| finding.check.spec().doubt.is_some())
    }

    /// Whether there is a finding that is reported regardless of the policy's `warn`.
    pub(crate) fn is_always_reported(&self) -> bool {
        self.findings.iter().any(Finding::is_always_reported)
    }
}
