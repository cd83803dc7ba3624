//! The texts for users: a verdict in a few short lines, for warnings, denials and Events.
//!
//! A warning aims at 120 characters; every line names its object, because kubectl prints equal lines once. Findings and
//! remedies are data: [`finding`] and [`remedy`] turn them into sentences, with the numbers and lists
//! of [`plural`].

pub(crate) mod alike;
pub(crate) mod author;
pub(crate) mod eviction;
pub(crate) mod evidence;
pub(crate) mod finding;
pub(crate) mod host_model;
pub(crate) mod model;
mod nodes;
mod not_started;
pub(crate) mod pod_rules;
pub(crate) mod remedy;
pub(crate) mod room;
mod state;
mod withheld;

use crate::admission::response::{FieldCause, WARNING_CHARS};
use crate::bounds::Excess;
use crate::fit::check::Reported;
use crate::fit::command::{Command, Name, Namespace};
use crate::fit::label;
use crate::fit::node::Taint;
use crate::fit::placement::NearMiss;
use crate::fit::plural::{self, fold_lack, fold_names, nodes};
use crate::fit::remedy::{Action, Outage, Remedy, UseModel};
use crate::fit::shown::{Shown, TITLE_CHARS};
use crate::fit::subject::{Origin, Stage, Template};
use crate::fit::verdict::{Besides, Blocked, Check, Detail, Evidence, Excluded, Finding, Nearest, Verdict};
use crate::kubevirt::subject::Prepared;

pub(crate) use state::{StateWord, state};

/// Number of missing labels named in a warning.
const LABELS: usize = 4;

/// A verdict in words, for every channel. A line without the guest's name is printed after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// The guest: `namespace/name`.
    pub title: String,
    /// The verdict in one sentence, without the guest's name; empty if nothing is wrong.
    pub headline: String,
    /// The lines after the headline: the nearest node, the next step.
    pub lines: Vec<String>,
    /// Further findings that are reported regardless of the dials.
    pub notes: Vec<String>,
    /// Other findings.
    pub reasons: Vec<String>,
    /// The authors of the requirements that nodes lack.
    pub authors: Vec<String>,
    /// Further lines of a denial.
    pub details: Vec<String>,
    /// The last line of a denial: the command that explains it.
    pub help: Option<String>,
    /// The fields to blame, without the guest's name.
    pub causes: Vec<FieldCause>,
    /// The result of the common model for the guest, as a complete sentence. Printed first, regardless of the dials.
    pub model: Option<String>,
    /// The field to blame if the policy refuses guests that do not use its common model, as a complete sentence.
    pub unmet: Option<FieldCause>,
}

impl Messages {
    /// Returns the headline with the guest's name; `None` if nothing is wrong.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        (!self.headline.is_empty()).then(|| format!("{} {}", self.title, self.headline))
    }

    /// Prefixes lines with the guest's name: kubectl prints equal lines once.
    #[must_use]
    pub fn named(&self, lines: &[String]) -> Vec<String> {
        lines.iter().map(|line| format!("{}: {line}", self.title)).collect()
    }

    /// Makes the size of the guest the headline, and blames its field.
    pub(crate) fn blame_size(&mut self, prepared: &Prepared<'_>) {
        let Some(found) = &prepared.not_judged else { return };
        let words = found.words().unwrap_or_default();
        words.strip_prefix("it ").unwrap_or(words).clone_into(&mut self.headline);
        self.causes.push(FieldCause { field: found.field.clone(), message: self.headline.clone() });
    }

    /// Returns why a policy refuses a guest for its CPU model, as a warning for a guest that is admitted anyway.
    pub(crate) fn unmet_line(&self, policy: &str) -> Option<String> {
        self.unmet.as_ref().map(|unmet| by_policy(&unmet.message, policy))
    }

    /// Returns a denial's message, as a complete sentence, and the fields to blame. `for_model`: only the guest's CPU
    /// model is to blame.
    #[must_use]
    pub fn denial(&self, policy: &str, for_model: bool) -> (String, Vec<FieldCause>) {
        let named = |cause: &FieldCause| FieldCause {
            field: cause.field.clone(),
            message: format!("{} {}", self.title, cause.message),
        };
        let of_impact = self.causes.iter().filter(|_| !for_model).map(named);
        let mut causes: Vec<FieldCause> = of_impact.chain(self.unmet.clone()).collect();
        let headline = match &self.unmet {
            Some(unmet) if for_model => unmet.message.clone(),
            _ => self.sentence().unwrap_or_else(|| self.title.clone()),
        };
        if let Some(first) = causes.first_mut() {
            first.message = by_policy(&first.message, policy);
        }
        (by_policy(&headline, policy), causes)
    }
}

