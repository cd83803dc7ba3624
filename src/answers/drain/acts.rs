//! The least to do: the fewest acts after which every guest that is to leave can.
//!
//! Acts are the remedies that are offered to the guests in trouble, and a restart, which on a cordoned node starts a guest
//! elsewhere. Sets of them are tried by size, and one counts if the forecast, made again as if they were done, leaves nobody
//! stuck. No proper subset of the set does, for all smaller ones were tried before; where that would take too long, what is not
//! needed is taken out of a larger one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::apart::Residents;
use super::forecast;
use super::mover::{Fate, Mover};
use crate::fit::bits::Bits;
use crate::fit::command::{Command, Invalid, Json, Name, Script};
use crate::fit::fleet::Fleet;
use crate::fit::node::Node;
use crate::fit::remedy::{Action, AddLabels, DropStale, FixVirtHandler, Outage, Restart, Uncordon};
use crate::fit::subject::{Stage, Template};
use crate::kubevirt::wire::Vmi;
use crate::say::{self, plural};
use crate::world::World;

/// How many sets of acts are tried.
const SETS: usize = 4_000;

/// One act. Also the JSON of `leastToDo`: fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which remedy: `uncordon`, `add-labels`, `restart`, ….
    pub id: &'static str,
    /// The commands, in order.
    pub commands: Vec<String>,
    /// In one line.
    pub summary: String,
    /// `none` or `restart`.
    pub outage: &'static str,
    /// What may go wrong, in a few words.
    pub risk: &'static str,
}

/// A guest in trouble or beside one: the number of its node among those looked at, and its own among the node's guests.
type Key = (usize, usize);

/// Something to do.
#[derive(Clone, Debug)]
struct Act {
    action: Action,
    /// What its guests lose meanwhile.
    outage: Outage,
    /// The guests that it is done to; empty where it is done to nodes, which is for all.
    guests: BTreeSet<Key>,
    /// The policy that it changes.
    policy: Option<String>,
    /// The nodes that it changes.
    nodes: Vec<Node>,
}

impl Act {
    /// The least harm first.
    fn rank(&self) -> (Outage, usize) {
        (self.outage, self.action.id() as usize)
    }
}

/// The fewest acts after which no guest of these nodes is stuck: none where none is.
///
/// # Errors
///
/// The guests that no act frees by itself, by name; none where it is the places for all of them that are too few.
pub(super) fn least(
    world: &World,
    residents: &Residents<'_>,
    nodes: &[&[Mover<'_>]],
) -> Result<Vec<Step>, Vec<String>> {
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let problem = Problem { world, residents, nodes, acts: acts(world, residents, nodes) };
    let chosen = problem.solve()?;
    Ok(chosen.into_iter().map(|act| problem.step(&problem.acts[act])).collect())
}

/// What may be done for guests that are stuck, and for those that share places.
fn acts(world: &World, residents: &Residents<'_>, nodes: &[&[Mover<'_>]]) -> Vec<Act> {
    let mut out = Acts { fleet: &world.cluster.fleet, all: Vec::new() };
    for (node, movers) in nodes.iter().enumerate() {
        let forecast = forecast::of(residents, movers);
        for (at, mover) in movers.iter().enumerate() {
            let outcome = &forecast.outcomes[at];
            if mover.must_move() && (outcome.place.is_none() || outcome.rivals.is_some()) {
                out.offered(world, mover, (node, at));
            }
        }
    }
    let mut all = out.all;
    all.sort_by_key(Act::rank);
    all
}

struct Acts<'f> {
    fleet: &'f Fleet,
    all: Vec<Act>,
}

