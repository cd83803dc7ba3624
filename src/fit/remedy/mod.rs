//! The remedies, one file each, the least harmful first.
//!
//! A remedy's file says when it is offered, when it is known not to help and why, what it changes in nodes and guest, its
//! commands and how to take it back. A remedy is a promise: it is tried before it is offered (`trial`), and a
//! property test carries it out and judges again. Where it is neither certain to help nor certain not to, nothing is said.

mod add_labels;
mod add_node;
mod change_affinity;
mod change_machine_type;
mod change_selector;
mod disable_feature;
mod drop_added_selector;
mod drop_setting;
mod drop_stale;
mod edit_obsolete_models;
mod enable_cpu_manager;
mod fix_virt_handler;
mod remove_labels;
mod remove_skip_node;
mod remove_tsc_label;
mod restart;
mod trial;
mod uncordon;
mod upgrade_kubevirt;
mod use_model;

#[cfg(test)]
pub(crate) use add_labels::Backing;
pub(crate) use add_labels::{AddLabels, NoLabels, NotToAdd};
pub(crate) use add_node::AddNode;
pub(crate) use change_affinity::ChangeAffinity;
pub(crate) use change_machine_type::ChangeMachineType;
pub(crate) use change_selector::ChangeSelector;
pub(crate) use disable_feature::DisableFeature;
pub(crate) use drop_added_selector::DropAddedSelector;
pub(super) use drop_added_selector::leaves_at_drain;
pub(crate) use drop_setting::DropSetting;
pub(crate) use drop_stale::{DropStale, NoDrop};
pub(crate) use edit_obsolete_models::EditObsoleteModels;
pub(crate) use enable_cpu_manager::EnableCpuManager;
pub(crate) use fix_virt_handler::FixVirtHandler;
pub(crate) use remove_labels::{NoRemoval, RemoveLabels};
pub(crate) use remove_skip_node::RemoveSkipNode;
pub(crate) use remove_tsc_label::RemoveTscLabel;
pub(crate) use restart::{NoRestart, Restart, labels_tell_after_restart};
pub(crate) use uncordon::{Cordoned, NoUncordon, Uncordon};
pub(crate) use upgrade_kubevirt::UpgradeKubeVirt;
pub(crate) use use_model::{NoModel, NotUsable, UseModel};

use std::collections::BTreeSet;

use super::author::TypeReference;
use super::command::{Command, CommandWord, CpuFeature, Invalid, Json, LabelKey, LabelValue, Name, Namespace, Script};
use super::effort::Depth;
use super::fleet::Fleet;
use super::judgement::{Judgement, neighbours};
use super::label::{self, Family};
use super::node::Node;
use super::outcome::Outcome;
use super::subject::{Anew, ListedFeature, NotMigratable, Stage, Subject, Template};
use super::word::words;

words! {
    /// What the guest loses meanwhile.
    Outage {
        /// Nothing.
        None = "none",
        /// It is restarted.
        Restart = "restart",
    }
}

/// A remedy, and how it is used.
#[derive(Debug)]
pub struct RemedySpec {
    /// Which.
    pub id: RemedyId,
    /// As JSON spells it. Two remedies that people know by one name share it.
    pub word: &'static str,
    /// What the guest loses meanwhile.
    pub outage: Outage,
    /// What may go wrong, in a few words.
    pub risk: &'static str,
    /// The remedy, where it is certain to help.
    pub offer: fn(&Judgement<'_, '_>) -> Option<Remedy>,
    /// Why it does not help, where that is certain. Asked where it is not offered.
    pub not_helping: fn(&Judgement<'_, '_>) -> Option<WhyNot>,
}

