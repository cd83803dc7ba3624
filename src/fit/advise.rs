//! What is to be said about a verdict: findings, nearest nodes, remedies, and what would not help.

use std::collections::BTreeMap;

use super::assess::start_groups;
use super::bits::Bits;
use super::fleet::{Fleet, Lookup, NodeIndex, Passes};
use super::label::{self, Family};
use super::node::Taint;
use super::placement::Placement;
use super::subject::{Stage, Subject};
use super::verdict::{Cause, Check, Evidence, Finding, Impact, Nearest, Outcome, Verdict};

/// How many nearest nodes are named.
const NEAREST: usize = 3;

/// Advice beyond the verdict's findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// Nodes on which all but a cordon or a taint fits, with the reason.
    pub blocked: Vec<(String, Vec<String>)>,
    /// Well-known remedies that would not help here, and why.
    pub not_helping: Vec<NotHelping>,
}

/// A well-known remedy that would not help here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotHelping {
    /// Its identifier, as [`Action::id`](super::remedy::Action::id) spells it.
    pub id: &'static str,
    /// Why not.
    pub why: String,
    /// How many nodes would fit, at least and at most, where luck decides.
    pub then_fits: Option<(usize, usize)>,
}

/// Fills in the verdict's nearest nodes and findings.
pub fn advise(subject: &Subject<'_>, fleet: &Fleet, verdict: &mut Verdict, depth: Depth) -> Advice {
    let case = Case::new(subject, fleet);
    verdict.nearest = case.nearest();
    let mut advice = Advice { blocked: case.blocked(), not_helping: Vec::new() };
    let mut findings = Vec::new();
    match &verdict.outcome {
        Outcome::Unknown(why) => findings.push(note(Check::Unknown, why.clone())),
        Outcome::Fits => {}
        Outcome::Impaired(impact) => {
            let remedies = if depth == Depth::Full { case.remedies(verdict) } else { Vec::new() };
            if depth == Depth::Full {
                advice.not_helping = case.not_helping(&remedies, verdict);
            }
            findings.push(Finding {
                check: match subject.stage {
                    Stage::Start(_) if *impact == Impact::Unschedulable => Check::StartNode,
                    _ => Check::MigrationTarget,
                },
                impact: Some(*impact),
                field: case.field(verdict),
                message: case.headline(*impact, verdict),
                remedies,
            });
        }
    }
    findings.extend(own_node(subject, fleet));
    if let Some(finding) = case.libvirt_refused() {
        if verdict.outcome == Outcome::Fits {
            advice.not_helping = ["add-labels", "remove-labels", "uncordon", "drop-stale"]
                .into_iter()
                .map(|id| NotHelping {
                    id,
                    why: "labels and cordons are not the cause: nodes fit, libvirt refused".to_owned(),
                    then_fits: None,
                })
                .collect();
        }
        findings.push(finding);
    }
    findings.extend(case.outdated_launcher());
    findings.extend(case.known_not_usable());
    findings.extend(case.contradiction());
    findings.extend(case.not_ready(&verdict.fitting));
    findings.sort_by_key(|finding| finding.check);
    verdict.findings = findings;
    advice
}

fn note(check: Check, message: String) -> Finding {
    Finding { check, impact: None, field: String::new(), message, remedies: Vec::new() }
}

/// The start nodes by how many nodes a guest started there could go to, fewest first.
#[must_use]
pub fn targets_by_start(
    placement: &Placement<'_>,
    onward: super::subject::Onward,
    start_nodes: &Bits,
    fleet: &Fleet,
) -> BTreeMap<usize, Bits> {
    let mut out: BTreeMap<usize, Bits> = BTreeMap::new();
    for group in start_groups(placement, onward, start_nodes, fleet) {
        for node in group.nodes.iter() {
            let nodes = out.entry(group.targets_from(node)).or_insert_with(|| Bits::none(fleet.len()));
            nodes.insert(node);
        }
    }
    out
}

/// How much is to be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What is wrong, and the nearest node: for requests that no person waits for.
    Brief,
    /// Remedies as well.
    Full,
}

/// What a node's lack of these entries says about the hardware behind it.
#[must_use]
pub fn evidence(subject: &Subject<'_>, fleet: &Fleet, node: NodeIndex, missing: &[(String, String)]) -> Evidence {
    Case::new(subject, fleet).evidence(node, missing)
}

