//! The acts that may free stuck guests: the remedies offered for them, also those that help depending on the start
//! node, and a restart, which on a cordoned node starts a guest elsewhere. The search proves each by judging again.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use serde::Serialize;

use super::anti_affinity::Residents;
use super::evicted::{EvictedGuest, EvictionEffect};
use super::forecast::Trouble;
use super::in_need::InNeed;
use super::outcome::Destinations;
use super::work;
use crate::fit::bits::Bits;
use crate::fit::command::Step;
use crate::fit::fleet::{Fleet, NodeHealth, NodeIndex};
use crate::fit::judgement::{Depth, Judgement};
use crate::fit::label;
use crate::fit::node::Node;
use crate::fit::remedy::{
    Action, AddLabels, Changes, DropStale, FixVirtHandler, Outage, Restart, Uncordon, label_each,
    labels_predict_after_restart,
};
use crate::fit::subject::{Definition, Stage, Subject, Template};
use crate::fit::verdict::Notes;
use crate::kubevirt::eviction;
use crate::kubevirt::subject::Prepared;
use crate::world::World;

/// An act. Also the JSON of `leastToDo`: fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeastAct {
    /// The remedy: `uncordon`, `add-labels`, `restart`, ….
    pub id: &'static str,
    /// All steps, in order: commands, and edits by hand, which start with `#`.
    #[serde(serialize_with = "lines")]
    pub steps: Vec<Step>,
    /// The commands before the first edit by hand, in order; empty if the act starts with one.
    pub commands: Vec<String>,
    /// The rest in words: the first edit by hand and all that follows it; left out if the commands do everything.
    #[serde(rename = "byHand", skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<String>,
    /// The act in one line.
    pub summary: String,
    /// The outage of its guests.
    pub outage: Outage,
    /// The risk, in a few words.
    pub risk: Cow<'static, str>,
    /// If its guest restarts: the nodes on which it may start and that it cannot leave again, by name; empty also if
    /// that is not known.
    #[serde(rename = "stuckOn", skip_serializing_if = "Vec::is_empty")]
    pub stuck_on: Vec<String>,
    /// `shop/db would be stuck again if it starts on node-e`; `None` if `stuck_on` is empty.
    #[serde(skip)]
    pub stuck_again: Option<String>,
    /// For a cause that a person fixes first: the changes that are needed besides, so that a guest can leave.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<LeastAct>,
}

fn lines<S: serde::Serializer>(steps: &[Step], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(steps.iter().map(Step::to_string))
}

/// A key of a guest: the index of its node among the drained ones, and its own among the guests of that node.
pub(super) type GuestKey = (usize, usize);

/// An act with everything it changes.
#[derive(Clone, Debug)]
pub(super) struct DrainAct {
    pub action: Action,
    /// The outage of its guests while it is done.
    pub outage: Outage,
    /// The guests that it changes; empty if it changes other nodes than theirs, which affects all guests.
    pub guests: BTreeSet<GuestKey>,
    /// The policy that it changes, if any.
    pub policy: Option<String>,
    /// The nodes that it changes.
    pub nodes: Vec<Node>,
    /// Whether its commands only read and free no guest.
    pub only_looks: bool,
    /// The guests that it is offered for.
    pub offered_for: BTreeSet<GuestKey>,
}

impl DrainAct {
    /// Returns the sort key: the least harm first.
    pub(super) fn rank(&self) -> (Outage, usize) {
        (self.outage, self.action.id() as usize)
    }
}