/// What a remedy changes, and how a person does that.
trait Act {
    /// The commands, in order.
    fn commands(&self, subject: &Subject<'_>) -> Commands;

    /// The command that takes it back, where there is one.
    fn undo(&self) -> Option<Command> {
        None
    }

    /// What may go wrong for a guest, where more is known of it than of its kind.
    fn risk(&self, _: &Subject<'_>) -> Option<&'static str> {
        None
    }

    /// Does it to the guest; the nodes that it changes or adds.
    fn apply(&self, subject: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node>;
}

/// Declares the remedies in the order in which they are offered.
macro_rules! remedies {
    ($($(#[$doc:meta])* $id:ident = $file:ident,)*) => {
        /// A remedy, by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RemedyId {
            $($(#[$doc])* $id,)*
        }

        /// All remedies, in the order in which they are offered.
        pub(crate) const ALL: &[RemedySpec] = &[$($file::SPEC,)*];

        /// What to do.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])* $id($id),)*
        }

        impl Action {
            /// Which remedy it is.
            #[must_use]
            pub fn id(&self) -> RemedyId {
                match self {
                    $(Self::$id(_) => RemedyId::$id,)*
                }
            }

            fn act(&self) -> &dyn Act {
                match self {
                    $(Self::$id(action) => action,)*
                }
            }
        }

        $(impl From<$id> for Action {
            fn from(action: $id) -> Self {
                Self::$id(action)
            }
        })*
    };
}

remedies! {
    /// Uncordon one of these nodes: all else fits there.
    Uncordon = uncordon,
    /// Bring virt-handler back: it marked these nodes unschedulable.
    FixVirtHandler = fix_virt_handler,
    /// Ask for the migration without its `addedNodeSelector`.
    DropAddedSelector = drop_added_selector,
    /// Let the labeller work again on a node whose labels are frozen and poorer than those of its like.
    RemoveSkipNode = remove_skip_node,
    /// Add the missing labels under `skip-node`.
    AddLabels = add_labels,
    /// Drop inherited keys that no node offers (`launcherSelectors: DropStale`).
    DropStale = drop_stale,
    /// Take host-model labels off the node it runs on, under `skip-node`: its first migration asks for less.
    RemoveLabels = remove_labels,
    /// Change entries of the guest's own node selector.
    ChangeSelector = change_selector,
    /// Take the guest's own required node affinity out of it.
    ChangeAffinity = change_affinity,
    /// Take models off KubeVirt's list of obsolete ones.
    EditObsoleteModels = edit_obsolete_models,
    /// Upgrade KubeVirt to the release that mends the cause.
    UpgradeKubeVirt = upgrade_kubevirt,
    /// Turn on the CPU manager of one of these nodes: all else fits there.
    EnableCpuManager = enable_cpu_manager,
    /// Restart: selectors inherited from earlier migrations end with the VMI.
    Restart = restart,
    /// Give it a named model that runs on more nodes; takes effect at the next start.
    UseModel = use_model,
    /// Disable CPU features instead of forbidding them; takes effect at the next start.
    DisableFeature = disable_feature,
    /// Drop what asks for what too few nodes have; takes effect at the next start.
    DropSetting = drop_setting,
    /// Change the machine type; takes effect at the next start.
    ChangeMachineType = change_machine_type,
    /// Take the clock of a node that takes no guests out of the choice, under `skip-node`, and start again.
    RemoveTscLabel = remove_tsc_label,
    /// Add a node with the hardware of this one.
    AddNode = add_node,
}

impl RemedyId {
    /// The remedy itself.
    #[must_use]
    pub fn spec(self) -> &'static RemedySpec {
        // The macro declares both in one order.
        &ALL[self as usize]
    }

    /// As JSON spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.spec().word
    }
}

/// A change that would cure a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Remedy {
    /// What to do.
    pub action: Action,
    /// The fewest and the most nodes that fit afterwards, over the places where it may start.
    pub then_fits: (usize, usize),
}

impl Remedy {
    fn new(action: impl Into<Action>, then_fits: (usize, usize)) -> Self {
        Self { action: action.into(), then_fits }
    }
}

impl Action {
    /// What the guest loses meanwhile: nothing where it does not run. Where KubeVirt does not update VMs live, a change of where a
    /// guest may run reaches it at its next start.
    #[must_use]
    pub fn outage(&self, subject: &Subject<'_>) -> Outage {
        match self {
            _ if !subject.is_running() => Outage::None,
            Self::ChangeSelector(_) | Self::ChangeAffinity(_) if !subject.live_update => Outage::Restart,
            _ => self.id().spec().outage,
        }
    }

    /// What may go wrong for the guest, in a few words.
    #[must_use]
    pub fn risk(&self, subject: &Subject<'_>) -> &'static str {
        self.act().risk(subject).unwrap_or(self.id().spec().risk)
    }

    /// The commands, in order.
    #[must_use]
    pub fn commands(&self, subject: &Subject<'_>) -> Script {
        self.act().commands(subject).into()
    }

    /// The command that takes it back, where there is one.
    #[must_use]
    pub fn undo(&self) -> Option<Command> {
        self.act().undo()
    }

    /// The guest after it was done, and the nodes it changes or adds: what the promise is checked against.
    #[must_use]
    pub fn apply<'a>(&self, subject: &Subject<'a>, fleet: &Fleet) -> (Subject<'a>, Vec<Node>) {
        let mut after = subject.clone();
        after.refused = None;
        let changed = self.act().apply(&mut after, fleet);
        (after, changed)
    }
}

impl Action {
    /// The number of candidate nodes after the change, of which [`Remedy::then_fits`] counts those that fit: another
    /// selector may ask for another architecture, and a node may be added.
    #[must_use]
    pub(crate) fn nodes_judged_after(&self, subject: &Subject<'_>, fleet: &Fleet) -> usize {
        let (after, changed) = self.apply(subject, fleet);
        let added = changed.iter().filter(|node| fleet.find(&node.name).is_none()).count();
        // Wherever it starts again, it is no target for itself.
        let starts = matches!((&subject.stage, &after.stage), (Stage::Migration(_), Stage::Start(_)));
        (neighbours(&after, fleet).count() + added).saturating_sub(usize::from(starts))
    }
}

/// Why a well-known remedy does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// KubeVirt refuses to migrate the guest, for this reason.
    NotMigratable(String),
    /// Nodes fit, and libvirt refused: neither labels nor cordons are the cause.
    LibvirtRefused,
    /// Why [`Uncordon`] does not help.
    Uncordon(NoUncordon),
    /// Why [`Restart`] does not help.
    Restart(NoRestart),
    /// Why [`UseModel`] does not help.
    Model(NoModel),
    /// Why [`AddLabels`] does not help.
    Labels(NoLabels),
    /// Why [`RemoveLabels`] does not help.
    Removal(NoRemoval),
    /// Why [`DropStale`] does not help.
    Drop(NoDrop),
}

/// There is no node that a remedy could free for a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNode {
    /// There is one of its architecture: the one that it runs on, or may start on.
    pub is_alone: bool,
    /// There are nodes of another architecture.
    pub has_others: bool,
}

