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
use crate::enforce::trim;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::judgement::Depth;
use crate::fit::verdict::{Assessment, Check, Impact, Verdict};
use crate::fleetwide;
use crate::kubevirt::cluster;
use crate::kubevirt::migration;
use crate::kubevirt::subject::{self, Judged};
use crate::kubevirt::wire::{EachText, Pod, Reader, Text, Texts, VirtualMachine, Vmi, Vmim};
use crate::policy::{
    self, Exemption, Grounds, Guest, LabelSelector, Policy, RequestFacts, RequestKind, Ruling, UserName,
};
use crate::report::{self, Note, Quotable, Reason, Regarding, Report};
use crate::say::{self, Messages};
use crate::well_known;
use crate::world::World;

/// An object that is judged.
#[derive(Debug)]
pub enum Manifest<'a> {
    /// A virt-launcher pod.
    Pod(Arc<Pod<'a>>),
    /// A VirtualMachine.
    VirtualMachine(Box<VirtualMachine>),
    /// A VirtualMachineInstance.
    Vmi(Box<Vmi>),
    /// A VirtualMachineInstanceMigration.
    Migration(Box<Vmim>),
}

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

impl<'a> Manifest<'a> {
    /// Reads an object of a kind that is judged; `None` for all others, and for pods that are no launcher.
    ///
    /// # Errors
    ///
    /// Whatever `read` says.
    pub fn read<R: Reader<'a>>(group: &str, kind: &str, reader: &R) -> Result<Option<Self>, R::Error> {
        Ok(match (group, kind) {
            ("", "Pod") => Self::launcher(Arc::new(reader.read()?)),
            ("kubevirt.io", "VirtualMachine") => Some(Self::VirtualMachine(Box::new(reader.read()?))),
            ("kubevirt.io", "VirtualMachineInstance") => Some(Self::Vmi(Box::new(reader.read()?))),
            ("kubevirt.io", "VirtualMachineInstanceMigration") => Some(Self::Migration(Box::new(reader.read()?))),
            _ => None,
        })
    }

    fn launcher(pod: Arc<Pod<'a>>) -> Option<Self> {
        well_known::LAUNCHER.is_set(&pod.metadata.labels).then_some(Self::Pod(pod))
    }

    /// Fills in the namespace a request was sent to, where the object does not name it yet.
    fn put_into(&mut self, namespace: &Text<'a>) {
        let meta = match self {
            Self::Pod(pod) => {
                if pod.metadata.namespace.is_none() {
                    Arc::make_mut(pod).metadata.namespace = Some(namespace.clone());
                }
                return;
            }
            Self::VirtualMachine(vm) => &mut vm.metadata,
            Self::Vmi(vmi) => &mut vmi.metadata,
            Self::Migration(vmim) => &mut vmim.metadata,
        };
        if meta.namespace.is_empty() {
            meta.namespace = namespace.to_string();
        }
    }

    /// The subject; `None` where nothing is to be judged.
    fn subject(&self, world: &World) -> Option<Judged<'a>> {
        match self {
            Self::Pod(pod) => subject::of_pod(pod, &world.cluster),
            Self::VirtualMachine(vm) => Some(subject::of_vm(vm, &world.cluster)),
            Self::Vmi(vmi) => Some(subject::of_vmi(vmi, &world.cluster)),
            Self::Migration(vmim) => Some(subject::of_migration(vmim, &world.cluster)),
        }
    }

    fn kind(&self) -> RequestKind {
        match self {
            Self::Pod(pod) if well_known::MIGRATION_UID.is_set(&pod.metadata.labels) => RequestKind::TargetPod,
            Self::Pod(_) => RequestKind::LauncherPod,
            Self::VirtualMachine(_) => RequestKind::VirtualMachine,
            Self::Vmi(_) => RequestKind::VirtualMachineInstance,
            Self::Migration(_) => RequestKind::Migration,
        }
    }

    /// The labels by which policies select the guest: those of its VMI.
    fn labels(&self, world: &World) -> BTreeMap<String, String> {
        let texts = |labels: &Texts<'_>| labels.0.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        match self {
            Self::Pod(pod) => texts(&pod.metadata.labels),
            Self::VirtualMachine(vm) => vm.spec.template.metadata.labels.clone(),
            Self::Vmi(vmi) => vmi.metadata.labels.clone(),
            Self::Migration(vmim) => world
                .cluster
                .vmi(&vmim.metadata.namespace, &vmim.spec.vmi_name)
                .map(|vmi| vmi.metadata.labels.clone())
                .unwrap_or_default(),
        }
    }
}