impl Acts<'_> {
    /// What is offered to one guest.
    fn offered(&mut self, world: &World, mover: &Mover<'_>, key: Key) {
        let (Some(judged), Some(verdict)) = (&mover.judged, mover.verdict(world)) else { return };
        if mover.fate == Fate::Moves {
            let cordoned = verdict.blocked.iter().filter(|blocked| blocked.cordoned && blocked.taints.is_empty());
            for blocked in cordoned {
                self.uncordon(&blocked.node);
            }
            for remedy in verdict.findings.iter().flat_map(|finding| &finding.remedies) {
                self.remedy(mover, key, &remedy.action);
            }
        }
        let has_pod_of_its_own = matches!(judged.subject.template, None | Some(Template::VirtualMachine));
        if judged.subject.restart.is_some() && has_pod_of_its_own {
            self.of_guest(mover, key, Restart.into());
        }
    }

    fn remedy(&mut self, mover: &Mover<'_>, key: Key, action: &Action) {
        match action {
            Action::Uncordon(uncordon) => {
                for node in &uncordon.nodes {
                    self.uncordon(node);
                }
            }
            Action::FixVirtHandler(fix) => {
                for node in &fix.nodes {
                    self.of_node(mover, FixVirtHandler { nodes: vec![node.clone()] }.into());
                }
            }
            Action::RemoveSkipNode(_) | Action::EnableCpuManager(_) | Action::EditObsoleteModels(_) => {
                self.of_node(mover, action.clone());
            }
            Action::AddLabels(add) => self.add_labels(mover, add),
            Action::DropStale(drop) => self.drop_stale(mover, key, drop),
            // The drain asks for no `addedNodeSelector`; a node that is to be bought, and an upgrade, are no acts of today; a restart is
            // tried anyhow.
            Action::DropAddedSelector(_) | Action::AddNode(_) | Action::UpgradeKubeVirt(_) | Action::Restart(_) => {}
            Action::RemoveLabels(_)
            | Action::ChangeSelector(_)
            | Action::ChangeAffinity(_)
            | Action::UseModel(_)
            | Action::DisableFeature(_)
            | Action::DropSetting(_)
            | Action::ChangeMachineType(_)
            | Action::RemoveTscLabel(_) => self.of_guest(mover, key, action.clone()),
        }
    }

    fn uncordon(&mut self, node: &str) {
        let action = Action::from(Uncordon { nodes: vec![node.to_owned()] });
        if self.all.iter().any(|act| act.action == action) {
            return;
        }
        let Some(index) = self.fleet.find(node) else { return };
        let mut after = self.fleet.node(index);
        after.cordoned = false;
        after.taints.retain(|taint| taint.key != crate::fit::label::TAINT_UNSCHEDULABLE);
        let guests = BTreeSet::new();
        self.all.push(Act { action, outage: Outage::None, guests, policy: None, nodes: vec![after] });
    }

    fn of_node(&mut self, mover: &Mover<'_>, action: Action) {
        if let Some(judged) = mover.judged.as_ref().filter(|_| !self.all.iter().any(|act| act.action == action)) {
            let (_, nodes) = action.apply(&judged.subject, self.fleet);
            let outage = action.outage(&judged.subject);
            self.all.push(Act { action, outage, guests: BTreeSet::new(), policy: None, nodes });
        }
    }

    /// All labels that a node is to get are one act, unless two guests want different values of one.
    fn add_labels(&mut self, mover: &Mover<'_>, add: &AddLabels) {
        let mut labels: BTreeMap<String, String> = add.labels.iter().cloned().collect();
        let mut replaces = add.replaces;
        let mut agreed = add.agreed;
        let same_node = |act: &Act| matches!(&act.action, Action::AddLabels(known) if known.node == add.node);
        let known = self.all.iter().position(same_node);
        if let Some(Action::AddLabels(known)) = known.map(|at| &self.all[at].action) {
            let conflicts = |(key, value): &(String, String)| labels.get(key).is_some_and(|wanted| wanted != value);
            if known.labels.iter().any(conflicts) {
                return self.of_node(mover, add.clone().into());
            }
            labels.extend(known.labels.iter().cloned());
            replaces |= known.replaces;
            agreed &= known.agreed;
        }
        if let Some(at) = known {
            self.all.remove(at);
        }
        let add = AddLabels { labels: labels.into_iter().collect(), replaces, agreed, ..add.clone() };
        self.of_node(mover, add.into());
    }

    /// What a policy drops it drops for all guests that it governs.
    fn drop_stale(&mut self, mover: &Mover<'_>, key: Key, drop: &DropStale) {
        let same = |act: &&mut Act| matches!(act.action, Action::DropStale(_)) && act.policy == mover.policy;
        if let Some(act) = self.all.iter_mut().find(same) {
            act.guests.insert(key);
            if let Action::DropStale(known) = &mut act.action {
                let keys: BTreeSet<String> = known.keys.iter().chain(&drop.keys).cloned().collect();
                known.keys = keys.into_iter().collect();
            }
            return;
        }
        self.of_guest(mover, key, drop.clone().into());
        if let Some(act) = self.all.last_mut() {
            act.policy.clone_from(&mover.policy);
        }
    }

    fn of_guest(&mut self, mover: &Mover<'_>, key: Key, action: Action) {
        let Some(judged) = &mover.judged else { return };
        let (_, nodes) = action.apply(&judged.subject, self.fleet);
        let outage = action.outage(&judged.subject);
        self.all.push(Act { action, outage, guests: [key].into(), policy: None, nodes });
    }
}

