//! Which guests stand otherwise than before, and for which labels.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use serde::Serialize;

use super::verdicts::{GuestVerdict, Verdicts, guests, own_node};
use crate::answers::Demand;
use crate::answers::guest_state::GuestOf;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, Lookup, NodeIndex};
use crate::fit::node::Taint;
use crate::fit::placement::{AffinityRule, Placement};
use crate::kubevirt::wire::Vmi;
use crate::kubevirt::{migration, subject};
use crate::say;
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
    /// What else of nodes decided, by what happened and the node's name: of many nodes the first.
    pub because_nodes: Vec<NodeCause>,
    /// Whether KubeVirt's release and configuration decided: by those of before, its verdict now would be another one.
    pub because_kubevirt: bool,
    /// Whether it is worse off.
    pub turn: Direction,
    /// Whether it did not match the node it ran on.
    pub own_node_before: bool,
    /// Whether it does not match the node it runs on.
    pub own_node_after: bool,
    /// Why KubeVirt refused to migrate it before; null where it did not.
    pub not_migratable_before: Option<String>,
    /// Why KubeVirt refuses to migrate it now; null where it does not.
    pub not_migratable_after: Option<String>,
    /// The node that it runs on by its VMI, where that node was there before and is not now.
    pub node_gone: Option<String>,
}

/// What happened to a node, beside its labels, that decided for a guest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NodeCause {
    /// `removed`, `added`, `the guest runs there now`, or as in `also` of the node: `cordoned`, `not ready`, `taint …`, each also after
    /// `no longer `.
    pub change: String,
    /// The node.
    pub node: String,
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

/// The guests that stand otherwise: each is in the list of what is otherwise, or in several.
#[derive(Debug, Default)]
pub(super) struct GuestChanges {
    /// Those whose verdict is another one.
    pub(super) guests: Vec<GuestChange>,
    /// Those that ceased to match their own node, or match it again.
    pub(super) own_node: Vec<GuestChange>,
    /// Those that KubeVirt refuses to migrate since, or no longer.
    pub(super) not_migratable: Vec<GuestChange>,
    /// Those whose node is gone.
    pub(super) node_gone: Vec<GuestChange>,
}

/// The guests that stand otherwise, by name. `before` is the new side as it would be under KubeVirt's release and configuration of
/// before, where those changed.
pub(super) fn changes(
    old: &World,
    new: &World,
    before: Option<&World>,
    is_asked_for: &dyn Fn(&str) -> bool,
    progress: &dyn Fn(usize, usize),
) -> GuestChanges {
    let (were, are) = (guests(&old.cluster), guests(&new.cluster));
    let mut sides = Sides::new(old, new);
    let mut under = before.map(|world| (guests(&world.cluster), Verdicts::new(world)));
    let mut out = GuestChanges::default();
    let titles: BTreeSet<&String> = were.keys().chain(are.keys()).filter(|title| is_asked_for(title)).collect();
    for (at, title) in titles.iter().copied().enumerate() {
        progress(at, titles.len());
        let (was, is) = (were.get(title).copied(), are.get(title).copied());
        let stood = was.and_then(|guest| sides.old.standing(title, guest));
        let stands = is.and_then(|guest| sides.new.standing(title, guest));
        let node_gone = is.and_then(|guest| sides.node_gone(guest));
        let Some(turn) = turn(stood, stands, node_gone.is_some()) else { continue };
        let differs = |of: fn(GuestVerdict) -> bool| {
            // Who came or went ceased to match nothing.
            stood.zip(stands).is_some_and(|(stood, stands)| of(stood) != of(stands))
        };
        let verdicts = (stood.map(|stood| stood.verdict), stands.map(|stands| stands.verdict));
        let by_verdict = verdicts.0 != verdicts.1;
        let by_own_node = differs(|standing| standing.own_node) && node_gone.is_none();
        let own_node = |standing: Option<GuestVerdict>| standing.is_some_and(|standing| standing.own_node);
        let Reasons { labels, nodes } = match (was, is) {
            (Some(was), Some(is)) => {
                sides.reasons(was, is, by_verdict.then_some([verdicts.0, verdicts.1]), by_own_node)
            }
            _ => Reasons::default(),
        };
        let by_kubevirt = under.as_mut().filter(|_| by_verdict && was.is_some()).is_some_and(|(guests, verdicts)| {
            let standing = guests.get(title).copied().and_then(|guest| verdicts.standing(title, guest));
            standing.map(|standing| standing.verdict) != stands.map(|stands| stands.verdict)
        });
        let change = GuestChange {
            guest: title.clone(),
            before: verdicts.0,
            after: verdicts.1,
            because: labels.into_iter().collect(),
            because_nodes: nodes.into_iter().collect(),
            because_kubevirt: by_kubevirt,
            turn,
            own_node_before: own_node(stood),
            own_node_after: own_node(stands),
            not_migratable_before: was.and_then(not_migratable),
            not_migratable_after: is.and_then(not_migratable),
            node_gone,
        };
        if change.node_gone.is_some() {
            out.node_gone.push(change.clone());
        }
        if by_own_node {
            out.own_node.push(change.clone());
        }
        if differs(|standing| standing.not_migratable) {
            out.not_migratable.push(change.clone());
        }
        if by_verdict {
            out.guests.push(change);
        }
    }
    progress(titles.len(), titles.len());
    out
}