impl NoNode {
    fn of(judgement: &Judgement<'_, '_>) -> Option<Self> {
        let starts = usize::from(!judgement.is_migration() && !judgement.passes.fitting.is_empty());
        let is_alone = starts == 1 || judgement.source.is_some();
        let has_others = judgement.has_other_architectures();
        (judgement.neighbours.count() == starts).then_some(Self { is_alone, has_others })
    }
}

/// A well-known remedy that would not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotHelping {
    /// Which.
    pub id: RemedyId,
    /// Why not.
    pub why: WhyNot,
}

/// A remedy that helps or does not by where the guest starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByLuck {
    /// Which.
    pub id: RemedyId,
    /// The fewest and the most nodes it could go to afterwards.
    pub then_fits: (usize, usize),
    /// Started on these it could go nowhere.
    pub stuck_on: Vec<String>,
}

/// What helps a guest that has too few nodes, by outage and risk; nothing in brief.
pub(super) fn offers(judgement: &Judgement<'_, '_>) -> Vec<Remedy> {
    match judgement.effort.depth {
        Depth::Brief => Vec::new(),
        // Nodes would fit, and no migration would begin.
        Depth::Full if judgement.subject.not_migratable.is_some() => Vec::new(),
        Depth::Full => ALL.iter().filter_map(|spec| judgement.within(|| (spec.offer)(judgement))).collect(),
    }
}

