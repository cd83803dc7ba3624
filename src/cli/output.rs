//! The JSON that `check` and `explain` print, which is an interface: fields are only ever added.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::libvirt_rows::LibvirtRow;
use super::remedies::{WeighedRemedy, useless};
use super::resource::ObjectKind;
use super::room::FittingRoom;
use crate::admission::response::{Decision, lines};
use crate::admission::review::Request;
use crate::answers::libvirt_plan::Survey;
use crate::answers::refusals::Refusal;
use crate::fit::assess::targets_by_start;
use crate::fit::author::Authors;
use crate::fit::fleet::Fleet;
use crate::fit::placement::AffinityRule;
use crate::fit::remedy::{Action, Counted, Outage, Remedy};
use crate::fit::subject::{Stage, Subject};
use crate::fit::verdict::{Cause, Evidence, Finding, Impact, Nearest, OutcomeWord, Verdict};
use crate::judge::Evaluation;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::launch::Rendered;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::subject::Prepared;
use crate::say::{self, StateWord};
use crate::word::words;

/// The result for one object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultRow {
    /// The file that it is from; `-` is standard input.
    pub file: String,
    /// Index of the object in that file, from 0.
    pub index: usize,
    /// The line at which it begins, from 1; null if not known.
    pub line: Option<usize>,
    /// Its API group; empty for the core.
    #[serde(skip)]
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name, or its generated name's prefix.
    pub name: String,
    /// Whether it would be admitted.
    pub allowed: bool,
    /// The verdict.
    pub verdict: OutcomeWord,
    /// The state as one word, given room, volumes and other pods; null if the object is not judged, or is a pod or a
    /// review.
    pub state: Option<StateWord>,
    /// The impact; null if it has none.
    pub impact: Option<Impact>,
    /// The impact for a gate: by labels, or the worse one of an object that KubeVirt refuses, that nothing migrates, or
    /// that volumes or other pods keep off nodes that fit.
    #[serde(skip)]
    pub gated_impact: Option<Impact>,
    /// The cause; null without an impact.
    pub cause: Option<Cause>,
    /// The reasons for which KubeVirt refuses the object, whatever the labels are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// The nodes.
    pub nodes: ResultNodes,
    /// Up to three nodes that lack the fewest entries.
    pub nearest: Vec<Near>,
    /// For a guest that is to start: number of migration targets by start node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets_by_start_node: Option<BTreeMap<String, usize>>,
    /// The findings.
    pub findings: Vec<FindingRow>,
    /// The remedies of all findings.
    pub remedies: Vec<RemedyRow>,
    /// Well-known remedies that would not help, with the reason.
    pub not_helping: Vec<NotHelpingRow>,
    /// Remedies that help depending on the start node.
    pub by_luck: Vec<ByLuckRow>,
    /// The warnings to the sender.
    pub warnings: Vec<String>,
    /// Notes about room, volumes and rules about pods, for the table; the findings and `nodes.noRoom` hold it in
    /// JSON.
    #[serde(skip)]
    pub remarks: Vec<String>,
    /// The reason for a denial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denial: Option<String>,
    /// The JSON Patch that the webhook would apply.
    pub patch: Value,
    /// With `--predict`: the pod that KubeVirt would create, or null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted: Option<Predicted>,
    /// The answers of libvirt, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub libvirt: Option<LibvirtRow>,
    /// The result for the next start, if a VM is explained while its guest runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_next_start: Option<Box<ResultRow>>,
    /// The reasons for which the scheduler placed the pod, or a launcher of the guest, nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// The reason why cpufit does not judge the object; omitted if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,
}

words! {
    /// The reason why cpufit does not judge an object.
    #[derive(Serialize)]
    #[serde(into = "&'static str")]
    Skipped {
        /// An object of another kind.
        OtherKind = "not a kind that is judged",
        /// A pod of something else.
        NoLauncher = "not a virt-launcher pod",
        /// A policy among the manifests.
        ValidPolicy = "a valid CPUPolicy; to judge by it: --policy",
        /// A request without an effect on guests.
        NoEffect = "nothing in this request affects where a guest can run",
        /// An eviction, or an edit of a node, of KubeVirt's configuration or of a policy.
        WarnsAboutOthers = "no guest is judged: the warnings are about others",
    }
}

