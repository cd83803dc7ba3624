//! The remedies, one file each, the least harmful first.
//!
//! The file of a remedy defines when it is offered, when and why it is known not to help, its changes to nodes
//! and guest, its commands and its undo command. A remedy is a promise: it is tried before it is offered
//! (`trial`), and a property test applies it and judges again. If it is neither certain to help nor certain
//! not to help, it is not mentioned.

mod add_labels;
mod add_node;
mod change_affinity;
mod change_machine_type;
mod change_selector;
mod change_together;
mod change_tolerations;
mod disable_feature;
mod drop_added_selector;
mod drop_setting;
mod drop_stale;
mod edit_obsolete_models;
mod enable_cpu_manager;
mod fix_virt_handler;
mod made_again;
mod migrate_again;
mod not_helping;
mod refresh_revision;
mod refused_target;
mod remove_labels;
mod remove_skip_node;
mod remove_tsc_label;
mod remove_vendor_label;
mod restart;
mod risk;
mod selector;
mod specification;
mod trial;
mod uncordon;
mod upgrade_kubevirt;
mod use_model;

#[cfg(test)]
pub(crate) use add_labels::Backing;
pub(crate) use add_labels::{AddLabels, NoLabels, NotToAdd, VirtHandler, label_each};
pub(crate) use add_node::AddNode;
pub(crate) use change_affinity::ChangeAffinity;
pub(crate) use change_machine_type::ChangeMachineType;
pub(crate) use change_selector::ChangeSelector;
pub(crate) use change_together::{ChangeTogether, is_one, setting_of};
pub(crate) use change_tolerations::ChangeTolerations;
pub(crate) use disable_feature::DisableFeature;
pub(crate) use drop_added_selector::DropAddedSelector;
pub(super) use drop_added_selector::leaves_at_drain;
pub(crate) use drop_setting::DropSetting;
pub(super) use drop_setting::ends_refusal;
pub(crate) use drop_stale::{DropStale, NoDrop};
pub(crate) use edit_obsolete_models::EditObsoleteModels;
pub(crate) use enable_cpu_manager::EnableCpuManager;
pub(crate) use fix_virt_handler::FixVirtHandler;
pub(crate) use migrate_again::MigrateAgain;
pub(super) use not_helping::not_helping;
pub(crate) use not_helping::{NotHelping, well_known};
pub(crate) use refresh_revision::RefreshRevision;
pub(crate) use remove_labels::{NoRemoval, RemoveLabels};
pub(crate) use remove_skip_node::RemoveSkipNode;
pub(crate) use remove_tsc_label::RemoveTscLabel;
pub(crate) use remove_vendor_label::RemoveVendorLabel;
pub(crate) use restart::{NoRestart, Restart, labels_predict_after_restart};
pub(crate) use uncordon::{Cordoned, NoUncordon, Uncordon};
pub(crate) use upgrade_kubevirt::UpgradeKubeVirt;
pub(crate) use use_model::{NoModel, NotUsable, UseModel};

use selector::{drop_keys, replace_key, take_new_target};
use specification::{add_tolerations, again, change_features, change_template, listed, name_another, restart_commands};
use trial::Prospect;

use super::bits::Bits;
use super::command::{Command, Invalid, LabelKey, LabelValue, Name, Script};
use super::effort::Depth;
use super::fleet::Fleet;
use super::immobile::Immobile;
use super::judgement::{Judgement, neighbours};
use super::label;
use super::libvirt::Incompatible;
use super::node::Node;
use super::outcome::Assessment;
use super::subject::{MigrationLimit, NotMigratable, Stage, Start, Subject};
use super::word::words;

words! {
    /// The interruption that a remedy causes for the guest.
    Outage {
        /// No interruption.
        None = "none",
        /// A restart of the guest.
        Restart = "restart",
    }
}

words! {
    /// The nodes that the numbers of a guest's remedies count. All remedies of one guest count the same.
    Counted {
        /// The nodes on which it can start: the numbers of a guest that no node takes at its start, or that KubeVirt
        /// refuses.
        StartNodes = "start-nodes",
        /// The nodes to which it can migrate: if it starts first, from where it starts.
        Targets = "targets",
    }
}