/// What makes libvirt's refusal void, where it leaves the guest somewhere to go.
pub(super) fn after_refusal(judgement: &Judgement<'_, '_>) -> Vec<Remedy> {
    // What KubeVirt refuses to migrate goes nowhere after a restart either.
    let is_migratable = judgement.subject.not_migratable.is_none();
    let Some(refused) = judgement.subject.refused.as_ref().filter(|_| is_migratable) else { return Vec::new() };
    // A guest that had features too many gets those of its new QEMU. What its target lacked, that lacks still.
    let found = judgement.within(|| {
        if refused.missing.is_empty() { restart::cures(judgement, 1) } else { use_model::after_refusal(judgement) }
    });
    found.into_iter().collect()
}

/// What makes sure that libvirt takes the guest on every node that fits, at least on as many as now.
pub(super) fn against_doubt(judgement: &Judgement<'_, '_>, sound: usize) -> Vec<Remedy> {
    match judgement.effort.depth {
        Depth::Brief => Vec::new(),
        Depth::Full => judgement.within(|| use_model::cures(judgement, sound.max(1))).into_iter().collect(),
    }
}

/// What leaves more nodes to go to wherever the guest starts.
pub(super) fn evens_starts(judgement: &Judgement<'_, '_>) -> Vec<Remedy> {
    let is_full = judgement.effort.depth == Depth::Full;
    let Some(start) = judgement.subject.restart.as_ref().filter(|_| is_full) else { return Vec::new() };
    let found = judgement.within(|| {
        let ((fewest, _), _) = judgement.outlook(start);
        use_model::cures(judgement, fewest + 1)
    });
    found.into_iter().collect()
}

/// The well-known remedies that are known not to help.
pub(super) fn not_helping(judgement: &Judgement<'_, '_>, offered: &[&Remedy]) -> Vec<NotHelping> {
    let is_offered = |word: &str| offered.iter().any(|remedy| remedy.action.id().as_str() == word);
    if let Some(refused) = &judgement.subject.not_migratable {
        return useless_where_refused(refused);
    }
    match judgement.assessment.outcome {
        Outcome::Fits if judgement.subject.refused.is_some() => {
            let ids = [RemedyId::AddLabels, RemedyId::RemoveLabels, RemedyId::Uncordon, RemedyId::DropStale];
            ids.into_iter().map(|id| NotHelping { id, why: WhyNot::LibvirtRefused }).collect()
        }
        Outcome::Impaired(_) => ALL
            .iter()
            .filter(|spec| !is_offered(spec.word))
            .filter_map(|spec| {
                let why = judgement.within(|| (spec.not_helping)(judgement))?;
                Some(NotHelping { id: spec.id, why })
            })
            .collect(),
        Outcome::Fits | Outcome::Unknown(_) => Vec::new(),
    }
}

/// What leaves a guest as it is that KubeVirt refuses to migrate. Of some reasons a start elsewhere, or a node's host-model label, may
/// make an end: of these nothing is said.
fn useless_where_refused(refused: &NotMigratable) -> Vec<NotHelping> {
    use RemedyId::{AddLabels, DropStale, RemoveLabels, Restart, Uncordon, UseModel};
    let ids: &[RemedyId] = match refused.reason.as_str() {
        "DisksNotLiveMigratable" => &[Restart, UseModel, AddLabels, RemoveLabels, DropStale, Uncordon],
        "CPUModeLiveMigratable" => &[DropStale, Uncordon],
        _ => &[AddLabels, RemoveLabels, DropStale, Uncordon],
    };
    ids.iter().map(|&id| NotHelping { id, why: WhyNot::NotMigratable(refused.reason.clone()) }).collect()
}

