//! One object through the whole pipeline in the crate's documentation: prepare, assess, govern, adjust,
//! verdict, say, decide.

mod governed;
mod guest;
mod manifest;
mod mutate;
mod rules;
mod without_types;

use std::collections::BTreeMap;

use crate::admission::response::{Decision, Denial, DenialKind, Warnings};
use crate::enforce;
use crate::enforce::forecast::ModelForecast;
use crate::enforce::model::Common;
use crate::fit::judgement::{Depth, Effort};
use crate::fit::subject::Origin;
use crate::fit::verdict::{Outcome, Unknown, Verdict};
use crate::kubevirt::subject::Prepared;
use crate::policy::{Announce, Exemption, Grounds, Policy, Ruling, UserName};
use crate::say::{self, Messages};
use crate::world::World;
pub(crate) use governed::Governed;
pub(crate) use guest::{GuestOf, all_guests, judge_guest};
pub(crate) use manifest::Manifest;
pub(crate) use mutate::{Mutation, apply_expected_trim, mutation};
use rules::Rules;

/// An object with all results of its evaluation.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// The guest.
    pub prepared: Prepared<'a>,
    /// The verdict.
    pub verdict: Verdict,
    /// The verdict as text.
    pub messages: Messages,
    /// The response to the sender.
    pub decision: Decision,
    /// The warning about a guest that will run without its policy's common model.
    pub left: Option<String>,
    /// The ruling of the policy.
    pub ruling: Ruling,
    /// The policy that governs it; `None` for the built-in one.
    pub policy: Option<Policy>,
    /// The result for its CPU model at its start; `None` for a pod and for a migration.
    pub common: Option<Common>,
}

impl Evaluation<'_> {
    /// Returns the exemption without which it would have been denied.
    #[must_use]
    pub fn exempted(&self) -> Option<Exemption> {
        match self.ruling {
            Ruling::Admit { exempted, .. } => exempted,
            Ruling::Exempt | Ruling::Deny { .. } => None,
        }
    }
}

/// Judges an object that replaces another one, if `before` is given.
///
/// An update is admitted if the old object would be denied too and the new one is not worse, so that users can
/// fix a non-compliant guest step by step.
pub(crate) fn judge_change<'a>(
    world: &World,
    before: Option<&Manifest<'a>>,
    manifest: &Manifest<'a>,
    user: &UserName,
    effort: Effort<'_>,
) -> Option<Evaluation<'a>> {
    let origin = |prepared: &mut Prepared<'_>| match (before, manifest) {
        (Some(_), _) => prepared.subject.definition.origin = Origin::Stored,
        // The object itself is created; its owner, if it has one, exists.
        (None, Manifest::VirtualMachine(_) | Manifest::Replicas(_))
            if prepared.subject.definition.template_name.is_none() =>
        {
            prepared.subject.definition.origin = Origin::Submitted;
        }
        (None, _) => {}
    };
    let judge = || {
        let mut prepared = manifest.subject(world)?;
        origin(&mut prepared);
        Some(judge_subject(world, manifest, user, prepared, effort))
    };
    let case = judge()?;
    let Some(before) = before.filter(|_| case.ruling.denies()) else { return Some(case) };
    let was = Governed::of(world, before, user, effort)?;
    let assessment = was.prepared.assess_within(&world.cluster, effort);
    if assessment.outcome == Outcome::Unknown(Unknown::NotInTime) {
        // The deadline passed before old and new could be compared. Judge the new object again: checks that
        // need time are skipped and deny nothing. A guest that no node takes is still recognized, and the old
        // one had nodes.
        return judge();
    }
    let is_worse = enforce::model::is_worse(&assessment, &case.verdict.assessment)
        || (case.messages.unmet.is_some() && !was.is_unmet())
        || (case.prepared.is_too_large && !was.prepared.is_too_large);
    if was.ruling(&assessment).denies() && !is_worse {
        let mut ready = Governed::of(world, manifest, user, effort)?.exempted_by(Exemption::NotWorse);
        origin(&mut ready.prepared);
        return Some(case_of(world, manifest, ready, effort));
    }
    Some(case)
}

/// Judges an object that a user creates.
pub(crate) fn judge<'a, 'e>(
    world: &World,
    manifest: &Manifest<'a>,
    user: &UserName,
    effort: impl Into<Effort<'e>>,
) -> Option<Evaluation<'a>> {
    Some(judge_subject(world, manifest, user, manifest.subject(world)?, effort.into()))
}

/// Judges an object whose subject is given.
pub(crate) fn judge_subject<'a>(
    world: &World,
    manifest: &Manifest<'a>,
    user: &UserName,
    prepared: Prepared<'a>,
    effort: Effort<'_>,
) -> Evaluation<'a> {
    let found = prepared.look_up(&world.cluster, effort);
    if matches!(manifest, Manifest::Pod(_)) && effort.depth == Depth::Brief && found.is_plain(prepared.notes()) {
        let verdict = Verdict::plain(found.into_assessment());
        return Evaluation {
            prepared,
            verdict,
            messages: Messages::default(),
            decision: Decision::admit(),
            left: None,
            ruling: Ruling::Admit { warned: false, recorded: false, exempted: None },
            policy: None,
            common: None,
        };
    }
    let assessment = found.into_assessment();
    let ready = Governed::new(world, manifest, user, prepared, &assessment, effort);
    case_of(world, manifest, ready, effort)
}

