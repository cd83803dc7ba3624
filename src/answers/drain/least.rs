//! The fewest acts after which every guest that has to leave can; or all guests except those that nothing frees.
//!
//! Sets of acts are tried by size. A set is accepted if the forecast with its acts done leaves no guest stuck: no
//! smaller set does then, because all of them were tried before. If that would take too long, unneeded acts are removed
//! from a larger set, the most harmful first. At the end the subsets of the result are judged once more. [`LeastProof`]
//! says what is known of the result.

mod after;
mod proof;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};

use after::{AfterActs, Edited};
use proof::EnoughActs;

use super::acts::{self, DrainAct, GuestKey, LeastAct};
use super::anti_affinity::Residents;
use super::evicted::EvictedGuest;
use super::forecast::{self, Trouble};
use super::outcome::Destinations;
use super::work;
use crate::answers::obstacles::Obstacles;
use crate::fit::bits::Bits;
use crate::fit::command::{Command, Invalid, Json, Name, Script};
use crate::fit::plural;
use crate::fit::remedy::{Action, Outage};
use crate::say;
use crate::world::World;

pub use proof::LeastProof;

/// Number of guests whose obstacles are named.
const MAX_EXPLAINED: usize = 3;
/// Number of sets of acts that are tried.
const MAX_SETS: usize = 4_000;
/// Number of steps for judging the sets of one search.
const MAX_EFFORT: usize = 1_000_000;
/// Number of steps that each guest of a judged set counts for, besides those of its places.
const STEPS_OF_A_GUEST: usize = 16;
/// Number of acts of a set all of whose subsets are judged.
const MAX_PROVED: usize = 6;
/// Number of acts that are added to those that each free a guest.
const MAX_WIDENED: usize = 32;
/// Number of guests in need that the search for these sets looks at; each incomplete set looks at all.
const MAX_STEPS: usize = 20_000_000;

/// The fewest acts for the guests of some nodes.
#[derive(Debug)]
pub(super) struct Least {
    /// The acts: empty if none is needed, or none helps.
    pub steps: Vec<LeastAct>,
    /// The proof about these acts.
    pub proof: LeastProof,
    /// Whether all other guests leave after these acts with every order and every choice of the scheduler.
    pub is_sure: bool,
    /// The guests that are still stuck after these acts, by name.
    pub stuck: Vec<String>,
    /// The guests of `stuck` that no act frees, by name; the others find too few places.
    pub not_freed: Vec<String>,
    /// The obstacles on the nodes that the guests of `not_freed` would fit on after all acts, a line each.
    pub in_the_way: Vec<String>,
    /// The remedies that were tried for the guests of `not_freed`, by identifier.
    pub tried: Vec<&'static str>,
    /// The migrations that may fail after these acts, a line each.
    pub may_fail: Vec<String>,
    /// The guests of `stuck`, by key.
    stuck_keys: BTreeSet<GuestKey>,
    /// If guests stay stuck, causes that a person can inspect and fix.
    pub looks: Vec<LeastAct>,
}

/// Returns the fewest acts after which no guest of these nodes is stuck, or as few as possible are.
///
/// With several nodes, each is drained by itself. `progress` is called with the steps of the search so far and their
/// limit.
pub(super) fn least(
    world: &World,
    residents: &Residents<'_>,
    nodes: &[Trouble<'_, '_>],
    has_several_nodes: bool,
    progress: &dyn Fn(usize, usize),
) -> Least {
    if nodes.is_empty() {
        return Least::nothing();
    }
    let (look, mut acts): (Vec<DrainAct>, Vec<DrainAct>) =
        acts::of(world, residents, nodes).into_iter().partition(|act| act.only_looks);
    let looks = acts.len()..acts.len() + look.len();
    acts.extend(look);
    let mut mattering = vec![Vec::new(); nodes.len()];
    for (at, act) in acts[..looks.start].iter().enumerate() {
        affected(act, nodes.len()).for_each(|node| mattering[node].push(at));
    }
    let problem = LeastProblem {
        world,
        residents,
        nodes,
        acts: &acts[..looks.start],
        after: AfterActs::new(world, nodes, &acts),
        mattering,
        known: RefCell::default(),
        effort: Cell::new(0),
        has_several_nodes,
        progress,
    };
    let found = problem.solve();
    progress(MAX_EFFORT, MAX_EFFORT);
    let looks = looks.filter_map(|look| {
        let then = problem.after_look(look, &found.stuck_keys)?;
        let steps = then.iter().map(|&act| problem.step(&acts[act], &then));
        Some(LeastAct { then: steps.collect(), ..problem.step(&acts[look], &[look]) })
    });
    let looks = looks.collect();
    Least { looks, ..found }
}

