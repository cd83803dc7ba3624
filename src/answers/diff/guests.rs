//! Which guests stand otherwise than before, and for which labels.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use serde::Serialize;

use super::verdicts::{GuestObject, GuestVerdict, Verdicts, guests, own_node};
use crate::answers::Demand;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::placement::Placement;
use crate::kubevirt::migration;
use crate::world::World;

/// A guest that stands otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GuestChange {
    /// `namespace/name`.
    pub guest: String,
    /// Its verdict before, or null where it was not there.
    pub before: Option<&'static str>,
    /// Its verdict now, or null where it is not there.
    pub after: Option<&'static str>,
    /// The keys of the labels that decided: that nodes lost, or gained, or that it asks for now, or no more.
    pub because: Vec<String>,
    /// Whether it is worse off.
    pub turn: Direction,
    /// Whether it did not match the node it ran on.
    pub own_node_before: bool,
    /// Whether it does not match the node it runs on.
    pub own_node_after: bool,
}

/// What the change means for a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// It is worse off.
    Worse,
    /// It is better off.
    Better,
    /// It was not there before.
    Came,
    /// It is not there any more.
    Went,
    /// What it was, or what it is, is not known.
    Unknown,
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct GuestChanges {
    pub(super) guests: Vec<GuestChange>,
    pub(super) own_node: Vec<GuestChange>,
    pub(super) worse: usize,
    pub(super) better: usize,
}

/// The guests that stand otherwise, by name.
pub(super) fn changes(
    old: &World,
    new: &World,
    is_asked_for: &dyn Fn(&str) -> bool,
    progress: &dyn Fn(usize, usize),
) -> GuestChanges {
    let (before, after) = (guests(&old.cluster), guests(&new.cluster));
    let mut sides = Sides::new(old, new);
    let mut out = GuestChanges::default();
    let titles: BTreeSet<&String> = before.keys().chain(after.keys()).filter(|title| is_asked_for(title)).collect();
    for (at, title) in titles.iter().copied().enumerate() {
        progress(at, titles.len());
        let (was, is) = (before.get(title).copied(), after.get(title).copied());
        let stood = was.and_then(|guest| sides.old.standing(title, guest));
        let stands = is.and_then(|guest| sides.new.standing(title, guest));
        let verdicts = (stood.map(|stood| stood.verdict), stands.map(|stands| stands.verdict));
        let own_node_unmet = (stood.is_some_and(|stood| stood.own_node), stands.is_some_and(|stands| stands.own_node));
        let turn = turn(stood, stands);
        out.worse += usize::from(turn == Some(Direction::Worse));
        out.better += usize::from(turn == Some(Direction::Better));
        if verdicts.0 == verdicts.1 && own_node_unmet.0 == own_node_unmet.1 {
            continue;
        }
        let because = match (was, is) {
            (Some(was), Some(is)) => sides.because(was, is, verdicts.0 != verdicts.1, own_node_unmet),
            _ => Vec::new(),
        };
        let change = GuestChange {
            guest: title.clone(),
            before: verdicts.0,
            after: verdicts.1,
            because,
            turn: turn.unwrap_or(Direction::Unknown),
            own_node_before: own_node_unmet.0,
            own_node_after: own_node_unmet.1,
        };
        // Who came or went ceased to match nothing.
        if was.is_some() && is.is_some() && own_node_unmet.0 != own_node_unmet.1 {
            out.own_node.push(change.clone());
        }
        if verdicts.0 != verdicts.1 {
            out.guests.push(change);
        }
    }
    progress(titles.len(), titles.len());
    out
}

/// What it means; `None` where it is the same as before.
fn turn(stood: Option<GuestVerdict>, stands: Option<GuestVerdict>) -> Option<Direction> {
    let (stood, stands) = match (stood, stands) {
        (Some(stood), Some(stands)) => (stood, stands),
        (None, Some(_)) => return Some(Direction::Came),
        (Some(_), None) => return Some(Direction::Went),
        (None, None) => return None,
    };
    if stood == stands {
        return None;
    }
    let is_known = |standing: &GuestVerdict| standing.verdict != "unknown";
    if !(is_known(&stood) && is_known(&stands)) && stood.own_node == stands.own_node {
        return Some(Direction::Unknown);
    }
    let rank = |standing: &GuestVerdict| {
        let verdict = ["fits", "fragile", "pinned", "unschedulable"].iter().position(|word| *word == standing.verdict);
        (standing.severity, verdict)
    };
    Some(if rank(&stands) > rank(&stood) { Direction::Worse } else { Direction::Better })
}