/// Whether the guest's own node no longer meets the selector of the pod that runs there.
#[must_use]
pub fn own_node(subject: &Subject<'_>, fleet: &Fleet) -> Option<Finding> {
    let running = subject.running.as_ref()?;
    let node = fleet.find(&running.node)?;
    let refusal = fleet.look_up(&running.placement).refusal(node);
    if refusal.missing.is_empty() && refusal.affinity.is_empty() {
        return None;
    }
    let lacks = if refusal.missing.is_empty() {
        refusal.affinity.join(", ")
    } else {
        label::fold(refusal.missing.iter().map(|(k, v)| (k.as_str(), v.as_str())), 5)
    };
    Some(Finding {
        check: Check::OwnNode,
        impact: Some(Impact::Unschedulable),
        field: "spec.nodeSelector".to_owned(),
        message: format!(
            "its own node {} no longer meets its pod's selector ({lacks}): a restart of the kubelet there would \
             fail the running guest",
            running.node
        ),
        remedies: Vec::new(),
    })
}

/// A node on which all fits but what may pass.
pub(super) struct KeptOut {
    pub node: NodeIndex,
    pub cordoned: bool,
    pub taints: Vec<Taint>,
    pub unwell: bool,
}

/// A subject looked up in the fleet.
pub(super) struct Case<'s, 'f> {
    pub subject: &'s Subject<'s>,
    pub fleet: &'f Fleet,
    pub source: Option<NodeIndex>,
    pub lookup: Lookup<'f, 's>,
    pub passes: Passes,
}

impl<'s, 'f> Case<'s, 'f> {
    fn new(subject: &'s Subject<'s>, fleet: &'f Fleet) -> Self {
        let source = subject.source().and_then(|name| fleet.find(name));
        let lookup = fleet.look_up(&subject.placement);
        let mut passes = lookup.passes();
        if let Some(node) = source {
            passes.leave_out(node);
        }
        Self { subject, fleet, source, lookup, passes }
    }

    pub(super) fn is_migration(&self) -> bool {
        matches!(self.subject.stage, Stage::Migration(_))
    }

    fn nearest(&self) -> Vec<Nearest> {
        let mut nodes = self.lookup.nearest(self.source, NEAREST);
        // A host that was asked for by name is named first, however much it lacks.
        if let Stage::Migration(migration) = &self.subject.stage
            && let Some((_, host)) = migration.wish.iter().find(|(key, _)| key == label::HOSTNAME)
            && let Some(at) = nodes.iter().position(|&node| self.fleet.name(node) == host)
        {
            nodes[..=at].rotate_right(1);
        }
        nodes
            .into_iter()
            .map(|node| {
                let missing = self.lookup.missing(node);
                let evidence = self.evidence(node, &missing);
                Nearest { node: self.fleet.name(node).to_owned(), missing, evidence }
            })
            .collect()
    }

    fn blocked(&self) -> Vec<(String, Vec<String>)> {
        let mut out: Vec<(String, Vec<String>)> = self
            .kept_out()
            .into_iter()
            .filter(|kept| !kept.unwell)
            .map(|kept| {
                let mut why = if kept.cordoned { vec!["cordoned".to_owned()] } else { Vec::new() };
                why.extend(kept.taints.iter().map(|taint| format!("taint {taint}")));
                (self.fleet.name(kept.node).to_owned(), why)
            })
            .collect();
        out.sort_unstable();
        out
    }

    /// The nodes on which all fits but what may pass: cordon, taints, an unwell virt-handler.
    pub(super) fn kept_out(&self) -> Vec<KeptOut> {
        let mut nodes = self.passes.placement.clone();
        nodes.subtract(&self.passes.fitting);
        let well = self.subject.placement.selector.iter().find(|(key, _)| Family::of(key) == Family::Schedulable);
        nodes
            .iter()
            .map(|node| KeptOut {
                node,
                cordoned: self.lookup.is_kept_out_by_cordon(node),
                taints: self.lookup.untolerated(node),
                unwell: well.is_some_and(|(key, value)| self.fleet.label(node, key) != Some(value)),
            })
            .collect()
    }