impl Counted {
    /// Returns those of a guest.
    #[must_use]
    pub fn of(subject: &Subject<'_>, assessment: &Assessment) -> Self {
        let is_down = assessment.fitting.is_empty() || subject.is_refused;
        if is_down && matches!(subject.stage, Stage::Start(_)) { Self::StartNodes } else { Self::Targets }
    }
}

/// A remedy and its properties.
#[derive(Debug)]
pub struct RemedySpec {
    /// The remedy.
    pub id: RemedyId,
    /// The name in JSON. Two remedies that are known by one name share it.
    pub word: &'static str,
    /// The interruption for the guest.
    pub outage: Outage,
    /// The risk, in a few words.
    pub risk: &'static str,
    /// The objects that it changes.
    pub changes: Changes,
    /// Whether it changes what a migration asks for, so that a target pod which exists has to be made again.
    pub remakes_target: bool,
    /// Whether it may also help a guest for which no node has room: by another node, or by a smaller demand.
    pub gives_room: bool,
    /// Returns the remedy if it is certain to help.
    pub offer: fn(&Judgement<'_, '_>) -> Option<Remedy>,
    /// Returns the reason why it does not help, if that is certain. Called if the remedy is not offered. `None` for a
    /// remedy that is not well known, so that nothing is said of it where it does not help.
    pub not_helping: Option<fn(&Judgement<'_, '_>) -> Option<WhyNot>>,
}

/// The objects that a remedy changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Nodes, or KubeVirt's list that decides about their labels.
    Nodes,
    /// Labels of a node to which the guest may go.
    Labels,
    /// Labels of the node that the guest leaves, which migrations copy from it.
    OwnLabels,
    /// A migration that exists.
    Migration,
    /// The policy of the guest.
    Policy,
    /// The template of the guest.
    Template,
    /// The running guest alone.
    Guest,
    /// The cluster: this takes days.
    Cluster,
}

impl Changes {
    /// Whether it helps running guests only.
    pub(crate) fn needs_running(self) -> bool {
        matches!(self, Self::OwnLabels | Self::Migration | Self::Policy | Self::Guest)
    }
}