/// What helps or does not by where the guest starts.
pub(super) fn by_luck(judgement: &Judgement<'_, '_>, offered: &[&Remedy]) -> Vec<ByLuck> {
    let is_offered = |luck: &ByLuck| offered.iter().any(|remedy| remedy.action.id() == luck.id);
    match judgement.assessment.outcome {
        _ if judgement.subject.not_migratable.is_some() => Vec::new(),
        Outcome::Impaired(_) => {
            let luck = judgement.within(|| restart::by_luck(judgement));
            let is_certain = |_: &ByLuck| {
                let starts = Action::from(Restart).apply(judgement.subject, judgement.fleet).0.fitting(judgement.fleet);
                let known = judgement.subject.known_starts(&starts, judgement.source, judgement.fleet);
                known == Some(starts)
            };
            luck.filter(|luck| !is_offered(luck)).filter(is_certain).into_iter().collect()
        }
        Outcome::Fits | Outcome::Unknown(_) => Vec::new(),
    }
}

/// Takes out what would end a guest that runs and is not known to start again, or to be any better off then, because of its volumes
/// or of pods that decide where it starts; the numbers of the others are those that its volumes leave.
pub(super) fn retain_startable(judgement: &Judgement<'_, '_>, remedies: &mut Vec<Remedy>) {
    let Judgement { subject, fleet, .. } = judgement;
    let is_plain = subject.volumes.is_empty() && subject.unplaced.is_empty() && subject.pod_rules.is_empty();
    if is_plain || !subject.is_running() {
        return;
    }
    let runs_on = subject.source().or(subject.running.as_ref().map(|running| running.node.as_str()));
    let own = runs_on.and_then(|node| fleet.find(node));
    remedies.retain_mut(|remedy| {
        if remedy.action.outage(subject) == Outage::None {
            return true;
        }
        let (after, _) = remedy.action.apply(subject, fleet);
        let starts = after.fitting(fleet);
        let Some(known) = subject.known_starts(&starts, own, fleet) else { return false };
        if known == starts {
            return true;
        }
        // Where it starts, it is one less to go to.
        let most = known.count().saturating_sub(1);
        remedy.then_fits = (remedy.then_fits.0.min(most), remedy.then_fits.1.min(most));
        let leaves = !known.is_empty() && own.is_some_and(|own| !known.contains(own));
        leaves || remedy.then_fits.1 > 0
    });
}

/// The nodes that an action changes: these, edited.
fn edit<'n>(fleet: &Fleet, names: impl IntoIterator<Item = &'n String>, change: impl Fn(&mut Node)) -> Vec<Node> {
    let mut nodes: Vec<Node> =
        names.into_iter().filter_map(|name| fleet.find(name)).map(|node| fleet.node(node)).collect();
    nodes.iter_mut().for_each(change);
    nodes
}

/// Takes keys out of what a guest asks for.
fn drop_keys(subject: &mut Subject<'_>, fleet: &Fleet, keys: &[String]) {
    let dropped: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
    subject.placement.selector.retain(|(key, _)| !dropped.contains(&**key));
    if let Stage::Migration(migration) = &mut subject.stage {
        migration.added.retain(|(key, _)| !dropped.contains(key.as_str()));
    }
    // An added vendor replaces the source's own, which is restored.
    if keys.iter().any(|key| Family::of(key) == Family::CpuVendor)
        && subject.restart.as_ref().is_some_and(|start| start.after_start.vendor)
        && let Some(source) = subject.source().and_then(|source| fleet.find(source))
        && let Some(vendor) = fleet.host_model_class(source).vendors.first()
    {
        subject.placement.selector.insert(vendor.clone(), "true");
    }
}