/// The nodes of a result: `nodes`.
#[derive(Debug, Default, Serialize)]
pub struct ResultNodes {
    /// Number of nodes judged, without the source of a migration.
    pub judged: usize,
    /// The names of nodes that the scheduler's node filters accept, sorted.
    pub fitting: Vec<String>,
    /// The fitting nodes without room, with the resource that they lack, as far as it is known.
    #[serde(rename = "noRoom", skip_serializing_if = "BTreeMap::is_empty")]
    pub no_room: BTreeMap<String, String>,
    /// The fitting nodes with room only once pods with a lower priority are shut down.
    #[serde(rename = "byPreemption", skip_serializing_if = "Vec::is_empty")]
    pub by_preemption: Vec<String>,
    /// The nodes that fit except for a cordon or a taint, with the reason.
    pub blocked: BTreeMap<String, Vec<String>>,
    /// The nodes that match every node selector entry and fail the required node affinity, with the conditions they
    /// fail.
    pub excluded: BTreeMap<String, Vec<String>>,
    /// The nodes that fit and lack entries of the host model of the guest's own node, or optional features of the
    /// guest, which KubeVirt does not require: libvirt may refuse.
    pub doubtful: BTreeMap<String, Vec<SelectorEntry>>,
    /// The excluded nodes, with the author of each condition.
    pub affinity: BTreeMap<String, Vec<AffinityRow>>,
}

/// A nearest node: `nearest` of a result.
#[derive(Debug, Serialize)]
pub struct Near {
    /// The node.
    pub node: String,
    /// The node selector entries it lacks.
    pub missing: Vec<SelectorEntry>,
    /// The evidence about the missing entries; null if nothing is known.
    pub evidence: Option<Evidence>,
    /// The keys of entries that would be false there, according to its libvirt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub untrue: Vec<String>,
}

/// A node selector entry.
#[derive(Debug, Serialize)]
pub struct SelectorEntry {
    /// The label key.
    pub key: String,
    /// The required value.
    pub value: String,
    /// The value of the label on the node, if it has another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has: Option<String>,
    /// The author of the requirement, if it is known.
    #[serde(rename = "askedBy", skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
}

/// A condition of the required node affinity that a node fails.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AffinityRow {
    /// The condition.
    pub condition: String,
    /// The author of the condition, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
}

/// A finding: `findings` of a result.
#[derive(Debug, Serialize)]
pub struct FindingRow {
    /// The check that found it.
    pub check: &'static str,
    /// The impact, or null for a note.
    pub impact: Option<Impact>,
    /// The field to blame.
    pub field: String,
    /// The finding in words.
    pub message: String,
    /// The remedies for it.
    pub remedies: Vec<RemedyRow>,
}

/// A remedy.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemedyRow {
    /// The kind of remedy: `uncordon`, `add-labels`, `restart`, ….
    pub id: &'static str,
    /// The action in one line.
    pub summary: String,
    /// The action.
    #[serde(skip)]
    action: Action,
    /// The outage of the guest.
    pub outage: Outage,
    /// The risk.
    pub risk: Cow<'static, str>,
    /// Number of start nodes or targets afterwards.
    pub then_fits: ThenFits,
    /// The commands, in order.
    pub commands: Vec<String>,
    /// The command that reverts it.
    pub undo: Option<String>,
    /// The known obstacles on nodes that it opens: room, other pods, volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_the_way: Vec<String>,
    /// Whether there is an obstacle on each of these nodes; left out if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_in_vain: bool,
}

/// Number of start nodes or targets afterwards.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ThenFits {
    /// The counted nodes.
    pub of: Counted,
    /// The minimum.
    pub min: usize,
    /// The maximum.
    pub max: usize,
}

/// A remedy that would not help.
#[derive(Debug, Serialize)]
pub struct NotHelpingRow {
    /// The remedy.
    pub id: &'static str,
    /// The reason.
    pub why: String,
}

/// The pod that KubeVirt would create.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Predicted {
    /// A pod, as far as it is predicted.
    Pod(Rendered),
    /// No pod; null in JSON.
    NoPod,
}

impl Predicted {
    fn of(prepared: &Prepared) -> Self {
        prepared.predicted.clone().map_or(Self::NoPod, Self::Pod)
    }
}

/// A remedy that helps depending on the start node.
#[derive(Debug, Serialize)]
pub struct ByLuckRow {
    /// The start nodes on which it does not help, in words.
    pub why: String,
    /// The remedy.
    #[serde(flatten)]
    pub remedy: RemedyRow,
}