/// The changes of a remedy, and the commands that make them.
trait Act {
    /// Returns the commands, in order.
    fn commands(&self, subject: &Subject<'_>) -> Commands;

    /// Returns the command that reverts it, if there is one.
    fn undo(&self) -> Option<Command> {
        None
    }

    /// Returns the interruption for this guest, which runs; `None` if it is that of the [`RemedySpec`].
    fn outage(&self, _: &Subject<'_>) -> Option<Outage> {
        None
    }

    /// Returns the nodes of which one is enough; `None` if it changes no node, or all that it names.
    fn alternatives(&mut self) -> Option<&mut Vec<String>> {
        None
    }

    /// Returns the risk for this guest; `None` if it is that of the [`RemedySpec`].
    fn risk(&self, _: &Subject<'_>) -> Option<&'static str> {
        None
    }

    /// Applies the remedy to the guest. Returns the nodes that it changes or adds.
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

        /// A remedy with its parameters.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])* $id($id),)*
        }

        impl Action {
            /// Returns the remedy's name.
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

            fn act_mut(&mut self) -> &mut dyn Act {
                match self {
                    $(Self::$id(action) => action,)*
                }
            }
        }

        impl RemedyId {
            /// Returns the properties of the remedy.
            #[must_use]
            pub fn spec(self) -> &'static RemedySpec {
                match self {
                    $(Self::$id => &$file::SPEC,)*
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
    /// Uncordon one of these nodes, which otherwise fits.
    Uncordon = uncordon,
    /// Restore virt-handler, which marked these nodes unschedulable.
    FixVirtHandler = fix_virt_handler,
    /// Cancel a migration whose target pod waits for a node, and migrate again.
    MigrateAgain = migrate_again,
    /// Migrate without `addedNodeSelector`.
    DropAddedSelector = drop_added_selector,
    /// Let the labeller update a node again whose labels are frozen and fewer than those of its class.
    RemoveSkipNode = remove_skip_node,
    /// Remove an untrue vendor label from the node that the guest leaves.
    RemoveVendorLabel = remove_vendor_label,
    /// Add the missing labels under `skip-node`.
    AddLabels = add_labels,
    /// Drop inherited keys that no node offers (`launcherSelectors: DropStale`).
    DropStale = drop_stale,
    /// Remove host-model labels from the guest's node, under `skip-node`, so that its first migration selects
    /// less.
    RemoveLabels = remove_labels,
    /// Change entries of the guest's own node selector.
    ChangeSelector = change_selector,
    /// Remove the guest's own required node affinity.
    ChangeAffinity = change_affinity,
    /// Tolerate a taint that one of the guest's own tolerations nearly matches.
    ChangeTolerations = change_tolerations,
    /// Remove models from KubeVirt's list of obsolete ones.
    EditObsoleteModels = edit_obsolete_models,
    /// Upgrade KubeVirt to the release that fixes the cause.
    UpgradeKubeVirt = upgrade_kubevirt,
    /// Enable the CPU manager of one of these nodes, which otherwise fits.
    EnableCpuManager = enable_cpu_manager,
    /// Restart: selectors inherited from earlier migrations end with the VMI.
    Restart = restart,
    /// Take an instancetype or preference as it is now, instead of an older copy; takes effect at the next start.
    RefreshRevision = refresh_revision,
    /// Set a named model that runs on more nodes; takes effect at the next start.
    UseModel = use_model,
    /// Disable CPU features instead of forbidding them; takes effect at the next start.
    DisableFeature = disable_feature,
    /// Drop a setting whose requirements too few nodes meet; takes effect at the next start.
    DropSetting = drop_setting,
    /// Change the machine type; takes effect at the next start.
    ChangeMachineType = change_machine_type,
    /// Exclude the TSC frequency of a node that takes no guests, under `skip-node`, and restart.
    RemoveTscLabel = remove_tsc_label,
    /// Change two or three things of the guest, or one of it and one of a node, or a node in two ways, where fewer
    /// changes do not help.
    ChangeTogether = change_together,
    /// Add a node with the hardware of this one.
    AddNode = add_node,
}

impl RemedyId {
    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.spec().word
    }
}

/// A change that remedies a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Remedy {
    /// The change.
    pub action: Action,
    /// The smallest and the largest number of nodes afterwards, over all start nodes: [`Counted`] says of which.
    pub then_fits: (usize, usize),
    /// The start nodes on which it does not help; `None` if it is certain to help.
    pub luck: Option<Luck>,
}

impl Remedy {
    fn new(action: impl Into<Action>, prospect: Prospect) -> Self {
        Self { action: action.into(), then_fits: prospect.then_fits, luck: prospect.luck }
    }
}

/// Whether a remedy helps depends on the node that kube-scheduler chooses for the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Luck {
    /// Started on these it could go nowhere, by name.
    pub stuck_on: Vec<String>,
    /// Started on these it could go to one node only, which it can now as well, by name.
    pub no_better_on: Vec<String>,
}

impl Action {
    /// Returns the interruption for the guest: none if it does not run.
    #[must_use]
    pub fn outage(&self, subject: &Subject<'_>) -> Outage {
        let of_running = || self.act().outage(subject).unwrap_or(self.id().spec().outage);
        if subject.is_running() { of_running() } else { Outage::None }
    }

    /// Whether it changes nodes, and no guest or policy.
    pub(crate) fn is_of_nodes(&self) -> bool {
        matches!(self.id().spec().changes, Changes::Nodes | Changes::Labels)
    }

    /// Keeps these of several nodes one of which is enough, if there is one.
    pub(crate) fn prefer(&mut self, is_better: impl Fn(&String) -> bool) {
        if let Some(nodes) = self.act_mut().alternatives().filter(|nodes| nodes.iter().any(&is_better)) {
            nodes.retain(is_better);
        }
    }