/// Returns a sentence with the policy that is its reason: `… (policy intel-pool)`.
pub(crate) fn by_policy(sentence: &str, policy: &str) -> String {
    format!("{sentence} (policy {policy})")
}

/// Returns the line about an update that a policy denies only for new guests.
pub(crate) fn not_worse(policy: &str) -> String {
    by_policy("admitted, because the update makes it no worse; a new one would be denied", policy)
}

/// Returns the note about a namespace whose labels were not all read.
pub(crate) fn unread_namespace(excess: &Excess) -> String {
    format!("the namespace is too large to be read whole ({excess}): another policy may govern it")
}

/// Puts a verdict into words.
pub(crate) fn speak(prepared: &Prepared<'_>, verdict: &Verdict) -> Messages {
    let title = Shown::within(&prepared.subject.title(), TITLE_CHARS).to_string();
    let mut out = Messages { title, details: details(verdict), help: explain_denied(prepared), ..Messages::default() };
    let refused = verdict.refused().filter(|_| verdict.assessment.outcome.impact().is_some());
    if let Some(Detail::Refused(why)) = refused.map(|refused| &refused.detail) {
        out.headline = format!("is refused by KubeVirt: {why}");
    }
    if let Some(remedy) = verdict.refused().and_then(|refused| refused.remedies.first()) {
        out.lines.extend(step_line(prepared, remedy, "cheapest remedy", "More"));
    }
    for finding in &verdict.findings {
        let message = finding::message(finding);
        let short = || first_with_room(&out.title, finding::shorter(finding));
        let (check, spec) = (finding.check, finding.check.spec());
        match spec.reported {
            // It is the headline.
            _ if refused == Some(finding) => continue,
            _ if verdict.refused().is_some() && !spec.applies_to_refused_guests => {}
            _ if check == Check::NotMigratable && verdict.assessment.outcome.impact().is_some() => {
                out.headline.clone_from(&message);
            }
            Reported::AsHeadline if out.headline.is_empty() => {
                out.headline.clone_from(&message);
                let nearest = first_with_room(&out.title, nearest_lines(verdict));
                out.lines.extend(nearest.filter(|_| is_warned(prepared, finding, verdict)));
                out.lines.extend(model_line(prepared, finding));
                out.reasons.extend(keeps_cpu(prepared, finding, verdict));
                out.lines
                    .extend(next_step(prepared, finding, verdict).or_else(|| may_help(prepared, finding, verdict)));
            }
            Reported::Apart => continue,
            _ if finding.is_on_request() => continue,
            // The sender of an object sees its own requirements.
            Reported::WithAuthors => {
                let is_warned = matches!(&finding.detail, Detail::AskedBy(asked) if !asked.in_sight);
                let line = short().filter(|_| is_warned);
                out.authors.extend(line);
                continue;
            }
            _ if !is_worth_a_line(finding, verdict) => continue,
            _ => {
                let line = short().unwrap_or_else(|| message.clone());
                if finding.is_always_reported() { out.notes.push(line) } else { out.reasons.push(line) }
            }
        }
        if !finding.field.is_empty() && finding.impact.is_some() && finding.check != Check::OwnNode {
            let better = best_remedy(prepared, finding).map(|line| format!("; {line}"));
            let message = message + &better.unwrap_or_default();
            out.causes.push(FieldCause { field: finding.field.clone(), message });
        }
    }
    out
}