/// Evaluates an object that is ready for judgement: verdict, messages, decision.
fn case_of<'a>(world: &World, manifest: &Manifest<'a>, ready: Governed<'a>, effort: Effort<'_>) -> Evaluation<'a> {
    let verdict = ready.prepared.judge(&world.cluster, effort);
    let ruling = ready.ruling(&verdict.assessment);
    let Governed { prepared, rules: Rules { policy, is_builtin, facts }, forecast } = ready;
    let is_warned = !facts.exemption.is_some_and(Exemption::is_entire);
    let left = forecast.as_ref().filter(|_| is_warned).and_then(|forecast| forecast.left(&policy));
    let mut messages = say::speak(&prepared, &verdict);
    let is_silent = policy.common_model.as_ref().is_some_and(|common| common.announce == Announce::Event);
    let common = forecast.map(|ModelForecast { common, message, is_announcement, unmet, .. }| {
        (messages.model, messages.unmet) = (message.filter(|_| !(is_silent && is_announcement)), unmet);
        common
    });
    if let Ruling::Deny { grounds: Grounds::TooLarge, .. } = ruling {
        messages.blame_size(&prepared);
    }
    if facts.exemption == Some(Exemption::NotWorse) {
        messages.lines.insert(0, say::not_worse(&policy.name));
    }
    let decision = decide(ruling, &policy, manifest, &verdict, &messages);
    let policy = (!is_builtin).then_some(policy);
    Evaluation { prepared, verdict, messages, decision, left, ruling, policy, common }
}

/// Turns a ruling into a decision with its messages.
fn decide(
    ruling: Ruling,
    policy: &Policy,
    manifest: &Manifest<'_>,
    verdict: &Verdict,
    messages: &Messages,
) -> Decision {
    let audit = if ruling.is_recorded() { audit_annotations(policy, verdict, messages) } else { BTreeMap::new() };
    let is_always_reported = verdict.is_always_reported();
    let is_warned = matches!(ruling, Ruling::Admit { warned: true, .. });
    let reasons = messages.named(&messages.reasons);
    let mut notes = if is_always_reported { messages.named(&messages.notes) } else { Vec::new() };
    if is_always_reported && !is_warned {
        notes.extend(reasons.clone());
    }
    match ruling {
        Ruling::Exempt => Decision::admit(),
        Ruling::Admit { warned, .. } => {
            // A finding that is always reported and has no message of its own uses the headline.
            let headline = messages.sentence().filter(|_| warned || (is_always_reported && notes.is_empty()));
            let model = messages.model.clone().or_else(|| messages.unmet_line(&policy.name));
            let mut advice = Vec::new();
            if warned {
                advice.extend(messages.named(&messages.lines));
                advice.extend(reasons);
                advice.extend(messages.named(&messages.authors));
            }
            let warnings = Warnings { first: model.into_iter().chain(headline).collect(), advice, notes };
            Decision::Admit { warnings, audit, patch: Vec::new() }
        }
        Ruling::Deny { grounds, .. } => {
            let warnings = Warnings { first: messages.model.iter().cloned().collect(), advice: Vec::new(), notes };
            let denial = denial(manifest, messages, &policy.name, grounds);
            Decision::Deny { denial, warnings, audit }
        }
    }
}

fn denial(manifest: &Manifest<'_>, messages: &Messages, policy: &str, grounds: Grounds) -> Denial {
    let (resource, name) = manifest.identity();
    let (message, causes) = messages.denial(policy, grounds == Grounds::CommonModel);
    let mut details = if grounds == Grounds::CommonModel { Vec::new() } else { messages.details.clone() };
    details.extend(messages.help.clone());
    let fields_named = !causes.is_empty() && causes.iter().all(|cause| !cause.field.is_empty());
    let is_fixable = manifest.request_kind().is_fixable() && fields_named;
    let code = if is_fixable { DenialKind::Invalid } else { DenialKind::Forbidden };
    Denial {
        code,
        message,
        details,
        group: resource.group().to_owned(),
        kind: resource.kind().to_owned(),
        name,
        causes,
    }
}

fn audit_annotations(policy: &Policy, verdict: &Verdict, messages: &Messages) -> BTreeMap<String, String> {
    let unmet = messages.unmet.as_ref().filter(|_| messages.headline.is_empty());
    let reason = unmet.map_or(&messages.headline, |unmet| &unmet.message);
    BTreeMap::from([
        ("policy".to_owned(), policy.name.clone()),
        ("verdict".to_owned(), verdict.assessment.outcome.as_str().to_owned()),
        ("reason".to_owned(), reason.clone()),
    ])
}

#[cfg(test)]
mod tests;