    /// Returns the risk for the guest, whatever the nodes are.
    fn own_risk(&self, subject: &Subject<'_>) -> &'static str {
        self.act().risk(subject).unwrap_or(self.id().spec().risk)
    }

    /// Returns the commands, in order.
    #[must_use]
    pub fn commands(&self, subject: &Subject<'_>) -> Script {
        self.act().commands(subject).into()
    }

    /// Returns the command that reverts it, if there is one.
    #[must_use]
    pub fn undo(&self) -> Option<Command> {
        self.act().undo()
    }

    /// Returns the guest after the change, and the nodes that it changes or adds, so that the promise can be
    /// checked.
    #[must_use]
    pub fn apply<'a>(&self, subject: &Subject<'a>, fleet: &Fleet) -> (Subject<'a>, Vec<Node>) {
        let mut after = subject.clone();
        after.failed = None;
        if self.id().spec().remakes_target {
            take_new_target(&mut after);
        }
        let changed = self.act().apply(&mut after, fleet);
        (after, changed)
    }

    /// Returns the number of candidate nodes after the change, of which [`Remedy::then_fits`] counts some:
    /// another selector may select another architecture, and a node may be added.
    pub(crate) fn nodes_judged_after(&self, subject: &Subject<'_>, fleet: &Fleet, counted: Counted) -> usize {
        let (after, changed) = self.apply(subject, fleet);
        let added = changed.iter().filter(|node| fleet.find(&node.name).is_none()).count();
        // The node on which it starts is no target.
        let starts = counted == Counted::Targets && matches!(after.stage, Stage::Start(_));
        (neighbours(&after, fleet).count() + added).saturating_sub(usize::from(starts))
    }
}

/// The reason why a well-known remedy does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// KubeVirt refuses to migrate the guest, for this reason.
    NotMigratable(String),
    /// KubeVirt will refuse to migrate the guest, for this reason.
    WillNotMigrate(String),
    /// KubeVirt starts no migration: this limit is 0.
    MigrationsOff(MigrationLimit),
    /// The node that the guest leaves, by name, is down.
    SourceDown(String),
    /// Nodes fit, but libvirt refused: neither labels nor cordons are the cause.
    LibvirtRefused,
    /// The only node that it would open is the one on which libvirt refused the guest last.
    RefusedThere {
        /// The node.
        node: String,
    },
    /// The reason why [`Uncordon`] does not help.
    Uncordon(NoUncordon),
    /// The reason why [`Restart`] does not help.
    Restart(NoRestart),
    /// The reason why [`UseModel`] does not help.
    Model(NoModel),
    /// The reason why [`AddLabels`] does not help.
    Labels(NoLabels),
    /// The reason why [`RemoveLabels`] does not help.
    Removal(NoRemoval),
    /// The reason why [`DropStale`] does not help.
    Drop(NoDrop),
}

/// A cluster without a node that a remedy could make fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNode {
    /// Whether there is one node of the guest's architecture: the one that it runs on, or may start on.
    pub is_alone: bool,
    /// Whether there are nodes of another architecture.
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

/// Returns the remedies for a guest that has too few nodes, by interruption and risk; none in a brief
/// judgement.
pub(super) fn offers(judgement: &Judgement<'_, '_>) -> Vec<Remedy> {
    match judgement.effort.depth {
        Depth::Brief => Vec::new(),
        // Nodes would fit, but KubeVirt would start no migration.
        Depth::Full if never_migrates(judgement) => Vec::new(),
        Depth::Full => {
            let mut found: Vec<Remedy> = Vec::new();
            let is_restartable = made_again::starts_if_made_again(judgement).is_some();
            for spec in ALL {
                // Several changes are not tried if one is enough.
                let is_helped = spec.id == RemedyId::ChangeTogether && found.iter().any(|remedy| remedy.luck.is_none());
                // The VM that was changed after the pod was created needs no further change.
                if !(is_helped || is_restartable && spec.changes == Changes::Template) {
                    let offered = judgement.within(|| (spec.offer)(judgement));
                    found.extend(offered.filter(|remedy| !refused_target::opens_it_alone(judgement, &remedy.action)));
                }
            }
            found
        }
    }
}