/// Why KubeVirt refuses to migrate a guest, if it does.
fn not_migratable(guest: GuestOf<'_>) -> Option<String> {
    match guest {
        GuestOf::Vmi(vmi) if migration::runs(vmi) => {
            subject::not_migratable(vmi).map(|refused| say::finding::condition(&refused))
        }
        GuestOf::Vmi(_) | GuestOf::Vm(_) => None,
    }
}

/// What it means; `None` where it is the same as before.
fn turn(stood: Option<GuestVerdict>, stands: Option<GuestVerdict>, node_gone: bool) -> Option<Direction> {
    let (stood, stands) = match (stood, stands) {
        (Some(stood), Some(stands)) => (stood, stands),
        (None, Some(_)) => return Some(Direction::Came),
        (Some(_), None) => return Some(Direction::Went),
        (None, None) => return None,
    };
    if node_gone {
        return Some(Direction::Worse);
    }
    if stood == stands {
        return None;
    }
    let is_known = |standing: &GuestVerdict| standing.verdict != "unknown";
    let differs = stood.own_node != stands.own_node || stood.not_migratable != stands.not_migratable;
    if !(differs || is_known(&stood) && is_known(&stands)) {
        return Some(Direction::Unknown);
    }
    let rank = |standing: &GuestVerdict| (standing.severity, rank(Some(standing.verdict)), standing.not_migratable);
    Some(if rank(&stands) > rank(&stood) { Direction::Worse } else { Direction::Better })
}

/// How bad a verdict is; `None` where it is not known, or there is none.
fn rank(verdict: Option<&str>) -> Option<usize> {
    ["fits", "fragile", "pinned", "unschedulable"].iter().position(|word| Some(*word) == verdict)
}

/// How many of many nodes are asked what each of them lacks.
const FEW: usize = 16;

/// What decided for a guest.
#[derive(Clone, Debug, Default)]
struct Reasons {
    /// Keys of labels.
    labels: BTreeSet<String>,
    nodes: BTreeSet<NodeCause>,
}

/// What decided between two placements: of nodes that took a pod and do not, and of those that do and did not.
#[derive(Debug, Default)]
struct Decided {
    lost: Vec<OfNode>,
    gained: Vec<OfNode>,
}

/// What of one node decided.
#[derive(Debug)]
struct OfNode {
    name: String,
    labels: Vec<String>,
    changes: Vec<String>,
    /// Whether another node has the labels that this one has, and lost or gained the same.
    has_like: bool,
}

/// Both clusters, and which node is which.
struct Sides<'w> {
    old: Verdicts<'w>,
    new: Verdicts<'w>,
    old_world: &'w World,
    new_world: &'w World,
    /// By the old cluster's numbers, the new cluster's.
    now: Vec<Option<NodeIndex>>,
    /// The nodes that were not there.
    came: Vec<NodeIndex>,
    /// What was found for guests that demand the same, before and now.
    known: HashMap<(*const Demand, *const Demand), KnownReasons>,
}

