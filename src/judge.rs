//! One object through the whole pipeline: subject, verdict, words, decision.
//!
//! ```text
//! object --subject--> Judged --judge--> Verdict --speak--> Messages --rule--> Decision
//!         kubevirt           fit              say                policy
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::admission::Stage;
use crate::admission::response::{Decision, Denial, DenialKind, Warnings};
use crate::admission::review::{self, Object, Operation, Request, ReviewError};
use crate::bounds::Measured;
use crate::enforce::{self, trim};
use crate::fit::judgement::Depth;
use crate::fit::verdict::{Assessment, Check, Finding, Impact, Verdict};
use crate::kubevirt::cluster::{self, Cluster};
use crate::kubevirt::migration;
use crate::kubevirt::subject::{self, Judged};
use crate::kubevirt::wire::{Meta, OwnerReference, Reader, Vmi, Vmim};
use crate::policy::{self, Exemption, Grounds, Guest, Policy, RequestFacts, Ruling, UserName, lives_on};
use crate::report::{self, Note, Quotable, Reason, Regarding, Report};
use crate::say::{self, Messages};
use crate::well_known;
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

/// A part of a review.
struct Part<'a> {
    path: &'static str,
    json: &'a RawValue,
}

impl<'a> Reader<'a> for Part<'a> {
    type Error = ReviewError;

    fn read<T: Deserialize<'a> + Measured>(&self) -> Result<T, ReviewError> {
        review::object(self.path, self.json)
    }
}

/// What is at hand when a review is answered.
#[derive(Clone, Copy)]
pub struct Hearing<'h> {
    /// The cluster and the policies.
    pub world: &'h World,
    /// Whether half of the request's time is used up: counting ends there.
    pub enough: &'h (dyn Fn() -> bool + Sync),
}

impl<'h> Hearing<'h> {
    /// By this world, without haste.
    #[must_use]
    pub fn new(world: &'h World) -> Self {
        Self { world, enough: &|| false }
    }
}

/// The answer to a review, and what is to be done beside it.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Answer {
    /// What becomes of the request.
    pub decision: Decision,
    /// What is told about guests, once the request is known to be no dry run.
    pub reports: Vec<Report>,
    /// What was not known. With it the answer may be another one.
    pub lacks: Vec<Lack>,
    /// The exemption without which it would have been denied; `None` on a dry run.
    pub spared: Option<Exemption>,
}

impl From<Decision> for Answer {
    fn from(decision: Decision) -> Self {
        Self { decision, reports: Vec::new(), lacks: Vec::new(), spared: None }
    }
}

