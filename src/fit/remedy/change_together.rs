//! Remedy: two or three changes of the guest, or one and a change of a node, or two changes of a node, if fewer do not
//! help.
//!
//! Settings of one specification are rendered together beforehand ([`Subject::combined`]): what one of them asks for
//! the other may ask for as well. Other changes are carried out one after the other, and the last is chosen for what
//! the others leave.

use super::made_again::restarted;
use super::restart::labels_predict_after_restart;
use super::{
    Act, Action, Changes, Commands, Counted, DisableFeature, DropSetting, FixVirtHandler, Outage, Remedy, RemedyId,
    RemedySpec, Uncordon, add_labels, change_affinity, change_machine_type, change_selector, change_tolerations,
    fix_virt_handler, name_another, remove_skip_node, restart_commands, uncordon, use_model,
};
use crate::fit::author::TypeReference;
use crate::fit::effort::Effort;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::judgement::Judgement;
use crate::fit::label::Family;
use crate::fit::node::Node;
use crate::fit::outcome::Nearest;
use crate::fit::subject::{Setting, SettingChange, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::ChangeTogether,
    word: "change-together",
    outage: Outage::Restart,
    risk: "the guest is changed in two ways",
    changes: Changes::Template,
    remakes_target: false,
    gives_room: true,
    offer,
    not_helping: None,
};

/// Maximum number of sets of settings to which other changes are added, by their number.
const MAX_SETTINGS_TRIED: usize = 16;
/// Maximum number of nodes that are opened on trial.
const MAX_OPENED: usize = 32;
/// Maximum number of sets of changes for which a last change is sought, by the number of settings among them.
const MAX_SETS_TRIED: usize = 32;

/// Two or three changes, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeTogether {
    /// The changes.
    pub parts: Vec<Action>,
}

impl ChangeTogether {
    /// Returns the actions of fewer of these changes: each alone, and of three changes each two.
    pub(crate) fn fewer(&self) -> Vec<Action> {
        let without = |at: usize| {
            let kept = self.parts.iter().enumerate().filter(|(other, _)| *other != at);
            Self { parts: kept.map(|(_, part)| part.clone()).collect() }.into()
        };
        let two = (0..self.parts.len()).filter(|_| self.parts.len() > 2).map(without);
        self.parts.iter().cloned().chain(two).collect()
    }
}

/// Whether both are the same instancetype or preference.
pub(crate) fn is_one(one: &TypeReference, other: &TypeReference) -> bool {
    one.name == other.name && one.what() == other.what()
}

/// Returns the setting that an action changes, and the type that has it.
pub(crate) fn setting_of(action: &Action) -> Option<(Setting, Option<&TypeReference>)> {
    match action {
        Action::DropSetting(drop) => Some((drop.setting.clone(), drop.set_by.as_ref())),
        Action::DisableFeature(disable) => {
            Some((Setting::Forbidden(disable.features.clone()), disable.set_by.as_ref()))
        }
        _ => None,
    }
}

/// Returns the action that makes a change.
fn action_of(change: &SettingChange<'_>) -> Action {
    let set_by = change.set_by.clone();
    match &change.setting {
        Setting::Forbidden(features) => DisableFeature { features: features.clone(), set_by }.into(),
        setting => DropSetting { setting: setting.clone(), set_by }.into(),
    }
}

/// Sorts parts: the settings of a type first, because their command is a remark; then forbidden features, whose indices
/// move if another feature is removed.
fn order(action: &Action) -> (bool, bool) {
    let setting = setting_of(action);
    let is_own = setting.as_ref().is_some_and(|(_, by)| by.is_none());
    (is_own, !matches!(setting, Some((Setting::Forbidden(_), _))))
}

type Offer = fn(&Judgement<'_, '_>) -> Option<Remedy>;

/// The last changes, those without a restart first, each with its rank: it follows changes of a lower rank. Settings
/// have rank 0.
const LAST: [(usize, Offer); 8] = [
    (1, change_selector::offer),
    (2, change_affinity::offer),
    (5, change_tolerations::offer),
    (NODE, uncordon::offer),
    (NODE, fix_virt_handler::offer),
    (NODE, remove_skip_node::offer),
    (3, change_machine_type::offer),
    (4, use_model::offer_in_template),
];
/// The rank of a change of a node, which follows one change of the guest.
const NODE: usize = 6;

/// The changes that a node may need besides its uncordon, or besides its virt-handler.
const SECOND_OF_NODE: [Offer; 4] =
    [fix_virt_handler::offer, remove_skip_node::offer, add_labels::offer, change_tolerations::offer];