impl EachText for Manifest<'_> {
    fn each_text(&self, field: &'static str, visit: &mut dyn FnMut(&'static str, &str)) {
        match self {
            Self::Pod(pod) => pod.each_text(field, visit),
            Self::VirtualMachine(vm) => vm.each_text(field, visit),
            Self::Vmi(vmi) => vmi.each_text(field, visit),
            Self::Migration(vmim) => vmim.each_text(field, visit),
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

    fn read<T: Deserialize<'a>>(&self) -> Result<T, ReviewError> {
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
    /// A VirtualMachine, about which an Event is to be written.
    VirtualMachine {
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
            | Self::VirtualMachine { namespace, .. }
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
        && let Some(decision) = fleetwide::answer(hearing.world, request, hearing.enough)?
    {
        return Ok(Answer { lacks: fleetwide::lacks(hearing.world, request), ..decision.into() });
    }
    let Some(manifest) = concern(hearing.world, request)? else { return Ok(Decision::admit().into()) };
    let user = UserName::from(&*request.user.username);
    if stage == Stage::Mutate {
        return mutate::answer(hearing.world, &manifest, &user, request);
    }
    let mut lacks = lacks(hearing.world, &manifest);
    let Some(case) = judge(hearing.world, &manifest, &user, depth(&manifest)) else {
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
        Manifest::VirtualMachine(_) | Manifest::Vmi(_) => Vec::new(),
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
        let message = match case.messages.lines.first() {
            Some(line) => format!("{}; {line}", case.messages.headline),
            None => case.messages.headline.clone(),
        };
        out.push((reason, message));
    }
    // A guest in danger is told of whatever the dials say.
    if let Some(finding) = case.verdict.found(Check::OwnNode) {
        out.push((Reason::OwnNode, say::finding::message(finding)));
    }
    // Told at each start, and not of its VM before.
    if let (Manifest::Vmi(_), Some(left)) = (manifest, &case.left) {
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
        if kind == report::Kind::VirtualMachine {
            lacks.push(Lack::VirtualMachine { namespace: namespace.to_owned(), name: name.to_owned() });
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

/// The object that Events of a review are about, as the review refers to it: kind, namespace, name, and UID where it
/// states one. It is the VMI, and the VM where there is no VMI yet. `None` where a person sends it and reads the warnings.
fn regarding<'m>(
    manifest: &'m Manifest<'_>,
    user: &UserName,
) -> Option<(report::Kind, &'m str, &'m str, Option<&'m str>)> {
    use report::Kind;
    match manifest {
        Manifest::Pod(pod) => {
            let owner = cluster::owner(pod)?;
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            Some((Kind::Vmi, namespace, &owner.name, Some(&owner.uid)))
        }
        Manifest::Migration(vmim) => Some((Kind::Vmi, &vmim.metadata.namespace, &vmim.spec.vmi_name, None)),
        Manifest::Vmi(new) if user.service_account().is_some() => {
            let owner = new.metadata.owner_references.iter().find(|owner| owner.kind.ends_with("VirtualMachine"))?;
            Some((Kind::VirtualMachine, &new.metadata.namespace, &owner.name, Some(&owner.uid)))
        }
        Manifest::VirtualMachine(vm) if user.service_account().is_some() && !vm.metadata.uid.is_empty() => {
            let meta = &vm.metadata;
            Some((Kind::VirtualMachine, &meta.namespace, &meta.name, Some(&meta.uid)))
        }
        Manifest::Vmi(_) | Manifest::VirtualMachine(_) => None,
    }
}

/// What a review asks about, judged; `None` where it is not our concern.
///
/// # Errors
///
/// An object of a kind that is judged is malformed; the error names the field.
pub fn case<'a>(world: &World, request: &Request<'a>) -> Result<Option<Case<'a>>, ReviewError> {
    let Some(manifest) = concern(world, request)? else { return Ok(None) };
    let user = UserName::from(&*request.user.username);
    Ok(judge(world, &manifest, &user, depth(&manifest)))
}

/// The object of a review, if it is to be judged at all.
fn concern<'a>(world: &World, request: &Request<'a>) -> Result<Option<Manifest<'a>>, ReviewError> {
    let Some(object) = request.object.as_ref().filter(|_| request.sub_resource.is_empty()) else { return Ok(None) };
    let (group, kind) = (&*request.kind.group, &*request.kind.kind);
    let read = |path, json| Manifest::read(group, kind, &Part { path, json });
    let mut manifest = match (request.operation, object) {
        (Operation::Create, Object::Pod(pod)) => Manifest::launcher(Arc::clone(pod)),
        (Operation::Create, Object::Text(json)) => read("request.object", json)?,
        // Of updates only a VM's can change what its guest will ask for; pods and VMIs are fixed by then.
        (Operation::Update, Object::Text(json)) if (group, kind) == ("kubevirt.io", "VirtualMachine") => {
            let new = read("request.object", json)?;
            let old = match request.old_object {
                Some(json) => read("request.oldObject", json)?,
                None => None,
            };
            match (new, old) {
                (Some(Manifest::VirtualMachine(new)), Some(Manifest::VirtualMachine(mut old))) => {
                    let user = UserName::from(&*request.user.username);
                    if user.is_kubevirt_controller(world.cluster.kubevirt_namespace.as_deref()) {
                        subject::capture_revisions(&mut old, &new);
                    }
                    subject::concerns(&old, &new).then_some(Manifest::VirtualMachine(new))
                }
                (new, _) => new,
            }
        }
        (Operation::Update | Operation::Delete | Operation::Connect, _) => None,
    };
    if let Some(manifest) = &mut manifest {
        manifest.put_into(&request.namespace);
    }
    Ok(manifest)
}