/// The origin of a result.
#[derive(Clone, Debug, Default)]
pub struct ResultOrigin {
    /// The file.
    pub file: String,
    /// Index of the object in the file.
    pub index: usize,
    /// The line at which it begins; `None` if not known.
    pub line: Option<usize>,
    /// The object's API group; empty for the core, and for an object that was named by its kind alone.
    pub group: String,
    /// The object's kind.
    pub kind: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl ResultOrigin {
    /// Makes the reviewed object the origin.
    pub(super) fn set_reviewed(&mut self, request: &Request<'_>) {
        self.group = request.kind.group.to_string();
        self.kind = request.kind.kind.to_string();
        self.namespace = request.namespace.to_string();
        self.name = request.name.to_string();
    }
}

/// Numbers the objects of each file, from 0.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    file: String,
    next: usize,
}

impl Numbering {
    /// Returns the number of the next object of this file.
    pub(crate) fn of(&mut self, file: &str) -> usize {
        if self.file != file {
            *self = Self { file: file.to_owned(), next: 0 };
        }
        self.next += 1;
        self.next - 1
    }
}

impl ResultRow {
    /// Returns `TYPE/NAME` in kubectl's format: `virtualmachine.kubevirt.io/db`.
    #[must_use]
    pub fn title(&self) -> String {
        let mut word = self.kind.to_ascii_lowercase();
        if !self.group.is_empty() {
            word = format!("{word}.{}", self.group);
        }
        ObjectKind::of_word(&word).map_or_else(|| format!("{word}/{}", self.name), |kind| kind.title(&self.name))
    }

    /// Builds the result for an object that is not judged and therefore admitted.
    #[must_use]
    pub fn skipped(origin: ResultOrigin, why: Skipped) -> Self {
        Self { skipped: Some(why), ..Self::bare(origin) }
    }

    /// Builds the result for an admitted object of which nothing is known.
    fn bare(origin: ResultOrigin) -> Self {
        let ResultOrigin { file, index, line, group, kind, namespace, name } = origin;
        Self {
            file,
            index,
            line,
            group,
            kind,
            namespace,
            name,
            allowed: true,
            verdict: OutcomeWord::Fits,
            impact: None,
            state: None,
            gated_impact: None,
            cause: None,
            refusals: Vec::new(),
            nodes: ResultNodes::default(),
            nearest: Vec::new(),
            targets_by_start_node: None,
            findings: Vec::new(),
            remedies: Vec::new(),
            not_helping: Vec::new(),
            by_luck: Vec::new(),
            warnings: Vec::new(),
            remarks: Vec::new(),
            denial: None,
            patch: Value::Array(Vec::new()),
            predicted: None,
            libvirt: None,
            at_next_start: None,
            scheduler: None,
            skipped: None,
        }
    }

    /// Builds the result for a judged object.
    pub(crate) fn new(origin: ResultOrigin, case: &Evaluation<'_>, survey: &Survey<'_>, predict: bool) -> Self {
        let Evaluation { prepared, verdict, decision, .. } = case;
        let assessment = &verdict.assessment;
        let cluster = &survey.world.cluster;
        let (fleet, subject) = (&cluster.fleet, &prepared.subject);
        let counted = Counted::of(subject, assessment);
        let findings: Vec<FindingRow> =
            verdict.findings.iter().map(|f| finding_row(f, &origin.kind, subject, counted, fleet)).collect();
        let (denial, patch) = match decision {
            Decision::Admit { patch, .. } => (None, serde_json::to_value(patch).unwrap_or(Value::Null)),
            Decision::Deny { denial, .. } => {
                (Some(lines(denial).collect::<Vec<_>>().join("\n")), Value::Array(Vec::new()))
            }
        };
        Self {
            allowed: denial.is_none(),
            verdict: assessment.outcome.word(),
            impact: assessment.outcome.impact(),
            gated_impact: verdict.impact(),
            cause: assessment.cause,
            refusals: Refusal::all_of(verdict),
            nodes: nodes(verdict, subject, fleet),
            nearest: verdict.nearest.iter().map(|found| near(found, &subject.authors)).collect(),
            targets_by_start_node: by_start(subject, verdict, fleet),
            remedies: findings.iter().flat_map(|finding| finding.remedies.clone()).collect(),
            findings,
            not_helping: verdict
                .not_helping
                .iter()
                .map(|not| NotHelpingRow { id: not.id.as_str(), why: say::remedy::why_not(&not.why) })
                .collect(),
            by_luck: by_luck(&verdict.by_luck, prepared, counted, fleet),
            warnings: decision.warnings_in(&cluster.domain),
            denial,
            patch,
            // A pod that was given is not predicted.
            predicted: (predict && origin.kind != Resource::Pods.kind()).then(|| Predicted::of(prepared)),
            libvirt: LibvirtRow::of(subject, survey),
            ..Self::bare(origin)
        }
    }