/// Returns the acts that may free guests that are stuck, compete for places, or may lose theirs to a guest that an act
/// frees; the least harmful first.
pub(super) fn of(world: &World, residents: &Residents<'_>, nodes: &[Trouble<'_, '_>]) -> Vec<DrainAct> {
    // Shutting guests down is no solution if KubeVirt is configured to start no migration.
    let is_held = |evicted: &EvictedGuest<'_>| eviction::not_started(evicted.vmi, &world.cluster).is_some();
    if nodes.iter().all(|trouble| trouble.evicted_guests.iter().all(is_held)) {
        return Vec::new();
    }
    let mut out = Acts {
        world,
        fleet: &world.cluster.fleet,
        opened: OnceCell::new(),
        of_nodes: Vec::new(),
        of_guests: Vec::new(),
        own: Vec::new(),
        uncordoned: HashMap::new(),
        open: Bits::default(),
        open_at_start: Bits::default(),
    };
    for (node, trouble) in nodes.iter().enumerate() {
        let in_need = InNeed::of(residents, trouble);
        for &at in in_need.guests() {
            let all = || Bits::all(world.cluster.fleet.len());
            out.open = trouble.open(Destinations::of_migration(all()), residents, at);
            out.open_at_start = trouble.open(Destinations::of_restart(all()), residents, at);
            out.offered(&trouble.evicted_guests[at], (node, at), &in_need);
        }
    }
    let Acts { of_nodes: mut all, mut of_guests, uncordoned, fleet, .. } = out;
    for act in &mut all {
        let Action::Uncordon(uncordon) = &act.action else { continue };
        let nodes = uncordon.nodes.iter().filter_map(|node| fleet.find(node));
        act.offered_for = nodes.filter_map(|node| uncordoned.get(&node)).flatten().copied().collect();
    }
    let all_guests = || {
        nodes.iter().enumerate().flat_map(|(node, trouble)| {
            trouble.evicted_guests.iter().enumerate().map(move |(at, evicted)| ((node, at), evicted))
        })
    };
    let on = |source: NodeIndex| all_guests().filter(move |(_, evicted)| evicted.source == source);
    for act in &mut all {
        // The labels of a guest's own node decide about its first migration.
        let Action::RemoveSkipNode(skip) = &act.action else { continue };
        act.guests.extend(fleet.find(&skip.node).into_iter().flat_map(on).map(|(key, _)| key));
    }
    for act in of_guests.iter_mut().filter(|act| act.action.id().spec().changes == Changes::OwnLabels) {
        let own = act.guests.first().map(|&(node, at)| nodes[node].evicted_guests[at].source);
        let copies = own.into_iter().flat_map(on).filter(|(_, evicted)| evicted.copies_labels(world));
        act.guests.extend(copies.map(|(key, _)| key));
    }
    all.extend(of_guests);
    all.sort_by_key(DrainAct::rank);
    all
}

struct Acts<'f> {
    world: &'f World,
    fleet: &'f Fleet,
    /// The nodes without their cordons, and with virt-handler ready; computed at first use.
    opened: OnceCell<Rc<Fleet>>,
    /// The acts that change nodes.
    of_nodes: Vec<DrainAct>,
    /// The acts that change guests or a policy.
    of_guests: Vec<DrainAct>,
    /// The actions added so far for the guest that acts are added for, and that change it alone.
    own: Vec<Action>,
    /// The nodes that one of the acts uncordons, each with the guests that this is offered for.
    uncordoned: HashMap<NodeIndex, BTreeSet<GuestKey>>,
    /// The nodes that neither other pods nor too little room close to the migration of the guest that acts are added
    /// for.
    open: Bits,
    /// The nodes that they do not close to its start after a restart.
    open_at_start: Bits,
}