/// Whether a finding is worth a line of an answer.
fn is_worth_a_line(finding: &Finding, verdict: &Verdict) -> bool {
    let is_impaired = verdict.assessment.outcome.impact().is_some();
    match &finding.detail {
        Detail::OwnHostModel(_) => !finding::is_said_by_another(finding, verdict),
        // Only if the guest has at most one node of its own architecture, or a default decided.
        Detail::OtherArchitectures(found) => found.none_wanted || found.only.is_some() || found.by.is_some(),
        // Only if more nodes take the impaired guest without it.
        Detail::ChosenNodes(found) => is_impaired && found.without > found.fitting,
        // The release's rules matter only if something is wrong; facts that were not found always matter.
        Detail::Noted(_) if finding.check == Check::Assumed => is_impaired || !finding.field.is_empty(),
        _ => true,
    }
}

/// Whether the nearest node is worth a line: not if the guest starts and only its chosen placement excludes it from
/// that node.
fn is_warned(prepared: &Prepared<'_>, finding: &Finding, verdict: &Verdict) -> bool {
    let starts = finding.check == Check::MigrationTarget && matches!(prepared.subject.stage, Stage::Start(_));
    !starts
        || named(verdict).next().is_none_or(|near| near.missing.iter().any(|(key, _)| !prepared.subject.is_chosen(key)))
}

/// Returns `node-d fits but is cordoned; next is node-c, which lacks cpu-feature fpu, vme`, listing fewer and fewer
/// labels.
fn nearest_lines(verdict: &Verdict) -> impl Iterator<Item = String> + '_ {
    let all = (1..=LABELS).rev().filter_map(|most| nearest_line(verdict, most, true));
    let alone = [2, 1].into_iter().filter_map(|most| nearest_line(verdict, most, false));
    let kept_out = blocked_line(&verdict.blocked).or_else(|| excluded_line(verdict));
    all.chain(alone).chain(kept_out)
}

/// Returns the line about the nearest node. `better`: whether a fixable node is named after one that lacks fewer
/// labels.
fn nearest_line(verdict: &Verdict, most: usize, better: bool) -> Option<String> {
    let free = blocked_line(&verdict.blocked).or_else(|| excluded_line(verdict));
    let near = named(verdict).next().map(|first| {
        // A fixable node is preferred to one that lacks fewer labels on other hardware.
        let curable = named(verdict).find(|near| near.is_curable());
        match curable.filter(|_| better && first.evidence == Evidence::OtherHardware) {
            Some(better) => format!("{}; better: {}", lacks_line(first, most), lacks_line(better, most)),
            None => lacks_line(first, most),
        }
    });
    match (free, near) {
        (Some(free), Some(near)) => Some(format!("{free}; next is {near}")),
        (Some(one), None) => Some(one),
        (None, Some(near)) => Some(format!("nearest is {near}")),
        (None, None) => None,
    }
}

/// Returns the nearest nodes that are named, of nodes that lack equally many entries those with the fewest other
/// obstacles first. Nodes of another architecture are counted on a separate line.
pub(crate) fn named(verdict: &Verdict) -> impl Iterator<Item = &Nearest> {
    let mut nearest: Vec<&Nearest> = verdict.nearest.iter().filter(|near| !near.is_foreign()).collect();
    let is_as_near = |one: &&Nearest, other: &&Nearest| {
        one.missing.len() == other.missing.len() && one.evidence.rank() == other.evidence.rank()
    };
    for equals in nearest.chunk_by_mut(is_as_near) {
        equals.sort_by_key(|near| near.besides.count());
    }
    nearest.into_iter()
}

/// Returns the nearest node, or what excludes the guest from nodes that match its selector; `None` if all nodes fit.
pub(crate) fn nearest(verdict: &Verdict) -> Option<String> {
    nearest_line(verdict, 2, true)
}