/// Something the judgement had to do without.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lack {
    /// A VirtualMachineInstance, and the launcher pods it has.
    Vmi {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A VirtualMachine, a replica set or a pool, about which an Event is to be written.
    Owner {
        /// Which of them.
        kind: report::Kind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A launcher pod, and the VirtualMachineInstance it belongs to.
    Launcher {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A VirtualMachineInstanceMigration.
    Migration {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Lack {
    /// The namespace of what is lacked.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self {
            Self::Vmi { namespace, .. }
            | Self::Owner { namespace, .. }
            | Self::Launcher { namespace, .. }
            | Self::Migration { namespace, .. } => namespace,
        }
    }
}

/// Answers a review.
///
/// # Errors
///
/// An object of a kind that is judged is malformed; the error names the field.
pub fn answer(hearing: &Hearing<'_>, stage: Stage, request: &Request<'_>) -> Result<Answer, ReviewError> {
    if stage == Stage::Authorize {
        return authorize(request).map(Answer::from);
    }
    if stage == Stage::Validate
        && let Some(decision) = crate::review::answer(hearing.world, request, hearing.enough)?
    {
        return Ok(Answer { lacks: crate::review::lacks(hearing.world, request), ..decision.into() });
    }
    let Some(Concern { manifest, before }) = concern(hearing.world, request)? else {
        return Ok(Decision::admit().into());
    };
    let user = UserName::from(&*request.user.username);
    if stage == Stage::Mutate {
        return mutate::answer(hearing.world, &manifest, &user, request);
    }
    let mut lacks = lacks(hearing.world, &manifest);
    let Some(case) = judge_change(hearing.world, before.as_ref(), &manifest, &user, depth(&manifest)) else {
        return Ok(Decision::admit().into());
    };
    let events = if request.dry_run { Vec::new() } else { events(&manifest, &case) };
    let reports = reports(hearing.world, &manifest, &user, events, &mut lacks);
    let spared = case.exempted().filter(|_| !request.dry_run);
    Ok(Answer { decision: case.decision, reports, lacks, spared })
}

/// Refuses a migration that newly bears the annotation `cpufit.io/relax`, whoever sends it.
///
/// The API server asks only about senders who lack the verb `relax` on `cpupolicies`: that is a match condition of the
/// webhook. So the answer tells nobody what a user may do. This stage alone is registered to fail closed.
fn authorize(request: &Request<'_>) -> Result<Decision, ReviewError> {
    let read = |path, json| review::object::<Vmim>(path, json);
    let new = match request.object.as_ref() {
        Some(Object::Text(json)) if &*request.kind.kind == "VirtualMachineInstanceMigration" => {
            read("request.object", json)?
        }
        _ => return Ok(Decision::admit()),
    };
    let old = request.old_object.map(|json| read("request.oldObject", json)).transpose()?;
    if !trim::asks_relax(&new, old.as_ref()) {
        return Ok(Decision::admit());
    }
    let name = if new.metadata.name.is_empty() { new.metadata.generate_name } else { new.metadata.name };
    Ok(Decision::Deny {
        denial: Denial {
            code: DenialKind::Forbidden,
            message: format!(
                "annotation {}: {} may not set it: that takes the verb relax on cpupolicies.cpufit.io",
                well_known::RELAX.key,
                &*request.user.username
            ),
            details: Vec::new(),
            group: "kubevirt.io".to_owned(),
            kind: "VirtualMachineInstanceMigration".to_owned(),
            name,
            causes: Vec::new(),
        },
        warnings: Warnings::default(),
        audit: BTreeMap::new(),
    })
}

/// Nobody waits for remedies where a controller asks: its warnings end in a log.
fn depth(manifest: &Manifest<'_>) -> Depth {
    match manifest {
        Manifest::Pod(_) => Depth::Brief,
        _ => Depth::Full,
    }
}

/// What the judgement of an object would need and the world does not hold: what was created a moment ago.
fn lacks(world: &World, manifest: &Manifest<'_>) -> Vec<Lack> {
    let vmi = |namespace: &str, name: &str, known: Option<&Vmi>| {
        let has_pod = |vmi: &Vmi| !migration::runs(vmi) || world.cluster.current_launcher(vmi).is_some();
        let lack = Lack::Vmi { namespace: namespace.to_owned(), name: name.to_owned() };
        if known.is_some_and(has_pod) { Vec::new() } else { vec![lack] }
    };
    match manifest {
        Manifest::Pod(pod) => match cluster::owner(pod) {
            Some(owner) => {
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                vmi(namespace, &owner.name, subject::vmi_of_pod(pod, &world.cluster))
            }
            None => Vec::new(),
        },
        Manifest::Migration(vmim) => {
            let (namespace, name) = (&vmim.metadata.namespace, &vmim.spec.vmi_name);
            vmi(namespace, name, world.cluster.vmi(namespace, name))
        }
        Manifest::VirtualMachine(_) | Manifest::Replicas(_) | Manifest::Vmi(_) => Vec::new(),
    }
}

/// What is reported about the guest: where nobody reads the warnings, and the policy wants it recorded.
fn events(manifest: &Manifest<'_>, case: &Case<'_>) -> Vec<(Reason, String)> {
    let audited = match &case.decision {
        Decision::Admit { audit, .. } | Decision::Deny { audit, .. } => !audit.is_empty(),
    };
    let mut out = Vec::new();
    if audited && let Some(impact) = case.verdict.assessment.outcome.impact() {
        let reason = match impact {
            Impact::Unschedulable => Reason::NoNode,
            Impact::Pinned => Reason::NoTarget,
            Impact::Fragile => Reason::OneTarget,
        };
        let mut message = match case.messages.lines.first() {
            Some(line) => format!("{}; {line}", case.messages.headline),
            None => case.messages.headline.clone(),
        };
        // An Event about what makes many guests says which of them it is.
        if let Some((report::Kind::Replicas(_), _)) = manifest.metadata().and_then(owner) {
            message = format!("{} {message}", case.judged.subject.title());
        }
        out.push((reason, message));
    }
    // A guest in danger is told of whatever the dials say.
    if let Some(finding) = case.verdict.found(Check::OwnNode) {
        out.push((Reason::OwnNode, say::finding::message(finding)));
    }
    // Told at each start, and not of its VM before, unless nobody was there to read why it would be denied.
    let is_start = matches!(manifest, Manifest::Vmi(_)) || case.exempted() == Some(Exemption::Controller);
    if let Some(left) = case.left.as_ref().filter(|_| is_start) {
        out.push((Reason::ModelNotReplaced, left.clone()));
    }
    out
}

/// The Events of a review, about the object that they belong to. An object that the world does not hold gets none: it is
/// added to `lacks`.
fn reports(
    world: &World,
    manifest: &Manifest<'_>,
    user: &UserName,
    events: Vec<(Reason, String)>,
    lacks: &mut Vec<Lack>,
) -> Vec<Report> {
    if events.is_empty() {
        return Vec::new();
    }
    let Some((kind, namespace, name, uid)) = regarding(manifest, user) else { return Vec::new() };
    let Some(regarding) = Regarding::known(world, kind, namespace, name, uid) else {
        // Those of VMIs are there already.
        if kind != report::Kind::Vmi {
            lacks.push(Lack::Owner { kind, namespace: namespace.to_owned(), name: name.to_owned() });
        }
        return Vec::new();
    };
    let quotable = Quotable::of(manifest);
    let report = |(reason, line): (Reason, String)| {
        let note = Note::new(reason, &line, quotable);
        Report { regarding: regarding.clone(), reason, note }
    };
    events.into_iter().map(report).collect()
}

/// What a VMI or a VM is made of: a VM, a replica set or a pool.
fn owner(meta: &Meta) -> Option<(report::Kind, &OwnerReference)> {
    meta.owner_references.iter().find_map(|owner| Some((report::Kind::of_owner(&owner.kind)?, owner)))
}

/// The object that Events of a review are about, as the review refers to it: kind, namespace, name, and UID where it
/// states one. It is the VMI; before there is one, what it is made of: a VM, a replica set, and before there is a VM, the pool
/// it is made of. `None` where a person sends it and reads the warnings.
fn regarding<'m>(
    manifest: &'m Manifest<'_>,
    user: &UserName,
) -> Option<(report::Kind, &'m str, &'m str, Option<&'m str>)> {
    use report::Kind;
    let itself = |kind, meta: &'m Meta| {
        let is_stored = !meta.uid.is_empty();
        is_stored.then_some((kind, meta.namespace.as_str(), meta.name.as_str(), Some(meta.uid.as_str())))
    };
    let owner = |meta: &'m Meta| {
        let (kind, owner) = owner(meta)?;
        Some((kind, meta.namespace.as_str(), owner.name.as_str(), Some(owner.uid.as_str())))
    };
    match manifest {
        Manifest::Pod(pod) => {
            let owner = cluster::owner(pod)?;
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            Some((Kind::Vmi, namespace, &owner.name, Some(&owner.uid)))
        }
        Manifest::Migration(vmim) => Some((Kind::Vmi, &vmim.metadata.namespace, &vmim.spec.vmi_name, None)),
        _ if user.service_account().is_none() => None,
        Manifest::Vmi(new) => owner(&new.metadata),
        Manifest::VirtualMachine(vm) => owner(&vm.metadata).or_else(|| itself(Kind::VirtualMachine, &vm.metadata)),
        Manifest::Replicas(replicas) => itself(Kind::Replicas(replicas.kind), &replicas.vm.metadata),
    }
}