impl Least {
    /// Returns the acts for no guests.
    fn nothing() -> Self {
        Self {
            steps: Vec::new(),
            proof: LeastProof::Smallest,
            is_sure: true,
            stuck: Vec::new(),
            not_freed: Vec::new(),
            in_the_way: Vec::new(),
            tried: Vec::new(),
            may_fail: Vec::new(),
            stuck_keys: BTreeSet::new(),
            looks: Vec::new(),
        }
    }
}

/// The guests and the available acts.
struct LeastProblem<'p, 'w> {
    world: &'p World,
    residents: &'p Residents<'w>,
    nodes: &'p [Trouble<'p, 'w>],
    /// The acts that may free guests, the least harmful first.
    acts: &'p [DrainAct],
    after: AfterActs<'p, 'w>,
    /// The acts that affect each node, in their order.
    mattering: Vec<Vec<usize>>,
    /// The stuck guests, by node and the acts done that affect it.
    known: RefCell<HashMap<Done, Vec<usize>>>,
    /// Number of steps for judging sets of acts.
    effort: Cell<usize>,
    has_several_nodes: bool,
    progress: &'p dyn Fn(usize, usize),
}

/// A node, and the acts done that affect it.
type Done = (usize, Vec<usize>);

impl LeastProblem<'_, '_> {
    fn evicted(&self, (node, at): GuestKey) -> &EvictedGuest<'_> {
        &self.nodes[node].evicted_guests[at]
    }

    fn titles<'k>(&self, keys: impl IntoIterator<Item = &'k GuestKey>) -> Vec<String> {
        let mut out: Vec<String> = keys.into_iter().map(|&key| self.evicted(key).title.clone()).collect();
        out.sort_unstable();
        out
    }

    fn solve(&self) -> Least {
        let (mut needs, hopeless) = self.needs();
        let all = self.all_acts();
        let set = self.fewest(&needs, &hopeless, all.clone()).or_else(|| {
            // The others have too few places, regardless of the acts.
            let most = self.most_freed(all);
            let waived: BTreeSet<GuestKey> = self.stuck(&most).into_iter().chain(hopeless.iter().copied()).collect();
            needs.retain(|key, _| !waived.contains(key));
            self.fewest(&needs, &waived, most)
        });
        let EnoughActs { set, proof } =
            set.unwrap_or_else(|| EnoughActs { set: Vec::new(), proof: LeastProof::Smallest });
        let stuck = self.stuck(&set);
        Least {
            proof,
            is_sure: self.is_sure(&set),
            steps: set.iter().map(|&act| self.step(&self.acts[act], &set)).collect(),
            not_freed: self.titles(stuck.intersection(&hopeless)),
            in_the_way: self.in_the_way(stuck.intersection(&hopeless)),
            tried: self.tried(stuck.intersection(&hopeless)),
            may_fail: self.may_fail(&set, &stuck),
            stuck: self.titles(&stuck),
            stuck_keys: stuck,
            looks: Vec::new(),
        }
    }

    /// Whether as many guests find a place after these acts with every order and every choice of the scheduler.
    fn is_sure(&self, set: &[usize]) -> bool {
        let edited = self.after.edit(set);
        self.nodes.iter().enumerate().all(|(node, Trouble { evicted_guests, fellows, .. })| {
            let to = |at: usize| self.after.destinations((node, at), set, &edited);
            let to: Vec<Destinations> = (0..evicted_guests.len()).map(to).collect();
            forecast::to_all(self.world, self.residents, evicted_guests, fellows, &to).is_count_sure
        })
    }

    /// Returns `kube-scheduler goes by labels and may choose node-b, where libvirt refuses shop/db`, for the guests
    /// that leave after these acts.
    fn may_fail(&self, set: &[usize], stuck: &BTreeSet<GuestKey>) -> Vec<String> {
        if set.is_empty() || self.world.cluster.libvirt.is_empty() {
            return Vec::new();
        }
        let changed = self.after.fleet(set);
        let fleet = changed.as_ref().unwrap_or(&self.world.cluster.fleet);
        let mut by_nodes: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
        for (node, trouble) in self.nodes.iter().enumerate() {
            let keys = (0..trouble.evicted_guests.len()).map(|at| (node, at));
            for key in keys.filter(|key| !stuck.contains(key)) {
                let refused = self.after.refused(key, set, fleet);
                if !refused.is_empty() {
                    by_nodes.entry(fleet.names(&refused)).or_default().push(&self.evicted(key).title);
                }
            }
        }
        let line = |(nodes, guests): (Vec<&str>, Vec<&str>)| {
            let (nodes, guests) = (plural::or_names(&nodes, 5), plural::fold_names(&guests, 3));
            format!("kube-scheduler goes by labels and may choose {nodes}, where libvirt refuses {guests}")
        };
        by_nodes.into_iter().map(line).collect()
    }

    fn all_acts(&self) -> Vec<usize> {
        (0..self.acts.len()).collect()
    }

    /// Returns the acts after which each guest still runs.
    fn acts_without_outage(&self) -> Vec<usize> {
        (0..self.acts.len()).filter(|&act| self.acts[act].outage == Outage::None).collect()
    }

    /// Returns the obstacles on the nodes that the first of these guests would fit on after all acts, a line each.
    fn in_the_way<'k>(&self, keys: impl Iterator<Item = &'k GuestKey>) -> Vec<String> {
        let (all, no_outage) = (self.all_acts(), self.acts_without_outage());
        let (all_done, no_outage_done) = (self.after.edit(&all), self.after.edit(&no_outage));
        let mut out = Vec::new();
        for &key in keys.take(MAX_EXPLAINED) {
            let evicted = self.evicted(key);
            let Some(prepared) = evicted.prepared(self.world) else { continue };
            let [mut to, after_all] = [
                self.after.destinations(key, &no_outage, &no_outage_done),
                self.after.destinations(key, &all, &all_done),
            ];
            let here = forecast::may_leave(self.nodes[key.0].evicted_guests);
            let obstacles = Obstacles::of(&prepared.subject, None, self.world, self.residents, &here);
            let mut words = Vec::new();
            if after_all.by_restart {
                words.extend(obstacles.words(&after_all.nodes, true));
            } else {
                to.nodes.union(&after_all.nodes);
            }
            let by_migration = obstacles.words(&to.nodes, false);
            words.extend(by_migration.into_iter().filter(|line| !words.contains(line)).collect::<Vec<_>>());
            out.extend(words.iter().map(|words| format!("{}: {words}", evicted.title)));
        }
        out
    }

    /// Returns the identifiers of the acts that are offered for these guests, the least harmful first.
    fn tried<'k>(&self, keys: impl Iterator<Item = &'k GuestKey>) -> Vec<&'static str> {
        let keys: BTreeSet<&GuestKey> = keys.collect();
        if keys.is_empty() {
            return Vec::new();
        }
        let is_of = |act: &&DrainAct| act.offered_for.iter().any(|key| keys.contains(key));
        let mut out: Vec<&'static str> = Vec::new();
        for id in self.acts.iter().filter(is_of).map(|act| act.action.id().as_str()) {
            if !out.contains(&id) {
                out.push(id);
            }
        }
        out
    }

    /// Returns the smallest set of acts that frees all guests except `waived`; among sets of one size, the least
    /// harmful. If the search takes too long, returns the needed part of `enough`; `None` if that does not free them.
    fn fewest(
        &self,
        needs: &BTreeMap<GuestKey, Vec<usize>>,
        waived: &BTreeSet<GuestKey>,
        enough: Vec<usize>,
    ) -> Option<EnoughActs> {
        let mut needs: Vec<&Vec<usize>> = needs.values().collect::<BTreeSet<_>>().into_iter().collect();
        // Every set contains an act that is the only one to free a guest.
        let mut is_chosen = Bits::none(self.acts.len());
        needs.iter().filter(|need| need.len() == 1).for_each(|need| is_chosen.insert(need[0]));
        needs.retain(|need| !need.iter().any(|&act| is_chosen.contains(act)));
        let chosen: Vec<usize> = is_chosen.iter().collect();
        let least = chosen.len() + lower_bound(&needs, &is_chosen);
        let mut search =
            SubsetSearch { problem: self, needs: &needs, waived, chosen, is_chosen, best: None, tries: 0, steps: 0 };
        // All sets with fewer acts were tried, or lack one that a guest needs.
        let mut least = least;
        while least <= self.acts.len() {
            search.go(least, 0);
            if search.best.is_some() || search.is_used_up() {
                break;
            }
            least += 1;
        }
        let best = match search.best {
            Some(best) => self.proved(best, waived),
            None => self.thinned(enough, waived)?,
        };
        let is_smallest = best.set.is_empty() || best.set.len() == least;
        Some(if is_smallest { EnoughActs { proof: LeastProof::Smallest, ..best } } else { best })
    }

    /// Returns acts, added one by one until no further act reduces the number of stuck guests; if there are too many
    /// acts for that, all acts.
    fn most_freed(&self, all: Vec<usize>) -> Vec<usize> {
        let mut set: Vec<usize> = Vec::new();
        let mut stuck = self.stuck(&set).len();
        while self.acts.len().pow(2) <= MAX_SETS && !self.is_judged_out(2) {
            let with = |act: usize| {
                let with = [&set[..], &[act]].concat();
                let stuck = self.stuck(&with);
                (!self.restarts_in_vain(&with, &stuck)).then_some((stuck.len(), act))
            };
            let others = all.iter().copied().filter(|act| !set.contains(act));
            let Some((fewer, act)) = others.filter_map(with).min().filter(|(fewer, _)| *fewer < stuck) else {
                break;
            };
            set.push(act);
            stuck = fewer;
        }
        if self.stuck(&all).len() < stuck { all } else { set }
    }

    /// Returns, for each guest that no node takes even if it leaves alone, acts without all of which it stays stuck;
    /// and the guests that no act frees.
    fn needs(&self) -> (BTreeMap<GuestKey, Vec<usize>>, BTreeSet<GuestKey>) {
        let (mut out, mut hopeless) = (BTreeMap::new(), BTreeSet::new());
        let (all, no_outage) = (self.all_acts(), self.acts_without_outage());
        let edited: Vec<Option<Edited>> = self
            .acts
            .iter()
            .enumerate()
            .map(|(at, act)| (!act.nodes.is_empty()).then(|| self.after.edit(&[at])))
            .collect();
        let (nothing, everything, all_without_outage) =
            (self.after.edit(&[]), self.after.edit(&all), self.after.edit(&no_outage));
        for (node, trouble) in self.nodes.iter().enumerate() {
            for at in trouble.forecast.stuck() {
                if !trouble.forecast.outcomes[at].targets.is_empty() {
                    continue;
                }
                let open = |to: Destinations| trouble.open(to, self.residents, at);
                let frees =
                    |set: &[usize], edited: &Edited| !open(self.after.destinations((node, at), set, edited)).is_empty();
                // Acts on other guests change nothing for this one.
                let as_it_is = frees(&[], &nothing);
                let is_freed_by = |&act: &usize| match &edited[act] {
                    Some(edited) => frees(&[act], edited),
                    None if self.acts[act].guests.contains(&(node, at)) => frees(&[act], &nothing),
                    None => as_it_is,
                };
                let mut need: Vec<usize> = all.iter().copied().filter(is_freed_by).collect();
                if need.is_empty() && !frees(&all, &everything) && !frees(&no_outage, &all_without_outage) {
                    hopeless.insert((node, at));
                } else if self.widen((node, at), &mut need, &open) {
                    out.insert((node, at), need);
                }
            }
        }
        (out, hopeless)
    }

    /// Adds acts to those that each free a guest, until no set of the others frees it; false if that would take too
    /// long, so that nothing is known to be needed.
    fn widen(&self, key: GuestKey, need: &mut Vec<usize>, open: &dyn Fn(Destinations) -> Bits) -> bool {
        let base = &self.world.cluster.fleet;
        for _ in 0..MAX_WIDENED {
            let others = (0..self.acts.len()).filter(|act| !need.contains(act));
            let (of_nodes, of_guests): (Vec<usize>, Vec<usize>) =
                others.partition(|&act| self.acts[act].guests.is_empty());
            let own: Vec<usize> = of_guests.into_iter().filter(|&act| self.acts[act].guests.contains(&key)).collect();
            // Acts on nodes free it together only on a node that several change, or with a change of the guest.
            let mut changed: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
            for (act, node) in of_nodes.iter().flat_map(|&act| self.acts[act].nodes.iter().map(move |node| (act, node)))
            {
                changed.entry(&node.name).or_default().push(act);
            }
            if own.is_empty() && changed.values().all(|acts| acts.len() == 1) {
                return true;
            }
            let edited = self.after.edit(&of_nodes);
            let each = own.iter().map(|&act| vec![act]);
            let sets = [Vec::new()].into_iter().chain(each).chain((own.len() > 1).then(|| own.clone()));
            let freed = sets.into_iter().find_map(|own| {
                let places = open(self.after.destinations(key, &[&of_nodes[..], &own].concat(), &edited));
                Some((own.first().copied(), places.iter().next()?))
            });
            let Some((of_guest, place)) = freed else { return true };
            let of_place = changed.get(base.name(place)).and_then(|acts| acts.first().copied());
            let Some(act) = of_guest.or(of_place) else { return true };
            need.push(act);
        }
        false
    }

    /// Returns the acts of the set that are needed, preferring the least harmful; `None` if the set does not free all
    /// guests except `waived`.
    fn thinned(&self, mut set: Vec<usize>, waived: &BTreeSet<GuestKey>) -> Option<EnoughActs> {
        set.sort_unstable();
        let stuck = self.stuck(&set);
        set.retain(|&act| !self.restarts_in_vain(&[act], &stuck));
        if !self.is_enough(&set, &self.stuck(&set), waived) {
            return None;
        }
        // Most of many acts are not needed: they are removed together, then in ever smaller parts, down to single acts
        // until each of them is needed.
        let mut part = set.len().div_ceil(2).max(1);
        loop {
            let before = set.len();
            let mut end = set.len();
            while end > 0 && !self.is_judged_out(2) {
                let start = end.saturating_sub(part);
                let without = [&set[..start], &set[end..]].concat();
                let mut nodes: BTreeSet<usize> = BTreeSet::new();
                for &act in &set[start..end] {
                    nodes.extend(affected(&self.acts[act], self.nodes.len()));
                }
                if self.is_enough(&without, &self.stuck_on(nodes.into_iter(), &without), waived) {
                    set = without;
                }
                end = start;
            }
            if part > 1 {
                part = part.div_ceil(2);
            } else if set.len() == before {
                break;
            }
        }
        // The last round tried the set without each of its acts, unless the search ended.
        let proof = if self.is_judged_out(2) { LeastProof::Enough } else { LeastProof::EachNeeded };
        let proved = self.proved(set, waived);
        Some(if proved.proof == LeastProof::Enough { EnoughActs { proof, ..proved } } else { proved })
    }

    /// Returns the smallest part of a small set that frees all guests except `waived`; of a larger one, the set.
    fn proved(&self, mut set: Vec<usize>, waived: &BTreeSet<GuestKey>) -> EnoughActs {
        // The least harmful acts come first.
        set.sort_unstable();
        if set.len() > MAX_PROVED || self.is_judged_out(3) {
            return EnoughActs { set, proof: LeastProof::Enough };
        }
        let part = |bits: usize| -> Vec<usize> {
            set.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, act)| *act).collect()
        };
        let mut parts: Vec<usize> = (0..(1_usize << set.len()) - 1).collect();
        parts.sort_by_key(|bits| bits.count_ones());
        let enough = parts.into_iter().map(part).find(|part| self.is_enough(part, &self.stuck(part), waived));
        EnoughActs { set: enough.unwrap_or(set), proof: LeastProof::EachNeeded }
    }

    /// Whether acts after which these guests are stuck free all guests except `waived`, and leave no guest down.
    fn is_enough(&self, set: &[usize], stuck: &BTreeSet<GuestKey>, waived: &BTreeSet<GuestKey>) -> bool {
        stuck.is_subset(waived) && !self.restarts_in_vain(set, stuck)
    }

    /// Whether one of these acts restarts a guest that is stuck then: it would be down, and no node would start it.
    fn restarts_in_vain(&self, set: &[usize], stuck: &BTreeSet<GuestKey>) -> bool {
        let acts = set.iter().map(|&act| &self.acts[act]).filter(|act| act.outage == Outage::Restart);
        acts.flat_map(|act| &act.guests).any(|key| stuck.contains(key))
    }

    /// Whether judging sets of acts took this multiple of the effort of a search.
    fn is_judged_out(&self, times: usize) -> bool {
        self.effort.get() >= times * MAX_EFFORT
    }

    /// Returns the guests that are stuck after these acts.
    fn stuck(&self, set: &[usize]) -> BTreeSet<GuestKey> {
        self.stuck_on(0..self.nodes.len(), set)
    }

    /// Returns the guests of these nodes that are stuck after these acts.
    fn stuck_on(&self, nodes: impl Iterator<Item = usize>, set: &[usize]) -> BTreeSet<GuestKey> {
        let mut is_done = Bits::none(self.acts.len());
        for &act in set {
            is_done.insert(act);
        }
        let edited = OnceCell::new();
        let mut out = BTreeSet::new();
        for node in nodes {
            let Trouble { evicted_guests, fellows, .. } = &self.nodes[node];
            work::count(self.mattering[node].len());
            let own: Vec<usize> = self.mattering[node].iter().copied().filter(|&act| is_done.contains(act)).collect();
            let key = (node, own);
            if let Some(stuck) = self.known.borrow().get(&key) {
                out.extend(stuck.iter().map(|&at| (node, at)));
                continue;
            }
            let edited = edited.get_or_init(|| self.after.edit(&is_done.iter().collect::<Vec<_>>()));
            let before = work::so_far();
            let to: Vec<Destinations> =
                (0..evicted_guests.len()).map(|at| self.after.destinations((node, at), &key.1, edited)).collect();
            let stuck =
                forecast::with(self.residents, &evicted_guests.iter().collect::<Vec<_>>(), fellows, &to).stuck();
            out.extend(stuck.iter().map(|&at| (node, at)));
            self.known.borrow_mut().insert(key, stuck);
            let effort = work::so_far().saturating_sub(before) + STEPS_OF_A_GUEST * evicted_guests.len();
            self.effort.set(self.effort.get() + effort);
            (self.progress)(self.effort.get().min(MAX_EFFORT - 1), MAX_EFFORT);
        }
        out
    }

    /// Returns the acts that are needed besides, so that one of these guests can go to a node of `look` once its cause
    /// is fixed: no part of them is enough. `None` if all acts together are not.
    fn after_look(&self, look: usize, stuck: &BTreeSet<GuestKey>) -> Option<Vec<usize>> {
        let nodes = self.after.changes(look);
        let frees = |key: GuestKey, set: &[usize], edited: &Edited| {
            let mut fitting = self.after.destinations(key, set, edited).nodes;
            if let Some(full) = self.residents.full(self.evicted(key).vmi) {
                fitting.subtract(&full);
            }
            nodes.iter().any(|node| fitting.contains(*node))
        };
        let edited = |set: &[usize]| self.after.edit(&[set, &[look]].concat());
        let sets = [self.acts_without_outage(), self.all_acts()].map(|set| (edited(&set), set));
        let (key, mut set) = stuck.iter().find_map(|&key| {
            let (_, set) = sets.iter().find(|(edited, set)| frees(key, set, edited))?;
            Some((key, set.clone()))
        })?;
        // Acts on other nodes and guests change nothing for this one; the most harmful ones are dropped first.
        let is_there = |&act: &usize| self.after.changes(act).iter().any(|node| nodes.contains(node));
        set.retain(|&act| self.acts[act].guests.contains(&key) || is_there(&act));
        for act in set.clone().into_iter().rev() {
            let without: Vec<usize> = set.iter().copied().filter(|&other| other != act).collect();
            if frees(key, &without, &edited(&without)) {
                set = without;
            }
        }
        Some(set)
    }

    /// Returns an act of this set in words and commands.
    fn step(&self, act: &DrainAct, set: &[usize]) -> LeastAct {
        // Guests that an act of their node changes too are not named.
        let of = || act.guests.iter().filter(|key| act.offered_for.contains(key));
        let first = of().next().or(act.guests.first()).map(|&key| self.evicted(key));
        let subject = first
            .or_else(|| self.nodes.first()?.evicted_guests.first())
            .and_then(|evicted| evicted.prepared(self.world));
        let script = match (&act.action, &act.policy, subject) {
            (Action::DropStale(_), Some(policy), _) => Some(drop_stale(policy).map(|command| vec![command]).into()),
            (_, _, Some(prepared)) => Some(act.action.commands(&prepared.subject)),
            _ => None,
        };
        let mut script = script.unwrap_or_else(|| Script::from(Ok(Vec::new())));
        let base = &self.world.cluster.fleet;
        let restarted = act.guests.first().filter(|_| act.outage == Outage::Restart);
        if let Some(evicted) =
            restarted.filter(|key| self.after.may_start_where_it_is(**key, set)).map(|key| self.evicted(*key))
        {
            let cordon = Name::new(base.name(evicted.source))
                .map(|node| Command::kubectl(["cordon"]).arg(node).comment("first: it would start there again"));
            script = script.preceded_by(cordon);
        }
        let what = subject.map(|prepared| say::remedy::summary(&act.action, &prepared.subject)).unwrap_or_default();
        let guests = of().filter(|_| !act.action.is_of_nodes());
        let names: Vec<&str> = guests.map(|&key| self.evicted(key).title.as_str()).collect();
        let summary = if names.is_empty() { what } else { format!("{}: {what}", plural::fold_names(&names, 3)) };
        // After the restart the guest may be on another of the nodes, and its own is cordoned until it is returned.
        let when = first.filter(|_| self.has_several_nodes && act.outage == Outage::Restart);
        let when = when.map(|evicted| format!("just before {} is drained: ", base.name(evicted.source)));
        let summary = when.unwrap_or_default() + &summary;
        // The risk of uncordoning a node differs by guest: only the general one is shown.
        let of_guest = subject.filter(|_| !matches!(act.action, Action::Uncordon(_)));
        let stuck_on = restarted.map(|&key| base.names(&self.after.stuck_again(key, set))).unwrap_or_default();
        let stuck_again = restarted.filter(|_| !stuck_on.is_empty()).map(|&key| {
            let (title, nodes) = (&self.evicted(key).title, plural::or_names(&stuck_on, 3));
            format!("{title} would be stuck again if it starts on {nodes}")
        });
        let risk =
            of_guest.map_or(act.action.id().spec().risk.into(), |prepared| act.action.risk(&prepared.subject, base));
        LeastAct {
            id: act.action.id().as_str(),
            steps: script.steps(),
            commands: script.commands(),
            by_hand: script.by_hand(),
            summary,
            outage: act.outage,
            risk,
            stuck_on: stuck_on.into_iter().map(str::to_owned).collect(),
            stuck_again,
            then: Vec::new(),
        }
    }
}

