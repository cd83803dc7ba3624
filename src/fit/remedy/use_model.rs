//! Remedy: set a named model that runs on more nodes, which takes effect at the next start.

use std::collections::{BTreeMap, BTreeSet};

use super::drop_added_selector;
use super::made_again::{OTHER_CPU, restarted, starts_if_made_again};
use super::{
    Act, Changes, Commands, NoNode, Outage, Prospect, Remedy, RemedyId, RemedySpec, WhyNot, change_template,
    name_another,
};
use crate::fit::author::{Author, TypeReference};
use crate::fit::bits::Bits;
use crate::fit::command::{Command, CommandWord, CpuModel, Json};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::libvirt::Incompatible;
use crate::fit::models;
use crate::fit::node::Node;
use crate::fit::subject::{CpuMode, Start, Subject, missed_of_model};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::UseModel,
    word: "restart-with-common-model",
    outage: Outage::Restart,
    risk: OTHER_CPU,
    changes: Changes::Template,
    remakes_target: false,
    gives_room: false,
    offer,
    not_helping: Some(|judgement| why_not(judgement).map(WhyNot::Model)),
};

/// The choice of a named model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UseModel {
    /// The model.
    pub model: String,
    /// The nodes of one vendor on which it is usable and the guest may run, ignoring cordons and taints.
    pub nodes: Vec<String>,
    /// The nodes without a vendor label, by name, that have the model's label and on which the guest may run. Their
    /// host model does not show the vendor either.
    pub elsewhere: Vec<String>,
    /// The nodes with a CPU of another vendor, by name, that have the model's label and on which the guest may run.
    pub of_another_vendor: Vec<String>,
    /// Other models of its family that are usable on all of them.
    pub also: Vec<String>,
    /// For a guest that does not run, the best model of each other vendor, with its nodes.
    pub of_others: Vec<(String, Vec<String>)>,
    /// Whether migrations select the vendor of the node that the guest leaves.
    pub vendor_is_asked: bool,
    /// The bit that the model lacks, by which the guest's kernel drives the mitigations of speculative execution;
    /// `None` if the model has it, or the guest asks for it in addition.
    pub without_bit: Option<&'static str>,
    /// The nodes whose libvirt lists the model as usable. The libvirt of the other nodes was not asked.
    pub listed: Vec<String>,
    /// The model that runs on more nodes by labels, and that is not offered because libvirt contradicts them.
    pub instead_of: Option<NotUsable>,
    /// The instancetype that sets the guest's model: KubeVirt refuses a VM with another one in its template
    /// (`applyCPUToVMI` of `pkg/instancetype/apply/cpu.go`), so the VM has to name another instancetype.
    pub set_by: Option<TypeReference>,
}

/// A model in the labels of nodes, some of whose libvirts do not list it as usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotUsable {
    /// The model.
    pub model: String,
    /// The nodes, by name, each with the features that prevent its use, if its libvirt names them.
    pub nodes: Vec<(String, Vec<String>)>,
}

/// The reason why no named model helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoModel {
    /// These entries exclude the nearest node with any model.
    StillLacks {
        /// The nearest node.
        node: String,
        /// The entries that it lacks.
        missing: Vec<(String, String)>,
        /// For the missing labels whose key the node has: the node's value.
        has: BTreeMap<String, String>,
    },
    /// There is no node to migrate to or start on.
    NoNode(NoNode),
    /// Too few nodes are left with any named model, although no candidate lacks a label at the start.
    NoMore {
        /// Largest number of targets over all start nodes; `None` if no node takes the guest.
        most: Option<usize>,
    },
    /// No current model of its vendor is usable on enough of the nodes that the guest may run on.
    NoneShared {
        /// The number required: one for a guest that no node takes at its start, else two.
        at_least: usize,
    },
    /// No model is usable on enough nodes according to their libvirt; by labels this one would be.
    NotUsable(NotUsable),
    /// No model is usable on enough nodes: on these nodes libvirt does not provide features of a guest with this
    /// model, the best by labels.
    NotProvided(NotUsable),
    /// The guest has the model that runs on the most nodes by labels, and libvirt there does not list it as
    /// usable.
    HasNotUsable(NotUsable),
    /// The guest has the model that runs on the most nodes by labels, by its name or in its current CPU, and libvirt on
    /// these nodes refuses that CPU.
    HasRefused {
        /// The model.
        model: String,
        /// The nodes, by name.
        nodes: Vec<String>,
    },
    /// Without `spec.addedNodeSelector` the migration finds its targets: the guest's CPU is not in the way.
    Added,
    /// The guest has the model that runs on the most nodes.
    HasIt {
        /// The model.
        model: String,
    },
}