    /// Adds what the webhook does not know: the room of nodes. Takes out remedies that help by labels alone if no node
    /// has room.
    pub(crate) fn with_room(mut self, case: &Evaluation<'_>, room: &FittingRoom, cluster: &Cluster) -> Self {
        let Evaluation { prepared, verdict, .. } = case;
        self.nodes.no_room = room.no_room(cluster);
        self.nodes.by_preemption = room.by_preemption(cluster);
        let counted = Counted::of(&prepared.subject, &verdict.assessment);
        let fleet = &cluster.fleet;
        for (row, finding) in self.findings.iter_mut().zip(&verdict.findings) {
            let left = finding.remedies.iter().filter(|remedy| room.may_help(&remedy.action));
            row.remedies = left.map(|remedy| RemedyRow::of(remedy, &prepared.subject, counted, fleet)).collect();
        }
        self.remedies = self.findings.iter().flat_map(|finding| finding.remedies.clone()).collect();
        self.by_luck =
            by_luck(verdict.by_luck.iter().filter(|remedy| room.may_help(&remedy.action)), prepared, counted, fleet);
        let useless = useless(case, room).into_iter();
        self.not_helping = useless.map(|(id, why)| NotHelpingRow { id: id.as_str(), why }).collect();
        self
    }

    /// Adds the obstacles to the remedies, those in vain last. `weighed`: the remedies of this guest.
    pub(crate) fn with_obstacles(mut self, case: &Evaluation<'_>, weighed: &[WeighedRemedy], fleet: &Fleet) -> Self {
        let subject = &case.prepared.subject;
        let counted = Counted::of(subject, &case.verdict.assessment);
        let complete = |row: &mut RemedyRow| {
            if let Some(found) = weighed.iter().find(|found| found.offered == row.action) {
                *row = RemedyRow::of(&found.remedy, subject, counted, fleet);
                row.in_the_way.clone_from(&found.after.in_the_way);
                row.is_in_vain = found.after.is_in_vain;
            }
        };
        self.findings.iter_mut().flat_map(|finding| &mut finding.remedies).for_each(complete);
        self.remedies.iter_mut().for_each(complete);
        self.remedies.sort_by_key(|remedy| remedy.is_in_vain);
        self.by_luck.iter_mut().map(|luck| &mut luck.remedy).for_each(complete);
        self
    }

    /// Adds the state, and the impact that it follows from.
    pub(crate) fn with_state(self, (state, impact): (StateWord, Option<Impact>)) -> Self {
        Self { state: Some(state), gated_impact: impact, ..self }
    }

    /// Returns the verdict for a table: `refused` for an object that KubeVirt refuses, and the worse one of a guest
    /// that nothing migrates, or to which all nodes that fit are closed.
    pub(crate) fn word(&self) -> &'static str {
        let worse = self.gated_impact.filter(|gated| Some(*gated) > self.impact);
        match worse.map(OutcomeWord::from) {
            _ if !self.refusals.is_empty() => "refused",
            Some(worse) => worse.as_str(),
            None => self.verdict.as_str(),
        }
    }
}