/// Returns `9 nodes fit but are cordoned (worker-02, worker-03 and 7 more)`, for the state of the first of them.
fn blocked_line(blocked: &[Blocked]) -> Option<String> {
    blocked_lines(blocked).next()
}

/// Iterates over the same for each state of blocked nodes: first those with the fewest reasons, of which people set the
/// fewest.
fn blocked_lines(blocked: &[Blocked]) -> impl Iterator<Item = String> + '_ {
    let is_like = |one: &Blocked, other: &Blocked| other.cordoned == one.cordoned && other.taints == one.taints;
    let firsts =
        blocked.iter().enumerate().filter(move |(at, one)| !blocked[..*at].iter().any(|other| is_like(one, other)));
    let mut firsts: Vec<&Blocked> = firsts.map(|(_, first)| first).collect();
    let set_by_people = |one: &Blocked| one.taints.iter().filter(|taint| taint.is_for_choice()).count();
    firsts.sort_by_key(|one| (usize::from(one.cordoned) + one.taints.len(), set_by_people(one)));
    firsts.into_iter().map(move |first| {
        let same = blocked.iter().filter(|other| is_like(first, other));
        let same: Vec<&str> = same.map(|other| other.node.as_str()).collect();
        let state = |is: &str| {
            let cordoned = first.cordoned.then(|| "cordoned".to_owned());
            let taints = first.taints.iter().map(|taint| format!("tainted {taint}"));
            format!("{is} {}", cordoned.into_iter().chain(taints).collect::<Vec<_>>().join(" and "))
        };
        let near = first.near.first().map(near_miss);
        match (same.len(), near) {
            (1, None) => format!("{} fits but {}", first.node, state("is")),
            (1, Some(near)) => format!("{} fits but {} ({near})", first.node, state("is")),
            (many, near) => {
                let near = near.map(|near| format!("; {near}")).unwrap_or_default();
                format!("{many} nodes fit but {} ({}{near})", state("are"), fold_names(&same, 2))
            }
        }
    })
}

/// Returns `its toleration dedicated=vms:NoSchedule differs in value`.
pub(crate) fn near_miss(near: &NearMiss) -> String {
    format!("its toleration {} differs in {}", near.toleration, near.differs_in())
}

/// Returns `hv-2 meets its selector, not its node affinity (rack > 3)`, for the conditions of the first node.
fn excluded_line(verdict: &Verdict) -> Option<String> {
    excluded_lines(verdict).next()
}

/// Iterates over the same for all nodes with equal conditions; the last line counts those that are not named.
fn excluded_lines(verdict: &Verdict) -> impl Iterator<Item = String> + '_ {
    let all = &verdict.excluded;
    let is_first = |(at, one): &(usize, &Excluded)| !all[..*at].iter().any(|other| other.conditions == one.conditions);
    let line = |(_, first): (usize, &Excluded)| {
        let like = all.iter().filter(|other| other.conditions == first.conditions);
        let like: Vec<&str> = like.map(|other| other.node.as_str()).collect();
        let conditions: Vec<String> = first.conditions.iter().map(ToString::to_string).collect();
        format!("{} ({}{})", meets_selector(&like), fold_names(&conditions, 2), nearest_of(first.terms))
    };
    let unnamed = (verdict.excluded_unnamed > 0).then(|| {
        let (count, meet) = (verdict.excluded_unnamed, plural::number(verdict.excluded_unnamed, "meets", "meet"));
        let more = plural::counted(count, "more node", "more nodes");
        format!("{more} {meet} its selector, not its node affinity")
    });
    all.iter().enumerate().filter(is_first).map(line).chain(unnamed)
}

fn meets_selector(names: &[&str]) -> String {
    let meets = plural::number(names.len(), "meets", "meet");
    format!("{} {meets} its selector, not its node affinity", fold_names(names, 2))
}

/// Returns the note that conditions are those of one of several terms, each of which suffices.
pub(crate) fn nearest_of(terms: usize) -> String {
    if terms > 1 { format!(", in the nearest of {terms} terms, one of which suffices") } else { String::new() }
}