/// What a review asks about, judged; `None` where it is not our concern.
///
/// # Errors
///
/// An object of a kind that is judged is malformed; the error names the field.
pub fn case<'a>(world: &World, request: &Request<'a>) -> Result<Option<Case<'a>>, ReviewError> {
    let Some(Concern { manifest, before }) = concern(world, request)? else { return Ok(None) };
    let user = UserName::from(&*request.user.username);
    Ok(judge_change(world, before.as_ref(), &manifest, &user, depth(&manifest)))
}

/// The object of a review that is to be judged, and the one whose place it takes.
struct Concern<'a> {
    manifest: Manifest<'a>,
    before: Option<Manifest<'a>>,
}

/// The object of a review, if it is to be judged at all.
fn concern<'a>(world: &World, request: &Request<'a>) -> Result<Option<Concern<'a>>, ReviewError> {
    let Some(object) = request.object.as_ref().filter(|_| request.sub_resource.is_empty()) else { return Ok(None) };
    let (group, kind) = (&*request.kind.group, &*request.kind.kind);
    let read = |path, json| Manifest::read(group, kind, &Part { path, json });
    let (mut manifest, mut before) = match (request.operation, object) {
        (Operation::Create, Object::Pod(pod)) => (Manifest::launcher(Arc::clone(pod)), None),
        (Operation::Create, Object::Text(json)) => (read("request.object", json)?, None),
        (Operation::Update, Object::Text(json)) if Manifest::is_mutable(group, kind) => {
            let new = read("request.object", json)?;
            let old = match request.old_object {
                Some(json) => read("request.oldObject", json)?,
                None => None,
            };
            let user = UserName::from(&*request.user.username);
            let captures = user.is_kubevirt_controller(world.cluster.kubevirt_namespace.as_deref());
            let templates = old.as_ref().and_then(Manifest::template).zip(new.as_ref().and_then(Manifest::template));
            let is_same = templates.is_some_and(|(old, new)| !subject::concerns(old, new, captures));
            (new.filter(|_| !is_same), old)
        }
        (Operation::Update | Operation::Delete | Operation::Connect, _) => return Ok(None),
    };
    for object in [&mut manifest, &mut before].into_iter().flatten() {
        object.put_into(&request.namespace);
    }
    Ok(manifest.map(|manifest| Concern { manifest, before }))
}

/// Judges an object that takes the place of another, if it does.
///
/// An update that would be denied is not where the object before it would be denied as well, and nothing is worse: who finds
/// a guest that does not comply must be able to change everything else of it, and to mend it step by step.
fn judge_change<'a>(
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