impl Acts<'_> {
    /// Adds the acts that are offered for one guest.
    fn offered(&mut self, evicted: &EvictedGuest<'_>, key: GuestKey, in_need: &InNeed<'_, '_>) {
        self.own.clear();
        let world = self.world;
        // No act helps a guest whose volumes can be used on no other node, or whose node is down.
        let can_move = evicted.has_elsewhere() && self.fleet.health(evicted.source) != NodeHealth::Down;
        let Some(prepared) = evicted.prepared(world).filter(|_| can_move) else { return };
        let judgement = prepared.look_up(&world.cluster, Depth::Full);
        let candidates = judgement.candidates(prepared.notes());
        if evicted.effect == EvictionEffect::Moves {
            judgement.opened_by_uncordon().iter().for_each(|node| self.uncordon(key, node));
            for action in &candidates {
                self.remedy(evicted, key, action);
            }
            // The nearest node may have no room, and others may take the nodes that have.
            let mut places = self.places(&evicted.fitting);
            let mut opened = judgement.opened_by_uncordon();
            evicted.keep_to_places(&mut opened);
            if in_need.may_take_all(key.1, &places) {
                for add in label_each(&judgement, MAX_OPENED) {
                    self.add_labels(evicted, key, &add);
                }
            }
            // A node may be cordoned, and lack labels too or not be one that the guest may use: then it takes several
            // acts.
            places.union(&self.places(&opened));
            for action in candidates.iter().filter(|action| action.is_of_nodes()) {
                places.union(&self.places(&self.fitting_after(action, evicted, prepared)));
            }
            if in_need.may_take_all(key.1, &places) {
                self.on_open_nodes(evicted, key, prepared, (&candidates, in_need));
            }
        }
        let Definition { template, template_name, .. } = &prepared.subject.definition;
        let has_pod_of_its_own = template_name.is_some() || matches!(template, None | Some(Template::VirtualMachine));
        if prepared.subject.restart.is_some() && has_pod_of_its_own && !self.is_outdone(&prepared.subject, &candidates)
        {
            self.of_guest(evicted, key, Restart.into());
            // A guest that KubeVirt does not migrate starts elsewhere only where a node is open.
            if evicted.effect != EvictionEffect::Moves {
                let (started, _) = Action::from(Restart).apply(&prepared.subject, self.fleet);
                let mut nodes = started.fitting(self.opened());
                nodes.remove(evicted.source);
                self.open(evicted, key, Destinations::of_restart(nodes), in_need);
            }
        }
    }

    /// Returns the nodes without their cordons, and with virt-handler ready.
    fn opened(&self) -> &Rc<Fleet> {
        self.opened.get_or_init(|| Rc::new(opened(self.fleet)))
    }

    /// Adds the acts, other than `known`, that would be offered if no node were cordoned and virt-handler were ready on
    /// all, each with what opens the nodes that it is for.
    fn on_open_nodes(
        &mut self,
        evicted: &EvictedGuest<'_>,
        key: GuestKey,
        prepared: &Prepared<'_>,
        (known, in_need): (&[Action], &InNeed<'_, '_>),
    ) {
        let fleet = self.fleet;
        let opened = Rc::clone(self.opened());
        let fits = |subject: &Subject<'_>| {
            let mut nodes = subject.fitting(&opened);
            nodes.remove(evicted.source);
            nodes
        };
        self.open(evicted, key, Destinations::of_migration(fits(&prepared.subject)), in_need);
        let judgement = Judgement::new(&prepared.subject, &opened, Depth::Full);
        let mut candidates = judgement.candidates(Notes::default());
        let others = label_each(&judgement, MAX_OPENED).into_iter().map(Action::from);
        candidates.extend(others.filter(|action| !candidates.contains(action)).collect::<Vec<_>>());
        for action in candidates.iter().filter(|action| !known.contains(action)) {
            self.remedy(evicted, key, action);
            let (subject, changed) = action.apply(&prepared.subject, &opened);
            let mut nodes = if changed.is_empty() { fits(&subject) } else { Bits::none(fleet.len()) };
            changed.iter().filter_map(|node| fleet.find(&node.name)).for_each(|node| nodes.insert(node));
            let to = match subject.stage {
                Stage::Migration(_) => Destinations::of_migration(nodes),
                Stage::Start(_) => Destinations::of_restart(nodes),
            };
            self.open(evicted, key, to, in_need);
        }
    }

    /// Returns those of these nodes that are open to the migration of the guest once all others have left its node.
    fn places(&self, nodes: &Bits) -> Bits {
        let mut out = nodes.clone();
        out.intersect(&self.open);
        out
    }

    /// Returns the nodes that take the migration of a guest after an act on nodes.
    fn fitting_after(&self, action: &Action, evicted: &EvictedGuest<'_>, prepared: &Prepared<'_>) -> Bits {
        let fleet = self.fleet;
        let (subject, changed) = action.apply(&prepared.subject, fleet);
        let mut out = subject.fitting(fleet);
        changed.iter().filter_map(|node| fleet.find(&node.name)).for_each(|node| out.remove(node));
        let changed = Fleet::new(changed);
        let names = subject.fitting(&changed);
        names.iter().filter_map(|node| fleet.find(changed.name(node))).for_each(|node| out.insert(node));
        out.remove(evicted.source);
        evicted.keep_to_places(&mut out);
        out
    }

    /// Adds what opens nodes, if others may take all that are open and have room.
    fn open(&mut self, evicted: &EvictedGuest<'_>, key: GuestKey, to: Destinations, in_need: &InNeed<'_, '_>) {
        let fleet = self.fleet;
        let mut nodes = to.nodes;
        nodes.intersect(if to.by_restart { &self.open_at_start } else { &self.open });
        let mut open = Bits::none(fleet.len());
        let is_open = |node: &NodeIndex| !fleet.is_cordoned(*node) && !is_unwell(fleet, *node);
        nodes.iter().filter(is_open).for_each(|node| open.insert(node));
        nodes.subtract(&open);
        if !in_need.may_take_all(key.1, &open) {
            return;
        }
        for node in nodes.iter().take(MAX_OPENED) {
            if fleet.is_cordoned(node) {
                self.uncordon(key, node);
            }
            if is_unwell(fleet, node) {
                self.of_node(evicted, key, FixVirtHandler { nodes: vec![fleet.name(node).to_owned()] }.into());
            }
        }
    }

    /// Whether a common model is offered that fixes permanently what a plain restart would fix once. A restart takes
    /// the guest off the node, but if libvirt refuses the guest, it would be as bound on the next node as on this one.
    fn is_outdone(&self, subject: &Subject<'_>, candidates: &[Action]) -> bool {
        // Labels do not predict the result if only libvirt was asked.
        subject.asked().is_some()
            && candidates.iter().any(|action| matches!(action, Action::UseModel(_)))
            && !labels_predict_after_restart(&Judgement::new(subject, self.fleet, Depth::Brief))
    }

    fn remedy(&mut self, evicted: &EvictedGuest<'_>, key: GuestKey, action: &Action) {
        match action {
            // A drain puts acts together itself.
            Action::ChangeTogether(together) if together.parts.iter().any(Action::is_of_nodes) => {
                together.parts.iter().for_each(|part| self.remedy(evicted, key, part));
            }
            Action::Uncordon(uncordon) => {
                let nodes = uncordon.nodes.iter().filter_map(|node| self.fleet.find(node));
                nodes.for_each(|node| self.uncordon(key, node));
            }
            Action::FixVirtHandler(fix) => {
                for node in &fix.nodes {
                    self.of_node(evicted, key, FixVirtHandler { nodes: vec![node.clone()] }.into());
                }
            }
            Action::AddLabels(add) => self.add_labels(evicted, key, add),
            Action::DropStale(drop) => self.drop_stale(evicted, key, drop),
            // It is tried for every guest.
            Action::Restart(_) => {}
            _ => match action.id().spec().changes {
                Changes::Nodes | Changes::Labels => self.of_node(evicted, key, action.clone()),
                // The migrations of a drain have no `addedNodeSelector`, and a drain does not wait for a change of the
                // cluster.
                Changes::Migration | Changes::Cluster => {}
                Changes::OwnLabels | Changes::Policy | Changes::Template | Changes::Guest => {
                    self.of_guest(evicted, key, action.clone());
                }
            },
        }
    }

    fn uncordon(&mut self, key: GuestKey, node: NodeIndex) {
        let known = self.uncordoned.entry(node).or_default();
        known.insert(key);
        if known.len() > 1 {
            return;
        }
        self.of_nodes.push(DrainAct {
            action: Uncordon { nodes: vec![self.fleet.name(node).to_owned()] }.into(),
            outage: Outage::None,
            guests: BTreeSet::new(),
            policy: None,
            nodes: vec![uncordoned(self.fleet, node)],
            only_looks: false,
            offered_for: BTreeSet::new(),
        });
    }

    fn of_node(&mut self, evicted: &EvictedGuest<'_>, key: GuestKey, action: Action) {
        work::count(self.of_nodes.len());
        match self.of_nodes.iter_mut().find(|act| act.action == action) {
            Some(known) => drop(known.offered_for.insert(key)),
            None => self.of_nodes.extend(self.act(evicted, key, BTreeSet::new(), action)),
        }
    }

    fn of_guest(&mut self, evicted: &EvictedGuest<'_>, key: GuestKey, action: Action) {
        if self.own.contains(&action) {
            return;
        }
        self.own.push(action.clone());
        // Guests on one node share the labels that their first migrations copy from it.
        let is_shared = action.id().spec().changes == Changes::OwnLabels;
        match self.of_guests.iter_mut().find(|act| is_shared && act.action == action) {
            Some(known) => {
                known.guests.insert(key);
                known.offered_for.insert(key);
            }
            None => self.of_guests.extend(self.act(evicted, key, [key].into(), action)),
        }
    }

    /// Returns an act of this action; `None` if no node is known on which its guest starts again.
    fn act(
        &self,
        evicted: &EvictedGuest<'_>,
        key: GuestKey,
        guests: BTreeSet<GuestKey>,
        action: Action,
    ) -> Option<DrainAct> {
        let prepared = evicted.prepared(self.world)?;
        let (after, nodes) = action.apply(&prepared.subject, self.fleet);
        let outage = action.outage(&prepared.subject);
        if outage == Outage::Restart && after.is_start_unknown() {
            return None;
        }
        let only_looks = action.commands(&prepared.subject).only_reads();
        Some(DrainAct { action, outage, guests, policy: None, nodes, only_looks, offered_for: [key].into() })
    }

    /// Merges all labels for one node into one act, unless two guests need different values of a label.
    fn add_labels(&mut self, evicted: &EvictedGuest<'_>, key: GuestKey, add: &AddLabels) {
        let mut labels: BTreeMap<String, String> = add.labels.iter().cloned().collect();
        let mut replaces = add.replaces;
        let mut backing = add.backing;
        let same_node = |act: &DrainAct| matches!(&act.action, Action::AddLabels(known) if known.node == add.node);
        let known = self.of_nodes.iter().position(same_node);
        if let Some(Action::AddLabels(known)) = known.map(|at| &self.of_nodes[at].action) {
            let conflicts = |(key, value): &(String, String)| labels.get(key).is_some_and(|wanted| wanted != value);
            if known.labels.iter().any(conflicts) {
                return self.of_node(evicted, key, add.clone().into());
            }
            labels.extend(known.labels.iter().cloned());
            replaces |= known.replaces;
            backing = backing.min(known.backing);
        }
        let others = known.map(|at| self.of_nodes.remove(at).offered_for).unwrap_or_default();
        let add = AddLabels { labels: labels.into_iter().collect(), replaces, backing, ..add.clone() };
        self.of_node(evicted, key, add.into());
        self.of_nodes.iter_mut().last().into_iter().for_each(|act| act.offered_for.extend(&others));
    }

    /// Merges per policy: it drops entries for all guests that it governs.
    fn drop_stale(&mut self, evicted: &EvictedGuest<'_>, key: GuestKey, drop: &DropStale) {
        let same = |act: &&mut DrainAct| matches!(act.action, Action::DropStale(_)) && act.policy == evicted.policy;
        if let Some(act) = self.of_guests.iter_mut().find(same) {
            act.guests.insert(key);
            act.offered_for.insert(key);
            if let Action::DropStale(known) = &mut act.action {
                let keys: BTreeSet<String> = known.keys.iter().chain(&drop.keys).cloned().collect();
                known.keys = keys.into_iter().collect();
            }
            return;
        }
        let act = self.act(evicted, key, [key].into(), drop.clone().into());
        self.of_guests.extend(act.map(|act| DrainAct { policy: evicted.policy.clone(), ..act }));
    }
}

/// Number of closed nodes that are opened for one act.
const MAX_OPENED: usize = 8;

/// Returns all nodes without their cordons, and with virt-handler ready.
fn opened(fleet: &Fleet) -> Fleet {
    let shut = (0..fleet.len()).filter(|&node| fleet.is_cordoned(node) || is_unwell(fleet, node));
    let open = |node| {
        let mut open = uncordoned(fleet, node);
        open.labels.entry(label::SCHEDULABLE.to_owned()).and_modify(|value| "true".clone_into(value));
        open
    };
    fleet.with(shut.map(open).collect())
}

/// Whether virt-handler is not ready on a node where it runs.
fn is_unwell(fleet: &Fleet, node: NodeIndex) -> bool {
    fleet.label(node, label::SCHEDULABLE).is_some_and(|value| value != "true")
}

pub(super) fn uncordoned(fleet: &Fleet, node: NodeIndex) -> Node {
    let mut node = fleet.node(node);
    node.uncordon();
    node
}
