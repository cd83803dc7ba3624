//! The answers of libvirt, if it was asked, next to the labels of each node, and the conclusions from both.

use std::collections::{BTreeMap, BTreeSet};

use crate::answers::libvirt_plan::{self, Survey};
use crate::answers::probe::{self, Probe};
use crate::cli::libvirt_rows::{ComparedRow, compared, lost_at_next_start, unlabelled};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::fit::libvirt::{Accelerator, Answers, Labelled, LibvirtAnswer, Lost, Provided, Silence, labelled};
use crate::fit::plural;
use crate::fit::subject::{CpuMode, Subject};
use crate::kubevirt::subject::Prepared;
use crate::page::Page;
use crate::say;
use crate::say::finding::incompatible;

/// Number of kinds of nodes listed one by one.
const MAX_GROUPS: usize = 4;

/// The facts about a guest from libvirt, in addition to labels.
pub(super) struct LibvirtWords<'s> {
    asked: &'s Answers,
    subject: &'s Subject<'s>,
    fleet: &'s Fleet,
}

impl<'s> LibvirtWords<'s> {
    /// Returns the facts; `None` if libvirt was not asked.
    pub(super) fn of(subject: &'s Subject<'s>, fleet: &'s Fleet) -> Option<Self> {
        let asked = subject.asked()?;
        Some(Self { asked, subject, fleet })
    }

    /// Returns lines about the guest's CPU, the labels of missing features, and the conclusions.
    pub(super) fn facts(&self) -> Vec<String> {
        let mut out = vec![match &self.asked.guest {
            Ok(guest) => format!("Its CPU, read from its libvirt: {}.", guest.cpu),
            Err(silence) => format!("Its CPU is not known from its libvirt ({silence})."),
        }];
        if self.asked.guest.is_err() {
            out.push("Judged by labels alone; libvirt checks again at the migration.".to_owned());
            return out;
        }
        out.extend(self.may_be_chosen());
        out.extend(self.labels_of_missing());
        out.extend(self.stale_host_models());
        out.extend(self.silent_hosts());
        let by = if self.asked.nodes.iter().any(|(node, said)| said.is_ok() && self.fleet.find(node).is_some()) {
            "labels and by libvirt, which"
        } else {
            "labels alone; libvirt"
        };
        out.push(format!(
            "Judged by {by} checks again at the migration; features that the target's QEMU adds (extra features), storage, \
             network and QEMU's version are not foreseen."
        ));
        out
    }

    /// Returns a note about nodes that fit by labels and are refused by libvirt, if there are other targets:
    /// kube-scheduler uses labels, and a failed migration of the evacuation controller is retried
    /// (`handleMigrationBackoff` in virt-controller's `migration.go`).
    fn may_be_chosen(&self) -> Option<String> {
        let refused = self.subject.refused_targets(self.fleet)?;
        let mut fitting = self.subject.fitting(self.fleet);
        if let Some(node) = self.subject.source().and_then(|name| self.fleet.find(name)) {
            fitting.remove(node);
        }
        if refused.is_empty() || fitting.is_empty() {
            return None;
        }
        Some(format!(
            "kube-scheduler goes by labels and may choose {}: that migration fails, and the guest stays where it is; one that a drain \
             brought about is tried again, later each time.",
            plural::or_names(&self.fleet.names(&refused), 6)
        ))
    }

    /// Whether libvirt confirms that a label is rightly missing: a node lacks the feature or model, or the guest runs
    /// without it.
    pub(super) fn finds_right(&self, key: &str) -> bool {
        let runs_without = || {
            let guest = self.asked.guest.as_ref().ok();
            let has = guest.and_then(|guest| guest.cpu.has(label::name(key)));
            Family::of(key) == Family::CpuFeature && has == Some(false)
        };
        let mut nodes = self.asked.hosts.keys();
        nodes.any(|node| self.asked.provides(node, key) == Provided::No) || runs_without()
    }