/// Changes that were carried out, and that do not help yet.
struct Begun<'a> {
    parts: Vec<Action>,
    /// The rank of the last one.
    rank: usize,
    after: Subject<'a>,
}

impl<'a> Begun<'a> {
    /// Carries out changes of settings.
    fn of(parts: Vec<Action>, subject: &Subject<'a>, fleet: &Fleet) -> Self {
        let after = match parts.as_slice() {
            [] => subject.clone(),
            [one] => one.apply(subject, fleet).0,
            _ => Action::from(ChangeTogether { parts: parts.clone() }).apply(subject, fleet).0,
        };
        Self { parts, rank: 0, after }
    }

    fn and(&self, rank: usize, part: Action) -> Vec<Action> {
        debug_assert!(rank > self.rank, "a later change would undo it");
        self.parts.iter().cloned().chain([part]).collect()
    }

    /// Returns the sets with one change more that is not a setting.
    fn with_another(&self, judgement: &Judgement<'_, '_>) -> Vec<Self> {
        let machine = || judgement.within(|| with_any_model(&self.after, judgement.fleet, judgement.effort));
        let others = [
            (1, change_selector::candidate(&self.after)),
            (2, change_affinity::candidate(&self.after)),
            (3, if self.rank < 3 { machine() } else { None }),
            (5, change_tolerations::candidate(&Judgement::new(&self.after, judgement.fleet, judgement.effort))),
        ];
        let later = others.into_iter().filter(|(rank, _)| *rank > self.rank);
        let begun = |(rank, part): (usize, Option<Action>)| {
            let part = part?;
            let (after, _) = part.apply(&self.after, judgement.fleet);
            Some(Self { parts: self.and(rank, part), rank, after })
        };
        later.filter_map(begun).collect()
    }
}

/// Returns the sets of `count` settings that are known.
fn settings(subject: &Subject<'_>, count: usize) -> Vec<Vec<Action>> {
    let each = |of: &[usize]| -> Vec<Action> {
        let mut parts: Vec<Action> = of.iter().filter_map(|at| subject.changes.get(*at)).map(action_of).collect();
        parts.sort_by_key(order);
        parts
    };
    match count {
        0 => vec![Vec::new()],
        1 => (0..subject.changes.len()).map(|at| each(&[at])).collect(),
        _ => subject.combined.iter().filter(|set| set.of.len() == count).map(|set| each(&set.of)).collect(),
    }
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let of_node = of_one_node(judgement);
    if of_node.is_some() {
        return of_node;
    }
    // A restart with the CPU that it has leaves what libvirt refuses.
    if judgement.is_migration() && !labels_predict_after_restart(judgement) || !may_help(judgement) {
        return None;
    }
    let mut lucky = None;
    for size in [2, 3] {
        for parts in sets(judgement, size) {
            let action = Action::from(ChangeTogether { parts });
            let Some(remedy) = judgement.within(|| judgement.tried(action)) else { continue };
            if !is_smallest(judgement, &remedy) {
                continue;
            }
            if remedy.luck.is_none() {
                return Some(remedy);
            }
            lucky = lucky.or(Some(remedy));
        }
    }
    lucky
}

/// Returns the changes of a node that is cordoned, or whose virt-handler is not ready, and needs more than that: a
/// toleration, labels, or both.
fn of_one_node(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    if !judgement.needs_a_node() {
        return None;
    }
    let (near, kept) = (judgement.nearest(), judgement.kept_out());
    let find = |near: &Nearest| judgement.fleet.find(&near.node);
    let cordoned = near.iter().filter(|near| near.besides.cordoned).filter_map(find);
    let cordoned = cordoned.chain(kept.iter().filter(|kept| kept.cordoned).map(|kept| kept.node));
    let unwell = near.iter().filter(|near| near.is_unwell()).filter_map(find);
    let unwell = unwell.chain(kept.iter().filter(|kept| kept.unwell).map(|kept| kept.node));
    let uncordon = |node: String| Action::from(Uncordon { nodes: vec![node] });
    let fix = |node: String| Action::from(FixVirtHandler { nodes: vec![node] });
    let cordoned: Vec<NodeIndex> = cordoned.take(MAX_OPENED).collect();
    let unwell: Vec<NodeIndex> = unwell.take(MAX_OPENED).collect();
    opened(judgement, &cordoned, uncordon).or_else(|| opened(judgement, &unwell, fix))
}