/// Returns `node-c, which lacks cpu-feature fpu, vme (drifted labels, probably) and is cordoned`.
fn lacks_line(near: &Nearest, most: usize) -> String {
    format!("{}, which {}", near.node, lacks(near, most, &evidence::suffix(near)))
}

/// Returns everything that keeps the guest off a node: `lacks zone=a and is cordoned`.
fn lacks(near: &Nearest, most: usize, evidence: &str) -> String {
    if near.fits_once_ready() {
        return "is not Ready, and fits once it is".to_owned();
    }
    let lacks = format!("lacks {}{evidence}", fold_lack(&near.missing, &near.has, most));
    let all: Vec<String> = std::iter::once(lacks).chain(besides(&near.besides)).collect();
    plural::and_names(&all, all.len())
}

/// Returns what keeps the guest off besides labels: `is cordoned`, `fails its node affinity (rack in (1))`.
pub(crate) fn besides(found: &Besides) -> Vec<String> {
    let Besides { not_ready, cordoned, taints, affinity } = found;
    let mut out = Vec::new();
    out.extend(not_ready.then(|| "is not Ready".to_owned()));
    out.extend(cordoned.then(|| "is cordoned".to_owned()));
    if !taints.is_empty() {
        let taints: Vec<String> = taints.iter().map(ToString::to_string).collect();
        out.push(format!("is tainted {}", fold_names(&taints, 2)));
    }
    if !affinity.is_empty() {
        let rules: Vec<String> = affinity.iter().map(ToString::to_string).collect();
        out.push(format!("fails its node affinity ({})", fold_names(&rules, 2)));
    }
    out
}

/// Returns `with model Skylake-Server-noTSX-IBRS it could go to 4 nodes from anywhere`.
fn with_model_line(prepared: &Prepared<'_>, finding: &Finding) -> Option<String> {
    let (model, then) = offered_model(prepared, finding)?;
    Some(format!("with model {} {then}", model.model))
}

/// Returns the same for the sender, with the field of an object that is not stored: `in the manifest set
/// spec.template.spec.domain.cpu.model to EPYC, and it could go to 4 nodes from anywhere`.
fn model_line(prepared: &Prepared<'_>, finding: &Finding) -> Option<String> {
    let short = with_model_line(prepared, finding);
    if prepared.subject.definition.origin == Origin::Stored {
        return short;
    }
    let (model, then) = offered_model(prepared, finding)?;
    let edit = remedy::step(&model.clone().into(), &prepared.subject);
    let line = format!("{edit}, and {then}");
    first_with_room(&prepared.subject.title(), [line].into_iter().chain(short))
}

/// Returns the common model that is offered to a guest which is to start, and the nodes that it has then.
fn offered_model<'f>(prepared: &Prepared<'_>, finding: &'f Finding) -> Option<(&'f UseModel, String)> {
    let Stage::Start(_) = &prepared.subject.stage else { return None };
    let (model, (fewest, _)) = finding.remedies.iter().find_map(|remedy| match &remedy.action {
        Action::UseModel(model) => Some((model, remedy.then_fits)),
        _ => None,
    })?;
    let then = match finding.check {
        // The remedies of a guest that no node takes count start nodes.
        Check::StartNode => format!("it could start on {}", nodes(fewest)),
        _ => format!("it could go to {} from anywhere", nodes(fewest)),
    };
    Some((model, then))
}

/// Returns the least harmful remedy of a guest that is to start: the effect of another model, or `cheapest remedy:
/// change nodeSelector zone`. The guest that a policy denies is not stored, so no command can change it.
fn best_remedy(prepared: &Prepared<'_>, finding: &Finding) -> Option<String> {
    let remedy = finding.remedies.first().filter(|_| matches!(prepared.subject.stage, Stage::Start(_)))?;
    match &remedy.action {
        Action::UseModel(_) => with_model_line(prepared, finding),
        action => Some(format!("cheapest remedy: {}", remedy::summary(action, &prepared.subject))),
    }
}