    /// Returns lines about the labels of the features that libvirt misses.
    fn labels_of_missing(&self) -> Vec<String> {
        let mut nowhere = BTreeSet::new();
        let mut wrong: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut unasked = BTreeSet::new();
        let others = self.asked.nodes.keys().filter(|name| self.subject.source() != Some(name));
        for (name, why) in others.filter_map(|name| Some((name, self.asked.refusal(name)?))) {
            let Some(node) = self.fleet.find(name) else { continue };
            for (feature, is) in labelled(self.fleet, node, &why.missing) {
                match is {
                    Labelled::Nowhere => drop(nowhere.insert(feature)),
                    Labelled::There => wrong.entry(name).or_default().push(feature),
                    Labelled::Elsewhere if !self.asks_for(feature) => drop(unasked.insert(feature)),
                    Labelled::Elsewhere => {}
                }
            }
        }
        let names = |set: &BTreeSet<&str>| plural::fold_names(&set.iter().collect::<Vec<_>>(), 8);
        let mut out: Vec<String> = Vec::new();
        if !nowhere.is_empty() {
            out.push(format!(
                "No node has a cpu-feature label for {}, so no selector can ask for it.",
                names(&nowhere)
            ));
        }
        let mut unlabelled: BTreeSet<&str> = unlabelled(self.asked, self.fleet).collect();
        unlabelled.retain(|name| *name != "hypervisor" && !nowhere.contains(name));
        if !unlabelled.is_empty() {
            out.push(format!("Its CPU has {}, which no label shows.", names(&unlabelled)));
        }
        if !unasked.is_empty() {
            out.push(format!("Its target's selector does not ask for cpu-feature {}.", names(&unasked)));
        }
        let mut alike: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
        for (node, features) in wrong {
            alike.entry(features).or_default().push(node);
        }
        let have = "have cpu-feature labels of what libvirt there does not provide";
        let line = |features: &Vec<&str>, nodes: &[&str]| {
            let have = plural::number(nodes.len(), "has", "have");
            let (nodes, features) = (plural::fold_names(nodes, 6), plural::fold_names(features, 8));
            format!("{nodes} {have} cpu-feature {features}, which libvirt there does not provide.")
        };
        out.extend(folded(&alike, have, line, |features| plural::fold_names(features, 4)));
        out
    }

    fn asks_for(&self, feature: &str) -> bool {
        let is = |key: &str| Family::of(key) == Family::CpuFeature && label::name(key) == feature;
        self.subject.placement.selector.iter().any(|(key, _)| is(key))
    }

    /// Returns a line about the nodes with a libvirt that reports another host model than their label.
    fn stale_host_models(&self) -> Option<String> {
        let mut alike: BTreeMap<(Vec<&str>, &str), Vec<&str>> = BTreeMap::new();
        for (name, host) in self.asked.hosts.iter() {
            let Some((node, model)) = self.fleet.find(name).zip(host.model.as_ref().map(|cpu| &cpu.model)) else {
                continue;
            };
            let labels = self.fleet.names_under(node, Family::HostModelCpu);
            if !labels.is_empty() && !labels.contains(&model.as_str()) {
                alike.entry((labels, model)).or_default().push(name);
            }
        }
        let are = "are labelled with another host-model-cpu than libvirt there says";
        let line = |(labels, model): &(Vec<&str>, &str), nodes: &[&str]| {
            let is = plural::number(nodes.len(), "is", "are");
            let (nodes, labels) = (plural::fold_names(nodes, 6), plural::fold_names(labels, 2));
            format!("{nodes} {is} labelled host-model-cpu {labels}, and libvirt there says {model}.")
        };
        folded(&alike, are, line, |(labels, model)| {
            format!("labelled {}, by libvirt {model}", plural::fold_names(labels, 2))
        })
    }