/// Replaces the keys of a family with one key.
fn replace_key(subject: &mut Subject<'_>, family: Family, key: String) {
    subject.placement.selector.retain(|(key, _)| Family::of(key) != family);
    subject.placement.selector.insert(key, "true");
}

/// Commands, in order.
type Commands = Result<Vec<Command>, Invalid>;

/// `kubectl label node NODE`.
fn label_node(node: &str) -> Result<Command, Invalid> {
    Ok(Command::kubectl(["label", "node"]).arg(Name::new(node)?))
}

/// Commands that change the labels of a node, behind the one that keeps the labeller off it. Where `skip-node` is set already the
/// labeller is off: its presence counts, not its value, and kubectl would refuse to set another.
fn frozen<const N: usize>(node: &str, is_frozen: bool, change: [Command; N]) -> Commands {
    let mut out = Vec::new();
    if !is_frozen {
        let skip = LabelKey::new(label::SKIP_NODE)?.set_to(&LabelValue::new("true")?);
        let annotate = Command::kubectl(["annotate", "node"]).arg(Name::new(node)?).arg(skip);
        out.push(annotate.comment("first: the labeller would undo the rest in 3 minutes"));
    }
    out.extend(change);
    Ok(out)
}

/// The command that lets the labeller back.
fn end_skip_node(node: &str) -> Result<Command, Invalid> {
    let annotate = Command::kubectl(["annotate", "node"]).arg(Name::new(node)?);
    Ok(annotate.arg(LabelKey::new(label::SKIP_NODE)?.removed()))
}

/// A command about the guest: its name and namespace behind it.
fn of_guest(command: Command, subject: &Subject<'_>) -> Result<Command, Invalid> {
    Ok(command.arg(Name::new(&subject.name)?).namespace(Namespace::new(&subject.namespace)?))
}

/// The commands that start a guest again.
fn restart_commands(subject: &Subject<'_>) -> Commands {
    Ok(vec![match subject.template {
        Some(Template::VirtualMachine) if subject.is_running() && subject.anew == Anew::Restart => {
            let restart = of_guest(Command::virtctl(["restart"]), subject)?;
            restart.comment("a reboot inside the guest is not enough")
        }
        Some(Template::VirtualMachine) if subject.is_running() && subject.anew == Anew::Once => {
            let stop = of_guest(Command::virtctl(["stop"]), subject)?;
            let stop = stop.comment("its runStrategy is Once: KubeVirt refuses a restart");
            let gone = Command::kubectl(["wait", "--for=delete"]).arg(Name::new(&subject.name)?.of("vmi"));
            let gone = gone.namespace(Namespace::new(&subject.namespace)?).args(["--timeout=10m"]);
            let once = Json::Text("Once".into()).below(&["spec", "runStrategy"]);
            let start = of_guest(Command::kubectl(["patch", "vm"]), subject)?;
            return Ok(vec![stop, gone, start.args(["--type", "merge", "-p"]).arg(once)]);
        }
        Some(Template::VirtualMachine) => Command::remark(["it counts from its next start on".into()]),
        // A dump may have been cleaned of owners, and hold no VM.
        None => {
            let (name, namespace) = (Name::new(&subject.name)?, Namespace::new(&subject.namespace)?);
            let of = [name.into(), "-n".into(), namespace.into()].into_iter();
            let of = of.take(if subject.namespace.is_empty() { 1 } else { 3 });
            let otherwise = "if a VM makes it, else delete its VMI and create it again; a reboot inside is not enough";
            Command::remark(["virtctl restart".into()].into_iter().chain(of).chain([otherwise.into()]))
        }
        Some(Template::ReplicaSet | Template::Pool) => {
            Command::remark(["create its guests again: a reboot inside is not enough".into()])
        }
    }])
}