fn nodes(verdict: &Verdict, subject: &Subject<'_>, fleet: &Fleet) -> ResultNodes {
    let row = |rule: &Arc<AffinityRule>| AffinityRow {
        condition: rule.to_string(),
        asked_by: subject.authors.of_rule(rule).map(|asked| say::author::who(&asked.author)),
    };
    ResultNodes {
        judged: verdict.assessment.nodes_judged,
        fitting: fleet.names(&verdict.assessment.fitting).into_iter().map(str::to_owned).collect(),
        no_room: BTreeMap::new(),
        by_preemption: Vec::new(),
        blocked: verdict.blocked.iter().map(|blocked| (blocked.node.clone(), blocked.reasons())).collect(),
        doubtful: verdict
            .doubtful()
            .map(|(node, lacks)| {
                let entry = |(key, value): &(String, String)| SelectorEntry {
                    key: key.clone(),
                    value: value.clone(),
                    has: None,
                    asked_by: None,
                };
                (node.clone(), lacks.iter().map(entry).collect())
            })
            .collect(),
        affinity: verdict
            .excluded
            .iter()
            .map(|node| (node.node.clone(), node.conditions.iter().map(row).collect()))
            .collect(),
        excluded: verdict
            .excluded
            .iter()
            .map(|node| (node.node.clone(), node.conditions.iter().map(ToString::to_string).collect()))
            .collect(),
    }
}

fn near(near: &Nearest, authors: &Authors) -> Near {
    Near {
        node: near.node.clone(),
        missing: near
            .missing
            .iter()
            .map(|(key, value)| SelectorEntry {
                key: key.clone(),
                value: value.clone(),
                has: near.has.get(key).cloned(),
                asked_by: authors.of_entry(key).map(|asked| say::author::who(&asked.author)),
            })
            .collect(),
        untrue: near.untrue.iter().map(|(key, _)| key.clone()).collect(),
        evidence: Some(near.evidence).filter(|evidence| *evidence != Evidence::None),
    }
}

fn by_start(subject: &Subject<'_>, verdict: &Verdict, fleet: &Fleet) -> Option<BTreeMap<String, usize>> {
    let Stage::Start(after_start) = subject.stage else { return None };
    let mut out = BTreeMap::new();
    for (count, nodes) in targets_by_start(subject, &subject.placement, after_start, &verdict.assessment.fitting, fleet)
    {
        out.extend(nodes.iter().map(|node| (fleet.name(node).to_owned(), count)));
    }
    Some(out)
}

/// Returns the field to blame, if an object of this kind has it: the guest of a result may be judged by its migration,
/// a VirtualMachine by its VMI, and a VMI by its VirtualMachine.
fn field_of(kind: &str, field: &str, subject: &Subject<'_>) -> String {
    let is_kind = |resource: Resource| resource.kind() == kind;
    let is_of_it = if is_kind(Resource::Pods) {
        ["spec.nodeSelector", "spec.affinity", "metadata"].iter().any(|known| field.starts_with(known))
    } else if let Stage::Migration(_) = subject.stage {
        is_kind(Resource::Migrations)
    } else {
        is_kind(Resource::Vmis) == (subject.definition.field_root == "spec")
    };
    if is_of_it { field.to_owned() } else { String::new() }
}

fn finding_row(finding: &Finding, kind: &str, subject: &Subject<'_>, counted: Counted, fleet: &Fleet) -> FindingRow {
    FindingRow {
        check: finding.check.as_str(),
        impact: finding.impact,
        field: field_of(kind, &finding.field, subject),
        message: say::finding::message(finding),
        remedies: finding.remedies.iter().map(|remedy| RemedyRow::of(remedy, subject, counted, fleet)).collect(),
    }
}

fn by_luck<'r>(
    remedies: impl IntoIterator<Item = &'r Remedy>,
    prepared: &Prepared<'_>,
    counted: Counted,
    fleet: &Fleet,
) -> Vec<ByLuckRow> {
    let row = |remedy: &Remedy| {
        let why = say::remedy::depends(remedy.luck.as_ref()?, &prepared.subject);
        Some(ByLuckRow { why, remedy: RemedyRow::of(remedy, &prepared.subject, counted, fleet) })
    };
    remedies.into_iter().filter_map(row).collect()
}

impl RemedyRow {
    /// Builds the row of a remedy, without obstacles.
    pub(super) fn of(remedy: &Remedy, subject: &Subject<'_>, counted: Counted, fleet: &Fleet) -> Self {
        let Remedy { action, then_fits: (min, max), luck: _ } = remedy;
        Self {
            id: action.id().as_str(),
            summary: say::remedy::summary(action, subject),
            action: action.clone(),
            outage: action.outage(subject),
            risk: action.risk(subject, fleet),
            then_fits: ThenFits { of: counted, min: *min, max: *max },
            commands: action.commands(subject).lines(),
            undo: action.undo().map(|command| command.to_string()),
            in_the_way: Vec::new(),
            is_in_vain: false,
        }
    }
}