/// The guests, and what may be done for them.
struct Problem<'p, 'w> {
    world: &'p World,
    residents: &'p Residents<'w>,
    nodes: &'p [&'p [Mover<'w>]],
    acts: Vec<Act>,
}

/// Nodes as they are once some acts are done.
struct Edited {
    /// Those that are changed, by their numbers in the fleet as it is.
    changed: Bits,
    fleet: Fleet,
}

impl Problem<'_, '_> {
    /// The smallest set of acts that frees all; of sets of one size the one that does least harm.
    fn solve(&self) -> Result<Vec<usize>, Vec<String>> {
        let needs = self.needs()?;
        let mut search = Search { problem: self, needs: &needs, chosen: Vec::new(), best: None, tries: 0 };
        for most in lower_bound(&needs, &[])..=self.acts.len().max(1) {
            search.go(most, 0);
            if search.best.is_some() || search.tries >= SETS {
                break;
            }
        }
        self.thinned(search.best.unwrap_or_else(|| (0..self.acts.len()).collect())).ok_or_else(Vec::new)
    }

    /// Of each guest that finds no place even by itself, the acts each of which gives it one; or the guests that have none.
    fn needs(&self) -> Result<Vec<Vec<usize>>, Vec<String>> {
        let mut out: Vec<Vec<usize>> = Vec::new();
        let mut hopeless = Vec::new();
        let edited: Vec<Edited> = (0..self.acts.len()).map(|act| self.edit(&[act])).collect();
        for (node, movers) in self.nodes.iter().enumerate() {
            let forecast = forecast::of(self.residents, movers);
            let here: Vec<&Vmi> = movers.iter().map(|mover| mover.vmi).collect();
            for at in forecast.stuck() {
                if !forecast.outcomes[at].targets.is_empty() {
                    continue;
                }
                let frees = |act: &usize| {
                    let mut fitting = self.fitting((node, at), &[*act], &edited[*act]);
                    fitting.subtract(&self.residents.kept_off(movers[at].vmi, &here));
                    let has_room = |place: usize| self.residents.shortage(movers[at].vmi, place, &[]).is_none();
                    let fitting: Vec<usize> = fitting.iter().filter(|&place| has_room(place)).collect();
                    !fitting.is_empty()
                };
                let need: Vec<usize> = (0..self.acts.len()).filter(frees).collect();
                if need.is_empty() {
                    hopeless.push(movers[at].title.clone());
                } else if !out.contains(&need) {
                    out.push(need);
                }
            }
        }
        hopeless.sort_unstable();
        if hopeless.is_empty() { Ok(out) } else { Err(hopeless) }
    }