/// Returns a change of one of these nodes by `open`, and the second one after which it takes the guest.
fn opened(judgement: &Judgement<'_, '_>, nodes: &[NodeIndex], open: impl Fn(String) -> Action) -> Option<Remedy> {
    let (subject, fleet) = (judgement.subject, judgement.fleet);
    if nodes.is_empty() {
        return None;
    }
    let own = judgement.source.map(|source| fleet.node(source));
    let is_opened = nodes.iter().flat_map(|&node| open(fleet.name(node).to_owned()).apply(subject, fleet).1);
    let opened = Fleet::new(own.into_iter().chain(is_opened).collect());
    let after = Judgement::new(subject, &opened, judgement.effort);
    let with = |part: Action| {
        let node = match &part {
            Action::FixVirtHandler(fix) => fix.nodes.first().cloned(),
            Action::RemoveSkipNode(remove) => Some(remove.node.clone()),
            Action::AddLabels(add) => Some(add.node.clone()),
            _ => {
                let (after, _) = part.apply(subject, &opened);
                let fitting = after.fitting(&opened);
                opened.names(&fitting).into_iter().find(|node| Some(*node) != subject.source()).map(str::to_owned)
            }
        };
        let node = node.filter(|node| fleet.find(node).is_some_and(|node| nodes.contains(&node)))?;
        let part = match part {
            Action::FixVirtHandler(_) => FixVirtHandler { nodes: vec![node.clone()] }.into(),
            part => part,
        };
        let parts = if part.is_of_nodes() { vec![open(node), part] } else { vec![part, open(node)] };
        judgement.within(|| judgement.tried(ChangeTogether { parts }))
    };
    let offers = SECOND_OF_NODE.into_iter().filter_map(|offer| judgement.within(|| offer(&after)));
    offers.filter_map(|found| with(found.action)).find(|remedy| remedy.luck.is_none() && is_smallest(judgement, remedy))
}

/// Iterates over the sets of `size` changes: settings alone, then others, the last of which helps once the rest is
/// done.
fn sets<'j>(judgement: &'j Judgement<'_, '_>, size: usize) -> impl Iterator<Item = Vec<Action>> + 'j {
    let (subject, fleet) = (judgement.subject, judgement.fleet);
    let begun = move |count: usize| {
        let settings = settings(subject, count).into_iter().take(MAX_SETTINGS_TRIED);
        let mut begun: Vec<Begun<'_>> = settings.map(|parts| Begun::of(parts, subject, fleet)).collect();
        for _ in count..size - 1 {
            begun = begun.iter().flat_map(|begun| begun.with_another(judgement)).collect();
        }
        begun.truncate(MAX_SETS_TRIED);
        begun
    };
    let mixed = (0..size).rev().flat_map(begun).flat_map(move |begun| {
        let judged = judgement.within(|| Some(Judgement::new(&begun.after, fleet, judgement.effort)));
        let last = |offer: Offer| judgement.within(|| offer(judged.as_ref()?));
        let later = LAST.into_iter().filter(|(rank, _)| *rank > begun.rank && (*rank < NODE || size == 2));
        later.filter_map(|(rank, offer)| Some(begun.and(rank, last(offer)?.action))).collect::<Vec<_>>()
    });
    settings(subject, size).into_iter().chain(mixed)
}

/// Whether changes of the guest could help at all: with everything changed at once, some node takes it. True if its
/// start is not known.
fn may_help(judgement: &Judgement<'_, '_>) -> bool {
    let subject = judgement.subject;
    let Some(own) = &subject.restart else { return true };
    let mut free = own.with_model("any");
    let mut affinities = vec![change_affinity::candidate(subject).is_some()];
    let changed = subject.changes.iter().map(|change| &change.start);
    for start in changed.chain(subject.combined.iter().map(|set| &set.start)) {
        free.placement.selector.retain(|(key, value)| start.placement.get(key) == Some(value));
        affinities.push(start.placement.affinity != own.placement.affinity);
    }
    if affinities.contains(&true) {
        free.placement.affinity = None;
    }
    let is_changed =
        |key: &str| matches!(Family::of(key), Family::CpuModel | Family::MachineType) || subject.is_own(key);
    free.placement.selector.retain(|(key, _)| !is_changed(key));
    // A cordoned node may be opened.
    let mut fitting = judgement.fleet.look_up(&free.placement).passes().placement;
    if let Some(source) = judgement.source {
        fitting.remove(source);
    }
    let starts = !judgement.is_migration() && Counted::of(subject, &judgement.assessment) == Counted::Targets;
    let needed = if starts { 2 } else { 1 };
    fitting.count_to(needed) == needed
}

