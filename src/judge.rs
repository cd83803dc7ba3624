//! One object through the whole pipeline: subject, verdict, words, decision.
//!
//! ```text
//! object --subject--> Judged --judge--> Verdict --speak--> Messages --rule--> Decision
//!         kubevirt           fit              say                policy
//! ```

use std::collections::BTreeMap;

use crate::admission::response::{Decision, Denial, DenialKind, Warnings};
use crate::enforce::{self};
use crate::fit::judgement::Depth;
use crate::fit::verdict::{Assessment, Check, Finding, Verdict};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::subject::{self, Judged};
use crate::policy::{self, Exemption, Grounds, Guest, Policy, RequestFacts, Ruling, UserName, lives_on};
use crate::say::{self, Messages};
use crate::world::World;

/// An object with all that was found out about it.
#[derive(Debug)]
pub struct Case<'a> {
    /// Who is judged.
    pub judged: Judged<'a>,
    /// What was found.
    pub verdict: Verdict,
    /// The verdict in words.
    pub messages: Messages,
    /// What the sender is told, and whether the object passes.
    pub decision: Decision,
    /// What is told of a guest that comes to run without its policy's common model.
    pub left: Option<String>,
    /// What the policy rules, in one word.
    pub ruling: Ruling,
}

impl Case<'_> {
    /// The exemption without which it would have been denied.
    #[must_use]
    pub fn exempted(&self) -> Option<Exemption> {
        match self.ruling {
            Ruling::Admit { exempted, .. } => exempted,
            Ruling::LeftAlone | Ruling::Deny { .. } => None,
        }
    }
}

/// Judges an object that takes the place of another, if it does.
///
/// An update that would be denied is not where the object before it would be denied as well, and nothing is worse: who finds
/// a guest that does not comply must be able to change everything else of it, and to mend it step by step.
pub(crate) fn judge_change<'a>(
    world: &World,
    before: Option<&Manifest<'a>>,
    manifest: &Manifest<'a>,
    user: &UserName,
    depth: Depth,
) -> Option<Case<'a>> {
    let case = judge(world, manifest, user, depth)?;
    let is_denied = |case: &Case<'_>| matches!(case.decision, Decision::Deny { .. });
    let Some(before) = before.filter(|_| is_denied(&case)) else { return Some(case) };
    let was = judge(world, before, user, Depth::Full)?;
    let is_worse = enforce::model::is_worse(&was.verdict.assessment, &case.verdict.assessment)
        || (case.messages.unmet.is_some() && was.messages.unmet.is_none());
    if is_denied(&was) && !is_worse {
        return judge_as(world, manifest, user, depth, Some(Exemption::NotWorse));
    }
    Some(case)
}

/// Judges an object that somebody creates.
#[must_use]
pub fn judge<'a>(world: &World, manifest: &Manifest<'a>, user: &UserName, depth: Depth) -> Option<Case<'a>> {
    judge_as(world, manifest, user, depth, None)
}

/// The same, where it is spared for a reason that the object alone does not tell.
fn judge_as<'a>(
    world: &World,
    manifest: &Manifest<'a>,
    user: &UserName,
    depth: Depth,
    spared: Option<Exemption>,
) -> Option<Case<'a>> {
    let mut judged = manifest.subject(world)?;
    let cluster = &world.cluster;
    let of_namespace = namespace_note(cluster, &judged.subject.namespace);
    judged.notes.extend(of_namespace.clone());
    let found = judged.look_up(cluster, depth);
    if matches!(manifest, Manifest::Pod(_)) && depth == Depth::Brief && found.is_plain() {
        let (verdict, messages) = (Verdict::plain(found.into_assessment()), Messages::default());
        let ruling = Ruling::Admit { warned: false, recorded: false, exempted: None };
        return Some(Case { judged, verdict, messages, decision: Decision::admit(), left: None, ruling });
    }
    let mut rules = rules(world, manifest, user, &judged, found.assessment());
    rules.facts.exemption = rules.facts.exemption.or(spared);
    if let Manifest::Migration(vmim) = manifest {
        mutate::foresee(world, &rules.policy, &mut judged, Some(vmim));
    }
    if let Manifest::Pod(pod) = manifest {
        judged.subject.authors = subject::authors_of_pod(pod, cluster);
    }
    let mut outlook = mutate::outlook(world, manifest, &rules.policy);
    if let Some(becomes) = outlook.as_mut().and_then(|outlook| outlook.becomes.take()) {
        judged = becomes;
        judged.notes.extend(of_namespace);
    }
    let is_told = !rules.facts.exemption.is_some_and(Exemption::is_silent);
    let left = outlook.as_ref().filter(|_| is_told).and_then(|outlook| outlook.left(&rules.policy));
    judged.notes.extend(outlook.as_ref().and_then(mutate::finding));
    let verdict = judged.judge(cluster, depth);
    let mut messages = say::speak(&judged, &verdict, cluster);
    (messages.model, messages.unmet) = outlook.map(|outlook| (outlook.said, outlook.unmet)).unwrap_or_default();
    if rules.facts.exemption == Some(Exemption::NotWorse) {
        let why = "admitted, for it was no better before; a new one would be denied";
        messages.lines.insert(0, format!("{why} (policy {})", rules.policy.name));
    }
    let ruling = policy::rule(&rules.policy, rules.facts, &verdict.assessment, messages.unmet.is_some());
    let decision = decide(ruling, &rules.policy, manifest, &verdict, &messages);
    Some(Case { judged, verdict, messages, decision, left, ruling })
}