    /// Of these acts, those that are needed, the least harmful ones kept; `None` where they do not free all.
    fn thinned(&self, mut set: Vec<usize>) -> Option<Vec<usize>> {
        set.sort_unstable();
        if !self.frees_all(&set) {
            return None;
        }
        for act in set.clone().into_iter().rev() {
            let without: Vec<usize> = set.iter().copied().filter(|&other| other != act).collect();
            if self.frees_all(&without) {
                set = without;
            }
        }
        Some(set)
    }

    /// Whether no guest is stuck once these acts are done.
    fn frees_all(&self, set: &[usize]) -> bool {
        let edited = self.edit(set);
        self.nodes.iter().enumerate().all(|(node, movers)| {
            let fitting: Vec<Bits> = (0..movers.len()).map(|at| self.fitting((node, at), set, &edited)).collect();
            !forecast::with(self.residents, &movers.iter().collect::<Vec<_>>(), &fitting).has_stuck()
        })
    }

    fn edit(&self, set: &[usize]) -> Edited {
        let base = &self.world.cluster.fleet;
        let mut nodes: BTreeMap<&str, Node> = BTreeMap::new();
        for after in set.iter().flat_map(|&act| &self.acts[act].nodes) {
            match nodes.get_mut(after.name.as_str()) {
                Some(node) => {
                    if let Some(before) = base.find(&after.name).map(|index| base.node(index)) {
                        merge(node, &before, after);
                    }
                }
                None => {
                    nodes.insert(&after.name, after.clone());
                }
            }
        }
        let mut changed = Bits::none(base.len());
        nodes.keys().filter_map(|name| base.find(name)).for_each(|index| changed.insert(index));
        Edited { changed, fleet: Fleet::new(nodes.into_values().collect()) }
    }

    /// Where a guest can go once these acts are done: as a migration, or where it starts anew.
    fn fitting(&self, key: Key, set: &[usize], edited: &Edited) -> Bits {
        let base = &self.world.cluster.fleet;
        let mover = &self.nodes[key.0][key.1];
        let none = Bits::none(base.len());
        let Some(judged) = &mover.judged else { return none };
        let mut own = set.iter().map(|&act| &self.acts[act]).filter(|act| act.guests.contains(&key)).peekable();
        if own.peek().is_none() && (edited.changed.is_empty() || mover.fate != Fate::Moves) {
            return mover.fitting.clone();
        }
        let mut subject = judged.subject.clone();
        own.for_each(|act| subject = act.action.apply(&subject, base).0);
        let migrates = matches!(subject.stage, Stage::Migration(_));
        if migrates && mover.fate != Fate::Moves {
            return none;
        }
        let mut fitting = subject.fitting(base);
        fitting.subtract(&edited.changed);
        let after = subject.fitting(&edited.fleet);
        after.iter().filter_map(|index| base.find(edited.fleet.name(index))).for_each(|index| fitting.insert(index));
        // A drained node is cordoned: only who tolerates that starts there again, and then nothing is sure.
        if !migrates && fitting.contains(mover.source) && subject.placement.tolerates_cordon() {
            return none;
        }
        fitting.remove(mover.source);
        fitting
    }