/// Returns the machine type that helps if the CPU model changes as well.
fn with_any_model(subject: &Subject<'_>, fleet: &Fleet, effort: Effort<'_>) -> Option<Action> {
    let mut free = subject.clone();
    let start = free.restart.as_mut()?;
    *start = start.with_any_model();
    restarted(&mut free);
    let judged = Judgement::new(&free, fleet, effort);
    Some(change_machine_type::offer(&judged)?.action)
}

/// Whether fewer of its changes are not certain to help.
fn is_smallest(judgement: &Judgement<'_, '_>, remedy: &Remedy) -> bool {
    let Action::ChangeTogether(together) = &remedy.action else { return false };
    let is_enough = |less: Action| judgement.tried(less).is_some_and(|less| less.luck.is_none());
    !together.fewer().into_iter().any(is_enough)
}

impl Act for ChangeTogether {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        let (restart, mut out) = (restart_commands(subject)?, Vec::new());
        let mut restarts = false;
        let mut named: Vec<&TypeReference> = Vec::new();
        for part in &self.parts {
            let mut commands = match setting_of(part).and_then(|(_, by)| by) {
                Some(by) if named.iter().any(|known| is_one(known, by)) => continue,
                Some(by) => {
                    named.push(by);
                    let types = self.parts.iter().filter_map(|part| setting_of(part).and_then(|(_, by)| by));
                    name_another(subject, &types.filter(|other| is_one(by, other)).collect::<Vec<_>>())?
                }
                None => part.act().commands(subject)?,
            };
            // All begin to count with one restart.
            if !restart.is_empty() && commands.ends_with(&restart) {
                commands.truncate(commands.len() - restart.len());
                restarts = true;
            }
            out.extend(commands);
        }
        out.extend(restart.into_iter().filter(|_| restarts));
        Ok(out)
    }

    fn outage(&self, subject: &Subject<'_>) -> Option<Outage> {
        let restarts = self.parts.iter().any(|part| part.outage(subject) == Outage::Restart);
        Some(if restarts { Outage::Restart } else { Outage::None })
    }

    fn risk(&self, subject: &Subject<'_>) -> Option<&'static str> {
        let has = |is: fn(&Action) -> bool| self.parts.iter().any(is);
        if !has(|part| !part.is_of_nodes()) {
            let other = self.parts.iter().find(|part| !matches!(part, Action::Uncordon(_)))?;
            return Some(other.own_risk(subject));
        }
        if has(|part| matches!(part, Action::Uncordon(_))) {
            return Some("the guest is changed, and a node takes guests again");
        }
        if has(|part| matches!(part, Action::RemoveSkipNode(_))) {
            return Some("the guest is changed, and hand-made labels on the node are lost");
        }
        if has(Action::is_of_nodes) {
            return Some("the guest is changed");
        }
        (self.parts.len() > 2).then_some("the guest is changed in three ways")
    }

    fn apply(&self, subject: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        let (settings, others): (Vec<&Action>, Vec<&Action>) =
            self.parts.iter().partition(|part| setting_of(part).is_some());
        let mut left: Vec<&Action> = self.parts.iter().collect();
        if settings.len() > 1 {
            let settings: Vec<_> = settings.into_iter().filter_map(setting_of).collect();
            let is = |at: usize| {
                subject.changes.get(at).is_some_and(|change| {
                    settings.iter().any(|(setting, by)| change.setting == *setting && change.set_by.as_ref() == *by)
                })
            };
            let mut sets = subject.combined.iter().filter(|set| set.of.len() == settings.len());
            if let Some(start) = sets.find(|set| set.of.iter().all(|at| is(*at))).map(|set| set.start.clone()) {
                subject.restart = Some(start);
                restarted(subject);
            }
            left = others;
        }
        // A later part edits the node that an earlier one has left.
        let mut changed: Vec<Node> = Vec::new();
        let mut edited = None;
        for part in left {
            let nodes = part.act().apply(subject, edited.as_ref().unwrap_or(fleet));
            if !nodes.is_empty() {
                changed.retain(|known| nodes.iter().all(|node| node.name != known.name));
                changed.extend(nodes);
                let source = subject.source().and_then(|name| fleet.find(name));
                let own = source.map(|source| fleet.node(source));
                edited = Some(Fleet::new(own.into_iter().chain(changed.iter().cloned()).collect()));
            }
        }
        changed
    }
}