pub(super) fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    if drop_added_selector::is_enough(judgement) {
        return None;
    }
    offer_where(judgement, |start| {
        if !starts_nowhere(judgement) {
            return judgement.after_restart(start, judgement.targets_needed());
        }
        let nodes = judgement.outlook(start).1.count();
        (nodes > 0).then(|| Prospect::exactly(nodes))
    })
}

/// Whether the guest is to start and no node takes it: one start node is an improvement then.
fn starts_nowhere(judgement: &Judgement<'_, '_>) -> bool {
    !judgement.is_migration() && judgement.passes.fitting.is_empty()
}

/// Returns the number of nodes on which a common model must be usable.
fn at_least(judgement: &Judgement<'_, '_>) -> usize {
    if starts_nowhere(judgement) { 1 } else { 2 }
}

/// Returns a common model that leaves at least `needed` targets from every start node.
pub(super) fn cures(judgement: &Judgement<'_, '_>, needed: usize) -> Option<Remedy> {
    offer_where(judgement, |start| {
        let (range, _) = judgement.outlook(start);
        (range.0 >= needed).then(|| Prospect::certain(range))
    })
}

/// Returns a common model for a guest that libvirt refused, without the features that libvirt missed: libvirt
/// itself states for each node that it can run the whole model. For the features of nested virtualization it
/// states only their presence.
pub(super) fn after_refusal(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let start = judgement.subject.restart.as_ref()?;
    let is_nested = |key: &str| [label::VMX, label::SVM].iter().any(|name| label::name(key) == *name);
    let nested =
        start.placement.selector.iter().any(|(key, _)| Family::of(key) == Family::CpuFeature && is_nested(key));
    if nested { None } else { cures(judgement, 1) }
}

/// Returns the common model and on how many of these nodes it is usable, if these are more than take the guest now.
pub(super) fn runs_on_more(judgement: &Judgement<'_, '_>, open: &Bits) -> Option<(String, usize)> {
    let start = judgement.subject.restart.as_ref()?;
    let (model, nodes) = common_model(judgement, start)?;
    let count = nodes.count_common(open);
    (count > judgement.passes.fitting.count()).then_some((model, count))
}

impl Judgement<'_, '_> {
    /// Whether labels, and libvirt's answers about nodes, predict the targets after this start. If libvirt refuses the
    /// guest on nodes that fit by labels, they do so only if the guest then gets another CPU: else it would be refused
    /// again.
    pub(super) fn labels_predict(&self, start: &Start<'_>) -> bool {
        self.refused_targets.is_empty() || self.gets_another_cpu(start)
    }

    /// Whether the guest gets another CPU at this start, and some node may start it: another named model, or its
    /// present CPU without all for which libvirt refuses its targets.
    fn gets_another_cpu(&self, start: &Start<'_>) -> bool {
        let gives_up = || {
            self.refused_targets.iter().all(|node| {
                let refusal = self.subject.asked().and_then(|asked| asked.refusal(self.fleet.name(node)));
                refusal.is_some_and(|why| self.subject.gives_up(start, why))
            })
        };
        let CpuMode::Named(model) = &start.mode else { return gives_up() };
        let mut nodes = open(self, start, model);
        if let Some(failing) = self.subject.failing(&start.placement, &start.features, self.fleet) {
            nodes.subtract(&failing);
        }
        (start.mode != self.subject.mode || gives_up())
            && !nodes.is_empty()
            && !missed_last(self, model, &nodes)
            && refused_with(self, start, model, &nodes).is_empty()
    }
}