/// Returns `cheapest remedy: kubectl uncordon node-d. All remedies: kubectl cpufit explain vmi/db -n shop`.
fn next_step(prepared: &Prepared<'_>, finding: &Finding, verdict: &Verdict) -> Option<String> {
    let remedy = finding.remedies.first()?;
    if matches!(remedy.action, Action::AddNode(_)) && opens_by_itself(verdict) {
        return None;
    }
    if matches!(remedy.action, Action::UseModel(_)) && matches!(prepared.subject.stage, Stage::Start(_)) {
        return None;
    }
    step_line(prepared, remedy, "cheapest remedy", "All remedies")
}

/// Returns the doubt about each other node for a host-passthrough guest that a remedy without a restart lets migrate,
/// or that has one target, if no finding compares the nodes.
fn keeps_cpu(prepared: &Prepared<'_>, finding: &Finding, verdict: &Verdict) -> Option<String> {
    let source = prepared.subject.source().filter(|_| prepared.subject.mode.may_pass_through())?;
    let is_moved = |remedy: &Remedy| {
        remedy.action.outage(&prepared.subject) == Outage::None && !matches!(remedy.action, Action::AddNode(_))
    };
    let may_move = !verdict.assessment.fitting.is_empty() || finding.remedies.first().is_some_and(is_moved);
    let is_said = verdict.found(Check::UnlikeHosts).is_some();
    let words = format!("host-passthrough keeps the CPU of {source}: libvirt may refuse it where another one is");
    (may_move && !is_said).then_some(words)
}

/// Whether a node takes the guest without a change: once it is ready, or its kubelet reports no pressure.
fn opens_by_itself(verdict: &Verdict) -> bool {
    let passes = |blocked: &Blocked| {
        let is_state = |taint: &Taint| !taint.is_for_choice() && taint.key != label::TAINT_DRAIN;
        !blocked.cordoned && blocked.taints.iter().all(is_state)
    };
    verdict.blocked.iter().any(passes) || verdict.nearest.iter().any(Nearest::fits_once_ready)
}

/// Where no remedy is certain to help: `may help, by the node that the scheduler chooses: kubectl patch …`.
fn may_help(prepared: &Prepared<'_>, finding: &Finding, verdict: &Verdict) -> Option<String> {
    let remedy = verdict.by_luck.first().filter(|_| finding.remedies.is_empty())?;
    step_line(prepared, remedy, "may help, by the node that the scheduler chooses", "More")
}

/// Returns `LEAD: STEP. MORE: kubectl cpufit explain …`, with as much of it as a warning has room for. The step is
/// the remedy's command, or its summary if the command is too long.
fn step_line(prepared: &Prepared<'_>, remedy: &Remedy, lead: &str, more: &str) -> Option<String> {
    let all = explain(prepared).map(|command| format!(". {more}: {command}")).unwrap_or_default();
    let command = remedy::step(&remedy.action, &prepared.subject);
    let summary = remedy::summary(&remedy.action, &prepared.subject);
    let texts = [(&command, all.as_str()), (&command, ""), (&summary, &all), (&summary, "")];
    first_with_room(&prepared.subject.title(), texts.map(|(step, all)| format!("{lead}: {step}{all}")))
}

/// Returns the first text that fits into a warning about an object: a truncated command is a different command.
pub(crate) fn first_with_room(title: &str, texts: impl IntoIterator<Item = String>) -> Option<String> {
    let room = WARNING_CHARS.saturating_sub("cpufit: : ".len() + title.chars().count());
    texts.into_iter().find(|text| text.chars().count() <= room)
}

/// Returns why a running guest has no target: `node-d fits but is cordoned, node-c lacks cpu-feature fpu, vme`.
pub(crate) fn obstacles(verdict: &Verdict) -> String {
    obstacles_within(verdict, LABELS)
}