/// Returns the remedy for libvirt's refusal, if it leaves the guest a target.
pub(super) fn after_refusal(judgement: &Judgement<'_, '_>) -> Vec<Remedy> {
    // A guest that KubeVirt refuses to migrate cannot migrate after a restart either.
    let is_migratable = !never_migrates(judgement);
    let refused = judgement.subject.failed.as_ref().filter(|refused| is_migratable && refused.is_of_cpu);
    let Some(refused) = refused else { return Vec::new() };
    let why = Incompatible { missing: refused.missing.clone(), ..Incompatible::default() };
    let gives_up = |start: &Start<'_>| judgement.subject.gives_up(start, &why);
    // A guest with extra features gets those of its new QEMU. A target that lacked features still lacks them.
    if why.missing.is_empty() || judgement.subject.restart.as_ref().is_some_and(gives_up) {
        return judgement.within(|| restart::cures(judgement)).into_iter().collect();
    }
    let model = judgement.within(|| use_model::after_refusal(judgement));
    model.into_iter().chain(judgement.within(|| drop_setting::giving_up(judgement, &why))).collect()
}

/// Returns the remedy with which libvirt accepts the guest on every fitting node, at least on as many as now.
pub(super) fn against_doubt(judgement: &Judgement<'_, '_>, sound: usize) -> Vec<Remedy> {
    match judgement.effort.depth {
        Depth::Full if !never_migrates(judgement) => {
            let needed = sound.max(1);
            judgement
                .within(|| restart::gets_model(judgement, needed).or_else(|| use_model::cures(judgement, needed)))
                .into_iter()
                .collect()
        }
        Depth::Brief | Depth::Full => Vec::new(),
    }
}

/// Returns the remedy with which every try of a migration asks for the same vendor; none in a brief judgement.
pub(super) fn makes_vendor_certain(judgement: &Judgement<'_, '_>) -> Vec<Remedy> {
    let is_tried = judgement.effort.depth == Depth::Full && !never_migrates(judgement);
    let found = is_tried.then(|| judgement.within(|| remove_vendor_label::makes_certain(judgement)));
    found.flatten().into_iter().collect()
}

/// Returns the remedy that leaves more targets from every start node.
pub(super) fn evens_starts(judgement: &Judgement<'_, '_>) -> Vec<Remedy> {
    let is_tried = judgement.effort.depth == Depth::Full && !never_migrates(judgement);
    let Some(start) = judgement.subject.restart.as_ref().filter(|_| is_tried) else { return Vec::new() };
    let found = judgement.within(|| {
        let ((fewest, _), _) = judgement.outlook(start);
        use_model::cures(judgement, fewest + 1)
    });
    found.into_iter().collect()
}

/// Returns the named model that runs on the most of these nodes, and their number, if it runs on more of them than take
/// the guest now; regardless of who sets the guest's model. `None` in a brief judgement.
pub(super) fn runs_on_more(judgement: &Judgement<'_, '_>, open: &Bits) -> Option<(String, usize)> {
    if judgement.effort.depth == Depth::Brief {
        return None;
    }
    judgement.within(|| use_model::runs_on_more(judgement, open))
}

/// Whether no remedy gains the guest a target: it migrates nowhere now, or KubeVirt will refuse to migrate it. False
/// for a guest that cannot start yet, which remedies give a start node.
fn never_migrates(judgement: &Judgement<'_, '_>) -> bool {
    let subject = judgement.subject;
    let gains_targets = Counted::of(subject, &judgement.assessment) == Counted::Targets;
    gains_targets && Immobile::of(subject, judgement.fleet).is_some() || foreseen(judgement).is_some()
}

/// Returns why KubeVirt will refuse to migrate a guest that can start.
fn foreseen<'j>(judgement: &'j Judgement<'_, '_>) -> Option<&'j NotMigratable> {
    let subject = judgement.subject;
    let gains_targets = Counted::of(subject, &judgement.assessment) == Counted::Targets;
    subject.live_migratable.foreseen.as_ref().filter(|_| gains_targets).map(|foreseen| &foreseen.refused)
}