/// What has to be said where not all labels of the namespace are known.
fn namespace_note(cluster: &Cluster, namespace: &str) -> Option<Finding> {
    let excess = cluster.namespace_excess(namespace)?;
    let words = format!("the namespace is too large to be read whole ({excess}): another policy may govern it");
    Some(Finding::noted(Check::Assumed, "metadata.namespace", words))
}

/// The policy that governs a guest; the built-in one where none selects it and a node it lives on.
fn policy_for(world: &World, guest: &Guest<'_>, judged: &Judged<'_>, assessment: &Assessment) -> Policy {
    let fleet = &world.cluster.fleet;
    let running = judged.subject.running.as_ref().map(|running| running.node.as_str());
    let node = judged.subject.source().or(running).and_then(|node| fleet.find(node));
    let at_home = |policy: &&Policy| lives_on(&policy.node_selector, node, &assessment.fitting, fleet);
    policy::governing(world.policies.iter().filter(at_home), guest).cloned().unwrap_or_else(Policy::builtin)
}

/// What governs a request.
struct Rules {
    policy: Policy,
    facts: RequestFacts,
}

fn rules(
    world: &World,
    manifest: &Manifest<'_>,
    user: &UserName,
    judged: &Judged<'_>,
    assessment: &Assessment,
) -> Rules {
    let labels = manifest.labels(world);
    let guest = world.guest(&judged.subject.namespace, &labels, user).less(manifest.excess(world));
    let policy = policy_for(world, &guest, judged, assessment);
    let kind = manifest.request_kind();
    let facts = RequestFacts { kind, exemption: policy.exempt(&guest, kind) };
    Rules { policy, facts }
}

/// The ruling with its words.
fn decide(
    ruling: Ruling,
    policy: &Policy,
    manifest: &Manifest<'_>,
    verdict: &Verdict,
    messages: &Messages,
) -> Decision {
    let audit = if ruling.is_recorded() { audit_annotations(policy, verdict, messages) } else { BTreeMap::new() };
    let is_always_reported = verdict.is_always_reported();
    let notes = if is_always_reported { messages.named(&messages.notes) } else { Vec::new() };
    match ruling {
        Ruling::LeftAlone => Decision::admit(),
        Ruling::Admit { warned, .. } => {
            // What must be said and has no words of its own falls back on the headline.
            let headline = messages.sentence().filter(|_| warned || (is_always_reported && notes.is_empty()));
            let model = messages.model.clone().or_else(|| messages.unmet_line(&policy.name));
            let advice = if warned { messages.named(&messages.lines) } else { Vec::new() };
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
    let (group, kind, name) = manifest.identity();
    let (message, causes) = messages.denial(policy, grounds == Grounds::CommonModel);
    let details = if grounds == Grounds::CommonModel { Vec::new() } else { messages.details.clone() };
    let fields_named = !causes.is_empty() && causes.iter().all(|cause| !cause.field.is_empty());
    let is_mendable = manifest.request_kind().is_mendable() && fields_named;
    let code = if is_mendable { DenialKind::Invalid } else { DenialKind::Forbidden };
    Denial { code, message, details, group: group.to_owned(), kind: kind.to_owned(), name, causes }
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

mod manifest;
mod mutate;

pub use manifest::Manifest;
pub(crate) use mutate::foresee;
pub use mutate::{Mutation, mutation};

#[cfg(test)]
mod tests;