/// Returns [`obstacles`] with at most `most` missing labels of each node.
pub(crate) fn obstacles_within(verdict: &Verdict, most: usize) -> String {
    let lacks = |near: &Nearest| format!("{} {}", near.node, lacks(near, most, &evidence::short_suffix(near)));
    let first = named(verdict).next();
    let better = first.filter(|first| first.evidence == Evidence::OtherHardware);
    let better = better.and_then(|_| named(verdict).find(|near| near.is_curable()));
    let near = first.into_iter().chain(better).map(lacks);
    let blocked = blocked_lines(&verdict.blocked).take(2);
    let excluded = excluded_lines(verdict).take(2).filter(|_| verdict.blocked.is_empty());
    let refused = verdict.found(Check::LibvirtRefuses).map(finding::message);
    let found =
        refused.into_iter().chain(blocked).chain(excluded).chain(near).reduce(|one, other| format!("{one}, {other}"));
    // Labels that no node has were left out of a dump.
    let lacking = || verdict.nearest.iter().find(|near| !near.missing.is_empty());
    let lacking = || lacking().map(|near| format!("{} lacks {}", near.node, fold_lack(&near.missing, &near.has, most)));
    found.unwrap_or_else(|| match verdict.assessment.nodes_judged {
        0 if verdict.found(Check::OtherArchitecture).is_some() => {
            "there is no other node of its architecture".to_owned()
        }
        0 => "there is no other node".to_owned(),
        1 => lacking().unwrap_or_else(|| "the only other node does not take it".to_owned()),
        judged => lacking().unwrap_or_else(|| format!("none of the {judged} other nodes takes it")),
    })
}

/// Returns `kubectl cpufit explain vmi/db -n shop`, with `-f FILE` for an object that is not stored; `None` if the
/// guest has no valid name yet.
pub(crate) fn explain(prepared: &Prepared<'_>) -> Option<Command> {
    if prepared.subject.definition.origin == Origin::Submitted {
        return explain_file(prepared);
    }
    let kind = prepared.subject.judged_template().map_or("vmi", Template::resource);
    let guest = Name::new(&prepared.subject.name).ok()?.of(kind);
    let namespace = Namespace::new(&prepared.subject.namespace).ok()?;
    Some(Command::kubectl(["cpufit", "explain"]).arg(guest).namespace(namespace))
}

/// Returns the command that explains a denied object: from its manifest, because it is not stored, unless it is the
/// plain migration of a stored guest.
fn explain_denied(prepared: &Prepared<'_>) -> Option<String> {
    let is_stored = match &prepared.subject.stage {
        Stage::Migration(migration) => migration.added.is_empty() && !migration.from_elsewhere,
        // The guest of a launcher pod is stored.
        Stage::Start(_) => prepared.subject.definition.field_root.is_empty(),
    };
    if is_stored {
        return explain(prepared).map(|command| format!("what helps: {command}"));
    }
    let command = explain_file(prepared)?;
    Some(format!("what helps: {command} (the manifest that was denied)"))
}

/// Returns `kubectl cpufit explain -n shop -f FILE`, for the object's manifest.
fn explain_file(prepared: &Prepared<'_>) -> Option<Command> {
    let namespace = Namespace::new(&prepared.subject.namespace).ok()?;
    Some(Command::kubectl(["cpufit", "explain"]).namespace(namespace).args(["-f", "FILE"]))
}

/// Returns further lines of a denial: the blocked nodes, those that only the node affinity keeps off, and the nearest
/// nodes.
fn details(verdict: &Verdict) -> Vec<String> {
    let mut out: Vec<String> = blocked_lines(&verdict.blocked).take(2).collect();
    out.extend(excluded_lines(verdict).take(2));
    out.extend(named(verdict).map(|near| {
        let lacks = fold_lack(&near.missing, &near.has, 6);
        let besides: Vec<String> =
            besides(&near.besides).into_iter().map(|besides| format!("; it {besides}")).collect();
        let besides = besides.concat();
        format!("{} lacks {}: {lacks}{besides}", near.node, near.missing.len())
    }));
    out
}

#[cfg(test)]
mod tests;
