//! What is to be said about a verdict: findings, nearest nodes, remedies, and what would not help.

use super::assess::{assess, start_groups};
use super::bits::Bits;
use super::fleet::{Fleet, NodeIndex, Passes};
use super::label::{self, Family};
use super::models;
use super::placement::Placement;
use super::remedy::{Action, Remedy};
use super::subject::{HostModelRule, Stage, Start, Subject};
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
    /// Its identifier, as [`Action::id`] spells it.
    pub id: &'static str,
    /// Why not.
    pub why: String,
    /// How many nodes would fit, at least and at most, where luck decides.
    pub then_fits: Option<(usize, usize)>,
}

/// Fills in the verdict's nearest nodes and findings.
pub fn advise(subject: &Subject<'_>, fleet: &Fleet, verdict: &mut Verdict) -> Advice {
    let case = Case::new(subject, fleet);
    verdict.nearest = case.nearest();
    let mut advice = Advice { blocked: case.blocked(), not_helping: Vec::new() };
    let mut findings = Vec::new();
    match &verdict.outcome {
        Outcome::Unknown(why) => findings.push(note(Check::Unknown, why.clone())),
        Outcome::Fits => {}
        Outcome::Impaired(impact) => {
            let remedies = case.remedies(verdict);
            advice.not_helping = case.not_helping(&remedies, verdict);
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
    findings.extend(case.own_node());
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

/// A subject looked up in the fleet.
struct Case<'s, 'f> {
    subject: &'s Subject<'s>,
    fleet: &'f Fleet,
    source: Option<NodeIndex>,
    passes: Passes,
}

impl<'s, 'f> Case<'s, 'f> {
    fn new(subject: &'s Subject<'s>, fleet: &'f Fleet) -> Self {
        let source = subject.source().and_then(|name| fleet.find(name));
        let mut passes = fleet.look_up(&subject.placement).passes();
        for set in [&mut passes.cpu, &mut passes.placement, &mut passes.fitting] {
            source.into_iter().for_each(|node| set.remove(node));
        }
        Self { subject, fleet, source, passes }
    }

    fn is_migration(&self) -> bool {
        matches!(self.subject.stage, Stage::Migration(_))
    }

    fn nearest(&self) -> Vec<Nearest> {
        let lookup = self.fleet.look_up(&self.subject.placement);
        let mut nodes = lookup.nearest(self.source, NEAREST);
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
                let missing = lookup.missing(node);
                let evidence = self.evidence(node, &missing);
                Nearest { node: self.fleet.name(node).to_owned(), missing, evidence }
            })
            .collect()
    }

    fn blocked(&self) -> Vec<(String, Vec<String>)> {
        let lookup = self.fleet.look_up(&self.subject.placement);
        let mut nodes = self.passes.placement.clone();
        nodes.subtract(&self.passes.fitting);
        let mut out: Vec<(String, Vec<String>)> = nodes
            .iter()
            .filter_map(|node| {
                let refusal = lookup.refusal(node);
                if !refusal.is_blocked() {
                    return None;
                }
                let mut why: Vec<String> = if refusal.cordoned { vec!["cordoned".to_owned()] } else { Vec::new() };
                why.extend(refusal.taints.iter().map(|taint| format!("taint {taint}")));
                Some((self.fleet.name(node).to_owned(), why))
            })
            .collect();
        out.sort_unstable();
        out
    }

    /// What a lack says about the hardware behind it.
    fn evidence(&self, node: NodeIndex, missing: &[(String, String)]) -> Evidence {
        let lacks: Vec<&(String, String)> = missing.iter().filter(|(key, _)| Family::of(key).is_profile()).collect();
        if lacks.is_empty() {
            return Evidence::None;
        }
        let source_lacks =
            |(key, value): &(String, String)| self.source.is_some_and(|s| self.fleet.label(s, key) != Some(value));
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
            self.fleet.label(node, &format!("{twin}{}", label::name(key))).is_some()
        };
        let drifted = alike && lacks.iter().all(|entry| source_lacks(entry) || frozen || own_host_model_has(&entry.0));
        if drifted { Evidence::Drifted } else { Evidence::OtherHardware }
    }

    /// Entries that no node at all meets, the source included.
    fn nowhere(&self) -> Vec<(String, String)> {
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
        match (&self.subject.stage, impact) {
            (Stage::Migration(_), Impact::Fragile) => {
                let only = self.fleet.names(&verdict.fitting).join(", ");
                format!("can migrate to one node only: {only}")
            }
            (Stage::Migration(migration), _) => {
                let others = match (total, migration.from_elsewhere) {
                    (0, _) => return "cannot migrate: there is no other node".to_owned(),
                    (1, false) => "the only other node does not meet its selector or is not free".to_owned(),
                    (_, true) => format!("none of {total} nodes meets its selector and is free"),
                    _ => format!("none of the {total} other nodes meets its selector and is free"),
                };
                let now = if verdict.cause == Some(Cause::Structural) { "" } else { " now" };
                format!("cannot migrate{now}: {others}")
            }
            (Stage::Start(_), Impact::Unschedulable) => {
                let none =
                    if total == 1 { "the only node does".to_owned() } else { format!("none of {total} nodes does") };
                match verdict.cause {
                    Some(Cause::Temporary) => format!(
                        "cannot start now: {none} takes it as things stand",
                        none = none.trim_end_matches(" does")
                    ),
                    _ => format!("cannot start: {} meets its selector and is free", none.trim_end_matches(" does")),
                }
            }
            (Stage::Start(onward), _) => self.lottery(*onward, verdict),
        }
    }

    /// Where it may start, and where it could go from there.
    fn lottery(&self, onward: super::subject::Onward, verdict: &Verdict) -> String {
        let groups = start_groups(&self.subject.placement, onward, &verdict.fitting, self.fleet);
        let (Some(worst), Some(best)) =
            (groups.iter().min_by_key(|g| g.fewest()), groups.iter().max_by_key(|g| g.fewest()))
        else {
            return "can start nowhere".to_owned();
        };
        let where_to = |count: usize| match count {
            0 => "it could never leave".to_owned(),
            1 => "it could go to 1 node only".to_owned(),
            many => format!("it could go to {many} nodes"),
        };
        let names = |nodes: &Bits| label::fold_names(&self.fleet.names(nodes), 2);
        let uses = match onward.host_model {
            HostModelRule::NotAsked => format!("uses {}", self.subject.mode),
            _ => "uses host-model".to_owned(),
        };
        let mut out = format!("{uses}: started on {} {}", names(&worst.nodes), where_to(worst.fewest()));
        if best.fewest() > worst.fewest() {
            out.push_str(&format!("; started on {} {}", names(&best.nodes), where_to(best.fewest())));
        }
        out
    }

    fn own_node(&self) -> Option<Finding> {
        let running = self.subject.running.as_ref()?;
        let node = self.fleet.find(&running.node)?;
        let mut placement = running.placement.clone();
        placement.node_name = None;
        let refusal = self.fleet.look_up(&placement).refusal(node);
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

    fn libvirt_refused(&self) -> Option<Finding> {
        let refused = self.subject.refused.as_ref()?;
        let to = if refused.target.is_empty() { String::new() } else { format!(", to {},", refused.target) };
        let mut remedies = Vec::new();
        if self.subject.restart.is_some() {
            remedies.push(Remedy { action: Action::Restart, then_fits: self.after_restart() });
        }
        Some(Finding {
            check: Check::LibvirtRefused,
            impact: None,
            field: "status.migrationState.failureReason".to_owned(),
            message: format!("the last try{to} failed in libvirt, whatever the labels say: {}", refused.reason),
            remedies,
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
                "CPU model {name} is known on {known} of {total} nodes, usable on 0 of {total}: cpu-model-migration \
                 labels do not mean usable"
            ),
            remedies: Vec::new(),
        })
    }

    /// The same label required and forbidden: accepted by KubeVirt, never schedulable.
    fn contradiction(&self) -> Option<Finding> {
        use super::placement::Expression;
        let affinity = self.subject.placement.affinity.as_ref()?;
        let forbids = |key: &str| {
            !affinity.terms.is_empty()
                && affinity
                    .terms
                    .iter()
                    .all(|term| term.expressions.iter().any(|e| matches!(e, Expression::DoesNotExist(k) if k == key)))
        };
        let (key, value) = self.subject.placement.selector.iter().find(|(key, _)| forbids(key))?;
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
            note(Check::NotReady, format!("{names} fits by labels and taints, but is not Ready"))
        })
    }

    /// The fewest and most targets after a restart as it is.
    fn after_restart(&self) -> (usize, usize) {
        self.subject.restart.as_ref().map_or((0, 0), |start| self.outlook(start).0)
    }

    /// Targets after a start, fewest and most; and whether it may start at the source.
    fn outlook(&self, start: &Start<'_>) -> ((usize, usize), Bits) {
        let fitting = self.fleet.look_up(&start.placement).passes().fitting;
        let groups = start_groups(&start.placement, start.onward, &fitting, self.fleet);
        let range = (
            groups.iter().map(super::assess::StartGroup::fewest).min().unwrap_or(0),
            groups.iter().map(|g| g.targets.count()).max().unwrap_or(0),
        );
        (range, fitting)
    }

    /// Whether starting anew is certain to cure: every start leaves it a target, or at least it gets off a
    /// cordoned source.
    fn restart_cures(&self, start: &Start<'_>) -> Option<(usize, usize)> {
        let (range, fitting) = self.outlook(start);
        if fitting.is_empty() {
            return None;
        }
        let leaves = self.source.is_some_and(|s| self.fleet.is_cordoned(s) && !fitting.contains(s));
        let wanted = if self.subject.source().is_some() || !self.is_migration() { 1 } else { 0 };
        (range.0 >= wanted || leaves).then_some(range)
    }

    fn remedies(&self, verdict: &Verdict) -> Vec<Remedy> {
        let mut out: Vec<Remedy> = Vec::new();
        out.extend(self.uncordon());
        out.extend(self.mend_virt_handler());
        out.extend(self.drop_wish());
        out.extend(self.remove_skip_node(verdict));
        out.extend(self.add_labels(verdict));
        out.extend(self.drop_stale());
        out.extend(self.remove_labels(verdict));
        out.extend(self.change_selector());
        if let Some(start) = self.subject.restart.as_ref().filter(|_| self.is_migration())
            && let Some(range) = self.restart_cures(start)
        {
            out.push(Remedy { action: Action::Restart, then_fits: range });
        }
        out.extend(self.use_model());
        out.extend(self.change_machine_type());
        out.extend(self.remove_tsc_label());
        out.extend(self.add_node());
        out.retain(|remedy| self.keeps(remedy, verdict));
        out
    }

    /// A remedy is a promise: what it leaves behind is judged before it is offered.
    fn keeps(&self, remedy: &Remedy, verdict: &Verdict) -> bool {
        let (after, fleet) = remedy.action.apply(self.subject, self.fleet);
        let better = assess(&after, &fleet);
        match (&better.outcome, verdict.outcome.impact()) {
            (Outcome::Fits, _) => true,
            (Outcome::Unknown(_), _) => false,
            (Outcome::Impaired(now), Some(before)) => {
                *now < before
                    || (self.is_migration() && matches!(after.stage, Stage::Start(_)) && *now < Impact::Unschedulable)
            }
            (Outcome::Impaired(_), None) => false,
        }
    }

    fn after(&self, add: usize) -> (usize, usize) {
        let count = self.passes.fitting.count() + add;
        (count, count)
    }

    fn uncordon(&self) -> Option<Remedy> {
        let lookup = self.fleet.look_up(&self.subject.placement);
        let mut candidates = self.passes.placement.clone();
        candidates.subtract(&self.passes.fitting);
        let mut nodes = Bits::none(self.fleet.len());
        for node in candidates.iter() {
            let refusal = lookup.refusal(node);
            if refusal.is_blocked() && refusal.cordoned && refusal.taints.is_empty() {
                nodes.insert(node);
            }
        }
        let names: Vec<String> = self.fleet.names(&nodes).into_iter().map(str::to_owned).collect();
        (!names.is_empty()).then(|| Remedy { action: Action::Uncordon { nodes: names }, then_fits: self.after(1) })
    }

    fn mend_virt_handler(&self) -> Option<Remedy> {
        let lookup = self.fleet.look_up(&self.subject.placement);
        let mut candidates = self.passes.placement.clone();
        candidates.subtract(&self.passes.fitting);
        let mut names: Vec<String> = candidates
            .iter()
            .filter(|&node| {
                let refusal = lookup.refusal(node);
                !refusal.cordoned
                    && refusal.taints.is_empty()
                    && matches!(refusal.missing.as_slice(), [(key, _)] if Family::of(key) == Family::Schedulable)
            })
            .map(|node| self.fleet.name(node).to_owned())
            .collect();
        names.sort_unstable();
        let count = names.len();
        (count > 0).then(|| Remedy { action: Action::MendVirtHandler { nodes: names }, then_fits: self.after(count) })
    }

    fn drop_wish(&self) -> Option<Remedy> {
        let Stage::Migration(migration) = &self.subject.stage else { return None };
        let keys: Vec<String> = migration.wish.iter().map(|(key, _)| key.clone()).collect();
        if keys.is_empty() {
            return None;
        }
        let action = Action::DropWish { keys };
        let count = self.fitting_after(&action);
        (count > self.passes.fitting.count()).then_some(Remedy { action, then_fits: (count, count) })
    }

    fn fitting_after(&self, action: &Action) -> usize {
        let (after, fleet) = action.apply(self.subject, self.fleet);
        assess(&after, &fleet).fitting.count()
    }

    /// The nodes that lack least and would be free if they lacked nothing.
    fn curable<'v>(&self, verdict: &'v Verdict) -> impl Iterator<Item = (NodeIndex, &'v Nearest)> {
        let fleet = self.fleet;
        verdict
            .nearest
            .iter()
            .filter(|near| matches!(near.evidence, Evidence::Drifted | Evidence::SourceLacksToo))
            .filter_map(move |near| Some((fleet.find(&near.node)?, near)))
    }

    fn remove_skip_node(&self, verdict: &Verdict) -> Option<Remedy> {
        let source = self.source?;
        let (node, near) = self.curable(verdict).find(|(node, _)| self.fleet.skip_node(*node).is_some())?;
        let action = Action::RemoveSkipNode {
            node: near.node.clone(),
            value: self.fleet.skip_node(node).unwrap_or_default().to_owned(),
            like: self.fleet.name(source).to_owned(),
        };
        let count = self.fitting_after(&action);
        (near.evidence == Evidence::Drifted && count > self.passes.fitting.count())
            .then_some(Remedy { action, then_fits: (count, count) })
    }

    fn add_labels(&self, verdict: &Verdict) -> Option<Remedy> {
        let can_be_made = |(key, _): &(String, String)| {
            matches!(Family::of(key), Family::CpuFeature | Family::CpuModelMigration | Family::CpuVendor)
        };
        let (_, near) = self.curable(verdict).find(|(_, near)| near.missing.iter().all(can_be_made))?;
        let action = Action::AddLabels { node: near.node.clone(), labels: near.missing.clone() };
        let count = self.fitting_after(&action);
        (count > self.passes.fitting.count()).then_some(Remedy { action, then_fits: (count, count) })
    }

    fn drop_stale(&self) -> Option<Remedy> {
        let Stage::Migration(_) = &self.subject.stage else { return None };
        let inherited = |key: &str| Family::of(key) == Family::CpuFeature && !self.subject.is_own(key);
        let keys: Vec<String> = self.nowhere().into_iter().map(|(key, _)| key).filter(|key| inherited(key)).collect();
        let all = self.subject.placement.selector.iter().filter(|(key, _)| inherited(key)).count();
        // The last inherited feature stays: without any, the next migration takes a newer CPU for the guest's.
        if keys.is_empty() || keys.len() >= all {
            return None;
        }
        let action = Action::DropStale { keys };
        let count = self.fitting_after(&action);
        (count > self.passes.fitting.count()).then_some(Remedy { action, then_fits: (count, count) })
    }

    /// Only for a guest that never migrated, and only where labels drifted: else libvirt would refuse.
    fn remove_labels(&self, verdict: &Verdict) -> Option<Remedy> {
        let Stage::Migration(migration) = &self.subject.stage else { return None };
        let source = self.source.filter(|_| !migration.inherited)?;
        let twin = |key: &str| format!("{}{}", label::HOST_MODEL_REQUIRED, label::name(key));
        let from_source = |(key, _): &(String, String)| {
            Family::of(key) == Family::CpuFeature && self.fleet.label(source, &twin(key)).is_some()
        };
        let (_, near) = self.curable(verdict).find(|(_, near)| near.missing.iter().all(from_source))?;
        let action = Action::RemoveLabels {
            node: self.fleet.name(source).to_owned(),
            keys: near.missing.iter().map(|(key, _)| twin(key)).collect(),
        };
        // Where the source has no such label either, adding it elsewhere is the honest cure.
        let count = self.fitting_after(&action);
        (near.evidence == Evidence::Drifted && count > self.passes.fitting.count())
            .then_some(Remedy { action, then_fits: (count, count) })
    }

    fn change_selector(&self) -> Option<Remedy> {
        let keys: Vec<String> = self
            .subject
            .own_selector
            .iter()
            .map(|(key, _)| key.clone())
            .filter(|key| self.subject.placement.get(key).is_some())
            .collect();
        if keys.is_empty() || self.passes.cpu.is_empty() {
            return None;
        }
        let action = Action::ChangeSelector { keys };
        let count = self.fitting_after(&action);
        (count > self.passes.fitting.count()).then_some(Remedy { action, then_fits: (count, count) })
    }

    fn use_model(&self) -> Option<Remedy> {
        let start = self.subject.restart.as_ref()?;
        let (model, nodes, also) = self.common_model(start)?;
        if start.mode == super::subject::CpuMode::Named(model.clone()) {
            return None;
        }
        let range = self.restart_cures(&start.with_model(&model))?;
        Some(Remedy { action: Action::UseModel { model, nodes, also }, then_fits: range })
    }

    /// The most modern model that the most nodes can run, of those the guest may run on at all.
    fn common_model(&self, start: &Start<'_>) -> Option<(String, Vec<String>, Vec<String>)> {
        let passes = |model: &str| self.fleet.look_up(&start.with_model(model).placement).passes().placement;
        let mut best: Option<(String, Bits)> = None;
        for vendor in self.vendors() {
            let mut names: Vec<&str> = Vec::new();
            for node in self.fleet.bearing(&format!("{}{vendor}", label::CPU_VENDOR), "true").iter() {
                names.extend(self.fleet.names_under(node, Family::CpuModel));
            }
            names.sort_unstable();
            names.dedup();
            for model in models::ranked(names, vendor) {
                let nodes = passes(model);
                if nodes.count() >= 2 && best.as_ref().is_none_or(|(_, best)| nodes.count() > best.count()) {
                    best = Some((model.to_owned(), nodes));
                }
            }
        }
        let (model, nodes) = best?;
        let mut also: Vec<String> = Vec::new();
        if let Some(node) = nodes.iter().next() {
            for other in self.fleet.names_under(node, Family::CpuModel) {
                if other != model && models::same_family(other, &model) && passes(other) == nodes {
                    also.push(other.to_owned());
                }
            }
        }
        let names = self.fleet.names(&nodes).into_iter().map(str::to_owned).collect();
        Some((model, names, also))
    }

    /// The vendors whose models come into question: that of the node it runs on, else all.
    fn vendors(&self) -> Vec<&'f str> {
        let running = self.subject.running.as_ref().and_then(|running| self.fleet.find(&running.node));
        if let Some(node) = self.source.or(running) {
            return self.fleet.names_under(node, Family::CpuVendor);
        }
        let mut out: Vec<&str> = Vec::new();
        for (class, _) in self.fleet.split_by_class(&Bits::all(self.fleet.len())) {
            out.extend(class.vendors.iter().map(|key| label::name(key)));
        }
        out.sort_unstable();
        out.dedup();
        out
    }

    fn change_machine_type(&self) -> Option<Remedy> {
        let start = self.subject.restart.as_ref()?;
        let (key, value) = start.placement.selector.iter().find(|(key, _)| Family::of(key) == Family::MachineType)?;
        let from = label::name(key);
        let mut without = start.placement.clone();
        without.selector.retain(|(k, _)| k != key);
        let could = self.fleet.look_up(&without).passes().fitting;
        if !self.fleet.bearing(key, value).is_empty() && could.count_common(&self.fleet.bearing(key, value)) > 0 {
            return None;
        }
        let family = if from.contains("q35") { "q35" } else { from };
        let mut offers: Vec<(usize, bool, &str)> = Vec::new();
        for node in could.iter() {
            for name in self.fleet.names_under(node, Family::MachineType) {
                let kind = name == family || name.contains(family);
                if kind && !offers.iter().any(|(_, _, known)| *known == name) {
                    let bearing = self.fleet.bearing(&format!("{}{name}", label::MACHINE_TYPE), "true");
                    offers.push((bearing.count_common(&could), name == family, name));
                }
            }
        }
        let (count, _, to) = offers.into_iter().max()?;
        let action = Action::ChangeMachineType { from: from.to_owned(), to: to.to_owned() };
        Some(Remedy { action, then_fits: (count, count) })
    }

    /// The lowest TSC frequency of the fleet came from a node that takes no guests.
    fn remove_tsc_label(&self) -> Option<Remedy> {
        let (key, value) =
            self.subject.placement.selector.iter().find(|(k, _)| Family::of(k) == Family::SchedulingTsc)?;
        let bearing = self.fleet.bearing(key, value);
        let mut others = Bits::all(self.fleet.len());
        others.subtract(&bearing);
        if bearing.count() != 1 || bearing.count_common(&self.passes.fitting) > 0 {
            return None;
        }
        let node = bearing.iter().next()?;
        let frequency = others
            .iter()
            .filter_map(|other| self.fleet.label(other, label::TSC_FREQUENCY)?.parse::<i64>().ok())
            .min()?;
        let action = Action::RemoveTscLabel { node: self.fleet.name(node).to_owned(), frequency };
        let count = self.fitting_after(&action);
        (count > 0).then_some(Remedy { action, then_fits: (count, count) })
    }

    fn add_node(&self) -> Option<Remedy> {
        let source = self.source?;
        let placement: &Placement<'_> = &self.subject.placement;
        let refusal = self.fleet.look_up(placement).refusal(source);
        let fits = refusal.missing.is_empty() && refusal.affinity.is_empty() && refusal.taints.is_empty();
        fits.then(|| Remedy {
            action: Action::AddNode { like: self.fleet.name(source).to_owned() },
            then_fits: self.after(1),
        })
    }

    /// The founding remedies that are not offered, each with its reason.
    fn not_helping(&self, offered: &[Remedy], verdict: &Verdict) -> Vec<NotHelping> {
        let is_offered = |id: &str| offered.iter().any(|remedy| remedy.action.id() == id);
        let mut out = Vec::new();
        let mut say = |id: &'static str, why: Option<(String, Option<(usize, usize)>)>| {
            if let Some((why, then_fits)) = why.filter(|_| !is_offered(id)) {
                out.push(NotHelping { id, why, then_fits });
            }
        };
        say("uncordon", Some((self.why_no_uncordon(), None)));
        say("restart", self.why_no_restart(verdict));
        say("restart-with-common-model", Some((self.why_no_model(verdict), None)));
        say("add-labels", Some((self.why_no_labels(verdict), None)));
        say("remove-labels", self.why_no_removal().map(|why| (why, None)));
        say("drop-stale", self.why_no_drop().map(|why| (why, None)));
        out
    }

    fn why_no_uncordon(&self) -> String {
        match self.source.filter(|&source| self.fleet.is_cordoned(source)) {
            Some(source) => format!(
                "the cordon of {}, where the guest runs, is not the cause; no other cordoned node would take it",
                self.fleet.name(source)
            ),
            None => "no cordoned node would take it".to_owned(),
        }
    }

    fn why_no_restart(&self, verdict: &Verdict) -> Option<(String, Option<(usize, usize)>)> {
        let Some(start) = self.subject.restart.as_ref().filter(|_| self.is_migration()) else {
            return self
                .asks_for_tsc()
                .then(|| ("waiting or restarting computes the same TSC frequency again".to_owned(), None));
        };
        let (range, fitting) = self.outlook(start);
        let why = if fitting.is_empty() {
            "it could start nowhere: stop it and it stays down".to_owned()
        } else if range.1 == 0 || verdict.outcome.impact().is_none() {
            "wherever it starts, its first migration asks for as much again".to_owned()
        } else {
            let stuck: Vec<&str> = start_groups(&start.placement, start.onward, &fitting, self.fleet)
                .iter()
                .filter(|group| group.fewest() == 0)
                .flat_map(|group| group.nodes.iter().filter(|&n| group.targets_from(n) == 0).collect::<Vec<_>>())
                .map(|node| self.fleet.name(node))
                .collect();
            format!("luck decides: started on {} it would be stuck again", label::fold_names(&stuck, 3))
        };
        Some((why, Some(range)))
    }

    fn asks_for_tsc(&self) -> bool {
        self.subject.placement.selector.iter().any(|(key, _)| Family::of(key) == Family::SchedulingTsc)
    }

    fn why_no_model(&self, verdict: &Verdict) -> String {
        let lacks = |family: Family| {
            verdict.nearest.iter().any(|near| near.missing.iter().any(|(key, _)| Family::of(key) == family))
        };
        if lacks(Family::SchedulingTsc) {
            "it would still ask for the TSC frequency".to_owned()
        } else if lacks(Family::Schedulable) && verdict.cause == Some(Cause::Temporary) {
            "not a matter of CPU models".to_owned()
        } else if self.subject.restart.is_none() {
            "how the guest would start is not known here".to_owned()
        } else {
            "no named model is usable on two nodes it may run on".to_owned()
        }
    }

    fn why_no_labels(&self, verdict: &Verdict) -> String {
        let lacks = |family: Family| {
            verdict.nearest.iter().any(|near| near.missing.iter().any(|(key, _)| Family::of(key) == family))
        };
        if lacks(Family::SchedulingTsc) {
            "virt-controller owns the tsc-frequency label: skip-node does not keep a hand-made one".to_owned()
        } else if verdict.nearest.iter().any(|near| near.evidence == Evidence::OtherHardware) {
            "other hardware: libvirt would refuse even if the labels were added".to_owned()
        } else if lacks(Family::Schedulable) {
            "virt-handler's heartbeat would undo it within the minute".to_owned()
        } else if lacks(Family::MachineType) {
            "a label does not make QEMU offer the machine type".to_owned()
        } else {
            "CPU labels are not what is missing".to_owned()
        }
    }

    fn why_no_removal(&self) -> Option<String> {
        match &self.subject.stage {
            Stage::Migration(migration) if migration.inherited => {
                Some("this pod already has a selector: labels taken off a node change nothing".to_owned())
            }
            Stage::Migration(_) => Some("what is missing is missing in hardware, or is asked by name".to_owned()),
            Stage::Start(_) => (!self.asks_for_tsc()).then(|| "no label too many is the cause".to_owned()),
        }
    }

    fn why_no_drop(&self) -> Option<String> {
        if !self.is_migration() {
            return Some("it has inherited nothing".to_owned());
        }
        let nowhere = self.nowhere();
        Some(if nowhere.iter().any(|(key, _)| Family::of(key) == Family::CpuModelMigration) {
            "a stale model key is not met by it, which drops feature keys only".to_owned()
        } else if nowhere.is_empty() {
            "nothing is stale: every key it asks for is offered by some node".to_owned()
        } else {
            "dropping the stale keys alone would free no node".to_owned()
        })
    }
}