/// The demands are held, so that no other one takes their place.
struct KnownReasons {
    _held: (Rc<Demand>, Rc<Demand>),
    decided: Rc<Decided>,
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
            came: (0..after.len()).filter(|node| before.find(after.name(*node)).is_none()).collect(),
            known: HashMap::new(),
        }
    }

    /// The node that a guest runs on, where it was there and is not.
    fn node_gone(&self, guest: GuestOf<'_>) -> Option<String> {
        let GuestOf::Vmi(vmi) = guest else { return None };
        let node = &vmi.status.node_name;
        let is_gone =
            self.old_world.cluster.fleet.find(node).is_some() && self.new_world.cluster.fleet.find(node).is_none();
        (migration::runs(vmi) && is_gone).then(|| node.clone())
    }

    /// What decided.
    fn reasons(
        &mut self,
        was: GuestOf<'w>,
        is: GuestOf<'w>,
        verdicts: Option<[Option<&str>; 2]>,
        by_own_node: bool,
    ) -> Reasons {
        let mut out = Reasons::default();
        if let Some([before, after]) = verdicts {
            out = self.of_verdict(was, is, rank(before).zip(rank(after)).map(|(before, after)| after.cmp(&before)));
        }
        if by_own_node && out.labels.is_empty() {
            for (guest, world) in [(was, self.old_world), (is, self.new_world)] {
                if let GuestOf::Vmi(vmi) = guest {
                    out.labels.extend(own_node(&world.cluster, vmi).into_iter().flatten());
                }
            }
        }
        out
    }

    fn of_verdict(&mut self, was: GuestOf<'w>, is: GuestOf<'w>, turn: Option<Ordering>) -> Reasons {
        let running = |guest| match guest {
            GuestOf::Vmi(vmi) if migration::runs(vmi) => Some(vmi),
            GuestOf::Vmi(_) | GuestOf::Vm(_) => None,
        };
        let (ran, runs) = (running(was), running(is));
        let decided = if let (Some(was), Some(is)) = (ran, runs) {
            self.of_demands(was, is)
        } else {
            let (asked, asks) = (self.old.start(was), self.new.start(is));
            Rc::new(self.between(&asked, &asks))
        };
        let on = |vmi: Option<&'w Vmi>| vmi.map(|vmi| vmi.status.node_name.as_str()).filter(|node| !node.is_empty());
        let (ran_on, runs_on) = (on(ran), on(runs));
        let mut out = Reasons::default();
        // Each node of a start counts both ways: one on which a guest would be stuck may be lost.
        let of_turn: [&[OfNode]; 2] = match turn {
            Some(Ordering::Greater) if runs.is_some() && ran.is_some() => [&decided.lost, &[]],
            Some(Ordering::Less) if runs.is_some() && ran.is_some() => [&[], &decided.gained],
            _ => [&decided.lost, &decided.gained],
        };
        for node in of_turn.into_iter().flatten() {
            // The node that it stays on is no target, before and now.
            let is_own = ran_on == runs_on && runs_on == Some(node.name.as_str());
            if !is_own || node.has_like {
                out.labels.extend(node.labels.iter().cloned());
            }
            if !is_own {
                let cause = |change: &String| NodeCause { change: change.clone(), node: node.name.clone() };
                out.nodes.extend(node.changes.iter().map(cause));
            }
        }
        if let (Some(before), Some(now)) = (ran_on, runs_on) {
            let is_there = |world: &World| world.cluster.fleet.find(now).is_some();
            if before != now {
                out.nodes.insert(NodeCause { change: RUNS_THERE.to_owned(), node: now.to_owned() });
            } else if is_there(self.new_world) && !is_there(self.old_world) {
                // Without its node nothing is known of it.
                out.nodes.insert(NodeCause { change: "added".to_owned(), node: now.to_owned() });
            }
        }
        out
    }

    fn of_demands(&mut self, was: &'w Vmi, is: &'w Vmi) -> Rc<Decided> {
        let (Some(before), Some(after)) = (self.old.demand(was), self.new.demand(is)) else { return Rc::default() };
        let key = (Rc::as_ptr(&before), Rc::as_ptr(&after));
        if let Some(known) = self.known.get(&key) {
            return Rc::clone(&known.decided);
        }
        let decided = Rc::new(match (&before.placement, &after.placement) {
            (Ok(asked), Ok(asks)) => self.between(asked, asks),
            _ => Decided::default(),
        });
        self.known.insert(key, KnownReasons { _held: (before, after), decided: Rc::clone(&decided) });
        decided
    }

    /// What of nodes let them take a pod before and not now, or the other way round.
    fn between(&self, asked: &Placement<'_>, asks: &Placement<'_>) -> Decided {
        let (old, new): (&Fleet, &Fleet) = (&self.old_world.cluster.fleet, &self.new_world.cluster.fleet);
        let (before, after) = (old.look_up(asked), new.look_up(asks));
        let (fitted, fits) = (before.passes().fitting, after.passes().fitting);
        let (mut lost, mut gained) = (Bits::none(new.len()), Bits::none(old.len()));
        let mut out = Decided::default();
        let whole = |name: &str, change: &str| OfNode {
            name: name.to_owned(),
            labels: Vec::new(),
            changes: vec![change.to_owned()],
            has_like: false,
        };
        for (was, is) in self.now.iter().enumerate() {
            match (fitted.contains(was), is.map(|is| fits.contains(is))) {
                (true, Some(false)) => is.iter().for_each(|is| lost.insert(*is)),
                (false, Some(true)) => gained.insert(was),
                (true, None) if out.lost.len() < FEW => out.lost.push(whole(old.name(was), "removed")),
                _ => {}
            }
        }
        let came = self.came.iter().copied().filter(|node| fits.contains(*node)).take(FEW);
        out.gained.extend(came.map(|node| whole(new.name(node), "added")));
        out.lost.extend(of_nodes(&after, &lost, old, ""));
        out.gained.extend(of_nodes(&before, &gained, new, "no longer "));
        out
    }
}