/// Judges an object that somebody creates.
#[must_use]
pub fn judge<'a>(world: &World, manifest: &Manifest<'a>, user: &UserName, depth: Depth) -> Option<Case<'a>> {
    let mut judged = manifest.subject(world)?;
    let cluster = &world.cluster;
    let found = judged.look_up(cluster, depth);
    if matches!(manifest, Manifest::Pod(_)) && depth == Depth::Brief && found.is_plain() {
        let (verdict, messages) = (Verdict::plain(found.into_assessment()), Messages::default());
        let ruling = Ruling::Admit { warned: false, recorded: false, exempted: None };
        return Some(Case { judged, verdict, messages, decision: Decision::admit(), left: None, ruling });
    }
    let rules = rules(world, manifest, user, &judged, found.assessment());
    if let Manifest::Migration(vmim) = manifest {
        mutate::foresee(world, &rules.policy, &mut judged, Some(vmim));
    }
    if let Manifest::Pod(pod) = manifest {
        judged.subject.authors = subject::authors_of_pod(pod, cluster);
    }
    let mut outlook = mutate::outlook(world, manifest, &rules.policy);
    if let Some(becomes) = outlook.as_mut().and_then(|outlook| outlook.becomes.take()) {
        judged = becomes;
    }
    let is_told = !rules.facts.exemption.is_some_and(Exemption::is_silent);
    let left = outlook.as_ref().filter(|_| is_told).and_then(|outlook| outlook.left(&rules.policy));
    judged.notes.extend(outlook.as_ref().and_then(mutate::finding));
    let verdict = judged.judge(cluster, depth);
    let mut messages = say::speak(&judged, &verdict, cluster);
    (messages.model, messages.unmet) = outlook.map(|outlook| (outlook.said, outlook.unmet)).unwrap_or_default();
    let ruling = policy::rule(&rules.policy, rules.facts, &verdict.assessment, messages.unmet.is_some());
    let decision = decide(ruling, &rules.policy, manifest, &judged, &verdict, &messages);
    Some(Case { judged, verdict, messages, decision, left, ruling })
}