fn drop_stale(policy: &str) -> Result<Command, Invalid> {
    let value = Json::Text("DropStale".into()).below(&["spec", "launcherSelectors"]);
    Ok(Command::kubectl(["patch", "cpupolicy"]).arg(Name::new(policy)?).args(["--type", "merge", "-p"]).arg(value))
}

/// Returns the nodes, of `nodes` nodes, that an act affects.
fn affected(act: &DrainAct, nodes: usize) -> impl Iterator<Item = usize> {
    let is_of_all = act.guests.is_empty() || !act.nodes.is_empty();
    let all = 0..if is_of_all { nodes } else { 0 };
    let own: BTreeSet<usize> =
        if is_of_all { BTreeSet::new() } else { act.guests.iter().map(|(node, _)| *node).collect() };
    all.chain(own)
}

/// Returns a lower bound for the number of acts needed besides the chosen ones: guests that share no act need one each.
fn lower_bound(needs: &[&Vec<usize>], is_chosen: &Bits) -> usize {
    let mut used = is_chosen.clone();
    let mut count = 0;
    for need in needs.iter().filter(|need| !need.iter().any(|&act| is_chosen.contains(act))) {
        if !need.iter().any(|&act| used.contains(act)) {
            count += 1;
            need.iter().for_each(|&act| used.insert(act));
        }
    }
    count
}