/// The guest moved there.
const RUNS_THERE: &str = "the guest runs there now";

/// Why nodes refuse a pod that they take on the other side. Nodes of one profile lack the same of a CPU; of what is each node's own, a
/// few show enough.
fn of_nodes(lookup: &Lookup<'_, '_>, nodes: &Bits, other: &Fleet, prefix: &str) -> Vec<OfNode> {
    let fleet = lookup.fleet();
    let mut profiles: HashMap<NodeIndex, usize> = HashMap::new();
    for node in nodes.iter() {
        *profiles.entry(fleet.first_of_profile(node)).or_default() += 1;
    }
    let shown: BTreeSet<NodeIndex> =
        fleet.one_of_each_profile(nodes).into_iter().chain(nodes.iter().take(FEW)).collect();
    let of = |node: NodeIndex| {
        let refusal = lookup.refusal(node);
        let of_affinity = refusal.affinity.iter().filter_map(|rule| match rule {
            AffinityRule::Label(expression) => Some(expression.key().to_owned()),
            AffinityRule::Name(_) | AffinityRule::NoTerm => None,
        });
        let labels = refusal.missing.iter().map(|(key, _)| key.clone()).chain(of_affinity).collect();
        let name = fleet.name(node);
        let was_ready = other.find(name).is_some_and(|node| !other.not_ready().contains(node));
        let is_not_ready = fleet.not_ready().contains(node) && was_ready;
        let (of_readiness, others): (Vec<&Taint>, Vec<&Taint>) =
            refusal.taints.iter().partition(|taint| is_not_ready && is_of_readiness(taint));
        let mut changes: Vec<String> = others.iter().map(|taint| format!("{prefix}taint {taint}")).collect();
        changes.extend((!of_readiness.is_empty()).then(|| format!("{prefix}not ready")));
        changes.extend(refusal.cordoned.then(|| format!("{prefix}cordoned")));
        let has_like = profiles.get(&fleet.first_of_profile(node)).is_some_and(|nodes| *nodes > 1);
        OfNode { name: name.to_owned(), labels, changes, has_like }
    };
    shown.into_iter().map(of).collect()
}

/// Whether the node controller sets this taint on a node that is not ready (`nodeConditionToTaintKeyStatusMap` of
/// `pkg/controller/nodelifecycle/node_lifecycle_controller.go` of kubernetes).
fn is_of_readiness(taint: &Taint) -> bool {
    matches!(taint.key.as_str(), "node.kubernetes.io/not-ready" | "node.kubernetes.io/unreachable")
}