    /// Returns a line about the nodes whose libvirt was asked for their host model and usable models in vain.
    fn silent_hosts(&self) -> Option<String> {
        let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, silence) in self.asked.silent_hosts.iter().filter(|(name, _)| self.fleet.find(name).is_some()) {
            alike.entry(silence.to_string()).or_default().push(name);
        }
        let give = "give no answer about their host model and usable models";
        let line = |why: &String, nodes: &[&str]| {
            let gives = plural::number(nodes.len(), "gives", "give");
            let its = plural::number(nodes.len(), "its", "their");
            let nodes = plural::fold_names(nodes, 6);
            format!("{nodes} {gives} no answer about {its} host model and usable models: {why}.")
        };
        folded(&alike, give, line, Clone::clone)
    }

    /// Returns the features that the guest would lose with a model.
    pub(super) fn loss(&self, model: &str) -> Option<String> {
        let lost = self.asked.lost(model)?;
        let features = lost_at_next_start(self.asked, self.subject, lost.features());
        Some(loses_by(model, "", &features, &lost))
    }

    /// Returns the losses with the models that are not offered: its own policy's first, then those of other policies
    /// and the recommended one. Saved answers may be about others, such as that of another pool, which it does not get.
    pub(super) fn other_losses(&self, offered: Option<&str>, own: Option<&str>, survey: &Survey<'_>) -> Vec<String> {
        const MAX_MODELS: usize = 8;
        let compared = compared(self.asked, self.subject, survey);
        let mut others: Vec<(String, ComparedRow)> =
            compared.into_iter().filter(|(model, _)| Some(model.as_str()) != offered).collect();
        others.retain(|(_, row)| row.at_next_start || row.recommended || !row.policies.is_empty());
        others.sort_by_key(|(_, row)| {
            let is_own = row.policies.iter().any(|policy| Some(policy.as_str()) == own);
            (!row.at_next_start, !is_own, row.policies.is_empty(), !row.recommended)
        });
        let line = |(model, row): (String, ComparedRow)| {
            let policies = plural::fold_names(&row.policies, 3);
            let named = match row.policies.len() {
                0 => (!row.at_next_start).then(|| "which `recommend` names by labels".to_owned()),
                1 => Some(format!("the common model of CPUPolicy {policies}")),
                _ => Some(format!("the common model of CPUPolicies {policies}")),
            };
            let start = row.at_next_start.then(|| "which it gets at its next start".to_owned());
            let parts: Vec<String> = named.into_iter().chain(start).collect();
            let whose = format!(", {},", parts.join(", "));
            if let (Some(lost), Some(by)) = (row.lost, self.asked.lost(&model)) {
                return loses_by(&model, &whose, &lost, &by);
            }
            let unknown = || "the features of one of the two are not known".to_owned();
            let why = libvirt_plan::why_not_asked(&model).unwrap_or_else(unknown);
            format!("With {model}{whose} it is not compared: {why}.")
        };
        let mut out: Vec<String> = others.into_iter().map(line).collect();
        let more = out.len().saturating_sub(MAX_MODELS);
        out.truncate(MAX_MODELS);
        if more > 0 {
            out.push(format!("It is compared with {more} more models (-o json lists them)."));
        }
        out
    }

    /// Returns each node by labels and by libvirt; `besides` names what else keeps the guest off a node.
    pub(super) fn cells(
        &self,
        nodes: &[(NodeIndex, Vec<(String, String)>)],
        besides: impl Fn(NodeIndex) -> Vec<String>,
    ) -> Vec<Vec<String>> {
        let said = self.asked.by_node(&self.subject.placement, self.fleet);
        let cells = |(node, missing): &(NodeIndex, Vec<(String, String)>)| {
            vec![self.by_labels(*node, missing, besides(*node)), self.by_libvirt(*node, missing, said(*node))]
        };
        nodes.iter().map(cells).collect()
    }

    /// Returns the rank of a node in a long table: those that libvirt refuses first, then those that it agrees to and
    /// that lack labels.
    pub(super) fn rank(&self, node: NodeIndex, missing: &[(String, String)]) -> usize {
        match self.asked.answer(self.fleet.name(node)) {
            Some(LibvirtAnswer::Incompatible(_)) => 0,
            Some(_) if !missing.is_empty() => 1,
            _ => 2,
        }
    }

    /// Returns libvirt's answer for a node, and the missing labels that would be false there even if it agrees.
    fn by_libvirt(
        &self,
        node: NodeIndex,
        missing: &[(String, String)],
        said: Result<&LibvirtAnswer, Silence>,
    ) -> String {
        let agrees = said.as_ref().is_ok_and(|answer| answer.agrees());
        match self.subject.untrue(self.fleet.name(node), missing).as_slice() {
            untrue if agrees && !untrue.is_empty() => {
                format!("{}, though without {}", by_libvirt(said), plural::fold_entries(untrue, 4))
            }
            _ => by_libvirt(said),
        }
    }

    /// Whether the guest's CPU is known, so that nodes can be compared with it.
    pub(super) fn knows_cpu(&self) -> bool {
        self.asked.guest.is_ok()
    }

    fn by_labels(&self, node: NodeIndex, missing: &[(String, String)], besides: Vec<String>) -> String {
        let refusal = self.fleet.look_up(&self.subject.placement).refusal(node);
        let mut parts = vec![match missing {
            [] if refusal.affinity.is_empty() => "fits".to_owned(),
            [] => "meets the selector".to_owned(),
            missing => format!("lacks {}", plural::fold(missing.iter().map(|(k, v)| (k.as_str(), v.as_str())), 8)),
        }];
        if !refusal.affinity.is_empty() {
            parts.push(format!(
                "not the affinity ({})",
                plural::fold_names(&refusal.affinity.iter().map(ToString::to_string).collect::<Vec<_>>(), 2)
            ));
        }
        if refusal.cordoned {
            parts.push("cordoned".to_owned());
        }
        parts.extend(refusal.taints.iter().map(|taint| format!("tainted {}", taint.key)));
        if self.fleet.not_ready().contains(node) {
            parts.push("not ready".to_owned());
        }
        parts.extend(say::evidence::of_virt_handler(node, missing, self.fleet).map(str::to_owned));
        parts.extend(besides);
        parts.join(", ")
    }

    /// Prints how to query the nodes without an answer: the command, for nodes with launchers; for the first node
    /// without one, how to start a launcher there.
    pub(super) fn how_to_ask(&self, prepared: &Prepared<'_>, survey: &Survey<'_>, page: &mut Page) {
        let said = self.asked.by_node(&self.subject.placement, self.fleet);
        let mut without: Vec<&str> = Vec::new();
        let mut open: Vec<&str> = Vec::new();
        for node in self.fleet.in_name_order() {
            let name = self.fleet.name(node);
            if self.subject.source() == Some(name) {
                continue;
            }
            let Err(silence) = said(node) else { continue };
            if probe::may_bring(&silence, name, survey.reachable()) {
                without.push(name);
            } else if probe::may_be_asked(&silence) && self.asked.saved {
                open.push(name);
            }
        }
        let accelerator = self.asked.guest.as_ref().map_or(Accelerator::Kvm, |guest| guest.accelerator);
        let cluster = &survey.world.cluster;
        let probe_of = |name: &str| Some(Probe { cluster, node: self.fleet.find(name)?, accelerator });
        let mut closed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        without.retain(|name| {
            let Some(why) = probe_of(name).and_then(|probe| probe.closed()) else { return true };
            closed.entry(why).or_default().push(name);
            false
        });
        // The launcher to ask through keeps no cordoned or tainted node busy if another one can be asked.
        let fitting = self.fleet.look_up(&self.subject.placement).passes().fitting;
        let fits = |name: &&&str| self.fleet.find(name).is_some_and(|node| fitting.contains(node));
        let first = without.iter().find(fits).or(without.first()).copied();
        let is_own_open =
            matches!(self.asked.guest, Err(Silence::NotSaved | Silence::StartedAgain | Silence::SeveralStarts));
        if self.asked.saved && (is_own_open || !open.is_empty() || !without.is_empty()) {
            let folder = ["--ask-libvirt", "--save-libvirt-facts", "FOLDER"];
            let what = match open.as_slice() {
                _ if is_own_open => "it".to_owned(),
                [] => "the nodes that have launchers by then".to_owned(),
                open => plural::fold_names(open, 6),
            };
            if let Some(command) = say::explain(prepared) {
                page.line(format_args!(
                    "Where the cluster can be reached, this asks {what}, and adds the answers to FOLDER:"
                ));
                page.line(format_args!("   {}", command.args(folder).line()));
            }
        }
        for line in probe::closed_lines(&closed) {
            page.line(line);
        }
        let Some((first, probe)) = first.and_then(|first| Some((first, probe_of(first)?))) else { return };
        let ask = say::explain(prepared).map(|command| command.args(["--ask-libvirt"]));
        page.line(probe::offer_line(&without, probe.needs(), first));
        let namespace = &self.subject.namespace;
        let script = probe.script(namespace, |name| !probe::is_taken(cluster, namespace, name), ask);
        for line in script.lines() {
            page.line(format_args!("   {line}"));
        }
    }
}