/// Takes what depends on luck out of what is offered. Where it is not known where the guest starts, nothing is said of
/// luck.
pub(super) fn take_lucky(judgement: &Judgement<'_, '_>, remedies: &mut Vec<Remedy>) -> Vec<Remedy> {
    let (lucky, certain): (Vec<Remedy>, Vec<Remedy>) =
        std::mem::take(remedies).into_iter().partition(|remedy| remedy.luck.is_some());
    *remedies = certain;
    let is_known = |remedy: &Remedy| {
        let (after, changed) = remedy.action.apply(judgement.subject, judgement.fleet);
        let changed = (!changed.is_empty()).then(|| judgement.fleet.with(changed));
        let fleet = changed.as_ref().unwrap_or(judgement.fleet);
        let (starts, own) = (after.fitting(fleet), judgement.source.map(|node| judgement.fleet.name(node)));
        let known = judgement.subject.known_starts(&starts, own.and_then(|name| fleet.find(name)), fleet);
        known == Some(starts)
    };
    lucky.into_iter().filter(is_known).collect()
}

/// Removes remedies that would stop a running guest which is not known to start again, or to be better off
/// then, because of its volumes or of rules about pods. Limits the numbers of the other remedies to the nodes
/// that its volumes leave.
pub(super) fn retain_startable(judgement: &Judgement<'_, '_>, remedies: &mut Vec<Remedy>) {
    let Judgement { subject, fleet, .. } = judgement;
    if subject.unjudged_next().is_empty() || !subject.is_running() {
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
        // The start node is no target.
        let most = known.count().saturating_sub(1);
        remedy.then_fits = (remedy.then_fits.0.min(most), remedy.then_fits.1.min(most));
        let leaves = !known.is_empty() && own.is_some_and(|own| !known.contains(own));
        leaves || remedy.then_fits.1 > 0
    });
}

/// The risk of a placement on more nodes for a guest that keeps the CPU of its node.
const ELSEWHERE_WITH_CPU: &str =
    "it may run where it was not meant to, with the CPU of its node: libvirt may refuse it there";

/// Whether it is a host-passthrough guest that runs: no label states whether another node has the CPU of its own.
fn keeps_cpu(subject: &Subject<'_>) -> bool {
    subject.mode.may_pass_through() && subject.source().is_some()
}

/// Returns the nodes with these names, edited.
fn edit<'n>(fleet: &Fleet, names: impl IntoIterator<Item = &'n String>, change: impl Fn(&mut Node)) -> Vec<Node> {
    let mut nodes: Vec<Node> =
        names.into_iter().filter_map(|name| fleet.find(name)).map(|node| fleet.node(node)).collect();
    nodes.iter_mut().for_each(change);
    nodes
}

/// The commands of a remedy, in order.
type Commands = Result<Vec<Command>, Invalid>;

/// Starts the command `kubectl label node NODE`.
fn label_node(node: &str) -> Result<Command, Invalid> {
    Ok(Command::kubectl(["label", "node"]).arg(Name::new(node)?))
}

/// Puts the command that stops the labeller before commands that change the labels of a node. If `skip-node`
/// is already set, the labeller is stopped: its presence counts, not its value, and kubectl would refuse to
/// set another.
fn frozen<const N: usize>(node: &str, is_frozen: bool, change: [Command; N]) -> Commands {
    let mut out = Vec::new();
    if !is_frozen {
        let skip = LabelKey::new(label::SKIP_NODE)?.set_to(&LabelValue::new("true")?);
        let annotate = Command::kubectl(["annotate", "node"]).arg(Name::new(node)?).arg(skip);
        out.push(annotate.comment("first: the labeller would undo the rest within 7 minutes"));
    }
    out.extend(change);
    Ok(out)
}

/// Returns the command that lets the labeller run again.
fn end_skip_node(node: &str) -> Result<Command, Invalid> {
    let annotate = Command::kubectl(["annotate", "node"]).arg(Name::new(node)?);
    Ok(annotate.arg(LabelKey::new(label::SKIP_NODE)?.removed()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_remedy_has_a_file_of_its_own() {
        let ids: BTreeSet<RemedyId> = ALL.iter().map(|spec| spec.id.spec().id).collect();
        assert_eq!(ids.len(), ALL.len(), "one would be described by another remedy: {ids:?}");
        for spec in ALL {
            assert!(spec.word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", spec.word);
            assert!(!spec.risk.is_empty(), "{}: nothing says what may go wrong", spec.word);
        }
    }
}