/// How many of many nodes are asked what each of them lacks.
const FEW: usize = 16;

/// Both clusters, and which node is which.
struct Sides<'w> {
    old: Verdicts<'w>,
    new: Verdicts<'w>,
    old_world: &'w World,
    new_world: &'w World,
    /// By the old cluster's numbers, the new cluster's.
    now: Vec<Option<NodeIndex>>,
    /// What was found for guests that demand the same, before and now.
    known: HashMap<(*const Demand, *const Demand), KnownVerdict>,
}

/// The demands are held, so that no other one takes their place.
struct KnownVerdict {
    _held: (Rc<Demand>, Rc<Demand>),
    because: Vec<String>,
}

impl<'w> Sides<'w> {
    fn new(old: &'w World, new: &'w World) -> Self {
        let (before, after): (&Fleet, &Fleet) = (&old.cluster.fleet, &new.cluster.fleet);
        Self {
            old: Verdicts::new(old),
            new: Verdicts::new(new),
            old_world: old,
            new_world: new,
            now: (0..before.len()).map(|node| after.find(before.name(node))).collect(),
            known: HashMap::new(),
        }
    }

    /// The keys of the labels that decided.
    fn because(
        &mut self,
        was: GuestObject<'w>,
        is: GuestObject<'w>,
        verdict: bool,
        own_node_unmet: (bool, bool),
    ) -> Vec<String> {
        let mut out: BTreeSet<String> = BTreeSet::new();
        if verdict {
            out.extend(self.of_verdict(was, is));
        }
        if own_node_unmet.0 != own_node_unmet.1 && (out.is_empty() || !verdict) {
            let (guest, world) = if own_node_unmet.1 { (is, self.new_world) } else { (was, self.old_world) };
            if let GuestObject::Vmi(vmi) = guest {
                out.extend(own_node(&world.cluster, vmi).into_iter().flatten());
            }
        }
        out.into_iter().collect()
    }

    fn of_verdict(&mut self, was: GuestObject<'w>, is: GuestObject<'w>) -> Vec<String> {
        let running = |guest| match guest {
            GuestObject::Vmi(vmi) if migration::runs(vmi) => Some(vmi),
            GuestObject::Vmi(_) | GuestObject::Vm(_) => None,
        };
        if let (Some(was), Some(is)) = (running(was), running(is))
            && let (Some(before), Some(after)) = (self.old.demand(was), self.new.demand(is))
        {
            let key = (Rc::as_ptr(&before), Rc::as_ptr(&after));
            if let Some(known) = self.known.get(&key) {
                return known.because.clone();
            }
            let because = match (&before.placement, &after.placement) {
                (Ok(asked), Ok(asks)) => self.between(asked, asks),
                _ => Vec::new(),
            };
            self.known.insert(key, KnownVerdict { _held: (before, after), because: because.clone() });
            return because;
        }
        let (asked, asks) = (self.old.start(was), self.new.start(is));
        self.between(&asked, &asks)
    }

    /// The labels for which nodes took a pod before and do not now, or the other way round.
    fn between(&self, asked: &Placement<'_>, asks: &Placement<'_>) -> Vec<String> {
        let (old, new): (&Fleet, &Fleet) = (&self.old_world.cluster.fleet, &self.new_world.cluster.fleet);
        let (before, after) = (old.look_up(asked), new.look_up(asks));
        let (fitted, fits) = (before.passes().fitting, after.passes().fitting);
        let (mut lost, mut gained) = (Bits::none(new.len()), Bits::none(old.len()));
        for (was, is) in self.now.iter().enumerate().filter_map(|(was, is)| Some((was, (*is)?))) {
            match (fitted.contains(was), fits.contains(is)) {
                (true, false) => lost.insert(is),
                (false, true) => gained.insert(was),
                _ => {}
            }
        }
        // Nodes of one profile lack the same of a CPU; of what is each node's own, a few show enough.
        let ones = |fleet: &Fleet, nodes: &Bits| -> BTreeSet<NodeIndex> {
            fleet.one_of_each_profile(nodes).into_iter().chain(nodes.iter().take(FEW)).collect()
        };
        let of_lost = ones(new, &lost).into_iter().flat_map(|node| after.missing(node));
        let of_gained = ones(old, &gained).into_iter().flat_map(|node| before.missing(node));
        of_lost.chain(of_gained).map(|(key, _)| key).collect::<BTreeSet<String>>().into_iter().collect()
    }
}