    /// What a lack says about the hardware behind it.
    fn evidence(&self, node: NodeIndex, missing: &[(String, String)]) -> Evidence {
        let lacks: Vec<&(String, String)> = missing.iter().filter(|(key, _)| Family::of(key).is_profile()).collect();
        if lacks.is_empty() {
            return Evidence::None;
        }
        // What somebody wished for this one migration says nothing about the node the guest is on.
        let is_wish = |key: &str| match &self.subject.stage {
            Stage::Migration(migration) => migration.wishes(key),
            Stage::Start(_) => false,
        };
        let source_lacks = |(key, value): &(String, String)| {
            !is_wish(key) && self.source.is_some_and(|s| self.fleet.label(s, key) != Some(value))
        };
        if lacks.iter().all(|entry| source_lacks(entry)) {
            return Evidence::SourceLacksToo;
        }
        let Some(source) = self.source else { return Evidence::None };
        let host_model = |node| self.fleet.names_under(node, Family::HostModelCpu);
        let alike = host_model(node) == host_model(source) && !host_model(node).is_empty();
        let frozen = self.fleet.skip_node(node).is_some();
        let own_host_model_has = |key: &str| {
            let twin = match Family::of(key) {
                Family::CpuFeature => label::HOST_MODEL_REQUIRED,
                Family::CpuModelMigration => label::HOST_MODEL_CPU,
                _ => return false,
            };
            self.fleet.label(node, &label::twin(key, twin)).is_some()
        };
        let drifted = alike && lacks.iter().all(|entry| source_lacks(entry) || frozen || own_host_model_has(&entry.0));
        if drifted { Evidence::Drifted } else { Evidence::OtherHardware }
    }

    /// Entries that no node at all meets, the source included.
    pub(super) fn nowhere(&self) -> Vec<(String, String)> {
        let mut out: Vec<(String, String)> = self
            .subject
            .placement
            .selector
            .iter()
            .filter(|(key, value)| self.fleet.bearing(key, value).is_empty())
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        out.sort_unstable();
        out
    }

    fn field(&self, verdict: &Verdict) -> String {
        if self.subject.field_root.is_empty() {
            return "spec.nodeSelector".to_owned();
        }
        let missing = verdict.nearest.first().map(|nearest| nearest.missing.as_slice()).unwrap_or_default();
        let family = missing.first().map(|(key, _)| Family::of(key));
        let below = match family {
            Some(Family::MachineType) => "domain.machine.type",
            Some(Family::CpuFeature) if !self.is_migration() => "domain.cpu.features",
            _ if missing.iter().any(|(key, _)| self.subject.is_own(key)) => "nodeSelector",
            _ if verdict.cause == Some(Cause::Placement) => "nodeSelector",
            _ => "domain.cpu.model",
        };
        self.subject.field(below)
    }

    fn headline(&self, impact: Impact, verdict: &Verdict) -> String {
        let total = verdict.judged;
        let nowhere: Vec<(String, String)> =
            self.nowhere().into_iter().filter(|(key, _)| Family::of(key).is_cpu()).collect();
        if verdict.fitting.is_empty() && verdict.cause == Some(Cause::Structural) && !nowhere.is_empty() {
            let entries = label::fold(nowhere.iter().map(|(key, value)| (key.as_str(), value.as_str())), 3);
            let verb = if self.is_migration() { "migrate" } else { "start" };
            return format!("cannot {verb}: no node offers {entries}, which its selector requires");
        }
        match (&self.subject.stage, impact) {
            (Stage::Migration(_), Impact::Fragile) => {
                let only = self.fleet.names(&verdict.fitting).join(", ");
                format!("can migrate to one node only: {only}")
            }
            (Stage::Migration(migration), _) => {
                let others = match (total, migration.from_elsewhere) {
                    (0, _) => return "cannot migrate: there is no other node".to_owned(),
                    (1, false) => "the only other node does not meet its selector or is not free".to_owned(),
                    (_, true) => format!("none of {} meets its selector and is free", label::nodes(total)),
                    _ => format!("none of the {total} other nodes meets its selector and is free"),
                };
                let now = if verdict.cause == Some(Cause::Structural) { "" } else { " now" };
                format!("cannot migrate{now}: {others}")
            }
            (Stage::Start(_), Impact::Unschedulable) => {
                let none = if total == 1 {
                    "the only node does not take".to_owned()
                } else {
                    format!("none of {total} nodes takes")
                };
                match verdict.cause {
                    Some(Cause::Temporary) => format!("cannot start now: {none} it as things stand"),
                    _ => format!("cannot start: {none} it by its selector"),
                }
            }
            (Stage::Start(onward), _) => self.lottery(*onward, verdict),
        }
    }