    fn step(&self, act: &Act) -> Step {
        let first = act.guests.first().map(|&(node, at)| &self.nodes[node][at]);
        let subject = first.or_else(|| self.nodes.first()?.first()).and_then(|mover| mover.judged.as_ref());
        let mut commands: Vec<String> = Vec::new();
        if let (Action::DropStale(_), Some(policy)) = (&act.action, &act.policy) {
            commands = Script::from(drop_stale(policy).map(|command| vec![command])).lines();
        } else if let Some(judged) = subject {
            commands = act.action.commands(&judged.subject).lines();
        }
        let base = &self.world.cluster.fleet;
        if let Some(mover) = first.filter(|mover| act.outage == Outage::Restart && !base.is_cordoned(mover.source)) {
            let cordon = Name::new(base.name(mover.source))
                .map(|node| vec![Command::kubectl(["cordon"]).arg(node).comment("first: it would start there again")]);
            commands.splice(0..0, Script::from(cordon).lines());
        }
        let what = subject.map(|judged| say::remedy::summary(&act.action, &judged.subject)).unwrap_or_default();
        let names: Vec<&str> = act.guests.iter().map(|&(node, at)| self.nodes[node][at].title.as_str()).collect();
        let summary = if names.is_empty() { what } else { format!("{}: {what}", plural::fold_names(&names, 3)) };
        Step { id: act.action.id().as_str(), commands, summary, outage: act.outage.as_str(), risk: act.action.risk() }
    }
}

fn drop_stale(policy: &str) -> Result<Command, Invalid> {
    let value = Json::Text("DropStale".into()).below(&["spec", "launcherSelectors"]);
    Ok(Command::kubectl(["patch", "cpupolicy"]).arg(Name::new(policy)?).args(["--type", "merge", "-p"]).arg(value))
}

/// Does to a node what another act did to it as it was.
fn merge(node: &mut Node, before: &Node, after: &Node) {
    node.labels.retain(|key, _| after.labels.contains_key(key) || !before.labels.contains_key(key));
    for (key, value) in &after.labels {
        if before.labels.get(key) != Some(value) {
            node.labels.insert(key.clone(), value.clone());
        }
    }
    node.taints.retain(|taint| after.taints.contains(taint) || !before.taints.contains(taint));
    node.cordoned &= after.cordoned;
    if before.skip_node != after.skip_node {
        node.skip_node.clone_from(&after.skip_node);
    }
}

/// So many acts are needed at least: guests that share no act need one each.
fn lower_bound(needs: &[Vec<usize>], chosen: &[usize]) -> usize {
    let mut used: BTreeSet<usize> = BTreeSet::new();
    let mut count = 0;
    for need in needs.iter().filter(|need| !need.iter().any(|act| chosen.contains(act))) {
        if !need.iter().any(|act| used.contains(act)) {
            count += 1;
            used.extend(need);
        }
    }
    count
}

struct Search<'s, 'p, 'w> {
    problem: &'s Problem<'p, 'w>,
    needs: &'s [Vec<usize>],
    chosen: Vec<usize>,
    best: Option<Vec<usize>>,
    tries: usize,
}

impl Search<'_, '_, '_> {
    /// Tries all sets with so many acts at most that give each guest in need one of its acts; of the acts beyond these, those
    /// that come later.
    fn go(&mut self, most: usize, from: usize) {
        if self.tries >= SETS || self.chosen.len() + lower_bound(self.needs, &self.chosen) > most {
            return;
        }
        let unmet = self.needs.iter().filter(|need| !need.iter().any(|act| self.chosen.contains(act)));
        let (branches, in_order): (Vec<usize>, bool) = if let Some(need) = unmet.min_by_key(|need| need.len()) {
            (need.clone(), false)
        } else {
            self.tries += 1;
            if self.is_better() && self.problem.frees_all(&self.chosen) {
                self.best = Some(self.chosen.clone());
                return;
            }
            // More places are needed: any act may make one.
            ((from..self.problem.acts.len()).collect(), true)
        };
        if self.chosen.len() == most {
            return;
        }
        for act in branches {
            if !self.chosen.contains(&act) {
                self.chosen.push(act);
                self.go(most, if in_order { act + 1 } else { from });
                self.chosen.pop();
            }
        }
    }

    /// Whether it does less harm than the best that was found.
    fn is_better(&self) -> bool {
        let harm = |set: &[usize]| {
            let ranks: Vec<(Outage, usize)> = set.iter().map(|&act| self.problem.acts[act].rank()).collect();
            let outages = ranks.iter().filter(|(outage, _)| *outage != Outage::None).count();
            (set.len(), outages, ranks.iter().map(|(_, rank)| rank).sum::<usize>())
        };
        self.best.as_ref().is_none_or(|best| harm(&self.chosen) < harm(best))
    }
}