/// The commands that change the template of a guest, below its spec, and start a VM's guest again where the change takes that;
/// where there is no template, what is to be done `by_hand`.
fn change_template(
    subject: &Subject<'_>,
    below: &[&'static str],
    value: Json,
    outage: Outage,
    by_hand: Vec<CommandWord>,
) -> Commands {
    let Some(template) = subject.template else {
        let anew = by_hand.into_iter().chain(["and create the guest again".into()]);
        return Ok(vec![Command::remark(anew)]);
    };
    let patch = of_guest(Command::kubectl(["patch"]).arg(template.resource()), subject)?;
    let patch = patch.args(["--type", "merge", "-p"]).arg(value.below(below).below(template.path()));
    and_anew(patch, template, outage, subject)
}

/// A change of a template, and what brings it to the guests that there are.
fn and_anew(patch: Command, template: Template, outage: Outage, subject: &Subject<'_>) -> Commands {
    Ok(match template {
        Template::VirtualMachine if outage == Outage::Restart && subject.is_running() => {
            [vec![patch], restart_commands(subject)?].concat()
        }
        Template::VirtualMachine | Template::Pool => vec![patch],
        Template::ReplicaSet => vec![patch.comment("VMIs that it has already stay as they are until they are deleted")],
    })
}

/// The commands that take CPU features out of the template of a guest, or give them another policy. They do nothing to a list
/// that is another by then.
fn change_features(subject: &Subject<'_>, features: &[ListedFeature], policy: Option<&'static str>) -> Commands {
    const LIST: [&str; 3] = ["domain", "cpu", "features"];
    let names = features
        .iter()
        .map(|feature| CpuFeature::new(&feature.name).map(CommandWord::from))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(template) = subject.template else {
        let what = match policy {
            Some(_) => "give policy disable in spec.domain.cpu.features to",
            None => "take out of spec.domain.cpu.features",
        };
        let line = [what.into()].into_iter().chain(names).chain(["and create the guest again".into()]);
        return Ok(vec![Command::remark(line)]);
    };
    let list = [template.path(), &LIST].concat();
    let operation = |op: &'static str, at: usize, below: &[&'static str], value: Option<CommandWord>| {
        let place = Json::Text(CommandWord::pointer(&list, at, below));
        let mut fields = vec![("op".into(), Json::Text(op.into())), ("path".into(), place)];
        fields.extend(value.map(|value| ("value".into(), Json::Text(value))));
        Json::Object(fields)
    };
    let mut operations: Vec<Json> = Vec::new();
    // From the last one on, so that each is still at its place.
    for (feature, name) in features.iter().zip(names).rev() {
        operations.push(operation("test", feature.at, &["name"], Some(name)));
        operations.push(match policy {
            Some(policy) => operation("replace", feature.at, &["policy"], Some(policy.into())),
            None => operation("remove", feature.at, &[], None),
        });
    }
    let patch = of_guest(Command::kubectl(["patch"]).arg(template.resource()), subject)?;
    let patch = patch.args(["--type", "json", "-p"]).arg(Json::Array(operations));
    and_anew(patch, template, Outage::Restart, subject)
}

/// What is to be done where an instancetype or a preference sets what is to be changed.
fn name_another(named: &TypeReference) -> Commands {
    let kind = match named.what() {
        "preference" => "name another preference in spec.preference of the VM:",
        _ => "name another instancetype in spec.instancetype of the VM:",
    };
    let field = CommandWord::joined("sets spec.", named.field);
    Ok(vec![Command::remark([kind.into(), Name::new(&named.name)?.into(), field])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_remedy_is_at_its_index() {
        for (at, spec) in ALL.iter().enumerate() {
            assert_eq!(spec.id as usize, at, "{:?} would be described by another remedy", spec.id);
            assert!(spec.word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", spec.word);
            assert!(!spec.risk.is_empty(), "{}: nothing says what may go wrong", spec.word);
        }
    }
}
