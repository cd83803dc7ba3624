//! A verdict: a judgement's outcome, all that was found about it, and what helps.

use std::collections::BTreeSet;

use super::check;
use super::effort::Depth;
use super::judgement::Judgement;
use super::remedy::{self, ByLuck, NotHelping};

pub use super::check::{Check, Detail, Finding};
pub use super::outcome::{Assessment, Blocked, Cause, Evidence, Excluded, Impact, Nearest, Outcome, Unknown};

/// What is known of a guest from outside the nodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notes<'n> {
    /// Why nothing can be judged.
    pub not_judged: Option<&'n Finding>,
    /// What is reported as it is, by the checks.
    pub notes: &'n [Finding],
}

impl<'n> Notes<'n> {
    /// The notes of a check that are worth saying of such an outcome.
    fn of<'o>(self, check: Check, outcome: &'o Outcome) -> impl Iterator<Item = &'n Finding> + use<'n, 'o> {
        let notes = self.not_judged.into_iter().chain(self.notes);
        notes.filter(move |finding| finding.check == check && check.is_noted_of(outcome))
    }
}

impl Judgement<'_, '_> {
    /// Whether there is nothing to say of a launcher pod: most requests, and they must cost next to nothing.
    #[must_use]
    pub fn is_plain(&self, notes: Notes<'_>) -> bool {
        let outcome = &self.assessment.outcome;
        let mut of_pods = check::ALL.iter().filter(|spec| spec.applies_to_launcher_pods);
        *outcome == Outcome::Fits
            && of_pods.all(|spec| notes.of(spec.id, outcome).next().is_none() && (spec.find)(self).is_empty())
    }

    /// The verdict, complete.
    pub fn verdict(self) -> Verdict {
        self.verdict_with(Notes::default())
    }

    /// The verdict, complete, with what is known beside the nodes.
    pub(crate) fn verdict_with(self, notes: Notes<'_>) -> Verdict {
        let reported = |check| notes.of(check, &self.assessment.outcome).cloned();
        let found = check::ALL.iter().flat_map(|spec| reported(spec.id).chain((spec.find)(&self)));
        let mut findings: Vec<Finding> = found.collect();
        for finding in &mut findings {
            remedy::retain_startable(&self, &mut finding.remedies);
        }
        offer_once(&mut findings);
        let is_full = self.effort.depth == Depth::Full;
        let offered: Vec<_> = findings.iter().flat_map(|finding| &finding.remedies).collect();
        let not_helping = if is_full { remedy::not_helping(&self, &offered) } else { Vec::new() };
        let by_luck = if is_full { remedy::by_luck(&self, &offered) } else { Vec::new() };
        let blocked = self.blocked();
        let nearest = self.nearest().to_vec();
        let excluded = self.excluded().to_vec();
        Verdict { assessment: self.assessment, nearest, excluded, findings, blocked, not_helping, by_luck }
    }
}

/// Leaves each remedy to the first finding that offers it.
fn offer_once(findings: &mut [Finding]) {
    let mut offered = BTreeSet::new();
    for finding in findings {
        finding.remedies.retain(|remedy| offered.insert(remedy.action.id()));
    }
}

/// What a judgement found, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// The numbers.
    pub assessment: Assessment,
    /// Up to three nodes that lack least.
    pub nearest: Vec<Nearest>,
    /// The nodes that meet every selector entry and fail the required node affinity, by name.
    pub excluded: Vec<Excluded>,
    /// What was found, in the order of the checks.
    pub findings: Vec<Finding>,
    /// The nodes on which all but a cordon or taints fits, by name.
    pub blocked: Vec<Blocked>,
    /// Well-known remedies that would not help, and why.
    pub not_helping: Vec<NotHelping>,
    /// Well-known remedies that help or do not by where the guest starts.
    pub by_luck: Vec<ByLuck>,
}

impl Verdict {
    /// A verdict beside which nothing was looked for.
    pub fn plain(assessment: Assessment) -> Self {
        Self {
            assessment,
            nearest: Vec::new(),
            excluded: Vec::new(),
            findings: Vec::new(),
            blocked: Vec::new(),
            not_helping: Vec::new(),
            by_luck: Vec::new(),
        }
    }

    /// What a check found first.
    #[must_use]
    pub fn found(&self, check: Check) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.check == check)
    }

    /// The nodes that fit and lack some of the host model of the guest's own node, by name, and what: libvirt may refuse.
    #[must_use]
    pub(crate) fn doubtful(&self) -> &[(String, Vec<(String, String)>)] {
        match self.found(Check::HostModelUnasked).map(|finding| &finding.detail) {
            Some(Detail::HostModelUnasked(found)) if found.runs => &found.doubtful,
            _ => &[],
        }
    }

    /// Whether something may keep it off nodes that fit by labels.
    #[must_use]
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.findings.iter().any(|finding| finding.check.doubts_labels())
    }

    /// Whether something was found that is reported whatever the policy's `warn` says.
    #[must_use]
    pub(crate) fn is_always_reported(&self) -> bool {
        self.findings.iter().any(|finding| finding.check.spec().always_reported)
    }
}