struct SubsetSearch<'s, 'p, 'w> {
    problem: &'s LeastProblem<'p, 'w>,
    needs: &'s [&'s Vec<usize>],
    /// The guests that may stay stuck.
    waived: &'s BTreeSet<GuestKey>,
    chosen: Vec<usize>,
    is_chosen: Bits,
    best: Option<Vec<usize>>,
    tries: usize,
    steps: usize,
}

impl SubsetSearch<'_, '_, '_> {
    /// Tries all sets of at most `most` acts that give each guest in need one of its acts; further acts are added in
    /// ascending order.
    fn go(&mut self, most: usize, from: usize) {
        self.steps += 1 + self.needs.len();
        work::count(self.needs.len());
        if self.is_used_up() || self.chosen.len() + lower_bound(self.needs, &self.is_chosen) > most {
            return;
        }
        let unmet = self.needs.iter().filter(|need| !need.iter().any(|&act| self.is_chosen.contains(act)));
        let (branches, in_order): (Vec<usize>, bool) = if let Some(need) = unmet.min_by_key(|need| need.len()) {
            ((*need).clone(), false)
        } else {
            self.tries += 1;
            let is_enough = || self.problem.is_enough(&self.chosen, &self.problem.stuck(&self.chosen), self.waived);
            if self.is_better() && is_enough() {
                self.best = Some(self.chosen.clone());
                return;
            }
            // More places are needed: any act may free one.
            ((from..self.problem.acts.len()).collect(), true)
        };
        if self.chosen.len() == most {
            return;
        }
        for act in branches {
            if !self.is_chosen.contains(act) {
                self.chosen.push(act);
                self.is_chosen.insert(act);
                self.go(most, if in_order { act + 1 } else { from });
                self.is_chosen.remove(act);
                self.chosen.pop();
            }
        }
    }

    fn is_used_up(&self) -> bool {
        self.tries >= MAX_SETS || self.steps >= MAX_STEPS || self.problem.is_judged_out(1)
    }

    /// Whether the chosen set is less harmful than the best so far.
    fn is_better(&self) -> bool {
        let harm = |set: &[usize]| {
            let ranks: Vec<(Outage, usize)> = set.iter().map(|&act| self.problem.acts[act].rank()).collect();
            let outages = ranks.iter().filter(|(outage, _)| *outage != Outage::None).count();
            (set.len(), outages, ranks.iter().map(|(_, rank)| rank).sum::<usize>())
        };
        self.best.as_ref().is_none_or(|best| harm(&self.chosen) < harm(best))
    }
}