/// Returns a note about the facts by which the start of a guest is judged, on the nodes that fit; `None` if libvirt was
/// not asked, or no node fits.
pub(super) fn at_start(subject: &Subject<'_>, fitting: &[&str], fleet: &Fleet) -> Option<String> {
    let asked = subject.asked.as_ref().filter(|_| !fitting.is_empty())?;
    let features = features_by_libvirt(asked, subject, fleet);
    let and_features = features.map(|features| format!(", and {features} by what libvirt says of nodes"));
    let and_features = and_features.unwrap_or_default();
    let CpuMode::Named(model) = &subject.mode else {
        return Some(format!(
            "Its start is judged by labels{and_features}: which CPU it gets is known to libvirt once it runs."
        ));
    };
    let host = |node: &str| asked.hosts.get(node);
    let is_listed = |node: &&str| host(node).is_some_and(|host| host.is_usable(model));
    // The blocking features are disabled, else the node would not fit.
    let is_in_no_way =
        |node: &&str| host(node).and_then(|host| host.unusable(model)).is_some_and(|blockers| !blockers.is_empty());
    let is_unlisted = |node: &&str| host(node).is_some_and(|host| host.unusable(model).is_some());
    let (listed, others): (Vec<&str>, Vec<&str>) = fitting.iter().copied().partition(is_listed);
    let (without, others): (Vec<&str>, Vec<&str>) = others.into_iter().partition(is_in_no_way);
    let (unlisted, unknown): (Vec<&str>, Vec<&str>) = others.into_iter().partition(is_unlisted);
    let on = |nodes: &[&str]| {
        if nodes.len() == fitting.len() {
            "wherever it may start".to_owned()
        } else {
            format!("on {}", plural::and_names(nodes, 6))
        }
    };
    let mut parts = Vec::new();
    if !listed.is_empty() {
        parts.push(format!("libvirt lists {model} as usable {}", on(&listed)));
    }
    if !without.is_empty() {
        parts.push(format!("libvirt can run {model} without what the guest switches off {}", on(&without)));
    }
    if !unlisted.is_empty() {
        parts.push(format!(
            "libvirt does not list {model} as usable {}, and does not say whether it can run it without what the guest switches off",
            on(&unlisted)
        ));
    }
    let doubt = refused_without_names(asked, model, &unknown)
        .map(|nodes| {
            format!(
                " Libvirt on {nodes} refuses its present CPU of this model without naming features: it may fail there."
            )
        })
        .unwrap_or_default();
    if parts.is_empty() {
        return Some(format!(
            "Its start is judged by labels{and_features}: whether libvirt lists {model} as usable is not known of these nodes.{doubt}"
        ));
    }
    if !unknown.is_empty() {
        parts.push("of the other nodes where it may start only their labels say so".to_owned());
    }
    let features = features.map(|features| format!(" Libvirt's answers about nodes decide {features} as well."));
    Some(format!("At its start, {}.{}{doubt}", parts.join("; "), features.unwrap_or_default()))
}