/// Returns the common model of the most nodes if a start with it helps.
fn offer_where(judgement: &Judgement<'_, '_>, helps: impl Fn(&Start<'_>) -> Option<Prospect>) -> Option<Remedy> {
    let start = judgement.subject.restart.as_ref()?;
    // A policy sets the model at each start.
    let is_given = start.by_policy.is_some() && helps(start).is_some_and(|prospect| prospect.luck.is_none());
    if is_given {
        return None;
    }
    let (model, nodes) = common_model(judgement, start)?;
    if start.mode == CpuMode::Named(model.clone()) {
        return None;
    }
    let prospect = helps(&start.with_model(&model))?;
    let also = usable_as_well(judgement, start, &model, &nodes);
    let mut elsewhere = usable(judgement, start, &model);
    elsewhere.subtract(&nodes);
    let of_others = of_other_vendors(judgement, start, &nodes);
    let (nodes, elsewhere) = (judgement.names(&nodes), judgement.names(&elsewhere));
    let has_vendor = |name: &String| {
        judgement.fleet.find(name).is_some_and(|node| !models::vendors::of_node(judgement.fleet, node).is_empty())
    };
    let (of_another_vendor, elsewhere) = elsewhere.into_iter().partition(has_vendor);
    let is_listed = |node: &&String| judgement.subject.host(node).is_some_and(|host| host.is_usable(&model));
    let listed = nodes.iter().filter(is_listed).cloned().collect();
    let is_other = |other: &NotUsable| other.model != model && start.mode != CpuMode::Named(other.model.clone());
    let instead_of = not_usable(judgement, start).filter(is_other);
    let vendor_is_asked = start.after_start.vendor;
    let asks = |bit: &str| start.placement.get(&format!("{}{bit}", label::CPU_FEATURE)).is_some();
    let without_bit = models::mitigations_lacked(&model).filter(|bit| !asks(bit));
    let offered = UseModel {
        model,
        nodes,
        elsewhere,
        of_another_vendor,
        also,
        of_others,
        vendor_is_asked,
        without_bit,
        listed,
        instead_of,
        set_by: instancetype_of(judgement.subject).cloned(),
    };
    Some(Remedy::new(offered, prospect))
}

/// Returns the best model by labels alone, and the nodes where a guest with it may start.
fn best_by_labels(judgement: &Judgement<'_, '_>, start: &Start<'_>) -> Option<(String, Bits)> {
    judgement.subject.asked.as_ref()?;
    let open = |model: &str| open(judgement, start, model);
    let (model, _) = models::most_common(judgement.fleet, &vendors(judgement), at_least(judgement), open)?;
    // Nodes without the vendor's label take the guest as well.
    let open = open(&model);
    Some((model, open))
}

/// Returns the best model by labels if the libvirt of a node does not list it as usable.
fn not_usable(judgement: &Judgement<'_, '_>, start: &Start<'_>) -> Option<NotUsable> {
    let (model, open) = best_by_labels(judgement, start)?;
    let nodes = refusing(judgement, start, &model, &open);
    (!nodes.is_empty()).then_some(NotUsable { model, nodes })
}

/// Returns the reason why libvirt contradicts the best model by labels; `None` if it does not.
fn spoken_against(judgement: &Judgement<'_, '_>, start: &Start<'_>) -> Option<NoModel> {
    let (model, open) = best_by_labels(judgement, start)?;
    let has_it = start.mode == CpuMode::Named(model.clone());
    let nodes = refused_with(judgement, &start.with_model(&model), &model, &open);
    if !nodes.is_empty() {
        return Some(NoModel::HasRefused { model, nodes });
    }
    let unlisted = refusing(judgement, start, &model, &open);
    if !unlisted.is_empty() {
        let found = NotUsable { model, nodes: unlisted };
        return Some(if has_it { NoModel::HasNotUsable(found) } else { NoModel::NotUsable(found) });
    }
    let nodes = missing(judgement, start, &model, &open);
    (!nodes.is_empty()).then_some(NoModel::NotProvided(NotUsable { model, nodes }))
}

/// Returns the nodes of `nodes`, by name, whose libvirt refuses the guest's current CPU, if that has this
/// model: all of them for a guest that has it by name; else those that do not name what they miss and do not list
/// the model as usable.
fn refused_with(judgement: &Judgement<'_, '_>, start: &Start<'_>, model: &str, nodes: &Bits) -> Vec<String> {
    let Some(asked) = judgement.subject.asked() else { return Vec::new() };
    if asked.guest.as_ref().is_ok_and(|guest| guest.cpu.model != model) {
        return Vec::new();
    }
    let is_named = judgement.subject.mode == CpuMode::Named(model.to_owned());
    let is_usable = |node: &str| asked.hosts.get(node).is_some_and(|host| host.is_usable(model));
    let is_refused = |node: &String| {
        let is_of_model = |why: &Incompatible| is_named || why.missing.is_empty() && !is_usable(node);
        let of = |why: &Incompatible| is_of_model(why) && !judgement.subject.gives_up(start, why);
        asked.refusal(node).is_some_and(of)
    };
    judgement.names(nodes).into_iter().filter(is_refused).collect()
}

/// Returns the nodes of `nodes` whose libvirt does not list a model as usable, by name, with the features that
/// prevent its use; without the nodes where the guest switches off all features that libvirt names.
fn refusing(judgement: &Judgement<'_, '_>, start: &Start<'_>, model: &str, nodes: &Bits) -> Vec<(String, Vec<String>)> {
    let refusing = |node: String| {
        let blockers = judgement.subject.host(&node)?.unusable(model)?.to_vec();
        let is_off = !blockers.is_empty() && blockers.iter().all(|name| start.features.switches_off(name));
        (!is_off).then_some((node, blockers))
    };
    if judgement.subject.asked.is_none() {
        return Vec::new();
    }
    judgement.names(nodes).into_iter().filter_map(refusing).collect()
}

/// Returns the nodes of `nodes` whose libvirt misses a feature of a guest with this model: one of a model that
/// is not listed as usable, or one that the guest requires in addition. By name, each with these features. What a
/// libvirt missed of the present CPU it misses at the next start too.
fn missing(judgement: &Judgement<'_, '_>, start: &Start<'_>, model: &str, nodes: &Bits) -> Vec<(String, Vec<String>)> {
    let Some(asked) = &judgement.subject.asked else { return Vec::new() };
    let of_model = models::features(model).unwrap_or_default();
    let selector = start.placement.selector.iter();
    let asks = selector.filter(|(key, _)| Family::of(key) == Family::CpuFeature).map(|(key, _)| label::name(key));
    // A forced feature is the guest's wherever it starts.
    let asks: BTreeSet<&str> = asks.chain(start.features.forced.iter().map(String::as_str)).collect();
    let of_node = |node: String| {
        let missed = asked.refusal(&node)?.missing.iter().filter(|name| asks.contains(name.as_str())).cloned();
        let mut missing = missed_of_model(asked, &node, model, &of_model, &start.features);
        missing.extend(missed);
        missing.sort_unstable();
        missing.dedup();
        (!missing.is_empty()).then_some((node, missing))
    };
    judgement.names(nodes).into_iter().filter_map(of_node).collect()
}

/// Whether the model has a feature that libvirt missed when it refused the guest on one of these nodes, or on
/// an unknown node.
fn missed_last(judgement: &Judgement<'_, '_>, model: &str, nodes: &Bits) -> bool {
    let Some(refused) = judgement.subject.failed.as_ref().filter(|refused| !refused.missing.is_empty()) else {
        return false;
    };
    let is_elsewhere = judgement.fleet.find(&refused.target).is_some_and(|target| !nodes.contains(target));
    if is_elsewhere || judgement.subject.host(&refused.target).is_some_and(|host| host.is_usable(model)) {
        return false;
    }
    let features = models::features(model).unwrap_or_default();
    refused.missing.iter().any(|name| features.contains(name.as_str()))
}

/// Returns the instancetype that sets the guest's CPU model.
fn instancetype_of<'s>(subject: &'s Subject<'_>) -> Option<&'s TypeReference> {
    match &subject.authors.mode.as_ref()?.author {
        Author::Instancetype(named) => Some(named),
        _ => None,
    }
}

/// Returns a common model that the guest's own template can set.
pub(super) fn offer_in_template(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    if instancetype_of(judgement.subject).is_some() { None } else { offer(judgement) }
}

fn why_not(judgement: &Judgement<'_, '_>) -> Option<NoModel> {
    let start = judgement.subject.restart.as_ref()?;
    if starts_if_made_again(judgement).is_some() || start.by_policy.is_some() {
        return None;
    }
    if drop_added_selector::is_enough(judgement) {
        return Some(NoModel::Added);
    }
    if let Some(why) = not_the_model(judgement, start) {
        return Some(why);
    }
    match common_model(judgement, start) {
        None => spoken_against(judgement, start).or_else(|| none_shared(judgement, start)),
        Some((model, _)) if start.mode == CpuMode::Named(model.clone()) => Some(NoModel::HasIt { model }),
        Some(_) => None,
    }
}

/// Returns that no model is usable on enough nodes; `None` if one is, on nodes of several vendors or of one that no
/// label shows.
fn none_shared(judgement: &Judgement<'_, '_>, start: &Start<'_>) -> Option<NoModel> {
    let (fleet, at_least) = (judgement.fleet, at_least(judgement));
    let offered = fleet.offered(Family::CpuModel, &Bits::all(fleet.len()));
    for model in offered.into_iter().filter(|model| models::is_current(model)) {
        let is_shared = open(judgement, start, model).count() >= at_least;
        if is_shared || judgement.effort.is_over() {
            return None;
        }
    }
    Some(NoModel::NoneShared { at_least })
}

/// Returns a reason if the guest would be no better off without any CPU model.
fn not_the_model(judgement: &Judgement<'_, '_>, start: &Start<'_>) -> Option<NoModel> {
    let free = start.with_any_model();
    let ((_, most), fitting) = judgement.outlook(&free);
    let is_better = if starts_nowhere(judgement) { !fitting.is_empty() } else { most >= judgement.targets_needed() };
    if is_better {
        return None;
    }
    let lookup = judgement.fleet.look_up(&free.placement);
    if let Some(&node) = lookup.nearest(&judgement.neighbours, 1).first() {
        let missing = lookup.missing(node);
        let has = lookup.values(node, &missing);
        return Some(NoModel::StillLacks { node: judgement.fleet.name(node).to_owned(), missing, has });
    }
    let most = (!fitting.is_empty()).then_some(most);
    let no_node = NoNode::of(judgement).map(NoModel::NoNode);
    Some(no_node.or_else(|| spoken_against(judgement, start)).unwrap_or(NoModel::NoMore { most }))
}

/// Returns the nodes that a guest with this model may run on, ignoring cordons and taints; none if KubeVirt
/// withholds the model, whose labels will disappear.
fn open(judgement: &Judgement<'_, '_>, start: &Start<'_>, model: &str) -> Bits {
    // The result is not used after the deadline.
    if judgement.effort.is_over() || judgement.subject.configured.withheld.contains(model) {
        return Bits::none(judgement.fleet.len());
    }
    let mut out = judgement.fleet.look_up(&start.with_model(model).placement).passes().placement;
    // A node of another architecture emulates the guest's, and its label is about its own.
    let mut of_guest = start.placement.selector.iter().filter_map(|(key, _)| key.strip_prefix(label::VM_ARCH));
    if let Some(architecture) = of_guest.next() {
        out.intersect(&judgement.fleet.bearing(label::ARCH, architecture));
    }
    out
}

/// Returns the nodes of [`open`] if libvirt refuses on none of them: a guest with a named model may start on
/// any node with its label.
fn usable(judgement: &Judgement<'_, '_>, start: &Start<'_>, model: &str) -> Bits {
    let nodes = open(judgement, start, model);
    let is_usable = refusing(judgement, start, model, &nodes).is_empty()
        && missing(judgement, start, model, &nodes).is_empty()
        && !missed_last(judgement, model, &nodes)
        && refused_with(judgement, &start.with_model(model), model, &nodes).is_empty()
        && !fails_on(judgement, &start.with_model(model), &nodes);
    if is_usable { nodes } else { Bits::none(judgement.fleet.len()) }
}

/// Whether a start would fail on one of these nodes, by its libvirt.
fn fails_on(judgement: &Judgement<'_, '_>, start: &Start<'_>, nodes: &Bits) -> bool {
    let failing = judgement.subject.failing(&start.placement, &start.features, judgement.fleet);
    failing.is_some_and(|failing| failing.meets(nodes))
}

/// Returns the best model that the most nodes can run, among the nodes that the guest may run on.
fn common_model(judgement: &Judgement<'_, '_>, start: &Start<'_>) -> Option<(String, Bits)> {
    let usable = |model: &str| usable(judgement, start, model);
    let (own, least) = (vendors(judgement), at_least(judgement));
    let found = models::most_common(judgement.fleet, &own, least, usable);
    if found.is_some() || judgement.effort.is_over() {
        return found;
    }
    // A restart may give the guest a CPU of another vendor, where its own has no model for two nodes.
    models::most_common(judgement.fleet, &models::vendors::of_all(judgement.fleet), least, usable)
}

/// Returns the best model of each vendor that these nodes do not have, with the nodes that can run it, for a guest that
/// may start on any of them.
fn of_other_vendors(judgement: &Judgement<'_, '_>, start: &Start<'_>, nodes: &Bits) -> Vec<(String, Vec<String>)> {
    let fleet = judgement.fleet;
    if judgement.is_migration() || judgement.subject.running.is_some() {
        return Vec::new();
    }
    let own: BTreeSet<&str> = nodes.iter().flat_map(|node| models::vendors::of_node(fleet, node)).collect();
    let usable = |model: &str| usable(judgement, start, model);
    let best = |vendor: &str| models::most_common(fleet, &[vendor], at_least(judgement), usable);
    let others = models::vendors::of_all(fleet).into_iter().filter(|vendor| !own.contains(vendor));
    others.filter_map(best).map(|(model, nodes)| (model, judgement.names(&nodes))).collect()
}

/// Returns other models of the family that run on all these nodes, best first.
fn usable_as_well(judgement: &Judgement<'_, '_>, start: &Start<'_>, model: &str, nodes: &Bits) -> Vec<String> {
    let Some(node) = nodes.iter().next() else { return Vec::new() };
    let is_on_all = |other: &str| usable(judgement, start, other).count_common(nodes) == nodes.count();
    let of_node = judgement.fleet.names_under(node, Family::CpuModel);
    models::of_same_family(model, &of_node).into_iter().filter(|other| is_on_all(other)).map(str::to_owned).collect()
}

/// Returns the vendors whose models are candidates: that of the guest's node, else all.
fn vendors<'f>(judgement: &Judgement<'_, 'f>) -> Vec<&'f str> {
    let fleet = judgement.fleet;
    let running = judgement.subject.running.as_ref().and_then(|running| fleet.find(&running.node));
    if let Some(node) = judgement.source.or(running) {
        return models::vendors::of_node(fleet, node);
    }
    models::vendors::of_all(fleet)
}

impl Act for UseModel {
    fn risk(&self, _: &Subject<'_>) -> Option<&'static str> {
        match self.without_bit? {
            "ibpb" => Some("the guest sees another CPU, without ibpb: its kernel calls itself vulnerable"),
            _ => Some("the guest sees another CPU, without spec-ctrl: its kernel calls itself vulnerable"),
        }
    }

    fn commands(&self, subject: &Subject<'_>) -> Commands {
        let model = CpuModel::new(&self.model)?;
        if let Some(by) = &self.set_by {
            let which = ["choose an instancetype with spec.cpu.model".into(), model.into()];
            return Ok([vec![Command::remark(which)], name_another(subject, &[by])?].concat());
        }
        let edit = |field| vec!["set".into(), field, "to".into(), CommandWord::from(model.clone())];
        change_template(subject, &["domain", "cpu", "model"], Json::Text(model.clone().into()), SPEC.outage, edit)
    }

    fn apply(&self, subject: &mut Subject<'_>, _: &Fleet) -> Vec<Node> {
        subject.restart = subject.restart.as_ref().map(|start| start.with_model(&self.model));
        restarted(subject);
        Vec::new()
    }
}