    /// Where it may start, and where it could go from there.
    fn lottery(&self, onward: super::subject::Onward, verdict: &Verdict) -> String {
        let by_targets = targets_by_start(&self.subject.placement, onward, &verdict.fitting, self.fleet);
        let parts: Vec<String> = by_targets
            .iter()
            .take(4)
            .map(|(count, nodes)| {
                let names = label::fold_names(&self.fleet.names(nodes), 3);
                match count {
                    0 => format!("started on {names} it could never leave"),
                    1 => format!("on {names} it could go to 1 node only"),
                    many => format!("on {names} it could go to {many} nodes"),
                }
            })
            .collect();
        let text = parts.join("; ");
        let text = if text.starts_with("on ") { format!("started {text}") } else { text };
        format!("uses {}: {text}", self.subject.mode)
    }

    fn libvirt_refused(&self) -> Option<Finding> {
        let refused = self.subject.refused.as_ref()?;
        let to = if refused.target.is_empty() { String::new() } else { format!(", to {},", refused.target) };
        Some(Finding {
            check: Check::LibvirtRefused,
            impact: None,
            field: "status.migrationState.failureReason".to_owned(),
            message: format!("the last try{to} failed in libvirt, whatever the labels say: {}", refused.reason),
            remedies: self.restart_after_refusal().into_iter().collect(),
        })
    }

    fn outdated_launcher(&self) -> Option<Finding> {
        (self.subject.outdated_launcher && self.is_migration()).then(|| {
            note(
                Check::OutdatedLauncher,
                "runs in an outdated launcher: its QEMU is older than the one on any target; a restart ends that"
                    .to_owned(),
            )
        })
    }

    /// A model that nodes know but cannot run: manuals send users to those labels.
    fn known_not_usable(&self) -> Option<Finding> {
        let model = self.subject.placement.selector.iter().find(|(key, _)| Family::of(key) == Family::CpuModel)?;
        let name = label::name(&model.0);
        let usable = self.fleet.bearing(&model.0, "true").count();
        let known = self.fleet.bearing(&format!("{}{name}", label::CPU_MODEL_MIGRATION), "true").count();
        let total = self.fleet.len();
        (usable == 0 && known > 0).then(|| Finding {
            check: Check::ModelKnownNotUsable,
            impact: None,
            field: self.subject.field("domain.cpu.model"),
            message: format!(
                "CPU model {name} is known on {known} of {}, usable on 0 of {total}: cpu-model-migration \
                 labels do not mean usable",
                label::nodes(total)
            ),
            remedies: Vec::new(),
        })
    }

    /// The same label required and forbidden: accepted by KubeVirt, never schedulable.
    fn contradiction(&self) -> Option<Finding> {
        let forbidden = self.subject.placement.affinity.as_ref()?.forbidden_keys();
        let (key, value) = self.subject.placement.selector.iter().find(|(key, _)| forbidden.contains(&**key))?;
        Some(Finding {
            check: Check::Contradiction,
            impact: Some(Impact::Unschedulable),
            field: self.subject.field("domain.cpu.features"),
            message: format!("requires and forbids {}: no node can ever meet both", label::short(key, value)),
            remedies: Vec::new(),
        })
    }

    /// Only the Ready condition speaks against these: the scheduler goes by taints, so they fit.
    fn not_ready(&self, fitting: &Bits) -> Option<Finding> {
        let mut nodes = fitting.clone();
        nodes.intersect(self.fleet.not_ready());
        (!nodes.is_empty()).then(|| {
            let names = label::fold_names(&self.fleet.names(&nodes), 3);
            let (fits, is) = if nodes.count() == 1 { ("fits", "is") } else { ("fit", "are") };
            note(Check::NotReady, format!("{names} {fits} by labels and taints, but {is} not Ready"))
        })
    }
}