/// The policy that governs a guest; the built-in one where none selects it and a node it lives on.
fn policy_for(world: &World, guest: &Guest<'_>, judged: &Judged<'_>, assessment: &Assessment) -> Policy {
    let fleet = &world.cluster.fleet;
    let running = judged.subject.running.as_ref().map(|running| running.node.as_str());
    let node = judged.subject.source().or(running).and_then(|node| fleet.find(node));
    let at_home = |policy: &&Policy| lives_on(&policy.node_selector, node, &assessment.fitting, fleet);
    policy::governing(world.policies.iter().filter(at_home), guest).cloned().unwrap_or_else(Policy::builtin)
}

/// Whether a guest lives on nodes that a policy selects: on the one it runs on, else on any it may start on;
/// where it may start on none, on any at all.
pub(crate) fn lives_on(selector: &LabelSelector, runs_on: Option<NodeIndex>, fitting: &Bits, fleet: &Fleet) -> bool {
    if *selector == LabelSelector::default() {
        return true;
    }
    let selected = |node| selector.matches_by(|key| fleet.label(node, key));
    match runs_on {
        Some(node) => selected(node),
        None if fitting.is_empty() => (0..fleet.len()).any(selected),
        None => fitting.iter().any(selected),
    }
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
    let guest = world.guest(&judged.subject.namespace, &labels, user);
    let policy = policy_for(world, &guest, judged, assessment);
    let facts = RequestFacts { kind: manifest.kind(), exemption: policy.exempt(&guest) };
    Rules { policy, facts }
}

/// The ruling with its words.
fn decide(
    ruling: Ruling,
    policy: &Policy,
    manifest: &Manifest<'_>,
    judged: &Judged<'_>,
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
            let denial = denial(manifest, judged, messages, &policy.name, grounds);
            Decision::Deny { denial, warnings, audit }
        }
    }
}

fn denial(manifest: &Manifest<'_>, judged: &Judged<'_>, messages: &Messages, policy: &str, grounds: Grounds) -> Denial {
    let (group, kind) = match manifest {
        Manifest::Pod(_) => ("", "Pod"),
        Manifest::VirtualMachine(_) => ("kubevirt.io", "VirtualMachine"),
        Manifest::Vmi(_) => ("kubevirt.io", "VirtualMachineInstance"),
        Manifest::Migration(_) => ("kubevirt.io", "VirtualMachineInstanceMigration"),
    };
    let name = match manifest {
        Manifest::Migration(vmim) => vmim.metadata.name.clone(),
        Manifest::Pod(pod) => pod.metadata.name.as_deref().unwrap_or_default().to_owned(),
        Manifest::VirtualMachine(_) | Manifest::Vmi(_) => judged.subject.name.clone(),
    };
    let (message, causes) = messages.denial(policy, grounds == Grounds::CommonModel);
    let details = if grounds == Grounds::CommonModel { Vec::new() } else { messages.details.clone() };
    let fields_named = !causes.is_empty() && causes.iter().all(|cause| !cause.field.is_empty());
    let code = if manifest.kind().is_mendable() && fields_named { DenialKind::Invalid } else { DenialKind::Forbidden };
    Denial { code, message, details, group: group.to_owned(), kind: kind.to_owned(), name, causes }
}

fn audit_annotations(policy: &Policy, verdict: &Verdict, messages: &Messages) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("policy".to_owned(), policy.name.clone()),
        ("verdict".to_owned(), verdict.assessment.outcome.as_str().to_owned()),
        ("reason".to_owned(), messages.headline.clone()),
    ])
}

mod mutate;

pub(crate) use mutate::foresee;
pub use mutate::{Mutation, mutation};

#[cfg(test)]
mod tests;