/// Returns, in words, the features of a start that libvirt's answers decide as well, about a node or about the guest's
/// present CPU there; `None` if they decide none.
fn features_by_libvirt(asked: &Answers, subject: &Subject<'_>, fleet: &Fleet) -> Option<&'static str> {
    let nodes: BTreeSet<&String> = asked.hosts.keys().chain(asked.nodes.keys()).collect();
    let nodes: Vec<&String> = nodes.into_iter().filter(|node| fleet.find(node).is_some()).collect();
    let is_decided = |key: &str| {
        let of_node = |node: &&String| asked.has_at_start(node, key) != Provided::Unknown;
        Family::of(key) == Family::CpuFeature && nodes.iter().any(of_node)
    };
    let requires = subject.placement.selector.iter().any(|(key, _)| is_decided(key));
    let forbids =
        subject.placement.affinity.iter().any(|affinity| affinity.forbidden_keys().into_iter().any(is_decided));
    match (requires, forbids) {
        (true, true) => Some("the features that it requires or forbids"),
        (true, false) => Some("the features that it requires"),
        (false, true) => Some("the features that it forbids"),
        (false, false) => None,
    }
}

/// Returns the nodes, in words, whose libvirt refuses the guest's current CPU, which has this model, and does not name
/// what it misses; `None` if there are none.
fn refused_without_names(asked: &Answers, model: &str, nodes: &[&str]) -> Option<String> {
    asked.guest.as_ref().ok().filter(|guest| guest.cpu.model == model)?;
    let is_refused = |node: &&&str| asked.refusal(node).is_some_and(|why| why.missing.is_empty());
    let nodes: Vec<&str> = nodes.iter().filter(is_refused).copied().collect();
    (!nodes.is_empty()).then(|| plural::and_names(&nodes, 6))
}

fn by_libvirt(said: Result<&LibvirtAnswer, Silence>) -> String {
    match said {
        Ok(LibvirtAnswer::Identical) => "identical: libvirt there has exactly its features".to_owned(),
        Ok(LibvirtAnswer::Superset) => "superset: libvirt there has all its features".to_owned(),
        Ok(LibvirtAnswer::Incompatible(why)) => format!("incompatible: {}", incompatible(why)),
        Err(silence) => silence.to_string(),
    }
}

/// Returns one line: for one kind of nodes its full description; for several kinds their common text, and a few words
/// about each of the first kinds.
fn folded<K: Ord>(
    alike: &BTreeMap<K, Vec<&str>>,
    common: &str,
    line: impl Fn(&K, &[&str]) -> String,
    few_words: impl Fn(&K) -> String,
) -> Option<String> {
    if let (Some((kind, nodes)), 1) = (alike.first_key_value(), alike.len()) {
        return Some(line(kind, nodes));
    }
    let count: usize = alike.values().map(Vec::len).sum();
    let kinds = alike
        .iter()
        .take(MAX_GROUPS)
        .map(|(kind, nodes)| format!("{} ({})", plural::fold_names(nodes, 3), few_words(kind)));
    let more: usize = alike.values().skip(MAX_GROUPS).map(Vec::len).sum();
    let more =
        (more > 0).then(|| format!("and {} (-o json lists all)", plural::counted(more, "more node", "more nodes")));
    let kinds: Vec<String> = kinds.chain(more).collect();
    let nodes = plural::counted(count, "node", "nodes");
    (count > 0).then(|| format!("{nodes} {common}: {}.", kinds.join("; ")))
}

/// Returns the loss with its origin.
fn loses_by(model: &str, whose: &str, lost: &[String], by: &Lost) -> String {
    let what = loses(model, whose, lost);
    let Lost::ByModels { unanswered, .. } = by else { return what };
    let why = match unanswered {
        Some(silence) => format!("libvirt gave no answer about it ({silence})"),
        None => "libvirt was not asked about it".to_owned(),
    };
    format!("{}, as libvirt 12.8 and QEMU 11.1 define it: {why}.", what.trim_end_matches('.'))
}

fn loses(model: &str, whose: &str, lost: &[String]) -> String {
    match lost {
        [] => format!("With {model}{whose} it would lose no CPU feature."),
        lost => format!("With {model}{whose} it would lose {}.", plural::fold_names(lost, 12)),
    }
}
